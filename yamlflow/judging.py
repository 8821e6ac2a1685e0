"""JSON Schema in full: the ``jsonschema`` library within bounds. Pure; nothing is ever fetched.

A schema is not trusted to be kind: it may refer to itself or to other machines, multiply with every level, hold a pattern
without end; nor is a value, which may be long where a keyword compares each item with each. Work is counted by keywords.
"""

from __future__ import annotations

import contextvars
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from .outcome import Json
from .patterns import NoPattern, compiled, search

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError

#: Keywords that are looked at for one value, and choices that are compared; 100,000 take about half a second.
STEPS = 250_000
#: Of these the library looks for patterns in its own way, which has no bounds.
TOGETHER = ("unevaluatedProperties", "patternProperties")
#: What is wrong with one value, at most.
MOST = 100


class _Turn:
    """One judgement: the steps that are left, and how patterns are looked for."""

    def __init__(self, steps: int, search: Callable[[str, str], bool]) -> None:
        self.left = steps
        self.search = search


_turn: contextvars.ContextVar[_Turn] = contextvars.ContextVar("turn")


class Unjudgeable(ValueError):
    """A schema by which a value cannot be judged; the message is a clause that says why."""


def errors_of(
    schema: Mapping[str, Json] | bool, value: Json, *, formats: bool = False, find: Callable[[str, str], bool] = search
) -> list[ValidationError]:
    """What is wrong with a value, as the library tells it, at most ``MOST``. Raises ``Unjudgeable``.

    ``formats`` judges the formats that the library knows; ``find`` looks for a pattern in a text.
    """
    import itertools

    from referencing.exceptions import Unresolvable

    before = _turn.set(_Turn(STEPS, find))
    try:
        _refuse_together(schema)
        return list(itertools.islice(_validator(schema, formats).iter_errors(value), MOST))
    except Unjudgeable:
        raise
    except RecursionError:
        raise Unjudgeable("the schema refers to itself without end") from None
    except Unresolvable as wrong:
        raise Unjudgeable(f'the schema refers to "{str(wrong.ref)[:100]}", which is not in it') from None
    except NoPattern as wrong:
        raise Unjudgeable(f"a pattern of the schema is no regular expression: {wrong}") from None
    except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as wrong:
        # The library takes a schema for what the standard says, and meets one that is not.
        raise Unjudgeable(f"the schema cannot be applied ({type(wrong).__name__}: {str(wrong)[:200]})") from None
    finally:
        _turn.reset(before)


def why_no_schema(schema: Mapping[str, Json]) -> str:
    """Why no value can be judged by a schema, as far as its shape and its patterns tell; "" when nothing is wrong."""
    from jsonschema import Draft202012Validator, SchemaError

    try:
        Draft202012Validator.check_schema(schema)
        for pattern in _patterns_in(schema):
            compiled(pattern)
        errors_of(schema, None)
    except SchemaError as wrong:
        return wrong.message
    except (Unjudgeable, NoPattern) as wrong:
        return str(wrong)
    except RecursionError:
        return "it is nested too deep"
    return ""


def _patterns_in(schema: Json) -> Iterator[str]:
    pending = [schema]
    while pending:
        node = pending.pop()
        if isinstance(node, dict):
            if isinstance(node.get("pattern"), str):
                yield node["pattern"]
            if isinstance(node.get("patternProperties"), dict):
                yield from node["patternProperties"]
            pending += node.values()
        elif isinstance(node, list):
            pending += node


def _refuse_together(schema: Json) -> None:
    pending, seen = [schema], set[str]()
    while pending:
        _spend(1)
        node = pending.pop()
        if isinstance(node, dict):
            seen |= node.keys() & set(TOGETHER)
            pending += node.values()
        elif isinstance(node, list):
            pending += node
    if len(seen) > 1:
        raise Unjudgeable(f"{TOGETHER[0]} cannot stand in one schema with {TOGETHER[1]}")


def _validator(schema: Mapping[str, Json] | bool, formats: bool) -> Any:
    from jsonschema import Draft202012Validator
    from referencing.jsonschema import EMPTY_REGISTRY

    checker = Draft202012Validator.FORMAT_CHECKER if formats else None
    plain = dict(schema) if isinstance(schema, Mapping) else schema
    # Without a registry of ours the library would fetch what a schema refers to.
    return _bounded()(plain, registry=EMPTY_REGISTRY, format_checker=checker)


@functools.cache
def _bounded() -> Any:
    """The library's validator with every keyword counted, and those that can take for ever replaced."""
    from jsonschema import Draft202012Validator, validators

    keywords = {**Draft202012Validator.VALIDATORS, **OWN}
    make: Any = validators.extend
    return make(Draft202012Validator, {name: _counted(check) for name, check in keywords.items()})


Keyword = Callable[[Any, Any, Any, Any], Iterator[Any] | None]


def _counted(check: Keyword) -> Keyword:
    def counted(validator: Any, wanted: Any, value: Any, schema: Any) -> Iterator[Any] | None:
        _spend(1 + (len(wanted) // 20 if isinstance(wanted, list) else 0))
        return check(validator, wanted, value, schema)

    return counted


def _spend(steps: int) -> None:
    turn = _turn.get()
    turn.left -= steps
    if turn.left < 0:
        raise Unjudgeable("it takes too long to judge the value by its schema: make either smaller")


def _pattern(validator: Any, wanted: Any, value: Any, schema: Any) -> Iterator[Any]:
    from jsonschema.exceptions import ValidationError

    if isinstance(value, str):
        _spend(len(value) // 1000)
        if not _turn.get().search(wanted, value):
            yield ValidationError(f"{value!r} does not match {wanted!r}")


def _pattern_properties(validator: Any, wanted: Any, value: Any, schema: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for pattern, inner in wanted.items():
            _spend(len(value))
            for key, item in value.items():
                if _turn.get().search(pattern, key):
                    yield from validator.descend(item, inner, path=key, schema_path=pattern)


def _additional_properties(validator: Any, wanted: Any, value: Any, schema: Any) -> Iterator[Any]:
    from jsonschema.exceptions import ValidationError

    if not isinstance(value, dict):
        return
    known, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    find = _turn.get().search
    _spend(len(value) * len(patterns))
    more = [key for key in value if key not in known and not any(find(pattern, key) for pattern in patterns)]
    if wanted is False and more:
        named = ", ".join(map(repr, more[:20])) + (", …" if len(more) > 20 else "")
        yield ValidationError(
            f"Additional properties are not allowed ({named} {'was' if len(more) == 1 else 'were'} unexpected)"
        )
    elif isinstance(wanted, dict):
        for key in more:
            yield from validator.descend(value[key], wanted, path=key)


def _unique_items(validator: Any, wanted: Any, value: Any, schema: Any) -> Iterator[Any]:
    from jsonschema.exceptions import ValidationError

    if wanted and isinstance(value, list):
        _spend(len(value) // 10)
        if len(set(map(canonical, value))) < len(value):
            yield ValidationError("has non-unique elements")


#: Keywords whose cost in the library grows faster than the value, or without a bound.
OWN: Mapping[str, Keyword] = {
    "pattern": _pattern,
    "patternProperties": _pattern_properties,
    "additionalProperties": _additional_properties,
    "uniqueItems": _unique_items,
}


def canonical(value: Json) -> Json:
    """A hashable stand-in that is equal exactly for values that JSON Schema calls equal."""
    if isinstance(value, str) or value is None:
        return value
    if isinstance(value, bool):
        return ("boolean", value)
    if isinstance(value, int | float):
        return ("number", value)
    if isinstance(value, list):
        return ("array", *map(canonical, value))
    return ("object", frozenset((key, canonical(item)) for key, item in value.items()))
