"""Why a step does not run, in words: what it waits for, or why it was passed by. Pure but for the rows it is lent."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from shlex import quote

from ..clock import to_datetime
from ..lifecycle import is_over
from ..outcome import Json
from ..plan import ENGINE_QUEUE, Node, child_path, parent_path
from ..rows import HeldLock, RunRow, StepRow, terms_of
from .queues import QueueView
from .workers import WorkerView


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What is known around a step."""

    run: RunRow
    now: int
    #: By name.
    queues: Mapping[str, QueueView] = field(default_factory=dict)
    #: Steps of the run by path; those that are not there are left out.
    steps_at: Callable[[list[str]], list[StepRow]] = lambda paths: []
    #: Who holds the locks of some names.
    locks: Callable[[list[str]], list[HeldLock]] = lambda names: []
    #: The signals that the run's package declares: name -> JSON Schema of the data.
    signals: Mapping[str, Json] = field(default_factory=dict)
    #: The workers that live; None when somebody certainly works.
    workers: Sequence[WorkerView] | None = None


def why(row: StepRow, node: Node | None, around: Surroundings) -> str | None:
    """Why a step stands where it stands; None when its status says all."""
    match row.status:
        case "pending":
            return why_pending(row, node, around)
        case "ready":
            return why_ready(row, around)
        case "running":
            return "being canceled" if row.cancel is not None else None
        case "waiting":
            return why_waiting(row, around)
        case "succeeded" if row.reason == "cached":
            return why_cached(row)
        case "skipped":
            return why_skipped(row, node, around)
        case "canceled":
            return why_canceled(row)
    return None


def why_pending(row: StepRow, node: Node | None, around: Surroundings) -> str:
    """Its needs, its group's places, or time."""
    if row.path == "" and around.run.slot is not None:
        return f'waits until another run with the key "{around.run.slot.partition("/")[2]}" has ended (concurrency)'
    if row.parked == "slot":
        return f"not offered: waits for a place{places(row, around)}"
    if row.parked == "timer" and row.available_at is not None:
        return f"begins at {moment(row.available_at, around.now)}"
    names = [name for name, other in needed(row, node, around) if other is None or not is_over(other)]
    if names:
        some = "" if node is None or node.required == len(node.needs) else f"{node.required} of "
        return f"waits for {some}{', '.join(names)}"
    return "waits for its group"


def places(row: StepRow, around: Surroundings) -> str:
    """How many may go on at once in the group around a step."""
    above = parent_path(row.path)
    group = None if above is None else next(iter(around.steps_at([above])), None)
    return f" ({group.busy} are taken)" if group is not None and group.busy else ""


def needed(row: StepRow, node: Node | None, around: Surroundings) -> list[tuple[str, StepRow | None]]:
    """The steps that a step needs, by id."""
    if node is None or not node.needs:
        return []
    above = parent_path(row.path) or ""
    paths = {child_path(above, need.step): need.step for need in node.needs}
    rows = {other.path: other for other in around.steps_at(list(paths))}
    return [(id, rows.get(path)) for path, id in paths.items()]


def why_ready(row: StepRow, around: Surroundings) -> str:
    """Its back-off, its run, its queue, or that nobody works."""
    if row.parked == "timer" and row.available_at is not None:
        return f"{'backing off' if row.attempt else 'held back'} until {moment(row.available_at, around.now)}"
    if row.parked == "paused" or (around.run.paused and row.phase == "run"):
        return "paused: `yamlflow unpause` lets it go on"
    if row.parked == "lock":
        return why_locked(row, around)
    queue = around.queues.get(row.queue)
    if queue is not None and queue.paused:
        return f'its queue "{queue.name}" is paused'
    if queue is not None and queue.full:
        return f'queue "{queue.name}" is full ({queue.in_flight} of {queue.max_in_flight} in flight)'
    if queue is not None and queue.token_at is not None:
        return f'queue "{queue.name}" has no token until {moment(queue.token_at, around.now)}'
    return why_unserved(row, around) or (
        "waits for a worker" if row.queue == ENGINE_QUEUE else f'waits for a worker in queue "{row.queue}"'
    )


def why_unserved(row: StepRow, around: Surroundings) -> str | None:
    """That no worker lives which would take the step; None when one does."""
    if around.workers is None:
        return None
    if not around.workers:
        return "no worker is running: `yamlflow resume` or `yamlflow worker` takes it up"
    here = [worker for worker in around.workers if worker.works_on(around.run)]
    if not here:
        return "no worker takes it: those that run work on other runs; `yamlflow resume` takes it up"
    able = [worker for worker in here if not row.kind or worker.executes(row.kind)]
    if not able:
        return f'no worker knows kind "{row.kind}": start one with the plugin that supplies it'
    if not any(worker.serves(row.queue) for worker in able):
        only = f' that knows kind "{row.kind}"' if row.kind and len(able) < len(here) else ""
        return f'no worker{only} serves queue "{row.queue}": start one that does (`--queues {row.queue}`)'
    return None


def why_locked(row: StepRow, around: Surroundings) -> str:
    """The locks that it needs and others hold."""
    held = around.locks(terms_of(row).get("locks") or [])
    if not held:
        return "its locks are free again: it is about to be offered"
    return " and ".join(f'waits for lock "{lock.name}", held by {holder(lock, around.run)}' for lock in held)


def holder(lock: HeldLock, run: RunRow) -> str:
    """Whose a lock is."""
    if (lock.run_id, lock.execution) == (run.id, run.execution):
        return lock.path
    return f"{lock.run_id}{f'@{lock.execution}' if lock.execution > 1 else ''}/{lock.path}"


def why_cached(row: StepRow) -> str:
    """Which run computed what the step took."""
    source = terms_of(row)["cache"]["from"]
    if not source["run"]:
        return f"taken from the cache: of {source['at']}, of a run that is removed"
    run = source["run"] if source["execution"] == 1 else f"{source['run']}@{source['execution']}"
    return f"taken from the cache: {run}/{source['step']} of {source['at']}"


def why_waiting(row: StepRow, around: Surroundings) -> str | None:
    """Time, another step, or its own children."""
    if row.phase == "sleep":
        return "sleeps" if row.available_at is None else f"sleeps until {moment(row.available_at, around.now)}"
    if row.cancel is None and row.phase in AWAITED:
        return AWAITED[row.phase](row, around) + until(row, around.now)
    if row.phase == "dedup":
        return "waits for the step that has the same dedup_key"
    if row.cancel is not None:
        return "being canceled"
    if row.phase in ("undo", "handler", "finally"):
        return f"its {'handler' if row.phase == 'handler' else row.phase} runs"
    return None


def awaited_signal(row: StepRow, around: Surroundings) -> str:
    """The signal, and how to send it."""
    name = str(waited_for(row).get("signal"))
    data = " --data …" if around.signals.get(name) else ""
    return f'waits for the signal "{name}": `yamlflow signal {around.run.id} {quote(name)}{data}` sends it'


def awaited_answer(row: StepRow, around: Surroundings) -> str:
    """The question, and how to answer it."""
    prompt = str(waited_for(row).get("prompt") or "").strip()
    asked = f"asks: {prompt}" if prompt else "asks for a yes or no"
    return f"{asked} (`yamlflow approve {around.run.id} {row.path}`)"


def awaited_run(row: StepRow, around: Surroundings) -> str:
    """The child run."""
    late = "its timeout passed; " if row.error is not None and row.available_at is None else ""
    return f'{late}waits for run "{waited_for(row).get("run")}"'


#: Phase of a step that waits -> what it waits for, in words.
AWAITED: Mapping[str, Callable[[StepRow, Surroundings], str]] = {
    "signal": awaited_signal,
    "approval": awaited_answer,
    "child": awaited_run,
}


def waited_for(row: StepRow) -> Mapping[str, Json]:
    """What is known of a wait."""
    found: Mapping[str, Json] = json.loads(row.wait or "{}")
    return found


def until(row: StepRow, now: int) -> str:
    """How long a wait goes on at most."""
    return "" if row.available_at is None else f", until {moment(row.available_at, now)}"


def why_skipped(row: StepRow, node: Node | None, around: Surroundings) -> str:
    """Its ``if``, or what became of its needs."""
    if row.reason == "if":
        return "its `if` was false"
    if row.reason == "concurrency":
        return "another run has the key of its package's `concurrency`"
    missed = [
        f"{name} {'did not run' if other is None else words_for(other)}"
        for name, other in needed(row, node, around)
        if node is not None and not any(need.step == name and met(other, need.ends) for need in node.needs)
    ]
    if missed:
        return f"because {', '.join(missed)}"
    return f"because of what it needs ({row.reason})" if row.reason else "passed by"


def met(row: StepRow | None, ends: frozenset[str]) -> bool:
    """Whether a needed step has ended as it was asked to."""
    return row is not None and row.status in ends


def words_for(row: StepRow) -> str:
    """A status as it follows a name."""
    return {"succeeded": "succeeded", "failed": "failed", "skipped": "was skipped", "canceled": "was canceled"}.get(
        row.status, f"is {row.status}"
    )


#: Where a cancel came from, in words.
ORIGINS: Mapping[str, str] = {
    "fail_fast": "another step of its group failed",
    "race": "another branch won",
    "timeout": "its group was not done in time",
    "limit": "the run passed a limit",
    "parent": "its parent run ended",
    "continued": "the run goes on as its next execution",
    "concurrency": "a newer run took its place",
}


def why_canceled(row: StepRow) -> str | None:
    """By whom, and why."""
    cancel = json.loads(row.cancel or "{}")
    by = f"by {cancel['by']}" if cancel.get("by") else ""
    reason = cancel.get("reason") or ORIGINS.get(str(cancel.get("origin")), "")
    return ": ".join(part for part in (by, reason) if part) or None


def moment(at: int, now: int) -> str:
    """A time near now, as people read it: in local time, with what is left."""
    from ..duration import format_duration

    local = to_datetime(at).astimezone()
    text = local.strftime("%H:%M:%S" if abs(at - now) < 12 * 3_600_000 else "%Y-%m-%d %H:%M:%S")
    left = (at - now) // 1000 * 1000
    return f"{text} (in {format_duration(left)})" if left > 0 else text
