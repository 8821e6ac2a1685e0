"""Several processes on one SQLite file: they share the work, and a worker that slept through its lease is fenced."""

from __future__ import annotations

import signal
from pathlib import Path

from .processes import Project
from .traces import package_of, trace


def test_two_workers_and_a_start_share_the_work(tmp_path: Path) -> None:
    graph = trace("srasearch")
    project = Project(tmp_path, package_of(graph, {"kind": "witness", "with": {"seconds": 0.02}}))
    workers = [project.spawn("worker", "--max-workers", "2") for _ in range(2)]
    started = project.call("start", "package.yaml", "--run-id", "r")
    assert started.returncode == 0, started.stdout
    project.wait_until(lambda: project.query("select status from runs where id = 'r'") == [("succeeded",)])
    outputs = []
    for worker in workers:
        worker.send_signal(signal.SIGTERM)
        outputs.append(worker.communicate(timeout=20)[0])
    assert [worker.returncode for worker in workers] == [0, 0], outputs
    assert "locked" not in "".join(outputs)
    assert project.starts() == dict.fromkeys(graph, 1)
    names = project.query(
        "select count(distinct json_extract(payload, '$.worker')) from events where kind = 'step.leased'"
    )
    assert names == [(2,)], "one worker did everything"


def test_a_worker_stopped_past_its_lease_is_fenced_and_its_processes_are_killed(tmp_path: Path) -> None:
    package = {
        "yamlflow": 1, "name": "fence", "pass_env": ["CRASH_TOKEN"],
        "steps": {"a": {"run": "echo $$ >> pids; if [ $(wc -l < pids) = 1 ]; then sleep 300; fi; echo second"}},
    }  # fmt: skip
    project = Project(tmp_path, package)
    first = project.spawn("worker", "--lease", "1s")
    assert project.call("start", "package.yaml", "--run-id", "r").returncode == 0
    project.wait_until((tmp_path / "pids").exists)
    first.send_signal(signal.SIGSTOP)
    second = project.spawn("worker", "--lease", "1s")
    project.wait_until(lambda: project.query("select status from runs where id = 'r'") == [("succeeded",)])
    pid = int((tmp_path / "pids").read_text().split()[0])
    assert Path(f"/proc/{pid}").exists(), "the first worker's process should still be there: its worker is stopped"
    first.send_signal(signal.SIGCONT)
    project.wait_until(lambda: not Path(f"/proc/{pid}").exists(), seconds=20)
    ended = project.query("select count(*) from events where kind = 'step.succeeded' and step = 'a'")
    assert ended == [(1,)]
    assert project.query("select epoch, json_extract(result, '$.stdout') from steps where path = 'a'") == [
        (2, "second\n")
    ]
    for worker in (first, second):
        worker.send_signal(signal.SIGTERM)
        worker.communicate(timeout=20)
    assert project.left_running() == []
