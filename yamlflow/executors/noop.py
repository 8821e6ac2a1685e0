"""``noop``: nothing. A place to join needs, or to try a graph without doing anything."""

from __future__ import annotations

from ..context import StepContext
from . import executor


@executor("noop", schema={"type": ["object", "null"]}, mode="inline", stores_input=True, origin="built in")
def noop(step: StepContext) -> None:
    """Do nothing, and succeed."""
