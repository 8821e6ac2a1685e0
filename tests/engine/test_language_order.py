"""What starts when: sequences and graphs, the conditions of needs, ``join``, ``if``, groups within groups."""

from __future__ import annotations

import json

import pytest

from yamlflow.errors import InvalidPackage

from .stage import Stage, package

#: One step for each way to end, and what it counts as for those that need it.
WAYS = """
  never: {kind: bad}
  other: {kind: ok, if: false}
  succeeded: {kind: ok}
  failed: {kind: bad}
  skipped: {kind: ok, if: false}
  canceled: {kind: sleep, with: {for: 1h}}
  because_failed: {kind: ok, needs: never}
  because_skipped: {kind: ok, needs: other}
  handled: {kind: bad, continue_on_error: true}
"""
HOLDS = {
    "succeeded": {"succeeded", "handled"},
    "failed": {"failed", "because_failed", "handled"},
    "skipped": {"skipped", "because_skipped"},
    "canceled": {"canceled"},
    "finished": {"succeeded", "failed", "skipped", "canceled", "because_failed", "because_skipped", "handled"},
    "not_failed": {"succeeded", "skipped", "because_skipped", "handled"},
    "[failed, skipped]": {"failed", "because_failed", "skipped", "because_skipped", "handled"},
    "[canceled]": {"canceled"},
}


@pytest.mark.parametrize("condition", HOLDS)
def test_each_condition_holds_for_the_ends_it_names(stage: Stage, condition: str) -> None:
    needing = "".join(f"\n  on_{way}: {{kind: ok, needs: {{{way}: {condition}}}}}" for way in HOLDS["finished"])
    stage.start(f"steps:{WAYS}{needing}")
    stage.runtime.run_until_idle()
    stage.runtime.cancel(stage.run_id, "canceled")
    stage.finish()
    assert {way for way in HOLDS["finished"] if stage.status(f"on_{way}") == "succeeded"} == HOLDS[condition]


def test_a_step_of_a_graph_starts_when_all_it_needs_has_succeeded(stage: Stage) -> None:
    stage.start("steps: {a: {kind: ok}, b: {kind: ok}, c: {kind: ok, needs: [a, b]}, d: {kind: ok, needs: c}}")
    assert stage.lease() == ["a", "b"]
    stage.end("b")
    assert stage.lease() == []
    stage.end("a")
    assert stage.lease() == ["c"]


def test_a_list_is_a_sequence(stage: Stage) -> None:
    assert stage.play("steps: [{kind: ok}, {kind: ok, id: second}, {kind: ok}]") == "succeeded"
    assert stage.ran == ["_1", "second", "_3"]


def test_a_false_if_in_a_sequence_skips_only_its_own_step(stage: Stage) -> None:
    assert stage.play("steps: [{kind: ok}, {kind: ok, if: false}, {kind: ok}]") == "succeeded"
    assert stage.ran == ["_1", "_3"]


def test_a_failure_in_a_sequence_skips_all_that_follows(stage: Stage) -> None:
    assert stage.play("steps: [{kind: bad}, {kind: ok}, {kind: ok}]") == "failed"
    assert stage.statuses() == {"_1": "failed", "_2": "skipped", "_3": "skipped"}
    assert {stage.row(path).reason for path in ("_2", "_3")} == {"failed"}


def test_a_handled_failure_in_a_sequence_lets_it_go_on(stage: Stage) -> None:
    assert stage.play("steps: [{kind: bad, continue_on_error: true}, {kind: ok}]") == "succeeded"
    assert stage.statuses() == {"_1": "failed", "_2": "succeeded"}


def test_needs_in_a_list_are_an_error() -> None:
    with pytest.raises(InvalidPackage, match="needs"):
        package("steps: [{kind: ok, id: a}, {kind: ok, needs: a}]")


def test_being_skipped_for_a_failure_is_passed_on_however_long_the_chain(stage: Stage) -> None:
    stage.play("""
        steps:
          a: {kind: bad}
          b: {kind: ok, needs: a}
          c: {kind: ok, needs: b}
          mourner: {kind: ok, needs: {c: failed}}
    """)
    assert stage.status("mourner") == "succeeded"


def test_a_step_that_its_own_if_skipped_does_not_count_as_failed(stage: Stage) -> None:
    assert (
        stage.play("steps: {a: {kind: ok, if: false}, b: {kind: ok, needs: a}, c: {kind: ok, needs: {b: failed}}}")
        == "succeeded"
    )
    assert stage.statuses() == {"a": "skipped", "b": "skipped", "c": "skipped"}


@pytest.mark.parametrize(("body", "match"), [
    ("steps: {a: {kind: ok, needs: b}, b: {kind: ok, needs: a}}", "circle: a, b"),
    ("steps: {g: {steps: {a: {kind: ok, needs: a}}}}", "circle"),
    ("steps: {a: {kind: ok, needs: aa}, ab: {kind: ok}}", 'no step "aa". Did you mean'),
    ("steps: {a: {kind: ok}, g: {steps: {b: {kind: ok, needs: a}}}}", 'no step "a"'),
    ("steps: {a: {kind: ok}}\nfinally: {z: {kind: ok, needs: a}}", 'no step "a"'),
    ("kinds: {k: {steps: {x: {kind: ok, needs: y}}}}\nsteps: {a: {kind: k}}", 'no step "y"'),
    ("kinds: {k: {steps: {x: {kind: l}}}, l: {steps: {x: {kind: k}}}}\nsteps: {a: {kind: k}}", "cannot contain itself"),
])  # fmt: skip
def test_what_could_never_end_is_refused_at_its_place_and_nothing_is_stored(
    stage: Stage, body: str, match: str
) -> None:
    with pytest.raises(InvalidPackage, match=match) as refused:
        stage.start(body)
    assert refused.value.problems[0].line > 0
    assert stage.runtime.runs() == []


# -- join ----------------------------------------------------------------------------------------------------------

FOUR = "a: {kind: ok}, b: {kind: ok}, c: {kind: ok}, d: {kind: ok}"


@pytest.mark.parametrize(("join", "wanted"), [("any", 1), ("1", 1), ("2", 2), ("3", 3), ("4", 4), ("all", 4)])
def test_a_join_is_due_as_soon_as_that_many_needs_hold(stage: Stage, join: str, wanted: int) -> None:
    stage.start(f"steps: {{{FOUR}, j: {{kind: ok, needs: [a, b, c, d], join: {join}}}}}")
    stage.lease()
    for path in "dcba"[: wanted - 1]:
        stage.end(path)
        assert stage.lease() == []
    stage.end("dcba"[wanted - 1])
    assert stage.lease() == ["j"]


@pytest.mark.parametrize(("join", "losses"), [("any", 4), ("2", 3), ("3", 2), ("all", 1)])
def test_a_join_is_skipped_as_soon_as_that_many_needs_no_longer_can_hold(stage: Stage, join: str, losses: int) -> None:
    stage.start(f"steps: {{{FOUR}, j: {{kind: ok, needs: [a, b, c, d], join: {join}}}}}")
    stage.lease()
    for path in "abcd"[: losses - 1]:
        stage.fail(path)
        assert stage.status("j") == "pending"
    stage.fail("abcd"[losses - 1])
    assert (stage.status("j"), stage.row("j").reason) == ("skipped", "failed")


def test_what_comes_true_after_a_join_was_due_changes_nothing(stage: Stage) -> None:
    stage.start("steps: {a: {kind: ok}, b: {kind: ok}, j: {kind: ok, needs: [a, b], join: any}}")
    stage.lease()
    stage.end("a")
    assert stage.lease() == ["j"]
    stage.end("j")
    stage.end("b")
    assert (stage.status(), len(stage.events("step.ready", "j"))) == ("succeeded", 1)


def test_what_a_step_sees_of_others_is_fixed_when_it_becomes_due(stage: Stage) -> None:
    stage.start("""
        steps:
          a: {kind: ok}
          b: {kind: ok}
          j:
            needs: [a, b]
            join: any
            kind: set
            with: {value: ["${{ steps.a.status }}", "${{ steps.b.status }}", "${{ steps.b.result }}"]}
    """)
    stage.lease()
    stage.end("a")
    stage.end("b")
    stage.finish()
    assert stage.result("j") == ["succeeded", "pending", None]


@pytest.mark.parametrize("order", [("a", "b"), ("b", "a")])
def test_a_join_that_missed_a_failure_counts_as_failed_whatever_it_missed_last(
    stage: Stage, order: tuple[str, str]
) -> None:
    stage.start("""
        steps:
          a: {kind: ok}
          b: {kind: ok}
          j: {kind: ok, needs: {a: skipped, b: failed}, join: any}
          k: {kind: ok, needs: {j: failed}}
    """)
    stage.lease()
    for path in order:
        (stage.fail if path == "a" else stage.end)(path)
    assert (stage.row("j").reason, stage.lease()) == ("failed", ["k"])


# -- if ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("condition", "ends"), [
    ("true", "succeeded"), ("false", "skipped"), ("inputs.n > 1", "succeeded"), ("${{ inputs.n > 2 }}", "skipped"),
    ("null", "succeeded"), ("inputs.nothing", "skipped"),
])  # fmt: skip
def test_an_if_decides_once_when_the_step_is_due(stage: Stage, condition: str, ends: str) -> None:
    stage.play(
        f"""
        inputs: {{n: {{type: integer}}, nothing: {{default: null}}}}
        steps: {{a: {{kind: ok, if: "{condition}"}}}}
    """
        if condition != "null"
        else "inputs: {n: {}}\nsteps: {a: {kind: ok, if: true}}",
        {"n": 2},
    )
    assert stage.status("a") == ends


def test_an_if_that_is_no_boolean_fails_the_step(stage: Stage) -> None:
    assert stage.play("steps: {a: {kind: ok, if: \"'yes'\"}}") == "failed"
    assert stage.error("a")["code"] == "template_error"


def test_an_undefined_name_is_an_error(stage: Stage) -> None:
    stage.play("steps: {a: {kind: set, with: {value: '${{ nobody }}'}}}")
    assert stage.error("a")["code"] == "template_error"


def test_a_step_that_is_skipped_by_its_if_says_so(stage: Stage) -> None:
    stage.play("steps: {a: {kind: ok, if: false}}")
    assert (stage.row("a").reason, stage.result("a")) == ("if", None)


# -- groups --------------------------------------------------------------------------------------------------------


def test_a_group_is_one_step_from_outside(stage: Stage) -> None:
    stage.play("""
        steps:
          g:
            steps:
              x: {kind: set, with: {value: 1}}
              y: {kind: set, needs: x, with: {value: "${{ steps.x.result + 1 }}"}}
            outputs: {sum: "${{ steps.x.result + steps.y.result }}"}
          h: {steps: [{kind: ok}]}
          after: {kind: set, needs: [g, h], with: {value: ["${{ steps.g.result.sum }}", "${{ steps.h.result }}"]}}
    """)
    assert stage.result("after") == [3, None]
    assert stage.ran == ["h/_1"]


def test_the_nearest_step_of_a_name_wins(stage: Stage) -> None:
    stage.play("""
        steps:
          a: {kind: set, with: {value: outer}}
          g:
            needs: a
            steps:
              before: {kind: set, with: {value: "${{ steps.a.result }}"}}
          h:
            needs: a
            steps:
              a: {kind: set, with: {value: inner}}
              after: {kind: set, needs: a, with: {value: "${{ steps.a.result }}"}}
    """)
    assert (stage.result("g/before"), stage.result("h/after")) == ("outer", "inner")


def test_groups_nest_and_a_failure_deep_down_fails_the_run_with_its_own_error(stage: Stage) -> None:
    body = "{kind: bad}"
    for _ in range(12):
        body = f"{{steps: {{g: {body}}}}}"
    assert stage.play(f"steps: {{g: {body}}}") == "failed"
    assert (stage.error()["code"], stage.error()["step"]) == ("boom", "/".join("g" * 13))


def test_an_empty_way_through_a_group_succeeds(stage: Stage) -> None:
    assert stage.play("steps: {g: {steps: {a: {kind: ok, if: false}}}, b: {kind: ok, needs: g}}") == "succeeded"
    assert stage.statuses() == {"g": "succeeded", "g/a": "skipped", "b": "succeeded"}


def test_a_skipped_group_makes_no_steps(stage: Stage) -> None:
    stage.play("steps: {g: {if: false, steps: {a: {kind: ok}}}}")
    assert stage.statuses() == {"g": "skipped"}


@pytest.mark.parametrize("where", ["steps", "group"])
def test_no_more_steps_of_a_group_go_on_than_max_parallel(stage: Stage, where: str) -> None:
    inner = "max_parallel: 2\nsteps: {a: {kind: ok}, b: {kind: ok}, c: {kind: ok}, d: {kind: ok}}"
    under = "" if where == "steps" else "g/"
    stage.start(
        inner
        if where == "steps"
        else f"steps: {{g: {json.dumps({'max_parallel': 2, 'steps': {x: {'kind': 'ok'} for x in 'abcd'}})}}}"
    )
    assert stage.lease() == [f"{under}a", f"{under}b"]
    stage.end(f"{under}b")
    assert stage.lease() == [f"{under}c"]
    stage.fail(f"{under}a")
    assert stage.lease() == [f"{under}d"]


def test_a_retry_keeps_its_place_in_its_group(stage: Stage) -> None:
    stage.start("max_parallel: 1\nsteps: {a: {kind: ok, retry: {max_attempts: 2}}, b: {kind: ok}}")
    assert stage.lease() == ["a"]
    stage.fail("a")
    assert stage.lease() == []
    stage.clock.advance(1000)
    assert stage.lease() == ["a"]


def test_the_status_of_a_run_is_read_off_its_steps(stage: Stage) -> None:
    assert stage.play("steps: {a: {kind: ok}}") == stage.row("").status == "succeeded"
    assert stage.play("steps: {a: {kind: bad}}") == stage.row("").status == "failed"
    stage.start("steps: {a: {kind: ok}}")
    stage.runtime.cancel(stage.run_id)
    assert stage.finish() == stage.row("").status == "canceled"


def test_a_finished_or_failed_need_handles_nothing(stage: Stage) -> None:
    assert (
        stage.play("steps: {a: {kind: bad}, b: {kind: ok, needs: {a: failed}}, c: {kind: ok, needs: {a: finished}}}")
        == "failed"
    )
    assert stage.statuses() == {"a": "failed", "b": "succeeded", "c": "succeeded"}
