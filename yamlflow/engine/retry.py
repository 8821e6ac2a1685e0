"""An operator's retry: failed and canceled steps begin anew, with what was skipped because of them.

The groups around a reopened step are open again: their handlers, should they end again, run again. Steps that ended for
reasons of their own stay as they are. What such a group undid runs anew from its beginning, in the groups around it up to
that one. Counters are counted afresh here, once, for the groups that were reopened.

A run is to the step that started it what a group is to its own: where that step failed because of this run it waits for it
again, and the runs above are open again. Where the failure was handled there, they stay as they ended.
"""

from __future__ import annotations

import json

from .. import lifecycle
from ..errors import NotAllowed, StartRefused, UnknownName
from ..lifecycle import is_over, moved
from ..plan import UNDO, Node, child_path, keyed_path
from ..rows import RunRow, StepRow, terms_of, with_terms
from .begin import literal_timeout, make_due
from .ends import child_key, skip
from .follow import close, fill_places, handler_name
from .places import refuse_if_full
from .work import Work

#: Ends that an operator's retry may undo.
FAILED = frozenset({"failed", "canceled"})


def retry(work: Work, run: RunRow, path: str = "", *, by: str = "") -> list[str]:
    """Reopen what failed or was canceled in a run, or one step of it; the paths that begin anew."""
    if work.tx.is_leaving(run.key):
        raise NotAllowed(f'run "{run.id}" is being removed; it cannot be retried')
    target = work.at(run.key, path)
    if target is None:
        raise UnknownName(f'run "{run.id}" has no step "{path}"')
    refuse_handlers(path)
    if target.reason == "race":
        raise NotAllowed(f'step "{path}" lost a race that another step won; it cannot be retried')
    if target.status not in FAILED:
        name = f'step "{path}"' if path else f'run "{run.id}"'
        stands = f"has ended {target.status}" if is_over(target) else f"is {target.status}"
        raise NotAllowed(f"{name} {stands}; only what failed or was canceled can be retried")
    refuse_if_full(work, run)
    reopened: dict[int, StepRow] = {}
    mark(work, target, reopened)
    for row in list(reopened.values()):
        mark_dependents(work, row, reopened)
    alive = mark_above(work, target, reopened)
    undone = mark_undone(work, reopened)
    forget_inner(work, undone, reopened)
    begin_anew(work, run, list(reopened.values()), alive)
    for row in reopened.values():
        if row.parent is None or row.parent not in reopened or row.id == target.id or row in undone:
            work.event(run.key, "step.reopened", row.path, {"by": by})
    work.event(run.key, "run.retried", None, {"step": path or None, "by": by})
    rejoin(work, run, by)
    return sorted(row.path for row in reopened.values() if not row.children)


def rejoin(work: Work, run: RunRow, by: str) -> None:
    """Let the step of another run that failed because of this one wait for it again; see ``children.spawn``."""
    step = None if run.parent is None else work.find(run.parent)
    if step is None or step.status != "failed" or child_key(step) != run.key:
        return
    above = work.run(step.run)
    if above.status not in ("failed", "running") or work.node(step).step.continue_on_error:
        return
    try:
        retry(work, above, step.path, by=by)
    except (NotAllowed, StartRefused):
        # It ends just now, is removed, or its place is taken: the child goes on by itself.
        return
    reset = work.find(step.id)
    # What was undone as one is made anew with all that is in it; the step that comes in its place finds this run by its id.
    if reset is not None:
        work.put(reset._replace(wait=json.dumps({"rejoin": run.key})))


def mark(work: Work, row: StepRow, reopened: dict[int, StepRow]) -> None:
    """A step that is to begin anew; of one that has children, those that failed or hang on them."""
    if row.id in reopened:
        return
    reopened[row.id] = row
    for child in children(work, row):
        if child.status in FAILED or is_consequence(child):
            mark(work, child, reopened)


def is_consequence(row: StepRow) -> bool:
    """Skipped because something else failed or was canceled, not by its own ``if``."""
    return row.status == "skipped" and row.reason in ("failed", "canceled", "needs")


def mark_dependents(work: Work, row: StepRow, reopened: dict[int, StepRow]) -> None:
    """What was skipped because of a step, and what was skipped because of that."""
    todo = [row]
    while todo:
        current = todo.pop()
        for dependent in dependents(work, current):
            if dependent.id not in reopened and (is_consequence(dependent) or dependent.reason == "fail_fast"):
                mark(work, dependent, reopened)
                todo.append(dependent)


def mark_above(work: Work, row: StepRow, reopened: dict[int, StepRow]) -> StepRow | None:
    """The groups around a step are open again, and what hung on their failure begins anew.

    The nearest group that has not ended, if any: its children are to be counted again.
    """
    while row.parent is not None:
        parent = work.step(row.parent)
        if not is_over(parent):
            refuse_ending(parent)
            return parent
        reopened.setdefault(parent.id, parent)
        mark_dependents(work, parent, reopened)
        for sibling in children(work, parent):
            if sibling.status == "canceled" and sibling.reason in ("fail_fast", "timeout", "limit"):
                mark(work, sibling, reopened)
        row = parent
    return None


def mark_undone(work: Work, reopened: dict[int, StepRow]) -> list[StepRow]:
    """What the reopened groups undid, with the groups around it; what they could not undo still stands, and stays."""
    undone: list[StepRow] = []
    looked: set[int] = set()
    while todo := [row for id, row in reopened.items() if id not in looked]:
        for group in todo:
            looked.add(group.id)
            for undo in undos(work, group):
                row = work.at(group.run, undo.path.removesuffix(UNDO))
                if undo.status == "succeeded" and row is not None:
                    undone.append(row)
                    reopened.setdefault(row.id, row)
                    mark_dependents(work, row, reopened)
                    mark_above(work, row, reopened)
    return undone


def undos(work: Work, group: StepRow) -> list[StepRow]:
    """The steps with which a group took back what was done below it."""
    if not group.children or work.node(group).group is None:
        return []
    rows = work.below(group.run, group.path)
    return [row for row in rows if row.parent == group.id and handler_name(row.path) == "undo"]


def forget_inner(work: Work, undone: list[StepRow], reopened: dict[int, StepRow]) -> None:
    """A group, or an emitter, that was undone as one begins with nothing in it."""
    for row in undone:
        if row.children and row.id in reopened:
            rows = [each for each in work.below(row.run, row.path) if each.id != row.id]
            forget(work, rows)
            for each in rows:
                reopened.pop(each.id, None)
            reopened[row.id] = work.put(row._replace(children=0, alive=0))


def refuse_handlers(path: str) -> None:
    """A handler belongs to the end of its group; only with that group can it begin anew."""
    if "@" in path:
        group = path[: path.index("@")]
        again = f'the group "{group}"' if group and not path.startswith(f"{group}{UNDO}") else "what failed"
        raise NotAllowed(
            f'step "{path}" is part of a handler, which runs again when its group ends again; retry {again}'
        )


def refuse_ending(group: StepRow) -> None:
    """A group that is on its way to its end cannot take a step back."""
    name = f'the group "{group.path}"' if group.path else "the run"
    if group.phase not in ("steps", "children") or group.reason is not None:
        raise NotAllowed(f"{name} around it is ending just now; retry when it has ended")


def children(work: Work, row: StepRow) -> list[StepRow]:
    """The children of a step, handlers left out."""
    if not row.children:
        return []
    rows = [each for each in work.below(row.run, row.path) if each.parent == row.id]
    return [each for each in rows if handler_name(each.path) is None]


def dependents(work: Work, row: StepRow) -> list[StepRow]:
    """The steps that need a step."""
    if row.definition is not None:
        return [work.step(edge.target) for edge in work.edges(row.id)]
    if row.parent is None:
        return []
    parent = work.step(row.parent)
    node = work.node(parent)
    if node.group is None or handler_name(row.path) is not None:
        return []
    wanted = work.plan(row.run).dependents(node.group).get(work.node(row).step.id, ())
    found = [work.at(row.run, child_path(parent.path, id)) for id, _ in wanted]
    return [each for each in found if each is not None]


def begin_anew(work: Work, run: RunRow, rows: list[StepRow], alive: StepRow | None) -> None:
    """Reset the steps, count their groups afresh, and let go on what can."""
    for row in rows:
        forget_handlers(work, row)
    over = sum(is_over(row) for row in rows)
    current = work.run(run.key)
    # One that was canceled while it waited for its place has never begun.
    begun = current.started_at if current.started_at is not None else work.now
    work.put_run(current._replace(status="running", started_at=begun, ended_at=None, done=current.done - over))
    for row in rows:
        work.put(reset(work, row))
    groups = [row for row in rows if row.children] + ([alive] if alive is not None else [])
    for row in sorted(groups, key=lambda row: -row.id):
        recount(work, work.step(row.id))
    for row in rows:
        for dependent in dependents(work, row):
            if dependent.status == "pending" and dependent.due is None:
                work.put(dependent._replace(met=0, missed=0, reason=None))
    waiting = {row.id: None for row in rows if not row.children}
    waiting.update({each.id: None for row in rows for each in dependents(work, row)})
    for id in sorted(waiting):
        resume(work, work.step(id))
    for row in groups:
        node = work.node(row)
        parent = work.step(row.id)
        if node.max_parallel is not None and not is_over(parent):
            fill_places(work, parent, node.max_parallel)
        if parent.alive == 0:
            close(work, parent, node)


def forget_handlers(work: Work, row: StepRow) -> None:
    """Handlers that ran for an end that is no more; they are kept in the log of events."""
    if not row.children:
        return
    below = work.below(row.run, row.path)
    heads = (f"{row.path}@", *(each.path for each in undos(work, row)))
    forget(work, [each for each in below if each.path.startswith(heads)])


def forget(work: Work, rows: list[StepRow]) -> None:
    """Take steps from the run."""
    if rows:
        run = work.run(rows[0].run)
        ended = sum(is_over(each) for each in rows)
        work.put_run(run._replace(steps=run.steps - len(rows), done=run.done - ended))
        work.delete(rows)


def reset(work: Work, row: StepRow) -> StepRow:
    """A step as it was before it began; one with children as it was while they went on."""
    result = row.result if work.node(row).call is not None else None
    emitted_undo = terms_of(row).get("undo") if row.children else None
    row = row if not is_over(row) else moved(row, "reopen")
    row = row._replace(
        phase="", reason=None, parked=None, available_at=None, attempt=0, lost=0, met=0, missed=0, failures=0,
        cancellations=0, busy=0, cancel=None, fault=None, dedup_key=None, winner=None, result=None, error=None,
        due=None, ended=None, ready_at=None, started_at=None, ended_at=None, awaits=None, terms=None,
        wait=row.wait if row.path == "" else None,
    )  # fmt: skip
    row = with_terms(row, undo=emitted_undo)
    if not row.children:
        return row
    node = work.node(row)
    # The timeout of a call, or of each child of a loop, is not that of what belongs to it.
    limit = literal_timeout(node) if node.group is not None else None
    return moved(
        row, "open", phase="steps" if node.call is None else "children", result=result, due=work.seq(row.run),
        started_at=work.now, available_at=None if limit is None else work.now + limit,
        parked=None if limit is None else "timer",
    )  # fmt: skip


def recount(work: Work, row: StepRow) -> None:
    """Count a group's children afresh."""
    node = work.node(row)
    row = row._replace(alive=0, busy=0, failures=0, cancellations=0, fault=None)
    for child in children(work, row):
        if is_over(child):
            row = lifecycle.child_ended(row._replace(alive=row.alive + 1), node, child, work.node(child))
        else:
            row = row._replace(alive=row.alive + 1)
            if node.max_parallel is not None and child.due is not None and child.parked != "slot":
                row = row._replace(busy=row.busy + 1)
    work.put(row)


def resume(work: Work, row: StepRow) -> None:
    """Decide a reset step's needs as they stand now."""
    if row.status != "pending" or row.due is not None:
        return
    node = work.node(row)
    for need, other in needed(work, row, node):
        if other is None or is_over(other):
            ends = lifecycle.counts_as(other, work.node(other)) if other is not None else need
            row = lifecycle.unblock(row, holds=bool(ends & need), ends=ends)
    work.put(row)
    if lifecycle.is_due(row, node):
        make_due(work, row)
    elif lifecycle.is_out_of_reach(row, node):
        skip(work, row, row.reason or "needs")


def needed(work: Work, row: StepRow, node: Node) -> list[tuple[frozenset[str], StepRow | None]]:
    """Each need of a step with the step that it names; None for an emitted step's own emitter."""
    above = work.step(row.parent).path if row.parent is not None else ""
    if row.definition is None:
        return [(need.ends, work.at(row.run, child_path(above, need.step))) for need in node.needs]
    above = row.path.rpartition("/")[0]
    keys = [(need.ends, keyed_path("", need.step)[1:-1]) for need in node.needs]
    return [(ends, work.at(row.run, child_path(above, key))) for ends, key in keys]
