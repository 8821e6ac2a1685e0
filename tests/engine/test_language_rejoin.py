"""What an operator's retry of a child run means for the runs above it."""

from __future__ import annotations

import pytest

from .stage import Stage, package

#: Fails until the run's input says otherwise: its own retry finds the world changed.
CHILD = """
    steps:
      before: {kind: ok}
      work: {kind: brittle, needs: before}
      after: {kind: ok, needs: work, with: {value: done}}
    outputs: {came: "${{ steps.after.result }}"}
"""


@pytest.fixture
def family(stage: Stage) -> Stage:
    """A child whose step ``work`` fails as long as ``stage.broken``."""
    from yamlflow.errors import Permanent
    from yamlflow.executors import executor

    broken = [True]

    @executor("brittle")
    def brittle() -> None:
        """Fails while the world is broken."""
        if broken[0]:
            raise Permanent("no_luck", "it broke")

    stage.runtime.register(brittle)
    stage.runtime.register(package(CHILD, "child"))
    stage.mend = lambda: broken.__setitem__(0, False)  # type: ignore[attr-defined]
    return stage


def executions(stage: Stage, id: str) -> int:
    run = stage.runtime.run(id)
    assert run is not None
    return run.execution


PARENT = """
    steps:
      first: {kind: ok}
      call: {kind: workflow, needs: first, with: {package: child}}
      then: {kind: ok, needs: call, with: {value: "${{ steps.call.result.came }}"}}
    outputs: {got: "${{ steps.then.result }}"}
"""


def test_a_parent_that_failed_because_of_a_child_goes_on_when_the_child_is_retried(family: Stage) -> None:
    assert family.play(PARENT) == "failed"
    family.mend()  # type: ignore[attr-defined]
    family.ran.clear()
    family.runtime.retry("run-1.call", "work")
    assert family.run().status == "running"
    assert family.finish() == "succeeded"
    assert family.result("then") == "done"
    assert executions(family, "run-1.call") == 1
    # What had succeeded in either run stayed.
    assert "first" not in family.ran
    assert "before" not in family.ran


def test_a_child_that_ends_before_its_parent_is_looked_at_is_not_started_anew(family: Stage) -> None:
    assert family.play(PARENT) == "failed"
    family.mend()  # type: ignore[attr-defined]
    family.runtime.retry("run-1.call")
    child = family.runtime.run("run-1.call")
    assert child is not None
    from yamlflow.once import run_once
    from yamlflow.worker import Settings

    for _ in range(10):
        run_once(family.runtime.bench, Settings(slots=10, runs={child.key}))
    assert family.run("run-1.call").status == "succeeded"
    assert family.run().status == "running"
    assert family.finish() == "succeeded"
    assert executions(family, "run-1.call") == 1


def test_a_child_that_fails_again_fails_its_parent_again(family: Stage) -> None:
    assert family.play(PARENT) == "failed"
    family.runtime.retry("run-1.call")
    assert family.finish() == "failed"
    assert family.error("call")["code"] == "no_luck"


def test_runs_above_runs_go_on_too(family: Stage) -> None:
    family.runtime.register(package(PARENT, "middle"))
    assert family.play("steps: {top: {kind: workflow, with: {package: middle}}}") == "failed"
    family.mend()  # type: ignore[attr-defined]
    family.runtime.retry("run-1.top.call", "work")
    assert family.finish() == "succeeded"
    assert [executions(family, id) for id in ("run-1", "run-1.top", "run-1.top.call")] == [1, 1, 1]


def test_one_child_of_a_fan_out_is_joined_and_the_others_stay(family: Stage) -> None:
    body = """
        steps:
          each: {for_each: [1, 2, 3], kind: workflow, with: {package: child, run_id: "c${{ item }}"}}
          then: {kind: ok, needs: each}
    """
    assert family.play(body) == "failed"
    family.mend()  # type: ignore[attr-defined]
    family.runtime.retry("c2")
    assert family.finish() == "failed"
    assert family.statuses()["each[1]"] == "succeeded"
    for id in ("c1", "c3"):
        family.runtime.retry(id)
    assert family.finish() == "succeeded"
    assert [executions(family, f"c{n}") for n in (1, 2, 3)] == [1, 1, 1]


@pytest.mark.parametrize(
    "body",
    [
        "steps: {call: {kind: workflow, continue_on_error: true, with: {package: child}}}",
        "steps: {g: {recover: true, steps: {call: {kind: workflow, with: {package: child, run_id: run-1.call}}}, "
        "on_failure: [{kind: ok}]}}",
    ],
)
def test_where_the_failure_was_handled_the_parent_stays_as_it_ended(family: Stage, body: str) -> None:
    assert family.play(body) == "succeeded"
    family.mend()  # type: ignore[attr-defined]
    before = family.statuses()
    family.runtime.retry("run-1.call")
    assert family.finish("run-1.call") == "succeeded"
    assert family.statuses() == before


def test_a_parent_that_was_canceled_stays_canceled(family: Stage) -> None:
    family.runtime.register(package("steps: {nap: {kind: sleep, with: {for: 1h}}}", "sleeper"))
    family.start("steps: {call: {kind: workflow, with: {package: sleeper}}}")
    family.runtime.run_until_idle()
    family.runtime.cancel("run-1")
    assert family.finish() == "canceled"
    family.runtime.retry("run-1.call")
    assert family.finish("run-1.call") == "succeeded"
    assert family.run().status == "canceled"


def test_a_retry_of_the_parent_alone_still_starts_the_child_anew(family: Stage) -> None:
    assert family.play(PARENT) == "failed"
    family.mend()  # type: ignore[attr-defined]
    family.runtime.retry("run-1")
    assert family.finish() == "succeeded"
    assert executions(family, "run-1.call") == 2


def test_a_child_of_what_was_undone_as_one_is_retried_and_its_step_made_anew_waits_for_it(family: Stage) -> None:
    text = """
        steps:
          g:
            kind: emit
            undo: {kind: ok}
            with: {children: {one: {kind: workflow, with: {package: child}}}}
        outputs: {came: "${{ steps.g.status }}"}
    """
    assert family.play(text) == "failed"
    assert family.status("g@undo") == "succeeded"
    family.mend()  # type: ignore[attr-defined]
    family.runtime.retry("run-1.g.one")
    assert family.finish() == "succeeded"
    assert executions(family, "run-1.g.one") == 1
    assert family.row("g/one").result == '{"came":"done"}'


def test_what_was_undone_as_one_starts_its_child_anew(family: Stage) -> None:
    text = """
        steps:
          g: {kind: emit, undo: {kind: ok}, with: {children: {one: {kind: workflow, with: {package: child}}}}}
    """
    assert family.play(text) == "failed"
    family.mend()  # type: ignore[attr-defined]
    family.runtime.retry("run-1")
    assert family.finish() == "succeeded"
    assert executions(family, "run-1.g.one") == 2
