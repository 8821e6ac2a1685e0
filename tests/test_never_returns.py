"""Executors that never return, or do not let others run: their step ends at its deadline, the rest goes on, and nobody waits
for them at the end."""

from __future__ import annotations

import logging
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from yamlflow import Package, Runtime, executor
from yamlflow.crew import Loop

from .crash.processes import Project

STUCK = """
import asyncio, threading, time
from yamlflow import executor

@executor("stuck/thread")
def thread() -> None:
    open("thread", "w").close()
    while True:
        time.sleep(1000)

@executor("stuck/blocks")
async def blocks(seconds: float) -> str:
    open("blocks", "w").close()
    time.sleep(seconds)
    return "blocked"

@executor("stuck/leaves")
def leaves() -> str:
    threading.Thread(target=time.sleep, args=(1000,), daemon=False).start()
    return "left a thread"
"""


def project(folder: Path, steps: dict[str, Any], **keys: Any) -> Project:
    made = Project(folder, {"yamlflow": 1, "name": "p", "pass_env": ["CRASH_TOKEN"], "steps": steps, **keys})
    (folder / "plugins" / "stuck.py").write_text(STUCK)
    return made


def ended(process: Any, within: float) -> str:
    """What a process said that has ended in time."""
    said, _ = process.communicate(timeout=within)
    return str(said)


def test_a_thread_that_never_returns_ends_at_its_deadline_and_nobody_waits_for_it(tmp_path: Path) -> None:
    steps = {
        "stuck": {"kind": "stuck/thread", "timeout": "200ms", "for_each": [1, 2, 3], "continue_on_error": True},
        "left": {"kind": "stuck/leaves"},
        "after": {"kind": "set", "needs": {"stuck": "finished"}, "with": {"value": 1}},
    }
    made = project(tmp_path, steps)
    done = made.call("run", "package.yaml", "--workers", "1", timeout=30)
    assert done.returncode == 0, done.stdout
    assert made.query("select count(*) from steps where status = 'failed' and path like 'stuck[%'") == [(3,)]
    assert "its thread cannot be ended and goes on" in done.stdout
    assert made.succeeded()["after"] == "1"


@pytest.mark.parametrize("watched", ["yes", "no"])
def test_asked_twice_a_stuck_run_ends_at_once(tmp_path: Path, watched: str) -> None:
    made = project(
        tmp_path, {"stuck": {"kind": "stuck/thread"}, "busy": {"run": "trap '' TERM; touch busy; sleep 100"}}
    )
    made.environment["YAMLFLOW_SUPERVISE"] = watched
    process = made.spawn("run", "package.yaml", "--run-id", "r")
    made.wait_until(lambda: (tmp_path / "thread").exists() and (tmp_path / "busy").exists())
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert process.poll() is None, "the command has its grace"
    process.send_signal(signal.SIGINT)
    ended(process, 5)
    assert process.returncode == 130
    assert made.query("select status from runs") == [("running",)]
    made.wait_until(lambda: not made.left_running(), seconds=20)


def test_a_drain_ends_within_the_grace_whatever_steps_do(tmp_path: Path) -> None:
    steps = {
        "stuck": {"kind": "stuck/thread"},
        "blocks": {"kind": "stuck/blocks", "with": {"seconds": 1000}},
        "deaf": {"run": "trap '' TERM; touch deaf; sleep 100 & sleep 100", "kill_grace": "60s"},
    }
    made = project(tmp_path, steps)
    made.call("start", "package.yaml", "--run-id", "r")
    worker = made.spawn("worker", "--grace", "1s", "--max-workers", "4", "--poll", "20ms")
    made.wait_until(lambda: all((tmp_path / name).exists() for name in ("thread", "blocks")))
    asked = time.monotonic()
    worker.send_signal(signal.SIGTERM)
    said = ended(worker, 20)
    assert worker.returncode == 0, said
    assert time.monotonic() - asked < 5, "the grace, a second, and what a busy machine adds"
    assert made.query("select path, attempt, lost from steps where status = 'ready' order by path") == [
        ("blocks", 0, 0), ("deaf", 0, 0), ("stuck", 0, 0)
    ]  # fmt: skip
    made.wait_until(lambda: not made.left_running(), seconds=20)


def test_a_coroutine_that_blocks_is_named_and_later_steps_need_not_wait_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("yamlflow.calls.BLOCKED", 300)
    free = threading.Event()

    @executor("t/blocks")
    async def blocks() -> str:
        free.wait(30)
        return "free"

    steps = {
        "blocks": {"kind": "t/blocks"},
        "wait": {"kind": "sleep", "with": {"for": "1500ms"}},
        "later": {"run": "echo ok", "needs": "wait"},
        "beside": {"run": "echo ok", "timeout": "100ms", "needs": "wait", "continue_on_error": True},
    }
    with Runtime(f"sqlite:///{tmp_path}/y.db", max_workers=4, lease_duration=2) as runtime:
        runtime.register(blocks)
        run = runtime.start(Package("p", steps=steps))
        until = time.monotonic() + 30

        def later_is_done() -> bool:
            rows = {row.path: row.status for row in runtime.store.steps_at(run.key, ["later", "blocks"])}
            if rows["later"] == "succeeded":
                assert free.is_set() or rows["blocks"] == "running", "its lease was renewed, and it still blocks"
                free.set()
            return runtime.run(run.id).ended_at is not None or time.monotonic() > until

        with caplog.at_level(logging.WARNING):
            runtime.run_workers(later_is_done)
        assert runtime.run(run.id).status == "succeeded"
        assert runtime.result(run.id, "blocks") == "free"
        assert sum("the coroutine of step blocks has held up the event loop" in line for line in caplog.messages) == 1
        log = next(Path(tmp_path).glob("runs/*/1/logs/blocks.1.log")).read_text()
        assert "has held up the event loop" in log
        assert all(event.kind != "step.lost" for event in runtime.store.events(run.key))


def test_a_loop_answers_or_is_silent() -> None:
    loop, free, began = Loop(), threading.Event(), threading.Event()

    async def block() -> None:
        began.set()
        free.wait(30)

    async def answer() -> None:
        answered.set()

    assert loop.silence(0) == 0, "no loop, no silence"
    loop.submit(block)
    assert began.wait(10)
    assert (loop.silence(1000), loop.silence(1400)) == (0, 400)
    assert loop.blocker() is not None
    answered = threading.Event()
    loop.renew()
    loop.submit(answer)
    assert answered.wait(10), "on another loop"
    free.set()
    loop.close()
