"""Clocks that move only when told to, and chance that is always the same."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from ..clock import SystemClock

#: When a ``FakeClock`` starts: 2026-01-01T00:00:00Z.
T0 = 1_767_225_600_000


class FakeClock:
    """A clock that moves only when told to, and chance that is always the same."""

    def __init__(self, start: int = T0) -> None:
        self._now = start
        self._steady = 1_000_000
        self._drawn = 0

    def now(self) -> int:
        """Milliseconds since the epoch."""
        return self._now

    def steady(self) -> int:
        """Milliseconds on the clock that never jumps."""
        return self._steady

    def random(self) -> float:
        """The next number of a fixed sequence in [0, 1), evenly spread."""
        self._drawn += 1
        return (self._drawn * 0.6180339887498949) % 1.0

    def uuid(self) -> str:
        """The next UUID of a fixed sequence."""
        self._drawn += 1
        # Spread over all digits: short ids are cut from the front.
        return str(uuid.UUID(int=(self._drawn * 0x9E3779B97F4A7C15F39CC0605CEDC835) % 2**128, version=4))

    def advance(self, milliseconds: int) -> None:
        """Let time pass."""
        self._now += milliseconds
        self._steady += milliseconds

    def jump(self, milliseconds: int) -> None:
        """Set the wall clock forward or back, as somebody might; ``steady`` does not move."""
        self._now += milliseconds


class VirtualClock(FakeClock):
    """The dates of a test beside the steady clock of the machine, by which leases and processes of real steps live."""

    def __init__(self, start: int = T0) -> None:
        super().__init__(start)
        self._machine = SystemClock()
        self._held: int | None = None

    def steady(self) -> int:
        """The machine's own."""
        return self._machine.steady() if self._held is None else self._held

    @contextmanager
    def held(self) -> Iterator[None]:
        """Meanwhile ``steady`` stands still, so that two readings differ by what was added between them alone."""
        self._held = self._machine.steady()
        try:
            yield
        finally:
            self._held = None


class RealTimeClock(SystemClock):
    """Deadlines of what really runs are real; dates are not."""

    def now(self) -> int:
        return T0
