"""Running the real command line in processes of its own, and looking at what it leaves behind."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

#: A plugin whose steps leave a mark outside the store when they start and when they are done.
WITNESS = """
import os, time
from yamlflow import StepContext, executor

@executor("witness")
def witness(step: StepContext, seconds: float = 0.01) -> str:
    mark(step, "start")
    time.sleep(seconds)
    mark(step, "end")
    return f"{step.step.path} attempt {step.attempt} epoch {step.lease.epoch}"

def mark(step, word):
    handle = os.open(os.environ["WITNESS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(handle, f"{word} {step.step.path}\\n".encode())
    os.close(handle)
"""


class Project:
    """A folder with a package, the witness plugin and a store."""

    def __init__(self, folder: Path, package: dict[str, Any] | str) -> None:
        self.folder = folder
        (folder / "plugins").mkdir(parents=True, exist_ok=True)
        (folder / "plugins" / "witness.py").write_text(WITNESS)
        self.package = folder / "package.yaml"
        self.package.write_text(package if isinstance(package, str) else json.dumps(package))
        self.witness = folder / "witness.txt"
        self.store = folder / ".yamlflow" / "yamlflow.db"
        #: More of the environment of what is started.
        self.environment: dict[str, str] = {}
        self.token = f"token-{os.getpid()}-{time.monotonic_ns()}"

    def spawn(
        self, *arguments: str, new_group: bool = False, program: Sequence[str] = ("-m", "yamlflow")
    ) -> subprocess.Popen[str]:
        environment = {**os.environ, "WITNESS": str(self.witness), "CRASH_TOKEN": self.token, **self.environment}
        return subprocess.Popen(
            [sys.executable, *program, *arguments], cwd=self.folder, env=environment, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            start_new_session=new_group,
        )  # fmt: skip

    def call(self, *arguments: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        process = self.spawn(*arguments)
        try:
            output, _ = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            output, _ = process.communicate()
            raise AssertionError(f"{arguments} did not end:\n{output}") from None
        return subprocess.CompletedProcess(process.args, process.returncode, output)

    def query(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        if not self.store.exists():
            return []
        connection = sqlite3.connect(self.store, timeout=30)
        try:
            return connection.execute(sql, values).fetchall()
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):
                return []
            raise
        finally:
            connection.close()

    def succeeded(self) -> dict[str, str]:
        """Result by path of every step that has succeeded."""
        return dict(self.query("select path, result from steps where status = 'succeeded'"))

    def starts(self) -> dict[str, int]:
        """How often each step's work began."""
        counts: dict[str, int] = {}
        for line in self.witness.read_text().splitlines() if self.witness.exists() else []:
            word, _, path = line.partition(" ")
            if word == "start":
                counts[path] = counts.get(path, 0) + 1
        return counts

    def left_running(self) -> list[str]:
        """Processes of this project that are still there (``CRASH_TOKEN`` in their environment)."""
        return left_running(f"CRASH_TOKEN={self.token}")

    def wait_until(self, what: Any, seconds: float = 30, pause: float = 0.02) -> None:
        """Look until something holds."""
        deadline = time.monotonic() + seconds
        while not what():
            assert time.monotonic() < deadline, "it did not come to be"
            time.sleep(pause)


def left_running(mark: str) -> list[str]:
    """The command lines of other processes that have ``NAME=value`` in their environment."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            if mark.encode() in (entry / "environ").read_bytes().split(b"\0"):
                found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return found
