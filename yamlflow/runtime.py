"""The composition root: a store, plugins and a worker put together, for the command line and for programs.

rt = Runtime(store="sqlite:///var/hello.db")
rt.register(echo)
rt.register(Package.load("hello.yaml"))
run = rt.start("hello", {"message": "hi"})
rt.run_until_idle()
rt.result(run.id, "root")
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from . import document
from .artifacts import FileArtifacts
from .clock import Clock, SystemClock
from .engine import commands
from .engine.retry import retry
from .engine.soundness import unsound
from .engine.work import Work
from .errors import InvalidInput, InvalidPackage, PluginError, Problem, UnknownName, UserError
from .executors import Executor, executor_of
from .guard import Guard
from .inputs import resolve
from .lookup import Bench
from .outcome import Json
from .packages import Loaded, Plans, folder_of, loaded
from .plan import ENGINE_QUEUE
from .plugins import Plugins, load
from .ports import ArtifactStore, Limits, ProcessGuard
from .projections import Projections
from .rows import EventRow, RunRow, StepRow
from .scope import Draws, gathered, plan_node
from .secrets import Secrets
from .spec import FanOut, Matrix
from .store.base import RunFilter, Store
from .store.sqlite import SqliteStore
from .template import Expressions
from .values import NotJson, plain
from .worker import Cycle, Settings, Worker


class Runtime:
    """A store with what it takes to start runs on it and to work on them.

    ``store`` is a URL (``sqlite:///folder/file.db``, ``sqlite:///:memory:``), an open ``sqlite3.Connection`` (left open at
    the end) or a ``Store``. ``max_workers`` are calls at once, ``poll_interval`` and ``lease_duration`` seconds.
    ``plugins`` are folders of plugin modules, ``home`` the folder for logs, artifacts and projections (beside the store's
    file unless said otherwise).
    """

    def __init__(
        self,
        store: str | sqlite3.Connection | Store = "sqlite:///:memory:",
        *,
        worker_id: str = "",
        max_workers: int = 1,
        poll_interval: float = 0.25,
        lease_duration: float = 30,
        queues: Collection[str] | None = None,
        kinds: Collection[str] | None = None,
        runs: Collection[int] | None = None,
        artifacts: ArtifactStore | None = None,
        plugins: Sequence[str | Path] | Plugins = (),
        home: str | Path | None = None,
        synchronous: str = "full",
        clock: Clock | None = None,
        secrets: Callable[[str], str | None] | None = None,
        limits: Limits = Limits(),
        on_event: Callable[[EventRow], None] | None = None,
    ) -> None:
        if max_workers < 1:
            raise UserError("max_workers must be at least 1")
        if poll_interval <= 0 or lease_duration <= 0:
            raise UserError("poll_interval and lease_duration must be more than 0 seconds")
        self.clock = clock or SystemClock()
        self.store: Store = (
            SqliteStore(store, synchronous=synchronous) if isinstance(store, str | sqlite3.Connection) else store
        )
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self.home = self._home(home)
        self.plugins = plugins if isinstance(plugins, Plugins) else load([Path(folder) for folder in plugins])
        self.plans = Plans(self.store)
        self._packages: dict[str, Loaded] = {}
        #: Digests of packages that were found sound.
        self._sound: set[str] = set()
        self._settings = Settings(
            name=worker_id, slots=max_workers, lease=round(lease_duration * 1000), poll=round(poll_interval * 1000),
            queues=queues, kinds=kinds, runs=runs,
        )  # fmt: skip
        self._on_event = on_event
        self._worker: Worker | None = None
        self._secrets = Secrets(Path.cwd(), self.plugins.secret)
        self._guard: ProcessGuard = Guard()
        self.projections = Projections(self.home, self.store)  # type: ignore[arg-type]
        self.artifacts = artifacts or FileArtifacts(self.home / "artifacts")
        self.bench = Bench(
            store=self.store, plans=self.plans, plugins=self.plugins,
            expressions=Expressions(filters=self.plugins.filters), clock=self.clock, artifacts=self.artifacts,
            projections=self.projections, guard=self._guard, home=self.home, secret=secrets or self._secrets,
            plugin_dirs=tuple(self.plugins.folders), limits=limits,
        )  # fmt: skip

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
        """Give back what is in hand and close the store."""
        if self._worker is not None:
            self._worker.drain(0)
            self._worker.close()
            self._worker = None
        close = getattr(self._guard, "close", None)
        if close is not None:
            close()
        self.store.close()
        if self._temporary is not None:
            self._temporary.cleanup()

    # -- packages and kinds

    def register(self, thing: Any) -> None:
        """Make a package or an executor known. An error when its name or kind is taken."""
        if isinstance(thing, Loaded):
            if thing.package.name in self._packages:
                raise UserError(f'the package "{thing.package.name}" is registered already')
            self._packages[thing.package.name] = thing
            self.plans.add(thing)
            return
        executor = executor_of(thing)
        if executor is None:
            raise PluginError(f"{thing!r} is neither a package nor a function declared with @executor")
        self._register_executor(executor)

    def _register_executor(self, executor: Executor) -> None:
        if executor.kind in self.plugins.executors:
            raise PluginError(f'the kind "{executor.kind}" is registered already')
        self.plugins.add(executor)

    def package(self, name: str) -> Loaded:
        """A registered package. ``UnknownName`` when there is none of this name."""
        known = self._packages.get(name)
        if known is None:
            names = ", ".join(sorted(self._packages)) or "none"
            raise UnknownName(f'the package "{name}" is not registered; registered are: {names}')
        return known

    # -- runs

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
        if_exists: str = "fail",
    ) -> RunRow:
        """Store a run, its inputs checked before anything is kept. ``InvalidInput``, ``RunExists``, ``UnknownName``."""
        one = self.package(package) if isinstance(package, str) else package
        self._refuse_unsound(one)
        self.plans.add(one)
        values = resolve(one.package.inputs, sound(inputs, "inputs"))
        id = run_id or f"{one.package.name}-{self.clock.uuid()[:8]}"
        check_run_id(id)
        title, labels = self._describe(one, values, id, name, metadata, context)
        with self.transaction() as work:
            row, _ = commands.start(
                work, package=one.row(self.clock.now()), plan=one.plan, run_id=id, inputs=values, name=title,
                metadata=sound(labels, "metadata"), context=sound(context, "context"), folder=folder_of(one), by=by,
                if_exists=if_exists,
            )  # fmt: skip
        return row

    def _refuse_unsound(self, one: Loaded) -> None:
        """A package whose runs could never end is not started, whoever asks. ``InvalidPackage``."""
        if one.document.digest not in self._sound:
            if problems := unsound(one.package):
                placed = map(one.document.locate, problems)
                raise InvalidPackage(sorted(placed, key=lambda problem: (problem.line, problem.column)))
            self._sound.add(one.document.digest)

    def _describe(
        self,
        one: Loaded,
        inputs: Mapping[str, Json],
        id: str,
        name: str | None,
        metadata: Mapping[str, Json] | None,
        context: Mapping[str, Json] | None,
    ) -> tuple[str | None, dict[str, Json]]:
        """The run's name and metadata, with their expressions evaluated."""
        package, draws = one.package, Draws(self.clock)
        about = {"id": id, "package": package.name, "version": package.version}
        scope = {
            "inputs": dict(inputs), "run": about, "context": dict(context or {}),
            "now": draws.now, "uuid": draws.uuid, "random": draws.random,
        }  # fmt: skip
        declared = package.run_name or package.title
        title = name or (None if declared is None else str(self.bench.expressions.compile(declared).render(scope)))
        labels = self.bench.expressions.compile(dict(package.metadata)).render(scope)
        return title, {**labels, **(metadata or {})}

    def transaction(self) -> Any:
        """One transaction of the engine on this runtime's store."""
        return commands.transact(self.store, self.plans, self.clock, on_event=self._on_event)

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
        import json

        run = self.store.find_run(run_id)
        row = None if run is None else next(iter(self.store.steps_at(run.key, [step])), None)
        if run is None or row is None:
            return None
        node = plan_node(self.plans(run.digest), step)
        if node is not None and isinstance(node.loop, FanOut | Matrix) and row.status == "succeeded":
            return gathered(self.store, row)
        return None if row.result is None else json.loads(row.result)

    # -- working

    @property
    def worker(self) -> Worker:
        """This runtime's own worker."""
        if self._worker is None:
            self._worker = Worker(self.bench, self._settings, on_event=self._on_event)
        return self._worker

    def run_once(self) -> Cycle:
        """One deterministic cycle: one reading of the clock, at most ``max_workers`` steps, one after the other."""
        from .once import run_once

        return run_once(self.bench, self._settings, on_event=self._on_event)

    def run_until_idle(self, *, max_cycles: int = 100_000) -> Cycle:
        """Cycles until nothing is ready; timers that are not due yet do not count."""
        total = Cycle()
        for _ in range(max_cycles):
            cycle = self.run_once()
            if not cycle.processed:
                return total
            total.processed += cycle.processed
            total.succeeded += cycle.succeeded
            total.retried += cycle.retried
            total.failed += cycle.failed
        return total

    def run_workers(self, done: Callable[[], bool] = lambda: False) -> None:
        """Work in this thread until ``done`` says so; ``worker.wake_up()`` makes it look again."""
        self.worker.run(done)


def sound(given: Mapping[str, Json] | None, what: str) -> dict[str, Json]:
    """What was given, as plain JSON. ``InvalidInput`` for what JSON cannot say."""
    try:
        return dict(plain(dict(given or {})))
    except NotJson as wrong:
        raise InvalidInput([Problem(message=wrong.message, pointer=(what, *wrong.pointer))]) from wrong


def check_run_id(id: str) -> None:
    """Refuse ids that are empty, long or hold what a path or a line cannot."""
    if not id or len(id) > 200:
        raise UserError(f"a run id has 1 to 200 characters; this one has {len(id)}")
    bad = sorted({char for char in id if not (char.isalnum() or char in "._:@+=,-")})
    if bad or id.startswith("."):
        raise UserError(f"the run id {id!r} may hold letters, digits and . _ : @ + = , - and must not begin with a dot")


def load_package(path: str | os.PathLike[str]) -> Loaded:
    """Read a package file. Raises ``InvalidPackage``."""
    return loaded(document.load(path))


__all__ = ["ENGINE_QUEUE", "Runtime", "check_run_id", "load_package"]
