"""Working in the foreground: one worker loop in this thread, a view of what happens, and an orderly end.

The first SIGINT, SIGTERM or SIGHUP takes nothing more and hands back what is in hand; the second one ends the process at once,
which costs no more than a crash would.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Any, Protocol

from .. import supervised
from ..clock import SECOND, Clock, SystemClock
from ..guard import MARK
from ..rows import EventRow
from ..speech import heard
from ..store.base import Reader
from ..worker import PATIENCE
from .lines import to_stderr

if TYPE_CHECKING:
    from ..runtime import Runtime


class View(Protocol):
    """Shows what happens while it happens."""

    def __enter__(self) -> Any:
        """Begin to show."""

    def __exit__(self, *_: object) -> None:
        """Leave the last state standing."""

    def take(self, event: EventRow) -> None:
        """Take in one event of the run."""

    def say(self, text: str) -> None:
        """Show a remark."""


class Silent:
    """Shows nothing."""

    def __enter__(self) -> Silent:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def take(self, event: EventRow) -> None:
        """Nothing to do."""

    def say(self, text: str) -> None:
        """Nothing to do."""


class Feed:
    """Hands the events of some runs on, each once and in order: this process's own as they are committed, those of
    other processes when the store is next looked at."""

    def __init__(self, take: Callable[[EventRow], None]) -> None:
        self._take = take
        self._seen: dict[int, int] = {}
        self._handed = 0

    def follow(self, run: int, after: int = 0) -> None:
        """Hand on what follows an event number of a run."""
        self._seen[run] = after

    def hear(self, event: EventRow) -> None:
        """An event that this process has committed."""
        seen = self._seen.get(event.run)
        if seen is not None and event.seq == seen + 1:
            self._hand_on(event)

    def catch_up(self, reader: Reader) -> int:
        """Hand on everything that this process has not heard of; how many events there were since the last time."""
        for run, seen in list(self._seen.items()):
            while batch := reader.events(run, after=seen, limit=1000):
                for event in batch:
                    self._hand_on(event)
                seen = batch[-1].seq
        handed, self._handed = self._handed, 0
        return handed

    def _hand_on(self, event: EventRow) -> None:
        self._seen[event.run] = event.seq
        self._handed += 1
        self._take(event)


class Signals:
    """While it holds, SIGINT, SIGTERM and SIGHUP ask this process to stop; asked twice, it ends at once.

    A SIGHUP that whoever started it lets it ignore (``nohup``) is ignored.
    """

    def __init__(self, wake_up: Callable[[], None], *, status: int) -> None:
        self.asked = 0
        self._asked_at = self._direct = self._handed_on = 0
        self._clock: Clock = SystemClock()
        self._wake_up = wake_up
        self._status = status
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Signals:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, supervised.HANDED_ON):
            if number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN:
                continue
            self._before[number] = signal.signal(number, self._hear)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        now = self._clock.steady()
        if number == supervised.HANDED_ON:
            self._handed_on += 1
        elif not self._direct or now - self._asked_at >= supervised.TOGETHER * SECOND:
            self._direct, self._asked_at = self._direct + 1, now
        asked = max(self._direct, self._handed_on)
        if asked == self.asked:
            return
        self.asked = asked
        if self.asked > 1:
            supervised.life.ended(self._status)
            os._exit(self._status)
        self._wake_up()


@heard()
def work(
    runtime: Runtime,
    done: Callable[[], bool],
    *,
    grace: int = 0,
    patience: int | None = PATIENCE,
    cycles: int | None = None,
    kill_grace: float | None = None,
) -> None:
    """Work as ``Worker.run`` does, and tell people of a store that is out of reach."""
    supervised.life.marks(runtime.bench.guard.env.get(MARK, ""))
    supervised.life.beat()
    runtime.worker.run(done, cycles=cycles, grace=grace, kill_grace=kill_grace, patience=patience, say=to_stderr)
