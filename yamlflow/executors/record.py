"""``record``: a JSON record in a collection of the projection, written in the transaction of the step."""

from __future__ import annotations

from ..context import StepContext
from ..outcome import Json
from . import executor

SCHEMA: Json = {
    "type": "object",
    "required": ["collection", "key", "data"],
    "additionalProperties": False,
    "properties": {
        "collection": {"type": "string", "minLength": 1, "description": "The collection; a table made as needed."},
        "key": {"type": ["string", "integer"], "description": "What names the record; the same key is replaced."},
        "data": {"type": "object", "description": "Column to value."},
    },
}


@executor("record", schema=SCHEMA, mode="inline", stores_input=True, origin="built in")
def record(step: StepContext) -> str:
    """Upsert a record; the result is its key."""
    given = step.input
    return step.record(given["collection"], str(given["key"]), given["data"])
