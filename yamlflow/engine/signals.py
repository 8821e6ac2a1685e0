"""Signals: what runs, and people, say to a run. Kept with the run until a step reads them, first in, first out by name.

Whoever sends a signal ends the step that waits for it, in the same transaction.
"""

from __future__ import annotations

import json
from dataclasses import replace

from .. import inputs, lifecycle
from ..errors import InvalidInput, NotAllowed, UnknownName, UserError, did_you_mean
from ..outcome import Error, Json, Signal
from ..plan import Plan
from ..rows import RunRow, SignalRow, StepRow
from .decisions import Sent
from .ends import end
from .runs import start
from .starts import Start
from .work import Work


def awaited(signal: str) -> str:
    """What a step awaits that waits for a signal."""
    return f"signal:{signal}"


def send(work: Work, run: RunRow, name: str, data: Json, *, sender: str | None = None, key: str | None = None) -> bool:
    """Give a signal to a run; False when it has had one of that key, also when it has ended since.

    ``NotAllowed`` when the run has ended, ``InvalidInput`` when the data does not fit what the package declares,
    ``UnknownName`` when the package can never read such a signal.
    """
    # First: a sender that never heard whether its signal was taken sends it again, whatever became of the run.
    if key is not None and work.tx.has_signal(run.id, key):
        return False
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
