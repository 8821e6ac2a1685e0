"""Reading a package for the command line: its structure, then what can be told of it without running it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .. import document
from ..errors import InvalidPackage, Problem
from ..packages import Loaded, loaded

if TYPE_CHECKING:
    from ..plugins import Plugins


def load(file: Path | str) -> Loaded:
    """A package whose structure is sound. ``InvalidPackage`` lists every problem."""
    return loaded(document.load(file))


def problems_of(package: Loaded, plugins: Plugins) -> list[Problem]:
    """What is wrong with a sound package's names, expressions and inputs, and what may surprise, with its place."""
    from ..analysis import analyze
    from ..template import Expressions

    read = package.document
    found = analyze(
        package.package, executors=plugins.executors, expressions=Expressions(filters=plugins.filters),
        broken=plugins.broken, data=read.data,
    )  # fmt: skip
    return sorted([*read.warnings, *map(read.locate, found)], key=lambda one: (one.line, one.column))


def refuse_or_warn(package: Loaded, plugins: Plugins) -> None:
    """Raises ``InvalidPackage`` when anything is wrong; else what may surprise goes to stderr."""
    problems = problems_of(package, plugins)
    if any(not problem.warning for problem in problems):
        raise InvalidPackage(problems)
    warn(problems)


def warn(problems: list[Problem]) -> None:
    """Warnings, one a line, on stderr."""
    for problem in problems:
        click.secho(str(problem), err=True, fg="yellow")
