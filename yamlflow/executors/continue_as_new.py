"""``continue_as_new``: end this run and go on as its next execution, with a history that begins anew."""

from __future__ import annotations

from ..context import StepContext
from ..outcome import ContinueAsNew, Json
from . import executor

SCHEMA: Json = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "inputs": {
            "type": "object",
            "default": {},
            "description": "The inputs of the next execution; what is not named takes its default.",
        },
        "latest": {
            "type": "boolean",
            "default": False,
            "description": "Go on with the newest text of the package, not the one this run started with.",
        },
    },
}


@executor("continue_as_new", schema=SCHEMA, mode="inline", stores_input=True, origin="built in")
def continue_as_new(step: StepContext) -> ContinueAsNew:
    """End this run as `continued` and start the next execution of its id, with other inputs.

    What still runs is canceled, `finally` runs, and then, in one transaction, the next execution begins with the unread
    signals, the children that were not waited for, the parent and the place among runs of its `concurrency` key. Only for
    the package's own steps, not those of groups.
    """
    return ContinueAsNew(inputs=step.input["inputs"], latest=step.input["latest"])
