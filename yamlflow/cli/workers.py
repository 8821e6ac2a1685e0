"""``workers``: the processes that take leases."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from .common import command, json_option

if TYPE_CHECKING:
    from ..views.workers import WorkerView


@command(
    "workers", short_help="List worker processes.",
    examples=[("yamlflow workers", "those that live"), ("yamlflow workers --all", "and those that stopped or died")],
)  # fmt: skip
@click.option("--all", "every", is_flag=True, help="Also those that have stopped or were given up.")
@json_option
@click.pass_context
def workers(ctx: click.Context, every: bool, as_json: bool) -> int:
    """List the worker processes of a store: which queues they serve, which kinds they execute (with --json by name), and
    whether they work on all runs or, as `yamlflow run` does, on some.

    One that died is listed until another worker took over what it had.
    """
    from ..plugins import load
    from ..views.workers import workers_of
    from .opening import looking
    from .texts import as_json as written
    from .texts import colored, date_time, mark, table

    usual = frozenset(load(entry_points=False).executors)
    with looking(ctx) as archive:
        found = [one for one in workers_of(archive.store) if every or one.status in ("running", "dead")]
    if as_json:
        click.echo(written([one.to_json() for one in found]))
    elif not found:
        click.echo("no worker is running; `yamlflow worker` starts one", err=True)
    else:
        rows = [
            (
                one.name, f"{mark(one.status)} {colored(one.status)}", str(one.pid), date_time(one.started_at),
                "all" if one.queues is None else ", ".join(one.queues), special(one, usual),
                "all" if one.runs is None else "some",
            )
            for one in found
        ]  # fmt: skip
        click.echo(table(rows, ("WORKER", "STATUS", "PROCESS", "STARTED", "QUEUES", "KINDS", "RUNS")))
    return 0


def special(one: WorkerView, usual: frozenset[str]) -> str:
    """The kinds of a worker against those that come with yamlflow: what it has besides, or all if it lacks some."""
    if one.kinds is None:
        return "?"
    kinds = set(one.kinds)
    if not usual <= kinds:
        return ", ".join(one.kinds) or "none"
    return ", ".join(["built-in", *sorted(kinds - usual)])
