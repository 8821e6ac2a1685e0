"""``sql``: bound values, one transaction, applied once."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest

from yamlflow import StepContext, Succeeded
from yamlflow.context import Limits, Ports, StepInfo
from yamlflow.executors import execute, executor_of, sql
from yamlflow.outcome import Failed, Outcome
from yamlflow.ports import CancelToken, Masking
from yamlflow.testing import run_executor


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "shop.db"


def run(database: Path, statements: Any, path: str = "step", ports: Ports | None = None, **keys: Any) -> Outcome:
    given = {"sql": statements, "database": str(database), **keys}
    return run_executor(sql, given, step=StepInfo(path=path), ports=ports)


def result(outcome: Outcome) -> Any:
    assert isinstance(outcome, Succeeded), outcome
    return outcome.result


def error(outcome: Outcome) -> Any:
    assert isinstance(outcome, Failed), outcome
    return outcome.error


def rows(database: Path, text: str) -> list[Any]:
    connection = sqlite3.connect(database)
    try:
        return connection.execute(text).fetchall()
    finally:
        connection.close()


CREATE = "create table if not exists t (a, b)"


def test_the_result_is_the_rows_of_the_last_statement_that_gives_any(database: Path) -> None:
    statements = [
        CREATE,
        {"sql": "insert into t values (?, ?)", "params": [1, "x"]},
        "select * from t",
        "delete from t",
    ]
    assert result(run(database, statements)) == [{"a": 1, "b": "x"}]
    assert result(run(database, "delete from t where a = 5", "other")) == []


def test_values_are_bound_and_never_read_as_sql(database: Path) -> None:
    evil = "'); drop table t; --"
    run(database, CREATE, "create")
    run(database, "insert into t values (:a, :b)", "insert", params={"a": evil, "b": {"list": [1]}})
    assert rows(database, "select a, b from t") == [(evil, '{"list":[1]}')]


def test_a_step_tried_again_is_not_applied_again_and_gives_the_same_rows(database: Path) -> None:
    statements = [CREATE, "insert into t values (1, 2) returning a, random() as r"]
    first = result(run(database, statements))
    assert result(run(database, statements)) == first
    assert rows(database, "select count(*) from t") == [(1,)]
    assert result(run(database, statements, "another")) != first
    assert rows(database, "select count(*) from t") == [(2,)]


def test_two_workers_at_once_apply_it_once(database: Path) -> None:
    statements = [CREATE, "insert into t values (1, 2) returning random() as r"]
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(result(run(database, statements)))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [found[0]] * 4
    assert rows(database, "select count(*) from t") == [(1,)]


def test_steps_that_write_at_the_same_time_wait_for_one_another(database: Path) -> None:
    run(database, ["pragma user_version", CREATE], "create")
    rows(database, "pragma journal_mode = wal")
    outcomes: list[Outcome] = []

    def many(worker: int) -> None:
        for n in range(5):
            outcomes.append(run(database, ["select * from t", "insert into t values (1, 2)"], f"{worker}/{n}"))

    threads = [threading.Thread(target=many, args=(worker,)) for worker in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [each for each in outcomes if isinstance(each, Failed)] == []
    assert rows(database, "select count(*) from t") == [(30,)]


def test_a_failing_statement_undoes_all_and_leaves_no_marker(database: Path) -> None:
    run(database, CREATE, "create")
    found = error(run(database, ["insert into t values (1, 1)", "insert into nosuch values (1)"]))
    assert (found.code, found.permanent) == ("sql_error", True)
    assert "nosuch" in found.message
    assert rows(database, "select count(*) from t") == [(0,)]
    assert result(run(database, "insert into t values (2, 2) returning a")) == [{"a": 2}]


@pytest.mark.parametrize(
    "statement",
    [
        "commit",
        "rollback",
        "begin",
        "savepoint s",
        "attach '/tmp/other.db' as other",
        "delete from _yamlflow_applied",
        "insert into _yamlflow_applied values ('a', 'b', '[]')",
        "drop table _yamlflow_applied",
        "alter table _yamlflow_applied rename to x",
    ],
)
def test_the_transaction_and_the_markers_are_not_the_authors(database: Path, statement: str) -> None:
    found = error(run(database, [CREATE, statement]))
    assert found.code == "bad_input"
    assert "may not" in found.message
    assert rows(database, "select count(*) from sqlite_master") == [(0,)]


@pytest.mark.parametrize(
    ("statement", "keys", "code", "words"),
    [
        ("select 1 as a, 2 as a", {}, "bad_input", 'two columns are called "a"'),
        ("select x'00' as a", {}, "bad_result", "[0].a: a bytes"),
        ("select ?", {}, "sql_error", "bindings"),
        ("select 1; select 2", {}, "sql_error", "one statement"),
        ("select ?", {"params": [2**70]}, "bad_input", "64-bit"),
        ("select 9e999 as a", {}, "bad_result", "inf"),
        ("", {}, "bad_input", "at least 1"),
        (["select 1", 3], {}, "bad_input", "with.sql"),
    ],
)
def test_what_cannot_be_says_why(database: Path, statement: Any, keys: Any, code: str, words: str) -> None:
    found = error(run(database, statement, **keys))
    assert found.code == code
    assert words in found.message


def test_rows_beyond_a_result_are_not_read_to_their_end(database: Path) -> None:
    endless = "with recursive n(i) as (select 1 union all select i + 1 from n) select i from n"
    found = error(run(database, endless, ports=Ports(limits=Limits(result=1000))))
    assert found.code == "bad_result"


def test_cancel_interrupts_a_statement_that_never_ends(database: Path) -> None:
    token = CancelToken()
    endless = "with recursive n(i) as (select 1 union all select i + 1 from n) select count(*) as c from n"
    step = StepContext(input={"sql": endless, "database": str(database)}, ports=Ports(cancel=token))
    found = executor_of(sql.sql)
    assert found is not None
    outcomes: list[Outcome] = []
    thread = threading.Thread(target=lambda: outcomes.append(execute(found, step)))
    thread.start()
    token.cancel("enough")
    thread.join(10)
    assert error(outcomes[0]).code == "canceled"


def test_a_secret_in_the_rows_undoes_all(database: Path) -> None:
    masking = Masking()
    masking.add("hunter2hunter2")
    statements = [CREATE, "insert into t values (1, 'hunter2hunter2') returning b"]
    assert error(run(database, statements, ports=Ports(masking=masking))).code == "secret_in_result"
    assert rows(database, "select count(*) from sqlite_master") == [(0,)]


def test_without_a_database_the_projection_is_used(database: Path) -> None:
    def projection() -> sqlite3.Connection:
        return sqlite3.connect(database, isolation_level=None)

    outcome = run_executor(sql, {"sql": [CREATE, "insert into t values (1, 2)"]}, ports=Ports(projection=projection))
    assert result(outcome) == []
    assert rows(database, "select a from t") == [(1,)]


def test_a_locked_database_may_be_tried_again(database: Path) -> None:
    run(database, CREATE, "create")
    holder = sqlite3.connect(database, isolation_level=None)
    holder.execute("begin immediate")

    def impatient() -> sqlite3.Connection:
        return sqlite3.connect(database, isolation_level=None, timeout=0)

    outcome = run_executor(sql, {"sql": "select 1"}, ports=Ports(projection=impatient))
    holder.close()
    assert (error(outcome).code, error(outcome).permanent) == ("sql_error", False)
