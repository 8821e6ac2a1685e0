"""Ending steps: recording an end, skipping, canceling. What follows from an end is ``follow``'s business."""

from __future__ import annotations

import json
from dataclasses import replace

from .. import lifecycle
from ..lifecycle import RUN_STATUS, is_over
from ..outcome import Error, Json
from ..rows import StepRow
from .work import Work

#: The reason of a root whose run goes on as its next execution.
CONTINUED = "continued"


def end(work: Work, row: StepRow, *, brought: int | None = None) -> StepRow:
    """Keep a step that has just reached its end, and remember to follow it up; see ``Work.put``."""
    seq = work.event(row.run, f"step.{row.status}", row.path, end_payload(row))
    row = work.put(row._replace(ended=seq), brought=brought)
    run = work.run(row.run)
    work.put_run(run._replace(done=run.done + 1))
    work.ended.append(row.id)
    if row.path == "":
        end_run(work, row)
    return row


def end_payload(row: StepRow) -> Json:
    """What a step's last event tells besides its name."""
    payload: dict[str, Json] = {}
    if row.attempt > 1:
        payload["attempt"] = row.attempt
    if row.reason:
        payload["reason"] = row.reason
    if row.status == "failed" and row.error:
        error = json.loads(row.error)
        payload["code"], payload["message"] = error["code"], error["message"]
        payload["attempt"] = row.attempt
    return payload or None


def end_run(work: Work, row: StepRow) -> None:
    """The root step has ended, and with it the run."""
    run = work.run(row.run)
    status = "continued" if row.reason == CONTINUED else RUN_STATUS[row.status]
    work.put_run(run._replace(status=status, ended_at=work.now))
    work.event(row.run, f"run.{status}", None, end_payload(row))
    work.closed.append(row.run)


def skip(work: Work, row: StepRow, reason: str) -> None:
    """The step will not run."""
    end(work, lifecycle.ended(row, "skip", now=work.now, reason=reason))


def fail_attempt(work: Work, row: StepRow, error: Error, *, after: int | None = None) -> None:
    """An attempt, or what it waited for, has failed: the step is tried again where its policy says so, or ends.

    ``after``: milliseconds until then that the failure itself asks for.
    """
    error = replace(error, step=row.path, attempt=row.attempt or None)
    row = lifecycle.after_failure(row, work.node(row), error, after=after, now=work.now, chance=work.chance())
    if is_over(row):
        end(work, row)
        return
    payload = {"code": error.code, "message": error.message, "attempt": error.attempt, "at": row.available_at}
    work.event(row.run, "step.retried", row.path, payload)
    work.put(row)


def finish(work: Work, row: StepRow, verdict: str, *, result: str | None) -> None:
    """End a group, loop or emitter."""
    # What an emitter gave is its own, also when its children came to nothing: a retry of theirs does not repeat it.
    kept = row.result if row.phase == "children" else None
    if verdict == "fail":
        own = row.error or row.fault
        error = Error.from_json(json.loads(own)) if own else Error(code="failed", message="a child failed")
        end(work, lifecycle.ended(row, "fail", now=work.now, error=error)._replace(result=kept))
    elif verdict == "cancel":
        reason = json.loads(row.cancel)["origin"] if row.cancel else "user"
        end(work, lifecycle.ended(row, "cancel", now=work.now, reason=reason)._replace(result=kept))
    else:
        reason = row.reason if row.reason in ("recovered", CONTINUED) else None
        end(work, lifecycle.ended(row, "succeed", now=work.now, result=result, reason=reason))


def child_key(row: StepRow) -> int | None:
    """The run (its key) that a step waits for; None when it waits for none."""
    return None if row.wait is None else json.loads(row.wait).get("key")


def cancel_tree(work: Work, row: StepRow, why: dict[str, Json]) -> None:
    """Cancel a step and what is alive under it."""
    if row.path == "":
        end_pause(work, row.run, why)
    unopened = row.status == "pending" and row.children > 0
    cancel_row(work, row, why)
    row = work.step(row.id)
    if unopened:
        # A run that a program built and that had no place yet: its steps are there, and have not begun.
        cancel_children(work, row, why)
    if row.status == "waiting" and not is_over(row) and (row.phase in ("steps", "children") or "force" in why):
        cancel_children(work, row, why)


def end_pause(work: Work, key: int, why: dict[str, Json]) -> None:
    """A run that is to end is paused no longer: what cleans up after it would wait for ever."""
    run = work.run(key)
    if run.paused and run.ended_at is None:
        work.put_run(run._replace(paused=0))
        work.flush()
        work.tx.hold(key, paused=False)
        work.event(key, "run.resumed", None, {"by": why.get("by") or ""})


def cancel_child(work: Work, row: StepRow, why: dict[str, Json]) -> None:
    """Cancel a step that waits for a child run: the run too, and then it waits for that; or only the step."""
    flagged = work.put(row._replace(cancel=json.dumps(why)))
    told = json.loads(row.wait or "{}")
    root = None if told.get("on_parent_close") == "abandon" else work.at(told["key"], "")
    if root is None or is_over(root) or "force" in why:
        end(work, lifecycle.canceled(flagged, now=work.now))
    else:
        work.event(row.run, "step.canceling", row.path, why)
    if root is not None:
        cancel_tree(work, root, {**why, "origin": "parent"})


def cancel_children(work: Work, row: StepRow, why: dict[str, Json]) -> None:
    """Cancel what is alive under a step, but not what is shielded."""
    rows = [each for each in work.live_below(row) if each.id != row.id]
    spared: set[int] = set()
    for each in rows:
        # Parents come first, so what a shield or an ending group holds is known before its children are met.
        current = work.step(each.id)
        if "force" not in why and (each.parent in spared or is_spared(work, current, row)):
            spared.add(each.id)
            continue
        if not is_over(current):
            cancel_row(work, current, why)


def is_spared(work: Work, row: StepRow, canceled: StepRow) -> bool:
    """A begun shield, or a handler of a group within what is canceled."""
    if is_shielded(work, row):
        return True
    return row.parent is not None and row.parent != canceled.id and is_closing(work.step(row.parent))


def is_shielded(work: Work, row: StepRow) -> bool:
    """A shield holds once its step has begun; one that has not is canceled like any other."""
    begun = row.attempt or row.lost if row.phase == "run" else row.phase not in ("", "gate")
    return bool(begun) and work.node(row).step.shield


def is_closing(row: StepRow) -> bool:
    """A group whose steps have ended and whose handlers run: they are shielded."""
    return row.phase in ("undo", "handler", "finally")


def is_forced(row: StepRow) -> bool:
    """Canceled so that not even its handlers run."""
    return row.cancel is not None and "force" in json.loads(row.cancel)


def cancel_row(work: Work, row: StepRow, why: dict[str, Json]) -> None:
    """Cancel one step; a group is marked, and ends when its children have."""
    if is_over(row) or row.phase == "outputs":
        return
    if row.path == "" and row.reason == CONTINUED:
        # The run was about to go on as its next execution: it ends here instead.
        ends_here = json.dumps(why) if is_closing(row) else None
        row = work.put(row._replace(reason=why["origin"], wait=None, cancel=ends_here))
    if "force" not in why and (row.cancel is not None or is_closing(row)):
        return
    flagged = row._replace(cancel=json.dumps(why))
    if row.status == "running":
        work.put(flagged)
        work.event(row.run, "step.canceling", row.path, why)
    elif row.status == "waiting" and row.phase == "child":
        cancel_child(work, row, why)
    elif row.status == "waiting" and (row.phase in ("steps", "children") or is_closing(row)):
        work.put(flagged._replace(reason=why["origin"]))
    else:
        if row.parked == "slot":
            # It never had a place in its group; its end must not give one back.
            flagged = flagged._replace(due=None)
        end(work, lifecycle.canceled(flagged, now=work.now))


def stop_group(work: Work, row: StepRow, error: Error, origin: str) -> None:
    """Fail a group that is open: its children are canceled, then it ends with ``error``."""
    row = work.put(row._replace(error=json.dumps(error.to_json()), reason=origin, available_at=None, parked=None))
    cancel_children(work, row, {"origin": origin})
