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
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from . import document
from .client import Client
from .clock import Clock, WallClock
from .engine.retention import declare_retention, retention_of
from .errors import PluginError, UserError
from .executors import Executor, executor_of
from .guard import Guard
from .lookup import Bench
from .packages import Loaded, loaded
from .plan import ENGINE_QUEUE
from .plugins import Plugins, load
from .ports import ArtifactStore, Limits, ProcessGuard
from .rows import EventRow
from .secrets import Secrets
from .starting import Finder, check_run_id
from .store.base import Store
from .template import Expressions
from .timetable import Timetable
from .worker import Cycle, Settings, Worker


class Runtime(Client):
    """A client that also works: it has plugins, packages and a worker of its own.

    ``store`` is a URL (``sqlite:///folder/file.db``, ``sqlite:///:memory:``), an open ``sqlite3.Connection`` (left open at
    the end) or a ``Store``. ``max_workers`` are calls at once, ``poll_interval`` and ``lease_duration`` seconds.
    ``plugins`` are folders of plugin modules, ``home`` the folder for logs, artifacts and projections (beside the store's
    file unless said otherwise). ``schedules`` are packages whose ``schedule`` this runtime acts on while it works.
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
        find: Finder | None = None,
        schedules: Sequence[str | Loaded] = (),
    ) -> None:
        if max_workers < 1:
            raise UserError("max_workers must be at least 1")
        if poll_interval <= 0 or lease_duration <= 0:
            raise UserError("poll_interval and lease_duration must be more than 0 seconds")
        self.plugins = plugins if isinstance(plugins, Plugins) else load([Path(folder) for folder in plugins])
        super().__init__(
            store, synchronous=synchronous, clock=clock, home=home, artifacts=artifacts, on_event=on_event,
            find=find, expressions=Expressions(filters=self.plugins.filters),
        )  # fmt: skip
        self._settings = Settings(
            name=worker_id, slots=max_workers, lease=round(lease_duration * 1000), poll=round(poll_interval * 1000),
            queues=queues, kinds=kinds, runs=runs,
        )  # fmt: skip
        self._worker: Worker | None = None
        self._secrets = Secrets(Path.cwd(), self.plugins.secret)
        self._guard: ProcessGuard = Guard()
        self.timetable = Timetable(self.store, self.shelf, clock=clock or WallClock(), transaction=self.transaction)
        self.bench = Bench(
            store=self.store, plans=self.plans, plugins=self.plugins, expressions=self.expressions, clock=self.clock,
            artifacts=self.artifacts, projections=self.projections, guard=self._guard, home=self.home,
            secret=secrets or self._secrets, plugin_dirs=tuple(self.plugins.folders), limits=limits, shelf=self.shelf,
            remover=self.remover, timetable=self.timetable,
        )  # fmt: skip
        for each in schedules:
            self.schedule(each)

    def close(self) -> None:
        """Give back what is in hand and close the store."""
        if self._worker is not None:
            self._worker.drain(0)
            self._worker.close()
            self._worker = None
        close = getattr(self._guard, "close", None)
        if close is not None:
            close()
        super().close()

    # -- packages and kinds

    def register(self, thing: Any) -> None:
        """Make a package or an executor known. An error when its name or kind is taken."""
        if isinstance(thing, Loaded):
            super().register(thing)
            self.declare(thing)
            return
        executor = executor_of(thing)
        if executor is None:
            raise PluginError(f"{thing!r} is neither a package nor a function declared with @executor")
        self._register_executor(executor)

    def declare(self, one: Loaded) -> None:
        """The newest declaration of ``retention`` is that of the package which was loaded last."""
        wanted = retention_of(one.plan)
        known = {row.package: row for row in self.store.retentions()}
        if known.get(wanted.package, wanted._replace(finished=None, continued=None)) != wanted:
            with self.transaction() as work:
                declare_retention(work, one.plan)

    def schedule(self, package: str | Loaded) -> None:
        """Act on a package's ``schedule`` from now on, while this runtime works. ``InvalidPackage``, ``UnknownName``."""
        one = self.package(package) if isinstance(package, str) else package
        self.plans.add(one)
        self.timetable.add(one)

    def _register_executor(self, executor: Executor) -> None:
        if executor.kind in self.plugins.executors:
            raise PluginError(f'the kind "{executor.kind}" is registered already')
        self.plugins.add(executor)

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


def load_package(path: str | os.PathLike[str]) -> Loaded:
    """Read a package file. Raises ``InvalidPackage``."""
    return loaded(document.load(path))


__all__ = ["ENGINE_QUEUE", "Runtime", "check_run_id", "load_package"]
