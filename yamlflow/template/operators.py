"""The operators of expressions over plain data, each bounded before it does its work.

Texts join texts, lists join lists, numbers reckon with numbers; there is no conversion between them except ``~``, which
joins anything as text. Results are plain data: no infinity, no whole number wider than ``Limits.bits``.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping

from ..outcome import Json
from .fault import Refused
from .limits import Work, width
from .values import SCALARS, kind, to_text, weigh

Number = int | float
#: A conversion in a ``%`` format: its key, flags, width, precision and type.
CONVERSION = re.compile(
    r"%(?:\((?P<key>[^()]{0,100})\))?[#0\- +]{0,5}(?P<width>\*|[0-9]*)"
    r"(?:\.(?P<precision>\*|[0-9]*))?(?P<type>[a-zA-Z%]?)"
)
CONVERSIONS = frozenset("diouxXeEfFgGcs%")
#: Characters of the longest number that a conversion writes in full.
LONGEST_NUMBER = 320


def add(work: Work, left: Json, right: Json) -> Json:
    """``a + b``: numbers, two texts, or two lists."""
    if isinstance(left, str) and isinstance(right, str):
        return join(work, (left, right))
    if isinstance(left, list) and isinstance(right, list):
        work.make_items(len(left) + len(right))
        return left + right
    remedy = "Write ~ to join values as text." if isinstance(left, str) or isinstance(right, str) else ""
    return bounded(work, _number(left, right, "+", remedy) + right)


def subtract(work: Work, left: Json, right: Json) -> Json:
    """``a - b`` of numbers."""
    return bounded(work, _number(left, right, "-") - right)


def multiply(work: Work, left: Json, right: Json) -> Json:
    """``a * b``: numbers, or a text or list repeated."""
    if isinstance(right, str | list):
        left, right = right, left
    if isinstance(left, str | list) and isinstance(right, int):
        times = max(0, right)
        if isinstance(left, str):
            work.make_text(len(left) * times, width(left))
        else:
            work.make_items(len(left) * times)
        return left * times
    return bounded(work, _number(left, right, "*") * right)


def divide(work: Work, left: Json, right: Json) -> Json:
    """``a / b``, always with a fraction."""
    return bounded(work, _number(left, right, "/") / right)


def divide_whole(work: Work, left: Json, right: Json) -> Json:
    """``a // b``, rounded down."""
    return bounded(work, _number(left, right, "//") // right)


def modulo(work: Work, left: Json, right: Json) -> Json:
    """``a % b`` of numbers, or a text with ``%s`` filled in from a value, a list of values or a mapping."""
    if isinstance(left, str):
        named = right if isinstance(right, dict) else {}
        return fill(work, left, right if isinstance(right, list) else [right], named)
    return bounded(work, _number(left, right, "%") % right)


def power(work: Work, left: Json, right: Json) -> Json:
    """``a ** b`` of numbers."""
    _number(left, right, "**")
    if isinstance(left, int) and isinstance(right, int) and right > 0 and abs(left) > 1:
        _fits(work, right if right > work.limits.bits else _bits(left) * right)
    return bounded(work, left**right)


def negative(work: Work, value: Json) -> Json:
    """``-a`` of a number."""
    return -_number(value, 0, "-")


def positive(work: Work, value: Json) -> Json:
    """``+a`` of a number."""
    return +_number(value, 0, "+")


def bounded(work: Work, value: object) -> Json:
    """A number that an operator made, if it is one that JSON can carry; else raises ``Refused``."""
    if isinstance(value, int):
        _fits(work, value.bit_length())
    elif not isinstance(value, float) or not math.isfinite(value):
        raise Refused("the result is not a number that can be written")
    return value


def whole(value: Json, name: str, least: int = 0) -> int:
    """An argument that must be a whole number, not below ``least``."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise Refused(f"{name} must be a whole number from {least}")
    return value


def _number(left: Json, right: Json, sign: str, remedy: str = "") -> Json:
    if isinstance(left, Number) and isinstance(right, Number):
        return left
    raise Refused(f"{sign} cannot be applied to {kind(left)} and {kind(right)}", remedy)


def _bits(value: Number) -> int:
    return value.bit_length() if isinstance(value, int) else 0


def _fits(work: Work, bits: int) -> None:
    if bits > work.limits.bits + 1:
        raise Refused(f"a whole number has more than {work.limits.bits} bits")


def join(work: Work, parts: tuple[str, ...] | list[str]) -> str:
    """Texts one after the other."""
    work.make_text(sum(map(len, parts)), max(map(width, parts), default=1))
    return "".join(parts)


def concatenate(work: Work, parts: list[Json]) -> str:
    """``a ~ b``: any values joined as text."""
    return join(work, [to_text(part, work) for part in parts])


def fill(work: Work, text: str, values: list[Json], named: Mapping[str, Json]) -> str:
    """A text with its ``%`` conversions filled in, ``%s`` by the value's text, no width above 1,000."""
    texts = [_fillable(work, value) for value in values]
    names = {name: _fillable(work, value) for name, value in named.items()}
    longest = max((len(str(value)) for value in (*texts, *names.values())), default=0)
    widest = max((width(str(value)) for value in (*texts, *names.values())), default=1)
    work.read(len(text))
    length = len(text)
    for conversion in CONVERSION.finditer(text):
        sizes = (conversion["width"] or "", conversion["precision"] or "")
        if conversion["type"] not in CONVERSIONS or "*" in sizes or any(len(size) > 3 for size in sizes):
            raise Refused(f"the format {conversion[0][:20]!r} is not allowed", "Write %s, %d or %.2f, say.")
        digits = 0 if conversion["type"] == "s" else LONGEST_NUMBER
        length += longest + digits + sum(int(size or 0) for size in sizes)
        work.spend(1)
        if length > work.limits.text:
            break
    work.make_text(length, max(width(text), widest))
    filling: object = names if names else tuple(texts)
    try:
        return text % filling
    except (TypeError, ValueError, KeyError, OverflowError) as error:
        raise Refused(f"the format {text[:40]!r} does not fit its values ({error})") from None


def _fillable(work: Work, value: Json) -> Json:
    """Numbers for ``%d``; anything else as the text it is in a longer text."""
    return value if isinstance(value, Number) and not isinstance(value, bool) else to_text(value, work)


def _same(work: Work, left: Json, right: Json) -> bool:
    if not (type(left) in SCALARS and type(right) in SCALARS):
        _weigh_both(work, left, right)
    return bool(left == right)


def _weigh_both(work: Work, left: Json, right: Json) -> None:
    weigh(left, work)
    weigh(right, work)


def _ordered(compare: Callable[[Json, Json], bool], sign: str) -> Callable[[Work, Json, Json], bool]:
    def ordered(work: Work, left: Json, right: Json) -> bool:
        if isinstance(left, Number) and isinstance(right, Number):
            return compare(left, right)
        if type(left) is type(right) and isinstance(left, str | list):
            _weigh_both(work, left, right)
            try:
                return compare(left, right)
            except TypeError:
                pass
        raise Refused(f"{sign} cannot compare {kind(left)} with {kind(right)}")

    return ordered


def contains(work: Work, item: Json, value: Json) -> bool:
    """``a in b``: an item of a list, a key of a mapping, a part of a text."""
    if isinstance(value, str) and isinstance(item, str):
        work.read(len(value) + len(item))
        return item in value
    if isinstance(value, list):
        before = work.steps
        weigh(item, work)
        work.spend(len(value) * (before - work.steps) // (4 if type(item) in SCALARS else 1))
        return item in value
    if isinstance(value, Mapping):
        return isinstance(item, str) and item in value
    raise Refused(f"in cannot look for {kind(item)} in {kind(value)}")


BINARY: Mapping[str, Callable[[Work, Json, Json], Json]] = {
    "Add": add,
    "Sub": subtract,
    "Mul": multiply,
    "Div": divide,
    "FloorDiv": divide_whole,
    "Mod": modulo,
    "Pow": power,
}
UNARY: Mapping[str, Callable[[Work, Json], Json]] = {"Neg": negative, "Pos": positive}
COMPARE: Mapping[str, Callable[[Work, Json, Json], bool]] = {
    "eq": _same,
    "ne": lambda work, left, right: not _same(work, left, right),
    "lt": _ordered(operator.lt, "<"),
    "lteq": _ordered(operator.le, "<="),
    "gt": _ordered(operator.gt, ">"),
    "gteq": _ordered(operator.ge, ">="),
    "in": contains,
    "notin": lambda work, item, value: not contains(work, item, value),
}
