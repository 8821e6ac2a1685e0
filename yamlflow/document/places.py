"""Where a value stands in its text: character positions kept while reading, lines and columns made when asked for.

One number is kept per key and value and no more, because most documents have nothing to complain about. Positions are
characters from 0; lines and columns count from 1.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from ..errors import Pointer
from ..outcome import Json

_BREAK = re.compile(r"[\r\n]")
#: An anchor belongs to its node but is not what a problem is about.
_ANCHOR = re.compile(r"&\S+(?:\s+(?:#.*)?)*")
_BLOCK_HEADER = re.compile(r"[|>][^\r\n]*(?:\r\n?|\n)")
#: The source of one character of a scalar, by the way it is quoted; plain and block scalars have nothing to escape.
_PIECES = {
    '"': re.compile(r"\\(?:x..|u.{4}|U.{8}|\r\n|.)|.", re.DOTALL),
    "'": re.compile(r"''|.", re.DOTALL),
}
_PIECE = re.compile(r".", re.DOTALL)
_WHITE_ESCAPES = frozenset(rf"\{character}" for character in "nrtvfNLP_ \t\n\r") | {"\\\r\n"}


class Lines:
    """The lines of a text."""

    def __init__(self, text: str) -> None:
        self.text = text

    def at(self, position: int) -> tuple[int, int]:
        """Line and column, from 1, of a character.

        Line ends are counted anew each time: faster than a list of them, which few of a text's readers need.
        """
        count = self.text.count
        line = 1 + count("\n", 0, position) + count("\r", 0, position) - count("\r\n", 0, position)
        return line, position - self.start(position) + 1

    def start(self, position: int) -> int:
        """The position of the first character in the line of a character."""
        return 1 + max(self.text.rfind("\n", 0, position), self.text.rfind("\r", 0, position))

    def line(self, position: int) -> str:
        """The line of a character, without its end."""
        end = _BREAK.search(self.text, position)
        return self.text[self.start(position) : end.start() if end else len(self.text)]


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where everything in a document stands."""

    data: Json
    #: The position of the root value.
    root: int
    #: By ``id`` of each list its values' positions; of each mapping ``[key, value, key, value…]``, in its own order.
    marks: dict[int, list[int]] = field(repr=False)
    #: Containers that are no part of ``data``, kept so that no other gets their ``id``: the sources of merges.
    kept: list[Json] = field(repr=False, default_factory=list)

    def position(self, text: str, pointer: Pointer, *, at_key: bool, offset: int) -> int:
        """The character a problem is about: of the nearest key above where there is nothing at ``pointer``."""
        value, key, place = self.data, self.root, self.root
        for part in pointer:
            found = self._marks_of(value, part)
            if found is None:
                return key
            key, place = found
            value = value[part]
        return key if at_key else _inside(text, place, value, offset)

    def _marks_of(self, container: Json, part: str | int) -> tuple[int, int] | None:
        """Positions of the key and of the value; in a list both are the value's."""
        if isinstance(container, dict) and part in container:
            at = 2 * list(container).index(part)
            return self.marks[id(container)][at], self.marks[id(container)][at + 1]
        if isinstance(container, list) and isinstance(part, int) and 0 <= part < len(container):
            return self.marks[id(container)][part], self.marks[id(container)][part]
        return None


def _inside(text: str, position: int, value: Json, offset: int) -> int:
    """The position of character ``offset`` of the value that starts at ``position``."""
    if anchor := _ANCHOR.match(text, position):
        position = anchor.end()
    if not offset or not isinstance(value, str) or text.startswith("*", position):
        return position
    return _in_scalar(text, position, value[:offset])


def _in_scalar(text: str, start: int, before: str) -> int:
    """The position of the character that follows ``before`` in a scalar's source.

    Folding and indentation change white space only, so the characters that are none are counted.
    """
    left = sum(not character.isspace() for character in before)
    style = text[start]
    header = _BLOCK_HEADER.match(text, start)
    first = header.end() if header else start + (style in _PIECES)
    for piece in _PIECES.get(style, _PIECE).finditer(text, first):
        if piece[0].isspace() or piece[0] in _WHITE_ESCAPES:
            continue
        if not left:
            return piece.start()
        left -= 1
    return start
