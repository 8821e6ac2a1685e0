"""Folders and files of a project's state: whoever makes one here keeps it from everybody else, whatever the umask says.

What was there before is left as it is: its owner may have meant it so. ``doctor`` says where others can read.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

#: Permissions of what is made here.
FOLDER, FILE = 0o700, 0o600


def make_folder(path: Path) -> None:
    """Make a folder, and those above it that are missing. Raises ``OSError``."""
    if path.is_dir():
        return
    if path.parent != path:
        make_folder(path.parent)
    try:
        path.mkdir(FOLDER)
    except FileExistsError:
        # Another process was first, or something else is there.
        if not path.is_dir():
            raise
        return
    # A umask may take permissions of the owner's away.
    path.chmod(FOLDER)


def open_file(path: str | os.PathLike[str], flags: int, dir_fd: int | None = None) -> int:
    """A descriptor, of a file that is made if need be; no link is followed in its last place. Raises ``OSError``."""
    return os.open(path, flags | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, FILE, dir_fd=dir_fd)


def make_database(path: str | os.PathLike[str]) -> None:
    """An empty file for SQLite to open, which gives its journals the same permissions; one that is there is left."""
    # What hinders it SQLite says in its own words.
    with contextlib.suppress(OSError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE))
