"""The store's file: its schema, whether it is sound, its WAL, its free pages, and what it says of the clock."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from ..checkup import faults_in
from ..clock import MINUTE, to_text
from ..store.schema import VERSION
from . import Finding, Visit, megabytes, several

#: A store up to this size is read in full; of a larger one that is left to ``db check``.
SMALL = 32 * 2**20
#: A WAL of this size is not as it should be: it is reset from 4 MB on when nobody reads an older state.
LARGE_WAL = 64 * 2**20
#: Free pages worth giving back.
MUCH_FREE = 256 * 2**20
#: Ended runs from which on it is worth knowing that they are kept for ever.
MANY = 10_000


def schema(connection: sqlite3.Connection, visit: Visit) -> Iterator[Finding]:
    """Whether this yamlflow can read the store."""
    version = one(connection, "pragma user_version")
    if version > VERSION:
        message = f"{visit.url} was written by a newer yamlflow: schema {version}, this one knows {VERSION}"
        remedy = "upgrade yamlflow: pip install --upgrade yamlflow"
        yield Finding(level="error", about="store", message=message, remedy=remedy)
    elif version < VERSION:
        message = f"schema {version} of {VERSION}: the next command that opens the store brings it up to date"
        remedy = f"{visit.command('db backup FILE')} first, then {visit.command('db migrate')}"
        yield Finding(level="hint", about="store", message=message, remedy=remedy)


def soundness(connection: sqlite3.Connection, visit: Visit) -> Iterator[Finding]:
    """Whether a store that is small enough to be read keeps what must hold of it."""
    size = visit.file.stat().st_size
    if size > SMALL:
        message = f"{visit.url} has {megabytes(size)} and was not read in full"
        yield Finding(level="ok", about="store", message=message, remedy=f"{visit.command('db check')} does that")
        return
    faults = faults_in(connection)
    for fault in faults:
        message = f"{fault.name}: {fault.count} ({', '.join(fault.examples)})"
        yield Finding(level="error", about="store", message=message, remedy=fault.remedy)
    if not faults:
        yield Finding(level="ok", about="store", message=f"{visit.url} is sound")


def wal(visit: Visit) -> Iterator[Finding]:
    """A WAL that grows because somebody reads, and goes on reading, an older state."""
    path = visit.file.with_name(f"{visit.file.name}-wal")
    size = path.stat().st_size if path.exists() else 0
    if size < LARGE_WAL:
        return
    readers = holders(path)
    who = f"; open in {several(readers)}" if readers else ""
    message = (
        f"{path.name} has {megabytes(size)}: it cannot be reset while somebody reads an older state of the store{who}"
    )
    remedy = "end what reads it (a shell in sqlite3, a backup that hangs); it is reset by the next commit"
    yield Finding(level="warning", about="wal", message=message, remedy=remedy)


def holders(path: Path) -> list[str]:
    """The processes that have a file open, where ``/proc`` tells."""
    found: list[str] = []
    try:
        wanted = os.stat(path)
        pids = [entry for entry in os.listdir("/proc") if entry.isdecimal() and int(entry) != os.getpid()]
    except OSError:
        return found
    for pid in pids:
        try:
            handles = os.listdir(f"/proc/{pid}/fd")
            same = any(
                (seen.st_dev, seen.st_ino) == (wanted.st_dev, wanted.st_ino)
                for seen in (os.stat(f"/proc/{pid}/fd/{each}") for each in handles)
            )
            if same:
                words = (
                    Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace").strip()
                )
                found.append(f"process {pid} ({words[:60]})")
        except OSError:
            continue
    return found


def size(connection: sqlite3.Connection, visit: Visit) -> Iterator[Finding]:
    """Room that could be given back, and runs that nobody ever removes."""
    free = one(connection, "pragma freelist_count") * one(connection, "pragma page_size")
    if free > MUCH_FREE:
        message = f"{megabytes(free)} of {megabytes(visit.file.stat().st_size)} are free pages, left by runs that were removed"
        remedy = f"{visit.command('db vacuum')}, with no worker running"
        yield Finding(level="hint", about="store", message=message, remedy=remedy)
    if one(connection, "select count(*) from (select 1 from runs limit 10000)") >= MANY:
        rows = connection.execute(FOREVER, (MANY,)).fetchall()
        for package, count in rows:
            message = f'{count:,} ended runs of "{package}" are kept for ever'
            remedy = f"`retention: {{finished: 30d}}` in the package, or {visit.command('prune --older-than 30d')}"
            yield Finding(level="hint", about="store", message=message, remedy=remedy)


#: By the index over ended runs: the rows themselves are not read.
FOREVER = """
select package, count(*) from runs where ended_at is not null and package not in (
    select package from retentions where finished is not null)
group by package having count(*) >= ? order by 2 desc limit 5
"""


def clock(connection: sqlite3.Connection, visit: Visit) -> Iterator[Finding]:
    """A wall clock that is behind what the store has seen."""
    newest = connection.execute(NEWEST).fetchone()[0]
    if newest is not None and newest > visit.now + MINUTE:
        message = f"this machine's clock says {to_text(visit.now)}, and the store has seen {to_text(newest)}"
        remedy = "set the clock (timedatectl); until it has caught up, timers and schedules come late"
        yield Finding(level="warning", about="clock", message=message, remedy=remedy)


#: What the newest runs, and the workers, say that time it was.
NEWEST = """
select max(at) from (
    select max(created_at) as at from (select created_at from runs order by key desc limit 100)
    union all select max(seen_at) from workers
    union all select max(at) from (
        select (select max(at) from (select at from events where events.run = runs.key order by seq desc limit 1)) as at
        from runs order by key desc limit 100)
)
"""


def one(connection: sqlite3.Connection, sql: str) -> int:
    """The one number that a statement gives."""
    return int(connection.execute(sql).fetchone()[0] or 0)
