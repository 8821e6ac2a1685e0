"""The quick checker refuses exactly what the ``jsonschema`` library refuses."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from yamlflow.executors.checking import check, is_plain
from yamlflow.plugins import load

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.sampled_from([0.5, 1.0])
    | st.sampled_from(["", "a", "ab", "b1"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "c"]), inner, max_size=3),
    max_leaves=5,
)
TYPES = ["null", "boolean", "integer", "number", "string", "array", "object"]


def objects(inner: Any) -> Any:
    return st.fixed_dictionaries(
        {"type": st.just("object")},
        optional={
            "properties": st.dictionaries(st.sampled_from(["a", "b"]), inner, max_size=2),
            "required": st.lists(st.sampled_from(["a", "b"]), unique=True, max_size=2),
            "additionalProperties": st.booleans() | inner,
            "minProperties": st.integers(0, 2),
            "maxProperties": st.integers(0, 2),
        },
    )


SCHEMAS = st.recursive(
    st.fixed_dictionaries({"type": st.sampled_from(TYPES) | st.lists(st.sampled_from(TYPES), min_size=1, unique=True)})
    | st.fixed_dictionaries({"enum": st.lists(st.sampled_from([1, True, "a", None, 0.5]), min_size=1)})
    | st.fixed_dictionaries({"const": st.sampled_from([1, 0, False, "a"])})
    | st.fixed_dictionaries({"minimum": st.integers(-1, 2), "exclusiveMaximum": st.integers(0, 3)})
    | st.fixed_dictionaries({"minLength": st.integers(0, 2), "pattern": st.just("^a")})
    | st.fixed_dictionaries({"maxItems": st.integers(0, 2), "minItems": st.integers(0, 1)})
    | st.booleans(),
    lambda inner: (
        objects(inner)
        | st.fixed_dictionaries({"items": inner})
        | st.fixed_dictionaries({"anyOf": st.lists(inner, min_size=1, max_size=3)})
        | st.fixed_dictionaries({"oneOf": st.lists(inner, min_size=1, max_size=3)})
    ),
    max_leaves=5,
)


@given(schema=SCHEMAS, value=VALUES)
def test_it_agrees_with_the_library(schema: Any, value: Any) -> None:
    assert is_plain(schema)
    assert (not check(schema, value)) == jsonschema.Draft202012Validator(schema).is_valid(value)


def test_other_keywords_are_left_to_the_library() -> None:
    schema = {"$defs": {"n": {"type": "integer"}}, "properties": {"a": {"$ref": "#/$defs/n"}}}
    assert not is_plain(schema)
    assert check(schema, {"a": 1}) == []
    assert check(schema, {"a": "x"})[0][0] == ("a",)


@pytest.mark.parametrize("kind", sorted(load(entry_points=False).executors))
def test_every_built_in_schema_is_valid_and_quick(kind: str) -> None:
    executor = load(entry_points=False).executors[kind]
    jsonschema.Draft202012Validator.check_schema(executor.schema)
    assert is_plain(executor.schema)
    assert executor.origin == "built in"
    assert executor.summary.endswith(".")
    for name, part in executor.schema.get("properties", {}).items():
        assert part.get("description"), f"{kind}: {name} says nothing of itself"
