"""What time brings: leases that run out, workers that died, timers, each once and whatever comes together."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from yamlflow import document
from yamlflow.clock import SystemClock
from yamlflow.crew import Loop
from yamlflow.engine import commands
from yamlflow.engine.leasing import Wanted, lease
from yamlflow.errors import NotAllowed, StoreGone
from yamlflow.outcome import Succeeded
from yamlflow.packages import loaded
from yamlflow.rows import WorkerRow
from yamlflow.runtime import Runtime
from yamlflow.scheduler import Here, LifeSign, is_at, is_dead, is_locked, lock_is_free, take_away, tick
from yamlflow.store.sqlite import SqliteStore
from yamlflow.testing import FakeClock

HERE = Here(worker="me", host="here", boot="now")
ONE = loaded(document.read("yamlflow: 1\nname: one\nsteps: {a: {kind: noop}}\n"))


def leased_by(runtime: Runtime, worker: str, *, lock: Path) -> int:
    """A run whose only step another worker of this machine has leased; the run's key."""
    run = runtime.start(ONE)
    with runtime.transaction() as work:
        work.tx.put_worker(WorkerRow(worker, HERE.host, 1, HERE.boot, str(lock), 0, 0, "running"))
        lease(work, Wanted(worker=worker, slots=1, until=runtime.clock.steady() + 1000))
    return run.key


@pytest.mark.parametrize("later", [0, 5000])
def test_a_dead_workers_step_is_offered_again_once_also_when_its_lease_ran_out(tmp_path: Path, later: int) -> None:
    clock = FakeClock()
    with Runtime(clock=clock) as runtime:
        key = leased_by(runtime, "dead", lock=tmp_path / "gone.lock")
        clock.advance(later)
        with runtime.transaction() as work:
            tick(work, steady=clock.steady(), here=HERE)
        (step,) = runtime.store.steps_at(key, ["a"])
        assert (step.status, step.lost, step.attempt) == ("ready", 1, 0)
        assert [row.status for row in runtime.store.workers()] == ["lost"]
        kinds = [event.kind for event in runtime.store.events(key)]
        assert kinds.count("step.lost") == 1


def test_a_living_workers_lease_is_left_alone(tmp_path: Path) -> None:
    sign = LifeSign(tmp_path, "alive")
    with Runtime(clock=FakeClock()) as runtime:
        key = leased_by(runtime, "alive", lock=sign.path)
        with runtime.transaction() as work:
            tick(work, steady=runtime.clock.steady(), here=HERE)
        (step,) = runtime.store.steps_at(key, ["a"])
        assert step.status == "running"
    sign.end()


def test_only_what_is_known_to_be_dead_is_taken_for_dead(tmp_path: Path) -> None:
    row = WorkerRow("w", "here", 1, "now", str(tmp_path / "gone.lock"), 0, 0, "running")
    assert is_dead(row, host="here", boot="now")
    assert is_dead(row._replace(boot="before"), host="here", boot="now")
    assert not is_dead(row._replace(host="there", boot="before"), host="here", boot="now")
    assert not is_dead(row._replace(lock=None), host="here", boot="now")


def test_an_outcome_that_cannot_be_recorded_fails_its_step_and_no_other() -> None:
    text = "yamlflow: 1\nname: two\nsteps: {bad: {kind: noop}, good: {kind: noop}}\n"
    with Runtime(max_workers=2) as runtime:
        run = runtime.start(loaded(document.read(text)))
        worker = runtime.worker
        worker.open()
        real = commands.succeed

        def refuse(work: object, row: object, outcome: Succeeded) -> None:
            if row.path == "bad":  # type: ignore[attr-defined]
                raise OverflowError("too large for a column")
            real(work, row, outcome)  # type: ignore[arg-type]

        commands.succeed = refuse  # type: ignore[assignment]
        try:
            for _ in range(6):
                worker.turn()
        finally:
            commands.succeed = real
        statuses = {row.path: row.status for row in runtime.store.tree(run.key)}
        assert statuses == {"": "failed", "bad": "failed", "good": "succeeded"}


def test_the_systems_clock_does_not_follow_a_wall_clock_that_jumps(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    clock = SystemClock()
    before = clock.now()
    real = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() + 3_600_000_000_000)
    assert clock.now() - before < 60_000


def test_an_executor_that_stops_the_event_loop_stops_only_itself() -> None:
    import asyncio
    import threading

    loop, done = Loop(), threading.Event()

    async def stop() -> None:
        asyncio.get_running_loop().stop()

    async def work() -> None:
        await asyncio.sleep(0)
        done.set()

    loop.submit(stop)
    loop.submit(work)
    assert done.wait(10)
    loop.close()


def test_a_store_whose_file_is_gone_is_not_written_to(tmp_path: Path) -> None:
    store = SqliteStore(f"sqlite:///{tmp_path}/y.db")
    store.still_there()
    (tmp_path / "y.db").rename(tmp_path / "moved.db")
    with pytest.raises(StoreGone, match="deleted or replaced"):
        store.still_there()
    SqliteStore(f"sqlite:///{tmp_path}/y.db").close()
    with pytest.raises(StoreGone):
        store.still_there()
    store.close()


def test_a_worker_that_died_without_anything_in_hand_is_buried_and_its_file_is_gone(tmp_path: Path) -> None:
    left = tmp_path / "idle.lock"
    left.touch()
    with Runtime(clock=FakeClock()) as runtime, runtime.transaction() as work:
        work.tx.put_worker(WorkerRow("idle", HERE.host, 1, HERE.boot, str(left), 0, 0, "running"))
        tick(work, steady=0, here=HERE)
        assert [row.status for row in runtime.store.workers()] == ["lost"]
    assert not left.exists()


def test_a_worker_of_a_name_that_lives_is_refused_and_one_that_died_is_followed(tmp_path: Path) -> None:
    first = LifeSign(tmp_path, "one")
    with pytest.raises(NotAllowed, match='a worker named "one" is at work already'):
        LifeSign(tmp_path, "one")
    # As a kill leaves it: the lock is gone with the process, the file is not.
    os.close(first._handle)
    second = LifeSign(tmp_path, "one")
    assert not lock_is_free(second.path)
    second.end()
    assert list(tmp_path.iterdir()) == []


def test_the_file_of_a_dead_worker_is_not_taken_from_one_of_the_same_name_that_begins_to_live(tmp_path: Path) -> None:
    alive = LifeSign(tmp_path, "one")
    take_away(alive.path)
    assert alive.path.exists()
    # One that began while its predecessor's file was taken away holds no file that is gone.
    handle = os.open(tmp_path / "two.lock", os.O_RDWR | os.O_CREAT)
    take_away(tmp_path / "two.lock")
    assert is_locked(handle)
    assert not is_at(handle, tmp_path / "two.lock")
    os.close(handle)
    alive.end()


def test_files_of_workers_that_were_killed_before_they_said_who_they_are_go_with_the_next_one(tmp_path: Path) -> None:
    (tmp_path / "nobody.lock").touch()
    sign = LifeSign(tmp_path, "one")
    assert [path.name for path in tmp_path.iterdir()] == ["one.lock"]
    sign.end()
