"""Signals, answers, children and continuations: what runs say to one another, and what people say to them.

A signal is kept with the run it is for until a step reads it, first in, first out by name. A step that waits is a row, no
thread: whoever brings what it waits for ends it, in the transaction that brings it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from .. import inputs, lifecycle
from ..clock import to_text
from ..errors import InvalidInput, NotAllowed, Problem, RunExists, StartRefused, UnknownName, UserError, did_you_mean
from ..lifecycle import is_over, moved
from ..outcome import Asking, Error, Json, Signal, Waiting
from ..plan import Plan
from ..rows import RunRow, SignalRow, StepRow
from .decisions import Renewed, Sent, Spawned, Timed
from .ends import CONTINUED, cancel_children, cancel_tree, end, skip
from .runs import Parent, fail_waiting, place_above, start, tell_parent
from .starts import Start
from .work import Work

#: Runs within runs: a package that starts itself without end stops here.
MAX_DEPTH = 50


def awaited(signal: str) -> str:
    """What a step awaits that waits for a signal."""
    return f"signal:{signal}"


# -- sending -------------------------------------------------------------------------------------------------------


def send(work: Work, run: RunRow, name: str, data: Json, *, sender: str | None = None, key: str | None = None) -> bool:
    """Give a signal to a run; False when it has had one of that key.

    ``NotAllowed`` when the run has ended, ``InvalidInput`` when the data does not fit what the package declares,
    ``UnknownName`` when the package can never read such a signal.
    """
    if run.ended_at is not None:
        raise NotAllowed(f'run "{run.id}" has ended ({run.status}); nobody would read the signal "{name}"')
    refuse_misfit(work.plan(run.key), name, data)
    work.flush()
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=False)
    row = work.tx.put_signal(SignalRow(0, run.key, name, text, sender, key, work.now))
    if row is None:
        return False
    work.event(run.key, "signal.received", None, {"name": name, "sender": sender, "signal": row.seq})
    waiting = work.tx.awaiting(run.key, awaited(name))
    if waiting is not None:
        hand_over(work, work.step(waiting.id))
    return True


def refuse_misfit(plan: Plan, name: str, data: Json) -> None:
    """Data that does not fit the declared schema, or a name that nobody can wait for, is the sender's error."""
    declared = plan.package.signals
    if name not in declared:
        if declared and not plan.may_await(name):
            hint = did_you_mean(name, declared) or f"Declared are: {', '.join(sorted(declared))}."
            raise UnknownName(f'the package "{plan.package.name}" has no signal "{name}". {hint}')
        return
    schema = declared[name]
    if isinstance(schema, dict) and (problems := inputs.check(schema, data, ("signals", name))):
        raise InvalidInput(problems)


def hand_over(work: Work, row: StepRow) -> None:
    """A step that waits for a signal reads the first unread one, if there is one."""
    name = (row.awaits or "").removeprefix("signal:")
    signal = work.tx.read_signal(row.run, name, row.id)
    if signal is not None:
        work.event(row.run, "step.woken", row.path, {"signal": signal.seq, "name": name})
        end(work, lifecycle.ended(row, "succeed", now=work.now, result=signal.data))


def sent(work: Work, row: StepRow, outcome: Sent) -> Error | None:
    """Send what a step sends with its success; why it could not be sent, and then nothing was."""
    for signal, wanted in zip(outcome.outcome.signals, outcome.starts, strict=True):
        if problem := receiver_problem(work, signal, wanted):
            return problem
    sender = f"{work.run(row.run).id}/{row.path}"
    for signal, wanted in zip(outcome.outcome.signals, outcome.starts, strict=True):
        run = receiver(work, signal)
        if run is None:
            assert wanted is not None
            run, _ = start(work, replace(wanted, by=f"step {sender}"))
        # One of the keys that this attempt sent before it was lost is the same signal.
        send(work, run, signal.name, signal.data, sender=sender, key=signal.key)
    return None


def receiver(work: Work, signal: Signal) -> RunRow | None:
    """The live run that a signal is for."""
    found = work.tx.find_run(signal.run)
    if found is None:
        return None
    run = work.run(found.key)
    return None if run.ended_at is not None else run


def receiver_problem(work: Work, signal: Signal, wanted: Start | None) -> Error | None:
    """Why a signal cannot be delivered."""
    run = receiver(work, signal)
    try:
        if run is not None:
            refuse_misfit(work.plan(run.key), signal.name, signal.data)
        elif wanted is not None:
            refuse_misfit(wanted.plan, signal.name, signal.data)
        else:
            known = work.tx.find_run(signal.run)
            stands = "there is no such run" if known is None else f"it has ended ({known.status})"
            return Error(code="no_receiver", message=f'signal "{signal.name}" to run "{signal.run}": {stands}')
    except UserError as wrong:
        return Error(code="bad_input", message=f'signal "{signal.name}" to run "{signal.run}": {wrong}', permanent=True)
    return None


# -- waiting -------------------------------------------------------------------------------------------------------


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
        return "sleep", None, {}
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


def told(row: StepRow, wait: Mapping[str, Json] | None) -> Json:
    """The payload of the event that says what a step waits for."""
    until = None if row.available_at is None else to_text(row.available_at)
    return {"until": until, **{name: value for name, value in (wait or {}).items() if name != "form"}}


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
    fail_waiting(work, row, Error.from_json(json.loads(row.error)))


# -- answers -------------------------------------------------------------------------------------------------------


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


# -- children ------------------------------------------------------------------------------------------------------


def spawn(work: Work, row: StepRow, outcome: Spawned) -> Error | None:
    """Start a run as a step's child, and let the step wait for it; why it cannot be started."""
    run = work.run(row.run)
    if run.depth >= MAX_DEPTH:
        message = f"runs may start runs {MAX_DEPTH} levels deep; this one would be deeper"
        return Error(code="limit_exceeded", message=message, permanent=True)
    parent = Parent(run=run, step=row.id, on_parent_close=outcome.on_parent_close)
    wanted = replace(outcome.start, by=f"step {run.id}/{row.path}")
    if wanted.if_exists == "fail" and was_its_own(work, row, wanted.run_id):
        # The run of an earlier attempt at this very step has ended: this one is its next execution.
        wanted = replace(wanted, if_exists="new")
    if outcome.wait and (above := place_above(work, run, wanted)) is not None:
        key = (wanted.slot or "").partition("/")[2]
        message = (
            f'run "{wanted.run_id}" would wait for run "{above.id}", which waits for it: both have the key "{key}"'
        )
        return Error(code="concurrency", message=message)
    try:
        own = rejoined(work, row, wanted.run_id)
        child, fresh = (own, True) if own is not None else start(work, wanted, parent)
    except RunExists as taken:
        return Error(code="run_exists", message=str(taken))
    except StartRefused as full:
        work.event(full.holder_key, "start.refused", None, {"run": wanted.run_id, "by": wanted.by})
        if full.skipped:
            skip(work, row, "concurrency")
            return None
        return Error(code="concurrency", message=str(full))
    wait = {
        "run": child.id, "execution": child.execution, "key": child.key,
        "on_parent_close": outcome.on_parent_close if fresh else "abandon",
    }  # fmt: skip
    if not outcome.wait:
        done = row._replace(wait=json.dumps({**wait, "key": None}))
        end(work, lifecycle.ended(done, "succeed", now=work.now))
        return None
    row = work.put(parked(work, row, "child", None, outcome.deadline)._replace(wait=json.dumps(wait)))
    work.event(row.run, "step.waiting", row.path, told(row, {"run": child.id, "execution": child.execution}))
    if child.ended_at is not None:
        root = work.at(child.key, "")
        assert root is not None
        tell_parent(work, child, root)
    return None


def rejoined(work: Work, row: StepRow, run_id: str) -> RunRow | None:
    """The run that this very step has started before and that goes on, or that an operator's retry let it wait for again.

    None where there is none: it is to be started.
    """
    known = work.tx.find_run(run_id)
    if known is None or known.parent != row.id:
        return None
    if known.ended_at is not None:
        return known if json.loads(row.wait or "{}").get("rejoin") == known.key else None
    root = work.at(known.key, "")
    return None if root is None or root.cancel is not None else work.run(known.key)


def was_its_own(work: Work, row: StepRow, run_id: str) -> bool:
    """Whether the newest run of an id was started by an earlier attempt at a step."""
    known = work.tx.find_run(run_id)
    return known is not None and known.parent == row.id


def renew(work: Work, row: StepRow, outcome: Renewed) -> Error | None:
    """End the run here and let it go on as its next execution, once all that runs has ended and ``finally`` has run."""
    root = work.at(row.run, "")
    assert root is not None
    if row.parent != root.id or root.phase != "steps" or root.reason is not None or root.error is not None:
        message = "the run is ending already, or this step is not one of the package's own"
        return Error(code="bad_input", message=message, permanent=True)
    wanted, run = outcome.start, work.run(row.run)
    work.tx.put_package(wanted.package)
    told = {
        "digest": wanted.package.digest, "version": wanted.package.version, "folder": wanted.folder,
        "inputs": dict(wanted.inputs), "name": wanted.name, "slot": wanted.slot,
        "metadata": {**json.loads(run.metadata), **wanted.metadata},
        "steps": [{"key": one.key, "definition": one.definition, "scope": one.scope} for one in wanted.steps],
    }  # fmt: skip
    end(work, lifecycle.ended(row, "succeed", now=work.now))
    root = work.put(work.step(root.id)._replace(reason=CONTINUED, wait=json.dumps({"continue": told})))
    cancel_children(work, root, {"origin": CONTINUED})
    return None


__all__ = ["Timed", "answer", "renew", "send", "sent", "spawn", "time_out", "wait"]
