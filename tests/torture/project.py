"""The project that is tortured: its folder, its store as it is seen from outside, and the processes that belong to it."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..conftest import ROOT
from ..crash.processes import left_running
from .packages import written


class Broken(AssertionError):
    """A rule does not hold."""


class Project:
    """A folder with packages, plugins and a store."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        written(folder)
        self.store = folder / ".yamlflow" / "yamlflow.db"
        self.marks = folder / "marks.txt"
        self.token = f"torture-{os.getpid()}-{time.monotonic_ns()}"
        self._db: sqlite3.Connection | None = None
        self._said = 0

    @property
    def url(self) -> str:
        """The store's URL."""
        return f"sqlite:///{self.store}"

    def spawn(self, *arguments: str, module: str = "yamlflow", **more: str) -> Process:
        """A process of the project; what it writes goes to a file."""
        self._said += 1
        said = self.folder / "said" / f"{self._said:05}.txt"
        said.parent.mkdir(exist_ok=True)
        own = {name: value for name, value in os.environ.items() if not name.startswith("YAMLFLOW_")}
        # Compiled before: ROOT may be a folder that others work in.
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        environment = {
            **own, "PYTHONPATH": path, "TORTURE_MARKS": str(self.marks), "TORTURE_TOKEN": self.token, **more,
        }  # fmt: skip
        with said.open("wb") as stream:
            process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments], cwd=self.folder, env=environment,
                stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT,
            )  # fmt: skip
        return Process(process, said, watched=more.get("YAMLFLOW_SUPERVISE") != "no" and "worker" in arguments)

    def worker(self, name: str, *, lease: str = "1500ms", slots: int = 4, **more: Any) -> Process:
        """A worker."""
        options = [f"--{key}={value}" for key, value in more.items() if key.islower()]
        environment = {key: value for key, value in more.items() if not key.islower()}
        return self.spawn(
            "worker", "--name", name, "--lease", lease, "--poll", "50ms", "--max-workers", str(slots), *options,
            **environment,
        )  # fmt: skip

    def call(self, *arguments: str, seconds: float = 60, **more: str) -> str:
        """What a command says that must do well."""
        process = self.spawn(*arguments, **more)
        status = process.wait(seconds)
        if status != 0:
            raise Broken(f"yamlflow {' '.join(arguments)} ended with {status}:\n{process.said.read_text()}")
        return process.said.read_text()

    def query(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """Rows of the store; none while there is no store."""
        if self._db is None:
            if not self.store.exists():
                return []
            self._db = sqlite3.connect(f"file:{self.store}?mode=ro", uri=True, timeout=30, isolation_level=None)
        try:
            return self._db.execute(sql, values).fetchall()
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):
                return []
            raise

    def close(self) -> None:
        """Look no more."""
        if self._db is not None:
            self._db.close()
            self._db = None

    def starts(self) -> Counter[str]:
        """How often the work of each step began, by path."""
        lines = self.marks.read_text().splitlines() if self.marks.exists() else []
        return Counter(line.split(" ", 3)[3] for line in lines if line.startswith("start "))

    def left_running(self) -> list[str]:
        """Processes that carry the project's token: its workers, clients, guards' charges."""
        return left_running(f"TORTURE_TOKEN={self.token}")

    def wait_until(self, holds: Callable[[], Any], what: str, seconds: float = 60) -> None:
        """Look until something holds."""
        deadline = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > deadline:
                raise Broken(f"it did not come to be within {seconds:g} s: {what}")
            time.sleep(0.02)


class Process:
    """One process, and what it says. A worker that is watched works in a child of it, and is started again there."""

    def __init__(self, process: subprocess.Popen[bytes], said: Path, *, watched: bool) -> None:
        self.process = process
        self.said = said
        self.watched = watched
        self._frozen: int | None = None
        #: The last one of its workers that was killed alone; it may take a moment to go.
        self._killed: int | None = None

    @property
    def pid(self) -> int:
        """Its number."""
        return self.process.pid

    @property
    def status(self) -> int | None:
        """The exit status; None while it lives."""
        return self.process.poll()

    @property
    def at_work(self) -> int | None:
        """The process that works; None while it is just being started."""
        if not self.watched:
            return self.pid
        return next((pid for pid in children(self.pid) if b"yamlflow" in command(pid)), None)

    def send(self, number: signal.Signals) -> None:
        """Signal it."""
        self.process.send_signal(number)

    def kill(self) -> None:
        """``kill -9``, and it is gone; one that it watches goes with it."""
        watched = self.at_work
        self.process.kill()
        self.process.wait()
        # One that was frozen before it had asked to die with its watcher does so when it goes on.
        self.thaw()
        while watched is not None and state(watched) not in "ZX":
            time.sleep(0.001)

    def kill_at_work(self) -> bool:
        """``kill -9`` of the process that works: one that is watched is started again. False when there is none."""
        pid = self.at_work
        if pid is None or pid == self._killed or not sent(pid, signal.SIGKILL):
            return False
        self._killed = pid
        return True

    def freeze(self) -> bool:
        """SIGSTOP to the process that works, and it stands still. False when there is none."""
        pid = self.at_work
        if pid is None or pid == self._killed or not sent(pid, signal.SIGSTOP):
            return False
        while (now := state(pid)) not in "TZX":
            time.sleep(0.0005)
        self._frozen = pid if now == "T" else None
        return now == "T"

    def thaw(self) -> None:
        """SIGCONT, if it is frozen."""
        if self._frozen is not None:
            sent(self._frozen, signal.SIGCONT)
            self._frozen = None

    def wait(self, seconds: float) -> int:
        """Its exit status; ``Broken`` when it does not end."""
        try:
            return self.process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise Broken(f"{self.process.args} did not end within {seconds:g} s:\n{self.tail()}") from None

    def tail(self, size: int = 4000) -> str:
        """The end of what it said."""
        return self.said.read_text(errors="replace")[-size:]

    def guard(self) -> int | None:
        """The process that guards a worker's children."""
        return next((pid for pid in children(self.at_work or 0) if b"guard.py" in command(pid)), None)


def sent(pid: int, number: signal.Signals) -> bool:
    """Signal a process; False when it is gone."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def state(pid: int) -> str:
    """R, S, D, T, Z…; Z also for one that is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


def children(pid: int) -> list[int]:
    """The processes that a process, any thread of it, has started."""
    try:
        return [int(word) for each in Path(f"/proc/{pid}/task").glob("*/children") for word in each.read_text().split()]
    except OSError:
        return []


def command(pid: int) -> bytes:
    """A process's command line."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
