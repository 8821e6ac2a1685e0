"""One OS thread, one store, one steady clock, and many processes that take turns: who goes next, what time it is and which
fault strikes is decided by ``choices`` alone.

A *process* owns a store (``Door``), a wall clock and coroutines (``Task``): its main one and one for each thread it would
have. Coroutines are switched where a process speaks to its store or waits, never within an open transaction: SQLite lets
one writer in at a time.
"""

from __future__ import annotations

import heapq
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import greenlet

from yamlflow.errors import StoreUnavailable
from yamlflow.store.sqlite import SqliteStore
from yamlflow.testing import T0

from .choices import NEVER, Choices, Weights

HOUR = 3_600_000
#: What the steady clock shows when a play begins.
BOOTED = 1_000_000

#: How stormy a play is: mean number of points between two switches, and between two faults; 0 is never.
WEATHERS = ((6, 0), (3, 60), (5, 25), (2, 120), (4, 14))

#: What may happen at a point, the dull thing first.
FAULTS = {
    "begin": ("nothing", "freeze", "crash", "jump", "jump all", "unavailable"),
    "read": ("nothing", "freeze", "crash", "jump", "unreadable"),
    "commit": ("nothing", "commit fails", "slow commit", "crash before commit"),
    "committed": ("nothing", "commit lies", "freeze", "crash after commit"),
}
LIKELY = {
    "begin": Weights(0, 3, 3, 1, 1, 1),
    "read": Weights(0, 3, 2, 1, 1),
    "commit": Weights(0, 4, 1, 2),
    "committed": Weights(0, 5, 2, 2),
}
FREEZES = (2_000, 11_000, 31_000, 45_000, 100_000, 200_000)
JUMPS = (-HOUR, HOUR, -60_000, 60_000, -5_000, 5_000, 600_000)
SLOW = (1_000, 9_000, 29_000)


class Gone(greenlet.GreenletExit):
    """Raised within a process that has crashed: it never goes on."""


class Broken(Exception):
    """A rule does not hold."""

    def __init__(self, rule: str, what: str) -> None:
        super().__init__(f"{rule}: {what}")
        self.rule = rule


class Task(greenlet.greenlet):
    """A coroutine of a process."""

    def __init__(self, process: Process, job: Callable[[], None], parent: greenlet.greenlet) -> None:
        super().__init__(self._work, parent)
        self.process = process
        self._job = job
        #: On the steady clock; 0 when it can go on.
        self.wake_at = 0
        #: It only looks whether anything is to be done, and may be woken late when nothing is.
        self.soft = False

    def _work(self) -> None:
        try:
            if self.process.alive:
                self._job()
        except Gone:
            pass


class Clock:
    """A process's clocks: the steady one is the machine's, the wall clock its own."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._world = process.world

    def now(self) -> int:
        return T0 + self._world.time + self._process.offset

    def steady(self) -> int:
        return BOOTED + self._world.time

    def random(self) -> float:
        self._world.drawn += 1
        return (self._world.drawn * 0.6180339887498949) % 1.0

    def uuid(self) -> str:
        self._world.drawn += 1
        return f"{self._world.drawn * 0x9E3779B9 % 2**32:08x}-0000-4000-8000-{self._world.drawn:012x}"


class Process:
    """Something that runs somewhere, and may be killed, frozen, or cut off from its store at any time."""

    def __init__(self, world: World, name: str, *, host: str = "here") -> None:
        self.world = world
        self.name = name
        self.host = host
        #: Milliseconds by which its wall clock is ahead.
        self.offset = world.skew
        self.alive = True
        self.frozen_until = 0
        self.clock = Clock(self)
        self.store = Door(self)
        #: Told when it has gone, however that came.
        self.on_end: Callable[[], None] | None = None
        world.processes.append(self)

    def __str__(self) -> str:
        return self.name

    def begin(self, job: Callable[[], None]) -> Task:
        """Let a coroutine of this process begin."""
        task = Task(self, job, self.world.hub)
        self.world.tasks.append(task)
        return task

    def crash(self) -> None:
        """``kill -9``."""
        self.alive = False
        here = greenlet.getcurrent()
        for task in list(self.world.tasks):
            if task.process is self and task is not here:
                self.world.tasks.remove(task)
                self.world.kill(task)
        if self.on_end is not None:
            self.on_end()

    def end(self) -> None:
        """It has come to its own end."""
        self.alive = False
        if self.on_end is not None:
            self.on_end()

    def sleep(self, milliseconds: int, *, soft: bool = False) -> None:
        """Let the calling coroutine wait."""
        self.world.sleep(milliseconds, soft=soft)

    def point(self, where: str) -> None:
        """Something that others can see comes next: whatever may strike, strikes here."""
        world = self.world
        if not self.alive:
            raise Gone
        world.until_fault -= 1
        if world.until_fault <= 0:
            world.strike(self, where)
        world.until_switch -= 1
        if world.until_switch <= 0 and where != "commit":
            world.until_switch = world.choices.gap(world.weather[0])
            world.counts["switch"] += 1
            world.sleep(0)


class Door:
    """One process's way to the store."""

    url = "the store"
    path = ""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._store = process.world.store
        self._commits = 0

    @contextmanager
    def transaction(self) -> Iterator[Any]:
        process = self._process
        process.point("begin")
        with self._store.transaction() as tx:
            yield tx
            process.point("commit")
        self._commits += 1
        process.world.committed(process)
        process.point("committed")

    def still_there(self) -> None:
        """The store is always there."""

    def version(self) -> int:
        return self._process.world.version + (self._commits << 32)

    def close(self) -> None:
        """Others have it open."""


def _reading(name: str) -> Any:
    def read(self: Door, *given: Any, **named: Any) -> Any:
        self._process.point("read")
        return getattr(self._store, name)(*given, **named)

    return read


READS = """
    next_timer find_run run_at runs steps_at step signals waiters child_runs in_slot tree children events artifacts package
    newest_package queues locks cached workers schedules retentions ended_runs leaving packages_with_runs counts
    records_after recorded
""".split()
for _name in READS:
    setattr(Door, _name, _reading(_name))


class World:
    """What all processes share."""

    def __init__(self, choices: Choices, *, telling: bool = False) -> None:
        self.choices = choices
        #: Milliseconds since the play began, on the clock that never jumps.
        self.time = 0
        #: The wall clock's offset of processes that begin now.
        self.skew = 0
        self.drawn = 0
        self.hub = greenlet.getcurrent()
        self.tasks: list[Task] = []
        self.processes: list[Process] = []
        self.timers: list[tuple[int, int, Callable[[], None]]] = []
        self._numbered = 0
        self.counts: Counter[str] = Counter()
        self.story: list[str] = []
        self.telling = telling
        self.store = fresh_store()
        #: What was found to be wrong.
        self.broken: Exception | None = None
        #: Counts the commits that changed anything.
        self.version = 0
        self._changes = self.store._db.total_changes
        self.weather = WEATHERS[choices.upto(len(WEATHERS))]
        self.calm = False
        self.until_switch = choices.gap(self.weather[0])
        self.until_fault = choices.gap(self.weather[1]) if self.weather[1] else NEVER
        #: Looks at what a process has just committed.
        self.on_commit: Callable[[Process], None] = lambda process: None
        #: The earliest moment on the steady clock at which anything is to be done that nobody sleeps for.
        self.next_cause: Callable[[], int] = lambda: NEVER

    # -- the story

    def tell(self, who: object, what: str) -> None:
        """A line of the story."""
        if self.telling:
            self.story.append(f"{self.time / 1000:9.3f}  {who!s:<10} {what}")

    # -- faults

    def strike(self, process: Process, where: str) -> None:
        """A fault, at a point of a process."""
        self.until_fault = self.choices.gap(self.weather[1])
        fault = FAULTS[where][self.choices.pick(LIKELY[where])]
        if fault == "nothing":
            return
        self.counts[fault] += 1
        if fault == "freeze":
            self.freeze(process, FREEZES[self.choices.upto(len(FREEZES))])
        elif fault.startswith("crash"):
            self.tell(process, f"{fault}es" if fault == "crash" else fault.replace("crash", "crashes"))
            process.crash()
            raise Gone
        elif fault.startswith("jump"):
            self.jump(process if fault == "jump" else None, JUMPS[self.choices.upto(len(JUMPS))])
        elif fault == "slow commit":
            self.time += SLOW[self.choices.upto(len(SLOW))]
            self.tell(process, "commits slowly")
        else:
            words = {"commit lies": "a commit takes effect, and fails", "commit fails": "a commit fails"}
            self.tell(process, words.get(fault, f"the store is {fault}"))
            raise StoreUnavailable(f"simulated: {fault}")

    def freeze(self, process: Process, milliseconds: int) -> None:
        """SIGSTOP, and later SIGCONT."""
        self.tell(process, f"is stopped for {milliseconds / 1000:g} s")
        process.frozen_until = self.time + milliseconds
        self.sleep(0)
        self.tell(process, "goes on")

    def jump(self, process: Process | None, milliseconds: int) -> None:
        """Somebody sets a wall clock, or all of them."""
        self.tell(process or "all", f"the wall clock jumps by {milliseconds / 1000:g} s")
        if process is not None:
            process.offset = max(-HOUR, min(HOUR, process.offset + milliseconds))
            return
        self.skew = max(-HOUR, min(HOUR, self.skew + milliseconds))
        for each in self.processes:
            each.offset = self.skew

    def be_calm(self) -> None:
        """From here on nothing goes wrong."""
        self.calm = True
        self.until_fault = self.until_switch = NEVER
        self.skew = 0
        for each in self.processes:
            each.offset = 0
            each.frozen_until = 0

    def choose(self, weights: Weights) -> int:
        """One of some options; the dull one when all is calm."""
        return 0 if self.calm else self.choices.pick(weights)

    def upto(self, count: int) -> int:
        """A number below ``count``; 0 when all is calm."""
        return 0 if self.calm else self.choices.upto(count)

    # -- commits

    def committed(self, process: Process) -> None:
        """A process has committed."""
        self.counts["commits"] += 1
        changes = self.store._db.total_changes
        if changes != self._changes:
            self.version += 1
            try:
                self.on_commit(process)
            except Exception as broken:
                # Whoever is at work here might take it for a fault of its own and go on.
                self.broken = broken
                self.hub.switch()
                raise Gone from None
        self._changes = self.store._db.total_changes

    # -- time and turns

    def sleep(self, milliseconds: int, *, soft: bool = False) -> None:
        """Let the calling coroutine wait, at least until others had their turn."""
        task = greenlet.getcurrent()
        assert isinstance(task, Task)
        if not task.process.alive:
            raise Gone
        task.wake_at = self.time + milliseconds
        task.soft = soft
        self.hub.switch()
        if not task.process.alive:
            raise Gone

    def wake(self, task: Task) -> None:
        """Let a coroutine go on."""
        task.wake_at = min(task.wake_at, self.time)

    def at(self, milliseconds: int, do: Callable[[], None]) -> None:
        """Do something in so many milliseconds."""
        self._numbered += 1
        heapq.heappush(self.timers, (self.time + milliseconds, self._numbered, do))

    def run(self, done: Callable[[], bool]) -> bool:
        """Let everybody go on until ``done`` says so; False when nobody ever will."""
        while not done():
            while self.timers and self.timers[0][0] <= self.time:
                heapq.heappop(self.timers)[2]()
            ready = [
                task for task in self.tasks if task.wake_at <= self.time and task.process.frozen_until <= self.time
            ]
            if not ready:
                if not self._pass_time():
                    return False
                continue
            task = ready[self.choices.upto(len(ready))] if len(ready) > 1 and not self.calm else ready[0]
            # Whoever had a turn is last in the queue for the next one.
            self.tasks.remove(task)
            self.tasks.append(task)
            task.switch()
            if self.broken is not None:
                raise self.broken
            if task.dead and task in self.tasks:
                self.tasks.remove(task)
        return True

    def _pass_time(self) -> bool:
        """Go on to the next moment at which something happens."""
        hard, soft = NEVER, NEVER
        for task in self.tasks:
            at = max(task.wake_at, task.process.frozen_until)
            if task.soft:
                soft = min(soft, at)
            else:
                hard = min(hard, at)
        if self.timers:
            hard = min(hard, self.timers[0][0])
        if soft < hard:
            # The machine sleeps until there is something to do: nobody looks in between and finds nothing.
            hard = max(soft, min(hard, self.next_cause()))
        if hard >= NEVER:
            return False
        self.time = max(self.time, hard)
        return True

    def close(self) -> None:
        """End every coroutine."""
        for process in self.processes:
            process.alive = False
        for task in list(self.tasks):
            self.kill(task)
        self.tasks.clear()

    def kill(self, task: Task) -> None:
        """End a coroutine of a process that is gone: its store raises, so nothing that it still does has any effect."""
        # Where it comes to its end the one that killed it goes on.
        task.parent = greenlet.getcurrent()
        task.throw(Gone)


# -- one store for all plays ---------------------------------------------------------------------------------------

#: What was written: the rules look only at that.
WATCHED = {
    "steps": "id",
    "runs": "key",
    "events": "run",
    "signals": "seq",
    "locks": "name",
    "queues": "name",
    "workers": "name",
}
_STORE: list[SqliteStore] = []
_TABLES: list[str] = []


def fresh_store() -> SqliteStore:
    """The store, empty. Its connection is used again: statements stay prepared."""
    if not _STORE:
        connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False, cached_statements=512)
        _STORE.append(SqliteStore(connection, synchronous="off"))
        found = connection.execute(
            "select name from sqlite_master where type = 'table' and name not like '%migrations%'"
        )
        _TABLES.extend(name for (name,) in found.fetchall() if name != "sqlite_sequence")
        connection.execute("create temp table touched (name text, key)")
        for table, column in WATCHED.items():
            for event, row in (("insert", "new"), ("update", "new"), ("delete", "old")):
                connection.execute(
                    f"create temp trigger watch_{table}_{event} after {event} on main.{table} "
                    f"begin insert into touched values ('{table}', {row}.{column}); end"
                )
    store = _STORE[0]
    connection = store._db
    if connection.in_transaction:
        connection.execute("rollback")
    connection.execute("pragma foreign_keys = off")
    for table in _TABLES:
        connection.execute(f"delete from {table}")
    connection.execute("pragma foreign_keys = on")
    connection.execute("delete from sqlite_sequence")
    connection.execute("delete from touched")
    return store
