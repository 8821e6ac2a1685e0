"""The features of go-workflows, each as a test named for it: queues, workers, several processes, crashes, propagation.

Sections 1.3, 1.12, 1.13, 1.15, 1.17, 1.18 and 1.20 of its features, and 6, 10, 12, 13 and 14 of its weaknesses.
"""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from yamlflow import Client, Package, Runtime, Serializer, StepContext, executor
from yamlflow.clock import HOUR, MINUTE
from yamlflow.errors import PluginError, UserError
from yamlflow.outcome import Succeeded

from ..conftest import ROOT, problems
from ..crash.processes import Project
from ..engine.stage import LEASE, Stage, package

WITNESS: dict[str, Any] = {"kind": "witness", "with": {"seconds": 0.05}}


def project(tmp_path: Path, steps: dict[str, Any], **keys: Any) -> Project:
    return Project(tmp_path, {"yamlflow": 1, "name": "work", "steps": steps, **keys})


def stop(*workers: subprocess.Popen[str]) -> None:
    for worker in workers:
        worker.send_signal(signal.SIGTERM)
    for worker in workers:
        output, _ = worker.communicate(timeout=30)
        assert worker.returncode == 0, output


# -- no replay -----------------------------------------------------------------------------------------------------


def test_a_run_goes_on_from_its_rows_and_runs_no_finished_step_again(tmp_path: Path) -> None:
    """There a run is replayed from its history, and author code must be deterministic (1.3, 1.12)."""
    ran: list[str] = []

    @executor("note")
    def note(step: StepContext) -> float:
        ran.append(step.step.path)
        return time.perf_counter()

    one = Package("p", steps=[{"kind": "note"}, {"kind": "wait_signal", "with": {"signal": "go"}}, {"kind": "note"}])
    for number in range(3):
        with Runtime(f"sqlite:///{tmp_path}/y.db") as runtime:
            runtime.register(note)
            if number == 0:
                runtime.start(one, run_id="r")
            if number == 2:
                runtime.signal("r", "go")
            runtime.run_until_idle()
            row = runtime.run("r")
            assert row is not None
            status = row.status
    assert (ran, status) == (["_1", "_3"], "succeeded")


def test_several_versions_run_side_by_side_each_run_with_its_own_text(stage: Stage) -> None:
    """There a change of code fails the runs that are under way, and versions need deployments of their own (6.6)."""
    stage.runtime.register(
        package("version: '1'\nsteps: [{kind: sleep, with: {for: 1h}}, {kind: ok, with: {value: old}}]")
    )
    stage.start(stage.runtime.package("play"), run_id="old")
    stage.runtime.run_until_idle()
    new = package("version: '2'\nsteps: {a: {kind: ok, with: {value: new}}, b: {kind: ok}}")
    stage.start(new, run_id="new")
    assert (stage.finish("old"), stage.finish("new")) == ("succeeded", "succeeded")
    assert (stage.runtime.result("old", "_2"), stage.runtime.result("new", "a")) == ("old", "new")
    versions = {run.id: run.version for run in stage.runtime.runs()}
    assert versions == {"old": "1", "new": "2"}


def test_mistakes_are_found_before_anything_runs() -> None:
    """The analyzer (1.20): there a linter for determinism; here nothing of an author's is replayed, and a package is checked."""
    text = """\
yamlflow: 1
name: shop
signals: {paid: {type: object}}
queues: {slow: {max_in_flight: 1}}
steps:
  price: {kind: shop/prize}
  nap: {kind: sleep, with: {fro: 1h}}
  pay: {kind: wait_signal, with: {signal: payed}}
  ship: {needs: pya, queue: slwo, kind: set, with: {value: "${{ steps.pay.reslt }}"}}
"""
    told = "\n".join(problems(text, "shop.yaml"))
    assert "shop.yaml:9:17" in told
    for text in ('"shop/prize"', '"fro"', "payed", '"pya"'):
        assert text in told


# -- queues --------------------------------------------------------------------------------------------------------


def test_a_worker_serves_the_queues_it_is_told_to(stage: Stage) -> None:
    body = "queues: {gpu: {}}\nsteps: {a: {kind: ok}, b: {kind: ok, queue: gpu}}"
    stage.start(body)
    assert stage.lease(queues=["gpu"]) == ["b"]
    assert stage.lease(queues=["default"]) == ["a"]


def test_a_run_works_in_the_queue_it_is_started_in(stage: Stage) -> None:
    stage.start("steps: {a: {kind: ok}, b: {kind: ok, queue: default}}", queue="night")
    stage.decide()
    assert stage.lease(queues=["default"]) == ["b"]
    assert stage.row("a").queue == "night"


def test_a_queue_that_is_not_declared_or_cannot_be_is_refused() -> None:
    """There the rule for names is never applied (6.13)."""
    head = "yamlflow: 1\nname: p\n"
    undeclared = "queues: {gpu: {}}\nsteps: {a: {kind: noop, queue: gup}}"
    assert 'the queue "gup" is not declared' in problems(head + undeclared)[0]
    assert "queues" in problems(head + "queues: {a b: {}}\nsteps: {a: {kind: noop}}")[0]


def test_a_queue_is_first_in_first_out_with_priorities_limits_and_rates(stage: Stage) -> None:
    """There it has no order, and none of these (6.12)."""
    body = """
        queues: {q: {max_in_flight: 2}, slow: {rate: 1/m}}
        steps:
          a: {kind: ok, queue: q}
          b: {kind: ok, queue: q}
          urgent: {kind: ok, queue: q, priority: 5}
          x: {kind: ok, queue: slow}
          y: {kind: ok, queue: slow}
    """
    stage.start(body)
    assert sorted(stage.lease()) == ["a", "urgent", "x"]
    stage.end("urgent")
    assert stage.lease() == ["b"]
    for path in ("a", "b", "x"):
        stage.end(path)
    assert stage.lease() == []
    stage.clock.advance(MINUTE)
    assert stage.lease() == ["y"]


# -- workers -------------------------------------------------------------------------------------------------------


def test_nothing_but_defaults_works() -> None:
    """There empty options poll nothing (6.13)."""
    with Runtime() as runtime:
        run = runtime.start(Package("p", steps={"a": {"kind": "set", "with": {"value": 1}}}))
        runtime.run_workers(lambda: runtime.run(run.id).ended_at is not None)  # type: ignore[union-attr]
        assert runtime.result(run.id, "a") == 1
        with pytest.raises(UserError, match="max_workers"):
            Runtime(max_workers=0)


def test_the_orchestrator_starts_works_signals_waits_and_removes_in_one_object(tmp_path: Path) -> None:
    with Runtime(f"sqlite:///{tmp_path}/y.db", max_workers=2) as rt:
        rt.register(
            package("steps: {go: {kind: wait_signal, with: {signal: go}}}\noutputs: '${{ steps.go.result }}'", "p")
        )
        working = threading.Thread(target=rt.run_workers)
        working.start()
        try:
            run = rt.start("p")
            rt.signal(run.id, "go", 9)
            assert rt.wait(run.id, 20).status == "succeeded"
            assert rt.result(run.id) == 9
            assert rt.remove(run.id) == 1
        finally:
            rt.stop()
            working.join()


def test_a_worker_that_is_stopped_lets_what_it_has_begun_end(tmp_path: Path) -> None:
    """``WaitForCompletion``."""
    begun = threading.Event()

    @executor("slow")
    def slow() -> str:
        begun.set()
        time.sleep(0.3)
        return "ended"

    with Runtime() as rt:
        rt.register(slow)
        run = rt.start(Package("p", steps={"a": {"kind": "slow"}, "b": {"kind": "slow", "needs": "a"}}))
        rt.run_workers(begun.is_set, drain=10)
        rows = {row.path: row.status for row in rt.store.tree(run.key)}
        assert (rows["a"], rows["b"]) == ("succeeded", "ready")


def test_a_registry_takes_no_nonsense() -> None:
    with Runtime() as rt:
        rt.register(Package("p", steps=[{"kind": "noop"}]))
        with pytest.raises(UserError, match='"p"'):
            rt.register(Package("p", steps=[{"kind": "noop"}]))
        with pytest.raises(PluginError, match="neither a package nor an executor"):
            rt.register(lambda: None)


def test_a_step_whose_kind_only_another_worker_knows_is_left_to_that_worker(tmp_path: Path) -> None:
    """There a worker that lacks a registration fails the run for good (6.6)."""

    @executor("there")
    def there() -> str:
        return "done there"

    url = f"sqlite:///{tmp_path}/y.db"
    with Runtime(url) as here, Runtime(url) as other:
        other.register(there)
        run = here.start(Package("p", steps={"a": {"kind": "there"}, "b": {"kind": "noop"}}))

        def status(path: str) -> str:
            row = here.step(run.id, path)
            assert row is not None
            return row.status

        here.run_workers(lambda: status("b") == "succeeded")
        row = here.step(run.id, "a")
        assert row is not None
        assert (row.status, row.attempt) == ("ready", 0), "whether or not anybody knows it yet"
        other.run_workers(lambda: status("a") == "succeeded")
        assert here.result(run.id, "a") == "done there"


# -- several processes ---------------------------------------------------------------------------------------------


def test_a_split_worker_is_a_client_here_and_a_worker_in_another_process(tmp_path: Path) -> None:
    made = project(tmp_path, {"go": {"kind": "wait_signal", "with": {"signal": "go"}}, "b": {"needs": "go", **WITNESS}})
    worker = made.spawn("worker", "--max-workers", "2")
    made.wait_until(made.store.exists)
    try:
        with Client(f"sqlite:///{made.store}") as client:
            run = client.start(Package.load(made.package), run_id="r")
            client.signal(run.id, "go", "hi")
            assert client.wait("r", 30).status == "succeeded"
            assert client.result("r", "go") == "hi"
            assert client.statistics().workers == 1
    finally:
        stop(worker)


def test_two_worker_processes_with_queues_of_their_own_share_a_run(tmp_path: Path) -> None:
    steps = {"a": {"queue": "one", **WITNESS}, "b": {"queue": "two", "needs": "a", **WITNESS}}
    made = project(tmp_path, steps, queues={"one": {}, "two": {}})
    workers = [made.spawn("worker", "--queues", name, "--name", name) for name in ("one", "two")]
    try:
        assert made.call("start", "package.yaml", "--run-id", "r").returncode == 0
        made.wait_until(lambda: made.query("select status from runs") == [("succeeded",)])
    finally:
        stop(*workers)
    took = made.query("select step, json_extract(payload, '$.worker') from events where kind = 'step.leased'")
    assert sorted(took) == [("a", "one"), ("b", "two")]


def test_the_work_of_the_only_process_is_taken_up_at_once_after_it_was_killed(tmp_path: Path) -> None:
    """There it takes one or two minutes (6.14)."""
    made = project(tmp_path, {"a": {"kind": "witness", "with": {"seconds": 5}}, "b": {"needs": "a", **WITNESS}})
    worker = made.spawn("worker")
    assert made.call("start", "package.yaml", "--run-id", "r").returncode == 0
    made.wait_until(lambda: made.starts().get("a"))
    worker.kill()
    worker.communicate()
    began = time.monotonic()
    second = made.spawn("worker")
    made.wait_until(lambda: made.starts().get("a") == 2, seconds=20)
    assert time.monotonic() - began < 10, "a lease lasts thirty seconds; nobody waited for its end"
    made.wait_until(lambda: made.query("select status from runs") == [("succeeded",)], seconds=20)
    stop(second)
    assert made.query("select attempt from steps where path = 'a'") == [(1,)], "no attempt was spent"


def test_an_outcome_of_an_old_lease_is_refused_also_from_a_worker_of_the_same_name(stage: Stage) -> None:
    """There the fence is the worker's name (6.10)."""
    stage.start("steps: {a: {kind: ok}}")
    stage.lease()
    old = stage.held.pop("a")
    stage.clock.advance(LEASE + 1)
    stage.lease()
    new = stage.held["a"]
    assert (old.worker, old.epoch) == (new.worker, new.epoch - 1)
    assert stage.report(old, Succeeded(result="late")) is False
    assert stage.end("a", Succeeded(result="in time")) is True
    assert stage.result("a") == "in time"
    assert len(stage.events("step.refused")) == 1


def test_a_step_that_ends_its_worker_each_time_is_given_up(stage: Stage) -> None:
    """There it is taken up again and again (6.11)."""
    stage.start("steps: {a: {kind: ok}}")
    for _ in range(3):
        assert stage.lease() == ["a"]
        stage.held.clear()
        stage.clock.advance(LEASE + 1)
        stage.decide()
    assert (stage.status("a"), stage.error("a")["code"], stage.run().status) == ("failed", "worker_lost", "failed")


def test_a_lease_is_renewed_as_long_as_its_step_goes_on() -> None:
    with Runtime(lease_duration=0.3) as rt:

        @executor("long")
        def long(step: StepContext) -> int:
            time.sleep(1)
            return step.lease.epoch

        rt.register(long)
        run = rt.start(Package("p", steps={"a": {"kind": "long"}}))
        rt.run_workers(lambda: rt.run(run.id).ended_at is not None)  # type: ignore[union-attr]
        assert rt.result(run.id, "a") == 1


def test_a_clock_that_is_set_back_or_forward_takes_no_lease_away(stage: Stage) -> None:
    """There times are texts in the zone of whoever wrote them (6.15)."""
    stage.start("steps: {a: {kind: ok}}")
    stage.lease()
    for jump in (9 * HOUR, -18 * HOUR):
        stage.clock.jump(jump)
        stage.decide()
        assert stage.status("a") == "running"


def test_a_store_of_an_existing_connection_is_left_open(tmp_path: Path) -> None:
    """``NewSqliteBackendWithDB``."""
    with closing(sqlite3.connect(tmp_path / "mine.db", isolation_level=None)) as mine:
        with Runtime(mine) as rt:
            rt.start(Package("p", steps=[{"kind": "noop"}]))
            rt.run_until_idle()
        assert mine.execute("select status from runs").fetchall() == [("succeeded",)]


# -- propagation and converters ------------------------------------------------------------------------------------


def test_context_is_propagated_to_steps_sub_workflows_and_successors(stage: Stage) -> None:
    seen: list[tuple[str, object]] = []

    @executor("sees")
    def sees(step: StepContext) -> None:
        seen.append((f"{step.run.id}@{step.run.execution}", step.context["tenant"]))

    stage.runtime.register(sees)
    stage.runtime.register(package("context: [tenant]\nsteps: [{kind: sees}]", "child"))
    body = """
        context: [tenant]
        inputs: {n: {default: 0}}
        steps:
          mine: {kind: sees}
          call: {if: inputs.n == 0, kind: workflow, with: {package: child}}
          again: {needs: [mine, call], if: inputs.n == 0, kind: continue_as_new, with: {inputs: {n: 1}}}
    """
    assert stage.play(body, context={"tenant": "acme"}) == "succeeded"
    assert sorted(seen) == [("run-1.call@1", "acme"), ("run-1@1", "acme"), ("run-1@2", "acme")]


def test_a_converter_for_a_type_of_ones_own_is_a_serializer() -> None:
    @executor("halve")
    def halve(input: dict) -> Fraction:  # type: ignore[type-arg]
        half: Fraction = input["of"] / 2
        return half

    fractions = Serializer("fraction", Fraction, to_json=str, from_json=Fraction)
    with Runtime(serializers=[fractions]) as rt:
        rt.register(halve)
        steps = {"half": {"kind": "halve", "with": {"of": "${{ inputs.whole }}"}}}
        run = rt.start(Package("halves", inputs={"whole": {}}, steps=steps), {"whole": Fraction(1, 3)})
        rt.run_once()
        assert rt.result(run.id, "half") == Fraction(1, 6)
        row = rt.step(run.id, "half")
        assert row is not None
        assert row.result == '{"$type":"fraction","value":"1/6"}', "readable JSON, not base64"


def test_a_client_of_another_process_needs_neither_kinds_nor_packages(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/y.db"
    with Runtime(url) as rt:
        rt.start(Package("p", steps={"go": {"kind": "wait_signal", "with": {"signal": "go"}}}), run_id="r")
        rt.run_until_idle()
        ask = (
            "import sys; from yamlflow import Client\n"
            "with Client(sys.argv[1]) as c: c.signal('r', 'go', 3); print(c.wait('r', 10).status, c.result('r', 'go'))"
        )
        told = subprocess.run([sys.executable, "-c", ask, url], cwd=ROOT, capture_output=True, text=True, check=False)
        assert (told.stdout, told.stderr) == ("succeeded 3\n", "")
