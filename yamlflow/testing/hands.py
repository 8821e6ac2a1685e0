"""The worker of a test: the real one, but that mocked calls take their time on the test's clock."""

from __future__ import annotations

import heapq
import queue
from collections.abc import Callable
from dataclasses import replace

from ..attempt import Attempt
from ..clock import SECOND
from ..executors import canceled, execute, timed_out
from ..lookup import Bench
from ..outcome import Outcome
from ..ports import CancelToken
from ..rows import EventRow, StepRow
from ..worker import Cycle, Ended, Settings, Worker
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
        super().__init__(bench, settings, on_event=on_event)
        self._mocks = mocks
        self._clock = clock
        #: Mocked calls that go on: when each ends, its turn among equals, and what comes of it.
        self._taking: list[tuple[int, int, Ended]] = []
        self._turns = 0
        #: Whether no call of this turn has taken long.
        self._patient = True

    def turn(self) -> Cycle:
        """One turn of any worker; quick calls of it end one after the other."""
        self._patient = True
        return super().turn()

    # -- what is there to be done

    @property
    def unfinished(self) -> bool:
        """Whether another turn has something to do at this moment."""
        return bool(self._ended) or self._more or not self._inbox.empty()

    @property
    def real(self) -> bool:
        """Whether a call that was really made goes on."""
        taking = {ended.step for _, _, ended in self._taking}
        return any(step not in taking for step in self._busy)

    def next_time(self) -> int | None:
        """The next moment of the test's clock at which something is due; None when nothing ever will be."""
        times = [ended_at for ended_at, _, ended in self._taking if self._is_current(ended)]
        times += [at for at in (self.bench.store.next_timer(), self._token_at) if at is not None]
        return min(times, default=None)

    def await_real(self, seconds: float) -> None:
        """Wait for a real call to end, no longer than ``seconds``."""
        try:
            item = self._inbox.get(timeout=seconds)
        except queue.Empty:
            return
        if item is not None:
            self._take(item)

    def end_due(self) -> None:
        """Mocked calls whose time has come end, in the order of their times."""
        while self._taking and self._taking[0][0] <= self._clock.now():
            self._take(heapq.heappop(self._taking)[2])

    def _is_current(self, ended: Ended) -> bool:
        held = self._busy.get(ended.step)
        return held is not None and held[0] == ended.epoch

    def _sweep(self) -> None:
        """A run that its package does not keep is still looked at by its test."""

    # -- executing

    def _begin(self, row: StepRow) -> None:
        # Deadlines are read off the clock twice, and must differ by the timeout alone.
        with self._clock.held():
            super()._begin(row)
        if row.id in self._busy and all(ended.step != row.id for _, _, ended in self._taking):
            self._let_end(row.id)

    def _let_end(self, step: int) -> None:
        """Give a call that was really made a moment to end before the next one begins."""
        until = self._clock.steady() + PATIENCE
        while self._patient and step in self._busy:
            left = until - self._clock.steady()
            self._patient = left > 0
            if self._patient:
                self.await_real(left / SECOND)

    def _hand_out(self, attempt: Attempt, token: CancelToken) -> None:
        answer = self._mocks.answer(attempt)
        if answer is None:
            if attempt.executor.kind in PROMPT and attempt.executor.origin == "built in":
                attempt.executor = replace(attempt.executor, mode="inline")
            super()._hand_out(attempt, token)
            return
        attempt.executor = stand_in(answer, attempt.executor)
        attempt.context.keep = {}
        limit = None if attempt.deadline is None else attempt.deadline - self._clock.steady()
        outcome: Outcome
        if limit is not None and answer.takes >= limit:
            outcome, takes = timed_out(attempt.context), limit
        else:
            outcome, takes = execute(attempt.executor, attempt.context), answer.takes
        ended = self._ended_with(attempt, outcome)
        # From here on the test's clock says when it is over.
        attempt.deadline = None
        if not takes:
            self._ended.append(ended)
            return
        self._busy[attempt.row.id] = (attempt.row.epoch, token, attempt)
        self._turns += 1
        heapq.heappush(self._taking, (self._clock.now() + takes, self._turns, ended))
        token.on_cancel(lambda: self._inbox.put(self._ended_with(attempt, canceled(attempt.context))))
