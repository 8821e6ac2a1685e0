"""Locks in the SQLite store: who holds a name, and who waits for it."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Sequence

from ..rows import HeldLock, LockRow

TAKE_LOCK = "insert into locks (name, run, step, since) values (?, ?, ?, ?)"
AWAIT_LOCK = "insert or replace into lock_waits (name, turn, step) values (?, ?, ?)"
LOCK_WAITERS = "select step from lock_waits where name = ? order by turn, step limit ?"
#: Walks from one name to the next along the key: as many steps as there are names, not steps that wait.
FREE_NAMES = """
with recursive names (name) as (
    select min(name) from lock_waits
    union all
    select (select min(name) from lock_waits where name > names.name) from names where names.name is not null
)
select name from names where name is not null and not exists (select 1 from locks where locks.name = names.name)
"""
HELD_LOCKS = """
select locks.name, runs.id, runs.execution, steps.path, locks.since,
    (select count(*) from lock_waits where lock_waits.name = locks.name)
from locks join steps on steps.id = locks.step join runs on runs.key = locks.run
where {where} order by locks.name
"""


class SqliteLocks:
    """The part of a transaction that speaks of locks."""

    _db: sqlite3.Connection

    def take_locks(self, names: Sequence[str], *, run: int, step: int, now: int) -> list[str]:
        marks = ", ".join("?" * len(names))
        held = self._db.execute(f"select name from locks where name in ({marks}) order by name", names).fetchall()
        if not held:
            self._db.executemany(TAKE_LOCK, [LockRow(name, run, step, now) for name in names])
        return [name for (name,) in held]

    def free_locks(self, step: int) -> list[str]:
        return [
            name for (name,) in self._db.execute("delete from locks where step = ? returning name", (step,)).fetchall()
        ]

    def await_locks(self, step: int, names: Collection[str], *, priority: int) -> None:
        self._db.executemany(AWAIT_LOCK, [(name, -priority, step) for name in names])

    def forget_waits(self, step: int) -> None:
        self._db.execute("delete from lock_waits where step = ?", (step,))

    def lock_waiters(self, name: str, limit: int) -> list[int]:
        return [step for (step,) in self._db.execute(LOCK_WAITERS, (name, limit))]

    def free_names(self) -> list[str]:
        return [name for (name,) in self._db.execute(FREE_NAMES)]


def held_locks(db: sqlite3.Connection, names: Collection[str] | None) -> list[HeldLock]:
    """Who holds some locks, or any."""
    where = "1" if names is None else f"locks.name in ({', '.join('?' * len(names))})"
    return [HeldLock._make(row) for row in db.execute(HELD_LOCKS.format(where=where), tuple(names or ()))]
