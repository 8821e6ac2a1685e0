"""Signals, waits, and what binds runs to one another."""

from __future__ import annotations

from ...rows import RunRow, SignalRow
from ..base import Store
from .ground import Ground


class Messages(Ground):
    """What is sent is read once, in order; who waits is found."""

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
        assert [row.id for row in store.waiters(run.key, "signal:go")] == [early.id, late.id]
        assert [row.id for row in store.waiters(run.key, "signal:go", limit=1)] == [early.id]

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
