"""A run as one line of a listing."""

from __future__ import annotations

import json
from dataclasses import dataclass

from ..clock import to_text
from ..outcome import Json
from ..rows import RunRow


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """What a listing shows of one execution of a package."""

    id: str
    execution: int
    package: str
    version: str | None
    name: str | None
    #: A run's status, or ``paused`` while it is withheld from workers.
    status: str
    #: Steps there are, and those that have ended.
    steps: int
    done: int
    metadata: Json
    started_by: str | None
    created_at: int
    started_at: int | None
    ended_at: int | None
    #: Milliseconds from its start to its end, or until now.
    duration: int

    def to_json(self) -> dict[str, Json]:
        """The shape that ``--json`` prints."""
        return {
            "id": self.id,
            "execution": self.execution,
            "package": self.package,
            "version": self.version,
            "name": self.name,
            "status": self.status,
            "steps": self.steps,
            "done": self.done,
            "metadata": self.metadata,
            "started_by": self.started_by,
            "created_at": to_text(self.created_at),
            "started_at": text_of(self.started_at),
            "ended_at": text_of(self.ended_at),
            "duration_ms": self.duration,
        }


def summary(row: RunRow, *, now: int) -> RunSummary:
    """A run's line at a moment."""
    return RunSummary(
        id=row.id,
        execution=row.execution,
        package=row.package,
        version=row.version,
        name=row.name,
        status="paused" if row.paused and row.ended_at is None else row.status,
        steps=row.steps,
        done=row.done,
        metadata=json.loads(row.metadata),
        started_by=row.started_by,
        created_at=row.created_at,
        started_at=row.started_at,
        ended_at=row.ended_at,
        duration=max(0, (row.ended_at or now) - (row.started_at or row.created_at)),
    )


def text_of(at: int | None) -> str | None:
    """A time as text, where there is one."""
    return None if at is None else to_text(at)
