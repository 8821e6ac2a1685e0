"""``locks``: a name has one holder in the whole store, from the lease of a step to the end of that lease."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from yamlflow.context import StepContext
from yamlflow.engine import commands
from yamlflow.executors import executor
from yamlflow.outcome import Emitted, Error, Failed, Succeeded, Waiting
from yamlflow.scheduler import tick

from .stage import Stage

TWO = "steps: {a: {kind: ok, locks: [x]}, b: {kind: ok, locks: [x]}, c: {kind: ok}}"


def held(stage: Stage) -> dict[str, str]:
    """The path that holds each lock."""
    return {lock.name: lock.path for lock in stage.store.locks()}


def pause_queue(stage: Stage, *, paused: bool) -> None:
    """Withhold the queue ``q`` of the package, or not."""
    with stage.transact() as work:
        commands.pause_queue(work, "play/q", paused=paused)


def waiting(stage: Stage) -> int:
    """How often steps are registered for a name."""
    return sum(lock.waiting for lock in stage.store.locks())


def test_two_steps_never_hold_one_lock_and_the_others_are_passed_by(stage: Stage) -> None:
    stage.start(TWO)
    assert set(stage.lease()) == {"a", "c"}
    assert held(stage) == {"x": "a"}
    assert (stage.status("b"), stage.row("b").parked, stage.row("b").attempt) == ("ready", "lock", 0)
    stage.end("a")
    assert stage.lease() == ["b"]
    assert stage.row("b").attempt == 1
    stage.end("b")
    assert held(stage) == {}


def test_a_lock_is_one_for_all_packages_and_runs_of_a_store(stage: Stage) -> None:
    stage.start("steps: {a: {kind: ok, locks: [x]}}")
    stage.lease()
    stage.start("steps: {b: {kind: ok, locks: [x]}}")
    assert stage.lease() == []
    stage.end("a")
    assert stage.lease() == ["b"]


def test_locks_are_taken_all_at_once_or_not_at_all(stage: Stage) -> None:
    stage.start("""
        steps:
          a: {kind: ok, locks: [x]}
          b: {kind: ok, locks: [y, x]}
          c: {kind: ok, locks: [y]}
    """)
    assert stage.lease() == ["a", "c"]
    assert held(stage) == {"x": "a", "y": "c"}
    stage.end("a")
    assert stage.lease() == []
    stage.end("c")
    assert stage.lease() == ["b"]
    assert held(stage) == {"x": "b", "y": "b"}


def test_names_are_rendered_for_each_child_of_a_loop(stage: Stage) -> None:
    stage.start("""
        steps:
          a: {for_each: [p, q, p], kind: ok, locks: ['disk ${{ item }}', "${{ 'disk ' ~ item }}"]}
    """)
    assert stage.lease() == ["a[0]", "a[1]"]
    assert held(stage) == {"disk p": "a[0]", "disk q": "a[1]"}


def after_success(stage: Stage) -> None:
    stage.end("a")


def after_failure(stage: Stage) -> None:
    stage.fail("a", permanent=True)


def after_wait(stage: Stage) -> None:
    stage.end("a", Waiting(until=stage.clock.now() + 60_000))


def after_emission(stage: Stage) -> None:
    child = Emitted(key="k", definition={"kind": "sleep", "with": {"for": "1h"}})
    stage.end("a", Succeeded(emitted=(child,)))


def while_backing_off(stage: Stage) -> None:
    stage.fail("a")
    assert stage.row("a").parked == "timer"


def after_loss(stage: Stage) -> None:
    stage.held.clear()
    stage.clock.advance(31_000)
    with stage.transact() as work:
        tick(work, steady=stage.clock.steady())
    stage.runtime.cancel(stage.run_id, "a")


def after_release(stage: Stage) -> None:
    row = stage.held.pop("a")
    stage.runtime.pause(stage.run_id)
    with stage.transact() as work:
        assert commands.release(work, step=row.id, epoch=row.epoch, worker="hand")
    stage.runtime.pause(stage.run_id, paused=False)
    stage.runtime.cancel(stage.run_id, "a")


def after_cancel(stage: Stage) -> None:
    stage.runtime.cancel(stage.run_id, "a")
    stage.end("a", Failed(error=Error(code="canceled", message="told to stop")))


@pytest.mark.parametrize(
    "leave",
    [
        after_success,
        after_failure,
        after_wait,
        after_emission,
        while_backing_off,
        after_loss,
        after_release,
        after_cancel,
    ],
)
def test_a_lock_is_given_back_with_the_lease_however_it_ends(stage: Stage, leave: Callable[[Stage], Any]) -> None:
    stage.start("""
        steps:
          a: {kind: ok, locks: [x], retry: {max_attempts: 2, delay: 10s}, continue_on_error: true}
          b: {kind: ok, locks: [x]}
    """)
    assert stage.lease() == ["a"]
    leave(stage)
    assert stage.lease() == ["b"]
    assert held(stage) == {"x": "b"}


def test_who_waits_for_a_lock_spends_no_token_and_no_place(stage: Stage) -> None:
    stage.start("""
        queues: {q: {max_in_flight: 2, rate: 2/h, burst: 2}}
        steps:
          a: {kind: ok, queue: q, locks: [x]}
          b: {kind: ok, queue: q, locks: [x]}
          c: {kind: ok, queue: q}
    """)
    assert set(stage.lease()) == {"a", "c"}


def test_of_those_that_wait_the_highest_priority_goes_first_then_the_oldest(stage: Stage) -> None:
    stage.start("""
        steps:
          a: {kind: ok, locks: [x], priority: 9}
          b: {kind: ok, locks: [x]}
          c: {kind: ok, locks: [x]}
          d: {kind: ok, locks: [x], priority: 1}
    """)
    order = []
    while leased := stage.lease():
        order += leased
        stage.end(*leased)
    assert order == ["a", "d", "b", "c"]


def test_a_crowd_that_waits_for_one_lock_comes_through(stage: Stage) -> None:
    assert stage.play("steps: {a: {for_each: '${{ range(60) }}', kind: ok, locks: [x]}}") == "succeeded"
    assert stage.ran == [f"a[{n}]" for n in range(60)]


def test_who_is_canceled_waits_for_nothing_any_more(stage: Stage) -> None:
    stage.start(TWO)
    stage.lease()
    assert waiting(stage) == 1
    stage.runtime.cancel(stage.run_id, "b")
    assert (stage.status("b"), waiting(stage)) == ("canceled", 0)


@pytest.mark.parametrize("pause", ["run", "queue"])
def test_who_is_paused_does_not_keep_others_from_a_lock_that_is_free(stage: Stage, pause: str) -> None:
    stage.start("queues: {q: {}}\nsteps: {b: {for_each: '${{ range(40) }}', kind: ok, queue: q, locks: [x]}}")
    assert stage.lease(1) == ["b[0]"]
    stage.lease()
    stage.start("steps: {late: {kind: ok, locks: [x]}}")
    assert stage.lease() == []
    if pause == "run":
        stage.runtime.pause("run-1")
    else:
        pause_queue(stage, paused=True)
    stage.end("b[0]")
    for _ in range(4):
        leased = stage.lease()
        if leased:
            break
    assert leased == ["late"]
    stage.end("late")
    if pause == "run":
        stage.runtime.pause("run-1", paused=False)
    else:
        pause_queue(stage, paused=False)
    assert stage.finish("run-1") == "succeeded"


def test_a_retried_step_takes_its_locks_again(stage: Stage) -> None:
    stage.start("steps: {a: {kind: ok, locks: ['${{ run.id }}']}}")
    stage.lease()
    stage.fail("a")
    assert held(stage) == {}
    stage.runtime.retry(stage.run_id)
    stage.lease()
    assert held(stage) == {stage.run_id: "a"}


def test_locks_are_held_while_the_executor_runs(stage: Stage) -> None:
    seen: list[dict[str, str]] = []

    @executor("look", schema={}, mode="inline")
    def look(step: StepContext) -> None:
        seen.append(held(stage))

    stage.runtime.register(look)
    assert stage.play("steps: {a: {kind: look, locks: [x, y]}, b: {kind: look, locks: [y]}}") == "succeeded"
    assert seen == [{"x": "a", "y": "a"}, {"y": "b"}]


def test_a_name_that_is_no_text_fails_the_step(stage: Stage) -> None:
    assert stage.play("steps: {a: {kind: ok, locks: [\"${{ 'x' * 600 }}\"]}}") == "failed"
    assert stage.error()["code"] == "bad_input"


def test_it_is_told_once_that_a_step_waits_and_for_what(stage: Stage) -> None:
    stage.start("steps: {a: {for_each: [1, 2, 3], kind: ok, locks: [x]}}")
    assert stage.lease() == ["a[0]"]
    stage.end("a[0]")
    assert stage.lease() == ["a[1]"]
    stage.end("a[1]")
    stage.lease()
    told = [(event.step, event.payload) for event in stage.events("step.blocked")]
    assert told == [("a[1]", '{"locks":["x"]}'), ("a[2]", '{"locks":["x"]}')]
