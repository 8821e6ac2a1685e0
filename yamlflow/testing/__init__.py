"""For authors of workflows and plugins: tests on a clock that jumps, and one call that runs one executor.

assert run_executor(sleep, {"for": "5s"}) == Waiting(until=T0 + 5 * SECOND, result="2026-01-01T00:00:05.000Z")

test = WorkflowTest("publish.yaml", {"pages": 3})
test.mock(kind="http", result={"status": 200})
test.after("2h").signal("publish", {"by": "ann"})
assert test.run().outputs == {"stories": 3}
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ..clock import SECOND
from .clocks import T0, FakeClock
from .single import run_executor

if TYPE_CHECKING:
    from .workflow import Ending as Ending
    from .workflow import WorkflowTest as WorkflowTest

#: Public name → the module that holds it, imported when first named: a plugin's test needs no engine.
LATER = {"Ending": "workflow", "WorkflowTest": "workflow"}

__all__ = ["SECOND", "T0", "Ending", "FakeClock", "WorkflowTest", "run_executor"]


def __getattr__(name: str) -> Any:
    """A public name, imported now (PEP 562)."""
    if name not in LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{LATER[name]}", __name__), name)
