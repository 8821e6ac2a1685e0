"""Opening an SQLite database the way the store needs it, and saying in words why it cannot be opened or used."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import StoreCorrupt, StoreError, StoreTooNew, StoreUnavailable
from .schema import APPLICATION_ID, VERSION, migrate

#: Milliseconds to wait for another process's transaction.
BUSY_TIMEOUT = 30_000

#: Words of SQLite's messages, and what they mean to a person.
CAUSES: tuple[tuple[str, type[StoreError], str], ...] = (
    ("not a database", StoreCorrupt, "the file is not a yamlflow store; name another with --store"),
    ("malformed", StoreCorrupt, "the file is damaged; restore a backup or run `yamlflow db check`"),
    ("locked", StoreUnavailable, "another program holds it locked; nothing was lost, try again when it is done"),
    ("readonly", StoreUnavailable, "it cannot be written; check the file's and folder's permissions"),
    ("read-only", StoreUnavailable, "it cannot be written; check the file's and folder's permissions"),
    ("full", StoreUnavailable, "the disk is full; nothing was lost, free some space and resume"),
    ("unable to open", StoreUnavailable, "the folder is missing or may not be entered"),
    ("disk i/o", StoreUnavailable, "the disk reports an error; nothing that was acknowledged is lost"),
)


@contextmanager
def explained(url: str) -> Iterator[None]:
    """Turns SQLite's errors into ours, with the store's name, the cause and the remedy."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        text = str(error)
        for word, kind, remedy in CAUSES:
            if word in text.lower():
                raise kind(f"{url}: {text}: {remedy}") from error
        raise


def connect(path: str, *, url: str, synchronous: str) -> sqlite3.Connection:
    """A connection to a file or ``:memory:``, with the store's settings and an up-to-date schema."""
    with explained(url):
        connection = sqlite3.connect(path, check_same_thread=False, cached_statements=256)
        try:
            prepare(connection, url=url, synchronous=synchronous)
        except BaseException:
            connection.close()
            raise
    return connection


def prepare(connection: sqlite3.Connection, *, url: str, synchronous: str) -> None:
    """Settings and migrations for a connection that is ours or lent."""
    connection.execute(f"pragma busy_timeout = {BUSY_TIMEOUT}")
    refuse_foreign(connection, url)
    if connection.execute("pragma journal_mode").fetchone()[0] != "wal":
        connection.execute("pragma journal_mode = wal")
    connection.execute(f"pragma synchronous = {synchronous}")
    connection.execute("pragma foreign_keys = on")
    connection.execute("pragma wal_autocheckpoint = 1000")
    if connection.execute("pragma user_version").fetchone()[0] < VERSION:
        connection.execute("begin immediate")
        try:
            migrate(connection)
        except BaseException:
            connection.rollback()
            raise
        connection.commit()


def refuse_foreign(connection: sqlite3.Connection, url: str) -> None:
    """Another application's database is never written to, nor one of a newer yamlflow."""
    application = connection.execute("pragma application_id").fetchone()[0]
    version = connection.execute("pragma user_version").fetchone()[0]
    if application == APPLICATION_ID:
        if version > VERSION:
            raise StoreTooNew(
                f"{url}: it was written by a newer yamlflow (schema {version}, this one knows {VERSION}); upgrade yamlflow"
            )
        return
    tables = connection.execute("select count(*) from sqlite_master").fetchone()[0]
    if application or version or tables:
        raise StoreCorrupt(f"{url}: this is another application's database; name another with --store")


def path_of(url: str) -> str:
    """The file that a ``sqlite:///`` URL or a plain path names; ``:memory:`` stays as it is."""
    path = url.removeprefix("sqlite:///") if url.startswith("sqlite:") else url
    if path == ":memory:":
        return path
    if not path or path.startswith("sqlite:"):
        raise StoreUnavailable(f"{url}: write sqlite:///folder/file.db, with three slashes (four for an absolute path)")
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    return path
