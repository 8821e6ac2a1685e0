"""Progress as a tree that is drawn anew a few times a second, no higher than the terminal. Reads no store."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING

import click

from ..clock import SystemClock
from ..plan import parent_path
from ..rows import EventRow
from ..views.board import Board, Entry
from .neat import beneath, neat, one_line
from .texts import LOOKS, length, short

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

#: Times a second.
REFRESH = 5
#: Running children of one fan-out that are drawn.
MOST_RUNNING = 4
COLOURS = {"bright_black": "dim", None: ""}


class Live:
    """Draws what happens; see ``foreground.View``."""

    def __init__(self, title: str, board: Board | None = None) -> None:
        # Imported here: only a terminal needs it.
        from rich.console import Console
        from rich.live import Live as Drawing

        self.board = board or Board()
        self._title = title
        self._clock = SystemClock()
        self._lock = threading.Lock()
        self._console: Console = Console(file=beneath(sys.stderr), stderr=True, highlight=False)
        self._drawing = Drawing(
            console=self._console, refresh_per_second=REFRESH, get_renderable=self._draw, transient=False,
            redirect_stdout=False, redirect_stderr=False,
        )  # fmt: skip

    def __enter__(self) -> Live:
        self._drawing.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._drawing.stop()

    def take(self, event: EventRow) -> None:
        """Take in an event; it shows when the tree is next drawn."""
        with self._lock:
            self.board.apply(event)

    def say(self, text: str) -> None:
        """A remark of the command itself, above the tree."""
        self._console.print(neat(click.unstyle(text)), markup=False)

    def _draw(self) -> Text:
        from rich.text import Text

        with self._lock:
            lines = self._lines(self._console.height - 2)
        return Text("\n", overflow="ellipsis", no_wrap=True, end="").join(lines)

    def _lines(self, most: int) -> list[Text]:
        now = self._clock.now()
        head = Entry("", self.board.status, started_at=self.board.started_at, ended_at=self.board.ended_at)
        rows = [line(head, self._title, 0, now)]
        entries = self.board.entries
        shown = [entry for entry in entries.values() if entry.path and self._inside(entry) is None]
        shown = in_tree_order(shown)
        keep = set(map(id, most_urgent(shown, most - 2)))
        for entry in shown:
            if id(entry) not in keep:
                continue
            depth = entry.path.count("/") + entry.path.count("@") + 1
            rows.append(line(entry, name_of(entry), depth, now))
            if entry.counted and entry.status == "running" and len(shown) + MOST_RUNNING < most:
                running = [each for each in self.board.running(entry) if not each.total][:MOST_RUNNING]
                rows += [line(each, each.path[len(entry.path) :], depth + 1, now) for each in running]
        if len(keep) < len(shown):
            rows.append(plain(f"  … {len(shown) - len(keep)} more steps"))
        return rows

    def _inside(self, entry: Entry) -> Entry | None:
        above = parent_path(entry.path)
        while above:
            around = self.board.entries.get(above)
            if around is not None and around.counted:
                return around
            above = parent_path(above)
        return None


def in_tree_order(entries: list[Entry]) -> list[Entry]:
    """Each step followed by those below it, siblings in the order they came."""
    below: dict[str, list[Entry]] = {}
    known = {entry.path for entry in entries}
    for entry in entries:
        above = parent_path(entry.path) or ""
        while above and above not in known:
            above = parent_path(above) or ""
        below.setdefault(above, []).append(entry)
    ordered: list[Entry] = []
    stack = list(reversed(below.get("", [])))
    while stack:
        entry = stack.pop()
        ordered.append(entry)
        stack.extend(reversed(below.get(entry.path, [])))
    return ordered


#: What is kept when the terminal is too low: the first of these.
URGENCY = {
    "running": 0,
    "failed": 1,
    "waiting": 2,
    "ready": 3,
    "canceled": 4,
    "succeeded": 5,
    "pending": 6,
    "skipped": 7,
}


def most_urgent(entries: list[Entry], most: int) -> list[Entry]:
    """As many steps as there is room for."""
    if len(entries) <= most:
        return entries
    return sorted(entries, key=lambda entry: URGENCY.get(entry.status, 9))[: max(0, most)]


def name_of(entry: Entry) -> str:
    """The last part of a step's path."""
    return entry.path[max(entry.path.rfind("/"), entry.path.rfind("@") - 1) + 1 :]


def line(entry: Entry, name: str, depth: int, now: int) -> Text:
    """One step: its sign, its name, how long, how often, how many, and what there is to say."""
    from rich.text import Text

    sign, colour = LOOKS.get(entry.status, ("?", None))
    style = COLOURS.get(colour, colour or "")
    text = Text("  " * depth, no_wrap=True)
    text.append(f"{sign} ", style)
    text.append(one_line(name), "bold" if depth == 0 else style if entry.status in ("skipped", "failed") else "")
    if entry.started_at is not None:
        text.append(f"  {length((entry.ended_at or now) - entry.started_at)}", "dim")
    if entry.attempt > 1:
        text.append(f"  attempt {entry.attempt}", "yellow")
    if entry.counted:
        text.append(f"  {bar(entry.done, entry.total)} {entry.done}/{entry.total}")
        if entry.failed:
            text.append(f", {entry.failed} failed", "red")
    if entry.note:
        text.append(f"  {one_line(short(entry.note, 100))}", "red" if entry.status == "failed" else "dim")
    return text


def bar(done: int, total: int, width: int = 20) -> str:
    """How much of a whole is done."""
    full = width * done // total if total else width
    return "━" * full + "╌" * (width - full)


def plain(text: str) -> Text:
    """A line without a step."""
    from rich.text import Text

    return Text(text, "dim", no_wrap=True)
