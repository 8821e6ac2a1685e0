"""A store that others hold, that is stopped, full, read-only, removed or replaced under a worker: it lives on or says why."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from yamlflow.cli import run as command_line
from yamlflow.client import Client
from yamlflow.errors import StoreBusy

from .processes import Project

#: Holds the store's write lock until it is told to let go, or killed.
HOLD = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)
connection.execute("begin immediate")
print("held", flush=True)
sys.stdin.readline()
connection.execute("rollback")
"""


@contextmanager
def held(store: Path) -> Iterator[subprocess.Popen[str]]:
    """Another program is inside a write transaction."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(store)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        yield holder
    finally:
        holder.kill()
        holder.communicate()


def witnessed(*, seconds: float = 0.5, width: int = 2, **keys: Any) -> dict[str, Any]:
    """A package whose steps leave marks."""
    step = {"kind": "witness", "with": {"seconds": seconds}}
    return {"yamlflow": 1, "name": "held", "steps": {f"s{n}": step for n in range(width)}, **keys}


def said(output: str, words: str) -> int:
    """How many lines say something."""
    return sum(words in line for line in output.splitlines())


@pytest.mark.parametrize("stopped", [False, True], ids=["busy", "stopped"])
def test_a_worker_lives_through_a_store_held_longer_than_its_leases_and_runs_no_step_twice(
    tmp_path: Path, stopped: bool
) -> None:
    project = Project(tmp_path, witnessed())
    assert project.call("start", "package.yaml", "--run-id", "r").returncode == 0
    workers = [project.spawn("worker", "--lease", "1500ms", "--name", name) for name in ("one", "two")]
    project.wait_until(lambda: len(project.starts()) == 2)
    with held(project.store) as holder:
        if stopped:
            holder.send_signal(signal.SIGSTOP)
        # Who only reads is not kept waiting.
        shown = project.call("show", "r")
        assert shown.returncode == 0, shown.stdout
        time.sleep(5)
    project.wait_until(lambda: project.query("select 1 from runs where status = 'succeeded'"))
    outputs = []
    for worker in workers:
        worker.send_signal(signal.SIGTERM)
        outputs.append(worker.communicate(timeout=30)[0])
        assert worker.returncode == 0, outputs
    assert project.starts() == {"s0": 1, "s1": 1}
    assert project.query("select attempt, lost from steps where path <> ''") == [(1, 0)] * 2
    assert any(said(output, "the store is out of reach, trying again") == 1 for output in outputs), outputs
    for output in outputs:
        assert said(output, "the store is out of reach") == said(output, "the store is there again") <= 1, output
        assert "Traceback" not in output
    told = "".join(outputs)
    assert f"locked by process {holder.pid} (python" in told
    assert ("stopped)" in told) == stopped


def test_a_worker_that_is_told_to_stop_while_the_store_is_held_ends_within_seconds(tmp_path: Path) -> None:
    project = Project(tmp_path, witnessed(seconds=0.2))
    assert project.call("start", "package.yaml", "--run-id", "r").returncode == 0
    worker = project.spawn("worker", "--grace", "1s")
    project.wait_until(lambda: len(project.starts()) == 2)
    with held(project.store):
        time.sleep(0.5)
        worker.send_signal(signal.SIGTERM)
        began = time.monotonic()
        output, _ = worker.communicate(timeout=30)
        assert time.monotonic() - began < 15
    assert worker.returncode == 0, output
    assert "Traceback" not in output
    # What could not be recorded is done again, and counted as lost.
    assert project.call("resume", "r", "-q").returncode == 0
    assert project.query("select status from steps where path <> ''") == [("succeeded",)] * 2


def test_a_command_says_who_holds_the_store_and_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("yamlflow.client.TRIES", 1)
    monkeypatch.chdir(tmp_path)
    project = Project(tmp_path, witnessed())
    assert command_line(["start", "package.yaml", "--run-id", "r"]) == 0
    capsys.readouterr()
    with held(project.store) as holder:
        assert command_line(["start", "package.yaml", "--run-id", "other"]) == 4
        told = capsys.readouterr().err
        assert f"database is locked by process {holder.pid} (python" in told
        assert "nothing was lost, try again when it is done" in told
    assert [id for (id,) in project.query("select id from runs")] == ["r"]


def test_a_client_waits_for_a_store_that_is_held_for_a_while(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = tmp_path / "y.db"
    with Client(str(store)) as client, held(store) as holder:
        # Longer than one wait of the store's own.
        later = threading.Timer(2.5, holder.kill)
        later.start()
        with client.transaction() as work:
            work.tx.forget_workers(0)
        later.join()
    assert said("\n".join(caplog.messages), "waiting for the store: ") == 1


def test_a_store_that_stays_held_is_refused_with_an_error_of_its_own(tmp_path: Path) -> None:
    store = tmp_path / "y.db"
    with (
        Client(str(store)) as client,
        held(store),
        pytest.raises(StoreBusy, match="locked by process"),
        client.store.transaction(),
    ):
        pass
