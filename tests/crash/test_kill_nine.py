"""``kill -9`` at a random moment, then ``resume``: nothing is lost, doubled, changed or left behind."""

from __future__ import annotations

import json
import random
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from ..conftest import ROOT
from ..fixtures.serve import serving
from .processes import Project
from .traces import package_of, trace

STEP: dict[str, Any] = {"kind": "witness", "with": {"seconds": 0.05}}
HANDLERS = {"finally": {"last": {"kind": "witness"}}}


def torture(
    project: Project, rnd: random.Random, *, kills: int, between: tuple[int, int], inputs: tuple[str, ...] = ()
) -> None:
    """Kill a run ``kills`` times in its midst and resume it; what was recorded stays as it was.

    Each kill comes after ``between`` further steps have succeeded and a random moment more: more steps than run at once, so
    that none is lost three times in a row (it would fail with ``worker_lost``, as it should).
    """
    recorded: dict[str, str] = {}
    before: dict[str, int] = {}
    arguments = ["run", "package.yaml", "--run-id", "r", "--workers", "2", "-q", *inputs]
    for number in range(kills):
        wanted = len(recorded) + rnd.randint(*between)
        process = project.spawn(*arguments)
        project.wait_until(lambda wanted=wanted: len(project.succeeded()) >= wanted, pause=0.001)
        time.sleep(rnd.uniform(0, 0.01))
        assert process.poll() is None, f"the run was over before kill {number + 1}"
        process.send_signal(signal.SIGKILL)
        process.communicate()
        project.wait_until(lambda: not project.left_running())
        assert project.query("select status from runs where id = 'r'") == [("running",)]
        now, starts = project.succeeded(), project.starts()
        assert {path: now.get(path) for path in recorded} == recorded, "a recorded result changed"
        again = {path for path in recorded if starts.get(path) != before.get(path)}
        assert not again, f"{again} had succeeded and ran again"
        recorded, before = now, starts
        arguments = ["resume", "r", "--workers", "2", "-q"]
    done = project.call(*arguments)
    assert done.returncode == 0, done.stdout
    now, starts = project.succeeded(), project.starts()
    assert {path: now.get(path) for path in recorded} == recorded, "a recorded result changed"
    assert {path for path in recorded if starts.get(path) != before.get(path)} == set()
    assert process.returncode == -signal.SIGKILL


def check_end(project: Project, paths: set[str]) -> None:
    """Every step succeeded, once in the log, and the store is whole."""
    assert project.query("select status from runs") == [("succeeded",)]
    assert set(project.succeeded()) - {"", "@finally"} == paths
    ends = project.query("select step, count(*) from events where kind = 'step.succeeded' group by step")
    assert {count for _, count in ends} == {1}
    assert project.query("select count(*) from events where kind = 'handler.fired'") == [(1,)]
    assert project.query("pragma integrity_check") == [("ok",)]
    assert project.left_running() == []


def check_log(project: Project) -> None:
    """No step was leased again once it had succeeded, and the events have no gaps."""
    again = project.query(
        "select later.step from events later join events earlier on later.run = earlier.run and later.step = earlier.step "
        "where earlier.kind = 'step.succeeded' and later.kind = 'step.leased' and later.seq > earlier.seq"
    )
    assert again == []
    assert {gaps for (gaps,) in project.query("select max(seq) - count(*) from events group by run")} == {0}


@pytest.mark.parametrize(("name", "seed"), [("1000genome", 1), ("blast", 2), ("hic", 3), ("srasearch", 4)])
def test_a_killed_run_of_a_real_graph_is_resumed_and_nothing_runs_twice(tmp_path: Path, name: str, seed: int) -> None:
    graph = trace(name)
    project = Project(tmp_path, package_of(graph, STEP, **HANDLERS))
    torture(project, random.Random(seed), kills=5, between=(3, 4))
    check_end(project, set(graph) | {"@finally/last"})


@pytest.mark.parametrize("seed", [5, 6])
def test_a_killed_crawl_is_resumed_and_its_table_is_whole(tmp_path: Path, seed: int) -> None:
    project = Project(tmp_path, (ROOT / "workflows" / "crawl.yaml").read_text())
    shutil.copy(ROOT / "plugins" / "html.py", tmp_path / "plugins")
    with serving() as shop:
        site = shop.url
        torture(project, random.Random(seed), kills=3, between=(4, 7), inputs=("-i", f"site={site}"))
        once = project.call("run", "package.yaml", "--run-id", "unhurt", "-q", "-i", f"site={site}")
    assert once.returncode == 0, once.stdout
    check_log(project)
    tables = [json.loads(project.call("records", "items", "-p", "crawl", "--json").stdout)]
    assert len(tables[0]) == len({row["key"] for row in tables[0]}) > 0
    first, second = (project.call("result", run, "--json").stdout for run in ("r", "unhurt"))
    assert json.loads(first) == json.loads(second)


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


def undone_trip() -> dict[str, Any]:
    """A chain of steps with an undo each, one of them a group's, and a last one that fails."""
    taken_back = {"kind": "witness", "with": {"seconds": 0.1}}
    step = {"kind": "witness", "with": {"seconds": 0.001}, "undo": taken_back}
    steps: list[dict[str, Any]] = [{"id": f"s{n}", **step} for n in range(8)]
    steps[3] = {"id": "s3", "steps": {"inner": step}, "undo": taken_back}
    return {
        "yamlflow": 1, "name": "trip", "pass_env": ["CRASH_TOKEN"],
        "steps": [*steps, {"id": "last", "kind": "fail", "with": {"code": "no", "message": "no"}}],
        "on_failure": [{"id": "told", "kind": "witness"}],
    }  # fmt: skip


@pytest.mark.parametrize("seed", [7, 8])
def test_a_run_killed_while_it_is_undone_undoes_the_rest_once_and_in_order(tmp_path: Path, seed: int) -> None:
    rnd = random.Random(seed)
    package = undone_trip()
    project = Project(tmp_path, package)
    expected = ["s7", "s6", "s5", "s4", "s3", "s3/inner", "s2", "s1", "s0"]
    arguments = ["run", "package.yaml", "--run-id", "r", "--workers", "2", "-q"]
    for after in (1, 4, 6):
        process = project.spawn(*arguments)
        project.wait_until(
            lambda after=after: sum("@undo" in path for path in project.succeeded()) >= after, pause=0.001
        )
        time.sleep(rnd.uniform(0, 0.05))
        assert process.poll() is None, "the run was over before it was killed"
        process.send_signal(signal.SIGKILL)
        process.communicate()
        project.wait_until(lambda: not project.left_running())
        assert project.query("select status from runs where id = 'r'") == [("running",)]
        arguments = ["resume", "r", "--workers", "2", "-q"]
    assert project.call(*arguments).returncode == 1
    check_log(project)
    ends = project.query("select step from events where kind = 'step.succeeded' and step like '%@undo' order by seq")
    assert [path.removesuffix("@undo") for (path,) in ends] == expected
    assert project.query("select count(*) from events where kind = 'undo.fired'") == [(9,)]
    marks = [line.split() for line in project.witness.read_text().splitlines()]
    undone = [path for word, path in marks if word == "end" and path.endswith("@undo")]
    assert list(dict.fromkeys(undone)) == [f"{path}@undo" for path in expected], "another order than that of the log"
    assert marks.index(["start", "@on_failure/told"]) > max(marks.index(["end", f"{path}@undo"]) for path in expected)


def test_a_killed_run_leaves_no_lock_behind_and_no_two_steps_in_one(tmp_path: Path) -> None:
    rnd = random.Random(9)
    step = {"kind": "witness", "with": {"seconds": 0.03}}
    package = {
        "yamlflow": 1, "name": "locked", "pass_env": ["CRASH_TOKEN"],
        "steps": {"a": {**step, "for_each": list(range(12)), "locks": ["one"]},
                  "b": {**step, "for_each": list(range(12)), "locks": ["two", "one"]},
                  "c": {**step, "for_each": list(range(6))}},
    }  # fmt: skip
    project = Project(tmp_path, package)
    torture(project, rnd, kills=3, between=(5, 7))
    assert project.query("select status from runs") == [("succeeded",)]
    check_log(project)
    assert project.query("select count(*) from locks") == project.query("select count(*) from lock_waits") == [(0,)]
    check_apart(project, ("a[", "b["))


def check_apart(project: Project, heads: tuple[str, ...]) -> None:
    """No lease of some steps began before the one before it had ended."""
    holder = None
    for kind, step in project.query("select kind, step from events where step is not null order by run, seq"):
        if not step.startswith(heads):
            continue
        if kind == "step.leased":
            assert holder is None, f"{step} was leased while {holder} was"
            holder = step
        elif kind in ("step.succeeded", "step.lost", "step.released"):
            assert holder == step
            holder = None
