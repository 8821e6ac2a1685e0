"""What must hold after every commit of anybody, read from the rows and from the log.

Nothing here asks the engine what is right: the rules are said again, over what was written. Of a package only its
declaration is known (``plan``): what a step needs, how many places a queue has. The rules look at what a commit changed
and at what that touches, never at the whole store.

Time. Leases are held against the steady clock, which is one for all. Token buckets are filled by wall clocks, of which every
process has its own, and which may be set. What holds for a bucket then is this: its own clock is the latest wall clock by
which a token was spent (or by which it was made), it never goes back, and between two moments of *that* clock no more calls
begin than ``burst`` and what ``rate`` gives for the time between them. A wall clock that is set an hour ahead fills a bucket
once, to ``burst``, and no more is given until that hour has passed; a clock that goes back gives nothing.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from tests.engine.worlds import assert_ended_right, assert_undone_right
from yamlflow.rows import EventRow, QueueRow, RunRow, SignalRow, StepRow, terms_of
from yamlflow.spec import Group
from yamlflow.store.rules import broken

from .world import BOOTED, Broken, Process

if TYPE_CHECKING:
    from .play import Play

TERMINAL = frozenset({"succeeded", "failed", "skipped", "canceled"})
ENDED = frozenset({"run.succeeded", "run.failed", "run.canceled", "run.continued"})
OUTCOMES = frozenset({"step.succeeded", "step.failed", "step.skipped", "step.canceled"})
#: Tables whose rows belong to a run, with the column that says to which.
OF_RUNS = {"steps": "run", "events": "run", "signals": "run", "artifacts": "run", "locks": "run", "removals": "run"}
#: What the kind ``work`` says of its lease, in its result and in its error.
EPOCH, BOOM = re.compile(r'^{"epoch":(\d+)}$'), re.compile(r'"message": ?"boom (\d+)"')
#: Faults of the engine, or of the store, that a step must not fail for.
OURS = re.compile(r"could not be recorded|Store(Unavailable|Error)|(Assertion|Key|Type|Attribute|Name|Index)Error")
STEP = ", ".join(StepRow._fields)
RUN = ", ".join(RunRow._fields)
SIGNAL = ", ".join(SignalRow._fields)


def marks(count: int) -> str:
    return ", ".join("?" * count)


class View:
    """One run, as the rules of ``tests/engine/worlds.py`` look at it."""

    def __init__(self, rules: Rules, run: RunRow) -> None:
        self._rules = rules
        self.run = run
        self.store = rules.world.store
        self.retried = rules.retries[run.key] > 0
        self.forced = run.key in rules.forced

    def rows(self) -> list[StepRow]:
        return sorted(self._rules.of_run[self.run.key].values())

    def bench_node(self, row: StepRow) -> Any:
        return self._rules.node(row)

    def explain(self, what: str) -> str:
        return f"{self.run.id}@{self.run.execution}: {what}"


class Rules:
    """What was seen so far, and what may follow."""

    def __init__(self, play: Play) -> None:
        self.play = play
        self.world = play.world
        self._db = self.world.store._db
        self.runs: dict[int, RunRow] = {}
        self.steps: dict[int, StepRow] = {}
        self.of_run: dict[int, dict[int, StepRow]] = defaultdict(dict)
        self.ids: dict[tuple[int, str], int] = {}
        self.last_event: dict[int, int] = {}
        self.signals: dict[int, SignalRow] = {}
        self.keyed: dict[tuple[str, str], int] = {}
        #: Who leased a step, and under which epoch.
        self.holders: dict[int, tuple[Process, int]] = {}
        #: The highest epoch that a step was ever leased under.
        self.epochs: dict[int, int] = {}
        #: What the number of the next attempt must be.
        self.attempts: dict[int, int] = {}
        #: The lease under which a call works, as the log tells it; None when none does.
        self.working: dict[int, int | None] = {}
        self.retries: dict[int, int] = defaultdict(int)
        self.forced: set[int] = set()
        self.fired: dict[tuple[int, str], int] = defaultdict(int)
        self.ended: dict[tuple[int, str], int] = defaultdict(int)
        self.read: set[int] = set()
        self.running: dict[str, set[int]] = defaultdict(set)
        #: By queue, (its clock, calls begun by then), from its making on.
        self.begun: dict[str, list[tuple[int, int]]] = {}
        self.queues: dict[str, QueueRow] = {}
        self.locks: dict[str, tuple[int, int]] = {}
        self.scheduled: set[str] = set()
        self.removed: set[tuple[str, int]] = set()
        #: The number and the time of the commit in which anything ended last.
        self._moved_at = (0, 0)

    def must(self, holds: bool, rule: str, what: str) -> None:
        if not holds:
            raise Broken(rule, what)

    def moved(self) -> None:
        """Something has ended."""
        self._moved_at = (self.world.counts["commits"], self.world.time)

    def stands_still(self, commits: int, milliseconds: int) -> bool:
        """Whether nothing has ended for so many commits, and so long."""
        last, at = self._moved_at
        long = self.world.time - at
        return (self.world.counts["commits"] - last > commits and long > milliseconds) or long > 10 * milliseconds

    # -- after a commit

    def look(self, process: Process) -> None:
        """A process has committed."""
        touched: dict[str, set[Any]] = defaultdict(set)
        for name, key in self._db.execute("select name, key from touched"):
            touched[name].add(key)
        if not touched:
            return
        self._db.execute("delete from touched")
        old_runs = self._read_runs(touched["runs"])
        events = self._read_events(touched["events"])
        changes = self._read_steps(touched["steps"])
        read = self._read_signals(touched["signals"])
        self._read_queues(touched["queues"])
        if touched["locks"]:
            self.locks = {
                name: (run, step) for name, run, step in self._db.execute("select name, run, step from locks")
            }
        lost = self._lost(events)
        for old, new in changes:
            self.check_change(process, old, new, events, lost)
        for new_events in events.values():
            for event in new_events:
                self.check_event(process, event)
        changed = {new.run for _, new in changes if new is not None} | set(events) | (touched["runs"] & set(self.runs))
        for key in changed:
            if key in self.runs:
                self.check_run(key)
        self.check_runs(old_runs)
        self.check_signals(read)
        if touched["locks"] or any(new is not None and new.terms for _, new in changes):
            self.check_locks()
        if touched["workers"]:
            self.check_workers()
        for queue in {row.queue for pair in changes for row in pair if row is not None and row.queue}:
            self.check_queue(queue)

    # -- reading what was written

    def _read_runs(self, keys: set[Any]) -> dict[int, RunRow | None]:
        before: dict[int, RunRow | None] = {}
        if not keys:
            return before
        found = {
            row[0]: RunRow._make(row)
            for row in self._db.execute(f"select {RUN} from runs where key in ({marks(len(keys))})", tuple(keys))
        }
        for key in sorted(keys):
            before[key] = self.runs.get(key)
            if key in found:
                self.runs[key] = found[key]
            elif key in self.runs:
                self._forget(self.runs.pop(key))
        return before

    def _forget(self, run: RunRow) -> None:
        """A run was removed."""
        self.must(run.ended_at is not None, "only what has ended is removed", f"{run.id}@{run.execution} goes on")
        wanted = run.id in self.play.removals or self.play.keeps_not(run.package)
        self.must(wanted, "only what somebody removes is removed", f"{run.id}@{run.execution} is gone")
        for table, column in OF_RUNS.items():
            left = self._db.execute(f"select count(*) from {table} where {column} = ?", (run.key,)).fetchone()[0]
            self.must(left == 0, "nothing belongs to a run that is not there", f"{table} has {left} rows of {run.id}")
        self.removed.add((run.id, run.execution))

    def _read_events(self, keys: set[Any]) -> dict[int, list[EventRow]]:
        fresh: dict[int, list[EventRow]] = {}
        for key in sorted(keys):
            if key not in self.runs:
                self.last_event.pop(key, None)
                continue
            last = self.last_event.get(key, 0)
            rows = self._db.execute("select * from events where run = ? and seq > ? order by seq", (key, last))
            fresh[key] = [EventRow._make(row) for row in rows]
            count, most = self._db.execute("select count(*), max(seq) from events where run = ?", (key,)).fetchone()
            self.must(
                count == (most or 0), "the log has no gaps", f"run {self.runs[key].id} has {count} events up to {most}"
            )
            if fresh[key]:
                self.must(
                    [event.seq for event in fresh[key]] == list(range(last + 1, last + 1 + len(fresh[key]))),
                    "the log is in order", f"run {self.runs[key].id} after event {last}",
                )  # fmt: skip
                self.last_event[key] = fresh[key][-1].seq
        for events in fresh.values():
            for event in events:
                if event.kind == "run.retried":
                    self.retries[event.run] += 1
                if self.world.telling:
                    self.play.tell_event(event)
        return fresh

    def _read_steps(self, ids: set[Any]) -> list[tuple[StepRow | None, StepRow | None]]:
        changes: list[tuple[StepRow | None, StepRow | None]] = []
        todo = sorted(ids)
        found: dict[int, StepRow] = {}
        for at in range(0, len(todo), 500):
            part = todo[at : at + 500]
            for row in self._db.execute(f"select {STEP} from steps where id in ({marks(len(part))})", part):
                found[row[0]] = StepRow._make(row)
        for id in todo:
            old, new = self.steps.get(id), found.get(id)
            if old == new:
                continue
            changes.append((old, new))
            if old is not None:
                self.running[old.queue].discard(id)
            if new is None:
                assert old is not None
                del self.steps[id]
                self.of_run[old.run].pop(id, None)
                if self.ids.get((old.run, old.path)) == id:
                    del self.ids[old.run, old.path]
                continue
            self.steps[id] = self.of_run[new.run][id] = new
            self.ids[new.run, new.path] = id
            if new.status == "running":
                self.running[new.queue].add(id)
        return changes

    def _read_signals(self, numbers: set[Any]) -> list[tuple[SignalRow | None, SignalRow]]:
        changes = []
        for number in sorted(numbers):
            row = self._db.execute(f"select {SIGNAL} from signals where seq = ?", (number,)).fetchone()
            old = self.signals.get(number)
            if row is None:
                if old is not None:
                    del self.signals[number]
                    self.must(old.run not in self.runs, "no signal is lost", f"signal {number} is gone")
                continue
            self.signals[number] = SignalRow._make(row)
            changes.append((old, self.signals[number]))
        return changes

    def _read_queues(self, names: set[Any]) -> None:
        for name in names:
            row = self._db.execute("select * from queues where name = ?", (name,)).fetchone()
            if row is not None:
                self.queues[name] = QueueRow._make(row)
                self.begun.setdefault(name, [(self.queues[name].refilled_at, 0)])

    def _lost(self, events: dict[int, list[EventRow]]) -> dict[tuple[int, str], set[int]]:
        lost: dict[tuple[int, str], set[int]] = defaultdict(set)
        for rows in events.values():
            for event in rows:
                if event.kind == "step.lost":
                    lost[event.run, event.step or ""].add(json.loads(event.payload or "{}")["epoch"])
        return lost

    # -- steps

    def check_change(
        self, process: Process, old: StepRow | None, new: StepRow | None, events: dict[int, list[EventRow]],
        lost: dict[tuple[int, str], set[int]],
    ) -> None:  # fmt: skip
        """One row of a step, before and after."""
        row = new or old
        assert row is not None
        told = events.get(row.run, ())
        retried = any(event.kind == "run.retried" for event in told)
        if old is not None and (new is None or old.status in TERMINAL):
            self.check_final(old, new, retried)
        if old is not None and old.status == "running":
            self.check_let_go(process, old, new, told, lost)
        if new is None:
            self.holders.pop(row.id, None)
            return
        if old is not None and old.status == "running":
            self.check_outcome(old, new)
        if new.error is not None and (old is None or new.error != old.error):
            self.must(not OURS.search(new.error), "no step fails for a fault of ours", f"{self.name(new)}: {new.error}")
        self.must(
            new.epoch >= self.epochs.get(new.id, 0), "epochs only rise", f"{self.name(new)} is at epoch {new.epoch}"
        )
        self.must(
            new.awaits is None or new.status == "waiting", "who awaits waits", f"{self.name(new)} is {new.status}"
        )
        if new.status == "running" and (old is None or old.status != "running" or old.epoch != new.epoch):
            self.check_leased(process, new)
        elif new.status == "running" and old is not None and old.leased_until != new.leased_until:
            self.must(
                new.worker == process.name, "a worker renews its own leases", f"{process} renewed {self.name(new)}"
            )
        self.epochs[new.id] = new.epoch
        if old is not None and old.parked == "timer" and new.parked != "timer":
            self.check_timer(process, old, new)
        if retried and new.attempt == 0:
            self.attempts.pop(new.id, None)
            self.working.pop(new.id, None)
        if old is not None and old.cancel is not None and new.cancel is None:
            self.must(retried, "a cancel is not forgotten", self.name(new))
        if new.cancel is not None and "force" in json.loads(new.cancel):
            self.forced.add(new.run)

    def check_final(self, old: StepRow, new: StepRow | None, retried: bool) -> None:
        """A terminal state is final, and no step is lost."""
        if new is None:
            self.must(retried or old.run not in self.runs, "no step is lost", f"{self.name(old)} is gone")
        elif (old.status, old.result, old.error, old.ended) != (new.status, new.result, new.error, new.ended):
            self.must(retried, "a terminal state is final", f"{self.name(old)} was {old.status}, and is {new.status}")

    def check_let_go(
        self, process: Process, old: StepRow, new: StepRow | None, told: Any, lost: dict[tuple[int, str], set[int]]
    ) -> None:
        """A lease ends by its holder's own report, or because it ran out, or because its holder is dead."""
        if new is not None and new.status == "running" and new.epoch == old.epoch:
            return
        holder, epoch = self.holders[old.id]
        if old.epoch in lost.get((old.run, old.path), ()):
            out = (old.leased_until or 0) <= BOOTED + self.world.time
            self.must(
                out or not holder.alive, "a living worker keeps its lease until it runs out",
                f"{process} took {self.name(old)} from {holder}",
            )  # fmt: skip
            self.working[old.id] = None
            return
        released = any(event.kind == "step.released" and event.step == old.path for event in told)
        if released and process.name == old.worker and not holder.alive:
            return
        self.must(
            holder is process and epoch == old.epoch, "an outcome is recorded for who holds the lease",
            f"{process} ended {self.name(old)}, which {holder} holds under epoch {epoch}",
        )  # fmt: skip

    def check_timer(self, process: Process, old: StepRow, new: StepRow) -> None:
        """Back-off and sleep last as long as they say, by the wall clock of whoever ends them."""
        woken = (old.phase == "sleep" and new.status == "succeeded") or (
            old.phase == "run" and new.status != "canceled"
        )
        self.must(
            not woken or (old.available_at or 0) <= process.clock.now(), "no timer fires early",
            f"{self.name(new)} was to wait for {(old.available_at or 0) - process.clock.now()} ms more",
        )  # fmt: skip

    def check_leased(self, process: Process, row: StepRow) -> None:
        """A step was given to a worker."""
        name = self.name(row)
        self.must(row.worker == process.name, "who leases holds", f"{name} is {row.worker}'s, leased by {process}")
        self.must(row.epoch > self.epochs.get(row.id, 0), "each lease has an epoch of its own", name)
        self.holders[row.id] = (process, row.epoch)
        run = self.runs[row.run]
        self.must(run.ended_at is None, "nothing of a run that has ended is leased", name)
        if self.retries[row.run] == 0:
            self.check_needs(row)
        self.check_above(row)
        if row.phase == "run" and row.dedup_key is not None and self.retries[row.run] == 0:
            twins = [
                each.path for each in self.of_run[row.run].values()
                if each.id != row.id and each.dedup_key == row.dedup_key and each.reason != "duplicate"
                and each.phase != "dedup" and each.status not in ("skipped", "canceled")
            ]  # fmt: skip
            self.must(not twins, "of one dedup key one step runs", f"{name}, and {twins}")

    def check_above(self, row: StepRow) -> None:
        """What is around a step that starts is live, and not canceled."""
        if row.phase != "run":
            return
        shielded = False
        child = row
        while child.parent is not None:
            shielded = shielded or self.node(child).step.shield
            above = self.steps[child.parent]
            inner = "@" in row.path[len(above.path) :]
            self.must(above.status == "waiting", "the group of a step that starts is live", self.name(row))
            self.must(
                above.cancel is None or shielded or inner, "no step of a canceled group starts",
                f"{self.name(row)}, although {above.path or 'the run'} is canceled",
            )  # fmt: skip
            child = above
        self.must(row.cancel is None, "no canceled step starts", self.name(row))

    def check_needs(self, row: StepRow) -> None:
        """As many needs of a step that starts as it asks for have come true."""
        if row.path.endswith(("]", "@undo")) or row.phase not in ("gate", "run"):
            return
        if row.definition is not None:
            self.check_emitted_needs(row)
            return
        if row.origin is not None or row.parent is None:
            return
        node = self.node(row)
        above = self.steps[row.parent].path
        met = 0
        for need in node.needs:
            other = self.steps[self.ids[row.run, f"{above}/{need.step}" if above else need.step]]
            if other.status in TERMINAL:
                met += bool(self.meaning(other) & need.ends)
        self.must(
            met >= node.required, "a step starts only when what it needs is committed",
            f"{self.name(row)} has {met} of {node.required} needs",
        )  # fmt: skip

    def check_emitted_needs(self, row: StepRow) -> None:
        """The same for a step that another one made."""
        needs = json.loads(row.definition or "{}").get("needs") or []
        if not isinstance(needs, list) or row.path.endswith("]"):
            return
        above = row.path.rpartition("/")[0]
        for key in needs:
            id = self.ids.get((row.run, f"{above}/{key}"))
            other = None if id is None else self.steps[id]
            self.must(
                other is None or "succeeded" in self.meaning(other),
                "a step starts only when what it needs is committed", f"{self.name(row)} needs {key}",
            )  # fmt: skip

    def meaning(self, row: StepRow) -> set[str]:
        """What an ended step counts as."""
        if row.status == "skipped" and row.reason in ("failed", "canceled"):
            return {row.reason}
        if row.status == "failed" and self.node(row).step.continue_on_error:
            return {"failed", "succeeded"}
        return {row.status}

    def node(self, row: StepRow) -> Any:
        """What the package declares at a step."""
        return self.play.node(row)

    def name(self, row: StepRow) -> str:
        run = self.runs.get(row.run)
        return f"{run.id if run else row.run}:{row.path or '.'}"

    # -- the log

    def check_event(self, process: Process, event: EventRow) -> None:
        """One line of the log."""
        path = event.step or ""
        id = self.ids.get((event.run, path)) if event.step is not None else None
        name = f"{self.runs[event.run].id}:{path}"
        payload = json.loads(event.payload) if event.payload else {}
        match event.kind:
            case "step.leased":
                assert id is not None
                self.check_begun(event, self.steps[id], payload)
            case "step.lost" | "step.released":
                if id is not None:
                    self.working[id] = None
            case "step.retried":
                assert id is not None
                self.attempts[id] = (payload["attempt"] or 0) + 1
                self.working[id] = None
            case "handler.fired" | "undo.fired":
                self.fired[event.run, path] += 1
                self.must(
                    self.fired[event.run, path] <= 1 + self.retries[event.run], "a handler fires once per end", name
                )
            case "step.woken":
                self.check_woken(event, payload)
        if event.kind in OUTCOMES or event.kind in ENDED:
            self.moved()
            key = (event.run, f"{event.kind[:4]} {path}")
            self.ended[key] += 1
            self.must(
                self.ended[key] <= 1 + self.retries[event.run], "what ends ends once", f"{name} has {event.kind} again"
            )

    def check_begun(self, event: EventRow, row: StepRow, payload: dict[str, Any]) -> None:
        """A worker took a call."""
        name = self.name(row)
        wanted = self.attempts.get(row.id, 1)
        self.must(
            payload["attempt"] == wanted, "each attempt is counted once", f"{name} begins attempt {payload['attempt']}, "
            f"after {wanted - 1}",
        )  # fmt: skip
        self.must(
            self.working.get(row.id) is None, "a step is in one hand",
            f"{name} was leased again under {payload['epoch']}",
        )  # fmt: skip
        self.attempts[row.id] = wanted
        self.working[row.id] = payload["epoch"]
        self.world.counts["calls"] += 1
        if (begun := self.begun.get(row.queue)) is not None:
            at, count = begun[-1]
            begun.append((max(at, event.at), count + 1))

    def check_outcome(self, old: StepRow, new: StepRow) -> None:
        """What a call gave, or how it failed, tells under which lease it worked: the one that was held."""
        if old.phase != "run" or old.kind != "work":
            return
        told = []
        if new.error is not None and new.error != old.error:
            told += BOOM.findall(new.error)
        if new.result is not None and new.result != old.result and new.reason not in ("duplicate", "cached"):
            told += EPOCH.findall(new.result)
        for epoch in told:
            self.must(
                int(epoch) == old.epoch, "an outcome belongs to the lease that is held",
                f"{self.name(old)} ended under lease {epoch}, and {old.epoch} was held",
            )  # fmt: skip

    def check_woken(self, event: EventRow, payload: dict[str, Any]) -> None:
        """A signal is read by one step, once."""
        number = payload.get("signal")
        if number is None:
            return
        self.must(number not in self.read, "a signal is read once", f"signal {number} of {self.runs[event.run].id}")
        self.read.add(number)
        signal = self.signals[number]
        id = self.ids[event.run, event.step or ""]
        self.must(signal.taken_by == id, "who reads a signal has it", f"signal {number}")
        row = self.steps[id]
        if row.status == "succeeded":
            self.must(row.result == signal.data, "who reads a signal gives its data", self.name(row))

    # -- runs

    def check_run(self, key: int) -> None:
        """The counts of a run and of its groups, and that it stands where its steps do."""
        run, own = self.runs[key], self.of_run[key]
        if not own:
            return
        rows = list(own.values())
        root = self.steps[self.ids[key, ""]]
        done = sum(row.status in TERMINAL for row in rows)
        self.must(
            (run.steps, run.done) == (len(rows), done), "a run counts its steps",
            f"{run.id} counts {run.steps},{run.done}, there are {len(rows)},{done}",
        )  # fmt: skip
        self.must((run.ended_at is not None) == (root.status in TERMINAL), "a run ends with its root", run.id)
        children: dict[int, list[StepRow]] = defaultdict(list)
        for row in rows:
            if row.parent is not None:
                children[row.parent].append(row)
        for row in rows:
            if row.status in TERMINAL:
                if row.id in children:
                    alive = [each.path for each in children[row.id] if each.status not in TERMINAL]
                    self.must(not alive, "nothing lives in a group that has ended", f"{run.id}: {alive}")
            elif row.id in children:
                self.check_group(row, children[row.id])
            if row.status == "waiting" and row.phase == "child":
                self.check_waits(row)
        if run.status == "continued":
            left = [one.seq for one in self.signals.values() if one.run == key and one.taken_by is None]
            self.must(not left, "unread signals go to the successor", f"{run.id}: {left}")
            after = self._db.execute(
                "select 1 from runs where id = ? and execution > ?", (run.id, run.execution)
            ).fetchone()
            gone = (run.id, run.execution + 1) in self.removed
            self.must(after is not None or gone, "a run that continues has a successor", run.id)

    def check_group(self, row: StepRow, children: list[StepRow]) -> None:
        """What lives in a group is counted, and no more goes on at once than may."""
        own = [each for each in children if "@" not in each.path[len(row.path) :]]
        counted = own if row.phase in ("steps", "children") else children
        alive = sum(each.status not in TERMINAL for each in counted)
        if row.phase in ("", "gate"):
            return
        self.must(row.alive == alive, "a group counts who lives", f"{self.name(row)} counts {row.alive} of {alive}")
        if row.phase != "steps":
            return
        limit = self.node(row).max_parallel
        if limit is not None and self.retries[row.run] == 0:
            going = sum(each.due is not None and each.parked != "slot" and each.status not in TERMINAL for each in own)
            self.must(going <= limit, "a group has no more places than it says", f"{self.name(row)}: {going} go on")
        self.must(row.alive > 0 or not own, "a group of which nobody lives goes on", self.name(row))
        if self.retries[row.run] == 0 and row.definition is None and row.origin is None:
            self.check_awake(row, own)

    def check_awake(self, group: StepRow, own: list[StepRow]) -> None:
        """Whoever has what it needs has been told."""
        body = self.node(group).group
        if not isinstance(body, Group) or group.reason is not None:
            return
        for row in own:
            if row.status != "pending" or row.due is not None or row.definition is not None:
                continue
            node = self.node(row)
            met = 0
            for need in node.needs:
                id = self.ids.get((row.run, f"{group.path}/{need.step}" if group.path else need.step))
                other = None if id is None else self.steps[id]
                met += other is not None and other.status in TERMINAL and bool(self.meaning(other) & need.ends)
            self.must(
                met < node.required, "who has what it needs is told", f"{self.name(row)} has {met} of {node.required}"
            )

    def check_waits(self, row: StepRow) -> None:
        """Who waits for a run waits for one that goes on, and is its parent."""
        child = self.runs.get(json.loads(row.wait or "{}")["key"])
        self.must(child is not None, "who waits for a run waits for one that is there", self.name(row))
        assert child is not None
        self.must(child.ended_at is None, "who waits for a run is told of its end", f"{self.name(row)}: {child.id}")
        self.must(child.parent == row.id, "who waits for a run is its parent", f"{self.name(row)}: {child.id}")

    def check_runs(self, before: dict[int, RunRow | None]) -> None:
        """Runs that have come or gone, and what that means for others."""
        slots = set()
        for key, old in before.items():
            new = self.runs.get(key)
            for run in (old, new):
                if run is not None and run.slot is not None:
                    slots.add(run.slot)
            if new is None:
                continue
            if old is None:
                self.world.counts["runs"] += 1
                if new.started_by == "schedule":
                    name = f"{new.id}@{new.execution}"
                    self.must(name not in self.scheduled, "each time of a schedule is acted on once", name)
                    self.scheduled.add(name)
            elif old.ended_at is not None and (new.status, new.ended_at) != (old.status, old.ended_at):
                self.must(self.retries[key] > 0, "a terminal state is final", f"run {new.id} was {old.status}")
            if new.ended_at is not None and (old is None or old.ended_at is None):
                self.check_orphans(new)
        for slot in slots:
            self.check_slot(slot)

    def check_orphans(self, run: RunRow) -> None:
        """Children that end with their parent are told of its end."""
        if run.status == "continued":
            return
        for child in self.runs.values():
            if child.parent_run != run.key or child.ended_at is not None or child.on_parent_close != "cancel":
                continue
            root = self.steps[self.ids[child.key, ""]]
            ending = root.phase in ("undo", "handler", "outputs", "finally")
            told = root.cancel is not None or ending or self.retries[child.key] > 0
            self.must(told, "a child ends with its parent", f"{child.id} goes on without {run.id}")

    def check_slot(self, slot: str) -> None:
        """The places of a key are neither given twice nor left free."""
        going = [run for run in self.runs.values() if run.slot == slot and run.ended_at is None]
        limit = self.play.family.named(slot.partition("/")[0])["concurrency"]["limit"]
        running = sum(run.status == "running" for run in going)
        self.must(running <= limit, "a place is given once", f"{running} runs of {slot} go on, and {limit} may")
        self.must(
            running == limit or running == len(going), "a free place is given on", f"{slot} has one, and a run waits"
        )

    # -- signals, locks, queues

    def check_signals(self, changes: list[tuple[SignalRow | None, SignalRow]]) -> None:
        """Kept once, read once and in order, and by whoever waits."""
        for old, new in changes:
            if old is not None and old.taken_by is not None:
                self.must(new == old, "a signal that was read stays so", f"signal {new.seq}")
            if new.taken_by is not None and (old is None or old.taken_by is None):
                for other in self.signals.values():
                    passed = other.run == new.run and other.name == new.name and other.taken_by is None
                    self.must(not passed or other.seq > new.seq, "signals are read in order", f"signal {new.seq}")
            if old is None and new.data.isdigit() and new.run in self.runs:
                # What clients send is numbered, once for each key.
                mark = (self.runs[new.run].id, new.data)
                known = self.keyed.get(mark)
                self.must(known not in self.signals, "a keyed signal is kept once", f"{new.key} to {mark[0]}")
                self.keyed[mark] = new.seq
        for run in {new.run for _, new in changes}:
            unread = {one.name for one in self.signals.values() if one.run == run and one.taken_by is None}
            for row in self.of_run[run].values():
                if row.awaits is not None and row.awaits.startswith("signal:"):
                    self.must(
                        row.awaits.removeprefix("signal:") not in unread, "a signal that is there is not waited for",
                        self.name(row),
                    )  # fmt: skip

    def check_locks(self) -> None:
        """A lock is held by a call that is leased and asks for it; a leased call has all that it asks for."""
        wanted = {}
        for ids in self.running.values():
            for id in ids:
                row = self.steps[id]
                if row.phase == "run" and row.terms is not None:
                    for name in terms_of(row).get("locks") or ():
                        self.must(
                            name not in wanted, "a lock has one holder", f"{name} is {self.name(row)}'s and another's"
                        )
                        wanted[name] = (row.run, id)
        self.must(wanted == self.locks, "locks are held by who is leased", f"{self.locks} are held, {wanted} wanted")

    def check_workers(self) -> None:
        """Who is known to be dead holds nothing."""
        lost = {name for (name,) in self._db.execute("select name from workers where status = 'lost'")}
        for id in [id for ids in self.running.values() for id in ids] if lost else ():
            self.must(self.steps[id].worker not in lost, "the dead hold no leases", self.name(self.steps[id]))

    def check_queue(self, name: str) -> None:
        """No more calls of a queue than may be are in hand, and none begins without a token."""
        policy = self.queues.get(name)
        declared = self.play.policies.get(name)
        if declared is None or policy is None:
            return
        most = declared["max_in_flight"]
        if most is not None:
            self.must(
                len(self.running[name]) <= most, "a queue is no wider than it says",
                f"{len(self.running[name])} of {name} are in hand, and {most} may be",
            )  # fmt: skip
        if declared["rate"] is None:
            return
        begun = self.begun[name]
        now, count = begun[-1]
        # Each window that ends now, from just before the call that opens it on.
        for position in range(len(begun) - 1):
            since = begun[position + 1][0] if position else begun[0][0]
            within = count - begun[position][1]
            may = declared["burst"] + (now - since) * declared["rate"]
            self.must(
                within <= may + 1e-6, "no call begins without a token",
                f"{within} of {name} began within {now - since} ms, and {may:g} may",
            )  # fmt: skip

    # -- at the end

    def look_at_all(self) -> None:
        """When everybody has behaved for a while."""
        for key, run in self.runs.items():
            self.must(run.ended_at is not None, "every run ends", f"{run.id}@{run.execution} is {run.status}")
            self.check_run(key)
            # A run that was about to continue when it was canceled ends as it stood, past some of its stages.
            rows = self.of_run[key].values()
            going_on = any(row.kind == "continue_as_new" and row.status == "succeeded" for row in rows)
            if rows and not going_on:
                self.check_end(run)
        self.look_at_store()
        self.must(not self.locks, "nobody is left with a lock", str(self.locks))
        for table, column in OF_RUNS.items():
            keys = {key for (key,) in self._db.execute(f"select distinct {column} from {table}")}
            self.must(keys <= set(self.runs), "nothing belongs to a run that is not there", f"{table}: {keys}")
        for run_id, kind, what in self.play.acknowledged:
            if not any(id == run_id for id, _ in self.removed):
                self.check_acknowledged(run_id, kind, what)

    def look_at_store(self) -> None:
        """What ``yamlflow db check`` looks for; it may be asked at any time."""
        for wrong in broken(self._db):
            raise Broken("the store is sound", str(wrong))

    def check_end(self, run: RunRow) -> None:
        """Every group's end, and what was taken back, worked out anew; see ``tests/engine/worlds.py``."""
        view = View(self, run)
        try:
            assert_ended_right(view)  # type: ignore[arg-type]
            assert_undone_right(view)  # type: ignore[arg-type]
        except AssertionError as wrong:
            raise Broken("every run ends right", str(wrong)) from None

    def check_acknowledged(self, run_id: str, kind: str, what: str) -> None:
        """What somebody was told to be done is done."""
        there = [run for run in self.runs.values() if run.id == run_id]
        rule = f"a {kind} that was acknowledged is kept"
        self.must(bool(there), rule, f"{run_id} is not there")
        if kind == "signal":
            found = sum(one.key == what and any(run.key == one.run for run in there) for one in self.signals.values())
            self.must(found == 1, rule, f"{what} to {run_id} is there {found} times")
        elif kind == "answer":
            asked = any(
                self._db.execute(
                    "select 1 from events where run = ? and kind = 'step.answered' and step = ?", (run.key, what)
                ).fetchone()
                for run in there
            )
            self.must(asked, rule, f"{run_id}:{what}")
