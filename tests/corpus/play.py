"""Playing a case as a user meets it, and seeing that nothing came of it: no row, no file, no time, no memory.

A command runs in this process with streams and a folder of its own, or as a process (``apart``). The store and every
file of the folder are compared with what was there before.
"""

from __future__ import annotations

import contextlib
import faulthandler
import hashlib
import io
import os
import re
import shlex
import signal
import sqlite3
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from types import FrameType
from typing import Any

import yamlflow
from yamlflow.cli import run as command_line

from .cases import Bytes, Case, Seen, World

ROOT = Path(__file__).parents[2]
#: Seconds of this process, and bytes, within which anything is refused.
PATIENCE, ROOM = 2.0, 200 * 1024 * 1024
#: Seconds after which a case is taken for stuck.
STUCK = 60
#: What a terminal, a log or a line would take for more than text.
UNSEEN = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
#: Characters of one line, and of all, that are still read.
LINE, ALL = 1_000, 8_000


class Stuck(BaseException):
    """A case that does not end."""


@dataclass(frozen=True, kw_only=True)
class Played:
    """What a case came to, and what it left."""

    seen: Seen
    #: Names of files, and "the store", that are new, gone or different.
    changed: tuple[str, ...]
    seconds: float
    #: Bytes above what was used before; None where the system does not say.
    room: int | None

    def faults(self) -> list[str]:
        """What no refusal may do, whatever it says."""
        text = self.seen.says + self.seen.prints
        found = [f"this was left or changed: {name}" for name in self.changed]
        if "Traceback" in text or 'File "' in text or self.seen.exit == 70:
            found.append("a traceback, or a fault of yamlflow itself")
        if unseen := UNSEEN.search(text):
            found.append(f"a character that is no text: {unseen[0]!r}")
        if len(text) > ALL or any(len(line) > LINE for line in text.splitlines()):
            found.append(f"too much is said: {len(text)} characters")
        if self.seconds > PATIENCE:
            found.append(f"it took {self.seconds:.1f} seconds")
        if self.room is not None and self.room > ROOM:
            found.append(f"it took {self.room // 1024**2} MB")
        return found


class Stage:
    """Where cases are played: a folder for each world, made when first asked for and again when a case changed it."""

    def __init__(self, folder: Path, worlds: dict[str, World]) -> None:
        self.folder, self.worlds = folder, worlds
        self._made: dict[str, Path] = {}
        self._count = 0

    def play(self, case: Case, *, apart: bool = False) -> Played:
        """Play one case; ``apart`` as a process of its own, whose time and room nobody measures here."""
        place = self._place(case.given)
        with dressed(place, case.env):
            before_files = put(place, case.files)
            if case.prepare:
                exec(case.prepare, {"Path": Path, "os": os, "sqlite3": sqlite3})
            before = contents(place)
            seen, seconds, room = command_apart(case, place) if apart else here(case, place)
            after = contents(place)
        changed = tuple(sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name)))
        if case.given is not None:
            for name in before_files:
                (place / name).unlink(missing_ok=True)
            if changed or case.prepare:
                del self._made[case.given]
        unwanted = tuple(name for name in changed if not any(fnmatch(name, kept) for kept in case.keeps))
        return Played(seen=seen, changed=unwanted, seconds=seconds, room=room)

    def _place(self, world: str | None) -> Path:
        if world is None:
            return self._empty()
        if world not in self._made:
            self._made[world] = self._make(self.worlds[world])
        return self._made[world]

    def _empty(self) -> Path:
        self._count += 1
        place = self.folder / f"{self._count}"
        place.mkdir()
        return place

    def _make(self, world: World) -> Path:
        place = self._empty()
        with dressed(place, {}):
            put(place, world.files)
            for line in world.setup:
                wanted, _, words = line.rpartition("=> ")
                status, says, prints = commanded(shlex.split(words))
                assert status == int(wanted or 0), f"{world.name}: {words}: {says}{prints}"
            if world.python:
                exec(world.python, {"Path": Path, "os": os, "sqlite3": sqlite3, "yamlflow": yamlflow})
        return place


def put(place: Path, files: dict[str, str | Bytes]) -> list[str]:
    """Write files; their names."""
    for name, content in files.items():
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes_of(content))
    return list(files)


def bytes_of(content: str | Bytes) -> bytes:
    """A file's bytes."""
    if isinstance(content, str):
        return content.encode("utf-8")
    made: bytes = eval(content.expression)
    return made


@contextlib.contextmanager
def dressed(place: Path, env: dict[str, str]) -> Iterator[None]:
    """In a folder, with an environment in which nothing of the tester's own settings is."""
    old_folder, old_env = Path.cwd(), dict(os.environ)
    os.chdir(place)
    for name in [name for name in os.environ if name.startswith("YAMLFLOW_")]:
        del os.environ[name]
    os.environ.update({"COLUMNS": "100", "NO_COLOR": "1", **env})
    try:
        yield
    finally:
        os.chdir(old_folder)
        os.environ.clear()
        os.environ.update(old_env)


# -- playing -------------------------------------------------------------------------------------------------------


def here(case: Case, place: Path) -> tuple[Seen, float, int | None]:
    """Play a case in this process: what it came to, its seconds, and its room."""
    stdin = bytes_of(case.stdin) if case.stdin is not None else b""
    base = reset_peak()
    started = time.process_time()
    try:
        with alarm():
            if case.run is not None:
                status, says, prints = commanded(arguments(case), stdin)
                seen = Seen(exit=status, says=said(says, place), prints=said(prints, place))
            else:
                seen = Seen(exit=None, says=said(called(case.call), place))
    except Stuck:
        seen = Seen(exit=None, says="Traceback: it does not end\n")
    seconds = time.process_time() - started
    peak = reset_peak(reset=False)
    return seen, seconds, None if base is None or peak is None else peak - base


def arguments(case: Case) -> list[str]:
    """The words of a command line, with what `[let]` says in place of `$NAME`."""
    words = shlex.split(case.run or "")
    for name, expression in case.lets.items():
        value = eval(expression)
        text = os.fsdecode(value) if isinstance(value, bytes) else str(value)
        words = [word.replace(f"${name}", text) for word in words]
    return words


def commanded(words: list[str], stdin: bytes = b"") -> tuple[int, str, str]:
    """Call the command line: its exit status, stderr and stdout."""
    out, err = text_stream(), text_stream()
    old = sys.stdin
    sys.stdin = text_stream(stdin)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = command_line(words)
    except Exception:
        return 1, traceback.format_exc(), ""
    finally:
        sys.stdin = old
    return status, content_of(err), content_of(out)


def text_stream(content: bytes = b"") -> io.TextIOWrapper:
    """A stream like the process's own."""
    return io.TextIOWrapper(
        io.BytesIO(content), encoding="utf-8", errors="backslashreplace" if not content else "strict"
    )


def content_of(stream: io.TextIOWrapper) -> str:
    """What was written."""
    stream.flush()
    buffer = stream.buffer
    assert isinstance(buffer, io.BytesIO)
    return buffer.getvalue().decode("utf-8", "backslashreplace")


def called(code: str) -> str:
    """Run Python: the error that it raises, as somebody reads it, or what shows that it was none of ours."""
    scope: dict[str, Any] = {"yamlflow": yamlflow, "Path": Path, "os": os, "sqlite3": sqlite3}
    scope |= {name: getattr(yamlflow, name) for name in yamlflow.__all__}
    opened: list[yamlflow.Client] = []
    for name in ("Client", "Runtime"):
        scope[name] = kept(getattr(yamlflow, name), opened)
    err = text_stream()
    try:
        with contextlib.redirect_stderr(err), contextlib.redirect_stdout(err):
            exec(code, scope)
    except (yamlflow.errors.YamlflowError, TimeoutError) as wrong:
        return f"{type(wrong).__name__}: {wrong}\n"
    except TypeError as wrong:
        # A name or number of arguments that Python itself refuses at the call is as good as a refusal of ours.
        frames = traceback.extract_tb(wrong.__traceback__)
        if frames[-1].filename in ("<string>", __file__):
            return f"TypeError: {wrong}\n"
        return traceback.format_exc()
    except Exception:
        return traceback.format_exc()
    finally:
        for each in opened:
            each.close()
    return f"not refused\n{content_of(err)}"


def kept(sort: type[yamlflow.Client], opened: list[yamlflow.Client]) -> Callable[..., yamlflow.Client]:
    """Makes clients of a sort, to be closed when the case is over."""

    def make(*args: Any, **options: Any) -> yamlflow.Client:
        opened.append(sort(*args, **options))
        return opened[-1]

    return make


def command_apart(case: Case, place: Path) -> tuple[Seen, float, int | None]:
    """Play a command line as a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "yamlflow", *arguments(case)],
        input=bytes_of(case.stdin) if case.stdin is not None else b"",
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        timeout=STUCK * 3,
    )
    says, prints = (said(text.decode("utf-8", "backslashreplace"), place) for text in (done.stderr, done.stdout))
    return Seen(exit=done.returncode, says=says, prints=prints), 0.0, None


@contextlib.contextmanager
def alarm() -> Iterator[None]:
    """Raise ``Stuck`` in a case that does not end; in one that waits where no signal reaches it, end the process."""

    def ring(number: int, frame: FrameType | None) -> None:
        raise Stuck

    old = signal.signal(signal.SIGALRM, ring)
    signal.alarm(STUCK)
    faulthandler.dump_traceback_later(2 * STUCK, exit=True)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
        signal.alarm(0)
        signal.signal(signal.SIGALRM, old)


def said(text: str, place: Path) -> str:
    """A text as it stands in a file: without the folder's name, which differs every time."""
    text = text.replace(f"{place}", "FOLDER").replace(f"{ROOT}", "YAMLFLOW")
    text = re.sub(r"\b(\d+m)?\d+(\.\d+)?m?s\b(?= *$)", "SOME TIME", text, flags=re.MULTILINE)
    return "\n".join(line.rstrip() for line in text.split("\n"))


# -- what was there before and after -------------------------------------------------------------------------------


def contents(place: Path) -> dict[str, str]:
    """Every file below a folder with its hash; of stores their rows, whatever the bytes of the file are."""
    found: dict[str, str] = {}
    for path in sorted(place.rglob("*")):
        name = str(path.relative_to(place))
        if name.endswith(("-wal", "-shm")) or "__pycache__" in name:
            continue
        if path.is_symlink() or not path.is_file():
            found[name] = "no file"
        else:
            found[name] = hashed(path)
    return found


def hashed(path: Path) -> str:
    """A hash of a file, or of the rows of a database."""
    with path.open("rb") as stream:
        is_database = stream.read(15) == b"SQLite format 3"
    if is_database:
        with contextlib.suppress(sqlite3.DatabaseError):
            return rows_of(path)
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def rows_of(path: Path) -> str:
    """A hash of every row of every table."""
    seen = hashlib.sha256()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        for (name,) in connection.execute(
            "select name from sqlite_master where type = 'table' order by name"
        ).fetchall():
            seen.update(name.encode())
            for row in connection.execute(f'select * from "{name}"'):
                seen.update(repr(row).encode())
    return seen.hexdigest()


def reset_peak(*, reset: bool = True) -> int | None:
    """The most memory that was in use since it was last reset, in bytes; None where the system does not say."""
    try:
        if reset:
            Path("/proc/self/clear_refs").write_text("5")
        text = Path("/proc/self/status").read_text()
    except OSError:
        return None
    found = re.search(r"VmHWM:\s+(\d+) kB", text)
    return None if found is None else int(found[1]) * 1024
