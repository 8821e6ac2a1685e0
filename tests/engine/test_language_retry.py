"""An operator's ``retry``: what begins anew, what stays, and what is refused."""

from __future__ import annotations

import pytest

from yamlflow.errors import NotAllowed, UnknownName
from yamlflow.outcome import Succeeded

from .stage import Stage

CHAIN = """
steps:
  a: {kind: ok}
  b: {kind: ok, needs: a}
  c: {kind: ok, needs: b}
  aside: {kind: ok, if: false}
finally: [{id: z, kind: ok}]
outputs: {c: "${{ steps.c.result }}"}
"""


def failed_at_b(stage: Stage, body: str = CHAIN) -> None:
    """Play until ``b`` has failed and the run with it."""
    stage.start(body)
    stage.lease()
    stage.end("a", Succeeded(result=1))
    stage.lease()
    stage.fail("b")
    assert stage.finish() == "failed"


@pytest.mark.parametrize("step", ["", "b"])
def test_what_failed_and_what_was_skipped_because_of_it_runs_anew_and_the_rest_stays(stage: Stage, step: str) -> None:
    failed_at_b(stage)
    ended = stage.row("a").ended
    assert set(stage.runtime.retry(stage.run_id, step, by="ann")) == {"b", "c"}
    assert (stage.run().status, stage.status("b"), stage.status("c"), stage.row("").status) == (
        "running",
        "ready",
        "pending",
        "waiting",
    )
    assert (stage.row("a").ended, stage.status("aside")) == (ended, "skipped")
    assert stage.lease() == ["b"]
    assert stage.row("b").attempt == 1
    stage.end("b")
    stage.lease()
    stage.end("c", Succeeded(result=3))
    assert stage.finish() == "succeeded"
    assert stage.result() == {"c": 3}
    assert len(stage.events("handler.fired")) == 2


def test_a_retried_step_has_all_its_attempts_again(stage: Stage) -> None:
    stage.play("steps: {a: {kind: bad, retry: {max_attempts: 2}}}")
    stage.runtime.retry(stage.run_id)
    stage.finish()
    assert stage.ran == ["a"] * 4


def test_a_canceled_run_can_be_retried(stage: Stage) -> None:
    stage.start(CHAIN)
    stage.lease()
    stage.end("a")
    stage.runtime.cancel(stage.run_id)
    assert stage.finish() == "canceled"
    stage.runtime.retry(stage.run_id)
    assert stage.finish() == "succeeded"
    assert stage.ran == ["@finally/z", "b", "c", "@finally/z"]


def test_steps_deep_in_groups_and_loops_reopen_all_that_is_around_them(stage: Stage) -> None:
    stage.start("""
        steps:
          g:
            for_each: [0, 1]
            steps: {x: {kind: ok}, y: {kind: ok, needs: x}}
            outputs: "${{ steps.y.result }}"
          after: {kind: set, needs: g, with: {value: "${{ steps.g.result }}"}}
    """)
    stage.lease()
    stage.end("g[0]/x")
    stage.fail("g[1]/x")
    stage.lease()
    stage.end("g[0]/y", Succeeded(result="kept"))
    assert stage.finish() == "failed"
    assert set(stage.runtime.retry(stage.run_id, "g[1]/x")) == {"after", "g[1]/x", "g[1]/y"}
    assert stage.lease() == ["g[1]/x"]
    stage.end("g[1]/x")
    stage.lease()
    stage.end("g[1]/y", Succeeded(result="new"))
    assert stage.finish() == "succeeded"
    assert stage.result("after") == ["kept", "new"]


def test_a_group_is_retried_as_a_whole_with_what_failed_in_it(stage: Stage) -> None:
    stage.start("steps: {g: {steps: {x: {kind: ok}, y: {kind: ok}, z: {kind: ok, needs: y}}}}")
    stage.lease()
    stage.end("g/x")
    stage.fail("g/y")
    stage.finish()
    assert stage.runtime.retry(stage.run_id, "g") == ["g/y", "g/z"]


def test_what_fail_fast_canceled_runs_anew_too(stage: Stage) -> None:
    stage.start("fail_fast: true\nsteps: {a: {kind: ok}, b: {kind: ok}, c: {kind: ok, needs: b}}")
    stage.lease()
    stage.fail("a")
    stage.fail("b", "canceled")
    assert stage.finish() == "failed"
    assert set(stage.runtime.retry(stage.run_id, "a")) == {"a", "b", "c"}
    assert stage.finish() == "succeeded"


def test_a_step_may_be_retried_while_its_run_goes_on(stage: Stage) -> None:
    stage.start("steps: {a: {kind: ok}, b: {kind: ok}, c: {kind: ok, needs: a}}")
    stage.lease()
    stage.fail("a")
    assert set(stage.runtime.retry(stage.run_id, "a")) == {"a", "c"}
    stage.end("b")
    assert stage.finish() == "succeeded"


def test_a_dependent_that_ran_because_of_the_failure_stays(stage: Stage) -> None:
    failed_at_b(
        stage,
        "steps: {a: {kind: ok}, b: {kind: ok, needs: a}, c: {kind: ok, needs: {b: failed}}, "
        "d: {kind: ok, needs: {b: finished}}}",
    )
    stage.runtime.retry(stage.run_id, "b")
    assert stage.finish() == "succeeded"
    assert stage.ran == ["c", "d", "b"]


@pytest.mark.parametrize(("step", "match"), [("a", "succeeded"), ("aside", "skipped"), ("c", "skipped")])
def test_only_what_failed_or_was_canceled_can_be_retried(stage: Stage, step: str, match: str) -> None:
    failed_at_b(stage)
    before = stage.rows()
    with pytest.raises(NotAllowed, match=match):
        stage.runtime.retry(stage.run_id, step)
    assert stage.rows() == before


def test_a_run_that_succeeded_or_still_goes_on_cannot_be_retried(stage: Stage) -> None:
    stage.start("steps: {a: {kind: ok}}")
    with pytest.raises(NotAllowed, match=r"waiting|running"):
        stage.runtime.retry(stage.run_id)
    stage.finish()
    with pytest.raises(NotAllowed, match="succeeded"):
        stage.runtime.retry(stage.run_id)
    with pytest.raises(UnknownName):
        stage.runtime.retry(stage.run_id, "nobody")


def test_a_loser_of_a_race_cannot_be_retried(stage: Stage) -> None:
    stage.play("steps: {r: {race: true, steps: {a: {kind: ok}, b: {kind: sleep, with: {for: 1h}}}}, x: {kind: bad}}")
    with pytest.raises(NotAllowed, match="race"):
        stage.runtime.retry(stage.run_id, "r/b")


def test_a_handled_failure_inside_a_success_can_be_retried_for_its_own_sake(stage: Stage) -> None:
    stage.play("steps: {a: {kind: bad, continue_on_error: true}, b: {kind: ok, needs: a}}")
    assert stage.runtime.retry(stage.run_id, "a") == ["a"]
    assert stage.finish() == "succeeded"
    assert stage.ran == ["a", "b", "a"]


def test_a_race_that_nobody_won_can_be_run_again(stage: Stage) -> None:
    stage.start("steps: {r: {race: true, steps: {a: {kind: ok}, b: {kind: ok}}}}")
    for path in stage.lease():
        stage.fail(path)
    assert stage.finish() == "failed"
    stage.runtime.retry(stage.run_id)
    assert stage.lease() == ["r/a", "r/b"]
    stage.end("r/b")
    stage.fail("r/a", "canceled")
    assert (stage.finish(), stage.row("r").winner) == ("succeeded", "b")


def test_a_repeat_that_was_exhausted_goes_on_where_it_failed(stage: Stage) -> None:
    stage.start("steps: {r: {kind: ok, repeat: {until: 'iteration == 2', max: 5}}}")
    stage.lease()
    stage.end("r[0]")
    stage.lease()
    stage.fail("r[1]")
    assert stage.finish() == "failed"
    stage.runtime.retry(stage.run_id)
    assert stage.finish() == "succeeded"
    assert stage.ran == ["r[1]"]


def test_a_loop_whose_items_were_bad_is_evaluated_again(stage: Stage) -> None:
    stage.start("""
        steps:
          a: {kind: ok, continue_on_error: true}
          b: {kind: ok, needs: a, for_each: "${{ steps.a.result }}"}
    """)
    stage.lease()
    stage.end("a", Succeeded(result=5))
    assert stage.finish() == "failed"
    assert stage.runtime.retry(stage.run_id) == ["b"]
    assert stage.finish() == "failed"


def test_children_that_were_emitted_are_retried_and_their_emitter_does_not_run_again(stage: Stage) -> None:
    stage.start(
        "steps: {e: {kind: emit, with: {children: {x: {kind: ok}, y: {kind: ok, needs: x}}}}, "
        "after: {kind: ok, needs: e}}"
    )
    stage.decide()
    assert stage.lease() == ["e"]
    from yamlflow.outcome import Emitted

    children = (
        Emitted(key="x", definition={"kind": "ok"}),
        Emitted(key="y", definition={"kind": "ok", "needs": ["x"]}),
    )
    stage.end("e", Succeeded(result="own", emitted=children))
    assert stage.lease() == ["e/x"]
    stage.fail("e/x")
    assert stage.finish() == "failed"
    assert set(stage.runtime.retry(stage.run_id)) == {"e/x", "e/y", "after"}
    assert stage.finish() == "succeeded"
    assert stage.ran == ["e/x", "e/y", "after"]
    assert stage.result("e") == "own"


def test_a_group_that_timed_out_has_its_time_again(stage: Stage) -> None:
    assert stage.play("steps: {g: {timeout: 10s, steps: {a: {kind: sleep, with: {for: 15s}}}}}") == "failed"
    stage.runtime.retry(stage.run_id)
    assert stage.store.next_timer() == stage.clock.now() + 10_000
    assert stage.finish() == "failed"


def test_a_retry_is_told(stage: Stage) -> None:
    failed_at_b(stage)
    stage.runtime.retry(stage.run_id, "b", by="ann")
    (event,) = stage.events("run.retried")
    assert event.payload == '{"step":"b","by":"ann"}'
    assert stage.events("step.reopened")[0].step == "b"


def test_what_a_retried_step_had_emitted_is_not_bounded_by_the_timeout_of_its_call(stage: Stage) -> None:
    from yamlflow.outcome import Emitted

    stage.start("steps: {a: {kind: ok, timeout: 5s}}")
    stage.lease()
    stage.end("a", Succeeded(result="own", emitted=(Emitted(key="one", definition={"kind": "ok"}),)))
    stage.runtime.cancel(stage.run_id)
    assert stage.run().status == "canceled"
    stage.runtime.retry(stage.run_id)
    stage.clock.advance(6_000)
    stage.decide()
    assert stage.status("a") == "waiting"
    assert stage.finish() == "succeeded"
