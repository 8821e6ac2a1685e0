"""Calls in a process of their own: mode ``process``, and steps that were lost together with their worker.

The child is told over a socket what to call and with what; over the same socket it says what stands in the log, asks what
only the worker knows, and tells its outcome, all as JSON lines. Whatever becomes of the child (a segfault, ``os._exit``,
a kill for want of memory) is the failure of this one step.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..context import StepContext
from ..errors import Permanent, Retryable, StepFault
from ..faults import error_of
from ..folders import home_of
from ..outcome import Json, Outcome
from . import apart_child, executor_of
from .apart_child import outcome_from, said_of
from .processes import Ended, run, signal_name

if TYPE_CHECKING:
    from . import Executor

#: Bytes of one line: an outcome with all that it emits and records.
LINE = 64 * 1024 * 1024
#: Seconds in which what an ended child has said must be read; a process that it left may hold the socket.
LATE = 5.0


async def call_apart(executor: Executor, step: StepContext) -> Outcome:
    """Call an executor in a process of its own; raises what stands for a child that ended without an outcome."""
    where = where_of(executor)
    if where is None:
        raise Permanent("bad_input", f'kind "{executor.kind}": {NOT_FOUND}')
    ours, theirs = socket.socketpair()
    with theirs, ours:
        reader, writer = await asyncio.open_connection(sock=ours, limit=LINE)
        ear = Ear(step)
        try:
            writer.write(line_of(request_of(step, where)))
            listening = asyncio.create_task(ear.listen(reader, writer))
            try:
                ended = await run(
                    [sys.executable, "-P", "-u", "-X", "utf8", apart_child.__file__, str(theirs.fileno())],
                    step,
                    env=os.environ,
                    cwd=Path.cwd(),
                    pass_fds=(theirs.fileno(),),
                )
                theirs.close()
                await asyncio.wait((listening,), timeout=LATE)
            finally:
                listening.cancel()
        finally:
            writer.close()
            ear.clear()
    if ear.outcome is None:
        raise ear.trouble or failure_of(ended)
    return ear.outcome


#: Why a function cannot be called in another process.
NOT_FOUND = (
    "another process cannot find its function; declare it at the top of a module that can be imported, "
    "not within a function, and not as a method"
)


def where_of(executor: Executor) -> dict[str, Json] | None:
    """Where a child finds the function of an executor; None when it cannot."""
    function = executor.call
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", "<locals>")
    found: Any = sys.modules.get(module or "")
    for part in name.split("."):
        found = getattr(found, part, None)
    declared = executor_of(found)
    if module is None or declared is None or declared.kind != executor.kind:
        return None
    home = home_of(module)
    if home is not None:
        return {"folder": str(home[0]), "module": home[1], "name": name}
    if module == "__main__":
        file = getattr(sys.modules[module], "__file__", None)
        return None if file is None else {"file": os.path.abspath(file), "name": name}
    return {"module": module, "name": name}


def request_of(step: StepContext, where: Mapping[str, Json]) -> Json:
    """What the child is told: where the function is, and all plain things that its step knows."""
    return {
        "where": where,
        "path": [os.path.abspath(each) for each in sys.path],
        "remaining": step.remaining,
        "limits": said_of(step.ports.limits),
        "addresses": step.ports.addresses,
        "run": said_of(step.run),
        "step": said_of(step.step),
        "lease": said_of(step.lease),
        "context": {
            "raw_input": step.raw_input,
            "attempt": step.attempt,
            "context": dict(step.context),
            "env": dict(step.env),
            "kill_grace": step.kill_grace,
            "now_ms": step.now_ms,
        },
        "package_dir": None if step.package_dir is None else str(step.package_dir.absolute()),
        "plugin_dirs": [str(folder.absolute()) for folder in step.plugin_dirs],
        "scratch": str(step.dir.absolute()),
    }


def line_of(value: Json) -> bytes:
    """A message: one line."""
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"


class Ear:
    """Hears what a child says, and answers what it asks."""

    def __init__(self, step: StepContext) -> None:
        self._step = step
        self._folder: Path | None = None
        self._answers: Mapping[str, Callable[..., Json]] = {
            "step": self._look,
            "mask": step.mask,
            "put": self._put,
            "open": self._open,
            "projection": self._projection,
            "document": step.ports.render_document,
        }
        #: What the child told at its end.
        self.outcome: Outcome | None = None
        #: Why what it said could not be read.
        self.trouble: StepFault | None = None

    async def listen(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take in one message after the other, until the child closes its end."""
        try:
            while line := await reader.readline():
                await self._take(json.loads(line), writer)
        except ConnectionError:
            """The child is gone."""
        except ValueError:
            self.trouble = Permanent(
                "bad_result", f"what the step said is no line of JSON, or longer than {LINE:,} bytes"
            )
            # Nobody reads on: the child finds that out at its next word, and ends.
            writer.close()

    async def _take(self, said: dict[str, Json], writer: asyncio.StreamWriter) -> None:
        if "log" in said:
            self._step.ports.log.write(said["log"], said["stream"])
        elif "progress" in said:
            self._step.progress(**said["progress"])
        elif "heartbeat" in said:
            self._step.ports.heartbeat()
        elif "outcome" in said:
            self.outcome = outcome_from(said["outcome"])
        else:
            writer.write(line_of(await asyncio.to_thread(self._answered, said["ask"], said["with"])))
            await writer.drain()

    def _answered(self, question: str, given: list[Json]) -> Json:
        try:
            return {"value": self._answers[question](*given)}
        except Exception as fault:
            return {"error": error_of(fault).to_json()}

    def _look(self, name: str) -> Json:
        seen = self._step.dependency(name)
        return None if seen is None else said_of(seen)

    def _put(self, name: str, file: str, more: Mapping[str, Json]) -> Json:
        step = self._step
        # Not kept with our own step: the child's outcome names it.
        kept = step.ports.artifacts.put(
            step.run.key, step.step.path, name, Path(file), **more, limit=step.ports.limits.artifact
        )
        return said_of(kept)

    def _open(self, artifact: Mapping[str, Json]) -> str:
        """The bytes of an artifact, checked and copied to where the child can read them; the path."""
        if self._folder is None:
            self._folder = self._step.dir / f".apart-{os.urandom(8).hex()}"
            self._folder.mkdir()
        copy = self._folder / os.urandom(8).hex()
        with self._step.open_artifact(artifact) as stream, copy.open("wb") as out:
            shutil.copyfileobj(stream, out)
        return str(copy.absolute())

    def _projection(self) -> str:
        """The file of the projection, brought up to date."""
        with self._step.projection() as connection:
            return str(connection.execute("pragma database_list").fetchone()[2])

    def clear(self) -> None:
        """Remove what the child was lent."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


class ProcessGone(Retryable):
    """The process of a call ended before the call did."""


def failure_of(ended: Ended) -> ProcessGone:
    """The error of a call whose process ended before it could tell its outcome."""
    details = {
        "exit_code": ended.exit_code,
        "signal": signal_name(ended.signal),
        "stderr": ended.stderr.decode("utf-8", "replace"),
    }
    return ProcessGone("exit_status", f"{ended.how}, before the step returned", details=details)
