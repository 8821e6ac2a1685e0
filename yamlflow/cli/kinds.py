"""``kinds``: what a step can do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from ..outcome import Json
from .common import command, json_option
from .texts import as_json as written
from .texts import as_yaml, short, table

if TYPE_CHECKING:
    from ..executors import Executor


@command(
    "kinds", plugins=True, short_help="List the kinds of steps, or explain one.",
    examples=[
        ("yamlflow kinds", "every kind, built in or a plugin's"),
        ("yamlflow kinds http", "what stands in its `with`, with an example to paste"),
        ("yamlflow kinds http --json", "its JSON Schema"),
    ],
)  # fmt: skip
@click.argument("kind", required=False, metavar="[KIND]")
@json_option
@click.pass_context
def kinds(ctx: click.Context, kind: str | None, as_json: bool) -> int:
    """List the kinds of steps that the project's plugins and yamlflow itself supply, or explain one."""
    from ..errors import UnknownName, did_you_mean
    from .opening import plugins_of

    plugins = plugins_of(ctx)
    known = plugins.executors
    if kind is None:
        return list_kinds([known[name] for name in sorted(known)], as_json=as_json)
    if kind not in known:
        broken = [str(one) for one in plugins.broken if kind in one.kinds]
        remedy = (
            f"Its plugin is broken: {broken[0]}"
            if broken
            else did_you_mean(kind, known) or "`yamlflow kinds` lists them."
        )
        raise UnknownName(f'there is no kind "{kind}". {remedy}')
    if as_json:
        click.echo(written(to_json(known[kind])))
    else:
        explain(known[kind])
    return 0


def list_kinds(known: list[Executor], *, as_json: bool) -> int:
    """Every kind on a line."""
    if as_json:
        click.echo(written([to_json(one) for one in known]))
    else:
        rows = [(one.kind, short(one.summary, 80), origin_of(one)) for one in known]
        click.echo(table(rows, ("KIND", "WHAT IT DOES", "FROM")))
    return 0


def origin_of(executor: Executor) -> str:
    """Where a kind comes from, as short as it can be said."""
    from pathlib import Path

    from ..project import near

    file, _, line = executor.origin.rpartition(":")
    return f"{near(Path(file))}:{line}" if file and line.isdigit() else executor.origin


def to_json(executor: Executor) -> dict[str, Json]:
    """A kind, for programs."""
    return {"kind": executor.kind, "doc": executor.doc, "origin": executor.origin, "schema": dict(executor.schema)}


def explain(executor: Executor) -> None:
    """A kind, for people."""
    schema = executor.schema
    click.echo(f"{click.style(executor.kind, bold=True)}  {click.style(origin_of(executor), dim=True)}")
    if executor.doc:
        click.echo(f"\n{executor.doc}")
    properties = schema.get("properties") or {}
    if properties:
        required = set(schema.get("required") or ())
        rows = [
            (f"{name}{' *' if name in required else ''}", type_words(one), describe(one))
            for name, one in properties.items()
        ]
        click.echo("\n" + table(rows, ("WITH", "TYPE", "")))
        if required:
            click.echo(click.style("* required", dim=True))
    click.echo("\nExample:\n" + as_yaml({"steps": {"example": example(executor)}}))


def type_words(schema: Any) -> str:
    """The types a value may have."""
    if not isinstance(schema, Mapping):
        return "any"
    if "enum" in schema:
        return " | ".join(str(one) for one in schema["enum"])
    if "const" in schema:
        return str(schema["const"])
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return " | ".join(dict.fromkeys(type_words(one) for one in schema[key]))
    kind = schema.get("type", "any")
    return " | ".join(kind) if isinstance(kind, list) else str(kind)


def describe(schema: Any) -> str:
    """What a value is for, and its default."""
    if not isinstance(schema, Mapping):
        return ""
    text = short(str(schema.get("description") or ""), 100)
    return f"{text} [default: {schema['default']}]".strip() if schema.get("default") not in (None, "", [], {}) else text


def example(executor: Executor) -> dict[str, Json]:
    """A step of this kind that could be pasted: what it requires, or the first thing it takes."""
    schema = executor.schema
    given = next(iter(schema.get("examples") or ()), None)
    properties = schema.get("properties") or {}
    names = list(schema.get("required") or list(properties)[:1])
    values = given if isinstance(given, dict) else {name: sample(name, properties.get(name)) for name in names}
    if executor.kind == "shell" and "run" in values:
        return {"run": values["run"]}
    return {"kind": executor.kind, **({"with": values} if values else {})}


SAMPLES: Mapping[str, Json] = {"string": "text", "integer": 1, "number": 1, "boolean": True, "array": [], "object": {}}


def sample(name: str, schema: Any) -> Json:
    """A value that fits, as far as a schema shows one."""
    if not isinstance(schema, Mapping):
        return "..."
    for key in ("examples", "enum"):
        if schema.get(key):
            return schema[key][0]
    if "default" in schema:
        return schema["default"]
    for key in ("anyOf", "oneOf"):
        if schema.get(key):
            return sample(name, schema[key][0])
    kind = schema.get("type")
    return SAMPLES.get(kind[0] if isinstance(kind, list) else str(kind), f"<{name}>")
