"""A store that the first version has left in the midst of its runs goes on under this one."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from yamlflow.checksums import checksum
from yamlflow.clock import HOUR
from yamlflow.plugins import load
from yamlflow.runtime import Runtime
from yamlflow.testing import FakeClock

from ..conftest import ROOT

#: A run that failed, one that is paused, and one of whose steps two are leased by a worker that is no more.
DUMP = ROOT / "tests" / "fixtures" / "version-1.sql"


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[Runtime]:
    with closing(sqlite3.connect(tmp_path / "y.db")) as connection:
        connection.executescript(DUMP.read_text())
    with Runtime(f"sqlite:///{tmp_path}/y.db", clock=FakeClock(), plugins=load(entry_points=False)) as one:
        yield one


def finish(runtime: Runtime, run_id: str) -> str:
    """Time passes until a run has ended: its status."""
    clock = runtime.clock
    assert isinstance(clock, FakeClock)
    for _ in range(20):
        runtime.run_until_idle()
        run = runtime.run(run_id)
        assert run is not None
        if run.ended_at is not None:
            return run.status
        clock.advance(HOUR)
    return run.status


def test_runs_of_the_first_version_go_on_to_their_ends(runtime: Runtime) -> None:
    run = runtime.run("midst")
    assert run is not None
    assert sum(row.status == "running" for row in runtime.store.tree(run.key)) == 2
    assert finish(runtime, "midst") == "succeeded"
    assert runtime.result("midst", "") == {"n": 6}
    runtime.pause("paused", paused=False)
    assert finish(runtime, "paused") == "succeeded"


def test_results_of_the_first_version_get_their_checksums(runtime: Runtime) -> None:
    rows = [row for run in runtime.runs() for row in runtime.store.tree(run.key) if row.result is not None]
    assert len(rows) > 3
    assert all(row.checksum == checksum(row.result) for row in rows)


def test_what_this_version_can_do_is_done_with_them(runtime: Runtime) -> None:
    runtime.signal("midst", "hello", 1, key="once")
    assert not runtime.signal("midst", "hello", 1, key="once")
    assert runtime.retry("failed") == ["after", "f"]
    assert finish(runtime, "failed") == "failed"
    assert runtime.cancel("paused", reason="enough")
    assert finish(runtime, "paused") == "canceled"
    assert finish(runtime, "midst") == "succeeded"
    assert len(runtime.prune(older_than=0)) == 3
    assert not runtime.runs()
