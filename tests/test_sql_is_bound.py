"""Values reach SQL bound, never written into it: the source is walked, and hostile names and values are stored and read."""

from __future__ import annotations

import ast
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from yamlflow import Package, Permanent, Succeeded
from yamlflow.cli import run as cli
from yamlflow.context import StepContext
from yamlflow.executors.sql import sql
from yamlflow.outcome import Failed, Record
from yamlflow.ports import Ports
from yamlflow.projections import Projections
from yamlflow.runtime import Runtime
from yamlflow.store.base import RunFilter
from yamlflow.tables import connect
from yamlflow.testing import run_executor

from .conftest import ROOT

EXECUTES = {"execute", "executemany", "executescript", "query", "_all", "_one"}
#: Where a statement holds more than constants and question marks: the function, and why that is no value of a run.
REASONS = {
    "cli/db.py:one": "its callers' constants",
    "cli/records.py:list_collections": "the name of a table that is there, quoted",
    "cli/records.py:select": "such a name, and the condition that whoever calls the command writes as SQL (--where)",
    "copies.py:refuse_full_disk": "pragmas, which take no bound value, by this module's names",
    "doctor/file.py:one": "its callers' constants",
    "store/rules.py:broken": "the rules of this module, which hold no value of a run",
    "executors/sql.py:execute_all": "the author's statements, in which no expression may stand; values are bound",
    "projections.py:run_script": "the author's migrations",
    "results.py:records": "the name of a table that is there, quoted",
    "store/connection.py:prepare": "a pragma, which takes no bound value: full or normal",
    "store/schema.py:run": "the numbered migrations",
    "store/sqlite.py:runs": "clauses from `where`, each with question marks",
    "store/sqlite.py:_all": "its callers' statements, which are walked by this name",
    "store/sqlite.py:_one": "the same",
    "store/sqlite.py:select_in": "the beginning of a statement from its callers' constants",
    "store/sqlite.py:below": "a clause of its callers', with question marks",
    "store/sqlite_cache.py:forget_kept": "clauses from `chosen`, each with a question mark",
    "store/sqlite_cache.py:all_kept": "the same",
    "store/damage.py:damage_in": "names of tables and conditions of the module's own",
    "store/sqlite_calendar.py:calls_by_queue": "the module's constants",
    "tables.py:exec": "what a plugin or program writes; values are bound",
    "tables.py:query": "the same",
    "testing/verdict.py:_records_of": "the name of a collection, quoted",
}
#: Functions whose text is part of statements elsewhere: what they join must be constants too.
CLAUSES = {"store/sqlite.py": ("where", "clauses_of", "children", "select_in"), "store/sqlite_cache.py": ("chosen",)}


class Statements(ast.NodeVisitor):
    """The statements of a module that hold what is neither constant nor a question mark."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._functions: list[ast.FunctionDef] = []
        self.found: list[str] = []

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._functions.append(node)
        self.generic_visit(node)
        self._functions.pop()

    def visit_Call(self, node: ast.Call) -> None:
        self.generic_visit(node)
        executes = isinstance(node.func, ast.Attribute) and node.func.attr in EXECUTES and node.args
        if executes and not self._safe(node.args[0]):
            self.found.append(f"{self._file}:{self._functions[-1].name if self._functions else ''}")

    def _safe(self, node: ast.expr, seen: tuple[str, ...] = ()) -> bool:
        match node:
            case ast.Constant():
                return True
            case ast.Name(id=name) if name.isupper():
                return True
            case ast.Name(id=name):
                values = list(self._assigned(name))
                return name in seen or (bool(values) and all(self._safe(value, (*seen, name)) for value in values))
            case ast.BinOp(op=ast.Add()):
                return self._safe(node.left, seen) and self._safe(node.right, seen)
            case ast.BinOp(op=ast.Mult()):
                return self._safe(node.left, seen)
            case ast.JoinedStr(values=values):
                return all(
                    self._safe(value.value if isinstance(value, ast.FormattedValue) else value, seen)
                    for value in values
                )
            case ast.IfExp():
                return self._safe(node.body, seen) and self._safe(node.orelse, seen)
            case ast.List(elts=parts) | ast.Tuple(elts=parts):
                return all(self._safe(part, seen) for part in parts)
            case ast.GeneratorExp(elt=part) | ast.ListComp(elt=part):
                return self._safe(part, seen)
            case ast.Call(func=ast.Attribute(attr="join"), args=[part]):
                return self._safe(part, seen)
            case ast.Call(func=ast.Attribute(value=whole, attr="format")):
                return all(
                    self._safe(part, seen) for part in (whole, *node.args, *(word.value for word in node.keywords))
                )
            case ast.Call(
                func=ast.Name(id="map"),
                args=[ast.Name(id="str"), ast.Call(func=ast.Name(id="map"), args=[ast.Name(id="int"), _])],
            ):
                return True
            case ast.Subscript(value=ast.Name(id=name)):
                return name.isupper()
        return False

    def _assigned(self, name: str) -> Iterator[ast.expr]:
        for node in ast.walk(self._functions[-1]) if self._functions else ():
            match node:
                case ast.Assign(targets=[ast.Name(id=found)], value=value) if found == name:
                    yield value
                case ast.For(target=ast.Name(id=found), iter=(ast.Name() | ast.Tuple()) as value) if found == name:
                    yield value
                case ast.AugAssign(target=ast.Name(id=found), value=value) if found == name:
                    yield value
                case ast.Call(func=ast.Attribute(value=ast.Name(id=found), attr="append"), args=[value]) if (
                    found == name
                ):
                    yield value


def statements(file: Path) -> list[str]:
    if not any(f".{name}(" in file.read_text(encoding="utf-8") for name in EXECUTES):
        return []
    visitor = Statements(file.relative_to(ROOT / "yamlflow"))
    visitor.visit(ast.parse(file.read_text(encoding="utf-8")))
    return visitor.found


SOURCES = sorted(file for file in (ROOT / "yamlflow").rglob("*.py") if "template" not in file.parts)


def test_every_statement_is_a_constant_with_question_marks_or_has_its_reason() -> None:
    found = {place for file in SOURCES for place in statements(file)}
    assert found == set(REASONS)


def test_what_statements_are_made_of_holds_no_value_either() -> None:
    for file, functions in CLAUSES.items():
        tree = ast.parse((ROOT / "yamlflow" / file).read_text(encoding="utf-8"))
        texts = {
            f"{node.name}: {ast.unparse(part.value)}"
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef) and node.name in functions
            for text in ast.walk(node)
            if isinstance(text, ast.JoinedStr)
            for part in text.values
            if isinstance(part, ast.FormattedValue)
        }
        marks = {f"', '.join('?' * {size})" for size in ("size", "len(wanted.status)", "len(listed)")}
        allowed = {"head", "some", "name", *marks}
        assert {text.partition(": ")[2] for text in texts} <= allowed, texts


def test_a_statement_with_a_value_in_it_is_found(tmp_path: Path) -> None:
    bad = [
        "db.execute(f'select {x}')", "db.execute('select ' + x)", "db.execute('select %s' % x)", "db.execute(x)",
        "db.execute('select {}'.format(x))", "db.execute('{y}'.format(y=x))", "db.execute(', '.join(x))", "db.execute(x.sql)",
        "sql = 'select '\n    sql += x\n    db.execute(sql)",
    ]  # fmt: skip
    good = [
        "db.execute(f'select {A}', (x,))", "db.execute(f\"in ({', '.join('?' * len(x))})\", x)",
        "sql = 'a' if x else 'b'\n    db.execute(sql)",
    ]  # fmt: skip
    for texts, count in ((bad, 1), (good, 0)):
        for text in texts:
            visitor = Statements(Path("x.py"))
            visitor.visit(ast.parse(f"def f(db, x):\n    {text}"))
            assert len(visitor.found) == count, text


# Hostile names and values.

HOSTILE = [
    "a\"b", "a'b", "a]b", "[a]", "a`b", "a;drop table fine;--", "'); drop table fine; --", "select", "a b", "é", "\u202ex", "a.b",
    "--",
    "%", "_", "?", ":x", "@x", "$x", "?1", "rowid", "oid", "null", "0", "1e5", " a", "main.fine", "fine ", "x" * 200,
    "{0}", "%s", "\\",
]  # fmt: skip
NAMES = st.sampled_from(HOSTILE) | st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20)
WORDS = st.sampled_from([*HOSTILE, "", "a\nb", "\0"]) | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
few = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))


class Committed:
    """Records that a store keeps, as a projection takes them."""

    def __init__(self, *records: Record) -> None:
        self.rows = [(at, each.collection, each.key, json.dumps(dict(each.data))) for at, each in enumerate(records, 1)]

    def records_after(self, projection: str, seq: int, limit: int) -> list[tuple[int, str, str, str]]:
        return [row for row in self.rows if row[0] > seq][:limit]

    def forget_records(self, projection: str, upto: int) -> None:
        self.rows = [row for row in self.rows if row[0] > upto]


def recorded(folder: Path, *records: tuple[str, str, dict[str, Any]]) -> sqlite3.Connection | Failed:
    """A projection with these records, or why the step that keeps them fails."""
    step = StepContext()
    outcome = step.outcome(Succeeded(records=tuple(Record(collection=c, key=k, data=d) for c, k, d in records)))
    if isinstance(outcome, Failed):
        return outcome
    assert isinstance(outcome, Succeeded)
    return Projections(folder, Committed(*outcome.records)).open("p")


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


@few
@given(collection=NAMES, key=NAMES, column=NAMES, value=WORDS)
def test_any_record_that_is_taken_is_found_as_it_was_said(
    tmp_path_factory: pytest.TempPathFactory, collection: str, key: str, column: str, value: str
) -> None:
    folder = tmp_path_factory.mktemp("records")
    fine = ("fine", "k", {"v": "untouched"})
    found = recorded(folder, fine, (collection, key, {column: value}), fine)
    if isinstance(found, Failed):
        assert found.error.code == "bad_result"
        assert found.error.permanent
        return
    assert found.execute("select v from fine where key = ?", ("k",)).fetchone() == ("untouched",)
    expected = value if column != "key" else key
    assert found.execute(f"select {quoted(column)} from {quoted(collection)} where key = ?", (key,)).fetchone() == (
        expected,
    )
    found.close()


@pytest.mark.parametrize(
    ("records", "words"),
    [
        ([("sqlite_x", "k", {"a": 1})], "is kept for SQLite or yamlflow"),
        ([("SQLite_master", "k", {"a": 1})], "is kept for SQLite or yamlflow"),
        ([("_yamlflow_mark", "k", {"a": 1})], "is kept for SQLite or yamlflow"),
        ([("_YAMLFLOW_applied", "k", {"a": 1})], "is kept for SQLite or yamlflow"),
        ([("c", "k", {"KEY": 1})], '"key" and "KEY" are one column'),
        ([("c", "k", {"a": 1, "A": 2})], '"a" and "A" are one column'),
        ([("c", "k", {"": 1})], "needs a name that is not empty"),
        ([("c", "k", {"a\0b": 1})], "control character"),
        ([("c", "k", {f"c{number}": 1 for number in range(1001)})], "at most 1,000"),
        ([("c" * 201, "k", {})], "at most 200"),
    ],
)
def test_a_record_that_no_table_can_take_fails_its_step_and_is_not_committed(
    tmp_path: Path, records: list[tuple[str, str, dict[str, Any]]], words: str
) -> None:
    found = recorded(tmp_path, *records)
    assert isinstance(found, Failed)
    assert words in found.error.message
    step = StepContext()
    with pytest.raises(Permanent) as caught:
        step.record(*records[0])
    assert words in str(caught.value)


def test_names_that_differ_in_capitals_only_are_one_table_and_one_column(tmp_path: Path) -> None:
    found = recorded(
        tmp_path, ("Things", "a", {"Size": 1}), ("things", "b", {"SIZE": 2, "big": 2**70}), ("THINGS", "a", {"size": 3})
    )
    assert isinstance(found, sqlite3.Connection)
    assert found.execute("select key, size, big from things order by key").fetchall() == [
        ("a", 3, None),
        ("b", 2, str(2**70)),
    ]


@few
@given(values=st.lists(WORDS, min_size=1, max_size=6))
def test_parameters_of_a_statement_are_values(values: list[str]) -> None:
    marks = ", ".join("?" * len(values))
    names = ", ".join(f":n{at}" for at in range(len(values)))
    for text, params in (
        (f"select json_array({marks}) as all_", values),
        (f"select json_array({names}) as all_", {f"n{at}": value for at, value in enumerate(values)}),
        ("select ? as all_", [values]),
    ):
        outcome = run_executor(
            sql, {"sql": text, "params": params}, ports=Ports(projection=lambda: connect(":memory:"))
        )
        assert isinstance(outcome, Succeeded), outcome
        assert json.loads(outcome.result[0]["all_"]) == values


@given(words=st.lists(st.tuples(NAMES, NAMES, WORDS), min_size=20, max_size=40))
@settings(max_examples=3, deadline=None)
def test_what_runs_are_looked_up_by_is_a_value(words: list[tuple[str, str, str]]) -> None:
    with Runtime() as runtime:
        runtime.register(Package("p", steps=[{"kind": "noop"}]))
        store = runtime.store
        for name, value, text in words:
            run = runtime.start("p", metadata={name: value})
            assert run.id in [one.id for one in store.runs(RunFilter(metadata=((name, value),)))]
            assert store.runs(RunFilter(metadata=((name, f"{value}'"), ("no", "such")))) == []
            for wanted in (
                RunFilter(id=text),
                RunFilter(package=text),
                RunFilter(parent=text),
                RunFilter(status=(text,)),
            ):
                assert store.runs(wanted) == []
            store.runs(RunFilter(text=text))
            store.runs(RunFilter(prefix=text))
            assert store.children(run.key, "", 1, statuses=[text]) == []
            assert store.find_run(text) is None
        assert len(store.runs(RunFilter(limit=1000))) == len(words)


def test_hostile_words_on_the_command_line_are_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p.yaml").write_text(
        "yamlflow: 1\nname: p\nsteps: {a: {kind: record, with: {collection: c, key: k, data: {x: 1}}}}\n"
    )
    assert cli(["run", "p.yaml", "-q", "--meta", "a'b=c'; drop table runs; --"]) == 0
    for word in ("'", '"', "'; drop table runs; --", "x' or '1'='1", "%", "?"):
        for words in (
            ["show", word], ["runs", "--meta", f"{word}={word}"], ["logs", "last", word], ["records", word], ["events", word],
            ["signal", word, word], ["cancel", word], ["result", "last", word],
        ):  # fmt: skip
            assert cli(words) in (0, 1, 2), words
    assert cli(["runs", "--json"]) == 0
    assert cli(["db", "check"]) == 0
