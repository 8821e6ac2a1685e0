"""Run in a child process: one call of one executor, its outcome told to the worker over a socket; see ``apart``.

SIGTERM, with which a step is told to stop, is raised in the function as ``Canceled``. The process ends as soon as the
outcome is told: threads that the function has left running end with it.
"""

from __future__ import annotations

import contextlib
import faulthandler
import importlib
import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import IO, TYPE_CHECKING, Any

if __name__ == "__main__":
    # Run as a file: yamlflow is found where this file is, whatever else is installed.
    sys.path.append(str(Path(__file__).parents[2]))

from yamlflow.clock import SystemClock
from yamlflow.errors import Canceled, Permanent, Retryable
from yamlflow.facts import LeaseInfo, RunInfo, StepInfo, StepSeen
from yamlflow.outcome import (
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

if TYPE_CHECKING:
    from yamlflow.context import StepContext
    from yamlflow.executors import Executor
    from yamlflow.ports import Masking, Stream
    from yamlflow.tables import Projection

OUTCOMES: Mapping[str, type] = {
    each.__name__: each for each in (Succeeded, Failed, Waiting, Asking, StartRun, ContinueAsNew, CancelStep)
}
#: Fields of outcomes, and of what travels in them, that hold one of these, or several.
NESTED: Mapping[str, type] = {
    "emitted": Emitted, "artifacts": Artifact, "records": Record, "signals": Signal, "error": Error, "start": StartRun,
}  # fmt: skip


def said_of(value: Any) -> Json:
    """A frozen type of ours, with all that is in it, as JSON."""
    if is_dataclass(value):
        return {field.name: said_of(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {name: said_of(each) for name, each in value.items()}
    return [said_of(each) for each in value] if isinstance(value, list | tuple) else value


def outcome_of(outcome: Outcome) -> Json:
    """An outcome as JSON."""
    return {"is": type(outcome).__name__, **said_of(outcome)}


def outcome_from(said: Mapping[str, Json]) -> Outcome:
    """The outcome that ``outcome_of`` wrote."""
    outcome: Outcome = revived(OUTCOMES[said["is"]], {name: value for name, value in said.items() if name != "is"})
    return outcome


def revived(kind: type, said: Mapping[str, Json]) -> Any:
    """One of the words of ``outcome``, from its fields."""
    return kind(**{name: nested(NESTED[name], value) if name in NESTED else value for name, value in said.items()})


def nested(kind: type, value: Json) -> Any:
    """What a field holds."""
    if isinstance(value, list):
        return tuple(revived(kind, each) for each in value)
    return None if value is None else revived(kind, value)


class Mouth:
    """Speaks to the worker, and asks it: one thread at a time."""

    def __init__(self, end: socket.socket) -> None:
        self._stream = end.makefile("rwb")
        # Whoever is canceled while it speaks must not wait for itself.
        self._lock = threading.RLock()

    def read(self) -> Any:
        """The worker's next word."""
        line = self._stream.readline()
        if not line:
            # The worker is gone, and with it everybody who would take our outcome.
            os._exit(1)
        return json.loads(line)

    def say(self, said: Mapping[str, Json]) -> None:
        """One message."""
        line = json.dumps(said, separators=(",", ":")).encode() + b"\n"
        with self._lock, held():
            try:
                self._stream.write(line)
                self._stream.flush()
            except OSError:
                os._exit(1)

    def ask(self, question: str, *given: Json) -> Any:
        """The worker's answer; raises what it says went wrong."""
        with self._lock, held():
            self.say({"ask": question, "with": given})
            answer = self.read()
        if "error" not in answer:
            return answer["value"]
        error = Error.from_json(answer["error"])
        raise (Permanent if error.permanent else Retryable)(error.code, error.message, details=error.details)


@contextlib.contextmanager
def held() -> Any:
    """Let no cancel come between the words of one message."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Log:
    """The worker's log of this attempt."""

    def __init__(self, mouth: Mouth) -> None:
        self._mouth = mouth

    def write(self, text: str, stream: Stream = "log") -> None:
        """Add text."""
        self._mouth.say({"log": text, "stream": stream})

    def close(self) -> None:
        """The worker closes it."""


class Artifacts:
    """The worker's artifact store."""

    def __init__(self, mouth: Mouth) -> None:
        self._mouth = mouth

    def put(
        self, run: str, step: str, name: str, source: bytes | str | Path | IO[bytes], *, content_type: str | None = None,
        kind: str | None = None, metadata: Mapping[str, str] | None = None, limit: int | None = None,
    ) -> Artifact:  # fmt: skip
        """Keep a file: the worker reads it."""
        import shutil
        import tempfile

        more = {"content_type": content_type, "kind": kind, "metadata": None if metadata is None else dict(metadata)}
        if isinstance(source, str | Path):
            return Artifact(**self._mouth.ask("put", name, os.path.abspath(source), more))
        with tempfile.NamedTemporaryFile(prefix="yamlflow-") as copy:
            if isinstance(source, bytes):
                copy.write(source)
            else:
                shutil.copyfileobj(source, copy)
            copy.flush()
            return Artifact(**self._mouth.ask("put", name, copy.name, more))

    def open(self, artifact: Artifact | Mapping[str, Json], *, verify: bool = True) -> IO[bytes]:
        """Its bytes, which the worker has checked."""
        known = artifact.to_json() if isinstance(artifact, Artifact) else dict(artifact)
        path = Path(self._mouth.ask("open", known))
        stream = path.open("rb")
        path.unlink()
        return stream

    def remove_run(self, run: str) -> None:
        """No step's affair."""
        raise Permanent("bad_input", "a step cannot remove a run")


def masking_of(mouth: Mouth) -> Masking:
    """What a step names as secret while it runs, the worker treats as one before the step goes on."""
    from yamlflow.ports import Masking

    class Told(Masking):
        def add(self, *values: str) -> None:
            for value in values:
                mouth.ask("mask", value)
            super().add(*values)

    return Told()


def context_of(request: Mapping[str, Json], mouth: Mouth, module: Any) -> StepContext:
    """The step as its executor sees it, its ports the worker's."""
    from yamlflow.context import StepContext
    from yamlflow.ports import CancelToken, Limits, Ports
    from yamlflow.serializers import Serializers
    from yamlflow.tables import connect

    def seen(name: str) -> StepSeen | None:
        found = mouth.ask("step", name)
        if found is None:
            return None
        artifacts = {name: Artifact(**each) for name, each in found.pop("artifacts").items()}
        error = found.pop("error")
        return StepSeen(**found, artifacts=artifacts, error=error and Error(**error))

    def projection() -> Projection:
        return connect(mouth.ask("projection"))

    declared = getattr(module, "yamlflow_serializers", None)
    clock, token = SystemClock(), CancelToken()
    remaining = request["remaining"]

    def stop(*_: object) -> None:
        token.cancel("the step was told to stop")
        raise Canceled(token.reason)

    signal.signal(signal.SIGTERM, stop)
    ports = Ports(
        masking=masking_of(mouth), log=Log(mouth), artifacts=Artifacts(mouth), steps=seen, projection=projection,
        serializers=Serializers(declared() if declared is not None else ()),
        cancel=token, clock=clock, limits=Limits(**request["limits"]), addresses=request["addresses"],
        render_document=lambda text, values: str(mouth.ask("document", text, dict(values))),
        progress=lambda said: mouth.say({"progress": dict(said)}),
        heartbeat=lambda: mouth.say({"heartbeat": True}),
    )  # fmt: skip
    return StepContext(
        **request["context"],
        input=request["context"]["raw_input"],
        run=RunInfo(**request["run"]), step=StepInfo(**request["step"]), lease=LeaseInfo(**request["lease"]),
        package_dir=None if request["package_dir"] is None else Path(request["package_dir"]),
        plugin_dirs=[Path(folder) for folder in request["plugin_dirs"]], scratch=Path(request["scratch"]),
        deadline_at=None if remaining is None else clock.steady() + round(remaining * 1000),
        ports=ports,
    )  # fmt: skip


def found(where: Mapping[str, Json]) -> tuple[Executor, Any]:
    """The executor, and the module that it stands in; raises what the import raises."""
    from yamlflow.executors import executor_of
    from yamlflow.folders import import_from

    if "folder" in where:
        module: Any = import_from(Path(where["folder"]), where["module"])
    elif "file" in where:
        import runpy

        module = SimpleNamespace(**runpy.run_path(where["file"], run_name="__yamlflow_main__"))
    else:
        module = importlib.import_module(where["module"])
    thing = module
    for name in where["name"].split("."):
        thing = getattr(thing, name)
    executor = executor_of(thing)
    assert executor is not None, f"{where['name']} is no executor any more"
    return executor, module


def called(request: Mapping[str, Json], mouth: Mouth) -> Outcome:
    """What comes of the call."""
    from yamlflow.executors import execute, execute_async
    from yamlflow.faults import error_of

    try:
        executor, module = found(request["where"])
    except BaseException as fault:
        return Failed(error=error_of(fault))
    step = context_of(request, mouth, module)
    if not executor.is_async:
        return execute(replace(executor, mode="thread"), step)
    import asyncio

    return asyncio.run(execute_async(replace(executor, mode="async"), step))


def main(descriptor: int) -> None:
    """Do what the worker asks, and tell it what came of it."""
    end = socket.socket(fileno=descriptor)
    end.set_inheritable(False)
    faulthandler.enable()
    mouth = Mouth(end)
    request = mouth.read()
    sys.path[:] = request["path"]
    outcome = called(request, mouth)
    # Too late to be canceled: what was done is told.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    mouth.say({"outcome": outcome_of(outcome)})
    os._exit(0)


if __name__ == "__main__":
    main(int(sys.argv[1]))
