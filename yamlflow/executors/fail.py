"""``fail``: end the step as failed, with an error of the author's own."""

from __future__ import annotations

from ..context import StepContext
from ..errors import Permanent, Retryable
from ..outcome import Json
from . import executor

SCHEMA: Json = {
    "type": ["object", "null"],
    "additionalProperties": False,
    "properties": {
        "code": {"type": "string", "minLength": 1, "default": "failed", "description": "A short word for programs."},
        "message": {"type": "string", "default": "failed by the package", "description": "A sentence for people."},
        "permanent": {"type": "boolean", "default": False, "description": "True: `retry` does not try it again."},
        "details": {"description": "Any JSON value that helps to understand."},
    },
}


@executor("fail", schema=SCHEMA, mode="inline", stores_input=True, origin="built in")
def fail(step: StepContext) -> None:
    """Fail with a `code` and a `message`; `permanent` forbids another attempt."""
    given = step.input or {}
    fault = Permanent if given.get("permanent") else Retryable
    code, message = given.get("code", "failed"), given.get("message", "failed by the package")
    raise fault(code, message, details=given.get("details"))
