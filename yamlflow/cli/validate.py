"""``validate``: check packages without running them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ..errors import InvalidPackage, Problem
from .common import command, flags_of, json_option

if TYPE_CHECKING:
    from ..project import Project


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

    Files of tests (*.test.yaml) are checked as such. Without FILE all of the project are checked.
    Nothing is run or stored. Ends with 2 when anything is wrong.
    """
    from .opening import project_of
    from .texts import as_json as written

    given = list(files) or own_files(project_of(ctx))
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
        click.echo(f"{total} problem{'s' if total != 1 else ''} in {len(bad)} of {len(results)} files", err=True)
    return 2 if bad else 0


def problems_in(ctx: click.Context, given: str) -> list[Problem]:
    """Everything that is wrong with one package, and what may surprise."""
    from ..project import is_test_file
    from .checking import problems_of
    from .opening import plugins_of
    from .package_command import choose

    if is_test_file(given):
        return problems_in_tests(given)
    try:
        found = choose(given, flags_of(ctx))
    except InvalidPackage as wrong:
        return list(wrong.problems)
    plugins = plugins_of(ctx, found.project, found.file.absolute().parent)
    return problems_of(found.package, plugins)


def own_files(project: Project) -> list[str]:
    """The project's packages, and their tests."""
    from ..project import near, package_files
    from ..testing.suite import tests_in

    folders = project.package_folders
    tests = [file for folder in folders for file in tests_in(folder)]
    return [near(file) for file in (*(one.file for one in package_files(folders)), *tests)]


def problems_in_tests(file: str) -> list[Problem]:
    """Everything that is wrong with a file of tests."""
    from .. import document

    try:
        return document.check_tests(document.load(file))
    except InvalidPackage as wrong:
        return list(wrong.problems)


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
