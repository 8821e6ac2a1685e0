"""What is said about a value that does not fit its schema: what was expected, what is there, what to write. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence

from ..errors import Problem, did_you_mean
from ..outcome import Json
from .complaints import shown

#: Values of an enumeration that are listed, and that are compared with what was written.
_LISTED, _COMPARED = 12, 200
#: Text that needs no quotes.
_BARE = re.compile(r"(?!(?:null|true|false)$)[A-Za-z][A-Za-z0-9_.-]*")
NOUNS = {
    "string": ("text",), "integer": ("a whole number",), "number": ("a number",), "boolean": ("true", "false"),
    "array": ("a list",), "object": ("a mapping",), "null": (),
}  # fmt: skip
#: What other readers of YAML take for truth values.
_TRUTHS = dict.fromkeys(("yes", "on", "y", "true", "1"), "true") | dict.fromkeys(
    ("no", "off", "n", "false", "0"), "false"
)


def given(value: Json) -> str:
    """A value in a sentence: ``text "3"``, ``the number 30``, ``a list``."""
    match value:
        case None:
            return "empty"
        case bool():
            return str(value).lower()
        case str():
            return f'text "{shown(value)}"' if value else "an empty text"
        case int() | float():
            return f"the number {shown(str(value))}"
        case list():
            return "a list" if value else "an empty list"
        case _:
            return "a mapping" if value else "an empty mapping"


def pasted(value: Json) -> str:
    """A value as it may be written in YAML on one line."""
    return value if isinstance(value, str) and _BARE.fullmatch(value) else json.dumps(value, ensure_ascii=False)


def _listed(values: Sequence[Json]) -> list[str]:
    words = [shown(pasted(value)) for value in values[:_LISTED]]
    return words if len(values) <= _LISTED else [*words, f"one of {len(values) - _LISTED:,} others"]


def joined(words: Sequence[str]) -> str:
    """``a, b or c``."""
    return f"{', '.join(words[:-1])} or {words[-1]}" if len(words) > 1 else "".join(words)


def expected(node: Json, target: Callable[[str], Json]) -> str:
    """What a schema takes: ``a whole number from 1``, ``text or a list``, ``one of fixed, linear``."""
    return joined(list(dict.fromkeys(_expected(node, target)))) or "absent"


def _expected(node: Json, target: Callable[[str], Json]) -> list[str]:
    if isinstance(node, bool):
        return []
    if "$ref" in node:
        return _expected(target(node["$ref"]), target)
    if "anyOf" in node:
        return [word for branch in node["anyOf"] for word in _expected(branch, target)]
    if "patternErrorMessage" in node and node["patternErrorMessage"].startswith("must be "):
        return [node["patternErrorMessage"].removeprefix("must be ").partition(":")[0]]
    if "enum" in node:
        return _listed(node["enum"])
    named = node.get("type", ())
    types = [named] if isinstance(named, str) else named
    return [word for name in types for word in ((_bounded(node),) if name in ("integer", "number") else NOUNS[name])]


def _bounded(node: Mapping[str, Json]) -> str:
    noun = "a whole number" if "integer" in node.get("type", "") else "a number"
    bounds = {
        "minimum": "from", "exclusiveMinimum": "over", "maximum": "to", "exclusiveMaximum": "under"
    }  # fmt: skip
    words = [f"{word} {node[keyword]:,}" for keyword, word in bounds.items() if keyword in node]
    return " ".join([noun, *words])


def wrong_type(wanted: str, value: Json, types: frozenset[type]) -> Problem:
    """A value of another type."""
    return Problem(message=f"must be {wanted}; this is {given(value)}", remedy=_converted(value, types))


def _converted(value: Json, types: frozenset[type]) -> str:
    """How to write the value as one of the wanted types."""
    if isinstance(value, str) and bool in types and value.lower() in _TRUTHS:
        return f"Write {_TRUTHS[value.lower()]}, without quotes."
    if isinstance(value, str) and int in types and value.strip().lstrip("-").isdigit():
        return f"Write {shown(value.strip())}, without quotes."
    if isinstance(value, float) and int in types and value.is_integer():
        return f"Write {int(value)}."
    if isinstance(value, bool | int | float) and str in types and not types & {int, float}:
        return f'Put it in quotes: "{pasted(value)}".'
    if isinstance(value, str) and list in types and len(value) <= 80:
        return f"Write a list: [{pasted(value)}]."
    return "Write a value, or remove the key." if value is None else ""


def not_one_of(values: Sequence[Json], value: Json, wanted: str = "") -> Problem:
    """A value that is not among those allowed."""
    wanted = wanted or joined(_listed(values))
    known = [each for each in values[:_COMPARED] if isinstance(each, str)]
    guess = did_you_mean(value, known) if isinstance(value, str) and len(value) < 80 else ""
    return Problem(message=f"must be {wanted}; this is {given(value)}", remedy=guess)


def no_match(node: Mapping[str, Json], value: str) -> Problem:
    """A text that does not match its pattern."""
    message = node.get("patternErrorMessage") or f"must match {node['pattern']}"
    example = next((f"Write, for example, {pasted(each)}." for each in node.get("examples", ())), "")
    return Problem(message=f"{message}; this is {given(value)}", remedy=example)


def length(found: int, least: int, most: float) -> Problem:
    """A text that is too short or too long."""
    if not found:
        return Problem(message="must not be empty")
    bound = f"at least {least:,}" if found < least else f"at most {most:,}"
    return Problem(message=f"must have {bound} characters; it has {found:,}")


def count(what: str, found: int, least: int, most: float) -> Problem:
    """A list or mapping with too few or too many in it."""
    if not found:
        return Problem(message="must not be empty", remedy="Write something into it, or remove the key.")
    bound = f"at least {least:,}" if found < least else f"at most {most:,}"
    return Problem(message=f"must have {bound} {what}; it has {found:,}")


def out_of_bounds(node: Mapping[str, Json], value: float) -> Problem:
    """A number that is too small or too large."""
    return Problem(message=f"must be {_bounded(node)}; this is {given(value)}")


def twice(value: Json) -> Problem:
    """An item that is in its list already."""
    return Problem(message=f"{given(value)} is in the list twice", remedy="Remove one of them.")


def missing(name: str, node: Mapping[str, Json]) -> Problem:
    """A key that must be there."""
    child = node.get("properties", {}).get(name, {})
    examples = child.get("examples", ()) if isinstance(child, dict) else ()
    example = f"Write, for example, {name}: {pasted(examples[0])}." if examples else f'Add "{name}".'
    return Problem(message=f'"{name}" is missing', remedy=example, at_key=True)


def unknown_key(level: str, key: str, known: Sequence[str]) -> Problem:
    """A key that a mapping does not have."""
    guess = did_you_mean(key, known) if len(key) <= 64 else ""
    listed = f"Possible here: {', '.join(known)}." if known else "No key is possible here."
    return Problem(message=f'there is no key "{shown(key)}" here', remedy=guess or listed)
