"""Opening an SQLite database the way the store needs it."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from ..errors import StoreBusy, StoreCorrupt, StoreTooNew, StoreUnavailable
from ..private import make_database, make_folder
from .schema import APPLICATION_ID, VERSION, migrate
from .trouble import ELSEWHERE, explained, trouble_at

#: Milliseconds that one statement waits for another process's transaction. Python hears no signal meanwhile and a worker
#: does nothing else, so it is short; who has more patience asks again.
BUSY_TIMEOUT = 2_000
#: How often somebody asks who waits for half a minute in all.
TRIES = 15

#: In one statement, which sees one state: another process may be making the store at this moment.
WHOSE = """
select (select application_id from pragma_application_id), (select user_version from pragma_user_version),
    (select count(*) from sqlite_master)
"""

Made = TypeVar("Made")


def patiently(make: Callable[[], Made], tries: int = TRIES) -> Made:
    """What a call gives, asked for again while another program holds the store locked."""
    for _ in range(tries - 1):
        try:
            return make()
        except StoreBusy:
            continue
    return make()


def connect(path: str, *, url: str, synchronous: str) -> sqlite3.Connection:
    """A connection to a file or ``:memory:``, with the store's settings and an up-to-date schema."""
    if path != ":memory:":
        make_database(path)
    with explained(url):
        connection = sqlite3.connect(path, check_same_thread=False, cached_statements=256)
    try:
        patiently(lambda: prepare(connection, url=url, synchronous=synchronous))
    except BaseException:
        connection.close()
        raise
    return connection


def prepare(connection: sqlite3.Connection, *, url: str, synchronous: str) -> None:
    """Settings and migrations for a connection that is ours or lent."""
    with explained(url):
        connection.execute(f"pragma busy_timeout = {BUSY_TIMEOUT}")
        refuse_foreign(connection, url)
        if connection.execute("pragma journal_mode").fetchone()[0] != "wal":
            connection.execute("pragma journal_mode = wal")
        connection.execute(f"pragma synchronous = {synchronous}")
        connection.execute("pragma foreign_keys = on")
        connection.execute("pragma wal_autocheckpoint = 1000")
        if version_of(connection) < VERSION:
            bring_up_to_date(connection, url)


def bring_up_to_date(connection: sqlite3.Connection, url: str) -> None:
    """Run the migrations that are missing, in one transaction. Another process may have been quicker, and be newer."""
    connection.execute("begin immediate")
    try:
        refuse_foreign(connection, url)
        if version_of(connection) < VERSION:
            migrate(connection)
        connection.execute("commit")
    except BaseException:
        if connection.in_transaction:
            connection.rollback()
        raise


def version_of(connection: sqlite3.Connection) -> int:
    """The schema that a database has."""
    return int(connection.execute("pragma user_version").fetchone()[0])


def refuse_foreign(connection: sqlite3.Connection, url: str) -> None:
    """Another application's database is never written to, nor one of a newer yamlflow."""
    application, version, tables = connection.execute(WHOSE).fetchone()
    if application == APPLICATION_ID:
        refuse_newer(connection, url)
    elif application or version or tables:
        raise StoreCorrupt(f"{url}: this is another application's database; name another with --store")


def refuse_newer(connection: sqlite3.Connection, url: str) -> None:
    """What a newer yamlflow has brought up to date, also while this one uses it, is not written to."""
    version = version_of(connection)
    if version > VERSION:
        raise StoreTooNew(
            f"{url}: it was written by a newer yamlflow (schema {version}, this one knows {VERSION}); upgrade yamlflow"
        )


def path_of(url: str) -> str:
    """The file that a ``sqlite:///`` URL or a plain path names, its folder made; ``:memory:`` stays as it is.

    ``StoreUnavailable`` where no file can be: the path is a folder, or its folder cannot be made.
    """
    path = url.removeprefix("sqlite:///") if url.startswith("sqlite:") else url
    if path == ":memory:":
        return path
    if any("\ud800" <= sign <= "\udfff" or sign == "\0" for sign in path):
        raise StoreUnavailable(f"{url!r}: the path holds what is no text; write it in UTF-8")
    # SQLite may be built to take a name that begins so for more than a file's.
    if not path or path.startswith(("sqlite:", "file:")):
        raise StoreUnavailable(f"{url}: write sqlite:///folder/file.db, with three slashes (four for an absolute path)")
    folder = Path(path).parent
    try:
        missing = [each for each in folder.parents if not each.exists()]
        make_folder(folder)
        if not os.path.exists(path):
            # SQLite syncs the folder that the file is in, and not what leads there.
            for each in (folder, *missing):
                sync_folder(each.parent)
    except OSError as wrong:
        told = f"the folder {folder} cannot be made: {wrong.strerror}; {ELSEWHERE}"
        raise StoreUnavailable(f"{url}: {trouble_at(Path(path)) if os.path.exists(folder) else told}") from wrong
    if os.path.exists(path) and not os.path.isfile(path):
        raise StoreUnavailable(f"{url}: {trouble_at(Path(path))}")
    return path


def sync_folder(folder: Path) -> None:
    """Make what a folder lists outlive a power cut; some file systems know no such thing."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    except OSError as wrong:
        if wrong.errno != errno.EINVAL:
            raise
    finally:
        os.close(handle)


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
