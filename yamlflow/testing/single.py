"""One call that runs one executor: the test of a kind."""

from __future__ import annotations

import inspect
from typing import Any

from ..context import Ports, StepContext, StepInfo
from ..executors import Executor, execute, execute_async, executor_of
from ..outcome import Json, Outcome
from ..plugins import load
from .clocks import FakeClock, RealTimeClock


def run_executor(what: Any, input: Json = None, /, *, ports: Ports | None = None, **context: Any) -> Outcome:
    """Run one executor on one input: its outcome.

    ``what`` is a decorated function, an ``Executor``, a kind that comes with yamlflow, or a module that holds one
    executor. ``context`` are fields of ``StepContext``. Without ``ports`` time stands still at ``T0``.
    """
    found = _find(what)
    step = StepContext(
        input={} if input is None else input,
        step=context.pop("step", StepInfo(kind=found.kind)),
        ports=ports or Ports(clock=FakeClock()),
        **context,
    )
    if found.awaited:
        import asyncio

        step.ports = ports or Ports(clock=RealTimeClock())
        return asyncio.run(execute_async(found, step))
    return execute(found, step)


def _find(what: Any) -> Executor:
    if isinstance(what, str):
        return load(entry_points=False).executors[what]
    if found := executor_of(what):
        return found
    if inspect.ismodule(what):
        held = {each.kind: each for each in map(executor_of, vars(what).values()) if each is not None}
        if len(held) == 1:
            return next(iter(held.values()))
        raise ValueError(f"{what.__name__} holds {len(held)} executors; name one of {', '.join(held) or 'none'}")
    raise TypeError(f"{what!r} is no executor; decorate it with @executor(kind)")
