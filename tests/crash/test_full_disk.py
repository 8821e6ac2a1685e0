"""A disk that is full, or read-only: during a run, while starting, and for what steps write."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .disks import fill, in_namespace, make_larger, make_read_only, mount_small
from .processes import Project

STEP: dict[str, Any] = {"kind": "witness", "with": {"seconds": 0.1}}
CHAIN: dict[str, Any] = {"yamlflow": 1, "name": "chain", "steps": [{"id": f"s{n}", **STEP} for n in range(12)]}
SAID = "the store is out of reach, trying again"


def project_on(folder: Path, size: str, package: dict[str, Any]) -> Project:
    """A project on a small disk; its marks lie elsewhere."""
    disk = folder / "disk"
    mount_small(disk, size)
    project = Project(disk, package)
    project.witness = folder / "witness.txt"
    return project


def during_a_run(folder: Path) -> None:
    """The run pauses, says so once, and goes on when there is room again."""
    project = project_on(folder, "3m", CHAIN)
    process = project.spawn("run", "package.yaml", "--run-id", "r")
    project.wait_until(lambda: len(project.starts()) >= 3)
    fill(project.folder)
    # Several tries of the worker's.
    time.sleep(4)
    assert process.poll() is None, process.communicate()
    make_larger(project.folder, "16m")
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    assert output.count(SAID) == output.count("the store is there again") == 1, output
    assert "full" in output, output
    assert "Traceback" not in output, output
    assert set(project.starts().values()) == {1}, project.starts()
    assert project.query("pragma integrity_check") == [("ok",)]


def a_worker(folder: Path) -> None:
    """A worker waits for room as long as it takes, and can be told to stop meanwhile."""
    project = project_on(folder, "3m", CHAIN)
    assert project.call("start", "package.yaml", "--run-id", "r").returncode == 0
    worker = project.spawn("worker", "--grace", "1s")
    project.wait_until(lambda: len(project.starts()) >= 3)
    fill(project.folder)
    time.sleep(3)
    worker.send_signal(signal.SIGTERM)
    output, _ = worker.communicate(timeout=30)
    assert worker.returncode == 0, output
    assert output.count(SAID) == 1, output
    assert "Traceback" not in output, output
    make_larger(project.folder, "16m")
    assert project.call("resume", "r", "-q").returncode == 0
    assert max(project.starts().values()) <= 2, project.starts()


def while_starting(folder: Path) -> None:
    """A start is refused and nothing of it is stored."""
    project = project_on(folder, "2m", CHAIN)
    assert project.call("start", "package.yaml", "--run-id", "first").returncode == 0
    fill(project.folder)
    for words in (("start", "package.yaml"), ("run", "package.yaml", "-q")):
        refused = project.call(*words, "--run-id", "second")
        assert refused.returncode == 4, refused.stdout
        assert "the disk is full; nothing was lost, free some space" in refused.stdout, refused.stdout
        assert "Traceback" not in refused.stdout
    for words in (("show", "first"), ("runs",), ("db", "check")):
        looked = project.call(*words)
        assert looked.returncode == 0, looked.stdout
    (project.folder / "filler").unlink()
    assert project.query("select id from runs") == [("first",)]
    assert project.call("resume", "first", "-q").returncode == 0


def with_no_store_yet(folder: Path) -> None:
    """Nothing can even be made."""
    project = project_on(folder, "1m", CHAIN)
    fill(project.folder)
    for words in (("start", "package.yaml"), ("run", "package.yaml", "-q"), ("worker", "--max-cycles", "1")):
        refused = project.call(*words)
        assert refused.returncode == 4, refused.stdout
        assert "full" in refused.stdout or "No space left" in refused.stdout, refused.stdout
        assert "Traceback" not in refused.stdout
    (project.folder / "filler").unlink()
    assert project.call("run", "package.yaml", "-q").returncode == 0


def what_steps_write(folder: Path) -> None:
    """An artifact that does not fit fails its step; a log that does not fit is cut where the disk was full."""
    package = {
        "yamlflow": 1, "name": "writes",
        "steps": {
            "file": {"continue_on_error": True, "run": 'head -c 9000000 /dev/zero > "$YAMLFLOW_ARTIFACTS/big.bin"'},
            "loud": {
                "needs": {"file": "finished"}, "env": {"MARK": str(folder / "loud")},
                "run": 'yes "a line of the log" | head -c 9000000; touch "$MARK"; sleep 1; echo the end',
            },
            "after": {"needs": "loud", "run": "echo well"},
        },
    }  # fmt: skip
    project = project_on(folder, "4m", package)
    process = project.spawn("run", "package.yaml", "--run-id", "r")
    project.wait_until((folder / "loud").exists, seconds=60)
    make_larger(project.folder, "32m")
    output, _ = process.communicate(timeout=60)
    assert "Traceback" not in output, output
    assert process.returncode == 0, output
    (error,) = [error for (error,) in project.query("select error from steps where path = 'file'")]
    assert "No space left on device" in error or "exit_status" in error, error
    log = project.call("logs", "r", "loud").stdout
    assert "of the log are lost here: No space left on device]" in log, log[-400:]
    assert log.rstrip().endswith("the end"), log[-400:]


def read_only(folder: Path) -> None:
    """Every command says so; those that only look do."""
    project = project_on(folder, "4m", CHAIN)
    assert project.call("start", "package.yaml", "--run-id", "r").returncode == 0
    make_read_only(project.folder)
    for words in (
        ("start", "package.yaml"), ("run", "package.yaml", "-q"), ("resume", "r", "-q"), ("worker", "--max-cycles", "1"),
        ("signal", "r", "go"), ("cancel", "r"), ("pause", "r"), ("prune", "--older-than", "1d"), ("db", "vacuum"),
    ):  # fmt: skip
        refused = project.call(*words)
        assert refused.returncode == 4, (words, refused.stdout)
        assert "read-only" in refused.stdout or "may not be written" in refused.stdout, (words, refused.stdout)
        assert "Traceback" not in refused.stdout
    for words in (("runs",), ("show", "r"), ("events", "r"), ("queues",), ("db", "status"), ("db", "check")):
        looked = project.call(*words)
        assert looked.returncode == 0, (words, looked.stdout)


SCENES: dict[str, Callable[[Path], None]] = {
    each.__name__: each
    for each in (during_a_run, a_worker, while_starting, with_no_store_yet, what_steps_write, read_only)
}


@pytest.mark.parametrize("scene", SCENES)
def test_a_full_or_read_only_disk(scene: str, tmp_path: Path) -> None:
    in_namespace("tests.crash.test_full_disk", scene, tmp_path)


if __name__ == "__main__":
    os.environ.pop("CI", None)
    SCENES[sys.argv[1]](Path(sys.argv[2]))
