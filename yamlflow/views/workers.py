"""Workers, and whether they live."""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass
from typing import Any

from ..clock import boot_id, to_text
from ..engine.leasing import served
from ..outcome import Json
from ..plan import ENGINE_QUEUE
from ..rows import RunRow
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
    #: The queues that it serves, as authors name them or by durable name; None is all.
    queues: tuple[str, ...] | None = None
    #: The kinds that it executes; None is not known.
    kinds: tuple[str, ...] | None = None
    #: The runs (their keys) that it works on, a thousand at most; None is all.
    runs: tuple[int, ...] | None = None

    @property
    def alive(self) -> bool:
        """Whether it may be working, as far as this machine can tell."""
        return self.status == "running"

    def executes(self, kind: str) -> bool:
        """Whether it takes steps of a kind."""
        return self.kinds is None or kind in self.kinds

    def serves(self, queue: str) -> bool:
        """Whether it takes steps of a queue, by its durable name."""
        return queue == ENGINE_QUEUE or served(queue, self.queues)

    def works_on(self, run: RunRow) -> bool:
        """Whether it takes steps of a run: of any, of chosen ones, or of what those have started."""
        return self.runs is None or run.key in self.runs or run.parent_run in self.runs

    def to_json(self) -> dict[str, Json]:
        """The shape that ``--json`` prints."""
        return {
            "name": self.name,
            "host": self.host,
            "pid": self.pid,
            "status": self.status,
            "started_at": to_text(self.started_at),
            "seen_at": to_text(self.seen_at),
            "queues": None if self.queues is None else list(self.queues),
            "kinds": None if self.kinds is None else list(self.kinds),
            "runs": None if self.runs is None else list(self.runs),
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
            queues=listed(row.queues),
            kinds=listed(row.kinds),
            runs=listed(row.runs),
        )
        for row in reader.workers()
    ]


def listed(text: str | None) -> tuple[Any, ...] | None:
    """A column that holds a list."""
    return None if text is None else tuple(json.loads(text))
