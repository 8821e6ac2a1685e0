"""Steps that wait: for time, a signal, or somebody's answer. One that waits is a row, no thread, and holds no worker.

What bounds a wait is the step's own ``timeout``; what ends it is written by whoever brings what is waited for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from .. import inputs, lifecycle
from ..clock import to_text
from ..errors import InvalidInput, NotAllowed, Problem, UnknownName
from ..lifecycle import is_over, moved
from ..outcome import Asking, Error, Json, Waiting
from ..rows import RunRow, StepRow
from .ends import cancel_tree, end, fail_attempt
from .signals import awaited, hand_over
from .work import Work


def wait(work: Work, row: StepRow, outcome: Waiting | Asking, deadline: int | None = None) -> None:
    """A call waits for time, a signal or somebody's answer; its own ``timeout`` bounds the wait."""
    phase, awaits, what = what_for(outcome)
    until, result = (outcome.until, outcome.result) if isinstance(outcome, Waiting) else (None, None)
    row = work.put(
        parked(work, row, phase, until, deadline)._replace(
            awaits=awaits, wait=json.dumps(what) if what else None,
            result=None if result is None else json.dumps(result),
        )
    )  # fmt: skip
    work.event(row.run, "step.waiting", row.path, told(row, what))
    if phase == "signal":
        work.flush()
        hand_over(work, row)
        row = work.step(row.id)
    if not is_over(row) and row.error is not None and (row.available_at or 0) <= work.now:
        time_out(work, row)


def what_for(outcome: Waiting | Asking) -> tuple[str, str | None, dict[str, Json]]:
    """The phase of a wait, how who brings what is waited for finds it, and what there is to say of it."""
    if isinstance(outcome, Asking):
        return "approval", "approval", {"prompt": outcome.prompt, "form": outcome.form}
    if outcome.signal is None:
        return "sleep", None, {"by_clock": True} if outcome.by_clock else {}
    return "signal", awaited(outcome.signal), {"signal": outcome.signal}


def parked(work: Work, row: StepRow, phase: str, until: int | None, deadline: int | None) -> StepRow:
    """A leased step that gives its lease back and waits until then; ``error`` is what it comes to when time is up."""
    longest = work.now + 10 * lifecycle.LONGEST
    error = None
    if deadline is not None and (until is None or deadline < until):
        until = deadline
        error = json.dumps(Error(code="timeout", message=LATE[phase], step=row.path).to_json())
    at = None if until is None else min(until, longest)
    return moved(
        row, "wait", phase=phase, available_at=at, parked=None if at is None else "timer", worker=None,
        leased_until=None, result=None, error=error,
    )  # fmt: skip


#: What a wait says whose step's ``timeout`` has passed.
LATE: Mapping[str, str] = {
    "sleep": "the step did not wake within its timeout",
    "signal": "no signal came within the step's timeout",
    "approval": "nobody answered within the step's timeout",
    "child": "the run did not end within the step's timeout",
}


#: What the log does not tell of a wait: forms may be long.
SILENT = frozenset({"form", "by_clock"})


def told(row: StepRow, wait: Mapping[str, Json] | None) -> Json:
    """The payload of the event that says what a step waits for."""
    until = None if row.available_at is None else to_text(row.available_at)
    return {"until": until, **{name: value for name, value in (wait or {}).items() if name not in SILENT}}


def time_out(work: Work, row: StepRow) -> None:
    """The timeout of a step that waits has passed; a child that was waited for is canceled first."""
    assert row.error is not None
    row = work.put(row._replace(available_at=None, parked=None))
    if row.phase == "child":
        wait = json.loads(row.wait or "{}")
        root = None if wait.get("on_parent_close") == "abandon" else work.at(wait["key"], "")
        if root is not None and not is_over(root):
            work.event(row.run, "step.late", row.path, {"run": wait["run"]})
            cancel_tree(work, root, {"reason": LATE["child"], "by": row.path, "origin": "parent"})
            return
    assert row.error is not None
    fail_attempt(work, row, Error.from_json(json.loads(row.error)))


def answer(
    work: Work, run: RunRow, path: str, *, approved: bool, by: str = "", comment: str = "", form: Json = None
) -> bool:
    """Say yes or no to a step that asks; False when the same was said before.

    ``UnknownName``, ``InvalidInput`` when the form does not fit, ``NotAllowed`` when the step does not ask (yet, any more)
    or was answered otherwise.
    """
    row = work.at(run.key, path)
    if row is None:
        raise UnknownName(f'run "{run.id}" has no step "{path}"')
    given = {"approved": approved, "by": by, "comment": comment, "form": form}
    if is_over(row):
        return refuse_other(row, given)
    if row.phase != "approval" or row.status != "waiting":
        stands = "has not begun to ask" if row.status in ("pending", "ready") else f"asks nothing; it is {row.status}"
        raise NotAllowed(f'step "{path}" of run "{run.id}" {stands}')
    schema = json.loads(row.wait or "{}").get("form")
    given["form"] = filled(schema, form, approved=approved)
    work.event(run.key, "step.answered", path, {"approved": approved, "by": by, "comment": comment})
    end(work, lifecycle.ended(row, "succeed", now=work.now, result=json.dumps(given, ensure_ascii=False)))
    return True


def filled(schema: Json, form: Json, *, approved: bool) -> Json:
    """A form with its defaults; checked when the answer is yes, or when anything was filled in."""
    if not isinstance(schema, dict):
        if form is not None:
            raise InvalidInput([Problem(message="this step has no form to fill in", pointer=("form",))])
        return None
    if form is None and not approved:
        return None
    values = inputs.fill_defaults(schema, form) if isinstance(form, dict) else form if form is not None else {}
    if problems := inputs.check(schema, values, ("form",)):
        raise InvalidInput(problems)
    return values


def refuse_other(row: StepRow, given: Mapping[str, Any]) -> bool:
    """The same answer again is harmless; another one is refused."""
    kept = json.loads(row.result or "null")
    if row.status != "succeeded" or not isinstance(kept, dict) or "approved" not in kept:
        raise NotAllowed(f'step "{row.path}" asks nothing any more; it {WAS.get(row.status, row.status)}')
    if kept["approved"] is given["approved"] and given["form"] in (None, kept["form"]):
        return False
    said = "approved" if kept["approved"] else "rejected"
    raise NotAllowed(f'step "{row.path}" was {said} already by {kept["by"] or "somebody"}')


WAS: Mapping[str, str] = {"succeeded": "has succeeded", "failed": "has failed", "skipped": "was skipped",
                          "canceled": "was canceled"}  # fmt: skip
