"""What happened in a test, in order, each line with its time since the start."""

from __future__ import annotations

import json
from collections.abc import Callable

from ..duration import format_duration
from ..outcome import Json
from ..rows import EventRow

#: Events that say nothing new in a story, or differ between two plays of one test.
UNTOLD = frozenset({"step.ready", "step.progress", "step.drawn", "log"})
#: Parts of a payload that are about machines.
MACHINE = frozenset({"worker", "epoch", "lost", "digest", "key"})
#: Lines that are printed; of more, the first and the last.
FIRST, LAST = 15, 45


class Story:
    """Gathers what happens."""

    def __init__(self, start: int, name_of: Callable[[int], str], own: str) -> None:
        self._start = start
        self._name_of = name_of
        self._own = own
        self.events: list[EventRow] = []
        self._lines: list[tuple[int, EventRow | str]] = []

    def take(self, event: EventRow) -> None:
        """Take in an event of the durable log."""
        self.events.append(event)
        if event.kind not in UNTOLD:
            self._lines.append((event.at, event))

    def remark(self, at: int, text: str) -> None:
        """Take in what the test itself does."""
        self._lines.append((at, text))

    def lines(self) -> list[str]:
        """All of it: ``+2h  ask: step waiting, signal: approval``."""
        return [f"+{format_duration(at - self._start):<10} {self._words(what)}" for at, what in self._lines]

    def told(self) -> list[str]:
        """As much as is worth printing."""
        lines = self.lines()
        if len(lines) <= FIRST + LAST:
            return lines
        left_out = f"… {len(lines) - FIRST - LAST} lines left out"
        return [*lines[:FIRST], left_out, *lines[-LAST:]]

    def _words(self, what: EventRow | str) -> str:
        if isinstance(what, str):
            return f"· {what}"
        run = self._name_of(what.run)
        about = what.step or ("the run" if what.kind.startswith("run.") else "the package")
        verb = what.kind.partition(".")[2] or what.kind
        where = "" if run == self._own else f"[{run}] "
        return f"{where}{about}: {verb}{details(what, self._start)}"


def details(event: EventRow, start: int) -> str:
    """What an event's payload says, as words."""
    payload = json.loads(event.payload) if event.payload else {}
    if not isinstance(payload, dict):
        return f", {json.dumps(payload)}"
    parts = [
        f"{name} {value_text(name, value, start)}"
        for name, value in payload.items()
        if name not in MACHINE and value not in (None, "", {}, []) and not (name == "attempt" and value in (0, 1))
    ]
    return f" ({', '.join(parts)})" if parts else ""


def value_text(name: str, value: Json, start: int) -> str:
    """A part of a payload; moments as time since the start."""
    if name in ("at", "until", "available_at", "token_at") and isinstance(value, int):
        return f"+{format_duration(value - start)}" if value >= start else f"-{format_duration(start - value)}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
