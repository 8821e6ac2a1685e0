"""The SQLite store: one file, nothing to install. Statements stand here whole; rules stand in ``lifecycle``.

One connection serves a whole process; a lock lets its threads take turns. Every transaction begins IMMEDIATE: one that
began by reading and went on to write would fail when another process wrote in between.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ..errors import NotAllowed, RunExists, StoreGone
from ..outcome import Record
from ..rows import (
    ArtifactRow,
    CacheRow,
    EventRow,
    HeldLock,
    PackageRow,
    QueueRow,
    RunRow,
    SignalRow,
    StepRow,
    WorkerRow,
)
from .base import Edge, RunFilter
from .connection import connect, path_of, patiently, prepare, refuse_newer
from .sqlite_cache import SqliteCache, all_kept
from .sqlite_calendar import CalendarReader, CalendarTransaction
from .sqlite_locks import SqliteLocks, held_locks
from .sqlite_messages import IN_SLOT, SIGNALS, WAITERS, MessageStatements
from .trouble import explained

RUN = ", ".join(RunRow._fields)
STEP = ", ".join(StepRow._fields)
#: What never changes of a step once it is inserted.
FIXED = ("id", "run", "path", "parent", "origin", "definition", "ordinal")
MOVING = tuple(name for name in StepRow._fields if name not in FIXED)

SELECT_RUN = f"select {RUN} from runs where key = ?"
FIND_RUN = f"select {RUN} from runs where id = ? order by execution desc limit 1"
FIND_EXECUTION = f"select {RUN} from runs where id = ? and execution = ?"
INSERT_RUN = f"insert into runs ({RUN}) values ({', '.join('?' * len(RunRow._fields))})"
#: What never changes of a run: an index is rewritten where one of its columns is set, changed or not.
FIXED_RUN = ("key", "id", "execution", "package", "digest", "inputs", "version", "folder", "created_at")
MOVING_RUN = tuple(name for name in RunRow._fields if name not in FIXED_RUN)
UPDATE_RUN = f"update runs set {', '.join(f'{name} = :{name}' for name in MOVING_RUN)} where key = :key"
INSERT_STEP = f"insert into steps ({STEP}) values ({', '.join('?' * len(StepRow._fields))})"
UPDATE_STEP_POSITIONS = [StepRow._fields.index(name) for name in MOVING]
UPDATE_STEP = f"update steps set {', '.join(f'{name} = ?' for name in MOVING)} where id = ?"
#: Walks from one queue name to the next along the index: as many steps as there are queues, not ready steps.
OFFERED = """
with recursive names (queue) as (
    select min(queue) from steps where status = 'ready' and parked is null
    union all
    select (select min(queue) from steps where status = 'ready' and parked is null and queue > names.queue)
    from names where names.queue is not null
)
select queue from names where queue is not null
"""
CLAIM = f"""
update steps
set status = 'running', epoch = epoch + 1, worker = ?, leased_until = ?,
    started_at = case when phase = 'run' then ? else started_at end, attempt = attempt + (phase = 'run')
where id in (
    select id from steps indexed by steps_ready
    where status = 'ready' and parked is null and queue = ? {{kinds}}
    order by priority desc, rank, id limit ?
)
returning {STEP}
"""
NEXT_PARKED = f"select {STEP} from steps where parked = 'slot' and parent = ? order by ordinal, id limit ?"
RENEW = "update steps set leased_until = ? where status = 'running' and worker = ?"
HELD = f"select {STEP} from steps where status = 'running' and worker = ?"
WATCHED = """
select * from workers where status = 'running' or name in (select worker from steps where status = 'running')
"""
EXPIRED = f"select {STEP} from steps where status = 'running' and leased_until <= ?"
DUE = f"select {STEP} from steps where parked = 'timer' and available_at <= ? order by available_at limit ?"
NEXT_TIMER = "select min(available_at) from steps where parked = 'timer'"
LOWEST_RANK = """
select min(rank) from steps where status = 'ready' and parked is null and queue = ? and priority = ?
"""
#: The highest number ever given, also when its row is gone: a late worker must not meet a namesake.
LAST_NUMBER = "select coalesce(max(seq), 0) from sqlite_sequence where name = ?"
IN_FLIGHT = "select count(*) from steps where status = 'running' and queue = ?"
#: A subtree is a range of paths; ``/``, ``[`` and ``@`` are what may follow a step's own path.
BELOW = f"select {STEP} from steps where run = ? and (path = ? or {{range}}) {{live}} order by id"
LIVE = "and status in ('pending', 'ready', 'running', 'waiting')"


class SqliteTransaction(SqliteLocks, SqliteCache, MessageStatements, CalendarTransaction):
    """One transaction on the store's connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection

    # -- runs and steps

    def run(self, key: int) -> RunRow | None:
        row = self._db.execute(SELECT_RUN, (key,)).fetchone()
        return RunRow._make(row) if row else None

    def find_run(self, id: str, execution: int | None = None) -> RunRow | None:
        return find_run(self._db, id, execution)

    def insert_run(self, row: RunRow) -> RunRow:
        if self._db.execute(FIND_EXECUTION, (row.id, row.execution)).fetchone():
            raise RunExists(f'there is a run "{row.id}" already')
        key = self._db.execute(LAST_NUMBER, ("runs",)).fetchone()[0] + 1
        row = row._replace(key=key)
        self._db.execute(INSERT_RUN, row)
        return row

    def update_run(self, row: RunRow) -> None:
        self._db.execute(UPDATE_RUN, row._asdict())

    def steps(self, ids: Collection[int]) -> list[StepRow]:
        return select_in(self._db, f"select {STEP} from steps where id in", (), list(ids))

    def steps_at(self, run: int, paths: Collection[str]) -> list[StepRow]:
        return select_in(self._db, f"select {STEP} from steps where run = ? and path in", (run,), list(paths))

    def below(self, run: int, path: str, *, live: bool = False) -> list[StepRow]:
        return below(self._db, run, path, LIVE if live else "")

    def insert_steps(self, rows: Sequence[StepRow], edges: Sequence[Edge] = ()) -> None:
        self._db.executemany(INSERT_STEP, rows)
        if edges:
            self._db.executemany(
                "insert into edges (source, target, ends) values (?, ?, ?)",
                [(edge.source, edge.target, ",".join(sorted(edge.ends))) for edge in edges],
            )

    def update_steps(self, rows: Iterable[StepRow]) -> None:
        positions = UPDATE_STEP_POSITIONS
        self._db.executemany(UPDATE_STEP, [(*[row[at] for at in positions], row[0]) for row in rows])

    def delete_steps(self, ids: Collection[int]) -> None:
        keys = [(id,) for id in ids]
        self._db.executemany("delete from edges where source = ?", keys)
        self._db.executemany("delete from artifacts where step = ? and run = (select run from steps where id = ?)",
                             [(id, id) for id in ids])  # fmt: skip
        self._db.executemany("delete from steps where id = ?", keys)

    def edges(self, source: int) -> list[Edge]:
        rows = self._db.execute("select target, ends from edges where source = ?", (source,))
        return [Edge(source=source, target=target, ends=frozenset(ends.split(","))) for target, ends in rows]

    def reserve(self, count: int) -> int:
        # Safe as a read: no other transaction writes while this one is open.
        return int(self._db.execute(LAST_NUMBER, ("steps",)).fetchone()[0]) + 1

    # -- queues, leases, timers

    def offered(self) -> list[str]:
        return [row[0] for row in self._db.execute(OFFERED)]

    def queue(self, name: str) -> QueueRow | None:
        row = self._db.execute("select * from queues where name = ?", (name,)).fetchone()
        return QueueRow._make(row) if row else None

    def put_queue(self, row: QueueRow) -> None:
        self._db.execute("insert or replace into queues values (?, ?, ?, ?, ?, ?, ?)", row)

    def in_flight(self, queue: str) -> int:
        return int(self._db.execute(IN_FLIGHT, (queue,)).fetchone()[0])

    def claim(
        self, queue: str, *, limit: int, worker: str, until: int, now: int, kinds: Collection[str] | None = None,
        runs: Collection[int] | None = None,
    ) -> list[StepRow]:  # fmt: skip
        clause = "" if kinds is None else f"and (kind = '' or kind in ({', '.join('?' * len(kinds))}))"
        if runs is not None:
            clause += f" and run in ({', '.join(map(str, map(int, runs)))})"
        parameters = (worker, until, now, queue, *(kinds or ()), limit)
        rows = self._db.execute(CLAIM.format(kinds=clause), parameters).fetchall()
        return sorted((StepRow._make(row) for row in rows), key=lambda row: (-row.priority, row.rank, row.id))

    def next_parked(self, parent: int, limit: int) -> list[StepRow]:
        return [StepRow._make(row) for row in self._db.execute(NEXT_PARKED, (parent, limit))]

    def renew(self, worker: str, until: int) -> list[StepRow]:
        self._db.execute(RENEW, (until, worker))
        return [StepRow._make(row) for row in self._db.execute(HELD, (worker,))]

    def leased(self, *, expired_at: int | None = None, workers: Collection[str] | None = None) -> list[StepRow]:
        if expired_at is not None:
            return [StepRow._make(row) for row in self._db.execute(EXPIRED, (expired_at,))]
        return [StepRow._make(row) for worker in workers or () for row in self._db.execute(HELD, (worker,))]

    def due(self, now: int, limit: int) -> list[StepRow]:
        return [StepRow._make(row) for row in self._db.execute(DUE, (now, limit))]

    def lowest_rank(self, queue: str, priority: int) -> int:
        return self._db.execute(LOWEST_RANK, (queue, priority)).fetchone()[0] or 0

    def hold(self, run: int, *, paused: bool) -> None:
        if paused:
            self._db.execute(
                "update steps set parked = 'paused' where run = ? and status = 'ready' and parked is null and phase = 'run'",
                (run,),
            )
        else:
            self._db.execute("update steps set parked = null where run = ? and parked = 'paused'", (run,))

    def put_worker(self, row: WorkerRow) -> None:
        self._db.execute("insert or replace into workers values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)

    def watched(self) -> list[WorkerRow]:
        return [WorkerRow._make(row) for row in self._db.execute(WATCHED)]

    def forget_workers(self, seen_before: int) -> None:
        self._db.execute("delete from workers where status <> 'running' and seen_at < ?", (seen_before,))

    # -- what goes along

    def last_event(self, run: int) -> int:
        row = self._db.execute("select max(seq) from events where run = ?", (run,)).fetchone()
        return row[0] or 0

    def append_events(self, rows: Sequence[EventRow]) -> None:
        self._db.executemany("insert into events values (?, ?, ?, ?, ?, ?)", rows)

    def put_package(self, row: PackageRow) -> None:
        self._db.execute("insert or ignore into packages values (?, ?, ?, ?, ?, ?)", row)

    def put_artifacts(self, rows: Sequence[ArtifactRow]) -> None:
        self._db.executemany("insert or replace into artifacts values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)

    def put_records(self, projection: str, records: Sequence[Record]) -> None:
        self._db.executemany(
            "insert into records (projection, collection, key, data) values (?, ?, ?, ?)",
            [(projection, record.collection, record.key, json.dumps(dict(record.data))) for record in records],
        )

    def same_key(self, run: int, dedup_key: str) -> list[StepRow]:
        sql = f"select {STEP} from steps where run = ? and dedup_key = ? order by id"
        return [StepRow._make(row) for row in self._db.execute(sql, (run, dedup_key))]


class SqliteStore(CalendarReader):
    """A store in one SQLite file, in memory, or on a connection that somebody lends."""

    def __init__(self, target: str | sqlite3.Connection = "sqlite:///:memory:", *, synchronous: str = "full") -> None:
        self._lent = isinstance(target, sqlite3.Connection)
        self._lock = threading.RLock()
        self._commits = 0
        #: Whether a transaction that failed could not be ended.
        self._stuck = False
        if isinstance(target, sqlite3.Connection):
            self.url, self.path = "sqlite (lent connection)", ""
            self._db = target
            patiently(lambda: prepare(target, url=self.url, synchronous=synchronous))
        else:
            self.path = path_of(target)
            self.url = target if target.startswith("sqlite:") else f"sqlite:///{target}"
            self._db = connect(self.path, url=self.url, synchronous=synchronous)
        #: Device and inode of the file that is open; None where there is none.
        self._place = place_of(self.path) if self.path and self.path != ":memory:" else None

    @contextmanager
    def transaction(self) -> Iterator[SqliteTransaction]:
        with self._lock, explained(self.url):
            self._begin()
            try:
                refuse_newer(self._db, self.url)
                yield SqliteTransaction(self._db)
                self._db.execute("commit")
            except BaseException:
                self._undo()
                raise
            self._commits += 1

    def _begin(self) -> None:
        if self._stuck:
            if self._db.in_transaction:
                self._db.execute("rollback")
            self._stuck = False
        refuse_within(self._db)
        self._db.execute("begin immediate")

    def _undo(self) -> None:
        """End a transaction that failed. SQLite has ended it itself after most errors, and may fail to after some."""
        if self._db.in_transaction:
            try:
                self._db.execute("rollback")
            except sqlite3.Error:
                # What went wrong before this says more; the next transaction tries again.
                self._stuck = True

    def next_timer(self) -> int | None:
        value = self._one(NEXT_TIMER)[0]
        return None if value is None else int(value)

    def version(self) -> int:
        return int(self._one("pragma data_version")[0]) + (self._commits << 32)

    def still_there(self) -> None:
        if self._place is not None and place_of(self.path) != self._place:
            raise StoreGone(
                f"{self.url}: the file was deleted or replaced while it was in use; nothing more is written to it"
            )

    def close(self) -> None:
        with self._lock:
            if not self._lent:
                self._db.close()

    # -- the read side

    def find_run(self, id: str, execution: int | None = None) -> RunRow | None:
        with self._lock, explained(self.url):
            return find_run(self._db, id, execution)

    def run_at(self, key: int) -> RunRow | None:
        return next((RunRow._make(row) for row in self._all(SELECT_RUN, (key,))), None)

    def runs(self, wanted: RunFilter) -> list[RunRow]:
        clauses, values = where(wanted)
        sql = f"select {RUN} from runs where {' and '.join(clauses)} order by key desc limit ?"
        return [RunRow._make(row) for row in self._all(sql, (*values, wanted.limit))]

    def steps_at(self, run: int, paths: Collection[str]) -> list[StepRow]:
        with self._lock, explained(self.url):
            return select_in(self._db, f"select {STEP} from steps where run = ? and path in", (run,), list(paths))

    def step(self, id: int) -> StepRow | None:
        return next((StepRow._make(row) for row in self._all(f"select {STEP} from steps where id = ?", (id,))), None)

    def signals(self, run: int, *, unread: bool = False, limit: int = 1000) -> list[SignalRow]:
        return [SignalRow._make(row) for row in self._all(SIGNALS, (run, not unread, limit))]

    def waiters(self, run: int, awaits: str, *, limit: int = 1000) -> list[StepRow]:
        return [StepRow._make(row) for row in self._all(WAITERS, (run, awaits, limit))]

    def child_runs(self, run: int, *, limit: int = 1000) -> list[RunRow]:
        sql = f"select {RUN} from runs where parent_run = ? and parent_run is not null order by key limit ?"
        return [RunRow._make(row) for row in self._all(sql, (run, limit))]

    def in_slot(self, slot: str, *, limit: int = 1000) -> list[RunRow]:
        return [RunRow._make(row) for each in ("running", "pending") for row in self._all(IN_SLOT, (slot, each, limit))]

    def tree(self, run: int, path: str = "", *, depth: int | None = None) -> list[StepRow]:
        with self._lock, explained(self.url):
            rows = below(self._db, run, path, "")
        if depth is None:
            return rows
        level = path.count("/") + depth if path else depth - 1
        return [row for row in rows if row.path.count("/") <= level]

    def children(
        self, run: int, path: str, parent: int, *, statuses: Collection[str] | None = None, limit: int | None = None
    ) -> list[StepRow]:
        listed = [str(one) for one in statuses or ()]
        some = "" if statuses is None else f"and status in ({', '.join('?' * len(listed))})"
        with self._lock, explained(self.url):
            rows = below(self._db, run, path, f"and parent = ? {some}", limit, (parent, *listed))
        return sorted(rows, key=lambda row: (row.ordinal, row.id))

    def events(self, run: int, *, after: int = 0, limit: int = 1000, step: str | None = None) -> list[EventRow]:
        if step is not None:
            sql = "select * from events where run = ? and seq > ? and step = ? order by seq limit ?"
            rows = self._all(sql, (run, after, step, limit))
        else:
            rows = self._all("select * from events where run = ? and seq > ? order by seq limit ?", (run, after, limit))
        return [EventRow._make(row) for row in rows]

    def artifacts(self, run: int, step: int | None = None) -> list[ArtifactRow]:
        rows = self._all(
            "select * from artifacts where run = ? and (? is null or step = ?) order by step, name", (run, step, step)
        )
        return [ArtifactRow._make(row) for row in rows]

    def package(self, digest: str) -> PackageRow | None:
        return next(
            (PackageRow._make(row) for row in self._all("select * from packages where digest = ?", (digest,))), None
        )

    def newest_package(self, name: str) -> PackageRow | None:
        sql = "select * from packages where name = ? order by created_at desc, digest limit 1"
        return next((PackageRow._make(row) for row in self._all(sql, (name,))), None)

    def queues(self) -> list[tuple[QueueRow, int, int]]:
        counts = self.calls_by_queue()
        known = {row[0]: QueueRow._make(row) for row in self._all("select * from queues", ())}
        for name, _ in counts:
            known.setdefault(name, QueueRow(name, None, None, 1, 1.0, 0, 0))
        return [
            (known[name], counts.get((name, "ready"), 0), counts.get((name, "running"), 0)) for name in sorted(known)
        ]

    def locks(self, names: Collection[str] | None = None) -> list[HeldLock]:
        with self._lock, explained(self.url):
            return held_locks(self._db, names)

    def cached(
        self, *, package: str | None = None, step: str | None = None, key: str | None = None, limit: int = 1000
    ) -> list[CacheRow]:
        with self._lock, explained(self.url):
            return all_kept(self._db, package, step, key, limit)

    def workers(self) -> list[WorkerRow]:
        return [WorkerRow._make(row) for row in self._all("select * from workers order by started_at", ())]

    def records_after(self, projection: str, seq: int, limit: int) -> list[tuple[int, str, str, str]]:
        """Records of a projection that it has not applied: (seq, collection, key, data)."""
        sql = "select seq, collection, key, data from records where projection = ? and seq > ? order by seq limit ?"
        return self._all(sql, (projection, seq, limit))

    def recorded(self) -> list[str]:
        """The projections for which records are kept that may not have reached them."""
        return [name for (name,) in self._all("select distinct projection from records", ())]

    def forget_records(self, projection: str, upto: int) -> None:
        """Drop records that their projection has durably applied."""
        with self._lock, explained(self.url):
            self._begin()
            try:
                self._db.execute("delete from records where projection = ? and seq <= ?", (projection, upto))
                self._db.execute("commit")
            except BaseException:
                self._undo()
                raise

    def _all(self, sql: str, parameters: Sequence[Any]) -> list[Any]:
        with self._lock, explained(self.url):
            return self._db.execute(sql, parameters).fetchall()

    def _one(self, sql: str) -> Any:
        with self._lock, explained(self.url):
            return self._db.execute(sql).fetchone()


def refuse_within(db: sqlite3.Connection) -> None:
    """A transaction is not begun within another: what is to hold of both would be told wrong. ``NotAllowed``."""
    if db.in_transaction:
        raise NotAllowed("this is within a transaction already; do it before, or after that has ended")


def place_of(path: str) -> tuple[int, int] | None:
    """Device and inode of a file; None when it is not there."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def find_run(db: sqlite3.Connection, id: str, execution: int | None) -> RunRow | None:
    """A run by id, in one execution or its newest."""
    if execution is None:
        row = db.execute(FIND_RUN, (id,)).fetchone()
    else:
        row = db.execute(FIND_EXECUTION, (id, execution)).fetchone()
    return RunRow._make(row) if row else None


def select_in(db: sqlite3.Connection, head: str, before: tuple[Any, ...], values: Sequence[Any]) -> list[StepRow]:
    """Rows whose column is one of many values, a few hundred at a time."""
    rows: list[StepRow] = []
    for start in range(0, len(values), 400):
        part = values[start : start + 400]
        # A few fixed sizes keep the cache of prepared statements small.
        size = next(size for size in (1, 2, 4, 8, 16, 64, 400) if size >= len(part))
        padded = [*part, *[part[-1]] * (size - len(part))]
        cursor = db.execute(f"{head} ({', '.join('?' * size)})", (*before, *padded))
        rows.extend(map(StepRow._make, cursor))
    return rows


def below(
    db: sqlite3.Connection, run: int, path: str, clause: str, limit: int | None = None, values: tuple[Any, ...] = ()
) -> list[StepRow]:
    """The step at a path and those under it for which a clause (with its values) holds, parents first."""
    most = -1 if limit is None else limit
    if not path:
        sql = BELOW.format(range="1", live=clause) + " limit ?"
        return [StepRow._make(row) for row in db.execute(sql, (run, path, *values, most))]
    ranges = " or ".join("(path >= ? and path < ?)" for _ in "/[@")
    bounds = [bound for mark in "/[@" for bound in (path + mark, path + chr(ord(mark) + 1))]
    sql = BELOW.format(range=ranges, live=clause) + " limit ?"
    return [StepRow._make(row) for row in db.execute(sql, (run, path, *bounds, *values, most))]


def where(wanted: RunFilter) -> tuple[list[str], list[Any]]:
    """The clauses and values of a listing."""
    clauses, values = ["1"], []
    for clause, value in clauses_of(wanted):
        if value is not None:
            clauses.append(clause)
            values.append(value)
    if wanted.status:
        clauses.append(f"status in ({', '.join('?' * len(wanted.status))})")
        values.extend(wanted.status)
        if not set(wanted.status) & {"pending", "running"}:
            # Said so that the index over runs that have ended serves.
            clauses.append("ended_at is not null")
    if wanted.live:
        clauses.append("status in ('pending', 'running')")
    if wanted.top:
        clauses.append("parent_run is null")
    for name, value in wanted.metadata:
        clauses.append("exists (select 1 from json_each(metadata) as one where one.key = ? and one.value = ?)")
        values.extend((name, value))
    return clauses, values


def clauses_of(wanted: RunFilter) -> list[tuple[str, Any]]:
    """Clauses of one value each; those without a value do not count."""
    prefix = wanted.prefix or None
    return [
        ("package = ?", wanted.package),
        ("id = ?", wanted.id),
        ("id >= ?", prefix),
        ("id < ?", prefix and prefix + "\U0010ffff"),
        ("instr(lower(id || char(10) || coalesce(name, '')), lower(?))", wanted.text or None),
        ("parent_run in (select key from runs where id = ?)", wanted.parent),
        ("created_at >= ?", wanted.created[0]),
        ("created_at < ?", wanted.created[1]),
        ("ended_at >= ?", wanted.ended[0]),
        ("ended_at < ?", wanted.ended[1]),
        ("key < ?", wanted.before),
    ]
