"""Plays scenes in processes that kill themselves (``kill -9``) at their n-th commit, just before it or just after, and goes
on in another process: what comes of it must be what comes of an undisturbed play.

Run as a program: ``python -m tests.crash.every_commit SCENE FOLDER``. It forks, so it must have no threads of its own; it
prints the number of kills, then every difference.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sqlite3
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from textwrap import dedent
from typing import Any

import jsonschema  # noqa: F401  (so that no process has to import what all of them need)
import sqlite_utils  # noqa: F401

from yamlflow import document
from yamlflow.building import Package, RunBuilder
from yamlflow.context import StepContext
from yamlflow.errors import NotAllowed
from yamlflow.executors import executor
from yamlflow.packages import loaded
from yamlflow.plugins import load
from yamlflow.runtime import Runtime
from yamlflow.store.base import RunFilter
from yamlflow.store.sqlite import SqliteStore, SqliteTransaction
from yamlflow.testing import T0, FakeClock

#: The word before which, or after which, the process dies.
WHEN = ("before", "after")
HOUR = 3_600_000
#: When a sleep woke depends on when its process was killed.
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z")

#: What else there is at the end, besides what runs tell of themselves.
TABLES = {
    "locks": "select name from locks union all select name from lock_waits",
    "cache": "select package, step, key, result, run_id, execution from cache",
    "removals": "select run from removals",
    "schedules": "select package, entry, next_at, last_at, last_run from schedules",
    "nobody's": """
        select 'steps' from steps where run not in (select key from runs)
        union all select 'events' from events where run not in (select key from runs)
        union all select 'signals' from signals where run not in (select key from runs)
    """,
}


class Mortal(SqliteStore):
    """A store whose process dies at a commit."""

    def __init__(self, target: str, *, at: int, when: str) -> None:
        self.left, self.when = at, when
        # What the kernel has survives the process, whatever was synced.
        super().__init__(target, synchronous="off")

    @contextmanager
    def transaction(self) -> Iterator[SqliteTransaction]:
        self.left -= 1
        with super().transaction() as tx:
            yield tx
            if self.left == 0 and self.when == "before":
                os.kill(os.getpid(), signal.SIGKILL)
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


class Play:
    """One process's part: the runtime, and what everybody in a scene does. All of it may be done again."""

    def __init__(self, store: SqliteStore, packages: Mapping[str, str], home: Path, *, life: int) -> None:
        self.clock = FakeClock()
        # Whatever an earlier process held has run out by now.
        self.clock.advance(60_000 * life)
        self.runtime = Runtime(store, clock=self.clock, plugins=load(entry_points=False), home=home, max_workers=100)
        for name, body in packages.items():
            self.runtime.register(loaded(document.read(f"yamlflow: 1\nname: {name}\n{dedent(body)}")))

    def start(self, package: str, run_id: str, **options: Any) -> None:
        self.runtime.start(package, run_id=run_id, if_exists="join", **options)

    def work(self) -> None:
        self.runtime.run_until_idle()

    def pass_time(self, milliseconds: int = HOUR) -> None:
        self.clock.advance(milliseconds)
        self.work()

    def signal(self, run_id: str, name: str, data: Any, key: str) -> None:
        try:
            self.runtime.signal(run_id, name, data, key=key)
        except NotAllowed:
            # It has ended: it must have had this one, or the dump will tell.
            return
        self.work()

    def finish(self) -> None:
        """Time passes until every run has ended."""
        for _ in range(200):
            self.work()
            if not self.runtime.runs(RunFilter(live=True)):
                return
            timer = self.runtime.store.next_timer()
            self.clock.advance(1000 if timer is None else max(1000, timer - self.clock.now()))

    def dump(self) -> dict[str, Any]:
        """What came of it all: runs, steps and signals, without times."""
        found: dict[str, Any] = {}
        for run in self.runtime.runs(RunFilter(limit=10**6)):
            rows = self.runtime.store.tree(run.key)
            steps = {row.path: [row.status, MOMENT.sub("then", row.result or ""), row.attempt] for row in rows}
            signals = [[one.name, one.data, one.taken_by is not None] for one in self.runtime.store.signals(run.key)]
            found[f"{run.id}@{run.execution}"] = [run.status, run.inputs, steps, signals]
        found["tables"] = {table: self.rows(sql) for table, sql in TABLES.items()}
        found["files"] = sorted(path.name for path in (self.runtime.home / "runs").glob("*"))
        return found

    def rows(self, sql: str) -> list[Any]:
        """What a table holds at the end."""
        with closing(sqlite3.connect(self.runtime.home / "y.db")) as connection:
            return connection.execute(sql).fetchall()


# -- scenes --------------------------------------------------------------------------------------------------------

CHILD = (
    "steps: {nap: {kind: sleep, with: {for: 10s}}, work: {needs: nap, kind: set, with: {value: 7}}}\noutputs: {n: 7}\n"
)
SCENES: dict[str, tuple[dict[str, str], Callable[[Play], None]]] = {}


def scene(**packages: str) -> Callable[[Callable[[Play], None]], Callable[[Play], None]]:
    """Declare a scene, by the name of its function."""

    def declare(act: Callable[[Play], None]) -> Callable[[Play], None]:
        SCENES[act.__name__] = (packages, act)
        return act

    return declare


@scene(
    main="""
    steps:
      nap: {kind: sleep, with: {for: 1h}}
      go: {needs: nap, kind: wait_signal, with: {signal: go}}
      ask: {needs: go, kind: approval, timeout: 100d}
      late: {needs: go, kind: wait_signal, timeout: 2h, continue_on_error: true, with: {signal: never}}
      end: {needs: {ask: succeeded, late: finished}, kind: set, with: {value: "${{ steps.go.result }}"}}
    outputs: {v: "${{ steps.end.result }}"}
    """
)
def waiting(play: Play) -> None:
    """Time, a signal from before the wait, an answer, and a wait that times out."""
    play.start("main", "r")
    play.signal("r", "go", "first", "a")
    play.signal("r", "go", "second", "b")
    play.pass_time()
    play.pass_time()
    try:
        play.runtime.approve("r", "ask", by="ann")
    except NotAllowed:
        return
    play.pass_time()


@scene(
    main="""
    steps:
      call: {kind: workflow, for_each: [1, 2], with: {package: child}}
      bad: {kind: workflow, retry: {max_attempts: 2, delay: 1s}, continue_on_error: true, with: {package: broken}}
      loose: {kind: workflow, with: {package: child, wait: false, on_parent_close: abandon}}
    """,
    child=CHILD,
    broken="steps: [{kind: fail, with: {code: no_luck}}]\n",
)
def children(play: Play) -> None:
    """Children that succeed, fail and are tried again, and one that is let go."""
    play.start("main", "r")


@scene(
    main="""
    steps:
      call: {kind: workflow, for_each: [1, 2], with: {package: child}}
      go: {kind: wait_signal, with: {signal: go}}
      nap: {kind: sleep, with: {for: 9h}}
    on_cancel: [{id: told, kind: set, with: {value: "${{ cancel.reason }}"}}]
    finally: [{kind: sleep, with: {for: 5s}}]
    """,
    child="steps: [{kind: sleep, with: {for: 9h}}]\nfinally: [{kind: sleep, with: {for: 5s}}]\n",
)
def canceling(play: Play) -> None:
    """A run that is blocked in every way is canceled with its children."""
    play.start("main", "r")
    play.work()
    play.runtime.cancel("r", reason="enough", by="ann")


@scene(
    main="""
    inputs: {n: {type: integer, default: 0}}
    concurrency: {key: k}
    steps:
      go: {kind: wait_signal, with: {signal: go}}
      again: {needs: go, if: inputs.n < 2, kind: continue_as_new, with: {inputs: {n: "${{ inputs.n + 1 }}"}}}
    outputs: {n: "${{ inputs.n }}"}
    """
)
def renewing(play: Play) -> None:
    """A run renews itself with signals pending, and another one waits for its place meanwhile."""
    play.start("main", "r")
    play.start("main", "later", inputs={"n": 2})
    for number in range(3):
        play.signal("r", "go", number, f"r{number}")
    play.signal("later", "go", 9, "l")


@scene(
    main="""
    steps:
      - {kind: signal, with: {run: box, signal: put, data: 1, start_if_missing: {package: box}}}
      - {kind: signal, with: {run: box, signal: put, data: 2}}
    """,
    box="""
    steps:
      one: {kind: wait_signal, with: {signal: put}}
      two: {needs: one, kind: wait_signal, with: {signal: put}}
    outputs: {both: ["${{ steps.one.result }}", "${{ steps.two.result }}"]}
    """,
)
def sending(play: Play) -> None:
    """A step starts the run that it sends a signal to."""
    play.start("main", "r")


@scene(
    main="""
    steps:
      first: {kind: set, with: {value: 1}, undo: {kind: set, with: {value: "${{ result }}"}}}
      call: {needs: first, kind: workflow, with: {package: child}, undo: {kind: sleep, with: {for: 5s}}}
      inner:
        needs: call
        steps:
          - {kind: noop, undo: {kind: wait_signal, timeout: 5s, with: {signal: never}}}
          - {kind: noop, for_each: [1, 2], undo: {steps: [{kind: noop}, {kind: sleep, with: {for: 1s}}]}}
          - {kind: fail, with: {code: no_luck}}
    on_failure: [{id: told, kind: set, with: {value: "${{ error.code }}"}}]
    finally: [{kind: noop}]
    """,
    child=CHILD,
    blocked="""
    steps:
      first: {kind: set, with: {value: 1}, undo: {kind: sleep, with: {for: 5s}}}
      call: {needs: first, kind: workflow, with: {package: stuck}, undo: {kind: noop}}
    on_cancel: [{kind: noop}]
    """,
    stuck="steps: [{kind: noop, undo: {kind: sleep, with: {for: 5s}}}, {kind: wait_signal, with: {signal: never}}]\n",
)
def undoing(play: Play) -> None:
    """What was done is taken back, after a failure and after a cancel: calls, a child, a loop, and one that cannot be."""
    play.start("main", "r")
    play.start("blocked", "other")
    play.work()
    play.runtime.cancel("other", reason="enough", by="ann")


@scene(
    main="""
    steps:
      - {kind: set, for_each: [1, 2, 3], locks: [x, "of ${{ run.id }}"], with: {value: "${{ item }}"}}
      - {kind: workflow, with: {package: child}}
      - {kind: fail, with: {code: no_luck}, locks: [x], retry: {max_attempts: 2, delay: 1s}, continue_on_error: true}
    """,
    child="steps: {a: {kind: set, locks: [x, y], with: {value: 1}}, b: {kind: set, locks: [y], with: {value: 2}}}\n",
)
def locking(play: Play) -> None:
    """Two runs and their children want the same locks."""
    play.start("main", "r")
    play.start("main", "s")


@scene(
    main="""
    steps:
      call: {kind: set, cache: {key: same, ttl: 30d}, with: {value: "${{ run.id }}"}}
      group: {needs: call, cache: {key: same}, steps: [{kind: noop}], outputs: {by: "${{ run.id }}"}}
      child: {needs: call, kind: workflow, cache: {key: same}, with: {package: child}}
    """,
    child=CHILD,
)
def caching(play: Play) -> None:
    """A second run takes what the first one has kept."""
    play.start("main", "r")
    play.finish()
    play.start("main", "s")
    play.finish()


@scene(
    main="""
    schedule: [{cron: "0 * * * *", catch_up: all}, {cron: "30 * * * *", catch_up: all, inputs: {n: 1}}]
    concurrency: {key: k}
    inputs: {n: {type: integer, default: 0}}
    steps: [{kind: noop}]
    """
)
def scheduled(play: Play) -> None:
    """Times that pass while nobody looks, and while somebody does."""
    play.runtime.schedule("main")
    for hours in (1, 4):
        play.pass_time(max(0, T0 + hours * HOUR + 60_000 - play.clock.now()))
    play.finish()


@scene(
    main="""
    inputs: {n: {type: integer, default: 0}}
    steps:
      say: {kind: log, with: {message: hello}}
      call: {kind: workflow, with: {package: child, on_parent_close: abandon}}
      again: {needs: call, if: inputs.n < 1, kind: continue_as_new, with: {inputs: {n: 1}}}
    """,
    child="steps: [{kind: log, with: {message: hello}}]\n",
)
def removing(play: Play) -> None:
    """Runs are removed, with their earlier executions; a child stays."""
    play.start("main", "r")
    play.finish()
    play.runtime.remove("r")
    play.runtime.remover.sweep()


def graph(run: RunBuilder, to: int) -> None:
    """A graph that code builds: calls, a wait, and a renewal."""
    go = run.step("go", kind="wait_signal", input={"signal": "go"})
    made = [run.step(f"n{number}", kind="set", input={"value": number}, needs=go) for number in range(to)]
    every = run.step("all", kind="emit", needs=made)
    if to:
        run.step("again", kind="continue_as_new", input={"inputs": {"to": to - 1}}, needs=every)


@executor("emit", mode="inline")
def emit(step: StepContext) -> str:
    """Emits two steps."""
    step.emit("one", kind="set", with_={"value": 1})
    step.emit("two", kind="sleep", with_={"for": "5s"}, needs=["one"])
    return "emitted"


@scene()
def built(play: Play) -> None:
    """Packages whose graph is built in Python, for every execution anew."""
    play.runtime.register(emit)
    play.runtime.register(Package("built", entrypoint=graph))
    play.start("built", "r", inputs={"to": 2})
    for number in range(3):
        play.signal("r", "go", number, f"r{number}")


# -- killing -------------------------------------------------------------------------------------------------------


def play_in_child(name: str, folder: Path, *, life: int = 1, at: int = 0, when: str = "", dump: Path | None) -> bool:
    """Play a scene in a process of its own; whether it was killed."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            packages, act = SCENES[name]
            play = Play(Mortal(f"sqlite:///{folder}/y.db", at=at, when=when), packages, folder, life=life)
            act(play)
            play.finish()
            if dump is not None:
                dump.write_text(json.dumps(play.dump(), sort_keys=True))
            play.runtime.close()
            status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        return True
    assert status == 0, f"scene {name} came to an error"
    return False


def torture(name: str, folder: Path) -> tuple[int, list[str]]:
    """Play a scene once for every commit of it and each side of that; the kills there were, and the differences."""
    expected = folder / "expected.json"
    (folder / "plain").mkdir(parents=True)
    play_in_child(name, folder / "plain", dump=expected)
    kills, wrong = 0, []
    for when in WHEN:
        at = 1
        while True:
            place = folder / f"{when}-{at}"
            place.mkdir()
            if not play_in_child(name, place, at=at, when=when, dump=None):
                break
            kills += 1
            got = place / "got.json"
            play_in_child(name, place, life=2, dump=got)
            if got.read_text() != expected.read_text():
                wrong.append(f"killed {when} commit {at}:\n{got.read_text()}\n  instead of\n{expected.read_text()}")
            shutil.rmtree(place)
            at += 1
    return kills, wrong


if __name__ == "__main__":
    total, differences = torture(sys.argv[1], Path(sys.argv[2]))
    print(total)
    print("\n".join(differences))
