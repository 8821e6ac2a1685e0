"""What an analysis finds, collected in the order it is met; and where exactly each finding stands. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import replace

from ..errors import Pointer, Problem, did_you_mean
from ..outcome import Json

#: Names that a remedy lists before it stops.
MOST_NAMES = 12
#: Names that are compared for hints in all: a package of a thousand mistakes needs no hint for each.
MOST_COMPARED = 50_000

#: Members of a circle that are named before the middle is left out.
MOST_MEMBERS = 30
#: The ids that steps of a list get for their position.
POSITIONAL = re.compile(r"_[0-9]+")
#: Letters of a wrong name that are repeated.
MOST_LETTERS = 60


class Findings:
    """Problems and warnings, without lines and columns."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self._left = MOST_COMPARED

    def hint(self, word: str, known: Collection[str], otherwise: str = "") -> str:
        """The nearest known name, or all of them behind the words of ``otherwise``; "" when neither helps."""
        if not known or len(known) > self._left:
            return ""
        self._left -= len(known)
        near = did_you_mean(word[:MOST_LETTERS], known)
        return near or (f"{otherwise} {listed(known)}." if otherwise else "")

    def error(self, pointer: Pointer, message: str, remedy: str = "", *, offset: int = 0, at_key: bool = False) -> None:
        """Something for which the package is refused."""
        self.problems.append(Problem(message=message, remedy=remedy, pointer=pointer, offset=offset, at_key=at_key))

    def warn(self, pointer: Pointer, message: str, remedy: str = "", *, offset: int = 0, at_key: bool = False) -> None:
        """Something that may surprise."""
        self.problems.append(
            Problem(message=message, remedy=remedy, pointer=pointer, offset=offset, at_key=at_key, warning=True)
        )


def settled(problem: Problem, data: Json) -> Problem:
    """The problem with its pointer as the author wrote things.

    A package no longer knows whether ``run`` or ``with: {run: …}`` was written, nor whether ``for_each`` named its
    ``items``; the document's ``data`` tells. Without it (None) the short forms are taken for granted.
    """
    pointer = tuple(_written(problem.pointer, data))
    return problem if pointer == problem.pointer else replace(problem, pointer=pointer)


def _written(pointer: Pointer, value: Json) -> Iterable[str | int]:
    before: str | int = ""
    for place, part in enumerate(pointer):
        inner = value.get(part) if isinstance(value, dict) else None
        is_run = pointer[place : place + 2] == ("with", "run") and not (isinstance(inner, dict) and "run" in inner)
        is_items = part == "items" and before == "for_each" and not (isinstance(value, dict) and "items" in value)
        if not (is_run or is_items):
            yield part
            value = _inner(value, part)
        before = part


def _inner(value: Json, part: str | int) -> Json:
    if isinstance(value, dict):
        return value.get(part)
    return value[part] if isinstance(value, list) and isinstance(part, int) and part < len(value) else None


def listed(names: Iterable[str]) -> str:
    """Names for a remedy: the first of them, and how many more there are; never one more, which is named instead."""
    every = sorted(name for name in names if not POSITIONAL.fullmatch(name))
    if len(every) <= MOST_NAMES + 1:
        return ", ".join(every)
    return f"{', '.join(every[:MOST_NAMES])} and {len(every) - MOST_NAMES} more"


def circled(members: list[str]) -> str:
    """A circle as it runs: ``a → b → a``, without the middle of a long one."""
    shown = members
    if len(members) > MOST_MEMBERS:
        half = MOST_MEMBERS // 2
        shown = [*members[:half], f"… {len(members) - MOST_MEMBERS} more …", *members[-half:]]
    return " → ".join([*shown, members[0]])


def counted(number: int, word: str) -> str:
    """``1 need``, ``2 needs``."""
    return f"{number} {word}{'' if number == 1 else 's'}"
