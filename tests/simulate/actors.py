"""Who takes part: workers (the real ``Worker``), schedulers (the real ``Timetable`` and ``Remover``), and clients.

What is simulated about a worker is what it has from its machine: threads, the queue by which outcomes come back, the file
that says it lives. Its turns, renewals, reports and its draining are the product's own.
"""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar
from unittest import mock

import greenlet

from tests.engine import families
from yamlflow import client as client_module
from yamlflow import scheduler
from yamlflow.calls import Calls
from yamlflow.client import Client
from yamlflow.context import StepContext
from yamlflow.errors import Permanent, Retryable, StoreUnavailable
from yamlflow.executors import executor
from yamlflow.guard import Guard
from yamlflow.lookup import Bench
from yamlflow.outcome import Json, Waiting
from yamlflow.plugins import Plugins, load
from yamlflow.ports import Limits
from yamlflow.store.base import RunFilter
from yamlflow.template import Expressions
from yamlflow.timetable import Timetable
from yamlflow.worker import Settings, Worker

from .choices import NEVER, Weights
from .packages import Family
from .world import BOOTED, T0, Gone, Process, Task, World

#: There is no such folder: nothing of a play is written to a disk.
HOME = Path("/nonexistent/simulated")
LEASE = 30_000


# -- what calls do -------------------------------------------------------------------------------------------------

DURATIONS = (100, 0, 2_000, 12_000, 40_000)
LASTING = Weights(5, 4, 3, 2, 1)
ENDS = ("succeeds", "fails", "fails for good", "emits", "waits", "fails, and wants to go on at once")
ENDING = Weights(12, 4, 1, 1, 1, 1)


@executor("work", schema={}, mode="thread")
def work(step: StepContext) -> Json:
    """Takes its time and ends in some way; its result and its error say under which lease it worked."""
    task = greenlet.getcurrent()
    assert isinstance(task, Task)
    world = task.process.world
    lasting = DURATIONS[world.choose(LASTING)]
    if lasting:
        world.sleep(lasting)
    how = ENDS[world.choose(ENDING)]
    world.tell(task.process, f"{step.run.id} {step.step.path} under lease {step.lease.epoch} {how}")
    if how.startswith("fails"):
        kind = Permanent if how == "fails for good" else Retryable
        after = {"after": 0} if how.endswith("at once") else {}
        raise kind("boom", f"boom {step.lease.epoch}", **after)
    if how == "emits" and "/one" not in step.step.path and "@" not in step.step.path:
        step.emit("one", kind="work", undo={"kind": "noop"}, retry={"max_attempts": 2, "delay": "0s"})
        step.emit("two", kind="noop", needs=["one"])
    if how == "waits":
        return Waiting(until=task.process.clock.now() + 10_000)
    return {"epoch": step.lease.epoch}


def _plugins() -> Plugins:
    plugins = load(entry_points=False)
    plugins.add(families.emit)
    plugins.add(work)
    return plugins


class _Shared:
    """What all plays of an OS process share: plugins and compiled expressions."""

    plugins: Plugins | None = None
    expressions: Expressions

    @classmethod
    def get(cls) -> tuple[Plugins, Expressions]:
        if cls.plugins is None:
            cls.plugins = _plugins()
            cls.expressions = Expressions(filters=cls.plugins.filters)
        return cls.plugins, cls.expressions


# -- what a machine gives a worker ---------------------------------------------------------------------------------


class Inbox:
    """A queue between the threads of a simulated process."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._items: list[Any] = []
        self._waiting: Task | None = None

    def put(self, item: Any) -> None:
        self._items.append(item)
        if self._waiting is not None:
            self._world.wake(self._waiting)

    def empty(self) -> bool:
        return not self._items

    def get(self, timeout: float) -> Any:
        if not self._items and timeout > 0:
            task = greenlet.getcurrent()
            assert isinstance(task, Task)
            self._waiting = task
            self._world.sleep(max(1, round(timeout * 1000)), soft=True)
            self._waiting = None
        if not self._items:
            raise queue.Empty
        return self._items.pop(0)


class Threads:
    """Threads as coroutines of a process."""

    def __init__(self, process: Process) -> None:
        self._process = process

    def submit(self, job: Callable[[], None]) -> None:
        self._process.begin(job)

    def close(self) -> None:
        """Idle threads cost nothing."""


class SimulatedCalls(Calls):
    """The calls of a simulated worker."""

    def __init__(self, bench: Bench, worker: str, process: Process) -> None:
        super().__init__(bench, worker)
        self._inbox = Inbox(process.world)  # type: ignore[assignment]
        self._threads = self._simulated = Threads(process)  # type: ignore[assignment]

    def close(self) -> None:
        """A simulated process has no threads to let go of."""


class Swept:
    """Says whether a sweep goes on: a ``threading.Event`` for coroutines."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._set = True

    def is_set(self) -> bool:
        return self._set

    def set(self) -> None:
        self._set = True

    def clear(self) -> None:
        self._set = False

    def wait(self, seconds: float) -> bool:
        deadline = self._process.world.time + round(seconds * 1000)
        while not self._set and self._process.world.time < deadline:
            self._process.sleep(100)
        return self._set


class NoFiles:
    """Keeps no artifacts."""

    def remove_run(self, run: str) -> None:
        """There is nothing to remove."""


class Life:
    """The file that a worker holds locked while it lives; see ``scheduler.LifeSign``."""

    held: ClassVar[dict[str, Process]] = {}

    def __init__(self, folder: Path, name: str) -> None:
        task = greenlet.getcurrent()
        assert isinstance(task, Task)
        self.path = folder / f"{name}.lock"
        owner = self.held.get(str(self.path))
        if owner is not None and owner.alive:
            raise BlockingIOError("somebody of this name lives")
        self.held[str(self.path)] = task.process

    def end(self) -> None:
        """The worker is gone."""
        self.held.pop(str(self.path), None)


def lock_is_free(path: Path) -> bool:
    """See ``scheduler.lock_is_free``."""
    owner = Life.held.get(str(path))
    return owner is None or not owner.alive


@contextmanager
def simulated() -> Iterator[None]:
    """Files that are locked and clients that wait are simulated meanwhile."""

    def wait(milliseconds: int) -> None:
        task = greenlet.getcurrent()
        assert isinstance(task, Task)
        task.process.sleep(milliseconds, soft=True)

    Life.held.clear()
    with ExitStack() as patches:
        patches.enter_context(mock.patch.object(scheduler, "LifeSign", Life))
        patches.enter_context(mock.patch.object(scheduler, "lock_is_free", lock_is_free))
        patches.enter_context(mock.patch.object(client_module, "wait", wait))
        yield


# -- processes -----------------------------------------------------------------------------------------------------


def desk(process: Process, family: Family) -> Client:
    """A client of a process, with its packages."""
    _, expressions = _Shared.get()
    made = Client(process.store, clock=process.clock, home=HOME, artifacts=NoFiles(), expressions=expressions)  # type: ignore[arg-type]
    for one in family.loaded():
        made.register(one)
    return made


def bench_of(process: Process, family: Family, *, schedules: bool) -> Bench:
    """What a worker works with."""
    plugins, expressions = _Shared.get()
    own = desk(process, family)
    timetable = Timetable(process.store, own.shelf, clock=process.clock, transaction=own.transaction)  # type: ignore[arg-type]
    if schedules:
        for one in family.loaded():
            if one.package.schedule:
                timetable.add(one)
    return Bench(
        store=process.store, plans=own.plans, plugins=plugins, expressions=expressions, clock=process.clock,
        artifacts=NoFiles(), projections=own.projections, guard=Guard(), home=HOME, secret=lambda name: None,
        shelf=own.shelf, remover=own.remover, timetable=timetable, limits=LIMITS, environ={},
    )  # type: ignore[arg-type]  # fmt: skip


LIMITS = Limits()


class SimulatedWorker:
    """A worker's process: the loop of ``yamlflow worker``."""

    def __init__(self, world: World, family: Family, name: str, *, host: str, schedules: bool, slots: int) -> None:
        self.world = world
        self.family = family
        self.process = Process(world, name, host=host)
        self.worker: Worker | None = None
        self.stopping = False
        self._schedules = schedules
        self._slots = slots
        self.process.begin(self._main)

    def _main(self) -> None:
        process = self.process
        try:
            self._work()
        except StoreUnavailable:
            # Its end could not be told to the store: the lock file tells it.
            self.world.tell(process, "ends, and cannot say so")
        process.end()

    def _work(self) -> None:
        process = self.process
        bench = bench_of(process, self.family, schedules=self._schedules)
        settings = Settings(name=process.name, slots=self._slots, lease=LEASE)
        worker = Worker(bench, settings, calls=SimulatedCalls(bench, process.name, process))
        worker._here = scheduler.Here(worker=process.name, host=process.host, boot="boot")
        worker._swept = Swept(process)  # type: ignore[assignment]
        self.worker = worker
        worker.open()
        self.world.tell(process, "begins to work")
        try:
            while not self.stopping:
                try:
                    worker.turn()
                except StoreUnavailable:
                    process.sleep(1000)
                    continue
                if not self.stopping:
                    worker.rest()
        finally:
            if process.alive:
                self.world.tell(process, "is told to stop")
            worker.drain(10_000)
            worker.close()

    def stop(self) -> None:
        """SIGTERM."""
        self.stopping = True
        if self.worker is not None:
            self.worker.wake_up()

    def look_after_nothing(self) -> None:
        """Start no runs of schedules any more."""
        self._schedules = False
        if self.worker is not None:
            self.worker.bench = replace(self.worker.bench, timetable=None)

    def next_cause(self) -> int:
        """When it will find something to do, on the world's clock."""
        worker = self.worker
        if worker is None or worker._sign is None:
            return NEVER
        world = self.world
        if worker._seen_version != self.process.store.version():
            return world.time
        times = []
        table = worker.bench.timetable
        wall = [world.store.next_timer(), worker._token_at, table.next_at if table is not None else None]
        times += [at - T0 - self.process.offset for at in wall if at is not None]
        if worker.calls.held:
            times.append(worker._renewed + LEASE // 3 - BOOTED)
        deadline = worker.calls.next_deadline()
        if deadline is not None:
            times.append(deadline - BOOTED)
        return min(times, default=NEVER)


class SimulatedScheduler:
    """A process that starts the runs of schedules and removes what need not be kept: the loop of ``yamlflow scheduler``."""

    def __init__(self, world: World, family: Family, name: str) -> None:
        self.world = world
        self.process = Process(world, name)
        self.family = family
        self.stopping = False
        self.process.begin(self._main)

    def _main(self) -> None:
        process = self.process
        own = desk(process, self.family)
        timetable = Timetable(process.store, own.shelf, clock=process.clock, transaction=own.transaction)  # type: ignore[arg-type]
        while not self.stopping:
            pause = 60_000
            try:
                for one in self.family.loaded():
                    if one.package.schedule and one.package.name not in timetable._held:
                        timetable.add(one)
                timetable.fire()
                own.remover.sweep()
                due = timetable.next_at
                pause = pause if due is None else max(0, min(pause, due - process.clock.now()))
            except StoreUnavailable:
                pause = 1000
            process.sleep(pause)
        process.end()


def live_runs(world: World) -> list[Any]:
    """The runs that have not ended."""
    return world.store.runs(RunFilter(live=True, limit=10**6))


__all__ = [
    "HOME", "LEASE", "Gone", "SimulatedScheduler", "SimulatedWorker", "desk", "live_runs", "simulated",
]  # fmt: skip
