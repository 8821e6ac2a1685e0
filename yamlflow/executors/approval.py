"""``approval``: ask people for a yes or no. No worker is held meanwhile."""

from __future__ import annotations

from ..context import StepContext
from ..errors import Permanent
from ..judging import why_no_schema
from ..outcome import Asking, Json
from . import executor

SCHEMA: Json = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "prompt": {"type": "string", "default": "", "description": "The question, as people read it."},
        "form": {
            "type": "object",
            "description": "JSON Schema of what is to be filled in besides; its defaults are filled in.",
        },
    },
}


@executor("approval", schema=SCHEMA, mode="inline", stores_input=True, waits=True, origin="built in")
def approval(step: StepContext) -> Asking:
    """Ask for a yes or no, from the command line (`yamlflow approve`), Python or the API, and wait for the answer.

    A no is an answer, not a failure: look at `result.approved`. The same answer twice is harmless, another one is refused.
    Where a `form` is asked for, a yes has to fit it. When the step's `timeout` has passed it fails with `timeout`.
    """
    form = step.input.get("form")
    if form is not None and (why := why_no_schema(form)):
        raise Permanent("bad_input", f"with.form is no JSON Schema that a form can be judged by: {why}")
    return Asking(prompt=step.input["prompt"], form=form)
