"""The commands that change runs. Each takes the work of one open transaction; ``transact`` opens and closes it.

``report`` records what a worker says of its lease. ``wake`` and
``expire`` are what time brings. ``cancel`` and ``pause`` are for people; ``retry`` has a module of its own.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from .. import lifecycle
from ..clock import Clock, to_text
from ..errors import NotAllowed, StoreBusy, UnknownName
from ..lifecycle import is_over, moved
from ..outcome import Asking, CancelStep, Error, Failed, Json, Succeeded, Waiting
from ..plan import UNDO, Plan
from ..rows import ArtifactRow, EventRow, QueueRow, RunRow, StepRow, with_terms
from ..store.base import Store, Transaction
from .begin import emit, make_due, next_iteration, offer, open_group, open_loop, passes_limit, queue_for
from .cache import take_kept, unkept
from .children import renew, spawn
from .decisions import (
    Admitted,
    Expanded,
    Lost,
    Opened,
    PassedBy,
    Rendered,
    Renewed,
    Repeated,
    Report,
    Sent,
    Spawned,
    Timed,
)
from .ends import cancel_tree, end, fail_attempt, finish, skip, stop_group
from .follow import advance, close, fail_late, settle, take_outcome
from .locks import give_back
from .places import tell_refusal
from .runs import start
from .signals import send, sent
from .soundness import emitted_error
from .time import time_of
from .waits import answer, time_out, wait
from .work import Work

#: Says for a package's digest what its plan is.
PlanSource = Callable[[str], Plan]


@contextmanager
def transact(
    store: Store,
    plan_of: PlanSource,
    clock: Clock,
    *,
    on_event: Callable[[EventRow], None] | None = None,
    tries: int = 1,
) -> Iterator[Work]:
    """One transaction: what the block does to the work is settled, written and committed together.

    ``tries`` is how often it is asked for while another program holds the store locked.
    """
    with ExitStack() as open_until_here:
        tx = begun(store, open_until_here, tries)
        work = Work(tx, plan_of, now=time_of(tx, clock), chance=clock.random)
        yield work
        settle(work)
        keep_event_limits(work)
        give_back(work)
        work.flush()
    if on_event is not None:
        for event in work.told:
            on_event(event)


def begun(store: Store, stack: ExitStack, tries: int) -> Transaction:
    """A transaction that ends with the stack; ``StoreBusy`` when it cannot be had."""
    for tried in range(1, tries):
        try:
            return stack.enter_context(store.transaction())
        except StoreBusy as busy:
            if tried == 1:
                logging.getLogger("yamlflow.store").warning("waiting for the store: %s", busy)
    return stack.enter_context(store.transaction())


def keep_event_limits(work: Work) -> None:
    """Fail runs whose log has passed ``limits.events``."""
    for key, events in work.lengths():
        limit = work.plan(key).package.max_events
        if limit is not None and events > limit:
            root = work.at(key, "")
            if root is not None and root.phase == "steps" and root.reason is None:
                message = f"the run has {events} events, and limits.events is {limit}"
                stop_group(work, root, Error(code="limit_exceeded", message=message, permanent=True), "limit")
                settle(work)


# -- reporting -----------------------------------------------------------------------------------------------------


def report(work: Work, *, step: int, epoch: int, worker: str, outcome: Report) -> bool:
    """Record what a worker says of a lease; False when the lease is no longer its own, and nothing was recorded."""
    row = work.find(step)
    if row is None or row.status != "running" or row.epoch != epoch:
        if row is not None:
            work.event(row.run, "step.refused", row.path, {"worker": worker, "epoch": epoch})
        return False
    if row.cancel is not None and not isinstance(outcome, Succeeded | Sent | Failed | Rendered | Lost):
        stop_decision(work, row)
        return True
    match outcome:
        case Succeeded():
            succeed(work, row, outcome)
        case Failed():
            fail(work, row, outcome)
        case Waiting() | Asking():
            wait(work, row, outcome)
        case Timed():
            wait(work, row, outcome.outcome, outcome.deadline)
        case Lost():
            expire(work, row, outcome.error)
        case Sent():
            succeed(work, row, outcome.outcome, outcome)
        case Spawned():
            fail_for(work, row, spawn(work, row, outcome))
        case Renewed():
            fail_for(work, row, renew(work, row, outcome))
        case CancelStep():
            cancel_by_step(work, row, outcome)
        case PassedBy():
            skip(work, row, "if")
        case Admitted():
            admit(work, row, outcome)
        case Opened():
            if outcome.cache is None or not take_kept(work, row, outcome.cache):
                scope = None if outcome.scope is None else json.dumps(outcome.scope)
                open_group(work, work.step(row.id), timeout=outcome.timeout, scope=scope)
        case Expanded():
            open_loop(work, row, outcome.children)
        case Rendered():
            render(work, row, outcome.result)
        case Repeated():
            repeat(work, row, outcome)
    return True


def stop_decision(work: Work, row: StepRow) -> None:
    """The engine was deciding about a step that was canceled meanwhile."""
    if row.phase == "until":
        finish(work, row, "cancel", result=None)
    else:
        end(work, lifecycle.canceled(row, now=work.now))


def fail_for(work: Work, row: StepRow, error: Error | None) -> None:
    """What a step asked the engine for could not be had."""
    if error is not None:
        fail(work, row, Failed(error=error))


def succeed(work: Work, row: StepRow, outcome: Succeeded, sending: Sent | None = None) -> None:
    """A call did its work: keep what it gives, send what it sends, and wait for what it emitted."""
    if outcome.emitted:
        wrong = emitted_error(outcome.emitted, (row.path, row.path.rpartition("/")[2], work.node(row).step.id))
        if wrong is not None:
            fail(work, row, Failed(error=wrong))
            return
        if passes_limit(work, row, len({one.key for one in outcome.emitted})):
            return
    if sending is not None and (wrong := sent(work, row, sending)) is not None:
        fail(work, row, Failed(error=wrong))
        return
    if outcome.artifacts or outcome.emitted:
        row = unkept(work, row, "it kept files" if outcome.artifacts else "it emitted steps")
    keep_artifacts(work, row, outcome.artifacts)
    if outcome.records:
        work.tx.put_records(
            work.plan(row.run).package.projection.get("name") or work.run(row.run).package, outcome.records
        )
    result = json.dumps(outcome.result, separators=(",", ":"), ensure_ascii=False)
    # What takes a step back is not needed by anybody, so what it emits is always its own.
    if outcome.emitted and outcome.detached and not row.path.endswith(UNDO):
        end(work, lifecycle.ended(row, "succeed", now=work.now, result=result))
        emit(work, work.step(row.id), outcome.emitted, detached=True)
    elif outcome.emitted:
        row = work.put(moved(row, "open", phase="children", result=result, error=None, worker=None, leased_until=None))
        row = emit(work, row, outcome.emitted)
        if row.alive == 0:
            close(work, row, work.node(row))
    else:
        end(work, lifecycle.ended(row, "succeed", now=work.now, result=result))


def keep_artifacts(work: Work, row: StepRow, artifacts: Sequence[Json]) -> None:
    """Rows for the files that a step kept."""
    if artifacts:
        work.tx.put_artifacts(
            [
                ArtifactRow(
                    row.run, row.id, one.name, one.uri, one.size, one.sha256, one.content_type, one.kind,
                    json.dumps(dict(one.metadata)), work.now,
                )
                for one in artifacts
            ]
        )  # fmt: skip


def fail(work: Work, row: StepRow, outcome: Failed) -> None:
    """An attempt, or a decision, failed."""
    keep_artifacts(work, row, outcome.artifacts)
    error = replace(outcome.error, step=row.path, attempt=row.attempt or None)
    if row.phase in ("outputs", "until"):
        fail_ending(work, row, error)
        return
    if row.phase == "gate":
        end(work, lifecycle.ended(row, "fail", now=work.now, error=error))
        return
    fail_attempt(work, row, error, after=outcome.after)


def fail_ending(work: Work, row: StepRow, error: Error) -> None:
    """A group's outputs, or a loop's ``until``, could not be evaluated: the group fails, after its ``finally``."""
    node = work.node(row)
    before = lifecycle.group_verdict(row, node)
    row = work.put(row._replace(error=json.dumps(error.to_json())))
    if row.phase == "outputs":
        fail_late(work, row, node, before=before, then="finally")
    else:
        finish(work, row, "fail", result=None)


def cancel_by_step(work: Work, row: StepRow, outcome: CancelStep) -> None:
    """The ``cancel`` kind: cancels a step of its own group or of one around it, by id or path."""
    target = find_target(work, row, outcome.target)
    if target is None:
        message = f'there is no step "{outcome.target}" to cancel'
        fail(work, row, Failed(error=Error(code="bad_input", message=message, permanent=True)))
        return
    end(work, lifecycle.ended(row, "succeed", now=work.now))
    cancel_tree(work, target, {"reason": outcome.reason, "by": row.path, "origin": "user"})


def find_target(work: Work, row: StepRow, name: str) -> StepRow | None:
    """The nearest step of a name, looking outwards from a step; or the one at that path."""
    above = row.parent
    while above is not None:
        group = work.step(above)
        found = work.at(row.run, f"{group.path}/{name}" if group.path else name)
        if found is not None:
            return found
        above = group.parent
    return work.at(row.run, name)


def admit(work: Work, row: StepRow, outcome: Admitted) -> None:
    """A call may run: it goes to its queue, unless a step with the same ``dedup_key`` speaks for it."""
    row = work.put(with_terms(row._replace(dedup_key=outcome.dedup_key), locks=list(outcome.locks) or None))
    for other in work.same_key(row):
        if other.phase != "dedup" and other.reason != "duplicate":
            if is_over(other):
                take_outcome(work, row, other)
            else:
                work.put(moved(row, "wait", phase="dedup", worker=None, leased_until=None))
            return
    if outcome.cache is not None and take_kept(work, row, outcome.cache):
        return
    row = work.step(row.id)
    offer(work, row, phase="run", queue=queue_for(work, row, work.node(row)))


def render(work: Work, row: StepRow, result: str) -> None:
    """A group's outputs are known: on to ``finally``."""
    row = work.put(row._replace(result=result))
    advance(work, row, work.node(row), "finally")


def repeat(work: Work, row: StepRow, outcome: Repeated) -> None:
    """``until`` was looked at, or the loop begins: one more iteration, or its end."""
    loop = work.node(row).loop
    if outcome.done:
        finish(work, row, "succeed", result=outcome.result)
    elif row.children >= loop.max:  # type: ignore[union-attr]
        message = f"`until` was still false after {row.children} iterations"
        error = Error(code="repeat_exhausted", message=message, step=row.path, permanent=True)
        finish(work, work.put(row._replace(error=json.dumps(error.to_json()))), "fail", result=None)
    else:
        last = None if outcome.result is None else json.loads(outcome.result)
        next_iteration(work, row, number=row.children + 1, last=last)


# -- what time brings ----------------------------------------------------------------------------------------------


def wake(work: Work, row: StepRow) -> None:
    """A parked step's time has come."""
    row = row._replace(parked=None, available_at=None)
    if row.status == "pending":
        make_due(work, work.put(row))
    elif row.status == "ready":
        parked = "paused" if work.run(row.run).paused else None
        work.put(row._replace(parked=parked, rank=work.turn(row.queue, row.priority, row.run)))
    elif row.phase == "steps":
        message = "the group was not done in time"
        error = Error(code="timeout", message=message, step=row.path)
        stop_group(work, work.put(row), error, "timeout")
    elif row.error is not None:
        time_out(work, row)
    else:
        work.event(row.run, "step.woken", row.path)
        result = row.result or json.dumps(to_text(work.now))
        end(work, lifecycle.ended(row, "succeed", now=work.now, result=result))


def expire(work: Work, row: StepRow, error: Error | None = None) -> None:
    """A lease ran out, or its worker is dead: the step is offered again, or fails after too many losses.

    ``error`` is why, where somebody lived to tell.
    """
    payload = {"worker": row.worker, "epoch": row.epoch, **({} if error is None else {"message": error.message})}
    after = lifecycle.lost(row, now=work.now, error=error)
    work.event(row.run, "step.lost", row.path, {**payload, "lost": after.lost})
    if is_over(after):
        end(work, after)
    else:
        work.put(held_back(work, after))


def release(work: Work, *, step: int, epoch: int, worker: str) -> bool:
    """A worker gives a lease back unfinished, as when it is told to stop: no attempt is spent."""
    row = work.find(step)
    if row is None or row.status != "running" or row.epoch != epoch:
        return False
    after = lifecycle.released(row, now=work.now)
    work.event(row.run, "step.released", row.path, {"worker": worker})
    if is_over(after):
        end(work, after)
    else:
        work.put(held_back(work, after))
    return True


def held_back(work: Work, row: StepRow) -> StepRow:
    """A step that is ready again: of a paused run it is not offered."""
    return row._replace(parked="paused") if row.phase == "run" and work.run(row.run).paused else row


# -- for people ----------------------------------------------------------------------------------------------------


def cancel(work: Work, run: RunRow, path: str = "", *, reason: str = "", by: str = "", force: bool = False) -> bool:
    """Cancel a run, or one step or group of it; False when it has ended already.

    With ``force`` shields do not hold, handlers that run are ended and none begins.
    """
    row = work.at(run.key, path)
    if row is None:
        raise UnknownName(f'run "{run.id}" has no step "{path}"')
    if is_over(row):
        return False
    why: dict[str, Json] = {"reason": reason, "by": by, "origin": "user"}
    cancel_tree(work, row, {**why, "force": True} if force else why)
    return True


def pause(work: Work, run: RunRow, *, paused: bool, by: str = "") -> None:
    """Withhold a run's ready steps from workers, or offer them again; what runs goes on."""
    if run.ended_at is not None:
        raise NotAllowed(f'run "{run.id}" has ended ({run.status}); only a live run can be paused')
    if bool(run.paused) != paused:
        work.put_run(work.run(run.key)._replace(paused=int(paused)))
        work.tx.hold(run.key, paused=paused)
        work.event(run.key, "run.paused" if paused else "run.resumed", None, {"by": by})


def pause_queue(work: Work, name: str, *, paused: bool) -> None:
    """Withhold a queue's steps from workers, or offer them again."""
    known = work.tx.queue(name) or QueueRow(name, None, None, 1, 1.0, work.now, 0)
    work.tx.put_queue(known._replace(paused=int(paused)))


__all__ = [
    "PlanSource",
    "answer",
    "cancel",
    "expire",
    "pause",
    "pause_queue",
    "release",
    "report",
    "send",
    "start",
    "tell_refusal",
    "transact",
    "wake",
]  # fmt: skip
