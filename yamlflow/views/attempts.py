"""The attempts of a step, told by its run's log."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from ..outcome import Json
from ..rows import EventRow
from .runs import text_of

#: What ends an attempt, and what is said of it then.
ENDS: Mapping[str, str] = MappingProxyType(
    {
        "step.succeeded": "succeeded", "step.failed": "failed", "step.canceled": "canceled", "step.retried": "failed",
        "step.lost": "lost", "step.released": "given back",
    }
)  # fmt: skip
#: Events that are read of one step at most.
MOST_EVENTS = 10_000


@dataclass(frozen=True, kw_only=True)
class AttemptView:
    """One lease of a step: who had it, and what came of it."""

    #: From 1; drained and lost leases do not count on.
    attempt: int
    epoch: int
    worker: str
    #: ``running``, or one of ``ENDS``.
    status: str
    started_at: int
    ended_at: int | None = None
    #: ``{code, message}`` where it failed.
    error: Json = None
    #: When the next attempt was to begin.
    next_at: int | None = None
    #: The number of the event that tells of the lease.
    seq: int = 0
    #: ``now``, ``uuid``, ``random`` -> what its expressions drew, as told at its end.
    drawn: Mapping[str, list[Json]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Json]:
        """The shape that ``--json`` prints."""
        return {
            "attempt": self.attempt,
            "epoch": self.epoch,
            "worker": self.worker,
            "status": self.status,
            "started_at": text_of(self.started_at),
            "ended_at": text_of(self.ended_at),
            "error": self.error,
            "next_at": text_of(self.next_at),
        }


def told_by(events: Iterable[EventRow]) -> list[AttemptView]:
    """The leases that a step's events tell of."""
    attempts: list[AttemptView] = []
    for event in events:
        told = json.loads(event.payload) if event.payload else {}
        if event.kind == "step.leased":
            attempts.append(
                AttemptView(
                    attempt=told.get("attempt", 0), epoch=told.get("epoch", 0), worker=told.get("worker", ""),
                    status="running", started_at=event.at, seq=event.seq,
                )
            )  # fmt: skip
        elif event.kind == "step.drawn" and attempts:
            attempts[-1] = replace(attempts[-1], drawn=told)
        elif event.kind == "step.waiting" and attempts and attempts[-1].ended_at is None:
            # It holds no worker any more, but it goes on until what it waits for has come.
            attempts[-1] = replace(attempts[-1], status="waiting")
        elif event.kind in ENDS and attempts and attempts[-1].ended_at is None:
            error = {"code": told["code"], "message": told.get("message")} if "code" in told else None
            attempts[-1] = replace(
                attempts[-1], status=ENDS[event.kind], ended_at=event.at, error=error, next_at=told.get("at")
            )
    return attempts
