"""The durable rows as types: what a store keeps of runs and steps. Pure: no statement and no rule stands here.

Rows are named tuples, so a database row becomes one without a copy and a changed one is ``row._replace(...)``. Times are
milliseconds since the epoch, but ``leased_until``, which is on the steady clock. JSON values stay text until someone
needs them.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple


class RunRow(NamedTuple):
    """One execution of a package."""

    #: The store's own number for it.
    key: int
    #: The name people and programs use; successive executions share it.
    id: str
    #: From 1; a ``continue_as_new`` successor or a rerun is the next one.
    execution: int
    package: str
    #: Of the package text it started with, and goes on with.
    digest: str
    #: Read off the root step; kept here for listings.
    status: str
    name: str | None
    version: str | None
    inputs: str
    metadata: str
    context: str
    #: The folder of the package file, for relative paths; None for text without a file.
    folder: str | None
    #: The step (its number) that started this run as a child.
    parent: int | None
    paused: int
    #: Steps there are, ended ones included.
    steps: int
    #: Steps that have ended.
    done: int
    #: Who started it.
    started_by: str | None
    created_at: int
    started_at: int | None
    ended_at: int | None

    #: The run (its key) that a child run ends with; a run that continues hands its children on to its successor.
    parent_run: int | None = None
    #: What becomes of a child run when its parent ends: ``cancel`` or ``abandon``; None for a run that is no child.
    on_parent_close: str | None = None
    #: Runs above it; bounds recursion.
    depth: int = 0
    #: ``package/key``: runs of the same slot share its places (``concurrency``); None without.
    slot: str | None = None
    #: The durable name of the queue in which steps wait that name none; None is ``default``.
    queue: str | None = None
    #: It takes no kept results; those it computes are kept.
    uncached: int = 0


class StepRow(NamedTuple):
    """One step of one run, kept up to date under the run's lock."""

    id: int
    #: The run's key.
    run: int
    #: Its key within the run: ``enrich[3]/head``; the root's is empty.
    path: str
    #: The group, fan-out or emitter it belongs to; None for the root.
    parent: int | None
    #: The emitted step (its id) in whose definition this one is declared; None when the package declares it.
    origin: int | None
    #: JSON of an emitted step's declaration.
    definition: str | None
    #: JSON of the names it adds for expressions: ``item``, ``index``, ``matrix``, ``iteration``, ``inputs``.
    scope: str | None
    #: Its position among its siblings; results of a fan-out come in this order.
    ordinal: int

    status: str
    #: What is to be done next, or being done: see ``lifecycle``.
    phase: str
    #: The kind that a worker executes; empty for groups and loops.
    kind: str
    #: Why it was skipped or canceled, in one word.
    reason: str | None
    #: Where it waits; empty for the engine's own work.
    queue: str
    priority: int
    #: Its turn among steps of equal priority: runs share a queue fairly by it.
    rank: int
    #: Why a step that could go on is not offered to workers: ``slot``, ``timer``, ``paused`` or ``lock``.
    parked: str | None
    #: Not before this moment; covers sleep, back-off, delayed start and a group's timeout.
    available_at: int | None

    #: Tries of the kind so far; drained and lost leases are taken back.
    attempt: int
    #: Leases lost in a row.
    lost: int
    #: The fencing token: counts every lease of this step.
    epoch: int
    worker: str | None
    leased_until: int | None

    #: Needs that came true, and needs that no longer can.
    met: int
    missed: int
    #: Children there are, and those of them that have not ended.
    children: int
    alive: int
    #: Children that hold one of the ``max_parallel`` places.
    busy: int
    #: Children that failed unhandled, and children that somebody canceled.
    failures: int
    cancellations: int
    #: JSON ``{reason, by, origin}`` once it is to be canceled.
    cancel: str | None
    #: JSON of the first error among its children, or of its own while it is ending.
    fault: str | None
    #: The id of the child that won a race.
    winner: str | None
    dedup_key: str | None

    result: str | None
    error: str | None
    #: The run's event number at which it became due, and at which it ended: what a step sees of others is fixed by them.
    due: int | None
    ended: int | None
    ready_at: int | None
    started_at: int | None
    ended_at: int | None

    #: What it waits for, as somebody who brings it looks for it: ``signal:NAME``, ``approval``; None when for nothing.
    awaits: str | None = None
    #: JSON of what it waits for, or has waited for: a prompt and form, a child run, a continuation's inputs.
    wait: str | None = None
    #: JSON of what is settled about it: by its gate ``{locks: [name], cache: {key, ttl}}``, of a group ``undo`` once
    #: a step that can be undone was emitted below it, and ``then``, the stage that follows its undo.
    terms: str | None = None
    #: Of ``result``; see ``checksums``. None without a result.
    checksum: int | None = None


def terms_of(row: StepRow) -> dict[str, Any]:
    """What is settled about a step."""
    terms: dict[str, Any] = json.loads(row.terms) if row.terms else {}
    return terms


def with_terms(row: StepRow, **terms: Any) -> StepRow:
    """The step with more settled about it; None takes a term away."""
    merged = {name: value for name, value in {**terms_of(row), **terms}.items() if value is not None}
    return row._replace(terms=json.dumps(merged, separators=(",", ":")) if merged else None)


def new_step(*, id: int, run: int, path: str, parent: int | None, ordinal: int = 0) -> StepRow:
    """A pending step with nothing behind it."""
    return StepRow(
        id, run, path, parent, None, None, None, ordinal,
        "pending", "", "", None, "", 0, 0, None, None,
        0, 0, 0, None, None,
        0, 0, 0, 0, 0, 0, 0, None, None, None, None,
        None, None, None, None, None, None, None,
    )  # fmt: skip


class EventRow(NamedTuple):
    """One line of a run's durable log."""

    run: int
    #: From 1 within the run, without gaps.
    seq: int
    at: int
    kind: str
    #: The step's path; None for the run itself.
    step: str | None
    #: JSON, or None.
    payload: str | None


class ArtifactRow(NamedTuple):
    """A file that a step kept."""

    run: int
    step: int
    name: str
    uri: str | None
    size: int
    sha256: str
    content_type: str
    kind: str
    metadata: str
    created_at: int


class SignalRow(NamedTuple):
    """A message to a run. It stays with the run that read it; unread ones move on to a run's successor."""

    #: The order in which signals arrived, over all runs.
    seq: int
    run: int
    name: str
    #: JSON.
    data: str
    #: Who sent it, in words.
    sender: str | None
    #: The sender's own name for it: the same key twice to a run is one signal.
    key: str | None
    at: int
    #: The step (its number) that read it; None while it is unread.
    taken_by: int | None = None


class LockRow(NamedTuple):
    """A name that one leased step holds, in the whole store."""

    name: str
    run: int
    step: int
    since: int


class HeldLock(NamedTuple):
    """A lock, with whose it is: what people are told."""

    name: str
    #: The run (id and execution) and path of the step that holds it.
    run_id: str
    execution: int
    path: str
    since: int
    #: Steps that wait for it.
    waiting: int


class CacheRow(NamedTuple):
    """A result kept for later runs."""

    package: str
    #: The path of the step without keys.
    step: str
    key: str
    #: JSON.
    result: str
    #: The run (id and execution) and path that made it.
    run_id: str
    execution: int
    path: str
    created_at: int
    #: Not used after this moment; None is for ever.
    expires_at: int | None
    #: Of ``result``, as the step that made it had it.
    checksum: int | None = None


class ScheduleRow(NamedTuple):
    """An entry of a package's ``schedule``, and when it is due next."""

    package: str
    #: Its position in the list.
    entry: int
    #: The cron expression and time zone that ``next_at`` was reckoned with.
    cron: str
    timezone: str
    #: None when it never comes again.
    next_at: int | None
    #: The last time that was acted on.
    last_at: int | None
    #: The id of the run that it started; None when it started none.
    last_run: str | None = None
    #: Why it started none, or which times before it were passed over.
    note: str | None = None


class RetentionRow(NamedTuple):
    """How long a package's ended runs are kept, by its newest declaration; milliseconds, None is for ever."""

    package: str
    finished: int | None
    continued: int | None


class Counts(NamedTuple):
    """How much of what there is in a store at one moment."""

    #: status -> runs.
    runs: dict[str, int]
    #: (queue, ``ready`` | ``delayed`` | ``running`` | ``waiting``) -> calls; a delayed one waits for a moment.
    steps: dict[tuple[str, str], int]
    #: When the call became ready that has waited longest; None when none is ready.
    oldest_ready: int | None


class QueueRow(NamedTuple):
    """A queue's durable state."""

    name: str
    max_in_flight: int | None
    #: Tokens per millisecond; None is without a bucket.
    rate: float | None
    burst: int
    #: Tokens left at ``refilled_at``.
    tokens: float
    refilled_at: int
    paused: int


class WorkerRow(NamedTuple):
    """A process that takes leases."""

    name: str
    host: str
    pid: int
    boot: str
    #: A file that the process holds locked while it lives; None where there is none.
    lock: str | None
    started_at: int
    seen_at: int
    #: ``running`` or ``stopped``.
    status: str

    #: JSON ``[name]`` of the queues that it serves; None is all.
    queues: str | None = None
    #: JSON ``[kind]`` of what it can execute; None is not known.
    kinds: str | None = None
    #: JSON ``[key]`` of the runs that it works on; None is all.
    runs: str | None = None


class PackageRow(NamedTuple):
    """A package text that runs refer to."""

    digest: str
    name: str
    version: str | None
    text: str
    file: str | None
    created_at: int
