"""Places among runs of one key: who has one, who waits for one, and what becomes of a run for which there is none.

A run that its package's ``concurrency`` bounds has a ``slot``; those with the same one come in the order in which they were
stored. A place is given on in the transaction in which its holder ends.
"""

from __future__ import annotations

from ..errors import StartRefused
from ..plan import Plan
from ..rows import RunRow, StepRow
from .begin import make_due
from .ends import cancel_tree, child_key
from .starts import Start
from .work import Work


def begin(work: Work, run: RunRow, root: StepRow) -> None:
    """Open the root of a run that has its place, or needs none."""
    work.put_run(work.run(run.key)._replace(status="running", started_at=work.now))
    make_due(work, root)


def limit_of(plan: Plan) -> int:
    """How many runs of one key may go on at once."""
    return int((plan.package.concurrency or {}).get("limit", 1))


def has_to_wait(work: Work, wanted: Start) -> bool:
    """Whether a run has to wait for a place. ``StartRefused`` when it is not to wait for one."""
    if wanted.slot is None:
        return False
    holder = holder_of(work, wanted.slot, wanted.plan)
    if holder is None:
        return False
    policy = policy_of(wanted.plan)
    if policy == "cancel_oldest":
        cancel_oldest(work, wanted, limit_of(wanted.plan))
    elif policy != "wait":
        raise full(wanted, holder, policy)
    return holder_of(work, wanted.slot, wanted.plan) is not None


def policy_of(plan: Plan) -> str:
    """What is to be done with a run for which there is no place."""
    return str((plan.package.concurrency or {}).get("when_full", "wait"))


def holder_of(work: Work, slot: str, plan: Plan) -> RunRow | None:
    """A run that has a place of a key, or waits for one, when there is none for another run."""
    work.flush()
    limit = limit_of(plan)
    running = work.tx.in_slot(slot, "running", limit)
    pending = work.tx.in_slot(slot, "pending", 1)
    return (running + pending)[0] if len(running) >= limit or pending else None


def place_above(work: Work, run: RunRow, wanted: Start) -> RunRow | None:
    """A run that waits, through its children, for one that is to start, and has the place which that one would wait for."""
    if wanted.slot is None or policy_of(wanted.plan) in ("skip", "fail"):
        return None
    above: RunRow | None = run
    while above is not None and above.slot != wanted.slot:
        step = None if above.parent is None else work.find(above.parent)
        above = work.run(step.run) if step is not None and child_key(step) == above.key else None
    return above if above is not None and holder_of(work, wanted.slot, wanted.plan) is not None else None


def full(wanted: Start, holder: RunRow, policy: str) -> StartRefused:
    """Says which run has the place."""
    key = (wanted.slot or "").partition("/")[2]
    message = f'run "{holder.id}" of "{holder.package}" has the key "{key}" (concurrency, when_full: {policy})'
    return StartRefused(message, holder=holder.id, holder_key=holder.key, skipped=policy == "skip")


def tell_refusal(work: Work, refusal: StartRefused, wanted: Start) -> None:
    """Tell the run that has the place, in its log, which run was not started for that; one removed since is left alone."""
    if work.tx.run(refusal.holder_key) is not None:
        work.event(refusal.holder_key, "start.refused", None, {"run": wanted.run_id, "by": wanted.by})


def cancel_oldest(work: Work, wanted: Start, limit: int) -> None:
    """Cancel the oldest of a key, so that with a new one there are no more than ``limit`` that are to go on."""
    assert wanted.slot is not None
    rows = work.tx.in_slot(wanted.slot, "running", 10**6) + work.tx.in_slot(wanted.slot, "pending", 10**6)
    roots = [root for row in rows if (root := work.at(row.key, "")) is not None and root.cancel is None]
    why = {"reason": f'run "{wanted.run_id}" took its place', "by": wanted.by or "", "origin": "concurrency"}
    for root in roots[: max(0, len(roots) + 1 - limit)]:
        cancel_tree(work, root, dict(why))
    # One that waited for its place has ended by that, and holds none.
    work.flush()


def fill_slot(work: Work, slot: str) -> None:
    """Let runs begin that waited for a place."""
    while True:
        work.flush()
        waiting = work.tx.in_slot(slot, "pending", 1)
        if not waiting:
            return
        run = work.run(waiting[0].key)
        limit = limit_of(work.plan(run.key))
        if len(work.tx.in_slot(slot, "running", limit)) >= limit:
            return
        root = work.at(run.key, "")
        assert root is not None
        begin(work, run, root)


def refuse_if_full(work: Work, run: RunRow) -> None:
    """``StartRefused`` when a run that has ended cannot go on, because others have its key."""
    if run.slot is None or run.ended_at is None:
        return
    limit = limit_of(work.plan(run.key))
    running = work.tx.in_slot(run.slot, "running", limit)
    if len(running) >= limit:
        key, holder = run.slot.partition("/")[2], running[0]
        message = f'run "{holder.id}" has the key "{key}" (concurrency); retry when it has ended'
        raise StartRefused(message, holder=holder.id, holder_key=holder.key, skipped=False)
