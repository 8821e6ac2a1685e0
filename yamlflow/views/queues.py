"""Queues: their limits, what waits in them, and why nothing starts."""

from __future__ import annotations

from dataclasses import dataclass

from ..clock import to_text
from ..outcome import Json
from ..plan import ENGINE_QUEUE
from ..queueing import next_token_at, refill
from ..rows import QueueRow
from ..store.base import Reader


@dataclass(frozen=True, kw_only=True)
class QueueView:
    """A queue at one moment."""

    name: str
    #: Steps that could start, and steps that are leased.
    ready: int
    in_flight: int
    #: None is unbounded.
    max_in_flight: int | None
    #: Starts per second; None is without a bucket.
    rate: float | None
    burst: int
    #: Whole starts that the bucket allows now; None is without a bucket.
    tokens: float | None
    #: When the bucket will hold a token again; None when it does, or there is none.
    token_at: int | None
    paused: bool

    @property
    def full(self) -> bool:
        """Whether as many run as may."""
        return self.max_in_flight is not None and self.in_flight >= self.max_in_flight

    def to_json(self) -> dict[str, Json]:
        """The shape that ``--json`` prints; ``rate`` is per second."""
        return {
            "name": self.name,
            "ready": self.ready,
            "in_flight": self.in_flight,
            "max_in_flight": self.max_in_flight,
            "rate": self.rate,
            "burst": self.burst,
            "tokens": self.tokens,
            "token_at": None if self.token_at is None else to_text(self.token_at),
            "paused": self.paused,
        }


def queues_of(reader: Reader, *, now: int) -> list[QueueView]:
    """Every queue that has a policy or holds a step, by name."""
    return [view(row, ready, running, now) for row, ready, running in reader.queues() if row.name != ENGINE_QUEUE]


def view(row: QueueRow, ready: int, running: int, now: int) -> QueueView:
    """One queue."""
    tokens = token_at = None
    if row.rate is not None:
        at = max(now, row.refilled_at)
        tokens = refill(tokens=row.tokens, burst=row.burst, rate=row.rate, since=row.refilled_at, now=at)
        token_at = next_token_at(tokens=tokens, rate=row.rate, now=at) if tokens < 1 else None
    return QueueView(
        name=row.name,
        ready=ready,
        in_flight=running,
        max_in_flight=row.max_in_flight,
        rate=None if row.rate is None else round(row.rate * 1000, 6),
        burst=row.burst,
        tokens=None if tokens is None else round(tokens, 3),
        token_at=token_at,
        paused=bool(row.paused),
    )
