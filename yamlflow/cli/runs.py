"""``runs``: list runs."""

from __future__ import annotations

from typing import Any

import click

from .common import Count, command, json_option


class Moment(click.ParamType):  # type: ignore[type-arg]
    """A moment as milliseconds since the epoch: a date and time, local where no zone is said, or how long ago."""

    name = "moment"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        from datetime import datetime

        from ..clock import SystemClock
        from ..duration import InvalidDuration, parse_duration

        try:
            return SystemClock().now() - parse_duration(value)
        except InvalidDuration:
            pass
        try:
            return round(datetime.fromisoformat(value).astimezone().timestamp() * 1000)
        except (ValueError, OverflowError):
            self.fail(f'"{value}" is neither a date and time, such as 2026-03-01T06:00, nor a time ago, such as 2d')


@command(
    "runs", short_help="List runs, newest first.",
    examples=[
        ("yamlflow runs", "the newest"),
        ("yamlflow runs --status failed --package crawl", "what failed of one package"),
        ("yamlflow runs --meta team=news --json", "by metadata, for programs"),
        ("yamlflow runs --since 2d --search invoice", "of the last two days, with a word in id or name"),
        ("yamlflow runs --before crawl-1f3a", "the page after that run"),
    ],
)  # fmt: skip
@click.option(
    "--status",
    multiple=True,
    type=click.Choice(["pending", "running", "succeeded", "failed", "canceled", "continued"]),
    help="Only these.",
)
@click.option("--live", is_flag=True, help="Only runs that have not ended.")
@click.option("--package", metavar="NAME", help="Only runs of this package.")
@click.option("--id", "run_id", metavar="ID", help="Every execution of one id.")
@click.option("--prefix", metavar="TEXT", help="Only runs whose id begins so.")
@click.option("--search", "text", metavar="TEXT", help="Only runs with this text in their id or name.")
@click.option("--parent", metavar="RUN", help="Only child runs of this one.")
@click.option("--top", is_flag=True, help="Only runs that no step started.")
@click.option(
    "--since", type=Moment(), metavar="TIME", help="Only runs stored since: 2d (ago), 2026-03-01, 2026-03-01T06:00."
)
@click.option("--until", type=Moment(), metavar="TIME", help="Only runs stored before.")
@click.option("--ended-since", type=Moment(), metavar="TIME", help="Only runs that ended since.")
@click.option("--ended-until", type=Moment(), metavar="TIME", help="Only runs that ended before.")
@click.option("--meta", multiple=True, metavar="K=V", help="Only runs with this metadata.")
@click.option("--limit", type=Count(), default=20, help="How many. [20]")
@click.option("--before", metavar="RUN", help="Only runs that were started before this one.")
@json_option
@click.pass_context
def runs(
    ctx: click.Context, status: tuple[str, ...], live: bool, package: str | None, run_id: str | None,
    prefix: str | None, text: str | None, parent: str | None, top: bool, since: int | None, until: int | None,
    ended_since: int | None, ended_until: int | None, meta: tuple[str, ...], limit: int, before: str | None,
    as_json: bool,
) -> int:  # fmt: skip
    """List runs, newest first: their status, how far they are and how long they took."""
    from ..clock import SystemClock
    from ..store.base import RunFilter
    from ..views.runs import summary
    from .opening import looking, name_of
    from .package_command import split_pairs
    from .texts import as_json as written
    from .texts import colored, date_time, length, mark, short, table

    now = SystemClock().now()
    with looking(ctx) as archive:
        wanted = RunFilter(
            package=package, status=status, id=run_id, live=live, limit=limit + 1, prefix=prefix, text=text,
            parent=archive.run(parent).id if parent else None, created=(since, until),
            ended=(ended_since, ended_until), metadata=tuple(split_pairs(meta, "--meta")),
            before=archive.run(before).key if before else None, top=top,
        )  # fmt: skip
        found = archive.store.runs(wanted)
        names = [] if as_json else [name_of(archive.store, row) for row in found[:limit]]
    shown = [summary(row, now=now) for row in found[:limit]]
    if as_json:
        click.echo(written([one.to_json() for one in shown]))
        return 0
    if not shown:
        click.echo("no runs", err=True)
        return 0
    rows = [
        (
            name,
            f"{mark(one.status)} {colored(one.status)}",
            f"{one.done}/{one.steps}",
            date_time(one.created_at),
            length(one.duration),
            one.package,
            short(one.name or "", 40),
        )
        for name, one in zip(names, shown, strict=True)
    ]
    click.echo(table(rows, ("RUN", "STATUS", "STEPS", "STARTED", "TOOK", "PACKAGE", "NAME")))
    if len(found) > limit:
        click.echo(f"… more: yamlflow runs --before {names[-1]}", err=True)
    return 0
