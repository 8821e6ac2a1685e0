"""``events``: the durable log."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from ..rows import EventRow, RunRow
from .common import Count, command, json_option

if TYPE_CHECKING:
    from ..store.base import Store

BATCH = 1000
#: Runs whose events are printed at most, and runs that may begin between two looks.
MOST_RUNS, MOST_NEW = 100_000, 1000
#: Milliseconds between looks while following.
LOOK = 200
COLOURS = {"error": "red", "warning": "yellow", "debug": "bright_black"}


@command(
    "events", short_help="Print the durable log.",
    examples=[
        ("yamlflow events last", "all that happened to the newest run"),
        ("yamlflow events crawl-1f3a -f", "and what happens next, until it has ended"),
        ("yamlflow events crawl-1f3a --step fetch[0]", "to one step"),
        ("yamlflow events -f --json", "in all runs, one JSON object a line"),
    ],
)  # fmt: skip
@click.argument("run_id", required=False, metavar="[RUN]")
@click.option("-f", "--follow", is_flag=True, help="Go on; of one run, until it has ended.")
@click.option("--step", metavar="STEP", help="Only events of this step.")
@click.option("--after", type=Count(0), default=0, metavar="N", help="Only events of a run after this number.")
@json_option
@click.pass_context
def events(ctx: click.Context, run_id: str | None, follow: bool, step: str | None, after: int, as_json: bool) -> int:
    """Print the events of a run in order: what changed, when, for which step, and what was told. JSON is one object a
    line. Without RUN: of all runs, one after the other; with -f what happens from now on in any of them.
    """
    from ..clock import wait
    from .opening import looking

    with looking(ctx) as archive:
        printing = Printing(archive.store, step, as_json=as_json)
        if run_id is None:
            return of_all_runs(printing, follow=follow)
        run = archive.run(run_id)
        check_step(archive.store, run, step, later=follow and run.ended_at is None)
        seen = after
        while True:
            ended = (archive.store.run_at(run.key) or run).ended_at is not None
            seen = printing.print(run, seen)
            if not follow or ended:
                return 0
            wait(LOOK)


def check_step(store: Store, run: RunRow, step: str | None, *, later: bool) -> None:
    """``UnknownName`` for a step that the run never had; where it may come ``later`` that is only said."""
    from .opening import find_step

    if not step or store.steps_at(run.key, [step]) or store.events(run.key, step=step, limit=1):
        return
    if not later:
        find_step(store, run, step)
    click.echo(f'run "{run.id}" has no step "{step}" yet', err=True)


class Printing:
    """Prints the events of runs; of several, each line names its run."""

    def __init__(self, store: Store, step: str | None, *, as_json: bool) -> None:
        self.store = store
        self._step, self._as_json = step, as_json

    def print(self, run: RunRow, seen: int, *, named: bool = False) -> int:
        """Print what follows an event number of a run; the number of the last one."""
        while batch := self.store.events(run.key, after=seen, limit=BATCH, step=self._step):
            for event in batch:
                click.echo(json_line(event, run.id) if self._as_json else text_line(event, run.id if named else ""))
            seen = batch[-1].seq
        return seen


def of_all_runs(printing: Printing, *, follow: bool) -> int:
    """Every event there is, run by run; or, while following, what happens from now on in any run."""
    from ..clock import wait
    from ..store.base import RunFilter

    store = printing.store
    if not follow:
        for run in reversed(store.runs(RunFilter(limit=MOST_RUNS))):
            printing.print(run, 0, named=True)
        return 0
    newest = max((run.key for run in store.runs(RunFilter(limit=1))), default=0)
    with store.transaction() as tx:
        seen = {run.key: tx.last_event(run.key) for run in store.runs(RunFilter(live=True, limit=MOST_RUNS))}
    while True:
        for run in reversed(store.runs(RunFilter(limit=MOST_NEW))):
            if run.key > newest:
                newest, seen[run.key] = run.key, 0
        for key in list(seen):
            one = store.run_at(key)
            if one is not None:
                seen[key] = printing.print(one, seen[key], named=True)
            if one is None or one.ended_at is not None:
                del seen[key]
        wait(LOOK)


def json_line(event: EventRow, run: str) -> str:
    """One event for programs."""
    from ..clock import to_text
    from ..events import severity
    from .texts import json_text

    return json_text(
        {
            "run": run, "seq": event.seq, "at": to_text(event.at), "kind": event.kind,
            "severity": severity(event.kind), "step": event.step,
            "payload": None if event.payload is None else json.loads(event.payload),
        }
    )  # fmt: skip


def text_line(event: EventRow, run: str) -> str:
    """One event for people."""
    from ..clock import to_text
    from ..events import severity
    from .neat import one_line

    told = json.loads(event.payload) if event.payload else {}
    words = " ".join(
        f"{key}={value if isinstance(value, str) else json.dumps(value)}"
        for key, value in told.items()
        if value is not None
    )
    kind = click.style(f"{event.kind:<14}", fg=COLOURS.get(severity(event.kind)))
    where = f"{run} " if run else ""
    return one_line(f"{to_text(event.at)} {where}{event.seq:>5} {kind} {event.step or ''} {words}".rstrip())
