"""A tiny process beside a worker that outlives it, to kill what the worker's children would leave behind.

The worker tells it over a pipe which process groups run (``+123``) and which have ended (``-123``). When the pipe
ends and groups are left, the worker was killed: they get SIGTERM, after the grace SIGKILL, and so does every process
that carries the worker's mark in its environment. This file is also the guard's own program, run without site packages:
it imports only the standard library, and nothing of yamlflow where it runs as one.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import subprocess

#: The name under which children carry their worker's mark.
MARK = "YAMLFLOW_WORKER"
#: Seconds between SIGTERM and SIGKILL for what a dead worker left.
GRACE = 5.0
#: Signals that a terminal or an operator sends to whole groups of processes.
UNHEARD = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP)
#: Seconds between looks whether all are gone.
LOOK = 0.1


class Guard:
    """A worker's side of it; the guard itself is started with the first child."""

    def __init__(self, *, grace: float = GRACE) -> None:
        import threading

        self._grace = grace
        self._lock = threading.Lock()
        self._mark = os.urandom(16).hex()
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: int | None = None
        self._groups: set[int] = set()
        self._owner = os.getpid()
        #: What every child carries.
        self.env: Mapping[str, str] = {MARK: self._mark}

    @property
    def pid(self) -> int | None:
        """The guard's process; None before the first child."""
        return self._process.pid if self._process is not None else None

    def ready(self) -> None:
        """A child is about to be started: were the worker killed before it can tell of it, the guard knows its mark."""
        with self._lock:
            self._watch()

    def look(self) -> None:
        """Replace a guard that somebody killed, if it had anything to watch."""
        with self._lock:
            if self._groups:
                self._watch()

    def track(self, group: int) -> None:
        """A process group was started."""
        with self._lock:
            self._groups.add(group)
            self._tell(f"+{group}\n")
            self._watch()

    def _watch(self) -> None:
        """Start the guard, where none is alive, and tell it of all that run."""
        if self._pipe is not None and self._process is not None and self._process.poll() is not None:
            os.close(self._pipe)
            self._pipe = None
        if self._pipe is None:
            self._start()
            self._tell("".join(f"+{each}\n" for each in self._groups))

    def untrack(self, group: int) -> None:
        """It has ended."""
        with self._lock:
            self._groups.discard(group)
            self._tell(f"-{group}\n")

    def close(self) -> None:
        """Let the guard go; what still runs is killed as if the worker had died."""
        with self._lock:
            if self._pipe is not None:
                os.close(self._pipe)
                self._pipe = None
            process, self._process = self._process, None
        if process is not None and os.getpid() == self._owner:
            process.wait()

    def _start(self) -> None:
        """With a session of its own it hears no Ctrl-C of the terminal's; it holds no descriptor but the pipe."""
        import subprocess

        try:
            theirs, ours = os.pipe()
        except OSError:
            return
        # Inherited, so that no signal ends the guard before it can say that it hears none.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, UNHEARD)
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", __file__, self._mark, str(self._grace)],
                stdin=theirs,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env={},
                start_new_session=True,
            )
        except OSError:
            # Without a process to spare the worker goes on unguarded, as its children hardly start either.
            os.close(ours)
            return
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            os.close(theirs)
        # A guard that was stopped must not hold the worker: what it is not told of, it finds by the mark.
        os.set_blocking(ours, False)
        self._pipe = ours

    def _tell(self, line: str) -> None:
        if self._pipe is None:
            return
        try:
            os.write(self._pipe, line.encode())
        except BlockingIOError:
            return
        except BrokenPipeError:
            # Somebody killed the guard: the next look starts a new one, which is told of all that run.
            os.close(self._pipe)
            self._pipe = None
            if self._process is not None:
                self._process.wait()


def watch(pipe: int, mark: str, grace: float) -> None:
    """The guard's own life: read until the worker is gone, then end what it left."""
    for number in UNHEARD:
        signal.signal(number, signal.SIG_IGN)
    groups: set[int] = set()
    rest = b""
    while piece := os.read(pipe, 65536):
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            group = int(line[1:])
            if line[:1] == b"+":
                groups.add(group)
            else:
                groups.discard(group)
    end(groups, mark, grace)


def end(groups: set[int], mark: str, grace: float) -> None:
    """SIGTERM, the grace or until all are gone, SIGKILL."""
    signal_all(groups, mark, signal.SIGTERM)
    for _ in range(max(1, round(grace / LOOK))):
        if not any(map(alive, groups)) and not list(marked(mark)):
            return
        select.select([], [], [], LOOK)
    signal_all(groups, mark, signal.SIGKILL)


def signal_all(groups: set[int], mark: str, number: int) -> None:
    """Signal the groups and whoever carries the mark."""
    for group in groups:
        with contextlib.suppress(OSError):
            os.killpg(group, number)
    for pid in marked(mark):
        with contextlib.suppress(OSError):
            os.kill(pid, number)


def alive(group: int) -> bool:
    """Whether a process group has a process left."""
    try:
        os.killpg(group, 0)
    except OSError:
        return False
    return True


def marked(mark: str) -> Iterator[int]:
    """Processes that carry a worker's mark, where ``/proc`` tells."""
    wanted = f"{MARK}={mark}".encode()
    return (pid for pid, variables in environments() if wanted in variables)


def environments() -> Iterator[tuple[int, list[bytes]]]:
    """The other processes that may be looked at, with what they were started with, ``NAME=value`` each."""
    try:
        entries = os.listdir("/proc")
    except OSError:
        return
    for entry in entries:
        if not entry.isdecimal() or int(entry) == os.getpid():
            continue
        try:
            with open(f"/proc/{entry}/environ", "rb") as stream:
                yield int(entry), stream.read().split(b"\0")
        except OSError:
            continue


if __name__ == "__main__":
    watch(0, sys.argv[1], float(sys.argv[2]))
