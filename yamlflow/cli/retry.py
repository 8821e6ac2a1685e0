"""``retry``: failed and canceled steps begin anew."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ..policies import MOST_SLOTS
from .common import Count, command, json_option

if TYPE_CHECKING:
    from ..rows import RunRow
    from ..store.base import Store


@command(
    "retry", plugins=True, short_help="Let what failed begin anew.",
    examples=[
        ("yamlflow retry crawl-1f3a", "all that failed or was canceled, and what was skipped because of it"),
        ("yamlflow retry crawl-1f3a enrich[3]", "one step of a fan-out"),
        ("yamlflow retry crawl-1f3a --detach", "leave the work to workers"),
    ],
)  # fmt: skip
@click.argument("run_id", metavar="RUN")
@click.argument("step", required=False, default="", metavar="[STEP]")
@click.option("-w", "--run", "here", is_flag=True, help="Work here, also when a worker is running.")
@click.option("--detach", is_flag=True, help="Only reopen; do not work here.")
@click.option("--workers", type=Count(1, MOST_SLOTS), metavar="N", help="Calls at once. [one per core, at least 4]")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but the outputs and errors.")
@json_option
@click.pass_context
def retry(
    ctx: click.Context,
    run_id: str,
    step: str,
    here: bool,
    detach: bool,
    workers: int | None,
    quiet: bool,
    as_json: bool,
) -> int:
    """Reopen a failed or canceled run: what failed or was canceled in it begins anew, with fresh attempts.

    Steps that succeeded stay as they are. A run above that failed because of this one goes on with it. When a worker is
    running it does the work; otherwise this command works in the foreground until the run has ended, as `resume` does.
    STEP is a step's path as `yamlflow show` prints it.
    """
    from ..supervised import life
    from .opening import find_newest, find_step, hint, lives_elsewhere, project_of, working
    from .resume import go_on
    from .run import who
    from .texts import as_json as written

    if here and detach:
        raise click.UsageError("--run works here, --detach does not; give one of them.", ctx)
    project = project_of(ctx)
    if life.begun:
        return go_on(ctx, project, life.begun, workers=workers, quiet=quiet, as_json=as_json)
    with working(ctx, project) as runtime:
        run = find_newest(runtime.store, run_id)
        find_step(runtime.store, run, step)
        paths = runtime.retry(run.id, step, by=who())
        above = waiting_runs(runtime.store, run)
        last = above[-1] if above else run
        elsewhere = lives_elsewhere(runtime.store, last)
    if not quiet:
        count = "1 step begins" if len(paths) == 1 else f"{len(paths)} steps begin"
        click.echo(f"run {run.id}: {count} anew", err=True)
        for one in above:
            click.echo(f"run {one.id} goes on with it", err=True)
    if here or not (elsewhere or detach):
        return go_on(ctx, project, last.id, workers=workers, quiet=quiet, as_json=as_json)
    if as_json:
        click.echo(written({"run": run.id, "steps": paths, "above": [one.id for one in above]}))
    if not elsewhere:
        click.echo(f"no worker is running; go on with: {hint(project, f'resume {last.id}')}", err=True)
    return 0


def waiting_runs(store: Store, run: RunRow) -> list[RunRow]:
    """The runs above one that wait for it, the nearest first."""
    from ..lifecycle import is_over

    found: list[RunRow] = []
    while run.parent is not None:
        step = store.step(run.parent)
        above = None if step is None or is_over(step) else store.run_at(step.run)
        if above is None or above.ended_at is not None:
            break
        found.append(above)
        run = above
    return found
