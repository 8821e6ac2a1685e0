"""Beginning steps: becoming due, being offered to workers, and making child steps.

Everything that adds steps while a run goes on comes through here: a group that opens, a loop, an iteration, an executor
that emitted. Children are durable in the transaction that makes them due.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from .. import lifecycle
from ..duration import parse_duration
from ..lifecycle import is_over, moved
from ..outcome import Emitted, Error, Json
from ..plan import ENGINE_QUEUE, Node, child_path, keyed_path
from ..rows import StepRow, terms_of, with_terms
from ..spec import Group, Repeat, needs_from
from .ends import cancel_children, cancel_row, end, finish, stop_group
from .work import Work


def make_due(work: Work, row: StepRow) -> None:
    """All that a step needs is there: start it, or let it wait for a place in its group."""
    row = row._replace(due=work.seq(row.run), reason=None)
    if row.parent is not None:
        parent = work.step(row.parent)
        if parent.reason is not None and parent.phase == "steps":
            work.put(row)
            cancel_row(work, row, json.loads(parent.cancel or "null") or {"origin": parent.reason})
            return
        limit = work.node(parent).max_parallel
        if limit is not None:
            if parent.busy >= limit:
                work.put(row._replace(parked="slot"))
                return
            work.put(parent._replace(busy=parent.busy + 1))
    start(work, row)


def start(work: Work, row: StepRow) -> None:
    """Begin what a due step does: evaluate, open or queue it."""
    node = work.node(row)
    if node.gate:
        offer(work, row, phase="gate", queue=ENGINE_QUEUE)
    elif node.group is not None:
        open_group(work, row, timeout=None)
    else:
        offer(work, row, phase="run", queue=queue_for(work, row, node))


def queue_for(work: Work, row: StepRow, node: Node) -> str:
    """Where a call waits: its own queue, or, when nobody names one, the queue that its run was started with."""
    run = work.run(row.run)
    if run.queue is None or node.inherited_queue is not None or node.queue == ENGINE_QUEUE:
        return node.queue
    return node.queue if work.plan(row.run).package.defaults.queue is not None else run.queue


def offer(work: Work, row: StepRow, *, phase: str, queue: str, at: int | None = None) -> StepRow:
    """Make a step ready for a worker."""
    node = work.node(row)
    status = {"pending": "due", "waiting": "wake", "running": "admit", "ready": None}[row.status]
    fresh = row if status is None else moved(row, status)
    parked = "timer" if at is not None and at > work.now else None
    if phase == "run":
        if parked is None and work.run(row.run).paused:
            parked = "paused"
        work.event(row.run, "step.ready", row.path)
    return work.put(
        fresh._replace(
            phase=phase,
            queue=queue,
            kind=node.call.kind if node.call is not None and phase == "run" else "",
            priority=node.priority,
            rank=work.turn(queue, node.priority, row.run) if queue else 0,
            parked=parked,
            available_at=at if parked == "timer" else None,
            ready_at=work.now if phase == "run" else row.ready_at,
            worker=None,
            leased_until=None,
            lost=0,
        )
    )


def open_group(work: Work, row: StepRow, *, timeout: int | None, scope: str | None = None) -> None:
    """Let a group's steps begin."""
    node = work.node(row)
    group = node.group
    assert group is not None
    if not within_limit(work, row, len(group.steps)):
        return
    limit = timeout if timeout is not None else literal_timeout(node)
    row = work.put(
        moved(
            row, "open", phase="steps", scope=scope or row.scope, started_at=work.now, worker=None, leased_until=None,
            available_at=None if limit is None else work.now + limit, parked=None if limit is None else "timer",
            alive=len(group.steps) or row.children, children=len(group.steps) or row.children, reason=None,
        )
    )  # fmt: skip
    work.event(row.run, "step.opened", row.path)
    if group.steps:
        add_steps(work, row, group)
    else:
        let_begin(work, [each for each in work.below(row.run, row.path) if each.parent == row.id])


def literal_timeout(node: Node) -> int | None:
    """A group's timeout where it needs no evaluation."""
    return parse_duration(node.timeout) if node.timeout and "${{" not in node.timeout else None


def add_steps(work: Work, row: StepRow, group: Group) -> None:
    """The steps of a group that has just opened; those that need nothing are due at once."""
    origin = row.id if row.definition is not None else row.origin
    added = []
    for ordinal, step in enumerate(group.steps.values()):
        child = work.add(run=row.run, path=child_path(row.path, step.id), parent=row.id, ordinal=ordinal)
        if origin is not None:
            child = work.put(child._replace(origin=origin))
        if not step.needs:
            added.append(child.id)
    for id in added:
        child = work.step(id)
        if child.status == "pending" and child.due is None:
            make_due(work, child)


def open_loop(work: Work, row: StepRow, children: Sequence[tuple[str | None, dict[str, Json]]]) -> None:
    """The children of a ``for_each`` or ``matrix``; with none of them it has succeeded."""
    if not within_limit(work, row, len(children)):
        return
    count = len(children)
    row = work.put(
        moved(
            row, "open", phase="steps", started_at=work.now, worker=None, leased_until=None, alive=count,
            children=count, reason=None,
        )
    )  # fmt: skip
    work.event(row.run, "step.opened", row.path, {"children": count})
    added = [add_child(work, row, ordinal, key, scope) for ordinal, (key, scope) in enumerate(children)]
    for id in added:
        child = work.step(id)
        if child.status == "pending" and child.due is None:
            make_due(work, child)
    if not count:
        finish(work, work.step(row.id), "succeed", result=None)


def add_child(work: Work, row: StepRow, ordinal: int, key: str | None, scope: dict[str, Json]) -> int:
    """One child of a loop."""
    path = keyed_path(row.path, str(ordinal) if key is None else key)
    child = work.add(run=row.run, path=path, parent=row.id, ordinal=ordinal)
    origin = row.id if row.definition is not None else row.origin
    work.put(child._replace(scope=json.dumps(scope, separators=(",", ":")), origin=origin))
    return child.id


def next_iteration(work: Work, row: StepRow, *, number: int, last: Json) -> None:
    """One more child of a ``repeat``; from the second on it waits for ``every``."""
    node = work.node(row)
    assert isinstance(node.loop, Repeat)
    if not within_limit(work, row, 1):
        return
    row = work.put(
        moved(
            row, "open", phase="steps", worker=None, leased_until=None, alive=1, children=row.children + 1,
            started_at=row.started_at or work.now, reason=None,
        )
    )  # fmt: skip
    id = add_child(work, row, number - 1, None, {"iteration": number, "result": last})
    delay = node.loop.every if number > 1 else 0
    child = work.step(id)
    if delay:
        work.put(child._replace(available_at=work.now + delay, parked="timer"))
    else:
        make_due(work, child)


def emit(
    work: Work, row: StepRow, emitted: Sequence[Emitted], *, detached: bool = False, held: bool = False
) -> StepRow:
    """Children that an executor emitted with its success; a key that is there already is the same step.

    Detached ones belong to the group around the emitter: it waits for them, the emitter's dependents do not. With ``held``
    they begin when ``row`` opens: the steps that a program built for a run, under its root.
    """
    holder = work.step(row.parent) if detached and row.parent is not None else row
    fresh: list[tuple[StepRow, Emitted]] = []
    for one in emitted:
        path = child_path(row.path, keyed_path("", one.key)[1:-1])
        if work.at(row.run, path) is None:
            child = work.add(run=row.run, path=path, parent=holder.id, ordinal=holder.children + len(fresh))
            definition = json.dumps({**inherited(work, row), **one.definition, "id": one.key}, separators=(",", ":"))
            scope = None if one.scope is None else json.dumps(one.scope, separators=(",", ":"))
            fresh.append((work.put(child._replace(definition=definition, scope=scope)), one))
    work.put(holder._replace(alive=holder.alive + len(fresh), children=holder.children + len(fresh)))
    run = work.run(row.run)
    work.put_run(run._replace(steps=run.steps + len(fresh)))
    for child, one in fresh:
        link(work, row, child, one)
    tell_of_undo(work, holder, [child for child, _ in fresh])
    if not held:
        let_begin(work, [child for child, _ in fresh])
    if row.cancel is not None:
        cancel_children(work, row, json.loads(row.cancel))
    return work.step(row.id)


def let_begin(work: Work, rows: Sequence[StepRow]) -> None:
    """Steps that were just made begin, as far as they need nothing."""
    for row in rows:
        current = work.step(row.id)
        if current.status == "pending" and current.due is None and lifecycle.is_due(current, work.node(current)):
            make_due(work, current)


def tell_of_undo(work: Work, holder: StepRow, emitted: Sequence[StepRow]) -> None:
    """The groups around steps that can be undone are told: no plan knows of what is emitted."""
    if not any(work.plan(child.run).can_be_undone(work.node(child).step) for child in emitted):
        return
    above: int | None = holder.id
    while above is not None:
        row = work.step(above)
        if not terms_of(row).get("undo"):
            work.put(with_terms(row, undo=True))
        above = row.parent


def inherited(work: Work, row: StepRow) -> dict[str, Json]:
    """What the children of a step that was itself emitted take from it; a declared one's plan knows."""
    if row.definition is None:
        return {}
    node = work.node(row)
    return {"priority": node.priority, **({"queue": node.inherited_queue} if node.inherited_queue else {})}


def link(work: Work, row: StepRow, child: StepRow, one: Emitted) -> None:
    """The needs of an emitted step: on siblings by key; one on its emitter is met."""
    for need in needs_from(one.definition.get("needs"), ()):
        sibling = work.at(row.run, child_path(row.path, keyed_path("", need.step)[1:-1]))
        current = work.step(child.id)
        if sibling is None or sibling.id == child.id:
            # The emitter has succeeded, or this attempt could not report; a name nobody emitted is refused before.
            work.put(current._replace(met=current.met + 1))
        elif is_over(sibling):
            ends = lifecycle.counts_as(sibling, work.node(sibling))
            work.put(lifecycle.unblock(current, holds=bool(ends & need.ends), ends=ends))
        else:
            work.edge(sibling.id, child.id, need.ends)


def within_limit(work: Work, row: StepRow, count: int) -> bool:
    """Count new steps of a run; past ``limits.steps`` the run fails and the step ends."""
    if passes_limit(work, row, count):
        return False
    run = work.run(row.run)
    work.put_run(run._replace(steps=run.steps + count))
    return True


def passes_limit(work: Work, row: StepRow, count: int) -> bool:
    """Whether ``count`` more steps are too many; then the run fails and the step has ended. Handlers never are."""
    steps = work.run(row.run).steps + count
    limit = work.plan(row.run).package.max_steps
    if limit is None or steps <= limit or "@" in row.path:
        return False
    over_limit(work, row, f"the run would have {steps} steps, and limits.steps is {limit}")
    return True


def over_limit(work: Work, row: StepRow, message: str) -> None:
    """Fail the run for a limit that it passed."""
    error = Error(code="limit_exceeded", message=message, step=row.path, permanent=True)
    end(work, lifecycle.ended(row, "fail", now=work.now, error=error))
    root = work.at(row.run, "")
    if root is not None and not is_over(root) and root.phase == "steps" and root.error is None:
        stop_group(work, root, error, "limit")
