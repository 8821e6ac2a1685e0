"""Runs as wholes: storing one, and what its end means for other runs.

A run's end is followed up in the transaction in which it ended: its parent's step goes on, its children are canceled, its
place goes to the run that waits longest, and one that continues has its successor.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from .. import lifecycle
from ..errors import RunExists
from ..lifecycle import is_over
from ..outcome import Emitted, Error, Json
from ..plan import Plan
from ..rows import QueueRow, RunRow, StepRow
from ..spec import Queue
from .begin import emit
from .ends import cancel_tree, child_key, end, fail_attempt
from .places import begin, fill_slot, has_to_wait, holder_of
from .retention import declare_retention
from .starts import Start
from .work import Work


@dataclass(frozen=True, kw_only=True, slots=True)
class Parent:
    """The step that starts a run as its child."""

    run: RunRow
    step: int
    on_parent_close: str


def start(work: Work, wanted: Start, parent: Parent | None = None) -> tuple[RunRow, bool]:
    """Store a run and open its root; the run and whether it is new.

    ``RunExists`` when its id is in use, ``StartRefused`` when ``concurrency`` forbids it; nothing was changed then.
    """
    known = work.tx.find_run(wanted.run_id)
    if known is not None:
        if wanted.if_exists == "join" and known.package == wanted.package.name:
            return known, False
        if wanted.if_exists != "new" or known.ended_at is None:
            raise RunExists(in_use(known, wanted))
    waits = has_to_wait(work, wanted)
    work.tx.put_package(wanted.package)
    declare_retention(work, wanted.plan)
    row = RunRow(
        key=0, id=wanted.run_id, execution=known.execution + 1 if known else 1, package=wanted.package.name,
        digest=wanted.package.digest, status="pending", name=wanted.name, version=wanted.package.version,
        inputs=json.dumps(dict(wanted.inputs)), metadata=json.dumps(dict(wanted.metadata)),
        context=json.dumps(dict(wanted.context)), folder=wanted.folder, parent=None, paused=0, steps=1, done=0,
        started_by=wanted.by, created_at=work.now, started_at=None, ended_at=None, slot=wanted.slot,
        queue=wanted.queue, uncached=int(not wanted.use_cache),
    )  # fmt: skip
    if parent is not None:
        row = row._replace(
            parent=parent.step, parent_run=parent.run.key, depth=parent.run.depth + 1,
            on_parent_close=parent.on_parent_close, uncached=parent.run.uncached,
        )  # fmt: skip
    return store(work, row, wanted.plan, waits=waits, steps=wanted.steps), True


def in_use(run: RunRow, wanted: Start) -> str:
    """Why a run id cannot be taken, and what can be done."""
    if run.package != wanted.package.name:
        return f'there is a run "{run.id}" already, of the package "{run.package}". Use another id'
    if run.ended_at is None:
        return (
            f'there is a run "{run.id}" already, and it is {run.status}. Use another id, or join it (if_exists: join)'
        )
    return f'there is a run "{run.id}" already ({run.status}). Use another id, or start its next execution (if_exists: new)'


def store(work: Work, row: RunRow, plan: Plan, *, waits: bool = False, steps: Sequence[Emitted] = ()) -> RunRow:
    """Keep a run with its root and the steps that a program built for it; it begins now, or when there is a place."""
    row = work.tx.insert_run(row)
    work.put_run(row)
    declare_queues(work, plan)
    payload = {"package": row.package, "execution": row.execution, "by": row.started_by}
    work.event(row.key, "run.started", None, payload)
    root = work.put(work.add(run=row.key, path="", parent=None))
    if steps:
        root = emit(work, root, steps, held=True)
    if waits:
        work.event(row.key, "run.waiting", None, {"slot": row.slot})
    else:
        begin(work, row, root)
    return work.run(row.key)


def declare_queues(work: Work, plan: Plan) -> None:
    """Keep the policies of a package's queues; tokens that are there stay."""
    for queue in plan.package.queues.values():
        name = plan.queue_name(queue.name)
        known = work.tx.queue(name)
        row = queue_row(name, queue, known, work.now)
        if row != known:
            work.tx.put_queue(row)


def queue_row(name: str, queue: Queue, known: QueueRow | None, now: int) -> QueueRow:
    """A queue's state under a policy: full at first use."""
    if known is None:
        return QueueRow(name, queue.max_in_flight, queue.rate, queue.burst, float(queue.burst), now, 0)
    return known._replace(
        max_in_flight=queue.max_in_flight, rate=queue.rate, burst=queue.burst, tokens=min(known.tokens, queue.burst)
    )


# -- ends ----------------------------------------------------------------------------------------------------------


def close_runs(work: Work) -> bool:
    """Follow up the runs that have ended in this transaction; whether there were any."""
    closed, work.closed = work.closed, []
    # Successors first: one whose parent ends in the same transaction goes with it.
    for key in sorted(closed, key=lambda key: work.run(key).status != "continued"):
        close_run(work, work.run(key))
    return bool(closed)


def close_run(work: Work, run: RunRow) -> None:
    """What a run's end means for others."""
    root = work.at(run.key, "")
    assert root is not None
    if run.status == "continued":
        succeed_run(work, run, root)
        return
    if run.parent is not None:
        tell_parent(work, run, root)
    work.flush()
    for child in work.tx.children(run.key):
        cancel_orphan(work, run, root, child)
    if run.slot is not None:
        fill_slot(work, run.slot)


def succeed_run(work: Work, run: RunRow, root: StepRow) -> None:
    """The next execution of a run that continues: with its unread signals, its parent, its children and its place."""
    told = json.loads(root.wait or "{}")["continue"]
    row = run._replace(
        key=0, execution=run.execution + 1, digest=told["digest"], version=told["version"], status="pending",
        name=told["name"], inputs=json.dumps(told["inputs"]), metadata=json.dumps(told["metadata"]), steps=1, done=0,
        created_at=work.now, started_at=None, ended_at=None, slot=told["slot"], folder=told["folder"],
    )  # fmt: skip
    work.flush()
    plan = work.plan_of(told["digest"])
    # It has its predecessor's place; for that of another key it waits like any other run.
    waits = told["slot"] not in (None, run.slot) and holder_of(work, told["slot"], plan) is not None
    fresh = store(work, row, plan, waits=waits, steps=[Emitted(**each) for each in told.get("steps", ())])
    work.flush()
    moved = work.tx.move_signals(run.key, fresh.key)
    work.adopt_children(run.key, fresh.key)
    work.event(fresh.key, "run.succeeds", None, {"execution": run.execution, "signals": moved})
    above = None if run.parent is None else work.find(run.parent)
    if above is not None and child_key(above) == run.key:
        wait = {**json.loads(above.wait or "{}"), "key": fresh.key, "execution": fresh.execution}
        work.put(above._replace(wait=json.dumps(wait)))
    if run.slot is not None and run.slot != told["slot"]:
        fill_slot(work, run.slot)


def tell_parent(work: Work, run: RunRow, root: StepRow) -> None:
    """A child run has ended: the step that waits for it ends likewise, or is tried again."""
    assert run.parent is not None
    row = work.find(run.parent)
    if row is None or row.status != "waiting" or row.phase != "child" or child_key(row) != run.key:
        return
    work.event(row.run, "step.woken", row.path, {"run": run.id, "status": run.status})
    late = row.error if row.available_at is None else None
    row = row._replace(available_at=None, parked=None, error=None)
    if row.cancel is not None:
        end(work, lifecycle.canceled(row, now=work.now))
    elif late is not None:
        # Its time was over before; the child was canceled for that.
        fail_attempt(work, row, Error.from_json(json.loads(late)))
    elif run.status == "succeeded":
        done = lifecycle.ended(row, "succeed", now=work.now, result=root.result)
        end(work, done, brought=root.checksum)
    elif run.status == "canceled":
        end(work, lifecycle.canceled(row._replace(cancel=json.dumps(canceled_child(run, root))), now=work.now))
    else:
        fail_attempt(work, row, child_error(run, root, row))


def canceled_child(run: RunRow, root: StepRow) -> Mapping[str, Json]:
    """Why the step of a child that somebody canceled is canceled."""
    why = json.loads(root.cancel or "{}")
    reason = f'its run "{run.id}" was canceled' + (f": {why['reason']}" if why.get("reason") else "")
    return {"reason": reason, "by": why.get("by"), "origin": "user"}


def child_error(run: RunRow, root: StepRow, row: StepRow) -> Error:
    """A child's error as that of the step that waits for it: the same code, with the whole below it."""
    own = Error.from_json(json.loads(root.error)) if root.error else Error(code="failed", message="it failed")
    return replace(
        own, message=f'run "{run.id}" failed: {own.message}', step=row.path, attempt=row.attempt, cause=own.to_json(),
        details={"run": run.id, "execution": run.execution, "step": own.step},
    )  # fmt: skip


def cancel_orphan(work: Work, run: RunRow, root: StepRow, child: RunRow) -> None:
    """A child whose parent has ended is canceled, or let go."""
    below = work.at(child.key, "")
    if below is None or is_over(below):
        return
    if child.on_parent_close == "abandon":
        return
    why = json.loads(root.cancel or "{}")
    reason = why.get("reason") or f'its parent run "{run.id}" has ended ({run.status})'
    cancel_tree(work, below, {"reason": reason, "by": why.get("by") or f"run {run.id}", "origin": "parent"})
