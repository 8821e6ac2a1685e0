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
@click.option("--gone", metavar="NAME", help="Give up a worker whose machine is no more: its steps are offered again.")
@json_option
@click.pass_context
def workers(ctx: click.Context, every: bool, gone: str | None, as_json: bool) -> int:
    """List the worker processes of a store: which queues they serve, which kinds they execute (with --json by name), and
    whether they work on all runs or, as `yamlflow run` does, on some.

    One that died is listed until another worker took over what it had.
    """
    from ..plugins import load
    from ..views.workers import workers_of
    from .opening import looking
    from .texts import as_json as written
    from .texts import colored, date_time, mark, table

    if gone is not None:
        return give_up(ctx, gone)
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


def give_up(ctx: click.Context, name: str) -> int:
    """Mark a worker as lost; whoever works takes over what it had."""
    import socket

    from ..errors import NotAllowed, UnknownName, did_you_mean
    from ..views.workers import workers_of
    from .opening import looking

    with looking(ctx) as archive:
        known = {one.name: one for one in workers_of(archive.store)}
        one = known.get(name)
        if one is None:
            remedy = did_you_mean(name, known) or "`yamlflow workers --all` lists them."
            raise UnknownName(f'there is no worker "{name}". {remedy}')
        if one.alive and one.host == socket.gethostname():
            raise NotAllowed(
                f"{name} (process {one.pid}) lives; `kill -TERM {one.pid}` ends it, and its steps are not lost"
            )
        row = next(row for row in archive.store.workers() if row.name == name)
        with archive.store.transaction() as tx:
            tx.put_worker(row._replace(status="lost", lock=None))
    click.echo(f"{name} is given up: a worker that runs takes over what it had", err=True)
    return 0


def special(one: WorkerView, usual: frozenset[str]) -> str:
    """The kinds of a worker against those that come with yamlflow: what it has besides, or all if it lacks some."""
    if one.kinds is None:
        return "?"
    kinds = set(one.kinds)
    if not usual <= kinds:
        return ", ".join(one.kinds) or "none"
    return ", ".join(["built-in", *sorted(kinds - usual)])
