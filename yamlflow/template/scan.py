"""Finds the expressions in a text: from ``${{`` to the ``}}`` that closes it. Evaluates and imports nothing.

A ``}}`` within a quoted text or within brackets of the expression is part of it. There is no escape: ``$${{ x }}`` is a
dollar sign and a value; a literal ``${{`` is written ``${{ '${{' }}``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from .fault import TemplateError

OPEN, CLOSE = "${{", "}}"
_PAIRS = {")": "(", "]": "[", "}": "{"}
_QUOTED = r"""'[^'\\]*+(?:\\.[^'\\]*+)*+'|"[^"\\]*+(?:\\.[^"\\]*+)*+\""""
#: What matters on the way to the end: quoted texts, brackets, and a quote that nothing closes.
_SIGNS = re.compile(rf"""(?P<quoted>{_QUOTED})|(?P<open>[(\[{{])|(?P<close>[)\]}}])|(?P<quote>['"])""", re.DOTALL)
_KEY = r"""\.[A-Za-z_][A-Za-z0-9_]*|\[(?:0|[1-9][0-9]{0,8})\]|\['[^'\\\r\n]*'\]|\["[^"\\\r\n]*"\]"""
#: An expression that only reads: a name, keys, positions.
PATH = re.compile(rf"(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<keys>(?:{_KEY})*)")
KEYS = re.compile(_KEY)
#: Words that are no names.
WORDS = frozenset(
    ["true", "false", "none", "True", "False", "None", "and", "or", "not", "in", "is", "if", "else", "elif"]
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """One expression in a text."""

    #: From the first character of ``${{`` to behind the last of ``}}``.
    start: int
    end: int
    #: What stands between, with the blanks around it.
    source: str

    @property
    def offset(self) -> int:
        """Characters into the text where ``source`` begins."""
        return self.start + len(OPEN)


def has_expression(text: str) -> bool:
    """Whether a text holds the beginning of an expression."""
    return OPEN in text


def expressions_in(text: str) -> tuple[Span, ...]:
    """The expressions of a text in order; raises ``TemplateError`` for one that is not closed."""
    spans = []
    start = text.find(OPEN)
    while start >= 0:
        end = _end(text, start)
        spans.append(Span(start=start, end=end, source=text[start + len(OPEN) : end - len(CLOSE)]))
        start = text.find(OPEN, end)
    return tuple(spans)


def _end(text: str, start: int) -> int:
    """Where the expression that begins at ``start`` ends."""
    opened: list[tuple[str, int]] = []
    place = start + len(OPEN)
    while (sign := _SIGNS.search(text, place)) is not None:
        place = sign.end()
        if sign["open"]:
            opened.append((sign["open"], sign.start()))
        elif sign["quote"]:
            raise _unclosed(text, sign.start(), f"the quote {sign['quote']} is never closed")
        elif sign["close"] and opened and opened[-1][0] == _PAIRS[sign["close"]]:
            opened.pop()
        elif sign["close"] and text.startswith(CLOSE, sign.start()):
            if opened:
                raise _unclosed(text, opened[-1][1], f"the bracket {opened[-1][0]} is never closed")
            return sign.start() + len(CLOSE)
        elif sign["close"]:
            raise _unclosed(text, sign.start(), f"the bracket {sign['close']} closes nothing")
    raise _unclosed(text, start, "${{ is never closed", "Write }} after the expression; a literal ${{ is ${{ '${{' }}.")


def _unclosed(text: str, offset: int, message: str, remedy: str = "") -> TemplateError:
    return TemplateError(message, remedy=remedy, offset=offset)


def path_keys(keys: str) -> tuple[str | int, ...]:
    """The keys of a ``PATH``: ``.a['b'][0]`` is ``("a", "b", 0)``."""
    return tuple(_key(part) for part in KEYS.findall(keys))


def _key(part: str) -> str | int:
    if part[0] == ".":
        return part[1:]
    return part[2:-2] if part[1] in "'\"" else int(part[1:-1])
