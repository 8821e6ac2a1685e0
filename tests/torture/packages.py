"""What the workers are tortured with: a mix of packages, the plugin they use, and what each run must come to.

``batch`` makes the runs of one batch with the commands that start and steer them; ``Wanted`` says of each how it ends.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ..conftest import ROOT
from ..crash.traces import trace, trace_files

#: Leaves marks outside of the store, emits steps, fails at first, keeps records.
PLUGIN = """
import os, threading
from yamlflow import Retryable, StepContext, executor

def mark(step, word):
    handle = os.open(os.environ["TORTURE_MARKS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(handle, f"{word} {step.run.id}@{step.run.execution} {step.lease.epoch} {step.step.path}\\n".encode())
    finally:
        os.close(handle)

def rest(seconds):
    # Not time.sleep, which libfaketime breaks.
    threading.Event().wait(seconds)

@executor("torture/work")
def work(step: StepContext, seconds: float = 0.02) -> int:
    mark(step, "start")
    rest(seconds)
    mark(step, "end")
    return step.lease.epoch

@executor("torture/spin", mode="async")
async def spin(step: StepContext, seconds: float = 0.02) -> int:
    import asyncio
    mark(step, "start")
    await asyncio.sleep(seconds)
    mark(step, "end")
    return step.lease.epoch

@executor("torture/flaky")
def flaky(step: StepContext, fails: int = 1) -> int:
    mark(step, "start")
    if step.attempt <= fails:
        raise Retryable("flaky", f"attempt {step.attempt} fails")
    mark(step, "end")
    return step.attempt

@executor("torture/spider")
def spider(step: StepContext, depth: int, width: int, seconds: float = 0.02) -> int:
    mark(step, "start")
    rest(seconds)
    step.record("pages", f"{step.run.id}:{step.step.path}", {"run": step.run.id, "depth": depth})
    for number in range(width if depth else 0):
        step.emit(f"p{number}", kind="torture/spider", needs=[f"p{number - 1}"] if number % 2 else [],
                  with_={"depth": depth - 1, "width": width, "seconds": seconds})
    mark(step, "end")
    return step.lease.epoch
"""

WORK: dict[str, Any] = {"kind": "torture/work", "with": {"seconds": 0.03}}
SPIN: dict[str, Any] = {"kind": "torture/spin", "with": {"seconds": 0.05}}
#: A lock and a queue that all runs share.
LOCK, QUEUE = "torture-one", "torture-narrow"
#: Steps of ``QUEUE`` that may run at once.
NARROW = 2
#: Signals that a reader reads in one execution, and in all.
AT_ONCE, SIGNALS = 4, 12
SENDERS = ("a", "b")


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What one run must come to."""

    id: str
    package: str
    status: str = "succeeded"
    #: What its outputs must be; the word itself where they are looked at otherwise.
    outputs: Any = None
    #: Step to what it needs, for the order.
    graph: dict[str, list[str]] = field(default_factory=dict)
    #: Handlers that fire, each once in the last execution.
    handlers: int = 0
    #: The steps that are taken back, in order.
    undone: tuple[str, ...] = ()


def written(folder: Path) -> None:
    """The project: every package and plugin."""
    for name in ("plugins", "workflows"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / ".yamlflow").mkdir(exist_ok=True)
    (folder / "plugins" / "torture.py").write_text(PLUGIN)
    shutil.copy(ROOT / "plugins" / "html.py", folder / "plugins")
    shutil.copy(ROOT / "workflows" / "crawl.yaml", folder / "workflows")
    for name, package in packages().items():
        (folder / "workflows" / f"{name}.yaml").write_text(f"yamlflow: 1\nname: {name}\n{yaml.safe_dump(package)}")


def packages() -> dict[str, dict[str, Any]]:
    """Every package but the crawler."""
    return {
        **{name: traced(graph) for name, graph in graphs().items()},
        "reader": READER,
        "family": FAMILY,
        "child": CHILD,
        "trip": TRIP,
        "locked": LOCKED,
        "naps": NAPS,
        "shelly": SHELLY,
        "spider": SPIDER,
        "asks": ASKS,
    }


def graphs() -> dict[str, dict[str, list[str]]]:
    """Task to parents, of real workflows; where none are at hand of made-up ones."""
    if trace_files():
        return {f"trace-{file.name.split('-')[0]}": trace(file.name) for file in trace_files()}
    return {f"trace-made{seed}": made_up(random.Random(seed)) for seed in range(3)}


def made_up(rnd: random.Random, tasks: int = 45) -> dict[str, list[str]]:
    """A graph of about the shape of those: each task needs up to three before it."""
    return {f"t{n}": [f"t{p}" for p in sorted(rnd.sample(range(n), min(n, rnd.randint(0, 3))))] for n in range(tasks)}


def traced(graph: dict[str, list[str]]) -> dict[str, Any]:
    """A task in three is a coroutine."""
    return {
        "steps": {id: {**(SPIN if n % 3 == 0 else WORK), **({"needs": needs} if needs else {})}
                  for n, (id, needs) in enumerate(graph.items())},
        "finally": {"last": WORK},
    }  # fmt: skip


#: Reads numbered signals in order, a few in each execution, and hands on what it has read.
READER: dict[str, Any] = {
    "inputs": {"seen": {"type": "array", "default": []}},
    "signals": {"number": {"type": "object"}},
    "steps": {
        "read": {
            "repeat": {"until": f"iteration == {AT_ONCE}", "max": AT_ONCE},
            "steps": [{"id": "one", "kind": "wait_signal", "with": {"signal": "number"}}, {"id": "then", **WORK}],
            "outputs": {"seen": "${{ (result.seen if iteration > 1 else []) + [steps.one.result] }}"},
        },
        "again": {
            "needs": "read",
            "if": f"(inputs.seen + steps.read.result.seen) | length < {SIGNALS * len(SENDERS)}",
            "kind": "continue_as_new",
            "with": {"inputs": {"seen": "${{ inputs.seen + steps.read.result.seen }}"}},
        },
    },
    "outputs": {"seen": "${{ inputs.seen + steps.read.result.seen }}"},
}
FAMILY: dict[str, Any] = {
    "steps": {
        "kids": {
            "for_each": [0, 1, 2],
            "kind": "workflow",
            "with": {"package": "child", "inputs": {"n": "${{ item }}"}, "on_parent_close": "cancel"},
        },
        "after": {"needs": "kids", **WORK},
    },
    "outputs": {"kids": "${{ steps.kids.result }}"},
    "finally": {"last": WORK},
}
CHILD: dict[str, Any] = {
    "inputs": {"n": {"type": "integer"}},
    "steps": [
        {"id": "a", **WORK},
        {"id": "b", "for_each": [1, 2, 3], **SPIN},
        {
            "id": "kept",
            "kind": "record",
            "with": {"collection": "kids", "key": "${{ run.id }}", "data": {"run": "${{ run.id }}"}},
        },
    ],
    "outputs": {"n": "${{ inputs.n }}"},
}
TRIP: dict[str, Any] = {
    "steps": [
        *({"id": f"s{n}", **WORK, "undo": WORK} for n in range(3)),
        {"id": "s3", "steps": {"inner": {**WORK, "undo": WORK}}, "undo": WORK},
        {"id": "s4", **SPIN, "undo": SPIN},
        {"id": "last", "kind": "fail", "with": {"code": "no", "message": "no"}},
    ],
    "on_failure": {"told": WORK},
    "finally": {"last": WORK},
}
UNDONE = ("s4", "s3", "s3/inner", "s2", "s1", "s0")
LOCKED: dict[str, Any] = {
    "queues": {QUEUE: {"max_in_flight": NARROW, "shared": True}},
    "steps": {
        "a": {**WORK, "for_each": list(range(5)), "locks": [LOCK]},
        "b": {**SPIN, "for_each": list(range(5)), "locks": ["${{ run.id }}", LOCK]},
        "c": {**WORK, "for_each": list(range(6)), "queue": QUEUE},
    },
}
NAPS: dict[str, Any] = {
    "steps": {
        "nap": {"kind": "sleep", "with": {"for": "300ms"}},
        "often": {
            "repeat": {"until": "iteration == 4", "every": "50ms", "max": 4},
            **WORK,
        },
        "flaky": {
            "kind": "torture/flaky",
            "with": {"fails": 2},
            "retry": {"max_attempts": 3, "delay": "100ms", "jitter": "none"},
        },
        "late": {
            "timeout": "400ms",
            "steps": {"nap": {"kind": "sleep", "with": {"for": "1h"}}},
            "continue_on_error": True,
        },
        "end": {"needs": {"nap": "succeeded", "often": "succeeded", "flaky": "succeeded", "late": "failed"}, **WORK},
    },
    "outputs": {"attempts": "${{ steps.flaky.result }}", "late": "${{ steps.late.error.code }}"},
}
#: Commands that leave processes behind, in their group and out of it.
SHELLY: dict[str, Any] = {
    "pass_env": ["TORTURE_TOKEN"],
    "steps": {
        "leaves": {"run": "sleep 300 & (setsid sleep 300 &)\nsleep 0.2; echo left", "with": {"parse": "text"}},
        "quick": {"needs": "leaves", "run": "echo '[1, 2]'", "with": {"parse": "json"}},
        "stubborn": {"run": "trap '' TERM; sleep 0.3; echo done", "kill_grace": "200ms", "with": {"parse": "text"}},
    },
    "outputs": {"quick": "${{ steps.quick.result }}", "stubborn": "${{ steps.stubborn.result | trim }}"},
}
SPIDER: dict[str, Any] = {"steps": {"home": {"kind": "torture/spider", "with": {"depth": 2, "width": 3}}}}
ASKS: dict[str, Any] = {
    "steps": [{"id": "before", **WORK}, {"id": "ask", "kind": "approval"}, {"id": "then", **WORK}],
    "outputs": {"by": "${{ steps.ask.result.by }}"},
}
#: Pages that the spider keeps a record of: one, its 3 and their 9.
PAGES = 13


def batch(number: int, site: str) -> tuple[list[Wanted], list[list[Any]]]:
    """The runs of a batch, and the commands to ``client`` that start and steer them, each with a key of its own."""
    wanted, commands = list(runs(number, site)), []
    for one in wanted:
        inputs = {"site": site} if one.package == "crawl" else {}
        commands.append(["start", one.id, one.package, inputs])
    for sent in range(SIGNALS):
        for one in wanted:
            if one.package == "reader":
                commands += [["signal", one.id, sender, sent] for sender in SENDERS]
    commands += [["approve", one.id, f"{one.id}-boss"] for one in wanted if one.package == "asks"]
    return wanted, commands


def runs(number: int, site: str) -> Iterator[Wanted]:
    """Some of each package; the costly ones not every time."""
    known = graphs()
    name = list(known)[number % len(known)]
    yield Wanted(id=f"{name}-{number}", package=name, graph=known[name], handlers=1)
    yield Wanted(id=f"reader-{number}", package="reader", outputs="in order")
    yield Wanted(id=f"family-{number}", package="family", outputs={"kids": [{"n": n} for n in range(3)]}, handlers=1)
    yield Wanted(id=f"trip-{number}", package="trip", status="failed", handlers=2, undone=UNDONE)
    yield Wanted(id=f"locked-{number}", package="locked")
    yield Wanted(id=f"naps-{number}", package="naps", outputs={"attempts": 3, "late": "timeout"})
    yield Wanted(id=f"spider-{number}", package="spider")
    yield Wanted(id=f"asks-{number}", package="asks", outputs={"by": f"asks-{number}-boss"})
    if number % 2 == 0:
        yield Wanted(id=f"shelly-{number}", package="shelly", outputs={"quick": [1, 2], "stubborn": "done"})
    if number % 4 == 3:
        yield Wanted(id=f"crawl-{number}", package="crawl", outputs="the same")
