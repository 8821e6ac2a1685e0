"""From what an executor asks of the engine to what the engine takes: runs to start are read, checked and rendered here.

This happens in the worker, outside any transaction. A package that is not there, or inputs that do not fit, are the
step's failure.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

from .attempt import Attempt
from .checks import check_id
from .engine.decisions import Renewed, Report, Sent, Spawned, Timed
from .engine.starts import Start
from .errors import InvalidInput, InvalidPackage, UnknownName, UserError
from .lookup import Bench
from .outcome import Asking, ContinueAsNew, Error, Failed, Outcome, StartRun, Succeeded, Waiting
from .packages import Loaded
from .rows import RunRow


def asked(bench: Bench, attempt: Attempt, outcome: Outcome) -> Report:
    """An outcome in the engine's words."""
    try:
        match outcome:
            case Succeeded(signals=signals) if signals:
                starts = tuple(None if one.start is None else start_of(bench, attempt, one.start) for one in signals)
                return Sent(outcome=outcome, starts=starts)
            case StartRun():
                start = start_of(bench, attempt, outcome)
                return Spawned(
                    start=start, wait=outcome.wait, on_parent_close=outcome.on_parent_close, deadline=deadline(bench, attempt)
                )  # fmt: skip
            case ContinueAsNew():
                return Renewed(start=successor(bench, attempt.run, outcome))
            case Waiting() | Asking():
                at = deadline(bench, attempt)
                return outcome if at is None else Timed(outcome=outcome, deadline=at)
    except UserError as wrong:
        return attempt.context.failed(Failed(error=error_of(wrong)))
    return outcome


def error_of(wrong: UserError) -> Error:
    """Why a run cannot be started, as its step's error."""
    if isinstance(wrong, UnknownName):
        # Another worker, or a later deploy, may know it.
        return Error(code="unknown_package", message=str(wrong), type=type(wrong).__name__)
    if isinstance(wrong, InvalidInput):
        return Error(code="bad_input", message=str(wrong), type="InvalidInput", permanent=True)
    lead = "the package to run is wrong: " if isinstance(wrong, InvalidPackage) else ""
    return Error(code="bad_package", message=f"{lead}{wrong}", type=type(wrong).__name__, permanent=True)


def deadline(bench: Bench, attempt: Attempt) -> int | None:
    """When the step's own timeout has passed, by the wall clock."""
    if attempt.deadline is None:
        return None
    return bench.clock.now() + attempt.deadline - bench.clock.steady()


def start_of(bench: Bench, attempt: Attempt, wanted: StartRun) -> Start:
    """A run that a step starts."""
    run = attempt.run
    one = bench.shelf.for_step(wanted.package, run)
    bench.plans.add(one)
    return bench.shelf.prepare(
        one, wanted.inputs, run_id=wanted.run_id or child_id(run, attempt.row.path), name=wanted.name,
        metadata=wanted.metadata, context=json.loads(run.context), inherited=True,
        if_exists=wanted.if_exists, queue=attempt.child_queue,
    )  # fmt: skip


def child_id(run: RunRow, path: str) -> str:
    """The id of a step's child run: that of its own run and where the step stands."""
    spoken = "".join(
        char if char.isalnum() or char in "._-" else "." for char in path.replace("[", ".").replace("]", "")
    )
    id = f"{run.id}.{run.execution}.{spoken}" if run.execution > 1 else f"{run.id}.{spoken}"
    if len(id) > 150 or "." in path or spoken != path.replace("/", ".").replace("[", ".").replace("]", ""):
        # What was cut or could not be said must not make two steps' children one run.
        mark = hashlib.sha256(f"{run.id}/{run.execution}/{path}".encode()).hexdigest()[:12]
        id = f"{id[:150]}-{mark}"
    check_id(id)
    return id


def successor(bench: Bench, run: RunRow, wanted: ContinueAsNew) -> Start:
    """A run's next execution."""
    one: Loaded = bench.shelf.get(run.package) if wanted.latest else bench.shelf.text(run.digest)
    bench.plans.add(one)
    start = bench.shelf.prepare(one, wanted.inputs, run_id=run.id, context=json.loads(run.context), inherited=True)
    return start if wanted.latest else replace(start, folder=run.folder)
