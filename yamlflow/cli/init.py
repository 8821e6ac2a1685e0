"""``init``: a small project to begin with. What is there stays as it is."""

from __future__ import annotations

from pathlib import Path

import click

from ..errors import UserError
from .common import command

HELLO_YAML = """\
# yaml-language-server: $schema=../schemas/package.schema.json
yamlflow: 1
name: hello
title: Hello

inputs:
  who: {type: string, default: world, description: Whom to greet.}

steps:
  greet:
    kind: hello/greet            # a function in plugins/hello.py
    with: {name: "${{ inputs.who }}"}
  shout:
    needs: greet
    env: {GREETING: "${{ steps.greet.result.text }}"}
    run: echo "$GREETING" | tr a-z A-Z
    with: {parse: text}

outputs:
  text: ${{ steps.shout.result }}
"""

HELLO_TEST = """\
# yaml-language-server: $schema=../schemas/test.schema.json
tests:
  somebody is greeted loudly:
    inputs: {who: Ada}
    expect:
      outputs: {text: "HELLO, ADA!\\n"}
      order: [greet, shout]

  without a greeting nobody shouts:
    mocks:
      - {kind: hello/greet, error: {code: no_voice, message: not a word}}
    expect:
      error: no_voice
      steps: {shout: skipped}
"""

HELLO_PY = '''\
"""A kind of one's own: a function, its hints, its docstring. Drop more of them into this folder."""

from yamlflow import executor


@executor("hello/greet")
def greet(name: str) -> dict:
    """Greet somebody."""
    return {"text": f"Hello, {name}!"}
'''

SETTINGS_TOML = """\
# Settings of this project; a flag or a YAMLFLOW_... variable goes before them.
# store = "sqlite:///.yamlflow/yamlflow.db"
# workers = 4
# packages = ["more-workflows"]
# plugins = ["more-plugins"]
"""

README = """\
# Workflows

    yamlflow run hello                   # run workflows/hello.yaml
    yamlflow run hello --who Ada         # inputs are options
    yamlflow run hello --help            # which there are
    yamlflow validate                    # check all packages
    yamlflow test                        # run the tests of all packages
    yamlflow runs                        # what ran
    yamlflow show last                   # where the newest run stands
    yamlflow schema > schemas/package.schema.json   # what editors complete, after adding a plugin

- `workflows/` holds packages and their tests, `plugins/` the kinds that they use.
- State is kept in `.yamlflow/`; remove that folder to forget everything.
"""

FILES = {
    "workflows/hello.yaml": HELLO_YAML,
    "workflows/hello.test.yaml": HELLO_TEST,
    "plugins/hello.py": HELLO_PY,
    "yamlflow.toml": SETTINGS_TOML,
    "WORKFLOWS.md": README,
}


@command(
    "init", short_help="Make a small project.",
    examples=[
        ("yamlflow init", "in this folder"),
        ("yamlflow init demo && cd demo && yamlflow run hello", "in a new one"),
    ],
)  # fmt: skip
@click.argument("folder", default=".", metavar="[DIR]")
@click.pass_context
def init(ctx: click.Context, folder: str) -> int:
    """Make a project that runs: a workflow with its tests, a plugin, settings, schemas for editors and a note. No
    file that is there is overwritten.
    """
    root = Path(folder)
    if root.exists() and not root.is_dir():
        raise UserError(f"{folder} is a file. Name a folder; it is made when it is not there.")
    schemas = {"schemas/package.schema.json": schema_text(), "schemas/test.schema.json": schema_of_tests_text()}
    for name, text in {**FILES, **schemas}.items():
        place = root / name
        if place.exists():
            click.echo(f"  kept     {place}", err=True)
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-8")
        click.echo(f"  created  {place}", err=True)
    there = "" if root.resolve() == Path.cwd() else f"cd {root} && "
    click.echo(f"try: {there}yamlflow run hello", err=True)
    return 0


def schema_of_tests_text() -> str:
    """The schema of files of tests."""
    import json

    from ..document import schema_of_tests

    return json.dumps(schema_of_tests(), indent=1, ensure_ascii=False) + "\n"


def schema_text() -> str:
    """The language's schema, with the built-in kinds."""
    import json

    from ..document import package_schema
    from ..plugins import load
    from ..views.language import with_kinds

    executors = load(entry_points=False).executors
    schema = with_kinds(package_schema(), {kind: executors[kind].schema for kind in sorted(executors)})
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"
