"""One deterministic cycle of a worker, sequential, for tests and small programs: the same rules, no threads, no waiting."""

from __future__ import annotations

from collections.abc import Callable

from . import scheduler
from .asking import asked
from .attempt import prepare
from .context import StepContext
from .deciding import decide
from .engine.commands import transact
from .engine.follow import settle
from .engine.leasing import Wanted, lease
from .executors import Executor, execute, execute_async, timed_out
from .lookup import Bench
from .outcome import Failed, Outcome, Succeeded
from .ports import CancelToken
from .rows import EventRow, StepRow
from .worker import Cycle, Ended, Settings, kinds_taken, tell


def run_once(bench: Bench, settings: Settings, *, on_event: Callable[[EventRow], None] | None = None) -> Cycle:
    """Lease and execute up to ``settings.slots`` calls; children released on the way run while slots remain."""
    cycle = Cycle()
    steady = bench.clock.steady()
    name = settings.name or "once"
    if bench.timetable is not None:
        bench.timetable.fire()
    bench.remover.sweep()
    with transact(bench.store, bench.plans, bench.clock, on_event=on_event) as work:
        scheduler.tick(work, steady=steady)
    taken: dict[str, int] = {}
    while True:
        with transact(bench.store, bench.plans, bench.clock, on_event=on_event) as work:
            slots = settings.slots - cycle.processed
            wanted = Wanted(
                worker=name, slots=slots, until=steady + settings.lease, queues=settings.queues,
                kinds=kinds_taken(bench, settings), runs=settings.runs, taken=taken,
            )  # fmt: skip
            steps = lease(work, wanted).steps
        if not steps:
            return cycle
        for row in steps:
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
    if executor.mode != "async":
        return execute(executor, context)
    import asyncio

    return asyncio.run(execute_async(executor, context))
