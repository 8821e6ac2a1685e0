"""Taking back what was done: the ``undo`` of steps under a group that failed or was canceled, latest completion first.

All of a group's undo steps are made at once, in the transaction in which its last step ended, as children of that group.
The first begins; each end begins the next one (``follow``). So the sequence is durable from its start, and costs the same
for each step however many there are. What runs is shielded like any handler.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ..lifecycle import moved
from ..plan import UNDO, Node
from ..rows import StepRow, terms_of, with_terms
from .begin import start
from .cache import forget_kept
from .work import Work

#: Reasons of a success that was somebody else's work.
BORROWED = frozenset({"duplicate", "cached"})


def take_back(work: Work, row: StepRow, node: Node, *, then: str) -> bool:
    """Begin to undo what was done below a group; False when there is nothing. ``then`` is the stage that follows."""
    todo = undoable(work, row, node)
    if not todo:
        return False
    if row.status == "running":
        row = moved(row, "wait", worker=None, leased_until=None)
    row = work.put(with_terms(row._replace(phase="undo", alive=len(todo)), then=then))
    run = work.run(row.run)
    work.put_run(run._replace(steps=run.steps + len(todo)))
    seq = work.seq(row.run)
    for done in todo:
        # They stand in the order of their numbers, before the handlers.
        undo = work.add(run=row.run, path=done.path + UNDO, parent=row.id, ordinal=row.children)
        origin = done.origin if done.definition is None else done.id
        work.put(undo._replace(origin=origin, due=seq, parked="slot"))
    begin_next(work, row)
    return True


def begin_next(work: Work, group: StepRow) -> None:
    """Let the next undo of a group begin."""
    for row in work.next_parked(group.id, 1):
        work.event(row.run, "undo.fired", row.path)
        start(work, work.put(row._replace(parked=None)))


def undoable(work: Work, group: StepRow, node: Node) -> list[StepRow]:
    """The steps below a group that are done and can be undone, and have not been: latest completion first."""
    assert node.group is not None
    if not work.plan(group.run).undoes(node.group) and not terms_of(group).get("undo"):
        return []
    work.flush()
    # Looked through, not kept in memory: there may be many, and few are changed.
    rows = work.tx.below(group.run, group.path)
    by_id = {row.id: row for row in rows}
    tried = {row.path for row in rows if row.path.endswith(UNDO)}
    # What handlers did stays, and so does what was undone: a group that ended before has taken its own steps back.
    inside = [row for row in rows if row.id != group.id and "@" not in row.path[len(group.path) :]]
    done = [row for row in inside if row.path + UNDO not in tried and is_done(work, row)]
    forget_kept(work, {each.id: each for row in done for each in around(row, by_id)}.values())
    return sorted(done, key=lambda row: row.ended or 0, reverse=True)


def around(row: StepRow | None, by_id: Mapping[int, StepRow]) -> Iterator[StepRow]:
    """A step and the groups around it, as far as they are among some rows."""
    while row is not None:
        yield row
        row = None if row.parent is None else by_id.get(row.parent)


def is_done(work: Work, row: StepRow) -> bool:
    """Whether a step has an effect of its own that its ``undo`` takes back."""
    if row.status not in ("succeeded", "failed", "canceled") or row.reason in BORROWED:
        return False
    node = work.node(row)
    if node.step.undo is None or node.loop is not None:
        return False
    # An emitter did its own work, although what it emitted came to nothing.
    return row.status == "succeeded" or (node.call is not None and row.result is not None)
