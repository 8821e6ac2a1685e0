"""Time and removal: schedules, retention, what goes with a run that is removed, counts."""

from __future__ import annotations

from typing import Any

from ...outcome import Record
from ...rows import ArtifactRow, CacheRow, EventRow, QueueRow, RetentionRow, ScheduleRow
from ..base import Store
from .ground import Ground


class Calendar(Ground):
    """See ``base.CalendarTransaction``."""

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

    def test_one_offset_of_the_wall_clock_is_known_for_one_boot(self, store: Store) -> None:
        with store.transaction() as tx:
            assert tx.offset("a") is None
            tx.put_offset("a", -5)
            tx.put_offset("a", 7)
            assert tx.offset("a") == 7
            tx.put_offset("b", 1)
            assert tx.offset("a") is None

    def test_a_clock_that_is_set_moves_what_waits_but_for_moments_of_the_day(self, store: Store) -> None:
        run = self.add_run(store)
        timed, fixed, late, ended = self.add_steps(store, run, 4)
        at: dict[str, Any] = {"parked": "timer", "available_at": 100, "started_at": 50, "status": "waiting"}
        with store.transaction() as tx:
            tx.update_steps([
                timed._replace(phase="run", **at),
                fixed._replace(phase="sleep", wait="{}", **at),
                late._replace(phase="sleep", wait="{}", error="{}", **at),
                ended._replace(status="failed", started_at=50),
            ])  # fmt: skip
            tx.put_queue(QueueRow("q", None, 1.0, 1, 1.0, 100, 0))
            tx.keep(CacheRow("pkg", "a", "k", "1", run.id, 1, "a", 5, 100))
            tx.mark_leaving(run.key, 100)
            tx.move_times(-10)
        rows = {row.id: row for row in store.tree(run.key)}
        assert [rows[row.id].available_at for row in (timed, fixed, late, ended)] == [90, 100, 90, None]
        assert [rows[row.id].started_at for row in (timed, ended)] == [40, 50]
        with store.transaction() as tx:
            queue = tx.queue("q")
            assert queue is not None
            assert queue.refilled_at == 90
        assert [row.expires_at for row in store.cached()] == [90]
        assert store.leaving(90, 5) == [run.key]
