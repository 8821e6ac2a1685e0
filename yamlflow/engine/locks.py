"""Locks: names, store-wide, that a step holds as long as it is leased. Taken all at once, so nobody holds one and waits.

A step that cannot have all of its locks is not leased: no attempt, no token and no place is spent on it. It is parked and
registered for the names that were held, and offered again when one of them is free. Others may be quicker then.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..rows import StepRow, terms_of, with_terms
from .work import Work

#: Steps that are offered again when a name becomes free: only one will have it, but it may be one that nobody serves.
WOKEN = 16


def take_locks(work: Work, row: StepRow) -> bool:
    """Whether a step that was just claimed has all of its locks; one that has not is parked."""
    if row.terms is None:
        return True
    terms = terms_of(row)
    names = terms.get("locks")
    if not names:
        return True
    held = work.tx.take_locks(names, run=row.run, step=row.id, now=work.now)
    if not held:
        return True
    if not terms.get("blocked"):
        work.event(row.run, "step.blocked", row.path, {"locks": held})
    # As if it had never been claimed, but for the epoch, which only ever rises.
    work.adopt([row])
    work.put(
        with_terms(row, blocked=True)._replace(
            status="ready", parked="lock", attempt=row.attempt - 1, worker=None, leased_until=None,
            started_at=row.started_at if row.attempt > 1 else None,
        )
    )  # fmt: skip
    work.tx.await_locks(row.id, held, priority=row.priority)
    return False


def give_back(work: Work) -> None:
    """Free the locks of steps that are not leased any more, and offer again what waited for them."""
    while work.unlocked or work.unparked:
        while work.unparked:
            work.tx.forget_waits(work.unparked.pop())
        freed: dict[str, None] = {}
        while work.unlocked:
            freed.update(dict.fromkeys(work.tx.free_locks(work.unlocked.pop())))
        offer_again(work, freed)


def offer_again(work: Work, names: Iterable[str]) -> None:
    """Offer again the first steps that wait for names which are free."""
    for name in names:
        ids = work.tx.lock_waiters(name, WOKEN)
        work.load(ids)
        for id in ids:
            row = work.step(id)
            if row.parked == "lock":
                work.put(row._replace(parked="paused" if work.run(row.run).paused else None))
    while work.unparked:
        work.tx.forget_waits(work.unparked.pop())


def sweep(work: Work) -> None:
    """Offer again what waits for names that nobody holds: whoever was offered them may be paused, or nobody's to take."""
    give_back(work)
    offer_again(work, work.tx.free_names())
