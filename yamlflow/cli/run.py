"""``run`` starts a package and works on it until it has ended; ``start`` leaves it to workers."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..policies import MOST_SLOTS
from .common import Count, command, json_option
from .package_command import Chosen, PackageCommand, chosen, inputs_given, once

if TYPE_CHECKING:
    from ..plugins import Plugins
    from ..rows import RunRow
    from ..runtime import Runtime

START_OPTIONS = [
    click.argument("file", required=False, metavar="FILE"),
    click.option("-i", "--input", "pairs", multiple=True, metavar="NAME=VALUE", help="An input; JSON unless a text."),
    click.option("--input-file", metavar="FILE", help="Inputs from YAML or JSON; - is standard input."),
    click.option("--run-id", metavar="ID", help="The run's id. [the package's name and 8 random characters]"),
    click.option("--name", metavar="TEXT", help="What to call the run in listings."),
    click.option("--meta", multiple=True, metavar="K=V", help="Metadata to find the run by."),
    click.option("--context", multiple=True, metavar="K=V", help="Values that every step and child run is handed."),
    click.option("--no-cache", is_flag=True, help="Take no results that are kept of earlier runs."),
    click.option(
        "--if-exists", type=click.Choice(["fail", "join", "new"]), default="fail",
        help="When the run id is in use: fail, take that run, or start its next execution once it has ended. [fail]",
    ),
]  # fmt: skip
EXAMPLES = [
    ("yamlflow run crawl.yaml --help", "the inputs of this package"),
    ("yamlflow run crawl.yaml --pages 3 --no-images", "inputs are options"),
    ("yamlflow run crawl -i pages=3 --input-file in.yaml", "by name; inputs from a file"),
    ("yamlflow run crawl.yaml --run-id daily --if-exists new", "an id of one's own"),
    ("yamlflow run crawl.yaml --json -q | jq .outputs", "for programs"),
]


def start_options(function: Any) -> Any:
    """What ``run`` and ``start`` have in common."""
    for option in reversed(START_OPTIONS):
        function = option(function)
    return function


@command("run", cls=PackageCommand, examples=EXAMPLES, plugins=True, short_help="Start a package and work on it.")
@start_options
@click.option("--workers", type=Count(1, MOST_SLOTS), metavar="N", help="Calls at once. [one per core, at least 4]")
@click.option("--detach", is_flag=True, help="Only store the run, for workers; same as `yamlflow start`.")
@click.option("--dry-run", is_flag=True, help="Check everything and print the plan; nothing is stored.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but the outputs and errors.")
@json_option
@click.pass_context
def run(
    ctx: click.Context, /, workers: int | None, detach: bool, dry_run: bool, quiet: bool, as_json: bool, **given: Any
) -> int:
    """Start a package and work on it in the foreground until it has ended.

    FILE is a package file, or a package's name. Its outputs go to stdout as YAML, what happens meanwhile to stderr.
    Interrupted (Ctrl-C), the run is kept and can be resumed. Ends with 0 when it succeeded, 1 when it failed,
    3 when it was canceled.
    """
    from .checking import refuse_or_warn
    from .opening import plugins_of

    found = chosen(ctx)
    if not dry_run and not detach:
        from ..supervised import life

        if life.begun:
            from .resume import go_on

            return go_on(ctx, found.project, life.begun, workers=workers, quiet=quiet, as_json=as_json)
    plugins = plugins_of(ctx, found.project, found.file.absolute().parent)
    refuse_or_warn(found.package, plugins)
    inputs = inputs_given(ctx, given["pairs"], given["input_file"])
    if dry_run:
        return show_plan(found, inputs, as_json=as_json)
    if detach:
        refuse_early(found, plugins, inputs, given)
        return leave(ctx, found, plugins, inputs, given, as_json=as_json)
    from .following import follow

    warn_of_secrets(found, plugins)
    refuse_early(found, plugins, inputs, given)

    def begin(runtime: Runtime) -> list[RunRow]:
        row = begin_run(runtime, found, inputs, given)
        if not quiet and not sys.stderr.isatty():
            click.echo(f"run {row.id} of {row.package} started", err=True)
        return [row]

    title = found.package.package.title or found.package.package.name
    return follow(
        ctx, found.project, plugins, begin, workers=workers, quiet=quiet, as_document=as_json, title=title, new=True
    )


@command(
    "start", cls=PackageCommand, plugins=True, short_help="Store a run for workers.",
    examples=[
        ("yamlflow start crawl.yaml --pages 3", "prints the run's id"),
        ("yamlflow start crawl --run-id daily-7 --if-exists join", "does nothing when it is there"),
        ("yamlflow worker", "works on what was started"),
    ],
)  # fmt: skip
@start_options
@json_option
@click.pass_context
def start(ctx: click.Context, /, as_json: bool, **given: Any) -> int:
    """Store a run of a package for workers to take up, and print its id. `yamlflow worker` works on it."""
    from .checking import refuse_or_warn
    from .opening import plugins_of

    found = chosen(ctx)
    plugins = plugins_of(ctx, found.project, found.file.absolute().parent)
    refuse_or_warn(found.package, plugins)
    inputs = inputs_given(ctx, given["pairs"], given["input_file"])
    refuse_early(found, plugins, inputs, given)
    return leave(ctx, found, plugins, inputs, given, as_json=as_json)


def warn_of_secrets(found: Chosen, plugins: Plugins) -> None:
    """Name the secrets that nobody knows: the steps that need them would fail."""
    from ..secrets import Secrets

    known = Secrets(found.project.root, plugins.secret)
    for name in found.package.package.secrets:
        if known(name) is None:
            words = f"the secret {name} is not set: put it in the environment or in {found.project.root / '.env'}"
            click.secho(f"warning: {words}", err=True, fg="yellow")


def leave(
    ctx: click.Context, found: Chosen, plugins: Plugins, inputs: dict[str, Any], given: dict[str, Any], *, as_json: bool
) -> int:
    """Store the run, and say who will work on it."""
    from .opening import hint, lives_elsewhere, working
    from .texts import as_json as written

    with working(ctx, found.project, plugins=plugins, new=True) as runtime:
        row = begin_run(runtime, found, inputs, given)
        worked_on = lives_elsewhere(runtime.store)
    if as_json:
        click.echo(written({"run": row.id, "execution": row.execution, "package": row.package, "status": row.status}))
    else:
        click.echo(row.id)
    if not worked_on:
        words = f"{hint(found.project, 'worker')}, or: {hint(found.project, f'resume {row.id}')}"
        click.echo(f"no worker is running; start one with: {words}", err=True)
    return 0


def refuse_early(found: Chosen, plugins: Plugins, inputs: dict[str, Any], given: dict[str, Any]) -> None:
    """Where there is no store yet, what cannot be started makes none. ``UserError``."""
    from contextlib import closing

    from ..clock import SystemClock
    from ..starting import Shelf
    from ..store.sqlite import SqliteStore
    from ..template import Expressions

    if Path(found.project.store.removeprefix("sqlite:///")).exists():
        return
    with closing(SqliteStore("sqlite:///:memory:")) as nothing:
        shelf = Shelf(nothing, clock=SystemClock(), expressions=Expressions(filters=plugins.filters))
        shelf.prepare(found.package, inputs, **start_given(given))


def begin_run(runtime: Runtime, found: Chosen, inputs: dict[str, Any], given: dict[str, Any]) -> RunRow:
    """Store the run that a command line asks for."""
    return runtime.start(found.package, inputs, **start_given(given))


def start_given(given: dict[str, Any]) -> dict[str, Any]:
    """What a command line says of a run, besides its inputs. ``UsageError``, ``InvalidInput``."""
    from ..inputs import from_text

    return {
        "run_id": given["run_id"], "name": given["name"], "metadata": once(given["meta"], "--meta"),
        "context": from_text({}, once(given["context"], "--context").items(), at=("context",)),
        "by": who(), "if_exists": given["if_exists"], "use_cache": not given["no_cache"],
    }  # fmt: skip


def who() -> str:
    """Who asks, for the log."""
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""


def show_plan(found: Chosen, inputs: dict[str, Any], *, as_json: bool) -> int:
    """What a run would do; nothing is stored."""
    from ..inputs import resolve
    from ..views.outline import outline_of, text_of_outline
    from .texts import as_json as written
    from .texts import as_yaml

    package = found.package.package
    values = resolve(package.inputs, inputs)
    outline = outline_of(found.package.plan)
    if as_json:
        click.echo(written({"package": package.name, "inputs": values, "steps": [one.to_json() for one in outline]}))
        return 0
    click.echo(f"{package.title or package.name} would run with" + (f"\n{as_yaml(values)}" if values else " no inputs"))
    click.echo(text_of_outline(outline))
    return 0
