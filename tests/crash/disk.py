"""The disk of ``disk.c`` for a process that was started with it: counting, failing and writing down calls on one store.

A library that is preloaded, not a tracer: a fault costs a fork instead of a start of Python under ``ptrace``, a write can
be cut short before the process dies, and what is written is written down in the order in which it is acknowledged.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
import tempfile
from enum import IntEnum, IntFlag
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_name("disk.c")


class Calls(IntFlag):
    """What a process asks of a disk; see ``disk.c``."""

    READ = 1
    WRITE = 2
    SYNC = 4
    LOCK = 8
    TRUNCATE = 16
    UNLINK = 32
    OPEN = 64
    #: Never made to fail: a kernel does not refuse one.
    UNLOCK = 128
    #: What may fail.
    CHANGES = WRITE | SYNC | LOCK | TRUNCATE | UNLINK | OPEN


class Fault(IntEnum):
    """What becomes of a call."""

    NONE = 0
    #: ``kill -9`` before it.
    KILL = 1
    #: Of a write, half of it and then ``kill -9``.
    TEAR = 2
    #: The call fails, with nothing done.
    ERROR = 3
    #: Of a read or write only half is done, and said so.
    SHORT = 4


#: Higher than any number of calls.
ALWAYS = 1 << 60


def needs_compiler() -> None:
    """Skip a test where no compiler is; in CI it fails."""
    if shutil.which("cc") is None:
        words = "no C compiler (cc) to build the failing disk with"
        pytest.fail(words) if os.environ.get("CI") == "true" else pytest.skip(words)


def library(folder: Path) -> Path:
    """Build the disk into a folder."""
    built = folder / "disk.so"
    if not built.exists():
        command = ["cc", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o", built, SOURCE, "-ldl"]
        subprocess.run(command, check=True)
    return built


def with_disk(arguments: list[str]) -> None:
    """Begin this program anew with the disk preloaded, unless it is."""
    if os.environ.get("YAMLFLOW_FAILING_DISK"):
        return
    folder = Path(tempfile.mkdtemp(prefix="yamlflow-disk-"))
    environment = {**os.environ, "LD_PRELOAD": str(library(folder)), "YAMLFLOW_FAILING_DISK": str(folder)}
    code = subprocess.run([sys.executable, "-m", *arguments], env=environment).returncode
    shutil.rmtree(folder)
    sys.exit(code)


class Disk:
    """The preloaded disk of this process."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(None)
        self._library.disk_count.restype = ctypes.c_long

    def arm(
        self, path: Path, calls: Calls, fault: Fault = Fault.NONE, *, number: int = 0, first: int = 0, last: int = 0,
        odds: float = 0.0, seed: int = 0,
    ) -> None:  # fmt: skip
        """From now on the calls on a store from the ``first`` up to the ``last``, or each with some odds, suffer a fault."""
        self._library.disk_arm(
            os.fsencode(path), int(calls), int(fault), number, ctypes.c_long(first), ctypes.c_long(last),
            ctypes.c_double(odds), seed,
        )  # fmt: skip

    @property
    def count(self) -> int:
        """How many such calls there were."""
        return int(self._library.disk_count())

    def record(self, handle: int) -> None:
        """Write every change down to a file descriptor."""
        self._library.disk_record(handle)

    def mark(self, text: str) -> None:
        """A mark among the changes."""
        self._library.disk_mark(text.encode())
