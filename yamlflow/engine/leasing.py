"""Handing out work: which ready steps a worker gets, within the limits of their queues."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from ..plan import ENGINE_QUEUE
from ..queueing import next_token_at, refill, room
from ..rows import QueueRow, StepRow
from .locks import give_back, take_locks
from .work import Work

#: How many of the engine's own evaluations a worker takes at once; they take microseconds.
ENGINE_BATCH = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """What a worker asks for."""

    worker: str
    #: Calls it can take now.
    slots: int
    #: Leases hold until then, on the steady clock.
    until: int
    #: Turns the order of queues, so that no queue is always asked last.
    turn: int = 0
    #: Only these queues, as authors name them or by durable name; None is all.
    queues: Collection[str] | None = None
    #: Only these kinds; None is all.
    kinds: Collection[str] | None = None
    #: Only these runs, by key; None is all.
    runs: Collection[int] | None = None
    #: How many of each queue this cycle has had already: in one cycle a queue gives at most its ``max_in_flight``.
    taken: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Leased:
    """What it gets."""

    steps: list[StepRow]
    #: When a queue that had no token will have one (milliseconds since the epoch).
    token_at: int | None = None
    #: Steps may be left that could start if the worker had room.
    more: bool = False


def lease(work: Work, wanted: Wanted) -> Leased:
    """Lease the engine's own work, and calls from every queue in turn while there is room."""
    give_back(work)
    work.flush()
    offered = work.tx.offered()
    steps: list[StepRow] = []
    if ENGINE_QUEUE in offered:
        steps += claim(work, wanted, ENGINE_QUEUE, ENGINE_BATCH)
    names = [name for name in offered if name != ENGINE_QUEUE and served(name, wanted.queues)]
    start = wanted.turn % len(names) if names else 0
    slots, token_at = wanted.slots, None
    for position, name in enumerate(names[start:] + names[:start]):
        if slots <= 0:
            break
        # An even share for each queue that is still to come; what one leaves goes to the next.
        share = -(-slots // (len(names) - position))
        taken, at = take(work, wanted, name, share)
        steps += taken
        slots -= len(taken)
        token_at = at if token_at is None or (at is not None and at < token_at) else token_at
    work.adopt(steps)
    for row in steps:
        if row.phase == "run":
            payload = {"worker": wanted.worker, "attempt": row.attempt, "epoch": row.epoch}
            work.event(row.run, "step.leased", row.path, payload)
    return Leased(steps=steps, token_at=token_at, more=slots <= 0)


def served(name: str, queues: Collection[str] | None) -> bool:
    """Whether a worker serves a queue: by its durable name, or by the name its package gives it."""
    return queues is None or name in queues or name.rpartition("/")[2] in queues


def take(work: Work, wanted: Wanted, name: str, slots: int) -> tuple[list[StepRow], int | None]:
    """Lease from one queue what its limits allow; and when its next token comes, if tokens were the limit."""
    policy = work.tx.queue(name)
    if policy is None:
        return claim(work, wanted, name, slots), None
    if policy.paused:
        return [], None
    free = slots
    if policy.max_in_flight is not None:
        in_flight = work.tx.in_flight(name) + wanted.taken.get(name, 0)
        free = room(in_flight=in_flight, max_in_flight=policy.max_in_flight, wanted=slots)
    if policy.rate is None:
        return (claim(work, wanted, name, free) if free else []), None
    return take_tokens(work, wanted, policy, free)


def take_tokens(work: Work, wanted: Wanted, policy: QueueRow, free: int) -> tuple[list[StepRow], int | None]:
    """Lease as many steps as there are tokens, and spend those."""
    assert policy.rate is not None
    now = max(work.now, policy.refilled_at)
    tokens = refill(tokens=policy.tokens, burst=policy.burst, rate=policy.rate, since=policy.refilled_at, now=now)
    free = min(free, int(tokens + 1e-9))
    steps = claim(work, wanted, policy.name, free) if free > 0 else []
    if steps:
        work.tx.put_queue(policy._replace(tokens=tokens - len(steps), refilled_at=now))
    left = tokens - len(steps)
    return steps, next_token_at(tokens=left, rate=policy.rate, now=now) if left < 1 else None


def claim(work: Work, wanted: Wanted, queue: str, limit: int) -> list[StepRow]:
    """Lease from one queue as many steps as have their locks."""
    steps: list[StepRow] = []
    while len(steps) < limit:
        rows = work.tx.claim(
            queue, limit=limit - len(steps), worker=wanted.worker, until=wanted.until, now=work.now,
            kinds=wanted.kinds, runs=wanted.runs,
        )  # fmt: skip
        if not rows:
            break
        steps += [row for row in rows if take_locks(work, row)]
    return steps
