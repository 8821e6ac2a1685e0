"""What the engine's own work comes to: the outcomes of evaluating expressions. They never leave the engine.

Plain steps speak in ``outcome``; a ``gate``, ``outputs`` or ``until`` is leased and reported like any step, in these
words.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..outcome import Json, Outcome


@dataclass(frozen=True, kw_only=True, slots=True)
class PassedBy:
    """The step's ``if`` is false."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Admitted:
    """A call may wait in its queue."""

    dedup_key: str | None = None
    #: Names of the locks that it takes when it is leased.
    locks: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Opened:
    """A group may open."""

    #: Names that its steps see: the inputs of a kind made of steps.
    scope: dict[str, Json] | None = None
    #: Milliseconds until it times out.
    timeout: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Expanded:
    """A loop's children: their keys (None: their position) and what each one sees."""

    children: tuple[tuple[str | None, dict[str, Json]], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Rendered:
    """A group's outputs, as JSON text."""

    result: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Repeated:
    """Whether a ``repeat`` goes on, and what it has come to."""

    done: bool
    result: str | None = None


Decision = PassedBy | Admitted | Opened | Expanded | Rendered | Repeated
Report = Outcome | Decision
