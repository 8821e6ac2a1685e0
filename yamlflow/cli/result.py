"""``result``: a run's outputs, or a step's result."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ..outcome import Json
from .common import command

if TYPE_CHECKING:
    from ..rows import RunRow, StepRow
    from .opening import Archive


@command(
    "result", short_help="Print a run's outputs.",
    examples=[
        ("yamlflow result last | jq .stories", "the outputs of the newest run"),
        ("yamlflow result crawl-1f3a fetch[0]", "the result of one step"),
        ("yamlflow result crawl-1f3a --yaml", "for reading"),
    ],
)  # fmt: skip
@click.argument("run_id", metavar="RUN")
@click.argument("step", required=False, default="", metavar="[STEP]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, which is what it does anyway.")
@click.option("--yaml", "yaml", is_flag=True, help="Print YAML.")
@click.pass_context
def result(ctx: click.Context, run_id: str, step: str, as_json: bool, yaml: bool) -> int:
    """Print the outputs of a run, or the result of one of its steps, as JSON.

    Of a fan-out that is the list of its children's results. Where nothing succeeded there is no result: `null` is
    printed, why goes to stderr, and the exit status is 1 (3 when it was canceled).
    """
    from .neat import print_data
    from .opening import find_step, looking
    from .texts import as_json as written
    from .texts import as_yaml

    with looking(ctx) as archive:
        run = archive.run(run_id)
        row = find_step(archive.store, run, step)
        value = result_of(archive, run, row)
    print_data(as_yaml(value) if yaml else written(value))
    if row.status == "succeeded":
        return 0
    what = f"step {step}" if step else f"run {run.id}"
    click.echo(
        f"{what} {'is' if row.ended_at is None else 'was' if row.status != 'failed' else 'has'} {row.status}", err=True
    )
    return 3 if row.status == "canceled" else 1 if row.status == "failed" else 0


def result_of(archive: Archive, run: RunRow, row: StepRow) -> Json:
    """A step's result; of a fan-out that has succeeded, its children's."""
    from ..checksums import result_of as own_result
    from ..scope import gathered
    from ..spec import FanOut, Matrix
    from ..views.graph import RunGraph

    node = RunGraph(archive.store, archive.plans, run).node(row)
    if node is not None and isinstance(node.loop, FanOut | Matrix) and row.status == "succeeded":
        return gathered(archive.store, row)
    return own_result(row)
