"""``signal``: send a signal to a run, in the transaction of the step's success."""

from __future__ import annotations

from ..context import StepContext
from ..outcome import Json, Signal, StartRun, Succeeded
from . import executor

SCHEMA: Json = {
    "type": "object",
    "required": ["run", "signal"],
    "additionalProperties": False,
    "properties": {
        "run": {"type": "string", "minLength": 1, "description": "The id of the run; its newest execution gets it."},
        "signal": {"type": "string", "minLength": 1, "maxLength": 200, "description": "The signal's name."},
        "data": {"description": "What is sent; checked against what the run's package declares under `signals`."},
        "start_if_missing": {
            "type": "object",
            "required": ["package"],
            "additionalProperties": False,
            "description": "Starts the run, in the same transaction, when no run of this id is live.",
            "properties": {
                "package": {
                    "type": "string",
                    "minLength": 1,
                    "description": "A package's name, or a file beside this one.",
                },
                "inputs": {"type": "object", "default": {}, "description": "The run's inputs."},
            },
        },
    },
}


@executor("signal", schema=SCHEMA, mode="thread", stores_input=True, origin="built in")
def signal(step: StepContext) -> Succeeded:
    """Send a signal to a run of any package, this one included.

    It is sent exactly once, with the step's success. A run that has ended or that nobody knows is an error
    (`no_receiver`), and so is data that does not fit the declared schema (`bad_input`).
    """
    given = step.input
    start = given.get("start_if_missing")
    wanted = None
    if start is not None:
        wanted = StartRun(
            package=start["package"], inputs=start.get("inputs") or {}, run_id=given["run"], if_exists="new"
        )
    return Succeeded(signals=(Signal(run=given["run"], name=given["signal"], data=given.get("data"), start=wanted),))
