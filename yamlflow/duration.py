"""Lengths of time as people write them, and the whole milliseconds the core counts in. Pure; reads no clock.

Two notations: ours, ``1h30m`` (units ``w d h m s ms``, largest first, each at most once), and ISO 8601, ``PT1H30M``.
A bare number is refused because nobody can see its unit; months and years because they have no fixed length.
"""

from __future__ import annotations

import re
from decimal import Decimal

from .clock import DAY, HOUR, MINUTE, SECOND
from .errors import UserError

#: Milliseconds of each unit, largest first; the order is the order in which they are written.
UNITS = {"w": 7 * DAY, "d": DAY, "h": HOUR, "m": MINUTE, "s": SECOND, "ms": 1}
#: The longest duration: a hundred years, so that any time plus a duration is still a date.
LONGEST = 36_525 * DAY

_NUMBER = r"[0-9]{1,12}(?:\.[0-9]{1,6})?"
_SHORT = re.compile("".join(f"(?:(?P<{unit}>{_NUMBER}){unit})?" for unit in UNITS))
_ISO = re.compile(
    rf"P(?:(?P<w>{_NUMBER})W)?(?:(?P<d>{_NUMBER})D)?"
    rf"(?:T(?=[0-9])(?:(?P<h>{_NUMBER})H)?(?:(?P<m>{_NUMBER})M)?(?:(?P<s>{_NUMBER})S)?)?"
)
_BARE = re.compile(r"[+-]?[0-9]+(?:\.[0-9]+)?")
_CALENDAR = re.compile(r"P[0-9.]+[YM].*")
_WORDS = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([A-Za-zµ]+)\s*,?\s*")
#: What people write for our units; looked up in lower case.
_ALIASES = {
    alias: unit
    for unit, aliases in {
        "w": "w week weeks wk wks",
        "d": "d day days",
        "h": "h hour hours hr hrs",
        "m": "m min mins minute minutes",
        "s": "s sec secs second seconds",
        "ms": "ms msec msecs milli millis millisecond milliseconds",
    }.items()
    for alias in aliases.split()
}
_EXAMPLES = 'Write a number with its unit, such as "90s", "10m", "1h30m", "2d", "250ms" or "PT1H30M".'


class InvalidDuration(UserError):
    """A text that is not a length of time; ``message`` is the cause, ``remedy`` what to write instead."""

    def __init__(self, message: str, remedy: str = _EXAMPLES) -> None:
        super().__init__(f"{message}. {remedy}")
        self.message = message
        self.remedy = remedy


def parse_duration(text: object) -> int:
    """Milliseconds of ``90s``, ``10m``, ``1h30m``, ``2d``, ``250ms``, ``PT1H30M``; raises ``InvalidDuration``."""
    if not isinstance(text, str):
        raise _not_text(text)
    written = text.strip()
    match = _SHORT.fullmatch(written) or _ISO.fullmatch(written)
    parts = {unit: number for unit, number in match.groupdict().items() if number} if match else {}
    if not parts:
        raise _refused(written)
    total = sum((Decimal(number) * UNITS[unit] for unit, number in parts.items()), Decimal(0))
    if total != int(total):
        raise InvalidDuration(f'"{written}" is finer than a millisecond', "Milliseconds are the smallest unit.")
    if total > LONGEST:
        raise InvalidDuration(f'"{written}" is longer than a hundred years', "Write a shorter one.")
    return int(total)


def format_duration(milliseconds: int) -> str:
    """The shortest text that ``parse_duration`` reads as ``milliseconds`` (not negative), without weeks: ``1h30m``."""
    if milliseconds < 0:
        return f"-{format_duration(-milliseconds)}"
    text, rest = "", milliseconds
    for unit, size in UNITS.items():
        if unit != "w" and rest >= size:
            count, rest = divmod(rest, size)
            text += f"{count}{unit}"
    return text or "0s"


def _not_text(value: object) -> InvalidDuration:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return InvalidDuration("a duration must be a text")
    return _bare(str(value))


def _bare(number: str) -> InvalidDuration:
    shown = number if len(number) <= 20 else "…"
    remedy = f'Write "{shown}s" for seconds, "{shown}m" for minutes or "{shown}ms" for milliseconds.'
    return InvalidDuration(f"{shown} has no unit", _EXAMPLES if shown.startswith(("-", "+", "…")) else remedy)


def _refused(written: str) -> InvalidDuration:
    if _BARE.fullmatch(written):
        return _bare(written)
    shown = written if len(written) <= 40 else f"{written[:40]}…"
    if written.startswith("-"):
        return InvalidDuration(f'"{shown}" is negative')
    if _CALENDAR.match(written):
        return InvalidDuration(f'"{shown}" has months or years, which have no fixed length', 'Write days, as "30d".')
    meant = _meant(written) if len(written) <= 100 else ""
    return InvalidDuration(f'"{shown}" is not a duration', f'Did you mean "{meant}"?' if meant else _EXAMPLES)


def _meant(written: str) -> str:
    """``2 hours 5 min`` as ``2h5m``; empty when the words are not ours, or not in order."""
    units = [(number, _ALIASES.get(word.lower(), "")) for number, word in _WORDS.findall(written)]
    if "".join(_WORDS.split(written)[::3]).strip() or not all(unit for _, unit in units):
        return ""
    meant = "".join(number + unit for number, unit in units)
    return meant if meant and _SHORT.fullmatch(meant) else ""
