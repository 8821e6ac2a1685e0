"""Copies of a store, and of what lies beside it: of one moment, whole or not at all, while others work.

All databases are copied from read snapshots that were taken together: for that instant nobody can write to a projection,
so none is ahead of the store's snapshot. Nobody waits for the copying itself. A copy has no workers: what was leased is
offered again by whoever opens it. It is written under another name and gets its own when all of it is on the disk.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from .errors import NotAllowed, StoreCorrupt, StoreUnavailable, UserError
from .store.connection import connect_to_read, refuse_foreign
from .store.trouble import explained

#: Pages copied between two looks whether to stop.
PAGES = 2000
#: The database of a whole copy, and the folders that belong to a store.
STORE, PROJECTIONS = "yamlflow.db", "projections"
FOLDERS = ("artifacts", "runs")
#: A copy's workers are gone, and it must not touch the files by which the living ones show that they live.
WORKERLESS = "update workers set status = 'lost', lock = null where status = 'running'"
#: Records that a projection says to have applied, although the store it is put beside has not made them yet.
CLAMP = "update _yamlflow_mark set seq = min(seq, ?)"

#: Told how far it is: pages left, and pages in all.
Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class Copied:
    """What a copy holds."""

    bytes: int
    projections: int = 0
    #: Artifacts and logs; files that were removed while they were copied are not among them.
    files: int = 0


def back_up(store: Path, home: Path, target: Path, *, whole: bool, progress: Progress | None = None) -> Copied:
    """Copy a store into a new file, or with ``whole`` into a new folder with its projections, artifacts and logs.

    ``UserError`` when the target is there; ``StoreUnavailable`` when it cannot be written: then nothing is left of it.
    """
    if os.path.lexists(target):
        raise UserError(f"{target} is there already; name one that is not")
    if not target.absolute().parent.is_dir():
        raise UserError(f"{target}: there is no folder {target.parent}")
    with in_the_making(target, folder=whole) as place, ExitStack() as opened:
        projections = sorted((home / PROJECTIONS).glob("*.db")) if whole else []
        source, *others = snapshots(store, projections, opened)
        file = place / STORE if whole else place
        copy_database(source, file, progress)
        finish_store(file)
        if whole:
            (place / PROJECTIONS).mkdir(mode=0o700)
            for path, connection in zip(projections, others, strict=True):
                copy_database(connection, place / PROJECTIONS / path.name, None)
        # The files come after the snapshot: what a committed step refers to is there, unless its run was removed since.
        files = sum(copy_tree(home / name, place / name) for name in FOLDERS) if whole else 0
        size = sum(each.stat().st_size for each in place.rglob("*") if each.is_file()) if whole else file.stat().st_size
    return Copied(bytes=size, projections=len(projections), files=files)


def snapshots(store: Path, projections: list[Path], opened: ExitStack) -> list[sqlite3.Connection]:
    """Connections with a read transaction each, all of the same moment: the store's first."""
    with ExitStack() as locked:
        # Nobody applies records, or SQL, to a projection in between; that takes a moment, however large the files are.
        for path in projections:
            held = locked.enter_context(closing(sqlite3.connect(path, timeout=30, isolation_level=None)))
            with explained(str(path)):
                held.execute("begin immediate")
        connections = [
            opened.enter_context(closing(connect_to_read(path, str(path)))) for path in (store, *projections)
        ]
        for path, connection in zip((store, *projections), connections, strict=True):
            with explained(str(path)):
                connection.execute("begin")
                connection.execute("select count(*) from sqlite_master").fetchone()
    return connections


def copy_database(source: sqlite3.Connection, file: Path, progress: Progress | None) -> None:
    """Copy a snapshot into a new file that only its owner may read, down to the disk."""
    os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    with explained(str(file)), closing(sqlite3.connect(file, isolation_level=None)) as copy:
        copy.execute("pragma synchronous = off")
        # In parts, so that whoever interrupts it need not wait for the end.
        source.backup(
            copy, pages=PAGES, progress=lambda status, left, total: progress(left, total) if progress else None
        )
        copy.execute("pragma journal_mode = delete")
        found = copy.execute("pragma quick_check").fetchone()[0]
        if found != "ok":
            raise StoreCorrupt(
                f"{file}: the copy is not sound: {found}; `yamlflow db check` says what is wrong with the store"
            )


def finish_store(file: Path) -> None:
    """Take from a copy what was only true of the store that it is a copy of."""
    with explained(str(file)), closing(sqlite3.connect(file, isolation_level=None)) as copy:
        if copy.execute("select 1 from sqlite_master where name = 'workers'").fetchone():
            copy.execute(WORKERLESS)


@contextmanager
def in_the_making(target: Path, *, folder: bool) -> Iterator[Path]:
    """A place beside the target that becomes it at the end of the block; when the block raises nothing is left."""
    target = target.absolute()
    place = target.with_name(f".{target.name}.partial-{os.urandom(4).hex()}")
    try:
        if folder:
            place.mkdir(mode=0o700)
        yield place
        sync(place)
        if os.path.lexists(target):
            raise UserError(f"{target} is there already; name one that is not")
        os.rename(place, target)
        sync_one(target.parent)
    except OSError as wrong:
        raise StoreUnavailable(f"{target}: nothing was copied: {wrong.strerror or wrong}") from wrong
    finally:
        remove(place)


def remove(place: Path) -> None:
    """Remove a file, with what SQLite may have left beside it, or a folder."""
    if place.is_dir():
        shutil.rmtree(place, ignore_errors=True)
    for ending in ("", "-journal", "-wal", "-shm"):
        place.with_name(place.name + ending).unlink(missing_ok=True)


def sync(place: Path) -> None:
    """Let a file, or a folder with all that is in it, reach the disk."""
    if place.is_dir():
        for above, _, names in os.walk(place):
            for name in names:
                if not os.path.islink(os.path.join(above, name)):
                    sync_one(Path(above, name))
            sync_one(Path(above))
    else:
        sync_one(place)


def sync_one(path: Path) -> None:
    """Let one file or folder reach the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def copy_tree(source: Path, target: Path) -> int:
    """Copy regular files and links below a folder as they are; how many. What goes meanwhile is left out."""
    count = 0
    for above, folders, names in os.walk(source):
        inside = target / Path(above).relative_to(source)
        inside.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in [*names, *(each for each in folders if os.path.islink(os.path.join(above, each)))]:
            path = Path(above, name)
            if name.startswith(".partial-"):
                continue
            with contextlib.suppress(FileNotFoundError):
                mode = path.lstat().st_mode
                if stat.S_ISREG(mode) or stat.S_ISLNK(mode):
                    shutil.copy2(path, inside / name, follow_symlinks=False)
                    count += 1
    return count


# -- back again ----------------------------------------------------------------------------------------------------


def restore(backup: Path, store: Path, home: Path, *, replace: bool = False, stamp: str = "") -> Copied:
    """Put a copy in a store's place: a file, or a folder that ``back_up`` made whole.

    With ``replace`` what is there is moved aside, its name ended by ``stamp``. ``UserError`` when a store is there and is
    not to be replaced, or the copy is none; ``StoreCorrupt`` when it is damaged. Nothing has changed then.
    """
    file = backup / STORE if backup.is_dir() else backup
    if not file.is_file():
        raise UserError(f"{backup}: there is no backup; name a file, or a folder, that `yamlflow db backup` made")
    refuse_unsound(file)
    if store.exists() and not replace:
        raise NotAllowed(f"{store} is there already; --replace moves it aside, and nothing of it is lost")
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    projections = sorted((backup / PROJECTIONS).glob("*.db")) if backup.is_dir() else []
    fresh = store.with_name(f".{store.name}.partial-{os.urandom(4).hex()}")
    try:
        with closing(connect_to_read(file, str(file))) as source:
            copy_database(source, fresh, None)
        finish_store(fresh)
        sync_one(fresh)
        files = sum(copy_tree(backup / name, home / name) for name in FOLDERS) if backup.is_dir() else 0
        aside(store, stamp)
        if projections:
            aside(home / PROJECTIONS, stamp)
            (home / PROJECTIONS).mkdir(mode=0o700)
        for path in projections:
            with closing(connect_to_read(path, str(path))) as source:
                copy_database(source, home / PROJECTIONS / path.name, None)
        os.rename(fresh, store)
        sync_one(store.parent)
    finally:
        remove(fresh)
    clamp(store, home)
    return Copied(bytes=store.stat().st_size, projections=len(projections), files=files)


def refuse_unsound(file: Path) -> None:
    """``StoreCorrupt`` or ``StoreTooNew`` for a copy that nobody could go on with."""
    url = str(file)
    with explained(url), closing(connect_to_read(file, url)) as connection:
        refuse_foreign(connection, url)
        if not connection.execute("select 1 from sqlite_master where name = 'runs'").fetchone():
            raise StoreCorrupt(f"{url}: this is no yamlflow store")
        found = connection.execute("pragma integrity_check").fetchone()[0]
        if found != "ok":
            raise StoreCorrupt(f"{url}: the backup is damaged: {found}; take another one")


def aside(path: Path, stamp: str) -> None:
    """Give what is in the way another name, with what SQLite keeps beside it."""
    for ending in ("", "-wal", "-shm"):
        each = path.with_name(path.name + ending)
        if each.exists():
            os.rename(each, path.with_name(f"{path.name}.{stamp}{ending}"))


def clamp(store: Path, home: Path) -> None:
    """Let the projections beside a store take records that it is yet to make, whatever they have seen before."""
    with closing(connect_to_read(store, str(store))) as connection:
        row = connection.execute("select seq from sqlite_sequence where name = 'records'").fetchone()
    for path in sorted((home / PROJECTIONS).glob("*.db")):
        with explained(str(path)), closing(sqlite3.connect(path, timeout=30, isolation_level=None)) as projection:
            if projection.execute("select 1 from sqlite_master where name = '_yamlflow_mark'").fetchone():
                projection.execute(CLAMP, (row[0] if row else 0,))


# -- made smaller --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Vacuumed:
    """What came of it."""

    before: int
    after: int
    #: Bytes that stay in the WAL, because somebody reads an older state of the store.
    left: int


def vacuum(store: Path, *, watch: Callable[[], object] = lambda: None) -> Vacuumed:
    """Rewrite a store without its free pages; ``watch`` is called now and then, and may raise ``KeyboardInterrupt``.

    ``StoreUnavailable`` when the disk has no room for it, or others keep the store locked. Nothing has changed then.
    """
    before = store.stat().st_size
    uri = f"{store.absolute().as_uri()}?mode=rw"
    stopped = False

    def look() -> int:
        nonlocal stopped
        try:
            watch()
        except KeyboardInterrupt:
            stopped = True
        return int(stopped)

    with explained(str(store)), closing(sqlite3.connect(uri, uri=True, timeout=30, isolation_level=None)) as connection:
        refuse_foreign(connection, str(store))
        refuse_full_disk(connection, store)
        connection.set_progress_handler(look, 100_000)
        try:
            connection.execute("vacuum")
        except sqlite3.OperationalError:
            if stopped:
                raise KeyboardInterrupt from None
            raise
        connection.set_progress_handler(None, 0)
        connection.execute("pragma busy_timeout = 1000")
        busy = connection.execute("pragma wal_checkpoint(truncate)").fetchone()[0]
        wal = store.with_name(f"{store.name}-wal")
        left = wal.stat().st_size if busy and wal.exists() else 0
    return Vacuumed(before=before, after=store.stat().st_size, left=left)


def refuse_full_disk(connection: sqlite3.Connection, store: Path) -> None:
    """A rewrite needs room for the store's content twice: as a temporary file, and in the WAL."""
    used, free_pages, size = (
        connection.execute(f"pragma {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
    )
    needed = 2 * (used - free_pages) * size
    free = shutil.disk_usage(store.absolute().parent).free
    if free < needed:
        raise StoreUnavailable(
            f"{store}: to rewrite it takes {needed // 2**20 + 1} MB, and {free // 2**20} MB are free; free some, "
            "or `yamlflow prune` more runs: free pages are used again"
        )
