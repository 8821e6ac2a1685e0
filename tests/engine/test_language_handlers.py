"""The end of a group: ``on_failure`` or ``on_cancel``, ``outputs``, ``finally``, and what ``recover`` makes of it."""

from __future__ import annotations

import pytest

from .stage import Stage

GROUP = """
steps:
  g:
    steps: {a: {kind: %s}}
    on_failure: [{id: f, kind: ok}]
    on_cancel: [{id: c, kind: ok}]
    finally: [{id: z, kind: ok}]
    outputs: {seen: "${{ steps.a.status }}"}
    %s
  after: {kind: ok, needs: {g: finished}}
"""


def test_a_success_fires_only_finally(stage: Stage) -> None:
    assert stage.play(GROUP % ("ok", "title: t")) == "succeeded"
    assert stage.ran == ["g/a", "g@finally/z", "after"]
    assert stage.result("g") == {"seen": "succeeded"}


def test_a_failure_fires_on_failure_then_finally(stage: Stage) -> None:
    assert stage.play(GROUP % ("bad", "title: t")) == "failed"
    assert stage.ran == ["g/a", "g@on_failure/f", "g@finally/z", "after"]
    assert (stage.error("g")["step"], stage.result("g")) == ("g/a", None)


def test_a_cancel_fires_on_cancel_then_finally(stage: Stage) -> None:
    stage.start(GROUP % ("sleep, with: {for: 1h}", "title: t"))
    stage.runtime.run_until_idle()
    stage.runtime.cancel(stage.run_id, "g", reason="enough", by="me")
    assert stage.finish() == "canceled"
    assert stage.ran == ["g@on_cancel/c", "g@finally/z", "after"]


def test_a_recovered_group_has_succeeded_and_its_outputs_follow_the_handler(stage: Stage) -> None:
    assert stage.play(GROUP % ("bad", "recover: true")) == "succeeded"
    assert stage.ran == ["g/a", "g@on_failure/f", "g@finally/z", "after"]
    assert (stage.status("g"), stage.row("g").reason, stage.result("g")) == (
        "succeeded",
        "recovered",
        {"seen": "failed"},
    )
    opened = [event.step for event in stage.events("handler.fired")]
    assert opened == ["g@on_failure", "g@finally"]


def test_on_cancel_recovers_too(stage: Stage) -> None:
    stage.start(GROUP % ("sleep, with: {for: 1h}", "recover: true"))
    stage.runtime.run_until_idle()
    stage.runtime.cancel(stage.run_id, "g/a")
    assert stage.finish() == "succeeded"
    assert (stage.status("g"), stage.result("g")) == ("succeeded", {"seen": "canceled"})


def test_a_run_that_was_canceled_is_canceled_although_a_group_in_it_recovered(stage: Stage) -> None:
    stage.start(GROUP % ("sleep, with: {for: 1h}", "recover: true"))
    stage.runtime.run_until_idle()
    stage.runtime.cancel(stage.run_id)
    assert stage.finish() == "canceled"
    assert stage.status("g") == "succeeded"


def test_a_handler_that_fails_recovers_nothing(stage: Stage) -> None:
    assert (
        stage.play(
            "steps: {g: {steps: {a: {kind: bad}}, on_failure: [{kind: bad, with: {code: worse}}], recover: true}}"
        )
        == "failed"
    )
    assert stage.error()["code"] == "boom"
    assert stage.error("g@on_failure")["code"] == "worse"


def test_handlers_see_every_step_of_their_group_and_why_they_fired(stage: Stage) -> None:
    stage.play("""
        steps:
          g:
            steps: {a: {kind: set, with: {value: 1}}, b: {kind: bad, needs: a}, c: {kind: ok, needs: b}}
            on_failure:
              - id: f
                kind: set
                with:
                  value: ["${{ steps.a.result }}", "${{ steps.b.status }}", "${{ steps.c.status }}",
                          "${{ steps.c.result }}", "${{ error.code }}", "${{ error.step }}", "${{ error.message }}",
                          "${{ error.attempt }}"]
            finally: [{id: z, kind: set, with: {value: "${{ error.code if error else none }}"}}]
    """)
    assert stage.result("g@on_failure/f") == [1, "failed", "skipped", None, "boom", "g/b", "g/b broke", 1]
    assert stage.result("g@finally/z") == "boom"


def test_error_is_null_in_the_finally_of_a_success(stage: Stage) -> None:
    stage.play(
        "steps: {a: {kind: ok}}\nfinally: [{id: z, kind: set, with: {value: ['${{ error }}', '${{ cancel.reason }}']}}]"
    )
    assert stage.result("@finally/z") == [None, None]


@pytest.mark.parametrize("target", ["", "g", "g/a"])
def test_handlers_know_who_canceled_and_why_wherever_it_began(stage: Stage, target: str) -> None:
    stage.start("""
        steps: {g: {steps: {a: {kind: sleep, with: {for: 1h}}}}}
        on_cancel: [{id: c, kind: set, with: {value: ["${{ cancel.reason }}", "${{ cancel.by }}"]}}]
    """)
    stage.runtime.run_until_idle()
    stage.runtime.cancel(stage.run_id, target, reason="too late", by="ann")
    assert stage.finish() == "canceled"
    assert stage.result("@on_cancel/c") == ["too late", "ann"]


def test_error_is_the_nearest_handled_group_s(stage: Stage) -> None:
    stage.play("""
        steps:
          g:
            steps: {a: {kind: bad, with: {code: inner}}}
            on_failure: [{id: f, steps: {x: {kind: set, with: {value: "${{ error.code }}"}}}}]
        on_failure: [{id: f, kind: set, with: {value: "${{ error.code }} in ${{ error.step }}"}}]
    """)
    assert (stage.result("g@on_failure/f/x"), stage.result("@on_failure/f")) == ("inner", "inner in g/a")


def test_the_package_has_handlers_and_outputs_as_any_group(stage: Stage) -> None:
    stage.play("steps: {a: {kind: bad}}\non_failure: [{kind: ok}]\nfinally: [{kind: ok}]\noutputs: {x: 1}")
    assert stage.ran == ["a", "@on_failure/_1", "@finally/_1"]
    assert stage.result() is None


def test_handlers_may_be_graphs(stage: Stage) -> None:
    stage.play("steps: {a: {kind: ok}}\nfinally: {x: {kind: ok}, y: {kind: ok, needs: x}}")
    assert stage.ran == ["a", "@finally/x", "@finally/y"]


def test_a_failing_finally_fails_the_group_with_its_own_error(stage: Stage) -> None:
    assert stage.play("steps: {g: {steps: {a: {kind: ok}}, finally: [{kind: bad, with: {code: dirty}}]}}") == "failed"
    assert stage.error("g")["code"] == "dirty"


def test_a_failing_finally_leaves_an_earlier_failure_its_place(stage: Stage) -> None:
    assert stage.play("steps: {g: {steps: {a: {kind: bad}}, finally: [{kind: bad, with: {code: dirty}}]}}") == "failed"
    assert stage.error("g")["code"] == "boom"


def test_a_failing_finally_is_the_error_of_a_group_that_had_recovered(stage: Stage) -> None:
    assert stage.play("""
        steps:
          g:
            steps: {a: {kind: bad}}
            on_failure: [{kind: ok}]
            recover: true
            finally: [{kind: bad, with: {code: dirty}}]
    """) == "failed"  # fmt: skip
    assert stage.error("g")["code"] == "dirty"


def test_a_failing_finally_is_the_error_of_a_race_that_had_a_winner(stage: Stage) -> None:
    stage.start(
        "steps: {g: {race: true, steps: {a: {kind: ok}, b: {kind: ok}}, finally: [{kind: bad, with: {code: dirty}}]}}"
    )
    stage.lease()
    stage.fail("g/a")
    stage.end("g/b")
    assert stage.finish() == "failed"
    assert stage.error("g")["code"] == "dirty"


def test_outputs_that_cannot_be_evaluated_fail_the_group_after_its_finally(stage: Stage) -> None:
    assert (
        stage.play(
            "steps: {g: {steps: {a: {kind: ok}}, "
            "outputs: '${{ nobody }}', finally: [{kind: ok}], on_failure: [{kind: ok}]}}"
        )
        == "failed"
    )
    assert stage.error("g")["code"] == "template_error"
    assert stage.ran == ["g/a", "g@finally/_1"]


def test_a_group_s_outputs_are_no_larger_than_a_result_may_be(stage: Stage) -> None:
    assert (
        stage.play(
            "steps: {a: {kind: set, with: {value: \"${{ 'x' * 300000 }}\"}}}\n"
            "outputs: {a: '${{ steps.a.result }}', b: ['${{ steps.a.result }}', '${{ steps.a.result }}'], "
            "c: '${{ steps.a.result }}'}"
        )
        == "failed"
    )
    assert stage.error()["code"] == "bad_result"


@pytest.mark.parametrize("handler", ["on_failure", "finally"])
def test_handlers_are_shielded_from_cancels(stage: Stage, handler: str) -> None:
    stage.start(
        f"steps: {{g: {{steps: {{a: {{kind: bad}}}}, "
        f"{handler}: [{{id: h, kind: sleep, with: {{for: 1m}}}}, {{id: i, kind: ok}}]}}}}"
    )
    stage.runtime.run_until_idle()
    stage.runtime.cancel(stage.run_id)
    assert stage.status(f"g@{handler}/h") == "waiting"
    stage.finish()
    assert stage.status(f"g@{handler}/i") == "succeeded"


def test_handlers_are_shielded_from_the_timeout_that_caused_them(stage: Stage) -> None:
    assert stage.play("""
        timeout: 2m
        steps:
          g:
            timeout: 1m
            steps: {a: {kind: sleep, with: {for: 1h}}}
            on_failure: [{id: f, kind: sleep, with: {for: 1h}}]
    """) == "failed"  # fmt: skip
    assert stage.status("g@on_failure/f") == "succeeded"


def test_a_handler_fires_once_per_end_also_when_its_worker_is_lost(stage: Stage) -> None:
    stage.start("steps: {a: {kind: bad}}\non_failure: [{id: f, kind: ok}]")
    stage.decide()
    stage.lease()
    stage.fail("a")
    assert stage.lease() == ["@on_failure/f"]
    stage.held.clear()
    stage.clock.advance(60_000)
    assert stage.finish() == "failed"
    assert len(stage.events("handler.fired")) == 1
    assert stage.ran == ["@on_failure/f"]


def test_a_failure_in_a_handler_of_a_canceled_run_does_not_make_it_failed(stage: Stage) -> None:
    stage.start("steps: {a: {kind: sleep, with: {for: 1h}}}\non_cancel: [{kind: bad}]")
    stage.runtime.run_until_idle()
    stage.runtime.cancel(stage.run_id)
    assert stage.finish() == "canceled"


def test_an_unhandled_failure_goes_before_a_cancel(stage: Stage) -> None:
    stage.start(
        "steps: {a: {kind: bad}, b: {kind: sleep, with: {for: 1h}}}\non_failure: [{id: f, kind: "
        "ok}]\non_cancel: [{id: c, kind: ok}]"
    )
    stage.runtime.run_until_idle()
    stage.runtime.cancel(stage.run_id, "b")
    assert stage.finish() == "failed"
    assert stage.ran == ["a", "@on_failure/f"]


def test_each_child_of_a_loop_has_handlers_that_see_its_item(stage: Stage) -> None:
    stage.play("""
        steps:
          g:
            for_each: {items: [x, y], tolerate: 2}
            steps: {a: {kind: bad}}
            on_failure: [{id: f, kind: set, with: {value: "${{ item }}: ${{ error.step }}"}}]
    """)
    assert [stage.result(f"g[{n}]@on_failure/f") for n in (0, 1)] == ["x: g[0]/a", "y: g[1]/a"]
