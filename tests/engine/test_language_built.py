"""Packages built in Python among other runs: as children, as successors, waiting for a place; and context values."""

from __future__ import annotations

import json
from typing import Any

import pytest

from yamlflow import Package, RunBuilder, StepContext, executor
from yamlflow.errors import InvalidInput, NotAllowed
from yamlflow.runtime import Runtime

from .stage import Stage


def count(run: RunBuilder, to: int) -> None:
    """As many steps in a row."""
    before = None
    for number in range(to):
        before = run.step(f"n{number}", kind="ok", input={"value": number}, needs=before)


@pytest.fixture
def built(stage: Stage) -> Stage:
    """A stage that knows a package built in Python."""
    stage.runtime.register(Package("count", entrypoint=count, outputs={"last": "${{ run.steps_done }}"}))
    return stage


CHILD = (
    "steps: {c: {kind: workflow, with: {package: count, inputs: {to: %s}}}}\noutputs: {all: '${{ steps.c.result }}'}\n"
)


def test_a_package_built_in_python_is_a_child_like_any_other(built: Stage) -> None:
    assert built.play(CHILD % 3) == "succeeded"
    assert built.result("c") == {"last": 3}
    assert built.ran == ["n0", "n1", "n2"]


def test_inputs_that_its_entrypoint_refuses_fail_the_step(built: Stage) -> None:
    assert built.play(CHILD % "many") == "failed"
    assert built.error("c")["code"] == "bad_input"
    assert "inputs.to" in built.error("c")["message"]


def test_a_child_whose_entrypoint_makes_no_step_fails_the_step(built: Stage) -> None:
    assert built.play(CHILD % 0) == "failed"
    assert "made no step" in built.error("c")["message"]


def test_a_child_that_no_program_here_has_registered_fails_the_step_with_the_remedy(stage: Stage) -> None:
    with Runtime(stage.store, clock=stage.clock) as other:
        other.start(Package("count", entrypoint=count), {"to": 1}, run_id="elsewhere")
        stage.play(CHILD % 1)
        assert "built in Python" in stage.error("c")["message"]
        with pytest.raises(NotAllowed, match=r"rt\.register"):
            stage.runtime.start("count", {"to": 1})


def test_a_child_knows_the_run_and_step_that_started_it(stage: Stage) -> None:
    seen: list[Any] = []

    @executor("look/up")
    def look(step: StepContext) -> None:
        seen.append(step.run.parent)

    def build(run: RunBuilder) -> None:
        run.step("only", kind="look/up")

    stage.runtime.register(look)
    stage.runtime.register(Package("child", entrypoint=build))
    stage.play("steps: {c: {kind: workflow, with: {package: child}}}\n", run_id="above")
    assert seen == [{"run": "above", "execution": 1, "step": "c"}]


def test_a_built_run_that_waits_for_its_place_begins_when_it_is_free(stage: Stage) -> None:
    one = Package("count", entrypoint=count, concurrency={"key": "k"})
    first = stage.start(one, {"to": 2})
    second = stage.start(one, {"to": 2})
    assert (first.status, second.status) == ("running", "pending")
    assert set(stage.statuses().values()) == {"pending"}
    assert [stage.finish(run.id) for run in (first, second)] == ["succeeded", "succeeded"]
    assert stage.ran == ["n0", "n1", "n0", "n1"]
    row = stage.run(second.id)
    assert (row.steps, row.done) == (3, 3)


def test_a_built_run_canceled_before_it_has_its_place_leaves_no_step_behind(stage: Stage) -> None:
    one = Package("count", entrypoint=count, concurrency={"key": "k"})
    stage.start(one, {"to": 1})
    waiting = stage.start(one, {"to": 3})
    stage.runtime.cancel(waiting.id, reason="no longer")
    assert stage.run(waiting.id).status == "canceled"
    assert set(stage.statuses().values()) == {"canceled"}
    assert stage.run(waiting.id).done == 4


def test_a_built_run_that_continues_as_new_has_its_next_graph_built_from_its_new_inputs(stage: Stage) -> None:
    def build(run: RunBuilder, left: int) -> None:
        work = run.step("work", kind="ok", input={"value": left})
        if left:
            run.step("next", kind="continue_as_new", input={"inputs": {"left": left - 1}}, needs=work)

    stage.play(Package("again", entrypoint=build), {"left": 2})
    row = stage.run()
    assert (row.execution, row.status, json.loads(row.inputs)) == (3, "succeeded", {"left": 0})
    assert stage.ran == ["work", "work", "work"]


def test_a_built_run_that_failed_is_retried_from_where_it_failed(stage: Stage) -> None:
    def build(run: RunBuilder) -> None:
        a = run.step("a", kind="ok")
        b = run.step("b/b", kind="bad", needs=a)
        run.step("c", kind="ok", needs=b)

    assert stage.play(Package("mend", entrypoint=build)) == "failed"
    assert stage.runtime.retry(stage.run_id) == ["b%2Fb", "c"]
    assert stage.finish() == "failed"
    assert stage.ran == ["a", "b%2Fb", "b%2Fb"]


def test_limits_hold_for_what_is_built(stage: Stage) -> None:
    with pytest.raises(Exception, match=r"the run would have 6 steps, and limits\.steps is 3"):
        stage.start(Package("count", entrypoint=count, limits={"steps": 3}), {"to": 5})
    assert stage.runtime.runs() == []


# -- context values --------------------------------------------------------------------------------------------------

TENANT = "context: [tenant]\nsteps: {a: {kind: ok, with: {value: '${{ context.tenant }}'}}}\n"


def test_a_context_value_reads_in_expressions(stage: Stage) -> None:
    stage.play(TENANT, context={"tenant": {"id": 7}})
    assert stage.result("a") == {"id": 7}


def test_a_declared_context_value_that_nobody_gave_is_null(stage: Stage) -> None:
    stage.play(TENANT)
    assert stage.result("a") is None


def test_an_undeclared_context_value_is_refused_with_what_to_declare(stage: Stage) -> None:
    with pytest.raises(InvalidInput, match=r"context\.trace: .* Declare it: context: \[tenant, trace\]\."):
        stage.start(TENANT, context={"trace": "x"})
    assert stage.runtime.runs() == []


def test_context_reaches_children_also_through_one_that_does_not_declare_it(stage: Stage) -> None:
    def grandchild(run: RunBuilder) -> None:
        run.step("say", kind="ok", input={"value": run.context["tenant"]})

    stage.runtime.register(Package("grandchild", entrypoint=grandchild, context=["tenant"]))
    stage.runtime.register(Package("child", steps={"g": {"kind": "workflow", "with": {"package": "grandchild"}}}))
    body = "context: [tenant]\nsteps: {c: {kind: workflow, with: {package: child}}}\n"
    assert stage.play(body, context={"tenant": "acme"}) == "succeeded"
    runs = {row.package: row for row in stage.runtime.runs()}
    assert stage.runtime.result(runs["grandchild"].id, "say") == "acme"


def test_context_reaches_the_successor(stage: Stage) -> None:
    body = """
        context: [tenant]
        inputs: {more: {type: boolean, default: true}}
        steps:
          a: {kind: ok, with: {value: '${{ context.tenant }}'}}
          n: {kind: continue_as_new, needs: a, if: inputs.more, with: {inputs: {more: false}}}
        """
    stage.play(body, context={"tenant": "acme"})
    assert (stage.run().execution, stage.result("a")) == (2, "acme")


def test_what_a_built_step_did_is_undone_when_its_run_fails(stage: Stage) -> None:
    def build(run: RunBuilder) -> None:
        a = run.step("a", kind="ok", undo={"kind": "ok"})
        run.step("b", kind="bad", needs=a)

    assert stage.play(Package("undone", entrypoint=build)) == "failed"
    assert stage.ran == ["a", "b", "a@undo"]
