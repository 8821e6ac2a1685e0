"""Deliberate mistakes in the engine, one at a time: each must be noticed by the rules within a thousand seeds.

``python -m tests.simulate --mutants`` says at which seed each one is.
"""

from __future__ import annotations

import logging
import signal
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from multiprocessing import get_context
from typing import Any
from unittest import mock

from yamlflow import lifecycle, scheduler, worker
from yamlflow.engine import commands, follow, leasing, locks, places, retry, runs, signals, undo
from yamlflow.engine.work import Work
from yamlflow.errors import StoreError
from yamlflow.outcome import Error, Failed, Succeeded
from yamlflow.rows import RunRow, SignalRow, StepRow
from yamlflow.store.sqlite import SqliteTransaction
from yamlflow.store.sqlite_messages import SIGNAL

from .choices import Choices
from .play import play
from .world import BOOTED, T0

Patch = Callable[[ExitStack], None]
MUTANTS: dict[str, Patch] = {}
#: What a mistake comes to that does not fit the engine any more: it says nothing of the rules.
UNMADE = ("TypeError", "AttributeError", "NameError")
#: Seconds after which a play is taken for one that does not end.
PATIENCE = 60


def mutant(make: Patch) -> Patch:
    """Declare a mistake, by the name of its function."""
    MUTANTS[make.__name__.replace("_", " ")] = make
    return make


def put(stack: ExitStack, place: Any, name: str, value: Any) -> None:
    """Something else in the place of what is right."""
    stack.enter_context(mock.patch.object(place, name, value))


@contextmanager
def mutated(name: str) -> Iterator[None]:
    """The engine with one mistake in it."""
    with ExitStack() as stack:
        MUTANTS[name](stack)
        yield


# -- leases --------------------------------------------------------------------------------------------------------


@mutant
def no_fence(stack: ExitStack) -> None:
    real = worker.report

    def report(work: Work, *, step: int, epoch: int, **told: Any) -> bool:
        row = work.find(step)
        return real(work, step=step, epoch=epoch if row is None else row.epoch, **told)

    put(stack, worker, "report", report)


@mutant
def a_fence_by_the_name_of_the_worker(stack: ExitStack) -> None:
    real = worker.report

    def report(work: Work, *, step: int, epoch: int, **told: Any) -> bool:
        row = work.find(step)
        same = row is not None and row.worker == told["worker"]
        return real(work, step=step, epoch=row.epoch if row is not None and same else epoch, **told)

    put(stack, worker, "report", report)


@mutant
def leases_that_run_out_by_the_wall_clock(stack: ExitStack) -> None:
    real = scheduler.tick

    def tick(work: Work, *, steady: int, **options: Any) -> bool:
        return real(work, steady=work.now - T0 + BOOTED, **options)

    put(stack, scheduler, "tick", tick)


@mutant
def a_lost_lease_spends_an_attempt(stack: ExitStack) -> None:
    real = lifecycle.lost

    def lost(step: StepRow, **told: Any) -> StepRow:
        after = real(step, **told)
        return after._replace(attempt=step.attempt) if after.status == "ready" else after

    put(stack, lifecycle, "lost", lost)


@mutant
def the_steps_of_who_is_buried_are_not_offered(stack: ExitStack) -> None:
    put(stack, scheduler, "bury", lambda work, who: work.tx.put_worker(who._replace(status="lost")))


@mutant
def a_commit_that_lies_is_reported_as_a_failed_attempt(stack: ExitStack) -> None:
    real = worker.Worker.turn

    def turn(self: worker.Worker) -> Any:
        try:
            return real(self)
        except StoreError as trouble:
            error = Error(code="store", message=str(trouble), type=type(trouble).__name__)
            self.calls.ended[:] = [
                replace(one, outcome=Failed(error=error)) if one.phase == "run" else one for one in self.calls.ended
            ]
            raise

    put(stack, worker.Worker, "turn", turn)


@mutant
def a_result_and_its_release_in_two_transactions(stack: ExitStack) -> None:
    real_report, real_settle = worker.report, worker.settle
    staged: dict[Any, list[dict[str, Any]]] = defaultdict(list)

    def report(work: Work, *, outcome: Any, **told: Any) -> bool:
        row = work.find(told["step"])
        if not isinstance(outcome, Succeeded) or row is None or row.status != "running" or row.epoch != told["epoch"]:
            return real_report(work, outcome=outcome, **told)
        work.event(row.run, "step.succeeded", row.path)
        staged[work.plan_of].append({"outcome": outcome, **told})
        return True

    def settle(work: Work) -> None:
        for told in [one for one in staged[work.plan_of] if one.pop("old", False) or one.update(old=True)]:
            real_report(work, **told)
        staged[work.plan_of] = [one for one in staged[work.plan_of] if "old" in one]
        real_settle(work)

    put(stack, worker, "report", report)
    put(stack, worker, "settle", settle)


# -- what follows --------------------------------------------------------------------------------------------------


@mutant
def no_lock_on_the_run(stack: ExitStack) -> None:
    """Each process goes on from the run as it read it last: updates of others are lost."""
    real_run, real_put = Work.run, Work.put_run
    read: dict[tuple[Any, int], RunRow] = {}

    def run(self: Work, key: int) -> RunRow:
        known = read.get((self.plan_of, key))
        if known is not None and key not in self._runs:
            self._runs[key] = known
        return read.setdefault((self.plan_of, key), real_run(self, key))

    def put_run(self: Work, row: RunRow) -> None:
        read[self.plan_of, row.key] = row
        real_put(self, row)

    put(stack, Work, "run", run)
    put(stack, Work, "put_run", put_run)


@mutant
def children_counted_after_the_commit(stack: ExitStack) -> None:
    real = follow.settle
    later: dict[Any, list[int]] = defaultdict(list)

    def settle(work: Work) -> None:
        now, later[work.plan_of] = later[work.plan_of], list(work.ended)
        work.ended.clear()
        work.ended.extend(id for id in now if work.find(id) is not None)
        real(work)

    for place in (worker, commands, scheduler):
        put(stack, place, "settle", settle)


@mutant
def a_need_that_is_not_awaited(stack: ExitStack) -> None:
    put(stack, lifecycle, "is_due", lambda step, node: step.met >= min(node.required, max(1, node.required - 1)))


@mutant
def nobody_is_told_of_a_signal(stack: ExitStack) -> None:
    put(stack, signals, "hand_over", lambda work, row: None)


@mutant
def nobody_is_told_of_a_free_lock(stack: ExitStack) -> None:
    put(stack, locks, "offer_again", lambda work, names: None)


@mutant
def no_parent_is_told_that_its_child_ended(stack: ExitStack) -> None:
    put(stack, runs, "tell_parent", lambda work, run, root: None)


@mutant
def children_go_on_without_their_parent(stack: ExitStack) -> None:
    put(stack, runs, "cancel_orphan", lambda *given: None)


@mutant
def a_place_is_given_twice(stack: ExitStack) -> None:
    real = places.limit_of
    put(stack, places, "limit_of", lambda plan: real(plan) + 1)


@mutant
def a_handler_fires_again(stack: ExitStack) -> None:
    """A group whose handler has ended opens it once more."""
    real = follow.after_handler
    again: set[int] = set()

    def after_handler(work: Work, parent: StepRow, node: Any, child: StepRow, name: str) -> None:
        if name == "undo" or child.id in again:
            real(work, parent, node, child, name)
            return
        retry.forget(work, work.below(child.run, child.path))
        follow.open_handler(work, work.step(parent.id), name, parent.phase)
        anew = work.at(child.run, child.path)
        assert anew is not None
        again.add(anew.id)

    put(stack, follow, "after_handler", after_handler)


@mutant
def undone_in_the_order_of_completion(stack: ExitStack) -> None:
    real = undo.undoable
    put(stack, undo, "undoable", lambda *given: list(reversed(real(*given))))


@mutant
def timers_that_fire_early(stack: ExitStack) -> None:
    def wake_due(work: Work) -> bool:
        work.flush()
        for row in work.tx.due(work.now + 3000, 100):
            current = work.step(row.id)
            if current.parked == "timer":
                commands.wake(work, current)
                follow.settle(work)
        return False

    put(stack, scheduler, "wake_due", wake_due)


@mutant
def two_of_one_dedup_key_run(stack: ExitStack) -> None:
    put(stack, Work, "same_key", lambda self, row: [])


@mutant
def a_step_of_a_canceled_group_begins(stack: ExitStack) -> None:
    """A group that is canceled does not tell its steps that are ready."""
    from yamlflow.engine import ends

    real = ends.cancel_row

    def cancel_row(work: Work, row: StepRow, why: dict[str, Any]) -> None:
        if row.status == "ready" and row.phase == "run" and row.path.count("/") and "force" not in why:
            return
        real(work, row, why)

    put(stack, ends, "cancel_row", cancel_row)


# -- queues, locks, signals ----------------------------------------------------------------------------------------


@mutant
def tokens_refilled_twice_as_fast(stack: ExitStack) -> None:
    def refill(*, tokens: float, burst: int, rate: float, since: int, now: int) -> float:
        return min(float(burst), tokens + 2 * max(0, now - since) * rate)

    put(stack, leasing, "refill", refill)


@mutant
def tokens_that_are_not_spent(stack: ExitStack) -> None:
    def take_tokens(work: Work, wanted: Any, policy: Any, free: int) -> Any:
        free = min(free, int(policy.tokens + 1e-9))
        return (leasing.claim(work, wanted, policy.name, free) if free else []), None

    put(stack, leasing, "take_tokens", take_tokens)


@mutant
def a_clock_that_goes_back_fills_the_bucket(stack: ExitStack) -> None:
    def refill(*, tokens: float, burst: int, rate: float, since: int, now: int) -> float:
        return min(float(burst), tokens + abs(now - since) * rate)

    def take_tokens(work: Work, wanted: Any, policy: Any, free: int) -> Any:
        tokens = refill(
            tokens=policy.tokens, burst=policy.burst, rate=policy.rate, since=policy.refilled_at, now=work.now
        )
        free = min(free, int(tokens + 1e-9))
        steps = leasing.claim(work, wanted, policy.name, free) if free > 0 else []
        if steps:
            work.tx.put_queue(policy._replace(tokens=tokens - len(steps), refilled_at=work.now))
        return steps, work.now + 1000

    put(stack, leasing, "take_tokens", take_tokens)


@mutant
def one_more_in_flight_than_may_be(stack: ExitStack) -> None:
    def room(*, in_flight: int, max_in_flight: int | None, wanted: int) -> int:
        return wanted if max_in_flight is None else max(0, min(wanted, max_in_flight + 1 - in_flight))

    put(stack, leasing, "room", room)


@mutant
def a_lock_is_given_to_two(stack: ExitStack) -> None:
    real = SqliteTransaction.take_locks

    def take_locks(self: Any, names: Any, **who: Any) -> list[str]:
        real(self, names, **who)
        return []

    put(stack, SqliteTransaction, "take_locks", take_locks)


@mutant
def a_signal_is_read_twice(stack: ExitStack) -> None:
    def read_signal(self: Any, run: int, name: str, step: int) -> SignalRow | None:
        row = self._db.execute(
            f"select {SIGNAL} from signals where run = ? and name = ? order by seq limit 1", (run, name)
        ).fetchone()
        if row is None:
            return None
        self._db.execute("update signals set taken_by = ? where seq = ? and taken_by is null", (step, row[0]))
        return SignalRow._make(row)

    put(stack, SqliteTransaction, "read_signal", read_signal)


@mutant
def the_last_signal_is_read_first(stack: ExitStack) -> None:
    def read_signal(self: Any, run: int, name: str, step: int) -> SignalRow | None:
        row = self._db.execute(
            f"""update signals set taken_by = ? where seq = (
            select seq from signals where run = ? and name = ? and taken_by is null order by seq desc limit 1)
            returning {SIGNAL}""",
            (step, run, name),
        ).fetchone()
        return None if row is None else SignalRow._make(row)

    put(stack, SqliteTransaction, "read_signal", read_signal)


@mutant
def signals_stay_behind_when_a_run_continues(stack: ExitStack) -> None:
    put(stack, SqliteTransaction, "move_signals", lambda self, run, successor: 0)


@mutant
def a_signal_of_a_known_key_is_kept_again(stack: ExitStack) -> None:
    real = SqliteTransaction.put_signal

    def put_signal(self: Any, row: SignalRow) -> SignalRow | None:
        found = self._db.execute("select count(*) from signals where key = ?", (row.key,)).fetchone()[0]
        return real(self, row._replace(key=f"{row.key}#{found}" if found and row.key else row.key))

    put(stack, SqliteTransaction, "has_signal", lambda self, run_id, key: False)
    put(stack, SqliteTransaction, "put_signal", put_signal)


# -- noticing ------------------------------------------------------------------------------------------------------


def notices(name: str, seed: int) -> str | None:
    """Which rule a seed breaks with a mistake in the engine; None when all seems well."""

    def out_of_patience(number: int, frame: Any) -> None:
        raise TimeoutError("it does not end")

    before = signal.signal(signal.SIGALRM, out_of_patience)
    signal.alarm(PATIENCE)
    try:
        with mutated(name):
            found = play(Choices(seed))
        assert found.rule not in UNMADE, f"{name}: {found.what}"
        return found.rule
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def first_notice(given: tuple[str, int]) -> tuple[str, int, str | None]:
    """The first seed that notices a mistake, and by which rule."""
    logging.disable(logging.CRITICAL)
    name, most = given
    for seed in range(most):
        rule = notices(name, seed)
        if rule is not None:
            return name, seed, rule
    return name, most, None


def survey(*, most: int, jobs: int) -> int:
    """Look for each mistake in turn; 1 when one stays unnoticed."""
    unnoticed = 0
    with get_context("fork").Pool(jobs) as pool:
        for name, seed, rule in pool.imap(first_notice, [(name, most) for name in MUTANTS]):
            unnoticed += rule is None
            print(f"{name}: " + (f"seed {seed}: {rule}" if rule else f"NOT NOTICED in {most} seeds"), flush=True)
    return int(unnoticed > 0)
