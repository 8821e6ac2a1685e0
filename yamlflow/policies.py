"""What a step or a package of YAML says, in the words of Python: policies, and durations in seconds. Pure.

A duration is a number of seconds, a ``timedelta``, or text as YAML has it (``"1m30s"``).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from .duration import LONGEST, format_duration
from .facts import needs_of
from .outcome import Json


class Span(Protocol):
    """A ``datetime.timedelta``."""

    def total_seconds(self) -> float:
        """Its length."""


Duration = float | str | Span
#: Durations of a step besides its ``timeout``.
DURATIONS = ("timeout", "kill_grace")
#: Calls at once in one process, at most: each has a thread.
MOST_SLOTS = 10_000


@dataclass(frozen=True, kw_only=True)
class QueuePolicy:
    """How wide and how fast a queue runs, over all workers of the store."""

    #: Steps running at once; None is without bound.
    max_in_flight: int | None = None
    #: ``"2/s"``, ``"30/m"``, ``"100/h"``: a token bucket that outlives restarts; None is without one.
    rate: str | None = None
    #: Tokens that the bucket holds, and has at first use.
    burst: int = 1
    #: Of a package's queue: one queue for all packages that declare it so.
    shared: bool = False

    def to_json(self) -> dict[str, Json]:
        """As a package says it under ``queues``."""
        said = {"max_in_flight": self.max_in_flight, "rate": self.rate, "shared": self.shared or None}
        burst = {"burst": self.burst} if self.rate is not None else {}
        return {**{name: value for name, value in said.items() if value is not None}, **burst}


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """How often and when a failed step is tried again."""

    #: Executions in all.
    max_attempts: int = 1
    backoff: Literal["fixed", "linear", "exponential"] = "exponential"
    #: Before the second attempt; one second unless said otherwise.
    delay: Duration | None = None
    #: From one delay to the next, where ``backoff`` is exponential.
    multiplier: float | None = None
    #: No delay is longer.
    max_delay: Duration | None = None
    #: No attempt begins later than this after the first one began.
    max_elapsed: Duration | None = None
    jitter: Literal["full", "none"] = "none"
    #: Codes of errors that are tried again; empty is all.
    only: Collection[str] = ()
    #: Codes of errors that are not.
    never: Collection[str] = ()

    def to_json(self) -> dict[str, Json]:
        """As a step says it under ``retry``."""
        said = {
            "max_attempts": self.max_attempts, "backoff": self.backoff, "delay": duration(self.delay),
            "multiplier": self.multiplier, "max_delay": duration(self.max_delay),
            "max_elapsed": duration(self.max_elapsed), "jitter": self.jitter,
            "only": sorted(self.only) or None, "never": sorted(self.never) or None,
        }  # fmt: skip
        return {name: value for name, value in said.items() if value is not None}


def duration(given: Duration | None) -> str | None:
    """A duration as YAML writes it. ``ValueError`` for one that is negative, endless or none."""
    if given is None or isinstance(given, str):
        return given
    seconds: Any = given if isinstance(given, int | float) else getattr(given, "total_seconds", lambda: None)()
    if seconds is None or isinstance(given, bool):
        raise ValueError(f"a duration is a number of seconds, a timedelta or a text; this is {given!r}")
    if not 0 <= seconds <= LONGEST / 1000:
        raise ValueError(f"a duration is 0 seconds or more, up to a hundred years; this is {seconds:g}")
    return format_duration(round(seconds * 1000))


def said(name: str) -> str:
    """A keyword of Python as the key of YAML it stands for: ``if_``, ``finally_`` and ``with_`` lose their underscore."""
    return name.removesuffix("_")


def defined(given: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a step, from keywords; the same as the YAML of a step. ``ValueError`` says what cannot be.

    ``input`` is another word for ``with``.
    """
    keys = {said(name): value for name, value in given.items() if value is not None}
    if "input" in keys and "with" in keys:
        raise ValueError("input and with_ are the same; give one of them")
    if "input" in keys:
        keys["with"] = keys.pop("input")
    if sum(name in keys for name in ("kind", "run", "steps")) != 1:
        raise ValueError("exactly one of kind, run and steps says what it does")
    if keys.get("kind", "?") == "":
        raise ValueError("its kind is empty; name one that is registered")
    if "needs" in keys:
        keys["needs"] = needs_of(keys["needs"])
    if isinstance(keys.get("retry"), RetryPolicy):
        keys["retry"] = keys["retry"].to_json()
    return {name: duration(value) if name in DURATIONS else value for name, value in keys.items()}
