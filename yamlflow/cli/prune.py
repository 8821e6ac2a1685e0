"""``prune``: forget runs that have ended, with everything of theirs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from .common import Count, command, json_option
from .worker import Span

if TYPE_CHECKING:
    from ..runtime import Runtime


@command(
    "prune", plugins=True, short_help="Remove runs that ended long ago.",
    examples=[
        ("yamlflow prune --older-than 7d --dry-run", "what would go"),
        ("yamlflow prune --older-than 7d --status succeeded", "keep what failed"),
        ("yamlflow prune --retention", "what the packages' own retention does not keep"),
        ("yamlflow prune crawl-1f3a", "one run"),
    ],
)  # fmt: skip
@click.argument("run_ids", nargs=-1, metavar="[RUN]...")
@click.option("--older-than", type=Span(), metavar="TIME", help="Runs that ended longer ago than this.")
@click.option("--retention", is_flag=True, help="Runs that their package's `retention` does not keep.")
@click.option("--package", metavar="NAME", help="Only runs of this package.")
@click.option(
    "--status", multiple=True, type=click.Choice(["succeeded", "failed", "canceled", "continued"]), help="Only these."
)
@click.option("--limit", type=Count(), metavar="N", help="At most so many.")
@click.option("--dry-run", is_flag=True, help="Only list them.")
@json_option
@click.pass_context
def prune(
    ctx: click.Context, run_ids: tuple[str, ...], older_than: int | None, retention: bool, package: str | None,
    status: tuple[str, ...], limit: int | None, dry_run: bool, as_json: bool,
) -> int:  # fmt: skip
    """Remove runs that have ended, with their steps, events, logs, scratch folders and kept files. Runs that have not
    ended are never removed; records stay in their collections.

    With --retention, the packages of the project are read first: what they say now holds for runs that have ended already.
    """
    from ..removal import refuse_live
    from .opening import find_run, name_of, project_of, working
    from .texts import as_json as written

    if sum((older_than is not None, bool(run_ids), retention)) != 1:
        raise click.UsageError("Name the runs, or say --older-than, or --retention.", ctx)
    if not older_than and older_than != 0 and (package or status or limit):
        raise click.UsageError("--package, --status and --limit go with --older-than.", ctx)
    with working(ctx, project_of(ctx)) as runtime:
        if retention:
            declare(ctx, runtime)
            chosen = list(runtime.remover.overdue(2**62))
        elif run_ids:
            chosen = [find_run(runtime.store, each) for each in run_ids]
            for run in chosen:
                refuse_live(run)
        else:
            chosen = runtime.prune(
                older_than=(older_than or 0) / 1000, package=package, status=status, limit=limit, dry_run=True
            )
        names = [name_of(runtime.store, run) for run in chosen]
        gone = names if dry_run else [
            name for name, run in zip(names, chosen, strict=True) if runtime.remover.attempt(run)
        ]  # fmt: skip
    if as_json:
        click.echo(written(gone))
    else:
        for name in gone if dry_run or run_ids else ():
            click.echo(name)
        click.echo(f"{len(gone)} run{'s' if len(gone) != 1 else ''} {'would be ' if dry_run else ''}removed", err=True)
    return 0 if len(gone) == len(names) else 1


def declare(ctx: click.Context, runtime: Runtime) -> None:
    """Let what the project's packages say of ``retention`` hold; one that cannot be read keeps what it said before."""
    from ..errors import InvalidPackage
    from ..project import near, package_files
    from .checking import load
    from .opening import project_of

    for found in package_files(project_of(ctx).package_folders):
        try:
            runtime.declare(load(near(found.file)))
        except InvalidPackage as wrong:
            click.secho(f"left out: {wrong}", err=True, fg="red")
