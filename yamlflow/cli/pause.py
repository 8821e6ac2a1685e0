"""``pause`` and ``unpause``: withhold steps from workers, and offer them again."""

from __future__ import annotations

from typing import Any

import click

from .common import command

QUEUE = click.option("--queue", metavar="NAME", help="A queue instead of a run.")


@command(
    "pause", short_help="Withhold steps from workers.",
    examples=[
        ("yamlflow pause crawl-1f3a", "nothing more of this run starts; what runs goes on"),
        ("yamlflow pause --queue crawl/http", "nothing more of this queue starts, in any run"),
    ],
)  # fmt: skip
@click.argument("run_id", required=False, metavar="[RUN]")
@QUEUE
@click.pass_context
def pause(ctx: click.Context, run_id: str | None, queue: str | None) -> int:
    """Withhold the steps of a run, or of a queue in all runs, from workers until `unpause`. What runs goes on."""
    return hold(ctx, run_id, queue, paused=True)


@command(
    "unpause", short_help="Offer paused steps again.",
    examples=[
        ("yamlflow unpause crawl-1f3a", "the run goes on"),
        ("yamlflow unpause --queue crawl/http", "so does the queue"),
    ],
)  # fmt: skip
@click.argument("run_id", required=False, metavar="[RUN]")
@QUEUE
@click.pass_context
def unpause(ctx: click.Context, run_id: str | None, queue: str | None) -> int:
    """Offer the steps of a paused run or queue to workers again."""
    return hold(ctx, run_id, queue, paused=False)


def hold(ctx: click.Context, run_id: str | None, queue: str | None, *, paused: bool) -> int:
    """Pause or unpause exactly one thing."""
    from .opening import find_newest, project_of, working
    from .run import who

    if (run_id is None) == (queue is None):
        raise click.UsageError("Name a run, or a queue with --queue.", ctx)
    word = "paused" if paused else "no longer paused"
    with working(ctx, project_of(ctx)) as runtime:
        if queue is not None:
            hold_queue(runtime, queue, paused=paused)
            click.echo(f"queue {queue} is {word}")
        else:
            run = find_newest(runtime.store, str(run_id))
            runtime.pause(run.id, paused=paused, by=who())
            click.echo(f"run {run.id} is {word}")
    return 0


def hold_queue(runtime: Any, queue: str, *, paused: bool) -> None:
    """Pause or unpause a queue. ``UnknownName`` for one that nobody has used."""
    from ..engine.commands import pause_queue
    from ..errors import UnknownName, did_you_mean
    from ..views.queues import queues_of

    known = [one.name for one in queues_of(runtime.store, now=runtime.clock.now())]
    if queue not in known and queue != "default":
        remedy = did_you_mean(queue, known) or f"There are: {', '.join(known) or 'none'}."
        raise UnknownName(f'there is no queue "{queue}". {remedy}')
    with runtime.transaction() as work:
        pause_queue(work, queue, paused=paused)
