"""Everything that can be asked of a store from outside: starting runs, steering them, reading what came of them.

client = Client("sqlite:///var/hello.db")
run = client.start("hello", {"message": "hi"}, run_id="hello-1")
client.run("hello-1").status

A client works on no step; workers do, in this process (``Runtime``) or in others.
"""

from __future__ import annotations

import reprlib
import sqlite3
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from .artifacts import FileArtifacts
from .checks import LONGEST_ID, check_seconds, check_text
from .clock import Clock, SystemClock, wait
from .engine import commands
from .engine.retry import retry
from .engine.starts import IfExists, Start
from .engine.work import Work
from .errors import NotAllowed, StartRefused, StoreUnavailable, UnknownName, UserError
from .keeping import Keeping
from .outcome import Json
from .packages import Loaded, Plans
from .ports import ArtifactStore
from .projections import Projections
from .results import Results
from .rows import EventRow, RunRow
from .serializers import Serializer, Serializers
from .starting import Finder, Shelf, sound_value
from .store.base import RunFilter, Store
from .store.connection import TRIES
from .store.sqlite import SqliteStore
from .template import Expressions


class Client(Results, Keeping):
    """A store, and the commands on it.

    ``store`` is a URL (``sqlite:///folder/file.db``, ``sqlite:///:memory:``), an open ``sqlite3.Connection`` (left open at
    the end) or a ``Store``. ``home`` is the folder for logs, artifacts and projections: beside the store's file unless
    said otherwise. ``find`` gives a package by name where none was registered, ``serializers`` say how values of your own
    types are stored.
    """

    def __init__(
        self,
        store: str | sqlite3.Connection | Store = "sqlite:///:memory:",
        *,
        synchronous: str = "full",
        clock: Clock | None = None,
        home: str | Path | None = None,
        artifacts: ArtifactStore | None = None,
        on_event: Callable[[EventRow], None] | None = None,
        find: Finder | None = None,
        expressions: Expressions | None = None,
        serializers: Iterable[Serializer] = (),
    ) -> None:
        self.clock = clock or SystemClock()
        check_store(store, synchronous)
        # What can be refused is refused before anything is opened.
        known = Serializers(serializers)
        self.store: Store = (
            SqliteStore(store, synchronous=synchronous) if isinstance(store, str | sqlite3.Connection) else store
        )
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self.home = self._home(home)
        self.plans = Plans(self.store)
        self.expressions = expressions or Expressions()
        self.shelf = Shelf(self.store, clock=self.clock, expressions=self.expressions, find=find, serializers=known)
        self.projections = Projections(self.home, self.store)  # type: ignore[arg-type]
        self.artifact_store = artifacts or FileArtifacts(self.home / "artifacts")
        self._on_event = on_event

    def _home(self, home: str | Path | None) -> Path:
        if home is not None:
            return Path(home).absolute()
        path = getattr(self.store, "path", "")
        if path and path != ":memory:":
            return Path(path).absolute().parent
        self._temporary = tempfile.TemporaryDirectory(prefix="yamlflow-")
        return Path(self._temporary.name)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the store; a connection that was lent stays open."""
        self.store.close()
        # Whoever asks for more is told why there is none.
        self.store = Closed()
        if self._temporary is not None:
            self._temporary.cleanup()

    def transaction(self) -> AbstractContextManager[Work]:
        """One transaction of the engine on this store."""
        return commands.transact(self.store, self.plans, self.clock, on_event=self._on_event, tries=TRIES)

    # -- packages

    def register(self, one: Loaded) -> None:
        """Make a package known by its name. ``UserError`` when the name is taken."""
        self.shelf.register(one)
        self.plans.add(one)

    def package(self, name: str) -> Loaded:
        """A package by name. ``UnknownName`` when there is none."""
        return self.shelf.get(name)

    def named(self, package: str | Loaded) -> Loaded:
        """A package, or the one of a name. ``UserError`` for what is neither, ``UnknownName``."""
        if isinstance(package, Loaded):
            return package
        if isinstance(package, str):
            return self.package(package)
        raise UserError(f"a package or its name is wanted, not {reprlib.repr(package)}; Package.load(…) reads a file")

    # -- steering runs

    def start(
        self,
        package: str | Loaded,
        inputs: Any = None,
        *,
        run_id: str | None = None,
        name: str | None = None,
        metadata: Mapping[str, Json] | None = None,
        context: Mapping[str, Json] | None = None,
        by: str | None = None,
        if_exists: IfExists = "fail",
        queue: str | None = None,
        use_cache: bool = True,
    ) -> RunRow:
        """Store a run, its inputs checked before anything is kept.

        ``InvalidInput``, ``RunExists``, ``UnknownName``; ``StartRefused`` where ``concurrency`` has no place for it.

        ``inputs`` is a mapping of name to value, or a dataclass or pydantic model that says the same. ``context`` gives
        values that the package declares under ``context`` to every step. Without ``run_id`` it is the package's name and
        8 random characters. A package built in Python is started by a program that has it: elsewhere ``NotAllowed``.
        """
        one = self.named(package)
        self.plans.add(one)
        wanted = self.shelf.prepare(
            one, inputs, run_id=run_id, name=name, metadata=metadata, context=context, by=by, if_exists=if_exists,
            queue=queue, use_cache=use_cache,
        )  # fmt: skip
        return self.start_prepared(wanted)

    def start_prepared(self, wanted: Start) -> RunRow:
        """Store a run that ``shelf.prepare`` has checked. ``RunExists``, ``StartRefused``."""
        with self._starting(wanted) as work:
            row, _ = commands.start(work, wanted)
        return row

    @contextmanager
    def _starting(self, wanted: Start) -> Iterator[Work]:
        """A transaction that may start a run; the log of the run whose place it would have had tells of a refusal."""
        try:
            with self.transaction() as work:
                yield work
        except StartRefused as full:
            with self.transaction() as work:
                commands.tell_refusal(work, full, wanted)
            raise

    def cancel(self, run_id: str, step: str = "", *, reason: str = "", by: str = "", force: bool = False) -> bool:
        """Cancel a run, or a step of it; False when it has ended already. ``UnknownName``.

        With ``force`` not even handlers run.
        """
        check_text(reason, "reason")
        check_text(by, "name of who cancels")
        with self.transaction() as work:
            return commands.cancel(work, self._run(work, run_id), step, reason=reason, by=by, force=force)

    def signal(
        self, run_id: str, name: str, data: Json = None, *, sender: str | None = None, key: str | None = None
    ) -> bool:
        """Send a signal to a run's newest execution; False when it, or one before it, has had one of that ``key``.

        ``UnknownName`` when there is no such run, ``NotAllowed`` when it has ended, ``InvalidInput`` when the data does not
        fit what its package declares. Once this returns the signal is durable.
        """
        check_signal(name, sender, key)
        value = sound_value(data, self.shelf.serializers.tagger)
        with self.transaction() as work:
            return commands.send(work, self._run(work, run_id), name, value, sender=sender, key=key)

    def signal_or_start(
        self,
        run_id: str,
        name: str,
        data: Json = None,
        *,
        package: str | Loaded,
        inputs: Any = None,
        sender: str | None = None,
        key: str | None = None,
        **options: Any,
    ) -> RunRow:
        """Send a signal to a run, started in the same transaction when no live one has this id; the run.

        A signal of a ``key`` that a run of this id has had, also one that has ended, is not sent again. ``options`` are
        those of ``start``. Raises what ``start`` and ``signal`` raise, and then neither has happened.
        """
        check_signal(name, sender, key)
        value = sound_value(data, self.shelf.serializers.tagger)
        one = self.named(package)
        self.plans.add(one)
        wanted = self.shelf.prepare(one, inputs, run_id=run_id, if_exists="new", **options)
        with self._starting(wanted) as work:
            known: RunRow | None = work.tx.find_run(run_id)
            if known is not None and key is not None and work.tx.has_signal(run_id, key):
                return known
            run = (
                work.run(known.key) if known is not None and known.ended_at is None else commands.start(work, wanted)[0]
            )
            commands.send(work, run, name, value, sender=sender, key=key)
        return run

    def approve(
        self, run_id: str, step: str, *, approved: bool = True, by: str = "", comment: str = "", form: Json = None
    ) -> bool:
        """Answer a step that asks (kind ``approval``); False when it was answered so before.

        ``UnknownName``; ``InvalidInput`` when the form does not fit; ``NotAllowed`` when the step does not ask, or was
        answered otherwise.
        """
        check_text(by, "name of who answers")
        check_text(comment, "comment")
        value = sound_value(form, self.shelf.serializers.tagger)
        with self.transaction() as work:
            run = self._run(work, run_id)
            return commands.answer(work, run, step, approved=approved, by=by, comment=comment, form=value)

    def wait(self, run_id: str, timeout: float | None = None) -> RunRow:
        """Block until a run has ended, its successors included; ``timeout`` in seconds. ``UnknownName``, ``TimeoutError``.

        Of a run whose last execution was removed it gives what is left, the newest that continued. Somebody has to work
        on it meanwhile: a worker in another thread or process.
        """
        check_seconds(timeout, "timeout")
        deadline = None if timeout is None else self.clock.steady() + round(timeout * 1000)
        pause = 2
        while True:
            seen = self.store.version()
            run = self.store.find_run(run_named(run_id))
            if run is None:
                raise UnknownName(f'there is no run "{run_id}"')
            # One that continues ends in the transaction that stores its successor.
            if run.ended_at is not None:
                return run
            while self.store.version() == seen:
                left = None if deadline is None else deadline - self.clock.steady()
                if left is not None and left <= 0:
                    raise TimeoutError(f'run "{run_id}" has not ended within {timeout:g} seconds; it is {run.status}')
                wait(pause if left is None else min(pause, left))
                pause = min(pause * 2, 100)

    def retry(self, run_id: str, step: str = "", *, by: str = "") -> list[str]:
        """Let what failed or was canceled begin anew; the paths that do. ``NotAllowed``, ``UnknownName``."""
        with self.transaction() as work:
            return retry(work, self._run(work, run_id), step, by=by)

    def pause(self, run_id: str, *, paused: bool = True, by: str = "") -> None:
        """Withhold a run's steps from workers, or offer them again."""
        with self.transaction() as work:
            commands.pause(work, self._run(work, run_id), paused=paused, by=by)

    def pause_queue(self, name: str, *, paused: bool = True) -> None:
        """Withhold a queue's steps from workers, or offer them again; by its durable name (``package/queue``)."""
        check_text(name, "queue's name", least=1, most=2 * LONGEST_ID, line=True)
        with self.transaction() as work:
            commands.pause_queue(work, name, paused=paused)

    def forget_cached(self, package: str | None = None, step: str | None = None, key: str | None = None) -> int:
        """Forget results that are kept for later runs, all or those named; how many. A step is a path without keys."""
        with self.transaction() as work:
            return int(work.tx.forget_kept(package=package, step=step, key=key))

    def _run(self, work: Work, run_id: str) -> RunRow:
        row = work.tx.find_run(run_named(run_id))
        if row is None:
            raise UnknownName(f'there is no run "{run_id}"')
        return work.run(row.key)

    # -- looking

    def run(self, run_id: str) -> RunRow | None:
        """A run by id, its newest execution; None when there is none."""
        check_text(run_id, "run id")
        return self.store.find_run(run_id)

    def runs(self, wanted: RunFilter = RunFilter()) -> list[RunRow]:
        """Runs, newest first."""
        return self.store.runs(wanted)


class Closed:
    """What a client that was closed has for a store."""

    def close(self) -> None:
        """Nothing more is to be done."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise NotAllowed("this was closed, and its store with it; make another one on the same store")


def check_store(store: Any, synchronous: str) -> None:
    """Refuse what is no store, and a way to write to the disk that there is not. ``UserError``, ``StoreUnavailable``."""
    if synchronous not in ("full", "normal"):
        raise UserError(f'synchronous must be "full" or "normal"; it is {reprlib.repr(synchronous)}')
    if isinstance(store, str) and store != ":memory:":
        scheme, found, _ = store.partition("://")
        if found and scheme != "sqlite":
            raise StoreUnavailable(f'{store}: no store answers to "{scheme}://"; write sqlite:///folder/file.db')
    elif not isinstance(store, str | sqlite3.Connection) and not hasattr(store, "transaction"):
        words = "a store is a URL (sqlite:///folder/file.db), a sqlite3.Connection or a Store"
        raise UserError(f"{words}, not {reprlib.repr(store)}")


def check_signal(name: str, sender: str | None, key: str | None) -> None:
    """Refuse a signal that could not be told in a line of the log, or whose key is none. ``UserError``."""
    check_text(name, "signal's name", least=1, most=LONGEST_ID, line=True)
    check_text(sender, "sender's name")
    check_text(key, "signal's key", least=1, line=True)


def run_named(run_id: Any) -> str:
    """A run's id as somebody gave it. ``UnknownName`` for what no run can be called."""
    if isinstance(run_id, str) and len(run_id) <= LONGEST_ID and run_id.isprintable():
        return run_id
    raise UnknownName(f"there is no run {reprlib.repr(run_id)}")
