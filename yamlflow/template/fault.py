"""What is wrong with an expression, with its place and its remedy. Nothing here evaluates anything.

Inside this package trouble is a ``Refused``, which knows at most an offset within the expression; at the package's
border it becomes a ``TemplateError``, which knows the text, the offset in it and the place in the value around it.
"""

from __future__ import annotations

from ..errors import Pointer, Problem, YamlflowError, dotted

#: How much of an expression a message repeats.
SHOWN = 100


class Refused(Exception):
    """An expression, or a value in it, that is not accepted; never leaves this package."""

    def __init__(self, message: str, remedy: str = "", offset: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        #: Characters into the expression; None when only the expression as a whole is known.
        self.offset = offset


class TemplateError(YamlflowError):
    """An expression that cannot be compiled or rendered: the author's mistake, and no further attempt mends it."""

    code = "template_error"

    def __init__(
        self, message: str, *, remedy: str = "", expression: str = "", offset: int = 0, pointer: Pointer = ()
    ) -> None:
        #: What is wrong, a clause without a full stop.
        self.message = message
        #: What to write instead, whole sentences, or "".
        self.remedy = remedy
        #: The expression between ``${{`` and ``}}``, or "" when there is none to show.
        self.expression = expression
        #: Characters into the text where the trouble starts.
        self.offset = offset
        #: The text's place inside the value that was compiled.
        self.pointer = pointer
        super().__init__(self._sentence())

    def _sentence(self) -> str:
        place = f"{dotted(self.pointer)}: " if self.pointer else ""
        shown = shorten(self.expression)
        source = f", in ${{{{ {shown} }}}}" if shown else ""
        return f"{place}{self.message}{source}" + (f". {self.remedy}" if self.remedy else "")

    def problem(self, pointer: Pointer = ()) -> Problem:
        """The same as a problem of the document that holds the compiled value at ``pointer``."""
        return Problem(message=self.message, remedy=self.remedy, pointer=pointer + self.pointer, offset=self.offset)


def shorten(text: str) -> str:
    """A text on one line of at most ``SHOWN`` characters."""
    line = " ".join(text[: 2 * SHOWN].split())
    return line if len(line) <= SHOWN else f"{line[: SHOWN - 1]}…"
