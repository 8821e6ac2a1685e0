"""SIGTERM to a worker under load, again and again: it gives back what it has, unspent, and is gone within the grace."""

from __future__ import annotations

import json
import random
import signal
import sys
import time
from collections import Counter
from typing import Any

from .project import Broken, Project

#: Seconds that steps may go on, and those that commands then have before they are killed.
GRACE, KILL_GRACE = 0.4, 0.3
#: Short steps for each stop, so that some end within the grace.
QUICK = 8
#: Steps that go on until the file `easy` is there: threads and coroutines that hear nothing, commands that leave processes,
#: one that is deaf to SIGTERM, and a Python child.
HELD: dict[str, Any] = {
    "threads": {"for_each": [1, 2, 3], "kind": "torture/hold"},
    "coroutines": {"for_each": [1, 2, 3], "kind": "torture/hang"},
    "commands": {"for_each": [1, 2], "run": "test -e easy && exit 0; (setsid sleep 300 &); sleep 300"},
    "deaf": {"run": "test -e easy && exit 0; trap '' TERM; (setsid sleep 300 &); while true; do sleep 0.1; done"},
    "python": {"kind": "python", "with": {"code": "import os, time; time.sleep(0 if os.path.exists('easy') else 300)"}},
}
#: Steps of those that are in hand at once.
IN_HAND = 10
PLUGIN = """
import asyncio, os, threading
from yamlflow import StepContext, executor

def is_easy(step):
    return (step.cwd / "easy").exists()

@executor("torture/hold")
def hold(step: StepContext) -> None:
    while not is_easy(step):
        threading.Event().wait(0.05)

@executor("torture/hang", mode="async")
async def hang(step: StepContext) -> None:
    while not is_easy(step):
        await asyncio.sleep(0.05)
"""


def drain_many(project: Project, times: int, rnd: random.Random, margin: float) -> list[str]:
    """Stop so many workers; what is wrong then. ``margin``: seconds that one may take beyond the graces."""
    prepare(project, times)
    took = []
    for number in range(times):
        took.append(drain_one(project, number, rnd, margin))
        if number % 10 == 9:
            print(f"{number + 1} stopped, the slowest in {max(took):.2f} s", file=sys.stderr, flush=True)
    (project.folder / "workflows" / "easy").touch()
    last = project.worker("last", slots=IN_HAND + 4, grace="10s")
    try:
        project.wait_until(lambda: project.query("select 1 from runs where ended_at is not null"), "the run ends", 300)
        last.send(signal.SIGTERM)
        last.wait(30)
    finally:
        if last.status is None:
            last.kill()
    released = project.query("select count(*) from events where kind = 'step.released'")[0][0]
    print(
        f"{times} workers were told to stop with {IN_HAND} steps and more in hand: they took {min(took):.2f} to "
        f"{max(took):.2f} s, {sum(took) / times:.2f} on average (grace {GRACE} s, kill_grace {KILL_GRACE} s), and gave "
        f"back {released} steps."
    )
    return list(problems(project))


def prepare(project: Project, times: int) -> None:
    """The package and its run."""
    (project.folder / "plugins" / "stopping.py").write_text(PLUGIN)
    steps = {
        **HELD,
        "quick": {"for_each": list(range(QUICK * times)), "kind": "torture/work", "with": {"seconds": 0.1}},
    }
    package = {
        "yamlflow": 1, "name": "load", "pass_env": ["TORTURE_TOKEN"], "steps": steps,
        "defaults": {"kill_grace": f"{KILL_GRACE * 1000:.0f}ms"},
    }  # fmt: skip
    file = project.folder / "workflows" / "load.yaml"
    file.write_text(json.dumps(package))
    project.call("start", str(file), "--run-id", "load")


def drain_one(project: Project, number: int, rnd: random.Random, margin: float) -> float:
    """Start a worker, load it, tell it to stop: the seconds it took. ``Broken`` when a rule does not hold."""
    name = f"w{number}"
    worker = project.worker(name, lease="30s", slots=IN_HAND + 2, grace=f"{GRACE * 1000:.0f}ms")
    try:
        held = "select count(*) from steps where status = 'running' and phase = 'run' and worker = ? and path not like 'quick%'"
        project.wait_until(lambda: project.query(held, name) == [(IN_HAND,)], f"{name} has its hands full")
        # The worker and who watches it, two commands and what they leave, the deaf one as well, and the Python child.
        project.wait_until(lambda: len(project.left_running()) >= 10, "its commands run")
        time.sleep(rnd.uniform(0, 0.3))
        began = time.monotonic()
        worker.send(rnd.choice([signal.SIGTERM, signal.SIGTERM, signal.SIGINT]))
        status = worker.wait(GRACE + KILL_GRACE + margin + 30)
        took = time.monotonic() - began
    finally:
        if worker.status is None:
            worker.kill()
    if status != 0:
        raise Broken(f"{name} ended with {status}:\n{worker.tail()}")
    if took > GRACE + KILL_GRACE + margin:
        raise Broken(f"{name} took {took:.2f} s to stop:\n{worker.tail()}")
    left = project.left_running()
    if left:
        raise Broken(f"{name} has left {left}")
    kept = project.query("select path, attempt, lost, worker from steps where worker is not null or lost > 0")
    if kept:
        raise Broken(f"{name} has kept or lost {kept}")
    spent = project.query("select path, attempt from steps where status = 'ready' and phase = 'run' and attempt > 0")
    if spent:
        raise Broken(f"{name} has spent attempts of {spent}")
    return took


def problems(project: Project) -> list[str]:
    """What is wrong once the run has ended."""
    found = []
    if project.query("select status from runs") != [("succeeded",)]:
        found.append(f"the run {project.query('select status from runs')}")
    sql = "select path, attempt, lost from steps where kind <> '' and (attempt, lost) <> (1, 0)"
    found += [f"{path} succeeded at attempt {attempt}, lost {lost} times" for path, attempt, lost in project.query(sql)]
    kinds = Counter(kind for (kind,) in project.query("select kind from events"))
    calls = project.query("select count(*) from steps where kind <> ''")[0][0]
    if kinds["step.leased"] != calls + kinds["step.released"]:
        found.append(f"{kinds['step.leased']} leases of {calls} calls, and {kinds['step.released']} given back")
    found += [f"{kind} was told {kinds[kind]} times" for kind in ("step.lost", "step.refused") if kinds[kind]]
    found += [f"{path} is left" for path in (project.store.parent / "workers").glob("*")]
    found += [f"{line} still runs" for line in project.left_running()]
    return found
