"""Statuses: the table of what each event makes of each, and the rules that are read off rows."""

from __future__ import annotations

import json
from typing import Any

import pytest

from yamlflow import document, lifecycle
from yamlflow.lifecycle import RUN_STATUS, STAGES, TERMINAL, TRANSITIONS, Status, moved
from yamlflow.outcome import Error
from yamlflow.packages import loaded
from yamlflow.plan import Node
from yamlflow.rows import StepRow, new_step

NOW = 1_000_000


def step(status: str = "running", **changes: Any) -> StepRow:
    """A row."""
    given: dict[str, Any] = {
        "status": status,
        "phase": "run",
        "attempt": 1,
        "started_at": NOW,
        "ready_at": NOW,
        **changes,
    }
    return new_step(id=1, run=1, path="a", parent=None)._replace(**given)


def node(text: str, path: str = "a") -> Node:
    """The node of a step of a package."""
    return loaded(document.read(f"yamlflow: 1\nname: p\nsteps: {{{text}}}")).plan.node(path)


# -- the table -----------------------------------------------------------------------------------------------------


def test_the_table_speaks_of_every_status_and_leads_to_known_ones() -> None:
    assert set(TRANSITIONS) == {status.value for status in Status} == set(RUN_STATUS)
    assert {to for row in TRANSITIONS.values() for to in row.values()} <= set(TRANSITIONS)


def test_only_an_operator_s_reopen_leads_out_of_a_terminal_status() -> None:
    for status in TERMINAL:
        assert TRANSITIONS[status] == {"reopen": "pending"}
    for status in set(TRANSITIONS) - TERMINAL:
        assert "reopen" not in TRANSITIONS[status]


def test_every_status_can_be_reached_and_every_live_one_can_end() -> None:
    reached, todo = {"pending"}, ["pending"]
    while todo:
        for to in TRANSITIONS[todo.pop()].values():
            if to not in reached:
                reached.add(to)
                todo.append(to)
    assert reached == set(TRANSITIONS)
    for status in set(TRANSITIONS) - TERMINAL:
        assert TRANSITIONS[status]["cancel"] == "canceled"
        assert TRANSITIONS[status]["fail"] == "failed"


@pytest.mark.parametrize("status", TRANSITIONS)
@pytest.mark.parametrize("event", sorted({event for row in TRANSITIONS.values() for event in row}))
def test_an_event_does_what_the_table_says_or_is_impossible(status: str, event: str) -> None:
    if event in TRANSITIONS[status]:
        assert moved(step(status), event, attempt=7) == step(TRANSITIONS[status][event], attempt=7)
    else:
        with pytest.raises(KeyError):
            moved(step(status), event)


# -- needs ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("status", "reason", "more", "counts"), [
    ("succeeded", None, "", {"succeeded"}), ("failed", None, "", {"failed"}), ("canceled", "user", "", {"canceled"}),
    ("failed", None, ", continue_on_error: true", {"failed", "succeeded"}), ("skipped", "if", "", {"skipped"}),
    ("skipped", "needs", "", {"skipped"}), ("skipped", "failed", "", {"failed"}),
    ("skipped", "canceled", "", {"canceled"}),
    ("canceled", "race", ", continue_on_error: true", {"canceled"}),
])  # fmt: skip
def test_an_end_counts_for_those_that_need_it(status: str, reason: str | None, more: str, counts: set[str]) -> None:
    assert lifecycle.counts_as(step(status, reason=reason), node(f"a: {{kind: x{more}}}")) == counts


def test_a_pending_step_remembers_the_worst_that_it_missed() -> None:
    row = step("pending")
    for ends, reason in (("skipped", "needs"), ("canceled", "canceled"), ("failed", "failed"), ("skipped", "failed")):
        row = lifecycle.unblock(row, holds=False, ends=frozenset({ends}))
        assert row.reason == reason
    assert (row.met, row.missed) == (0, 4)
    assert lifecycle.unblock(row, holds=True, ends=frozenset({"succeeded"})).met == 1


@pytest.mark.parametrize(("join", "met", "missed", "due", "lost"), [
    ("all", 2, 0, False, False), ("all", 3, 0, True, False), ("all", 2, 1, False, True),
    ("any", 1, 0, True, False), ("any", 0, 2, False, False), ("any", 0, 3, False, True),
    ("2", 1, 1, False, False), ("2", 2, 1, True, False), ("2", 1, 2, False, True),
])  # fmt: skip
def test_a_join_is_met_or_out_of_reach(join: str, met: int, missed: int, due: bool, lost: bool) -> None:
    of = node(f"x: {{kind: k}}, y: {{kind: k}}, z: {{kind: k}}, a: {{kind: k, needs: [x, y, z], join: {join}}}")
    row = step("pending", met=met, missed=missed)
    assert (lifecycle.is_due(row, of), lifecycle.is_out_of_reach(row, of)) == (due, lost)


# -- attempts ------------------------------------------------------------------------------------------------------

BOOM = Error(code="boom", message="it broke")


def after(row: StepRow, more: str, *, now: int = NOW, after_ms: int | None = None) -> StepRow:
    """A row after a failed attempt."""
    return lifecycle.after_failure(row, node(f"a: {{kind: x{more}}}"), BOOM, after=after_ms, now=now, chance=0.5)


def test_a_failed_attempt_is_tried_again_later_or_is_the_end() -> None:
    again = after(step(lost=2, worker="w"), ", retry: {max_attempts: 2, delay: 3s}")
    assert (again.status, again.parked, again.available_at, again.worker, again.lost) == (
        "ready",
        "timer",
        NOW + 3000,
        None,
        0,
    )
    assert json.loads(again.error or "")["code"] == "boom"
    over = after(step(attempt=2), ", retry: {max_attempts: 2, delay: 3s}")
    assert (over.status, over.phase, over.ended_at) == ("failed", "", NOW)


def test_what_was_to_be_canceled_is_canceled_when_its_attempt_fails() -> None:
    row = after(step(cancel='{"origin": "race"}'), ", retry: {max_attempts: 2}")
    assert (row.status, row.reason) == ("canceled", "race")


def test_time_in_the_queue_is_not_time_elapsed() -> None:
    late = step(ready_at=NOW - 3_600_000, started_at=NOW)
    policy = ", retry: {max_attempts: 9, delay: 1s, backoff: fixed, max_elapsed: 10s}"
    first = after(late, policy, now=NOW + 5000)
    assert (first.status, first.ready_at) == ("ready", NOW)
    second = first._replace(status="running", attempt=2, started_at=NOW + 6000)
    assert after(second, policy, now=NOW + 8000).status == "ready"
    assert after(second, policy, now=NOW + 9001).status == "failed"


def test_a_lost_lease_is_no_attempt_until_there_are_too_many() -> None:
    row = step()
    for losses in (1, 2):
        row = lifecycle.lost(row, now=NOW)
        assert (row.status, row.lost, row.attempt) == ("ready", losses, 0)
        row = row._replace(status="running", attempt=1)
    row = lifecycle.lost(row, now=NOW)
    assert (row.status, json.loads(row.error or "")["code"]) == ("failed", "worker_lost")


@pytest.mark.parametrize("phase", ["gate", "outputs", "until"])
def test_the_engine_s_own_work_is_never_lost_for_good(phase: str) -> None:
    row = step(phase=phase, attempt=0)
    for _ in range(10):
        row = lifecycle.lost(row, now=NOW)
        assert (row.status, row.lost) == ("ready", 0)
        row = row._replace(status="running")


@pytest.mark.parametrize("what", [lifecycle.lost, lifecycle.released])
def test_what_was_to_be_canceled_does_not_come_back(what: Any) -> None:
    assert what(step(cancel='{"origin": "user"}'), now=NOW).status == "canceled"


# -- groups --------------------------------------------------------------------------------------------------------


def group(**changes: Any) -> StepRow:
    """A group whose steps go on."""
    return step("waiting", phase="steps", attempt=0, **changes)


PLAIN = "a: {steps: {x: {kind: k}, y: {kind: k, continue_on_error: true}}}"


@pytest.mark.parametrize(("changes", "verdict"), [
    ({}, "succeed"), ({"failures": 1}, "fail"), ({"cancellations": 1}, "cancel"), ({"cancel": "{}"}, "cancel"),
    ({"failures": 1, "cancel": "{}"}, "fail"), ({"error": "{}"}, "fail"),
    ({"failures": 1, "reason": "recovered"}, "succeed"),
    ({"error": "{}", "reason": "recovered"}, "fail"),
])  # fmt: skip
def test_failure_goes_before_cancel_and_cancel_before_success(changes: dict[str, Any], verdict: str) -> None:
    assert lifecycle.group_verdict(group(**changes), node(PLAIN)) == verdict


def test_a_child_s_end_is_counted_once_and_for_what_it_is() -> None:
    of = node(PLAIN)
    x, y = (node(PLAIN, f"a/{id}") for id in "xy")
    row = lifecycle.child_ended(group(alive=2), of, step("failed", error='{"code": "one"}'), x)
    assert (row.alive, row.failures, row.fault) == (1, 1, '{"code": "one"}')
    row = lifecycle.child_ended(row, of, step("failed", error='{"code": "two"}'), x)
    assert (row.failures, row.fault) == (2, '{"code": "one"}')
    assert lifecycle.child_ended(group(alive=1), of, step("failed"), y).failures == 0
    assert lifecycle.child_ended(group(alive=1), of, step("canceled", reason="user"), x).cancellations == 1
    assert lifecycle.child_ended(group(alive=1), of, step("canceled", reason="race"), x).cancellations == 0


@pytest.mark.parametrize(("race", "status", "winner"), [
    ("true", "succeeded", "x"), ("true", "failed", None), ("true", "canceled", None), ("true", "skipped", None),
    ("finished", "succeeded", "x"), ("finished", "failed", "x"), ("finished", "canceled", "x"),
    ("finished", "skipped", None),
])  # fmt: skip
def test_a_race_is_won_by_the_first_end_that_counts(race: str, status: str, winner: str | None) -> None:
    text = f"a: {{race: {race}, steps: {{x: {{kind: k}}, y: {{kind: k}}}}}}"
    row = lifecycle.child_ended(group(alive=2), node(text), step(status, reason="user"), node(text, "a/x"))
    assert (row.winner, lifecycle.wants_to_stop(row, node(text))) == (winner, "race" if winner else None)
    again = lifecycle.child_ended(row, node(text), step("failed"), node(text, "a/y"))
    if winner:
        assert (again.winner, again.failures, again.alive) == ("x", row.failures, 0)


def test_nobody_wins_a_race_that_is_being_stopped() -> None:
    text = "a: {race: finished, steps: {x: {kind: k}, y: {kind: k}}}"
    stopped = group(alive=2, reason="user", cancel="{}")
    assert lifecycle.child_ended(stopped, node(text), step("canceled", reason="user"), node(text, "a/x")).winner is None


@pytest.mark.parametrize(("tolerate", "total", "allowed"), [
    ("0", 10, 0), ("3", 10, 3), ("10%", 10, 1), ("10%", 9, 0), ("33%", 3, 0), ("100%", 7, 7), ("7%", 100, 7),
    ("29%", 100, 29),
])  # fmt: skip
def test_tolerance_is_a_number_or_a_share_rounded_down(tolerate: str, total: int, allowed: int) -> None:
    of = node(f"a: {{kind: k, for_each: {{items: [1], tolerate: {tolerate}}}}}")
    assert lifecycle.tolerated(of, total) == allowed
    assert lifecycle.group_verdict(group(children=total, failures=allowed), of) == "succeed"
    assert lifecycle.group_verdict(group(children=total, failures=allowed + 1), of) == "fail"


def test_the_stages_of_an_end_are_in_the_order_of_the_language() -> None:
    assert STAGES == ("steps", "undo", "handler", "outputs", "finally")


def test_a_verdict_calls_for_its_handler_where_there_is_one() -> None:
    body = node("a: {steps: {x: {kind: k}}, on_failure: [{kind: k}]}").group
    assert body is not None
    assert [lifecycle.handler_for(body, verdict) for verdict in ("fail", "cancel", "succeed")] == [
        "on_failure",
        None,
        None,
    ]
