"""Schedules at work: which entries this process looks after, when the next one is due, and starting its runs.

When an entry is due next stands in the store. A time is acted on in one transaction, which reads the entry anew, stores
the run and moves the entry on: however many processes look after it and whenever one of them is killed, each time is acted
on once. A run's id is made of its package and its time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import islice, takewhile

from .clock import MINUTE, Clock, to_datetime, to_text
from .cron import Cron, InvalidCron
from .engine import commands
from .engine.retention import declare_retention
from .engine.starts import Start
from .engine.work import Work
from .errors import InvalidPackage, Problem, StartRefused, StoreError, UserError, YamlflowError
from .outcome import Json
from .packages import Loaded
from .rows import ScheduleRow
from .starting import Shelf
from .store.base import Store

#: A time that passed no longer ago than this is on time: a process was busy, or was just started anew.
GRACE = MINUTE
#: Times that ``catch_up: all`` makes up for at most, the newest ones.
MOST = 1000
#: Times that were missed are counted up to here: a year of minutes is not looked through one by one.
COUNTED = 2 * MOST
#: Who starts these runs.
BY = "schedule"

_LOG = logging.getLogger("yamlflow.schedule")
#: Gives a package as it is now; it may have been changed since.
Source = Callable[[], Loaded]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One item of a package's ``schedule``."""

    package: str
    #: Its position in the list.
    number: int
    #: As it is written.
    cron: str
    timezone: str
    times: Cron
    #: ``none``, ``latest`` or ``all``.
    catch_up: str
    inputs: dict[str, Json]

    def run_id(self, moment: int) -> str:
        """``nightly-2026-01-01T05.00.00Z``; for entries after the first with their number."""
        time = to_datetime(moment).strftime("%Y-%m-%dT%H.%M.%SZ")
        return f"{self.package}-{time}" + (f".{self.number}" if self.number else "")


@dataclass(frozen=True, kw_only=True)
class Fired:
    """What came of one time of an entry."""

    entry: Entry
    #: The time itself, which may be earlier than now.
    at: int
    #: The run that was started; None when none was.
    run_id: str | None = None
    #: Why none was, or what else is to be said of it.
    note: str | None = None
    next_at: int | None = None


def entries_of(one: Loaded) -> list[Entry]:
    """The entries of a package's ``schedule``. ``InvalidPackage`` for a cron text or time zone that cannot be."""
    found, problems = [], []
    for number, item in enumerate(one.package.schedule):
        zone = item.get("timezone") or "UTC"
        try:
            times = Cron.read(item["cron"], zone)
        except InvalidCron as wrong:
            place = ("schedule", number, "timezone" if "time zone" in wrong.message else "cron")
            problems.append(
                one.document.locate(Problem(message=wrong.message, remedy=wrong.remedy, pointer=place))
            )  # fmt: skip
            continue
        found.append(
            Entry(
                package=one.package.name, number=number, cron=item["cron"], timezone=zone, times=times,
                catch_up=item.get("catch_up") or "none", inputs=dict(item.get("inputs") or {}),
            )
        )  # fmt: skip
    if problems:
        raise InvalidPackage(problems)
    return found


class Timetable:
    """The schedules that one process looks after."""

    def __init__(
        self,
        store: Store,
        shelf: Shelf,
        *,
        clock: Clock,
        transaction: Callable[[], AbstractContextManager[Work]],
        on_fired: Callable[[Fired], None] | None = None,
    ) -> None:
        self._store = store
        self._shelf = shelf
        self._clock = clock
        self._transaction = transaction
        #: Told what came of each time, once it is durable.
        self.on_fired = on_fired
        self._sources: dict[str, Source] = {}
        self._held: dict[str, tuple[Loaded, list[Entry]]] = {}
        #: When the first of these entries is due; None when none ever is.
        self.next_at: int | None = None

    # -- which schedules

    def add(self, one: Loaded, source: Source | None = None) -> list[Entry]:
        """Look after a package's schedule from now on; with ``source`` also as it is changed. ``InvalidPackage``."""
        entries = entries_of(one)
        if source is not None:
            self._sources[one.package.name] = source
        self._take(one, entries)
        return entries

    def _take(self, one: Loaded, entries: list[Entry]) -> None:
        self._held[one.package.name] = (one, entries)
        now = self._clock.now()
        with self._transaction() as work:
            declare_retention(work, one.plan)
            known = {row.entry: row for row in work.tx.schedules_of(one.package.name)}
            for entry in entries:
                row = known.get(entry.number)
                if row is None or (row.cron, row.timezone) != (entry.cron, entry.timezone):
                    work.tx.put_schedule(
                        ScheduleRow(
                            entry.package, entry.number, entry.cron, entry.timezone, entry.times.after(now), None
                        )
                    )
            work.tx.drop_schedules(one.package.name, len(entries))
        self._look()

    def entries(self) -> list[tuple[Entry, ScheduleRow | None]]:
        """Every entry with what is known of it."""
        rows = {(row.package, row.entry): row for row in self._store.schedules()}
        return [
            (entry, rows.get((entry.package, entry.number)))
            for _, entries in self._held.values()
            for entry in entries
        ]  # fmt: skip

    def refresh(self) -> list[str]:
        """Take up packages that were changed; the names of those that were. A broken one is told of, and stays as it was."""
        changed = []
        for name, source in list(self._sources.items()):
            try:
                one = source()
                if one.document.digest != self._held[name][0].document.digest:
                    self._take(one, entries_of(one))
                    changed.append(name)
            except (UserError, OSError) as wrong:
                _LOG.warning("%s: the package stays as it was: %s", name, wrong)
        return changed

    def _look(self) -> None:
        times = [row.next_at for entry, row in self.entries() if row is not None and is_same(entry, row)]
        self.next_at = min((at for at in times if at is not None), default=None)

    # -- acting on them

    def fire(self) -> list[Fired]:
        """Act on every time that is due: what came of each."""
        now = self._clock.now()
        if self.next_at is None or self.next_at > now:
            return []
        fired: list[Fired] = []
        for entry, row in self.entries():
            if row is not None and is_same(entry, row) and row.next_at is not None and row.next_at <= now:
                fired += self._fire(entry, row.next_at, now)
        self._look()
        return fired

    def _fire(self, entry: Entry, due: int, now: int) -> list[Fired]:
        times, passed = due_times(entry, due, now)
        note = None
        if passed:
            count = f"more than {COUNTED}" if passed > COUNTED else str(passed)
            note = f"{count} earlier time{'s' if passed > 1 else ''} passed over (catch_up: {entry.catch_up})"
        if not times:
            return self._keep(entry, due, Fired(entry=entry, at=due, note=note, next_at=entry.times.after(now)))
        fired: list[Fired] = []
        for number, at in enumerate(times):
            following = times[number + 1] if number + 1 < len(times) else entry.times.after(at)
            one = self._start(entry, due, Fired(entry=entry, at=at, note=note, next_at=following))
            if not one:
                return fired
            fired += one
            due, note = following or 0, None
        return fired

    def _start(self, entry: Entry, due: int, wanted: Fired) -> list[Fired]:
        """Start one run; empty when another process was there first."""
        run_id = entry.run_id(wanted.at)
        try:
            start = self._prepare(entry, run_id, wanted.at)
            with self._transaction() as work:
                if not self._is_due(work, entry, due):
                    return []
                commands.start(work, start)
                fired = Fired(entry=entry, at=wanted.at, run_id=run_id, note=wanted.note, next_at=wanted.next_at)
                work.tx.put_schedule(row_of(fired))
        except StoreError:
            raise
        except YamlflowError as refused:
            # Refused for good: by its inputs, or because as many runs go on as may.
            note = "; ".join(part for part in (str(refused), wanted.note) if part)
            kept = self._keep(entry, due, Fired(entry=entry, at=wanted.at, note=note, next_at=wanted.next_at))
            if kept and isinstance(refused, StartRefused):
                with self._transaction() as work:
                    commands.tell_refusal(work, refused, start)
            return kept
        self._tell(fired)
        return [fired]

    def _prepare(self, entry: Entry, run_id: str, at: int) -> Start:
        one, _ = self._held[entry.package]
        metadata: dict[str, Json] = {"schedule": entry.cron, "scheduled_at": to_text(at)}
        return self._shelf.prepare(one, entry.inputs, run_id=run_id, metadata=metadata, by=BY, if_exists="join")

    def _keep(self, entry: Entry, due: int, fired: Fired) -> list[Fired]:
        """A time that starts no run: the entry moves on."""
        with self._transaction() as work:
            if not self._is_due(work, entry, due):
                return []
            work.tx.put_schedule(row_of(fired))
        self._tell(fired)
        return [fired]

    def _is_due(self, work: Work, entry: Entry, due: int) -> bool:
        """Whether the entry is still as it was read: nobody else has acted on it, or changed it."""
        rows = work.tx.schedules_of(entry.package)
        return any(row.entry == entry.number and is_same(entry, row) and row.next_at == due for row in rows)

    def _tell(self, fired: Fired) -> None:
        if self.on_fired is not None:
            self.on_fired(fired)
        elif fired.note is not None:
            _LOG.warning("%s at %s: %s", fired.entry.package, to_text(fired.at), fired.note)


def due_times(entry: Entry, due: int, now: int) -> tuple[Sequence[int], int]:
    """The times to act on, oldest first, and how many are passed over (beyond ``COUNTED`` only that there are more)."""
    wanted = MOST if entry.catch_up == "all" else 1
    missed = [due, *islice(until(entry.times, due, now), COUNTED + wanted)]
    more = len(missed) > COUNTED + wanted
    times = newest(entry.times, now, wanted) if more else missed[-wanted:]
    if entry.catch_up == "none" and now - times[-1] > GRACE:
        times = []
    return times, COUNTED + 1 if more else len(missed) - len(times)


def until(times: Cron, after: int, now: int) -> Iterator[int]:
    """The times after a moment and up to now, in order."""
    return takewhile(lambda at: at <= now, times.times(after))


def newest(times: Cron, now: int, wanted: int) -> list[int]:
    """The last times up to now, where there are certainly that many: looked for in ever longer spans before it."""
    span = wanted * MINUTE
    while True:
        found = list(until(times, now - span, now))
        if len(found) >= wanted:
            return found[-wanted:]
        span *= 4


def is_same(entry: Entry, row: ScheduleRow) -> bool:
    """Whether the store's entry is this one, not that of another version of the package."""
    return (row.cron, row.timezone) == (entry.cron, entry.timezone)


def row_of(fired: Fired) -> ScheduleRow:
    """The entry once a time of it was acted on."""
    entry = fired.entry
    return ScheduleRow(
        entry.package, entry.number, entry.cron, entry.timezone, fired.next_at, fired.at, fired.run_id, fired.note
    )
