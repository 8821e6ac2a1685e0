"""Time, waiting and chance. The only module that may ask for them; the linter bans it elsewhere.

All times in the core are whole milliseconds. ``now`` is wall time since the epoch (UTC), for people, schedules and
timers. ``steady`` is time that no one can set, the same for all processes of a machine since its boot, for leases: a
wall clock that jumps must not expire one.
"""

from __future__ import annotations

import random
import time
import uuid
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Protocol

#: Milliseconds.
SECOND = 1000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
#: Two looks at clocks, one right after the other, are at most so far apart.
TOGETHER = 20


class Clock(Protocol):
    """What the engine's callers ask for time and chance."""

    def now(self) -> int:
        """Milliseconds since the epoch, UTC."""

    def steady(self) -> int:
        """Milliseconds on a clock that never jumps, shared by the processes of this machine since its boot."""

    def random(self) -> float:
        """A number in [0, 1)."""

    def uuid(self) -> str:
        """A new random UUID as text."""


class SystemClock:
    """The machine's own clocks and chance.

    ``now`` is what has passed on the steady clock, and how far the wall clock was ahead of that when somebody last looked:
    all processes on a store look together, see ``engine.time``. A wall clock that is set meanwhile neither fires timers
    early nor holds them up.
    """

    def __init__(self) -> None:
        self._offset = self.offset()

    def now(self) -> int:
        return self._offset + self.steady()

    def steady(self) -> int:
        return time.clock_gettime_ns(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)) // 1_000_000

    def offset(self) -> int:
        """How far the wall clock is ahead of the steady one just now."""
        while True:
            before, wall, after = self.steady(), time.time_ns() // 1_000_000, self.steady()
            # Else this process was held up between two looks, and what they say does not belong together.
            if after - before <= TOGETHER:
                return wall - after

    def keep_to(self, offset: int) -> None:
        """Reckon with this offset from now on."""
        self._offset = offset

    def random(self) -> float:
        return random.random()

    def uuid(self) -> str:
        return str(uuid.uuid4())


class WallClock(SystemClock):
    """The same, with the wall time as it is now: for schedules, which follow a clock that is put right."""

    def now(self) -> int:
        return time.time_ns() // 1_000_000


@cache
def boot_id() -> str:
    """Names this boot of this machine: a lease taken under another one is void."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return f"boot-{int(time.time() - time.monotonic())}"


def to_datetime(milliseconds: int) -> datetime:
    """A time of the core as an aware datetime in UTC."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def to_text(milliseconds: int) -> str:
    """A time of the core as ISO 8601 in UTC with milliseconds: ``2026-11-22T03:24:00.000Z``."""
    return to_datetime(milliseconds).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def wait(milliseconds: int) -> None:
    """Let time pass in this thread; a signal's handler runs meanwhile."""
    time.sleep(milliseconds / 1000)
