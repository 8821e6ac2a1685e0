"""What a caller gives with a command besides values: ids, short texts, numbers, lengths of time. Pure.

An id becomes part of a path, a line and a command; so it holds nothing that means something there.
"""

from __future__ import annotations

import inspect
import reprlib

from .duration import LONGEST
from .errors import UserError

#: Characters of an id.
LONGEST_ID = 200
#: Characters of a name, a key, a reason, a comment.
LONGEST_TEXT = 4_000
SIGNS = "._:@+=,-"
#: The most of anything that is counted; a store could count no further.
MOST = 1_000_000_000


def check_id(id: object, what: str = "run id", *, signs: str = SIGNS) -> None:
    """Refuse an id that is empty or long, or holds what a path, a line or a command cannot. ``UserError``."""
    if not isinstance(id, str):
        raise UserError(f"a {what} is text; this one is {type(id).__name__}")
    if not id or len(id) > LONGEST_ID:
        raise UserError(f"a {what} has 1 to {LONGEST_ID} characters; this one has {len(id)}")
    if id[0] in ".- " or not all(char.isalnum() or char in signs for char in id):
        may = f"letters, digits{', spaces' if ' ' in signs else ''} and {' '.join(signs.strip())}"
        raise UserError(f"the {what} {id!r} may hold {may} and must not begin with a dot or a hyphen")


def check_worker(name: object) -> None:
    """Refuse a worker's name that is no id; it may hold spaces, as it stands in no command. ``UserError``."""
    check_id(name, "worker's name", signs=f"{SIGNS} ")


def check_text(text: object, what: str, *, least: int = 0, most: int = LONGEST_TEXT, line: bool = False) -> None:
    """Refuse a text that is too long or short to be kept, or that UTF-8 cannot say. ``UserError``; None is no text.

    With ``line`` it must be one line without control characters.
    """
    if text is None:
        return
    if not isinstance(text, str):
        raise UserError(f"the {what} is text; this one is {type(text).__name__}")
    if not least <= len(text) <= most:
        words = f"at least {least}" if len(text) < least else f"at most {most:,}"
        raise UserError(f"the {what} has {len(text):,} characters; write {words}")
    if any("\ud800" <= char <= "\udfff" for char in text):
        raise UserError(f"the {what} holds half a character, which UTF-8 cannot say; write the whole one")
    if line and not text.isprintable():
        bad = next(char for char in text if not char.isprintable())
        raise UserError(f"the {what} holds {bad!r}; write one line without control characters")


def check_seconds(seconds: object, what: str) -> None:
    """Refuse what is no length of time. ``UserError``; None is none."""
    if seconds is None:
        return
    if not isinstance(seconds, int | float) or isinstance(seconds, bool) or not 0 <= seconds <= LONGEST / 1000:
        raise UserError(f"the {what} is a number of seconds, up to a hundred years; it is {reprlib.repr(seconds)}")


def check_count(number: object, what: str, *, least: int = 1, most: int = MOST) -> None:
    """Refuse what is no whole number, or too small or large a one. ``UserError``; None is none."""
    if number is None:
        return
    if not isinstance(number, int) or isinstance(number, bool) or not least <= number <= most:
        raise UserError(f"{what} must be a number from {least} to {most:,}; it is {reprlib.repr(number)}")


def described(thing: object) -> str:
    """What a value is, without where it lies in memory."""
    if not callable(thing):
        return reprlib.repr(thing)
    name = getattr(thing, "__qualname__", type(thing).__qualname__)
    return f"{'an async' if inspect.iscoroutinefunction(thing) else 'the'} function {name}"
