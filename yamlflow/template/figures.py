"""Filters over numbers and durations, as ``texts`` are over texts."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from ..duration import InvalidDuration, format_duration, parse_duration
from ..outcome import Json
from .fault import Refused
from .limits import Work
from .operators import bounded, whole
from .values import kind

#: Digits of a number's text that are looked at.
DIGITS = 5_000
_SIZES = ("k", "M", "G", "T", "P", "E", "Z", "Y")


def duration(work: Work, value: Json) -> Json:
    """Seconds of a duration's text (``"1h30m"`` is 5400), or the text of a number of seconds, to the millisecond."""
    if isinstance(value, str):
        try:
            milliseconds = parse_duration(value)
        except InvalidDuration as error:
            raise Refused(error.message, error.remedy) from None
        return milliseconds // 1000 if milliseconds % 1000 == 0 else milliseconds / 1000
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise Refused(f"duration takes a text such as '1h30m' or a number of seconds, not {kind(value)}")
    return format_duration(round(value * 1000))


def filesizeformat(work: Work, value: Json, binary: Json = False) -> str:
    """A number of bytes for people: ``13.0 kB``, or ``12.7 KiB`` when ``binary``."""
    size, base = to_float(work, value), 1024 if binary else 1000
    if abs(size) < base:
        return "1 Byte" if size == 1 else f"{int(size)} Bytes"
    power = min(len(_SIZES), max(1, int(math.log(abs(size), base))))
    power += 1 if abs(size) >= base ** (power + 1) and power < len(_SIZES) else 0
    unit = f"{_SIZES[power - 1].upper()}iB" if binary else f"{_SIZES[power - 1]}B"
    return f"{size / base**power:.1f} {unit}"


def to_int(work: Work, value: Json, default: Json = 0, base: Json = 10) -> Json:
    """A whole number; the default where the value is none."""
    try:
        number = int(value, whole(base, "base")) if isinstance(value, str) else int(value)
    except (TypeError, ValueError, OverflowError):
        try:
            number = int(_float(value))
        except (TypeError, ValueError, OverflowError):
            return default
    return bounded(work, number)


def to_float(work: Work, value: Json, default: Json = 0.0) -> Json:
    """A number with a fraction; the default where the value is none."""
    try:
        return bounded(work, _float(value))
    except (TypeError, ValueError, OverflowError):
        return default


def _float(value: Json) -> float:
    return float(value[:DIGITS] if isinstance(value, str) else value)


def rounded(work: Work, value: Json, precision: Json = 0, method: Json = "common") -> Json:
    """Rounded to ``precision`` places; ``method`` is ``common``, ``ceil`` or ``floor``."""
    if not isinstance(value, int | float):
        raise Refused(f"round takes a number, not {kind(value)}")
    if isinstance(precision, bool) or not isinstance(precision, int) or abs(precision) > 100:
        raise Refused("precision must be a whole number from -100 to 100")
    if method == "common":
        return bounded(work, round(value, precision))
    ways: Mapping[str, Callable[[float], int]] = {"ceil": math.ceil, "floor": math.floor}
    if method not in ways:
        raise Refused('method must be "common", "ceil" or "floor"')
    return bounded(work, ways[method](value * 10**precision) / 10**precision)


def absolute(work: Work, value: Json) -> Json:
    """The number without its sign."""
    if not isinstance(value, int | float):
        raise Refused(f"abs takes a number, not {kind(value)}")
    return abs(value)


FIGURES: Mapping[str, Callable[..., Json]] = {
    "abs": absolute,
    "duration": duration,
    "filesizeformat": filesizeformat,
    "float": to_float,
    "int": to_int,
    "round": rounded,
}
