"""Who gets which step: queues, leases, timers, locks."""

from __future__ import annotations

from ...rows import HeldLock, new_step
from ..base import Store
from .ground import Ground


class Leases(Ground):
    """A step is one worker's at a time, and comes in its turn."""

    def test_a_claim_takes_the_highest_priority_then_the_earliest_turn(self, store: Store) -> None:
        run = self.add_run(store)
        late, early = self.add_steps(store, run, rank=5)[0], self.add_steps(store, run, rank=1)[0]
        urgent = self.add_steps(store, run, rank=9, priority=1)[0]
        assert [row.id for row in self.claim(store)] == [urgent.id, early.id, late.id]

    def test_a_claim_raises_the_epoch_and_counts_an_attempt(self, store: Store) -> None:
        run = self.add_run(store)
        self.add_steps(store, run)
        (row,) = self.claim(store)
        assert (row.status, row.epoch, row.attempt, row.worker, row.leased_until) == ("running", 1, 1, "w", 1000)
        assert store.steps_at(run.key, [row.path]) == [row]

    def test_a_claim_of_the_engines_own_work_counts_no_attempt_and_no_start(self, store: Store) -> None:
        run = self.add_run(store)
        self.add_steps(store, run, phase="gate", started_at=3)
        (row,) = self.claim(store)
        assert (row.attempt, row.started_at) == (0, 3)

    def test_a_step_is_claimed_once(self, store: Store) -> None:
        run = self.add_run(store)
        self.add_steps(store, run, 3)
        first, second = self.claim(store, 2), self.claim(store, 2, worker="v")
        assert (len(first), len(second), self.claim(store)) == (2, 1, [])
        assert not {row.id for row in first} & {row.id for row in second}

    def test_what_is_parked_is_neither_offered_nor_claimed(self, store: Store) -> None:
        run = self.add_run(store)
        for parked in ("timer", "slot", "paused"):
            self.add_steps(store, run, parked=parked)
        assert self.claim(store) == []
        with store.transaction() as tx:
            assert tx.offered() == []

    def test_the_queues_with_work_are_offered(self, store: Store) -> None:
        run = self.add_run(store)
        for queue in ("b", "", "a", "b"):
            self.add_steps(store, run, queue=queue)
        with store.transaction() as tx:
            assert tx.offered() == ["", "a", "b"]

    def test_a_worker_claims_only_the_kinds_it_knows(self, store: Store) -> None:
        run = self.add_run(store)
        self.add_steps(store, run, kind="gpu")
        known = self.add_steps(store, run, kind="noop")[0]
        assert [row.id for row in self.claim(store, kinds=["noop", "http"])] == [known.id]

    def test_renewing_prolongs_ones_own_leases_and_tells_which_they_are(self, store: Store) -> None:
        run = self.add_run(store)
        self.add_steps(store, run, 2)
        (mine,), (other,) = self.claim(store, 1), self.claim(store, 1, worker="v")
        with store.transaction() as tx:
            assert [(row.id, row.leased_until) for row in tx.renew("w", 2000)] == [(mine.id, 2000)]
            assert [row.id for row in tx.leased(expired_at=1500)] == [other.id]
            assert [row.id for row in tx.leased(workers=["w"])] == [mine.id]

    def test_leases_of_a_queue_are_counted(self, store: Store) -> None:
        run = self.add_run(store)
        self.add_steps(store, run, 3)
        self.claim(store, 2)
        with store.transaction() as tx:
            assert (tx.in_flight("q"), tx.in_flight("other")) == (2, 0)

    def test_timers_come_due_in_order(self, store: Store) -> None:
        run = self.add_run(store)
        late = self.add_steps(store, run, parked="timer", available_at=20)[0]
        soon = self.add_steps(store, run, parked="timer", available_at=10)[0]
        assert store.next_timer() == 10
        with store.transaction() as tx:
            assert [row.id for row in tx.due(15, 10)] == [soon.id]
            assert [row.id for row in tx.due(99, 10)] == [soon.id, late.id]

    def test_children_that_wait_for_a_place_come_in_order(self, store: Store) -> None:
        run = self.add_run(store)
        with store.transaction() as tx:
            first = tx.reserve(3)
            rows = [
                new_step(id=first + n, run=run.key, path=str(n), parent=7, ordinal=2 - n)._replace(parked="slot")
                for n in range(3)
            ]
            tx.insert_steps(rows)
            assert [row.ordinal for row in tx.next_parked(7, 2)] == [0, 1]

    def test_a_paused_runs_steps_are_held_and_offered_again(self, store: Store) -> None:
        run = self.add_run(store)
        self.add_steps(store, run, 2)
        with store.transaction() as tx:
            tx.hold(run.key, paused=True)
        assert self.claim(store) == []
        with store.transaction() as tx:
            tx.hold(run.key, paused=False)
        assert len(self.claim(store)) == 2

    def test_the_lowest_turn_is_that_of_one_priority(self, store: Store) -> None:
        run = self.add_run(store)
        self.add_steps(store, run, rank=4)
        self.add_steps(store, run, rank=2, priority=1)
        with store.transaction() as tx:
            assert (tx.lowest_rank("q", 0), tx.lowest_rank("q", 1), tx.lowest_rank("other", 0)) == (4, 2, 0)

    def test_locks_are_taken_all_or_none(self, store: Store) -> None:
        run = self.add_run(store)
        one, other = self.add_steps(store, run, 2)
        with store.transaction() as tx:
            assert tx.take_locks(["a", "b"], run=run.key, step=one.id, now=5) == []
            assert tx.take_locks(["b", "c"], run=run.key, step=other.id, now=6) == ["b"]
        assert store.locks() == [HeldLock(name, "r", 1, one.path, 5, 0) for name in ("a", "b")]
        assert [lock.name for lock in store.locks(["b", "c"])] == ["b"]
        with store.transaction() as tx:
            assert sorted(tx.free_locks(one.id)) == ["a", "b"]
            assert tx.free_locks(one.id) == []
            assert tx.take_locks(["b", "c"], run=run.key, step=other.id, now=7) == []
        assert {(lock.name, lock.path) for lock in store.locks()} == {("b", other.path), ("c", other.path)}

    def test_who_waits_for_a_lock_comes_by_priority_then_by_age(self, store: Store) -> None:
        run = self.add_run(store)
        first, second, urgent = self.add_steps(store, run, 3)
        with store.transaction() as tx:
            tx.await_locks(second.id, ["a"], priority=0)
            tx.await_locks(first.id, ["a", "b"], priority=0)
            tx.await_locks(urgent.id, ["a"], priority=4)
            assert tx.lock_waiters("a", 2) == [urgent.id, first.id]
            assert tx.free_names() == ["a", "b"]
            tx.take_locks(["a"], run=run.key, step=10**6, now=5)
            assert tx.free_names() == ["b"]
            tx.forget_waits(first.id)
            assert tx.free_names() == []
            assert tx.lock_waiters("a", 9) == [urgent.id, second.id]
