"""What goes along with runs: results for later ones, events, texts, files, workers."""

from __future__ import annotations

from ...rows import ArtifactRow, CacheRow, EventRow, QueueRow, WorkerRow
from ..base import Store
from .ground import PACKAGE, Ground


class Kept(Ground):
    """What is kept under a name is there under that name."""

    def test_the_last_result_of_a_key_is_kept(self, store: Store) -> None:
        row = CacheRow("pkg", "a[]/b", "k", "1", "r", 1, "a[0]/b", 5, None, checksum=2**32 - 1)
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

    def test_workers_that_run_or_hold_leases_are_watched(self, store: Store) -> None:
        run = self.add_run(store)
        self.add_steps(store, run)
        running, gone, busy = (
            WorkerRow("idle", "host", 1, "boot", None, 1, 2, "running"),
            WorkerRow("gone", "host", 1, "boot", None, 1, 2, "stopped"),
            WorkerRow("w", "h", 2, "b", None, 1, 2, "lost"),
        )
        with store.transaction() as tx:
            for row in (running, gone, busy):
                tx.put_worker(row)
        self.claim(store)
        with store.transaction() as tx:
            assert tx.watched() == [running, busy]

    def test_workers_long_gone_are_forgotten(self, store: Store) -> None:
        with store.transaction() as tx:
            for name, status, seen in (("a", "running", 1), ("b", "stopped", 1), ("c", "lost", 9)):
                tx.put_worker(WorkerRow(name, "host", 1, "boot", None, 1, seen, status))
            tx.forget_workers(5)
        assert [row.name for row in store.workers()] == ["a", "c"]
