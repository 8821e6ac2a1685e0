"""``prune``: forget runs that have ended, with everything of theirs."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import click

from ..errors import NotAllowed
from .common import command, json_option
from .worker import Span

if TYPE_CHECKING:
    from ..rows import RunRow
    from ..runtime import Runtime

#: Runs that are looked at in one go.
PAGE = 500


@command(
    "prune", short_help="Remove runs that ended long ago.",
    examples=[
        ("yamlflow prune --older-than 7d --dry-run", "what would go"),
        ("yamlflow prune --older-than 7d --status succeeded", "keep what failed"),
        ("yamlflow prune crawl-1f3a", "one run"),
    ],
)  # fmt: skip
@click.argument("run_ids", nargs=-1, metavar="[RUN]...")
@click.option("--older-than", type=Span(), metavar="TIME", help="Runs that ended longer ago than this.")
@click.option("--package", metavar="NAME", help="Only runs of this package.")
@click.option("--status", type=click.Choice(["succeeded", "failed", "canceled", "continued"]), help="Only these.")
@click.option("--dry-run", is_flag=True, help="Only list them.")
@json_option
@click.pass_context
def prune(
    ctx: click.Context, run_ids: tuple[str, ...], older_than: int | None, package: str | None, status: str | None,
    dry_run: bool, as_json: bool,
) -> int:  # fmt: skip
    """Remove runs that have ended, with their steps, events, logs, scratch folders and kept files. Runs that have not
    ended are never removed; records stay in their collections.
    """
    from .opening import find_run, name_of, project_of, working
    from .texts import as_json as written

    if (older_than is None) == (not run_ids):
        raise click.UsageError("Name the runs, or say --older-than.", ctx)
    with working(ctx, project_of(ctx)) as runtime:
        if run_ids:
            chosen = [find_run(runtime.store, each) for each in run_ids]
        else:
            chosen = ended_before(runtime, runtime.clock.now() - int(older_than or 0), package, status)
        for run in chosen:
            refuse_live(run)
        names = [name_of(runtime.store, run) for run in chosen]
        for run in [] if dry_run else chosen:
            remove(runtime, run)
    if as_json:
        click.echo(written(names))
        return 0
    for name in names if dry_run or run_ids else ():
        click.echo(name)
    click.echo(f"{len(names)} run{'s' if len(names) != 1 else ''} {'would be ' if dry_run else ''}removed", err=True)
    return 0


def ended_before(runtime: Runtime, moment: int, package: str | None, status: str | None) -> list[RunRow]:
    """The runs that ended before a moment."""
    from ..store.base import RunFilter

    found: list[RunRow] = []
    before = None
    while page := runtime.store.runs(RunFilter(package=package, status=status, before=before, limit=PAGE)):
        found += [run for run in page if run.ended_at is not None and run.ended_at <= moment]
        before = page[-1].key
    return found


def refuse_live(run: RunRow) -> None:
    """``NotAllowed`` for a run that has not ended."""
    if run.ended_at is None:
        raise NotAllowed(f'run "{run.id}" has not ended; cancel it first: yamlflow cancel {run.id}')


def remove(runtime: Runtime, run: RunRow) -> None:
    """Forget one run. Rows go first: a crash in between leaves files that nobody names, not rows without files."""
    from ..logs import log_file

    with runtime.store.transaction() as tx:
        row = tx.run(run.key)
        if row is None:
            return
        refuse_live(row)
        tx.remove_run(run.key)
    folder = log_file(runtime.home, run.id, run.execution, "", 0).parent.parent
    shutil.rmtree(folder, ignore_errors=True)
    runtime.artifact_store.remove_run(f"{run.id}/{run.execution}")
    if runtime.store.find_run(run.id) is None:
        shutil.rmtree(folder.parent, ignore_errors=True)
