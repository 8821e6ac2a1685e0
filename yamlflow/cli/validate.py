"""``validate``: check packages without running them."""

from __future__ import annotations

import click

from ..errors import InvalidPackage, Problem
from .common import command, flags_of, json_option


@command(
    "validate", plugins=True, short_help="Check packages without running them.",
    examples=[
        ("yamlflow validate workflows/*.yaml", "every problem, at file:line:column"),
        ("yamlflow validate crawl --strict", "by name; warnings count too"),
        ("yamlflow validate crawl.yaml --json", "for editors and CI"),
    ],
)  # fmt: skip
@click.argument("files", nargs=-1, metavar="[FILE]...")
@click.option("--strict", is_flag=True, help="Treat warnings as errors.")
@json_option
@click.pass_context
def validate(ctx: click.Context, files: tuple[str, ...], strict: bool, as_json: bool) -> int:
    """Check packages: their YAML, their structure, every name and expression, and what their kinds want.

    Without FILE all packages of the project are checked. Nothing is run or stored. Ends with 2 when anything is wrong.
    """
    from ..project import near, package_files
    from .opening import project_of
    from .texts import as_json as written

    given = list(files) or [near(one.file) for one in package_files(project_of(ctx).package_folders)]
    if not given:
        raise click.UsageError("There are no packages here; name the files to check.", ctx)
    results = [(file, problems_in(ctx, file)) for file in given]
    bad = [file for file, problems in results if any(strict or not one.warning for one in problems)]
    if as_json:
        click.echo(written([to_json(file, problems, file not in bad) for file, problems in results]))
        return 2 if bad else 0
    for file, problems in results:
        for one in problems:
            click.secho(str(one), err=True, fg="yellow" if one.warning else None)
        if file not in bad:
            click.echo(f"{click.style('✓', fg='green')} {file}")
    if bad:
        total = sum(strict or not one.warning for _, problems in results for one in problems)
        click.echo(f"{total} problem{'s' if total != 1 else ''} in {len(bad)} of {len(results)} packages", err=True)
    return 2 if bad else 0


def problems_in(ctx: click.Context, given: str) -> list[Problem]:
    """Everything that is wrong with one package, and what may surprise."""
    from .checking import problems_of
    from .opening import plugins_of
    from .package_command import choose

    try:
        found = choose(given, flags_of(ctx))
    except InvalidPackage as wrong:
        return list(wrong.problems)
    plugins = plugins_of(ctx, found.project, found.file.absolute().parent)
    return problems_of(found.package, plugins)


def to_json(file: str, problems: list[Problem], valid: bool) -> dict[str, object]:
    """One file's problems, for programs."""
    from ..errors import dotted

    return {
        "file": file,
        "valid": valid,
        "problems": [
            {
                "file": one.file, "line": one.line, "column": one.column, "at": dotted(one.pointer),
                "message": one.message, "remedy": one.remedy, "severity": "warning" if one.warning else "error",
            }
            for one in problems
        ],
    }  # fmt: skip
