"""The guard: what a killed worker leaves behind is gone soon after."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from yamlflow.guard import Guard

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")

WORKER = textwrap.dedent(
    """
    import subprocess, sys, threading
    from yamlflow.guard import Guard
    guard = Guard(grace=0.5)
    for command in (["sleep", "1000"], ["sh", "-c", "trap '' TERM; while :; do sleep 1; done"]):
        child = subprocess.Popen(command, start_new_session=True, env={"PATH": "/bin:/usr/bin", **guard.env})
        guard.track(child.pid)
        print(child.pid)
    stray = subprocess.Popen(["sleep", "1000"], start_new_session=True, env={"PATH": "/bin:/usr/bin", **guard.env})
    ended = subprocess.Popen(["sleep", "1000"], start_new_session=True, env={"PATH": "/bin:/usr/bin"})
    guard.track(ended.pid)
    guard.untrack(ended.pid)
    print(stray.pid, ended.pid, guard.pid, sep="\\n", flush=True)
    threading.Event().wait()
    """
)


def wait_until_gone(pid: int, seconds: float = 10) -> bool:
    """Whether a process that is not our child has ended in time."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([fd], [], [], seconds)[0])
    finally:
        os.close(fd)


def test_a_killed_workers_children_are_killed_tracked_stubborn_and_stray() -> None:
    worker = subprocess.Popen([sys.executable, "-c", WORKER], stdout=subprocess.PIPE, text=True)
    assert worker.stdout is not None
    quiet, stubborn, stray, ended, guard = (int(worker.stdout.readline()) for _ in range(5))
    try:
        os.kill(guard, signal.SIGTERM)
        os.kill(guard, signal.SIGINT)
        worker.kill()
        worker.wait()
        worker.stdout.close()
        assert wait_until_gone(quiet)
        assert wait_until_gone(stubborn)
        assert wait_until_gone(stray)
        assert wait_until_gone(guard)
        assert not wait_until_gone(ended, 0)
    finally:
        for pid in (quiet, stubborn, stray, ended, guard):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue


def descriptors(pid: int) -> set[str]:
    """What a process holds open."""
    found = set()
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            found.add(os.readlink(f"/proc/{pid}/fd/{fd}").partition(":")[0])
    return found


def test_it_starts_with_the_first_child_and_ends_with_the_worker() -> None:
    guard = Guard()
    assert guard.pid is None
    child = subprocess.Popen(["true"], start_new_session=True)
    guard.track(child.pid)
    pid = guard.pid
    assert pid is not None
    assert os.getsid(pid) == pid
    deadline = time.monotonic() + 20
    while not descriptors(pid) <= {"pipe", "/dev/null"}:
        # Python itself may still be reading its own files.
        assert time.monotonic() < deadline, descriptors(pid)
        time.sleep(0.01)
    child.wait()
    guard.untrack(child.pid)
    guard.close()
    assert wait_until_gone(pid)
    guard.close()


def test_a_guard_that_was_killed_is_replaced() -> None:
    guard = Guard()
    guard.track(2**22 + 1)
    first = guard.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    assert wait_until_gone(first)
    guard.untrack(2**22 + 1)
    guard.track(2**22 + 2)
    assert guard.pid not in (None, first)
    guard.untrack(2**22 + 2)
    guard.close()


UNTOLD = textwrap.dedent(
    """
    import os, signal, subprocess
    from yamlflow.guard import Guard
    guard = Guard(grace=0.5)
    guard.ready()
    child = subprocess.Popen(["sleep", "1000"], start_new_session=True, env={"PATH": "/bin:/usr/bin", **guard.env})
    print(child.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
    """
)


def test_a_worker_killed_before_it_could_tell_of_its_first_child_leaves_none() -> None:
    told = subprocess.run([sys.executable, "-c", UNTOLD], stdout=subprocess.PIPE, text=True, check=False).stdout
    assert wait_until_gone(int(told))


def test_a_guard_that_was_killed_is_replaced_before_anything_else_happens() -> None:
    guard = Guard()
    child = subprocess.Popen(["sleep", "1000"], start_new_session=True, env={"PATH": "/bin:/usr/bin", **guard.env})
    try:
        guard.look()
        assert guard.pid is None
        guard.track(child.pid)
        first = guard.pid
        assert first is not None
        guard.look()
        assert guard.pid == first
        os.kill(first, signal.SIGKILL)
        os.waitid(os.P_PID, first, os.WEXITED | os.WNOWAIT)
        guard.look()
        assert guard.pid not in (None, first)
        guard.close()
        assert child.wait(10) == -signal.SIGTERM
    finally:
        child.kill()
        child.wait()
