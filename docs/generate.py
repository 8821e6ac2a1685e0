"""Writes the generated parts of the docs: ``python docs/generate.py``; with ``--check`` it only says what is stale.

A part stands between ``<!-- generated: NAME -->`` and ``<!-- end -->`` in a page and is made by the function of that
name in ``PARTS``. All of it comes from the code: the language's schema, the kinds, the hooks, the events, the command
line.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS.parent))
PART = re.compile(r"(<!-- generated: ([a-z-]+) -->\n).*?(<!-- end -->\n)", re.DOTALL)
#: The keys that only groups have; the others are for every step.
OF_GROUPS = ("steps", "outputs", "max_parallel", "fail_fast", "race", "recover", "on_failure", "on_cancel", "finally")
OF_STEPS = "#/$defs/step/properties/"


def language() -> dict[str, Any]:
    """The JSON Schema of the language."""
    from yamlflow.document import package_schema

    return package_schema()


def at(schema: Any, pointer: str) -> Any:
    """What stands at ``a/b/0`` in a schema."""
    for part in pointer.split("/") if pointer else ():
        schema = schema[int(part)] if isinstance(schema, list) else schema[part]
    return schema


def resolved(schema: Mapping[str, Any], node: Mapping[str, Any]) -> dict[str, Any]:
    """A property with what it refers to, its own words first."""
    reference = node.get("$ref")
    if reference is None:
        return dict(node)
    return {**resolved(schema, at(schema, reference.removeprefix("#/"))), **node}


def keys_at(schema: Mapping[str, Any], pointer: str, only: Callable[[str], bool] = lambda key: True) -> Iterator[str]:
    """A table of the keys of a mapping in the language."""
    holder = at(schema, pointer)
    yield from ("| key | meaning |", "|---|---|")
    for key, node in holder["properties"].items():
        if only(key):
            required = "**Required.** " if key in holder.get("required", ()) else ""
            yield f"| `{key}` | {required}{one_line(resolved(schema, node).get('description', ''))} |"


def one_line(text: str) -> str:
    """Text as it may stand in a cell of a table."""
    return " ".join(text.split()).replace("|", "\\|")


def package_keys() -> Iterator[str]:
    """The keys at the top of a file."""
    schema = language()
    same = [key for key, node in schema["properties"].items() if node.get("$ref", "").startswith(OF_STEPS)]
    yield from keys_at(schema, "", lambda key: key not in same)
    yield ""
    yield f"As for a group: {', '.join(f'`{key}`' for key in same)}. Keys that begin with `x-` are ignored."


def step_keys() -> Iterator[str]:
    """The keys that every step may have, and those of a step in a list."""
    schema = language()
    yield from keys_at(schema, "$defs/step", lambda key: key not in OF_GROUPS)
    own = at(schema, "$defs/step/properties")
    yield from (
        line for line in keys_at(schema, "$defs/list_step", lambda key: key not in own) if line.startswith("| `")
    )


def group_keys() -> Iterator[str]:
    """The keys that only groups have."""
    yield from keys_at(language(), "$defs/step", lambda key: key in OF_GROUPS)


#: Heading → where its keys stand in the schema.
INNER = {
    "`for_each`": "$defs/for_each/anyOf/2",
    "`matrix`": "$defs/matrix",
    "`repeat`": "$defs/repeat",
    "`retry`": "$defs/retry",
    "`cache`": "$defs/step/properties/cache",
    "`queues`: each queue": "$defs/queue",
    "`kinds`: each kind": "$defs/kind",
    "`kinds`: beside them": "properties/kinds",
    "`defaults`": "properties/defaults",
    "`concurrency`": "properties/concurrency",
    "`schedule`: each entry": "$defs/schedule",
    "`retention`": "properties/retention",
    "`limits`": "properties/limits",
    "`projection`": "properties/projection",
}


def inner_keys() -> Iterator[str]:
    """The keys of the mappings within packages and steps."""
    schema = language()
    for heading, pointer in INNER.items():
        own = at(schema, pointer)["properties"]
        same = [key for key, node in own.items() if list(node) == ["$ref"]]
        yield from (f"### {heading}", "", *keys_at(schema, pointer, frozenset(own).difference(same).__contains__), "")
        if same:
            yield from (f"As for a step: {', '.join(f'`{key}`' for key in same)}.", "")


def test_table(*pointers: str) -> Callable[[], Iterator[str]]:
    """Tables of keys in files of tests, each under its heading where there is more than one."""

    def part() -> Iterator[str]:
        from yamlflow.document import schema_of_tests

        schema = schema_of_tests()
        for pointer in pointers:
            if len(pointers) > 1:
                yield from ("", f"### {TEST_HEADINGS[pointer]}", "")
            yield from keys_at(schema, pointer)

    return part


#: Where keys of tests stand in their schema → heading.
TEST_HEADINGS = {
    "$defs/mock": "Mocks",
    "$defs/answer": "Each answer of a `sequence`",
    "$defs/fault": "`error` of a mock",
    "$defs/expect": "`expect`",
    "$defs/expected_step": "Each of `steps`",
    "$defs/expected_error": "`error`",
    "$defs/expected_call": "Each of `calls`",
    "$defs/listed_test": "A test",
    "": "A file",
}


def kinds() -> Iterator[str]:
    """Each built-in kind: what it does, and its input."""
    from yamlflow.plugins import load

    executors = load(entry_points=False).executors
    for kind in executors:
        one = executors[kind]
        yield from (f"## `{kind}`", "", one.doc, "")
        properties = one.schema.get("properties", {})
        if not properties:
            yield from ("It takes any input." if not one.schema else "It takes no input.", "")
            continue
        yield from ("| `with` | type | default | meaning |", "|---|---|---|---|")
        for name, node in properties.items():
            words = (type_of(node), default_of(one.schema, name, node), one_line(node.get("description", "")))
            yield f"| `{name}` | {' | '.join(words)} |"
        yield ""


def type_of(node: Mapping[str, Any]) -> str:
    """A schema's type in words."""
    if "enum" in node:
        return ", ".join(f"`{value}`" for value in node["enum"])
    if "anyOf" in node:
        return " or ".join(dict.fromkeys(type_of(each) for each in node["anyOf"]))
    types = node.get("type", "any value")
    return " or ".join([types] if isinstance(types, str) else types)


def default_of(schema: Mapping[str, Any], name: str, node: Mapping[str, Any]) -> str:
    """A property's default, or that it is required."""
    import json

    if name in schema.get("required", ()):
        return "required"
    return f"`{json.dumps(node['default'])}`" if "default" in node else ""


def hooks() -> Iterator[str]:
    """Each hook with its signature."""
    from yamlflow import hookspecs

    for name, hook in vars(hookspecs).items():
        if name.startswith("yamlflow_"):
            arguments = ", ".join(inspect.signature(hook).parameters)
            yield from (f"### `{name}({arguments})`", "", (inspect.getdoc(hook) or "").replace("``", "`"), "")


def events() -> Iterator[str]:
    """Each kind of event."""
    from yamlflow.events import EVENTS

    yield from ("| event | severity | what happened | with it |", "|---|---|---|---|")
    for name, (severity, meaning, payload) in EVENTS.items():
        yield f"| `{name}` | {severity} | {one_line(meaning)} | {payload.replace('-', '') and f'`{payload}`'} |"


def statuses() -> Iterator[str]:
    """A step's statuses as a diagram."""
    from yamlflow.lifecycle import TRANSITIONS

    yield from ("```mermaid", "stateDiagram-v2")
    for status, after in TRANSITIONS.items():
        for target in dict.fromkeys(after.values()):
            words = ", ".join(event for event, to in after.items() if to == target)
            yield f"    {status} --> {target}: {words}"
    yield "```"


def commands() -> Iterator[str]:
    """The help of every command, as the program prints it."""
    from yamlflow.cli import COMMANDS, cli

    top = context(cli, "yamlflow")
    yield from block(top.get_help())
    for name in COMMANDS:
        command = cli.get_command(top, name)
        if command is not None:
            yield from (f"## `{name}`", "", *block(context(command, name, parent=top).get_help()))


def context(command: Any, name: str, *, parent: Any = None) -> Any:
    """A context that renders help the same on every terminal."""
    import click

    settings = {**command.context_settings, "terminal_width": 96, "max_content_width": 96, "color": False}
    return click.Context(command, info_name=name, parent=parent, **settings)


def block(text: str) -> Iterator[str]:
    """Text as the program prints it."""
    yield from ("```text", text.rstrip(), "```", "")


PARTS: Mapping[str, Callable[[], Iterator[str]]] = {
    "package-keys": package_keys,
    "step-keys": step_keys,
    "group-keys": group_keys,
    "inner-keys": inner_keys,
    "test-mocks": test_table("$defs/mock", "$defs/answer", "$defs/fault"),
    "test-events": test_table("$defs/event"),
    "test-expectations": test_table(
        "$defs/expect", "$defs/expected_step", "$defs/expected_error", "$defs/expected_call"
    ),
    "test-files": test_table("$defs/listed_test", ""),
    "kinds": kinds,
    "hooks": hooks,
    "events": events,
    "statuses": statuses,
    "commands": commands,
}


def renewed(text: str) -> str:
    """A page with each of its parts made anew."""

    def part(match: re.Match[str]) -> str:
        body = "\n".join(PARTS[match[2]]()).strip()
        return f"{match[1]}\n{body}\n\n{match[3]}"

    return PART.sub(part, text)


def pages() -> list[Path]:
    """Every page of the docs."""
    return sorted(DOCS.glob("*.md"))


def main(check: bool) -> int:
    """Write what changed, or with ``check`` name it; the exit status."""
    stale = [page for page in pages() if renewed(page.read_text("utf-8")) != page.read_text("utf-8")]
    for page in stale:
        print(f"{page.name} is out of date; run docs/generate.py" if check else f"writing {page.name}")
        if not check:
            page.write_text(renewed(page.read_text("utf-8")), "utf-8")
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main(check="--check" in sys.argv[1:]))
