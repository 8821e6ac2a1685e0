"""What is said when a run has ended, or was interrupted: its outputs, or what failed and how to go on."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import click

from ..checksums import result_of
from ..clock import SystemClock
from ..outcome import Json
from ..rows import RunRow, StepRow
from .neat import print_data, say
from .texts import as_yaml, length, tail

if TYPE_CHECKING:
    from ..packages import Plans
    from ..project import Project
    from ..store.base import Store

#: A run's status -> the exit status of the command that waited for it.
STATUS = {"succeeded": 0, "continued": 0, "failed": 1, "canceled": 3}
#: Lines of the failed step's log that are shown.
LAST_LINES = 20
#: Bytes of its end among which they are looked for.
LAST_BYTES = 16 * 1024
#: Failed fan-outs that are counted.
MOST_LOOPS = 5


def exit_status(runs: Sequence[RunRow]) -> int:
    """The gravest of what became of runs: failed, then canceled."""
    codes = {STATUS.get(run.status, 0) for run in runs}
    return 1 if 1 in codes else 3 if 3 in codes else 0


class Kept(Protocol):
    """Where a run's rows and logs are: a runtime, or a store that is only looked at."""

    @property
    def store(self) -> Store:
        """The rows."""

    @property
    def plans(self) -> Plans:
        """The plans of packages."""

    @property
    def home(self) -> Path:
        """The folder of logs."""


def document_of(store: Store, run: RunRow) -> dict[str, Json]:
    """A run that has ended, as ``--json`` prints it."""
    root = root_of(store, run)
    return {
        "run": run.id,
        "execution": run.execution,
        "package": run.package,
        "status": run.status,
        "outputs": None if root is None else result_of(root),
        "error": error_of(root),
        "duration_ms": (run.ended_at or SystemClock().now()) - run.created_at,
    }


def root_of(store: Store, run: RunRow) -> StepRow | None:
    """The run's root step."""
    return next(iter(store.steps_at(run.key, [""])), None)


def error_of(row: StepRow | None) -> Json:
    """Why a step failed: its own error, or the first of its children."""
    text = None if row is None or row.status != "failed" else row.error or row.fault
    return None if text is None else json.loads(text)


def tell(kept: Kept, project: Project, run: RunRow, *, quiet: bool) -> None:
    """Print what came of a run: results to stdout, the rest to stderr."""
    found = document_of(kept.store, run)
    if run.status == "succeeded":
        if not quiet:
            click.echo(
                f"run {run.id} {click.style('succeeded', fg='green')} in {length(found['duration_ms'])}", err=True
            )
        if found["outputs"] not in (None, {}):
            print_data(as_yaml(found["outputs"]))
        return
    tell_end(kept, project, run, found)


def tell_end(kept: Kept, project: Project, run: RunRow, found: dict[str, Json]) -> None:
    """A run that failed or was canceled: the step, its error, the end of its log, and how to go on."""
    from .opening import hint

    error = found["error"]
    color = "red" if run.status == "failed" else "yellow"
    click.echo(f"run {run.id} {click.style(run.status, fg=color)} after {length(found['duration_ms'])}", err=True)
    for words in failed_loops(kept, run):
        say(f"  {words}", err=True)
    if error:
        step, attempt = error.get("step"), error.get("attempt")
        where = f"step {step}{f', attempt {attempt}' if attempt and attempt > 1 else ''}: " if step else ""
        click.echo(f"  {where}{click.style(error['code'], bold=True)}: {indented_rest(error['message'])}", err=True)
        log = last_log(kept.home, run, step) if step else ""
        if log:
            click.echo("\n".join(f"  | {line}" for line in tail(log, LAST_LINES).split("\n")), err=True)
    elif run.status == "canceled":
        root = root_of(kept.store, run)
        why = json.loads(root.cancel) if root is not None and root.cancel else {}
        if why.get("reason"):
            say(f"  reason: {why['reason']}", err=True)
    click.echo(f"  look:  {hint(project, f'show {run.id}')}", err=True)
    click.echo(f"  retry: {hint(project, f'retry {run.id}')}", err=True)


def indented_rest(text: str) -> str:
    """A text whose further lines cannot be taken for ours."""
    return text.replace("\n", "\n    ")


def failed_loops(kept: Kept, run: RunRow) -> Iterator[str]:
    """``each: 10 of 500 failed``, of every failed fan-out that is no part of another, a few of them."""
    from itertools import islice

    yield from islice(
        (words for root in [root_of(kept.store, run)] if root for words in loops_in(kept, run, root)), MOST_LOOPS
    )


def loops_in(kept: Kept, run: RunRow, row: StepRow) -> Iterator[str]:
    """The same below one step that failed."""
    from ..views.graph import RunGraph, form_of

    if not row.children:
        return
    form = form_of(RunGraph(kept.store, kept.plans, run).node(row), row)
    if form in ("for_each", "matrix"):
        yield f"step {row.path}: {row.failures} of {row.children} failed"
        return
    for child in kept.store.children(run.key, row.path, row.id, statuses=["failed"], limit=MOST_LOOPS):
        yield from loops_in(kept, run, child)


def last_log(home: Path, run: RunRow, step: str) -> str:
    """What the last attempt of a step wrote; of a group nothing."""
    from .log_files import logs_of

    files = [each for each in logs_of(home, run) if each.step == step]
    return end_of(files[-1].file) if files else ""


def end_of(file: Path) -> str:
    """The last of a log that may be long, and may be one line."""
    with file.open("rb") as stream:
        stream.seek(max(0, stream.seek(0, 2) - LAST_BYTES))
        return stream.read().decode("utf-8", "replace")


def interrupted(project: Project, runs: Sequence[RunRow]) -> None:
    """How to go on with runs that were left."""
    from .opening import hint

    for run in runs:
        click.echo(
            f"interrupted; run {run.id} is kept as it stands. Go on with: {hint(project, f'resume {run.id}')}", err=True
        )


__all__ = ["document_of", "error_of", "exit_status", "interrupted", "last_log", "tell"]
