"""``show``: where a run stands, step by step, and why."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from .common import command, json_option
from .texts import as_json as written
from .texts import as_yaml, colored, date_time, length, mark, short, table

if TYPE_CHECKING:
    from ..rows import RunRow
    from ..views.steps import StepView
    from .opening import Archive


@command(
    "show", short_help="Show a run's steps, or one step.",
    examples=[
        ("yamlflow show last", "the steps of the newest run, and why any of them waits"),
        ("yamlflow show crawl-1f3a enrich[3]", "one step: every attempt, its input's errors, its result"),
        ("yamlflow show crawl-1f3a --children 200", "more of a large fan-out"),
    ],
)  # fmt: skip
@click.argument("run_id", metavar="RUN")
@click.argument("step", required=False, default="", metavar="[STEP]")
@click.option("--children", type=click.IntRange(1), default=20, help="How many children of one step to list. [20]")
@json_option
@click.pass_context
def show(ctx: click.Context, run_id: str, step: str, children: int, as_json: bool) -> int:
    """Show a run as a tree: status, duration, attempts, errors, and for what does not run the reason in words.

    RUN is an id, ID@EXECUTION for an earlier execution, or `last`. Of a large fan-out the children that failed or run
    are listed first, the others counted.
    """
    from ..clock import SystemClock
    from ..errors import UnknownName
    from ..views.steps import tree_of
    from .opening import looking

    now = SystemClock().now()
    with looking(ctx) as archive:
        run = archive.run(run_id)
        tree = tree_of(archive.store, archive.plans, run, now=now, path=step, most=children)
        if tree is None:
            raise UnknownName(f'run "{run.id}" has no step "{step}". `yamlflow show {run.id}` lists them.')
        if step:
            return show_step(archive, run, tree, as_json=as_json)
        return show_run(archive, run, tree, now, as_json=as_json)


def show_run(archive: Archive, run: RunRow, tree: StepView, now: int, *, as_json: bool) -> int:
    """The whole run."""
    from ..views.runs import summary
    from .opening import name_of

    one = summary(run, now=now)
    if as_json:
        click.echo(
            written({**one.to_json(), "inputs": json.loads(run.inputs), "error": tree.error, "root": tree.to_json()})
        )
        return 0
    name = name_of(archive.store, run)
    click.echo(f"{mark(one.status)} {click.style(name, bold=True)}  {colored(one.status)}  {length(one.duration)}")
    about = [f"{run.package}{f' {run.version}' if run.version else ''}", f"started {date_time(run.created_at)}"]
    click.echo(
        click.style(
            "  " + ", ".join(part for part in (*about, run.started_by and f"by {run.started_by}") if part), dim=True
        )
    )
    if run.name:
        click.echo(f"  {run.name}")
    if tree.reason and run.status == "pending":
        click.echo(f"  {tree.reason}")
    for child in tree.children:
        draw(child, 1)
    if tree.hidden:
        click.echo(f"  … {tree.hidden} more")
    if tree.error and run.status == "failed":
        click.echo(f"{click.style('error', fg='red')}: {error_text(tree.error)}")
    return 0


def draw(view: StepView, depth: int) -> None:
    """A step and what is listed below it."""
    parts = [f"{mark(view.status)} {view.label}"]
    if view.form not in ("group",):
        parts.append(click.style(view.form, dim=True))
    if view.duration is not None:
        parts.append(length(view.duration))
    if view.attempts > 1:
        parts.append(click.style(f"attempt {view.attempts}", fg="yellow"))
    if view.form in ("for_each", "matrix", "repeat") and view.total:
        parts.append(f"{view.done}/{view.total} done" + (f", {view.failed} failed" if view.failed else ""))
    if view.worker and view.status == "running":
        parts.append(click.style(f"on {view.worker}", dim=True))
    if view.reason:
        parts.append(
            click.style(view.reason, fg="yellow" if view.status in ("pending", "ready", "waiting") else None, dim=True)
        )
    if view.error and not any(child.error for child in view.children):
        parts.append(click.style(short(error_text(view.error), 160), fg="red"))
    click.echo("  " * depth + "  ".join(parts))
    for child in view.children:
        draw(child, depth + 1)
    if view.hidden:
        click.echo("  " * (depth + 1) + click.style(f"… {view.hidden} more (--children N lists more)", dim=True))


def error_text(error: Any) -> str:
    """An error on one line."""
    step = f" (step {error['step']})" if error.get("step") else ""
    return f"{error.get('code')}: {error.get('message')}{step}"


def show_step(archive: Archive, run: RunRow, view: StepView, *, as_json: bool) -> int:
    """One step, with its attempts."""
    from ..views.attempts import attempts_of

    attempts = attempts_of(archive.store, run.key, view.path)
    result = None if view.result is None else json.loads(view.result)
    if as_json:
        document = {"run": run.id, **view.to_json(), "result": result, "leases": [one.to_json() for one in attempts]}
        click.echo(written(document))
        return 0
    click.echo(
        f"{mark(view.status)} {click.style(view.path, bold=True)}  {colored(view.status)}  {length(view.duration)}"
    )
    click.echo(click.style(f"  {view.form} of run {run.id}{f': {view.title}' if view.title else ''}", dim=True))
    if view.reason:
        click.echo(f"  {view.reason}")
    if attempts:
        rows = [
            (
                str(one.attempt), f"{mark(one.status.split()[0])} {one.status}", date_time(one.started_at),
                length(None if one.ended_at is None else one.ended_at - one.started_at), one.worker,
                short(f"{one.error['code']}: {one.error['message']}", 100) if one.error else "",
            )
            for one in attempts
        ]  # fmt: skip
        click.echo(table(rows, ("ATTEMPT", "STATUS", "STARTED", "TOOK", "WORKER", "ERROR")))
    for child in view.children:
        draw(child, 1)
    if view.hidden:
        click.echo(f"  … {view.hidden} more (--children N lists more)")
    if view.error:
        click.echo(f"{click.style('error', fg='red')}: {error_text(view.error)}")
        details = {key: value for key, value in view.error.items() if key in ("type", "cause", "details") and value}
        if details:
            click.echo(as_yaml(details))
    elif result is not None:
        click.echo(f"result: {short(as_yaml(result), 400) if not isinstance(result, dict | list) else ''}".rstrip())
        if isinstance(result, dict | list):
            click.echo(as_yaml(result))
    click.echo(click.style(f"log: yamlflow logs {run.id} '{view.path}'", dim=True), err=True)
    return 0
