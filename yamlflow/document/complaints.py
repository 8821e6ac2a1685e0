"""The problems of one text as they are found, each with its line and column; enough of them end the reading."""

from __future__ import annotations

import unicodedata
from typing import NoReturn

from ..errors import InvalidPackage, Pointer, Problem
from .places import Lines

#: Problems, and warnings, of one document that are listed.
MOST_PROBLEMS = 100


def shown(text: str) -> str:
    """The beginning of a text, with what cannot be seen written as escapes."""
    beginning = text if len(text) <= 40 else f"{text[:40]}…"
    return "".join(
        f"\\u{ord(character):04x}" if _is_unseen(character) else character for character in beginning
    ).replace("\n", "\\n")


def unseen_in(text: str) -> str:
    """The first character of a text that nobody can see, or ""."""
    return "" if text.isascii() else next((character for character in text if _is_unseen(character)), "")


def _is_unseen(character: str) -> bool:
    return unicodedata.category(character) == "Cf" or (character.isspace() and not character.isascii())


class Complaints:
    """Collects problems; ``stop`` raises ``InvalidPackage`` with all of them in the order of the text."""

    def __init__(self, lines: Lines, file: str) -> None:
        self.lines, self.file = lines, file
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []

    def add(self, index: int, message: str, remedy: str, pointer: Pointer = ()) -> None:
        """A problem at a character; reading goes on."""
        self.problems.append(self._at(index, message, remedy, pointer))
        if len(self.problems) >= MOST_PROBLEMS:
            self.stop()

    def warn(self, index: int, message: str, remedy: str, pointer: Pointer) -> None:
        """Something that is allowed but may surprise."""
        if len(self.warnings) < MOST_PROBLEMS:
            self.warnings.append(self._at(index, message, remedy, pointer, warning=True))

    def end(self, index: int, message: str, remedy: str, pointer: Pointer = ()) -> NoReturn:
        """A problem after which reading cannot go on."""
        self.problems.append(self._at(index, message, remedy, pointer))
        self.stop()

    def stop(self) -> NoReturn:
        """Raises what was found."""
        raise InvalidPackage(sorted(self.problems, key=lambda problem: (problem.line, problem.column)))

    def _at(self, index: int, message: str, remedy: str, pointer: Pointer, *, warning: bool = False) -> Problem:
        problem = Problem(message=message, remedy=remedy, pointer=pointer, warning=warning)
        line, column = self.lines.at(index)
        return problem.placed(file=self.file, line=line, column=column)
