"""Transactions, runs and their steps."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest

from ...errors import RunExists
from ...rows import new_step
from ..base import Edge, RunFilter, Store
from .ground import PACKAGE, Ground, run_row


class Runs(Ground):
    """Rows go in together or not at all, and are found again."""

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
            failures=1, cancellations=1, cancel="{}", fault="{}", winner="a", dedup_key="k", result="1", checksum=2**32 - 1,
            error="{}",
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
