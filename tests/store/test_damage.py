"""What no row of a store can hold is told of, column by column; a sound store has nothing to tell."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest

from yamlflow.store.damage import COLUMNS, damage_in
from yamlflow.store.schema import migrate

RULES = [
    (table, *part.strip().split(" ", 1)) for table, columns in COLUMNS.items() for part in columns.split(",")
]  # fmt: skip
#: What no column of these kinds can hold.
WRONG = {
    "whole": "x", "count": -1, "moment": 10**17, "number": "x", "text": 7, "json": "{", "object": "[]", "list": "{}",
    "error": "{}", "run status": "lost", "step status": "lost",
}  # fmt: skip


@pytest.fixture(scope="module")
def made() -> Iterator[sqlite3.Connection]:
    """The tables of a store, in memory."""
    with closing(sqlite3.connect(":memory:")) as connection:
        migrate(connection)
        yield connection


@pytest.fixture
def connection(made: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """A store without a row."""
    yield made
    made.rollback()


def test_every_column_of_a_store_has_its_rule(connection: sqlite3.Connection) -> None:
    for table, columns in COLUMNS.items():
        known = {row[1] for row in connection.execute(f"pragma table_info({table})")}
        keys = {"key", "id", "seq", "run_id", "checksum", "source", "target"}
        named = {part.strip().split(" ", 1)[0] for part in columns.split(",")}
        assert named <= known
        assert known - named <= keys, table


@pytest.mark.parametrize(("table", "column", "rule"), RULES, ids=lambda part: str(part))
def test_a_value_that_cannot_be_there_is_told_of(
    connection: sqlite3.Connection, table: str, column: str, rule: str
) -> None:
    sample = {
        "whole": 1,
        "count": 1,
        "moment": 1,
        "number": 1.5,
        "text": "x",
        "json": "1",
        "object": "{}",
        "list": "[]",
    }
    sample |= {"error": '{"code": "x"}', "run status": "running", "step status": "ready"}
    names = {row[1] for row in connection.execute(f"pragma table_info({table})")}
    rules = {name: kind.removesuffix("?") for of, name, kind in RULES if of == table}
    values = {name: sample[rules[name]] if name in rules else 1 for name in names}

    def put() -> list[str]:
        connection.execute(f"delete from {table}")
        connection.execute(
            f"insert into {table} ({', '.join(values)}) values ({', '.join('?' * len(values))})", list(values.values())
        )
        return list(damage_in(connection))

    assert put() == []
    wrong = WRONG[rule.removesuffix("?")]
    # A column of texts takes a number as one; bytes stay what they are.
    values[column] = b"x" if rule.startswith("text") else wrong
    assert put() == [f"a row of {table}: {column} is not what yamlflow writes there"]
