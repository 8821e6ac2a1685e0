"""The JSON Schemas that authors write into a package (``inputs``, ``signals``): whether they are schemas at all.

Their shape is checked by the language's own schema, which describes JSON Schema too; here is what shape does not say.
The ``jsonschema`` library is imported only for a ``default`` under a schema that says more than ours interprets.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..errors import Pointer, Problem, did_you_mean
from ..inputs import check as check_in_full
from ..judging import TOGETHER
from ..outcome import Json
from ..patterns import NoPattern, compiled
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
#: ``format`` says what a text is for; a default is not judged by it. Patterns of authors are matched within bounds.
_INTERPRETED = (SUPPORTED | {"format"}) - {"$ref", "pattern", "patternProperties"}
#: Keywords whose schemas judge the very value that their own schema judges.
_IN_PLACE = ("allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas")


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
    if not any(not problem.warning for problem in problems):
        problems += _endless(schema)
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
    for key in ("$ref", "$dynamicRef"):
        if key in node and _target(root, node[key]) is None:
            message = f'there is nothing at "{shown(node[key])}" in this schema'
            remedy = 'Write "#/$defs/name" and put the schema there.'
            yield Problem(message=message, remedy=remedy, pointer=(*pointer, key))
    if TOGETHER[0] in node and any(TOGETHER[1] in each for _, each in _nodes(root)):
        message = f"{TOGETHER[0]} cannot stand in one schema with {TOGETHER[1]}"
        yield Problem(message=message, remedy="Use one of them.", pointer=(*pointer, TOGETHER[0]), at_key=True)


def _no_pattern(pattern: str) -> str:
    try:
        compiled(pattern)
    except NoPattern as wrong:
        return str(wrong)
    return ""


def _endless(root: dict[str, Json]) -> Iterator[Problem]:
    """A schema that, to judge a value, has to judge the same value first."""
    done: set[int] = set()
    for pointer, node in _nodes(root):
        way: list[int] = []
        pending: list[tuple[dict[str, Json], int]] = [(node, 0)]
        while pending:
            each, depth = pending.pop()
            del way[depth:]
            if id(each) in way:
                yield Problem(
                    message="the schema refers to itself without end", remedy="Check its $ref.", pointer=pointer
                )
                return
            if id(each) not in done:
                done.add(id(each))
                way.append(id(each))
                pending += [(inner, depth + 1) for inner in _in_place(root, each)]


def _in_place(root: dict[str, Json], node: dict[str, Json]) -> Iterator[dict[str, Json]]:
    children = [node[key] for key in _IN_PLACE if key in node]
    children += [_target(root, node[key]) for key in ("$ref", "$dynamicRef") if key in node]
    for child in children:
        parts = child if isinstance(child, list) else [child]
        yield from (part for part in parts if isinstance(part, dict))


def _target(root: Json, ref: str) -> Json:
    """The schema that a reference means; None where there is none."""
    if not ref.startswith("#"):
        return None
    if not ref.startswith("#/"):
        named = (node for _, node in _nodes(root) if ref[1:] in (node.get("$anchor"), node.get("$dynamicAnchor")))
        return root if ref == "#" else next(named, None)
    node = root
    for part in ref.split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(node, dict) and name in node:
            node = node[name]
        elif isinstance(node, list) and name.isdecimal() and int(name) < len(node):
            node = node[int(name)]
        else:
            return None
    return node if isinstance(node, dict | bool) else None


def _default(schema: dict[str, Json]) -> Sequence[Problem]:
    """Whether the default fits its own schema."""
    if uses_only(schema, _INTERPRETED):
        return Schema(schema).problems(schema["default"])
    return check_in_full(schema, schema["default"], ())
