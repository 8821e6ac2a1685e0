"""Cron expressions in a time zone: what one says, and the moments it names. Reads the time zone database, no clock.

Five fields (minute, hour, day of month, month, day of week) with ``*``, lists, ranges, steps, names (``JAN``, ``MON``),
``L`` (last day of the month), ``LW`` (its last weekday), ``5L`` (its last Friday) and ``1#2`` (its second Monday); or
``@hourly``, ``@daily``, ``@midnight``, ``@weekly``, ``@monthly``, ``@yearly``, ``@annually``. No seconds. When neither day
field begins with a star, either of them suffices.

Where clocks change, the rule is that of Debian's cron (cron(8)). An expression whose minute or hour begins with a star goes
by **elapsed time**: it names every moment at which the local clock reads so, both of two equal readings included. Any
other names **times of day**: one that the clock skips comes at the first moment after the gap, one that the clock reads
twice comes the first time, and two that fall together are one.
"""

# cronsim reads and matches expressions. It is maintained by a service that lives by it (croniter was abandoned for a year
# and changed hands), small, typed, and without dependencies. Its own treatment of clock changes is not used: it steps by
# whole hours, and so passes over times where clocks change by half an hour (Australia/Lord_Howe).

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from .clock import to_datetime
from .errors import UserError, did_you_mean

#: Names for expressions.
NAMED = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
#: No zone changes its clocks twice within this, as far as the database goes.
STRIDE = timedelta(days=1)
#: The last year that is looked at; after it an expression counts as one that never comes.
LAST_YEAR = 9990


class InvalidCron(UserError):
    """A cron expression or time zone that cannot be; ``message`` is the cause, ``remedy`` what to write instead."""

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(f"{message}. {remedy}".rstrip())
        self.message = message
        self.remedy = remedy


@dataclass(frozen=True)
class Cron:
    """One time table: an expression in a time zone. ``read`` makes one that is known to be sound."""

    #: Five fields, names replaced.
    fields: str
    zone: ZoneInfo

    @classmethod
    def read(cls, text: str, timezone: str = "UTC") -> Cron:
        """An expression and a zone as people write them. ``InvalidCron`` for what cannot be, or never comes."""
        cron = cls(fields_of(text), zone_of(timezone))
        if next(walls(cron.fields, datetime(2000, 1, 1)), None) is None:
            raise never(text)
        return cron

    def after(self, moment: int) -> int | None:
        """The first time after a moment, both in milliseconds since the epoch; None when it never comes again."""
        return next(self.times(moment), None)

    def times(self, moment: int) -> Iterator[int]:
        """All times after a moment, in order."""
        start = to_datetime(moment).replace(microsecond=0)
        found = self._elapsed(start) if self.by_elapsed_time else self._of_day(start)
        return (round(each.timestamp() * 1000) for each in found)

    @property
    def by_elapsed_time(self) -> bool:
        """Whether it names all readings of the clock, not times of day."""
        minute, hour, *_ = self.fields.split()
        return minute.startswith("*") or hour.startswith("*")

    def _elapsed(self, start: datetime) -> Iterator[datetime]:
        """From clock change to clock change: between two of them the local clock is UTC, moved by an offset."""
        seen, offset = start, offset_at(self.zone, start)
        wall_after = local(start, offset)
        while True:
            edge: datetime | None = None
            for wall in walls(self.fields, wall_after):
                moment = wall.replace(tzinfo=UTC) - offset
                edge = change(self.zone, seen, moment)
                if edge is not None:
                    break
                yield moment
                seen = moment
            if edge is None:
                return
            seen, offset = edge, offset_at(self.zone, edge)
            # A time at the very moment of a change belongs to what follows it.
            wall_after = local(edge, offset) - timedelta(seconds=1)

    def _of_day(self, start: datetime) -> Iterator[datetime]:
        """Local readings in order, each at the one moment that stands for it."""
        last = start
        for wall in walls(self.fields, local(start, offset_at(self.zone, start))):
            moment = moment_of(self.zone, wall)
            if moment > last:
                yield moment
                last = moment


def fields_of(text: str) -> str:
    """The five fields of an expression, checked. ``InvalidCron``."""
    from cronsim import CronSim, CronSimError

    written = text.strip()
    if written.startswith("@"):
        if written.lower() not in NAMED:
            known = did_you_mean(written.lower(), NAMED) or f"There are: {', '.join(NAMED)}."
            raise InvalidCron(f'there is no cron name "{written}"', known)
        return NAMED[written.lower()]
    fields = written.split()
    if len(fields) != 5:
        seconds = " Seconds are not among them." if len(fields) == 6 else ""
        raise InvalidCron(
            f'"{text}" has {len(fields)} fields, not five',
            f'Write minute, hour, day of month, month, day of week, for example "0 6 * * *".{seconds}',
        )
    try:
        CronSim(written, datetime(2000, 1, 1))
    except CronSimError as wrong:
        if field := worst(fields):
            raise InvalidCron(f'"{text}" is no cron expression: {field} cannot be', BOUNDS) from None
        raise never(text) from wrong
    return " ".join(fields).upper()


def never(text: str) -> InvalidCron:
    """An expression that can be read, and names no time."""
    return InvalidCron(f'"{text}" never comes', "Choose a day that its months have.")


BOUNDS = (
    "Minutes go from 0 to 59, hours from 0 to 23, days from 1 to 31, months from 1 to 12, days of the week from 0 to 7."
)
PLACES = ("minute", "hour", "day of month", "month", "day of week")


def worst(fields: list[str]) -> str:
    """Which field cannot be read on its own; "" when each can."""
    from cronsim import CronSim, CronSimError

    for place, field in enumerate(fields):
        alone = ["*"] * 5
        alone[place] = field
        try:
            CronSim(" ".join(alone), datetime(2000, 1, 1))
        except CronSimError:
            return f'the {PLACES[place]} "{field}"'
    return ""


def zone_of(name: str) -> ZoneInfo:
    """A time zone by its IANA name. ``InvalidCron`` when there is none."""
    from zoneinfo import available_timezones

    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        known = available_timezones()
        last = {each.rpartition("/")[2].lower(): each for each in known}
        near = last.get(name.lower().replace(" ", "_"))
        hint = f'Did you mean "{near}"?' if near else did_you_mean(name, known)
        remedy = hint or 'Write an IANA name, such as "Europe/Berlin".'
        raise InvalidCron(f'there is no time zone "{name}"', remedy) from None


def walls(fields: str, after: datetime) -> Iterator[datetime]:
    """The clock readings (without a zone) that an expression names after one, as long as there are any."""
    from cronsim import CronSim, CronSimError

    try:
        for wall in CronSim(fields, after):
            if wall.year > LAST_YEAR:
                return
            yield wall
    except (CronSimError, OverflowError):
        # Days that no month has.
        return


def offset_at(zone: ZoneInfo, moment: datetime) -> timedelta:
    """How far the local clock is ahead of UTC at a moment."""
    return moment.astimezone(zone).utcoffset() or timedelta()


def local(moment: datetime, offset: timedelta) -> datetime:
    """What a clock reads that is ahead of UTC by an offset."""
    return (moment + offset).replace(tzinfo=None)


def change(zone: ZoneInfo, since: datetime, until: datetime) -> datetime | None:
    """The first moment after ``since`` and not after ``until`` at which the local clock is changed; None without one."""
    low, offset = since, offset_at(zone, since)
    while low < until:
        high = min(low + STRIDE, until)
        if offset_at(zone, high) != offset:
            return bisect(zone, low, high, offset)
        low = high
    return None


def bisect(zone: ZoneInfo, low: datetime, high: datetime, offset: timedelta) -> datetime:
    """The second, after ``low`` and not after ``high``, from which the offset is another."""
    while high - low > timedelta(seconds=1):
        middle = low + timedelta(seconds=int((high - low).total_seconds()) // 2)
        low, high = (middle, high) if offset_at(zone, middle) == offset else (low, middle)
    return high


def moment_of(zone: ZoneInfo, wall: datetime) -> datetime:
    """The moment that stands for a reading of the local clock: its first one, or the first after a gap."""
    first = wall.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if first.astimezone(zone).replace(tzinfo=None) == wall:
        return first
    # In a gap the first reading goes by the offset before it, and lies behind it; the second lies before it.
    second = wall.replace(tzinfo=zone, fold=1).astimezone(UTC)
    return bisect(zone, second, first, offset_at(zone, second))
