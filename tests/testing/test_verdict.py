"""What may be expected, and what a failure says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yamlflow.testing.likeness import alike, differences, fits, told

from .conftest import Play, only

PACKAGE = """
    inputs: {n: {type: integer, default: 3}}
    steps:
      first: {kind: set, with: {value: {list: [1, {a: 1, b: 2}], n: "${{ inputs.n }}"}}}
      second: {kind: set, needs: first, with: {value: x}}
      kept: {kind: record, needs: second, with: {collection: things, key: one, data: {size: 4}}}
    outputs: {got: "${{ steps.first.result }}"}
"""
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize(
    "expect",
    [
        "{outputs: {got: {list: [1, {a: 1, b: 2}], n: 3}}}",
        "{outputs_like: {got: {list: [1, {b: 2}]}}}",
        "{steps: {first: succeeded, second: {status: succeeded, result: x, attempts: 1}}}",
        "{steps: {first: {result_like: {n: 3}}}}",
        "{calls: {set: 2, record: 1, shell: 0}}",
        "{calls: [{kind: set, times: 2}, {step: second, inputs: [{value: x}]}, {step: first, inputs_like: [{value: {n: 3}}]}]}",
        "{order: [first, second, kept]}",
        "{order: [first, kept]}",
        "{duration: 0s}",
        "{duration: {at_most: 1s}}",
        "{records: {things: {one: {size: 4}}}}",
        "{runs: {test: {status: succeeded, outputs_like: {got: {n: 3}}}}}",
    ],
)
def test_what_is_so_may_be_expected(played: Play, expect: str) -> None:
    verdict = only(played(PACKAGE, f"tests: {{t: {{expect: {expect}}}}}"))
    assert verdict.passed, verdict.told()


@pytest.mark.parametrize(
    ("expect", "complaint"),
    [
        ("{status: failed}", "expected the run to be failed; it is succeeded"),
        ("{error: boom}", "expected the run to be failed; it is succeeded"),
        ("{outputs: {got: {list: [1, {a: 1}], n: 3}}}", "outputs.got.list[1].b: expected nothing, came 2"),
        ("{outputs: {got: {list: [1, {a: 1, b: 2}], n: 4}}}", "outputs.got.n: expected 4, came 3"),
        ("{outputs_like: {got: {list: [1]}}}", "outputs.got.list: expected 1 item, came 2 items"),
        ("{outputs_like: {other: 1}}", "outputs.other: expected 1, came nothing"),
        ("{steps: {frist: succeeded}}", 'there is no step "frist" in this run. Did you mean "first"?'),
        ("{steps: {first: skipped}}", "first: not as expected\n  status: expected skipped, came succeeded"),
        ("{steps: {first: {attempts: 2}}}", "attempts: expected 2, came 1"),
        ("{steps: {second: {result: y}}}", 'result: expected "y", came "x"'),
        ("{steps: {second: {error: boom}}}", "second: expected an error, and there is none"),
        ("{calls: {set: 3}}", "calls of set: expected 3, came 2\n  first, attempt 1:"),
        ("{calls: {sett: 1}}", 'calls of sett: expected 1, came 0. Did you mean "set"?'),
        ("{calls: [{step: second, inputs: [{value: y}]}]}", 'inputs[0].value: expected "y", came "x"'),
        ("{order: [second, first]}", "order: expected second, first; came first, second"),
        ("{order: [first, never]}", "order: never made no call"),
        ("{duration: 1h}", "duration: expected 1h, came 0s"),
        ("{duration: {at_least: 1h}}", "duration: expected at least 1h, came 0s"),
        ("{artifacts: {first: [a.txt]}}", "artifacts of first: there is no a.txt; there are none"),
        ("{records: {things: {one: {size: 5}}}}", "things.one.size: expected 5, came 4"),
        ("{records: {things: {two: {}}}}", 'records: things has no "two"'),
        ("{records: {other: {two: {}}}}", 'records: other has no "two"'),
        ("{runs: {other: succeeded}}", 'there is no run "other". There are: test.'),
    ],
)
def test_what_is_not_so_is_told_with_what_came(played: Play, expect: str, complaint: str) -> None:
    verdict = only(played(PACKAGE, f"tests:\n  t:\n    expect: {expect}\n"))
    assert not verdict.passed
    assert complaint in verdict.told()
    assert verdict.failures[0].place.startswith("flow.test.yaml:3:")


FAILING = "steps: {a: {kind: fail, with: {code: no_good, message: 'it is (really) broken'}}}"


@pytest.mark.parametrize(
    "error", ["no_good", "{message: (really)}", r"{message_matches: 'is \(r.*y\)'}", "{step: a, code: no_good}"]
)
def test_an_error_is_expected_by_its_parts(played: Play, error: str) -> None:
    verdict = only(played(FAILING, f"tests: {{t: {{expect: {{error: {error}}}}}}}"))
    assert verdict.passed, verdict.told()


@pytest.mark.parametrize(
    ("error", "complaint"),
    [
        ("other", 'error.code: expected "other", came "no_good"'),
        ("{message: whole}", 'error.message: expected "whole" in it, came "it is (really) broken"'),
        ("{message_matches: '^broken'}", "error.message: expected a match of ^broken"),
        ("{step: b}", 'error.step: expected "b", came "a"'),
    ],
)
def test_another_error_is_told(played: Play, error: str, complaint: str) -> None:
    assert complaint in only(played(FAILING, f"tests: {{t: {{expect: {{error: {error}}}}}}}")).told()


def test_a_failure_that_nobody_expected_is_told_with_its_error_and_the_story(played: Play) -> None:
    told = only(played(FAILING, "tests: {t: }")).told()
    assert "expected the run to be succeeded; it is failed at a\n  no_good: it is (really) broken" in told
    assert "the story:\n  +0s         the run: started" in told
    assert "a: failed (code no_good" in told


def test_mocks_that_nothing_called_are_named_beside_a_failure(played: Play) -> None:
    told = only(played(FAILING, "tests: {t: {mocks: [{kind: htpt, result: 1}, {kind: htpt}]}}")).told()
    assert told.count('the mock of the kind "htpt"') == 1
    assert 'never called: the mock of the kind "htpt"' in told


@pytest.mark.parametrize("duration", ["30m", "{at_most: 59m}", "{at_least: 61m}", "{at_least: 1h, at_most: 1m}"])
def test_a_run_that_took_another_time_is_told(played: Play, duration: str) -> None:
    package = "steps: {nap: {kind: sleep, with: {for: 1h}}}"
    assert ", came 1h" in only(played(package, f"tests: {{t: {{expect: {{duration: {duration}}}}}}}")).told()


@pytest.mark.parametrize(
    ("expected", "came", "same"), [(1, True, False), (0, False, False), (1, 1.0, True), ("", None, False)]
)
def test_true_is_not_one(expected: object, came: object, same: bool) -> None:
    assert alike([expected], [came]) is same


@given(JSON)
def test_every_value_is_itself(value: object) -> None:
    assert told(value, value, like=False) == []
    assert alike(value, value)


@given(JSON, JSON)
def test_two_values_differ_exactly_when_they_are_not_the_same_json(one: object, other: object) -> None:
    def canonical(value: object) -> object:
        if isinstance(value, dict):
            return {key: canonical(item) for key, item in value.items()}
        return [canonical(item) for item in value] if isinstance(value, list) else (type(value).__name__, value)

    assert (next(differences(one, other, like=False), None) is None) == (canonical(one) == canonical(other))


@given(st.dictionaries(st.text(), JSON), st.dictionaries(st.text(), JSON))
def test_a_mapping_is_like_any_part_of_it(part: dict[str, object], rest: dict[str, object]) -> None:
    assert alike(part, {**rest, **part})


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("a", "a", True),
        ("a", "b/a", False),
        ("a[*]", "a[0]", True),
        ("a[*]", "a", False),
        ("*/get", "a[0]/get", True),
        ("a.b", "axb", False),
    ],
)
def test_a_star_stands_for_anything(pattern: str, path: str, expected: bool) -> None:
    assert fits(pattern, path) is expected


@pytest.mark.parametrize(
    ("mock", "complaint"),
    [
        ("{kind: recrd}", 'flow.test.yaml:3:13: nothing here is of the kind "recrd". Did you mean "record"?'),
        ("{step: secnd}", 'flow.test.yaml:3:13: there is no step "secnd". Did you mean "second"?'),
        ("{step: 'a/secnd[0]'}", "there is no step"),
    ],
)
def test_a_mock_that_is_for_nothing_fails_a_test_that_would_pass(played: Play, mock: str, complaint: str) -> None:
    verdict = only(played(PACKAGE, f"tests:\n  t:\n    mocks: [{mock}]\n"))
    assert not verdict.passed
    assert complaint in verdict.told()


@pytest.mark.parametrize("mock", ["{kind: http, error: never}", "{step: last, error: never}", "{step: 'fan[*]'}"])
def test_a_mock_that_no_call_met_is_no_failure(played: Play, mock: str) -> None:
    package = (
        "steps: {first: {kind: noop}, last: {needs: {first: failed}, kind: noop}, fan: {for_each: [], kind: noop}}"
    )
    verdict = only(played(package, f"tests: {{t: {{mocks: [{mock}]}}}}"))
    assert verdict.passed, verdict.told()
