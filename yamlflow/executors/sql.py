"""``sql``: statements in a transaction of their own, applied once however often the step is tried.

The transaction also writes a marker (run, step) that holds the rows: when it is there already, those rows are the
result and nothing is executed. Values reach statements only as bound parameters.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import Any

from ..context import StepContext
from ..errors import Canceled, Permanent, Retryable
from ..outcome import Json
from ..values import NotJson, plain, to_text
from . import executor

MARKERS = """
    create table if not exists _yamlflow_applied (
        run text not null, step text not null, rows text not null, primary key (run, step)
    ) without rowid
"""
FIND_MARKER = "select rows from _yamlflow_applied where run = ? and step = ?"
SET_MARKER = "insert into _yamlflow_applied (run, step, rows) values (?, ?, ?)"

STATEMENT: Json = {"type": "string", "minLength": 1}
PARAMETERS: Json = {"type": ["array", "object"]}
SCHEMA: Json = {
    "type": "object",
    "required": ["sql"],
    "additionalProperties": False,
    "properties": {
        "sql": {
            "anyOf": [
                STATEMENT,
                {
                    "type": "array",
                    "minItems": 1,
                    "items": {
                        "anyOf": [
                            STATEMENT,
                            {
                                "type": "object",
                                "required": ["sql"],
                                "additionalProperties": False,
                                "properties": {"sql": STATEMENT, "params": PARAMETERS},
                            },
                        ]
                    },
                },
            ],
            "description": "One statement, or a list of them, each with `params` of its own if need be.",
        },
        "params": {
            "type": ["array", "object"],
            "description": "Values for `?` in order, or for `:name`; lists and mappings are bound as JSON text.",
        },
        "database": {
            "type": "string",
            "description": "A SQLite file, from the package file's folder; without it the package's projection.",
        },
    },
}
#: What a statement may not do: the transaction and the marker are not its own.
FORBIDDEN = {
    sqlite3.SQLITE_TRANSACTION: "begin, commit or rollback",
    sqlite3.SQLITE_SAVEPOINT: "use savepoints",
    sqlite3.SQLITE_ATTACH: "attach a database",
    sqlite3.SQLITE_DETACH: "detach a database",
}
MARKER_TABLE = "_yamlflow_applied"
WRITES = (
    sqlite3.SQLITE_INSERT,
    sqlite3.SQLITE_UPDATE,
    sqlite3.SQLITE_DELETE,
    sqlite3.SQLITE_DROP_TABLE,
    sqlite3.SQLITE_ALTER_TABLE,
)
#: Instructions of SQLite between two looks at whether the step was canceled.
STEPS = 20_000


@executor("sql", schema=SCHEMA, mode="thread", code=["sql", "sql.*", "sql.*.sql"], origin="built in")
def sql(step: StepContext) -> Json:
    """Execute statements with bound parameters; the result is the rows of the last one that gives any, as mappings.

    All of it is one transaction that is applied at most once for this step of this run, however often it is tried.
    """
    statements = list(statements_of(step.input))
    with closing(connect(step)) as connection:
        try:
            return apply_once(connection, statements, step)
        except sqlite3.Error as wrong:
            if step.canceled:
                raise Canceled("the step was canceled") from wrong
            raise fault_of(wrong) from wrong


def statements_of(given: Mapping[str, Json]) -> Iterator[tuple[str, Any]]:
    """Each statement with its parameters."""
    listed = given["sql"] if isinstance(given["sql"], list) else [given["sql"]]
    for position, each in enumerate(listed):
        statement = {"sql": each} if isinstance(each, str) else each
        text = statement["sql"]
        if "\0" in text:
            raise Permanent("bad_input", f"with.sql[{position}]: a NUL character")
        yield text, bound(statement.get("params", given.get("params", [])))


def bound(values: Json) -> Any:
    """Parameters as the database takes them."""
    if isinstance(values, Mapping):
        return {name: bindable(value) for name, value in values.items()}
    return [bindable(value) for value in values]


def bindable(value: Json) -> Any:
    """Lists and mappings become JSON text; whole numbers must fit 64 bits."""
    if isinstance(value, list | dict):
        return to_text(value)
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise Permanent("bad_input", f"with.params: {value} does not fit a 64-bit column; pass it as text")
    return value


def connect(step: StepContext) -> sqlite3.Connection:
    """The projection, or the named database, in autocommit."""
    path = step.input.get("database")
    if path is None:
        return step.projection()
    file = step.cwd / path
    try:
        return sqlite3.connect(file, isolation_level=None, timeout=30, check_same_thread=False)
    except (sqlite3.Error, ValueError) as wrong:
        raise Permanent("bad_input", f"with.database: {file} cannot be opened: {wrong}") from None


def apply_once(connection: sqlite3.Connection, statements: Sequence[tuple[str, Any]], step: StepContext) -> Json:
    """The rows: kept from when it was applied, or those of applying it now."""
    # With the moment of its start: a run id may come back, after a prune or from another store.
    key = (f"{step.run.key}@{step.run.started_at}", step.step.path)
    with transaction(connection):
        connection.execute(MARKERS)
        kept = connection.execute(FIND_MARKER, key).fetchone()
        if kept is not None:
            return json.loads(kept[0])
        with fenced(connection, step):
            rows = execute_all(connection, statements, step.ports.limits.result)
        step.check_canceled()
        if step.ports.masking.contains(rows):
            raise Permanent("secret_in_result", "the rows contain a secret, which is never stored")
        connection.execute(SET_MARKER, (*key, to_text(rows)))
    return rows


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Everything or nothing; the lock is taken at once."""
    connection.execute("begin immediate")
    try:
        yield
    except BaseException:
        if connection.in_transaction:
            connection.execute("rollback")
        raise
    connection.execute("commit")


@contextmanager
def fenced(connection: sqlite3.Connection, step: StepContext) -> Iterator[None]:
    """The author's statements may not touch the transaction or the markers, and stop when the step should."""
    refused: list[str] = []

    def judge(action: int, one: str | None, two: str | None, database: str | None, trigger: str | None) -> int:
        if action in FORBIDDEN:
            refused.append(FORBIDDEN[action])
        elif action in WRITES and MARKER_TABLE in (one, two):
            refused.append(f"write to {MARKER_TABLE}")
        else:
            return sqlite3.SQLITE_OK
        return sqlite3.SQLITE_DENY

    connection.set_authorizer(judge)
    connection.set_progress_handler(lambda: int(step.canceled), STEPS)
    try:
        yield
    except sqlite3.DatabaseError as wrong:
        if refused:
            raise Permanent("bad_input", f"with.sql: a statement may not {refused[0]}") from wrong
        raise
    finally:
        connection.set_authorizer(None)
        connection.set_progress_handler(None, 0)


def execute_all(connection: sqlite3.Connection, statements: Sequence[tuple[str, Any]], limit: int) -> Json:
    """The rows of the last statement that gives any."""
    rows: list[dict[str, Json]] = []
    for text, parameters in statements:
        cursor = connection.execute(text, parameters)
        if cursor.description is not None:
            rows = rows_of(cursor, limit)
    try:
        return plain(rows, limit=limit)
    except NotJson as wrong:
        raise Permanent("bad_result", f"the rows cannot be kept: {wrong}") from None


def rows_of(cursor: sqlite3.Cursor, limit: int) -> list[dict[str, Json]]:
    """Rows as mappings; read only as long as they can still be kept."""
    names = [column[0] for column in cursor.description]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise Permanent("bad_input", f'with.sql: two columns are called "{twice}"; name one of them with `as`')
    rows, size = [], 0
    for row in cursor:
        values = tuple(row)
        size += 2 + sum(len(value) if isinstance(value, str) else 1 for value in values)
        if size > limit:
            message = f"the rows are larger than the {limit:,} bytes that are kept; narrow the query"
            raise Permanent("bad_result", message)
        rows.append(dict(zip(names, values, strict=True)))
    return rows


def fault_of(wrong: sqlite3.Error) -> Permanent | Retryable:
    """A busy or failing disk may do better next time; a wrong statement will not."""
    name = getattr(wrong, "sqlite_errorname", "") or ""
    passing = name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_IOERR", "SQLITE_FULL", "SQLITE_CANTOPEN"))
    fault = Retryable if passing else Permanent
    return fault("sql_error", str(wrong), details={"sqlite": name or type(wrong).__name__})
