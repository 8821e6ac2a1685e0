"""What tests share: a clock that stands still, a store in a folder of the test's own, and runtimes that are closed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from yamlflow import document
from yamlflow.analysis import analyze
from yamlflow.errors import InvalidPackage
from yamlflow.outcome import Json
from yamlflow.packages import loaded
from yamlflow.plugins import Plugins, load
from yamlflow.rows import RunRow
from yamlflow.runtime import Runtime, load_package
from yamlflow.store.sqlite import SqliteStore
from yamlflow.template import Expressions
from yamlflow.testing import FakeClock

ROOT = Path(__file__).parent.parent
pytest_plugins = ["pytester"]
#: Seconds after which a run that has not ended is taken for stuck.
PATIENCE = 30
ENDED = frozenset({"succeeded", "failed", "canceled", "continued"})


@pytest.fixture
def clock() -> FakeClock:
    """A clock that moves only when told to."""
    return FakeClock()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    """A store in a file of its own."""
    opened = SqliteStore(f"sqlite:///{tmp_path}/yamlflow.db")
    yield opened
    opened.close()


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[Callable[..., Runtime]]:
    """Makes runtimes and closes them: by default four workers, a store of the test's own, the project's plugins."""
    opened: list[Runtime] = []

    def make(**options: Any) -> Runtime:
        given = {
            "store": f"sqlite:///{tmp_path}/yamlflow.db",
            "plugins": [ROOT / "plugins"],
            "max_workers": 4,
            **options,
        }
        opened.append(Runtime(**given))
        return opened[-1]

    yield make
    for one in opened:
        one.close()


def play(runtime: Runtime, file: Path, inputs: dict[str, Json] | None = None, **options: Any) -> RunRow:
    """Run a package file to its end: the run. Fails when it is still going on after ``PATIENCE``."""
    package = load_package(file)
    run = runtime.start(package, inputs, **options)
    deadline = time.monotonic() + PATIENCE

    def done() -> bool:
        row = runtime.run(run.id)
        assert time.monotonic() < deadline, f"the run is still {row.status if row else 'not there'}"
        return row is not None and row.status in ENDED

    runtime.run_workers(done)
    ended = runtime.run(run.id)
    assert ended is not None
    return ended


def error_of(runtime: Runtime, run: RunRow) -> dict[str, Any]:
    """The error that a run failed with."""
    import json

    root = runtime.step(run.id, "")
    assert root is not None
    text = root.error or root.fault
    assert text is not None, f"the run is {run.status} and has no error"
    error: dict[str, Any] = json.loads(text)
    return error


@cache
def plugins() -> Plugins:
    """The built-in kinds and those of ``plugins/``."""
    return load([ROOT / "plugins"], entry_points=False)


def problems(text: str, file: str = "package.yaml") -> list[str]:
    """All that ``yamlflow validate`` says of a package's text, warnings too."""
    try:
        package = loaded(document.read(text, file=file))
    except InvalidPackage as wrong:
        return [str(problem) for problem in wrong.problems]
    found = analyze(
        package.package,
        executors=plugins().executors,
        expressions=Expressions(filters=plugins().filters),
        broken=plugins().broken,
        data=package.document.data,
    )
    return [str(problem) for problem in (*package.document.warnings, *map(package.document.locate, found))]
