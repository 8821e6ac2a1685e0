"""What a store must be able to do: three protocols, each small, each held to by ``store.conformance``.

A store knows rows, not rules. All writing happens in a transaction; whatever one transaction wrote is durable together
or not at all. Between its first read and its commit no other transaction changes a run that it reads.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from ..outcome import Record
from ..rows import (
    ArtifactRow,
    CacheRow,
    Counts,
    EventRow,
    HeldLock,
    PackageRow,
    QueueRow,
    RetentionRow,
    RunRow,
    ScheduleRow,
    SignalRow,
    StepRow,
    WorkerRow,
)


@dataclass(frozen=True, kw_only=True)
class Edge:
    """A need between emitted steps, by number: ``target`` needs ``source`` to end in one of ``ends``."""

    source: int
    target: int
    ends: frozenset[str]


@dataclass(frozen=True, kw_only=True)
class RunFilter:
    """Which runs a listing shows, newest first."""

    package: str | None = None
    #: Any of these; every status when empty.
    status: tuple[str, ...] = ()
    #: The runs of this id only.
    id: str | None = None
    #: Runs whose id begins so.
    prefix: str | None = None
    #: Runs whose id or name holds this text, in capitals or not.
    text: str | None = None
    #: Children of the runs of this id.
    parent: str | None = None
    #: Runs that were stored, and that ended, not before the first moment and before the second.
    created: tuple[int | None, int | None] = (None, None)
    ended: tuple[int | None, int | None] = (None, None)
    #: Metadata a run must carry.
    metadata: tuple[tuple[str, str], ...] = ()
    #: Runs that have not ended.
    live: bool = False
    #: Runs that no step of another run started.
    top: bool = False
    #: Only runs with a smaller key: the last one of the page before.
    before: int | None = None
    limit: int = 50


class RunTransaction(Protocol):
    """Reading and writing the rows of runs, within one transaction."""

    def run(self, key: int) -> RunRow | None:
        """A run by its key, locked until the end of the transaction."""

    def find_run(self, id: str, execution: int | None = None) -> RunRow | None:
        """A run by id, its newest execution when none is named; locked likewise."""

    def insert_run(self, row: RunRow) -> RunRow:
        """Keep a new run; its ``key`` is chosen by the store. ``RunExists`` when (id, execution) is taken."""

    def update_run(self, row: RunRow) -> None:
        """Write a run's status, counts and times."""

    def steps(self, ids: Collection[int]) -> list[StepRow]:
        """Steps by number, in any order; what is not there is left out."""

    def steps_at(self, run: int, paths: Collection[str]) -> list[StepRow]:
        """Steps of a run by path, in any order; what is not there is left out."""

    def below(self, run: int, path: str, *, live: bool = False) -> list[StepRow]:
        """The step at a path and all steps under it, parents first; with ``live`` only those that have not ended."""

    def insert_steps(self, rows: Sequence[StepRow], edges: Sequence[Edge] = ()) -> None:
        """Keep new steps, numbered by ``reserve``, and the needs between emitted ones."""

    def update_steps(self, rows: Iterable[StepRow]) -> None:
        """Write all that may change of the steps."""

    def delete_steps(self, ids: Collection[int]) -> None:
        """Forget steps (handlers that are to run anew) with their artifacts and edges."""

    def edges(self, source: int) -> list[Edge]:
        """Who needs an emitted step."""

    def reserve(self, count: int) -> int:
        """The first of ``count`` consecutive step numbers that nobody else gets."""


class LeaseTransaction(Protocol):
    """Queues, leases and timers, within one transaction."""

    def offered(self) -> list[str]:
        """The queues that hold a step which could start now."""

    def queue(self, name: str) -> QueueRow | None:
        """A queue's durable state, locked until the end of the transaction; None when it has no limits."""

    def put_queue(self, row: QueueRow) -> None:
        """Keep a queue's policy and state."""

    def in_flight(self, queue: str) -> int:
        """How many steps of a queue are leased."""

    def claim(
        self, queue: str, *, limit: int, worker: str, until: int, now: int, kinds: Collection[str] | None = None,
        runs: Collection[int] | None = None,
    ) -> list[StepRow]:  # fmt: skip
        """Lease up to ``limit`` steps, highest priority and earliest turn first; their epoch is raised."""

    def next_parked(self, parent: int, limit: int) -> list[StepRow]:
        """The first children of a group that wait for a place (``slot``)."""

    def renew(self, worker: str, until: int) -> list[StepRow]:
        """Prolong all leases of a worker; the rows it holds, so that it learns what it lost or must cancel."""

    def leased(self, *, expired_at: int | None = None, workers: Collection[str] | None = None) -> list[StepRow]:
        """Leases that ran out by ``expired_at`` (steady clock), or those of the named workers."""

    def due(self, now: int, limit: int) -> list[StepRow]:
        """Steps parked on a timer whose time has come, earliest first."""

    def lowest_rank(self, queue: str, priority: int) -> int:
        """The turn of the next step of a priority in a queue; 0 when there is none."""

    def hold(self, run: int, *, paused: bool) -> None:
        """Withhold the ready steps of a run from workers, or offer them again."""

    def put_worker(self, row: WorkerRow) -> None:
        """Keep what a worker says of itself."""

    def watched(self) -> list[WorkerRow]:
        """The workers that have not said that they stopped, or hold a lease; few, however many there ever were."""

    def forget_workers(self, seen_before: int) -> None:
        """Drop workers that are not running and were last seen before a time."""


class LockTransaction(Protocol):
    """Who holds a lock and who waits for one, within one transaction."""

    def take_locks(self, names: Sequence[str], *, run: int, step: int, now: int) -> list[str]:
        """Take all of some locks for a step; those that are held already, and then none is taken."""

    def free_locks(self, step: int) -> list[str]:
        """Give back all locks of a step; their names."""

    def await_locks(self, step: int, names: Collection[str], *, priority: int) -> None:
        """Remember that a step waits for each of some locks."""

    def forget_waits(self, step: int) -> None:
        """A step waits for no lock any more."""

    def lock_waiters(self, name: str, limit: int) -> list[int]:
        """The first steps that wait for a lock: highest priority, then oldest."""

    def free_names(self) -> list[str]:
        """The names that steps wait for although nobody holds them."""


class CacheTransaction(Protocol):
    """Results that are kept for later runs, within one transaction."""

    def kept(self, package: str, step: str, key: str) -> CacheRow | None:
        """The result that is kept for a step (a path without keys) under a key, also when it has expired."""

    def keep(self, row: CacheRow) -> None:
        """Keep a result; one that was kept under the same key goes."""

    def forget_kept(self, *, package: str | None = None, step: str | None = None, key: str | None = None) -> int:
        """Forget kept results, all of them or those named; how many."""

    def drop_expired(self, now: int, limit: int) -> int:
        """Forget up to ``limit`` kept results that have expired; how many."""


class LogTransaction(Protocol):
    """What is written along with a change of status, within the same transaction."""

    def last_event(self, run: int) -> int:
        """The number of a run's last event; 0 when it has none."""

    def append_events(self, rows: Sequence[EventRow]) -> None:
        """Add to the durable log."""

    def put_package(self, row: PackageRow) -> None:
        """Keep a package text once."""

    def put_artifacts(self, rows: Sequence[ArtifactRow]) -> None:
        """Keep what is known of artifacts; the same name again replaces."""

    def put_records(self, projection: str, records: Sequence[Record]) -> None:
        """Keep records for a projection, in order."""

    def same_key(self, run: int, dedup_key: str) -> list[StepRow]:
        """The steps of a run that have this ``dedup_key``, first made first."""


class CalendarTransaction(Protocol):
    """Time, schedules, retention and removal, within one transaction."""

    def schedules_of(self, package: str) -> list[ScheduleRow]:
        """The entries of a package's schedule that are known, in order."""

    def put_schedule(self, row: ScheduleRow) -> None:
        """Keep an entry; the same (package, entry) again replaces."""

    def drop_schedules(self, package: str, entries: int) -> None:
        """Forget the entries of a package from number ``entries`` on."""

    def retention(self, package: str) -> RetentionRow | None:
        """How long a package's runs are kept; None is for ever."""

    def put_retention(self, row: RetentionRow) -> None:
        """Keep it; one that says nothing is forgotten."""

    def offset(self, boot: str) -> int | None:
        """How far wall time was ahead of steady time in this boot of the machine; None when nobody has said."""

    def put_offset(self, boot: str, offset: int) -> None:
        """Say it; what was said of other boots is forgotten."""

    def move_times(self, by: int) -> None:
        """Wall time was set by so many milliseconds: so far do the ends of all that waits move, moments of the day excepted."""

    def is_leaving(self, run: int) -> bool:
        """Whether a run is being removed."""

    def mark_leaving(self, run: int, at: int) -> None:
        """Say that a run is being removed, and from when on its removal may be taken up by anybody."""

    def remove_run(self, key: int, *, limit: int | None = None) -> bool:
        """Forget a run and all that is its own, in every table; the run itself goes last.

        With ``limit`` at most so many rows of a table. Whether all of it is gone.
        """


class MessageTransaction(Protocol):
    """Signals, those that wait for something, and what binds runs to one another, within one transaction."""

    def put_signal(self, row: SignalRow) -> SignalRow | None:
        """Keep a signal; its ``seq`` is chosen by the store. None when the run's id has had one of the same key."""

    def has_signal(self, run_id: str, key: str) -> bool:
        """Whether any execution of a run has had a signal of that key."""

    def read_signal(self, run: int, name: str, step: int) -> SignalRow | None:
        """The first unread signal of a name, from now on read by a step; None when there is none."""

    def move_signals(self, run: int, successor: int) -> int:
        """Hand the unread signals of a run on to its successor, in order; how many."""

    def awaiting(self, run: int, awaits: str) -> StepRow | None:
        """The step of a run that has waited longest for something."""

    def children(self, run: int) -> list[RunRow]:
        """The child runs that have not ended and end with a run."""

    def adopt_children(self, run: int, successor: int) -> None:
        """Let the child runs of a run end with its successor."""

    def in_slot(self, slot: str, status: str, limit: int) -> list[RunRow]:
        """The first started of the runs of a slot that are ``pending`` or ``running``."""


class Transaction(
    RunTransaction,
    LeaseTransaction,
    LockTransaction,
    CacheTransaction,
    LogTransaction,
    MessageTransaction,
    CalendarTransaction,
    Protocol,
):
    """All of them: what ``Store.transaction`` lends."""


class Reader(Protocol):
    """The read side: consistent row by row, without a transaction of the caller's."""

    def find_run(self, id: str, execution: int | None = None) -> RunRow | None:
        """A run by id; its newest execution when none is named."""

    def run_at(self, key: int) -> RunRow | None:
        """A run by key."""

    def runs(self, wanted: RunFilter) -> list[RunRow]:
        """Runs, newest first."""

    def steps_at(self, run: int, paths: Collection[str]) -> list[StepRow]:
        """Steps of a run by path."""

    def step(self, id: int) -> StepRow | None:
        """A step by number."""

    def signals(self, run: int, *, unread: bool = False, limit: int = 1000) -> list[SignalRow]:
        """A run's signals in the order in which they came; with ``unread`` only those that nobody has read."""

    def waiters(self, run: int, awaits: str, *, limit: int = 1000) -> list[StepRow]:
        """The steps of a run that await this (``approval``, ``signal:NAME``), the longest first."""

    def child_runs(self, run: int, *, limit: int = 1000) -> list[RunRow]:
        """The runs that steps of a run have started, ended ones included, in order."""

    def in_slot(self, slot: str, *, limit: int = 1000) -> list[RunRow]:
        """The runs of a slot that have not ended: first those that run, then those that wait, in order; so many of each."""

    def tree(self, run: int, path: str = "", *, depth: int | None = None) -> list[StepRow]:
        """The steps at and under a path, parents first, siblings in order."""

    def children(
        self, run: int, path: str, parent: int, *, statuses: Collection[str] | None = None, limit: int | None = None
    ) -> list[StepRow]:
        """The children of a step, in order; with ``limit`` only the first, with ``statuses`` only those that have one."""

    def events(self, run: int, *, after: int = 0, limit: int = 1000, step: str | None = None) -> list[EventRow]:
        """A run's log after an event number, or a step's part of it."""

    def artifacts(self, run: int, step: int | None = None) -> list[ArtifactRow]:
        """A run's artifacts, or a step's."""

    def package(self, digest: str) -> PackageRow | None:
        """A package text by digest."""

    def newest_package(self, name: str) -> PackageRow | None:
        """The text of a package that was kept last."""

    def queues(self) -> list[tuple[QueueRow, int, int]]:
        """Each queue that has a policy or calls, with how many calls could start (``ready``) and how many are leased.

        Costs what is live, never what is finished.
        """

    def locks(self, names: Collection[str] | None = None) -> list[HeldLock]:
        """Who holds some locks, or any, by name."""

    def cached(
        self, *, package: str | None = None, step: str | None = None, key: str | None = None, limit: int = 1000
    ) -> list[CacheRow]:
        """Kept results, newest first; those that expired and were not dropped yet included."""

    def workers(self) -> list[WorkerRow]:
        """Every worker that was ever seen and not forgotten."""


class CalendarReader(Protocol):
    """The read side of schedules, retention and removal, and the counts over all."""

    def schedules(self) -> list[ScheduleRow]:
        """Every entry of every schedule, by package."""

    def retentions(self) -> list[RetentionRow]:
        """The packages whose runs are not kept for ever."""

    def ended_runs(self, package: str, statuses: Collection[str], *, upto: int, limit: int) -> list[int]:
        """Runs (their keys) of a package that ended in one of some statuses by a moment, first ended first for each
        status, and that are not being removed. Costs what it gives, however many runs there are.
        """

    def leaving(self, now: int, limit: int) -> list[int]:
        """Runs (their keys) that are being removed and may be taken up by a moment."""

    def packages_with_runs(self) -> list[str]:
        """The names of the packages that have runs."""

    def counts(self) -> Counts:
        """How much there is."""


class Store(Reader, CalendarReader, Protocol):
    """A place for runs."""

    #: How people name it: ``sqlite:///.yamlflow/yamlflow.db``.
    url: str

    def transaction(self) -> AbstractContextManager[Transaction]:
        """One transaction; committed when its block ends, rolled back when the block raises. It does not nest."""

    def next_timer(self) -> int | None:
        """When the next parked step is due; None when none is."""

    def version(self) -> int:
        """A number that changes when anybody has committed; cheap enough to ask many times a second."""

    def still_there(self) -> None:
        """Raise ``StoreGone`` when what was opened is no longer what others would open."""

    def close(self) -> None:
        """Give back what the store holds; a connection that was lent stays open."""
