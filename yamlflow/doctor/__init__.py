"""What is wrong, or only looks so, with a machine, a project, a store and the runs in it: cause and remedy of each.

Nothing is changed, no lock is held for longer than a statement takes, and what is looked at is bounded: a store of a
hundred thousand runs is looked at in a second. A wait that is as it should be is never a warning.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

#: The words of ``Finding.level``, from bad to good.
LEVELS = ("error", "warning", "hint", "ok")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was looked at."""

    #: ``error``: something is broken. ``warning``: somebody has to do something, or it stays so. ``hint``: worth knowing.
    level: str
    #: ``python``, ``sqlite``, ``clock``, ``disk``, ``store``, ``wal``, ``workers``, ``processes``, ``runs``, ``kinds``,
    #: ``secrets``, ``files``, ``plugins``.
    about: str
    message: str
    #: What to do, with the command to type; empty where there is nothing to do.
    remedy: str = ""

    def to_json(self) -> dict[str, str]:
        """The shape that ``--json`` prints."""
        return {"level": self.level, "about": self.about, "message": self.message, "remedy": self.remedy}

    def __str__(self) -> str:
        return f"{self.about}: {self.message}{f' → {self.remedy}' if self.remedy else ''}"


@dataclass(frozen=True, kw_only=True)
class Visit:
    """What is to be looked at."""

    #: The folder of the project's state: of logs, artifacts, projections.
    home: Path
    #: The store's file, there or not, and how people name it.
    file: Path
    url: str
    #: Milliseconds since the epoch.
    now: int
    #: A command as it can be pasted: ``resume r`` with the program's name, and with the store where it needs to be named.
    command: Callable[[str], str]


def examined(*looks: Iterator[Finding]) -> list[Finding]:
    """What several looks found, as it comes."""
    return [finding for look in looks for finding in look]


def several(names: list[str], more: int = 0) -> str:
    """A few names, and how many there are besides."""
    rest = more + len(names) - 3
    return f"{', '.join(names[:3])}{f' and {rest} more' if rest > 0 else ''}"


def megabytes(size: int) -> str:
    """A size as people say it."""
    return f"{size / 2**30:.1f} GB" if size >= 2**30 else f"{max(1, size // 2**20)} MB"
