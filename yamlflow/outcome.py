"""What came of a step, as a value. Pure: these are the words in which executors speak to the engine.

An executor's only means of effect on yamlflow's state is the outcome it returns; what it emits, records or keeps as an
artifact travels in it and lands in the transaction of its completion, or not at all when its lease was lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from .errors import LONGEST, shortened

#: Any JSON value.
Json = Any


#: Characters of an error's code: a word, whatever a package made of it.
CODE = 200


def sayable(text: str) -> str:
    """Text that can be written anywhere: half a surrogate reads as a question mark."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


@dataclass(frozen=True, kw_only=True)
class Error:
    """Why a step failed; the ``error`` that expressions see."""

    #: A short stable word: one of the engine's (``timeout``, ``exit_status``…) or an executor's own.
    code: str
    #: A sentence for people.
    message: str
    #: The name of the exception's type where there was one, as its author wrote it.
    type: str | None = None
    #: The path of the step that failed, as committed.
    step: str | None = None
    #: The attempt that failed, from 1.
    attempt: int | None = None
    #: The error behind this one, in the same shape.
    cause: Json = None
    #: Anything that helps to understand: an exit status, a response, a traceback.
    details: Json = None
    #: No further attempt can mend it.
    permanent: bool = False

    def to_json(self) -> dict[str, Json]:
        """The shape that is stored and that expressions read."""
        return {
            "code": sayable(shortened(self.code, CODE)),
            "message": sayable(shortened(self.message, LONGEST)),
            "type": self.type,
            "step": self.step,
            "attempt": self.attempt,
            "cause": self.cause,
            "details": self.details,
            "permanent": self.permanent,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Json]) -> Error:
        """The error that ``to_json`` wrote."""
        fields: dict[str, Any] = {name: value[name] for name in cls.__dataclass_fields__ if name in value}
        return cls(**fields)


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """A file that a step keeps, already in the artifact store when the outcome is reported."""

    name: str
    #: Where the bytes are, in the artifact store's own words; None when ``body`` holds them.
    uri: str | None
    size: int
    sha256: str
    content_type: str
    kind: str = "artifact"
    metadata: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Json]:
        """What ``steps.<id>.artifacts.<name>`` reads as."""
        return {
            "path": self.uri,
            "size": self.size,
            "sha256": self.sha256,
            "content_type": self.content_type,
            "kind": self.kind,
            "metadata": dict(self.metadata),
        }


@dataclass(frozen=True, kw_only=True)
class Record:
    """A JSON record to upsert into a collection of the package's projection."""

    collection: str
    key: str
    data: Mapping[str, Json]


@dataclass(frozen=True, kw_only=True)
class Emitted:
    """A child step that an executor adds; durable with its parent's success."""

    #: Names the child below its parent; emitting a key twice is one step.
    key: str
    #: The child as a step of a package would be written: kind, with, needs, queue, retry…
    definition: Mapping[str, Json]
    #: Values that the child's expressions see besides the package's own: ``item``, ``index``…
    scope: Mapping[str, Json] | None = None


@dataclass(frozen=True, kw_only=True)
class StartRun:
    """A run to start: the step's own child, or one that a signal is for and that is not there."""

    #: A package's name, or a file beside the package's own.
    package: str
    inputs: Mapping[str, Json] = field(default_factory=dict)
    #: None makes one from the run's and the step's.
    run_id: str | None = None
    #: What to do when the id is taken: ``fail``, or be its ``new`` execution once it has ended.
    if_exists: Literal["fail", "new"] = "fail"
    #: The step ends as the run does; otherwise it has done its work as soon as the run is stored.
    wait: bool = True
    #: What becomes of the run when its parent ends before it.
    on_parent_close: Literal["cancel", "abandon"] = "cancel"
    name: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Signal:
    """A message to a run, sent in the transaction of the step's success."""

    #: The run's id; its newest execution gets it.
    run: str
    name: str
    data: Json = None
    #: Where given: a second signal of the same key to that run is the first one.
    key: str | None = None
    #: Starts the run when no live one has this id; its ``run_id`` is ``run``.
    start: StartRun | None = None


@dataclass(frozen=True, kw_only=True)
class Succeeded:
    """The step did its work."""

    result: Json = None
    emitted: tuple[Emitted, ...] = ()
    #: Steps that need this one do not wait for what it emitted.
    detached: bool = False
    artifacts: tuple[Artifact, ...] = ()
    records: tuple[Record, ...] = ()
    signals: tuple[Signal, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Failed:
    """The step did not do its work; its retry policy says whether it is tried again."""

    error: Error
    #: Milliseconds until the next attempt, instead of the policy's delay.
    after: int | None = None
    #: Kept also when the step failed: a response body, a log.
    artifacts: tuple[Artifact, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """The step waits for something outside; it holds no worker meanwhile."""

    #: Wake at this time (milliseconds since the epoch); None waits without end.
    until: int | None = None
    #: The signal waited for; None when only time is waited for.
    signal: str | None = None
    #: What the step's result is when time wakes it.
    result: Json = None
    #: ``until`` is a moment of the day, kept when somebody sets the machine's clock; else what is left of it is kept.
    by_clock: bool = False


@dataclass(frozen=True, kw_only=True)
class Asking:
    """The step waits for somebody's yes or no; it holds no worker meanwhile."""

    prompt: str = ""
    #: JSON Schema of what is to be filled in besides; None for a plain yes or no.
    form: Json = None


@dataclass(frozen=True, kw_only=True)
class ContinueAsNew:
    """The run is to end here and go on as its next execution, with other inputs."""

    inputs: Mapping[str, Json] = field(default_factory=dict)
    #: Go on with the newest text of the package instead of the one the run started with.
    latest: bool = False


@dataclass(frozen=True, kw_only=True)
class CancelStep:
    """The step asks to cancel another step or group of its run, and has thereby done its work."""

    target: str
    reason: str = ""


Outcome = Succeeded | Failed | Waiting | Asking | StartRun | ContinueAsNew | CancelStep
