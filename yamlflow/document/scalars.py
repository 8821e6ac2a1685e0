"""What a plain scalar means: null, true, false, a JSON number, else text. Pure.

Other readers of YAML see more in plain text, and differ. Here a text that looks like a number but would not print back
as it was written is refused, with the remedy to quote it; words that elsewhere mean null or a truth value (``True``,
``~``) are text, as the language says, and worth a warning. ``on``, ``no``, ``12:30`` and dates are simply text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..outcome import Json

CONSTANTS: dict[str, Json] = {"": None, "null": None, "true": True, "false": False}
#: Text here; null or a truth value elsewhere.
LOOKALIKES = {"~": "null", "Null": "null", "NULL": "null"} | {
    spelling: word for word in ("true", "false") for spelling in (word.title(), word.upper())
}
#: The first characters of plain scalars that need a second look; all others are text.
FIRST = frozenset("0123456789+-.~ntfNTF")

_WHOLE = re.compile(r"-?(?:0|[1-9][0-9]*)")
_JSON_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
#: What some reader of YAML takes for a number.
_NUMBERLIKE = re.compile(
    r"[-+]?(?:0x[0-9a-fA-F_]+|0o?[0-7_]+|0b[01_]+|(?:[0-9][0-9_]*(?:\.[0-9_]*)?|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)?"
    r"|\.(?:inf|Inf|INF))|\.(?:nan|NaN|NAN)"
)
#: Digits of a whole number; longer ones are identifiers, not quantities.
_DIGITS = 100


@dataclass(frozen=True, kw_only=True)
class Misread:
    """A plain scalar that would not come back as it was written."""

    message: str
    remedy: str


def plain(text: str) -> Json | Misread:
    """The value of a plain scalar."""
    if text in CONSTANTS:
        return CONSTANTS[text]
    if _WHOLE.fullmatch(text) and len(text) <= _DIGITS and text != "-0":
        return int(text)
    if _JSON_NUMBER.fullmatch(text) and repr(number := float(text)) == text:
        return number
    return _misread(text) if _NUMBERLIKE.fullmatch(text) else text


def _misread(text: str) -> Misread:
    shown = text if len(text) <= 40 else f"{text[:40]}…"
    if text.lower().endswith(("nan", "inf")):
        return Misread(message=f"{shown} is not a JSON number", remedy=f'To mean the text, quote it: "{shown}".')
    back = _printed(text)
    if not back:
        return Misread(message=f"{shown} looks like a number but cannot be read as one", remedy=f'Quote it: "{shown}".')
    remedy = f'Quote it: "{shown}" or, for the number, write {back}.'
    return Misread(message=f"{shown} would be read as the number {back}", remedy=remedy)


def _printed(text: str) -> str:
    """How the number would print, as far as it has a short and finite form."""
    try:
        number = float(text.replace("_", "")) if len(text) <= 40 else None
    except ValueError:
        return ""
    if number is None or number != number or abs(number) == float("inf"):
        return ""
    return str(int(number)) if number == int(number) and abs(number) < 1e15 and "." not in text else repr(number)
