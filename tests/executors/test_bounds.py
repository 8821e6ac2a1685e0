"""What processes of a step may take, what they leave behind, and what becomes of a worker that lacks what they need."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from yamlflow import Succeeded
from yamlflow.context import Ports
from yamlflow.executors import limited, processes, python, shell
from yamlflow.executors.processes import kills, marked
from yamlflow.outcome import Error, Failed, Outcome
from yamlflow.ports import MemoryLog
from yamlflow.testing import run_executor

from ..conftest import ROOT
from ..crash.processes import Project

ENV = {"PATH": os.environ["PATH"]}


def run(what: Any, log: MemoryLog | None = None, **keys: Any) -> Outcome:
    return run_executor(shell, {"run": what, **keys}, ports=Ports(log=log or MemoryLog()), env=ENV)


def result(outcome: Outcome) -> Any:
    assert isinstance(outcome, Succeeded), outcome
    return outcome.result


def error(outcome: Outcome) -> Error:
    assert isinstance(outcome, Failed), outcome
    return outcome.error


# -- limits


def test_limits_hold_for_the_command_and_for_no_other() -> None:
    limits = {"memory": "1GB", "cpu": "90s", "file_size": 4096, "open_files": 30}
    read = "ulimit -v; ulimit -t; ulimit -f; ulimit -n"
    assert result(run(read, parse="lines", limits=limits)) == ["1048576", "90", "8", "30"]
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 30


def test_too_much_memory_is_the_steps_failure() -> None:
    code = {"code": "x = bytearray(10**9)", "limits": {"memory": "300MB"}}
    found = error(run_executor(python, code, env=ENV))
    assert (found.code, found.type) == ("executor_error", "MemoryError")


def test_processor_time_and_file_size_end_a_command_and_say_so() -> None:
    found = error(run(["sh", "-c", "while :; do :; done"], limits={"cpu": "1s"}))
    assert found.message.startswith("ended by SIGXCPU (it used up the processor time it may have)")
    with tempfile.TemporaryDirectory() as folder:
        big = "open('big', 'wb').write(b'x' * 1000)"
        found = error(run([sys.executable, "-c", f"import signal; signal.signal(signal.SIGXFSZ, signal.SIG_DFL); {big}"],
                          cwd=folder, limits={"file_size": 10}))  # fmt: skip
        assert found.message.startswith("ended by SIGXFSZ (it wrote a larger file than it may)")


def test_pipes_break_as_ever_under_limits() -> None:
    assert result(run("yes | head -1", parse="text", shell="sh", limits={"cpu": "60s"})) == "y\n"
    found = error(run("set -o pipefail; yes | head -1", shell="bash", limits={"cpu": "60s"}))
    assert found.details["exit_code"] == 128 + signal.SIGPIPE


def test_what_cannot_be_started_under_limits_says_why() -> None:
    found = error(run(["nothing-there"], limits={"cpu": "60s"}))
    assert found.message.startswith("exit status 127 (command not found): nothing-there cannot be started")


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"cpu": "3 x"}, "with.limits.cpu"),
        ({"memory": "much"}, "limits.memory"),
        ({"processes": 0}, "limits.processes"),
        ({"memroy": 1}, "memroy"),
    ],
)
def test_a_limit_that_is_none_is_refused(limits: dict[str, Any], words: str) -> None:
    found = error(run("true", limits=limits))
    assert found.code == "bad_input"
    assert words in found.message


def test_a_thread_has_no_limits_of_its_own() -> None:
    found = error(run_executor(python, {"code": "", "in_process": True, "limits": {"cpu": "1s"}}))
    assert found.code == "bad_input"


def test_a_fork_bomb_is_held_and_gone_with_its_step() -> None:
    if os.geteuid() != 0:
        pytest.skip("another user's processes are counted with ours")
    program = (
        "import os\nos.setgroups([]); os.setuid(65534)\nwhile True:\n    try: os.fork()\n    except OSError: break\n"
    )
    mark = f"bomb-{os.getpid()}-{time.monotonic_ns()}"
    outcome = run_executor(
        shell, {"run": [sys.executable, "-c", program + "import time; time.sleep(0.5)"], "limits": {"processes": 40}},
        env={**ENV, "BOMB": mark},
    )  # fmt: skip
    assert isinstance(outcome, Succeeded), outcome
    assert not carrying(f"BOMB={mark}")


def carrying(variable: str) -> list[int]:
    """Processes that have something in their environment."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and variable.encode() in (entry / "environ").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


# -- what is left


@pytest.mark.parametrize("end", ["true", "false"], ids=["succeeded", "failed"])
def test_what_a_command_leaves_running_is_ended_and_named(end: str) -> None:
    log = MemoryLog()
    away = ">/dev/null 2>&1 &"
    leave = f"sleep 1000 & setsid sleep 1001 {away} setsid sh -c 'sleep 1002 & wait' & nohup sleep 1003 {away}"
    mark = f"left-{os.getpid()}-{time.monotonic_ns()}"
    outcome = run_executor(shell, {"run": f"{leave} sleep 0.3; {end}"}, ports=Ports(log=log), env={**ENV, "LEFT": mark})
    assert isinstance(outcome, Succeeded if end == "true" else Failed)
    assert not carrying(f"LEFT={mark}")
    (note,) = [text for stream, text in log.entries if stream == "note"]
    assert note.startswith("[ended what the command left running: sleep (process ")


def test_a_process_without_the_marks_is_another_ones_affair() -> None:
    mark = f"own-{os.getpid()}-{time.monotonic_ns()}"
    text = f"env -i OWN={mark} setsid sleep 100 >/dev/null 2>&1 & sleep 0.2"
    assert result(run(text))["exit_code"] == 0
    (pid,) = carrying(f"OWN={mark}")
    os.kill(pid, signal.SIGKILL)


def test_a_command_that_leaves_nothing_has_no_note() -> None:
    log = MemoryLog()
    run("echo one | cat; (exit 0); echo two", log=log)
    assert [stream for stream, _ in log.entries if stream == "note"] == []


def test_processes_are_found_also_when_their_numbers_have_begun_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    child = subprocess.Popen(["sleep", "100"], env={**ENV, processes.MARK: "m"})
    try:
        deadline = time.monotonic() + 10
        while not marked("m", os.getpid()) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert marked("m", os.getpid()) == [child.pid]
        monkeypatch.setattr(processes, "_newest", lambda: child.pid + 9)
        assert marked("m", child.pid + 1) == []
        monkeypatch.setattr(processes, "_newest", lambda: 5)
        assert marked("m", child.pid + 1) == [child.pid]
    finally:
        child.kill()
        child.wait()


# -- want of memory


@contextlib.contextmanager
def control_group(controller: str, file: str, limit: int) -> Iterator[Path]:
    """A control group (version 1) with a limit; the test is skipped where none can be made."""
    folder = Path("/sys/fs/cgroup") / controller / f"yamlflow-test-{os.getpid()}"
    try:
        folder.mkdir()
        (folder / file).write_text(str(limit))
    except OSError as wrong:
        pytest.skip(f"no control group can be made here: {wrong}")
    try:
        yield folder
    finally:
        for _ in range(100):
            with contextlib.suppress(OSError):
                folder.rmdir()
                break
            time.sleep(0.1)


def test_a_command_that_the_system_kills_for_want_of_memory_says_so() -> None:
    with control_group("memory", "memory.limit_in_bytes", 30 * 1024 * 1024) as group:
        before = kills()
        hog = f"echo $$ > {group}/cgroup.procs; exec {sys.executable} -c 'x = bytearray(200 * 10**6); print(len(x))'"
        found = error(run(hog))
        assert kills() > before
        assert found.message == "killed with SIGKILL (exit status 137); the system ran out of memory"
        assert found.details["signal"] == "SIGKILL"


# -- what a worker lacks

GREEDY = """
import os
from yamlflow import executor
KEPT = []

@executor("greedy")
def greedy() -> int:
    try:
        while True:
            KEPT.append(os.open("/dev/null", os.O_RDONLY))
    except OSError:
        return len(KEPT)
"""


def test_a_worker_without_descriptors_fails_steps_that_need_some_and_goes_on(tmp_path: Path) -> None:
    steps = [
        {"id": "early", "run": "true"}, {"id": "greedy", "kind": "greedy"},
        {"id": "command", "run": "echo hi", "continue_on_error": True},
        {"id": "call", "kind": "python", "continue_on_error": True, "with": {"code": ""}},
        {"id": "last", "kind": "set", "with": {"value": "still here"}},
    ]  # fmt: skip
    made = Project(tmp_path, {"yamlflow": 1, "name": "p", "steps": steps})
    (tmp_path / "plugins" / "greedy.py").write_text(GREEDY)
    program = ["-I", "-S", limited.__file__, json.dumps({"nofile": 48}), sys.executable, "-m", "yamlflow"]
    process = made.spawn("run", "package.yaml", program=program)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 0, said
    statuses = dict(made.query("select path, status from steps where path <> ''"))
    assert statuses == {
        "early": "succeeded", "greedy": "succeeded", "command": "failed", "call": "failed", "last": "succeeded"
    }  # fmt: skip
    assert "descriptors left" in said or "Too many open files" in said
    assert "Traceback" not in said


def test_a_worker_without_processes_fails_steps_that_need_some_and_goes_on(tmp_path: Path) -> None:
    steps = [
        {"id": "command", "for_each": list(range(6)), "run": "sleep 0.5", "continue_on_error": True},
        {
            "id": "thread",
            "for_each": list(range(6)),
            "kind": "witness",
            "with": {"seconds": 0.5},
            "continue_on_error": True,
        },
        {"id": "last", "kind": "set", "with": {"value": "still here"}},
    ]
    made = Project(tmp_path, {"yamlflow": 1, "name": "p", "steps": steps})
    with control_group("pids", "pids.max", 6) as group:
        command = f"echo $$ > {group}/cgroup.procs; exec {sys.executable} -m yamlflow run package.yaml --workers 6"
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "WITNESS": str(made.witness)}
        done = subprocess.run(
            ["sh", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
        )
    assert done.returncode == 0, done.stderr
    assert made.succeeded()["last"] == '"still here"'
    errors = {json.loads(error)["code"] for (error,) in made.query("select error from steps where error is not null")}
    assert errors == {"spawn_failed"}
    assert "Traceback" not in done.stderr
