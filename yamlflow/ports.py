"""What a worker lends to a step: small protocols, each with a default that needs nothing but memory.

A step reaches the world around it only through these. Nothing here knows a store, a package or YAML.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal, Protocol

from .clock import Clock, SystemClock
from .facts import StepSeen
from .outcome import Artifact, Json
from .serializers import Serializers

if TYPE_CHECKING:
    from .tables import Projection

#: Where a line of the log came from; ``note`` is yamlflow's own remark (a truncation).
Stream = Literal["log", "stdout", "stderr", "note"]

KIB = 1024
MIB = 1024 * KIB


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much a step may hand back, all in bytes. Passing one is an error that names it, or a note in the log."""

    #: A result as JSON text in UTF-8.
    result: int = MIB
    #: The log of one attempt; what comes after is dropped and a note says so.
    log: int = 50 * MIB
    #: The end of stdout and of stderr that a result or an error carries.
    tail: int = 64 * KIB
    #: One artifact.
    artifact: int = 1024 * MIB


class LogSink(Protocol):
    """Takes the log of one attempt, on disk or on its way there while the step runs."""

    def write(self, text: str, stream: Stream = "log") -> None:
        """Add text as it came (not by lines); it is masked here, also across writes. Never raises for a full log."""

    def close(self) -> None:
        """Write what was held back."""


class StreamMask(Protocol):
    """Masks a text that comes in pieces."""

    def feed(self, chunk: str) -> str:
        """As much masked text as can be told yet."""

    def flush(self) -> str:
        """The rest."""


class Masker(Protocol):
    """Knows the secrets of a run."""

    def mask(self, text: str) -> str:
        """The text with every secret read as ``***``."""

    def contains(self, value: Json) -> bool:
        """Whether a JSON value holds a secret anywhere."""

    def stream(self) -> StreamMask:
        """For a text that comes in pieces."""

    def sieve(self) -> Sieve:
        """For bytes that come in pieces and are only looked at."""


class Sieve(Protocol):
    """Finds secrets in bytes that come in pieces."""

    def catches(self, piece: bytes) -> bool:
        """Whether a secret ends in this piece."""


class ProcessGuard(Protocol):
    """Kills what a dead worker left behind."""

    #: Set in every child's environment, so that stragglers can be found by it.
    env: Mapping[str, str]

    def ready(self) -> None:
        """A process is about to be started."""

    def look(self) -> None:
        """Called once a second, while the worker works."""

    def track(self, group: int) -> None:
        """A process group was started."""

    def untrack(self, group: int) -> None:
        """It has ended."""


class ArtifactStore(Protocol):
    """Keeps files by run, step and name."""

    def put(
        self,
        run: str,
        step: str,
        name: str,
        source: bytes | str | Path | IO[bytes],
        *,
        content_type: str | None = None,
        kind: str | None = None,
        metadata: Mapping[str, str] | None = None,
        limit: int | None = None,
    ) -> Artifact:
        """Keep a file's content; ``str`` is a path. Raises ``Permanent`` for a bad name, source or size."""

    def open(self, artifact: Artifact | Mapping[str, Json], *, verify: bool = True) -> IO[bytes]:
        """Its bytes; with ``verify`` size and hash are checked first, ``Permanent`` if they are not what was kept."""

    def remove_run(self, run: str) -> None:
        """Forget everything of a run."""


class CancelToken:
    """Tells a running step, from any thread, that it should stop: canceled by somebody, or its lease was lost."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._callbacks: list[Callable[[], None]] = []
        #: Why, a sentence for people.
        self.reason = ""
        #: Who asked.
        self.by: str | None = None
        #: The lease was lost: the outcome will be refused whatever it is.
        self.lost = False

    @property
    def canceled(self) -> bool:
        """Whether the step should stop."""
        return self._event.is_set()

    def cancel(self, reason: str = "", *, by: str | None = None, lost: bool = False) -> None:
        """Ask the step to stop; only the first call's reason counts. Callbacks run in this thread."""
        with self._lock:
            if self._event.is_set():
                return
            self.reason, self.by, self.lost = reason, by, lost
            self._event.set()
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()

    def wait(self, timeout: float | None = None) -> bool:
        """Block until canceled or ``timeout`` seconds have passed; whether it was canceled."""
        return self._event.wait(timeout)

    def on_cancel(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call back when canceled (at once if it already is); returns how to take the callback away."""
        with self._lock:
            if not self._event.is_set():
                self._callbacks.append(callback)
                return lambda: self._forget(callback)
        callback()
        return lambda: None

    def _forget(self, callback: Callable[[], None]) -> None:
        with self._lock:
            if callback in self._callbacks:
                self._callbacks.remove(callback)


class Masking:
    """The secrets that one step may meet: the run's, and those it names itself while it runs."""

    def __init__(self, *maskers: Masker) -> None:
        self._maskers = maskers

    def add(self, *values: str) -> None:
        """Treat these texts as secrets from now on."""
        from .masking import Masker as Values

        self._maskers = (*self._maskers, Values(values))

    def mask(self, text: str) -> str:
        """The text with every secret read as ``***``."""
        for masker in self._maskers:
            text = masker.mask(text)
        return text

    def mask_json(self, value: Json) -> Json:
        """A JSON value with every text in it masked, keys included."""
        if not self._maskers:
            return value
        if isinstance(value, str):
            return self.mask(value)
        if isinstance(value, dict):
            return {self.mask(key): self.mask_json(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.mask_json(item) for item in value]
        if isinstance(value, int | float) and not isinstance(value, bool) and self.contains(value):
            return self.mask(repr(value))
        return value

    def contains(self, value: Json) -> bool:
        """Whether a JSON value holds a secret anywhere, or a piece of one beside a cut."""
        return any(masker.contains(value) for masker in self._maskers)

    def stream(self) -> StreamMask:
        """For a text that comes in pieces; secrets added later count from then on."""
        return _Stream(self)

    def sieves(self) -> list[Sieve]:
        """For bytes that come in pieces and are only looked at."""
        return [masker.sieve() for masker in self._maskers]

    def parts(self) -> tuple[Masker, ...]:
        """The maskers of this moment."""
        return self._maskers


class _Stream:
    def __init__(self, masking: Masking) -> None:
        self._masking = masking
        self._parts = masking.parts()
        self._streams = [masker.stream() for masker in self._parts]

    def feed(self, chunk: str) -> str:
        before = ""
        if self._parts is not self._masking.parts():
            before = self.flush()
            self._parts = self._masking.parts()
            self._streams = [masker.stream() for masker in self._parts]
        for stream in self._streams:
            chunk = stream.feed(chunk)
        return before + chunk

    def flush(self) -> str:
        text = ""
        for stream in self._streams:
            text = stream.feed(text) + stream.flush()
        return text


class NoGuard:
    """For tests and short-lived embedding: nothing watches the worker's death."""

    env: Mapping[str, str] = {}

    def ready(self) -> None:
        """Nothing to do."""

    def look(self) -> None:
        """Nothing to do."""

    def track(self, group: int) -> None:
        """Nothing to do."""

    def untrack(self, group: int) -> None:
        """Nothing to do."""


class MemoryLog:
    """Keeps the log in memory, for tests."""

    def __init__(self, masking: Masking | None = None) -> None:
        self._masking = masking or Masking()
        self._streams: dict[Stream, StreamMask] = {}
        #: What was written, masked, in order.
        self.entries: list[tuple[Stream, str]] = []

    def write(self, text: str, stream: Stream = "log") -> None:
        """Add text."""
        if stream not in self._streams:
            self._streams[stream] = self._masking.stream()
        if masked := self._streams[stream].feed(text):
            self.entries.append((stream, masked))

    def close(self) -> None:
        """Add what was held back."""
        for name, stream in self._streams.items():
            if rest := stream.flush():
                self.entries.append((name, rest))

    def text(self, stream: Stream | None = None) -> str:
        """All of one stream, or of the log as it came."""
        return "".join(text for name, text in self.entries if stream in (None, name))


def no_step(path: str) -> StepSeen | None:
    """A step outside a run sees no other step."""
    return None


@functools.cache
def memory_artifacts() -> ArtifactStore:
    """Files in a temporary folder that goes with this process."""
    from .artifacts import TemporaryArtifacts

    return TemporaryArtifacts()


def memory_projection() -> Projection:
    """An empty database in memory."""
    from .tables import connect

    return connect(":memory:")


def plain_document(text: str, scope: Mapping[str, Json]) -> str:
    """A full template with nothing in scope but these names."""
    from .template import Expressions

    return str(Expressions().document(text).render(dict(scope)))


def forget(*_: Json) -> None:
    """Takes what nobody listens to."""


@dataclass(frozen=True, kw_only=True)
class Ports:
    """Everything a worker lends to one step."""

    masking: Masking = field(default_factory=Masking)
    log: LogSink = field(default_factory=MemoryLog)
    artifacts: ArtifactStore = field(default_factory=memory_artifacts)
    #: A step of the run by id (nearest first) or path; None when there is none.
    steps: Callable[[str], StepSeen | None] = no_step
    serializers: Serializers = field(default_factory=Serializers)
    #: Opens the package's projection; the caller closes it.
    projection: Callable[[], Projection] = memory_projection
    cancel: CancelToken = field(default_factory=CancelToken)
    guard: ProcessGuard = field(default_factory=NoGuard)
    clock: Clock = field(default_factory=SystemClock)
    limits: Limits = Limits()
    #: Which addresses steps may reach, as the setting ``http_addresses`` says it; see ``addresses.reach``.
    addresses: str = "default"
    #: Renders a full template with the step's scope and these names above it.
    render_document: Callable[[str, Mapping[str, Json]], str] = plain_document
    #: Takes ``{done, total, message}`` while the step runs.
    progress: Callable[[Mapping[str, Json]], None] = forget
    #: Says that the step is alive: the lease is renewed.
    heartbeat: Callable[[], None] = forget
