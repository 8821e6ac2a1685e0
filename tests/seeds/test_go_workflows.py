"""The features of go-workflows, each as a test named for it: how yamlflow does the same, or better.

Its Tester (section 1.21 of its features): mocks, callbacks at workflow time, signals, cancels, two clock modes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from yamlflow import Permanent, executor
from yamlflow.context import StepContext
from yamlflow.facts import RunInfo, StepInfo
from yamlflow.outcome import Succeeded
from yamlflow.testing import T0, WorkflowTest, run_executor

from ..engine.stage import package

HOUR = 3_600_000
PARENT = """
    steps:
      call: {kind: workflow, with: {package: child, inputs: {n: 2}}}
    outputs: {double: "${{ steps.call.result.double }}"}
"""
CHILD = """yamlflow: 1
name: child
inputs: {n: {type: integer}}
steps:
  wait: {kind: wait_signal, with: {signal: go}}
outputs: {double: "${{ inputs.n * 2 }}"}
"""


@executor("shop/price")
def price(item: str) -> int:
    """What an activity is there, an executor is here."""
    return len(item)


BUY = """
    inputs: {item: {type: string, default: lamp}}
    steps:
      price: {kind: shop/price, retry: {max_attempts: 3, delay: 1h, backoff: fixed}, with: {item: "${{ inputs.item }}"}}
      double: {needs: price, kind: python, with: {code: "result = price * 2", args: {price: "${{ steps.price.result }}"}}}
    outputs: {double: "${{ steps.double.result }}"}
"""


def buy(workflow: Any, **options: Any) -> WorkflowTest:
    made: WorkflowTest = workflow(package(BUY), executors=[price], **options)
    return made


@pytest.fixture
def family(workflow: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WorkflowTest:
    """A parent whose child waits for a signal, found by its name in the project's workflows."""
    (tmp_path / "workflows").mkdir()
    (tmp_path / "workflows" / "child.yaml").write_text(CHILD)
    (tmp_path / "yamlflow.toml").write_text("")
    monkeypatch.chdir(tmp_path)
    made: WorkflowTest = workflow(package(PARENT, "parent"))
    return made


def test_tester_executes_a_workflow_that_finishes_with_its_result(workflow: Any) -> None:
    end = buy(workflow).run()
    assert (end.status, end.outputs) == ("succeeded", {"double": 8})


def test_tester_on_activity_returns_a_result(workflow: Any) -> None:
    assert buy(workflow).mock(kind="shop/price", result=50).run().outputs == {"double": 100}


def test_tester_on_activity_returns_an_error(workflow: Any) -> None:
    end = buy(workflow).mock(step="price", error={"code": "sold_out", "permanent": True}).run()
    assert end.error is not None
    assert (end.status, end.error["code"]) == ("failed", "sold_out")


def test_tester_on_activity_with_arguments(workflow: Any) -> None:
    test = buy(workflow, inputs={"item": "vase"})
    test.mock(kind="shop/price", when={"item": "lamp"}, result=1).mock(
        kind="shop/price", when={"item": "vase"}, result=2
    )
    assert test.run().outputs == {"double": 4}


def test_tester_once_mocked_never_falls_back_to_the_real_activity(workflow: Any) -> None:
    end = buy(workflow, inputs={"item": "vase"}).mock(kind="shop/price", when={"item": "lamp"}, result=1).run()
    assert end.error is not None
    assert end.error["code"] == "mock_mismatch"


def test_tester_what_is_not_mocked_runs_for_real(workflow: Any) -> None:
    end = buy(workflow).mock(kind="shop/price", result=3).run()
    assert [(call.kind, call.mocked) for call in end.calls()] == [("shop/price", True), ("python", False)]
    assert end.result("double") == 6


def test_tester_assert_expectations(workflow: Any) -> None:
    end = buy(workflow).mock(kind="shop/price", sequence=[OSError("lost"), 5]).run()
    end.expect(calls=[{"kind": "shop/price", "times": 2, "inputs": [{"item": "lamp"}, {"item": "lamp"}]}])
    with pytest.raises(AssertionError, match=r"calls of shop/price: expected 3, came 2"):
        end.expect(calls={"shop/price": 3})


def test_tester_on_sub_workflow(family: WorkflowTest) -> None:
    assert family.mock(package="child", when={"inputs": {"n": 2}}, result={"double": 7}).run().outputs == {"double": 7}


def test_tester_on_sub_workflow_that_fails(family: WorkflowTest) -> None:
    end = family.mock(package="child", error="no_luck").run()
    assert end.error is not None
    assert end.error["code"] == "no_luck"


def test_tester_sub_workflow_runs_for_real_and_signal_workflow_instance_reaches_it(family: WorkflowTest) -> None:
    family.after("3h").call(lambda runtime: runtime.signal("test.call", "go"))
    end = family.run()
    assert (end.outputs, end.lasted) == ({"double": 4}, 3 * HOUR)


def test_tester_listen_sub_workflow(family: WorkflowTest) -> None:
    seen: list[str] = []
    family.when("call").call(lambda runtime: seen.append(runtime.run("test.call").package))
    family.when("call", after="1m").call(lambda runtime: runtime.signal("test.call", "go"))
    family.run()
    assert seen == ["child"]


def test_tester_schedule_callback_runs_at_workflow_time(workflow: Any) -> None:
    at: list[int] = []
    test = workflow(package("steps: {nap: {kind: sleep, with: {for: 30d}}}"))
    test.after("36h").call(lambda runtime: at.append(runtime.clock.now())).run()
    assert at == [T0 + 36 * HOUR]


def test_tester_signal_workflow(workflow: Any) -> None:
    test = workflow(
        package("steps: {wait: {kind: wait_signal, with: {signal: s}}}\noutputs: '${{ steps.wait.result }}'")
    )
    assert test.after("5s").signal("s", [1, 2]).run().outputs == [1, 2]


def test_tester_cancel_workflow(workflow: Any) -> None:
    test = workflow(package("steps: {wait: {kind: wait_signal, with: {signal: s}}}"))
    end = test.after("2h").cancel(reason="enough").run()
    assert (end.status, end.lasted) == ("canceled", 2 * HOUR)


def test_tester_cancel_workflow_instance_cancels_a_child(family: WorkflowTest) -> None:
    family.when("call", after="1h").call(lambda runtime: runtime.cancel("test.call", reason="enough"))
    end = family.run()
    assert (end.status, end.step("call").status, end.lasted) == ("canceled", "canceled", HOUR)


def test_tester_with_initial_time_and_now(workflow: Any) -> None:
    body = "steps: {nap: {kind: sleep, with: {for: 1h}}, late: {needs: nap, kind: set, with: {value: '${{ now() }}'}}}"
    end = workflow(package(body), start_at="2030-05-01T08:00:00Z").run()
    assert end.result("late").startswith("2030-05-01T09:00:00")


def test_tester_with_context_propagator(workflow: Any) -> None:
    body = "context: [tenant]\nsteps: {a: {kind: set, with: {value: '${{ context.tenant }}'}}}"
    assert workflow(package(body), context={"tenant": "acme"}).run().result("a") == "acme"


def test_tester_with_max_history_size(workflow: Any) -> None:
    body = "limits: {events: 50}\nsteps: {many: {for_each: '${{ range(100) }}', kind: noop}}"
    end = workflow(package(body)).run()
    assert end.error is not None
    assert end.error["code"] == "limit_exceeded"


def test_tester_with_test_timeout(workflow: Any) -> None:
    body = "steps: {poll: {repeat: {until: result == 1, every: 1s, max: 1000000}, kind: set, with: {value: 0}}}"
    with pytest.raises(AssertionError, match="took longer than 200ms"):
        workflow(package(body), timeout="200ms").run()


def test_tester_time_travel_jumps_to_the_next_timer(workflow: Any) -> None:
    body = "steps: {a: {kind: sleep, with: {for: 365d}}, b: {kind: sleep, with: {for: 1h}}}"
    end = workflow(package(body)).run()
    assert end.lasted == 365 * 24 * HOUR
    assert next(line for line in end.story if ": succeeded" in line).split() == ["+1h", "b:", "succeeded"]


def test_tester_wall_clock_while_a_real_activity_runs(workflow: Any) -> None:
    body = """
        steps:
          first:
            race: true
            steps: {real: {run: sleep 0.2}, timer: {kind: sleep, with: {for: 1h}}}
        outputs: {winner: "${{ steps.first.winner }}"}
    """
    end = workflow(package(body)).run()
    assert (end.outputs, end.lasted) == ({"winner": "real"}, 0)


def test_tester_a_blocked_workflow_fails_at_once_and_says_for_what_it_waits(family: WorkflowTest) -> None:
    with pytest.raises(AssertionError) as caught:
        family.run()
    assert "nothing can happen any more" in str(caught.value)
    assert '[test.call] wait: waits for the signal "go"' in str(caught.value)


def test_activity_tester_gives_an_activity_its_identity() -> None:
    @executor("who")
    def who(step: StepContext) -> str:
        if not step.run.id:
            raise Permanent("nobody", "no run")
        return f"{step.run.id}/{step.step.path}/{step.attempt}"

    outcome = run_executor(
        who,
        run=RunInfo(id="r1", execution=1, name="r", package="p", version=None, metadata={}, started_at=T0),
        step=StepInfo(id="a", path="g/a", kind="who", title=None, metadata={}),
        attempt=3,
    )
    assert outcome == Succeeded(result="r1/g/a/3")
