"""The worker of a test: the real one, but that mocked calls take their time on the test's clock."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import replace

from ..attempt import Attempt
from ..calls import Call, Calls, Ended, PutOff
from ..clock import SECOND
from ..executors import canceled, execute, timed_out
from ..lookup import Bench
from ..outcome import Outcome
from ..ports import CancelToken
from ..rows import EventRow, StepRow
from ..worker import Cycle, Settings, Worker
from .clocks import VirtualClock
from .mocks import Mocks, stand_in

#: Built-in kinds that only ask something of the engine, or of files at hand: done at once, in the order of their leases,
#: so that a test tells the same story each time.
PROMPT = frozenset({"workflow", "signal", "file", "sql", "template", "record"})

#: Milliseconds for which a call that is really made is waited for before the next one begins, unless one of its turn took
#: longer: quick calls end in the order in which they began, whatever the machine is busy with.
PATIENCE = 250


class Hands(Worker):
    """Takes steps up as any worker does, turn by turn, in the thread of the test. It never rests: the test does."""

    def __init__(
        self,
        bench: Bench,
        settings: Settings,
        *,
        mocks: Mocks,
        clock: VirtualClock,
        on_event: Callable[[EventRow], None] | None = None,
    ) -> None:
        self.mocked = MockedCalls(bench, settings.name, mocks=mocks, clock=clock)
        super().__init__(bench, settings, on_event=on_event, calls=self.mocked)

    def turn(self) -> Cycle:
        """One turn of any worker; quick calls of it end one after the other."""
        self.mocked.patient = True
        return super().turn()

    @property
    def unfinished(self) -> bool:
        """Whether another turn has something to do at this moment."""
        return self._more or self.calls.waiting

    def next_time(self) -> int | None:
        """The next moment of the test's clock at which something is due; None when nothing ever will be."""
        times = [self.mocked.next_end(), self.bench.store.next_timer(), self._token_at]
        return min((at for at in times if at is not None), default=None)

    def _sweep(self) -> None:
        """A run that its package does not keep is still looked at by its test."""


class MockedCalls(Calls):
    """Executes calls as any worker does, but for those that a mock answers: they take their time on the test's clock."""

    def __init__(self, bench: Bench, worker: str, *, mocks: Mocks, clock: VirtualClock) -> None:
        super().__init__(bench, worker)
        self._mocks = mocks
        self._clock = clock
        #: Mocked calls that go on: when each ends, its turn among equals, and what comes of it.
        self._taking: list[tuple[int, int, Ended | PutOff]] = []
        self._turns = 0
        #: Whether no call of this turn has taken long.
        self.patient = True

    @property
    def real(self) -> bool:
        """Whether a call that was really made goes on."""
        taking = {ended.step for _, _, ended in self._taking}
        return any(step not in taking for step in self.held)

    def next_end(self) -> int | None:
        """When the first of the mocked calls that go on ends."""
        return min((ended_at for ended_at, _, ended in self._taking if self._is_current(ended)), default=None)

    def end_due(self) -> None:
        """Mocked calls whose time has come end, in the order of their times."""
        while self._taking and self._taking[0][0] <= self._clock.now():
            self.take(heapq.heappop(self._taking)[2])

    def _is_current(self, ended: Ended | PutOff) -> bool:
        call = self.held.get(ended.step)
        return call is not None and call.epoch == ended.epoch

    # -- executing

    def begin(self, row: StepRow) -> None:
        """Begin a call; one that is really made is given a moment to end before the next one begins."""
        # Deadlines are read off the clock twice, and must differ by the timeout alone.
        with self._clock.held():
            super().begin(row)
        if row.id in self.held and all(ended.step != row.id for _, _, ended in self._taking):
            self._let_end(row.id)

    def _let_end(self, step: int) -> None:
        until = self._clock.steady() + PATIENCE
        while self.patient and step in self.held:
            left = until - self._clock.steady()
            self.patient = left > 0
            if self.patient:
                self.wait(left / SECOND)

    def hand_out(self, attempt: Attempt, token: CancelToken) -> None:
        """Let a mock answer, or the executor do its work."""
        answer = self._mocks.answer(attempt)
        if answer is None:
            if attempt.executor.kind in PROMPT and attempt.executor.origin == "built in":
                attempt.executor = replace(attempt.executor, mode="inline")
            super().hand_out(attempt, token)
            return
        attempt.executor = stand_in(answer, attempt.executor)
        attempt.context.keep = {}
        limit = None if attempt.deadline is None else attempt.deadline - self._clock.steady()
        outcome: Outcome
        if limit is not None and answer.takes >= limit:
            outcome, takes = timed_out(attempt.context), limit
        else:
            outcome, takes = execute(attempt.executor, attempt.context), answer.takes
        ended = self.ended_with(attempt, outcome)
        # From here on the test's clock says when it is over.
        attempt.deadline = None
        if not takes:
            if isinstance(ended, Ended):
                self.ended.append(ended)
            return
        self.held[attempt.row.id] = Call(attempt.row.epoch, token, attempt)
        self._turns += 1
        heapq.heappush(self._taking, (self._clock.now() + takes, self._turns, ended))
        token.on_cancel(lambda: self.post(self.ended_with(attempt, canceled(attempt.context))))
