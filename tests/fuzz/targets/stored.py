"""A store whose rows somebody changed: looking at it tells what is wrong, and never shows a traceback."""

from __future__ import annotations

import functools
import os
import shutil
import sqlite3
from pathlib import Path
from random import Random
from typing import Any

from yamlflow import document
from yamlflow.packages import loaded
from yamlflow.runtime import Runtime
from yamlflow.testing import FakeClock

from .. import cases
from .commands import call, folder
from .target import Target

PACKAGE = """
yamlflow: 1
name: kept
inputs: {n: {type: integer, default: 2}}
signals: {go: {type: object}}
queues: {q: {max_in_flight: 2, rate: 2/s, burst: 4}}
schedule: [{cron: "0 6 * * *"}]
steps:
  a: {kind: set, with: {value: {x: [1, 2], t: "${{ inputs.n }}"}}, cache: {key: k, ttl: 1h}}
  each: {kind: set, for_each: [1, 2], with: {value: "${{ item }}"}}
  keep: {kind: template, with: {text: "hello", name: out.txt}}
  save: {kind: record, with: {collection: things, key: k, data: {v: 1}}}
  bad: {kind: fail, with: {message: "it broke"}, continue_on_error: true, retry: {max_attempts: 2, delay: 1h}}
  log: {kind: log, queue: q, with: {message: hello}}
  wait: {kind: wait_signal, with: {signal: go}}
  ask: {kind: approval, with: {prompt: "really?"}}
finally: [{kind: noop}]
"""
#: What is looked at, and at what.
LOOKS = (
    ["runs"], ["runs", "--json"], ["show", "one"], ["show", "one", "--json"], ["show", "one", "a"],
    ["show", "one", "bad", "--json"], ["show", "one", "ask"], ["logs", "one"], ["logs", "one", "log", "--json"],
    ["events", "one"], ["events", "one", "--json"], ["result", "one"], ["result", "one", "a"],
    ["result", "one", "each"], ["artifacts", "one"], ["artifacts", "one", "keep", "out.txt", "-o", "o.txt"],
    ["records", "things"], ["schedules"], ["queues"], ["locks"], ["workers"], ["cache"], ["graph", "one"], ["doctor"],
    ["db", "status"], ["db", "check"], ["signal", "one", "go", "--data", "{}"], ["approve", "one", "ask"],
    ["cancel", "one"], ["retry", "one", "bad"], ["pause", "one"], ["prune", "--older-than", "1d"],
    ["show", "one", "each[0]"],
)  # fmt: skip
TABLES = (
    "packages",
    "runs",
    "steps",
    "edges",
    "events",
    "artifacts",
    "queues",
    "records",
    "workers",
    "signals",
    "cache",
    "schedules",
    "retentions",
)


@functools.cache
def store() -> Path:
    """A file with one run that waits and one that has ended."""
    file = folder() / "made.db"
    clock = FakeClock()
    with Runtime(f"sqlite:///{file}", clock=clock, home=folder() / "made") as runtime:
        one = loaded(document.read(PACKAGE, file="kept.yaml"))
        runtime.register(one)
        runtime.schedule(one)
        runtime.start(one, run_id="one")
        runtime.run_until_idle(max_cycles=50)
        runtime.start(one, run_id="two")
        runtime.cancel("two")
        runtime.run_until_idle(max_cycles=50)
    with sqlite3.connect(file) as connection:
        connection.execute("pragma wal_checkpoint(truncate)")
        connection.execute("pragma journal_mode = delete")
    return file


@functools.cache
def columns() -> tuple[tuple[str, str], ...]:
    """Every table and column that has rows."""
    with sqlite3.connect(store()) as connection:
        return tuple(
            (table, row[1])
            for table in TABLES
            if connection.execute(f"select count(*) from {table}").fetchone()[0]
            for row in connection.execute(f"pragma table_info({table})").fetchall()
        )


def changes(rnd: Random) -> dict[str, Any]:
    """What is changed in which rows, and what is looked at then."""
    made = []
    for _ in range(rnd.choice([1, 1, 1, 2])):
        table, column = rnd.choice(columns())
        value = rnd.choice(
            [
                "",
                "{",
                "[]",
                "{}",
                "null",
                "1",
                '"x"',
                '{"a": 1}',
                "[" * 5000,
                "not json",
                -1,
                10**15,
                None,
                0.5,
                cases.text(rnd, 1),
                '{"code": 1}',
                '[{"a":[]}]',
            ]
        )
        made.append([table, column, rnd.randint(0, 20), value])
    return {"changes": made, "looks": [rnd.choice(LOOKS) for _ in range(3)]}


def check_stored(case: dict[str, Any]) -> None:
    """Each look gives what can be given, or a typed error that names the store."""
    place = folder()
    os.chdir(place)
    shutil.rmtree(place / ".yamlflow", ignore_errors=True)
    (place / ".yamlflow").mkdir()
    (place / ".yamlflow" / ".gitignore").write_text("*\n")
    file = place / ".yamlflow" / "yamlflow.db"
    shutil.copyfile(store(), file)
    known = set(columns())
    with sqlite3.connect(file) as connection:
        for table, column, place_of, value in case["changes"]:
            if (table, column) not in known or isinstance(value, dict | list):
                continue
            count = connection.execute(f"select count(*) from {table}").fetchone()[0]
            key = "rowid" if table not in _WITHOUT_ROWID else None
            try:
                if key:
                    connection.execute(
                        f"update {table} set {column} = ? where rowid = (select rowid from {table} limit 1 offset ?)",
                        (_sayable(value), place_of % max(1, count)),
                    )
                else:
                    connection.execute(f"update {table} set {column} = ?", (_sayable(value),))
            except (sqlite3.Error, OverflowError):
                continue
    for look in case["looks"]:
        if list(look) in map(list, LOOKS):
            call([str(word) for word in look])


_WITHOUT_ROWID = frozenset(
    {"packages", "edges", "events", "artifacts", "queues", "workers", "locks", "lock_waits", "cache", "schedules"}
)


def _sayable(value: Any) -> Any:
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


TARGETS = (Target(name="stored-rows", make=changes, check=check_stored, weight=2),)
