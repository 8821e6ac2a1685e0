"""One step many times: ``for_each``, ``matrix``, ``repeat``."""

from __future__ import annotations

import pytest

from yamlflow.errors import InvalidPackage

from .stage import Stage, package


def looped(loop: str, value: str = "${{ item }}", **more: str) -> str:
    """A package with one loop, ``a``."""
    lines = "".join(f"\n    {key}: {text}" for key, text in more.items())
    step = f'    kind: set\n    for_each: {loop}\n    with: {{value: "{value}"}}{lines}'
    return "inputs: {given: {default: null}}\nsteps:\n  a:\n" + step


@pytest.mark.parametrize(("loop", "result"), [
    ("[3, 1, 2]", [3, 1, 2]),
    ("${{ range(2, 5) }}", [2, 3, 4]),
    ("[]", []),
    ("${{ [] }}", []),
    ("{items: ['x', 'y'], as: item}", ["x", "y"]),
    ("[[1], {b: 2}, null]", [[1], {"b": 2}, None]),
    ("${{ inputs.given }}", [7, 8]),
])  # fmt: skip
def test_there_is_one_child_per_item_and_the_results_are_in_item_order(stage: Stage, loop: str, result: object) -> None:
    assert stage.play(looped(loop), {"given": [7, 8]}) == "succeeded"
    assert stage.result("a") == result


def test_results_are_in_item_order_whatever_ends_first(stage: Stage) -> None:
    stage.start(
        "steps: {a: {kind: ok, for_each: [1, 2, 3]}, b: {kind: set, needs: a, with: {value: '${{ steps.a.result }}'}}}"
    )
    from yamlflow.outcome import Succeeded

    assert stage.lease() == ["a[0]", "a[1]", "a[2]"]
    for path in ("a[2]", "a[0]", "a[1]"):
        stage.end(path, Succeeded(result=path))
    stage.finish()
    assert stage.result("b") == ["a[0]", "a[1]", "a[2]"]


def test_a_mapping_gives_key_and_value_and_names_its_children(stage: Stage) -> None:
    stage.play(
        looped("{items: '${{ inputs.given }}'}", "${{ item.key }}=${{ item.value }} #${{ index }}"),
        {"given": {"x": 1, "y/z": 2}},
    )
    assert stage.result("a") == ["x=1 #0", "y/z=2 #1"]
    assert set(stage.statuses()) == {"a", "a[x]", "a[y%2Fz]"}


def test_the_long_form_names_the_item_and_keys_the_children(stage: Stage) -> None:
    stage.play(looped("{items: [{n: b}, {n: 'a b'}], as: one, key: '${{ one.n }}'}", "${{ one.n }}"))
    assert set(stage.statuses()) == {"a", "a[b]", "a[a b]"}
    assert stage.result("a") == ["b", "a b"]


def test_equal_items_stay_two(stage: Stage) -> None:
    stage.play(looped("[5, 5]"))
    assert stage.result("a") == [5, 5]


@pytest.mark.parametrize("loop", [
    "{items: [1, 1], key: '${{ item }}'}", "{items: [1, '1'], key: '${{ item }}'}", "{items: [''], key: '${{ item }}'}",
    "${{ 5 }}", "${{ 'text' }}", "${{ none }}",
])  # fmt: skip
def test_what_cannot_be_a_loop_is_bad_input_and_makes_no_child(stage: Stage, loop: str) -> None:
    assert stage.play(looped(loop)) == "failed"
    assert stage.error("a")["code"] == "bad_input"
    assert set(stage.statuses()) == {"a"}


@pytest.mark.parametrize("given", [{"": 1}, {"k" * 501: 1}])
def test_a_mapping_whose_key_cannot_name_a_child_is_bad_input(stage: Stage, given: dict[str, int]) -> None:
    assert stage.play(looped("{items: '${{ inputs.given }}'}"), {"given": given}) == "failed"
    assert stage.error("a")["code"] == "bad_input"


def test_a_key_that_no_path_can_hold_is_bad_input(stage: Stage) -> None:
    half = "${{ '\"\\ud800\"' | fromjson }}"
    assert stage.play(f"""
        steps:
          a:
            kind: ok
            for_each:
              items: [1]
              key: {half}
    """) == "failed"  # fmt: skip
    assert stage.error("a")["code"] == "bad_input"


def test_keys_that_differ_only_where_they_are_encoded_stay_two(stage: Stage) -> None:
    stage.play(looped("{items: ['a/b', 'a%2Fb', 'a[b]', 'a@b', 'é'], key: '${{ item }}'}"))
    assert stage.result("a") == ["a/b", "a%2Fb", "a[b]", "a@b", "é"]
    assert len(stage.statuses()) == 6


def test_no_more_children_go_on_than_max_parallel(stage: Stage) -> None:
    stage.start("steps: {a: {kind: ok, for_each: {items: [1, 2, 3, 4, 5], max_parallel: 2}}}")
    assert stage.lease() == ["a[0]", "a[1]"]
    stage.end("a[1]")
    assert stage.lease() == ["a[2]"]
    stage.end("a[0]")
    stage.end("a[2]")
    assert stage.lease() == ["a[3]", "a[4]"]


TEN = "{items: '${{ range(10) }}', tolerate: %s}"


@pytest.mark.parametrize(("tolerate", "failures", "ends"), [
    ("0", 1, "failed"), ("1", 1, "succeeded"), ("1", 2, "failed"), ("20%", 2, "succeeded"), ("20%", 3, "failed"),
    ("19%", 2, "failed"), ("100%", 10, "succeeded"), ("9%", 1, "failed"),
])  # fmt: skip
def test_as_many_failures_are_tolerated_as_said(stage: Stage, tolerate: str, failures: int, ends: str) -> None:
    stage.start(f"steps: {{a: {{kind: ok, for_each: {TEN % tolerate}}}}}")
    for position, path in enumerate(stage.lease()):
        if position < failures:
            stage.fail(path)
        else:
            stage.end(path)
    assert (stage.status("a"), stage.status()) == (ends, ends)


def test_a_tolerated_failure_leaves_null_in_its_place(stage: Stage) -> None:
    body = """
        steps:
          a:
            for_each: {items: [0, 1, 2], tolerate: 1}
            steps: {x: {kind: bad, if: "item == 1"}}
            outputs: "${{ item }}"
    """
    assert stage.play(body) == "succeeded"
    assert stage.result("a") == [0, None, 2]
    assert stage.statuses() | {} == {
        "a": "succeeded", "a[0]": "succeeded", "a[1]": "failed", "a[2]": "succeeded",
        "a[0]/x": "skipped", "a[1]/x": "failed", "a[2]/x": "skipped",
    }  # fmt: skip


def test_all_children_run_although_one_failed(stage: Stage) -> None:
    assert stage.play("steps: {a: {kind: bad, for_each: [1, 2, 3]}}") == "failed"
    assert stage.ran == ["a[0]", "a[1]", "a[2]"]


def test_what_belongs_to_the_whole_is_done_once(stage: Stage) -> None:
    stage.play("steps: {n: {kind: ok}, a: {kind: ok, needs: n, if: 'true', for_each: [1, 2], continue_on_error: true}}")
    assert len(stage.events("step.opened", "a")) == 1
    assert stage.play("steps: {a: {kind: bad, for_each: [1, 2], continue_on_error: true}}") == "succeeded"
    assert stage.statuses() == {"a": "failed", "a[0]": "failed", "a[1]": "failed"}


def test_a_false_if_skips_the_whole(stage: Stage) -> None:
    stage.play("steps: {a: {kind: ok, if: false, for_each: [1, 2]}}")
    assert stage.statuses() == {"a": "skipped"}


def test_retry_and_timeout_belong_to_each_child(stage: Stage) -> None:
    assert (
        stage.play("steps: {a: {kind: flaky, with: {times: 1}, for_each: [1, 2], retry: {max_attempts: 2}}}")
        == "succeeded"
    )
    assert stage.result("a") == [2, 2]


def test_loops_nest_in_groups_and_see_the_items_around_them(stage: Stage) -> None:
    stage.play("""
        steps:
          outer:
            for_each: {items: [1, 2], as: row}
            steps:
              inner: {kind: set, for_each: {items: [10, 20], as: column}, with: {value: "${{ row * column + index }}"}}
            outputs: "${{ steps.inner.result }}"
    """)
    assert stage.result("outer") == [[10, 21], [20, 41]]
    assert stage.status("outer[1]/inner[0]") == "succeeded"


def test_a_child_sees_what_was_there_before_its_loop(stage: Stage) -> None:
    stage.play("""
        steps:
          a: {kind: set, with: {value: 3}}
          b: {kind: set, needs: a, for_each: "${{ range(steps.a.result) }}", with: {value: "${{ steps.a.result }}"}}
    """)
    assert stage.result("b") == [3, 3, 3]


def test_a_loop_over_a_kind_made_of_steps_gives_each_child_its_inputs(stage: Stage) -> None:
    stage.play("""
        kinds:
          twice:
            inputs: {n: {type: integer}}
            steps: {x: {kind: set, with: {value: "${{ inputs.n * 2 }}"}}}
            outputs: "${{ steps.x.result }}"
        steps: {a: {kind: twice, for_each: [1, 2], with: {n: "${{ item }}"}}}
    """)
    assert stage.result("a") == [2, 4]


def test_a_child_can_be_canceled_alone(stage: Stage) -> None:
    stage.start("steps: {a: {kind: ok, for_each: [1, 2]}}")
    stage.decide()
    stage.runtime.cancel(stage.run_id, "a[0]")
    assert stage.finish() == "canceled"
    assert stage.statuses() == {"a": "canceled", "a[0]": "canceled", "a[1]": "succeeded"}


def test_three_loops_exclude_one_another() -> None:
    with pytest.raises(InvalidPackage, match="exclude"):
        package("steps: {a: {kind: ok, for_each: [1], matrix: {x: [1]}}}")


# -- matrix --------------------------------------------------------------------------------------------------------


def children(stage: Stage) -> list[str]:
    """The children of the loop ``t``, in order."""
    rows = [row for path, row in stage.rows().items() if path.startswith("t[")]
    return [row.path for row in sorted(rows, key=lambda row: row.ordinal)]


@pytest.mark.parametrize(("matrix", "paths"), [
    ("{os: [linux, mac], py: ['3.11', '3.12']}", ["t[linux,3.11]", "t[linux,3.12]", "t[mac,3.11]", "t[mac,3.12]"]),
    ("{os: [linux, mac], py: ['3.11', '3.12'], exclude: [{os: mac, "
     "py: '3.11'}]}", ["t[linux,3.11]", "t[linux,3.12]", "t[mac,3.12]"]),
    ("{os: [linux, mac], exclude: [{os: mac}]}", ["t[linux]"]),
    ("{os: [linux], include: [{os: bsd}, {os: linux}]}", ["t[linux]", "t[bsd]"]),
    ("{n: [1, true, null]}", ["t[1]", "t[true]", "t[null]"]),
    ("{n: [1, true], exclude: [{n: true}]}", ["t[1]"]),
    ("{n: []}", []),
])  # fmt: skip
def test_there_is_one_child_per_combination(stage: Stage, matrix: str, paths: list[str]) -> None:
    assert stage.play(f"steps: {{t: {{kind: ok, matrix: {matrix}}}}}") == "succeeded"
    assert children(stage) == paths


def test_a_combination_is_in_scope_and_results_are_in_order(stage: Stage) -> None:
    stage.play(
        "steps: {t: {kind: set, matrix: {x: [1, 2], y: '${{ [3, 4] }}'}, "
        "with: {value: '${{ matrix.x * matrix.y + index }}'}}}"
    )
    assert stage.result("t") == [3, 5, 8, 11]


def test_two_combinations_with_one_key_are_bad_input(stage: Stage) -> None:
    assert stage.play("steps: {t: {kind: ok, matrix: {n: [1, '1']}}}") == "failed"
    assert stage.error("t")["code"] == "bad_input"


def test_a_matrix_is_bounded_by_max_parallel(stage: Stage) -> None:
    stage.start("steps: {t: {kind: ok, matrix: {n: [1, 2, 3], max_parallel: 1}}}")
    assert stage.lease() == ["t[1]"]
    stage.end("t[1]")
    assert stage.lease() == ["t[2]"]


# -- repeat --------------------------------------------------------------------------------------------------------


def test_a_repeat_goes_on_until_its_condition_holds(stage: Stage) -> None:
    stage.play("steps: {r: {kind: set, with: {value: '${{ iteration * 10 }}'}, repeat: {until: 'result >= 30'}}}")
    assert stage.result("r") == 30
    assert set(stage.statuses()) == {"r", "r[0]", "r[1]", "r[2]"}


def test_an_iteration_sees_its_number_and_the_last_result(stage: Stage) -> None:
    stage.play(
        "steps: {r: {kind: set, with: {value: '${{ (result or 1) * 2 + iteration }}'}, "
        "repeat: {until: 'iteration == 3'}}}"
    )
    assert stage.result("r") == ((2 + 1) * 2 + 2) * 2 + 3


def test_until_sees_the_steps_of_the_iteration_s_group(stage: Stage) -> None:
    assert stage.play("""
        steps:
          r:
            repeat: {until: "steps.x.result >= 2"}
            steps: {x: {kind: set, with: {value: "${{ iteration }}"}}}
            outputs: {at: "${{ steps.x.result }}"}
    """) == "succeeded"  # fmt: skip
    assert stage.result("r") == {"at": 2}


def test_a_repeat_waits_between_iterations_and_holds_no_worker(stage: Stage) -> None:
    stage.start("steps: {r: {kind: ok, repeat: {until: 'iteration == 2', every: 10s}}}")
    begun = stage.clock.now()
    assert stage.lease() == ["r[0]"]
    stage.end("r[0]")
    assert stage.lease() == []
    assert stage.store.next_timer() == begun + 10_000
    stage.clock.advance(9_999)
    assert stage.lease() == []
    stage.clock.advance(1)
    assert stage.lease() == ["r[1]"]


def test_a_repeat_that_reaches_its_max_fails(stage: Stage) -> None:
    assert stage.play("steps: {r: {kind: ok, repeat: {until: 'false', max: 3}}}") == "failed"
    assert (stage.error("r")["code"], len(stage.ran)) == ("repeat_exhausted", 3)


def test_a_repeat_whose_last_iteration_is_the_one_succeeds(stage: Stage) -> None:
    assert stage.play("steps: {r: {kind: ok, repeat: {until: 'iteration == 3', max: 3}}}") == "succeeded"


def test_a_failed_iteration_fails_the_repeat(stage: Stage) -> None:
    assert stage.play("steps: {r: {kind: bad, repeat: {until: 'iteration == 5'}}}") == "failed"
    assert (stage.ran, stage.error("r")["code"]) == (["r[0]"], "boom")


def test_an_until_that_cannot_be_evaluated_fails_the_repeat(stage: Stage) -> None:
    assert stage.play("steps: {r: {kind: ok, repeat: {until: 'nobody'}}}") == "failed"
    assert stage.error("r")["code"] == "template_error"
