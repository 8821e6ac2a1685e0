"""``wait_signal``: wait until somebody sends this run a signal. No worker is held meanwhile."""

from __future__ import annotations

from ..context import StepContext
from ..outcome import Json, Waiting
from . import executor

SCHEMA: Json = {
    "type": "object",
    "required": ["signal"],
    "additionalProperties": False,
    "properties": {
        "signal": {
            "type": "string",
            "minLength": 1,
            "maxLength": 200,
            "description": "The signal's name. Those that came before the wait are read first, in the order they came.",
        },
    },
}


@executor("wait_signal", schema=SCHEMA, mode="inline", stores_input=True, waits=True, origin="built in")
def wait_signal(step: StepContext) -> Waiting:
    """Wait for a signal to this run; the result is its data.

    The step's `timeout` bounds the wait: when it has passed the step fails with the code `timeout`, and `timeout: 0s` takes
    only what is there already. Signals of one name are read first in, first out, each by one step.
    """
    return Waiting(signal=step.input["signal"])
