"""Steps that an executor emits: children of its success, by the same rules as those an author wrote."""

from __future__ import annotations

import pytest

from .stage import Stage


def emitter(children: str, more: str = "", rest: str = "") -> str:
    """A package whose step ``e`` emits, and ``after`` needs it."""
    after = "{kind: set, needs: {e: finished}, with: {value: '${{ steps.e.status }}'}}"
    return f"steps:\n  e: {{kind: emit, with: {{children: {children}{more}}}}}\n  after: {after}\n{rest}"


def test_the_emitter_is_their_group_once_it_has_succeeded_and_its_result_is_its_own(stage: Stage) -> None:
    assert stage.play(emitter("{x: {kind: ok}, y: {kind: ok}}")) == "succeeded"
    assert stage.ran == ["e", "e/x", "e/y"]
    assert (stage.result("e"), stage.result("after")) == ("emitted", "succeeded")


def test_those_that_need_the_emitter_wait_for_what_it_emitted(stage: Stage) -> None:
    stage.start(emitter("{x: {kind: sleep, with: {for: 1h}}}"))
    stage.runtime.run_until_idle()
    assert stage.statuses() == {"e": "waiting", "e/x": "waiting", "after": "pending"}


def test_those_that_need_the_emitter_do_not_wait_for_what_it_emitted_detached(stage: Stage) -> None:
    stage.start(emitter("{x: {kind: sleep, with: {for: 1h}}}", ", detached: true"))
    stage.runtime.run_until_idle()
    assert stage.statuses() == {"e": "succeeded", "e/x": "waiting", "after": "succeeded"}
    assert stage.run().status == "running"
    assert stage.finish() == "succeeded"


def test_a_detached_child_that_fails_fails_the_group_around_its_emitter(stage: Stage) -> None:
    assert stage.play(emitter("{x: {kind: bad}}", ", detached: true")) == "failed"
    assert (stage.status("e"), stage.result("after")) == ("succeeded", "succeeded")


def test_a_failed_child_fails_its_emitter(stage: Stage) -> None:
    assert stage.play(emitter("{x: {kind: bad}, y: {kind: ok}}")) == "failed"
    assert (stage.status("e"), stage.result("after"), stage.error("e")["step"]) == ("failed", "failed", "e/x")
    assert stage.status("e/y") == "succeeded"


def test_children_may_need_siblings_under_any_condition(stage: Stage) -> None:
    stage.play(
        emitter("""{
        z: {kind: ok, needs: [x, y]}, x: {kind: ok}, y: {kind: bad, continue_on_error: true},
        n: {kind: ok, needs: {x: failed}}, m: {kind: ok, needs: {n: finished}}}""")
    )
    assert stage.statuses() == {
        "e": "succeeded", "after": "succeeded", "e/x": "succeeded", "e/y": "failed", "e/z": "succeeded",
        "e/n": "skipped", "e/m": "succeeded",
    }  # fmt: skip


def test_a_need_on_their_own_emitter_is_met(stage: Stage) -> None:
    assert stage.play(emitter("{x: {kind: ok, needs: [e]}, y: {kind: ok, needs: [e, x]}}")) == "succeeded"
    assert stage.ran == ["e", "e/x", "e/y"]


@pytest.mark.parametrize("needs", ["[nobody]", "[x]", "{y: sometimes}"])
def test_a_need_that_nothing_can_meet_fails_the_emitter_and_adds_nothing(stage: Stage, needs: str) -> None:
    assert stage.play(emitter(f"{{x: {{kind: ok, needs: {needs}}}, y: {{kind: ok}}}}")) == "failed"
    assert stage.error("e")["code"] == "bad_result"
    assert set(stage.statuses()) == {"e", "after"}


def test_children_that_need_one_another_in_a_ring_fail_the_emitter(stage: Stage) -> None:
    assert stage.play(emitter("{x: {kind: ok, needs: [y]}, y: {kind: ok, needs: [x]}}")) == "failed"
    assert stage.error("e")["code"] == "bad_result"


def test_what_an_attempt_emitted_that_failed_is_never_there(stage: Stage) -> None:
    from yamlflow.context import StepContext
    from yamlflow.errors import Retryable
    from yamlflow.executors import executor

    @executor("late", schema={}, mode="inline")
    def late(step: StepContext) -> None:
        step.emit(f"of_{step.attempt}", kind="ok")
        if step.attempt == 1:
            raise Retryable("boom", "after emitting")

    stage.runtime.register(late)
    assert stage.play("steps: {e: {kind: late, retry: {max_attempts: 2}}}") == "succeeded"
    assert set(stage.statuses()) == {"e", "e/of_2"}


def test_a_key_emitted_twice_is_one_step(stage: Stage) -> None:
    from yamlflow.outcome import Emitted, Succeeded

    stage.start("steps: {e: {kind: ok}}")
    stage.lease()
    twice = (Emitted(key="x", definition={"kind": "ok"}), Emitted(key="x", definition={"kind": "bad"}))
    stage.end("e", Succeeded(emitted=twice))
    assert stage.finish() == "succeeded"
    assert stage.ran == ["e/x"]


def test_emitted_steps_may_be_groups_loops_and_emitters(stage: Stage) -> None:
    assert (
        stage.play(
            emitter("""{
        g: {steps: {p: {kind: ok}, q: {kind: ok, needs: p}}, finally: [{kind: ok}]},
        l: {kind: ok, for_each: [1, 2]},
        e: {kind: emit, needs: [g, l], with: {children: {deep: {kind: ok}}}}}""")
        )
        == "succeeded"
    )
    assert set(stage.ran[:-2]) == {"e", "e/l[0]", "e/l[1]", "e/g/p", "e/g/q", "e/g@finally/_1"}
    assert stage.ran[-2:] == ["e/e", "e/e/deep"]


def test_what_an_executor_emitted_is_data_not_a_template(stage: Stage) -> None:
    stage.play(emitter("{x: {kind: set, with: {value: \"${{ '${{ 1 + 1 }}' }}\"}}}"))
    assert stage.result("e/x") == "${{ 1 + 1 }}"


def test_a_cancel_reaches_emitted_children(stage: Stage) -> None:
    stage.start(emitter("{x: {kind: sleep, with: {for: 1h}}, y: {kind: ok, needs: [x]}}"))
    stage.runtime.run_until_idle()
    stage.runtime.cancel(stage.run_id, "e")
    assert stage.finish() == "canceled"
    assert (stage.status("e"), stage.status("e/x"), stage.status("e/y"), stage.result("after")) == (
        "canceled",
        "canceled",
        "canceled",
        "canceled",
    )


def test_emitted_steps_inherit_queue_and_priority(stage: Stage) -> None:
    stage.play(
        "queues: {q: {max_in_flight: 1}}\nsteps: {e: {kind: emit, queue: q, priority: 7, "
        "with: {children: {x: {kind: ok}, y: {kind: ok, queue: default, priority: 1}}}}}"
    )
    assert (stage.row("e/x").queue, stage.row("e/x").priority) == ("play/q", 7)
    assert (stage.row("e/y").queue, stage.row("e/y").priority) == ("default", 1)


def test_emitted_steps_count_towards_limits_steps(stage: Stage) -> None:
    assert stage.play(emitter("{a: {kind: ok}, b: {kind: ok}, c: {kind: ok}}", rest="limits: {steps: 5}")) == "failed"
    assert stage.error()["code"] == "limit_exceeded"
    assert "e/a" not in stage.statuses()
    assert stage.play(emitter("{a: {kind: ok}, b: {kind: ok}}", rest="limits: {steps: 5}")) == "succeeded"


def test_detached_children_are_kept_out_of_the_results_of_the_loop_around_their_emitter(stage: Stage) -> None:
    stage.play("""
        steps:
          e: {kind: emit, for_each: [1, 2], with: {detached: true, children: {x: {kind: ok}}}}
          after: {kind: set, needs: e, with: {value: "${{ steps.e.result }}"}}
    """)
    assert stage.result("after") == ["emitted", "emitted"]
