"""From an exception to the error that is kept. Pure: nothing is logged or raised here.

The code is the first ``StepFault``'s own, else ``executor_error``; a cause is told in the same shape, ten deep at most;
a ``Permanent`` anywhere along the explicit chain (``raise … from``) makes the whole permanent.
"""

from __future__ import annotations

import math
from types import TracebackType
from typing import Any

from .errors import Canceled, ResultDamaged, StepFault, StoreError, UserError, YamlflowError, shortened
from .outcome import Error, Json
from .values import NotJson, plain

#: Characters of a message, characters of a traceback (its end), causes below one another.
MESSAGE, TRACEBACK, CHAIN = 4_000, 8_000, 10


def error_of(fault: BaseException) -> Error:
    """The error that says all an exception knows."""
    chain = causes(fault)
    return Error(
        code=code_of(fault),
        message=message_of(fault),
        type=type(fault).__qualname__,
        cause=_cause(chain[1:]),
        details=details_of(fault),
        permanent=is_permanent(fault),
    )


def is_permanent(fault: BaseException) -> bool:
    """Whether it, or what it was raised ``from``, says that no further attempt can mend it."""
    return any(map(_lasts, causes(fault, explicit=True)))


def _lasts(fault: BaseException) -> bool:
    """What a step says of itself; else an author's mistake stays one, and a store may be there again."""
    if isinstance(fault, StepFault):
        return not fault.retryable
    return isinstance(fault, YamlflowError) and not (
        isinstance(fault, StoreError) and not isinstance(fault, ResultDamaged)
    )


def delay_of(fault: BaseException) -> int | None:
    """Milliseconds until the next attempt where the exception, or one behind it, asked for them."""
    for each in causes(fault):
        after = getattr(each, "after", None) if isinstance(each, StepFault) else None
        if isinstance(after, int | float) and math.isfinite(after):
            return max(0, round(after * 1000))
    return None


def causes(fault: BaseException, *, explicit: bool = False) -> list[BaseException]:
    """The exception and those behind it, nearest first; bounded, also where the chain is a ring.

    ``explicit`` leaves out what was merely being handled when the next was raised.
    """
    chain: list[BaseException] = []
    each: BaseException | None = fault
    while each is not None and len(chain) <= CHAIN and not any(each is seen for seen in chain):
        chain.append(each)
        each = _behind(each, explicit)
    return chain


def _behind(fault: BaseException, explicit: bool) -> BaseException | None:
    if fault.__cause__ is not None:
        return fault.__cause__
    if isinstance(fault, BaseExceptionGroup):
        return next((each for each in fault.exceptions if is_permanent(each)), fault.exceptions[0])
    return None if explicit or fault.__suppress_context__ else fault.__context__


def code_of(fault: BaseException) -> str:
    """The stable word for programs."""
    if isinstance(fault, Canceled):
        return "canceled"
    if isinstance(fault, UserError):
        return "bad_input"
    if isinstance(fault, ResultDamaged):
        return "result_damaged"
    return str(getattr(fault, "code", "executor_error")) if isinstance(fault, YamlflowError) else "executor_error"


def message_of(fault: BaseException) -> str:
    """The sentence for people: what the exception says, or its type when it says nothing."""
    try:
        text = fault.message if isinstance(fault, StepFault) else str(fault)
    except Exception as broken:
        text = f"(its message cannot be read: {type(broken).__name__})"
    text = text or type(fault).__qualname__
    return shortened(text, MESSAGE)


def details_of(fault: BaseException) -> Json:
    """What an error of ours carries, or the traceback of any other."""
    if isinstance(fault, YamlflowError):
        return _judged(getattr(fault, "details", None))
    return {"traceback": traceback_of(fault)}


def traceback_of(fault: BaseException) -> str:
    """The end of the traceback, from the executor's own first frame on."""
    import traceback

    lines = traceback.format_exception(type(fault), fault, _own(fault.__traceback__))
    text = "".join(lines)
    return text if len(text) <= TRACEBACK else "…" + text[-TRACEBACK:]


def _own(trace: TracebackType | None) -> TracebackType | None:
    """The traceback without the frames that called the executor."""
    inner = trace
    while inner is not None and inner.tb_frame.f_globals.get("__name__") in _CALLERS:
        inner = inner.tb_next
    return inner or trace


_CALLERS = frozenset({"yamlflow.executors", "yamlflow.executors.binding", "asyncio.tasks", "asyncio.threads"})


def _judged(details: Any) -> Json:
    try:
        return plain(details, limit=256 * 1024)
    except NotJson as wrong:
        return {"unreadable": str(wrong), "repr": _short(details)}


def _short(value: Any) -> str:
    try:
        return shortened(repr(value), MESSAGE)
    except Exception as broken:
        return f"({type(broken).__name__})"


def _cause(chain: list[BaseException]) -> Json:
    cause: Json = None
    for fault in reversed(chain):
        details = _judged(fault.details) if isinstance(fault, StepFault) else None
        cause = {
            "code": code_of(fault),
            "type": type(fault).__qualname__,
            "message": message_of(fault),
            "details": details,
            "cause": cause,
        }
    return cause
