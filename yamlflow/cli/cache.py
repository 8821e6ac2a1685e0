"""``cache``: the results that are kept for later runs."""

from __future__ import annotations

import json

import click

from .common import Count, command, json_option


@command(
    "cache", short_help="List results that are kept, or forget some.",
    examples=[
        ("yamlflow cache", "what is kept, of which step, and until when"),
        ("yamlflow cache --package crawl --forget", "forget what is kept for one package"),
        ("yamlflow run crawl.yaml --no-cache", "take no kept result this once; what is computed is kept anew"),
    ],
)  # fmt: skip
@click.option("--package", metavar="NAME", help="Only results of this package.")
@click.option("--step", metavar="PATH", help="Only results of this step: its path without keys, as listed.")
@click.option("--key", metavar="TEXT", help="Only results under this key.")
@click.option("--forget", is_flag=True, help="Forget them.")
@click.option("--limit", type=Count(), default=100, help="How many to list, newest first. [100]")
@json_option
@click.pass_context
def cache(
    ctx: click.Context, package: str | None, step: str | None, key: str | None, forget: bool, limit: int, as_json: bool
) -> int:
    """List the results that steps with `cache` have left for later runs. With --forget they are forgotten instead."""
    from ..clock import SystemClock, to_text
    from .opening import looking, project_of, working
    from .texts import as_json as written
    from .texts import date_time, short, table

    if forget:
        with working(ctx, project_of(ctx)) as runtime:
            count = runtime.forget_cached(package, step, key)
        click.echo(written({"forgotten": count}) if as_json else f"{count} result{'s' if count != 1 else ''} forgotten")
        return 0
    now = SystemClock().now()
    with looking(ctx) as archive:
        kept = archive.store.cached(package=package, step=step, key=key, limit=limit)
    kept = [row for row in kept if row.expires_at is None or row.expires_at > now]
    if as_json:
        documents = [
            {**row._asdict(), "result": json.loads(row.result), "created_at": to_text(row.created_at),
             "expires_at": None if row.expires_at is None else to_text(row.expires_at)}
            for row in kept
        ]  # fmt: skip
        click.echo(written(documents))
    elif not kept:
        click.echo("no result is kept", err=True)
    else:
        rows = [
            (row.package, row.step, short(row.key, 40), f"{row.run_id}/{row.path}" if row.run_id else "(removed)",
             date_time(row.created_at), "-" if row.expires_at is None else date_time(row.expires_at),
             f"{len(row.result)} bytes")
            for row in kept
        ]  # fmt: skip
        click.echo(table(rows, ("PACKAGE", "STEP", "KEY", "COMPUTED BY", "AT", "UNTIL", "SIZE")))
    return 0
