"""One deterministic cycle of a worker, sequential, for tests and small programs: the same rules, no threads, no waiting."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import replace

from . import scheduler
from .ability import able, known_elsewhere
from .asking import asked
from .attempt import prepare
from .calls import Ended
from .clock import Clock, boot_id
from .context import StepContext
from .deciding import decide
from .engine.commands import release, transact
from .engine.follow import settle
from .engine.leasing import Wanted, lease
from .executors import Executor, execute, execute_async, timed_out
from .lookup import Bench
from .outcome import Failed, Outcome, Succeeded
from .ports import CancelToken
from .rows import EventRow, StepRow
from .worker import Cycle, Settings, tell


class Reading:
    """A clock whose wall time is read once: all of a cycle happens at one moment. Deadlines go on."""

    def __init__(self, clock: Clock, now: int) -> None:
        self._clock = clock
        self._now = now

    def now(self) -> int:
        """The one reading, milliseconds since the epoch."""
        return self._now

    def steady(self) -> int:
        """Milliseconds on the clock that never jumps, as they pass."""
        return self._clock.steady()

    def random(self) -> float:
        """A number in [0, 1)."""
        return self._clock.random()

    def uuid(self) -> str:
        """A new UUID."""
        return self._clock.uuid()


def run_once(bench: Bench, settings: Settings, *, on_event: Callable[[EventRow], None] | None = None) -> Cycle:
    """Lease and execute up to ``settings.slots`` calls; children released on the way run while slots remain.

    The wall clock is read once; of each queue at most ``max_in_flight`` run.
    """
    cycle = Cycle()
    steady = bench.clock.steady()
    name = settings.name or "once"
    if bench.timetable is not None:
        bench.timetable.fire()
    bench.remover.sweep()
    with transact(bench.store, bench.plans, bench.clock, on_event=on_event) as work:
        scheduler.tick(work, steady=steady)
    bench = replace(bench, clock=Reading(bench.clock, work.now))
    taken: dict[str, int] = {}
    kinds = settings.kinds
    while True:
        with transact(bench.store, bench.plans, bench.clock, on_event=on_event) as work:
            slots = settings.slots - cycle.processed
            wanted = Wanted(
                worker=name, slots=slots, until=bench.clock.steady() + settings.lease, queues=settings.queues,
                kinds=kinds, runs=settings.runs, taken=taken,
            )  # fmt: skip
            steps = lease(work, wanted).steps
        if not steps:
            return cycle
        for row in steps:
            if row.phase == "run" and is_for_others(bench, row, name):
                kinds = able(bench, settings.kinds)
                with transact(bench.store, bench.plans, bench.clock, on_event=on_event) as work:
                    release(work, step=row.id, epoch=row.epoch, worker=name)
                continue
            ended = (
                execute_here(bench, row, name) if row.phase == "run" else Ended(row.id, row.epoch, decide(bench, row))
            )
            with transact(bench.store, bench.plans, bench.clock, on_event=on_event) as work:
                tell(work, ended, name)
                settle(work)
            if row.phase == "run":
                taken[row.queue] = taken.get(row.queue, 0) + 1
                cycle.processed += 1
                cycle.count(work.told, {(row.run, row.path)})


def is_for_others(bench: Bench, row: StepRow, worker: str) -> bool:
    """Whether a step's kind is not here, but with another worker that lives."""
    if row.kind in bench.plugins.executors:
        return False
    return known_elsewhere(bench, row.kind, scheduler.Here(worker=worker, host=socket.gethostname(), boot=boot_id()))


def execute_here(bench: Bench, row: StepRow, worker: str) -> Ended:
    """Execute one call in this thread."""
    prepared = prepare(bench, row, CancelToken(), worker=worker)
    if isinstance(prepared, Failed):
        return Ended(row.id, row.epoch, prepared)
    outcome = run_executor(prepared.executor, prepared.context)
    prepared.log.close()
    overdue = prepared.deadline is not None and bench.clock.steady() >= prepared.deadline
    if overdue and isinstance(outcome, Succeeded):
        outcome = timed_out(prepared.context)
    return Ended(row.id, row.epoch, asked(bench, prepared, outcome), prepared.draws.drawn or None)


def run_executor(executor: Executor, context: StepContext) -> Outcome:
    """Run an executor of any mode to its end in this thread."""
    if not executor.awaited:
        return execute(executor, context)
    import asyncio

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(execute_async(executor, context))
    # Called from a coroutine: an event loop does not nest, so this one gets a thread of its own.
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(lambda: asyncio.run(execute_async(executor, context))).result()
