"""A worker among threads: many steps at once, renewal, lost leases, cancels, deadlines, draining, a failing store."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from yamlflow import scheduler, worker
from yamlflow.context import StepContext
from yamlflow.engine.decisions import Report
from yamlflow.engine.work import Work
from yamlflow.errors import StoreUnavailable
from yamlflow.executors import executor
from yamlflow.outcome import Json, StartRun, Succeeded
from yamlflow.packages import Loaded
from yamlflow.plugins import load
from yamlflow.rows import PackageRow, RunRow
from yamlflow.runtime import Runtime
from yamlflow.store.sqlite import SqliteStore, SqliteTransaction
from yamlflow.testing import FakeClock
from yamlflow.worker import Worker

from .engine.stage import package

#: Seconds after which something is taken for stuck.
PATIENCE = 20


class Hold:
    """A kind that says when it has begun and waits until it is let go, or until it is told to stop."""

    def __init__(self) -> None:
        self.begun: dict[str, threading.Event] = {}
        self.go: dict[str, threading.Event] = {}
        self.stopped: dict[str, threading.Event] = {}
        self.steps: list[StepContext] = []
        self.heeds = True

    def of(self, table: dict[str, threading.Event], path: str) -> threading.Event:
        """An event of a step."""
        return table.setdefault(path, threading.Event())

    def wait_for(self, table: dict[str, threading.Event], *paths: str) -> None:
        """Until it has happened for all of them."""
        for path in paths:
            assert self.of(table, path).wait(PATIENCE), f"{path}: it does not happen"

    def kind(self) -> Any:
        """The executor."""

        @executor("hold", schema={})
        def hold(step: StepContext) -> Json:
            path = step.step.path
            self.steps.append(step)
            go = self.of(self.go, path)

            def stop() -> None:
                self.of(self.stopped, path).set()
                if self.heeds:
                    go.set()

            step.ports.cancel.on_cancel(stop)
            self.of(self.begun, path).set()
            assert go.wait(PATIENCE)
            step.check_canceled()
            return {"attempt": step.attempt}

        return hold


class Desk:
    """A runtime with a worker that is driven turn by turn."""

    def __init__(
        self, store: Any = "sqlite:///:memory:", *, slots: int = 4, clock: Any = None, name: str = "w", **options: Any
    ) -> None:
        self.clock = clock or FakeClock()
        self.hold = Hold()
        self.runtime = Runtime(
            store, clock=self.clock, max_workers=slots, worker_id=name, plugins=load(entry_points=False), **options
        )
        self.runtime.register(self.hold.kind())

    @property
    def worker(self) -> Worker:
        """The worker."""
        return self.runtime.worker

    def start(self, body: str | Loaded, run_id: str = "r", **options: Any) -> None:
        """Start a run."""
        self.runtime.start(package(body) if isinstance(body, str) else body, run_id=run_id, **options)

    def turns(self, until: Callable[[], bool]) -> None:
        """Turn, and wait for outcomes, until something holds."""
        for _ in range(2000):
            self.worker.turn()
            if until():
                return
            self.nap()
        raise AssertionError("it does not happen")

    def running(self, path: str) -> None:
        """Turn until a step's executor has begun."""
        self.turns(lambda: self.status(path) == "running")
        self.hold.wait_for(self.hold.begun, path)

    def nap(self) -> None:
        """Until an outcome comes in, or a moment has passed."""
        threading.Event().wait(0.005)

    def status(self, path: str = "", run_id: str = "r") -> str:
        """A step's status."""
        row = self.runtime.step(run_id, path)
        assert row is not None
        return row.status

    def row(self, path: str, run_id: str = "r") -> Any:
        """A step."""
        return self.runtime.step(run_id, path)

    def kinds(self, step: str | None = None) -> list[str]:
        """The kinds of events there were."""
        run = self.runtime.run("r")
        assert run is not None
        return [event.kind for event in self.runtime.store.events(run.key, limit=10**6) if step in (None, event.step)]


@contextmanager
def desk(*arguments: Any, **options: Any) -> Iterator[Desk]:
    """A desk that is cleared again."""
    one = Desk(*arguments, **options)
    try:
        yield one
    finally:
        for event in one.hold.go.values():
            event.set()
        one.runtime.close()


THREE = "steps: {a: {kind: hold}, b: {kind: hold}, c: {kind: hold}, d: {kind: hold}}"


def test_as_many_steps_run_at_once_as_there_are_slots() -> None:
    with desk(slots=3) as one:
        one.start(THREE)
        one.worker.turn()
        one.running("a")
        one.hold.wait_for(one.hold.begun, "a", "b", "c")
        assert one.status("d") == "ready"
        one.hold.of(one.hold.go, "b").set()
        one.turns(lambda: one.status("d") == "running")
        assert one.status("b") == "succeeded"


def test_coroutines_share_one_loop() -> None:
    with desk(slots=50) as one:
        seen: set[int] = set()

        @executor("wait", schema={})
        async def wait(step: StepContext) -> str:
            import asyncio

            seen.add(threading.get_ident())
            await asyncio.sleep(0)
            return step.step.path

        one.runtime.register(wait)
        one.start("steps: {a: {kind: wait, for_each: '${{ range(50) }}'}}")
        one.turns(lambda: one.status() == "succeeded")
        assert len(seen) == 1
        assert one.runtime.result("r", "a") == [f"a[{n}]" for n in range(50)]


def test_a_lease_is_renewed_while_its_step_goes_on() -> None:
    with desk() as one:
        one.start("steps: {a: {kind: hold}}")
        one.running("a")
        for _ in range(20):
            one.clock.advance(10_000)
            one.worker.turn()
        row = one.row("a")
        assert (row.epoch, row.attempt, row.leased_until > one.clock.steady()) == (1, 1, True)
        one.hold.of(one.hold.go, "a").set()
        one.turns(lambda: one.status() == "succeeded")
        assert one.kinds("a") == ["step.ready", "step.leased", "step.succeeded"]


def test_a_worker_that_slept_keeps_the_leases_that_nobody_took() -> None:
    with desk() as one:
        one.start("steps: {a: {kind: hold}}")
        one.running("a")
        one.clock.advance(3_600_000)
        one.worker.turn()
        assert (one.row("a").epoch, one.row("a").lost) == (1, 0)


def test_a_step_whose_lease_another_worker_took_is_told_to_stop_and_its_outcome_is_nobody_s(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/y.db"
    clock = FakeClock()
    with desk(url, clock=clock, name="one") as one, desk(url, clock=clock, name="two") as two:
        one.start("steps: {a: {kind: hold}}")
        one.running("a")
        clock.advance(60_000)
        two.turns(lambda: two.row("a").worker == "two")
        assert one.row("a").lost == 1
        one.worker.turn()
        one.hold.wait_for(one.hold.stopped, "a")
        assert one.hold.steps[0].ports.cancel.lost
        one.nap()
        one.worker.turn()
        assert one.row("a").worker == "two"
        two.hold.wait_for(two.hold.begun, "a")
        two.hold.of(two.hold.go, "a").set()
        two.turns(lambda: two.status() == "succeeded")
        assert two.runtime.result("r", "a") == {"attempt": 1}


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_cancel_reaches_a_running_step_within_a_second(tmp_path: Path, elsewhere: bool) -> None:
    from yamlflow.clock import SystemClock

    url = f"sqlite:///{tmp_path}/y.db"
    with desk(url, clock=SystemClock()) as one, desk(url, clock=SystemClock(), name="other") as other:
        one.start("steps: {a: {kind: hold}, b: {kind: hold, needs: a}}")
        ended = threading.Event()

        def done() -> bool:
            run = one.runtime.run("r")
            return run is not None and run.ended_at is not None

        worker = threading.Thread(target=lambda: (one.runtime.run_workers(done), ended.set()))
        worker.start()
        one.hold.wait_for(one.hold.begun, "a")
        begun = SystemClock().steady()
        (other if elsewhere else one).runtime.cancel("r", reason="enough", by="ann")
        one.hold.wait_for(one.hold.stopped, "a")
        assert SystemClock().steady() - begun < 1000
        assert (one.hold.steps[0].ports.cancel.reason, one.hold.steps[0].ports.cancel.by) == ("enough", "ann")
        assert ended.wait(PATIENCE)
        worker.join(PATIENCE)
        assert (one.status("a"), one.status("b"), one.status()) == ("canceled", "canceled", "canceled")


def test_a_plain_function_is_over_at_its_deadline_whatever_it_still_does() -> None:
    with desk(slots=1) as one:
        one.hold.heeds = False
        one.start("steps: {a: {kind: hold, timeout: 10s}, b: {kind: noop}}")
        one.running("a")
        one.clock.advance(9_999)
        one.worker.turn()
        assert one.status("a") == "running"
        one.clock.advance(1)
        one.turns(lambda: one.status("b") == "succeeded")
        row = one.row("a")
        assert (row.status, '"timeout"' in row.error, one.hold.steps[0].canceled) == ("failed", True, True)
        one.hold.of(one.hold.go, "a").set()
        one.nap()
        one.worker.turn()
        assert one.kinds("a").count("step.failed") == 1


def test_a_worker_that_stops_hands_back_what_is_in_hand_unspent() -> None:
    with desk() as one:
        one.start("steps: {a: {kind: hold}, b: {kind: hold}}")
        one.running("a")
        one.worker.drain(0)
        assert (one.status("a"), one.row("a").attempt, one.row("a").lost) == ("ready", 0, 0)
        assert "step.released" in one.kinds("a")
        assert one.hold.steps[0].ports.cancel.canceled


def test_a_worker_that_stops_reports_what_has_ended_already() -> None:
    with desk() as one:
        one.start("steps: {a: {kind: hold}}")
        one.running("a")
        one.hold.of(one.hold.go, "a").set()
        for _ in range(1000):
            if one.worker.calls.waiting:
                break
            one.nap()
        one.worker.drain(0)
        assert one.status("a") == "succeeded"


def test_a_worker_that_drains_takes_nothing_new_and_lets_what_runs_end() -> None:
    with desk(slots=1) as one:
        one.start("steps: {a: {kind: hold}, b: {kind: hold}}")
        one.running("a")
        one.hold.of(one.hold.go, "a").set()
        one.worker.drain(10_000)
        assert (one.status("a"), one.status("b")) == ("succeeded", "ready")


def test_a_runtime_may_work_stop_and_work_again() -> None:
    from yamlflow.clock import SystemClock

    with desk(clock=SystemClock()) as one:
        for run in ("one", "two", "three"):
            one.start("steps: {a: {kind: hold}, b: {kind: noop, needs: a}}", run_id=run)
            one.hold.of(one.hold.go, "a").set()
            work_until(one, run)
            assert one.status("", run) == "succeeded"


def work_until(one: Desk, run: str) -> None:
    """Let the runtime work until a run has succeeded, or patience is at its end."""
    gone = threading.Timer(PATIENCE, one.worker.wake_up)
    gone.start()
    one.runtime.run_workers(lambda: one.status("", run) == "succeeded" or gone.finished.is_set())
    gone.cancel()


def test_what_would_end_the_process_ends_only_its_step() -> None:
    with desk() as one:

        @executor("exit", schema={})
        def leave(step: StepContext) -> None:
            raise {"keyboard": KeyboardInterrupt, "exit": SystemExit}[step.raw_input["by"]]("bye")

        one.runtime.register(leave)
        one.start("steps: {a: {kind: exit, with: {by: keyboard}}, b: {kind: exit, with: {by: exit}}}")
        one.turns(lambda: one.status() == "failed")
        assert (one.status("a"), one.status("b")) == ("failed", "failed")


def test_the_steps_of_a_worker_that_died_are_offered_at_once(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/y.db"
    clock = FakeClock()
    with desk(url, clock=clock, name="one") as one, desk(url, clock=clock, name="two") as two:
        one.worker.open()
        one.start("steps: {a: {kind: hold}}")
        one.running("a")
        two.worker.open()
        two.worker.turn()
        assert two.row("a").worker == "one"
        assert isinstance(one.worker._sign, scheduler.LifeSign)
        one.worker._sign.end()
        one.worker._sign = None
        clock.advance(1000)
        two.turns(lambda: two.row("a").worker == "two")


# -- a store that fails --------------------------------------------------------------------------------------------


class Shaky(SqliteStore):
    """A store whose next transactions fail: before they begin, or after they were committed."""

    def __init__(self) -> None:
        super().__init__("sqlite:///:memory:")
        self.fail: list[str] = []

    @contextmanager
    def transaction(self) -> Iterator[SqliteTransaction]:
        """One transaction; it may be said to have failed when it has not."""
        how = self.fail.pop(0) if self.fail else ""
        if how == "before":
            raise StoreUnavailable("the store cannot be reached")
        with super().transaction() as tx:
            yield tx
        if how == "after":
            raise StoreUnavailable("the answer was lost")


@pytest.mark.parametrize("how", ["before", "after"])
def test_an_outcome_survives_a_turn_that_failed_and_is_recorded_once(how: str) -> None:
    store = Shaky()
    with desk(store) as one:
        one.start("steps: {a: {kind: hold}, b: {kind: hold, needs: a}}")
        one.running("a")
        one.hold.of(one.hold.go, "a").set()
        for _ in range(1000):
            if one.worker.calls.waiting:
                break
            one.nap()
        store.fail = [how]
        with pytest.raises(StoreUnavailable):
            one.worker.turn()
        one.hold.of(one.hold.go, "b").set()
        one.turns(lambda: one.status() == "succeeded")
        assert one.kinds("a").count("step.succeeded") == 1
        assert (one.row("b").attempt, one.row("b").lost) == (1, 0)


def test_an_outcome_that_cannot_be_recorded_costs_no_other_step_its_own_also_when_the_store_fails_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = worker.report

    def report(work: Work, *, outcome: Report, **told: Any) -> bool:
        if isinstance(outcome, Succeeded) and work.step(told["step"]).path == "a":
            raise ValueError("it cannot be kept")
        return real(work, outcome=outcome, **told)

    monkeypatch.setattr(worker, "report", report)
    store = Shaky()
    with desk(store) as one:
        one.start("steps: {a: {kind: hold}, b: {kind: hold}}")
        for path in ("a", "b"):
            one.running(path)
        for path in ("a", "b"):
            one.hold.of(one.hold.go, path).set()
        for _ in range(1000):
            one.worker.calls.collect()
            if not one.worker.calls.held:
                break
            one.nap()
        # The turn and the report of `a` alone fail for its outcome, the report of that failure for the store.
        store.fail = ["", "", "before"]
        one.worker.turn()
        one.turns(lambda: one.status() == "failed")
        assert (one.status("a"), one.status("b")) == ("failed", "succeeded")
        assert json.loads(one.row("a").error or "{}")["code"] == "bad_result"
        assert len(one.hold.steps) == 2


def test_steps_leased_by_a_commit_that_was_taken_for_failed_are_given_back_and_run() -> None:
    store = Shaky()
    with desk(store) as one:
        one.start("steps: {a: {kind: hold}, g: {if: 'true', steps: {x: {kind: hold}}}}")
        for path in ("a", "g/x"):
            one.hold.of(one.hold.go, path).set()
        store.fail = ["after"]
        with pytest.raises(StoreUnavailable):
            one.worker.turn()
        assert one.status("a") == "running"
        one.turns(lambda: one.status() == "succeeded")
        assert len(one.hold.steps) == 2
        assert one.row("a").attempt == 1


class Unreadable(SqliteStore):
    """A store of which runs, or packages, cannot be read so many times."""

    def __init__(self) -> None:
        super().__init__("sqlite:///:memory:")
        self.fail: dict[str, int] = {}

    def _count(self, what: str) -> None:
        self.fail[what] = self.fail.get(what, 0) - 1
        if self.fail[what] >= 0:
            raise StoreUnavailable("the store cannot be read")

    def run_at(self, key: int) -> RunRow | None:
        self._count("run_at")
        return super().run_at(key)

    def newest_package(self, name: str) -> PackageRow | None:
        self._count("newest_package")
        return super().newest_package(name)


@pytest.mark.parametrize("step", ["{kind: hold}", "{kind: hold, if: 'true'}", "{steps: {x: {kind: noop}}, if: 'true'}"])
def test_a_store_that_cannot_be_read_costs_a_step_neither_its_end_nor_an_attempt(step: str) -> None:
    store = Unreadable()
    with desk(store) as one:
        one.start(f"steps: {{a: {step}}}")
        one.hold.of(one.hold.go, "a").set()
        store.fail["run_at"] = 1
        one.worker.turn()
        assert one.status("a") == "running"
        # It looks once a second for leases that are not in hand.
        one.clock.advance(1000)
        one.turns(lambda: one.status() == "succeeded")
        assert one.row("a").attempt <= 1


def test_a_call_whose_outcome_needs_a_store_that_cannot_be_read_is_called_again() -> None:
    store = Unreadable()
    with desk(store) as one:

        @executor("spawn", schema={}, mode="thread")
        def spawn(step: StepContext) -> StartRun:
            return StartRun(package="child")

        one.runtime.register(spawn)
        one.runtime.start(package("steps: {x: {kind: noop}}", name="child"))
        one.start("steps: {a: {kind: spawn}}")
        store.fail["newest_package"] = 1
        one.turns(lambda: store.fail["newest_package"] < 1 and not one.worker.calls.held)
        one.clock.advance(1000)
        one.turns(lambda: one.status() == "succeeded")
        assert (one.row("a").attempt, one.kinds("a").count("step.released")) == (1, 1)


def test_a_worker_that_begins_anew_under_its_name_goes_on_with_what_ran_out_meanwhile() -> None:
    with desk() as one:
        one.start("steps: {a: {kind: hold}}")
        one.running("a")
        one.clock.advance(one.worker.settings.lease + 1000)
        again = Worker(one.runtime.bench, one.worker.settings)
        again.turn()
        assert one.row("a").epoch == 2
        assert one.kinds("a").count("step.released") == 1
        assert "step.lost" not in one.kinds("a")


def test_a_worker_whose_store_stays_away_ends_with_the_store_s_own_error() -> None:
    store = Shaky()
    with desk(store) as one:
        one.start("steps: {a: {kind: hold}}")
        one.running("a")
        store.fail = ["", "before", "before", "before"]
        with pytest.raises(StoreUnavailable, match="reached"):
            one.runtime.run_workers(patience=0)
        assert one.hold.steps[0].ports.cancel.canceled
        store.fail = []


def test_a_worker_lives_through_a_store_that_is_out_of_reach_and_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    store = Shaky()
    with desk(store) as one:
        one.start("steps: {a: {kind: hold}}")
        one.running("a")
        one.hold.of(one.hold.go, "a").set()
        # The first is the worker's own row.
        store.fail = ["", "before", "before", "before"]
        one.runtime.run_workers(lambda: one.status() == "succeeded")
        assert one.kinds("a").count("step.succeeded") == 1
        assert (one.row("a").attempt, one.row("a").lost) == (1, 0)
    assert [line.split(":")[0].split(",")[0] for line in caplog.messages] == [
        "the store is out of reach", "the store is there again",
    ]  # fmt: skip


def test_leases_that_ran_out_while_nobody_could_renew_them_are_left_to_their_workers_first() -> None:
    store = Shaky()
    with desk(store, name="mine") as mine:
        mine.start("steps: {a: {kind: hold}}")
        mine.running("a")
        other = Runtime(store, clock=mine.clock, worker_id="other", plugins=load(entry_points=False)).worker
        other.turn()
        store.fail = ["before"]
        mine.clock.advance(31_000)
        with pytest.raises(StoreUnavailable):
            other.turn()
        # The other one is first when the store is there again.
        other.turn()
        assert mine.status("a") == "running"
        mine.worker.turn()
        mine.hold.of(mine.hold.go, "a").set()
        mine.turns(lambda: mine.status() == "succeeded")
        assert (mine.row("a").attempt, mine.row("a").lost) == (1, 0)


def test_the_lease_of_a_worker_that_does_not_come_back_after_an_outage_is_lost_a_little_later() -> None:
    store = Shaky()
    with desk(store, name="mine") as mine:
        mine.start("steps: {a: {kind: hold}}")
        mine.running("a")
        other = Runtime(store, clock=mine.clock, worker_id="other", plugins=load(entry_points=False)).worker
        store.fail = ["before"]
        mine.clock.advance(31_000)
        with pytest.raises(StoreUnavailable):
            other.turn()
        other.turn()
        mine.clock.advance(10_001)
        other.turn()
        assert mine.row("a").lost == 1


def test_a_lent_connection_is_left_open() -> None:
    connection = sqlite3.connect(":memory:", check_same_thread=False)
    with desk(connection) as one:
        one.start("steps: {a: {kind: noop}}")
        one.turns(lambda: one.status() == "succeeded")
    assert connection.execute("select count(*) from runs").fetchone() == (1,)
    connection.close()


def test_what_a_dead_worker_of_the_same_name_held_is_lost_so_that_a_fatal_step_ends(tmp_path: Path) -> None:
    with desk(f"sqlite:///{tmp_path}/y.db") as one:
        one.start("steps: {a: {kind: hold}}")
        for losses in (1, 2, 3):
            one.running("a")
            # As a kill leaves it: the lock is gone, the lease is not.
            os.close(one.worker._sign._handle) if one.worker._sign else None
            again = Worker(one.runtime.bench, one.worker.settings)
            again.open()
            assert one.row("a").lost == losses
            one.runtime._worker = again
        assert json.loads(one.row("a").error)["code"] == "worker_lost"


def test_a_worker_that_was_held_up_lets_others_renew_before_it_judges_them() -> None:
    with desk() as one:
        one.start("steps: {a: {kind: hold}}")
        one.running("a")
        lease = one.worker.settings.lease
        other = Worker(one.runtime.bench, replace(one.worker.settings, name="other"))
        other.turn()
        # The store was locked, or the machine slept: neither could do anything.
        one.clock.advance(lease + 1000)
        other.turn()
        assert one.status("a") == "running"
        assert one.row("a").leased_until < one.clock.steady()
        one.worker.turn()
        one.clock.advance(lease // 3)
        other.turn()
        assert (one.row("a").epoch, one.row("a").lost) == (1, 0)
        # What nobody renews is void in the end.
        for _ in range(4):
            one.clock.advance(lease // 3)
            other.turn()
        assert one.row("a").lost == 1


def test_a_lease_lasts_from_when_it_is_given_however_long_the_store_let_the_worker_wait() -> None:
    store, clock = Shaky(), FakeClock()
    with desk(store, clock=clock) as one:
        one.start("steps: {a: {kind: hold}}")
        begin = store.transaction

        def wait_for_it() -> Any:
            clock.advance(25_000)
            return begin()

        store.transaction = wait_for_it  # type: ignore[method-assign]
        one.running("a")
        assert one.row("a").leased_until == clock.steady() + one.worker.settings.lease
