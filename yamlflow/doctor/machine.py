"""The Python and SQLite in use, the disk below the store, and who may read and write there."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from . import Finding, Visit, megabytes

#: File systems on which SQLite's locks and shared memory cannot be relied on.
REMOTE = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "afs", "ceph", "glusterfs", "lustre"})
#: From this version on SQLite resets its WAL safely; so do the versions that got the correction later.
SAFE_WAL, CORRECTED = (3, 51, 3), frozenset({(3, 50, 7), (3, 44, 6)})
#: Free bytes, and free inodes, below which a disk is said to be nearly full.
LEAST_FREE, LEAST_INODES = 100 * 2**20, 1000


def machine() -> Iterator[Finding]:
    """The Python and the SQLite that are in use."""
    yield Finding(level="ok", about="python", message=sys.version.split()[0])
    yield sqlite_finding(sqlite3.sqlite_version_info)


def sqlite_finding(version: tuple[int, ...]) -> Finding:
    """Whether an SQLite resets its WAL safely when several processes share a store."""
    name = ".".join(map(str, version[:3]))
    if version[:3] >= SAFE_WAL or version[:3] in CORRECTED:
        return Finding(level="ok", about="sqlite", message=name)
    message = f"{name} can, very rarely, damage a WAL that several processes reset at once"
    remedy = "use a Python whose sqlite3 is 3.51.3, 3.50.7 or 3.44.6, or later; or keep to one process a store"
    return Finding(level="warning", about="sqlite", message=message, remedy=remedy)


def disk(visit: Visit) -> Iterator[Finding]:
    """Where the store lies: what kind of file system, how much room, who may write."""
    from ..store.trouble import trouble_at

    folder = visit.file.absolute().parent
    while not folder.exists():
        folder = folder.parent
    kind = file_system(folder)
    if kind in REMOTE:
        message = f"{folder} is on {kind}: SQLite's locks do not hold there"
        yield Finding(
            level="error", about="disk", message=message, remedy="put the store on a local disk: --store FILE"
        )
    else:
        yield Finding(level="ok", about="disk", message=f"{folder} is on {kind or 'an unknown file system'}")
    file = visit.file.absolute()
    if trouble := trouble_at(file if folder == file.parent else folder / file.name):
        yield Finding(level="error", about="store", message=f"nothing can be stored: {trouble}")
    yield from room(folder)


def room(folder: Path) -> Iterator[Finding]:
    """Whether a disk is nearly full: of bytes, or of files."""
    remedy = "`yamlflow prune --older-than 7d` and `yamlflow db vacuum` free some"
    free = shutil.disk_usage(folder).free
    if free < LEAST_FREE:
        message = f"only {megabytes(free)} are free below {folder}"
        yield Finding(level="warning", about="disk", message=message, remedy=remedy)
    inodes = os.statvfs(folder)
    if inodes.f_files and inodes.f_favail < LEAST_INODES:
        message = f"only {inodes.f_favail} more files can be made below {folder}: it has few free inodes"
        yield Finding(
            level="warning", about="disk", message=message, remedy="`yamlflow prune --older-than 7d` removes files"
        )


def file_system(folder: Path) -> str:
    """The type of the file system that a folder is on; empty where nothing says so."""
    try:
        lines = Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    place, kind = "", ""
    for fields in (line.split() for line in lines):
        mount = fields[1].replace("\\040", " ")
        if len(mount) >= len(place) and folder.resolve().is_relative_to(mount):
            place, kind = mount, fields[2]
    return kind


def permissions(visit: Visit, plugin_folders: Iterable[Path]) -> Iterator[Finding]:
    """Who else may read what runs were given, and who else may change the code that they execute."""
    if open_to(visit.file, stat.S_IRGRP | stat.S_IROTH) and open_to(
        visit.file.absolute().parent, stat.S_IXGRP | stat.S_IXOTH
    ):
        message = f"other users of this machine may read {visit.file}: inputs and results of all runs"
        yield Finding(
            level="warning", about="files", message=message, remedy=f"chmod -R go-rwx {visit.file.absolute().parent}"
        )
    for folder in plugin_folders:
        loose = [path for path in (folder, *sorted(folder.glob("*.py"))) if open_to(path, stat.S_IWGRP | stat.S_IWOTH)]
        for path in loose[:1]:
            message = f"other users of this machine may write to {path}: what they write there runs as you"
            yield Finding(level="warning", about="plugins", message=message, remedy=f"chmod -R go-w {folder}")


def open_to(path: Path, bits: int) -> bool:
    """Whether others have one of some rights on a path."""
    try:
        return bool(path.stat().st_mode & bits)
    except OSError:
        return False
