"""Workers, and whether they live."""

from __future__ import annotations

import socket
from dataclasses import dataclass

from ..clock import boot_id, to_text
from ..outcome import Json
from ..scheduler import is_dead
from ..store.base import Reader


@dataclass(frozen=True, kw_only=True)
class WorkerView:
    """A process that takes, or took, leases."""

    name: str
    host: str
    pid: int
    #: ``running``, ``stopped``, ``dead`` when it went without a word, ``lost`` when others have taken over what it had.
    status: str
    started_at: int
    seen_at: int

    @property
    def alive(self) -> bool:
        """Whether it may be working, as far as this machine can tell."""
        return self.status == "running"

    def to_json(self) -> dict[str, Json]:
        """The shape that ``--json`` prints."""
        return {
            "name": self.name,
            "host": self.host,
            "pid": self.pid,
            "status": self.status,
            "started_at": to_text(self.started_at),
            "seen_at": to_text(self.seen_at),
        }


def workers_of(reader: Reader) -> list[WorkerView]:
    """Every worker that was seen, oldest first."""
    host, boot = socket.gethostname(), boot_id()
    return [
        WorkerView(
            name=row.name,
            host=row.host,
            pid=row.pid,
            status="dead" if row.status == "running" and is_dead(row, host=host, boot=boot) else row.status,
            started_at=row.started_at,
            seen_at=row.seen_at,
        )
        for row in reader.workers()
    ]
