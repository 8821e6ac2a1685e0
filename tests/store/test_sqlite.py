"""The SQLite store keeps every promise of a store, and refuses files that are not its own."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from yamlflow.errors import StoreCorrupt, StoreTooNew, StoreUnavailable
from yamlflow.store.base import RunFilter, Store
from yamlflow.store.conformance import StoreConformance
from yamlflow.store.connection import refuse_foreign
from yamlflow.store.sqlite import SqliteStore


class TestFile(StoreConformance):
    def make_store(self, folder: Path) -> Store:
        return SqliteStore(f"sqlite:///{folder}/deep/er/y.db")


class TestMemory(StoreConformance):
    def make_store(self, folder: Path) -> Store:
        return SqliteStore("sqlite:///:memory:")


class TestLentConnection(StoreConformance):
    def make_store(self, folder: Path) -> Store:
        return SqliteStore(sqlite3.connect(folder / "mine.db", check_same_thread=False))


def test_a_lent_connection_stays_open(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "mine.db")
    SqliteStore(connection).close()
    assert connection.execute("select count(*) from runs").fetchone() == (0,)
    connection.close()


def test_what_was_committed_is_there_when_the_file_is_opened_again(tmp_path: Path) -> None:
    suite = TestFile()
    store = suite.make_store(tmp_path)
    run = suite.add_run(store)
    store.close()
    again = suite.make_store(tmp_path)
    assert again.run_at(run.key) == run
    again.close()


@pytest.mark.parametrize("content", [b"just text, long enough to be looked at" * 40, b"\0" * 4096])
def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "y.db"
    path.write_bytes(content)
    with pytest.raises(StoreCorrupt, match="not a yamlflow store"):
        SqliteStore(str(path))
    assert path.read_bytes() == content


def test_another_applications_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    connection = sqlite3.connect(path)
    connection.execute("create table mine (x)")
    connection.commit()
    connection.close()
    before = path.read_bytes()
    with pytest.raises(StoreCorrupt, match="another application's database"):
        SqliteStore(str(path))
    assert path.read_bytes() == before


def test_a_store_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "y.db"
    SqliteStore(str(path)).close()
    connection = sqlite3.connect(path)
    connection.execute("pragma user_version = 999")
    connection.close()
    with pytest.raises(StoreTooNew, match="upgrade yamlflow"):
        SqliteStore(str(path))


def test_a_wrong_url_says_how_to_write_it() -> None:
    with pytest.raises(StoreUnavailable, match="three slashes"):
        SqliteStore("sqlite://y.db")


def test_a_torn_store_is_said_to_be_damaged(tmp_path: Path) -> None:
    path = tmp_path / "y.db"
    suite = TestFile()
    store = SqliteStore(str(path))
    suite.add_steps(store, suite.add_run(store), 500)
    store.close()
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    path.write_bytes(data)
    with pytest.raises(StoreCorrupt):
        damaged = SqliteStore(str(path))
        damaged.tree(1)


def test_queues_are_listed_without_reading_what_is_finished() -> None:
    store = SqliteStore()
    asked: list[str] = []
    store._db.set_trace_callback(asked.append)
    store.queues()
    store._db.set_trace_callback(None)
    plans = [row[3] for sql in asked for row in store._db.execute(f"explain query plan {sql}")]
    assert any("steps_ready" in plan for plan in plans), plans
    assert not [plan for plan in plans if "SCAN steps" in plan and "INDEX" not in plan], plans


def test_claiming_uses_the_partial_index_whatever_is_finished(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "y.db")
    SqliteStore(connection)
    from yamlflow.store.sqlite import CLAIM, DUE, IN_FLIGHT, LOWEST_RANK, OFFERED

    for sql, values in (
        (CLAIM.format(kinds=""), ("w", 1, 1, "q", 5)), (OFFERED, ()), (DUE, (1, 1)), (IN_FLIGHT, ("q",)),
        (LOWEST_RANK, ("q", 0)),
    ):  # fmt: skip
        plan = " ".join(str(row[3]) for row in connection.execute(f"explain query plan {sql}", values))
        assert "SCAN steps" not in plan or "INDEX" in plan, (sql, plan)
    connection.close()


def test_a_store_that_another_process_is_just_making_is_no_other_applications(tmp_path: Path) -> None:
    path = str(tmp_path / "y.db")

    class Slow(sqlite3.Connection):
        """Before each of its statements but the first another process may have done all it has to do."""

        asked = 0

        def execute(self, *arguments: Any) -> sqlite3.Cursor:
            self.asked += 1
            if self.asked == 2:
                SqliteStore(path).close()
            return super().execute(*arguments)

    connection = sqlite3.connect(path, factory=Slow)
    refuse_foreign(connection, path)
    refuse_foreign(connection, path)
    connection.close()


@pytest.mark.parametrize(
    ("ask", "index"),
    [
        (lambda store: store.runs(RunFilter(status=("failed",))), "USING INDEX runs_by_end (status=?)"),
        (lambda store: store.runs(RunFilter(status=("failed",), package="p")), "USING INDEX runs_"),
        (lambda store: store.runs(RunFilter(live=True)), "USING INDEX runs_live"),
        (lambda store: store.newest_package("p"), "USING INDEX packages_by_name (name=?)"),
        (lambda store: store.cached(), "USING INDEX cache_by_age"),
        (lambda store: store.cached(package="p", step="s"), "USING PRIMARY KEY (package=? AND step=?)"),
    ],
)
def test_a_listing_looks_at_what_it_lists_and_not_at_all_there_is(
    ask: Callable[[SqliteStore], object], index: str
) -> None:
    store = SqliteStore()
    asked: list[str] = []
    store._db.set_trace_callback(asked.append)
    ask(store)
    store._db.set_trace_callback(None)
    (sql,) = asked
    plan = " ".join(str(row[3]) for row in store._db.execute(f"explain query plan {sql}"))
    assert index in plan, plan
