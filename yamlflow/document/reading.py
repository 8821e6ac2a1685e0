"""From a file or a text to a ``Document``: values that know their places."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from functools import cached_property

from ..errors import Pointer, Problem
from ..outcome import Json
from .places import Lines, Places
from .reader import Limits, Reader
from .source import no_text, read_file, text_of, too_large

DEFAULT_LIMITS = Limits()


@dataclass(frozen=True, kw_only=True)
class Document:
    """A text that was read: its values, and where each of them stands."""

    #: Dicts, lists, texts, numbers, truth values and ``None``. Aliases share one value: never change it.
    data: Json
    #: The file's name as it was given, or "".
    file: str
    #: The decoded text, without a byte order mark; what a run is pinned to.
    text: str = field(repr=False)
    #: What is allowed but may surprise; ``check`` lists it too.
    warnings: tuple[Problem, ...] = ()
    #: What ``place`` looks things up in.
    places: Places = field(repr=False)
    lines: Lines = field(repr=False)

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of the text in UTF-8, in hexadecimal."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def place(self, pointer: Pointer, *, at_key: bool = False, offset: int = 0) -> tuple[int, int]:
        """Line and column, from 1, of a value or of its key.

        ``offset`` counts characters into a text. Where nothing is at ``pointer``: the place of the nearest key above.
        """
        return self.lines.at(self.places.position(self.text, pointer, at_key=at_key, offset=offset))

    def locate(self, problem: Problem) -> Problem:
        """The problem with its file, line and column."""
        line, column = self.place(problem.pointer, at_key=problem.at_key, offset=problem.offset)
        return problem.placed(file=self.file, line=line, column=column)


def read(text: str | bytes, *, file: str = "", limits: Limits = DEFAULT_LIMITS) -> Document:
    """The document that a text holds; ``file`` names it in messages. Raises ``InvalidPackage`` with all problems."""
    if not isinstance(text, str | bytes):
        raise no_text(text, file)
    size = len(text) if isinstance(text, bytes) else len(text.encode("utf-8", "surrogatepass"))
    if size > limits.size:
        raise too_large(file, size, limits.size)
    decoded = text_of(text, file=file)
    reader = Reader(decoded, file=file, limits=limits)
    places = reader.read()
    warnings = tuple(reader.complaints.warnings)
    return Document(data=places.data, file=file, text=decoded, warnings=warnings, places=places, lines=reader.lines)


def load(path: str | os.PathLike[str], *, limits: Limits = DEFAULT_LIMITS) -> Document:
    """The document in a file. Raises ``InvalidPackage``, also when there is no such file or it cannot be read."""
    return read(read_file(path, size=limits.size), file=str(path), limits=limits)
