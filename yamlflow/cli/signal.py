"""``signal``: send a message to a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ..outcome import Json
from .common import command

if TYPE_CHECKING:
    from ..project import Project
    from ..rows import RunRow
    from ..runtime import Runtime


@command(
    "signal", plugins=True, short_help="Send a signal to a run.",
    examples=[
        ("yamlflow signal news-1f3a publish", "a signal without data"),
        ("yamlflow signal news-1f3a publish --data '{\"by\": \"ann\"}'", "with data, checked against its schema"),
        ("yamlflow signal cart-7 add --data 3 --start cart", "the run is started when it is not there"),
    ],
)  # fmt: skip
@click.argument("run_id", metavar="RUN")
@click.argument("name", metavar="NAME")
@click.option("--data", metavar="JSON", help="What is sent; text that is no JSON is sent as text.")
@click.option("--data-file", metavar="FILE", help="The same from a file of YAML or JSON; - is standard input.")
@click.option("--key", metavar="TEXT", help="Your own name for it: sent twice with one key, it is one signal.")
@click.option("--start", "package", metavar="PACKAGE", help="Start this package as RUN when no live run has that id.")
@click.option("-i", "--input", "pairs", multiple=True, metavar="NAME=VALUE", help="An input of that run.")
@click.pass_context
def signal(
    ctx: click.Context, run_id: str, name: str, data: str | None, data_file: str | None, key: str | None,
    package: str | None, pairs: tuple[str, ...],
) -> int:  # fmt: skip
    """Send a signal to a run. It is kept until a step of the run (kind `wait_signal`) reads it, first in, first out.

    A run that has ended takes none, and data that does not fit the schema of the run's package is refused; nothing is
    kept then.
    """
    from .opening import find_newest, project_of, working
    from .run import who

    if data is not None and data_file is not None:
        raise click.UsageError("Give the data once: --data or --data-file.", ctx)
    if pairs and package is None:
        raise click.UsageError("-i gives inputs to the run that --start starts.", ctx)
    project = project_of(ctx)
    with working(ctx, project, new=package is not None) as runtime:
        if package is not None:
            run = start(runtime, project, package, run_id, name, read(data, data_file, None), pairs, key)
            click.echo(f"signal {name} was sent to run {run.id}")
            return 0
        run = find_newest(runtime.store, run_id)
        schema = runtime.plans(run.digest).package.signals.get(name)
        fresh = runtime.signal(run.id, name, read(data, data_file, schema), sender=who(), key=key)
    click.echo(f"signal {name} was sent to run {run.id}" if fresh else f"run {run.id} has had a signal of that key")
    return 0


def start(
    runtime: Runtime, project: Project, package: str, run_id: str, name: str, data: Json, pairs: tuple[str, ...],
    key: str | None,
) -> RunRow:  # fmt: skip
    """Send the signal to a run that is started for it if need be."""
    from ..inputs import from_text
    from ..project import find_package
    from ..runtime import load_package
    from .package_command import split_pairs
    from .run import who

    one = load_package(find_package(package, project))
    inputs = from_text(one.package.inputs, split_pairs(pairs, "-i"))
    return runtime.signal_or_start(run_id, name, data, package=one, inputs=inputs, sender=who(), key=key, by=who())


def read(text: str | None, file: str | None, schema: Json) -> Json:
    """What is to be sent. ``InvalidInput`` for broken JSON where the schema wants a list or mapping."""
    from ..inputs import from_text
    from .package_command import value_from_file

    if file is not None:
        return value_from_file(file)
    return None if text is None else from_text({"--data": schema}, [("--data", text)], at=())["--data"]
