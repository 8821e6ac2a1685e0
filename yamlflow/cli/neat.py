"""What reaches a terminal is text: control characters, and signs that turn the direction of writing, are shown, not obeyed.

Results, names, errors and logs come from packages and from what they talk to. A carriage return, an escape sequence or a
mark for right-to-left could hide or forge lines. Both streams are wrapped here, once, while a command runs; only the
colours that the command line itself uses go through. Where data is printed into a pipe it stays as it is.
"""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterator
from typing import Any, TextIO

import click

#: Colours of ``click.style``, and in the second place what is shown instead of obeyed: controls but tab and line end, line
#: and paragraph separators, marks of direction, halves of surrogate pairs, invisible tags.
SIGNS = re.compile(
    "(\x1b\\[(?:0|1|2|3[1-7]|9[0-7])m)"
    "|(?:\r(?=\n))"
    "|([\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\U000e0000-\U000e007f])"
)


def neat(text: str) -> str:
    """A text with its control characters written out, ``\\x1b`` for an escape."""
    if text.isprintable():
        return text
    return SIGNS.sub(lambda found: found[1] or (spelled(found[2]) if found[2] else ""), text)


def one_line(text: str) -> str:
    """The same, with line ends written out too: what must not begin a line of its own."""
    return neat(text).replace("\n", "\\n")


def say(text: str, *, err: bool = False) -> None:
    """One line for people, whatever stands in it."""
    click.echo(one_line(text), err=err)


def spelled(char: str) -> str:
    """A character as Python writes it."""
    code = ord(char)
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"


class Neat:
    """A stream that writes neat text to another."""

    def __init__(self, beneath: TextIO) -> None:
        #: For data, and for drawing.
        self.beneath = beneath

    def write(self, text: str) -> int:
        """Write it; as many characters as were given."""
        self.beneath.write(neat(text))
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Write several texts."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.beneath, name)


@contextlib.contextmanager
def neat_streams() -> Iterator[None]:
    """While it holds, stdout and stderr are neat."""
    before = sys.stdout, sys.stderr
    ours = Neat(before[0]), Neat(before[1])
    sys.stdout, sys.stderr = ours
    try:
        yield
    finally:
        if (sys.stdout, sys.stderr) == ours:
            sys.stdout, sys.stderr = before


def beneath(stream: Any) -> TextIO:
    """The stream below: for drawing on a terminal, and for data into a pipe."""
    while isinstance(stream, Neat) or hasattr(stream, "_beneath"):
        stream = stream.beneath if isinstance(stream, Neat) else stream._beneath
    found: TextIO = stream
    return found


def print_data(text: str) -> None:
    """A value and a line end on stdout: as it is into a pipe, neat on a terminal."""
    stream = sys.stdout if sys.stdout.isatty() else beneath(sys.stdout)
    stream.write(f"{text}\n")
    stream.flush()
