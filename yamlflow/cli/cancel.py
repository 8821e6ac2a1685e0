"""``cancel``: end a run, or a step of it, before it is done."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from .common import command

if TYPE_CHECKING:
    from ..rows import RunRow


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
@click.option("--force", is_flag=True, help="End its handlers too, and begin none.")
@click.pass_context
def cancel(ctx: click.Context, run_id: str, step: str, reason: str, force: bool) -> int:
    """Cancel a run, or one step or group of it.

    Nothing of it starts any more; what runs is told to stop, and killed after its `kill_grace`. `on_cancel` and
    `finally` still run, unless it is forced. The run ends `canceled`, or `failed` when a step had failed before and
    nothing handled it. A run that has ended already is left as it is. The exit status is 0 in each of these cases.
    """
    from .opening import find_newest, find_step, hint, lives_elsewhere, project_of, working
    from .run import who

    project = project_of(ctx)
    with working(ctx, project) as runtime:
        run = find_newest(runtime.store, run_id)
        find_step(runtime.store, run, step)
        canceled = runtime.cancel(run.id, step, reason=reason, by=who(), force=force)
        after = runtime.store.run_at(run.key) or run
        elsewhere = lives_elsewhere(runtime.store, run)
    what = f"step {step} of run {run.id}" if step else f"run {run.id}"
    if not canceled:
        ended = f": it {ending(after)}" if after.ended_at is not None else ""
        click.echo(f"{what} has ended already{ended}", err=True)
        return 0
    click.echo(outlook(what, after, whole=not step))
    if after.ended_at is None and not step and not elsewhere:
        click.echo(f"no worker is running; finish it with: {hint(project, f'resume {run.id}')}", err=True)
    return 0


def ending(run: RunRow) -> str:
    """How a run ended, as it follows its name."""
    return {"failed": "failed", "succeeded": "succeeded", "continued": "went on as another execution"}.get(
        run.status, f"was {run.status}"
    )


def outlook(what: str, after: RunRow, *, whole: bool) -> str:
    """What a cancel has come to, or will: a failure that nothing handled stays one."""
    if after.ended_at is not None:
        why = ": a step had failed before" if after.status == "failed" else ""
        return f"{what} {ending(after)}{why}" if whole else f"{what} was told to stop; the run {ending(after)}{why}"
    if whole:
        return f"{what} was told to stop; it will end canceled, or failed if a step had failed before"
    return f"{what} was told to stop"
