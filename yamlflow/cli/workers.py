"""``workers``: the processes that take leases."""

from __future__ import annotations

import click

from .common import command, json_option


@command(
    "workers", short_help="List worker processes.",
    examples=[("yamlflow workers", "those that live"), ("yamlflow workers --all", "and those that stopped or died")],
)  # fmt: skip
@click.option("--all", "every", is_flag=True, help="Also those that have stopped or were given up.")
@json_option
@click.pass_context
def workers(ctx: click.Context, every: bool, as_json: bool) -> int:
    """List the worker processes of a store. One that died is listed until another worker took over what it had."""
    from ..views.workers import workers_of
    from .opening import looking
    from .texts import as_json as written
    from .texts import colored, date_time, mark, table

    with looking(ctx) as archive:
        found = [one for one in workers_of(archive.store) if every or one.status in ("running", "dead")]
    if as_json:
        click.echo(written([one.to_json() for one in found]))
    elif not found:
        click.echo("no worker is running; `yamlflow worker` starts one", err=True)
    else:
        rows = [
            (one.name, f"{mark(one.status)} {colored(one.status)}", str(one.pid), one.host, date_time(one.started_at))
            for one in found
        ]
        click.echo(table(rows, ("WORKER", "STATUS", "PROCESS", "HOST", "STARTED")))
    return 0
