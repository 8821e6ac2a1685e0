"""``kill -9`` at a random moment, then ``resume``: nothing is lost, doubled, changed or left behind."""

from __future__ import annotations

import random
import signal
from pathlib import Path
from typing import Any

import pytest

from .processes import Project
from .traces import package_of, trace

STEP: dict[str, Any] = {"kind": "witness", "with": {"seconds": 0.02}}
HANDLERS = {"finally": {"last": {"kind": "witness"}}}


def torture(project: Project, rnd: random.Random, *, kills: int, longest: float) -> None:
    """Kill and resume until the run is done; what was recorded stays as it was."""
    recorded: dict[str, str] = {}
    starts: dict[str, int] = {}
    arguments = ["run", "package.yaml", "--run-id", "r", "--workers", "4", "-q"]
    for _ in range(kills):
        process = project.spawn(*arguments)
        try:
            process.communicate(timeout=rnd.uniform(0.25, longest))
        except Exception:
            process.send_signal(signal.SIGKILL)
            process.communicate()
        project.wait_until(lambda: not project.left_running())
        now = project.succeeded()
        assert {path: now.get(path) for path in recorded} == recorded, "a recorded result changed"
        begun = project.starts()
        for path in recorded:
            assert begun.get(path) == starts.get(path), f"{path} had succeeded and ran again"
        recorded, starts = now, begun
        if project.query("select 1 from runs where id = 'r'"):
            arguments = ["resume", "r", "--workers", "4", "-q"]
    done = project.call(*arguments)
    assert done.returncode == 0, done.stdout


def check_end(project: Project, paths: set[str]) -> None:
    """Every step succeeded, once in the log, and the store is whole."""
    assert project.query("select status from runs") == [("succeeded",)]
    assert set(project.succeeded()) - {"", "@finally"} == paths
    ends = project.query("select step, count(*) from events where kind = 'step.succeeded' group by step")
    assert {count for _, count in ends} == {1}
    assert project.query("select count(*) from events where kind = 'handler.fired'") == [(1,)]
    assert project.query("pragma integrity_check") == [("ok",)]
    assert project.left_running() == []


@pytest.mark.parametrize(("name", "seed"), [("1000genome", 1), ("blast", 2), ("hic", 3), ("srasearch", 4)])
def test_a_killed_run_of_a_real_graph_is_resumed_and_nothing_runs_twice(tmp_path: Path, name: str, seed: int) -> None:
    graph = trace(name)
    project = Project(tmp_path, package_of(graph, STEP, **HANDLERS))
    torture(project, random.Random(seed), kills=5, longest=1.2)
    check_end(project, set(graph) | {"@finally/last"})


def test_a_killed_runs_processes_are_gone_before_anyone_resumes(tmp_path: Path) -> None:
    package = {
        "yamlflow": 1, "name": "long", "pass_env": ["CRASH_TOKEN"],
        "steps": {"a": {"run": "sleep 300 & (setsid sleep 300 &) ; touch started; sleep 300"}},
    }  # fmt: skip
    project = Project(tmp_path, package)
    process = project.spawn("run", "package.yaml", "-q")
    project.wait_until((tmp_path / "started").exists)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    project.wait_until(lambda: not project.left_running(), seconds=20)


def test_an_interrupted_run_gives_its_steps_back_and_says_how_to_resume(tmp_path: Path) -> None:
    package = {
        "yamlflow": 1, "name": "long", "pass_env": ["CRASH_TOKEN"],
        "steps": {"a": {"run": "test -e again || { touch again; sleep 300; }"}},
    }  # fmt: skip
    project = Project(tmp_path, package)
    process = project.spawn("run", "package.yaml", "--run-id", "r")
    project.wait_until((tmp_path / "again").exists)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "yamlflow resume r" in output
    assert project.left_running() == []
    assert project.query("select status, attempt from steps where path = 'a'") == [("ready", 0)]
    assert project.call("resume", "r").returncode == 0
    assert project.query("select status, attempt from steps where path = 'a'") == [("succeeded", 1)]
