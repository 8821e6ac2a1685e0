"""The SQLite store's part for time: schedules, retention, removal, and the counts over all.

Mixins: ``sqlite.SqliteTransaction`` and ``sqlite.SqliteStore`` take them in.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Sequence
from typing import Any

from ..rows import Counts, RetentionRow, ScheduleRow

SCHEDULE = ", ".join(ScheduleRow._fields)
SCHEDULES = f"select {SCHEDULE} from schedules order by package, entry"
SCHEDULES_OF = f"select {SCHEDULE} from schedules where package = ? order by entry"
PUT_SCHEDULE = f"insert or replace into schedules ({SCHEDULE}) values ({', '.join('?' * len(ScheduleRow._fields))})"
ENDED = """
select key from runs
where package = ? and status = ? and ended_at <= ? and key not in (select run from removals)
order by ended_at limit ?
"""
LEAVING = "select run from removals where at <= ? order by at, run limit ?"
#: Walks from one package to the next along the index.
PACKAGES = """
with recursive names (package) as (
    select min(package) from runs
    union all
    select (select min(package) from runs where package > names.package) from names where names.package is not null
)
select package from names where package is not null
"""
RUNS_ENDED = "select status, count(*) from runs where ended_at is not null group by status"
RUNS_LIVE = "select status, count(*) from runs where status in ('pending', 'running') group by status"
#: Calls only: groups and the engine's own work stand in no queue. Each by the partial index over such steps.
CALLS = {
    "ready": """
        select queue, count(*) from steps indexed by steps_ready
        where status = 'ready' and parked is null and queue <> '' group by queue
    """,
    "running": """
        select queue, count(*) from steps indexed by steps_running
        where status = 'running' and queue <> '' group by queue
    """,
    "delayed": """
        select queue, count(*) from steps indexed by steps_timed
        where parked = 'timer' and status = 'ready' and queue <> '' group by queue
    """,
    "waiting": """
        select queue, count(*) from steps indexed by steps_waiting
        where status = 'waiting' and kind <> '' group by queue
    """,
}
OLDEST_READY = """
select min(ready_at) from steps indexed by steps_ready where status = 'ready' and parked is null and queue <> ''
"""
#: What goes with a run, in this order: (what, the rows of a part of it). Steps from the last on, so that the root stays.
STEPS_OF = "select id from steps where run = :run order by id desc limit :limit"
PARTS = (
    f"delete from edges where source in ({STEPS_OF})",
    f"delete from lock_waits where step in ({STEPS_OF})",
    f"delete from locks where step in ({STEPS_OF})",
    "delete from artifacts where run = :run",
    "delete from signals where seq in (select seq from signals where run = :run limit :limit)",
    """delete from events where run = :run
       and seq > (select coalesce(max(seq), 0) - :limit from events where run = :run)""",
    f"delete from steps where id in ({STEPS_OF})",
)
#: What a run has left behind elsewhere. A result that later runs take from the cache stays, without its maker's name.
TRACES = (
    "update runs set parent_run = null, parent = null where parent_run = ?",
    """update cache set run_id = '', execution = 0, path = '' where (run_id, execution) =
       (select id, execution from runs where key = ?)""",
    """update schedules set last_run = null where last_run = (select id from runs where key = ?1)
       and not exists (select 1 from runs as other where other.id = last_run and other.key <> ?1)""",
    "delete from removals where run = ?",
)
DROP_TEXT = """
delete from packages where digest = ? and not exists (select 1 from runs where runs.digest = packages.digest)
"""
#: What a wall clock that was set moves along. A sleep that says what it waits for waits for a moment of the day.
MOVE_TIMES = (
    """update steps set available_at = available_at + ?
       where parked = 'timer' and not (phase = 'sleep' and wait is not null and error is null)""",
    """update steps set started_at = started_at + ?1, ready_at = ready_at + ?1
       where status in ('ready', 'running', 'waiting')""",
    "update queues set refilled_at = refilled_at + ?",
    "update cache set expires_at = expires_at + ? where expires_at is not null",
    "update removals set at = at + ?",
)
#: More rows than any table has.
ALL = 2**62


class CalendarTransaction:
    """See ``base.CalendarTransaction``."""

    _db: sqlite3.Connection

    def schedules_of(self, package: str) -> list[ScheduleRow]:
        return [ScheduleRow._make(row) for row in self._db.execute(SCHEDULES_OF, (package,))]

    def put_schedule(self, row: ScheduleRow) -> None:
        self._db.execute(PUT_SCHEDULE, row)

    def drop_schedules(self, package: str, entries: int) -> None:
        self._db.execute("delete from schedules where package = ? and entry >= ?", (package, entries))

    def retention(self, package: str) -> RetentionRow | None:
        row = self._db.execute("select * from retentions where package = ?", (package,)).fetchone()
        return RetentionRow._make(row) if row else None

    def put_retention(self, row: RetentionRow) -> None:
        if row.finished is None and row.continued is None:
            self._db.execute("delete from retentions where package = ?", (row.package,))
        else:
            self._db.execute("insert or replace into retentions values (?, ?, ?)", row)

    def offset(self, boot: str) -> int | None:
        row = self._db.execute("select ahead from clock where boot = ?", (boot,)).fetchone()
        return None if row is None else int(row[0])

    def put_offset(self, boot: str, offset: int) -> None:
        self._db.execute("delete from clock where boot <> ?", (boot,))
        self._db.execute("insert or replace into clock values (?, ?)", (boot, offset))

    def move_times(self, by: int) -> None:
        for statement in MOVE_TIMES:
            self._db.execute(statement, (by,))

    def is_leaving(self, run: int) -> bool:
        return self._db.execute("select 1 from removals where run = ?", (run,)).fetchone() is not None

    def mark_leaving(self, run: int, at: int) -> None:
        self._db.execute("insert or replace into removals values (?, ?)", (run, at))

    def remove_run(self, key: int, *, limit: int | None = None) -> bool:
        given = {"run": key, "limit": ALL if limit is None else limit}
        for part in PARTS:
            self._db.execute(part, given)
        for table in ("steps", "events", "signals"):
            if self._db.execute(f"select 1 from {table} where run = ? limit 1", (key,)).fetchone():
                return False
        for trace in TRACES:
            self._db.execute(trace, (key,))
        digest = self._db.execute("select digest from runs where key = ?", (key,)).fetchone()
        self._db.execute("delete from runs where key = ?", (key,))
        if digest:
            self._db.execute(DROP_TEXT, digest)
        return True


class CalendarReader:
    """See ``base.CalendarReader``."""

    def _all(self, sql: str, parameters: Sequence[Any]) -> list[Any]:
        raise NotImplementedError

    def schedules(self) -> list[ScheduleRow]:
        return [ScheduleRow._make(row) for row in self._all(SCHEDULES, ())]

    def retentions(self) -> list[RetentionRow]:
        return [RetentionRow._make(row) for row in self._all("select * from retentions order by package", ())]

    def ended_runs(self, package: str, statuses: Collection[str], *, upto: int, limit: int) -> list[int]:
        found: list[int] = []
        for status in statuses:
            found += [key for (key,) in self._all(ENDED, (package, status, upto, limit - len(found)))]
        return found

    def leaving(self, now: int, limit: int) -> list[int]:
        return [key for (key,) in self._all(LEAVING, (now, limit))]

    def packages_with_runs(self) -> list[str]:
        return [name for (name,) in self._all(PACKAGES, ())]

    def counts(self) -> Counts:
        runs = dict([*self._all(RUNS_ENDED, ()), *self._all(RUNS_LIVE, ())])
        return Counts(runs=runs, steps=self.calls_by_queue(), oldest_ready=self._all(OLDEST_READY, ())[0][0])

    def calls_by_queue(self) -> dict[tuple[str, str], int]:
        """See ``Counts.steps``."""
        return {(queue, word): count for word, sql in CALLS.items() for queue, count in self._all(sql, ())}
