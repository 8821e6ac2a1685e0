"""What a step sees and the only ways in which it acts: ``StepContext``.

Whatever an executor emits, records or keeps as an artifact is buffered here and travels in the ``Outcome`` it returns:
it lands in the transaction of the step's completion, or not at all. Nothing here knows a store, a package or YAML.
"""

from __future__ import annotations

import json as json_
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, TypeVar, overload

from .clock import to_datetime
from .errors import Canceled, Permanent
from .facts import EmittedStep, LeaseInfo, RunInfo, StepInfo, StepSeen, named, recordable
from .outcome import (
    Artifact,
    Asking,
    CancelStep,
    ContinueAsNew,
    Emitted,
    Error,
    Failed,
    Json,
    Outcome,
    Record,
    Signal,
    StartRun,
    Succeeded,
    Waiting,
)
from .policies import defined
from .ports import (
    ArtifactStore,
    CancelToken,
    Limits,
    LogSink,
    Masker,
    Masking,
    MemoryLog,
    NoGuard,
    Ports,
    ProcessGuard,
)
from .private import make_folder
from .shapes import shaped
from .sifting import watched
from .values import NotJson, plain

if TYPE_CHECKING:
    from .tables import Projection

__all__ = [
    "ArtifactStore",
    "CancelToken",
    "EmittedStep",
    "LeaseInfo",
    "Limits",
    "LogSink",
    "Masker",
    "Masking",
    "MemoryLog",
    "NoGuard",
    "Ports",
    "ProcessGuard",
    "RunInfo",
    "StepContext",
    "StepInfo",
    "StepSeen",
]

Shape = TypeVar("Shape")
Level = Literal["debug", "info", "warning", "error"]


@dataclass(kw_only=True, eq=False)
class StepContext:
    """One attempt at one step, as its executor sees it; everything has a default, so that a test needs only input."""

    #: What stands in ``with``, rendered and checked, the schema's defaults filled in.
    input: Any = field(default_factory=dict)
    #: What stands in ``with``, rendered, as it was before.
    raw_input: Json = None
    run: RunInfo = field(default_factory=RunInfo)
    step: StepInfo = field(default_factory=StepInfo)
    lease: LeaseInfo = field(default_factory=LeaseInfo)
    #: Which try this is, from 1.
    attempt: int = 1
    #: The run's context values (tenant, trace id…).
    context: Mapping[str, Json] = field(default_factory=dict)
    #: The environment for processes: the worker's, as far as it is passed on, and the step's ``env``.
    env: Mapping[str, str] = field(default_factory=dict)
    #: The folder of the package file, where it exists.
    package_dir: Path | None = None
    #: Folders that hold plugins, importable in child processes.
    plugin_dirs: Sequence[Path] = ()
    #: The run's scratch folder; made when ``dir`` is first read. None makes one below the system's temporary
    #: folder that goes with this object.
    scratch: Path | None = None
    #: When the attempt must have ended, milliseconds on ``Clock.steady``; None is never.
    deadline_at: int | None = None
    #: Seconds between SIGTERM and SIGKILL.
    kill_grace: float = 10.0
    #: Name to path or glob of the files to keep when the step has ended.
    keep: Mapping[str, str] = field(default_factory=dict)
    #: The worker's one reading of the clock for this cycle, milliseconds; None asks the clock.
    now_ms: int | None = None
    ports: Ports = field(default_factory=Ports)
    #: What to do about a secret in the result, in the words of the kind.
    secret_remedy: str = "return something derived from it"

    _emitted: dict[str, Emitted] = field(default_factory=dict, init=False, repr=False)
    _detached: set[bool] = field(default_factory=set, init=False, repr=False)
    _records: list[Record] = field(default_factory=list, init=False, repr=False)
    _signals: list[Signal] = field(default_factory=list, init=False, repr=False)
    _artifacts: dict[str, Artifact] = field(default_factory=dict, init=False, repr=False)
    _cwd: Path | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.raw_input is None:
            self.raw_input = self.input

    # What the step knows.

    @property
    def now(self) -> datetime:
        """The time, aware, in UTC."""
        return to_datetime(self.ports.clock.now() if self.now_ms is None else self.now_ms)

    @property
    def deadline(self) -> datetime | None:
        """When the attempt must have ended, by the wall clock; None is never."""
        left = self.remaining
        return None if left is None else to_datetime(self.ports.clock.now() + round(left * 1000))

    @property
    def remaining(self) -> float | None:
        """Seconds until the deadline (0 when it has passed); None is without end."""
        if self.deadline_at is None:
            return None
        return max(0, self.deadline_at - self.ports.clock.steady()) / 1000

    @property
    def idempotency_key(self) -> str:
        """The same for every attempt at this step: ``run/execution/path``."""
        return f"{self.run.key}/{self.step.path}"

    @property
    def canceled(self) -> bool:
        """Whether the step should stop: it was canceled, its lease was lost or its deadline has passed."""
        return self.ports.cancel.canceled or self.remaining == 0

    def check_canceled(self) -> None:
        """Raise ``Canceled`` when the step should stop; executors let it through."""
        if self.canceled:
            raise Canceled(self.ports.cancel.reason or "the step was canceled")

    @property
    def dir(self) -> Path:
        """The run's scratch folder, made now if need be."""
        if self.scratch is None:
            from .artifacts import temporary_folder

            self.scratch = temporary_folder(self)
        make_folder(self.scratch)
        return self.scratch

    @property
    def cwd(self) -> Path:
        """Where relative paths start: the package file's folder where it exists, else the scratch folder."""
        if self._cwd is None:
            at_package = self.package_dir is not None and self.package_dir.is_dir()
            self._cwd = self.package_dir if at_package else self.dir
        assert self._cwd is not None
        return self._cwd

    def work_in(self, folder: str | Path | None) -> Path:
        """Let relative paths start at ``folder`` (itself relative to ``cwd``) from now on; gives it as absolute."""
        if folder is not None:
            self._cwd = self.cwd / Path(folder).expanduser()
        return self.cwd.absolute()

    @overload
    def result(self, step: str | EmittedStep) -> Any: ...

    @overload
    def result(self, step: str | EmittedStep, shape: type[Shape]) -> Shape | None: ...

    def result(self, step: str | EmittedStep, shape: Any = None) -> Any:
        """The result of another step of the run, by id (the nearest) or path; None when there is none.

        Values of registered types are objects again. ``shape`` (a dataclass, TypedDict, pydantic model or any hint)
        gives it as that; ``Permanent`` (``bad_input``) when it does not fit.
        """
        seen = self.ports.steps(str(step))
        if seen is None or seen.result is None:
            return None
        return self.ports.serializers.revived(seen.result) if shape is None else shaped(shape, seen.result, str(step))

    def dependency(self, step: str | EmittedStep) -> StepSeen | None:
        """Another step of the run with its status, error, attempts and artifacts, by id (the nearest) or path."""
        return self.ports.steps(str(step))

    def projection(self) -> Projection:
        """The package's own tables, in autocommit; close it. What is written here is not undone with the step."""
        return self.ports.projection()

    def random(self) -> float:
        """A number in [0, 1)."""
        return self.ports.clock.random()

    def uuid(self) -> str:
        """A new random UUID as text."""
        return self.ports.clock.uuid()

    # What it says while it runs.

    def log(self, message: str, level: Level = "info") -> None:
        """A line in the run's log."""
        prefix = "" if level == "info" else f"{level}: "
        self.ports.log.write(f"{prefix}{message}\n", "log")

    def progress(self, done: float, total: float | None = None, message: str = "") -> None:
        """How far the step is, shown while it runs."""
        self.ports.progress({"done": done, "total": total, "message": self.ports.masking.mask(message)})

    def heartbeat(self) -> None:
        """Say that the step is alive, and raise ``Canceled`` when it should stop."""
        self.ports.heartbeat()
        self.check_canceled()

    def mask(self, value: str) -> None:
        """Treat ``value`` (at least 4 characters) as a secret for the rest of the step."""
        self.ports.masking.add(value)

    # What it leaves behind, when it succeeds.

    def emit(
        self,
        key: str | None = None,
        *,
        kind: str | None = None,
        input: Any = None,
        with_: Any = None,
        needs: Any = None,
        queue: str | None = None,
        detached: bool = False,
        scope: Mapping[str, Json] | None = None,
        **keys: Any,
    ) -> EmittedStep:
        """Add a child step, durable with this step's success.

        ``key`` names it below this step; a key emitted twice is one step, the first; without one it is ``emit_001``
        and so on. Exactly one of ``kind`` (with its ``input``, or ``with_``: the same), ``run=`` and ``steps=`` says
        what it does; any other key of a step may follow (``retry=RetryPolicy(…)``, ``timeout=30``: seconds). ``needs``
        takes keys and what ``emit`` handed back. ``scope`` are names that the child's expressions see. With
        ``detached`` those that need this step do not wait for its children: for all or none.
        """
        key = f"emit_{len(self._emitted) + 1:03d}" if key is None else named(key, "an emitted step")
        try:
            definition = defined({"kind": kind, "input": input, "with": with_, "needs": needs, "queue": queue, **keys})
        except ValueError as wrong:
            raise Permanent("bad_result", f'emitted step "{key}": {wrong}') from None
        self._detached.add(detached)
        if len(self._detached) > 1:
            raise Permanent("bad_result", "either all children of a step are detached or none")
        self._emitted.setdefault(
            key,
            Emitted(
                key=key,
                definition=self._plain(definition, f'emitted step "{key}"'),
                scope=None if scope is None else self._plain(dict(scope), f'scope of emitted step "{key}"'),
            ),
        )
        return EmittedStep(key, f"{self.step.path}/{key}")

    def record(self, collection: str, key: str, data: Mapping[str, Json]) -> str:
        """Upsert a JSON record into a collection of the projection; gives the key."""
        if not isinstance(data, Mapping):
            raise Permanent("bad_result", f"record {collection}/{key}: the data is a mapping of column to value")
        kept = self._plain(data, f"record {collection}/{key}")
        recordable(collection, key, kept)
        self._records.append(Record(collection=collection, key=key, data=kept))
        return key

    def signal(self, run: str, name: str, data: Json = None, *, key: str | None = None) -> None:
        """Send a signal to a run (its id), with this step's success; of two with one ``key`` the run gets the first."""
        kept = self._plain(data, f'the data of signal "{name}"')
        self._signals.append(Signal(run=run, name=named(name, "a signal", 200), data=kept, key=key))

    def artifact(
        self,
        name: str,
        body: bytes | str | None = None,
        *,
        text: str | None = None,
        json: Json = None,
        content_type: str | None = None,
        kind: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> Artifact:
        """Keep a small file that is at hand: ``body`` (bytes or text), ``text`` or ``json``."""
        if body is not None:
            content = body.encode() if isinstance(body, str) else body
        elif text is not None:
            content, content_type = text.encode(), content_type or "text/plain; charset=utf-8"
        else:
            content = json_.dumps(self._plain(json, f'artifact "{name}"'), ensure_ascii=False, indent=2).encode()
            content_type = content_type or "application/json"
        return self.store_artifact(name, content, content_type=content_type, kind=kind, metadata=metadata)

    def store_artifact(
        self,
        name: str,
        source: str | Path | IO[bytes] | bytes,
        *,
        content_type: str | None = None,
        kind: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> Artifact:
        """Keep a file of any size: a path (relative to ``cwd``; no symbolic link), a binary stream, or bytes.

        ``Permanent`` (``secret_in_result``) when a secret is found in it.
        """
        if isinstance(source, str | Path):
            source = self.cwd / source
        if self.ports.masking.contains([name, content_type, kind, dict(metadata or {})]):
            # Before it is a file's name.
            message = "the name, type or metadata of an artifact contains a secret, which is never stored"
            raise Permanent("secret_in_result", message)
        with watched(source, name, self.ports.masking) as content:
            kept = self.ports.artifacts.put(
                self.run.key,
                self.step.path,
                name,
                content,
                content_type=content_type,
                kind=kind,
                metadata=metadata,
                limit=self.ports.limits.artifact,
            )
        self._artifacts[name] = kept
        return kept

    def open_artifact(self, artifact: str | Artifact | Mapping[str, Json]) -> IO[bytes]:
        """The bytes of one of this step's artifacts by name, or of any by what ``steps.<id>.artifacts.<name>`` reads.

        Size and hash are checked first: ``Permanent`` when they are not what was kept.
        """
        if isinstance(artifact, str):
            if artifact not in self._artifacts:
                raise Permanent("bad_input", f'this step has kept no artifact "{artifact}"')
            artifact = self._artifacts[artifact]
        return self.ports.artifacts.open(artifact)

    # What becomes of it all.

    def outcome(self, value: Any = None) -> Outcome:
        """What an executor returned, with all that was buffered; a value JSON cannot say becomes a ``Failed``."""
        if isinstance(value, Failed):
            return self.failed(value)
        if isinstance(value, Waiting | CancelStep | Asking | StartRun | ContinueAsNew):
            return self._sayable(value)
        done = value if isinstance(value, Succeeded) else Succeeded(result=value)
        try:
            result = plain(done.result, limit=self.ports.limits.result, tagger=self.ports.serializers.tagger)
        except NotJson as wrong:
            message = f"the step returned what cannot be kept: {wrong}"
            return self.failed(Failed(error=Error(code="bad_result", message=message, permanent=True)))
        done = replace(
            done,
            result=result,
            emitted=(*done.emitted, *self._emitted.values()),
            detached=done.detached or True in self._detached,
            artifacts=(*done.artifacts, *self._artifacts.values()),
            records=(*done.records, *self._records),
            signals=(*done.signals, *self._signals),
        )
        try:
            for record in done.records:
                recordable(record.collection, record.key, record.data)
        except Permanent as wrong:
            return self.failed(Failed(error=Error(code=wrong.code, message=wrong.message, permanent=True)))
        leak = self._leak(done)
        return self.failed(leak) if leak else done

    def _sayable(self, value: Waiting | CancelStep | Asking | StartRun | ContinueAsNew) -> Outcome:
        """What is asked of the engine, if it may be stored; else a ``Failed``."""
        kept = {name: dict(part) if isinstance(part, Mapping) else part for name, part in vars(value).items()}
        try:
            plain(kept, limit=self.ports.limits.result)
        except NotJson as wrong:
            message = f"the step returned what cannot be kept: {wrong}"
            return self.failed(Failed(error=Error(code="bad_result", message=message, permanent=True)))
        if self.ports.masking.parts() and self.ports.masking.contains(kept):
            message = "what the step waits for contains a secret, which is never stored"
            return self.failed(Failed(error=Error(code="secret_in_result", message=message, permanent=True)))
        return value

    def failed(self, failure: Failed) -> Failed:
        """A failure with its step, attempt and kept artifacts filled in and every secret masked."""
        masking = self.ports.masking
        error = replace(
            failure.error,
            code=masking.mask(failure.error.code),
            type=None if failure.error.type is None else masking.mask(failure.error.type),
            message=masking.mask(failure.error.message),
            cause=masking.mask_json(failure.error.cause),
            details=masking.mask_json(failure.error.details),
            step=masking.mask(failure.error.step) if failure.error.step else self.step.path,
            attempt=failure.error.attempt or self.attempt,
        )
        return replace(failure, error=error, artifacts=(*failure.artifacts, *self._artifacts.values()))

    def _leak(self, done: Succeeded) -> Failed | None:
        """A failure when anything that would be stored holds a secret."""
        if not self.ports.masking.parts():
            return None
        for what, value in _stored(done):
            if self.ports.masking.contains(value):
                message = f"{what} contains a secret, which is never stored; {self.secret_remedy}"
                return Failed(error=Error(code="secret_in_result", message=message, permanent=True))
        return None

    def _plain(self, value: Any, what: str) -> Any:
        try:
            return plain(value, limit=self.ports.limits.result, tagger=self.ports.serializers.tagger)
        except NotJson as wrong:
            raise Permanent("bad_result", f"{what}: {wrong}") from None


def _stored(done: Succeeded) -> Iterable[tuple[str, Json]]:
    yield "the result", done.result
    for record in done.records:
        yield f"the record {record.collection}/{record.key}", [record.collection, record.key, record.data]
    for emitted in done.emitted:
        yield f'the emitted step "{emitted.key}"', [emitted.key, emitted.definition, emitted.scope]
    for signal in done.signals:
        started = (
            None
            if signal.start is None
            else [
                {name: dict(part) if isinstance(part, Mapping) else part for name, part in vars(signal.start).items()}
            ]
        )
        yield f'the signal "{signal.name}"', [signal.run, signal.name, signal.data, signal.key, started]
    for artifact in done.artifacts:
        about = [artifact.name, artifact.content_type, artifact.kind, dict(artifact.metadata)]
        yield f'the artifact "{artifact.name}"', about
