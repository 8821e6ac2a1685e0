"""The rules of a sound store: a store that was worked on keeps them all, and every one finds what breaks it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import pytest

from yamlflow.engine.commands import release
from yamlflow.store.rules import RULES, broken
from yamlflow.store.sqlite import SqliteStore

from ..engine.stage import Stage

#: At its end: one run that has ended, and one in which a step is in each place where it can stand still.
PACKAGE = """
steps:
  done: {kind: set, with: {value: "ü"}}
  limited:
    max_parallel: 1
    steps: {one: {kind: ok}, two: {kind: ok}}
  sleeps: {kind: sleep, with: {for: 1h}}
  listens: {kind: wait_signal, with: {signal: go}}
  asks: {kind: approval}
  locked: {kind: ok, locks: [l]}
  locked_too: {kind: ok, locks: [l]}
  same: {kind: ok, dedup_key: k}
  same_too: {kind: ok, dedup_key: k}
  late: {kind: noop, needs: sleeps}
  child: {kind: workflow, with: {package: listener, run_id: child}}
"""
LISTENER = """
concurrency: {key: one}
steps: {listen: {kind: wait_signal, with: {signal: go}}}
"""


@pytest.fixture(scope="module")
def whole() -> Iterator[bytes]:
    """A store as ``PACKAGE`` says, serialized."""
    from ..engine.stage import package

    stage = Stage()
    stage.runtime.register(package(LISTENER, "listener"))
    stage.play("steps: {a: {kind: set, cache: {key: k}, with: {value: 1}}}", run_id="ended")
    stage.start(PACKAGE, run_id="live")
    stage.lease(kinds=["ok"])
    for row in [row for row in stage.held.values() if row.kind != "ok"]:
        with stage.transact() as work:
            release(work, step=row.id, epoch=row.epoch, worker="hand")
    stage.runtime.run_until_idle()
    stage.start(stage.runtime.package("listener"), run_id="waits")
    stage.runtime.signal("live", "other", 1)
    assert isinstance(stage.store, SqliteStore)
    yield stage.store._db.serialize()
    stage.runtime.close()


@pytest.fixture
def db(whole: bytes) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.deserialize(whole)
    yield connection
    connection.close()


def test_a_store_that_was_worked_on_keeps_every_rule(db: sqlite3.Connection) -> None:
    statuses = {row[0] for row in db.execute("select status from steps")}
    assert {"pending", "ready", "running", "waiting", "succeeded"} <= statuses
    assert db.execute("select count(*) from lock_waits").fetchone() == (1,)
    assert broken(db) == []


def one(path: str, assignment: str) -> str:
    return f"update steps set {assignment} where path = '{path}' and run = (select key from runs where id = 'live')"


#: Rule -> statements that break it, and whatever else they break.
BREAKS: dict[str, tuple[str, ...]] = {
    "steps without a run": ("delete from runs where id = 'ended'",),
    "runs without their package": ("delete from packages",),
    "runs without a root step": ("delete from steps where path = ''",),
    "steps whose group is not there": (one("limited/one", "parent = 999"),),
    "live child runs whose parent is not there": ("update runs set parent_run = 99 where id = 'child'",),
    "events of runs that are gone": ("insert into events values (99, 1, 1, 'x', null, null)",),
    "artifacts of runs that are gone": ("insert into artifacts values (99, 1, 'a', '', 1, '', '', '', '{}', 1)",),
    "signals of runs that are gone": ("update signals set run = 99",),
    "removals of runs that are gone": ("insert into removals values (99, 1)",),
    "needs of steps that are gone": ("insert into edges values (999, 1, 'succeeded')",),
    "ended runs with live steps": ("update steps set status = 'ready' where path = 'a'",),
    "runs whose status is not that of their root": ("update runs set status = 'failed' where id = 'ended'",),
    "ended steps that do not say when": (one("done", "ended = null"),),
    "live steps that say when they ended": (one("late", "ended_at = 1"),),
    "ends that the log tells otherwise": (one("done", "status = 'failed'"),),
    "runs with gaps in their log": ("delete from events where seq = 2 and run = 1",),
    "runs that miscount their steps": ("update runs set done = done + 1 where id = 'live'",),
    "groups that miscount their children": (one("limited", "children = 3"),),
    "groups that miscount those alive": (one("limited", "alive = 1"),),
    "groups that miscount the places taken": (one("limited", "busy = 2"),),
    "counters below nothing": (one("limited", "failures = -1"),),
    "leased steps without a worker, an end of the lease or an epoch": (one("locked", "epoch = 0"), one("same", "worker = null")),
    "steps that are not leased and have a worker": (one("late", "worker = 'w'"),),
    "locks of steps that are not leased": (one("locked", "status = 'ready'"),),
    "leased steps without their locks": ("delete from locks",),
    "waits for locks of steps that do not wait": (one("locked_too", "parked = null"),),
    "queues with more tokens than their burst": ("insert into queues values ('q', null, 1.0, 2, 3.0, 0, 0)",),
    "parked steps that nothing offers again": (
        "delete from lock_waits", one("sleeps", "available_at = null"), one("same", "parked = 'paused'"),
        one("done", "parked = 'slot'"),
    ),
    "due steps that were not begun": (one("limited/two", "parked = null"),),
    "open groups without a child alive": (one("limited", "alive = 0"),),
    "steps that wait for a signal that is there": ("update signals set name = 'go'",),
    "signals that were read before older ones": (
        "insert into signals (run, name, data, at, taken_by) select run, name, data, at, 1 from signals",
    ),
    "steps that wait for a run that has ended": ("update runs set ended_at = 1 where id = 'child'",),
    "runs that wait for a place that is free": ("update runs set slot = 'other' where id = 'waits'",),
    "steps that wait for a duplicate that has ended": (one("same", "status = 'succeeded'"),),
    "live runs that nothing can bring further": (
        "update steps set status = 'pending' where run = (select key from runs where id = 'child')",
    ),
    "results that are not what was written": (one("done", "result = '\"u\"'"), one("done", "result = cast(x'22ff22' as text)")),
    "kept results that are not what was written": ("update cache set result = '2'",),
    "package texts that are not what was written": ("update packages set text = text || ' '",),
    "texts that are no JSON": (
        "update runs set inputs = '{'", one("done", "scope = '{'"), "update signals set data = '{'",
        "update events set payload = '{'", "insert into records (projection, collection, key, data) values ('', '', '', '{')",
    ),
}  # fmt: skip


def test_every_rule_is_broken_here() -> None:
    assert list(BREAKS) == [rule.name for rule in RULES]


@pytest.mark.parametrize(("name", "sql"), [(name, sql) for name, several in BREAKS.items() for sql in several])
def test_a_rule_finds_what_breaks_it(db: sqlite3.Connection, name: str, sql: str) -> None:
    assert db.execute(sql).rowcount > 0
    (found,) = [each for each in broken(db) if each.name == name]
    assert found.count >= 1
    assert found.examples
    assert found.remedy


def test_what_is_broken_is_told_with_its_place_and_the_number_of_others(db: sqlite3.Connection) -> None:
    db.execute("update steps set worker = 'w' where status in ('pending', 'waiting')")
    (found,) = broken(db)
    assert found.count > 3
    assert len(found.examples) == 3
    assert "live/" in str(found)
    assert ", …)" in str(found)
