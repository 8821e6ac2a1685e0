"""A value against the JSON Schema of a kind's ``with``: every problem with its place. Pure.

The plain keywords that kinds use are checked here, quickly; a schema with any other keyword is left to the
``jsonschema`` library, which takes its time to load.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ..duration import InvalidDuration, parse_duration
from ..errors import Pointer, did_you_mean, shortened
from ..inputs import type_words
from ..judging import Unjudgeable, errors_of
from ..outcome import Json
from ..patterns import NoPattern, search

#: A place within the value and what is wrong there.
Finding = tuple[Pointer, str]
#: Findings that are told at once; more do not help.
MOST = 20


def _is_number(value: Json) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


TYPES: Mapping[str, Callable[[Json], bool]] = {
    "null": lambda value: value is None,
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: _is_number(value) and (isinstance(value, int) or value.is_integer()),
    "number": _is_number,
    "string": lambda value: isinstance(value, str),
    "array": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
}

#: The ``format`` of a text that is a length of time: a number in its place is told of its missing unit.
DURATION = "yamlflow-duration"
#: Keywords that say something to people only.
SILENT = frozenset(
    ["title", "description", "markdownDescription", "default", "examples", "$schema", "$id", "$comment", "deprecated",
     "writeOnly", "readOnly", "contentMediaType", "format"]
)  # fmt: skip


def check(schema: Mapping[str, Json] | bool, value: Json) -> list[Finding]:
    """Everything that is wrong with ``value``, at most ``MOST`` findings; empty when it fits."""
    return checker(schema)(value)


def checker(schema: Mapping[str, Json] | bool) -> Callable[[Json], list[Finding]]:
    """``check`` for one schema, to be called often."""
    findings = _plain_findings if is_plain(schema) else _library_findings
    return lambda value: list(itertools.islice(findings(schema, value), MOST))


def is_plain(schema: Mapping[str, Json] | bool) -> bool:
    """Whether the schema uses only keywords that are checked here."""
    if isinstance(schema, bool):
        return True
    if not all(keyword in CHECKS or keyword in SILENT for keyword in schema):
        return False
    return all(is_plain(part) for part in _parts(schema))


def _parts(schema: Mapping[str, Json]) -> Iterator[Mapping[str, Json] | bool]:
    yield from (schema.get("properties") or {}).values()
    yield from schema.get("anyOf") or ()
    yield from schema.get("oneOf") or ()
    for keyword in ("items", "additionalProperties"):
        if keyword in schema:
            yield schema[keyword]


def _plain_findings(schema: Mapping[str, Json] | bool, value: Json, pointer: Pointer = ()) -> Iterator[Finding]:
    if isinstance(schema, bool):
        if not schema:
            yield pointer, "nothing is allowed here"
        return
    if "type" in schema and not _fits_type(schema["type"], value):
        yield pointer, _misfit(schema, value)
        return
    for keyword, limit in schema.items():
        if keyword in CHECKS:
            yield from CHECKS[keyword](limit, value, pointer, schema)


def _misfit(schema: Mapping[str, Json], value: Json) -> str:
    """What to say of a value of another type."""
    if schema.get("format") == DURATION and _is_number(value):
        try:
            parse_duration(value)
        except InvalidDuration as wrong:
            return f"{wrong.message}: {wrong.remedy[0].lower()}{wrong.remedy[1:].rstrip('.')}"
    return f"expected {type_words(schema['type'])}, got {shown(value)}"


def _fits_type(types: str | list[str], value: Json) -> bool:
    return TYPES[types](value) if isinstance(types, str) else any(TYPES[each](value) for each in types)


def shown(value: Json) -> str:
    """A value in a message: its type for containers, itself (shortened) for the rest."""
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    if isinstance(value, str):
        return f'the text "{value[:40]}{"…" if len(value) > 40 else ""}"'
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else shortened(str(value), 40)


def _same(one: Json, other: Json) -> bool:
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def _enum(choices: Json, value: Json, pointer: Pointer, schema: Mapping[str, Json]) -> Iterator[Finding]:
    if not any(_same(value, choice) for choice in choices):
        near = did_you_mean(
            value if isinstance(value, str) else "", [each for each in choices if isinstance(each, str)]
        )
        hint = f". {near}" if near else ""
        words = shortened(", ".join(shortened(str(choice), 100) for choice in choices), 1000)
        yield pointer, f"expected one of {words}; got {shown(value)}{hint}"


def _const(wanted: Json, value: Json, pointer: Pointer, schema: Mapping[str, Json]) -> Iterator[Finding]:
    if not _same(value, wanted):
        yield pointer, f"expected {shown(wanted)}, got {shown(value)}"


def _required(names: Json, value: Json, pointer: Pointer, schema: Mapping[str, Json]) -> Iterator[Finding]:
    if isinstance(value, dict):
        yield from ((pointer, f'"{name}" is missing') for name in names if name not in value)


def _properties(parts: Json, value: Json, pointer: Pointer, schema: Mapping[str, Json]) -> Iterator[Finding]:
    if isinstance(value, dict):
        for name, part in parts.items():
            if name in value:
                yield from _plain_findings(part, value[name], (*pointer, name))


def _additional(part: Json, value: Json, pointer: Pointer, schema: Mapping[str, Json]) -> Iterator[Finding]:
    if not isinstance(value, dict) or part is True:
        return
    known = schema.get("properties") or {}
    for name in value:
        if name in known:
            continue
        if part is False:
            hint = did_you_mean(name, known) or f"Known are {', '.join(known) or 'none'}."
            yield (*pointer, name), f'unknown key "{name}". {hint}'
        else:
            yield from _plain_findings(part, value[name], (*pointer, name))


def _items(part: Json, value: Json, pointer: Pointer, schema: Mapping[str, Json]) -> Iterator[Finding]:
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _plain_findings(part, item, (*pointer, index))


def _any_of(parts: Json, value: Json, pointer: Pointer, schema: Mapping[str, Json]) -> Iterator[Finding]:
    tried = [list(_plain_findings(part, value, pointer)) for part in parts]
    if all(tried):
        yield max(tried, key=lambda findings: (max(len(place) for place, _ in findings), -len(findings)))[0]


def _one_of(parts: Json, value: Json, pointer: Pointer, schema: Mapping[str, Json]) -> Iterator[Finding]:
    fitting = sum(next(_plain_findings(part, value, pointer), None) is None for part in parts)
    if fitting > 1:
        yield pointer, "fits more than one of the allowed forms"
    elif not fitting:
        yield from _any_of(parts, value, pointer, schema)


def _pattern(pattern: Json, value: Json, pointer: Pointer, schema: Mapping[str, Json]) -> Iterator[Finding]:
    if isinstance(value, str) and not _found(pattern, value):
        yield pointer, f"{shown(value)} does not match {shortened(pattern, 200)}"


def _found(pattern: str, text: str) -> bool:
    try:
        return search(pattern, text)
    except NoPattern:
        # A kind's own code wrote it, and may use what RE2 does not know.
        return re.search(pattern, text) is not None


def _bound(
    fits: Callable[[Any, Any], bool], measure: Callable[[Json], Any], words: str
) -> Callable[..., Iterator[Finding]]:
    def bound(limit: Json, value: Json, pointer: Pointer, schema: Mapping[str, Json]) -> Iterator[Finding]:
        measured = measure(value)
        if measured is not None and not fits(measured, limit):
            yield pointer, f"{words} {limit}; got {shown(value) if measured is value else measured}"

    return bound


def _ignored(*_: Any) -> Iterator[Finding]:
    return iter(())


def _number(value: Json) -> Json:
    return value if _is_number(value) else None


def _length(kind: type[str] | type[list[Json]] | type[dict[str, Json]]) -> Callable[[Json], int | None]:
    return lambda value: len(value) if isinstance(value, kind) else None


#: Keyword → (its value, the value checked, the place, the whole schema) → findings.
CHECKS: Mapping[str, Callable[..., Iterator[Finding]]] = {
    "type": _ignored,
    "enum": _enum,
    "const": _const,
    "required": _required,
    "properties": _properties,
    "additionalProperties": _additional,
    "items": _items,
    "anyOf": _any_of,
    "oneOf": _one_of,
    "pattern": _pattern,
    "minimum": _bound(lambda have, limit: have >= limit, _number, "expected at least"),
    "maximum": _bound(lambda have, limit: have <= limit, _number, "expected at most"),
    "exclusiveMinimum": _bound(lambda have, limit: have > limit, _number, "expected more than"),
    "exclusiveMaximum": _bound(lambda have, limit: have < limit, _number, "expected less than"),
    "minLength": _bound(lambda have, limit: have >= limit, _length(str), "characters: expected at least"),
    "maxLength": _bound(lambda have, limit: have <= limit, _length(str), "characters: expected at most"),
    "minItems": _bound(lambda have, limit: have >= limit, _length(list), "items: expected at least"),
    "maxItems": _bound(lambda have, limit: have <= limit, _length(list), "items: expected at most"),
    "minProperties": _bound(lambda have, limit: have >= limit, _length(dict), "keys: expected at least"),
    "maxProperties": _bound(lambda have, limit: have <= limit, _length(dict), "keys: expected at most"),
}


def _library_findings(schema: Mapping[str, Json] | bool, value: Json) -> Iterator[Finding]:
    try:
        errors = errors_of(schema, value, find=_found)
    except Unjudgeable as wrong:
        yield (), str(wrong)
        return
    for error in errors:
        yield tuple(error.absolute_path), shortened(error.message, 500)
