"""``sleep``: wait for a length of time or until a moment. No worker is held meanwhile."""

from __future__ import annotations

from datetime import UTC, datetime

from ..clock import to_text
from ..context import StepContext
from ..duration import parse_duration
from ..errors import Permanent, UserError
from ..outcome import Json, Waiting
from . import executor
from .checking import DURATION

SCHEMA: Json = {
    "type": "object",
    "additionalProperties": False,
    "minProperties": 1,
    "maxProperties": 1,
    "properties": {
        "for": {
            "type": "string",
            "format": DURATION,
            "description": "How long: `90s`, `10m`, `1h30m`, `2d` or ISO 8601 (`PT1H30M`).",
        },
        "until": {"type": "string", "description": "When to wake: `2030-01-31T08:00:00Z`; without a zone, UTC."},
    },
}


@executor("sleep", schema=SCHEMA, mode="inline", stores_input=True, waits=True, origin="built in")
def sleep(step: StepContext) -> Waiting:
    """Wait `for` a length of time, or `until` a moment (one in the past wakes at once).

    The result is when it woke, as it was planned.
    """
    by_clock = "until" in step.input
    until = _at(step.input["until"]) if by_clock else _after(step, step.input["for"])
    return Waiting(until=until, result=to_text(until), by_clock=by_clock)


def _after(step: StepContext, text: str) -> int:
    try:
        until = milliseconds(step.now) + parse_duration(text)
        to_text(until)
    except (ValueError, OverflowError, UserError) as wrong:
        raise Permanent("bad_input", f"with.for: {wrong}") from None
    return until


def _at(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
        return milliseconds(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
    except (ValueError, OverflowError):
        raise Permanent("bad_input", f"with.until: {text!r} is no moment; write it like 2030-01-31T08:00:00Z") from None


def milliseconds(moment: datetime) -> int:
    """Milliseconds since the epoch."""
    return round(moment.timestamp() * 1000)
