"""The read models: boards stay small, reasons are words, drawings hold no markup of an author's."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from yamlflow import document
from yamlflow.packages import Loaded, loaded
from yamlflow.rows import EventRow
from yamlflow.runtime import Runtime
from yamlflow.testing import FakeClock
from yamlflow.views.attempts import told_by
from yamlflow.views.board import MANY, Board
from yamlflow.views.drawing import drawing, to_dot, to_mermaid
from yamlflow.views.language import with_kinds
from yamlflow.views.queues import queues_of
from yamlflow.views.steps import StepView, tree_of

Runtimes = Callable[..., Runtime]


def package(steps: dict[str, Any], **more: Any) -> Loaded:
    """A package of these steps."""
    return loaded(document.read(json.dumps({"yamlflow": 1, "name": "p", "steps": steps, **more})))


def event(seq: int, kind: str, step: str | None, **told: Any) -> EventRow:
    """One line of a log, a millisecond after the one before."""
    return EventRow(1, seq, seq, kind, step, json.dumps(told) if told else None)


def views(view: StepView) -> dict[str, StepView]:
    """A tree by path."""
    found = {view.path: view}
    for child in view.children:
        found.update(views(child))
    return found


@pytest.fixture
def look(runtime: Runtimes, clock: FakeClock) -> Callable[..., dict[str, StepView]]:
    """Start a run of some steps, do a number of cycles, and look at it."""

    def start(steps: dict[str, Any], cycles: int = 0, **more: Any) -> dict[str, StepView]:
        one = runtime(store="sqlite:///:memory:", clock=clock)
        run = one.start(package(steps, **more), run_id="r")
        for _ in range(cycles):
            one.run_once()
        tree = tree_of(one.store, one.plans, one.run(run.id) or run, now=clock.now(), working=True)
        assert tree is not None
        return views(tree)

    return start


def test_a_board_never_holds_what_is_only_counted() -> None:
    board, seq, most = Board(), 0, 0
    board.apply(event(1, "step.opened", "each", children=5000))
    for number in range(5000):
        for kind in ("step.opened", "step.ready", "step.leased", "step.succeeded"):
            seq += 1
            board.apply(event(seq, kind, f"each[{number}]"))
            most = max(most, len(board.entries))
    assert most <= 2
    assert board.entries["each"].done == 5000


def test_a_small_fan_out_stands_on_the_board_step_by_step() -> None:
    board = Board()
    board.apply(event(1, "step.opened", "each", children=MANY))
    for number in range(MANY):
        board.apply(event(number + 2, "step.leased", f"each[{number}]", attempt=1))
    assert len(board.entries) == MANY + 1


def test_a_failure_below_a_counted_child_counts_the_child_once() -> None:
    board = Board()
    board.apply(event(1, "step.opened", "each", children=100))
    board.apply(event(2, "step.failed", "each[3]/inner", code="x", attempt=1))
    board.apply(event(3, "step.failed", "each[3]", code="x"))
    assert (board.entries["each"].done, board.entries["each"].failed) == (1, 1)


Look = Callable[..., dict[str, StepView]]


def test_a_step_names_the_needs_that_it_waits_for(look: Look) -> None:
    steps = look({"a": {"kind": "noop"}, "b": {"kind": "noop"}, "c": {"kind": "noop", "needs": ["a", "b"]}})
    assert steps["c"].reason == "waits for a, b"
    assert steps["a"].reason == 'waits for a worker in queue "default"'


def test_a_step_that_was_passed_by_says_because_of_what(look: Look) -> None:
    steps = look(
        {
            "bad": {"kind": "fail", "with": {"code": "no", "message": "no"}},
            "next": {"kind": "noop", "needs": "bad"},
            "later": {"kind": "noop", "needs": "next"},
            "fine": {"kind": "noop", "needs": {"bad": "failed"}},
        },
        cycles=4,
    )
    assert steps["next"].reason == "because bad failed"
    assert steps["later"].reason == "because next was skipped"
    assert steps["fine"].status == "succeeded"
    assert steps["bad"].error["code"] == "no"


def test_time_queues_and_places_are_named_as_what_is_waited_for(look: Look) -> None:
    steps = look(
        {
            "nap": {"kind": "sleep", "with": {"for": "90s"}},
            "again": {
                "kind": "fail",
                "with": {"code": "no", "message": "no"},
                "retry": {"max_attempts": 2, "delay": "30s"},
            },
            "rated": {"for_each": [1, 2], "kind": "noop", "queue": "slow"},
            "narrow": {"for_each": {"items": [1, 2], "max_parallel": 1}, "kind": "sleep", "with": {"for": "1h"}},
        },
        cycles=4,
        queues={"slow": {"rate": "1/m"}},
    )
    assert "sleeps until" in str(steps["nap"].reason)
    assert "backing off until" in str(steps["again"].reason)
    assert 'queue "p/slow" has no token until' in str(steps["rated[1]"].reason)
    assert str(steps["narrow[1]"].reason).startswith("not offered: waits for a place")


def test_of_a_large_fan_out_what_failed_is_listed_and_the_rest_counted(look: Look) -> None:
    steps = look(
        {
            "each": {
                "for_each": {"items": "${{ range(200) | list }}", "tolerate": 3},
                "steps": {"bad": {"if": "item == 150", "kind": "fail", "with": {"code": "no", "message": "no"}}},
            }
        },
        cycles=300,
    )
    whole = steps["each"]
    assert (whole.total, whole.done) == (200, 200)
    assert "each[150]" in steps
    assert len(whole.children) + whole.hidden == 200
    assert len(steps) < 30


def test_every_lease_of_a_step_is_an_attempt_that_can_be_looked_at(runtime: Runtimes, clock: FakeClock) -> None:
    one = runtime(store="sqlite:///:memory:", clock=clock)
    step = {"kind": "fail", "with": {"code": "no", "message": "no"}, "retry": {"max_attempts": 2, "delay": "30s"}}
    run = one.start(package({"again": step}))
    one.run_once()
    clock.advance(30_000)
    one.run_once()
    first, second = told_by(one.store.events(run.key, step="again"))
    assert (first.attempt, first.status, first.next_at) == (1, "failed", second.started_at)
    assert (second.attempt, second.status, second.error["code"]) == (2, "failed", "no")


def test_a_queues_tokens_come_back_with_time(runtime: Runtimes, clock: FakeClock) -> None:
    one = runtime(store="sqlite:///:memory:", clock=clock)
    one.start(package({"a": {"kind": "noop", "queue": "q"}}, queues={"q": {"rate": "6/m"}}))
    one.run_once()
    (spent,) = [queue for queue in queues_of(one.store, now=clock.now()) if queue.name == "p/q"]
    assert (spent.tokens, spent.token_at, spent.rate) == (0, clock.now() + 10_000, 0.1)
    (later,) = [queue for queue in queues_of(one.store, now=clock.now() + 5000) if queue.name == "p/q"]
    assert later.tokens == 0.5


def test_nothing_that_an_author_writes_is_markup_in_a_drawing() -> None:
    hostile = 'x == "<b>|</b>" and "`" != "#" and "\\"'
    drawn = drawing(package({"end": {"kind": "noop", "if": hostile}, "b": {"kind": "noop", "needs": "end"}}).plan)
    box = next(line for line in to_mermaid(drawn).splitlines() if "noop" in line)
    assert box.count('"') == 2
    assert "<b>" not in box
    assert "`" not in box
    label = next(line for line in to_dot(drawn).splitlines() if "<b>" in line)
    assert '\\"<b>|</b>\\"' in label


def test_a_kinds_own_references_still_lead_somewhere() -> None:
    from jsonschema import Draft202012Validator

    kind = {
        "type": "object",
        "properties": {"tree": {"$ref": "#/$defs/node"}},
        "$defs": {
            "node": {"type": "object", "properties": {"left": {"$ref": "#/$defs/node"}, "n": {"type": "integer"}}}
        },
    }
    validator = Draft202012Validator(with_kinds(document.package_schema(), {"a/tree": kind}))

    def fits(value: Any) -> bool:
        step = {"kind": "a/tree", "with": {"tree": value}}
        return validator.is_valid({"yamlflow": 1, "name": "p", "steps": {"s": step}})

    assert fits({"left": {"n": 1}})
    assert fits({"left": "${{ inputs.tree }}"})
    assert not fits({"left": {"n": "one"}})
