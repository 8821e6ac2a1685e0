"""What a target is, and what all checks share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random
from typing import Any

from yamlflow.errors import YamlflowError

#: Characters of one message: what is quoted in it is shortened.
MESSAGE = 4001
#: Characters of all problems of a document together.
MESSAGES = 100_000


@dataclass(frozen=True, kw_only=True)
class Target:
    """Something that reads what others wrote."""

    name: str
    #: A case by chance.
    make: Callable[[Random], Any]
    #: Raises for a case that is not taken as it should be.
    check: Callable[[Any], None]
    #: Makes a case of bytes, where coverage guides the search through them.
    from_bytes: Callable[[bytes], Any] | None = None
    #: Whether a case is any value; else its outer keys and their types stay when it is changed.
    free: bool = False
    #: Share of the time.
    weight: int = 1


@contextmanager
def refusals() -> Iterator[None]:
    """Typed errors are as they should be, unless their message repeats more than a reader can take."""
    try:
        yield
    except YamlflowError as refused:
        told(refused)


def told(refused: YamlflowError) -> None:
    """Raises for an error whose message is too long, or that says nothing."""
    text = str(refused)
    problems = getattr(refused, "problems", None)
    assert text, f"{type(refused).__name__} without a message"
    if problems is None:
        assert len(text) <= MESSAGE, f"a message of {len(text):,} characters"
        return
    assert len(text) <= MESSAGES, "problems of too many characters"
    longest = max((len(str(problem)) for problem in problems), default=0)
    assert longest <= MESSAGE, "a problem of too many characters"
