"""What follows from an end: dependents become due or are skipped, groups close, runs end.

``settle`` draws every consequence within the transaction in which a step ended; nothing that an end brings about is left
for later. It works through a list, never by recursion: a chain of a thousand skipped steps is a thousand rounds.
"""

from __future__ import annotations

import json
from collections import deque

from .. import lifecycle
from ..lifecycle import is_over, moved
from ..outcome import Error
from ..plan import ENGINE_QUEUE, Node, child_path
from ..rows import StepRow, terms_of, with_terms
from ..spec import Group, Repeat
from .begin import make_due, offer, open_group, start
from .cache import keep_result
from .ends import CONTINUED, cancel_children, end, finish, is_forced, skip
from .runs import close_runs
from .undo import begin_next, take_back
from .work import Work


def settle(work: Work) -> None:
    """Draw the consequences of everything that has ended; of what ended together, the first declared goes first."""
    while True:
        if len(work.ended) > 1:
            work.ended = deque(sorted(work.ended))
        while work.ended:
            after_end(work, work.step(work.ended.popleft()))
        if not close_runs(work):
            return


def after_end(work: Work, row: StepRow) -> None:
    """One ended step: its result, those that need it, its duplicates, and what it belongs to."""
    node = work.node(row)
    if row.terms is not None:
        keep_result(work, row)
    ends = lifecycle.counts_as(row, node)
    if row.dedup_key is not None:
        release_duplicates(work, row)
    if row.parent is None:
        return
    parent = work.step(row.parent)
    parent_node = work.node(parent)
    if row.definition is not None:
        for edge in work.edges(row.id):
            tell(work, work.step(edge.target), holds=bool(ends & edge.ends), ends=ends)
    elif parent_node.group is not None and handler_name(row.path) is None:
        for id, wanted in work.plan(row.run).dependents(parent_node.group).get(node.step.id, ()):
            dependent = work.at(row.run, child_path(parent.path, id))
            if dependent is not None:
                tell(work, dependent, holds=bool(ends & wanted), ends=ends)
    child_gone(work, work.step(parent.id), parent_node, row, node)


def tell(work: Work, row: StepRow, *, holds: bool, ends: frozenset[str]) -> None:
    """A need of ``row`` is decided."""
    if row.status != "pending" or row.due is not None:
        return
    node = work.node(row)
    row = work.put(lifecycle.unblock(row, holds=holds, ends=ends))
    if lifecycle.is_due(row, node):
        make_due(work, row)
    elif lifecycle.is_out_of_reach(row, node):
        skip(work, row, row.reason or "needs")


def child_gone(work: Work, parent: StepRow, parent_node: Node, child: StepRow, child_node: Node) -> None:
    """A child has ended: count it, free its place, and close the parent if it was the last."""
    handler = handler_name(child.path)
    if handler is not None:
        after_handler(work, parent, parent_node, child, handler)
        return
    parent = lifecycle.child_ended(parent, parent_node, child, child_node)
    limit = parent_node.max_parallel
    if limit is not None and child.due is not None and child.parked != "slot":
        parent = parent._replace(busy=max(0, parent.busy - 1))
    parent = work.put(parent)
    stop = lifecycle.wants_to_stop(parent, parent_node)
    if stop is not None and parent.reason is None:
        parent = work.put(parent._replace(reason=stop))
        cancel_children(work, parent, {"origin": stop})
        parent = work.step(parent.id)
    if parent.alive == 0:
        close(work, parent, parent_node)
    elif limit is not None and parent.reason is None:
        fill_places(work, parent, limit)


def handler_name(path: str) -> str | None:
    """``on_failure`` for ``enrich[3]@on_failure``; None for a step that is no handler."""
    cut = path.rfind("@")
    return path[cut + 1 :] if cut > max(path.rfind("/"), path.rfind("]")) else None


def fill_places(work: Work, parent: StepRow, limit: int) -> None:
    """Start children that waited for a place."""
    free = limit - parent.busy
    if free <= 0 or parent.alive <= parent.busy:
        return
    for row in work.next_parked(parent.id, free):
        parent = work.step(parent.id)
        work.put(parent._replace(busy=parent.busy + 1))
        start(work, work.put(row._replace(parked=None)))


def close(work: Work, row: StepRow, node: Node) -> None:
    """No child is alive any more: the next stage of the parent's end."""
    if is_over(row) or row.phase not in ("steps", "children"):
        return
    row = work.put(row._replace(available_at=None, parked=None))
    if row.path == "" and row.reason is None and row.wait is not None:
        # Reopened by an operator after it had been told to continue.
        row = work.put(row._replace(reason=CONTINUED))
    if node.group is not None:
        advance(work, row, node, "undo")
    elif isinstance(node.loop, Repeat):
        close_repeat(work, row, node)
    elif row.phase == "children":
        finish(work, row, lifecycle.group_verdict(row, node), result=row.result)
    else:
        finish(work, row, lifecycle.group_verdict(row, node), result=None)


def close_repeat(work: Work, row: StepRow, node: Node) -> None:
    """An iteration has ended: look at ``until``, unless the iteration failed or the loop is to stop."""
    verdict = lifecycle.group_verdict(row, node)
    if verdict == "succeed":
        offer(work, row, phase="until", queue=ENGINE_QUEUE)
    else:
        finish(work, row, verdict, result=None)


def advance(work: Work, row: StepRow, node: Node, stage: str) -> None:
    """Go through the stages of a group's end, from ``stage`` on, until one of them has something to wait for.

    A forced cancel goes through none.
    """
    group = node.group
    assert group is not None
    stages = () if is_forced(row) else lifecycle.STAGES[lifecycle.STAGES.index(stage) :]
    for name in stages:
        verdict = lifecycle.group_verdict(row, node)
        if name == "undo" and verdict != "succeed" and take_back(work, row, node, then="handler"):
            return
        handler = "finally" if name == "finally" and group.final else None
        if name == "handler":
            handler = lifecycle.handler_for(group, verdict)
        if handler is not None:
            open_handler(work, row, handler, name)
            return
        if name == "outputs" and verdict == "succeed" and wants_outputs(row, group):
            offer(work, row, phase="outputs", queue=ENGINE_QUEUE)
            return
    finish(work, row, lifecycle.group_verdict(row, node), result=row.result)


def wants_outputs(row: StepRow, group: Group) -> bool:
    """Whether a group that succeeds still has to say what it gives; a run that continues gives nothing."""
    return group.outputs is not None and row.result is None and row.reason != CONTINUED


def open_handler(work: Work, row: StepRow, name: str, stage: str) -> None:
    """Let a handler's steps begin; the group waits for them."""
    path = f"{row.path}@{name}"
    if row.status == "running":
        row = moved(row, "wait", worker=None, leased_until=None)
    work.put(row._replace(phase=stage, alive=1))
    work.event(row.run, "handler.fired", path)
    run = work.run(row.run)
    work.put_run(run._replace(steps=run.steps + 1))
    handler = work.add(run=row.run, path=path, parent=row.id, ordinal=row.children)
    handler = work.put(handler._replace(origin=row.origin if row.definition is None else row.id))
    handler = work.put(handler._replace(due=work.seq(row.run)))
    open_group(work, handler, timeout=None)


def after_handler(work: Work, parent: StepRow, node: Node, child: StepRow, name: str) -> None:
    """A handler has ended: what it means for its group, and on to the next stage."""
    group = node.group
    assert group is not None
    if name == "undo":
        after_undo(work, parent, node, child)
        return
    parent = parent._replace(alive=0)
    if name == "finally":
        before = lifecycle.group_verdict(parent, node)
        if child.status != "succeeded" and parent.error is None and not is_forced(parent):
            earlier = parent.fault if lifecycle.group_verdict(parent, node) == "fail" else None
            parent = parent._replace(error=earlier or child.error or json.dumps(canceled_error(child).to_json()))
        parent = work.put(parent)
        fail_late(work, parent, node, before=before, then="")
        return
    if child.status == "succeeded" and group.recover:
        parent = parent._replace(fault=parent.error or parent.fault, error=None, reason="recovered")
    parent = work.put(parent)
    advance(work, parent, node, "outputs")


def after_undo(work: Work, parent: StepRow, node: Node, child: StepRow) -> None:
    """A step was undone, or could not be: on to the one before it, and after the last to the next stage."""
    parent = work.put(parent._replace(alive=parent.alive - 1))
    if parent.alive == 0:
        then = terms_of(parent)["then"]
        proceed(work, work.put(with_terms(parent, then=None)), node, then)
    elif child.due is not None:
        # One that was canceled while it waited for its turn leaves the turn to the one that has it.
        begin_next(work, parent)


def fail_late(work: Work, row: StepRow, node: Node, *, before: str, then: str) -> None:
    """A group that had succeeded ``before`` may have failed at its outputs or ``finally``: what it did is undone."""
    failed = before == "succeed" and lifecycle.group_verdict(row, node) != "succeed"
    if not (failed and take_back(work, row, node, then=then)):
        proceed(work, row, node, then)


def proceed(work: Work, row: StepRow, node: Node, stage: str) -> None:
    """Go on with a stage of a group's end; after the last one it ends."""
    if stage:
        advance(work, row, node, stage)
    else:
        finish(work, row, lifecycle.group_verdict(row, node), result=row.result)


def canceled_error(row: StepRow) -> Error:
    """The error that a canceled handler leaves with its group."""
    return Error(code="canceled", message=f"{row.path} was canceled", step=row.path)


def release_duplicates(work: Work, row: StepRow) -> None:
    """Steps of the run that wait for this one's outcome because they have the same ``dedup_key`` take it."""
    for other in work.same_key(row):
        if other.phase == "dedup" and other.status == "waiting":
            take_outcome(work, other, row)


def take_outcome(work: Work, row: StepRow, of: StepRow) -> None:
    """End a step as another one of the same ``dedup_key`` has ended."""
    event = {"succeeded": "succeed", "failed": "fail", "canceled": "cancel"}.get(of.status, "skip")
    error = Error.from_json(json.loads(of.error)) if of.error and event == "fail" else None
    done = lifecycle.ended(row, event, now=work.now, result=of.result, error=error, reason="duplicate")
    end(work, done, brought=of.checksum)
