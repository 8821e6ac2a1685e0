"""Everything that can be asked of a store from outside: starting runs, steering them, reading what came of them.

client = Client("sqlite:///var/hello.db")
run = client.start("hello", {"message": "hi"}, run_id="hello-1")
client.run("hello-1").status

A client works on no step; workers do, in this process (``Runtime``) or in others.
"""

from __future__ import annotations

import json
import sqlite3
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from .artifacts import FileArtifacts
from .clock import Clock, SystemClock
from .engine import commands
from .engine.retry import retry
from .engine.starts import IfExists
from .engine.work import Work
from .errors import UnknownName
from .keeping import Keeping
from .outcome import Json
from .packages import Loaded, Plans
from .ports import ArtifactStore
from .projections import Projections
from .rows import EventRow, RunRow, StepRow
from .scope import gathered, plan_node
from .spec import FanOut, Matrix
from .starting import Finder, Shelf
from .store.base import RunFilter, Store
from .store.sqlite import SqliteStore
from .template import Expressions


class Client(Keeping):
    """A store, and the commands on it.

    ``store`` is a URL (``sqlite:///folder/file.db``, ``sqlite:///:memory:``), an open ``sqlite3.Connection`` (left open at
    the end) or a ``Store``. ``home`` is the folder for logs, artifacts and projections: beside the store's file unless
    said otherwise. ``find`` gives a package by name where none was registered.
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
    ) -> None:
        self.clock = clock or SystemClock()
        self.store: Store = (
            SqliteStore(store, synchronous=synchronous) if isinstance(store, str | sqlite3.Connection) else store
        )
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self.home = self._home(home)
        self.plans = Plans(self.store)
        self.expressions = expressions or Expressions()
        self.shelf = Shelf(self.store, clock=self.clock, expressions=self.expressions, find=find)
        self.projections = Projections(self.home, self.store)  # type: ignore[arg-type]
        self.artifacts = artifacts or FileArtifacts(self.home / "artifacts")
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
        if self._temporary is not None:
            self._temporary.cleanup()

    def transaction(self) -> Any:
        """One transaction of the engine on this store."""
        return commands.transact(self.store, self.plans, self.clock, on_event=self._on_event)

    # -- packages

    def register(self, one: Loaded) -> None:
        """Make a package known by its name. ``UserError`` when the name is taken."""
        self.shelf.register(one)
        self.plans.add(one)

    def package(self, name: str) -> Loaded:
        """A package by name. ``UnknownName`` when there is none."""
        return self.shelf.get(name)

    # -- steering runs

    def start(
        self,
        package: str | Loaded,
        inputs: Mapping[str, Json] | None = None,
        *,
        run_id: str | None = None,
        name: str | None = None,
        metadata: Mapping[str, Json] | None = None,
        context: Mapping[str, Json] | None = None,
        by: str | None = None,
        if_exists: IfExists = "fail",
        queue: str | None = None,
    ) -> RunRow:
        """Store a run, its inputs checked before anything is kept. ``InvalidInput``, ``RunExists``, ``UnknownName``."""
        one = self.package(package) if isinstance(package, str) else package
        self.plans.add(one)
        wanted = self.shelf.prepare(
            one, inputs, run_id=run_id, name=name, metadata=metadata, context=context, by=by, if_exists=if_exists,
            queue=queue,
        )  # fmt: skip
        with self.transaction() as work:
            row, _ = commands.start(work, wanted)
        return row

    def cancel(self, run_id: str, step: str = "", *, reason: str = "", by: str = "", force: bool = False) -> bool:
        """Cancel a run, or a step of it; False when it has ended already. ``UnknownName``.

        With ``force`` not even handlers run.
        """
        with self.transaction() as work:
            return commands.cancel(work, self._run(work, run_id), step, reason=reason, by=by, force=force)

    def retry(self, run_id: str, step: str = "", *, by: str = "") -> list[str]:
        """Let what failed or was canceled begin anew; the paths that do. ``NotAllowed``, ``UnknownName``."""
        with self.transaction() as work:
            return retry(work, self._run(work, run_id), step, by=by)

    def pause(self, run_id: str, *, paused: bool = True, by: str = "") -> None:
        """Withhold a run's steps from workers, or offer them again."""
        with self.transaction() as work:
            commands.pause(work, self._run(work, run_id), paused=paused, by=by)

    def _run(self, work: Work, run_id: str) -> RunRow:
        row = work.tx.find_run(run_id)
        if row is None:
            raise UnknownName(f'there is no run "{run_id}"')
        return work.run(row.key)

    # -- looking

    def run(self, run_id: str) -> RunRow | None:
        """A run by id, its newest execution; None when there is none."""
        return self.store.find_run(run_id)

    def runs(self, wanted: RunFilter = RunFilter()) -> list[RunRow]:
        """Runs, newest first."""
        return self.store.runs(wanted)

    def step(self, run_id: str, path: str) -> StepRow | None:
        """A step of a run by its path; None when there is none."""
        run = self.store.find_run(run_id)
        return None if run is None else next(iter(self.store.steps_at(run.key, [path])), None)

    def result(self, run_id: str, step: str = "") -> Json:
        """A step's result, or the run's outputs; None when there is none."""
        run = self.store.find_run(run_id)
        row = None if run is None else next(iter(self.store.steps_at(run.key, [step])), None)
        if run is None or row is None:
            return None
        node = plan_node(self.plans(run.digest), step)
        if node is not None and isinstance(node.loop, FanOut | Matrix) and row.status == "succeeded":
            return gathered(self.store, row)
        return None if row.result is None else json.loads(row.result)
