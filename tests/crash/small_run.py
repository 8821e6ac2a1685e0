"""A small run that meets all that a commit may hold: steps, a child, a signal, a timer, a token bucket, an artifact, a
record, a handler; played in this process, by a worker on a clock that is moved, and what comes of it.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from textwrap import dedent
from typing import Any

import jsonschema  # noqa: F401  (so that no forked process has to import what all of them need)
import sqlite_utils  # noqa: F401

from yamlflow import document
from yamlflow.checkup import faults_in
from yamlflow.context import StepContext
from yamlflow.errors import NotAllowed
from yamlflow.executors import executor
from yamlflow.outcome import Json
from yamlflow.packages import loaded
from yamlflow.plugins import load
from yamlflow.rows import EventRow
from yamlflow.runtime import Runtime
from yamlflow.store.base import RunFilter
from yamlflow.store.connection import connect_to_read
from yamlflow.testing import FakeClock

MAIN = """
queues: {slow: {rate: 1/s, burst: 1}}
steps:
  first: {kind: set, with: {value: {a: 1}}}
  call: {needs: first, kind: workflow, with: {package: child}}
  go: {kind: wait_signal, with: {signal: go}}
  nap: {kind: sleep, with: {for: 10s}}
  drops: {needs: nap, for_each: [1, 2, 3], queue: slow, kind: set, with: {value: "${{ item }}"}}
  keep: {kind: small/keep, with: {text: kept}}
  note: {needs: [keep, go], kind: record, with: {collection: notes, key: 1, data: {text: "${{ steps.go.result }}"}}}
  bad: {kind: fail, with: {code: no_luck}, retry: {max_attempts: 2, delay: 1s}, continue_on_error: true}
  end: {needs: {call: succeeded, drops: succeeded, note: succeeded, bad: finished}, kind: small/sum}
finally: [{kind: log, with: {message: over}}]
outputs: {v: "${{ steps.end.result }}"}
"""
CHILD = (
    "steps: {nap: {kind: sleep, with: {for: 3s}}, work: {needs: nap, kind: set, with: {value: 7}}}\noutputs: {n: 7}\n"
)
#: When a sleep woke depends on when its process died.
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z")
#: Turns after which a run is taken for stuck.
MOST = 20_000


#: The runs in which this process has called ``small/keep``.
kept: list[str] = []


@executor("small/keep", mode="inline")
def keep(step: StepContext, text: str) -> str:
    """Keeps a file."""
    kept.append(step.run.id)
    return step.artifact("kept.txt", text.encode()).sha256


@executor("small/sum", mode="inline")
def total(step: StepContext) -> Json:
    """Reads the results of other steps."""
    return [step.result("call"), step.result("drops"), step.result("go")]


class Passing(FakeClock):
    """A clock that has gone on whenever somebody looks at it."""

    def steady(self) -> int:
        self.advance(200)
        return super().steady()


class Play:
    """One process's part: it starts the run, sends the signal and works until all has ended. All may be done again.

    ``heard`` is told of each thing that is acknowledged: what a call of the client has returned, and each event that was
    committed.
    """

    def __init__(self, home: Path, heard: Callable[[str], None], *, life: int = 1) -> None:
        self.heard = heard
        self.clock = Passing()
        # Whatever an earlier process held has run out by now.
        self.clock.advance(600_000 * life)
        self.runtime = Runtime(
            f"sqlite:///{home}/y.db", clock=self.clock, plugins=load(entry_points=False), max_workers=8,
            on_event=self._hear, worker_id=f"w{life}", poll_interval=0.001,
        )  # fmt: skip
        for kind in (keep, total):
            self.runtime.register(kind)
        for name, body in (("main", MAIN), ("child", CHILD)):
            self.runtime.register(loaded(document.read(f"yamlflow: 1\nname: {name}\n{dedent(body)}")))

    def _hear(self, event: EventRow) -> None:
        self.heard(f"event {event.run} {event.seq} {event.kind}")

    def act(self, run_id: str = "r") -> None:
        """The whole play."""
        self.runtime.start("main", run_id=run_id, if_exists="join")
        self.heard(f"run {run_id}")
        try:
            self.runtime.signal(run_id, "go", "now", key="once")
        except NotAllowed:
            # It has ended, so it has had it.
            pass
        self.heard(f"signal {run_id}")
        turns = 0

        def done() -> bool:
            nonlocal turns
            turns += 1
            assert turns < MOST, "the run does not end"
            run = self.runtime.run(run_id)
            return run is not None and run.ended_at is not None

        self.runtime.run_workers(done)

    def close(self) -> None:
        """Let go of the store."""
        self.runtime.close()

    def outcome(self) -> dict[str, Any]:
        """What came of it all, without times."""
        found: dict[str, Any] = {}
        for run in self.runtime.runs(RunFilter(limit=10**6)):
            steps = {
                row.path: [row.status, MOMENT.sub("then", row.result or ""), row.attempt]
                for row in self.runtime.store.tree(run.key)
            }
            signals = [[one.name, one.data, one.taken_by is not None] for one in self.runtime.store.signals(run.key)]
            kept = [[one.name, one.sha256] for one in self.runtime.store.artifacts(run.key)]
            found[f"{run.id}@{run.execution}"] = [run.status, steps, signals, kept]
        found["notes"] = [dict(row)["text"] for row in self.runtime.records("main", "notes")]
        return found


def lost(store: Path, heard: list[str]) -> list[str]:
    """What was acknowledged and is not in the store."""
    with closing(sqlite3.connect(store, timeout=10)) as connection:
        if not connection.execute("select 1 from sqlite_master where name = 'events'").fetchone():
            return heard
        events = {
            f"event {run} {seq} {kind}" for run, seq, kind in connection.execute("select run, seq, kind from events")
        }
        runs = {f"run {id}" for (id,) in connection.execute("select id from runs")}
        signals = {
            f"signal {id}" for (id,) in connection.execute("select id from runs join signals on signals.run = runs.key")
        }
    return [one for one in heard if one not in events | runs | signals]


#: What happens at most once: to a step, in a run's log.
ONCE = ("step.succeeded", "run.succeeded", "run.started", "handler.fired", "step.woken")


def unsound(store: Path) -> list[str]:
    """What is wrong with a store, as ``yamlflow db check`` finds it, and what its log says twice."""
    with closing(connect_to_read(store, f"sqlite:///{store}")) as connection:
        if not connection.execute("select 1 from sqlite_master where name = 'events'").fetchone():
            return [str(row[0]) for row in connection.execute("pragma integrity_check") if row[0] != "ok"]
        found = [str(one) for one in faults_in(connection)]
        sql = f"""
            select run, step, kind, count(*) from events where kind in ({", ".join("?" * len(ONCE))})
            group by run, step, kind having count(*) > 1
        """
        found += [
            f"{count} × {kind} of {step} in run {run}" for run, step, kind, count in connection.execute(sql, ONCE)
        ]
    return found
