"""What the Go workflow API can do, one test for one claim: runtimes, workers, other processes."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from yamlflow import (
    Client,
    Cycle,
    QueuePolicy,
    Runtime,
    StepContext,
    executor,
)
from yamlflow.errors import (
    NotAllowed,
    UnknownName,
    UserError,
)
from yamlflow.testing import FakeClock

from .kinds import built, echo, hello, keeping, runtime, started, status, steps

# -- runtimes and workers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_workers": 0}, "max_workers must be a number from 1 to 10,000; it is 0"),
        ({"poll_interval": 0}, "poll_interval must be a number of seconds"),
        ({"lease_duration": -1}, "lease_duration must be a number of seconds"),
        ({"queues": {"default": QueuePolicy(max_in_flight=0)}}, r"queues\.default\.max_in_flight"),
        ({"queues": {"default": QueuePolicy(rate="fast")}}, r'queues\.default\.rate: must be a rate: N/s.*"2/s"'),
        ({"queues": {"default": QueuePolicy(rate="1/s", burst=0)}}, r"queues\.default\.burst"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        Runtime(**options)


def test_a_package_that_is_not_registered_is_named_with_those_that_are(rt: Runtime) -> None:
    rt.register(hello)
    with pytest.raises(
        UnknownName, match=r'the package "helo" is not registered; registered are: hello\. Did you mean'
    ):
        rt.start("helo")


def test_a_packages_own_queue_has_its_own_policy() -> None:
    with runtime(queues={"slow": QueuePolicy(max_in_flight=1)}) as rt:
        rt.start(built(steps("a", "b", queue="slow"), queues={"slow": QueuePolicy(max_in_flight=2)}))
        rt.start(built(steps("a", "b", queue="slow"), name="other"))
        assert rt.run_once().processed == 3


def test_two_runtimes_share_the_queues_of_one_file(tmp_path: Path) -> None:
    url, clock = f"sqlite:///{tmp_path}/x.db", FakeClock()
    with (
        runtime(store=url, clock=clock, only_queues=["cpu"], worker_id="c") as cpu,
        runtime(store=url, clock=clock, only_queues=["net"], worker_id="n") as net,
    ):
        run = started(
            cpu, steps("a", queue="cpu"), steps("b", queue="net", needs="a"), steps("c", queue="cpu", needs="b")
        )
        assert [one.run_once().processed for one in (net, cpu, cpu, net, cpu)] == [0, 1, 0, 1, 1]
        assert net.run(run) == cpu.run(run)
        assert status(net, run) == "succeeded"


def test_a_runtime_takes_only_the_kinds_it_is_for(tmp_path: Path) -> None:
    with runtime(only_kinds=["any/bad"]) as rt:
        run = started(rt, steps("a"), steps("b", kind="any/bad"))
        assert rt.run_until_idle() == Cycle(processed=1, failed=1)
        assert status(rt, run, "a") == "ready"


def until(condition: Any, patience: float = 20) -> None:
    """Wait for what threads do."""
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.005)


def test_workers_run_in_a_thread_until_they_are_told_to_stop() -> None:
    with Runtime(max_workers=4) as rt:
        rt.register(echo)
        working = threading.Thread(target=rt.run_workers)
        working.start()
        run = rt.start(hello, {"message": "hi"})
        until(lambda: status(rt, run.id) == "succeeded")
        rt.stop()
        working.join(10)
        assert not working.is_alive()


def test_a_stop_that_comes_before_the_workers_begin_is_kept() -> None:
    with Runtime() as rt:
        rt.stop()
        rt.run_workers()


def test_workers_stop_after_max_cycles() -> None:
    with Runtime() as rt:
        rt.run_workers(max_cycles=1)


def test_a_drain_lets_what_is_in_hand_end() -> None:
    with Runtime() as rt:

        @executor("take/while")
        def take() -> str:
            rt.stop()
            time.sleep(0.2)
            return "done"

        rt.register(take)
        run = started(rt, steps("a", kind="take/while"))
        rt.run_workers(drain=10)
        assert rt.result(run, "a") == "done"


def test_without_a_drain_what_is_in_hand_is_given_back_unspent() -> None:
    with Runtime() as rt:
        begun = threading.Event()

        @executor("wait/long")
        def wait(step: StepContext) -> None:
            begun.set()
            while not step.canceled:
                time.sleep(0.005)

        rt.register(wait)
        run = started(rt, steps("a", kind="wait/long"))
        rt.run_workers(begun.is_set)
        row = rt.step(run, "a")
        assert row is not None
        assert (row.status, row.attempt) == ("ready", 0)


def test_two_threads_cannot_be_the_workers_of_one_runtime() -> None:
    with Runtime() as rt:
        begun = threading.Event()

        def done() -> bool:
            begun.set()
            return False

        working = threading.Thread(target=rt.run_workers, args=(done,))
        working.start()
        assert begun.wait(10)
        with pytest.raises(NotAllowed, match="works already"):
            rt.run_workers()
        rt.stop()
        working.join(10)


def test_closing_stops_the_workers() -> None:
    rt = Runtime()
    working = threading.Thread(target=rt.run_workers)
    working.start()
    rt.close()
    working.join(10)
    assert not working.is_alive()
    rt.close()


def test_workers_run_beside_an_event_loop() -> None:
    async def serve() -> Any:
        with Runtime() as rt:
            rt.register(echo)
            working = asyncio.create_task(asyncio.to_thread(rt.run_workers))
            run = await asyncio.to_thread(rt.start, hello, {"message": "hi"})
            while status(rt, run.id) != "succeeded":
                await asyncio.sleep(0.005)
            rt.stop()
            await working
            return rt.result(run.id, "root")

    assert asyncio.run(serve()) == {"echoed": "hi"}


def test_a_cycle_within_an_event_loop_runs_coroutines_too() -> None:
    @executor("say/async")
    async def say() -> str:
        await asyncio.sleep(0)
        return "said"

    async def serve() -> Any:
        with runtime() as rt:
            rt.register(say)
            run = started(rt, steps("a", kind="say/async"))
            rt.run_once()
            return rt.result(run, "a")

    assert asyncio.run(serve()) == "said"


def test_a_connection_that_was_lent_stays_open() -> None:
    connection = sqlite3.connect(":memory:", check_same_thread=False)
    with runtime(store=connection) as rt:
        run = started(rt, steps("a"))
    assert connection.execute("select count(*) from runs where id = ?", (run,)).fetchone() == (1,)
    connection.close()


def test_a_client_without_the_package_reads_steers_and_is_told_where_to_start(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/x.db"
    with runtime(store=url) as rt, Client(url) as client:
        rt.register(hello)
        run = rt.start("hello", {"message": "hi"}).id
        with pytest.raises(NotAllowed, match=r'"hello" is built in Python.*rt\.register\(package\)'):
            client.start("hello", {"message": "ho"})
        assert len(client.runs()) == 1
        rt.run_once()
        assert client.result(run, "root") == {"echoed": "hi"}
        other = rt.start("hello", {"message": "ho"}).id
        assert client.cancel(other)
        assert status(rt, other) == "canceled"


def test_a_runtime_that_has_not_registered_the_package_works_on_its_runs(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/x.db"
    with runtime(store=url) as one, runtime(store=url) as other:
        run = one.start(hello, {"message": "hi"}).id
        assert other.run_once().succeeded == 1
        assert one.result(run, "root") == {"echoed": "hi"}


def test_an_artifact_is_opened_from_another_process_view(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/x.db"
    with runtime(store=url) as rt, Client(url) as client:
        run = keeping(rt, lambda step: step.artifact("note", "hi") and None)
        with client.open_artifact(run, "a", "note") as stream:
            assert stream.read() == b"hi"
        assert client.projection("play").query("select 1 as one") == [{"one": 1}]


def test_a_client_waits_for_a_run_that_a_thread_works_on() -> None:
    with Runtime() as rt:
        rt.register(echo)
        working = threading.Thread(target=rt.run_workers)
        working.start()
        run = rt.start(hello, {"message": "hi"})
        assert rt.wait(run.id, timeout=20).status == "succeeded"
        rt.stop()
        working.join(10)
