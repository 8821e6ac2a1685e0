"""How much an expression may do. Every operation that can multiply work or memory asks here before it does it.

Two accounts are kept for each rendering: *steps* (an item visited, a hundred characters read) bound the time, *bytes*
(what was made, whether or not it is still held) bound the memory. Single values have bounds of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from .fault import Refused

#: Bytes of an item and its place in a list: a number, a text besides its characters, a list besides its items.
ITEM_BYTES, TEXT_BYTES, LIST_BYTES = 40, 64, 80
#: Characters that are read or copied in one step's time.
STEP_TEXT = 100


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The bounds of one compilation and one rendering."""

    #: Characters of one expression.
    expression: int = 20_000
    #: Words and signs of a whole document for the ``template`` kind.
    tokens: int = 50_000
    #: Brackets within brackets.
    brackets: int = 30
    #: Operations within operations: ``a + b + c`` is two deep.
    depth: int = 150
    #: Lists and mappings within one another, in a value.
    nesting: int = 400
    #: Macros that call macros.
    calls: int = 20
    #: Characters of one text.
    text: int = 10_000_000
    #: Items of one list.
    items: int = 1_000_000
    #: Bits of a whole number.
    bits: int = 256
    #: Steps of one rendering; five million take about a second.
    steps: int = 5_000_000
    #: Bytes made by one rendering.
    bytes: int = 100_000_000


class Work:
    """One rendering: what is left of its allowance, and the filters it may apply."""

    __slots__ = ("bytes", "calls", "filters", "limits", "steps")

    def __init__(self, limits: Limits, filters: Mapping[str, Callable[..., Any]]) -> None:
        self.limits = limits
        self.filters = filters
        self.steps = limits.steps
        self.bytes = limits.bytes
        self.calls = limits.calls

    def spend(self, steps: int) -> None:
        """Takes steps; raises ``Refused`` when they are used up."""
        self.steps -= steps
        if self.steps < 0:
            raise Refused(
                f"the expression takes more than {self.limits.steps:,} steps",
                "Do heavy work in a step, and hand its result on.",
            )

    def read(self, characters: int) -> None:
        """Takes the steps that reading so many characters costs."""
        self.spend(1 + characters // STEP_TEXT)

    def take(self, size: int) -> None:
        """Takes bytes; raises ``Refused`` when they are used up."""
        self.bytes -= size
        if self.bytes < 0:
            raise Refused(
                f"the expression makes more than {self.limits.bytes // 1_000_000} MB of data",
                "Do heavy work in a step, and hand its result on.",
            )

    def make_text(self, characters: int, width: int = 1) -> None:
        """Before a text is made: its length, and the bytes of its widest character."""
        if characters > self.limits.text:
            raise Refused(
                f"a text of {_count(characters)} characters is longer than {self.limits.text:,}",
                "Write large texts to a file or an artifact.",
            )
        self.take(TEXT_BYTES + characters * width)
        self.read(characters)

    def make_items(self, count: int, size: int = 8) -> None:
        """Before a list is made: how many items, and the bytes that each adds."""
        if count > self.limits.items:
            raise Refused(f"a list of {_count(count)} items is longer than {self.limits.items:,}")
        self.take(count * size)
        self.spend(count)


def _count(number: int) -> str:
    return f"{number:,}" if number.bit_length() < 128 else "very many"


def width(text: str) -> int:
    """Bytes that each character of a text takes in memory, as a guess from above."""
    return 1 if text.isascii() else 4
