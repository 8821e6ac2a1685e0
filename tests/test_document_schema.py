"""The interpreter of JSON Schema against the library that defines what is right."""

from __future__ import annotations

import re
from typing import Any

import jsonschema
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from yamlflow.document import package_schema, read
from yamlflow.document.schema import Schema
from yamlflow.duration import InvalidDuration, parse_duration

from .test_document_check import WHOLE

SCHEMA = package_schema()
OURS = Schema(SCHEMA)
#: The one difference that is meant: a whole number is written as one.
_STRICT = jsonschema.Draft202012Validator.TYPE_CHECKER.redefine(
    "integer", lambda _, value: isinstance(value, int) and not isinstance(value, bool)
)
Theirs = jsonschema.validators.extend(jsonschema.Draft202012Validator, type_checker=_STRICT)
THEIRS = Theirs(SCHEMA)

_DEFINITIONS = SCHEMA["$defs"]
_WORDS = sorted(
    {
        *SCHEMA["properties"],
        *_DEFINITIONS["step"]["properties"],
        *_DEFINITIONS["retry"]["properties"],
        *_DEFINITIONS["for_each"]["anyOf"][2]["properties"],
        *_DEFINITIONS["repeat"]["properties"],
        *_DEFINITIONS["queue"]["properties"],
        *_DEFINITIONS["schedule"]["properties"],
        "type",
        "minimum",
        "required",
        "id",
        "x-note",
        "my-step",
        "1st",
        "a",
        "limit",
        "ttl",
        "finished",
        "requires",
    }
)
_LEAVES = st.sampled_from(
    [
        None,
        True,
        False,
        0,
        1,
        -1,
        1.0,
        0.5,
        2**40,
        "",
        "a",
        "B-c",
        "1s",
        "PT1H",
        "1h30m",
        "30",
        "${{ a }}",
        "x ${{ a }}",
        "a\n",
        "succeeded",
        "not_failed",
        "all",
        "any",
        "fixed",
        "2/s",
        "0/s",
        "5%",
        "finished",
        "* * * * *",
        "integer",
        "[",
        "A_B",
        "wait",
        "full",
    ]
)
_VALUES = st.recursive(
    _LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_WORDS), inner, max_size=4),
    max_leaves=10,
)


def agree(value: Any) -> bool:
    ours, theirs = not OURS.problems(value), THEIRS.is_valid(value)
    assert ours == theirs, (ours, value, [error.message for error in THEIRS.iter_errors(value)], OURS.problems(value))
    return ours


@given(_VALUES)
@settings(max_examples=150, deadline=None)
def test_any_value_is_accepted_or_refused_as_by_the_library(value: Any) -> None:
    agree(value)


@given(st.data())
@settings(max_examples=400, deadline=None)
def test_a_package_with_one_thing_changed_is_accepted_or_refused_as_by_the_library(data: st.DataObject) -> None:
    package = read(WHOLE).data
    value = package
    for _ in range(data.draw(st.integers(0, 6))):
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        inner = [key for key in keys if isinstance(value[key], dict | list)]
        if not inner:
            break
        value = value[data.draw(st.sampled_from(inner))]
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    assume(isinstance(value, dict) or keys)
    if isinstance(value, dict) and data.draw(st.booleans()):
        keys = _WORDS
    value[data.draw(st.sampled_from(keys or _WORDS))] = data.draw(_VALUES)
    agree(package)


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_the_two_agree_on_the_whole_language() -> None:
    assert agree(read(WHOLE).data)


_JSON_SCHEMA_WORDS = sorted({*_DEFINITIONS["json_schema"]["properties"], "x", "definitions_"} - {"$schema", "$id"})
_SCHEMA_LEAVES = st.sampled_from(
    [
        None,
        True,
        False,
        0,
        1,
        -1,
        0.5,
        "",
        "string",
        "integer",
        "#/$defs/a",
        "^a",
        [],
        ["a"],
        ["a", "a"],
        ["string", "null"],
        {},
    ]
)
_SCHEMAS = st.recursive(
    _SCHEMA_LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_JSON_SCHEMA_WORDS), inner, max_size=3),
    max_leaves=8,
)


@given(_SCHEMAS)
@settings(max_examples=300, deadline=None)
def test_what_counts_as_a_json_schema_is_what_the_metaschema_says(schema: Any) -> None:
    ours = Schema({"$ref": "#/$defs/json_schema", "$defs": _DEFINITIONS})
    metaschema = Theirs(jsonschema.Draft202012Validator.META_SCHEMA)
    theirs = not list(metaschema.iter_errors(schema))
    assert (not ours.problems(schema)) == theirs, schema


@pytest.mark.parametrize(
    ("schema", "value", "fits"),
    [
        ({"enum": [1]}, True, False),
        ({"enum": [True]}, 1, False),
        ({"enum": [1]}, 1.0, True),
        ({"const": [0]}, [False], False),
        ({"uniqueItems": True}, [1, True], True),
        ({"uniqueItems": True}, [1, 1.0], False),
        ({"uniqueItems": True}, [{"a": 1, "b": 2}, {"b": 2, "a": 1}], False),
        ({"maxItems": 1}, [1, 2], False),
        ({"exclusiveMinimum": 0}, 0, False),
        ({"exclusiveMaximum": 1}, 0.5, True),
        ({"maxProperties": 0}, {"a": 1}, False),
        ({"properties": {"a": {"type": "string"}}, "patternProperties": {"^a": {"maxLength": 1}}}, {"a": "xy"}, False),
        ({"additionalProperties": {"type": "string"}, "patternProperties": {"^a": {}}}, {"ab": 1, "c": "x"}, True),
        ({"propertyNames": {"maxLength": 1}}, {"ab": 1}, False),
        (False, 1, False),
        ({"type": ["string", "null"]}, None, True),
        ({"anyOf": [{"minLength": 3}, {"pattern": "^b"}]}, "b", True),
        ({"anyOf": [{"minLength": 3}, {"pattern": "^b"}]}, "a", False),
        (
            {"$ref": "#/$defs/a", "$defs": {"a": {"properties": {"b": {"$ref": "#/$defs/a"}}, "required": ["c"]}}},
            {"c": 1, "b": {"c": 1, "b": {}}},
            False,
        ),
        ({"properties": {"a": False}}, {"a": 1}, False),
    ],
)
def test_each_keyword_means_what_the_library_says(schema: Any, value: Any, fits: bool) -> None:
    assert Theirs(schema).is_valid(value) == fits
    assert (not Schema(schema).problems(value)) == fits


_DURATION = re.compile(_DEFINITIONS["duration"]["pattern"])


@given(
    st.from_regex(r"\A[0-9.]{1,4}(w|d|h|m|s|ms)([0-9.]{1,4}(w|d|h|m|s|ms)){0,3}\Z")
    | st.from_regex(r"\AP[0-9WDTHMS.Y]{0,8}\Z")
    | st.text("0123456789.wdhmsPTWDHMS -\n", max_size=10)
)
@settings(max_examples=500, deadline=None)
def test_the_schemas_durations_are_those_that_are_parsed(text: str) -> None:
    assert bool(_DURATION.search(text)) == is_written_like_a_duration(text)


def is_written_like_a_duration(text: str) -> bool:
    try:
        parse_duration(text)
    except InvalidDuration as error:
        return "finer than" in str(error) or "longer than" in str(error)
    return text == text.strip()
