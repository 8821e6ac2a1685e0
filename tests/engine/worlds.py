"""Random packages and a driver that plays worker, clock, crash and operator against a real store.

``check`` states what must hold between any two transactions; it reads rows only and shares no code with the engine's
rules but the plan.
"""

from __future__ import annotations

import itertools
import json
import random
from typing import Any

from yamlflow import document
from yamlflow.deciding import decide
from yamlflow.engine import commands
from yamlflow.engine.follow import settle
from yamlflow.engine.leasing import Wanted, lease
from yamlflow.engine.retry import retry
from yamlflow.engine.starts import Start
from yamlflow.errors import NotAllowed
from yamlflow.lookup import Bench
from yamlflow.outcome import Emitted, Error, Failed, Succeeded, Waiting
from yamlflow.packages import Loaded, Plans
from yamlflow.plan import Plan, child_path
from yamlflow.rows import StepRow, terms_of
from yamlflow.runtime import Runtime
from yamlflow.scheduler import tick
from yamlflow.spec import package_from
from yamlflow.store.sqlite import SqliteStore
from yamlflow.testing import FakeClock

TERMINAL = {"succeeded", "failed", "skipped", "canceled"}
LOCKS = [["x"], ["y"], ["x", "y"], ["of ${{ run.id }}", "x"]]
CONDITIONS = ["succeeded", "failed", "skipped", "canceled", "finished", "not_failed", ["failed", "skipped"]]


def random_package(rnd: random.Random) -> dict[str, Any]:
    """A package with nested groups, loops, races and handlers."""
    body = random_group(rnd, depth=0)
    return {"yamlflow": 1, "name": "world", **body, "queues": {"narrow": {"max_in_flight": 2}}}


def random_group(rnd: random.Random, *, depth: int) -> dict[str, Any]:
    """The keys of a group."""
    count = rnd.randint(1, 5 if depth == 0 else 3)
    race = depth > 0 and rnd.random() < 0.15
    ids = [f"{'abcde'[i]}{depth}" for i in range(count)]
    group: dict[str, Any] = {}
    if not race and rnd.random() < 0.25:
        group["steps"] = [random_step(rnd, depth=depth) for _ in ids]
    else:
        steps = {id: random_step(rnd, depth=depth) for id in ids}
        if not race:
            for position, id in enumerate(ids):
                add_needs(rnd, steps[id], ids[:position])
        group["steps"] = steps
    if race:
        group["race"] = rnd.choice([True, "finished"])
    if rnd.random() < 0.2:
        group["fail_fast"] = True
    if rnd.random() < 0.2:
        group["max_parallel"] = rnd.randint(1, 2)
    for handler in ("on_failure", "on_cancel", "finally"):
        if rnd.random() < 0.2:
            group[handler] = [{"kind": "noop"} for _ in range(rnd.randint(1, 2))]
    if rnd.random() < 0.2 and ("on_failure" in group or "on_cancel" in group):
        group["recover"] = True
    if rnd.random() < 0.15:
        group["timeout"] = "100s"
    if rnd.random() < 0.2:
        group["outputs"] = {"answer": "${{ 42 }}"}
    return group


def random_step(rnd: random.Random, *, depth: int) -> dict[str, Any]:
    """A call or a group, sometimes in a loop."""
    step: dict[str, Any] = {"kind": "noop"}
    if depth < 2 and rnd.random() < 0.3:
        step = random_group(rnd, depth=depth + 1)
    elif rnd.random() < 0.25:
        step["retry"] = {"max_attempts": rnd.randint(1, 3), "delay": "5s"}
    if "kind" in step and rnd.random() < 0.2:
        step["queue"] = "narrow"
    if rnd.random() < 0.2:
        step["if"] = rnd.choice(["true", "false"])
    if rnd.random() < 0.15:
        step["continue_on_error"] = True
    if rnd.random() < 0.1:
        step["shield"] = True
    if rnd.random() < 0.1 and "kind" in step:
        step["dedup_key"] = rnd.choice(["k1", "k2"])
    if rnd.random() < 0.2:
        step["undo"] = random_undo(rnd)
    if rnd.random() < 0.1:
        step["cache"] = {"key": rnd.choice(["same", "${{ run.id }}"]), "ttl": "2m"}
    if rnd.random() < 0.25 and "kind" in step:
        step["locks"] = rnd.choice(LOCKS)
    loop = rnd.random()
    if loop < 0.12:
        items = [rnd.randint(0, 9) for _ in range(rnd.randint(0, 4))]
        step["for_each"] = rnd.choice(
            [items, {"items": items, "max_parallel": 1, "tolerate": rnd.choice([0, 1, "50%"])}]
        )
    elif loop < 0.16:
        step["matrix"] = {"x": [1, 2], "y": ["p", "q"]}
    elif loop < 0.2:
        step["repeat"] = {"until": rnd.choice(["iteration >= 2", "false"]), "every": "1s", "max": 3}
    return step


def random_undo(rnd: random.Random) -> dict[str, Any]:
    """What takes a step back: a call, sometimes in a loop or passed by; or a group that may fail in its midst."""
    undo = rnd.choice([
        {"kind": "noop"},
        {"kind": "noop", "retry": {"max_attempts": 2, "delay": "5s"}},
        {"kind": "noop", "for_each": [1, 2], "locks": ["x"]},
        {"kind": "noop", "if": "false"},
        {"steps": [{"kind": "noop", "undo": {"kind": "noop"}}, {"kind": "noop"}], "finally": [{"kind": "noop"}]},
    ])  # fmt: skip
    return {**undo, "queue": "narrow"} if "kind" in undo and rnd.random() < 0.3 else undo


def add_needs(rnd: random.Random, step: dict[str, Any], before: list[str]) -> None:
    """Needs on some of the steps declared before."""
    chosen = [id for id in before if rnd.random() < 0.5]
    if not chosen:
        return
    if rnd.random() < 0.5:
        step["needs"] = chosen
    else:
        step["needs"] = {id: rnd.choice(CONDITIONS) for id in chosen}
    if rnd.random() < 0.3:
        step["join"] = rnd.choice(["any", rnd.randint(1, len(chosen))])


class World:
    """One run on a real store under a clock that only the test moves."""

    def __init__(self, package: dict[str, Any], *, store: Any = None) -> None:
        self.clock = FakeClock()
        self.runtime = Runtime(store or SqliteStore(), clock=self.clock)
        self.store = self.runtime.store
        self.plans: Plans = self.runtime.plans
        self.bench: Bench = self.runtime.bench
        read = document.read(json.dumps(package))
        parsed = package_from(read.data)
        self.one = Loaded(document=read, package=parsed, plan=Plan(parsed))
        self.plans.add(self.one)
        self.leases: list[StepRow] = []
        self.ended: dict[int, tuple[str, str | None]] = {}
        self.story: list[str] = []
        #: An operator's retry lets a step begin anew whose dependents have gone on already.
        self.retried = False
        #: A cancel by force leaves handlers out.
        self.forced = False
        with self.transact() as work:
            row = self.one.row(self.clock.now())
            self.run, _ = commands.start(work, Start(package=row, plan=self.one.plan, run_id="run", inputs={}))

    def transact(self) -> Any:
        return commands.transact(self.store, self.plans, self.clock)

    def tell(self, text: str) -> None:
        self.story.append(text)

    # -- moves

    def lease(self, slots: int) -> None:
        with self.transact() as work:
            tick(work, steady=self.clock.steady())
            settle(work)
            rows = lease(work, Wanted(worker="w", slots=slots, until=self.clock.steady() + 30_000)).steps
        for row in rows:
            self.tell(f"lease {row.path}:{row.phase}")
            assert_needs_hold(self, row)
        self.leases += rows

    def report(self, row: StepRow, outcome: Any) -> bool:
        self.leases.remove(row)
        self.tell(f"report {row.path}:{row.phase} {type(outcome).__name__}")
        with self.transact() as work:
            return commands.report(work, step=row.id, epoch=row.epoch, worker="w", outcome=outcome)

    def outcome(self, rnd: random.Random, row: StepRow) -> Any:
        if row.phase != "run":
            return decide(self.bench, row)
        chance = rnd.random()
        if chance < 0.55:
            return Succeeded(result={"n": row.id})
        if chance < 0.62:
            emitted = (Emitted(key="one", definition={"kind": "noop", "undo": random_undo(rnd)}),
                       Emitted(key="two", definition={"kind": "noop", "needs": ["one"]}))  # fmt: skip
            return (
                Succeeded(result=1, emitted=emitted, detached=rnd.random() < 0.5)
                if "/one" not in row.path
                else Succeeded()
            )
        if chance < 0.67:
            return Waiting(until=self.clock.now() + 10_000)
        return Failed(error=Error(code="boom", message="it broke", permanent=rnd.random() < 0.3))

    def crash(self) -> None:
        """Every worker dies; what it held runs out."""
        self.tell("crash")
        self.leases.clear()
        self.clock.advance(31_000)

    def move(self, rnd: random.Random) -> None:
        chance = rnd.random()
        if chance < 0.45:
            self.lease(rnd.randint(1, 4))
        elif chance < 0.85 and self.leases:
            row = rnd.choice(self.leases)
            self.report(row, self.outcome(rnd, row))
        elif chance < 0.88:
            self.crash()
        elif chance < 0.92:
            self.clock.advance(1000 * rnd.choice([1, 5, 20, 120]))
            self.tell("time")
        elif chance < 0.95:
            self.cancel(rnd)
        elif chance < 0.98:
            self.retry(rnd)
        else:
            self.pause(rnd)

    def cancel(self, rnd: random.Random) -> None:
        path = "" if rnd.random() < 0.4 else rnd.choice([row.path for row in self.rows()])
        force = rnd.random() < 0.15
        self.forced = self.forced or force
        self.tell(f"cancel {path or '.'}{' by force' if force else ''}")
        with self.transact() as work:
            commands.cancel(work, work.run(self.run.key), path, reason="because", by="test", force=force)

    def retry(self, rnd: random.Random) -> None:
        failed = [row.path for row in self.rows() if row.status in ("failed", "canceled") and "@" not in row.path]
        path = rnd.choice(failed) if failed else ""
        self.tell(f"retry {path or '.'}")
        before = {row.path: row for row in self.rows()}
        try:
            with self.transact() as work:
                retry(work, work.run(self.run.key), path, by="test")
        except NotAllowed:
            return
        self.retried = True
        for row in self.rows():
            if before.get(row.path) and before[row.path].status != row.status:
                self.ended.pop(row.id, None)

    def pause(self, rnd: random.Random) -> None:
        run = self.store.run_at(self.run.key)
        if run.ended_at is None:
            self.tell("pause or resume")
            with self.transact() as work:
                commands.pause(work, work.run(run.key), paused=rnd.random() < 0.5)

    def rows(self) -> list[StepRow]:
        return self.store.tree(self.run.key)

    def finish(self, rnd: random.Random) -> None:
        """From here on everybody behaves: the run must end."""
        self.tell("-- finish")
        run = self.store.run_at(self.run.key)
        if run.paused and run.ended_at is None:
            with self.transact() as work:
                commands.pause(work, work.run(run.key), paused=False)
        self.leases.clear()
        self.clock.advance(31_000)
        for _ in range(400):
            if self.store.run_at(self.run.key).ended_at is not None:
                break
            self.lease(8)
            for row in list(self.leases):
                self.report(row, Succeeded(result=1) if row.phase == "run" else decide(self.bench, row))
            if not self.leases:
                self.clock.advance(11_000)
            self.check()
        run = self.store.run_at(self.run.key)
        assert run.ended_at is not None, self.explain("the run does not end")

    # -- what must hold

    def check(self) -> None:
        rows = self.rows()
        by_id = {row.id: row for row in rows}
        run = self.store.run_at(self.run.key)
        for row in rows:
            if row.id in self.ended:
                assert self.ended[row.id] == (row.status, row.result), self.explain(f"{row.path} ended twice")
            if row.status in TERMINAL:
                self.ended[row.id] = (row.status, row.result)
        for row in rows:
            self.check_counters(row, [each for each in rows if each.parent == row.id])
            if row.status not in TERMINAL and row.parent is not None:
                assert by_id[row.parent].status not in TERMINAL, self.explain(f"{row.path} is alive in an ended group")
        done = sum(row.status in TERMINAL for row in rows)
        assert (run.steps, run.done) == (len(rows), done), self.explain(
            f"run counts {run.steps},{run.done} are {len(rows)},{done}"
        )
        in_flight = sum(row.status == "running" and row.queue == "world/narrow" for row in rows)
        assert in_flight <= 2, self.explain("the queue is wider than it may be")
        self.check_locks(rows)
        events = self.store.events(self.run.key, limit=10**6)
        assert [event.seq for event in events] == list(range(1, len(events) + 1))

    def check_locks(self, rows: list[StepRow]) -> None:
        """A lock has one holder, who is leased; what waits, waits for a name that somebody else holds."""
        held = {lock.name: lock for lock in self.store.locks()}
        with self.store.transaction() as tx:
            free = tx.free_names()
            waiting = {step for name in [*held, *free] for step in tx.lock_waiters(name, 1000)}
        wanted = {row.path: set(terms_of(row).get("locks") or ()) for row in rows if row.phase == "run"}
        # Of many that wait for a name that was freed only the first are offered again.
        offered = {name for row in rows if row.status == "ready" and row.parked != "lock"
                   for name in wanted.get(row.path, ())}  # fmt: skip
        assert offered >= set(free), self.explain("a step waits for a lock that nobody holds")
        leased = {row.path for row in rows if row.status == "running" and row.phase == "run"}
        assert {(name, lock.path) for name, lock in held.items()} == {
            (name, path) for path in leased for name in wanted[path]
        }, self.explain(f"{held} are held")
        parked = {row.id for row in rows if row.parked == "lock"}
        assert waiting == parked, self.explain(f"{waiting} wait for locks, {parked} are parked for one")

    def check_counters(self, row: StepRow, children: list[StepRow]) -> None:
        if row.status in TERMINAL or not children:
            return
        own = [each for each in children if "@" not in each.path[len(row.path) :]]
        alive = sum(each.status not in TERMINAL for each in (own if row.phase in ("steps", "children") else children))
        assert row.alive == alive, self.explain(f"{row.path or '.'} counts {row.alive} alive, there are {alive}")
        if row.phase == "steps":
            limit = self.bench_node(row).max_parallel
            going = sum(each.due is not None and each.parked != "slot" and each.status not in TERMINAL for each in own)
            assert limit is None or going <= limit or self.retried, self.explain(
                f"{row.path} has {going} children going, may have {limit}"
            )

    def bench_node(self, row: StepRow) -> Any:
        with self.transact() as work:
            return work.node(row)

    def explain(self, what: str) -> str:
        rows = "\n".join(
            f"  {row.path or '.'}: {row.status}/{row.phase} {row.reason or ''} parked={row.parked} alive={row.alive} "
            f"met={row.met} missed={row.missed} cancel={row.cancel}"
            for row in self.rows()
        )
        package = json.dumps(self.one.document.data, indent=1)
        return f"{what}\n{package}\n" + "\n".join(self.story[-60:]) + f"\n{rows}"


def assert_needs_hold(world: World, row: StepRow) -> None:
    """A step starts only when everything it needs is committed."""
    if row.definition is not None or row.path.endswith("]") or row.phase not in ("gate", "run"):
        return
    node = world.bench_node(row)
    parent = next(each for each in world.rows() if each.id == row.parent) if row.parent is not None else None
    held = 0
    for need in node.needs:
        other = next(each for each in world.rows() if each.path == child_path(parent.path, need.step))
        if other.status in TERMINAL and (other.ended or 0) <= (row.due or 0):
            held += bool(meaning(world, other) & need.ends)
    assert held >= node.required or world.retried, world.explain(
        f"{row.path} started with {held} of {node.required} needs"
    )


def meaning(world: World, row: StepRow) -> set[str]:
    """What an ended step counts as, said again independently of the engine."""
    if row.status == "skipped" and row.reason in ("failed", "canceled"):
        return {row.reason}
    if row.status == "failed" and world.bench_node(row).step.continue_on_error:
        return {"failed", "succeeded"}
    return {row.status}


def assert_ended_right(world: World) -> None:
    """Every group's end, worked out anew from its children's ends."""
    rows = world.rows()
    for row in rows:
        if not row.children or row.status not in TERMINAL:
            continue
        children = [each for each in rows if each.parent == row.id and "@" not in each.path[len(row.path) :]]
        handlers = {
            each.path.rpartition("@")[2]: each for each in rows if each.parent == row.id and each not in children
        }
        expected = expected_end(world, row, children, handlers)
        assert row.status == expected, world.explain(f"{row.path or '.'} is {row.status}, should be {expected}")
    fired = [event.step for event in world.store.events(world.run.key, limit=10**6) if event.kind == "handler.fired"]
    if not world.retried:
        assert len(fired) == len(set(fired)), world.explain("a handler ran twice")


def expected_end(world: World, row: StepRow, children: list[StepRow], handlers: dict[str, StepRow]) -> str:
    """What a group should have come to."""
    node = world.bench_node(row)
    verdict = plain_verdict(world, row, node, children)
    if row.cancel is not None and "force" in json.loads(row.cancel):
        # Its ``finally`` may have failed before, and what it did was being taken back.
        late = "finally" in handlers and handlers["finally"].status == "failed" and row.status == "failed"
        return "failed" if late else verdict
    fault = json.loads(row.fault or "null")
    if row.reason == "recovered" and fault and (fault["code"], fault["step"]) == ("timeout", row.path):
        verdict = "failed"
    group = node.group
    if group is None:
        return verdict
    called = {"failed": ("on_failure", group.on_failure), "canceled": ("on_cancel", group.on_cancel)}.get(verdict)
    if called and called[1] is not None:
        name = called[0]
        assert name in handlers, world.explain(f"{row.path}@{name} did not run")
        if group.recover and handlers[name].status == "succeeded":
            verdict = "succeeded"
    wrong = {"on_failure", "on_cancel"} & set(handlers) - ({called[0]} if called else set())
    assert not wrong, world.explain(f"{row.path} ran {wrong}")
    assert (group.final is not None) == ("finally" in handlers), world.explain(f"{row.path}@finally")
    if group.final is not None and handlers["finally"].status != "succeeded":
        verdict = "failed"
    return verdict


def plain_verdict(world: World, row: StepRow, node: Any, children: list[StepRow]) -> str:
    """How the children's ends stand, before handlers."""
    race = node.group.race if node.group else None
    error = json.loads(row.error or "null") if row.status == "failed" else None
    if row.cancel is None and any(child.reason == "timeout" for child in children):
        return "failed"
    if error and error["code"] in ("timeout", "repeat_exhausted", "limit_exceeded") and error["step"] == row.path:
        return "failed"
    if race == "success" and row.winner is not None:
        return "succeeded"
    if race == "finished" and row.winner is not None:
        # It ends as its winner did; a shielded loser may still have gone on and failed.
        children = [child for child in children if child.path == child_path(row.path, row.winner)]
    failures = sum(
        child.status == "failed" and not world.bench_node(child).step.continue_on_error for child in children
    )
    if failures > tolerated(node, len(children)):
        return "failed"
    if row.cancel is not None or any(child.status == "canceled" and child.reason == "user" for child in children):
        return "canceled"
    return "succeeded"


def tolerated(node: Any, total: int) -> int:
    """How many children of a loop may fail."""
    amount, percent = getattr(node.loop, "tolerate", (0, False))
    return int(total * amount / 100) if percent else int(amount)


def is_done(world: World, row: StepRow) -> bool:
    """Whether a step did something of its own: succeeded, or emitted and saw what it emitted fail."""
    node = world.bench_node(row)
    if node.loop is not None or row.reason in ("duplicate", "cached"):
        return False
    return row.status == "succeeded" or (bool(row.children) and node.call is not None and row.result is not None)


def undoes(row: StepRow) -> bool:
    """Whether a group's end called for its steps to be undone."""
    return row.status in ("failed", "canceled") or row.reason == "recovered"


def assert_undone_right(world: World) -> None:
    """Each done step with an undo under a group that ended badly was undone once, by the nearest such group; none else."""
    rows = world.rows()
    undos = {row.path.removesuffix("@undo"): row for row in rows if row.path.endswith("@undo")}
    groups = {row.path: row for row in rows if world.bench_node(row).group is not None and undoes(row)}
    expected = {}
    for row in rows:
        if is_done(world, row) and world.bench_node(row).step.undo is not None:
            within = [path for path in groups if is_within(path, row.path)]
            if within:
                expected[row.path] = groups[max(within, key=len)].id
    found = {path: undo.parent for path, undo in undos.items()}
    if world.forced:
        # Groups that were canceled by force undo nothing, and leave off; those around them may be retried.
        assert found.keys() <= expected.keys(), world.explain(f"undone: {found}, should be {expected}")
    else:
        assert found == expected, world.explain(f"undone: {found}, should be {expected}")
    assert_last_done_first_undone(world, rows, undos)


def is_within(group: str, path: str) -> bool:
    """Whether a path is one of a step below a group, not counting its handlers."""
    rest = path[len(group) :]
    return path != group and path.startswith(group) and "@" not in rest and (not group or rest[0] in "/[")


def assert_last_done_first_undone(world: World, rows: list[StepRow], undos: dict[str, StepRow]) -> None:
    """The undos of one group follow one another: the latest completion first, each after the end of the one before."""
    by_path = {row.path: row for row in rows}
    events = world.store.events(world.run.key, limit=10**6)
    fired = {event.step: event.seq for event in events if event.kind == "undo.fired"}
    for group in {undo.parent for undo in undos.values()}:
        ordered = sorted((undo for undo in undos.values() if undo.parent == group), key=lambda undo: undo.id)
        ends = [by_path[undo.path.removesuffix("@undo")].ended or 0 for undo in ordered]
        assert ends == sorted(ends, reverse=True), world.explain("undone in the wrong order")
        # One that somebody canceled in its turn may have fired only before a retry.
        ran = [undo for undo in ordered if undo.path in fired and undo.reason != "user"]
        for before, after in itertools.pairwise(ran):
            assert fired[after.path] > (before.ended or 0), world.explain(f"{after.path} overtook {before.path}")
    if not world.retried:
        count = sum(event.kind == "undo.fired" for event in events)
        assert count == len(fired), world.explain("a step was undone twice")
