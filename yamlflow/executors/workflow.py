"""``workflow``: run another package, or this one again, as a child run. No worker is held while it goes on."""

from __future__ import annotations

from ..context import StepContext
from ..outcome import Json, StartRun
from . import executor

SCHEMA: Json = {
    "type": "object",
    "required": ["package"],
    "additionalProperties": False,
    "properties": {
        "package": {
            "type": "string",
            "minLength": 1,
            "description": "A package's name, or a file beside this package's own (`./child.yaml`).",
        },
        "inputs": {"type": "object", "default": {}, "description": "The run's inputs."},
        "run_id": {
            "type": "string",
            "minLength": 1,
            "maxLength": 200,
            "description": "The run's id. Default: made of this run's id and the step's path.",
        },
        "if_exists": {
            "enum": ["fail", "new"],
            "default": "fail",
            "description": "When there is an ended run of that id: fail with `run_exists`, or be its next execution.",
        },
        "wait": {
            "type": "boolean",
            "default": True,
            "description": "Wait for the run, and end as it does; otherwise go on at once, with its id in `steps.<id>.run_id`.",
        },
        "on_parent_close": {
            "enum": ["cancel", "abandon"],
            "default": "cancel",
            "description": "What becomes of the run when this one ends or is canceled before it.",
        },
        "name": {"type": "string", "description": "What the run is called. Default: what its package says."},
        "metadata": {
            "type": "object",
            "additionalProperties": {"type": "string"},
            "default": {},
            "description": "Added to the run's metadata.",
        },
    },
}


@executor("workflow", schema=SCHEMA, mode="thread", stores_input=True, waits=True, origin="built in")
def workflow(step: StepContext) -> StartRun:
    """Run a package as a child run; the result is its outputs, and a child that fails gives its error.

    A child gets this run's context values. With `queue` on the step, the child's steps that name no queue wait in that one.
    Canceling the step cancels the child and waits until it has cleaned up. With `retry`, each attempt is a new execution.
    """
    given = step.input
    return StartRun(
        package=given["package"],
        inputs=given["inputs"],
        run_id=given.get("run_id"),
        if_exists=given["if_exists"],
        wait=given["wait"],
        on_parent_close=given["on_parent_close"],
        name=given.get("name"),
        metadata=given["metadata"],
    )
