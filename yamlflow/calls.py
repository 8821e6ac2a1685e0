"""The calls that a worker has in hand: executing them, telling them to stop, and what became of each.

Executors run in threads, on one event loop or, when they are trivial, right here. Outcomes come back by a queue, so that one
thread alone, the worker's, reads and changes what stands here. Nothing is written to the store.
"""

from __future__ import annotations

import contextlib
import json
import logging
import queue
from collections.abc import Iterable
from dataclasses import dataclass, replace

from .asking import asked
from .attempt import Attempt, prepare
from .clock import SECOND
from .crew import Job, Loop, Threads
from .deciding import decide
from .engine.decisions import Lost, Report
from .errors import Retryable, StoreUnavailable
from .executors import execute, execute_async, fault_outcome, timed_out
from .lookup import Bench
from .outcome import Failed, Json, Outcome
from .ports import CancelToken
from .rows import StepRow

#: Milliseconds that a coroutine whose deadline has passed may take beyond ``kill_grace``.
CLEANING = 5 * SECOND
#: Milliseconds that processes which were told to stop may take beyond ``kill_grace``.
STOPPING = 2 * SECOND
#: The same where the worker must be gone soon.
HURRYING = SECOND // 4
#: Milliseconds for which the event loop may be silent before it is given up.
BLOCKED = 5 * SECOND

_LOG = logging.getLogger("yamlflow.worker")


@dataclass(frozen=True, slots=True)
class Ended:
    """What became of a lease."""

    step: int
    epoch: int
    outcome: Report
    #: Time and chance that its expressions drew, for the log.
    drawn: dict[str, list[object]] | None = None
    phase: str = "run"


@dataclass(frozen=True, slots=True)
class PutOff:
    """A call that came to nothing because the store could not be read for it: its lease is given back."""

    step: int
    epoch: int


@dataclass(frozen=True, slots=True)
class Call:
    """One call in hand."""

    #: Its lease's epoch.
    epoch: int
    #: Tells it to stop.
    token: CancelToken
    attempt: Attempt


class Calls:
    """What one worker executes."""

    def __init__(self, bench: Bench, worker: str) -> None:
        self.bench = bench
        self.worker = worker
        #: By the step's number.
        self.held: dict[int, Call] = {}
        #: What became of leases, until it is reported.
        self.ended: list[Ended] = []
        self._inbox: queue.SimpleQueue[Ended | PutOff | None] = queue.SimpleQueue()
        self._threads = Threads()
        self._loop = Loop()
        #: What calls say of how far they are, until it is told to the log.
        self._progress: dict[int, Json] = {}

    def close(self) -> None:
        """Let go of threads and loop; both are made anew when they are needed again."""
        self._threads.close()
        self._threads = Threads()
        self._loop.close()

    # -- executing

    def begin(self, row: StepRow) -> None:
        """Do what a lease is for: decide for the engine, or let an executor begin.

        A store that cannot be read is no fault of the step's. Then nothing begins, and the worker, which finds a lease
        that is not in hand here, gives it back.
        """
        try:
            self._begin(row)
        except StoreUnavailable as trouble:
            _LOG.warning("step %s is put off: %s", row.path, trouble)

    def _begin(self, row: StepRow) -> None:
        if row.phase != "run":
            self.ended.append(Ended(row.id, row.epoch, decide(self.bench, row), phase=row.phase))
            return
        token = CancelToken()
        prepared = prepare(
            self.bench, row, token, worker=self.worker,
            progress=lambda said: self._progress.update({row.id: dict(said)}),
        )  # fmt: skip
        if isinstance(prepared, Failed):
            self.ended.append(Ended(row.id, row.epoch, prepared))
            return
        try:
            self.hand_out(prepared, token)
        except (OSError, ImportError, MemoryError, RuntimeError) as lack:
            # No thread, no descriptor, no memory: this step cannot begin here; others may.
            self.held.pop(row.id, None)
            fault = Retryable("spawn_failed", f"the worker could not begin the step: {lack}")
            self._note(self.ended_with(prepared, fault_outcome(fault, prepared.context)))

    def hand_out(self, attempt: Attempt, token: CancelToken) -> None:
        """Let an executor do its work: at once, on the loop or in a thread."""
        row = attempt.row
        if attempt.executor.mode == "inline":
            self._note(self.ended_with(attempt, execute(attempt.executor, attempt.context)))
            return
        self.held[row.id] = Call(row.epoch, token, attempt)
        if attempt.executor.awaited:
            self._loop.submit(lambda: self._execute_async(attempt))
        else:
            self._threads.submit(lambda: self._execute(attempt))

    def submit(self, job: Job) -> None:
        """Let a thread do something that is no call."""
        self._threads.submit(job)

    def _execute(self, attempt: Attempt) -> None:
        try:
            outcome = execute(attempt.executor, attempt.context)
        except BaseException as fault:
            # A thread of ours that died would leave its step in hand for ever.
            outcome = fault_outcome(fault, attempt.context)
        self._inbox.put(self.ended_with(attempt, outcome))

    async def _execute_async(self, attempt: Attempt) -> None:
        try:
            outcome = await execute_async(attempt.executor, attempt.context)
        except BaseException as fault:
            # Also a cancellation that nobody here asked for: it came from within, and is the executor's failure.
            outcome = fault_outcome(fault, attempt.context)
        self._inbox.put(self.ended_with(attempt, outcome))

    def ended_with(self, attempt: Attempt, outcome: Outcome) -> Ended | PutOff:
        """An outcome in the engine's words, its log closed. Any thread calls it, and it raises nothing."""
        try:
            attempt.log.close()
        except OSError as fault:
            outcome = outcome if isinstance(outcome, Failed) else fault_outcome(fault, attempt.context)
        told: Report
        try:
            told = said_of(self.bench, attempt, outcome)
        except StoreUnavailable:
            return PutOff(attempt.row.id, attempt.row.epoch)
        except Exception as fault:
            # A thread of ours that died would leave its step in hand for ever.
            told = fault_outcome(fault, attempt.context)
        return Ended(attempt.row.id, attempt.row.epoch, told, attempt.draws.drawn or None)

    # -- outcomes

    @property
    def waiting(self) -> bool:
        """Whether there is an outcome to take in or to report, or somebody wants the worker to look."""
        return bool(self.ended) or not self._inbox.empty()

    def wake(self) -> None:
        """End a wait, from any thread or signal handler."""
        self._inbox.put(None)

    def post(self, item: Ended | PutOff) -> None:
        """Bring an outcome, from any thread."""
        self._inbox.put(item)

    def wait(self, seconds: float) -> bool:
        """Wait for an outcome and take it in; False when none came and nobody called."""
        try:
            item = self._inbox.get(timeout=seconds)
        except queue.Empty:
            return False
        if item is not None:
            self.take(item)
        return True

    def collect(self) -> None:
        """Take in all outcomes that are there."""
        while not self._inbox.empty():
            self.wait(0)

    def take(self, item: Ended | PutOff) -> None:
        """An outcome came in; one whose lease is no longer in hand is nobody's."""
        call = self.held.get(item.step)
        if call is None or call.epoch != item.epoch:
            return
        del self.held[item.step]
        if not call.token.lost:
            self._note(item)

    def _note(self, item: Ended | PutOff) -> None:
        if isinstance(item, Ended):
            self.ended.append(item)

    def taken(self) -> list[Ended]:
        """What is to be reported now; it is the caller's from here on."""
        ended, self.ended = self.ended, []
        return ended

    def said(self) -> list[tuple[int, Json]]:
        """How far calls are: the latest word of each since the last time."""
        progress, self._progress = self._progress, {}
        return list(progress.items())

    # -- deadlines

    def next_deadline(self) -> int | None:
        """The first deadline on the steady clock; None when there is none."""
        deadlines = (call.attempt.deadline for call in self.held.values())
        return min((at for at in deadlines if at is not None), default=None)

    def end_overdue(self, steady: int) -> None:
        """A plain function cannot be made to stop: its attempt is over at the deadline, whatever it still does."""
        for step, call in list(self.held.items()):
            attempt = call.attempt
            if attempt.deadline is None or steady < attempt.deadline:
                continue
            call.token.cancel("the step did not end within its timeout")
            if not attempt.executor.awaited or attempt.warned:
                del self.held[step]
                self.ended.append(Ended(step, call.epoch, left_behind(attempt)))
            else:
                # A coroutine cleans up in its own time, but not for ever.
                attempt.warned = True
                attempt.deadline = steady + round(attempt.context.kill_grace * 1000) + CLEANING

    def watch_loop(self, steady: int) -> None:
        """A coroutine that does not let others run is named, and those that come later need not wait for it."""
        silence = self._loop.silence(steady)
        if silence < BLOCKED:
            return
        path = self._loop.blocker()
        words = (
            f"the coroutine of step {path} has held up the event loop for {silence / SECOND:.1f} seconds: steps that run there "
            "wait for it, others do not; call what blocks in a thread (`def`, or asyncio.to_thread)"
        )
        logging.getLogger(__name__).warning("%s", words)
        for call in self.held.values():
            if call.attempt.row.path == path:
                # It cannot clean up either, so its deadline is its end.
                call.attempt.warned = True
                with contextlib.suppress(OSError):
                    call.attempt.log.write(f"[{words}]\n", "note")
        self._loop.renew()

    # -- being told to stop

    def hear(self, rows: Iterable[StepRow]) -> None:
        """Tell calls whose lease was lost, or that are to be canceled; ``rows`` are all leases of this worker."""
        leases = {row.id: row for row in rows}
        for step, call in list(self.held.items()):
            mine = leases.get(step)
            if mine is None or mine.epoch != call.epoch:
                call.token.cancel("the lease was lost", lost=True)
            elif mine.cancel is not None:
                cancel_token(call.token, mine)

    def stop_all(self, kill_grace: float | None = None) -> dict[int, Call]:
        """Stop what is in hand and wait for its processes to be gone: the calls whose leases are to be given back.

        ``kill_grace`` are the seconds that each has after SIGTERM at most. What ended well meanwhile is among ``ended``.
        """
        self.collect()
        stopped = dict(self.held)
        for call in stopped.values():
            context = call.attempt.context
            context.kill_grace = context.kill_grace if kill_grace is None else min(context.kill_grace, kill_grace)
            call.token.cancel("the worker is stopping")
        longest = max((call.attempt.context.kill_grace for call in stopped.values()), default=0.0)
        spare = STOPPING if kill_grace is None else HURRYING
        deadline = self.bench.clock.steady() + round(longest * 1000) + spare
        # A thread cannot be made to stop, so nobody waits for one.
        going = {step: call for step, call in stopped.items() if call.attempt.executor.awaited}
        while going and self.bench.clock.steady() < deadline:
            try:
                item = self._inbox.get(timeout=0.05)
            except queue.Empty:
                continue
            if item is not None and item.step in stopped and stopped[item.step].epoch == item.epoch:
                going.pop(item.step, None)
                if isinstance(item, Ended) and not isinstance(item.outcome, Failed):
                    self.ended.append(item)
        self.held.clear()
        return stopped


def left_behind(attempt: Attempt) -> Failed:
    """The failure of a call whose time is over and that nobody could make to stop."""
    failure = timed_out(attempt.context)
    where = "coroutine" if attempt.executor.awaited else "thread"
    words = f"{failure.error.message}; its {where} cannot be ended and goes on until it returns or the worker ends"
    return replace(failure, error=replace(failure.error, message=words))


def said_of(bench: Bench, attempt: Attempt, outcome: Outcome) -> Report:
    """An outcome in the engine's words; of a suspect that ended its process, that it was lost once more."""
    if attempt.suspect and isinstance(outcome, Failed) and outcome.error.type == "ProcessGone":
        return Lost(error=outcome.error)
    return asked(bench, attempt, outcome)


def cancel_token(token: CancelToken, row: StepRow) -> None:
    """Tell a running step why it is to stop."""
    why = json.loads(row.cancel or "{}")
    token.cancel(why.get("reason") or f"canceled ({why.get('origin')})", by=why.get("by"))
