"""The logs of a run as files: which there are, and whose they are."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import unquote

from ..logs import log_file
from ..rows import RunRow


@dataclass(frozen=True, kw_only=True)
class LogFile:
    """What one attempt wrote."""

    step: str
    attempt: int
    file: Path
    #: Nanoseconds since the epoch; for the order only.
    changed: int


def logs_of(home: Path, run: RunRow, step: str | None = None) -> list[LogFile]:
    """The logs of a run, or of a step and those below it, the one written last at the end."""
    folder = log_file(home, run.id, run.execution, "", 0).parent
    if not folder.is_dir():
        return []
    found = [one for one in map(read_name, folder.glob("*.log")) if one is not None]
    if step is not None:
        # A name too long for a file is cut there: it can be known, but not read.
        own = unquote(log_file(home, run.id, run.execution, step, 0).name.removesuffix(".0.log"))
        heads = (f"{step}/", f"{step}[", f"{step}@")
        found = [
            replace(one, step=step) if one.step == own else one
            for one in found
            if one.step in (step, own) or one.step.startswith(heads)
        ]
    return sorted(found, key=lambda one: (one.changed, one.step, one.attempt))


def read_name(file: Path) -> LogFile | None:
    """Whose log a file is; None for a file that is none, or is gone."""
    name, _, attempt = file.name.removesuffix(".log").rpartition(".")
    try:
        return LogFile(step=unquote(name), attempt=int(attempt), file=file, changed=file.stat().st_mtime_ns)
    except (ValueError, OSError):
        return None
