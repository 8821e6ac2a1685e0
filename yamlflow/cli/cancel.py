"""``cancel``: end a run, or a step of it, before it is done."""

from __future__ import annotations

import click

from .common import command


@command(
    "cancel", short_help="Cancel a run, or a step of it.",
    examples=[
        ("yamlflow cancel crawl-1f3a", "the whole run"),
        ("yamlflow cancel crawl-1f3a enrich[3]", "one step; the others go on"),
        ('yamlflow cancel crawl-1f3a --reason "wrong site"', "shown in the log and to handlers"),
    ],
)  # fmt: skip
@click.argument("run_id", metavar="RUN")
@click.argument("step", required=False, default="", metavar="[STEP]")
@click.option("--reason", default="", metavar="TEXT", help="Why.")
@click.pass_context
def cancel(ctx: click.Context, run_id: str, step: str, reason: str) -> int:
    """Cancel a run, or one step or group of it.

    Nothing of it starts any more; what runs is told to stop, and killed after its `kill_grace`. `on_cancel` and
    `finally` still run. A run that has ended already is left as it is.
    """
    from .opening import find_run, hint, lives_elsewhere, project_of, working
    from .run import who

    project = project_of(ctx)
    with working(ctx, project) as runtime:
        run = find_run(runtime.store, run_id)
        canceled = runtime.cancel(run.id, step, reason=reason, by=who())
        after = runtime.store.run_at(run.key) or run
        elsewhere = lives_elsewhere(runtime.store)
    what = f"step {step} of run {run.id}" if step else f"run {run.id}"
    if not canceled:
        click.echo(f"{what} has ended already", err=True)
    elif after.ended_at is not None or step:
        click.echo(f"{what} is canceled" if after.ended_at is not None else f"{what} is being canceled")
    else:
        click.echo(f"{what} is being canceled: what runs is told to stop, then its handlers run")
        if not elsewhere:
            click.echo(f"no worker is running; finish it with: {hint(project, f'resume {run.id}')}", err=True)
    return 0
