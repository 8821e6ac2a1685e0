"""``packages``: what is found by name."""

from __future__ import annotations

from typing import Any

import click

from .common import command, json_option


@command(
    "packages", plugins=True, short_help="List the packages found by name.",
    examples=[
        ("yamlflow packages", "of this project"),
        ("yamlflow packages --packages ../shared", "and of one more folder"),
    ],
)  # fmt: skip
@json_option
@click.pass_context
def packages(ctx: click.Context, as_json: bool) -> int:
    """List the packages of the project's workflows/ and of every folder that --packages, YAMLFLOW_PACKAGES or
    yamlflow.toml names. Ends with 2 when two have one name.
    """
    from collections import Counter

    from ..errors import InvalidPackage
    from ..project import near, package_files
    from .checking import load
    from .opening import project_of
    from .texts import as_json as written
    from .texts import short, table

    project = project_of(ctx)
    found = list(package_files(project.package_folders))
    twice = {name for name, count in Counter(one.name for one in found).items() if count > 1}
    shown: list[dict[str, Any]] = []
    for one in found:
        try:
            package = load(one.file).package
            title, inputs, problem = package.title, list(package.inputs), None
        except InvalidPackage as wrong:
            title, inputs, problem = None, [], str(wrong.problems[0])
        if one.name in twice:
            problem = "another package has this name"
        shown.append({"name": one.name, "file": near(one.file), "title": title, "inputs": inputs, "problem": problem})
    if as_json:
        click.echo(written(shown))
    elif not shown:
        click.echo(f"no packages; they are looked for in {near(project.root / 'workflows')}", err=True)
    else:
        rows = [
            (str(one["name"]), str(one["file"]), ", ".join(one["inputs"] or ()), short(str(one["title"] or ""), 60),
             click.style(short(str(one["problem"] or ""), 100), fg="red"))
            for one in shown
        ]  # fmt: skip
        click.echo(table(rows, ("PACKAGE", "FILE", "INPUTS", "TITLE", "")))
    return 2 if twice else 0
