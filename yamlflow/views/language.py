"""The language's schema with the kinds that are there merged in. Pure."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from ..outcome import Json

#: Where an expression may stand instead of a value.
EXPRESSION: Mapping[str, Json] = {"type": "string", "pattern": r"\$\{\{"}
#: Definitions of the language that are steps.
STEPS = ("step", "list_step", "undo")
#: Keywords that hold one schema, and those that hold several by name or position.
INNER, LISTED = ("items", "additionalProperties"), ("anyOf", "oneOf", "allOf")
NAMED = ("properties", "patternProperties", "$defs")
#: Keywords of a kind's own root that would name another document.
IDENTITY = ("$schema", "$id")


def with_kinds(language: Mapping[str, Json], kinds: Mapping[str, Mapping[str, Json]]) -> dict[str, Json]:
    """The schema of packages in which ``kind: x`` says what may stand in ``with``; other kinds stay as they are."""
    schema: dict[str, Json] = copy.deepcopy(dict(language))
    definitions = schema.setdefault("$defs", {})
    rules = []
    for kind, declared in kinds.items():
        name = f"with:{kind}"
        definitions[name] = loosened(kind_schema(declared, name))
        rules.append(rule({"kind": {"const": kind}}, ["kind"], f"#/$defs/{escaped(name)}"))
    if "shell" in kinds:
        partial = kind_schema(kinds["shell"], "with:run")
        partial.pop("required", None)
        definitions["with:run"] = loosened(partial)
        rules.append(rule({}, ["run"], "#/$defs/with:run"))
    for name in STEPS:
        if name in definitions and "properties" in definitions[name]:
            definitions[name] = {**definitions[name], "allOf": [*definitions[name].get("allOf", ()), *rules]}
    named = definitions.get("kind_name")
    if named is not None:
        definitions["kind_name"] = {"anyOf": [{"enum": sorted(kinds)}, named], **described(named)}
    return schema


def rule(properties: dict[str, Json], required: list[str], target: str) -> dict[str, Json]:
    """What ``with`` must be where a step is of a kind."""
    return {
        "if": {"properties": properties, "required": required},
        "then": {"properties": {"with": {"anyOf": [{"$ref": target}, dict(EXPRESSION)]}}},
    }


def described(schema: Mapping[str, Json]) -> dict[str, Json]:
    """What a schema says to people."""
    return {key: schema[key] for key in ("description", "markdownDescription") if key in schema}


def kind_schema(declared: Mapping[str, Json], name: str) -> dict[str, Json]:
    """A kind's schema as a definition of another document: its own references lead into it."""
    schema = {key: value for key, value in copy.deepcopy(dict(declared)).items() if key not in IDENTITY}
    relocated: dict[str, Json] = relocate(schema, f"#/$defs/{escaped(name)}")
    return relocated


def escaped(name: str) -> str:
    """A name as one part of a JSON pointer."""
    return name.replace("~", "~0").replace("/", "~1")


def relocate(value: Any, root: str) -> Any:
    """References to the root of a schema, after it has moved."""
    if isinstance(value, list):
        return [relocate(one, root) for one in value]
    if not isinstance(value, dict):
        return value
    moved = {key: relocate(one, root) for key, one in value.items()}
    reference = moved.get("$ref")
    if isinstance(reference, str) and reference.startswith("#"):
        moved["$ref"] = root + reference[1:]
    return moved


def loosened(schema: Any, *, inner: bool = False) -> Any:
    """A schema of values that are rendered first: below the root an expression may stand for any of them."""
    if not isinstance(schema, dict):
        return schema
    loose = dict(schema)
    for key in INNER:
        if isinstance(loose.get(key), dict):
            loose[key] = loosened(loose[key], inner=True)
    for key in NAMED:
        if isinstance(loose.get(key), dict):
            loose[key] = {name: loosened(one, inner=True) for name, one in loose[key].items()}
    for key in LISTED:
        if isinstance(loose.get(key), list):
            loose[key] = [loosened(one) for one in loose[key]]
    if not inner or accepts_text(schema):
        return loose
    said = {key: loose.pop(key) for key in ("title", "description", "default", "examples") if key in loose}
    return {**said, "anyOf": [loose, dict(EXPRESSION)]} if loose else said


def accepts_text(schema: Mapping[str, Json]) -> bool:
    """Whether any text fits anyway."""
    if schema.keys() & {"enum", "const", "pattern", "format", "minLength", "maxLength", "$ref", *LISTED}:
        return False
    kind = schema.get("type")
    return kind is None or kind == "string" or (isinstance(kind, list) and "string" in kind)
