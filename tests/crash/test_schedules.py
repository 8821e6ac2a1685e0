"""Schedules in processes of their own: several at once, and one that is killed, act on each time once."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from yamlflow.clock import MINUTE
from yamlflow.store.sqlite import SqliteStore

from ..conftest import ROOT
from .processes import Project

PACKAGE = """
yamlflow: 1
name: tick
schedule: [{cron: "* * * * *", catch_up: all}]
steps: [{kind: noop}]
"""
#: Fires in a process that is killed within its n-th transaction from then on, or when that is committed.
MORTAL = """
import os, signal, sys
from contextlib import contextmanager
from yamlflow.clock import MINUTE
from yamlflow.runtime import Runtime, load_package
from yamlflow.testing import FakeClock, T0

path, late, at, when = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
runtime = Runtime(f"sqlite:///{path}/y.db", clock=FakeClock(T0 + late * MINUTE))
begin, count = runtime.store.transaction, 0

@contextmanager
def mortal():
    global count
    count += 1
    with begin() as tx:
        yield tx
        if count == at and when == "within":
            os.kill(os.getpid(), signal.SIGKILL)
    if count == at:
        os.kill(os.getpid(), signal.SIGKILL)

runtime.store.transaction = mortal
runtime.schedule(load_package(f"{path}/tick.yaml"))
runtime.timetable.fire()
runtime.close()
"""


def fire(folder: Path, late: int, at: int = 0, when: str = "") -> int:
    """Look after the schedule some minutes after T0, and be killed perhaps; the exit status."""
    return subprocess.run(
        [sys.executable, "-c", MORTAL, str(folder), str(late), str(at), when], cwd=ROOT, check=False
    ).returncode  # fmt: skip


def runs(folder: Path) -> list[str]:
    store = SqliteStore(f"sqlite:///{folder}/y.db")
    try:
        return [row[0] for row in store._all("select id from runs order by key", ())]
    finally:
        store.close()


@pytest.mark.parametrize("when", ["within", "after"])
@pytest.mark.parametrize("at", [1, 2, 3, 4])
def test_a_scheduler_that_is_killed_at_any_commit_fires_each_time_once(tmp_path: Path, at: int, when: str) -> None:
    (tmp_path / "tick.yaml").write_text(PACKAGE)
    assert fire(tmp_path, 0) == 0
    assert fire(tmp_path, 3, at, when) == -signal.SIGKILL
    assert len(runs(tmp_path)) <= at
    assert fire(tmp_path, 4) == 0
    assert runs(tmp_path) == [f"tick-2026-01-01T00.0{minute}.00Z" for minute in (1, 2, 3, 4)]


def test_two_schedulers_started_together_fire_each_time_once(tmp_path: Path) -> None:
    project = Project(tmp_path, PACKAGE)
    assert project.call("scheduler", "package.yaml", "--once").returncode == 0
    # As if neither had run for forty minutes.
    store = SqliteStore(f"sqlite:///{project.store}")
    with store.transaction() as tx:
        (row,) = tx.schedules_of("tick")
        assert row.next_at is not None
        tx.put_schedule(row._replace(next_at=row.next_at - 40 * MINUTE))
    store.close()
    both = [project.spawn("scheduler", "package.yaml", "--once") for _ in range(2)]
    said = [process.communicate(timeout=60)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    found = [id for (id,) in project.query("select id from runs order by id")]
    assert 40 <= len(found) == len(set(found)) <= 42
    assert sum(text.count("started tick-") for text in said) == len(found)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_scheduler_that_sleeps_stops_when_told_to(tmp_path: Path, number: signal.Signals) -> None:
    project = Project(tmp_path, PACKAGE.replace("* * * * *", "0 0 1 1 *"))
    process = project.spawn("scheduler", "package.yaml")
    project.wait_until(lambda: project.query("select next_at from schedules") != [])
    process.send_signal(number)
    output, _ = process.communicate(timeout=20)
    assert process.returncode == 0, output
    assert "scheduler looks after tick" in output
    assert output.endswith("scheduler has stopped\n")
