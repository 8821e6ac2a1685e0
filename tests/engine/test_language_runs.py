"""Runs as a whole: ids and executions, the pinned text, limits, the fence around leases, and the log."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from yamlflow.engine import commands
from yamlflow.engine.leasing import lease
from yamlflow.errors import InvalidInput, RunExists, UnknownName, UserError
from yamlflow.events import EVENTS
from yamlflow.outcome import Succeeded
from yamlflow.store.base import RunFilter

from .stage import Stage, package, staged

ONE = "steps: {a: {kind: ok}}"


# -- ids -----------------------------------------------------------------------------------------------------------


def test_a_run_id_in_use_is_refused(stage: Stage) -> None:
    stage.start(ONE, run_id="r")
    with pytest.raises(RunExists, match="r"):
        stage.start(ONE, run_id="r")
    stage.finish()
    with pytest.raises(RunExists, match="new"):
        stage.start(ONE, run_id="r")
    assert len(stage.runtime.runs()) == 1


def test_join_takes_the_run_that_is_there(stage: Stage) -> None:
    first = stage.start(ONE, run_id="r")
    assert stage.start(ONE, run_id="r", if_exists="join").key == first.key
    stage.finish()
    assert stage.start(ONE, run_id="r", if_exists="join").key == first.key


def test_new_is_the_next_execution_once_the_run_has_ended(stage: Stage) -> None:
    stage.start(ONE, run_id="r")
    with pytest.raises(RunExists):
        stage.start(ONE, run_id="r", if_exists="new")
    stage.finish()
    second = stage.start(ONE, run_id="r", if_exists="new")
    assert second.execution == 2
    assert stage.run("r").key == second.key
    assert stage.store.find_run("r", 1).status == "succeeded"
    assert stage.finish() == "succeeded"
    assert [row.execution for row in stage.runtime.runs(RunFilter(id="r"))] == [2, 1]


@pytest.mark.parametrize("id", ["", "a/b", "a b", ".hidden", "x" * 201, "a\nb", "a\x00"])
def test_ids_that_no_path_or_line_can_hold_are_refused(stage: Stage, id: str) -> None:
    with pytest.raises(UserError):
        stage.runtime.start(package(ONE), run_id=id or " ")
    assert stage.runtime.runs() == []


def test_an_unknown_run_reads_as_none(stage: Stage) -> None:
    assert (stage.runtime.run("nobody"), stage.runtime.result("nobody"), stage.runtime.step("nobody", "a")) == (
        None,
        None,
        None,
    )
    with pytest.raises(UnknownName, match="not registered"):
        stage.runtime.start("nobody")


# -- bad input stores nothing --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("inputs", "match"), [
    ({}, "n: the input is required"), ({"n": "x"}, "inputs.n"), ({"n": 9}, "9"), ({"n": 1, "m": 2}, "m"),
    ({"n": True}, "n"),
    ({"n": 1, "deep": {"list": [1, "x"]}}, r"deep.list\[1\]"), ({"n": {1, 2}}, "set"), ({"n": float("nan")}, "nan"),
])  # fmt: skip
def test_inputs_are_checked_before_anything_is_stored(stage: Stage, inputs: dict[str, object], match: str) -> None:
    body = """
        inputs:
          n: {type: integer, maximum: 5}
          deep: {type: object, properties: {list: {type: array, items: {type: integer}}}, default: {}}
        steps: {a: {kind: ok}}
    """
    with pytest.raises(InvalidInput, match=match):
        stage.start(body, inputs)
    assert stage.runtime.runs() == []
    assert stage.store.package(package(body).document.digest) is None


def test_defaults_fill_what_is_not_given(stage: Stage) -> None:
    stage.play(
        "inputs: {a: {default: 1}, b: {type: string, default: x}}\nsteps: {s: {kind: set, with: "
        "{value: '${{ [inputs.a, inputs.b] }}'}}}",
        {"b": "y"},
    )
    assert stage.result("s") == [1, "y"]


# -- the text it started with --------------------------------------------------------------------------------------


def test_a_run_goes_on_with_the_text_it_started_with(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/y.db"
    with staged(store=url) as first:
        first.start("steps: [{kind: set, id: a, with: {value: old}}, {kind: ok, id: b, with: {value: old}}]")
    with staged(store=url) as second:
        second.runtime.register(package("steps: [{kind: ok, id: a, with: {value: new}}, {kind: bad, id: b}]"))
        second.run_id = "run-1"
        assert second.finish() == "succeeded"
        assert second.result("b") == "old"


def test_a_package_text_is_kept_once(stage: Stage) -> None:
    for _ in range(3):
        stage.play(ONE)
    digests = {row.digest for row in stage.runtime.runs()}
    assert digests == {package(ONE).document.digest}


# -- limits --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("body", "steps"), [
    ("steps: {a: {kind: ok}, b: {kind: ok}}", 3),
    ("steps: {a: {kind: ok, for_each: [1, 2, 3]}}", 5),
    ("steps: {a: {kind: ok, repeat: {until: 'iteration == 3'}}}", 5),
    ("steps: {g: {steps: {a: {kind: ok}}}}", 3),
])  # fmt: skip
def test_a_run_that_passes_limits_steps_fails(stage: Stage, body: str, steps: int) -> None:
    assert stage.play(f"limits: {{steps: {steps}}}\n{body}") == "succeeded"
    assert stage.play(f"limits: {{steps: {steps - 1}}}\n{body}") == "failed"
    assert stage.error()["code"] == "limit_exceeded"


def test_the_limit_of_steps_ends_what_runs_and_lets_the_handlers_run(stage: Stage) -> None:
    assert stage.play("""
        limits: {steps: 5}
        steps: {s: {kind: sleep, with: {for: 1h}}, a: {kind: ok, for_each: [1, 2, 3, 4]}}
        on_failure: [{id: f, kind: set, with: {value: "${{ error.code }}"}}]
    """) == "failed"  # fmt: skip
    assert (stage.status("s"), stage.result("@on_failure/f")) == ("canceled", "limit_exceeded")


def test_a_run_that_passes_limits_events_fails(stage: Stage) -> None:
    assert stage.play("limits: {events: 40}\nsteps: {a: {kind: ok, repeat: {until: 'false'}}}") == "failed"
    assert stage.error()["code"] == "limit_exceeded"
    assert len(stage.events()) < 60


def test_run_says_how_far_it_is(stage: Stage) -> None:
    stage.play(
        "steps: {a: {kind: ok}, b: {kind: set, needs: a, with: {value: ['${{ run.steps_done }}', "
        "'${{ run.event_count > 0 }}', '${{ run.execution }}', '${{ run.id }}']}}}"
    )
    assert stage.result("b") == [1, True, 1, "run-1"]


# -- leases --------------------------------------------------------------------------------------------------------


def test_an_outcome_of_an_older_lease_is_refused_logged_and_harmless_also_from_the_same_worker(stage: Stage) -> None:
    stage.start(ONE)
    stage.lease()
    old = stage.held.pop("a")
    stage.clock.advance(60_000)
    stage.lease()
    new = stage.held["a"]
    assert (old.worker, old.epoch < new.epoch) == (new.worker, True)
    assert stage.report(old, Succeeded(result="late")) is False
    assert stage.status("a") == "running"
    assert stage.end("a", Succeeded(result="right")) is True
    assert stage.report(new, Succeeded(result="again")) is False
    assert stage.result("a") == "right"
    assert len(stage.events("step.refused")) == 2


def test_a_lost_lease_spends_no_attempt_but_three_in_a_row_fail_the_step(stage: Stage) -> None:
    stage.start("steps: {a: {kind: ok, retry: {max_attempts: 2, delay: 0s}}}")
    for losses in (1, 2):
        assert stage.lease() == ["a"]
        assert stage.row("a").attempt == 1
        stage.held.clear()
        stage.clock.advance(60_000)
        stage.decide()
        assert (stage.row("a").attempt, stage.row("a").lost) == (0, losses)
    stage.lease()
    stage.held.clear()
    stage.clock.advance(60_000)
    stage.decide()
    assert (stage.status("a"), stage.error("a")["code"]) == ("failed", "worker_lost")
    assert stage.status() == "failed"


def test_losses_are_counted_in_a_row(stage: Stage) -> None:
    stage.start("steps: {a: {kind: ok, retry: {max_attempts: 3, delay: 0s}}}")
    for _ in range(2):
        for _ in range(2):
            stage.lease()
            stage.held.clear()
            stage.clock.advance(60_000)
            stage.decide()
        stage.lease()
        stage.fail("a")
    assert stage.status("a") == "ready"


def test_a_lease_that_is_handed_back_spends_nothing(stage: Stage) -> None:
    stage.start(ONE)
    for _ in range(5):
        assert stage.lease() == ["a"]
        row = stage.held.pop("a")
        with stage.transact() as work:
            assert commands.release(work, step=row.id, epoch=row.epoch, worker="hand")
            assert not commands.release(work, step=row.id, epoch=row.epoch, worker="hand")
    assert (stage.row("a").attempt, stage.row("a").lost) == (0, 0)


def test_a_wall_clock_that_jumps_expires_no_lease(stage: Stage) -> None:
    stage.start(ONE)
    stage.lease()
    stage.clock.jump(86_400_000)
    stage.decide()
    assert stage.status("a") == "running"


def test_a_step_is_leased_to_one_worker_only(stage: Stage) -> None:
    stage.start(ONE)
    stage.decide()
    with stage.transact() as work:
        first = lease(work, stage.wanted(5, "one")).steps
    with stage.transact() as work:
        second = lease(work, stage.wanted(5, "two")).steps
    assert (len(first), len(second)) == (1, 0)


def test_an_outcome_is_committed_with_all_that_follows_from_it_or_not_at_all(stage: Stage) -> None:
    stage.start("steps: {a: {kind: ok}, b: {kind: ok, needs: a}}")
    stage.lease()
    before, log = stage.rows(), stage.events()

    class Broken(Exception):
        pass

    row = stage.held["a"]
    with pytest.raises(Broken), stage.transact() as work:
        commands.report(work, step=row.id, epoch=row.epoch, worker="hand", outcome=Succeeded(result=1))
        work.flush()
        raise Broken
    assert (stage.rows(), stage.events()) == (before, log)
    stage.end("a")
    assert stage.lease() == ["b"]


# -- the log -------------------------------------------------------------------------------------------------------

ALL = """
steps:
  a: {kind: flaky, with: {times: 1}, retry: {max_attempts: 2}}
  s: {kind: sleep, with: {for: 1s}}
  k: {kind: ok, if: false}
  g: {needs: a, steps: {x: {kind: bad}}, on_failure: [{kind: ok}], recover: true}
  d: {kind: set, with: {value: "${{ uuid() }}"}}
"""


def test_events_are_complete_in_order_and_in_the_words_of_the_table(stage: Stage) -> None:
    stage.play(ALL)
    events = stage.events()
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert {event.kind for event in events} <= set(EVENTS)
    assert [event.kind for event in events if event.step == "a"] == [
        "step.ready", "step.leased", "step.retried", "step.leased", "step.succeeded",
    ]  # fmt: skip
    assert [event.kind for event in events if event.step == "s"] == [
        "step.ready",
        "step.leased",
        "step.waiting",
        "step.woken",
        "step.succeeded",
    ]
    assert [event.kind for event in events if event.step == "k"] == ["step.skipped"]
    ends = [
        event.step
        for event in events
        if event.kind.rpartition(".")[2] in ("succeeded", "failed", "skipped", "canceled") and event.step
    ]
    assert sorted(ends) == sorted(stage.statuses())
    assert (events[0].kind, events[-1].kind) == ("run.started", "run.succeeded")


def test_payloads_hold_what_the_table_says_and_no_more(stage: Stage) -> None:
    stage.play(ALL)
    for event in stage.events():
        allowed = {word.strip() for word in EVENTS[event.kind][2].split(",")}
        assert set(json.loads(event.payload or "{}")) <= allowed | {"attempt", "reason"}, event


def test_time_and_chance_that_an_attempt_drew_are_in_the_log(stage: Stage) -> None:
    stage.play(
        "steps: {d: {kind: set, with: {value: ['${{ uuid() }}', '${{ random() }}', '${{ now() }}', '${{ now() }}']}}}"
    )
    (event,) = stage.events("step.drawn", "d")
    drawn = json.loads(event.payload or "{}")
    first, second, third, fourth = stage.result("d")
    assert drawn == {"uuid": [first], "random": [second], "now": [third]}
    assert third == fourth


def test_whoever_listens_hears_each_event_once_it_is_durable(stage: Stage) -> None:
    heard: list[tuple[int, str]] = []
    with staged(on_event=lambda event: heard.append((event.seq, event.kind))) as listened:
        listened.play(ALL)
        assert heard == [(event.seq, event.kind) for event in listened.events()]


def test_a_message_without_end_does_not_make_the_log_endless(stage: Stage) -> None:
    stage.play("inputs: {n: {default: 900000}}\nsteps: {a: {kind: bad, with: {message: \"${{ 'x' * inputs.n }}\"}}}")
    assert max(len(event.payload or "") for event in stage.events()) < 20_000
    assert len(stage.row("a").error or "") < 20_000


def test_a_result_is_at_most_a_megabyte(stage: Stage) -> None:
    stage.play("steps: {a: {kind: ok, with: {value: \"${{ ['x' * 999000, 'y' * 99000] }}\"}}}")
    assert stage.error("a")["code"] == "bad_result"


def test_a_store_is_left_without_a_trace_of_a_run_that_was_removed(stage: Stage) -> None:
    stage.play(ALL)
    run = stage.run()
    with stage.store.transaction() as tx:
        tx.remove_run(run.key)
    connection = stage.store._db
    assert isinstance(connection, sqlite3.Connection)
    for table in ("runs", "steps", "events", "edges", "artifacts", "packages"):
        assert connection.execute(f"select count(*) from {table}").fetchone()[0] == 0
