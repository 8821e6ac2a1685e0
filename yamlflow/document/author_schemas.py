"""The JSON Schemas that authors write into a package (``inputs``, ``signals``): whether they are schemas at all.

Their shape is checked by the language's own schema, which describes JSON Schema too; here is what shape does not say.
The ``jsonschema`` library is imported only for a ``default`` under a schema that says more than ours interprets.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from ..errors import Pointer, Problem, did_you_mean
from ..inputs import check as check_in_full
from ..outcome import Json
from .complaints import MOST_PROBLEMS, shown
from .schema import SUPPORTED, Schema, below, uses_only

_SINGLE = (
    "items", "contains", "additionalProperties", "propertyNames", "not", "if", "then", "else", "unevaluatedItems",
    "unevaluatedProperties", "contentSchema",
)  # fmt: skip
_LISTS = ("prefixItems", "allOf", "anyOf", "oneOf")
_MAPPINGS = ("properties", "patternProperties", "dependentSchemas", "$defs")
_KNOWN = frozenset({
    *_SINGLE, *_LISTS, *_MAPPINGS, *SUPPORTED, "multipleOf", "format", "minContains", "maxContains",
    "dependentRequired", "$dynamicRef", "$dynamicAnchor", "$anchor", "$vocabulary", "$schema", "$id", "$comment",
    "title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly", "contentEncoding",
    "contentMediaType",
})  # fmt: skip
#: ``format`` says what a text is for; a default is not judged by it.
_INTERPRETED = (SUPPORTED | {"format"}) - {"$ref"}


def schemas_rule(value: Json, found: Sequence[Problem]) -> Sequence[Problem]:
    """The rule for a mapping of names to schemas whose shape was found right or wrong."""
    if not isinstance(value, dict):
        return found
    wrong = {problem.pointer[0] for problem in found if problem.pointer}
    judged = [
        problem
        for name, schema in value.items()
        if isinstance(schema, dict) and name not in wrong
        for problem in below(name, _judged(schema))
    ]
    return [*found, *judged][: MOST_PROBLEMS + 1]


def _judged(schema: dict[str, Json]) -> Sequence[Problem]:
    problems = [problem for pointer, node in _nodes(schema) for problem in _node(schema, pointer, node)]
    if "default" in schema and all(problem.warning for problem in problems):
        problems += below("default", _default(schema))
    return problems


def _nodes(schema: dict[str, Json]) -> Iterator[tuple[Pointer, dict[str, Json]]]:
    """A schema and those in it, with their places."""
    pending: list[tuple[Pointer, Json]] = [((), schema)]
    while pending:
        pointer, node = pending.pop()
        if not isinstance(node, dict):
            continue
        yield pointer, node
        for key in node.keys() & {*_SINGLE, *_LISTS, *_MAPPINGS}:
            child = node[key]
            parts = enumerate(child) if key in _LISTS else child.items() if key in _MAPPINGS else ((None, child),)
            pending += [((*pointer, key) if part is None else (*pointer, key, part), each) for part, each in parts]


def _node(root: dict[str, Json], pointer: Pointer, node: dict[str, Json]) -> Iterator[Problem]:
    for key in node.keys() - _KNOWN:
        if guess := did_you_mean(key, _KNOWN) if len(key) <= 64 else "":
            message = f'"{shown(key)}" is no keyword of JSON Schema and has no effect'
            yield Problem(message=message, remedy=guess, pointer=(*pointer, key), at_key=True, warning=True)
    patterns = [((*pointer, "pattern"), node["pattern"])] if "pattern" in node else []
    patterns += [((*pointer, "patternProperties", key), key) for key in node.get("patternProperties", ())]
    for place, pattern in patterns:
        if cause := _no_pattern(pattern):
            message = f"is no regular expression: {cause}"
            yield Problem(message=message, remedy="Check the brackets and backslashes.", pointer=place)
    if "$ref" in node and not _leads_somewhere(root, node["$ref"]):
        message = f'there is nothing at "{shown(node["$ref"])}" in this schema'
        remedy = 'Write "#/$defs/name" and put the schema there.'
        yield Problem(message=message, remedy=remedy, pointer=(*pointer, "$ref"))


def _no_pattern(pattern: str) -> str:
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        return str(error)
    return ""


def _leads_somewhere(root: Json, ref: str) -> bool:
    if not ref.startswith("#"):
        return False
    if not ref.startswith("#/"):
        return ref == "#" or any(node.get("$anchor") == ref[1:] for _, node in _nodes(root))
    node = root
    for part in ref.split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(node, dict) and name in node:
            node = node[name]
        elif isinstance(node, list) and name.isdecimal() and int(name) < len(node):
            node = node[int(name)]
        else:
            return False
    return isinstance(node, dict | bool)


def _default(schema: dict[str, Json]) -> Sequence[Problem]:
    """Whether the default fits its own schema."""
    if uses_only(schema, _INTERPRETED):
        return Schema(schema).problems(schema["default"])
    try:
        return check_in_full(schema, schema["default"], ())
    except RecursionError:
        return [Problem(message="the schema refers to itself without end", remedy="Check its $ref.")]
