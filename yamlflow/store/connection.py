"""Opening an SQLite database the way the store needs it, and saying in words why it cannot be opened or used."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import StoreCorrupt, StoreError, StoreTooNew, StoreUnavailable, UserError
from ..private import make_database, make_folder
from .schema import APPLICATION_ID, VERSION, migrate

#: Milliseconds to wait for another process's transaction.
BUSY_TIMEOUT = 30_000

#: In one statement, which sees one state: another process may be making the store at this moment.
WHOSE = """
select (select application_id from pragma_application_id), (select user_version from pragma_user_version),
    (select count(*) from sqlite_master)
"""

#: Words of SQLite's messages, and what they mean to a person.
CAUSES: tuple[tuple[str, type[StoreError], str], ...] = (
    ("not a database", StoreCorrupt, "the file is not a yamlflow store; name another with --store"),
    (
        "could not decode",
        StoreCorrupt,
        "a stored text is damaged; `yamlflow db check` says where, `db restore` takes a backup",
    ),
    ("malformed", StoreCorrupt, "the file is damaged; restore a backup or run `yamlflow db check`"),
    ("locked", StoreUnavailable, "another program holds it locked; nothing was lost, try again when it is done"),
    ("readonly", StoreUnavailable, "it cannot be written; check the file's and folder's permissions"),
    ("read-only", StoreUnavailable, "it cannot be written; check the file's and folder's permissions"),
    ("full", StoreUnavailable, "the disk is full; nothing was lost, free some space and resume"),
    ("unable to open", StoreUnavailable, "the folder is missing or may not be entered"),
    ("disk i/o", StoreUnavailable, "the disk reports an error; nothing that was acknowledged is lost"),
)
#: Messages whose cause is seen by looking at the path.
SEEN_AT_PATH = frozenset({"readonly", "read-only", "unable to open"})
ELSEWHERE = "change its permissions, or name another place with --store"


@contextmanager
def explained(url: str) -> Iterator[None]:
    """Turns SQLite's errors into ours, with the store's name, the cause and the remedy."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        text = str(error)
        for word, kind, remedy in CAUSES:
            if word in text.lower():
                seen = trouble_at(file_of(url)) if word in SEEN_AT_PATH else ""
                raise kind(f"{url}: {seen}" if seen else f"{url}: {text}: {remedy}") from error
        raise
    except OverflowError as error:
        if "SQLite" not in str(error):
            raise
        raise UserError("a whole number of more than 64 bits is no number that a store keeps") from error
    except UnicodeEncodeError as error:
        if error.encoding != "utf-8":
            raise
        raise UserError(f"{error.object[:100]!r} holds half of a character, which no store keeps") from error


def connect(path: str, *, url: str, synchronous: str) -> sqlite3.Connection:
    """A connection to a file or ``:memory:``, with the store's settings and an up-to-date schema."""
    if path != ":memory:":
        make_database(path)
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
    application, version, tables = connection.execute(WHOSE).fetchone()
    if application == APPLICATION_ID:
        if version > VERSION:
            raise StoreTooNew(
                f"{url}: it was written by a newer yamlflow (schema {version}, this one knows {VERSION}); upgrade yamlflow"
            )
        return
    if application or version or tables:
        raise StoreCorrupt(f"{url}: this is another application's database; name another with --store")


def path_of(url: str) -> str:
    """The file that a ``sqlite:///`` URL or a plain path names, its folder made; ``:memory:`` stays as it is.

    ``StoreUnavailable`` where no file can be: the path is a folder, or its folder cannot be made.
    """
    path = url.removeprefix("sqlite:///") if url.startswith("sqlite:") else url
    if path == ":memory:":
        return path
    if not path or path.startswith("sqlite:"):
        raise StoreUnavailable(f"{url}: write sqlite:///folder/file.db, with three slashes (four for an absolute path)")
    folder = Path(path).parent
    try:
        make_folder(folder)
    except OSError as wrong:
        told = f"the folder {folder} cannot be made: {wrong.strerror}; {ELSEWHERE}"
        raise StoreUnavailable(f"{url}: {trouble_at(Path(path)) if folder.exists() else told}") from wrong
    if os.path.isdir(path):
        raise StoreUnavailable(f"{url}: {trouble_at(Path(path))}")
    return path


def file_of(url: str) -> Path:
    """The file that a URL or path names, without a look at it."""
    return Path(url.removeprefix("sqlite:///"))


def trouble_at(path: Path) -> str:
    """Why no store can be opened or written at a path, and what to do; "" when nothing is seen there."""
    folder = path.absolute().parent
    if os.path.isdir(path):
        return f"this is a folder; name a file in it: {path / 'yamlflow.db'}"
    if not os.path.isdir(folder):
        return f"{folder} is {'a file, not a folder' if os.path.exists(folder) else 'no folder that is there'}"
    if not os.access(folder, os.X_OK):
        return f"the folder {folder} may not be entered; {ELSEWHERE}"
    if not os.path.exists(path):
        return "" if os.access(folder, os.W_OK) else f"the folder {folder} may not be written to; {ELSEWHERE}"
    for mode, word in ((os.R_OK, "read"), (os.W_OK, "written to")):
        if not os.access(path, mode):
            return f"the file may not be {word}; {ELSEWHERE}"
    return "" if os.access(folder, os.W_OK) else f"the folder {folder} may not be written to; {ELSEWHERE}"


def connect_to_read(path: Path, url: str) -> sqlite3.Connection:
    """A connection that writes nothing, also where nothing can be written.

    In such a folder a database in WAL mode is opened as one that nobody changes; what is left in its WAL could not be
    seen then, so with one it is refused.
    """
    uri = path.absolute().as_uri()
    with explained(url):
        connection = _opened(f"{uri}?mode=ro")
        try:
            connection.execute("select count(*) from sqlite_master").fetchone()
        except sqlite3.OperationalError:
            connection.close()
            wal = path.with_name(f"{path.name}-wal")
            if not os.access(path, os.R_OK) or (wal.exists() and wal.stat().st_size):
                raise
            connection = _opened(f"{uri}?mode=ro&immutable=1")
    return connection


def _opened(uri: str) -> sqlite3.Connection:
    return sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT / 1000, isolation_level=None, check_same_thread=False)
