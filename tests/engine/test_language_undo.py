"""``undo``: what was done under a group that failed or was canceled is taken back, latest completion first."""

from __future__ import annotations

import pytest

from yamlflow.errors import NotAllowed
from yamlflow.outcome import Emitted, Succeeded

from .stage import Stage

SAGA = """
steps:
  flight: {kind: ok, with: {value: F1}, undo: {kind: ok, with: {value: "gave ${{ result }} back"}}}
  hotel: {kind: ok, needs: flight, undo: {kind: ok}}
  car: {kind: %s, needs: hotel, undo: {kind: ok}}
  walk: {kind: ok, needs: hotel}
on_failure: [{id: f, kind: ok}]
on_cancel: [{id: c, kind: ok}]
finally: [{id: z, kind: ok}]
"""


def undone(stage: Stage) -> list[str]:
    """The paths whose undo was executed, in order."""
    return [path.removesuffix("@undo") for path in stage.ran if path.endswith("@undo")]


def test_a_failure_undoes_what_was_done_latest_completion_first_and_before_the_handlers(stage: Stage) -> None:
    assert stage.play(SAGA % "bad") == "failed"
    assert stage.ran[:3] == ["flight", "hotel", "car"]
    assert stage.ran[4:] == ["hotel@undo", "flight@undo", "@on_failure/f", "@finally/z"]
    assert stage.result("flight@undo") == "gave F1 back"
    assert stage.status("flight") == "succeeded"
    assert [event.step for event in stage.events("undo.fired")] == ["hotel@undo", "flight@undo"]


def test_a_cancel_undoes_too(stage: Stage) -> None:
    stage.start(SAGA % "sleep, with: {for: 1h}")
    stage.runtime.run_until_idle()
    stage.runtime.cancel(stage.run_id)
    assert stage.finish() == "canceled"
    assert stage.ran[-4:] == ["hotel@undo", "flight@undo", "@on_cancel/c", "@finally/z"]


def test_a_success_undoes_nothing(stage: Stage) -> None:
    assert stage.play(SAGA % "ok") == "succeeded"
    assert undone(stage) == []


def test_completion_decides_and_not_the_order_of_declaration(stage: Stage) -> None:
    stage.start("steps: {a: {kind: ok, undo: {kind: ok}}, b: {kind: ok, undo: {kind: ok}}, c: {kind: bad}}")
    stage.lease()
    stage.end("b")
    stage.end("a")
    stage.fail("c")
    assert stage.finish() == "failed"
    assert undone(stage) == ["a", "b"]


def test_undos_run_one_after_another_whatever_room_there_is(stage: Stage) -> None:
    stage.start("steps: {a: {kind: ok, undo: {kind: ok}}, b: {kind: ok, undo: {kind: ok}}, c: {kind: bad}}")
    stage.lease()
    stage.end("a")
    stage.end("b")
    stage.fail("c")
    assert stage.lease() == ["b@undo"]
    assert (stage.status("a@undo"), stage.row("a@undo").parked) == ("pending", "slot")
    stage.end("b@undo")
    assert stage.lease() == ["a@undo"]


def test_an_undo_is_made_in_the_transaction_in_which_its_group_s_last_step_ends(stage: Stage) -> None:
    stage.start(SAGA % "ok")
    for path in ("flight", "hotel"):
        stage.lease()
        stage.end(path)
    stage.lease()
    stage.end("walk")
    assert not any(path.endswith("@undo") for path in stage.rows())
    stage.fail("car")
    assert {path for path in stage.rows() if path.endswith("@undo")} == {"flight@undo", "hotel@undo"}
    assert (stage.row("").phase, stage.status("")) == ("undo", "waiting")


def test_a_failed_undo_is_kept_and_the_others_go_on(stage: Stage) -> None:
    assert stage.play("""
        steps:
          - {id: a, kind: ok, undo: {kind: ok}}
          - {id: b, kind: ok, undo: {kind: bad, with: {code: stuck}, retry: {max_attempts: 2, delay: 5s}}}
          - {id: c, kind: bad, with: {code: broke}}
    """) == "failed"  # fmt: skip
    assert undone(stage) == ["b", "b", "a"]
    assert (stage.error("b@undo")["code"], stage.row("b@undo").attempt) == ("stuck", 2)
    assert stage.error()["code"] == "broke"


def test_what_did_not_succeed_is_not_undone(stage: Stage) -> None:
    assert stage.play("""
        steps:
          a: {kind: bad, continue_on_error: true, undo: {kind: ok}}
          b: {kind: ok, if: false, undo: {kind: ok}}
          c: {kind: bad, undo: {kind: ok}}
          d: {kind: ok, needs: c, undo: {kind: ok}}
    """) == "failed"  # fmt: skip
    assert undone(stage) == []


def test_nested_groups_are_included_and_a_group_s_own_undo_comes_before_its_steps(stage: Stage) -> None:
    assert stage.play("""
        steps:
          - {id: a, kind: ok, undo: {kind: ok}}
          - id: g
            undo: {kind: ok, with: {value: "${{ result.n }}"}}
            steps:
              - {id: x, kind: ok, undo: {kind: ok}}
              - {id: y, kind: ok, undo: {kind: ok}}
            outputs: {n: 3}
          - {id: z, kind: bad}
    """) == "failed"  # fmt: skip
    assert undone(stage) == ["g", "g/y", "g/x", "a"]
    assert stage.result("g@undo") == 3


def test_a_group_undoes_its_own_and_the_one_around_it_does_not_again(stage: Stage) -> None:
    assert stage.play("""
        steps:
          - {id: a, kind: ok, undo: {kind: ok}}
          - id: g
            steps: [{id: x, kind: ok, undo: {kind: ok}}, {id: y, kind: bad}]
    """) == "failed"  # fmt: skip
    assert undone(stage) == ["g/x", "a"]
    assert (stage.row("g/x@undo").parent, stage.row("a@undo").parent) == (stage.row("g").id, stage.row("").id)


def test_a_group_that_recovered_stays_undone(stage: Stage) -> None:
    assert stage.play("""
        steps:
          - id: g
            steps: [{id: x, kind: ok, undo: {kind: ok}}, {id: y, kind: bad}]
            on_failure: [{kind: ok}]
            recover: true
          - {id: z, kind: bad}
    """) == "failed"  # fmt: skip
    assert undone(stage) == ["g/x"]
    assert stage.status("g") == "succeeded"


def test_each_child_of_a_loop_is_undone_with_its_item_and_its_result(stage: Stage) -> None:
    assert stage.play("""
        steps:
          deploy:
            for_each: {items: [eu, us], as: region}
            kind: ok
            with: {value: "at ${{ region }}"}
            undo: {kind: set, with: {value: ["${{ region }}", "${{ index }}", "${{ result }}", "${{ steps.deploy.result }}"]}}
          check: {kind: bad, needs: deploy}
    """) == "failed"  # fmt: skip
    every = ["at eu", "at us"]
    assert stage.result("deploy[0]@undo") == ["eu", 0, "at eu", every]
    assert stage.result("deploy[1]@undo") == ["us", 1, "at us", every]
    assert "deploy@undo" not in stage.rows()


def test_iterations_of_a_repeat_are_undone_each_with_its_own_result(stage: Stage) -> None:
    assert stage.play("""
        steps:
          - id: r
            repeat: {until: iteration == 2}
            kind: ok
            with: {value: "${{ iteration }}"}
            undo: {kind: set, with: {value: "${{ result }} of ${{ iteration }}"}}
          - {kind: bad}
    """) == "failed"  # fmt: skip
    assert [stage.result(f"r[{n}]@undo") for n in (0, 1)] == ["1 of 1", "2 of 2"]


def test_an_undo_sees_what_its_step_saw_and_the_step_as_ended(stage: Stage) -> None:
    assert (
        stage.play(
            """
        inputs: {who: {type: string}}
        env: {PLACE: here}
        steps:
          before: {kind: ok, with: {value: 1}}
          a:
            kind: ok
            needs: before
            with: {value: 2}
            env: {MORE: "${{ env.PLACE }} too"}
            undo:
              kind: set
              with:
                value: ["${{ inputs.who }}", "${{ steps.before.result }}", "${{ needs.before.status }}",
                        "${{ steps.a.result }}", "${{ steps.a.status }}", "${{ result }}", "${{ env.MORE }}",
                        "${{ step.path }}", "${{ run.id }}", "${{ attempt }}"]
          b: {kind: bad, needs: a}
    """,
            {"who": "ann"},
            run_id="r",
        )
        == "failed"
    )
    assert stage.result("a@undo") == ["ann", 1, "succeeded", 2, "succeeded", 2, "here too", "a@undo", "r", 1]


def test_the_undo_of_a_group_sees_the_steps_beside_the_group_and_not_those_in_it(stage: Stage) -> None:
    assert stage.play("""
        steps:
          x: {kind: ok, with: {value: outside}}
          g:
            needs: x
            steps: {x: {kind: ok, with: {value: inside}}}
            outputs: "${{ steps.x.result }}"
            undo: {kind: set, with: {value: ["${{ steps.x.result }}", "${{ result }}"]}}
          bad: {kind: bad, needs: g}
    """) == "failed"  # fmt: skip
    assert stage.result("g@undo") == ["outside", "inside"]


def test_the_undo_of_a_kind_made_of_steps_stands_outside_of_it(stage: Stage) -> None:
    assert stage.play("""
        inputs: {site: {type: string, default: main}}
        kinds:
          page: {inputs: {site: {type: string}}, env: {AT: "${{ inputs.site }}"}, steps: [{kind: ok}]}
        steps:
          - {id: p, kind: page, with: {site: other}, undo: {kind: set, with: {value: "${{ inputs.site }}"}}}
          - {id: q, kind: bad}
    """) == "failed"  # fmt: skip
    assert stage.result("p@undo") == "main"


def test_an_undo_may_be_a_group_or_a_loop_or_be_passed_by(stage: Stage) -> None:
    assert stage.play("""
        steps:
          - id: a
            kind: ok
            with: {value: [1, 2]}
            undo: {steps: [{id: x, kind: ok}, {id: y, kind: ok, with: {value: "${{ result }}"}}]}
          - id: b
            kind: ok
            with: {value: [1, 2]}
            undo: {for_each: "${{ result }}", kind: ok, with: {value: "${{ item }}"}}
          - {id: c, kind: ok, undo: {if: "result == 5", kind: ok}}
          - {id: d, kind: bad}
    """) == "failed"  # fmt: skip
    assert stage.ran[3:] == ["d", "b@undo[0]", "b@undo[1]", "a@undo/x", "a@undo/y"]
    assert stage.result("a@undo/y") == [1, 2]
    assert stage.status("c@undo") == "skipped"


def test_an_undo_waits_in_the_queue_of_its_step_unless_it_names_one(stage: Stage) -> None:
    stage.start("""
        queues: {own: {}, other: {}}
        steps:
          - {id: a, kind: ok, queue: own, undo: {kind: ok}}
          - {id: b, kind: ok, queue: own, undo: {kind: ok, queue: other}}
          - {id: c, kind: bad}
    """)
    assert stage.finish() == "failed"
    assert (stage.row("a@undo").queue, stage.row("b@undo").queue) == ("play/own", "play/other")


def test_undos_need_no_place_of_their_group(stage: Stage) -> None:
    assert stage.play("""
        max_parallel: 1
        steps: [{id: a, kind: ok, undo: {kind: ok}}, {id: b, kind: ok, undo: {kind: ok}}, {id: c, kind: bad}]
    """) == "failed"  # fmt: skip
    assert undone(stage) == ["b", "a"]


def test_what_handlers_did_is_not_undone_by_the_group_but_by_a_handler_that_fails(stage: Stage) -> None:
    assert stage.play("""
        steps: {a: {kind: bad}}
        on_failure: [{id: h, kind: ok, undo: {kind: ok}}]
        finally: [{id: x, kind: ok, undo: {kind: ok}}, {id: y, kind: bad}]
    """) == "failed"  # fmt: skip
    assert undone(stage) == ["@finally/x"]


def test_undos_are_shielded_from_cancels_but_not_from_force(stage: Stage) -> None:
    stage.start("""
        steps:
          - {id: a, kind: ok, undo: {kind: ok}}
          - {id: b, kind: ok, undo: {kind: sleep, with: {for: 1m}}}
          - {id: c, kind: bad}
        on_failure: [{id: f, kind: ok}]
    """)
    stage.runtime.run_until_idle()
    stage.runtime.cancel(stage.run_id)
    assert (stage.status("b@undo"), stage.status("a@undo")) == ("waiting", "pending")
    stage.runtime.cancel(stage.run_id, force=True)
    assert stage.finish() == "failed"
    assert (stage.status("b@undo"), stage.status("a@undo")) == ("canceled", "canceled")
    assert stage.ran == ["a", "b", "c"]


def test_one_undo_can_be_canceled_and_the_next_begins(stage: Stage) -> None:
    stage.start("""
        steps:
          - {id: a, kind: ok, undo: {kind: ok}}
          - {id: b, kind: ok, undo: {kind: ok}}
          - {id: c, kind: ok, undo: {kind: sleep, with: {for: 1h}}}
          - {id: d, kind: bad}
    """)
    stage.runtime.run_until_idle()
    stage.runtime.cancel(stage.run_id, "b@undo")
    assert stage.lease() == []
    stage.runtime.cancel(stage.run_id, "c@undo")
    assert stage.finish() == "failed"
    assert undone(stage) == ["a"]


def test_a_run_whose_time_is_up_is_undone(stage: Stage) -> None:
    assert stage.play("""
        timeout: 1m
        steps: [{id: a, kind: ok, undo: {kind: sleep, with: {for: 1h}}}, {id: b, kind: sleep, with: {for: 1h}}]
    """) == "failed"  # fmt: skip
    assert stage.status("a@undo") == "succeeded"


def test_the_losers_of_a_race_undo_what_they_did(stage: Stage) -> None:
    assert stage.play("""
        steps:
          r:
            race: true
            steps:
              slow: {steps: [{id: x, kind: ok, undo: {kind: ok}}, {id: y, kind: sleep, with: {for: 1h}}]}
              quick: {kind: sleep, with: {for: 1s}}
    """) == "succeeded"  # fmt: skip
    assert undone(stage) == ["r/slow/x"]


def test_a_group_that_fails_at_its_outputs_or_its_finally_is_undone_too(stage: Stage) -> None:
    assert (
        stage.play(
            "steps: {a: {kind: ok, undo: {kind: ok}}}\noutputs: '${{ nobody }}'\n"
            "on_failure: [{kind: ok}]\nfinally: [{id: z, kind: ok}]"
        )
        == "failed"
    )
    assert stage.ran == ["a", "a@undo", "@finally/z"]
    stage.ran.clear()
    assert stage.play("steps: {a: {kind: ok, undo: {kind: ok}}}\nfinally: [{id: z, kind: bad}]") == "failed"
    assert stage.ran == ["a", "@finally/z", "a@undo"]


def test_a_step_that_took_another_one_s_outcome_has_nothing_to_undo(stage: Stage) -> None:
    assert stage.play("""
        steps:
          - {id: a, kind: ok, dedup_key: k, undo: {kind: ok}}
          - {id: b, kind: ok, dedup_key: k, undo: {kind: ok}}
          - {id: c, kind: bad}
    """) == "failed"  # fmt: skip
    assert undone(stage) == ["a"]


EMITTED = {"one": {"kind": "ok", "undo": {"kind": "ok", "with": {"value": "${{ result }}"}}}, "two": {"kind": "bad"}}


@pytest.mark.parametrize("detached", [False, True])
def test_emitted_steps_are_undone_and_so_is_their_emitter(stage: Stage, detached: bool) -> None:
    stage.start("steps: {g: {steps: {e: {kind: emit, undo: {kind: ok}}}}}")
    stage.lease()
    emitted = tuple(Emitted(key=key, definition=given) for key, given in EMITTED.items())
    stage.end("g/e", Succeeded(result="own", emitted=emitted, detached=detached))
    stage.lease()
    stage.end("g/e/one", Succeeded(result="mine"))
    stage.fail("g/e/two")
    assert stage.finish() == "failed"
    assert set(undone(stage)) == {"g/e/one", "g/e"}
    assert stage.result("g/e/one@undo") == "mine"


def test_an_emitted_step_is_undone_in_a_package_that_declares_no_undo(stage: Stage) -> None:
    inner = {"steps": {"x": {"kind": "ok", "undo": {"kind": "ok"}}, "y": {"kind": "ok"}}}
    stage.start("steps: [{id: g, steps: {e: {kind: emit}}}, {id: z, kind: bad}]")
    stage.lease()
    stage.end("g/e", Succeeded(emitted=(Emitted(key="one", definition=inner),)))
    assert stage.finish() == "failed"
    assert undone(stage) == ["g/e/one/x"]
    assert stage.row("g/e/one/x@undo").parent == stage.row("").id
    stage.ran.clear()
    assert set(stage.runtime.retry(stage.run_id)) == {"g/e/one/x", "z"}
    assert stage.finish() == "failed"
    assert stage.ran == ["g/e/one/x", "z", "g/e/one/x@undo"]


def test_what_an_undo_emits_detached_is_still_its_own(stage: Stage) -> None:
    assert stage.play("""
        steps:
          - {id: a, kind: ok, undo: {kind: ok}}
          - {id: b, kind: ok, undo: {kind: emit, with: {detached: true, children: {x: {kind: ok}}}}}
          - {id: c, kind: bad}
    """) == "failed"  # fmt: skip
    assert stage.ran[3:] == ["b@undo", "b@undo/x", "a@undo"]


# -- an operator's retry -------------------------------------------------------------------------------------------


def test_a_retry_runs_anew_what_was_undone(stage: Stage) -> None:
    stage.start(SAGA % "flaky, with: {times: 9}, retry: {max_attempts: 9, delay: 1s, never: [boom]}")
    assert stage.finish() == "failed"
    stage.ran.clear()
    assert set(stage.runtime.retry(stage.run_id)) == {"flight", "hotel", "car"}
    assert not any(path.endswith("@undo") for path in stage.rows())
    assert stage.lease() == ["flight"]
    assert (stage.row("flight").attempt, stage.status("walk")) == (1, "succeeded")
    stage.end("flight")
    stage.lease()
    stage.end("hotel")
    stage.lease()
    stage.end("car")
    assert stage.finish() == "succeeded"


def test_what_could_not_be_undone_stays_done_and_is_undone_at_the_next_failure(stage: Stage) -> None:
    body = """
        steps:
          - {id: a, kind: ok, undo: {kind: bad}}
          - {id: b, kind: ok, undo: {kind: ok}}
          - {id: c, kind: bad}
    """
    assert stage.play(body) == "failed"
    stage.ran.clear()
    assert set(stage.runtime.retry(stage.run_id)) == {"b", "c"}
    assert stage.finish() == "failed"
    assert stage.ran == ["b", "c", "b@undo", "a@undo"]


def test_the_groups_around_what_was_undone_are_open_again(stage: Stage) -> None:
    stage.play("""
        steps:
          - id: g
            steps:
              - id: deploy
                for_each: [eu, us]
                kind: ok
                undo: {kind: ok}
              - {id: told, kind: ok}
            finally: [{id: z, kind: ok}]
          - {id: check, kind: bad}
    """)
    assert undone(stage) == ["g/deploy[1]", "g/deploy[0]"]
    stage.ran.clear()
    assert set(stage.runtime.retry(stage.run_id)) == {"g/deploy[0]", "g/deploy[1]", "check"}
    assert {stage.status(path) for path in ("", "g", "g/deploy")} == {"waiting"}
    assert stage.finish() == "failed"
    assert stage.ran[:4] == ["g/deploy[0]", "g/deploy[1]", "g@finally/z", "check"]
    assert undone(stage) == ["g/deploy[1]", "g/deploy[0]"]


def test_a_group_that_was_undone_as_one_begins_with_nothing_in_it(stage: Stage) -> None:
    stage.play("""
        steps:
          - {id: g, undo: {kind: ok}, steps: [{id: x, kind: ok}, {id: y, kind: ok, undo: {kind: ok}}], outputs: {n: 1}}
          - {id: check, kind: bad}
    """)
    stage.ran.clear()
    assert set(stage.runtime.retry(stage.run_id, "check")) == {"g", "check"}
    assert stage.run().steps == len(stage.rows())
    assert stage.finish() == "failed"
    assert stage.ran == ["g/x", "g/y", "check", "g@undo", "g/y@undo"]
    assert stage.run().steps == stage.run().done == len(stage.rows())


def test_a_part_of_a_handler_cannot_be_retried_by_itself(stage: Stage) -> None:
    stage.play("steps: [{id: a, kind: ok, undo: {kind: bad}}, {id: b, kind: bad}]\non_failure: [{id: f, kind: bad}]")
    for path in ("a@undo", "@on_failure/f", "@on_failure"):
        with pytest.raises(NotAllowed, match="part of a handler"):
            stage.runtime.retry(stage.run_id, path)
