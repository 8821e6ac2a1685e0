"""Calls in expressions: what fits a filter, a test or a function, and what is said of what does not."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from ..errors import did_you_mean
from ..outcome import Json
from .fault import Refused
from .frame import Arguments, Evaluate, Frame
from .limits import ITEM_BYTES
from .values import plain

#: Filters of Jinja that are not here, with what to do instead.
REFUSED_FILTERS: Mapping[str, str] = {
    "attr": "A dot reads a key: write value.key or value['key'].",
    "random": "Write random() * 10, say: it is drawn once per attempt and recorded.",
    "pprint": "Write | tojson(2).",
    "xmlattr": "Write the attributes out, with | escape.",
    "urlize": "Write the link out, with | escape.",
    "keys": "Write | list for the keys of a mapping.",
    "values": "Write | items | map('last') for the values of a mapping.",
    "json": "Write | tojson or | fromjson.",
    "strip": "Write | trim.",
    "len": "Write | length.",
}


def filter_remedy(name: str, known: Mapping[str, Any]) -> str:
    """What to write for a filter or test that there is not."""
    return REFUSED_FILTERS.get(name) or did_you_mean(name[:60], known) or f"There are {', '.join(sorted(known))}."


def check_arguments(what: str, function: Callable[..., Any], node: Any) -> None:
    """Refuses arguments that a filter or test does not take, before anything is rendered."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return
    try:
        signature.bind(None, None, *node.args, **{pair.key: None for pair in node.kwargs})
    except TypeError:
        takes = ", ".join(str(parameter) for parameter in list(signature.parameters.values())[2:])
        takes = takes.replace(": Json", "").replace(": 'Json'", "").replace(" = ", "=")
        raise Refused(f"{what} takes ({takes})", offset=node.lineno) from None


def guarded(what: str, evaluate: Evaluate, offset: int) -> Evaluate:
    """Says which filter, test or function a value did not suit, and where."""

    def tried(frame: Frame) -> Json:
        try:
            return evaluate(frame)
        except Refused as refused:
            refused.offset = offset if refused.offset is None else refused.offset
            raise
        except (TypeError, ValueError, ArithmeticError, LookupError) as error:
            raise Refused(f"{what} does not suit the value ({str(error)[:200]})", offset=offset) from None

    return tried


def range_of(frame: Frame, arguments: Arguments) -> list[int]:
    """``range(…)`` as a list, measured before it is made."""
    ends, named = arguments(frame)
    if named:
        raise Refused("range() takes no named values")
    if not 1 <= len(ends) <= 3 or not all(isinstance(end, int) and not isinstance(end, bool) for end in ends):
        raise Refused("range() takes whole numbers: range(stop), range(start, stop) or range(start, stop, step)")
    numbers = range(*ends)
    first, last, step = numbers.start, numbers.stop, numbers.step
    count = max(0, (last - first + step - (1 if step > 0 else -1)) // step)
    frame.work.make_items(count, ITEM_BYTES)
    return list(numbers)


def draw(frame: Frame, name: str, offset: int) -> Json:
    """What the scope's ``now``, ``uuid`` or ``random`` gives."""
    function = frame.scope.get(name)
    if not callable(function):
        raise Refused(f"{name}() is not available here", offset=offset)
    return plain(function(), frame.work)
