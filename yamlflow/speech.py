"""What executors print: within a step it belongs to that step's log, masked and bounded as all of it.

Nothing is installed but by ``heard``, which the command line holds while it works: a process that embeds yamlflow keeps
its streams as they are. Meanwhile stdout is kept free for results: what is written to it past Python's own streams (by
C code, by a child that inherited it) or outside a step goes to stderr.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from typing import Any, Literal, TextIO

from .ports import LogSink

#: The log of the step that runs here, in this thread or task; None outside steps.
LOG: ContextVar[LogSink | None] = ContextVar("yamlflow_log", default=None)
STDOUT, STDERR = 1, 2


class Speech:
    """A text stream that is the step's log within a step, and another stream elsewhere."""

    def __init__(self, beneath: TextIO, name: Literal["stdout", "stderr"]) -> None:
        self._beneath = beneath
        self._name = name
        # A step's own threads write to one log.
        self._lock = threading.RLock()

    def write(self, text: str) -> int:
        """Add text; a log whose disk is full takes nothing and the step goes on without it."""
        log = LOG.get()
        if log is None:
            return self._beneath.write(text)
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        with self._lock, contextlib.suppress(OSError):
            log.write(text, self._name)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Add several texts."""
        for line in lines:
            self.write(line)

    def isatty(self) -> bool:
        """A log is no terminal."""
        return LOG.get() is None and self._beneath.isatty()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._beneath, name)


@contextlib.contextmanager
def heard() -> Iterator[None]:
    """While it holds, what steps print goes to their logs, and nothing of this process reaches its stdout."""
    before = sys.stdout, sys.stderr
    with _stdout_aside():
        sys.stdout, sys.stderr = Speech(before[0], "stdout"), Speech(before[1], "stderr")
        try:
            yield
        finally:
            sys.stdout, sys.stderr = before


@contextlib.contextmanager
def _stdout_aside() -> Iterator[None]:
    """File descriptor 1 as another name of 2; nothing happens where either is closed."""
    _flush()
    try:
        kept = os.dup(STDOUT)
    except OSError:
        yield
        return
    try:
        with contextlib.suppress(OSError):
            os.dup2(STDERR, STDOUT)
        yield
    finally:
        _flush()
        os.dup2(kept, STDOUT)
        os.close(kept)


def _flush() -> None:
    """Let what Python still holds go where it was meant to."""
    for stream in (sys.stdout, sys.__stdout__):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()  # type: ignore[union-attr]
