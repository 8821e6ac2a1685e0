"""What executors print belongs to their step's log, and stdout to results."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from yamlflow import StepContext, executor
from yamlflow.executors import Executor
from yamlflow.ports import Masking, MemoryLog, Ports
from yamlflow.speech import LOG, Speech, heard
from yamlflow.testing import run_executor

from .conftest import ROOT


@executor("t/thread")
def in_a_thread() -> None:
    print("hello hunter2hunter2")
    print("oh", file=sys.stderr)


@executor("t/inline", mode="inline")
def inline() -> None:
    in_a_thread()


@executor("t/async")
async def in_a_task() -> None:
    await asyncio.to_thread(in_a_thread)


def logged(what: Any, given: Any = None) -> MemoryLog:
    """The log of one call, made while steps are heard."""
    masking = Masking()
    masking.add("hunter2hunter2")
    log = MemoryLog(masking)
    with heard():
        run_executor(what, given, ports=Ports(masking=masking, log=log))
    log.close()
    return log


@pytest.mark.parametrize("what", [in_a_thread, inline, in_a_task])
def test_what_an_executor_prints_is_its_steps_log_masked(what: Executor, capfd: pytest.CaptureFixture[str]) -> None:
    log = logged(what)
    assert (log.text("stdout"), log.text("stderr")) == ("hello ***\n", "oh\n")
    assert capfd.readouterr() == ("", "")


def test_what_python_prints_in_process_is_its_steps_log(capfd: pytest.CaptureFixture[str]) -> None:
    log = logged("python", {"code": "print('hello hunter2hunter2')", "in_process": True})
    assert log.text("stdout") == "hello ***\n"
    assert capfd.readouterr() == ("", "")


def test_steps_side_by_side_are_told_apart() -> None:
    together = threading.Barrier(2)

    @executor("t/side")
    def side(name: str) -> None:
        together.wait(10)
        print(name)
        together.wait(10)

    logs = {name: MemoryLog() for name in "ab"}

    def call(name: str) -> None:
        run_executor(side, {"name": name}, ports=Ports(log=logs[name]))

    with heard():
        threads = [threading.Thread(target=call, args=(name,)) for name in logs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert {name: log.text() for name, log in logs.items()} == {"a": "a\n", "b": "b\n"}


def test_stdout_is_kept_free_while_steps_are_heard(capfd: pytest.CaptureFixture[str]) -> None:
    with heard():
        os.write(1, b"from beneath\n")
        subprocess.run(["echo", "from a child"], check=True)
    os.write(1, b"a result\n")
    out, err = capfd.readouterr()
    assert (out, err) == ("a result\n", "from beneath\nfrom a child\n")


def test_the_streams_are_given_back_whatever_happens() -> None:
    before = sys.stdout, sys.stderr
    with pytest.raises(ZeroDivisionError), heard():
        assert isinstance(sys.stdout, Speech)
        raise ZeroDivisionError
    assert (sys.stdout, sys.stderr) == before


def test_a_process_that_embeds_yamlflow_keeps_its_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    run_executor(in_a_thread)
    assert capsys.readouterr().out == "hello hunter2hunter2\n"


def test_no_step_is_left_behind_after_a_call() -> None:
    run_executor(in_a_thread)
    assert LOG.get() is None


def test_a_full_disk_does_not_fail_what_prints() -> None:
    class Full(MemoryLog):
        def write(self, text: str, stream: Any = "log") -> None:
            raise OSError(28, "No space left on device")

    @executor("t/full")
    def prints(step: StepContext) -> str:
        print("x")
        return "done"

    with heard():
        outcome: Any = run_executor(prints, ports=Ports(log=Full()))
    assert outcome.result == "done"


def test_within_a_step_there_is_no_terminal_and_no_bytes() -> None:
    @executor("t/asks")
    def asks() -> list[bool]:
        with pytest.raises(TypeError, match="must be str"):
            sys.stdout.write(b"x")  # type: ignore[arg-type]
        return [sys.stdout.isatty(), hasattr(sys.stdout, "encoding")]

    with heard():
        outcome: Any = run_executor(asks)
    assert outcome.result == [False, True]


NOISY = """
import os, subprocess
from yamlflow import executor

@executor("noisy/loud")
def loud() -> int:
    print("from python " + "hunter2" * 2)
    os.write(1, b"from beneath\\n")
    subprocess.run(["echo", "from a child"])
    return 1
"""
PACKAGE = """
yamlflow: 1
name: noise
secrets: [TOKEN]
steps: {a: {kind: noisy/loud}}
outputs: {n: "${{ steps.a.result }}"}
"""


def test_a_noisy_plugin_does_not_spoil_the_json_of_a_run(tmp_path: Path) -> None:
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins/noisy.py").write_text(NOISY)
    (tmp_path / "noise.yaml").write_text(PACKAGE)
    command = [sys.executable, "-m", "yamlflow", "run", "noise.yaml", "--run-id", "n", "--json"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TOKEN": "hunter2" * 2}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["outputs"] == {"n": 1}
    assert "from beneath" in done.stderr
    assert "from a child" in done.stderr
    (log,) = (tmp_path / ".yamlflow").rglob("a.1.log")
    assert log.read_text() == "from python ***\n"
