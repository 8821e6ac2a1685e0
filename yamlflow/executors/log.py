"""``log``: a line in the run's log."""

from __future__ import annotations

from ..context import StepContext
from ..outcome import Json
from ..values import to_text
from . import executor

SCHEMA: Json = {
    "type": "object",
    "required": ["message"],
    "additionalProperties": False,
    "properties": {
        "message": {"description": "What to say; anything but text is written as JSON."},
        "level": {"enum": ["debug", "info", "warning", "error"], "default": "info", "description": "How grave it is."},
    },
}


@executor("log", schema=SCHEMA, mode="inline", stores_input=True, origin="built in")
def log(step: StepContext) -> None:
    """Write a line to the run's log."""
    message = step.input["message"]
    step.log(message if isinstance(message, str) else to_text(message), step.input["level"])
