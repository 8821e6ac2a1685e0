"""``schedules``: list the entries of schedules with their next times."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from .common import command, json_option

if TYPE_CHECKING:
    from ..packages import Loaded
    from ..store.base import Store
    from ..views.schedules import ScheduleView


@command(
    "schedules", plugins=True, short_help="List schedules and their next times.",
    examples=[
        ("yamlflow schedules", "every entry of the project's packages, and what came of its last time"),
        ("yamlflow schedules nightly --count 5", "the next five times of one package"),
    ],
)  # fmt: skip
@click.argument("given", nargs=-1, metavar="[PACKAGE]...")
@click.option("--count", type=click.IntRange(1, 1000), default=1, metavar="N", help="How many times of each. [1]")
@json_option
@click.pass_context
def schedules(ctx: click.Context, given: tuple[str, ...], count: int, as_json: bool) -> int:
    """List the entries of schedules with their next times, in their own time zone. `yamlflow scheduler` acts on them."""
    from ..clock import WallClock
    from ..views.schedules import schedules_of
    from .opening import looking, plugins_of, project_of
    from .scheduled import files_of, scheduled
    from .texts import as_json as written

    project = project_of(ctx)
    files = files_of(project, given)
    plugins = plugins_of(ctx, project, *dict.fromkeys(file.absolute().parent for file in files))
    found = [one.package for one in scheduled(files, plugins, named=bool(given))]
    now = WallClock().now()
    with looking(ctx) as archive:
        if as_json:
            shown = schedules_of(archive.store, found, now=now, count=count)
            click.echo(written([one.to_json() for one in shown]))
        else:
            click.echo(listing(archive.store, found, now=now, count=count))
    return 0


def listing(store: Store, packages: list[Loaded], *, now: int, count: int = 1) -> str:
    """The entries as a table."""
    from ..views.schedules import schedules_of
    from .texts import short, table

    rows = []
    for one in schedules_of(store, packages, now=now, count=count):
        first, *more = [one.local(at) for at in one.next] or ["never"]
        overdue = " (overdue)" if one.next and one.next[0] <= now else ""
        rows.append(
            (one.entry.package, one.entry.cron, one.entry.timezone, one.entry.catch_up, first + overdue,
             short(last_of(one), 70))
        )  # fmt: skip
        rows += [("", "", "", "", each, "") for each in more]
    return table(rows, ("PACKAGE", "CRON", "TIME ZONE", "CATCH UP", "NEXT", "LAST"))


def last_of(one: ScheduleView) -> str:
    """What came of an entry's last time."""
    if one.last_at is None:
        return "-"
    parts = [one.last_run or f"{one.local(one.last_at)}: no run", one.note]
    return ": ".join(part for part in parts if part)
