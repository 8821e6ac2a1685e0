"""A worker: lease, render, execute, report; many steps at once, one transaction a turn.

One loop owns the writing. Each turn commits whatever outcomes are there, what follows from them and the next leases in a
single transaction; an outcome that comes alone is committed at once. What is leased is executed by ``calls``. A worker
learns that it lost a lease, or that a step is to be canceled, from its renewals and from every change that others commit.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass

from . import scheduler
from .ability import able, known_elsewhere, told
from .calls import Call, Calls, Ended, cancel_token
from .clock import SECOND, boot_id
from .engine.commands import expire, release, report, transact
from .engine.follow import settle
from .engine.leasing import Leased, Wanted, lease
from .engine.work import Work
from .errors import StoreError, StoreUnavailable
from .lookup import Bench
from .outage import Outage, warn
from .outcome import Error, Failed
from .removal import Remover
from .rows import EventRow, StepRow, WorkerRow

#: How long workers that are gone stay in the list: a day.
REMEMBERED = 86_400 * SECOND

#: Seconds that a worker at its end waits for the removal of one run.
SWEEPING = 10

#: Milliseconds that a store may be out of reach before a worker gives up, unless it is told otherwise.
PATIENCE = 60 * SECOND
#: How often a worker asks for the store when it opens, while another program holds that locked.
OPENING = 15
#: Seconds between tries to reach it while the worker ends.
AGAIN = 0.2


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a worker works."""

    name: str = ""
    #: Calls at once.
    slots: int = 4
    #: Milliseconds a lease holds without renewal.
    lease: int = 30 * SECOND
    #: Milliseconds between looks at what others have committed, at most.
    poll: int = 250
    queues: Collection[str] | None = None
    kinds: Collection[str] | None = None
    #: Only these runs, by key, as they stand in the collection at each turn; None is all.
    runs: Collection[int] | None = None


@dataclass
class Cycle:
    """What one turn, or one ``run_once``, has done."""

    processed: int = 0
    succeeded: int = 0
    retried: int = 0
    failed: int = 0

    def count(self, events: Collection[EventRow], calls: set[tuple[int, str]]) -> None:
        """Add what the log says became of calls."""
        for event in events:
            if event.step is None or (event.run, event.step) not in calls:
                continue
            self.succeeded += event.kind == "step.succeeded"
            self.retried += event.kind == "step.retried"
            self.failed += event.kind == "step.failed"


class Worker:
    """One process's share of the work on a store."""

    def __init__(
        self,
        bench: Bench,
        settings: Settings,
        *,
        on_event: Callable[[EventRow], None] | None = None,
        calls: Calls | None = None,
    ) -> None:
        self.bench = bench
        self.settings = settings
        self.name = settings.name or f"{socket.gethostname()}-{os.getpid()}-{bench.clock.uuid()[:8]}"
        self._on_event = on_event
        self.calls = calls or Calls(bench, self.name)
        self._turn = 0
        self._seen_version = -1
        self._renewed = 0
        self._looked = 0
        #: When this worker last had the store to itself, and from when on it judges the leases of others.
        self._there = bench.clock.steady()
        self._judging = self._there - settings.lease
        self._token_at: int | None = None
        self._more = False
        self._leasing = True
        #: Whether steps of kinds that this worker lacks are left to others without asking; see ``ability``.
        self._leaving = settings.runs is None
        self._sign: scheduler.LifeSign | None = None
        #: Whether others know of it.
        self._known = False
        self._started = bench.clock.now()
        #: Set while no sweep goes on.
        self._swept = threading.Event()
        self._swept.set()
        self._here = scheduler.Here(worker=self.name, host=socket.gethostname(), boot=boot_id())

    # -- life

    def open(self) -> None:
        """Make this worker known, so that others see when it dies."""
        self.bench.remover.go_on()
        self._leasing = True
        if self._sign is None and self.bench.home.name:
            self._sign = scheduler.LifeSign(self.bench.home / "workers", self.name)
        self._there = self.bench.clock.steady()
        self._introduce()
        self._known = True
        self._renewed = self.bench.clock.steady()

    def _introduce(self) -> None:
        """Say that this worker runs. What one of its name held that died is lost, not given back: a step that kills its
        workers would go on for ever.
        """
        with transact(
            self.bench.store, self.bench.plans, self.bench.clock, on_event=self._on_event, tries=OPENING
        ) as work:
            for row in work.tx.leased(workers=[self.name]) if self._sign is not None else ():
                if row.id not in self.calls.held:
                    expire(work, work.step(row.id))
            work.tx.put_worker(self._row("running"))
            work.tx.forget_workers(self.bench.clock.now() - REMEMBERED)

    def close(self) -> None:
        """Say that this worker is gone, and let go of threads and locks."""
        # What it has begun to remove others will end.
        self.bench.remover.stop()
        self._swept.wait(SWEEPING)
        try:
            if self._known:
                with self.bench.store.transaction() as tx:
                    tx.put_worker(self._row("stopped"))
        except StoreError:
            # The lock file says it too, as soon as it is free.
            pass
        if self._sign is not None:
            self._sign.end()
            self._sign = None
        self.calls.close()

    def _row(self, status: str) -> WorkerRow:
        lock = str(self._sign.path) if self._sign else None
        wanted = self.settings
        return WorkerRow(
            self.name,
            self._here.host,
            os.getpid(),
            self._here.boot,
            lock,
            self._started,
            self.bench.clock.now(),
            status,
            **told(self.bench, queues=wanted.queues, kinds=wanted.kinds, runs=wanted.runs),
        )

    def wake_up(self) -> None:
        """End the rest of this worker's loop, from any thread or signal handler."""
        self.calls.wake()

    def run(
        self,
        done: Callable[[], bool],
        *,
        cycles: int | None = None,
        grace: int = 0,
        kill_grace: float | None = None,
        patience: int | None = PATIENCE,
        say: Callable[[str], None] = warn,
    ) -> None:
        """Work until ``done`` says so, or for a number of turns; then nothing is in hand any more.

        What is in hand then may go on for ``grace`` milliseconds; the rest is stopped and given back unspent, see
        ``drain``. A store that is out of reach is tried again for ``patience`` milliseconds (None: for ever), which
        ``say`` is told once; calls go on meanwhile.
        """
        outage = Outage(self.bench.clock, patience=patience, say=say)
        self.open()
        turns = 0
        try:
            while turns != cycles:
                try:
                    if done():
                        return
                    self.turn()
                    outage.over()
                    turns += 1
                    if turns != cycles and not done():
                        self.rest()
                except StoreUnavailable as trouble:
                    self.calls.wait(outage.met(trouble))
        finally:
            self.drain(grace, kill_grace=kill_grace)
            self.close()

    # -- one turn

    def turn(self) -> Cycle:
        """Report, look after time, lease, begin: one transaction, and no waiting."""
        cycle = Cycle()
        clock = self.bench.clock
        steady = clock.steady()
        # Whether the store can be reached or not.
        self.calls.collect()
        self.calls.end_overdue(steady)
        self.calls.watch_loop(steady)
        if self.bench.timetable is not None and self._leasing:
            self.bench.timetable.fire()
        version = self.bench.store.version()
        looking = steady - self._looked >= SECOND
        if looking:
            self.bench.store.still_there()
        ended = self.calls.taken()
        try:
            with transact(self.bench.store, self.bench.plans, clock, on_event=self._on_event) as work:
                # To begin may have taken a while: a lease counts from here, and none must have run out when it is given.
                here = clock.steady()
                renewing = here - self._renewed >= self.settings.lease // 3
                for one in ended:
                    tell(work, one, self.name)
                settle(work)
                # Each second in any case: a commit between ours and the look at the version shows in no version.
                # And before the tick: a machine that slept finds its own leases run out, and may still have them.
                if looking or renewing or version != self._seen_version:
                    self._hear(work, renewing, here)
                self._more = scheduler.tick(
                    work, steady=steady, here=self._here if looking else None, thorough=looking, judging=self._judges(here),
                )  # fmt: skip
                settle(work)
                if looking:
                    self._tell_progress(work)
                leased = self._lease(work, here)
        except StoreError:
            # Reported again next turn; if the commit did take effect, the fence refuses the second report.
            self.calls.ended[:0] = ended
            raise
        except Exception:
            if not ended:
                raise
            self._tell_one_by_one(ended)
            return cycle
        self._seen_version = self._version_now()
        if looking:
            self._looked = steady
            self.bench.guard.look()
            self._sweep()
        self._renewed = here if renewing else self._renewed
        self._stop_canceled(work)
        cycle.count(work.told, {(row.run, row.path) for row in leased.steps if row.phase == "run"})
        for row in leased.steps:
            if row.phase != "run" or not self._left_to_others(row):
                self.calls.begin(row)
        return cycle

    def _version_now(self) -> int:
        """What the store's version is after a commit of ours; one that nothing equals when it cannot be asked."""
        try:
            return self.bench.store.version()
        except StoreUnavailable:
            # The commit did take effect: what it leased is to begin.
            return -1

    def _judges(self, here: int) -> bool:
        """Whether leases of others that ran out are void. Not right after this worker was itself held up, by a store that
        was locked or a machine that slept: they were too, and have a moment to renew what they hold. One that is always
        slow judges in between.
        """
        lease = self.settings.lease
        if here - self._there > lease // 2 and here - self._judging > lease:
            self._judging = here + lease // 3
        self._there = here
        return here >= self._judging

    def _sweep(self) -> None:
        """Let runs go that need not be kept: in a thread, for their files may be many."""
        remover = self.bench.remover
        if self._leasing and self._swept.is_set() and remover.is_time:
            self._swept.clear()
            self.calls.submit(lambda: sweep(remover, self._swept))

    def _tell_one_by_one(self, ended: list[Ended]) -> None:
        """One of these outcomes cannot be recorded: its step fails, the others and this worker go on."""
        for one in ended:
            try:
                self._tell_alone(one)
            except Exception as fault:
                self._tell_alone(Ended(one.step, one.epoch, unrecordable(fault), phase=one.phase))

    def _tell_alone(self, one: Ended) -> None:
        """Report one outcome in a transaction of its own; one that does not reach the store is reported next turn."""
        try:
            with transact(self.bench.store, self.bench.plans, self.bench.clock, on_event=self._on_event) as work:
                tell(work, one, self.name)
        except StoreError:
            self.calls.ended.append(one)

    def rest(self) -> None:
        """Wait until something may be done: an outcome, a timer, a token, another process's commit."""
        if self._more or self.calls.waiting:
            return
        until = self._next_time()
        pause = min(5, self.settings.poll)
        while True:
            wall, steady = self.bench.clock.now(), self.bench.clock.steady()
            left = min(until - wall, self._renewed + self.settings.lease // 3 - steady)
            deadline = self.calls.next_deadline()
            left = left if deadline is None else min(left, deadline - steady)
            if left <= 0 or self.calls.wait(min(left, pause, self.settings.poll) / 1000):
                return
            if self.bench.store.version() != self._seen_version or steady - self._looked >= SECOND:
                return
            pause = min(pause * 2, self.settings.poll)

    def _next_time(self) -> int:
        timer = self.bench.store.next_timer()
        table = self.bench.timetable
        tick = table.next_at if table is not None and self._leasing else None
        times = [at for at in (timer, self._token_at if self._leasing else None, tick) if at is not None]
        return min(times, default=self.bench.clock.now() + 3600 * SECOND)

    def _tell_progress(self, work: Work) -> None:
        """Add to the log how far steps are, about once a second."""
        for step, progress in self.calls.said():
            row = work.find(step)
            if row is not None and row.status == "running":
                work.event(row.run, "step.progress", row.path, progress)

    # -- leases

    def _lease(self, work: Work, steady: int) -> Leased:
        if not self._leasing:
            return Leased(steps=[])
        self._turn += 1
        leased = lease(
            work,
            Wanted(
                worker=self.name, slots=self.settings.slots - len(self.calls.held), until=steady + self.settings.lease,
                turn=self._turn, queues=self.settings.queues, kinds=self._kinds(),
                runs=self.settings.runs,
            ),
        )  # fmt: skip
        self._token_at = leased.token_at
        return leased

    def _kinds(self) -> Collection[str] | None:
        """The kinds to ask for; None is all."""
        return able(self.bench, self.settings.kinds) if self._leaving else self.settings.kinds

    def _left_to_others(self, row: StepRow) -> bool:
        """Give a step back whose kind is not here but elsewhere, and ask for no such steps from now on."""
        if row.kind in self.bench.plugins.executors or not known_elsewhere(self.bench, row.kind, self._here):
            return False
        self._leaving = True
        with transact(self.bench.store, self.bench.plans, self.bench.clock, on_event=self._on_event) as work:
            release(work, step=row.id, epoch=row.epoch, worker=self.name)
        return True

    def _hear(self, work: Work, renewing: bool, steady: int) -> None:
        """Learn which leases were lost, and which steps are to be canceled."""
        work.flush()
        if renewing:
            rows = work.tx.renew(self.name, steady + self.settings.lease)
            work.adopt(rows)
            work.tx.put_worker(self._row("running"))
        else:
            rows = work.tx.leased(workers=[self.name])
        for row in rows:
            if row.id not in self.calls.held:
                # Leased by a commit of ours that we took for failed: nobody works on it.
                release(work, step=row.id, epoch=row.epoch, worker=self.name)
        self.calls.hear(rows)

    def _stop_canceled(self, work: Work) -> None:
        """Tell steps in hand that this very transaction canceled."""
        canceling = [event for event in work.told if event.kind == "step.canceling"]
        if not canceling:
            return
        for step, call in self.calls.held.items():
            known = work.find_known(step)
            if known is not None and known.cancel is not None:
                cancel_token(call.token, known)

    # -- ending

    def drain(self, grace: int, *, kill_grace: float | None = None) -> None:
        """Take nothing more; let what is in hand end within ``grace`` ms, then stop it and give it back unspent.

        ``kill_grace`` are the seconds between SIGTERM and SIGKILL then, at most; None leaves it to the steps.
        """
        self._leasing = False
        clock = self.bench.clock
        deadline = clock.steady() + grace
        while (self.calls.held or self.calls.ended) and clock.steady() < deadline:
            try:
                self.turn()
                if self.calls.held:
                    self.rest()
            except StoreUnavailable:
                self.calls.wait(AGAIN)
            except StoreError:
                break
        self._give_back(self.calls.stop_all(kill_grace))

    def _give_back(self, held: dict[int, Call]) -> None:
        """Report what ended well, and release all other leases."""
        ended = self.calls.taken()
        reported = {one.step for one in ended}
        try:
            with transact(self.bench.store, self.bench.plans, self.bench.clock, on_event=self._on_event) as work:
                for one in ended:
                    if one.phase == "run":
                        tell(work, one, self.name)
                    else:
                        release(work, step=one.step, epoch=one.epoch, worker=self.name)
                for step, call in held.items():
                    if step not in reported:
                        release(work, step=step, epoch=call.epoch, worker=self.name)
        except StoreError:
            # The leases will run out; nothing is lost.
            return


def tell(work: Work, one: Ended, worker: str) -> None:
    """Report what became of a lease, with what its expressions drew."""
    if one.drawn:
        row = work.find(one.step)
        if row is not None and row.epoch == one.epoch:
            work.event(row.run, "step.drawn", row.path, one.drawn)
    report(work, step=one.step, epoch=one.epoch, worker=worker, outcome=one.outcome)


def sweep(remover: Remover, done: threading.Event) -> None:
    """Remove what need not be kept, and say that it is done."""
    try:
        remover.sweep()
    except Exception as trouble:
        # Whatever it is, the next sweep tries again, and this worker's steps are not concerned.
        logging.getLogger("yamlflow.removal").warning("runs are not removed now: %s", trouble)
    finally:
        done.set()


def unrecordable(fault: Exception) -> Failed:
    """The failure of a step whose outcome the store could not take."""
    message = f"its outcome could not be recorded: {type(fault).__name__}: {fault}"
    return Failed(error=Error(code="bad_result", message=message, type=type(fault).__name__, permanent=True))
