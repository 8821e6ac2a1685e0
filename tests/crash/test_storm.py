"""Many processes at one run: nothing that was sent is lost, doubled or out of order; time that passed while nobody was
there has passed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

from yamlflow.client import Client

from ..conftest import ROOT
from .processes import Project

SENDERS, EACH = 4, 250
SEND = f"""
import sys
from yamlflow.client import Client
client = Client(sys.argv[1])
for number in range({EACH}):
    client.signal("r", "go", {{"from": sys.argv[2], "number": number}}, sender=sys.argv[2])
"""
LISTENS = {
    "yamlflow": 1,
    "name": "listens",
    "steps": {
        "each": {
            "repeat": {"until": f"iteration == {SENDERS * EACH}", "max": SENDERS * EACH},
            "kind": "wait_signal",
            "with": {"signal": "go"},
        }
    },
}


def test_a_thousand_signals_of_four_processes_arrive_complete_and_in_order_of_each(tmp_path: Path) -> None:
    project = Project(tmp_path, LISTENS)
    assert project.call("start", "package.yaml", "--run-id", "r").returncode == 0
    worker = project.spawn("resume", "r", "-q")
    senders = [
        subprocess.Popen([sys.executable, "-c", SEND, f"sqlite:///{project.store}", name], cwd=ROOT) for name in "abcd"
    ]
    assert [sender.wait(timeout=120) for sender in senders] == [0] * SENDERS
    output, _ = worker.communicate(timeout=120)
    assert worker.returncode == 0, output
    with Client(f"sqlite:///{project.store}") as client:
        run = client.run("r")
        assert run is not None
        signals = client.store.signals(run.key, limit=10**6)
        steps = {row.id: row for row in client.store.tree(run.key)}
        client.wait("r", timeout=0)
    assert len(signals) == SENDERS * EACH
    numbers: dict[str, list[int]] = defaultdict(list)
    for one in signals:
        data = json.loads(one.data)
        numbers[data["from"]].append(data["number"])
    assert numbers == {name: list(range(EACH)) for name in "abcd"}
    # Each was read by an iteration of its own, in the order in which they came.
    read = [steps[one.taken_by] for one in signals if one.taken_by is not None]
    assert [row.path for row in read] == [f"each[{n}]" for n in range(SENDERS * EACH)]
    assert [row.result for row in read] == [one.data for one in signals]


def test_a_timer_that_was_due_while_nobody_was_there_fires_once_at_the_start(tmp_path: Path) -> None:
    steps = {"nap": {"kind": "sleep", "with": {"for": "1s"}}, "work": {"needs": "nap", "kind": "witness"}}
    project = Project(tmp_path, {"yamlflow": 1, "name": "sleeps", "steps": steps})
    process = project.spawn("run", "package.yaml", "--run-id", "r", "-q")
    project.wait_until(lambda: project.query("select 1 from steps where path = 'nap' and status = 'waiting'"))
    process.kill()
    process.communicate()
    project.query("update steps set available_at = available_at - 3600000 where path = 'nap'")
    resumed = project.call("resume", "r", "-q")
    assert resumed.returncode == 0, resumed.stdout
    assert project.starts() == {"work": 1}
    woken = project.query("select count(*) from events where kind = 'step.woken'")
    assert woken == [(1,)]


def test_a_client_of_another_process_waits_for_the_last_of_a_thousand_executions(tmp_path: Path) -> None:
    again = {
        "needs": "go",
        "if": "inputs.n < 1000",
        "kind": "continue_as_new",
        "with": {"inputs": {"n": "${{ inputs.n + 1 }}"}},
    }
    project = Project(
        tmp_path,
        {
            "yamlflow": 1,
            "name": "renews",
            "inputs": {"n": {"type": "integer", "default": 0}},
            "steps": {"go": {"kind": "wait_signal", "with": {"signal": "go"}}, "again": again},
            "outputs": {"n": "${{ inputs.n }}", "last": "${{ steps.go.result }}"},
        },
    )
    assert project.call("start", "package.yaml", "--run-id", "r").returncode == 0
    waits = "import sys; from yamlflow.client import Client; c = Client(sys.argv[1]); c.wait('r', 120); print(c.result('r'))"
    url = f"sqlite:///{project.store}"
    waiter = subprocess.Popen([sys.executable, "-c", waits, url], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    worker = project.spawn("resume", "r", "-q")
    with Client(url) as client:
        for number in range(1001):
            client.signal("r", "go", number)
    output, _ = waiter.communicate(timeout=120)
    assert output.strip() == "{'n': 1000, 'last': 1000}"
    told, _ = worker.communicate(timeout=120)
    assert worker.returncode == 0, told
