"""A package's own tables, as programs read and write them: a SQLite connection that also speaks in rows."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self


class Projection(sqlite3.Connection):
    """A connection to a package's own tables, in autocommit. ``with`` closes it at the end."""

    def exec(self, statement: str, values: Sequence[Any] | Mapping[str, Any] = ()) -> int:
        """Execute a statement with bound values; how many rows it changed."""
        return self.execute(statement, values).rowcount

    def query(self, statement: str, values: Sequence[Any] | Mapping[str, Any] = ()) -> list[dict[str, Any]]:
        """The rows of a query with bound values, each a mapping of column to value."""
        cursor = self.execute(statement, values)
        names = [column[0] for column in cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in cursor]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:  # type: ignore[override]
        self.close()


def connect(path: str | Path) -> Projection:
    """A connection to a file, or to an empty database in memory (``:memory:``)."""
    return sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False, factory=Projection)
