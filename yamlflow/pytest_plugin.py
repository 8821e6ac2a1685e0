"""pytest with yamlflow: fixtures for tests in Python, and ``*.test.yaml`` files as tests of their own.

pytest loads this module in every run of an environment that has yamlflow: it imports nothing of yamlflow until a fixture
or a file asks for it, and claims only files that are tests of a yamlflow package.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .runtime import Runtime
    from .testing import FakeClock, WorkflowTest
    from .testing.cases import Case
    from .testing.suite import Suite

SUFFIXES = (".test.yaml", ".test.yml")
TESTS = re.compile(r"^[\"']?tests[\"']?[ \t]*:", re.MULTILINE)
PACKAGE = re.compile(r"^yamlflow[ \t]*:", re.MULTILINE)
#: How much of a file is looked at to tell what it is.
HEAD = 65536


@pytest.fixture
def yamlflow_clock() -> FakeClock:
    """A clock that moves only when told to; it starts at 2026-01-01T00:00:00Z."""
    from .testing import FakeClock

    return FakeClock()


@pytest.fixture
def yamlflow_runtime(yamlflow_clock: FakeClock) -> Iterator[Runtime]:
    """A ``Runtime`` on a store in memory, by ``yamlflow_clock``, with the installed plugins; closed at the end."""
    from .runtime import Runtime

    with Runtime(clock=yamlflow_clock, max_workers=4) as runtime:
        yield runtime


@pytest.fixture
def workflow(request: pytest.FixtureRequest) -> Iterator[Callable[..., WorkflowTest]]:
    """Makes ``WorkflowTest``s, and closes them at the end; a path may be relative to the test's own file."""
    from .testing import WorkflowTest

    made: list[WorkflowTest] = []

    def make(package: Any, *given: Any, **options: Any) -> WorkflowTest:
        if isinstance(package, str | Path) and not Path(package).is_file():
            beside = request.path.parent / package
            package = beside if beside.is_file() else package
        made.append(WorkflowTest(package, *given, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


# -- files of tests ------------------------------------------------------------------------------------------------


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Files of tests; others that end alike are left alone."""
    if not file_path.name.endswith(SUFFIXES) or not is_ours(file_path):
        return None
    return WorkflowTests.from_parent(parent, path=file_path)


def is_ours(file: Path) -> bool:
    """Whether a file holds tests of a yamlflow package: it says ``tests``, and its package is one."""
    try:
        text = head(file)
        if not TESTS.search(text):
            return False
        named = re.search(r"^package[ \t]*:[ \t]*[\"']?([^\s\"'#]+)", text, re.MULTILINE)
        stem = file.name.removesuffix(file.suffix).removesuffix(".test")
        package = file.with_name(stem + file.suffix) if named is None else file.parent / named[1]
        if not package.is_file():
            return named is not None and "/" not in named[1] and "steps:" not in text
        return PACKAGE.search(head(package)) is not None
    except OSError:
        return False


def head(file: Path) -> str:
    """The beginning of a file."""
    with file.open(encoding="utf-8", errors="replace") as stream:
        return stream.read(HEAD)


SUITE = pytest.StashKey[Any]()


class WorkflowTests(pytest.File):
    """One file of tests."""

    def collect(self) -> Iterable[pytest.Item]:
        """Its tests. A file that is wrong is an error of collection, told without a traceback."""
        from .errors import YamlflowError
        from .testing.cases import load_cases

        try:
            cases = load_cases(self.path)
        except YamlflowError as wrong:
            raise self.CollectError(str(wrong)) from None
        for case in cases:
            yield WorkflowItem.from_parent(self, name=case.name, case=case)


class WorkflowItem(pytest.Item):
    """One test of a file."""

    def __init__(self, *, case: Case, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.case = case

    def runtest(self) -> None:
        """Play it."""
        from .errors import YamlflowError

        try:
            verdict = self._suite().run(self.case)
        except YamlflowError as wrong:
            raise WorkflowFailed(str(wrong)) from None
        if not verdict.passed:
            raise WorkflowFailed(verdict.told())

    def _suite(self) -> Suite:
        from .testing.suite import Suite

        stash = self.config.stash
        if SUITE not in stash:
            stash[SUITE] = Suite()
        suite: Suite = stash[SUITE]
        return suite

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """What was expected, what came, and the story."""
        if isinstance(excinfo.value, WorkflowFailed):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """Where it stands."""
        return self.path, self.case.line - 1, self.name


class WorkflowFailed(Exception):
    """A test that did not pass; its text is the report."""
