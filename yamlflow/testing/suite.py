"""From files of tests to verdicts: where they are, what their packages are, and one test after the other."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from .. import document
from ..analysis import analyze
from ..clock import SystemClock
from ..errors import InvalidPackage, UnknownName, UserError, did_you_mean
from ..packages import Loaded, loaded
from ..plugins import Plugins, load
from ..project import Project, find_package, is_test_file, near, open_project
from ..template import Expressions
from .cases import Case, load_cases, package_beside
from .play import Play, Stopped, with_mocked
from .strays import strays
from .verdict import Failure, Judge


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What came of one test."""

    case: Case
    failures: tuple[Failure, ...] = ()
    #: What happened, a line each with its time since the start.
    story: tuple[str, ...] = ()
    #: Milliseconds of real time, and of the test's clock.
    took: int = 0
    lasted: int = 0

    @property
    def passed(self) -> bool:
        """Whether all was as expected."""
        return not self.failures

    def told(self) -> str:
        """The failures and the story, as text."""
        lines = [line for failure in self.failures for line in failure.lines()]
        return "\n".join([*lines, *(["the story:", *(f"  {line}" for line in self.story)] if self.story else [])])


@dataclass
class Suite:
    """The packages and plugins of tests, read once for all of them."""

    flags: Mapping[str, Any] = field(default_factory=dict)
    #: Whether tests that pass have their story told too.
    story: bool = False
    _packages: dict[Path, Loaded] = field(default_factory=dict)
    _plugins: dict[tuple[Path, Path], Plugins] = field(default_factory=dict)
    #: Packages that were found sound, each with the kinds that only mocks supply.
    _sound: set[tuple[Path, frozenset[str | None]]] = field(default_factory=set)

    def prepare(self, case: Case) -> tuple[Project, Loaded, Plugins]:
        """What a test needs. Raises ``UserError`` when its package is wrong or is not there."""
        project = open_project(self._folder(case), self.flags)
        file = file_of(case, project)
        package = self.package(file)
        plugins = self.plugins(project, file)
        sound = (file.absolute(), frozenset(mock.kind for mock in case.mocks if mock.kind not in plugins.executors))
        if sound not in self._sound:
            refuse_unsound(package, with_mocked(plugins, case, package))
            self._sound.add(sound)
        return project, package, plugins

    def run(self, case: Case) -> Verdict:
        """Play one test. Raises what ``prepare`` does."""
        project, package, plugins = self.prepare(case)
        clock = SystemClock()
        began = clock.steady()
        play = Play(case, package, plugins=plugins, find=partial(self.find, project))
        with contextlib.closing(play), quiet():
            failures = failures_of(play, set(plugins.executors))
            lasted = play.clock.now() - case.start_at
            story = tuple(play.story.told()) if failures or self.story else ()
        return Verdict(
            case=case, failures=tuple(failures), story=story, took=clock.steady() - began, lasted=lasted
        )  # fmt: skip

    def package(self, file: Path) -> Loaded:
        """A package by its file. ``InvalidPackage``."""
        key = file.absolute()
        if key not in self._packages:
            self._packages[key] = loaded(document.load(file))
        return self._packages[key]

    def find(self, project: Project, name: str) -> Loaded:
        """A package by name, as a step names it. ``UnknownName``."""
        return self.package(find_package(name, project))

    def plugins(self, project: Project, file: Path) -> Plugins:
        """The plugins of a package: its project's and those beside it."""
        if self.flags.get("no_plugins"):
            return load(entry_points=False)
        key = (project.root, file.absolute().parent)
        if key not in self._plugins:
            self._plugins[key] = load(project.plugin_folders(key[1]))
        return self._plugins[key]

    def _folder(self, case: Case) -> Path | None:
        return Path(case.file).absolute().parent if case.file else None


def failures_of(play: Play, kinds: set[str]) -> list[Failure]:
    """Play a test to its end, and what was not as expected; ``kinds`` are those that plugins supply."""
    case = play.case
    refused = case.expect.get("refused")
    try:
        play.start()
    except UserError as wrong:
        if refused is not None and refused in str(wrong):
            return []
        wanted = "" if refused is None else f"; expected was: {refused}"
        return [Failure(place=case.locate(("refused",)), message=f"the run was refused: {wrong}{wanted}")]
    if refused is not None:
        return [Failure(place=case.locate(("refused",)), message="expected the run to be refused; it was started")]
    try:
        play.finish()
    except Stopped as stopped:
        return [Failure(place=f"{case.file}:{case.line}", message=stopped.reason, details=tuple(stopped.details))]
    for_nothing = [Failure(place=mock.place, message=why) for mock, why in strays(play, kinds)]
    failures = [*for_nothing, *Judge(play).failures()]
    if failures and (unused := play.mocks.unused):
        never = ", ".join(dict.fromkeys(f"the mock of {one.target}" for one in unused))
        failures.append(Failure(place="", message=f"never called: {never}"))
    return failures


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Meanwhile what the engine logs for operators of failures that a test wants does not reach the terminal."""
    logger, silent = logging.getLogger("yamlflow"), logging.NullHandler()
    logger.addHandler(silent)
    try:
        yield
    finally:
        logger.removeHandler(silent)


def refuse_unsound(package: Loaded, plugins: Plugins) -> None:
    """Raises ``InvalidPackage`` when a package's names, expressions or inputs are wrong."""
    found = analyze(
        package.package, executors=plugins.executors, expressions=Expressions(filters=plugins.filters),
        broken=plugins.broken, data=package.document.data,
    )  # fmt: skip
    problems = [package.document.locate(problem) for problem in found if not problem.warning]
    if problems:
        raise InvalidPackage(sorted(problems, key=lambda one: (one.line, one.column)))


# -- where tests are -----------------------------------------------------------------------------------------------


def find_tests(given: Sequence[str], project: Project) -> list[Path]:
    """The files of tests that somebody means: files, folders, packages; none are the project's own. ``UnknownName``."""
    if not given:
        return list(dict.fromkeys(file for folder in project.package_folders for file in tests_in(folder)))
    return list(dict.fromkeys(file for each in given for file in tests_of(each, project)))


def tests_of(given: str, project: Project) -> Iterable[Path]:
    """The files of tests that one argument means."""
    path = Path(given)
    if path.is_dir():
        found = tests_in(path)
        if not found:
            raise UnknownName(f"there are no *.test.yaml files in {given}")
        return found
    if path.is_file() and is_test_file(path):
        return [path]
    if not path.exists() and is_test_file(path):
        near_by = [file.name for file in path.parent.glob("*.test.y*ml")] if path.parent.is_dir() else []
        raise UnknownName(f"there is no file {given}. {did_you_mean(path.name, near_by)}".rstrip())
    package = find_package(given, project)
    beside = tests_beside(package)
    if not beside.is_file():
        raise UnknownName(f"{near(package)} has no tests; they would be in {near(beside)}")
    return [beside]


def file_of(case: Case, project: Project) -> Path:
    """The file of a test's package. ``UnknownName``, with the place where it is named."""
    try:
        return find_package(str(case.package), project)
    except UnknownName as wrong:
        where = f"{case.package_place}: package: " if case.package_place else f"{case.file}: " if case.file else ""
        raise UnknownName(f"{where}{wrong}") from None


def tests_beside(package: Path) -> Path:
    """``crawl.test.yaml`` of ``crawl.yaml``."""
    return package.with_name(f"{package.stem}.test{package.suffix}")


def tests_in(folder: Path) -> list[Path]:
    """The files of tests in a folder and those below it, hidden ones left out."""
    found = sorted({*folder.rglob("*.test.yaml"), *folder.rglob("*.test.yml")})
    return [file for file in found if not any(part.startswith(".") for part in file.relative_to(folder).parts)]


__all__ = ["Suite", "Verdict", "find_tests", "load_cases", "package_beside"]
