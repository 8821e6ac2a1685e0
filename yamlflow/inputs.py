"""Values against declared schemas: a run's inputs, a kind's inputs, a signal's data. Pure.

A missing value takes its schema's ``default``; without one it is required. What is wrong is told value by value, with
what was expected and what was given.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .errors import InvalidInput, Pointer, Problem, did_you_mean
from .judging import Unjudgeable, errors_of
from .outcome import Json
from .values import NotJson
from .values import from_text as strict


def resolve(schemas: Mapping[str, Json], given: Mapping[str, Json], *, what: str = "input") -> dict[str, Json]:
    """The values with defaults filled in. Raises ``InvalidInput`` with every problem."""
    problems = [
        Problem(
            message=f"there is no {what} of this name", remedy=unknown_remedy(name, schemas), pointer=(what + "s", name)
        )
        for name in given
        if name not in schemas
    ]
    values: dict[str, Json] = {}
    for name, schema in schemas.items():
        declared: Mapping[str, Json] = schema if isinstance(schema, dict) else {}
        if name in given:
            values[name] = given[name]
            problems += check(declared, given[name], (what + "s", name))
        elif "default" in declared:
            values[name] = declared["default"]
        else:
            problems.append(missing(name, declared, what))
    if problems:
        raise InvalidInput(problems)
    return values


def missing(name: str, schema: Mapping[str, Json], what: str) -> Problem:
    """A required value that was not given."""
    kind = schema.get("type", "any value")
    words = f" ({schema['description']})" if schema.get("description") else ""
    return Problem(
        message=f"the {what} is required: {kind}{words}", remedy=f"Give it: -i {name}=…", pointer=(what + "s", name)
    )


def unknown_remedy(name: str, schemas: Mapping[str, Json]) -> str:
    """Which names there are."""
    if not schemas:
        return "There are none."
    return did_you_mean(name, schemas) or f"There are: {', '.join(sorted(schemas))}."


def check(schema: Mapping[str, Json], value: Json, pointer: Pointer) -> list[Problem]:
    """Everything that is wrong with a value."""
    if fits_simply(schema, value):
        return []
    try:
        errors = errors_of(schema, value, formats=True)
    except Unjudgeable as wrong:
        return [Problem(message=str(wrong), pointer=pointer, remedy=given_text(value))]
    return [
        Problem(
            message=shortened(message_of(str(error.validator), error.validator_value, error.instance, error.message)),
            pointer=(*pointer, *error.absolute_path),
            remedy=given_text(error.instance),
        )
        for error in sorted(errors, key=lambda error: list(map(str, error.absolute_path)))
    ]


#: JSON Schema's types, in words.
WORDS: Mapping[str, str] = {
    "null": "null",
    "boolean": "true or false",
    "integer": "a whole number",
    "number": "a number",
    "string": "text",
    "array": "a list",
    "object": "a mapping",
}


def type_words(types: str | Sequence[str]) -> str:
    """What a schema's ``type`` asks for, in words."""
    return WORDS[types] if isinstance(types, str) else " or ".join(WORDS[each] for each in types)


def message_of(keyword: str, wanted: Any, value: Json, otherwise: str) -> str:
    """What is wrong with a value, without Python's own words where that is easy."""
    match keyword:
        case "type":
            return f"expected {type_words(wanted)}"
        case "required" if isinstance(value, dict):
            # The library tells of one missing key at a time, and each is quoted in its message.
            return next((f'"{name}" is missing' for name in wanted if otherwise.startswith(f"{name!r} ")), otherwise)
        case _:
            return otherwise


def fill_defaults(schema: Mapping[str, Json], value: Mapping[str, Json]) -> dict[str, Json]:
    """A mapping with the defaults of the schema's own properties where it has no key."""
    properties = schema.get("properties") or {}
    missing = {name: part["default"] for name, part in properties.items() if "default" in part and name not in value}
    return {**value, **missing}


#: JSON Schema's types that are decided by Python's alone.
SIMPLE_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "string": str, "boolean": bool, "integer": int, "number": (int, float), "object": dict, "array": list,
}  # fmt: skip
SAYING_NOTHING = frozenset({"type", "title", "description", "default", "examples", "$comment"})


def fits_simply(schema: Mapping[str, Json], value: Json) -> bool:
    """Whether a value certainly fits a schema that says no more than its type."""
    if not schema.keys() <= SAYING_NOTHING:
        return False
    kind = schema.get("type")
    if kind is None:
        return True
    if not isinstance(kind, str) or kind not in SIMPLE_TYPES:
        return False
    return isinstance(value, SIMPLE_TYPES[kind]) and (kind == "boolean" or not isinstance(value, bool))


def given_text(value: Json) -> str:
    """What was given, for a message."""
    return f"Given: {shortened(beginning_of(value))}."


def beginning_of(value: Json) -> str:
    """The beginning of a value's JSON text; no more of a large value is written out."""
    text = ""
    for piece in json.JSONEncoder(ensure_ascii=False).iterencode(value[:300] if isinstance(value, str) else value):
        text += piece
        if len(text) > 300:
            break
    return text


def shortened(text: str) -> str:
    """No more than a line."""
    return text if len(text) <= 200 else f"{text[:197]}…"


def from_text(
    schemas: Mapping[str, Json], pairs: Iterable[tuple[str, str]], *, at: Pointer = ("inputs",)
) -> dict[str, Json]:
    """Inputs that were typed as ``name=text``, read as their schema's type wants them; a list may be given item by item.
    ``at`` is where they stand in a message.

    Raises ``InvalidInput`` with every problem: JSON that is broken, and an input that is given twice and is no list.
    """
    given: dict[str, list[str]] = {}
    for name, text in pairs:
        given.setdefault(name, []).append(text)
    problems: list[Problem] = []
    values: dict[str, Json] = {}
    for name, texts in given.items():
        try:
            values[name] = from_texts(schemas.get(name), texts)
        except Unreadable as wrong:
            problems.append(Problem(message=wrong.message, remedy=wrong.remedy, pointer=(*at, name)))
    if problems:
        raise InvalidInput(problems)
    return values


class Unreadable(ValueError):
    """Typed text that cannot be what its schema wants: the cause, and the remedy."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.message, self.remedy = message, remedy


def from_texts(schema: Any, texts: Sequence[str]) -> Json:
    """One input from all that was typed for it: of a list the whole as JSON, or its items. Raises ``Unreadable``."""
    declared = schema if isinstance(schema, dict) else {}
    kinds = declared.get("type")
    is_list = kinds == "array" or (isinstance(kinds, list) and "array" in kinds)
    first = texts[0].lstrip()[:1]
    if is_list and (len(texts) > 1 or (kinds == "array" and first != "[")):
        return [typed(declared.get("items"), text) for text in texts]
    if len(texts) > 1:
        raise Unreadable(f"this is no list, and it is given {len(texts)} times", "Give it once.")
    if kinds in ("array", "object"):
        return from_json(texts[0])
    return typed(schema, texts[0])


def from_json(text: str) -> Json:
    """A list or mapping that was typed. Raises ``Unreadable`` that says where it is broken."""
    try:
        return strict(text)
    except NotJson as wrong:
        raise Unreadable(wrong.message, f"Given: {shortened(text)}") from None
    except json.JSONDecodeError as wrong:
        place = f"line {wrong.lineno}, character {wrong.colno}" if "\n" in text else f"character {wrong.pos + 1}"
        message = f"this is broken JSON: {wrong.msg[:1].lower()}{wrong.msg[1:]}, at {place}"
        raise Unreadable(message, f"Given: {shortened(text)}") from None


def typed(schema: Any, text: str) -> Json:
    """Text as a value: JSON where the schema wants no text, else the text itself. Raises ``Unreadable``."""
    kinds = schema.get("type") if isinstance(schema, dict) else None
    if kinds == "string" or (kinds is None and not looks_like_json(text)):
        return text
    try:
        return strict(text)
    except NotJson as wrong:
        raise Unreadable(wrong.message, f"Given: {shortened(text)}") from None
    except ValueError:
        return text


def looks_like_json(text: str) -> bool:
    """Whether an untyped input is meant as JSON."""
    return text[:1] in '{["-0123456789' or text in ("true", "false", "null")
