"""What the engine's own work comes to: the outcomes of evaluating expressions. They never leave the engine.

Plain steps speak in ``outcome``; a ``gate``, ``outputs`` or ``until`` is leased and reported like any step, in these
words.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..outcome import Asking, Error, Json, Outcome, Succeeded, Waiting
from .starts import Start


@dataclass(frozen=True, kw_only=True, slots=True)
class PassedBy:
    """The step's ``if`` is false."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Admitted:
    """A call may wait in its queue."""

    dedup_key: str | None = None
    #: Names of the locks that it takes when it is leased.
    locks: tuple[str, ...] = ()
    #: ``{key, ttl}`` of the result that may be kept for it already.
    cache: Json = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Opened:
    """A group may open."""

    #: Names that its steps see: the inputs of a kind made of steps.
    scope: dict[str, Json] | None = None
    #: Milliseconds until it times out.
    timeout: int | None = None
    #: ``{key, ttl}`` of the result that may be kept for it already.
    cache: Json = None


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


@dataclass(frozen=True, kw_only=True, slots=True)
class Timed:
    """A step that waits, and the moment (milliseconds since the epoch) at which its own ``timeout`` has passed."""

    outcome: Waiting | Asking
    deadline: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Lost:
    """A call that ran apart took its process with it, as it had taken a worker before."""

    error: Error


@dataclass(frozen=True, kw_only=True, slots=True)
class Sent:
    """A success that sends signals; for each of them the run to start should nobody be there to get it."""

    outcome: Succeeded
    starts: tuple[Start | None, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Spawned:
    """A child run, ready to be stored."""

    start: Start
    wait: bool
    on_parent_close: str
    deadline: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Renewed:
    """The run's next execution, ready to be stored when this one has ended."""

    start: Start


Decision = PassedBy | Admitted | Opened | Expanded | Rendered | Repeated | Timed | Sent | Spawned | Renewed | Lost
Report = Outcome | Decision
