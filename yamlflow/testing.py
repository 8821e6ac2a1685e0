"""For authors of workflows and plugins: a clock that stands still, and one call that runs one executor.

assert run_executor(sleep, {"for": "5s"}) == Waiting(until=T0 + 5 * SECOND, result="2026-01-01T00:00:05.000Z")
"""

from __future__ import annotations

import inspect
import uuid
from typing import Any

from .clock import SECOND, SystemClock
from .context import Ports, StepContext, StepInfo
from .executors import Executor, execute, execute_async, executor_of
from .outcome import Json, Outcome
from .plugins import load

__all__ = ["SECOND", "T0", "FakeClock", "run_executor"]

#: When a ``FakeClock`` starts: 2026-01-01T00:00:00Z.
T0 = 1_767_225_600_000


class FakeClock:
    """A clock that moves only when told to, and chance that is always the same."""

    def __init__(self, start: int = T0) -> None:
        self._now = start
        self._steady = 1_000_000
        self._drawn = 0

    def now(self) -> int:
        """Milliseconds since the epoch."""
        return self._now

    def steady(self) -> int:
        """Milliseconds on the clock that never jumps."""
        return self._steady

    def random(self) -> float:
        """The next number of a fixed sequence in [0, 1), evenly spread."""
        self._drawn += 1
        return (self._drawn * 0.6180339887498949) % 1.0

    def uuid(self) -> str:
        """The next UUID of a fixed sequence."""
        self._drawn += 1
        # Spread over all digits: short ids are cut from the front.
        return str(uuid.UUID(int=(self._drawn * 0x9E3779B97F4A7C15F39CC0605CEDC835) % 2**128, version=4))

    def advance(self, milliseconds: int) -> None:
        """Let time pass."""
        self._now += milliseconds
        self._steady += milliseconds

    def jump(self, milliseconds: int) -> None:
        """Set the wall clock forward or back, as somebody might; ``steady`` does not move."""
        self._now += milliseconds


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
    if found.mode == "async":
        import asyncio

        step.ports = ports or Ports(clock=_RunningClock())
        return asyncio.run(execute_async(found, step))
    return execute(found, step)


class _RunningClock(SystemClock):
    """Deadlines of what really runs are real; dates are not."""

    def now(self) -> int:
        return T0


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
