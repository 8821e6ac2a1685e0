"""``approve``: answer a step that asks for a yes or no."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from ..outcome import Json
from .common import command

if TYPE_CHECKING:
    from ..rows import RunRow, StepRow
    from ..runtime import Runtime


@command(
    "approve", short_help="Answer a step that asks.",
    examples=[
        ("yamlflow approve news-1f3a", "yes to the one step that asks"),
        ("yamlflow approve news-1f3a ask --reject --comment 'too early'", "no, and why"),
        ("yamlflow approve news-1f3a ask --set days=3", "yes, with a form filled in"),
    ],
)  # fmt: skip
@click.argument("run_id", metavar="RUN")
@click.argument("step", required=False, default="", metavar="[STEP]")
@click.option("--reject", is_flag=True, help="Say no.")
@click.option("--comment", default="", metavar="TEXT", help="Kept with the answer.")
@click.option("--form", metavar="JSON", help="The form, as a whole.")
@click.option("--set", "pairs", multiple=True, metavar="NAME=VALUE", help="One field of the form.")
@click.option("--by", metavar="NAME", help="Who answers. [who is logged in]")
@click.pass_context
def approve(
    ctx: click.Context, run_id: str, step: str, reject: bool, comment: str, form: str | None, pairs: tuple[str, ...],
    by: str | None,
) -> int:  # fmt: skip
    """Say yes, or with --reject no, to a step of kind `approval`. The same answer twice is harmless, another one is
    refused. STEP may be left out when one step of the run asks.
    """
    from .opening import find_newest, project_of, working
    from .run import who

    with working(ctx, project_of(ctx)) as runtime:
        run = find_newest(runtime.store, run_id)
        row = asking(runtime, run, step)
        fresh = runtime.approve(
            run.id, row.path, approved=not reject, by=by or who(), comment=comment, form=filled(row, form, pairs)
        )
    said = "rejected" if reject else "approved"
    click.echo(f"step {row.path} of run {run.id} was {said}{'' if fresh else ' already'}")
    return 0


def asking(runtime: Runtime, run: RunRow, step: str) -> StepRow:
    """The step that is meant. ``UnknownName`` when it is not told, and there is none or more than one."""
    from ..errors import UnknownName
    from .opening import find_step

    if step:
        return find_step(runtime.store, run, step)
    waiting = runtime.store.waiters(run.key, "approval")
    if len(waiting) == 1:
        return waiting[0]
    if not waiting:
        raise UnknownName(f'no step of run "{run.id}" asks just now')
    names = ", ".join(row.path for row in waiting[:10])
    raise UnknownName(f'{len(waiting)} steps of run "{run.id}" ask: {names}. Name one of them.')


def filled(row: StepRow, form: str | None, pairs: tuple[str, ...]) -> Json:
    """The form from the command line; None when nothing was filled in."""
    from ..inputs import from_text
    from .package_command import split_pairs

    if form is None and not pairs:
        return None
    schema = (json.loads(row.wait) if row.wait else {}).get("form") or {}
    fields = from_text(schema.get("properties") or {}, split_pairs(pairs, "--set"), at=("form",))
    if form is None:
        return fields
    whole = from_text({"--form": {"type": "object"}}, [("--form", form)], at=())["--form"]
    # What is no mapping the step's own form refuses.
    return {**whole, **fields} if isinstance(whole, dict) else whole
