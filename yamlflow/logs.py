"""The log of one attempt as a file: written while the step runs, masked, bounded. No file is made for a silent step.

A step never fails for its log. What the disk does not take is dropped, and a line says so where it would have stood.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import IO

from .artifacts import component
from .ports import Masking, Stream, StreamMask
from .private import make_folder, open_file


def log_file(home: Path, run: str, execution: int, path: str, attempt: int) -> Path:
    """Where the log of an attempt is kept."""
    name = component(path or "(package)", safe="[]@ ,=+")
    return run_folder(home, run, execution) / "logs" / f"{name}.{attempt}.log"


def run_folder(home: Path, run: str, execution: int) -> Path:
    """Where what a run writes is kept: its logs, and what its steps leave in its scratch folder."""
    return home / "runs" / component(run) / str(execution)


class FileLog:
    """Takes an attempt's log; see ``ports.LogSink``."""

    def __init__(self, path: Callable[[], Path], masking: Masking, limit: int) -> None:
        self._path = path
        self._masking = masking
        self._left = limit
        self._limit = limit
        self._file: IO[bytes] | None = None
        #: Bytes that the disk did not take, and what it said, until a note tells of them.
        self._dropped = 0
        self._trouble = ""
        self._streams: dict[Stream, StreamMask] = {}

    def write(self, text: str, stream: Stream = "log") -> None:
        """Add text as it came; what passes the bound is dropped, and a note says so once."""
        if self._left < 0:
            return
        mask = self._streams.get(stream)
        if mask is None:
            mask = self._streams[stream] = self._masking.stream()
        self._append(mask.feed(text))

    def close(self) -> None:
        """Write what was held back."""
        for stream in self._streams.values():
            self._append(stream.flush())
        self._put(b"")
        if self._file is not None:
            self._file.close()
            self._file = None

    def _append(self, text: str) -> None:
        if not text or self._left < 0:
            return
        content = text.encode("utf-8", "replace")
        room, self._left = self._left, self._left - len(content)
        if self._left < 0:
            self._put(content[:room].decode("utf-8", "ignore").encode())
            self._put(f"\n[the log is cut here: it passed {self._limit} bytes]\n".encode())
        else:
            self._put(content)

    def _put(self, content: bytes) -> None:
        """Add to the file, at once: whoever follows the log sees it grow."""
        note = (
            f"\n[{self._dropped} bytes of the log are lost here: {self._trouble}]\n".encode() if self._dropped else b""
        )
        if not note and not content:
            return
        try:
            self._write(note + content)
            self._dropped = 0
        except OSError as trouble:
            self._dropped += len(content)
            self._trouble = trouble.strerror or str(trouble)

    def _write(self, content: bytes) -> None:
        """All of it, or nothing: what was written of it before the disk was full is taken back."""
        if self._file is None:
            path = self._path()
            make_folder(path.parent)
            self._file = os.fdopen(open_file(path, os.O_WRONLY | os.O_APPEND), "ab", buffering=0)
        before = self._file.tell()
        try:
            while content:
                content = content[self._file.write(content) :]
        except OSError:
            self._file.truncate(before)
            raise
