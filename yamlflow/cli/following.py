"""Working on some runs until they have ended, with whatever view fits where the output goes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ..plugins import Plugins
from ..project import Project
from ..rows import EventRow, RunRow
from ..views.board import Board
from ..views.steps import tree_of
from .ending import exit_status, interrupted, tell
from .foreground import Ended, Feed, Signals, Silent, View, work
from .lines import Lines, Several
from .opening import working

if TYPE_CHECKING:
    import click

    from ..runtime import Runtime

INTERRUPTED = 130


def view_for(title: str, *, quiet: bool, several: bool = False) -> View:
    """A tree on a terminal, lines elsewhere, nothing when nothing is wanted."""
    if quiet:
        return Silent()
    if several:
        return Several()
    if sys.stderr.isatty():
        from .live import Live

        return Live(title)
    return Lines()


def follow(
    ctx: click.Context,
    project: Project,
    plugins: Plugins,
    begin: Callable[[Runtime], Sequence[RunRow]],
    *,
    workers: int | None = None,
    quiet: bool = False,
    as_document: bool = False,
    title: str = "",
    several: bool = False,
) -> int:
    """Open the store, begin (or find) some runs, work until they have ended, and tell what came of them.

    ``begin`` gives the runs; none is nothing to do. The exit status: see ``cli``.
    """
    feed = Feed(lambda event: view.take(event))
    ended: list[Ended] = []
    mine: set[int] = set()

    def hear(event: EventRow) -> None:
        feed.hear(event)
        for one in ended:
            one.hear(event)

    with working(ctx, project, plugins=plugins, on_event=hear, workers=workers, runs=mine) as runtime:
        runs = list(begin(runtime))
        if not runs:
            return 0
        mine.update(run.key for run in runs)
        view = view_for(f"{title}  {runs[0].id}", quiet=quiet, several=several)
        for run in runs:
            feed.follow(run.key, recall(runtime, view, run))
        done = Ended(runtime, runs, feed)
        ended.append(done)
        with Signals(runtime.worker.wake_up, status=INTERRUPTED) as signals:
            with view:
                work(runtime, lambda: signals.asked > 0 or done())
                feed.catch_up(runtime.store)
            return end(runtime, project, runs, quiet=quiet, as_document=as_document)


def recall(runtime: Runtime, view: View, run: RunRow) -> int:
    """Show what a run has come to so far; the number of its last event."""
    shown = view.of(run.key, run.id) if isinstance(view, Several) else view
    board: Board | None = getattr(shown, "board", None)
    with runtime.store.transaction() as tx:
        last = tx.last_event(run.key)
    if board is None or run.status == "pending":
        return last
    tree = tree_of(runtime.store, runtime.plans, run, now=runtime.clock.now(), working=True)
    board.status, board.started_at = "running", run.started_at
    if tree is not None:
        board.recall(tree)
    return last


def end(runtime: Runtime, project: Project, runs: Sequence[RunRow], *, quiet: bool, as_document: bool) -> int:
    """Tell what came of runs: those that have ended, and those that were left."""
    now = [runtime.store.run_at(run.key) or run for run in runs]
    left = [run for run in now if run.ended_at is None]
    for run in now:
        if run.ended_at is not None:
            tell(runtime, project, run, as_document=as_document, quiet=quiet)
    if left:
        interrupted(project, left)
        return INTERRUPTED
    return exit_status(now)
