"""Progress as plain lines, one a change: for pipes, log files and terminals that draw nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import click

from ..lifecycle import MAX_LOST
from ..rows import EventRow
from ..views.board import Board, Change, Entry
from ..views.outline import counted
from .neat import one_line
from .texts import clock_time, length, mark, short

#: Failures inside one counted fan-out that get a line of their own.
MOST_FAILURES = 10
#: Milliseconds between two lines that count.
SPACING = 1000


def to_stderr(line: str) -> None:
    """A line for people, beside the results."""
    try:
        click.echo(line, err=True)
    except (BrokenPipeError, OSError):
        # Nobody listens any more; the run goes on.
        return


@dataclass
class Lines:
    """Writes what happens; see ``foreground.View``."""

    board: Board = field(default_factory=Board)
    #: Stands before each step, where several runs are told of.
    prefix: str = ""
    write: Callable[[str], None] = to_stderr
    _failures: dict[str, int] = field(default_factory=dict)
    _counted: dict[str, int] = field(default_factory=dict)

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def take(self, event: EventRow) -> None:
        """Take in an event, and say what is worth saying."""
        change = self.board.apply(event)
        if change.inside is not None:
            self._count(change, change.inside)
        elif change.entry is not None and change.entry.path:
            self._say(change.event.at, *words(change, change.entry))

    def say(self, text: str) -> None:
        """A remark of the command itself."""
        self.write(text)

    def _say(self, at: int, status: str, text: str) -> None:
        if text:
            self.write(f"{clock_time(at)} {mark(status)} {one_line(self.prefix + text)}")

    def _count(self, change: Change, loop: Entry) -> None:
        entry, at = change.entry, change.event.at
        assert entry is not None
        if change.event.kind == "step.failed" and change.told.get("attempt"):
            told = self._failures[loop.path] = self._failures.get(loop.path, 0) + 1
            if told <= MOST_FAILURES:
                self._say(at, *words(change, entry))
            elif told == MOST_FAILURES + 1:
                self._say(at, "failed", f"{loop.path}: further failures are only counted")
        last = self._counted.setdefault(loop.path, loop.started_at or at)
        if at - last >= SPACING and loop.done < loop.total:
            self._counted[loop.path] = at
            failed = f", {loop.failed} failed" if loop.failed else ""
            self._say(at, "running", f"{loop.path}: {loop.done} of {loop.total} done{failed}")


class Several:
    """Lines of several runs, each told by a board of its own; see ``foreground.View``."""

    def __init__(self) -> None:
        self._runs: dict[int, Lines] = {}

    def __enter__(self) -> Several:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def of(self, run: int, name: str) -> Lines:
        """The lines of one run."""
        return self._runs.setdefault(run, Lines(prefix=f"{name}: "))

    def take(self, event: EventRow) -> None:
        """Take in an event of any of them."""
        self._runs[event.run].take(event)

    def say(self, text: str) -> None:
        """A remark of the command itself."""
        to_stderr(text)


def words(change: Change, entry: Entry) -> tuple[str, str]:
    """The status and the sentence for a step's event; an empty sentence when it needs none."""
    told, path = change.told, entry.path
    took = (
        "" if entry.started_at is None or entry.ended_at is None else f" in {length(entry.ended_at - entry.started_at)}"
    )
    match change.event.kind:
        case "step.leased":
            return "running", f"{path} started{f', attempt {entry.attempt}' if entry.attempt > 1 else ''}"
        case "step.opened" if entry.total:
            return "running", f"{path} opened, {counted(entry.total, 'item')}"
        case "step.succeeded":
            count = f", {counted(max(entry.done, entry.total), 'item')}" if entry.total else ""
            again = f", attempt {entry.attempt}" if entry.attempt > 1 else ""
            note = f" {entry.note}" if entry.note else ""
            return "succeeded", f"{path} succeeded{note}{took}{again}{count}"
        case "step.failed":
            return "failed", f"{path} failed{took}: {short(entry.note, 300)}"
        case "step.retried":
            wait = max(0, (told.get("at") or change.event.at) - change.event.at)
            again = f"; again in {length(wait)}" if wait else "; again"
            return "failed", f"{path} failed, attempt {told.get('attempt')}: {short(entry.note, 200)}{again}"
        case "step.skipped":
            return "skipped", f"{path} skipped ({entry.note})"
        case "step.canceled":
            return "canceled", f"{path} canceled{f' ({entry.note})' if entry.note else ''}"
        case "step.lost":
            how = told.get("message") or f"its worker {told.get('worker', '')} was lost"
            return "lost", f"{path}: {how}; loss {told.get('lost', 1)} of {MAX_LOST}"
        case "step.waiting":
            return "waiting", f"{path} waits{f' {entry.note}' if entry.note else ''}"
        case "step.progress":
            return "running", f"{path}: {entry.note}"
    return entry.status, ""
