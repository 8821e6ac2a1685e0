"""One transaction's view of the rows it touches: read once, changed in memory, written together at the end.

Rules do not stand here. ``Work`` finds rows and their nodes, numbers events, and remembers which steps have ended so that
``follow`` can draw the consequences.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Collection, Iterable

from ..checksums import checksum
from ..outcome import Json
from ..plan import Node, Plan, parent_path
from ..rows import EventRow, RunRow, StepRow, new_step
from ..store.base import Edge, Transaction


class Work:
    """The rows of one transaction."""

    def __init__(
        self,
        tx: Transaction,
        plan_of: Callable[[str], Plan],
        *,
        now: int,
        chance: Callable[[], float],
    ) -> None:
        self.tx = tx
        self.now = now
        self.chance = chance
        #: Steps that ended and whose consequences are not drawn yet.
        self.ended: deque[int] = deque()
        #: Events written so far, for whoever listens once the transaction is durable.
        self.told: list[EventRow] = []
        #: Steps that had locks and are not leased any more, and steps that do not wait for one any more.
        self.unlocked: list[int] = []
        self.unparked: list[int] = []
        #: Runs that ended and whose meaning for other runs is not drawn yet.
        self.closed: list[int] = []
        self.plan_of = plan_of
        self._runs: dict[int, RunRow] = {}
        self._steps: dict[int, StepRow] = {}
        self._paths: dict[tuple[int, str], int] = {}
        self._dirty: dict[int, None] = {}
        self._dirty_runs: dict[int, None] = {}
        self._fresh: list[int] = []
        self._edges: list[Edge] = []
        self._events: list[EventRow] = []
        self._last: dict[int, int] = {}
        self._next: int | None = None
        self._turns: dict[tuple[str, int, int], int] = {}

    # -- runs

    def run(self, key: int) -> RunRow:
        row = self._runs.get(key)
        if row is None:
            found = self.tx.run(key)
            assert found is not None, f"run {key} is gone"
            row = self._runs[key] = found
        return row

    def put_run(self, row: RunRow) -> None:
        self._runs[row.key] = row
        self._dirty_runs[row.key] = None

    def adopt_children(self, run: int, successor: int) -> None:
        """The live children of a run are its successor's from now on, those that were read already too."""
        self.flush()
        self.tx.adopt_children(run, successor)
        for key, row in self._runs.items():
            if row.parent_run == run and row.ended_at is None:
                self._runs[key] = row._replace(parent_run=successor)

    def plan(self, run: int) -> Plan:
        return self.plan_of(self.run(run).digest)

    # -- steps

    def load(self, ids: Collection[int]) -> None:
        """Read steps together that will be asked for one by one."""
        missing = [id for id in ids if id not in self._steps]
        if missing:
            for row in self.tx.steps(missing):
                self._know(row)

    def find(self, id: int) -> StepRow | None:
        """A step by number, or None when there is none."""
        if id not in self._steps:
            self.load([id])
        return self._steps.get(id)

    def find_known(self, id: int) -> StepRow | None:
        """A step that this transaction has met, also once it is over."""
        return self._steps.get(id)

    def step(self, id: int) -> StepRow:
        row = self.find(id)
        assert row is not None, f"step {id} is gone"
        return row

    def at(self, run: int, path: str) -> StepRow | None:
        """A step by its run and path."""
        id = self._paths.get((run, path))
        if id is None:
            for row in self.tx.steps_at(run, [path]):
                self._know(row)
            id = self._paths.get((run, path))
        return None if id is None else self._steps[id]

    def put(self, row: StepRow, *, brought: int | None = None) -> StepRow:
        """Change a step. ``brought`` is the checksum of a result that was made elsewhere."""
        before = self._steps.get(row.id)
        if before is None or row.result is not before.result or row.checksum != before.checksum:
            row = summed(row, before, brought)
        if before is not None and before.terms is not None:
            if before.status == "running" != row.status:
                self.unlocked.append(row.id)
            if before.parked == "lock" != row.parked:
                self.unparked.append(row.id)
        self._steps[row.id] = row
        self._dirty[row.id] = None
        return row

    def add(self, *, run: int, path: str, parent: int | None, ordinal: int = 0) -> StepRow:
        """A new pending step; ``put`` it once it is filled in."""
        if self._next is None:
            self._next = self.tx.reserve(1)
        row = new_step(id=self._next, run=run, path=path, parent=parent, ordinal=ordinal)
        self._next += 1
        self._steps[row.id] = row
        self._paths[run, path] = row.id
        self._fresh.append(row.id)
        return row

    def edge(self, source: int, target: int, ends: frozenset[str]) -> None:
        """An emitted step needs another one."""
        self._edges.append(Edge(source=source, target=target, ends=ends))

    def edges(self, source: int) -> list[Edge]:
        """Who needs an emitted step."""
        if self._edges:
            self.flush()
        return self.tx.edges(source)

    def live_below(self, row: StepRow) -> list[StepRow]:
        """The step and all under it that have not ended, parents first."""
        self.flush()
        rows = self.tx.below(row.run, row.path, live=True)
        for each in rows:
            self._know(each)
        return [self._steps[each.id] for each in rows]

    def below(self, run: int, path: str) -> list[StepRow]:
        """The step at a path and all under it, parents first."""
        self.flush()
        rows = self.tx.below(run, path)
        for each in rows:
            self._know(each)
        return [self._steps[each.id] for each in rows]

    def delete(self, rows: Iterable[StepRow]) -> None:
        """Forget steps for good."""
        self.flush()
        ids = [row.id for row in rows]
        for row in rows:
            self._steps.pop(row.id, None)
            self._paths.pop((row.run, row.path), None)
        self.tx.delete_steps(ids)

    def next_parked(self, parent: int, limit: int) -> list[StepRow]:
        """The first children that wait for a place."""
        self.flush()
        return [self._know(row) for row in self.tx.next_parked(parent, limit)]

    def same_key(self, row: StepRow) -> list[StepRow]:
        """The other steps of the run that have this one's ``dedup_key``, first made first."""
        if row.dedup_key is None:
            return []
        self.flush()
        return [self._know(each) for each in self.tx.same_key(row.run, row.dedup_key) if each.id != row.id]

    def adopt(self, rows: Iterable[StepRow]) -> None:
        """Take rows as the store has just changed them."""
        for row in rows:
            self._steps[row.id] = row
            self._paths[row.run, row.path] = row.id

    def _know(self, row: StepRow) -> StepRow:
        known = self._steps.get(row.id)
        if known is not None:
            return known
        self._steps[row.id] = row
        self._paths[row.run, row.path] = row.id
        return row

    # -- what stands at a step

    def node(self, row: StepRow) -> Node:
        """The step's node in its package, or in the definition it was emitted with."""
        plan = self.plan(row.run)
        root = row if row.definition is not None else self.step(row.origin) if row.origin is not None else None
        if root is None:
            return plan.node(row.path)
        assert root.definition is not None
        fragment = plan.fragment(root.definition, json.loads(root.definition), parent_path(root.path) or "")
        return fragment.node(root.path, row.path)

    # -- events

    def event(self, run: int, kind: str, step: str | None = None, payload: Json = None) -> int:
        """Add a line to the run's log; its number."""
        seq = self.seq(run) + 1
        self._last[run] = seq
        text = None if payload is None else json.dumps(payload, separators=(",", ":"))
        self._events.append(EventRow(run, seq, self.now, kind, step, text))
        return seq

    def seq(self, run: int) -> int:
        """The number of the run's last event."""
        last = self._last.get(run)
        if last is None:
            last = self._last[run] = self.tx.last_event(run)
        return last

    def lengths(self) -> list[tuple[int, int]]:
        """The runs whose log grew in this transaction, with the number of their last event."""
        return list(self._last.items())

    def turn(self, queue: str, priority: int, run: int) -> int:
        """The next turn of a run in a queue: one round behind what is served now, and each further step one later."""
        key = (queue, priority, run)
        turn = self._turns.get(key)
        if turn is None:
            turn = self.tx.lowest_rank(queue, priority)
        self._turns[key] = turn + 1
        return turn + 1

    # -- writing

    def flush(self) -> None:
        """Write what was changed so far; the transaction stays open."""
        for key in self._dirty_runs:
            self.tx.update_run(self._runs[key])
        self._dirty_runs.clear()
        if self._fresh:
            fresh = set(self._fresh)
            self.tx.insert_steps([self._steps[id] for id in self._fresh], self._edges)
            self._fresh, self._edges = [], []
            for id in fresh:
                self._dirty.pop(id, None)
        if self._dirty:
            self.tx.update_steps([self._steps[id] for id in self._dirty])
            self._dirty.clear()
        if self._events:
            self.tx.append_events(self._events)
            self.told.extend(self._events)
            self._events = []


def summed(row: StepRow, before: StepRow | None, brought: int | None) -> StepRow:
    """A changed step with the checksum of its result: the one that was there, the one that came along, or a new one."""
    if row.result is None:
        return row._replace(checksum=None)
    if before is not None and row.result is before.result:
        return row._replace(checksum=before.checksum)
    return row._replace(checksum=checksum(row.result) if brought is None else brought)
