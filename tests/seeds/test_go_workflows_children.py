"""The features of go-workflows, each as a test named for it: sub-workflows and runs that renew themselves.

Sections 1.7 and 1.8 of its features, and 3 and 9 of its weaknesses, where this is to be better.
"""

from __future__ import annotations

import pytest

from yamlflow.clock import HOUR, SECOND
from yamlflow.rows import RunRow

from ..engine.stage import Stage, package

CHILDREN = {
    "double": """
        inputs: {n: {type: integer, default: 1}}
        steps: {work: {kind: ok, with: {value: "${{ inputs.n * 2 }}"}}}
        outputs: "${{ steps.work.result }}"
    """,
    "sleeper": """
        steps: {nap: {kind: sleep, with: {for: 1h}}}
        on_cancel: {said: {kind: set, with: {value: "${{ cancel.reason }}, said ${{ cancel.by }}"}}}
        finally: {tidy: {kind: sleep, with: {for: 10s}}}
    """,
    "broken": "steps: {work: {kind: bad, with: {code: no_luck, message: it broke}}}",
    "unlucky": "steps: {work: {kind: bad, with: {code: no_luck, permanent: true}}}",
    "renews": """
        inputs: {n: {type: integer, default: 0}}
        steps:
          nap: {kind: sleep, with: {for: 1h}}
          again: {needs: nap, if: inputs.n < 2, kind: continue_as_new, with: {inputs: {n: "${{ inputs.n + 1 }}"}}}
        outputs: {n: "${{ inputs.n }}"}
    """,
    "waits": "steps: {go: {kind: wait_signal, with: {signal: go}}}\noutputs: '${{ steps.go.result }}'",
}


@pytest.fixture
def family(stage: Stage) -> Stage:
    for name, body in CHILDREN.items():
        stage.runtime.register(package(body, name))
    return stage


def call(child: str, keys: str = "", **given: object) -> str:
    """A package whose one step calls another one."""
    inputs = ", ".join(f"{name}: {value}" for name, value in {"package": child, **given}.items())
    return f"steps: {{call: {{kind: workflow, {keys} with: {{{inputs}}}}}}}\noutputs: '${{{{ steps.call.result }}}}'"


def child(stage: Stage, id: str = "run-1.call") -> RunRow:
    run = stage.runtime.run(id)
    assert run is not None
    return run


def begun(stage: Stage, body: str) -> None:
    stage.start(body)
    stage.runtime.run_until_idle()


# -- sub-workflows -------------------------------------------------------------------------------------------------


def test_a_sub_workflow_gives_its_result_to_its_parent(family: Stage) -> None:
    assert family.play(call("double", inputs="{n: 21}")) == "succeeded"
    assert family.result() == 42


def test_a_sub_workflow_has_an_id_of_its_own_made_from_its_parents_or_chosen(family: Stage) -> None:
    family.play(call("double"))
    assert child(family).package == "double"
    family.play(call("double", run_id="order-7"))
    assert child(family, "order-7").status == "succeeded"


def test_a_sub_workflow_of_an_active_id_is_an_error_to_the_parent(family: Stage) -> None:
    begun(family, call("waits", run_id="one"))
    assert family.play(call("waits", run_id="one")) == "failed"
    assert family.error()["code"] == "run_exists"
    assert child(family, "one").execution == 1


def test_a_sub_workflow_of_a_finished_id_runs_again_where_that_is_asked_for(family: Stage) -> None:
    family.play(call("double", run_id="one"))
    assert family.play(call("double", run_id="one")) == "failed"
    assert family.play(call("double", run_id="one", if_exists="new")) == "succeeded"
    assert child(family, "one").execution == 2


def test_a_sub_workflow_can_work_in_a_queue_of_its_own(family: Stage) -> None:
    assert family.play("queues: {slow: {}}\n" + call("double", "queue: slow,")) == "succeeded"
    family.run_id = "run-1.call"
    assert family.row("work").queue == "play/slow"


def test_a_sub_workflow_is_not_retried_unless_asked_and_then_each_attempt_is_an_execution(family: Stage) -> None:
    assert family.play(call("broken")) == "failed"
    assert child(family).execution == 1
    assert family.play(call("broken", "retry: {max_attempts: 3, delay: 1h},")) == "failed"
    assert child(family, "run-2.call").execution == 3


def test_a_sub_workflow_that_failed_for_good_is_not_retried(family: Stage) -> None:
    assert family.play(call("unlucky", "retry: {max_attempts: 3},")) == "failed"
    assert child(family).execution == 1


def test_the_error_of_a_sub_workflow_is_its_parents_with_the_whole_story(family: Stage) -> None:
    assert family.play(call("broken")) == "failed"
    error = family.error()
    assert (error["code"], error["step"]) == ("no_luck", "call")
    assert error["details"] == {"run": "run-1.call", "execution": 1, "step": "work"}
    assert (error["cause"]["code"], error["cause"]["message"]) == ("no_luck", "it broke")


def test_a_sub_workflow_that_is_canceled_before_it_started_is_never_created(family: Stage) -> None:
    family.start(
        "steps: {nap: {kind: sleep, with: {for: 1h}}, call: {needs: nap, kind: workflow, with: {package: double}}}"
    )
    family.runtime.run_until_idle()
    family.runtime.cancel("run-1")
    assert family.finish() == "canceled"
    assert family.runtime.run("run-1.call") is None


def test_a_cancel_reaches_a_running_sub_workflow_and_its_parent_waits_for_its_cleanup(family: Stage) -> None:
    begun(family, call("sleeper"))
    family.runtime.cancel("run-1", reason="wrong site", by="ann")
    family.runtime.run_until_idle()
    assert (family.status("call"), child(family).status) == ("waiting", "running")
    since = family.clock.now()
    assert family.finish() == "canceled"
    assert family.clock.now() - since == 10 * SECOND
    assert family.runtime.result("run-1.call", "@on_cancel/said") == "wrong site, said ann"
    assert child(family).status == "canceled"


def test_a_cancel_reaches_a_sub_workflow_that_has_renewed_itself(family: Stage) -> None:
    """There it is sent to the first execution, and lost (6.3)."""
    begun(family, call("renews"))
    family.clock.advance(HOUR)
    family.runtime.run_until_idle()
    assert child(family).execution == 2
    family.runtime.cancel("run-1")
    assert family.finish() == "canceled"
    assert (child(family).execution, child(family).status) == (2, "canceled")


def test_a_sub_workflow_that_renews_itself_gives_its_last_result(family: Stage) -> None:
    assert family.play(call("renews")) == "succeeded"
    assert family.result() == {"n": 2}
    assert child(family).execution == 3


def test_a_sub_workflow_may_outlive_its_parent(family: Stage) -> None:
    """There is no such mode."""
    assert family.play(call("sleeper", wait="false", on_parent_close="abandon")) == "succeeded"
    assert child(family).status == "running"
    assert family.finish("run-1.call") == "succeeded"


def test_many_sub_workflows_run_side_by_side_and_their_results_come_in_order(family: Stage) -> None:
    body = """
        steps:
          all: {for_each: "${{ range(20) }}", kind: workflow, with: {package: double, inputs: {n: "${{ item }}"}}}
        outputs: "${{ steps.all.result }}"
    """
    assert family.play(body) == "succeeded"
    assert family.result() == [2 * n for n in range(20)]


def test_a_step_that_waits_for_its_sub_workflow_holds_no_worker(family: Stage) -> None:
    begun(family, call("sleeper"))
    row = family.row("call")
    assert (row.status, row.worker) == ("waiting", None)


# -- continue as new -----------------------------------------------------------------------------------------------


def test_a_run_continues_as_new_with_other_arguments_under_its_id(family: Stage) -> None:
    assert family.play(family.runtime.package("renews")) == "succeeded"
    assert [(run.id, run.execution, run.status) for run in family.runtime.runs()] == [
        ("run-1", 3, "succeeded"), ("run-1", 2, "continued"), ("run-1", 1, "continued"),
    ]  # fmt: skip
    assert family.result() == {"n": 2}


def test_each_execution_has_a_history_of_its_own(family: Stage) -> None:
    family.play(family.runtime.package("renews"))
    lengths = []
    for number in (1, 2, 3):
        run = family.store.find_run("run-1", number)
        assert run is not None
        events = family.store.events(run.key, limit=10**6)
        assert [event.seq for event in events] == list(range(1, len(events) + 1))
        lengths.append(len(events))
    assert max(lengths) - min(lengths) <= 2, "and it does not grow"


def test_continue_as_new_needs_no_tidying_before_it(stage: Stage) -> None:
    """There nothing may be pending."""
    body = """
        inputs: {n: {default: 0}}
        steps:
          nap: {if: inputs.n == 0, kind: sleep, with: {for: 9d}}
          again: {if: inputs.n == 0, kind: continue_as_new, with: {inputs: {n: 1}}}
        finally: {tidy: {kind: ok}}
    """
    assert stage.play(body) == "succeeded"
    first = stage.store.find_run("run-1", 1)
    assert first is not None
    rows = {row.path: row.status for row in stage.store.tree(first.key)}
    assert (rows["nap"], rows["@finally/tidy"]) == ("canceled", "succeeded")
    assert stage.clock.now() == stage.run().created_at


def test_continued_executions_are_removed_as_soon_as_the_package_says(stage: Stage) -> None:
    """``WithRemoveContinuedAsNewInstances``."""
    one = package("retention: {continued: 0s}\n" + CHILDREN["renews"].strip("\n").replace("        ", ""), "renews")
    stage.runtime.register(one)
    stage.play(one)
    stage.runtime.apply_retention()
    assert [run.execution for run in stage.runtime.runs()] == [3]


def test_a_client_waits_for_the_last_execution_and_signals_and_cancels_the_newest(stage: Stage) -> None:
    """There a handle stays with the first one (6.3, 6.9)."""
    body = """
        inputs: {n: {default: 0}}
        steps:
          go: {kind: wait_signal, with: {signal: go}}
          again: {needs: go, kind: continue_as_new, with: {inputs: {n: "${{ inputs.n + 1 }}"}}}
    """
    stage.start(body)
    for number in range(3):
        stage.runtime.signal("run-1", "go", number)
        stage.runtime.run_until_idle()
    assert stage.run().execution == 4
    with pytest.raises(TimeoutError):
        stage.runtime.wait("run-1", 0)
    stage.runtime.cancel("run-1")
    stage.runtime.run_until_idle()
    ended = stage.runtime.wait("run-1", 0)
    assert (ended.execution, ended.status) == (4, "canceled")
