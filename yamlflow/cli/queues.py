"""``queues``: limits, and what waits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from .common import command, json_option

if TYPE_CHECKING:
    from ..views.queues import QueueView


@command(
    "queues", short_help="List queues and what waits in them.",
    examples=[("yamlflow queues", "every queue"), ("yamlflow pause --queue crawl/http", "withhold one from workers")],
)  # fmt: skip
@json_option
@click.pass_context
def queues(ctx: click.Context, as_json: bool) -> int:
    """List queues: how many steps could start, how many run, what limits them. A package's own are PACKAGE/QUEUE."""
    from ..clock import SystemClock
    from ..views.queues import queues_of
    from .opening import looking
    from .texts import as_json as written
    from .texts import table

    with looking(ctx) as archive:
        found = queues_of(archive.store, now=SystemClock().now())
    if as_json:
        click.echo(written([one.to_json() for one in found]))
    elif not found:
        click.echo("no queues", err=True)
    else:
        rows = [
            (
                one.name, str(one.ready), str(one.in_flight),
                "-" if one.max_in_flight is None else str(one.max_in_flight),
                "-" if one.rate is None else f"{rate_text(one.rate)}, burst {one.burst}", state(one),
            )
            for one in found
        ]  # fmt: skip
        click.echo(table(rows, ("QUEUE", "READY", "RUNNING", "AT MOST", "RATE", "STATE")))
    return 0


def rate_text(per_second: float) -> str:
    """A rate as an author writes it."""
    for unit, seconds in (("s", 1), ("m", 60), ("h", 3600)):
        amount = per_second * seconds
        if amount >= 1:
            return f"{amount:g}/{unit}"
    return f"{per_second * 3600:g}/h"


def state(queue: QueueView) -> str:
    """Why nothing of a queue starts, if nothing does."""
    from .texts import clock_time

    if queue.paused:
        return "paused"
    if queue.full:
        return "full"
    return f"no token until {clock_time(queue.token_at)}" if queue.token_at is not None else ""
