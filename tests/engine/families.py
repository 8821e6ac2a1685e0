"""Random families of runs: children, signals, answers, renewals, places, undo, locks, kept results, emitted steps and
removals, under a driver that plays everybody.

``check`` states what must hold between any two transactions, over all runs of the store; it shares no code with the
engine's rules.
"""

from __future__ import annotations

import json
import random
import sqlite3
from collections import defaultdict
from contextlib import suppress
from typing import Any

from yamlflow import document
from yamlflow.context import StepContext
from yamlflow.deciding import decide
from yamlflow.engine.commands import report
from yamlflow.engine.follow import settle
from yamlflow.engine.leasing import Wanted, lease
from yamlflow.errors import NotAllowed, RunExists
from yamlflow.executors import executor
from yamlflow.once import execute_here
from yamlflow.outcome import Error, Failed
from yamlflow.packages import loaded
from yamlflow.plugins import load
from yamlflow.rows import RunRow, StepRow, terms_of
from yamlflow.runtime import Runtime
from yamlflow.scheduler import tick
from yamlflow.store.base import RunFilter
from yamlflow.testing import FakeClock

TERMINAL = {"succeeded", "failed", "skipped", "canceled"}
NAMES = ("go", "stop")
LOCKS = [["x"], ["y"], ["x", "y"]]
QUEUES = ("default", "signals")
PACKAGES = 3
#: Tables whose rows belong to a run, with the column that says to which.
OF_RUNS = {"steps": "run", "events": "run", "signals": "run", "artifacts": "run", "locks": "run", "removals": "run"}


def random_package(rnd: random.Random, number: int) -> dict[str, Any]:
    """A package that may start those of higher numbers, and renew itself twice."""
    package: dict[str, Any] = {"yamlflow": 1, "name": f"p{number}", "inputs": {"n": {"type": "integer", "default": 0}}}
    package["steps"] = {f"s{n}": random_step(rnd, number, depth=0) for n in range(rnd.randint(1, 4))}
    if rnd.random() < 0.4:
        again = {"kind": "continue_as_new", "if": "inputs.n < 2", "with": {"inputs": {"n": "${{ inputs.n + 1 }}"}}}
        package["steps"]["again"] = again
    ids = list(package["steps"])
    for position, id in enumerate(ids):
        needs = [each for each in ids[:position] if rnd.random() < 0.4]
        if needs:
            package["steps"][id]["needs"] = {each: rnd.choice(["succeeded", "finished"]) for each in needs}
    for handler in ("on_failure", "on_cancel", "finally"):
        if rnd.random() < 0.25:
            package[handler] = [rnd.choice([{"kind": "noop"}, {"kind": "sleep", "with": {"for": "3s"}}])]
    if rnd.random() < 0.4:
        policy = rnd.choice(["wait", "skip", "fail", "cancel_oldest"])
        key = rnd.choice(["k", "k", "${{ inputs.n }}"])
        package["concurrency"] = {"key": key, "limit": rnd.randint(1, 2), "when_full": policy}
    return package


def random_step(rnd: random.Random, number: int, *, depth: int) -> dict[str, Any]:
    """A step that waits for something, sends something, or starts something."""
    if depth < 1 and rnd.random() < 0.2:
        inner = {f"g{n}": random_step(rnd, number, depth=depth + 1) for n in range(rnd.randint(1, 3))}
        group: dict[str, Any] = {"steps": inner}
        if rnd.random() < 0.4:
            group["race"] = True
        if rnd.random() < 0.3:
            group["timeout"] = "30s"
        return group
    kinds = ["noop", "sleep", "wait_signal", "approval", "signal", "emit"] + ["workflow"] * 2 * (number < PACKAGES - 1)
    kind = rnd.choice(kinds)
    step: dict[str, Any] = {"kind": kind}
    if kind == "sleep":
        step["with"] = {"for": f"{rnd.choice([2, 10])}s"}
    elif kind == "wait_signal":
        step["with"] = {"signal": rnd.choice(NAMES)}
    elif kind == "signal":
        step["with"] = {"run": rnd.choice(["${{ run.id }}", "r0", "r1"]), "signal": rnd.choice(NAMES), "data": "x"}
        step["continue_on_error"] = True
    elif kind == "emit":
        children = {id: random_emitted(rnd, number) for id in ("one", "two")[: rnd.randint(1, 2)]}
        step["with"] = {"children": children, "detached": rnd.random() < 0.3}
    elif kind == "workflow":
        step["with"] = {
            "package": f"p{rnd.randint(number + 1, PACKAGES - 1)}",
            "wait": rnd.random() < 0.75,
            "on_parent_close": rnd.choice(["cancel", "abandon"]),
        }
        if rnd.random() < 0.2:
            step["if"] = "inputs.n < 2"
            step["with"] |= {"package": f"p{number}", "inputs": {"n": "${{ inputs.n + 1 }}"}}
        if rnd.random() < 0.2:
            step["for_each"] = [1, 2]
    if kind in ("wait_signal", "approval", "workflow") and rnd.random() < 0.4:
        step["timeout"] = rnd.choice(["0s", "5s", "20s"])
    if kind in ("noop", "workflow") and rnd.random() < 0.3:
        step["retry"] = {"max_attempts": 2, "delay": "2s"}
    if rnd.random() < 0.2:
        step["continue_on_error"] = True
    if rnd.random() < 0.1:
        step["shield"] = True
    if rnd.random() < 0.2:
        step["undo"] = rnd.choice([
            {"kind": "noop", "locks": ["x"]},
            {"kind": "sleep", "with": {"for": "3s"}},
            {"kind": "wait_signal", "timeout": "5s", "with": {"signal": "go"}},
            {"kind": "noop", "retry": {"max_attempts": 2, "delay": "2s"}},
        ])  # fmt: skip
    if kind in ("noop", "emit", "workflow") and rnd.random() < 0.3:
        step["locks"] = rnd.choice(LOCKS) if kind != "workflow" else []
    if kind in ("noop", "workflow") and rnd.random() < 0.15:
        step["cache"] = {"key": rnd.choice(["same", "${{ run.id }}"]), "ttl": "20s"}
    if not step.get("locks", True):
        del step["locks"]
    return step


def random_emitted(rnd: random.Random, number: int) -> dict[str, Any]:
    """A step that another one makes."""
    step = rnd.choice([
        {"kind": "noop", "locks": ["y"], "undo": {"kind": "noop"}},
        {"kind": "wait_signal", "with": {"signal": "stop"}},
        {"kind": "approval"},
        {"kind": "workflow", "with": {"package": f"p{PACKAGES - 1}"}} if number < PACKAGES - 1 else {"kind": "noop"},
        {"steps": [{"kind": "sleep", "with": {"for": "2s"}}], "undo": {"kind": "noop"}},
    ])  # fmt: skip
    return dict(step)


@executor("emit", schema={}, mode="inline")
def emit(step: StepContext) -> str:
    """Emits the ``children`` that it is given."""
    for key, child in step.raw_input["children"].items():
        declared = dict(child)
        step.emit(key, with_=declared.pop("with", None), detached=step.raw_input["detached"], **declared)
    return "emitted"


class Family:
    """The runs of one store under a clock that only the test moves."""

    def __init__(self, packages: list[dict[str, Any]]) -> None:
        self.clock = FakeClock()
        self.connection = sqlite3.connect(":memory:", check_same_thread=False)
        self.runtime = Runtime(self.connection, clock=self.clock, plugins=load(entry_points=False))
        self.store = self.runtime.store
        self.packages = packages
        self.runtime.register(emit)
        for one in packages:
            self.runtime.register(loaded(document.read(json.dumps(one))))
        self.leases: list[StepRow] = []
        self.story: list[str] = []
        self.started = 0
        self.sent = 0
        #: An operator may let a run begin anew whose parent has ended; the parents that wait for it again do as well.
        self.retried: set[str] = set()
        #: Runs (id, execution) that were removed.
        self.removed: set[tuple[str, int]] = set()
        self.paused: set[str] = set()
        self.keys: list[tuple[str, str]] = []

    def tell(self, text: str) -> None:
        self.story.append(text)

    # -- moves

    def start(self, rnd: random.Random) -> None:
        name = "p0" if self.started == 0 else f"p{rnd.randrange(PACKAGES)}"
        self.tell(f"start r{self.started} of {name}")
        try:
            self.runtime.start(name, run_id=f"r{self.started}")
            self.started += 1
        except NotAllowed:
            self.tell("  refused")

    def lease(self, slots: int) -> None:
        with self.runtime.transaction() as work:
            tick(work, steady=self.clock.steady())
            settle(work)
            rows = lease(work, Wanted(worker="w", slots=slots, until=self.clock.steady() + 30_000)).steps
        self.tell(f"lease {[(row.run, row.path, row.phase) for row in rows]}")
        self.leases += rows

    def report(self, row: StepRow, *, fail: bool = False) -> None:
        self.leases.remove(row)
        if row.phase != "run":
            outcome: Any = decide(self.runtime.bench, row)
        elif fail:
            outcome = Failed(error=Error(code="boom", message="it broke"))
        else:
            outcome = execute_here(self.runtime.bench, row, "w").outcome
        self.tell(f"report {row.run}:{row.path}:{row.phase} {type(outcome).__name__}")
        with self.runtime.transaction() as work:
            report(work, step=row.id, epoch=row.epoch, worker="w", outcome=outcome)

    def move(self, rnd: random.Random) -> None:
        chance = rnd.random()
        if chance < 0.35:
            self.lease(rnd.randint(1, 4))
        elif chance < 0.72 and self.leases:
            self.report(rnd.choice(self.leases), fail=rnd.random() < 0.1)
        elif chance < 0.76:
            self.tell("crash")
            self.leases.clear()
            self.clock.advance(31_000)
        elif chance < 0.82:
            self.clock.advance(1000 * rnd.choice([1, 3, 10, 40]))
            self.tell("time")
        elif chance < 0.89:
            self.signal(rnd)
        elif chance < 0.92:
            self.answer(rnd)
        elif chance < 0.945:
            self.cancel(rnd)
        elif chance < 0.96:
            self.retry(rnd)
        elif chance < 0.97:
            self.pause(rnd)
        elif chance < 0.975:
            self.pause_queue(rnd)
        elif chance < 0.985:
            self.remove(rnd)
        else:
            self.start(rnd)

    def live(self) -> list[RunRow]:
        return [run for run in self.runs() if run.ended_at is None]

    def signal(self, rnd: random.Random) -> None:
        if live := self.live():
            run, name = rnd.choice(live), rnd.choice(NAMES)
            self.sent += 1
            key = f"key-{self.sent}"
            self.tell(f"signal {run.id} {name} {self.sent}")
            assert self.runtime.signal(run.id, name, self.sent, key=key)
            with suppress(NotAllowed):
                # It may have ended by that, or goes on as its next execution.
                self.must(not self.runtime.signal(run.id, name, self.sent, key=key), f"{key} came twice")

    def answer(self, rnd: random.Random) -> None:
        asking = [(run, row) for run in self.live() for row in self.rows(run) if row.awaits == "approval"]
        if asking:
            run, row = rnd.choice(asking)
            self.tell(f"answer {run.id} {row.path}")
            self.runtime.approve(run.id, row.path, approved=rnd.random() < 0.7)

    def cancel(self, rnd: random.Random) -> None:
        if live := self.live():
            run = rnd.choice(live)
            path = "" if rnd.random() < 0.5 else rnd.choice([row.path for row in self.rows(run)])
            force = rnd.random() < 0.15
            self.tell(f"cancel {run.id} {path or '.'}{' by force' if force else ''}")
            self.runtime.cancel(run.id, path, reason="because", by="test", force=force)

    def retry(self, rnd: random.Random) -> None:
        newest = {run.id: run for run in self.runs()}
        ended = [run for run in newest.values() if run.status in ("failed", "canceled")]
        if ended:
            run = rnd.choice(ended)
            failed = [row.path for row in self.rows(run) if row.status in ("failed", "canceled")]
            path = "" if rnd.random() < 0.6 else rnd.choice(failed)
            self.tell(f"retry {run.id} {path or '.'}")
            try:
                self.runtime.retry(run.id, path)
                self.retried |= {run.id, *self.above(run)}
            except (NotAllowed, RunExists) as wrong:
                self.tell(f"  {wrong}")

    def above(self, run: RunRow) -> list[str]:
        """The run whose step started a run, the one that started that, and so on."""
        parent = None if run.parent_run is None else self.store.run_at(run.parent_run)
        return [] if parent is None else [parent.id, *self.above(parent)]

    def pause(self, rnd: random.Random) -> None:
        if live := self.live():
            run = rnd.choice(live)
            self.tell(f"pause or resume {run.id}")
            self.runtime.pause(run.id, paused=rnd.random() < 0.5)

    def pause_queue(self, rnd: random.Random) -> None:
        name = rnd.choice(QUEUES)
        self.paused ^= {name}
        self.tell(f"queue {name} {'pauses' if name in self.paused else 'goes on'}")
        self.runtime.pause_queue(name, paused=name in self.paused)

    def remove(self, rnd: random.Random) -> None:
        runs = self.runs()
        live = {run.id for run in runs if run.ended_at is None}
        if ended := [run for run in runs if run.ended_at is not None]:
            run = rnd.choice(ended)
            only = run.execution if run.id in live or rnd.random() < 0.5 else None
            self.tell(f"remove {run.id}@{only or 'all'}")
            self.removed |= {
                (each.id, each.execution) for each in runs if each.id == run.id and only in (None, each.execution)
            }
            self.runtime.remove(run.id, execution=only)

    def finish(self) -> None:
        """From here on everybody behaves: every run must end."""
        self.tell("-- finish")
        self.leases.clear()
        for name in self.paused:
            self.runtime.pause_queue(name, paused=False)
        self.clock.advance(31_000)
        for _ in range(5_000):
            live = self.live()
            if not live:
                return
            for run in live:
                if run.paused:
                    self.runtime.pause(run.id, paused=False)
            self.lease(16)
            if self.leases:
                for row in list(self.leases):
                    self.report(row)
            elif (timer := self.store.next_timer()) is not None:
                self.clock.advance(max(0, timer - self.clock.now()))
            else:
                self.bring()
            self.check()
        raise AssertionError(self.explain("not every run ends"))

    def bring(self) -> None:
        """What the first step waits for that nobody else would bring."""
        for run in self.live():
            for row in self.rows(run):
                if row.awaits == "approval":
                    self.tell(f"answer {run.id} {row.path}")
                    self.runtime.approve(run.id, row.path)
                    return
                if row.awaits:
                    self.tell(f"bring {run.id} {row.awaits}")
                    self.runtime.signal(run.id, row.awaits.removeprefix("signal:"), "brought")
                    return

    # -- what must hold

    def runs(self) -> list[RunRow]:
        return list(reversed(self.store.runs(RunFilter(limit=10**6))))

    def rows(self, run: RunRow) -> list[StepRow]:
        return self.store.tree(run.key)

    def check(self) -> None:
        runs = {run.key: run for run in self.runs()}
        steps = {row.id: row for run in runs.values() for row in self.rows(run)}
        for run in runs.values():
            self.check_run(run, runs, steps)
        for row in steps.values():
            self.check_step(row, runs)
        self.check_slots(list(runs.values()))
        self.check_locks(list(steps.values()))
        self.check_traces(set(runs))

    def check_run(self, run: RunRow, runs: dict[int, RunRow], steps: dict[int, StepRow]) -> None:
        own = [row for row in steps.values() if row.run == run.key]
        root = next(row for row in own if row.path == "")
        done = sum(row.status in TERMINAL for row in own)
        self.must((run.steps, run.done) == (len(own), done), f"run {run.id} counts {run.steps},{run.done}")
        self.must((run.ended_at is not None) == (root.status in TERMINAL), f"run {run.id} is {run.status}")
        if run.ended_at is not None:
            self.must(done == len(own), f"run {run.id} has ended, and a step of it is alive")
        successors = [each for each in runs.values() if (each.id, each.execution) == (run.id, run.execution + 1)]
        gone = (run.id, run.execution + 1) in self.removed
        self.must(
            run.status != "continued" or bool(successors) or gone, f"run {run.id} continued, and has no successor"
        )
        if run.on_parent_close == "cancel" and run.ended_at is None and run.parent_run is not None:
            above = runs[run.parent_run]
            ending = root.phase in ("undo", "handler", "outputs", "finally")
            stops = root.cancel is not None or ending or above.ended_at is None or run.id in self.retried
            self.must(stops, f"run {run.id} goes on without its parent {above.id}")
        unread: dict[str, int] = {}
        read: dict[int, str] = {}
        for signal in self.store.signals(run.key, limit=10**6):
            if signal.taken_by is None:
                unread.setdefault(signal.name, signal.seq)
            else:
                self.must(signal.name not in unread, f"signal {signal.seq} was read before an earlier one")
                # One whose step was undone and begins anew reads another one.
                read[signal.taken_by] = signal.data
        for id, text in read.items():
            reader = steps.get(id)
            if reader is not None and reader.status == "succeeded":
                self.must(reader.result == text, f"{reader.path} has {reader.result}, not {text}")
        for row in own:
            if row.awaits and row.awaits.startswith("signal:"):
                name = row.awaits.removeprefix("signal:")
                self.must(name not in unread, f"{row.path} waits for {name}, which is there")

    def check_step(self, row: StepRow, runs: dict[int, RunRow]) -> None:
        self.must(row.awaits is None or row.status == "waiting", f"{row.path} awaits and is {row.status}")
        if row.status == "waiting" and row.phase == "child":
            child = runs[json.loads(row.wait or "")["key"]]
            self.must(child.ended_at is None, f"{row.path} waits for {child.id}, which has ended")
            self.must(child.parent == row.id, f"{row.path} waits for {child.id}, which is not its own")

        key = None if row.wait is None else json.loads(row.wait).get("key")
        if key in runs and row.status in TERMINAL and row.cancel is None:
            child = runs[key]
            late = row.status == "failed" and json.loads(row.error or "{}")["code"] == "timeout"
            if late:
                events = self.store.events(row.run, limit=10**6, step=row.path)
                late = any(event.kind == "step.late" for event in events)
            as_it_did = child.status == row.status or late
            told = as_it_did or child.id in self.retried or child.on_parent_close == "abandon"
            self.must(told, f"{row.path} {row.status}, and its run {child.id} {child.status}")

    def check_slots(self, runs: list[RunRow]) -> None:
        going: dict[str, list[RunRow]] = defaultdict(list)
        for run in runs:
            if run.slot is not None and run.ended_at is None:
                going[run.slot].append(run)
        for slot, those in going.items():
            name = slot.partition("/")[0]
            limit = next(one["concurrency"]["limit"] for one in self.packages if one["name"] == name)
            running = sum(run.status == "running" for run in those)
            self.must(running <= limit, f"{running} runs of {slot} go on, and {limit} may")
            self.must(running == limit or running == len(those), f"{slot} has a free place, and a run waits for it")

    def check_locks(self, rows: list[StepRow]) -> None:
        """Who holds a lock is leased and has all of its own; who waits for one waits for one that somebody holds."""
        held = {(lock.name, lock.run_id, lock.execution, lock.path) for lock in self.store.locks()}
        ids = {run.key: (run.id, run.execution) for run in self.runs()}
        names = {row.id: set(terms_of(row).get("locks") or ()) for row in rows if row.phase == "run"}
        leased = [row for row in rows if row.status == "running" and row.phase == "run"]
        wanted = {(name, *ids[row.run], row.path) for row in leased for name in names[row.id]}
        self.must(held == wanted, f"{held} are held, {wanted} are leased")
        with self.store.transaction() as tx:
            free = tx.free_names()
            waiting = {step for name in [*free, *(name for name, *_ in held)] for step in tx.lock_waiters(name, 1000)}
        parked = {row.id for row in rows if row.parked == "lock"}
        self.must(waiting == parked, f"{waiting} wait for locks, {parked} are parked for one")
        offered = {
            name for row in rows if row.status == "ready" and row.parked != "lock" for name in names.get(row.id, ())
        }
        self.must(offered >= set(free), f"of {free}, which nobody holds, nobody is told")

    def check_traces(self, keys: set[int]) -> None:
        """No table knows a run that is gone."""
        for table, column in OF_RUNS.items():
            found = {key for (key,) in self.connection.execute(f"select distinct {column} from {table}")}
            self.must(found <= keys, f"{table} tells of runs {found - keys}")

    def must(self, holds: bool, what: str) -> None:
        assert holds, self.explain(what)

    def explain(self, what: str) -> str:
        packages = json.dumps(self.packages, indent=1)
        rows = "\n".join(
            f"{run.key} {run.id}/{run.execution} {run.package} {run.status} parent={run.parent} paused={run.paused}\n"
            + "\n".join(
                f"    {row.id} {row.path or '.'}: {row.status}/{row.phase} {row.reason or ''} {row.awaits or ''} "
                f"parked={row.parked} alive={row.alive} cancel={row.cancel} wait={row.wait}"
                for row in self.rows(run)
            )
            for run in self.runs()
        )
        return f"{what}\n{packages}\n" + "\n".join(self.story[-60:]) + f"\n{rows}"
