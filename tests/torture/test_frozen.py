"""A worker that stands still past its lease and goes on: it is fenced, and what the next one did stays."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from .project import Process, Project

#: Short leases, as nobody waits for long ones.
LEASE = "600ms"


class Starter(Protocol):
    """Starts a worker."""

    def __call__(self, name: str, **more: str) -> Process: ...


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    one = Project(tmp_path)
    yield one
    one.close()


@pytest.fixture
def worker(project: Project) -> Iterator[Starter]:
    """Starts workers, and ends them."""
    started: list[Process] = []

    def start(name: str, **more: str) -> Process:
        started.append(project.worker(name, **{"lease": LEASE, **more}))  # type: ignore[arg-type]
        return started[-1]

    yield start
    for process in started:
        process.kill()


def package(project: Project, name: str, text: str) -> None:
    (project.folder / "workflows" / f"{name}.yaml").write_text(f"yamlflow: 1\nname: {name}\n{text}")


def holds(project: Project, worker: str, path: str) -> bool:
    sql = "select 1 from steps where status = 'running' and phase = 'run' and worker = ? and path = ?"
    return bool(project.query(sql, worker, path))


def status(project: Project, run: str) -> str:
    return str(project.query("select status from runs where id = ?", run)[0][0])


def events(project: Project, path: str) -> list[tuple[str, int | None]]:
    """Kind and epoch of what became of a step."""
    rows = project.query("select kind, payload from events where step = ? order by run, seq", path)
    return [(kind, (json.loads(payload) or {}).get("epoch") if payload else None) for kind, payload in rows]


def test_one_that_was_frozen_past_its_lease_is_late_and_changes_nothing(project: Project, worker: Starter) -> None:
    package(
        project, "late", "steps: {a: {kind: torture/work, with: {seconds: 1}}, b: {needs: a, kind: torture/work}}\n"
    )
    project.call("start", "late", "--run-id", "r")
    first = worker("first")
    project.wait_until(lambda: holds(project, "first", "a"), "the first one has it")
    first.freeze()
    second = worker("second", lease="30s")
    project.wait_until(lambda: holds(project, "second", "a"), "the second one takes over")
    # What it did meanwhile is finished when it goes on: the second one is still at it.
    first.thaw()
    project.wait_until(lambda: status(project, "r") == "succeeded", "the run ends")
    told = events(project, "a")
    assert [kind for kind, _ in told].count("step.succeeded") == 1
    assert ("step.lost", 1) in told
    assert project.query("select result, epoch, lost, attempt from steps where path = 'a'") == [("2", 2, 1, 1)]
    assert all(epoch == 1 for kind, epoch in told if kind == "step.refused")
    # It is none the worse for it.
    second.kill()
    project.call("start", "late", "--run-id", "again")
    project.wait_until(lambda: status(project, "again") == "succeeded", "the late one works on")


def test_the_children_of_one_that_was_frozen_are_killed_when_it_learns_that_it_is_late(
    project: Project, worker: Starter
) -> None:
    package(
        project, "long",
        "pass_env: [TORTURE_TOKEN]\nsteps: {a: {run: 'test -e begun && exit 0; touch begun; (setsid sleep 301 &); sleep 300'}}\n",
    )  # fmt: skip
    project.call("start", "long", "--run-id", "r")
    first = worker("first")
    project.wait_until((project.folder / "workflows" / "begun").exists, "the command runs")
    first.freeze()
    worker("second", lease="30s")
    project.wait_until(lambda: status(project, "r") == "succeeded", "the second one does it")
    assert sum("sleep 30" in line for line in project.left_running()) >= 2
    first.thaw()
    project.wait_until(lambda: not any("sleep" in line for line in project.left_running()), "its processes are killed")
    assert first.status is None
    assert [kind for kind, _ in events(project, "a")].count("step.succeeded") == 1


def test_a_frozen_command_costs_no_lease_and_ends_at_its_timeout(project: Project, worker: Starter) -> None:
    package(
        project, "stuck",
        "pass_env: [TORTURE_TOKEN]\nsteps: {a: {run: 'echo $$ > pid; sleep 300', timeout: 5s, kill_grace: 100ms}}\n",
    )  # fmt: skip
    project.call("start", "stuck", "--run-id", "r")
    # Renewed every second, and for longer than it holds.
    for name in ("first", "second"):
        worker(name, lease="3s")
    file = project.folder / "workflows" / "pid"
    project.wait_until(lambda: file.exists() and file.read_text().strip(), "the command runs")
    pid = int(file.read_text())
    os.kill(pid, signal.SIGSTOP)
    project.wait_until(lambda: status(project, "r") == "failed", "it is timed out")
    kinds = [kind for kind, _ in events(project, "a")]
    assert "step.lost" not in kinds
    assert kinds.count("step.failed") == 1
    assert json.loads(project.query("select error from steps where path = 'a'")[0][0])["code"] == "timeout"
    project.wait_until(lambda: not any("sleep" in line for line in project.left_running()), "its processes are killed")


def is_locked(project: Project) -> bool:
    """Whether somebody has a transaction open, and does not close it."""
    connection = sqlite3.connect(project.store, timeout=0.3, isolation_level=None)
    try:
        connection.execute("begin immediate")
        connection.execute("rollback")
    except sqlite3.OperationalError:
        return True
    finally:
        connection.close()
    return False


def test_one_that_is_frozen_in_a_transaction_holds_all_up_and_everything_ends_once_it_goes_on(
    project: Project, worker: Starter
) -> None:
    package(project, "many", "steps: {all: {for_each: '${{ range(300) }}', kind: noop}}\n")
    package(project, "slow", "steps: {a: {kind: torture/work, with: {seconds: 3}, queue: slow}}\nqueues: {slow: {}}\n")
    project.call("start", "slow", "--run-id", "slow")
    worker("slow", queues="slow", lease="1s")
    project.wait_until(lambda: holds(project, "slow", "a"), "the slow one has its step")
    project.call("start", "many", "--run-id", "many")
    busy = worker("busy", queues="default", lease="1s")
    for _ in range(2000):
        busy.freeze()
        if is_locked(project):
            break
        busy.thaw()
        time.sleep(0.002)
    else:
        pytest.fail("it was never caught in a transaction")
    # Beyond the lease of the slow one, which cannot renew it now.
    time.sleep(1.5)
    assert is_locked(project)
    busy.thaw()
    for run in ("slow", "many"):
        project.wait_until(lambda run=run: status(project, run) == "succeeded", f"{run} ends")  # type: ignore[misc]
    # Whether the slow one is in time to renew is chance here; that nobody judges it at once `test_worker` shows.
    assert [kind for kind, _ in events(project, "a")].count("step.succeeded") == 1
    assert project.query("select count(*) from events where kind = 'step.succeeded' and step like 'all[%'") == [(300,)]
