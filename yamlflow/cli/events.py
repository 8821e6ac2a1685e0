"""``events``: the durable log."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from ..rows import EventRow
from .common import command, json_option

if TYPE_CHECKING:
    from ..store.base import Store

BATCH = 1000
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
@click.option("--after", type=click.IntRange(0), default=0, metavar="N", help="Only events of a run after this number.")
@json_option
@click.pass_context
def events(ctx: click.Context, run_id: str | None, follow: bool, step: str | None, after: int, as_json: bool) -> int:
    """Print the events of a run in order: what changed, when, for which step, and what was told. JSON is one object a
    line. Without RUN: of all runs, by time.
    """
    from ..clock import SystemClock, wait
    from .opening import looking

    with looking(ctx) as archive:
        run = archive.run(run_id) if run_id else None
        key = run.key if run else None
        names: dict[int, str] = {}
        last = after if run or not follow else SystemClock().now() - 1
        while True:
            ended = run is not None and (archive.store.run_at(run.key) or run).ended_at is not None
            last = print_after(archive.store, key, last, step, names, as_json=as_json, named=run is None)
            if not follow or ended:
                return 0
            wait(LOOK)


def print_after(
    store: Store, run: int | None, last: int, step: str | None, names: dict[int, str], *, as_json: bool, named: bool
) -> int:
    """Print what follows an event number (of one run) or a time (of all); where it ended."""
    while batch := store.events(run, after=last, limit=BATCH, step=step):
        for event in batch:
            if event.run not in names:
                names[event.run] = getattr(store.run_at(event.run), "id", str(event.run))
            if step is None or event.step == step:
                click.echo(json_line(event, names) if as_json else text_line(event, names if named else None))
        last = batch[-1].seq if run is not None else batch[-1].at
    return last


def json_line(event: EventRow, names: dict[int, str]) -> str:
    """One event for programs."""
    from ..clock import to_text
    from ..events import severity

    return json.dumps(
        {
            "run": names[event.run], "seq": event.seq, "at": to_text(event.at), "kind": event.kind,
            "severity": severity(event.kind), "step": event.step,
            "payload": None if event.payload is None else json.loads(event.payload),
        },
        ensure_ascii=False,
    )  # fmt: skip


def text_line(event: EventRow, names: dict[int, str] | None) -> str:
    """One event for people."""
    from ..clock import to_text
    from ..events import severity

    told = json.loads(event.payload) if event.payload else {}
    words = " ".join(
        f"{key}={value if isinstance(value, str) else json.dumps(value)}"
        for key, value in told.items()
        if value is not None
    )
    kind = click.style(f"{event.kind:<14}", fg=COLOURS.get(severity(event.kind)))
    where = f"{names[event.run]} " if names is not None else ""
    return f"{to_text(event.at)} {where}{event.seq:>5} {kind} {event.step or ''} {words}".rstrip()
