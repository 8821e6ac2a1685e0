"""``graph``: the steps of a package or run as a drawing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ..errors import UnknownName
from .common import command, flags_of, json_option

if TYPE_CHECKING:
    from ..views.drawing import Drawing


@command(
    "graph", plugins=True, short_help="Draw the steps of a package or run.",
    examples=[
        ("yamlflow graph crawl.yaml", "as Mermaid, for READMEs"),
        ("yamlflow graph crawl.yaml --format dot | dot -Tsvg > crawl.svg", "as a picture"),
        ("yamlflow graph crawl-1f3a", "of a run, coloured by status"),
        ("yamlflow graph crawl.yaml --format text", "as an outline"),
        ("yamlflow graph crawl.yaml --json", "for programs: steps, and what needs what"),
    ],
)  # fmt: skip
@click.argument("what", metavar="FILE|RUN")
@click.option("--format", "form", type=click.Choice(["mermaid", "dot", "text"]), default="mermaid", help="[mermaid]")
@json_option
@click.pass_context
def graph(ctx: click.Context, what: str, form: str, as_json: bool) -> int:
    """Draw what needs what: groups as boxes, conditions on the arrows, loops marked, and for a run the statuses."""
    from ..views.drawing import to_dot, to_mermaid, to_text
    from .texts import as_json as written

    drawing = drawing_of(ctx, what)
    if as_json:
        click.echo(written(drawing.to_json()))
        return 0
    click.echo({"mermaid": to_mermaid, "dot": to_dot, "text": to_text}[form](drawing))
    return 0


def drawing_of(ctx: click.Context, what: str) -> Drawing:
    """The drawing of a package, or of a run when there is one of that id and no such package."""
    from ..views.drawing import drawing
    from .package_command import choose

    try:
        package = choose(what, flags_of(ctx)).package
    except UnknownName as no_package:
        try:
            return drawing_of_run(ctx, what)
        except UnknownName:
            raise UnknownName(
                f'there is no package and no run "{what}". {remedy_in(str(no_package))}'.rstrip()
            ) from None
    return drawing(package.plan)


def remedy_in(message: str) -> str:
    """The part of a message that says what to do."""
    return message.partition(". ")[2]


def drawing_of_run(ctx: click.Context, run_id: str) -> Drawing:
    """A run's package, with the statuses of the run's steps."""
    from ..plan import shape
    from ..views.drawing import drawing, worst
    from ..views.graph import whole_plan
    from .opening import looking

    with looking(ctx) as archive:
        run = archive.run(run_id)
        plan = whole_plan(archive.store, archive.plans(run.digest), run)
        statuses: dict[str, str] = {}
        for row in archive.store.tree(run.key):
            form = shape(row.path)
            statuses[form] = worst(statuses.get(form), row.status)
    return drawing(plan, statuses)
