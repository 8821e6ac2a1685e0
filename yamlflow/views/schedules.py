"""Entries of schedules: when they are due, and what came of the last time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

from ..clock import to_datetime, to_text
from ..outcome import Json
from ..packages import Loaded
from ..store.base import Store
from ..timetable import Entry, entries_of, is_same


@dataclass(frozen=True, kw_only=True)
class ScheduleView:
    """One entry at one moment."""

    entry: Entry
    #: The next times; the first may have passed, when nothing looks after it.
    next: tuple[int, ...]
    #: Whether a process has looked after it, in this form.
    known: bool
    last_at: int | None = None
    last_run: str | None = None
    note: str | None = None

    def local(self, at: int) -> str:
        """A time as the entry's own zone reads it: ``2026-03-29 03:00 CEST``."""
        return to_datetime(at).astimezone(self.entry.times.zone).strftime("%Y-%m-%d %H:%M %Z")

    def to_json(self) -> dict[str, Json]:
        """The shape that ``--json`` prints; ``next`` is in the entry's zone, all else in UTC."""
        zone = self.entry.times.zone
        return {
            "package": self.entry.package,
            "entry": self.entry.number,
            "cron": self.entry.cron,
            "timezone": self.entry.timezone,
            "catch_up": self.entry.catch_up,
            "inputs": self.entry.inputs,
            "next_at": to_text(self.next[0]) if self.next else None,
            "next": [to_datetime(at).astimezone(zone).isoformat() for at in self.next],
            "known": self.known,
            "last_at": None if self.last_at is None else to_text(self.last_at),
            "last_run": self.last_run,
            "note": self.note,
        }


def schedules_of(store: Store, packages: Iterable[Loaded], *, now: int, count: int = 1) -> list[ScheduleView]:
    """The entries of some packages, each with its next ``count`` times."""
    rows = {(row.package, row.entry): row for row in store.schedules()}
    found = []
    for one in packages:
        for entry in entries_of(one):
            row = rows.get((entry.package, entry.number))
            if row is None or not is_same(entry, row):
                found.append(ScheduleView(entry=entry, next=tuple(islice(entry.times.times(now), count)), known=False))
                continue
            first = () if row.next_at is None else (row.next_at,)
            more = () if row.next_at is None else islice(entry.times.times(row.next_at), count - 1)
            found.append(
                ScheduleView(
                    entry=entry, next=(*first, *more), known=True, last_at=row.last_at, last_run=row.last_run,
                    note=row.note,
                )
            )  # fmt: skip
    return found
