"""Projections: every committed record reaches its table once, in order, however often they are opened."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from yamlflow.errors import StoreBusy
from yamlflow.outcome import Record
from yamlflow.projections import Projections
from yamlflow.store.sqlite import SqliteStore


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Where projections stand."""
    return tmp_path


def put(store: SqliteStore, *records: tuple[str, str, dict[str, Any]], projection: str = "p") -> None:
    """Commit records."""
    with store.transaction() as tx:
        tx.put_records(projection, [Record(collection=each, key=key, data=data) for each, key, data in records])


def rows(projections: Projections, sql: str, projection: str = "p") -> Sequence[Any]:
    """What a projection holds."""
    with closing(projections.open(projection)) as connection:
        return connection.execute(sql).fetchall()


def test_records_make_and_widen_their_table_and_later_ones_go_over_earlier(store: SqliteStore, home: Path) -> None:
    projections = Projections(home, store)
    put(
        store,
        ("stories", "a", {"title": "A"}),
        ("stories", "b", {"title": "B", "n": 1}),
        ("people", "p", {"name": "P"}),
    )
    put(store, ("stories", "a", {"n": 2, "new": [1, {"x": None}]}))
    assert rows(projections, "select key, title, n, new from stories order by key") == [
        ("a", "A", 2, '[1, {"x": null}]'),
        ("b", "B", 1, None),
    ]
    assert rows(projections, "select key, name from people") == [("p", "P")]


def test_values_are_kept_as_columns_can(store: SqliteStore, home: Path) -> None:
    put(
        store,
        ("t", "a", {"yes": True, "no": False, "nothing": None, "half": 0.5, "list": ["é"], "key": "never the key's"}),
    )
    assert rows(Projections(home, store), "select key, yes, no, [nothing], half, list from t") == [
        ("a", 1, 0, None, 0.5, '["é"]')
    ]


def test_applied_records_are_forgotten_by_the_store_and_never_applied_again(store: SqliteStore, home: Path) -> None:
    projections = Projections(home, store)
    put(store, ("t", "a", {"n": 1}))
    rows(projections, "select 1")
    assert store.records_after("p", 0, 10) == []
    with closing(projections.open("p")) as connection:
        connection.execute("update t set n = 99")
    put(store, ("t", "b", {"n": 2}))
    assert rows(projections, "select key, n from t order by key") == [("a", 99), ("b", 2)]


def test_a_crash_between_applying_and_forgetting_applies_nothing_twice(store: SqliteStore, home: Path) -> None:
    class Crashing(SqliteStore):
        def forget_records(self, projection: str, upto: int) -> None:
            raise KeyboardInterrupt

    crashing = Crashing(store.url)
    put(crashing, ("t", "a", {"n": 1}))
    with pytest.raises(KeyboardInterrupt):
        Projections(home, crashing).open("p")
    crashing.close()
    with closing(sqlite3.connect(Projections(home, store).path("p"))) as connection:
        connection.execute("update t set n = 99")
        connection.commit()
    put(store, ("t", "b", {"n": 2}))
    assert rows(Projections(home, store), "select key, n from t order by key") == [("a", 99), ("b", 2)]


def test_records_that_cannot_be_applied_leave_the_projection_as_it_was(store: SqliteStore, home: Path) -> None:
    projections = Projections(home, store)
    put(store, ("t", "a", {"n": 1}))
    rows(projections, "select 1")
    with closing(projections.open("p")) as connection:
        connection.execute("create view v as select * from t")
    put(store, ("t", "b", {"n": 2}), ("v", "x", {"n": 3}))
    with pytest.raises(Exception, match="v"):
        projections.open("p")
    with closing(sqlite3.connect(projections.path("p"))) as connection:
        assert connection.execute("select key from t").fetchall() == [("a",)]
    assert len(store.records_after("p", 0, 10)) == 2


def test_projections_are_apart(store: SqliteStore, home: Path) -> None:
    projections = Projections(home, store)
    put(store, ("t", "a", {"n": 1}))
    put(store, ("t", "a", {"n": 2}), projection="q/../r")
    assert rows(projections, "select n from t") == [(1,)]
    assert rows(projections, "select n from t", "q/../r") == [(2,)]
    assert set(projections.names()) == {"p", "q/../r"}
    assert {path.parent for path in home.rglob("*.db") if path.name != "yamlflow.db"} == {home / "projections"}


def test_a_batch_larger_than_one_read_is_applied_whole_and_in_order(store: SqliteStore, home: Path) -> None:
    put(store, *[("t", str(n % 10), {"n": n}) for n in range(2500)])
    assert rows(Projections(home, store), "select key, n from t order by key") == [
        (str(n), 2490 + n) for n in range(10)
    ]


def test_a_store_that_is_locked_keeps_nobody_from_a_projection(store: SqliteStore, home: Path) -> None:
    projections = Projections(home, store)
    put(store, ("stories", "a", {"n": 1}))

    def busy(projection: str, upto: int) -> None:
        raise StoreBusy("another program holds it locked")

    forget, store.forget_records = store.forget_records, busy  # type: ignore[method-assign]
    assert rows(projections, "select key, n from stories") == [("a", 1)]
    store.forget_records = forget  # type: ignore[method-assign]
    put(store, ("stories", "a", {"n": 2}))
    assert rows(projections, "select key, n from stories") == [("a", 2)]
    assert store.records_after("p", 0, 10) == []
