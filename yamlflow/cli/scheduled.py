"""Packages with a schedule, as a command line names them: those that can be used, and word of those that cannot."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import InvalidPackage, UnknownName, UserError
from ..packages import Loaded
from ..project import Project, find_package, near, package_files
from .checking import load, problems_of

if TYPE_CHECKING:
    from ..plugins import Plugins
    from ..runtime import Runtime


@dataclass(frozen=True, kw_only=True)
class Scheduled:
    """A package with a schedule, and its file."""

    file: Path
    package: Loaded


def files_of(project: Project, given: tuple[str, ...]) -> list[Path]:
    """The files of the packages that somebody names, or of all in the project. ``UnknownName``."""
    if given:
        return [find_package(each, project) for each in given]
    return [found.file for found in package_files(project.package_folders)]


def scheduled(files: list[Path], plugins: Plugins, *, named: bool) -> list[Scheduled]:
    """Those that have a schedule. What is wrong with the others is told, and does not stop these.

    ``UserError`` when none is left. One that is ``named`` and has no schedule is told of as well.
    """
    found: list[Scheduled] = []
    for file in files:
        try:
            one = sound(file, plugins)
        except (UserError, OSError) as wrong:
            click.secho(f"left out: {wrong}", err=True, fg="red")
            continue
        twice = next((each for each in found if each.package.package.name == one.package.name), None)
        if twice is not None:
            click.secho(f"left out: {near(file)} has the name of {near(twice.file)}", err=True, fg="red")
        elif one.package.schedule:
            found.append(Scheduled(file=file, package=one))
        elif named:
            click.secho(f"{near(file)}: the package has no schedule", err=True, fg="yellow")
    if not found:
        raise UnknownName("there is no package with a schedule that could be looked after")
    return found


def sound(file: Path, plugins: Plugins) -> Loaded:
    """A package with which nothing is wrong. ``InvalidPackage``."""
    one = load(near(file))
    problems = problems_of(one, plugins)
    if any(not problem.warning for problem in problems):
        raise InvalidPackage(problems)
    return one


def source_of(one: Scheduled, plugins: Plugins) -> Callable[[], Loaded]:
    """Gives the package as its file is now. A change that breaks it raises once."""
    current, seen = one.package, state_of(one.file)

    def read() -> Loaded:
        nonlocal current, seen
        now = state_of(one.file)
        if now != seen:
            seen = now
            changed = sound(one.file, plugins)
            if changed.package.name != current.package.name:
                raise UserError(
                    f'{near(one.file)} is now the package "{changed.package.name}"; start the scheduler anew'
                )
            current = changed
        return current

    return read


def state_of(file: Path) -> tuple[int, int]:
    """What changes when a file does."""
    found = file.stat()
    return found.st_mtime_ns, found.st_size


def take_up(runtime: Runtime, found: list[Scheduled], plugins: Plugins) -> None:
    """Let a runtime look after schedules, also as their files change."""
    for one in found:
        runtime.plans.add(one.package)
        runtime.timetable.add(one.package, source_of(one, plugins))
