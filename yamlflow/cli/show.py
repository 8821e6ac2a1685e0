"""``show``: where a run stands, step by step, and why."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import click

from .common import Count, command, json_option
from .neat import one_line, say
from .texts import as_json as written
from .texts import colored, date_time, length, mark, short

if TYPE_CHECKING:
    from ..rows import RunRow
    from ..views.kin import Branch, Kin, Relative
    from ..views.steps import StepView
    from .opening import Archive


@command(
    "show", plugins=True, short_help="Show a run's steps, or one step.",
    examples=[
        ("yamlflow show last", "the steps of the newest run, and why any of them waits"),
        ("yamlflow show crawl-1f3a enrich[3]", "one step: every attempt, its input, error, log and result"),
        ("yamlflow show crawl-1f3a save --attempt 1", "with the input and log of an earlier attempt"),
        ("yamlflow show crawl-1f3a --tree", "the run with its child runs, and theirs"),
        ("yamlflow show crawl-1f3a --children 200", "more of a large fan-out"),
    ],
)  # fmt: skip
@click.argument("run_id", metavar="RUN")
@click.argument("step", required=False, default="", metavar="[STEP]")
@click.option("--children", type=Count(), default=20, help="How many children of one step to list. [20]")
@click.option("--attempt", type=Count(), metavar="N", help="Of a step: this attempt's input and log. [the last]")
@click.option("--tree", "family", is_flag=True, help="Instead of steps the runs that the run has started, and theirs.")
@json_option
@click.pass_context
def show(
    ctx: click.Context, run_id: str, step: str, children: int, attempt: int | None, family: bool, as_json: bool
) -> int:
    """Show a run as a tree: status, duration, attempts, errors, and for what does not run the reason in words.

    RUN is an id, ID@EXECUTION for an earlier execution, or `last`. Of a large fan-out the children that failed or run
    are listed first, the others counted.

    Of a step the input of its last attempt is rendered again, with every secret as ***; that imports the project's plugins,
    for an expression may use their filters. What cannot be rendered any more is said.
    """
    from ..clock import SystemClock
    from ..views.steps import tree_of
    from .opening import find_step, looking

    if attempt is not None and not step:
        raise click.UsageError("--attempt is of a step: name one.", ctx)
    if family and step:
        raise click.UsageError("--tree shows runs; it goes without a step.", ctx)
    now = SystemClock().now()
    with looking(ctx) as archive:
        run = archive.run(run_id)
        if family:
            return show_family(archive, run, children, as_json=as_json)
        find_step(archive.store, run, step)
        tree = tree_of(archive.store, archive.plans, run, now=now, path=step, most=children)
        assert tree is not None
        if step:
            from .show_step import show_step

            return show_step(ctx, archive, run, tree, attempt, as_json=as_json)
        return show_run(archive, run, tree, now, as_json=as_json)


def show_run(archive: Archive, run: RunRow, tree: StepView, now: int, *, as_json: bool) -> int:
    """The whole run."""
    from ..views.kin import kin_of
    from ..views.runs import summary
    from .opening import name_of

    one = summary(run, now=now)
    kin = kin_of(archive.store, run)
    if as_json:
        document = {**one.to_json(), **kin.to_json(), "inputs": json.loads(run.inputs), "error": tree.error}
        click.echo(written({**document, "root": tree.to_json()}))
        return 0
    name = name_of(archive.store, run)
    say(f"{mark(one.status)} {click.style(name, bold=True)}  {colored(one.status)}  {length(one.duration)}")
    about = [f"{run.package}{f' {run.version}' if run.version else ''}", f"started {date_time(run.created_at)}"]
    say(
        click.style(
            "  " + ", ".join(part for part in (*about, run.started_by and f"by {run.started_by}") if part), dim=True
        )
    )
    for line in ([run.name] if run.name else []) + kin_lines(kin, run):
        say(f"  {line}")
    if tree.reason and run.status == "pending" and kin.place is None:
        say(f"  {tree.reason}")
    for child in tree.children:
        draw(child, 1)
    if tree.hidden:
        say(f"  … {tree.hidden} more")
    if tree.error and run.status == "failed":
        say(f"{click.style('error', fg='red')}: {error_text(tree.error)}")
    return 0


def kin_lines(kin: Kin, run: RunRow) -> list[str]:
    """What a run is to others, a line for each that there is."""
    lines = []
    if kin.parent is not None:
        by = f", step {kin.parent.step}" if kin.parent.step else ""
        lines.append(f"child of {named(kin.parent)} ({kin.parent.status}){by}")
    if kin.before is not None:
        lines.append(f"goes on where {named(kin.before)} ended ({kin.before.status})")
    if kin.after is not None:
        lines.append(f"went on as {named(kin.after)} ({kin.after.status})")
    if kin.children:
        counts = Counter(child.status for child in kin.children)
        shown = ", ".join(f"{count} {status}" for status, count in counts.items())
        lines.append(
            f"{len(kin.children)} child run{'s' if len(kin.children) > 1 else ''}: {shown} (--tree lists them)"
        )
    if kin.unread:
        names = Counter(str(signal["name"]) for signal in kin.unread)
        listed = ", ".join(f"{name} ×{count}" if count > 1 else name for name, count in names.items())
        lines.append(f"unread signals: {listed}")
    if kin.place is not None:
        lines.append(place_line(kin.place))
    if kin.cancel is not None and run.ended_at is None:
        why = ": ".join(part for part in (kin.cancel["by"] and f"by {kin.cancel['by']}", kin.cancel["reason"]) if part)
        lines.append(f"being canceled{f' {why}' if why else ''}")
    return lines


def named(relative: Relative) -> str:
    """What leads to a run."""
    return relative.id if relative.execution == 1 else f"{relative.id}@{relative.execution}"


def place_line(place: Any) -> str:
    """A run's place among those of its key."""
    if place["holds"]:
        return f'has a place of the key "{place["key"]}" (concurrency)'
    ahead = f", {place['ahead']} before it" if place["ahead"] else ""
    holders = ", ".join(place["holders"]) or "nobody"
    return f'waits until another run with the key "{place["key"]}" has ended (concurrency): {holders} has it{ahead}'


def show_family(archive: Archive, run: RunRow, most: int, *, as_json: bool) -> int:
    """The run and what it has started."""
    from ..views.kin import family_of

    tree = family_of(archive.store, run, most=most)
    if as_json:
        click.echo(written(tree.to_json()))
        return 0
    draw_family(tree, 0)
    return 0


def draw_family(branch: Branch, depth: int) -> None:
    """A run, and below it those that it has started."""
    one = branch.run
    parts = [f"{mark(one.status)} {named(one)}", colored(one.status), click.style(one.package, dim=True)]
    parts += [click.style(f"step {one.step}", dim=True)] if one.step else []
    parts += ["goes on when its parent ends"] if one.on_parent_close == "abandon" else []
    say("  " * depth + "  ".join(parts))
    for child in branch.children:
        draw_family(child, depth + 1)
    if branch.hidden:
        say("  " * (depth + 1) + click.style(f"… {branch.hidden} more (--children N lists more)", dim=True))


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
    say("  " * depth + "  ".join(parts))
    for child in view.children:
        draw(child, depth + 1)
    if view.hidden:
        say("  " * (depth + 1) + click.style(f"… {view.hidden} more (--children N lists more)", dim=True))


def error_text(error: Any) -> str:
    """An error on one line."""
    step = f" (step {error['step']})" if error.get("step") else ""
    return one_line(f"{error.get('code')}: {error.get('message')}{step}")
