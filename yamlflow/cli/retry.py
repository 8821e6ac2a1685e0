"""``retry``: failed and canceled steps begin anew."""

from __future__ import annotations

import click

from .common import command, json_option


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
@click.option("--workers", type=click.IntRange(1), metavar="N", help="Calls at once. [one per core, at least 4]")
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

    Steps that succeeded stay as they are. When a worker is running it goes on with the run; otherwise this command
    works on it in the foreground until it has ended, as `resume` does. STEP is a step's path as `yamlflow show` prints
    it.
    """
    from .opening import find_run, hint, lives_elsewhere, project_of, working
    from .resume import go_on
    from .run import who
    from .texts import as_json as written

    project = project_of(ctx)
    with working(ctx, project) as runtime:
        run = find_run(runtime.store, run_id)
        paths = runtime.retry(run.id, step, by=who())
        elsewhere = lives_elsewhere(runtime.store, run)
    if not quiet:
        count = "1 step begins" if len(paths) == 1 else f"{len(paths)} steps begin"
        click.echo(f"run {run.id}: {count} anew", err=True)
    if here or not (elsewhere or detach):
        return go_on(ctx, project, run.id, workers=workers, quiet=quiet, as_json=as_json)
    if as_json:
        click.echo(written({"run": run.id, "steps": paths}))
    if not elsewhere:
        click.echo(f"no worker is running; go on with: {hint(project, f'resume {run.id}')}", err=True)
    return 0
