"""What the language says of child runs: every claim once."""

from __future__ import annotations

from typing import Any

import pytest

from yamlflow.asking import child_id
from yamlflow.engine.children import MAX_DEPTH
from yamlflow.rows import RunRow

from .stage import Stage, package

CHILD = """
    inputs: {n: {type: integer, default: 1}}
    steps:
      work: {kind: ok, with: {value: "${{ inputs.n * 2 }}"}}
    outputs: {double: "${{ steps.work.result }}"}
"""
SLEEPER = """
    steps:
      nap: {kind: sleep, with: {for: 1h}}
    on_cancel:
      - {kind: log, with: {message: "${{ cancel.reason }} by ${{ cancel.by }}"}}
    finally:
      tidy: {kind: sleep, with: {for: 5s}}
"""
BROKEN = "steps: {work: {kind: bad, with: {code: no_luck, message: it broke}}}"


@pytest.fixture
def family(stage: Stage) -> Stage:
    for name, body in {"child": CHILD, "sleeper": SLEEPER, "broken": BROKEN}.items():
        stage.runtime.register(package(body, name))
    return stage


def child(stage: Stage, id: str = "run-1.call") -> RunRow:
    run = stage.runtime.run(id)
    assert run is not None
    return run


def test_a_child_runs_and_its_outputs_are_the_result(family: Stage) -> None:
    body = """
        steps:
          call: {kind: workflow, with: {package: child, inputs: {n: 21}}}
          said: {needs: call, kind: ok, with: {value: "${{ steps.call.result.double }} by ${{ steps.call.run_id }}"}}
    """
    assert family.play(body) == "succeeded"
    assert family.result("said") == "42 by run-1.call"
    run = child(family)
    assert (run.status, run.package, run.depth) == ("succeeded", "child", 1)


def test_a_child_knows_its_parent(family: Stage) -> None:
    family.runtime.register(package("steps: {who: {kind: ok, with: {value: '${{ run.parent }}'}}}", "asker"))
    assert family.play("steps: {call: {kind: workflow, with: {package: asker}}}") == "succeeded"
    assert family.runtime.result("run-1.call", "who") == {"run": "run-1", "execution": 1, "step": "call"}


def test_a_step_that_waits_for_its_child_holds_no_worker(family: Stage) -> None:
    family.start("steps: {call: {kind: workflow, with: {package: sleeper}}}")
    family.runtime.run_until_idle()
    row = family.row("call")
    assert (row.status, row.phase, row.worker, row.leased_until) == ("waiting", "child", None, None)


def test_a_childs_failure_is_the_steps_with_the_whole_below_it(family: Stage) -> None:
    assert family.play("steps: {call: {kind: workflow, with: {package: broken}}}") == "failed"
    error = family.error("call")
    assert error["code"] == "no_luck"
    assert error["message"] == 'run "run-1.call" failed: it broke'
    assert error["details"] == {"run": "run-1.call", "execution": 1, "step": "work"}
    assert error["cause"]["message"] == "it broke"


def test_a_retry_starts_the_next_execution(family: Stage) -> None:
    body = "steps: {call: {kind: workflow, retry: {max_attempts: 3, delay: 1s}, with: {package: broken}}}"
    assert family.play(body) == "failed"
    assert child(family).execution == 3
    assert family.row("call").attempt == 3


def test_a_child_that_is_not_waited_for_lets_the_step_go_on(family: Stage) -> None:
    body = """
        steps:
          call: {kind: workflow, with: {package: child, wait: false, on_parent_close: abandon}}
          id: {needs: call, kind: ok, with: {value: "${{ steps.call.run_id }}"}}
    """
    assert family.play(body) == "succeeded"
    assert family.result("id") == "run-1.call"
    assert family.result("call") is None
    assert family.finish("run-1.call") == "succeeded"


@pytest.mark.parametrize(("policy", "status"), [("cancel", "canceled"), ("abandon", "succeeded")])
def test_on_parent_close_says_what_becomes_of_a_child(family: Stage, policy: str, status: str) -> None:
    body = f"steps: {{call: {{kind: workflow, with: {{package: sleeper, wait: false, on_parent_close: {policy}}}}}}}"
    assert family.play(body) == "succeeded"
    assert family.finish("run-1.call") == status


def test_canceling_the_parent_cancels_the_child_and_waits_for_its_cleanup(family: Stage) -> None:
    family.start("steps: {call: {kind: workflow, with: {package: sleeper}}}")
    family.runtime.run_until_idle()
    family.runtime.cancel("run-1", reason="wrong site", by="ann")
    family.runtime.run_until_idle()
    assert (family.status("call"), child(family).status) == ("waiting", "running"), "the child cleans up"
    assert family.finish() == "canceled"
    assert child(family).status == "canceled"
    events = family.store.events(child(family).key)
    assert "handler.fired" in [event.kind for event in events]
    family.run_id = "run-1.call"
    assert family.row("@on_cancel/_1").status == "succeeded"
    assert family.row("@finally/tidy").status == "succeeded"


def test_the_reason_given_reaches_the_child(family: Stage) -> None:
    family.runtime.register(
        package(
            """
            steps: {nap: {kind: sleep, with: {for: 1h}}}
            on_cancel: [{id: why, kind: ok, with: {value: "${{ cancel.reason }} by ${{ cancel.by }}"}}]
            """,
            "asker",
        )
    )
    family.start("steps: {call: {kind: workflow, with: {package: asker}}}")
    family.runtime.run_until_idle()
    family.runtime.cancel("run-1", reason="wrong site", by="ann")
    assert family.finish() == "canceled"
    assert family.runtime.result("run-1.call", "@on_cancel/why") == "wrong site by ann"


def test_canceling_the_parent_lets_an_abandoned_child_go_on(family: Stage) -> None:
    family.start("steps: {call: {kind: workflow, with: {package: sleeper, on_parent_close: abandon}}}")
    family.runtime.run_until_idle()
    family.runtime.cancel("run-1")
    assert family.finish() == "canceled"
    assert family.finish("run-1.call") == "succeeded"


def test_a_cancel_by_force_ends_parent_and_child_at_once(family: Stage) -> None:
    family.start("steps: {call: {kind: workflow, with: {package: sleeper}}}")
    family.runtime.run_until_idle()
    family.runtime.cancel("run-1", force=True)
    assert (family.run().status, child(family).status) == ("canceled", "canceled")


def test_a_cancel_by_force_does_not_wait_for_what_the_child_has_in_hand(family: Stage) -> None:
    family.start("steps: {call: {kind: workflow, with: {package: child}}}")
    family.lease()
    from yamlflow.once import execute_here

    call = family.held.pop("call")
    family.report(call, execute_here(family.runtime.bench, call, "hand").outcome)
    assert family.lease() == ["work"]
    family.runtime.cancel("run-1", force=True)
    assert family.run().status == "canceled"
    assert child(family).status == "running", "its step was told, and has not ended"
    family.end("work")
    assert child(family).status == "canceled"


def test_children_of_steps_whose_paths_sound_alike_have_ids_of_their_own(family: Stage) -> None:
    run = family.start("steps: [{kind: ok}]")
    ids = {child_id(run, path) for path in ("a[x.c.y]/d", "a[x]/c[y]/d", "a[x%2Fc]/y", "a/" + "b/" * 100 + "c")}
    assert len(ids) == 4
    assert all(len(id) <= 200 for id in ids)


def test_fifty_children_are_canceled_with_their_parent(family: Stage) -> None:
    body = "steps: {call: {for_each: '${{ range(50) }}', kind: workflow, with: {package: sleeper}}}"
    family.start(body)
    family.runtime.run_until_idle()
    ids = [f"run-1.call.{n}" for n in range(50)]
    assert {child(family, id).status for id in ids} == {"running"}
    family.runtime.cancel("run-1", reason="enough")
    assert family.finish() == "canceled"
    assert {child(family, id).status for id in ids} == {"canceled"}


def test_a_child_that_somebody_canceled_cancels_its_step(family: Stage) -> None:
    family.start("steps: {call: {kind: workflow, with: {package: sleeper}}}")
    family.runtime.run_until_idle()
    family.runtime.cancel("run-1.call", reason="no more", by="bob")
    assert family.finish() == "canceled"
    assert family.status("call") == "canceled"
    assert "no more" in (family.row("call").cancel or "")


def test_a_child_that_takes_too_long_is_canceled_and_the_step_fails_with_timeout(family: Stage) -> None:
    assert family.play("steps: {call: {kind: workflow, timeout: 10m, with: {package: sleeper}}}") == "failed"
    assert family.error("call")["code"] == "timeout"
    assert child(family).status == "canceled"
    assert family.clock.now() - family.run().created_at == 605_000, "ten minutes, and the child's cleanup"


@pytest.mark.parametrize(("package", "status"), [("sleeper", "succeeded"), ("broken", "failed")])
def test_a_child_that_ends_in_time_ends_its_step_as_it_did(family: Stage, package: str, status: str) -> None:
    assert family.play(f"steps: {{call: {{kind: workflow, timeout: 2h, with: {{package: {package}}}}}}}") == status
    assert family.row("call").error is None or family.error("call")["code"] == "no_luck"
    assert family.store.next_timer() is None


def test_a_step_of_a_group_that_times_out_cancels_its_child(family: Stage) -> None:
    body = "steps: {g: {timeout: 1m, steps: {call: {kind: workflow, with: {package: sleeper}}}}}"
    assert family.play(body) == "failed"
    assert child(family, "run-1.g.call").status == "canceled"
    assert family.error("g")["code"] == "timeout"


def test_a_run_id_in_use_is_refused_and_an_ended_one_only_where_asked_for(family: Stage) -> None:
    family.play("steps: [{kind: ok}]", run_id="taken")
    body: dict[str, Any] = {"package": "child", "run_id": "other"}
    call = "steps: {{call: {{kind: workflow, with: {{package: child, run_id: {id}, if_exists: {policy}}}}}}}"
    assert family.play(call.format(id="taken", policy="fail")) == "failed"
    assert family.error("call")["code"] == "run_exists"
    assert family.play(call.format(id=body["run_id"], policy="fail")) == "succeeded"
    assert family.play(call.format(id="other", policy="fail")) == "failed"
    assert family.play(call.format(id="other", policy="new")) == "succeeded"
    assert child(family, "other").execution == 2


@pytest.mark.parametrize(
    ("with_", "code", "words"),
    [
        ("{package: nobody}", "unknown_package", "nobody"),
        ("{package: child, inputs: {n: x}}", "bad_input", "inputs.n"),
        ("{package: child, inputs: {m: 1}}", "bad_input", "inputs.m"),
        ("{package: child, run_id: 'a/b'}", "bad_package", "run id"),
    ],
)
def test_a_child_that_cannot_be_started_fails_the_step_and_stores_nothing(
    family: Stage, with_: str, code: str, words: str
) -> None:
    assert family.play(f"steps: {{call: {{kind: workflow, with: {with_}}}}}") == "failed"
    assert family.error("call")["code"] == code
    assert words in family.error("call")["message"]
    assert len(family.runtime.runs()) == 1


def test_a_package_may_run_itself_but_not_for_ever(stage: Stage) -> None:
    one = package("steps: {again: {kind: workflow, with: {package: endless}}}", "endless")
    assert stage.play(one) == "failed"
    assert stage.error()["code"] == "limit_exceeded"
    assert max(run.depth for run in stage.runtime.runs()) == MAX_DEPTH


def test_recursion_ends_where_its_condition_does(stage: Stage) -> None:
    one = package(
        """
        inputs: {n: {type: integer}}
        steps:
          below: {if: inputs.n > 1, kind: workflow, with: {package: factorial, inputs: {n: "${{ inputs.n - 1 }}"}}}
        outputs: {value: "${{ inputs.n * (steps.below.result.value if steps.below.result else 1) }}"}
        """,
        "factorial",
    )
    assert stage.play(one, {"n": 5}) == "succeeded"
    assert stage.result() == {"value": 120}


def test_a_childs_own_text_goes_on_with_the_run_that_started_it(stage: Stage) -> None:
    """A package that names itself runs the text its run started with, whatever was registered since."""
    old = package("steps: {a: {kind: workflow, with: {package: p, run_id: c}, if: run.id != 'c'}, b: {kind: ok}}", "p")
    stage.start(old)
    stage.runtime.register(package("steps: {other: {kind: ok}}", "p"))
    assert stage.finish() == "succeeded"
    assert stage.runtime.run("c").digest == stage.run().digest  # type: ignore[union-attr]


def test_a_child_has_the_context_of_its_parent(family: Stage) -> None:
    family.runtime.register(
        package("context: [tenant]\nsteps: {who: {kind: ok, with: {value: '${{ context.tenant }}'}}}", "t")
    )
    body = package("context: [tenant]\nsteps: {call: {kind: workflow, with: {package: t}}}")
    assert family.play(body, context={"tenant": "acme"}) == "succeeded"
    assert family.runtime.result("run-1.call", "who") == "acme"


def test_a_childs_steps_wait_in_the_queue_of_the_step_that_started_it(family: Stage) -> None:
    body = """
        queues: {slow: {max_in_flight: 1}}
        steps:
          call: {kind: workflow, queue: slow, for_each: "${{ range(3) }}", with: {package: child}}
    """
    family.start(body)
    family.runtime.run_until_idle()
    assert child(family, "run-1.call.0").queue == "play/slow"
    family.run_id = "run-1.call.1"
    assert family.row("work").queue == "play/slow"


def test_an_operators_retry_of_a_failed_child_step_starts_it_anew(family: Stage) -> None:
    body = "steps: {call: {kind: workflow, with: {package: broken}}}"
    assert family.play(body) == "failed"
    family.runtime.retry("run-1")
    assert family.finish() == "failed"
    assert child(family).execution == 2


def test_a_deep_family_is_canceled_to_the_last(family: Stage) -> None:
    family.runtime.register(package("steps: {call: {kind: workflow, with: {package: sleeper}}}", "middle"))
    family.start("steps: {call: {kind: workflow, with: {package: middle}}}")
    family.runtime.run_until_idle()
    family.runtime.cancel("run-1", reason="all of it")
    assert family.finish() == "canceled"
    assert [child(family, id).status for id in ("run-1.call", "run-1.call.call")] == ["canceled", "canceled"]
