"""``cancel``: end another step or group of the same run."""

from __future__ import annotations

from ..context import StepContext
from ..outcome import CancelStep, Json
from . import executor

SCHEMA: Json = {
    "type": "object",
    "required": ["step"],
    "additionalProperties": False,
    "properties": {
        "step": {"type": "string", "minLength": 1, "description": "The id or path of the step or group to cancel."},
        "reason": {"type": "string", "default": "", "description": "Why, for people; read as `cancel.reason`."},
    },
}


@executor("cancel", schema=SCHEMA, mode="inline", stores_input=True, origin="built in")
def cancel(step: StepContext) -> CancelStep:
    """Cancel a step or group of this run, with a reason."""
    return CancelStep(target=step.input["step"], reason=step.input["reason"])
