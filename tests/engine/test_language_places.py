"""Places of ``concurrency`` where runs hang on one another: parents, successors, and runs that never began."""

from __future__ import annotations

import pytest

from .stage import Stage, package

SELF = """
    concurrency: {key: k, when_full: %s}
    inputs: {n: {type: integer, default: 0}}
    steps:
      call: {kind: workflow, if: inputs.n < 1, with: {package: self, wait: %s, inputs: {n: "${{ inputs.n + 1 }}"}}}
      nap: {needs: {call: finished}, kind: sleep, with: {for: 1h}}
"""


@pytest.mark.parametrize("policy", ["wait", "cancel_oldest"])
def test_a_child_that_would_wait_for_the_place_of_a_run_that_waits_for_it_fails(stage: Stage, policy: str) -> None:
    stage.runtime.register(package(SELF % (policy, "true"), "self"))
    assert stage.play("steps: {call: {kind: workflow, with: {package: self}}}") == "failed"
    error = stage.error()
    assert error["code"] == "concurrency"
    assert 'would wait for run "run-1.call", which waits for it' in error["message"]
    assert stage.runtime.run("run-1.call.call") is None


def test_a_place_further_up_is_found_too(stage: Stage) -> None:
    stage.runtime.register(package(SELF % ("wait", "true"), "self"))
    stage.runtime.register(package("steps: {on: {kind: workflow, with: {package: self}}}", "between"))
    body = "concurrency: {key: k}\nsteps: {call: {kind: workflow, with: {package: between}}}"
    assert stage.play(package(body, "self")) == "failed"
    assert stage.error()["code"] == "concurrency"


def test_a_child_that_nobody_waits_for_gets_the_place_after_its_parent(stage: Stage) -> None:
    stage.runtime.register(
        package((SELF % ("wait", "false")).replace("wait: false", "wait: false, on_parent_close: abandon"), "self")
    )
    stage.start(stage.runtime.package("self"))
    assert stage.finish("run-1.call") == "succeeded"


def test_a_successor_of_another_key_waits_for_a_place_of_that(stage: Stage) -> None:
    one = package(
        """
        concurrency: {key: "${{ inputs.k }}"}
        inputs: {k: {type: string}}
        steps:
          go: {kind: wait_signal, with: {signal: go}}
          again: {needs: go, if: "inputs.k == 'a'", kind: continue_as_new, with: {inputs: {k: b}}}
        """
    )
    for id, key in (("holder", "b"), ("mover", "a"), ("after", "a")):
        stage.start(one, {"k": key}, run_id=id)
    stage.runtime.signal("mover", "go")
    stage.runtime.signal("mover", "go", "kept")
    stage.runtime.run_until_idle()
    statuses = [(run.status, run.execution) for id in ("holder", "mover", "after") if (run := stage.run(id))]
    assert statuses == [("running", 1), ("pending", 2), ("running", 1)]
    stage.runtime.signal("holder", "go")
    assert stage.finish("mover") == "succeeded"
    assert stage.runtime.result("mover", "go") == "kept"


def test_a_run_that_was_canceled_before_it_began_begins_with_its_retry(stage: Stage) -> None:
    one = package("concurrency: {key: k}\nsteps: {when: {kind: ok, with: {value: '${{ run.started_at }}'}}}")
    stage.start(one)
    stage.start(one)
    stage.runtime.cancel("run-2")
    stage.finish("run-1")
    stage.clock.advance(5_000)
    stage.runtime.retry("run-2")
    assert stage.finish("run-2") == "succeeded"
    assert stage.run().started_at == stage.clock.now()
    assert stage.result("when") == "2026-01-01T00:00:05.000Z"
