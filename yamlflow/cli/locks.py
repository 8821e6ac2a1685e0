"""``locks``: who holds what, and how many wait for it."""

from __future__ import annotations

import click

from .common import command, json_option


@command(
    "locks", short_help="List locks that are held.",
    examples=[
        ("yamlflow locks", "every lock, whose it is and how many steps wait for it"),
        ("yamlflow show RUN", "says of each step that waits for a lock who holds it"),
    ],
)  # fmt: skip
@json_option
@click.pass_context
def locks(ctx: click.Context, as_json: bool) -> int:
    """List the locks that steps hold just now: since when, and how many steps wait for each."""
    from ..clock import SystemClock, to_text
    from .opening import looking
    from .texts import as_json as written
    from .texts import length, table

    now = SystemClock().now()
    with looking(ctx) as archive:
        held = archive.store.locks()
    if as_json:
        click.echo(written([{**lock._asdict(), "since": to_text(lock.since)} for lock in held]))
    elif not held:
        click.echo("no lock is held", err=True)
    else:
        rows = [
            (lock.name, f"{lock.run_id}@{lock.execution}" if lock.execution > 1 else lock.run_id, lock.path,
             length(now - lock.since), str(lock.waiting))
            for lock in held
        ]  # fmt: skip
        click.echo(table(rows, ("LOCK", "RUN", "STEP", "HELD FOR", "WAITING")))
    return 0
