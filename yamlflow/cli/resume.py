"""``resume``: work in the foreground on runs that have not ended."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from ..policies import MOST_SLOTS
from .common import Count, command, json_option

if TYPE_CHECKING:
    from ..plugins import Plugins
    from ..project import Project
    from ..rows import RunRow
    from ..runtime import Runtime
    from ..store.base import Store
    from .opening import Archive

#: Live runs that one call goes on with.
MOST = 10_000


@command(
    "resume", plugins=True, short_help="Go on with interrupted runs.",
    examples=[
        ("yamlflow resume", "go on with every run that has not ended"),
        ("yamlflow resume crawl-1f3a", "with this one; steps that ended stay as they are"),
        ("yamlflow resume last", "with the one that was started last"),
    ],
)  # fmt: skip
@click.argument("run_id", required=False, metavar="[RUN]")
@click.option("--workers", type=Count(1, MOST_SLOTS), metavar="N", help="Calls at once. [one per core, at least 4]")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but the outputs and errors.")
@json_option
@click.pass_context
def resume(ctx: click.Context, run_id: str | None, workers: int | None, quiet: bool, as_json: bool) -> int:
    """Go on with a run, or with all that have not ended, in the foreground until they have.

    What was committed before an interruption or crash is not done again. A step that was in hand is offered again; its
    attempt is not spent. A run that has ended already only tells what came of it.
    """
    from ..supervised import life
    from .opening import project_of

    return go_on(ctx, project_of(ctx), life.begun or run_id, workers=workers, quiet=quiet, as_json=as_json)


def go_on(
    ctx: click.Context, project: Project, run_id: str | None, *, workers: int | None, quiet: bool, as_json: bool
) -> int:
    """Work on one run, or on all live ones, until they have ended."""
    from ..errors import NotAllowed
    from .following import follow
    from .opening import looking

    with looking(ctx) as archive:
        runs = [archive.run(run_id)] if run_id else live_runs(archive.store)
        if run_id and runs[0].ended_at is not None:
            return tell_ended(archive, runs[0], quiet=quiet, as_json=as_json)
        plugins = plugins_for(ctx, project, runs)
        lacking = {run.id: kinds for run in runs if (kinds := missing_kinds(archive, run, plugins))}
    if run_id and runs[0].paused:
        raise NotAllowed(f"run {runs[0].id} is paused; `yamlflow unpause {runs[0].id}` lets it go on")
    for run in runs:
        if run.paused and not quiet:
            click.echo(f"run {run.id} is paused and left; `yamlflow unpause {run.id}` lets it go on", err=True)
    runs = [run for run in runs if not run.paused]
    if not runs:
        click.echo("no run is unfinished", err=True)
        return 0

    for run in runs:
        if run.id in lacking:
            words = f"run {run.id} has steps of a kind that no plugin here supplies: {', '.join(lacking[run.id])}"
            click.secho(f"warning: {words}. They will fail; `--plugins DIR` says where to look.", err=True, fg="yellow")

    def begin(runtime: Runtime) -> list[RunRow]:
        return [runtime.store.run_at(run.key) or run for run in runs]

    title = runs[0].name or runs[0].package
    several = len(runs) > 1
    return follow(
        ctx, project, plugins, begin, workers=workers, quiet=quiet, as_document=as_json, title=title, several=several
    )


def missing_kinds(archive: Archive, run: RunRow, plugins: Plugins) -> list[str]:
    """The kinds that a run's package names and nobody has: neither a plugin here nor a worker that lives."""
    from ..plan import every_step
    from ..spec import Call
    from ..views.workers import workers_of

    package = archive.plans(run.digest).package
    named = {step.body.kind for step in every_step(package) if isinstance(step.body, Call)}
    lacking = named - package.kinds.keys() - plugins.executors.keys()
    elsewhere = {
        kind for worker in workers_of(archive.store) if lacking and worker.alive for kind in worker.kinds or ()
    }
    return sorted(lacking - elsewhere)


def tell_ended(archive: Archive, run: RunRow, *, quiet: bool, as_json: bool) -> int:
    """There is nothing to go on with: how a run ended, and the exit status of that end."""
    from .ending import document_of, exit_status, tell
    from .texts import as_json as written

    if as_json:
        click.echo(written(document_of(archive.store, run)))
    else:
        if not quiet:
            click.echo(f"run {run.id} has ended already; there is nothing to resume", err=True)
        tell(archive, archive.project, run, quiet=quiet)
    return exit_status([run])


def live_runs(store: Store) -> list[RunRow]:
    """The runs that have not ended, oldest first."""
    from ..store.base import RunFilter

    return list(reversed(store.runs(RunFilter(live=True, limit=MOST))))


def plugins_for(ctx: click.Context, project: Project, runs: Iterable[RunRow]) -> Plugins:
    """The project's plugins, and those beside the files of runs."""
    from .opening import plugins_of

    return plugins_of(ctx, project, *dict.fromkeys(run.folder for run in runs))
