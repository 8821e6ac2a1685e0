"""The features of go-workflows, each as a test named for it: instances, their lives, their ends and their removal.

Sections 1.1, 1.2, 1.14, 1.16 and 1.19 of its features, and 5, 7, 9 and 11 of its weaknesses, where this is to be better.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from yamlflow.client import Client
from yamlflow.clock import DAY, HOUR, MINUTE, SECOND
from yamlflow.errors import InvalidInput, NotAllowed, RunExists, UnknownName
from yamlflow.runtime import Runtime
from yamlflow.store.base import RunFilter
from yamlflow.testing import FakeClock

from ..engine.stage import Stage, package

ONE = "steps: {a: {kind: ok}}"
WAITS = "steps: {go: {kind: wait_signal, with: {signal: go}}}\noutputs: '${{ steps.go.result }}'"
RENEWS = """
    inputs: {n: {type: integer, default: 0}}
    steps:
      again: {if: inputs.n < 3, kind: continue_as_new, with: {inputs: {n: "${{ inputs.n + 1 }}"}}}
    outputs: {n: "${{ inputs.n }}"}
"""


# -- identity ------------------------------------------------------------------------------------------------------


def test_an_instance_has_an_id_of_its_callers_choice_and_a_number_for_each_execution(stage: Stage) -> None:
    assert stage.play(ONE, run_id="order-17") == "succeeded"
    assert stage.play(ONE, run_id="order-17", if_exists="new") == "succeeded"
    assert [(run.id, run.execution) for run in stage.runtime.runs()] == [("order-17", 2), ("order-17", 1)]


def test_an_instance_without_an_id_is_named_for_its_package(stage: Stage) -> None:
    """There an empty id is an error; here none need be thought of."""
    first, second = (stage.runtime.start(package(ONE, "shop")) for _ in range(2))
    assert first.id.startswith("shop-")
    assert first.id != second.id


def test_an_id_of_an_active_instance_is_refused_and_nothing_stored(stage: Stage) -> None:
    stage.start(WAITS, run_id="r")
    for policy in ("fail", "new"):
        with pytest.raises(RunExists, match='"r"'):
            stage.start(WAITS, run_id="r", if_exists=policy)
    assert len(stage.runtime.runs()) == 1


def test_an_id_of_a_finished_instance_may_be_used_again_where_that_is_asked_for(stage: Stage) -> None:
    """There it always may; here a second start by mistake is an error, or joins the first (idempotent creation)."""
    stage.play(ONE, run_id="r")
    with pytest.raises(RunExists, match="new"):
        stage.start(ONE, run_id="r")
    assert stage.start(ONE, run_id="r", if_exists="join").execution == 1
    assert stage.start(ONE, run_id="r", if_exists="new").execution == 2


def test_arguments_that_do_not_fit_create_no_instance(stage: Stage) -> None:
    with pytest.raises(InvalidInput, match=r"inputs\.n"):
        stage.start("inputs: {n: {type: integer}}\nsteps: [{kind: ok}]", {"n": "many"})
    assert stage.runtime.runs() == []


# -- lifecycle -----------------------------------------------------------------------------------------------------


def test_states_of_a_life_pending_running_and_an_end_with_its_time(stage: Stage) -> None:
    stage.start(WAITS)
    stage.runtime.run_until_idle()
    assert (stage.run().status, stage.run().ended_at) == ("running", None)
    stage.clock.advance(HOUR)
    stage.runtime.signal("run-1", "go")
    assert stage.finish() == "succeeded"
    run = stage.run()
    assert (run.ended_at or 0) - run.created_at == HOUR


@pytest.mark.parametrize(
    ("body", "cancel", "status"),
    [
        (ONE, False, "succeeded"),
        ("steps: {a: {kind: bad}}", False, "failed"),
        (WAITS, True, "canceled"),
    ],
)
def test_success_failure_and_cancellation_are_distinct_states(
    stage: Stage, body: str, cancel: bool, status: str
) -> None:
    """There all three are Finished (6.9)."""
    stage.start(body)
    stage.runtime.run_until_idle()
    if cancel:
        stage.runtime.cancel("run-1")
    assert stage.finish() == status
    assert [run.id for run in stage.runtime.list(status=status).runs] == ["run-1"]


def test_continued_is_the_state_of_an_execution_that_went_on(stage: Stage) -> None:
    assert stage.play(RENEWS) == "succeeded"
    assert [run.status for run in stage.runtime.runs()] == ["succeeded", "continued", "continued", "continued"]


def test_a_failure_keeps_its_error_and_a_success_its_result(stage: Stage) -> None:
    stage.play("steps: {a: {kind: bad, with: {code: sold_out, message: none left}}}\noutputs: {x: 1}")
    assert (stage.error()["code"], stage.error()["message"], stage.error()["step"]) == ("sold_out", "none left", "a")
    stage.play("steps: {a: {kind: ok}}\noutputs: {x: 1}")
    assert stage.result() == {"x": 1}


def test_what_nobody_waits_for_is_waited_for_and_masks_no_error(stage: Stage) -> None:
    """There a future that is still pending at the end fails the run with an error that hides its own (6.4)."""
    body = "steps: {bad: {kind: bad, with: {code: mine}}, timer: {kind: sleep, with: {for: 2s}}}"
    assert stage.play(body) == "failed"
    assert stage.error()["code"] == "mine"
    assert stage.status("timer") == "succeeded"
    assert stage.play(f"fail_fast: true\n{body}") == "failed"
    assert (stage.error()["code"], stage.status("timer")) == ("mine", "canceled")


# -- history -------------------------------------------------------------------------------------------------------


def test_the_minimal_history_is_the_start_one_step_and_the_end(stage: Stage) -> None:
    stage.play(ONE)
    assert [event.kind for event in stage.events() if event.step != ""] == [
        "run.started", "step.ready", "step.leased", "step.succeeded", "run.succeeded",
    ]  # fmt: skip


def test_the_history_is_numbered_from_one_without_a_gap_and_timed(stage: Stage) -> None:
    stage.play("steps: [{kind: ok}, {kind: sleep, with: {for: 1h}}, {kind: ok}]")
    events = stage.events()
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert [event.at for event in events] == sorted(event.at for event in events)
    assert events[-1].at - events[0].at == HOUR


def test_a_history_that_grows_over_its_limit_fails_the_run(stage: Stage) -> None:
    body = "limits: {events: 30}\nsteps: {poll: {kind: ok, repeat: {until: 'false', every: 1s}}}"
    assert stage.play(body) == "failed"
    assert stage.error()["code"] == "limit_exceeded"
    assert "limits.events is 30" in stage.error()["message"]


# -- the client ----------------------------------------------------------------------------------------------------


def test_waiting_ends_with_a_timeout_that_says_where_the_run_is(stage: Stage) -> None:
    stage.start(WAITS)
    with pytest.raises(TimeoutError, match=r'run "run-1" has not ended within 0 seconds; it is running'):
        stage.runtime.wait("run-1", 0)
    with pytest.raises(UnknownName, match='no run "nobody"'):
        stage.runtime.wait("nobody", 0)


def test_waiting_ends_as_soon_as_another_process_worker_has_ended_the_run(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/y.db"
    with Runtime(url) as worker, Client(url) as client:
        client.start(package("steps: {nap: {kind: sleep, with: {for: 200ms}}}\noutputs: done"), run_id="r")
        waiting = threading.Thread(target=lambda: client.wait("r", 20))
        began = time.monotonic()
        waiting.start()
        worker.run_workers(lambda: not waiting.is_alive())
        assert (client.run("r").status, client.result("r")) == ("succeeded", "done")  # type: ignore[union-attr]
        assert time.monotonic() - began < 10


def test_the_result_of_a_renewed_run_is_that_of_its_last_execution(stage: Stage) -> None:
    """There a handle gives the first execution's result for ever (6.9)."""
    stage.start(RENEWS)
    stage.finish()
    assert stage.runtime.wait("run-1", 0).execution == 4
    assert stage.runtime.result("run-1") == {"n": 3}


def test_get_state_of_an_unknown_instance_reads_as_none_and_commands_on_it_are_errors(stage: Stage) -> None:
    assert stage.runtime.run("nobody") is None
    for command in (stage.runtime.cancel, stage.runtime.remove, stage.runtime.pause, stage.runtime.retry):
        with pytest.raises(UnknownName, match='no run "nobody"'):
            command("nobody")


def test_commands_on_finished_instances_are_answered_and_rot_nowhere(stage: Stage) -> None:
    """There an accepted cancel or signal stays pending for ever (6.11)."""
    stage.play(ONE)
    assert stage.runtime.cancel("run-1") is False
    with pytest.raises(NotAllowed, match="has ended"):
        stage.runtime.signal("run-1", "go")
    assert stage.store.signals(stage.run().key) == []


def test_instances_are_listed_newest_first_in_pages_by_status_package_and_parent(stage: Stage) -> None:
    for number in range(5):
        stage.play(package(ONE, f"p{number % 2}"))
    first = stage.runtime.list(limit=3)
    second = stage.runtime.list(limit=3, cursor=first.cursor)
    assert [run.id for run in (*first.runs, *second.runs)] == [f"run-{n}" for n in (5, 4, 3, 2, 1)]
    assert second.cursor is None
    assert [run.id for run in stage.runtime.list(package="p1").runs] == ["run-4", "run-2"]


def test_stats_count_active_instances_and_what_waits_in_each_queue(stage: Stage) -> None:
    for _ in range(2):
        stage.start(WAITS)
    stage.runtime.run_until_idle()
    steps = "steps: {a: {kind: ok}, b: {kind: ok, queue: gpu}, c: {kind: ok, queue: gpu}}"
    stage.start(f"queues: {{gpu: {{max_in_flight: 1}}}}\n{steps}")
    assert sorted(stage.lease()) == ["a", "b"]
    counts = stage.runtime.statistics()
    assert (counts.active, counts.runs, counts.waiting) == (3, {"running": 3}, 2)
    assert {name: (one.ready, one.running) for name, one in counts.queues.items()} == {
        "default": (0, 1),
        "play/gpu": (1, 1),
    }


# -- removal -------------------------------------------------------------------------------------------------------


def test_removing_an_instance_that_has_not_finished_is_refused(stage: Stage) -> None:
    stage.start(WAITS)
    with pytest.raises(NotAllowed, match="has not ended"):
        stage.runtime.remove("run-1")


def test_an_instance_blocked_on_a_signal_can_be_ended_by_force_and_removed(stage: Stage) -> None:
    """There it can neither be terminated nor removed (6.2)."""
    stage.start("steps: {go: {kind: wait_signal, with: {signal: go}}}\nfinally: [{kind: sleep, with: {for: 9d}}]")
    stage.runtime.run_until_idle()
    stage.runtime.cancel("run-1", force=True)
    assert stage.run().status == "canceled"
    assert stage.runtime.remove("run-1") == 1
    assert stage.runtime.run("run-1") is None


FAMILY = """
    retention: {finished: 1d, continued: 1h}
    signals: {go: {}}
    inputs: {n: {default: 0}}
    steps:
      many: {for_each: "${{ range(50) }}", kind: set, with: {value: "${{ 'payload ' * 200 }}"}}
      child: {kind: workflow, with: {package: child}}
      keep: {kind: record, with: {collection: seen, key: "${{ run.execution }}", data: {n: 1}}}
      write: {run: "echo kept > \\"$YAMLFLOW_ARTIFACTS/kept.txt\\""}
      read: {kind: wait_signal, with: {signal: go}}
      again:
        needs: [many, child, keep, write, read]
        if: inputs.n == 0
        kind: continue_as_new
        with: {inputs: {n: 1}}
"""


def rows(file: Path) -> dict[str, int]:
    """How many rows each table has that holds any, but for what belongs to no run."""
    with closing(sqlite3.connect(file)) as db:
        names = [name for (name,) in db.execute("select name from sqlite_master where type = 'table'")]
        counts = {name: db.execute(f"select count(*) from {name}").fetchone()[0] for name in names}
    kept = {"retentions", "queues", "workers", "meta", "_sqlite_migrations", "sqlite_sequence"}
    return {name: count for name, count in counts.items() if count and name not in kept}


def test_expiration_leaves_no_row_in_any_table_and_the_file_shrinks(tmp_path: Path) -> None:
    """There history and payloads are never deleted (6.5)."""
    file, clock = tmp_path / "y.db", FakeClock()
    with Runtime(f"sqlite:///{file}", clock=clock, max_workers=100, synchronous="normal") as runtime:
        runtime.register(package("steps: {a: {kind: set, with: {value: 1}}}\nretention: {finished: 1d}", "child"))
        runtime.register(package(FAMILY, "family"))
        for name in ("one", "two"):
            runtime.start("family", run_id=name)
            for _ in range(3):
                runtime.signal(name, "go", "x" * 1000)
            runtime.run_until_idle()
            assert runtime.run(name).status == "succeeded"  # type: ignore[union-attr]
        assert len(runtime.runs(RunFilter())) == 8
        assert {"runs", "steps", "events", "signals", "artifacts", "packages"} <= set(rows(file))
        clock.advance(2 * HOUR)
        runtime.apply_retention()
        assert {run.status for run in runtime.runs(RunFilter())} == {"succeeded"}
        clock.advance(DAY)
        runtime.apply_retention()
        assert runtime.runs(RunFilter()) == []
        # Records belong to the package, not to the run: they stay, in the package's own file.
        with closing(runtime.projections.open("family")) as projection:
            assert projection.execute("select count(*) from seen").fetchone() == (2,)
        full = file.stat().st_size
    assert rows(file) == {}
    assert not list((tmp_path / "artifacts").rglob("kept.txt")), "artifacts go with their run"
    with closing(sqlite3.connect(file)) as db:
        db.execute("pragma wal_checkpoint(truncate)")
        full = max(full, file.stat().st_size)
        db.execute("vacuum")
    assert file.stat().st_size < full / 2


def test_instances_finished_before_a_time_are_removed_in_batches(stage: Stage) -> None:
    for _ in range(5):
        stage.play(ONE)
        stage.clock.advance(HOUR)
    gone = stage.runtime.prune(older_than=2.5 * 3600, limit=2)
    assert [run.id for run in gone] == ["run-1", "run-2"]
    assert [run.id for run in stage.runtime.prune(older_than=2.5 * 3600)] == ["run-3"]
    assert sorted(run.id for run in stage.runtime.runs()) == ["run-4", "run-5"]


def test_auto_expiration_is_the_work_of_whoever_works_and_a_new_delay_applies_at_once(stage: Stage) -> None:
    """There it is a workflow of its own that has to be started (1.14)."""
    stage.runtime.register(package(f"retention: {{finished: 7d}}\n{ONE}", "kept"))
    stage.play(stage.runtime.package("kept"))
    stage.clock.advance(DAY)
    assert stage.runtime.apply_retention() == 0
    stage.runtime.declare(package(f"retention: {{finished: 1h}}\n{ONE}", "kept"))
    stage.clock.advance(MINUTE + SECOND)
    stage.start(WAITS)
    stage.runtime.run_once()
    assert [run.id for run in stage.runtime.runs()] == ["run-2"]
