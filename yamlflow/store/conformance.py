"""What every store is held to: a suite that a store's own tests inherit.

    class TestMyStore(StoreConformance):
        def make_store(self, folder):
            return MyStore(...)

Each test says one promise of ``store.base``. They use no engine: rows go in, rows come out.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ..errors import RunExists
from ..outcome import Record
from ..rows import (
    ArtifactRow,
    CacheRow,
    EventRow,
    HeldLock,
    PackageRow,
    QueueRow,
    RetentionRow,
    RunRow,
    ScheduleRow,
    SignalRow,
    StepRow,
    WorkerRow,
    new_step,
)
from .base import Edge, RunFilter, Store

PACKAGE = PackageRow("digest", "pkg", "1", "yamlflow: 1", None, 0)


def run_row(id: str = "r", execution: int = 1, **changes: Any) -> RunRow:
    """A live run."""
    row = RunRow(
        key=0, id=id, execution=execution, package="pkg", digest="digest", status="running", name=None, version=None,
        inputs="{}", metadata="{}", context="{}", folder=None, parent=None, paused=0, steps=0, done=0, started_by=None,
        created_at=1, started_at=1, ended_at=None,
    )  # fmt: skip
    return row._replace(**changes)


class StoreConformance:
    """Inherit, and say how to make an empty store."""

    def make_store(self, folder: Path) -> Store:
        """An empty store that keeps what it has below ``folder``."""
        raise NotImplementedError

    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[Store]:
        store = self.make_store(tmp_path)
        yield store
        store.close()

    def add_run(self, store: Store, id: str = "r", **changes: Any) -> RunRow:
        with store.transaction() as tx:
            tx.put_package(PACKAGE)
            return tx.insert_run(run_row(id, **changes))

    def add_steps(self, store: Store, run: RunRow, count: int = 1, **changes: Any) -> list[StepRow]:
        with store.transaction() as tx:
            first = tx.reserve(count)
            rows = [
                new_step(id=first + n, run=run.key, path=f"s{first + n}", parent=None)._replace(
                    status="ready", phase="run", queue="q", rank=n + 1
                )._replace(**changes)
                for n in range(count)
            ]  # fmt: skip
            tx.insert_steps(rows)
        return rows

    def claim(self, store: Store, limit: int = 10, worker: str = "w", **more: Any) -> list[StepRow]:
        with store.transaction() as tx:
            return tx.claim("q", limit=limit, worker=worker, until=1000, now=5, **more)

    # -- transactions

    def test_what_a_transaction_wrote_is_there_together(self, store: Store) -> None:
        run = self.add_run(store)
        assert store.run_at(run.key) == run
        assert store.package("digest") == PACKAGE

    def test_what_a_failed_transaction_wrote_is_gone_together(self, store: Store) -> None:
        with pytest.raises(ZeroDivisionError), store.transaction() as tx:
            tx.put_package(PACKAGE)
            tx.insert_run(run_row())
            raise ZeroDivisionError
        assert store.find_run("r") is None
        assert store.package("digest") is None

    def test_transactions_of_several_threads_take_turns(self, store: Store) -> None:
        run = self.add_run(store)

        def add() -> None:
            for _ in range(25):
                with store.transaction() as tx:
                    row = tx.run(run.key)
                    assert row is not None
                    tx.update_run(row._replace(steps=row.steps + 1))

        threads = [threading.Thread(target=add) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        after = store.run_at(run.key)
        assert after is not None
        assert after.steps == 100

    def test_the_version_changes_with_every_commit(self, store: Store) -> None:
        before = store.version()
        self.add_run(store)
        assert store.version() != before

    # -- signals, waits, and what binds runs to one another

    def signal(self, run: RunRow, name: str = "go", data: str = "1", key: str | None = None) -> SignalRow:
        return SignalRow(0, run.key, name, data, "me", key, 5)

    def test_signals_are_read_first_in_first_out_by_name(self, store: Store) -> None:
        run, other = self.add_run(store), self.add_run(store, "other")
        with store.transaction() as tx:
            for data, name, to in (("1", "go", run), ("2", "stop", run), ("3", "go", run), ("4", "go", other)):
                tx.put_signal(self.signal(to, name, data))
        with store.transaction() as tx:
            read = [tx.read_signal(run.key, "go", step) for step in (7, 8, 9)]
        assert [(one.data, one.taken_by) if one else None for one in read] == [("1", 7), ("3", 8), None]
        assert [one.data for one in store.signals(run.key)] == ["1", "2", "3"]
        assert [one.data for one in store.signals(run.key, unread=True)] == ["2"]

    def test_a_signal_of_a_key_is_kept_once_for_a_run(self, store: Store) -> None:
        run, other = self.add_run(store), self.add_run(store, "other")
        later = self.add_run(store, execution=2)
        with store.transaction() as tx:
            assert not tx.has_signal("r", "k")
            kept = [tx.put_signal(self.signal(to, key="k")) for to in (run, run, other)]
            assert [one is not None for one in kept] == [True, False, True]
            assert tx.has_signal("r", "k")
            assert tx.put_signal(self.signal(later, key="k")) is None, "executions of one id are one receiver"
            assert [tx.put_signal(self.signal(run)) is not None for _ in "ab"] == [True, True]

    def test_unread_signals_move_on_in_order_and_read_ones_stay(self, store: Store) -> None:
        run, next_one = self.add_run(store), self.add_run(store, execution=2)
        with store.transaction() as tx:
            for data in "123":
                tx.put_signal(self.signal(run, data=data))
            tx.read_signal(run.key, "go", 7)
            assert tx.move_signals(run.key, next_one.key) == 2
        assert [one.data for one in store.signals(run.key)] == ["1"]
        assert [one.data for one in store.signals(next_one.key)] == ["2", "3"]

    def test_the_step_that_has_waited_longest_is_found(self, store: Store) -> None:
        run = self.add_run(store)
        late, early, other = self.add_steps(store, run, 3, status="waiting", phase="signal")
        with store.transaction() as tx:
            tx.update_steps(
                [
                    late._replace(awaits="signal:go", started_at=9),
                    early._replace(awaits="signal:go", started_at=8),
                    other._replace(awaits="signal:stop", started_at=1),
                ]
            )
        with store.transaction() as tx:
            found = tx.awaiting(run.key, "signal:go")
            assert found is not None
            assert found.id == early.id
            assert tx.awaiting(run.key, "signal:nothing") is None
            assert tx.awaiting(run.key + 1, "signal:go") is None

    def test_the_live_children_of_a_run_are_found_and_handed_on(self, store: Store) -> None:
        run, next_one = self.add_run(store), self.add_run(store, execution=2)
        live = self.add_run(store, "live", parent=1, parent_run=run.key)
        self.add_run(store, "over", parent=1, parent_run=run.key, status="succeeded", ended_at=5)
        with store.transaction() as tx:
            assert [one.id for one in tx.children(run.key)] == ["live"]
            tx.adopt_children(run.key, next_one.key)
            assert tx.children(run.key) == []
            assert [one.key for one in tx.children(next_one.key)] == [live.key]
        assert [one.id for one in store.child_runs(run.key)] == ["over"]

    def test_runs_of_a_slot_come_in_the_order_they_were_stored(self, store: Store) -> None:
        for id, status, slot in (("a", "running", "p/k"), ("b", "pending", "p/k"), ("c", "pending", "p/k"),
                                 ("d", "running", "p/other"), ("e", "running", None)):  # fmt: skip
            self.add_run(store, id, status=status, slot=slot)
        self.add_run(store, "f", status="running", slot="p/k", ended_at=5)
        with store.transaction() as tx:
            assert [one.id for one in tx.in_slot("p/k", "running", 9)] == ["a"]
            assert [one.id for one in tx.in_slot("p/k", "pending", 9)] == ["b", "c"]
            assert [one.id for one in tx.in_slot("p/k", "pending", 1)] == ["b"]
        assert [one.id for one in store.in_slot("p/k")] == ["a", "b", "c"]
        assert [one.id for one in store.in_slot("p/k", limit=1)] == ["a", "b"]

    def test_a_removed_run_leaves_no_signal(self, store: Store) -> None:
        run = self.add_run(store)
        with store.transaction() as tx:
            tx.put_signal(self.signal(run))
            tx.remove_run(run.key)
        assert store.signals(run.key) == []

    # -- runs

    def test_a_run_id_and_execution_are_taken_once(self, store: Store) -> None:
        self.add_run(store)
        with pytest.raises(RunExists):
            self.add_run(store)

    def test_a_run_id_alone_means_its_newest_execution(self, store: Store) -> None:
        self.add_run(store)
        second = self.add_run(store, execution=2)
        assert store.find_run("r") == second
        first = store.find_run("r", 1)
        assert first is not None
        assert first.execution == 1

    def test_runs_are_listed_newest_first_and_by_page(self, store: Store) -> None:
        rows = [self.add_run(store, f"r{n}", metadata=json.dumps({"n": str(n % 2)})) for n in range(5)]
        assert store.runs(RunFilter()) == rows[::-1]
        assert store.runs(RunFilter(limit=2, before=rows[3].key)) == [rows[2], rows[1]]
        assert store.runs(RunFilter(metadata=(("n", "1"),))) == [rows[3], rows[1]]
        assert store.runs(RunFilter(id="r2")) == [rows[2]]

    def test_a_listing_holds_what_all_its_filters_let_through(self, store: Store) -> None:
        a = self.add_run(store, "crawl-a", name="Front Page", status="failed", ended_at=50)
        b = self.add_run(store, "crawl-b", created_at=20, parent_run=a.key)
        c = self.add_run(store, "other", created_at=30, status="succeeded", ended_at=90, name="the FRONT")
        ids = {row.key: row.id for row in (a, b, c)}

        def listed(**wanted: Any) -> list[str]:
            return [ids[row.key] for row in store.runs(RunFilter(**wanted))]

        assert listed(status=("failed", "succeeded")) == ["other", "crawl-a"]
        assert listed(prefix="crawl-") == ["crawl-b", "crawl-a"]
        assert listed(text="front") == ["other", "crawl-a"]
        assert listed(text="WL-B") == ["crawl-b"]
        assert listed(text="%") == []
        assert listed(parent="crawl-a") == ["crawl-b"]
        assert listed(created=(20, 30)) == ["crawl-b"]
        assert listed(ended=(50, None)) == ["other", "crawl-a"]
        assert listed(ended=(None, 90)) == ["crawl-a"]
        assert listed(package="other") == []
        assert listed(text="front", status=("failed",)) == ["crawl-a"]
        assert listed(metadata=(('it"s', "1"),)) == []

    def test_live_runs_can_be_listed_alone(self, store: Store) -> None:
        live = self.add_run(store, "a")
        self.add_run(store, "b", status="succeeded", ended_at=9)
        assert store.runs(RunFilter(live=True)) == [live]

    # -- steps

    def test_steps_are_found_by_number_and_by_path(self, store: Store) -> None:
        run = self.add_run(store)
        rows = self.add_steps(store, run, 500)
        with store.transaction() as tx:
            assert sorted(tx.steps([row.id for row in rows])) == rows
            assert sorted(tx.steps_at(run.key, [row.path for row in rows])) == rows
            assert tx.steps([10**9]) == []

    def test_two_runs_never_share_a_step(self, store: Store) -> None:
        for id in ("a", "b"):
            run = self.add_run(store, id)
            with store.transaction() as tx:
                tx.insert_steps([new_step(id=tx.reserve(1), run=run.key, path="root", parent=None)])
        assert {row.run for run in store.runs(RunFilter()) for row in store.tree(run.key)} == {1, 2}

    def test_a_subtree_is_what_follows_a_path_and_nothing_else(self, store: Store) -> None:
        run = self.add_run(store)
        paths = ["", "a", "a/b", "a[0]", "a[0]/b", "a@finally", "a@finally/_1", "ab", "ab/c", "b", "a0"]
        with store.transaction() as tx:
            first = tx.reserve(len(paths))
            tx.insert_steps(
                [new_step(id=first + n, run=run.key, path=path, parent=None) for n, path in enumerate(paths)]
            )
            assert [row.path for row in tx.below(run.key, "a")] == paths[1:7]
            assert [row.path for row in tx.below(run.key, "")] == paths
        assert [row.path for row in store.tree(run.key, "a")] == paths[1:7]

    def test_all_that_may_change_of_a_step_is_written(self, store: Store) -> None:
        run = self.add_run(store)
        (row,) = self.add_steps(store, run)
        changed = row._replace(
            status="waiting", phase="steps", reason="x", queue="z", priority=3, rank=9, parked="timer", available_at=7,
            attempt=2, lost=1, epoch=4, worker="w", leased_until=8, met=1, missed=2, children=3, alive=2, busy=1,
            failures=1, cancellations=1, cancel="{}", fault="{}", winner="a", dedup_key="k", result="1", error="{}",
            due=5, ended=6, ready_at=1, started_at=2, ended_at=3, kind="noop", scope="{}",
        )  # fmt: skip
        with store.transaction() as tx:
            tx.update_steps([changed])
        assert store.steps_at(run.key, [row.path]) == [changed]

    def test_step_numbers_are_never_given_twice(self, store: Store) -> None:
        run = self.add_run(store)
        (row,) = self.add_steps(store, run)
        with store.transaction() as tx:
            tx.delete_steps([row.id])
        (later,) = self.add_steps(store, run)
        assert later.id > row.id

    def test_needs_between_emitted_steps_are_kept(self, store: Store) -> None:
        run = self.add_run(store)
        with store.transaction() as tx:
            first = tx.reserve(2)
            rows = [new_step(id=first + n, run=run.key, path=str(n), parent=None) for n in range(2)]
            edge = Edge(source=first, target=first + 1, ends=frozenset({"failed", "succeeded"}))
            tx.insert_steps(rows, [edge])
            assert tx.edges(first) == [edge]
            tx.delete_steps([first])
            assert tx.edges(first) == []

    # -- leases

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

    # -- locks

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

    # -- kept results

    def test_the_last_result_of_a_key_is_kept(self, store: Store) -> None:
        row = CacheRow("pkg", "a[]/b", "k", "1", "r", 1, "a[0]/b", 5, None)
        with store.transaction() as tx:
            tx.keep(row)
            tx.keep(row._replace(result="2", run_id="s"))
            assert tx.kept("pkg", "a[]/b", "k") == row._replace(result="2", run_id="s")
            assert tx.kept("pkg", "a[]/b", "other") is None
            assert tx.kept("other", "a[]/b", "k") is None
        assert store.cached() == [row._replace(result="2", run_id="s")]

    def test_kept_results_are_forgotten_by_what_they_are_of(self, store: Store) -> None:
        rows = [
            CacheRow(package, step, key, "1", "r", 1, step, 5, None)
            for package in ("p", "q")
            for step in ("a", "b")
            for key in ("k", "l")
        ]
        with store.transaction() as tx:
            for row in rows:
                tx.keep(row)
            assert tx.forget_kept(package="p", step="a", key="k") == 1
            assert tx.forget_kept(package="p", step="a") == 1
            assert tx.forget_kept(package="p") == 2
        assert store.cached() == rows[4:]
        assert store.cached(step="b", key="l") == [rows[7]]
        assert store.cached(limit=1) == [rows[4]]
        with store.transaction() as tx:
            assert (tx.forget_kept(), tx.forget_kept()) == (4, 0)

    def test_kept_results_are_dropped_when_their_time_is_over(self, store: Store) -> None:
        rows = [CacheRow("p", "a", str(at), "1", "r", 1, "a", 5, at) for at in (10, 20, 30)]
        with store.transaction() as tx:
            for row in (*rows, rows[0]._replace(key="ever", expires_at=None)):
                tx.keep(row)
            assert (tx.drop_expired(20, 1), tx.drop_expired(20, 9), tx.drop_expired(20, 9)) == (1, 1, 0)
        assert {row.key for row in store.cached()} == {"30", "ever"}

    # -- what goes along

    def test_a_queues_state_is_kept(self, store: Store) -> None:
        row = QueueRow("q", 2, 0.5, 3, 1.25, 9, 0)
        with store.transaction() as tx:
            tx.put_queue(row)
            assert tx.queue("q") == row
            assert tx.queue("other") is None
        assert store.queues() == [(row, 0, 0)]

    def test_events_are_kept_in_order(self, store: Store) -> None:
        run = self.add_run(store)
        rows = [EventRow(run.key, n, 5, "log", None, "{}") for n in (1, 2, 3)]
        with store.transaction() as tx:
            tx.append_events(rows)
            assert tx.last_event(run.key) == 3
        assert store.events(run.key, after=1) == rows[1:]

    def test_the_same_package_text_is_kept_once(self, store: Store) -> None:
        for created_at in (0, 5):
            with store.transaction() as tx:
                tx.put_package(PACKAGE._replace(created_at=created_at))
        assert store.package("digest") == PACKAGE

    def test_an_artifact_of_the_same_name_replaces(self, store: Store) -> None:
        run = self.add_run(store)
        row = ArtifactRow(run.key, 1, "a", "uri", 3, "hash", "text/plain", "text", "{}", 5)
        with store.transaction() as tx:
            tx.put_artifacts([row])
            tx.put_artifacts([row._replace(size=4)])
        assert store.artifacts(run.key) == [row._replace(size=4)]

    def test_steps_of_one_dedup_key_are_found_within_their_run(self, store: Store) -> None:
        one, two = self.add_run(store, "a"), self.add_run(store, "b")
        first = self.add_steps(store, one, dedup_key="k")[0]
        self.add_steps(store, two, dedup_key="k")
        with store.transaction() as tx:
            assert tx.same_key(one.key, "k") == [first]

    def test_workers_are_kept(self, store: Store) -> None:
        row = WorkerRow("w", "host", 1, "boot", None, 1, 2, "running", '["q"]', '["set"]', "[1]")
        with store.transaction() as tx:
            tx.put_worker(row)
            tx.put_worker(row._replace(status="stopped"))
        assert store.workers() == [row._replace(status="stopped")]

    def test_workers_that_hold_leases_are_known(self, store: Store) -> None:
        run = self.add_run(store)
        self.add_steps(store, run)
        idle, busy = (
            WorkerRow("idle", "host", 1, "boot", None, 1, 2, "running"),
            WorkerRow("w", "h", 2, "b", None, 1, 2, "running"),
        )
        with store.transaction() as tx:
            tx.put_worker(idle)
            tx.put_worker(busy)
        self.claim(store)
        with store.transaction() as tx:
            assert tx.holders() == [busy]

    def test_workers_long_gone_are_forgotten(self, store: Store) -> None:
        with store.transaction() as tx:
            for name, status, seen in (("a", "running", 1), ("b", "stopped", 1), ("c", "lost", 9)):
                tx.put_worker(WorkerRow(name, "host", 1, "boot", None, 1, seen, status))
            tx.forget_workers(5)
        assert [row.name for row in store.workers()] == ["a", "c"]

    def test_of_a_removed_run_nothing_stays(self, store: Store) -> None:
        run, other = self.add_run(store, "gone"), self.add_run(store, "stays")
        (step,) = self.add_steps(store, run)
        kept = self.add_steps(store, other)
        with store.transaction() as tx:
            tx.append_events([EventRow(run.key, 1, 5, "log", None, None)])
            tx.put_artifacts([ArtifactRow(run.key, step.id, "a", None, 0, "", "", "", "{}", 5)])
            tx.put_records("pkg", [Record(collection="c", key="k", data={})])
            tx.take_locks(["held"], run=run.key, step=step.id, now=5)
            tx.await_locks(step.id, ["wanted"], priority=0)
            for row in (run, other):
                tx.keep(CacheRow("pkg", "a", row.id, "1", row.id, row.execution, "a", 5, None))
            tx.remove_run(run.key)
            assert tx.free_names() == []
            assert tx.take_locks(["held"], run=other.key, step=kept[0].id, now=5) == []
        assert {row.key: row.run_id for row in store.cached()} == {"gone": "", "stays": "stays"}
        assert store.find_run("gone") is None
        assert store.events(run.key) == []
        assert store.artifacts(run.key) == []
        assert store.tree(run.key) == []
        assert store.tree(other.key) == kept
        assert store.package("digest") is not None

    def test_a_big_run_is_removed_in_parts_and_its_root_goes_last(self, store: Store) -> None:
        run = self.add_run(store, "gone", status="failed", ended_at=5)
        rows = self.add_steps(store, run, 5)
        with store.transaction() as tx:
            tx.append_events([EventRow(run.key, n, 5, "log", None, None) for n in range(1, 8)])
            assert not tx.remove_run(run.key, limit=2)
        assert store.tree(run.key) == rows[:3]
        assert store.run_at(run.key) is not None
        parts = 0
        while store.run_at(run.key) is not None:
            with store.transaction() as tx:
                tx.remove_run(run.key, limit=2)
            parts += 1
        assert parts == 3
        assert store.package("digest") is None

    def test_a_run_and_its_children_leave_without_one_another(self, store: Store) -> None:
        parent = self.add_run(store, "parent", status="failed", ended_at=5)
        child = self.add_run(store, "child", parent_run=parent.key, parent=7)
        with store.transaction() as tx:
            assert tx.remove_run(parent.key)
        after = store.run_at(child.key)
        assert after is not None
        assert (after.parent_run, after.parent) == (None, None)

    def test_a_run_that_is_leaving_is_known_and_can_be_taken_up_again(self, store: Store) -> None:
        one, two = self.add_run(store, "a", ended_at=1), self.add_run(store, "b", ended_at=1)
        with store.transaction() as tx:
            tx.mark_leaving(one.key, 50)
            tx.mark_leaving(two.key, 10)
            assert tx.is_leaving(one.key)
        assert store.leaving(10, 9) == [two.key]
        assert store.leaving(60, 9) == [two.key, one.key]
        with store.transaction() as tx:
            tx.mark_leaving(two.key, 70)
            tx.remove_run(one.key)
            assert not tx.is_leaving(one.key)
        assert store.leaving(99, 9) == [two.key]

    def test_runs_that_ended_long_ago_are_found_by_package_and_status(self, store: Store) -> None:
        ended = [self.add_run(store, f"r{n}", status="failed", ended_at=n) for n in range(5)]
        self.add_run(store, "on", status="continued", ended_at=0)
        self.add_run(store, "live")
        with store.transaction() as tx:
            tx.mark_leaving(ended[1].key, 0)
        finished = ("succeeded", "failed", "canceled")
        assert store.ended_runs("pkg", finished, upto=3, limit=9) == [ended[n].key for n in (0, 2, 3)]
        assert store.ended_runs("pkg", finished, upto=3, limit=1) == [ended[0].key]
        assert store.ended_runs("other", finished, upto=3, limit=9) == []
        assert store.packages_with_runs() == ["pkg"]

    def test_the_entries_of_a_schedule_are_kept(self, store: Store) -> None:
        rows = [ScheduleRow("pkg", n, "0 5 * * *", "UTC", 7, None) for n in range(3)]
        with store.transaction() as tx:
            for row in rows:
                tx.put_schedule(row)
            tx.put_schedule(rows[0]._replace(next_at=None, last_at=7, last_run="r", note="why"))
            tx.drop_schedules("pkg", 2)
            assert tx.schedules_of("other") == []
            kept = tx.schedules_of("pkg")
        assert (
            kept == [rows[0]._replace(next_at=None, last_at=7, last_run="r", note="why"), rows[1]] == store.schedules()
        )

    def test_how_long_runs_are_kept_is_kept_itself(self, store: Store) -> None:
        with store.transaction() as tx:
            tx.put_retention(RetentionRow("a", 5, None))
            tx.put_retention(RetentionRow("b", None, 0))
            tx.put_retention(RetentionRow("a", 6, 0))
            assert tx.retention("a") == RetentionRow("a", 6, 0)
        assert store.retentions() == [RetentionRow("a", 6, 0), RetentionRow("b", None, 0)]
        with store.transaction() as tx:
            tx.put_retention(RetentionRow("a", None, None))
            assert tx.retention("a") is None

    def test_runs_and_calls_are_counted(self, store: Store) -> None:
        run = self.add_run(store)
        self.add_run(store, "b", status="failed", ended_at=9)
        self.add_steps(store, run, 2, kind="noop", ready_at=4)
        self.add_steps(store, run, kind="noop", parked="timer", available_at=9)
        self.add_steps(store, run, kind="sleep", status="waiting")
        self.add_steps(store, run, status="waiting", queue="")
        assert store.counts().oldest_ready == 4
        self.claim(store, 1)
        counts = store.counts()
        assert counts.runs == {"running": 1, "failed": 1}
        assert counts.steps == {("q", "ready"): 1, ("q", "running"): 1, ("q", "delayed"): 1, ("q", "waiting"): 1}
