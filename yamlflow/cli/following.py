"""Working on some runs until they have ended, with whatever view fits where the output goes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import click

from .. import supervised
from ..plugins import Plugins
from ..project import Project
from ..rows import EventRow, RunRow
from ..views.board import Board
from ..views.steps import tree_of
from .ending import document_of, exit_status, interrupted, tell
from .followed import Followed, waiting_for
from .foreground import Feed, Signals, Silent, View, work
from .lines import Lines, Several
from .opening import working
from .texts import as_json

if TYPE_CHECKING:
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
    new: bool = False,
) -> int:
    """Open the store, begin (or find) some runs, work until they have ended, and tell what came of them.

    ``new`` makes the store when there is none. The exit status: see ``cli``.
    """
    followed = Followed()
    feed = Feed(lambda event: view.take(event))

    def hear(event: EventRow) -> None:
        if event.kind == "step.leased":
            supervised.life.took()
        feed.hear(event)
        followed.hear(event, runtime.store)

    with (
        working(ctx, project, plugins=plugins, on_event=hear, workers=workers, runs=followed.keys, new=new) as runtime,
        Signals(runtime.worker.wake_up, status=INTERRUPTED) as signals,
    ):
        followed.wake = runtime.worker.wake_up
        runs = list(begin(runtime))
        view = view_for(f"{title}  {runs[0].id}", quiet=quiet, several=several)
        followed.begin(runtime.store, runs)
        if len(runs) == 1:
            supervised.life.began(f"{runs[0].id}@{runs[0].execution}")
        for run in runs:
            feed.follow(run.key, recall(runtime, view, run))

        def done() -> bool:
            if signals.asked > 0:
                # Whether the store can be asked or not.
                return True
            steady = runtime.clock.steady()
            over = followed.ended(runtime.store, steady, lambda: feed.catch_up(runtime.store))
            if not over and not quiet and followed.still(steady):
                say_why(runtime, view, followed)
            return over

        with view:
            work(runtime, done)
            feed.catch_up(runtime.store)
        now = [runtime.store.run_at(run.key) or run for run in followed.runs]
        return end(runtime, project, now, quiet=quiet, as_document=as_document, several=several)


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


def say_why(runtime: Runtime, view: View, followed: Followed) -> None:
    """Say what runs wait for, when nothing of them runs; once for every step."""
    for run in followed.runs[:5]:
        tree = tree_of(runtime.store, runtime.plans, run, now=runtime.clock.now(), most=5, working=True)
        for step in waiting_for(tree) if tree is not None and run.ended_at is None else ():
            if followed.unnamed(run.key, step.path):
                view.say(f"still waiting: {step.path}: {step.reason}")


def end(
    runtime: Runtime, project: Project, runs: Sequence[RunRow], *, quiet: bool, as_document: bool, several: bool
) -> int:
    """Tell what came of runs: those that have ended, and those that were left."""
    left = [run for run in runs if run.ended_at is None]
    if as_document:
        documents = [document_of(runtime.store, run) for run in runs]
        click.echo(as_json(documents if several else documents[0]))
    else:
        for run in runs:
            if run.ended_at is not None:
                tell(runtime, project, run, quiet=quiet)
    if left:
        interrupted(project, left)
        return INTERRUPTED
    return exit_status(runs)
