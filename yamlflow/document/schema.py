"""An interpreter of the part of JSON Schema 2020-12 that the language's own schema uses, with words for authors.

Pure. It accepts and refuses what the ``jsonschema`` library does with the same schema (a property of the tests), and
ten times faster, because a schema becomes functions once. One difference is meant: ``3.0`` is no whole number. A check
takes a value and gives its problems, with pointers from that value on; none is an empty sequence.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from ..errors import Problem
from ..judging import canonical
from ..outcome import Json
from . import phrases
from .complaints import MOST_PROBLEMS

Check = Callable[[Json], Sequence[Problem]]
#: Looks at a value after its definition's own check, whose problems it may add to or reword.
Rule = Callable[[Json, Sequence[Problem]], Sequence[Problem]]
OK: Sequence[Problem] = ()

TYPES: Mapping[str, frozenset[type]] = {
    "string": frozenset({str}), "integer": frozenset({int}), "number": frozenset({int, float}),
    "boolean": frozenset({bool}), "null": frozenset({type(None)}), "array": frozenset({list}),
    "object": frozenset({dict}),
}  # fmt: skip
ANY = frozenset().union(*TYPES.values())
#: Keywords that say nothing about what is valid.
ANNOTATIONS = frozenset({
    "$schema", "$id", "$comment", "$defs", "title", "description", "default", "examples", "deprecated", "readOnly",
    "writeOnly", "markdownDescription", "patternErrorMessage", "then", "else", "contentEncoding", "contentMediaType",
})  # fmt: skip
#: Keywords that are interpreted.
SUPPORTED = frozenset({
    "$ref", "type", "enum", "const", "anyOf", "pattern", "minLength", "maxLength", "minimum", "maximum",
    "exclusiveMinimum", "exclusiveMaximum", "items", "minItems", "maxItems", "uniqueItems", "properties",
    "patternProperties", "additionalProperties", "propertyNames", "required", "minProperties", "maxProperties",
})  # fmt: skip


class Unknown(Protocol):
    """Words the problem of a key that is not allowed; ``level`` is the definition or property it stands in."""

    def __call__(self, level: str, key: str, known: Sequence[str]) -> Problem: ...


class Schema:
    """A schema as functions. ``rules`` are by the name of the definition (``$defs``) they are for, "" for the root."""

    def __init__(
        self,
        root: Mapping[str, Json],
        *,
        rules: Mapping[str, Rule] | None = None,
        unknown: Unknown = phrases.unknown_key,
    ) -> None:
        self._root = root
        self._rules = rules or {}
        self._unknown = unknown
        self._checks: dict[str, Check] = {}
        self.problems = self._with_rule(self._node(root, ""), "")

    def _target(self, ref: str) -> Json:
        node: Json = self._root
        for part in ref.removeprefix("#").split("/")[1:]:
            node = node[part.replace("~1", "/").replace("~0", "~")]
        return node

    def _types(self, node: Json) -> frozenset[type]:
        """The Python types of the values that a schema may accept."""
        types = self._own_types(node)
        if isinstance(node, dict) and "$ref" in node:
            types &= self._types(self._target(node["$ref"]))
        return types

    def _own_types(self, node: Json) -> frozenset[type]:
        """The same, leaving it to the definition that a schema refers to to refuse what is not its own."""
        if isinstance(node, bool):
            return ANY if node else frozenset()
        named = node.get("type", ())
        types = frozenset().union(*(TYPES[name] for name in ([named] if isinstance(named, str) else named))) or ANY
        if "anyOf" in node:
            types &= frozenset().union(*(self._types(branch) for branch in node["anyOf"]))
        return types

    def _node(self, node: Json, level: str) -> Check:
        """The check of one schema: by the value's type, the checks that concern it."""
        types = self._own_types(node)
        common = self._common_checks(node)
        table = {kind: (*common, *self._checks_for(kind, node, level)) for kind in types}

        def check(value: Json) -> Sequence[Problem]:
            checks = table.get(type(value))
            if checks is None:
                return [phrases.wrong_type(phrases.expected(node, self._target), value, types)]
            found = OK
            for each in checks:
                if problems := each(value):
                    found = [*found, *problems]
            return found

        return check

    def _common_checks(self, node: Json) -> list[Check]:
        """Those for values of all types."""
        if isinstance(node, bool):
            return []
        checks = [self._ref(node["$ref"])] if "$ref" in node else []
        checks += [_one_of(node["enum"])] if "enum" in node else []
        return checks + ([_one_of([node["const"]])] if "const" in node else [])

    def _checks_for(self, kind: type, node: Json, level: str) -> list[Check]:
        if isinstance(node, bool):
            return []
        checks: list[Check] = []
        if "anyOf" in node:
            checks.append(self._any_of(kind, node, level))
        if kind is str:
            checks += _text(node)
        if kind in (int, float):
            checks += _number(node)
        if kind is list and node.keys() & {"items", "minItems", "maxItems", "uniqueItems"}:
            checks.append(self._array(node, level))
        if kind is dict and node.keys() & _OBJECT_KEYWORDS:
            checks.append(self._object(node, level))
        return checks

    def _ref(self, ref: str) -> Check:
        """The check of a definition; made at its first use, since definitions refer to each other."""
        checks = self._checks

        def check(value: Json) -> Sequence[Problem]:
            made = checks.get(ref)
            if made is None:
                level = ref.rpartition("/")[2]
                node = self._node(self._target(ref), level)
                made = checks[ref] = self._with_rule(node, level) if ref == f"#/$defs/{level}" else node
            return made(value)

        return check

    def _with_rule(self, inner: Check, level: str) -> Check:
        rule = self._rules.get(level)
        return (lambda value: rule(value, inner(value))) if rule else inner

    def _any_of(self, kind: type, node: Json, level: str) -> Check:
        """Of several schemas those that take this type at all; mostly that is one."""
        nodes = [branch for branch in node["anyOf"] if kind in self._types(branch)]
        branches = [self._node(branch, level) for branch in nodes]
        if len(branches) == 1:
            return self._reworded(branches[0], nodes[0], node)

        def check(value: Json) -> Sequence[Problem]:
            found = OK
            for branch in branches:
                problems = branch(value)
                if not problems:
                    return OK
                found = max(found, problems, key=lambda some: len(some[0].pointer) if some else -1)
            return found

        return check

    def _reworded(self, check: Check, branch: Json, node: Json) -> Check:
        """The only schema for a type; its enumeration is not all that is possible."""
        if isinstance(branch, bool) or "enum" not in branch:
            return check
        wanted = phrases.expected(node, self._target)
        return lambda value: check(value) and [phrases.not_one_of(branch["enum"], value, wanted)]

    def _array(self, node: Json, level: str) -> Check:
        items = self._node(node["items"], level) if "items" in node else None
        least, most = node.get("minItems", 0), node.get("maxItems", float("inf"))
        unique = node.get("uniqueItems", False)

        def check(value: list[Json]) -> Sequence[Problem]:
            found: list[Problem] = []
            if not least <= len(value) <= most:
                found.append(phrases.count("items", len(value), least, most))
            for position, item in enumerate(value if items else ()):
                if problems := items(item):  # type: ignore[misc]
                    found += below(position, problems)
                    if len(found) > MOST_PROBLEMS:
                        break
            return [*found, *_twice(value)] if unique else found

        return check

    def _object(self, node: Json, level: str) -> Check:
        patterns = [
            (re.compile(pattern).search, self._node(child, level))
            for pattern, child in node.get("patternProperties", {}).items()
        ]
        additional = node.get("additionalProperties", True)
        others = None if isinstance(additional, bool) else self._node(additional, level)
        names = self._node(node["propertyNames"], level) if "propertyNames" in node else None
        required = node.get("required", ())
        least, most = node.get("minProperties", 0), node.get("maxProperties", float("inf"))
        known = list(node.get("properties", ()))

        def checks_of(key: str) -> list[Check] | None:
            """The schemas for a key's value; None where the key is not allowed."""
            fitting = [check for search, check in patterns if search(key)]
            if key in node.get("properties", ()):
                fitting.insert(0, self._node(node["properties"][key], key))
            elif not fitting and others:
                return [others]
            elif not fitting and additional is False:
                return None
            return fitting

        # Keys that are named are looked up; those that are not are as many as authors can think of.
        named = {key: checks_of(key) or [] for key in known}

        def check(value: dict[str, Json]) -> Sequence[Problem]:
            found: list[Problem] = []
            for key, item in value.items():
                checks = named.get(key)
                if checks is None:
                    checks = checks_of(key)
                if names and (problems := names(key)):
                    found += [replace(problem, pointer=(key,), at_key=True) for problem in problems]
                elif checks is None:
                    found.append(replace(self._unknown(level, key, known), pointer=(key,), at_key=True))
                for each in checks or ():
                    if problems := each(item):
                        found += below(key, problems)
                if len(found) > MOST_PROBLEMS:
                    break
            if not least <= len(value) <= most:
                found.append(phrases.count("entries", len(value), least, most))
            missing = [name for name in required if name not in value]
            return [*found, *(phrases.missing(name, node) for name in missing)] if missing else found

        return check


_OBJECT_KEYWORDS = frozenset({
    "properties", "patternProperties", "additionalProperties", "propertyNames", "required", "minProperties",
    "maxProperties",
})  # fmt: skip


def below(part: str | int, problems: Sequence[Problem]) -> list[Problem]:
    """Problems of a part as problems of the whole."""
    return [replace(problem, pointer=(part, *problem.pointer)) for problem in problems]


def _one_of(values: list[Json]) -> Check:
    allowed = {canonical(value) for value in values}
    return lambda value: OK if canonical(value) in allowed else [phrases.not_one_of(values, value)]


def _text(node: Mapping[str, Json]) -> list[Check]:
    checks: list[Check] = []
    if "pattern" in node:
        search = re.compile(node["pattern"]).search
        checks.append(lambda value: OK if search(value) else [phrases.no_match(node, value)])
    if "minLength" in node or "maxLength" in node:
        least, most = node.get("minLength", 0), node.get("maxLength", float("inf"))
        checks.append(lambda value: OK if least <= len(value) <= most else [phrases.length(len(value), least, most)])
    return checks


_BOUNDS: Mapping[str, Callable[[float, float], bool]] = {
    "minimum": lambda value, bound: value >= bound,
    "maximum": lambda value, bound: value <= bound,
    "exclusiveMinimum": lambda value, bound: value > bound,
    "exclusiveMaximum": lambda value, bound: value < bound,
}


def _number(node: Mapping[str, Json]) -> list[Check]:
    bounds = [(holds, node[keyword]) for keyword, holds in _BOUNDS.items() if keyword in node]
    if not bounds:
        return []

    def check(value: float) -> Sequence[Problem]:
        fits = all(holds(value, bound) for holds, bound in bounds)
        return OK if fits else [phrases.out_of_bounds(node, value)]

    return [check]


def _twice(value: list[Json]) -> list[Problem]:
    seen: dict[Json, int] = {}
    return [
        replace(phrases.twice(item), pointer=(position,))
        for position, item in enumerate(value)
        if seen.setdefault(canonical(item), position) != position
    ][:MOST_PROBLEMS]


def uses_only(node: Json, keywords: frozenset[str]) -> bool:
    """Whether a schema, with the schemas in it, gets by with these keywords and annotations."""
    pending = [node]
    while pending:
        schema = pending.pop()
        if isinstance(schema, bool):
            continue
        if not schema.keys() <= keywords | ANNOTATIONS:
            return False
        pending += [schema[key] for key in ("items", "additionalProperties", "propertyNames") if key in schema]
        pending += schema.get("anyOf", ())
        pending += [child for key in ("properties", "patternProperties") for child in schema.get(key, {}).values()]
    return True
