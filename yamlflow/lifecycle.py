"""Statuses change here and nowhere else. Pure: this module reads no clock, database, file or random number.

A step moves through ``TRANSITIONS``; what is to be done with it next is its ``phase``:

    call    gate -> run -> (children)          decide ``if``, execute, wait for what it emitted
    group   gate -> steps -> undo -> handler -> outputs -> finally
    loop    gate -> steps                       ``for_each`` and ``matrix``
    repeat  gate -> steps -> until -> steps …   one child per iteration

``gate``, ``outputs`` and ``until`` evaluate expressions; they are leased like any work, but by the engine itself, in the
queue without a name. Whatever needs no expression is decided in the transaction that makes it due.

The law of ends:

* A step ends once: only an operator's ``reopen`` leads out of a terminal status.
* A step is due when as many needs as its ``join`` asks for have come true, and skipped when that many no longer can.
* A group ends when no child of it is alive, its handlers have ended, and its outputs are known.
* Failure goes before cancel, cancel before success.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from .outcome import Error
from .plan import Node
from .queueing import backoff, may_retry
from .rows import StepRow
from .spec import FanOut, Group


class Status(StrEnum):
    """Where a step stands. A run's status is read off its root step."""

    PENDING = "pending"
    READY = "ready"
    RUNNING = "running"
    WAITING = "waiting"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELED = "canceled"


TERMINAL = frozenset({"succeeded", "failed", "skipped", "canceled"})

#: What each event makes of each status. An event that is not listed is impossible there.
TRANSITIONS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "pending": {"due": "ready", "open": "waiting", "skip": "skipped", "cancel": "canceled", "fail": "failed"},
        "ready": {
            "lease": "running", "open": "waiting", "skip": "skipped", "cancel": "canceled", "fail": "failed",
            "succeed": "succeeded", "wait": "waiting",
        },
        "running": {
            "succeed": "succeeded", "fail": "failed", "skip": "skipped", "cancel": "canceled", "open": "waiting",
            "wait": "waiting", "admit": "ready", "retry": "ready", "lose": "ready", "release": "ready",
        },
        "waiting": {
            "succeed": "succeeded", "fail": "failed", "cancel": "canceled", "wake": "ready", "open": "waiting",
            "skip": "skipped", "retry": "ready",
        },
        "succeeded": {"reopen": "pending"},
        "failed": {"reopen": "pending"},
        "skipped": {"reopen": "pending"},
        "canceled": {"reopen": "pending"},
    }
)  # fmt: skip

#: A run's status, read off its root step's.
RUN_STATUS: Mapping[str, str] = MappingProxyType(
    {
        "pending": "pending", "ready": "pending", "running": "running", "waiting": "running",
        "succeeded": "succeeded", "failed": "failed", "skipped": "succeeded", "canceled": "canceled",
    }
)  # fmt: skip

#: No timer is set further ahead, whatever an executor asks for: ten years, in milliseconds.
LONGEST = 10 * 365 * 86_400_000
#: Leases in a row that a step may lose before it fails with ``worker_lost``.
MAX_LOST = 3


def moved(step: StepRow, event: str, **changes: object) -> StepRow:
    """The step after an event; a ``KeyError`` is a fault of ours."""
    return step._replace(status=TRANSITIONS[step.status][event], **changes)  # type: ignore[arg-type]


def is_over(step: StepRow) -> bool:
    """Whether the step has ended."""
    return step.status in TERMINAL


# -- needs ---------------------------------------------------------------------------------------------------------


def counts_as(step: StepRow, node: Node) -> frozenset[str]:
    """What an ended step counts as for those that need it."""
    if step.status == "failed" and node.step.continue_on_error:
        return frozenset({"succeeded", "failed"})
    if step.status == "skipped" and step.reason in ("failed", "canceled"):
        return frozenset({step.reason})
    return frozenset({step.status})


def unblock(dependent: StepRow, *, holds: bool, ends: frozenset[str]) -> StepRow:
    """One need of a pending step is decided: its counters move; ``is_due`` and ``is_out_of_reach`` say what follows.

    ``ends`` is what the needed step counts as. Should the dependent be skipped, the worst end it missed is its reason.
    """
    if holds:
        return dependent._replace(met=dependent.met + 1)
    reason = min(dependent.reason or "needs", reason_to_skip(ends), key=REASONS.index)
    return dependent._replace(missed=dependent.missed + 1, reason=reason)


def is_due(step: StepRow, node: Node) -> bool:
    """As many needs hold as the step's ``join`` asks for."""
    return step.met >= node.required


def is_out_of_reach(step: StepRow, node: Node) -> bool:
    """So many needs were missed that the ``join`` cannot be met any more."""
    return len(node.needs) - step.missed < node.required


#: Why a step may be skipped for its needs, the gravest first.
REASONS = ("failed", "canceled", "needs")


def reason_to_skip(ends: frozenset[str]) -> str:
    """Why a step whose need ended so is skipped; failure and cancel are passed on to those behind it."""
    return next((word for word in REASONS if word in ends), "needs")


# -- attempts ------------------------------------------------------------------------------------------------------


def after_failure(step: StepRow, node: Node, error: Error, *, after: int | None, now: int, chance: float) -> StepRow:
    """A failed attempt: back to ready with a delay, canceled if that was asked for, or failed for good."""
    if step.cancel is not None:
        return canceled(step, now=now)
    policy = node.retry
    delay = backoff(policy, attempt=step.attempt, chance=chance) if after is None else max(0, min(after, LONGEST))
    # From its first attempt on, the step keeps when that began; how long it waited for a worker before does not count.
    begun = step.started_at if step.attempt == 1 else step.ready_at
    elapsed = now - (begun or now)
    if may_retry(
        policy, code=error.code, permanent=error.permanent, attempt=step.attempt, elapsed=elapsed, delay=delay
    ):
        return moved(
            step, "retry", available_at=now + delay, parked="timer", worker=None, leased_until=None, lost=0,
            ready_at=begun, error=json.dumps(error.to_json()), phase="run", awaits=None, wait=None, result=None,
        )  # fmt: skip
    return ended(step, "fail", now=now, error=error)


def ended(
    step: StepRow, event: str, *, now: int, result: str | None = None, error: Error | None = None,
    reason: str | None = None,
) -> StepRow:  # fmt: skip
    """The step at its end. ``ended`` (the event number) is set by the engine."""
    return moved(
        step, event, phase="", parked=None, available_at=None, worker=None, leased_until=None, ended_at=now,
        result=result if event == "succeed" else None, awaits=None,
        error=json.dumps(error.to_json()) if error else None, reason=reason,
    )  # fmt: skip


def canceled(step: StepRow, *, now: int) -> StepRow:
    """The step ended as canceled; why is in ``cancel``."""
    origin = json.loads(step.cancel or "{}").get("origin")
    return ended(step, "cancel", now=now, reason=origin)


def lost(step: StepRow, *, now: int, error: Error | None = None) -> StepRow:
    """A lease that ran out or whose worker died: the attempt is not spent, but losses are bounded.

    ``error`` says how the step's own process ended, where that is known.
    """
    if step.cancel is not None and step.phase in ("run", "gate"):
        return canceled(step, now=now)
    if step.phase != "run":
        # The engine's own work runs nobody's code; it cannot be what kills a worker.
        return moved(step, "lose", worker=None, leased_until=None)
    losses = step.lost + 1
    if losses >= MAX_LOST:
        last = "" if error is None else f"; the last time in a process of its own: {error.message}"
        failure = Error(
            code="worker_lost",
            message=f"its worker was lost {losses} times in a row{last}",
            step=step.path,
            attempt=step.attempt,
            cause=None if error is None else error.to_json(),
            permanent=True,
        )
        return ended(step._replace(lost=losses), "fail", now=now, error=failure)
    return moved(step, "lose", lost=losses, attempt=max(0, step.attempt - 1), worker=None, leased_until=None)


def released(step: StepRow, *, now: int) -> StepRow:
    """A lease that its worker gave back: nothing is spent."""
    if step.cancel is not None and step.phase in ("run", "gate"):
        return canceled(step, now=now)
    attempt = max(0, step.attempt - 1) if step.phase == "run" else step.attempt
    return moved(step, "release", attempt=attempt, worker=None, leased_until=None)


# -- groups --------------------------------------------------------------------------------------------------------


def child_ended(group: StepRow, node: Node, child: StepRow, child_node: Node) -> StepRow:
    """A child's end in its group's counters: one alive fewer, failures and cancels added, a race decided."""
    group = group._replace(alive=group.alive - 1)
    body = node.group
    if body is not None and body.race and group.winner is not None:
        # The race is decided: how the losers end is all the same.
        return group
    if child.status == "failed" and not child_node.step.continue_on_error:
        group = group._replace(failures=group.failures + 1, fault=group.fault or child.error)
    elif child.status == "canceled" and child.reason == "user":
        group = group._replace(cancellations=group.cancellations + 1)
    wins = {"success": child.status == "succeeded", "finished": child.status != "skipped"}
    if body is not None and body.race and group.reason is None and wins[body.race]:
        group = group._replace(winner=child_node.step.id)
    return group


def tolerated(node: Node, total: int) -> int:
    """How many children of a loop may fail."""
    loop = node.loop
    if not isinstance(loop, FanOut):
        return 0
    amount, percent = loop.tolerate
    return int(total * amount / 100 + 1e-9) if percent else int(amount)


def group_verdict(group: StepRow, node: Node) -> str:
    """How a group stands that has no child alive: ``fail``, ``cancel`` or ``succeed``."""
    body = node.group
    if group.error is not None:
        return "fail"
    if group.reason == "recovered":
        return "succeed"
    if body is not None and body.race == "success" and group.winner is not None:
        return "succeed"
    if group.failures > (tolerated(node, group.children)):
        return "fail"
    if group.reason == "continued":
        return "succeed"
    if group.cancel is not None or group.cancellations:
        return "cancel"
    return "succeed"


def wants_to_stop(group: StepRow, node: Node) -> str | None:
    """Why a group's remaining children are to be canceled, in one word; None while they may go on."""
    body = node.group
    if body is not None and body.race and group.winner is not None:
        return "race"
    if body is not None and body.fail_fast and group.failures:
        return "fail_fast"
    return None


#: The stages after a group's steps, in order, and the field of ``Group`` that holds each one's steps.
STAGES = ("steps", "undo", "handler", "outputs", "finally")


def handler_for(body: Group, verdict: str) -> str | None:
    """The handler that a group's end calls for: ``on_failure``, ``on_cancel`` or none."""
    if verdict == "fail" and body.on_failure is not None:
        return "on_failure"
    if verdict == "cancel" and body.on_cancel is not None:
        return "on_cancel"
    return None
