"""Why a store cannot be opened or used, in words: from SQLite's result codes, and from a look at the path. Nothing here
opens a store: closing a second handle would drop the locks of the first.
"""

from __future__ import annotations

import os
import resource
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

from ..errors import StoreBusy, StoreCorrupt, StoreError, StoreUnavailable, UserError

LATER = "nothing was lost, try again when it is done"
PERMISSIONS = "it cannot be written; check the file's and folder's permissions"
#: What SQLite's result codes mean to a person: the error, and the remedy.
CAUSES: Mapping[int, tuple[type[StoreError], str]] = MappingProxyType(
    {
        sqlite3.SQLITE_BUSY: (StoreBusy, LATER),
        sqlite3.SQLITE_LOCKED: (StoreBusy, LATER),
        sqlite3.SQLITE_PROTOCOL: (StoreBusy, LATER),
        sqlite3.SQLITE_NOTADB: (
            StoreCorrupt,
            "the file is not a yamlflow store, or its beginning is damaged; restore a backup, or name another with --store",
        ),
        sqlite3.SQLITE_CORRUPT: (StoreCorrupt, "the file is damaged; restore a backup or run `yamlflow db check`"),
        sqlite3.SQLITE_FULL: (StoreUnavailable, "the disk is full; nothing was lost, free some space and resume"),
        sqlite3.SQLITE_IOERR: (
            StoreUnavailable, "the disk reports an error; nothing that was acknowledged is lost",
        ),
        sqlite3.SQLITE_READONLY: (StoreUnavailable, PERMISSIONS),
        sqlite3.SQLITE_PERM: (StoreUnavailable, PERMISSIONS),
        sqlite3.SQLITE_CANTOPEN: (StoreUnavailable, "the folder is missing or may not be entered"),
        sqlite3.SQLITE_NOMEM: (StoreUnavailable, "the memory is used up; nothing was lost"),
    }
)  # fmt: skip
#: Bytes that a write may need: the -shm file grows by so much.
ROOM = 32 * 1024
#: Codes whose cause is seen by looking at the path.
SEEN_AT_PATH = frozenset({sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN})
#: What no statement of ours meets in a sound store, in SQLite's words or Python's.
DAMAGE = ("no such table", "no such column", "no such index", "malformed", "could not decode")
ELSEWHERE = "change its permissions, or name another place with --store"


@contextmanager
def explained(url: str) -> Iterator[None]:
    """Turns SQLite's errors into ours, with the store's name, the cause and the remedy."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        found = meaning(error, url)
        if found is None:
            raise
        raise found from error
    except OverflowError as error:
        if "SQLite" not in str(error):
            raise
        raise UserError("a whole number of more than 64 bits is no number that a store keeps") from error
    except UnicodeEncodeError as error:
        if error.encoding != "utf-8":
            raise
        raise UserError(f"{error.object[:100]!r} holds half of a character, which no store keeps") from error


def meaning(error: sqlite3.DatabaseError, url: str) -> StoreError | None:
    """What an error of SQLite's means; None when it tells of no trouble with the store."""
    code = code_of(error)
    known = CAUSES.get(code)
    if known is None:
        damaged = any(word in str(error).lower() for word in DAMAGE)
        known = CAUSES[sqlite3.SQLITE_CORRUPT] if damaged else None
    if known is None:
        return None
    kind, remedy = known
    file = file_of(url)
    if code == sqlite3.SQLITE_IOERR and (seen := no_room(file)):
        return kind(f"{url}: {error}: {seen}")
    if code in SEEN_AT_PATH and (seen := trouble_at(file) or trouble_here()):
        return kind(f"{url}: {seen}")
    holder = holders(file) if kind is StoreBusy else ""
    return kind(f"{url}: {error}{f' by {holder}' if holder else ''}: {remedy}")


def code_of(error: sqlite3.Error) -> int:
    """SQLite's primary result code; 0 where the error is Python's own."""
    # The higher bytes tell which call it was.
    return int(getattr(error, "sqlite_errorcode", 0) or 0) & 0xFF


def file_of(url: str) -> Path:
    """The file that a URL or path names, without a look at it."""
    return Path(url.removeprefix("sqlite:///"))


def trouble_at(path: Path) -> str:
    """Why no store can be opened or written at a path, and what to do; "" when nothing is seen there."""
    folder = path.absolute().parent
    if os.path.isdir(path):
        return f"this is a folder; name a file in it: {path / 'yamlflow.db'}"
    if os.path.exists(path) and not os.path.isfile(path):
        # SQLite would wait for ever for what a pipe gives.
        return "this is a device or a pipe, no regular file; name another with --store"
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


def no_room(path: Path) -> str:
    """Why a write failed where SQLite knows no more than that: a full disk, or a limit of this process; else ""."""
    try:
        there = os.statvfs(path.absolute().parent)
        if there.f_bavail * there.f_frsize < ROOM:
            return CAUSES[sqlite3.SQLITE_FULL][1]
        most = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
        sizes = [os.stat(name).st_size for name in (path, f"{path}-wal") if os.path.exists(name)]
    except OSError:
        return ""
    if most != resource.RLIM_INFINITY and max(sizes, default=0) + ROOM > most:
        return f"this process may write no file of more than {most:,} bytes; nothing was lost, raise that (`ulimit -f`)"
    return ""


def trouble_here() -> str:
    """What keeps this process from opening any file; "" when nothing does."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as wrong:
        return f"no file can be opened: {wrong.strerror}; raise the limit (`ulimit -n`), or let fewer steps run at once"
    return ""


def holders(path: Path) -> str:
    """Which processes hold a lock that keeps others from writing: ``process 4711 (sqlite3)``; "" where nothing says so."""
    wanted = {place for name in (path, f"{path}-shm") if (place := _place(name))}
    found: dict[int, str] = {}
    for fields in (line.split() for line in _read("/proc/locks").splitlines()):
        # 1: POSIX ADVISORY WRITE 4711 fe:00:131 120 120
        if len(fields) != 8 or fields[3] != "WRITE" or not fields[4].isdigit():
            continue
        device, _, inode = fields[5].rpartition(":")
        if (device, inode) in wanted and int(fields[4]) != os.getpid():
            found[int(fields[4])] = f"process {fields[4]}{_named(fields[4])}"
    return " and ".join(found.values())


def _place(name: str | Path) -> tuple[str, str] | None:
    """Device and inode as /proc/locks writes them."""
    try:
        found = os.stat(name)
    except OSError:
        return None
    return f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}", str(found.st_ino)


def _named(pid: str) -> str:
    """What a process is called, and that it is stopped where it is."""
    name = _read(f"/proc/{pid}/comm").strip()
    state = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()[:1]
    words = [name] if name else []
    words += ["stopped"] if state in (["T"], ["t"]) else []
    return f" ({', '.join(words)})" if words else ""


def _read(name: str) -> str:
    try:
        return Path(name).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
