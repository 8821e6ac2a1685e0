"""A run while it goes on, told by its events: what lines and live pages draw. Pure; ``apply`` takes one event each.

Small groups stand on the board step by step. Of a fan-out with more than ``MANY`` children only counts stand there,
with the few children that run or failed; so a board is as large as the package, never as large as the run.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field

from ..outcome import Json
from ..plan import parent_path
from ..rows import EventRow
from .steps import StepView

#: Children of a fan-out beyond which they are only counted.
MANY = 20
#: What an event makes of a step's status.
STATUS = {
    "step.ready": "ready", "step.blocked": "waiting", "step.opened": "running", "step.leased": "running", "step.retried": "ready",
    "step.waiting": "waiting", "step.succeeded": "succeeded", "step.failed": "failed", "step.skipped": "skipped",
    "step.canceled": "canceled", "step.lost": "ready", "step.released": "ready", "step.reopened": "pending",
}  # fmt: skip
#: Below a fan-out that is only counted, a step stands on the board while a worker has it: no more than there are slots.
HELD = frozenset({"step.leased", "step.progress"})
#: Why a step was skipped, in words.
SKIPPED = {
    "if": "its `if` was false",
    "failed": "something it needs failed",
    "canceled": "something it needs was canceled",
    "needs": "what it needs did not come true",
    "concurrency": "another run has its package's key",
}
ENDED = frozenset({"succeeded", "failed", "skipped", "canceled"})


@dataclass
class Entry:
    """One step on the board."""

    path: str
    status: str = "pending"
    attempt: int = 0
    started_at: int | None = None
    ended_at: int | None = None
    #: The last error, reason or progress, in words.
    note: str = ""
    #: Of a fan-out: its children, those that have ended, and those that failed.
    total: int = 0
    done: int = 0
    failed: int = 0
    #: It has so many children that they are only counted.
    counted: bool = False


@dataclass(frozen=True, kw_only=True)
class Change:
    """What one event changed."""

    event: EventRow
    #: The step it is about; None for the run itself.
    entry: Entry | None
    #: The fan-out that only counts this step; None when the step stands on the board itself.
    inside: Entry | None = None
    told: Json = None


@dataclass
class Board:
    """The steps of one run as they stand."""

    entries: dict[str, Entry] = field(default_factory=dict)
    status: str = "pending"
    started_at: int | None = None
    ended_at: int | None = None

    def expect(self, paths: Iterable[str]) -> None:
        """Put steps on the board that have not begun."""
        for path in paths:
            self.entries.setdefault(path, Entry(path))

    def recall(self, view: StepView) -> None:
        """Put on the board what a run's rows say, as when it is resumed."""
        counted = view.total > MANY and view.form in ("for_each", "matrix")
        self.entries[view.path] = Entry(
            view.path, view.status if view.status != "waiting" or not view.total else "running", view.attempts,
            view.started_at, view.ended_at, view.reason or "", view.total, view.done, view.failed, counted,
        )  # fmt: skip
        if not counted:
            for child in view.children:
                self.recall(child)

    def apply(self, event: EventRow) -> Change:
        """Take in one event."""
        told = json.loads(event.payload) if event.payload else {}
        if event.step is None:
            return self._run(event, told)
        inside = self._counting(event.step)
        entry = self.entries.get(event.step) if inside is None else self.entries.pop(event.step, None)
        entry = entry or Entry(event.step)
        self._step(entry, event, told)
        if inside is None or event.kind in HELD:
            self.entries[event.step] = entry
        elif entry.status in ENDED and event.kind in STATUS and parent_path(event.step) == inside.path:
            inside.done += 1
            inside.failed += entry.status == "failed"
        return Change(event=event, entry=entry, inside=inside, told=told)

    def _run(self, event: EventRow, told: Json) -> Change:
        word = event.kind.removeprefix("run.")
        if word in ("started", "resumed", "retried"):
            self.status, self.ended_at = "running", None
            self.started_at = self.started_at or event.at
        elif word in ("paused", "waiting"):
            self.status = word
        elif word == "succeeds":
            pass
        elif event.kind.startswith("run."):
            self.status, self.ended_at = word, event.at
        return Change(event=event, entry=None, told=told)

    def _step(self, entry: Entry, event: EventRow, told: Json) -> None:
        before = entry.status
        entry.status = STATUS.get(event.kind, before)
        match event.kind:
            case "step.leased":
                entry.attempt, entry.started_at, entry.note = told.get("attempt", 0), event.at, ""
            case "step.opened":
                entry.started_at, entry.note = entry.started_at or event.at, ""
                entry.total = told.get("children") or entry.total
                entry.counted = entry.total > MANY
            case "step.reopened":
                entry.started_at = entry.ended_at = None
                entry.note, entry.done, entry.failed = "", 0, 0
            case "step.progress":
                entry.note = progress_text(told)
            case "step.failed" | "step.retried":
                entry.note = ": ".join(str(told[key]) for key in ("code", "message") if told.get(key))
            case "step.skipped":
                entry.note = SKIPPED.get(str(told.get("reason")), str(told.get("reason") or ""))
            case "step.canceled":
                entry.note = str(told.get("reason") or "")
            case "step.succeeded":
                entry.note = "from the cache" if told.get("reason") == "cached" else ""
            case "step.blocked":
                entry.note = f"for lock {', '.join(told.get('locks') or ())}"
            case "step.waiting":
                entry.note = waiting_text(told)
        if entry.status in ENDED and before not in ENDED:
            entry.ended_at = event.at

    def _counting(self, path: str) -> Entry | None:
        """The outermost fan-out around a step that only counts its children."""
        found = None
        above = parent_path(path)
        while above:
            entry = self.entries.get(above)
            if entry is not None and entry.counted:
                found = entry
            above = parent_path(above)
        return found

    def running(self, loop: Entry) -> list[Entry]:
        """The steps that run below a fan-out."""
        head = f"{loop.path}["
        return [entry for entry in self.entries.values() if entry.status == "running" and entry.path.startswith(head)]


def waiting_text(told: Json) -> str:
    """What a step waits for."""
    what = [f'{word} "{told[key]}"' for key, word in (("signal", "for signal"), ("run", "for run")) if told.get(key)]
    what += [f"for an answer: {told['prompt']}"] if told.get("prompt") else []
    return ", ".join(what + ([f"until {told['until']}"] if told.get("until") else []))


def progress_text(told: Json) -> str:
    """How far a step is, as it said."""
    done, total, message = told.get("done"), told.get("total"), told.get("message") or ""
    amount = "" if done is None else f"{done:g}/{total:g}" if total else f"{done:g}"
    return " ".join(part for part in (amount, str(message)) if part)
