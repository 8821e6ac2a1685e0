"""Plugins that end their process: the run ends as its package says, without anybody's help, and the shell says why."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from .processes import Project

POISON = """
import ctypes, os, time
from yamlflow import StepContext, executor
from .witness import mark

def end(how):
    if how == "segfault": ctypes.string_at(0)
    if how == "exit": os._exit(3)
    if how == "exit0": os._exit(0)
    if how == "kill": os.kill(os.getpid(), 9)

@executor("poison")
def poison(how: str) -> None:
    time.sleep(0.05)
    end(how)

@executor("apart", mode="process")
def apart(how: str) -> int:
    end(how)
    return os.getpid()

@executor("once")
def once(step: StepContext, how: str, seconds: float = 0.05, after: str = "") -> int:
    "Takes its time, and ends its process, the first time only; it waits for a file that another step makes."
    mark(step, "start")
    first = not os.path.exists(f"{step.dir}/{how}")
    open(f"{step.dir}/{how}", "w").close()
    if first:
        while after and not os.path.exists(os.path.join(step.dir, after)):
            time.sleep(0.01)
        time.sleep(seconds)
        end(how)
    return os.getpid()

@executor("place")
def place() -> int:
    return os.getpid()
"""
GOOD = {"kind": "witness", "for_each": list(range(20)), "with": {"seconds": 0.02}}


def project(folder: Path, steps: dict[str, Any], **keys: Any) -> Project:
    made = Project(folder, {"yamlflow": 1, "name": "p", "pass_env": ["CRASH_TOKEN"], "steps": steps, **keys})
    (folder / "plugins" / "poison.py").write_text(POISON)
    made.environment["YAMLFLOW_SUPERVISE"] = "yes"
    return made


def check_good(made: Project) -> None:
    """Every good step has succeeded, once in the log."""
    ends = made.query(
        "select step, count(*) from events where kind = 'step.succeeded' and step like 'good[%' group by step"
    )
    assert dict(ends) == {f"good[{number}]": 1 for number in range(20)}
    assert made.query("pragma integrity_check") == [("ok",)]
    assert made.left_running() == []


def error_of(made: Project, path: str) -> dict[str, Any]:
    ((error,),) = made.query("select error from steps where path = ?", path)
    found: dict[str, Any] = json.loads(error)
    return found


HOWS = {"segfault": "SIGSEGV", "exit": "exit status 3", "kill": "SIGKILL"}


def test_a_run_with_steps_that_kill_its_process_ends_as_its_package_says(tmp_path: Path) -> None:
    steps = {
        "good": GOOD,
        "bad": {"kind": "poison", "for_each": list(HOWS), "continue_on_error": True, "with": {"how": "${{ item }}"}},
        "code": {
            "kind": "python",
            "continue_on_error": True,
            "with": {"code": "import os; os._exit(4)", "in_process": True},
        },
    }
    made = project(tmp_path, steps, outputs={"good": "${{ steps.good.result | length }}"})
    done = made.call("run", "package.yaml", "--run-id", "r", "--workers", "4")
    assert done.returncode == 0, done.stdout
    assert "good: 20" in done.stdout
    check_good(made)
    for number, (_, how) in enumerate(HOWS.items()):
        error = error_of(made, f"bad[{number}]")
        assert (error["code"], error["cause"]["code"]) == ("worker_lost", "exit_status")
        assert how in error["message"]
        assert made.query("select count(*) from events where kind = 'step.lost' and step = ?", f"bad[{number}]") == [
            (3,)
        ]
    assert error_of(made, "code")["message"].startswith("exit status 4"), "in a child process, once it was lost"
    assert "the worker (process" in done.stdout
    assert "Traceback" not in done.stdout


def test_workers_outlive_steps_that_kill_them(tmp_path: Path) -> None:
    steps = {"good": GOOD, "bad": {"kind": "poison", "with": {"how": "segfault"}}}
    made = project(tmp_path, steps)
    assert made.call("start", "package.yaml", "--run-id", "r").returncode == 0
    worker = made.spawn("worker", "--poll", "20ms", "--max-workers", "4")
    made.wait_until(lambda: made.query("select status from runs") == [("failed",)])
    worker.send_signal(signal.SIGTERM)
    said, _ = worker.communicate(timeout=20)
    assert worker.returncode == 0, said
    check_good(made)
    assert error_of(made, "bad")["code"] == "worker_lost"
    assert "was ended by SIGSEGV; what it had in hand is offered again" in said


def test_a_step_that_was_lost_with_its_worker_goes_on_in_a_process_of_its_own(tmp_path: Path) -> None:
    steps = {
        "fatal": {"kind": "once", "with": {"how": "exit0", "after": "nothing"}},
        "beside": {"kind": "once", "with": {"how": "nothing", "seconds": 60}},
        "after": {"kind": "place", "needs": ["fatal", "beside"]},
    }
    made = project(tmp_path, steps)
    done = made.call("run", "package.yaml", "--run-id", "r", "--workers", "4")
    assert done.returncode == 0, done.stdout
    assert "left with exit status 0 in the midst of its work" in done.stdout
    assert made.starts() == {"fatal": 2, "beside": 2}
    results = made.succeeded()
    assert len({results["fatal"], results["beside"], results["after"]}) == 3, "each in a process of its own"
    assert made.query("select attempt from steps where path = 'fatal'") == [(1,)]


def test_a_kind_of_mode_process_costs_nobody_else_a_thing(tmp_path: Path) -> None:
    steps = {
        "good": GOOD,
        "bad": {"kind": "apart", "for_each": ["segfault", "exit", "exit0", "kill", "none"], "continue_on_error": True,
                "with": {"how": "${{ item }}"}},
    }  # fmt: skip
    made = project(tmp_path, steps)
    done = made.call("run", "package.yaml", "--run-id", "r", "--workers", "4")
    assert done.returncode == 0, done.stdout
    check_good(made)
    assert made.query("select count(*) from events where kind = 'step.lost'") == [(0,)]
    errors = [error_of(made, f"bad[{number}]") for number in range(4)]
    assert {error["code"] for error in errors} == {"exit_status"}
    assert [error["details"]["signal"] for error in errors] == ["SIGSEGV", None, None, "SIGKILL"]
    assert "in end" in errors[0]["details"]["stderr"], "where it was, in Python"
    assert set(made.starts().values()) == {1}


def test_plugins_can_all_be_set_apart(tmp_path: Path) -> None:
    made = project(
        tmp_path, {"a": {"kind": "place"}, "b": {"kind": "place"}, "bad": {"kind": "poison", "with": {"how": "exit"}}}
    )
    (tmp_path / "yamlflow.toml").write_text('isolate = "plugins"\n')
    assert made.call("run", "package.yaml", "-q", "--workers", "1").returncode == 1
    assert len(set(made.succeeded().values())) == 2
    assert error_of(made, "bad")["code"] == "exit_status"
    assert made.query("select count(*) from events where kind = 'step.lost'") == [(0,)]


def test_unwatched_a_poisoned_run_is_resumed_by_hand(tmp_path: Path) -> None:
    made = project(tmp_path, {"good": GOOD, "bad": {"kind": "poison", "with": {"how": "segfault"}}})
    made.environment["YAMLFLOW_SUPERVISE"] = "no"
    assert made.call("run", "package.yaml", "--run-id", "r", "-q").returncode == -signal.SIGSEGV
    assert made.call("resume", "r", "-q").returncode == 1
    check_good(made)
    assert error_of(made, "bad")["code"] == "worker_lost"


def test_a_worker_that_never_takes_up_a_step_is_given_up(tmp_path: Path) -> None:
    made = project(tmp_path, {"a": {"kind": "noop"}})
    (tmp_path / "plugins" / "worst.py").write_text("import os\nos.abort()\n")
    done = made.call("worker", timeout=20)
    assert done.returncode == 128 + signal.SIGABRT
    assert "was ended by SIGABRT, 3 times in a row before it took up a step; giving up" in done.stdout


def worker_of(made: Project) -> int:
    ((pid,),) = made.query("select pid from workers where status = 'running'")
    return int(pid)


SLOW = {"a": {"run": "touch started; sleep 100"}}


def test_a_killed_watcher_takes_its_worker_with_it(tmp_path: Path) -> None:
    made = project(tmp_path, SLOW)
    process = made.spawn("run", "package.yaml", "--run-id", "r")
    made.wait_until((tmp_path / "started").exists)
    assert worker_of(made) != process.pid
    process.kill()
    process.communicate(timeout=20)
    made.wait_until(lambda: not made.left_running())
    assert made.query("select status from steps where path = 'a'") == [("running",)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("whole_group", [False, True], ids=["one", "group"])
def test_a_signal_reaches_the_worker_once(tmp_path: Path, number: signal.Signals, whole_group: bool) -> None:
    made = project(tmp_path, SLOW)
    process = made.spawn("run", "package.yaml", "--run-id", "r", new_group=True)
    made.wait_until((tmp_path / "started").exists)
    (os.killpg if whole_group else os.kill)(process.pid, number)
    said, _ = process.communicate(timeout=20)
    assert process.returncode == 130, said
    assert said.count("yamlflow resume r") == 1
    assert made.query("select status, attempt, lost from steps where path = 'a'") == [("ready", 0, 0)]
    assert made.left_running() == []


def test_the_exit_status_and_output_are_the_workers(tmp_path: Path) -> None:
    made = project(tmp_path, {"a": {"kind": "fail", "with": {"code": "no", "message": "no"}}})
    assert made.call("run", "package.yaml", "-q").returncode == 1
    assert made.call("run", "package.yaml", "-i", "x=1").returncode == 2
    assert made.call("run", "nothing.yaml").returncode == 2


LOCKED = """
import re
from yamlflow import StepContext, executor

@executor("locked")
def locked(step: StepContext) -> bool:
    open(f"locked-{step.lease.lost}", "w").close()
    return re.fullmatch("(a+)+b", "a" * 60) is not None
"""
#: The command line, watched by a first process that loses its patience sooner.
HASTY = """
import sys
from yamlflow import supervised
supervised.BEAT, supervised.LOOK = 0.1, 0.5
from yamlflow.__main__ import main
sys.argv = ["yamlflow", *sys.argv[1:]]
main()
"""


def test_a_step_that_holds_pythons_lock_for_ever_ends_at_its_timeout_all_the_same(tmp_path: Path) -> None:
    steps = {"good": GOOD, "bad": {"kind": "locked", "needs": "good", "timeout": "1s", "kill_grace": "100ms"}}
    made = project(tmp_path, steps)
    (tmp_path / "plugins" / "locked.py").write_text(LOCKED)
    process = made.spawn("run", "package.yaml", "--run-id", "r", program=["-c", HASTY])
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 1, said
    assert "a step has held Python's lock" in said
    assert error_of(made, "bad")["code"] == "timeout"
    check_good(made)


def test_told_twice_a_worker_that_cannot_hear_is_killed(tmp_path: Path) -> None:
    made = project(tmp_path, {"bad": {"kind": "locked"}})
    (tmp_path / "plugins" / "locked.py").write_text(LOCKED)
    process = made.spawn("run", "package.yaml", "--run-id", "r")
    made.wait_until((tmp_path / "locked-0").exists)
    process.send_signal(signal.SIGINT)
    # Those that come at once are one.
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == 130
    assert made.left_running() == []


def test_a_signal_that_comes_twice_at_once_leaves_the_grace_whole(tmp_path: Path) -> None:
    made = project(tmp_path, {"a": {"run": "touch started; sleep 4; echo whole", "with": {"parse": "text"}}})
    made.call("start", "package.yaml", "--run-id", "r")
    process = made.spawn("worker", "--poll", "20ms", new_group=True)
    made.wait_until((tmp_path / "started").exists)
    os.kill(process.pid, signal.SIGTERM)
    os.killpg(process.pid, signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 0
    assert made.succeeded()["a"] == '"whole\\n"'


def test_what_a_dead_worker_had_started_is_gone_before_it_is_started_again(tmp_path: Path) -> None:
    slow = """
      echo start >> seen
      if [ -e again ]; then exit 0; fi
      trap 'sleep 1; echo end >> seen; exit 1' TERM
      touch again
      sleep 100 & wait
    """
    fatal = {"kind": "once", "with": {"how": "kill", "after": str(tmp_path / "again")}}
    made = project(tmp_path, {"slow": {"run": slow}, "fatal": fatal})
    done = made.call("run", "package.yaml", "--workers", "4")
    assert done.returncode == 0, done.stdout
    assert (tmp_path / "seen").read_text().split() == ["start", "end", "start"]
