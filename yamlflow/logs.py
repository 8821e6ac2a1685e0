"""The log of one attempt as a file: written while the step runs, masked, bounded. No file is made for a silent step."""

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
        self._file: IO[str] | None = None
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
        if self._file is not None:
            self._file.close()
            self._file = None

    def _append(self, text: str) -> None:
        if not text or self._left < 0:
            return
        if self._file is None:
            path = self._path()
            make_folder(path.parent)
            # Line by line on disk, so that whoever follows the log sees it grow.
            fd = open_file(path, os.O_WRONLY | os.O_APPEND)
            self._file = os.fdopen(fd, "a", encoding="utf-8", errors="replace", buffering=1)
        room, self._left = self._left, self._left - len(text.encode("utf-8", "replace"))
        if self._left < 0:
            self._file.write(text.encode("utf-8", "replace")[:room].decode("utf-8", "ignore"))
            self._file.write(f"\n[the log is cut here: it passed {self._limit} bytes]\n")
        else:
            self._file.write(text)
        self._file.flush()
