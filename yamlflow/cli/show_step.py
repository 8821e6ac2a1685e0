"""``show RUN STEP``: one step, its attempts, what they were given, wrote and came to."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..checksums import result_of
from ..views.outline import counted
from .neat import say
from .show import draw, error_text
from .texts import as_json as written
from .texts import as_yaml, clock_time, colored, date_time, length, mark, short, table, tail

if TYPE_CHECKING:
    from ..plugins import Plugins
    from ..rows import EventRow, RunRow, StepRow
    from ..views.attempts import AttemptView
    from ..views.given import Given
    from ..views.steps import StepView
    from .opening import Archive

#: Lines of a log, and of an input or result, that are shown; bytes of a log that are read.
LAST_LINES, MOST_LINES, LAST_BYTES = 20, 40, 65_536
#: What happened to a step besides its attempts, in words.
STORY = {
    "step.cached": "a kept result was taken instead of running",
    "step.uncached": "no kept result was taken",
    "step.blocked": "it waits for locks",
    "step.late": "its timeout passed; the run it waits for is canceled",
    "step.answered": "it was answered",
    "step.canceling": "it was told to stop",
    "step.refused": "an outcome came too late and was refused",
    "step.reopened": "an operator let it begin anew",
    "undo.fired": "what it did was begun to be taken back",
    "handler.fired": "its handler began",
}


def show_step(
    ctx: click.Context, archive: Archive, run: RunRow, view: StepView, number: int | None, *, as_json: bool
) -> int:
    """One step, with its attempts."""
    from ..views.attempts import MOST_EVENTS, told_by
    from ..views.kin import wait_of

    (row,) = archive.store.steps_at(run.key, [view.path])
    events = archive.store.events(run.key, step=view.path, limit=MOST_EVENTS)
    attempts = told_by(events)
    chosen = choose(attempts, number, view.path)
    given = inputs_of(ctx, archive, run, row, attempts)
    story = [event for event in events if event.kind in STORY]
    wait = wait_of(archive.store, row)
    result = result_of(row)
    if as_json:
        leases = [
            {**one.to_json(), **each.to_json(), "log": log_tail(archive.home, run, view.path, one.attempt)}
            for one, each in zip(attempts, given, strict=True)
        ]
        document = {"run": run.id, **view.to_json(), "wait": wait, "story": [told(event) for event in story]}
        click.echo(written({**document, "result": result, "leases": leases}))
        return 0
    say(f"{mark(view.status)} {click.style(view.path, bold=True)}  {colored(view.status)}  {length(view.duration)}")
    say(click.style(f"  {view.form} of run {run.id}{f': {view.title}' if view.title else ''}", dim=True))
    if view.reason:
        say(f"  {view.reason}")
    if wait is not None:
        say_wait(wait, waiting=view.status == "waiting")
    for event in story:
        say(click.style(f"  {clock_time(event.at)} {sentence(event)}", dim=True))
    if attempts:
        click.echo(attempt_table(attempts))
    for child in view.children:
        draw(child, 1)
    if view.hidden:
        say(f"  … {view.hidden} more (--children N lists more)")
    if chosen is not None:
        say_given(attempts, given, chosen)
    if chosen is not None and chosen.error and (chosen is not attempts[-1] or not view.error):
        say(f"error of attempt {chosen.attempt}: {chosen.error['code']}: {chosen.error['message']}")
    say_end(view, result)
    if chosen is not None and (text := log_tail(archive.home, run, view.path, chosen.attempt)):
        say(f"log of attempt {chosen.attempt}:")
        click.echo(indented(text, "  │ "))
    say(click.style(f"log: yamlflow logs {run.id} '{view.path}'", dim=True), err=True)
    return 0


def choose(attempts: Sequence[AttemptView], number: int | None, path: str) -> AttemptView | None:
    """The attempt whose input and log are shown: the last, or the one asked for. ``UnknownName``."""
    from ..errors import UnknownName

    if number is None:
        return attempts[-1] if attempts else None
    found = [one for one in attempts if one.attempt == number]
    if not found:
        most = max((one.attempt for one in attempts), default=0)
        had = f"had {counted(most, 'attempt')}" if most else "has not been tried"
        raise UnknownName(f"there is no attempt {number}: step {path} {had}")
    return found[-1]


def attempt_table(attempts: Sequence[AttemptView]) -> str:
    """A line for each attempt."""
    rows = [
        (
            str(one.attempt), f"{mark(one.status.split()[0])} {one.status}", date_time(one.started_at),
            length(None if one.ended_at is None else one.ended_at - one.started_at), one.worker,
            short(f"{one.error['code']}: {one.error['message']}", 40) if one.error else "",
        )
        for one in attempts
    ]  # fmt: skip
    return table(rows, ("ATTEMPT", "STATUS", "STARTED", "TOOK", "WORKER", "ERROR"))


def inputs_of(
    ctx: click.Context, archive: Archive, run: RunRow, row: StepRow, attempts: Sequence[AttemptView]
) -> list[Given]:
    """What each attempt was given."""
    if not attempts:
        return []
    from ..runtime import Runtime
    from ..views.given import given_to

    # Not closed: what it would close is the archive's store.
    bench = Runtime(archive.store, plugins=filters_of(ctx, archive, run), home=archive.home).bench
    return [given_to(bench, row, one) for one in attempts]


def filters_of(ctx: click.Context, archive: Archive, run: RunRow) -> Plugins:
    """The plugins of the project and the run; where they contradict one another none, and what needs one says so."""
    from ..errors import PluginError
    from ..plugins import load
    from .opening import plugins_of

    try:
        return plugins_of(ctx, archive.project, run.folder)
    except PluginError as trouble:
        click.secho(f"plugins are left out: {trouble}", err=True, fg="yellow")
        return load(entry_points=False)


def say_wait(wait: Any, *, waiting: bool) -> None:
    """What a step waits for, or has waited for, beyond what its reason says."""
    if wait.get("run"):
        execution = wait.get("execution") or 1
        name = wait["run"] if execution == 1 else f"{wait['run']}@{execution}"
        say(f"  run {name} is {wait['status']}: yamlflow show {name}")
    if wait.get("form") and waiting:
        say("  form:")
        click.echo(indented(as_yaml(wait["form"]), "    "))


def say_given(attempts: Sequence[AttemptView], given: Sequence[Given], chosen: AttemptView) -> None:
    """The input of one attempt, and whether the others' was another."""
    one = given[attempts.index(chosen)]
    others = [str(each.attempt) for each, other in zip(attempts, given, strict=True) if other != one]
    differ = f" (that of attempt {', '.join(dict.fromkeys(others))} was another: --attempt)" if others else ""
    if one.problem is not None:
        say(f"input of attempt {chosen.attempt}: {one.problem}")
        return
    if one.input not in (None, {}):
        say(f"input of attempt {chosen.attempt}{differ}:")
        click.echo(indented(cut(as_yaml(one.input)), "  "))
    if one.env:
        say("env:")
        click.echo(indented(cut(as_yaml(dict(one.env))), "  "))


def say_end(view: StepView, result: Any) -> None:
    """The error with its cause, or the result."""
    if view.error:
        say(f"{click.style('error', fg='red')}: {error_text(view.error)}")
        details = {key: value for key, value in view.error.items() if key in ("type", "cause", "details") and value}
        if details:
            click.echo(indented(cut(as_yaml(details)), "  "))
    elif isinstance(result, dict | list):
        say("result:")
        click.echo(indented(cut(as_yaml(result)), "  "))
    elif result is not None:
        say(f"result: {short(as_yaml(result), 400)}".rstrip())


def log_tail(home: Path, run: RunRow, path: str, attempt: int) -> str | None:
    """The end of what an attempt wrote; None when it wrote nothing."""
    from ..logs import log_file

    try:
        with log_file(home, run.id, run.execution, path, attempt).open("rb") as stream:
            stream.seek(max(0, stream.seek(0, 2) - LAST_BYTES))
            return tail(stream.read().decode("utf-8", "replace"), LAST_LINES) or None
    except OSError:
        return None


def told(event: EventRow) -> dict[str, Any]:
    """An event for programs."""
    from ..clock import to_text

    payload = None if event.payload is None else json.loads(event.payload)
    return {"at": to_text(event.at), "kind": event.kind, "payload": payload}


def sentence(event: EventRow) -> str:
    """An event in words, with what it tells."""
    told = json.loads(event.payload) if event.payload else {}
    words = ", ".join(
        f"{name} {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}"
        for name, value in told.items()
        if value not in (None, "")
    )
    return STORY[event.kind] + (f" ({words})" if words else "")


def cut(text: str) -> str:
    """A text with so many lines at most, the rest counted."""
    lines = text.split("\n")
    if len(lines) <= MOST_LINES:
        return text
    return "\n".join([*lines[:MOST_LINES], f"… {len(lines) - MOST_LINES} more lines (--json has them)"])


def indented(text: str, before: str) -> str:
    """Every line of a text after something."""
    return "\n".join(f"{before}{line}".rstrip() for line in text.split("\n"))
