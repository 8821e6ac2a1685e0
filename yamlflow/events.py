"""The words of the durable log: every kind of event, its severity and what its payload holds.

The log's kinds, the metrics' labels and the argument of ``yamlflow_on_event`` are these same words. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

#: kind -> (severity, what happened, payload)
EVENTS: Mapping[str, tuple[str, str, str]] = MappingProxyType(
    {
        "run.started": ("info", "a run was stored and its root step opened", "package, execution, by"),
        "run.waiting": (
            "info",
            "other runs have the key of its `concurrency`; it begins when there is a place",
            "slot",
        ),
        "run.succeeds": ("info", "the run goes on where its execution before ended", "execution, signals"),
        "run.paused": ("info", "no step of the run is offered to workers", "by"),
        "run.resumed": ("info", "steps of the run are offered again", "by"),
        "run.succeeded": ("info", "every step ended without an unhandled failure", "-"),
        "run.failed": ("error", "a failure was not handled", "code, message"),
        "run.canceled": ("warning", "somebody canceled the run, or a step it needed", "reason"),
        "run.continued": ("info", "the run went on as its next execution", "-"),
        "run.retried": ("info", "an operator reopened the run", "step, by"),
        "step.ready": ("debug", "a call waits in its queue", "-"),
        "step.opened": ("debug", "a group or loop let its children begin", "children"),
        "step.blocked": ("debug", "a lock that the step needs is held, and it waits for it", "locks"),
        "step.cached": ("info", "a kept result was taken instead of running", "key, run, execution, step, at"),
        "step.uncached": ("debug", "no kept result was taken, or the step's own is not kept", "key, reason"),
        "step.leased": ("debug", "a worker took the step", "worker, attempt, epoch"),
        "step.progress": ("debug", "the step said how far it is", "done, total, message"),
        "step.retried": ("warning", "an attempt failed and another one follows", "code, message, attempt, at"),
        "step.waiting": (
            "debug",
            "the step waits for something outside and holds no worker",
            "until, signal, prompt, run, execution",
        ),
        "step.woken": ("debug", "what the step waited for has come", "signal, name, run, status"),
        "step.late": ("warning", "the step's timeout passed; the run it waits for is canceled first", "run"),
        "step.answered": ("info", "somebody said yes or no", "approved, by, comment"),
        "step.succeeded": ("info", "the step did its work", "attempt, reason"),
        "step.failed": ("error", "the step did not do its work and is not tried again", "code, message, attempt"),
        "step.skipped": ("info", "the step will not run", "reason"),
        "step.canceling": ("info", "a running step was told to stop", "reason, by, origin"),
        "step.canceled": ("warning", "the step was canceled", "reason"),
        "step.lost": ("warning", "a lease ran out or its worker died", "worker, epoch, lost, message"),
        "step.drawn": ("debug", "time and chance that the attempt's expressions drew", "now, uuid, random"),
        "step.released": ("debug", "a worker gave the step back unfinished", "worker"),
        "step.refused": ("warning", "a worker reported an outcome for a lease it had lost", "worker, epoch"),
        "step.reopened": ("info", "an operator's retry let the step begin anew", "by"),
        "undo.fired": ("info", "what takes a step back began", "-"),
        "signal.received": ("info", "a signal came, and is kept until a step reads it", "name, sender, signal"),
        "start.refused": ("warning", "a run was not started because this one has its key", "run, by"),
        "handler.fired": ("info", "a group's handler began", "-"),
    }
)


def severity(kind: str) -> str:
    """``debug``, ``info``, ``warning`` or ``error``."""
    return EVENTS[kind][0] if kind in EVENTS else "info"
