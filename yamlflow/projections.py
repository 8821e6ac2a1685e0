"""Projections: the package's own tables, one SQLite file each beside the store.

A record is durable in the store, in the transaction of its step. It reaches its table when the projection is next opened:
each record is applied once, in order, with a mark in the same transaction of the projection's own file. So nobody who
opens a projection through yamlflow sees it without a record that was committed before.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import sqlite3
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

from .errors import Permanent, StoreUnavailable
from .facts import ASCII_LETTERS
from .outcome import Json
from .private import make_database, make_folder
from .tables import Projection, connect

MARK = "create table if not exists _yamlflow_mark (one integer primary key check (one = 1), seq integer not null)"


class RecordSource(Protocol):
    """What a store gives of the records it keeps."""

    def records_after(self, projection: str, seq: int, limit: int) -> list[tuple[int, str, str, str]]:
        """Records that follow a number: (seq, collection, key, JSON)."""

    def forget_records(self, projection: str, upto: int) -> None:
        """Drop records that are durably applied."""


class Projections:
    """The projections beside one store."""

    def __init__(self, home: Path, source: RecordSource) -> None:
        self._folder = home / "projections"
        self._source = source

    def path(self, name: str) -> Path:
        """The file of a projection."""
        return self._folder / f"{quote(name, safe='')}.db"

    def names(self) -> list[str]:
        """The projections there are."""
        from urllib.parse import unquote

        return sorted(unquote(file.stem) for file in self._folder.glob("*.db"))

    def open(self, name: str, *, migrations: Path | None = None) -> Projection:
        """A connection in autocommit to a projection that holds every committed record; the caller closes it.

        ``migrations`` is a folder of ``NNN_name.sql`` files; each is applied once, in the order of their names.
        """
        make_folder(self._folder)
        make_database(self.path(name))
        connection = connect(self.path(name))
        try:
            connection.execute("pragma journal_mode = wal")
            if migrations is not None:
                migrate(connection, migrations)
            self.catch_up(name, connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def catch_up(self, name: str, connection: sqlite3.Connection) -> None:
        """Apply what was committed since the projection was last opened."""
        if not self._source.records_after(name, 0, 1):
            return
        connection.execute("begin immediate")
        try:
            connection.execute(MARK)
            row = connection.execute("select seq from _yamlflow_mark").fetchone()
            seq = row[0] if row else 0
            while batch := self._source.records_after(name, seq, 1000):
                apply(connection, batch)
                seq = batch[-1][0]
            connection.execute("insert or replace into _yamlflow_mark values (1, ?)", (seq,))
        except BaseException:
            connection.execute("rollback")
            raise
        connection.execute("commit")
        # Only what the projection's own disk holds may go from the store; while that is locked it may stay there too.
        connection.execute("pragma wal_checkpoint(full)")
        with contextlib.suppress(StoreUnavailable):
            self._source.forget_records(name, seq)


def migrate(connection: sqlite3.Connection, folder: Path) -> None:
    """Apply the files that this projection has not seen, each in a transaction of its own."""
    files = sorted(file for file in folder.glob("*.sql") if file.name[:1].isdigit())
    if not files:
        raise Permanent("bad_input", f"projection.migrations: {folder} holds no file like 001_name.sql")
    connection.execute("create table if not exists _yamlflow_migrations (name text primary key)")
    for file in files:
        connection.execute("begin immediate")
        try:
            if not connection.execute("select 1 from _yamlflow_migrations where name = ?", (file.name,)).fetchone():
                run_script(connection, file)
                connection.execute("insert into _yamlflow_migrations values (?)", (file.name,))
        except BaseException:
            connection.execute("rollback")
            raise
        connection.execute("commit")


def run_script(connection: sqlite3.Connection, file: Path) -> None:
    """Every statement of a file within the open transaction (``executescript`` would commit it)."""
    statement = ""
    for line in file.read_text(encoding="utf-8").splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            try:
                connection.execute(statement)
            except sqlite3.Error as wrong:
                raise Permanent("bad_input", f"{file}: {wrong}, in: {statement.strip()[:200]}") from wrong
            statement = ""
    if statement.strip():
        raise Permanent("bad_input", f"{file}: the last statement is not complete: {statement.strip()[:200]}")


def apply(connection: sqlite3.Connection, batch: Iterable[tuple[int, str, str, str]]) -> None:
    """Upsert records into their tables, which are made and widened as needed, in the order of the records."""
    # Imported here: who neither keeps nor reads records need not wait for it.
    from sqlite_utils import Database

    database = Database(connection, recursive_triggers=False)
    for collection, group in itertools.groupby(batch, key=lambda row: row[1]):
        table = database.table(known(collection, database.table_names()))
        for _, _, key, text in group:
            there = table.columns_dict if table.exists() else {}
            row = {known(name, there): column(value) for name, value in json.loads(text).items() if name != "key"}
            try:
                table.upsert({"key": key, **row}, pk="key", alter=True)
            except sqlite3.Error as wrong:
                raise Permanent(
                    "bad_input", f"the record {collection}/{key} does not fit its table: {wrong}"
                ) from wrong


def known(name: str, names: Collection[str]) -> str:
    """The name under which SQLite has a table or column, to which capitals are small letters."""
    if name in names:
        return name
    small = name.translate(ASCII_LETTERS)
    return next((each for each in names if each.translate(ASCII_LETTERS) == small), name)


def column(value: Json) -> Any:
    """A JSON value as a column: lists and mappings as JSON text, truth as 0 or 1, numbers beyond 64 bits as text."""
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return str(value)
    return int(value) if isinstance(value, bool) else value
