"""``test``: run the tests of packages on a clock that jumps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .common import command, flags_of, json_option

if TYPE_CHECKING:
    from ..testing.cases import Case
    from ..testing.suite import Suite, Verdict


@command(
    "test", plugins=True, short_help="Run the tests of packages on a virtual clock.",
    examples=[
        ("yamlflow test", "every *.test.yaml beside the project's packages"),
        ("yamlflow test workflows/crawl.test.yaml -k retry", "those with `retry` in their names"),
        ("yamlflow test crawl --json", "by the package's name; for programs"),
        ("yamlflow test --junit report.xml", "for CI"),
    ],
)  # fmt: skip
@click.argument("files", nargs=-1, metavar="[FILE|DIR|PACKAGE]...")
@click.option("-k", "pattern", metavar="TEXT", default="", help="Only tests with this in their file's name or own.")
@click.option("-q", "--quiet", is_flag=True, help="Tell of failures only.")
@click.option("-v", "--verbose", is_flag=True, help="Tell the story of tests that pass too.")
@click.option("--junit", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Write JUnit XML.")
@json_option
@click.pass_context
def test(
    ctx: click.Context, files: tuple[str, ...], pattern: str, quiet: bool, verbose: bool, junit: Path | None,
    as_json: bool,
) -> int:  # fmt: skip
    """Run tests: real runs on a store in memory, on a clock that jumps to whatever is due next.

    A file of tests stands beside its package: crawl.test.yaml beside crawl.yaml. What its tests do not mock runs for
    real. Ends with 1 when a test fails, with 2 when a file is wrong or there are no tests.
    """
    from ..clock import SystemClock
    from ..speech import heard
    from ..testing.suite import Suite, find_tests
    from .opening import project_of

    chosen = select(load_all(find_tests(files, project_of(ctx))), pattern)
    if not chosen:
        raise click.UsageError(no_tests(pattern), ctx)
    suite = Suite(flags=flags_of(ctx), story=verbose)
    prepare_all(suite, chosen)
    clock = SystemClock()
    began = clock.steady()
    verdicts = []
    for case in chosen:
        with heard():
            verdict = suite.run(case)
        verdicts.append(verdict)
        if not as_json:
            tell(verdict, quiet=quiet, verbose=verbose)
    if junit is not None:
        from .junit import as_junit

        junit.write_text(as_junit(verdicts), encoding="utf-8")
    failed = sum(not verdict.passed for verdict in verdicts)
    if as_json:
        from .texts import as_json as written

        click.echo(written([to_json(verdict) for verdict in verdicts]))
    elif failed or not quiet:
        click.echo(summary(len(verdicts), failed, clock.steady() - began))
    return 1 if failed else 0


def load_all(files: Sequence[Path]) -> list[Case]:
    """The tests of all files. ``InvalidPackage`` with the problems of every one that is wrong."""
    from ..errors import InvalidPackage, Problem
    from ..project import near
    from ..testing.cases import load_cases

    cases: list[Case] = []
    problems: list[Problem] = []
    for file in files:
        try:
            cases += load_cases(near(file))
        except InvalidPackage as wrong:
            problems += wrong.problems
    if problems:
        raise InvalidPackage(problems)
    return cases


def prepare_all(suite: Suite, cases: Sequence[Case]) -> None:
    """Read every package before anything runs. ``InvalidPackage`` with the problems of all, each once."""
    from ..errors import InvalidPackage, Problem

    problems: dict[Problem, None] = {}
    for case in cases:
        try:
            suite.prepare(case)
        except InvalidPackage as wrong:
            problems.update(dict.fromkeys(wrong.problems))
    if problems:
        raise InvalidPackage(problems)


def select(cases: Sequence[Case], pattern: str) -> list[Case]:
    """The tests that a pattern names, whatever its capitals."""
    return [case for case in cases if pattern.casefold() in f"{case.file}::{case.name}".casefold()]


def no_tests(pattern: str) -> str:
    """Why nothing is run."""
    if pattern:
        return f'No test has "{pattern}" in its name; `yamlflow test` without -k runs all.'
    return "There are no tests here; write one beside a package: workflows/hello.test.yaml for workflows/hello.yaml."


def tell(verdict: Verdict, *, quiet: bool, verbose: bool) -> None:
    """One test, as people read it."""
    from .texts import length

    if verdict.passed and quiet:
        return
    mark = click.style("✓", fg="green") if verdict.passed else click.style("✗", fg="red", bold=True)
    lasted = f" ({length(verdict.lasted)} in {length(verdict.took)})" if verdict.lasted else ""
    click.echo(f"{mark} {verdict.case.file}: {verdict.case.name}{lasted}")
    if not verdict.passed or verbose:
        click.echo("\n".join(f"    {line}" for line in verdict.told().splitlines()))


def summary(total: int, failed: int, took: int) -> str:
    """How it went, in a line."""
    from .texts import length

    passed = f"{total - failed} passed"
    words = f"{failed} failed, {passed}" if failed else passed
    return click.style(f"{words} in {length(took)}", fg="red" if failed else "green")


def to_json(verdict: Verdict) -> dict[str, Any]:
    """One test, for programs."""
    case = verdict.case
    return {
        "file": case.file, "line": case.line, "test": case.name, "passed": verdict.passed,
        "took_ms": verdict.took, "lasted_ms": verdict.lasted,
        "failures": [
            {"place": one.place, "message": one.message, "details": list(one.details)} for one in verdict.failures
        ],
        "story": list(verdict.story),
    }  # fmt: skip
