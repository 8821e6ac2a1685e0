"""What a step is told of itself and its run, and which names may stand where. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .errors import Permanent
from .outcome import Artifact, Error, Json

#: Characters that would break a line or a file's name out of its place.
CONTROL = frozenset(map(chr, (*range(32), 127, 0x2028, 0x2029)))


@dataclass(frozen=True, kw_only=True)
class RunInfo:
    """The run a step belongs to."""

    id: str = "run"
    #: From 1; a run continued as new is the next execution of its id.
    execution: int = 1
    name: str = "run"
    package: str = "package"
    version: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    #: The run and the step that started this one, ``{run, step}``; None for a run started from outside.
    parent: Json = None
    #: Milliseconds since the epoch.
    started_at: int = 0

    @property
    def key(self) -> str:
        """Names this execution among all: ``id/execution``; what artifacts and markers are kept under."""
        return f"{self.id}/{self.execution}"


@dataclass(frozen=True, kw_only=True)
class StepInfo:
    """The step itself."""

    id: str = "step"
    #: Unique in its run: ``enrich[3]/head``.
    path: str = "step"
    kind: str = ""
    title: str | None = None
    metadata: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class LeaseInfo:
    """The right to execute the step just now."""

    worker: str = "worker"
    #: The fencing token: an outcome of an older epoch is refused.
    epoch: int = 1
    #: Milliseconds on the store's steady clock; renewed by the worker.
    expires_at: int = 0
    #: How many leases of the step before this one were lost in a row.
    lost: int = 0


@dataclass(frozen=True, kw_only=True)
class StepSeen:
    """Another step of the run, as it stands when it is looked at."""

    path: str
    #: ``pending``, ``ready``, ``running``, ``waiting``, ``succeeded``, ``failed``, ``skipped`` or ``canceled``.
    status: str
    #: As it is stored; None when there is none.
    result: Json = None
    #: The error it failed with; None when it did not.
    error: Error | None = None
    #: Tries so far.
    attempts: int = 0
    #: The files it kept, by name; ``StepContext.open_artifact`` opens them.
    artifacts: Mapping[str, Artifact] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class KeptArtifact(Artifact):
    """A file that a step kept, as it is found from outside."""

    #: The path of the step.
    step: str
    #: Milliseconds since the epoch.
    created_at: int


@dataclass(frozen=True)
class EmittedStep:
    """A step that is to be, as ``emit`` and ``RunBuilder.step`` hand it back: to be named in another one's ``needs``."""

    key: str
    #: The child's path in the run.
    path: str

    def __str__(self) -> str:
        return self.key


def named(name: Any, what: str, limit: int = 200) -> str:
    """A name that may stand in a path and on a line; ``Permanent`` (``bad_result``) for any other."""
    if not isinstance(name, str) or not name.strip():
        raise Permanent("bad_result", f"{what} needs a name that is not empty; this is {name!r}")
    if len(name) > limit:
        raise Permanent("bad_result", f"the name of {what} has {len(name)} characters, at most {limit} are allowed")
    if any("\ud800" <= character <= "\udfff" for character in name):
        raise Permanent("bad_result", f"the name of {what} holds half of a character: {name!r}")
    if CONTROL & set(name):
        raise Permanent("bad_result", f"the name of {what} holds a control character: {name!r}")
    return name


#: Collections that SQLite or a projection keeps for itself begin so.
RESERVED = ("sqlite_", "_yamlflow")
#: Columns of one record.
MOST_COLUMNS = 1000
#: Names of tables and columns that differ only in these are one to SQLite.
ASCII_LETTERS = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}


def recordable(collection: str, key: str, data: Mapping[str, Json]) -> None:
    """``Permanent`` (``bad_result``) for a record that no table could take: once committed it could not be taken back."""
    named(collection, "a collection")
    named(key, "a record's key", 1000)
    if collection.translate(ASCII_LETTERS).startswith(RESERVED):
        raise Permanent(
            "bad_result", f'a collection cannot be called "{collection}": that name is kept for SQLite or yamlflow'
        )
    if len(data) > MOST_COLUMNS:
        raise Permanent(
            "bad_result", f"record {collection}/{key} has {len(data):,} columns, at most {MOST_COLUMNS:,} are allowed"
        )
    seen: dict[str, str] = {"key": "key"}
    for name in data:
        column = named(name, "a column").translate(ASCII_LETTERS)
        if seen.setdefault(column, name) != name:
            message = f'record {collection}/{key}: "{seen[column]}" and "{name}" are one column, as letters count alike'
            raise Permanent("bad_result", message)


def needs_of(needs: Any) -> Json:
    """What somebody wrote as the needs of a step, as JSON: keys, handles, or a mapping of either to conditions."""
    if isinstance(needs, EmittedStep):
        return [needs.key]
    if isinstance(needs, Mapping):
        return {str(step): condition for step, condition in needs.items()}
    if isinstance(needs, Iterable) and not isinstance(needs, str):
        return [str(step) for step in needs if step is not None]
    return needs
