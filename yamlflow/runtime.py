"""The composition root: a store, plugins and a worker put together, for the command line and for programs.

with Runtime("sqlite:///var/hello.db") as rt:
    rt.register(echo)
    rt.register(Package.load("hello.yaml"))
    run = rt.start("hello", {"message": "hi"})
    rt.run_until_idle()
    rt.result(run.id, "root")
"""

from __future__ import annotations

import os
import reprlib
import sqlite3
import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from . import document
from .addresses import reach
from .building import Package
from .checks import check_count, check_worker, described
from .client import Client
from .clock import Clock, WallClock
from .duration import LONGEST
from .engine.retention import declare_retention, retention_of
from .engine.runs import queue_row
from .errors import NotAllowed, PluginError, UserError
from .executors import Executor, executor_of
from .guard import Guard
from .lookup import Bench, Isolate
from .packages import Loaded, loaded
from .plan import ENGINE_QUEUE
from .plugins import Plugins, load
from .policies import MOST_SLOTS, QueuePolicy
from .ports import ArtifactStore, Limits, ProcessGuard
from .rows import EventRow
from .secrets import Secrets
from .serializers import Serializer
from .starting import Finder
from .store.base import Store
from .template import Expressions
from .timetable import Timetable
from .worker import PATIENCE, Cycle, Settings, Worker


class Runtime(Client):
    """A client that also works: it has plugins, packages and a worker of its own.

    ``store`` is a URL (``sqlite:///folder/file.db``, ``sqlite:///:memory:``), an open ``sqlite3.Connection`` (left open at
    the end) or a ``Store``. ``max_workers`` are calls at once; ``poll_interval`` and ``lease_duration`` are seconds.
    ``queues`` are the policies of queues that packages name without declaring them (``default`` is one); a package's own
    declaration is for its own queue. ``only_queues`` and ``only_kinds`` make this one of several workers on the store
    that share the work. ``plugins`` are folders of plugin modules, ``home`` the folder for logs, artifacts and
    projections (beside the store's file unless said otherwise), ``serializers`` say how values of your own types are
    stored, ``addresses`` which of them ``http`` may reach (``public,+10.0.0.0/8``), ``schedules`` are packages whose
    ``schedule`` this runtime acts on while it works. ``isolate`` gives calls of plugins a process of their own: ``lost``
    those of steps that were lost with their worker, ``plugins`` all. No signal handler is installed, and logging is left
    alone.

    Any method may be called from any thread; ``run_workers`` by one at a time. Raises ``UserError`` for what cannot be,
    ``StoreError`` for a store that cannot be used.
    """

    def __init__(
        self,
        store: str | sqlite3.Connection | Store = "sqlite:///:memory:",
        *,
        worker_id: str = "",
        max_workers: int = 1,
        poll_interval: float = 0.25,
        lease_duration: float = 30,
        queues: Mapping[str, QueuePolicy] | None = None,
        only_queues: Collection[str] | None = None,
        only_kinds: Collection[str] | None = None,
        runs: Collection[int] | None = None,
        artifacts: ArtifactStore | None = None,
        plugins: Sequence[str | Path] | Plugins = (),
        serializers: Iterable[Serializer] = (),
        home: str | Path | None = None,
        synchronous: str = "full",
        clock: Clock | None = None,
        secrets: Callable[[str], str | None] | None = None,
        limits: Limits = Limits(),
        addresses: str = "default",
        on_event: Callable[[EventRow], None] | None = None,
        find: Finder | None = None,
        schedules: Sequence[str | Loaded] = (),
        isolate: Isolate = "no",
    ) -> None:
        check_settings(worker_id, max_workers, poll_interval, lease_duration)
        if queues is not None and not isinstance(queues, Mapping):
            raise UserError(f"queues is a mapping of names to policies, not {reprlib.repr(queues)}")
        check_folders(plugins)
        reach(addresses)
        policies = Package("queues", steps=[{"kind": "noop"}], queues=queues).package.queues if queues else {}
        self.plugins = plugins if isinstance(plugins, Plugins) else load([Path(folder) for folder in plugins])
        super().__init__(
            store, synchronous=synchronous, clock=clock, home=home, artifacts=artifacts, on_event=on_event, find=find,
            expressions=Expressions(filters=self.plugins.filters),
            serializers=(*self.plugins.serializers, *serializers),
        )  # fmt: skip
        self._settings = Settings(
            name=worker_id, slots=max_workers, lease=round(lease_duration * 1000), poll=round(poll_interval * 1000),
            queues=only_queues, kinds=only_kinds, runs=runs,
        )  # fmt: skip
        self._worker: Worker | None = None
        self._working = threading.RLock()
        self._stopping = threading.Event()
        self._secrets = Secrets(Path.cwd(), self.plugins.secret)
        self._guard: ProcessGuard = Guard()
        self.timetable = Timetable(self.store, self.shelf, clock=clock or WallClock(), transaction=self.transaction)
        self.bench = Bench(
            store=self.store, plans=self.plans, plugins=self.plugins, expressions=self.expressions, clock=self.clock,
            artifacts=self.artifact_store, projections=self.projections, guard=self._guard, home=self.home,
            secret=secrets or self._secrets, plugin_dirs=tuple(self.plugins.folders), limits=limits, shelf=self.shelf,
            addresses=addresses,
            serializers=self.shelf.serializers, remover=self.remover, timetable=self.timetable,
            isolate=isolate,
        )  # fmt: skip
        try:
            self._begin(policies, schedules)
        except BaseException:
            self.close()
            raise

    def _begin(self, policies: Mapping[str, Any], schedules: Sequence[str | Loaded]) -> None:
        """What a runtime tells its store before it works."""
        if policies:
            with self.transaction() as work:
                for queue in policies.values():
                    work.tx.put_queue(queue_row(queue.name, queue, work.tx.queue(queue.name), work.now))
        for each in schedules:
            self.schedule(each)

    def close(self) -> None:
        """Stop working, give back what is in hand and close the store. Closing twice is harmless."""
        self.stop()
        with self._working:
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
        """Make a package, an executor, or an object with methods that are executors known.

        ``UserError`` when its name or kind is taken, or when it is none of these.
        """
        if isinstance(thing, Loaded):
            super().register(thing)
            self.declare(thing)
            return
        found = [executor_of(thing)] if executor_of(thing) is not None else methods_of(thing)
        if not found:
            words = f"{described(thing)} is neither a package nor an executor"
            raise PluginError(f'{words}; decorate a function with @executor("a/kind"), or build a Package')
        for executor in found:
            assert executor is not None
            if executor.kind in self.plugins.executors:
                raise PluginError(f'the kind "{executor.kind}" is registered already')
            self.plugins.add(executor)

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

    # -- working

    @property
    def worker(self) -> Worker:
        """This runtime's own worker."""
        if self._worker is None:
            self._worker = Worker(self.bench, self._settings, on_event=self._on_event)
        return self._worker

    def run_once(self) -> Cycle:
        """One deterministic cycle in this thread: how many steps were processed, succeeded, retried and failed.

        One reading of the clock; at most ``max_workers`` steps and of each queue at most its ``max_in_flight``, one after
        the other. Steps that these release or emit run in the same cycle while slots remain.
        """
        from .once import run_once

        return run_once(self.bench, self._settings, on_event=self._on_event)

    def run_until_idle(self, *, max_cycles: int = 100_000) -> Cycle:
        """Cycles until nothing is ready: their sum. Timers that are not due yet do not count, and are not waited for."""
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

    def run_workers(
        self,
        done: Callable[[], bool] = lambda: False,
        *,
        max_cycles: int | None = None,
        drain: float = 0,
        patience: float | None = PATIENCE / 1000,
    ) -> None:
        """Work in this thread, ``max_workers`` steps at once, until ``stop`` is called or ``done`` says so.

        Then nothing new is taken; what is in hand may go on for ``drain`` seconds and is given back after that, no
        attempt spent. ``max_cycles`` bounds the looks at the store. A store that is out of reach (locked, full) is tried
        again for ``patience`` seconds, None is for ever; calls in hand go on, and what became of them is recorded when it
        is there again. ``StoreUnavailable`` after that, ``NotAllowed`` while another thread works.
        """
        if not self._working.acquire(blocking=False):
            raise NotAllowed("this runtime works already, in another thread; make another Runtime on the same store")
        try:
            self.worker.run(
                lambda: self._stopping.is_set() or done(), cycles=max_cycles, grace=round(drain * 1000),
                patience=None if patience is None else round(patience * 1000),
            )  # fmt: skip
        finally:
            self._stopping.clear()
            self._working.release()

    def stop(self) -> None:
        """Let ``run_workers`` come to its end, also one that is only about to begin; from any thread or signal handler."""
        self._stopping.set()
        if self._worker is not None:
            self._worker.wake_up()


def check_folders(plugins: Any) -> None:
    """Refuse folders of plugins that are not there: a kind would be missed later, and nobody would know why."""
    if isinstance(plugins, Plugins):
        return
    if isinstance(plugins, str | Path) or not isinstance(plugins, Sequence):
        raise UserError(f"plugins is a list of folders, not {reprlib.repr(plugins)}")
    for folder in plugins:
        if not Path(folder).is_dir():
            raise UserError(f"plugins: there is no folder {folder}")


def check_settings(name: Any, slots: Any, poll: Any, lease: Any) -> None:
    """Refuse what no worker could work by. ``UserError``."""
    check_count(slots, "max_workers", most=MOST_SLOTS)
    for word, seconds in (("poll_interval", poll), ("lease_duration", lease)):
        # Not a number is neither more nor less.
        if not isinstance(seconds, int | float) or isinstance(seconds, bool) or not 0.001 <= seconds <= LONGEST / 1000:
            raise UserError(f"{word} must be a number of seconds, from 0.001 to a hundred years; it is {seconds!r}")
    if name != "":
        check_worker(name)


def methods_of(thing: Any) -> list[Executor]:
    """The methods of an object that were declared with ``@executor``, bound to it."""
    found = []
    for name in dir(type(thing)) if not isinstance(thing, type) else ():
        declared = executor_of(getattr(type(thing), name, None))
        if declared is not None:
            found.append(replace(declared, call=getattr(thing, name)))
    return found


def load_package(path: str | os.PathLike[str]) -> Loaded:
    """Read a package file. Raises ``InvalidPackage``."""
    return loaded(document.load(path))


__all__ = ["ENGINE_QUEUE", "Runtime", "load_package"]
