"""How much goes on in a store, counted at one moment."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from .clock import boot_id
from .outcome import Json
from .plan import ENGINE_QUEUE
from .scheduler import is_dead
from .store.base import Store


@dataclass(frozen=True, kw_only=True)
class QueueCounts:
    """The calls of one queue."""

    #: They could start now, but for the queue's limits.
    ready: int = 0
    #: They wait for a moment: a retry's delay, a start that is put off.
    delayed: int = 0
    running: int = 0
    #: Their executor waits for something outside; they hold no place.
    waiting: int = 0


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """A store at one moment."""

    #: status -> runs; a status that no run has is left out.
    runs: Mapping[str, int]
    #: Queues that hold a call.
    queues: Mapping[str, QueueCounts]
    #: Calls of all queues and of none that wait for something outside: time, a signal, an answer, a child run.
    waiting: int
    #: Worker processes that live, as far as this machine can tell.
    workers: int
    #: Milliseconds for which the call has waited that became ready first; None when none is ready.
    oldest_ready_age: int | None

    @property
    def active(self) -> int:
        """Runs that have not ended."""
        return self.runs.get("pending", 0) + self.runs.get("running", 0)

    def to_json(self) -> dict[str, Json]:
        """The shape that ``--json`` prints."""
        return {
            "active": self.active,
            "runs": dict(self.runs),
            "queues": {name: asdict(one) for name, one in self.queues.items()},
            "waiting": self.waiting,
            "workers": self.workers,
            "oldest_ready_age_ms": self.oldest_ready_age,
        }


def statistics_of(store: Store, *, now: int) -> Statistics:
    """Count. Live rows are counted by their own indexes, ended runs by one that holds nothing else."""
    counts = store.counts()
    queues: dict[str, dict[str, int]] = {}
    for (queue, word), count in sorted(counts.steps.items()):
        queues.setdefault(queue, {})[word] = count
    host, boot = socket.gethostname(), boot_id()
    return Statistics(
        runs=counts.runs,
        queues={name: QueueCounts(**words) for name, words in queues.items() if name != ENGINE_QUEUE},
        waiting=sum(words.get("waiting", 0) for words in queues.values()),
        workers=sum(not is_dead(row, host=host, boot=boot) for row in store.workers()),
        oldest_ready_age=None if counts.oldest_ready is None else max(0, now - counts.oldest_ready),
    )
