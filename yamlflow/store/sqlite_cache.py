"""Kept results in the SQLite store."""

from __future__ import annotations

import sqlite3
from typing import Any

from ..rows import CacheRow

COLUMNS = ", ".join(CacheRow._fields)
KEPT = f"select {COLUMNS} from cache where package = ? and step = ? and key = ?"
KEEP = f"insert or replace into cache ({COLUMNS}) values ({', '.join('?' * len(CacheRow._fields))})"
DROP_EXPIRED = """
delete from cache where (package, step, key) in (
    select package, step, key from cache where expires_at is not null and expires_at <= ? limit ?
)
"""


class SqliteCache:
    """The part of a transaction that speaks of kept results."""

    _db: sqlite3.Connection

    def kept(self, package: str, step: str, key: str) -> CacheRow | None:
        row = self._db.execute(KEPT, (package, step, key)).fetchone()
        return CacheRow._make(row) if row else None

    def keep(self, row: CacheRow) -> None:
        self._db.execute(KEEP, row)

    def forget_kept(self, *, package: str | None = None, step: str | None = None, key: str | None = None) -> int:
        clause, values = chosen(package, step, key)
        return self._db.execute(f"delete from cache where {clause}", values).rowcount

    def drop_expired(self, now: int, limit: int) -> int:
        return self._db.execute(DROP_EXPIRED, (now, limit)).rowcount


def chosen(package: str | None, step: str | None, key: str | None) -> tuple[str, list[Any]]:
    """The clause that names some kept results, with its values."""
    given = [(name, value) for name, value in (("package", package), ("step", step), ("key", key)) if value is not None]
    return " and ".join(["1", *(f"{name} = ?" for name, _ in given)]), [value for _, value in given]


def all_kept(
    db: sqlite3.Connection, package: str | None, step: str | None, key: str | None, limit: int
) -> list[CacheRow]:
    """Some kept results, newest first."""
    clause, values = chosen(package, step, key)
    sql = f"select {COLUMNS} from cache where {clause} order by created_at desc, package, step, key limit ?"
    return [CacheRow._make(row) for row in db.execute(sql, (*values, limit))]
