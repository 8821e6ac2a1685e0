"""``set``: a value under a name, so that an expression is written once."""

from __future__ import annotations

from ..context import StepContext
from ..outcome import Json
from . import executor

SCHEMA: Json = {
    "type": "object",
    "required": ["value"],
    "additionalProperties": False,
    "properties": {"value": {"description": "Any JSON value; it becomes the step's result."}},
}


@executor("set", schema=SCHEMA, mode="inline", stores_input=True, origin="built in")
def set_value(step: StepContext) -> Json:
    """Give `value` as the result."""
    return step.input["value"]
