"""Child processes of a step: started in a group of their own, read in pieces, ended for certain.

The output is never whole in memory: each piece goes to the log, the end of it is kept. A group ends with its first
process: what that one left running is killed. When the awaiting task is canceled the group gets SIGTERM, and SIGKILL
after the grace. Nothing here knows what is run.
"""

from __future__ import annotations

import codecs
import contextlib
import errno
import json
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal

from ..context import StepContext
from ..errors import Permanent, Retryable
from . import limited

if TYPE_CHECKING:
    import asyncio
    import subprocess

PIECE = 256 * 1024
#: One string of the environment or one argument, with its ending NUL: what Linux's execve takes at most.
STRING_LIMIT = 128 * 1024
#: Seconds that output is still read after the end, where a process that left the group holds the pipe.
LINGER = 0.2
#: Pieces that are still read then: an endless writer is not waited for.
LINGER_PIECES = 64
#: Looks for what a command left running: one that is about to be killed may start another.
SWEEPS = 10
#: Of these are named in the log.
NAMED = 5
#: Seconds after SIGKILL in which a process must be gone; one that hangs in the kernel is given up.
UNKILLABLE = 5.0
#: How often processes that left their group are looked for at an end, and the seconds in between.
LOOKS, LOOK = 20, 0.01
#: In the environment of a command and of all it starts, so that those that left the group are found.
MARK = "YAMLFLOW_COMMAND"


#: What a signal says of how a process came to it.
HINTS: Mapping[int, str] = {
    signal.SIGXCPU: " (it used up the processor time it may have)",
    signal.SIGXFSZ: " (it wrote a larger file than it may)",
}


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a process ended."""

    #: The exit status; 128 + N when signal N ended it.
    exit_code: int
    #: The signal that ended it; None when it exited by itself.
    signal: int | None
    #: The end of what it wrote, as it came.
    stdout: bytes
    #: Bytes written in all.
    stdout_size: int
    stderr: bytes
    stderr_size: int
    #: The system says that it killed something for want of memory meanwhile.
    out_of_memory: bool = False

    @property
    def how(self) -> str:
        """A clause for people."""
        if self.exit_code == 128 + signal.SIGKILL:
            words = "the system ran out of memory" if self.out_of_memory else "often the system ran out of memory"
            return f"killed with SIGKILL (exit status 137); {words}"
        if self.signal is not None:
            return f"ended by {signal_name(self.signal)}{HINTS.get(self.signal, '')}"
        hint = {126: " (it may not be executed)", 127: " (command not found)"}.get(self.exit_code, "")
        return f"exit status {self.exit_code}{hint}"


def signal_name(number: int | None) -> str | None:
    """``SIGTERM`` for 15."""
    if number is None:
        return None
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


class Tail:
    """The last ``limit`` bytes of a stream."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept = bytearray()
        self.size = 0

    def add(self, piece: bytes) -> None:
        """Take the next piece."""
        self.size += len(piece)
        self._kept += piece
        if len(self._kept) > 2 * self._limit + PIECE:
            del self._kept[: -self._limit]

    def content(self) -> bytes:
        """What is kept."""
        return bytes(self._kept[-self._limit :])


class Output:
    """One pipe of a child: read when there is something, to the log and to the tail."""

    def __init__(
        self,
        pipe: IO[bytes],
        stream: Literal["stdout", "stderr"],
        step: StepContext,
        keep: int,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._loop = loop
        self._fd = pipe.fileno()
        self._pipe = pipe
        self._stream = stream
        self._log = step.ports.log
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.tail = Tail(keep)
        #: Done when nothing more will come.
        self.ended: asyncio.Future[None] = loop.create_future()
        os.set_blocking(self._fd, False)
        loop.add_reader(self._fd, self.read)

    def read(self) -> bool:
        """Take one piece; whether there may be more just now."""
        try:
            piece = os.read(self._fd, PIECE)
        except BlockingIOError:
            return False
        except OSError:
            piece = b""
        if not piece:
            self.close()
            return False
        self.tail.add(piece)
        self._say(self._decoder.decode(piece))
        return True

    def _say(self, text: str) -> None:
        """To the log; where its disk is full the command goes on without it."""
        if text:
            with contextlib.suppress(OSError):
                self._log.write(text, self._stream)

    def __enter__(self) -> Output:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Nothing more is read."""
        if self.ended.done():
            return
        self.ended.set_result(None)
        self._loop.remove_reader(self._fd)
        self._pipe.close()
        self._say(self._decoder.decode(b"", final=True))


async def run(
    command: Sequence[str],
    step: StepContext,
    *,
    env: Mapping[str, str],
    cwd: Path,
    stdin: bytes | None = None,
    keep_stdout: int | None = None,
    pass_fds: Sequence[int] = (),
    limits: Mapping[str, int] | None = None,
) -> Ended:
    """Run a command to its end; ``keep_stdout`` bytes of its stdout are kept (the step's tail limit by default).

    It inherits the descriptors ``pass_fds``, and ``limits`` are its resource limits, by the names of ``resource`` in small
    letters.

    Raises ``Permanent`` (``bad_input``) for a command, environment or folder the system cannot take, ``Retryable``
    (``spawn_failed``) where it lacks processes, memory or descriptors.
    """
    import asyncio

    loop = asyncio.get_running_loop()
    tail = step.ports.limits.tail
    # Not the step's name: another run of the same name, of another project, may be on this machine.
    mark = os.urandom(12).hex()
    killed = kills()
    if limits:
        command = [sys.executable, "-I", "-S", limited.__file__, json.dumps(dict(limits)), *command]
    step.ports.guard.ready()
    process = _start(command, {**env, **step.ports.guard.env, MARK: mark}, cwd, stdin, pass_fds)
    try:
        step.ports.guard.track(process.pid)
        assert process.stdout is not None
        assert process.stderr is not None
        with (
            Output(process.stdout, "stdout", step, tail if keep_stdout is None else keep_stdout, loop) as out,
            Output(process.stderr, "stderr", step, tail, loop) as err,
        ):
            await _until_dead(process, mark, step, (out, err))
    finally:
        if process.poll() is None:
            # Only where the system refused us what it takes to watch a process.
            signal_group(process.pid, signal.SIGKILL)
        step.ports.guard.untrack(process.pid)
    code = process.returncode or 0
    return Ended(
        exit_code=128 - code if code < 0 else code,
        signal=-code if code < 0 else None,
        stdout=out.tail.content(),
        stdout_size=out.tail.size,
        stderr=err.tail.content(),
        stderr_size=err.tail.size,
        out_of_memory=code == -signal.SIGKILL and kills() > killed,
    )


async def _until_dead(
    process: subprocess.Popen[bytes], mark: str, step: StepContext, outputs: Sequence[Output]
) -> None:
    """Wait for the first process to end; then, or when canceled, end the whole group and read what is left."""
    import asyncio

    loop = asyncio.get_running_loop()
    with _watched(process, loop) as exited:
        try:
            await asyncio.shield(exited)
        except asyncio.CancelledError:
            ending = loop.create_task(_end(process, mark, step.kill_grace, exited))
            while not ending.done():
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.shield(ending)
            process.poll()
            raise
        # Not reaped yet: the group's number cannot be another's.
        end_leftovers(mark, process.pid, step)
    process.wait()
    await _drain(outputs)


async def _end(process: subprocess.Popen[bytes], mark: str, grace: float, exited: asyncio.Future[None]) -> None:
    """SIGTERM, the grace, SIGKILL; and those that left the group."""
    import asyncio

    strayed = strays(mark, process.pid)
    signal_group(process.pid, signal.SIGTERM)
    for pid in strayed:
        signal_one(pid, signal.SIGTERM)
    await asyncio.wait((exited,), timeout=grace)
    signal_group(process.pid, signal.SIGKILL)
    for _ in range(LOOKS):
        left = strays(mark, process.pid)
        for pid in left:
            signal_one(pid, signal.SIGKILL)
        if not left and not any(pid > process.pid and _begins(pid) for pid in _processes()):
            break
        await asyncio.sleep(LOOK)
    await asyncio.wait((exited,), timeout=UNKILLABLE)


async def _drain(outputs: Sequence[Output]) -> None:
    """Read what the pipes still hold; they end at once unless a process that left the group keeps them open."""
    import asyncio

    for output in outputs:
        for _ in range(LINGER_PIECES):
            if output.ended.done() or not output.read():
                break
    await asyncio.wait([output.ended for output in outputs], timeout=LINGER)


@contextlib.contextmanager
def _watched(process: subprocess.Popen[bytes], loop: asyncio.AbstractEventLoop) -> Iterator[asyncio.Future[None]]:
    """A future that is done when the process has ended and is not reaped yet (where the system can say so)."""
    exited: asyncio.Future[None] = loop.create_future()

    def ended() -> None:
        if not exited.done():
            exited.set_result(None)

    if not hasattr(os, "pidfd_open"):
        import threading

        def wait() -> None:
            process.wait()
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(ended)

        threading.Thread(target=wait, daemon=True).start()
        yield exited
        return
    fd = os.pidfd_open(process.pid)
    loop.add_reader(fd, ended)
    try:
        yield exited
    finally:
        loop.remove_reader(fd)
        os.close(fd)


def _start(
    command: Sequence[str], env: Mapping[str, str], cwd: Path, stdin: bytes | None, pass_fds: Sequence[int]
) -> subprocess.Popen[bytes]:
    import subprocess
    import tempfile

    _judge(command, env, cwd)
    try:
        with contextlib.ExitStack() as stack:
            source: IO[bytes] | int = subprocess.DEVNULL
            if stdin is not None:
                source = stack.enter_context(tempfile.TemporaryFile())
                source.write(stdin)
                source.seek(0)
            process = subprocess.Popen(
                list(command),
                stdin=source,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=cwd,
                env=env,
                start_new_session=True,
                bufsize=0,
                pass_fds=pass_fds,
            )
    except OSError as wrong:
        raise _refusal(wrong, command) from wrong
    return process


def _judge(command: Sequence[str], env: Mapping[str, str], cwd: Path) -> None:
    for name, value in env.items():
        if "\0" in name or "\0" in value or "=" in name or not name:
            raise Permanent("bad_input", f"env {name!r}: a NUL, or a name that is empty or has =, cannot be passed on")
        if len(encoded(value, f"env {name!r}")) + len(encoded(name, "the name of a variable")) + 2 > STRING_LIMIT:
            raise Permanent("bad_input", f"env {name}: the value is too large for an environment; pass it with stdin:")
    for argument in command:
        if "\0" in argument:
            raise Permanent("bad_input", "an argument holds a NUL character, which no program can be given")
        if len(encoded(argument, "an argument")) + 1 > STRING_LIMIT:
            raise Permanent("bad_input", "an argument is too large for a command line; pass it with stdin:")
    if not cwd.is_dir():
        raise Permanent("bad_input", f"cwd: {cwd} is not a folder")


def encoded(text: str, what: str) -> bytes:
    """A text as a program is given it. ``Permanent`` (``bad_input``) for one that no bytes stand for."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise Permanent("bad_input", f"{what} holds half a surrogate pair, which no program can be given") from None


#: errno → (permanent, what to say).
REFUSALS = {
    errno.E2BIG: (True, "environment and arguments together are too large; pass the large one with stdin:"),
    errno.ENOENT: (True, "there is no such program"),
    errno.ENOTDIR: (True, "there is no such program or folder"),
    errno.EACCES: (True, "it may not be executed"),
    errno.ENOEXEC: (True, "it is no program; a script starts with a line like #!/bin/sh"),
    errno.EAGAIN: (False, "the system has no room for another process"),
    errno.ENOMEM: (False, "the system has no memory for another process"),
    errno.EMFILE: (False, "the worker has no file descriptors left"),
    errno.ENFILE: (False, "the system has no file descriptors left"),
    errno.ENOSPC: (False, "the temporary folder is full"),
}


def _refusal(wrong: OSError, command: Sequence[str]) -> Permanent | Retryable:
    permanent, words = REFUSALS.get(wrong.errno or 0, (False, wrong.strerror or str(wrong)))
    message = f"{command[0] if command else 'nothing'} cannot be started: {words}"
    return Permanent("bad_input", message) if permanent else Retryable("spawn_failed", message)


def signal_group(group: int, number: int) -> None:
    """Signal every process of a group; nothing happens when there is none."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def signal_one(pid: int, number: int) -> None:
    """Signal one process; nothing happens when it is gone."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def end_leftovers(mark: str, group: int, step: StepContext) -> None:
    """A command has ended by itself: end what it left running, in its group and out of it, and say so in the log."""
    left = marked(mark, group)
    names = [_name_of(pid) for pid in left]
    signal_group(group, signal.SIGKILL)
    if not left:
        return
    for _ in range(SWEEPS):
        for pid in left:
            signal_one(pid, signal.SIGKILL)
        # Meanwhile one of them may have started another.
        left = [pid for pid in marked(mark, group) if pid not in left]
        if not left:
            break
    if known := [name for name in names if name]:
        more = f" and {len(known) - NAMED} more" if len(known) > NAMED else ""
        with contextlib.suppress(OSError):
            step.ports.log.write(f"[ended what the command left running: {', '.join(known[:NAMED])}{more}]\n", "note")


def strays(mark: str, group: int) -> list[int]:
    """Processes of a command that have left its group; only where ``/proc`` tells."""
    return [pid for pid in marked(mark, group) if _group_of(pid) not in (group, None)]


def marked(mark: str, first: int) -> list[int]:
    """Processes that a command has started and that have not ended, but for the first; only where ``/proc`` tells."""
    if not sys.platform.startswith("linux"):
        return []
    carried = f"{MARK}={mark}".encode()
    # Numbers are given out in order: looking at those below costs far more than it finds, unless they began anew.
    lowest = first if _newest() > first else 0
    return [pid for pid in _processes() if pid > lowest and pid != first and _carries(pid, carried)]


def _newest() -> int:
    """The number of the process that was started last."""
    try:
        with open("/proc/loadavg", "rb") as stream:
            return int(stream.read().split()[-1])
    except (OSError, ValueError):
        return 0


def _name_of(pid: int) -> str | None:
    """What a process is called, and its number; None when it is gone."""
    try:
        with open(f"/proc/{pid}/comm", "rb") as stream:
            return f"{stream.read().decode('utf-8', 'replace').strip()} (process {pid})"
    except OSError:
        return None


def kills() -> int:
    """How often the system has killed a process for want of memory since it started, in whatever cgroup; 0 where it
    does not say."""
    try:
        with open("/proc/vmstat", "rb") as stream:
            _, found, rest = stream.read().partition(b"oom_kill ")
    except OSError:
        return 0
    return int(rest.split(None, 1)[0]) if found else 0


def _processes() -> Iterator[int]:
    return (int(entry) for entry in os.listdir("/proc") if entry.isdecimal())


def _carries(pid: int, carried: bytes) -> bool:
    try:
        with open(f"/proc/{pid}/environ", "rb") as stream:
            return carried in stream.read().split(b"\0")
    except OSError:
        return False


def _begins(pid: int) -> bool:
    """Whether a process is just becoming another program: for that moment it carries nothing, so nobody knows whose it is."""
    try:
        os.readlink(f"/proc/{pid}/exe")
        with open(f"/proc/{pid}/environ", "rb") as stream:
            return not stream.read(1)
    except OSError:
        # Gone, ended, not ours to look at, or one of the kernel's own.
        return False


def _group_of(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except OSError:
        return None
