"""Values against declared schemas: defaults, what is wrong and where, and text that was typed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yamlflow.errors import InvalidInput
from yamlflow.inputs import check, fits_simply, from_text, resolve

SCHEMAS: dict[str, Any] = {
    "n": {"type": "integer", "minimum": 1, "maximum": 5},
    "text": {"type": "string", "default": "x"},
    "any": {"default": None},
    "deep": {"type": "object", "properties": {"list": {"type": "array", "items": {"type": "number"}}}, "default": {}},
}


def problems(given: dict[str, Any], schemas: dict[str, Any] = SCHEMAS) -> list[str]:
    """What is wrong with values."""
    with pytest.raises(InvalidInput) as refused:
        resolve(schemas, given)
    return [str(problem) for problem in refused.value.problems]


def test_defaults_are_filled_in_and_what_is_given_stays() -> None:
    assert resolve(SCHEMAS, {"n": 3, "any": [1]}) == {"n": 3, "text": "x", "any": [1], "deep": {}}


def test_every_problem_is_told_at_once_with_its_place_what_was_expected_and_what_was_given() -> None:
    found = problems({"n": 9, "text": 5, "deep": {"list": [1, "x"]}, "nn": 1})
    assert len(found) == 4
    assert any(text.startswith("inputs.nn: there is no input") and 'Did you mean "n"?' in text for text in found)
    assert any(text.startswith("inputs.n: ") and "5" in text and "Given: 9" in text for text in found)
    assert any(text == "inputs.text: expected text. Given: 5." for text in found)
    assert any(text.startswith("inputs.deep.list[1]: ") and "number" in text for text in found)


def test_a_missing_value_is_named_with_its_type() -> None:
    (found,) = problems({})
    assert "inputs.n" in found
    assert "integer" in found


def test_where_there_are_none_that_is_said() -> None:
    (found,) = problems({"x": 1}, {})
    assert "There are none." in found


def test_a_long_value_is_shortened() -> None:
    (found,) = problems({"n": "x" * 10_000})
    assert len(found) < 600


@pytest.mark.parametrize(("kind", "value", "fits"), [
    ("integer", 1, True), ("integer", True, False), ("integer", 1.5, False), ("number", 1, True),
    ("number", True, False),
    ("boolean", True, True), ("boolean", 1, False), ("string", "", True), ("array", [], True), ("object", {}, True),
    ("string", None, False), ("null", None, True),
])  # fmt: skip
def test_json_s_types_are_not_python_s(kind: str, value: Any, fits: bool) -> None:
    assert (not check({"type": kind}, value, ())) is fits


NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(),
    lambda some: st.lists(some, max_size=2) | st.dictionaries(st.text(), some, max_size=2),
    max_leaves=4,
)


@given(
    st.sampled_from(["string", "boolean", "integer", "number", "object", "array", "null", ["string", "null"]]), VALUES
)
def test_the_quick_way_accepts_nothing_that_the_whole_check_would_refuse(kind: Any, value: Any) -> None:
    from jsonschema import Draft202012Validator

    schema = {"type": kind, "title": "t"}
    if fits_simply(schema, value):
        assert Draft202012Validator(schema).is_valid(value)


def test_formats_are_checked() -> None:
    assert check({"type": "string", "format": "date"}, "2026-01-31", ()) == []
    assert len(check({"type": "string", "format": "date"}, "yesterday", ())) == 1


@pytest.mark.parametrize(("kind", "text", "value"), [
    ("integer", "5", 5), ("string", "5", "5"), ("boolean", "true", True), ("array", "[1]", [1]), (None, "5", 5),
    (None, "word", "word"),
    (None, "true", True), ("integer", "word", "word"), (None, "{bad", "{bad"), ("string", "null", "null"),
    (None, "null", None),
])  # fmt: skip
def test_typed_text_is_read_as_its_schema_wants_it(kind: str | None, text: str, value: Any) -> None:
    schema = {} if kind is None else {"type": kind}
    assert from_text({"x": schema}, [("x", text)]) == {"x": value}


def test_a_list_may_be_given_item_by_item() -> None:
    schemas: dict[str, Any] = {"l": {"type": "array", "items": {"type": "string"}}, "m": {"type": ["array", "string"]}}
    assert from_text(schemas, [("l", "5")]) == {"l": ["5"]}
    assert from_text(schemas, [("l", "5"), ("m", "x"), ("l", "6")]) == {"l": ["5", "6"], "m": "x"}


def test_every_text_that_cannot_be_read_is_told_at_once() -> None:
    schemas: dict[str, Any] = {"o": {"type": "object"}, "l": {"type": "array"}, "n": {"type": "integer"}}
    with pytest.raises(InvalidInput) as refused:
        from_text(schemas, [("o", '{"a": 1,\n"b"'), ("l", '["MIT"'), ("n", "1"), ("n", "2")])
    assert [str(problem) for problem in refused.value.problems] == [
        'inputs.o: this is broken JSON: expecting \':\' delimiter, at line 2, character 4. Given: {"a": 1,\n"b"',
        "inputs.l: this is broken JSON: expecting ',' delimiter, at character 7. Given: [\"MIT\"",
        "inputs.n: this is no list, and it is given 2 times. Give it once.",
    ]
