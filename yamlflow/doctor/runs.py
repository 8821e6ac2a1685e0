"""Runs that stand still: why, whether that is as it should be, and who can do something about it.

A run stands where its live steps stand; each says why in the words of ``show``. The steps are found by the indexes over
what is live, at most ``MOST`` of each kind; however many runs have ended costs nothing.
"""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from shlex import quote

from ..clock import DAY, HOUR, MINUTE
from ..duration import format_duration
from ..rows import RunRow, StepRow
from ..store.base import Store
from ..store.rules import RULES, broken
from ..views.queues import QueueView
from ..views.reasons import Surroundings, why, why_unserved
from ..views.workers import WorkerView
from . import Finding, Visit, several

#: Live steps of each kind of standing still that are looked at, and live runs.
MOST = 2000
#: A signal or an answer that has not come for so long may never come, and a timer so far ahead may be a slip.
LONG, FAR = DAY, 365 * DAY
#: A timer that is overdue by so much is woken by nobody.
OVERDUE = MINUTE
STEP = ", ".join(StepRow._fields)
#: Where a live step that is no group can stand, by the index over each.
STANDING = (
    "from steps indexed by steps_ready where status = 'ready' and parked is null",
    "from steps indexed by steps_paused where parked = 'paused'",
    "from steps indexed by steps_timed where parked = 'timer' and (status <> 'waiting' or phase <> 'steps')",
    "from steps indexed by steps_waiting where status = 'waiting' and phase in ('signal', 'approval', 'child', 'sleep') "
    "and parked is not 'timer'",
    "from steps where id in (select step from lock_waits) and parked = 'lock'",
    "from steps where path = '' and status = 'pending' and run in ("
    "select key from runs indexed by runs_live where status in ('pending', 'running') and status = 'pending' limit 2000)",
)  # fmt: skip
#: Rules that cost what is live, and tell what no worker will ever mend.
LIVE_RULES = frozenset(
    {
        "live runs that nothing can bring further", "steps that wait for a signal that is there",
        "steps that wait for a run that has ended", "runs that wait for a place that is free",
        "locks of steps that are not leased",
        "live child runs whose parent is not there",
    }
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Why one step stands, and whether that is as it should be."""

    level: str
    reason: str
    remedy: str = ""


@dataclass(kw_only=True)
class Round:
    """One look at the runs of a store."""

    visit: Visit
    store: Store
    connection: sqlite3.Connection
    workers: list[WorkerView]
    queues: Mapping[str, QueueView]
    #: Kinds that plugins here supply; None when plugins were left out.
    kinds: frozenset[str] | None
    _runs: dict[int, RunRow] = field(default_factory=dict)
    _troubled: dict[int, bool] = field(default_factory=dict)

    def run(self, key: int) -> RunRow | None:
        """A run, read once."""
        if key not in self._runs and (row := self.store.run_at(key)) is not None:
            self._runs[key] = row
        return self._runs.get(key)

    def around(self, run: RunRow) -> Surroundings:
        """What is known around the steps of a run."""
        return Surroundings(
            run=run, now=self.visit.now, queues=self.queues, workers=[one for one in self.workers if one.alive],
            steps_at=lambda paths: self.store.steps_at(run.key, paths), locks=self.store.locks,
        )  # fmt: skip

    # -- one step

    def verdict(self, row: StepRow, run: RunRow) -> Verdict:
        """Why a live step stands where it stands."""
        reason = why(row, None, self.around(run)) or "runs"
        if row.parked == "timer" and row.available_at is not None:
            return self.timed(row, run, reason)
        match row.status:
            case "pending":
                return self.placeless(run, reason)
            case "ready":
                return self.ready(row, run, reason)
            case "waiting":
                return self.waiting(row, run, reason)
        return Verdict(level="ok", reason=reason)

    def timed(self, row: StepRow, run: RunRow, reason: str) -> Verdict:
        """A timer: near, far, or one that nobody has woken."""
        assert row.available_at is not None
        late = self.visit.now - row.available_at
        if late > OVERDUE and not run.paused:
            reason = f"{reason}; that was {length(late)} ago, and no process woke it"
            return Verdict(level="warning", reason=reason, remedy=self.work(run))
        if -late > FAR:
            return Verdict(level="hint", reason=reason, remedy=self.visit.command(f"cancel {run.id} {quote(row.path)}"))
        if row.awaits is not None or row.phase == "child":
            return self.waiting(row, run, reason)
        return Verdict(level="ok", reason=reason)

    def placeless(self, run: RunRow, reason: str) -> Verdict:
        """A run that waits for another one's place: as it should be, unless that one stands still itself."""
        holders = [] if run.slot is None else self.store.in_slot(run.slot, limit=1)
        if not holders or holders[0].key == run.key:
            return Verdict(level="ok", reason=reason)
        holder = holders[0]
        reason = f"{reason}: {holder.id} has its place"
        if self.is_troubled(holder):
            return Verdict(
                level="warning", reason=f"{reason} and stands still", remedy=self.visit.command(f"doctor {holder.id}")
            )
        return Verdict(level="ok", reason=reason)

    def ready(self, row: StepRow, run: RunRow, reason: str) -> Verdict:
        """A step that could start."""
        if row.parked == "paused" or (run.paused and row.phase == "run"):
            return Verdict(level="warning", reason="its run is paused", remedy=self.visit.command(f"unpause {run.id}"))
        if row.parked == "lock":
            return self.locked(row, reason)
        queue = self.queues.get(row.queue)
        if queue is not None and queue.paused:
            remedy = self.visit.command(f"unpause --queue {quote(queue.name)}")
            return Verdict(level="warning", reason=reason, remedy=remedy)
        unserved = why_unserved(row, self.around(run))
        return Verdict(level="ok", reason=reason) if unserved is None else self.unserved(row, run, unserved)

    def unserved(self, row: StepRow, run: RunRow, reason: str) -> Verdict:
        """No worker takes it."""
        reason = reason.partition(":")[0]
        alive = [one for one in self.workers if one.alive and one.works_on(run)]
        if row.kind and alive and not any(one.executes(row.kind) for one in alive):
            return Verdict(level="warning", reason=reason, remedy=self.supply(row.kind))
        if alive and row.queue:
            return Verdict(
                level="warning", reason=reason, remedy=self.visit.command(f"worker --queues {quote(row.queue)}")
            )
        return Verdict(level="warning", reason=reason, remedy=self.work(run))

    def supply(self, kind: str) -> str:
        """Who might supply a kind."""
        if self.kinds is not None and kind in self.kinds:
            return f"a plugin here supplies it: {self.visit.command('worker')}"
        name = kind.partition("/")[0]
        folder = self.visit.command("worker --plugins DIR")
        return f"put the plugin that supplies it in plugins/ (as {name}.py?), or name its folder: {folder}"

    def work(self, run: RunRow) -> str:
        """How somebody takes a run up."""
        return f"{self.visit.command(f'resume {run.id}')}, or {self.visit.command('worker')} for all"

    def locked(self, row: StepRow, reason: str) -> Verdict:
        """A lock: as it should be while its holder works."""
        names = (json.loads(row.terms or "{}").get("locks")) or []
        dead = {one.name for one in self.workers if not one.alive}
        for lock in self.store.locks(names):
            holder = self.store.find_run(lock.run_id, lock.execution)
            held = None if holder is None else next(iter(self.store.steps_at(holder.key, [lock.path])), None)
            if held is not None and held.worker in dead:
                others = any(one.alive for one in self.workers)
                remedy = "any worker takes that step over" if others else self.visit.command("resume")
                return Verdict(level="warning", reason=f"{reason}, whose worker is dead", remedy=remedy)
        return Verdict(level="ok", reason=reason)

    def waiting(self, row: StepRow, run: RunRow, reason: str) -> Verdict:
        """What waits for somebody, or for a child run."""
        reason = reason.partition(": `yamlflow")[0].partition(" (`yamlflow")[0]
        since = self.visit.now - (row.started_at or run.created_at)
        child = json.loads(row.wait or "{}").get("key") if row.phase == "child" else None
        below = None if child is None else self.run(child)
        if below is not None and below.ended_at is None and self.is_troubled(below):
            return Verdict(
                level="warning", reason=f"{reason}, which stands still", remedy=self.visit.command(f"doctor {below.id}")
            )
        if since > LONG and row.available_at is None and row.phase in ("signal", "approval"):
            name = json.loads(row.wait or "{}").get("signal")
            command = (
                f"signal {run.id} {quote(str(name))}"
                if row.phase == "signal"
                else f"approve {run.id} {quote(row.path)}"
            )
            remedy = f"{self.visit.command(command)}, or {self.visit.command(f'cancel {run.id}')}"
            return Verdict(level="warning", reason=f"{reason}, for {length(since)}", remedy=remedy)
        return Verdict(level="ok", reason=reason)

    # -- whole runs

    def standing(self, run: RunRow) -> list[StepRow]:
        """Where a run stands; a hundred steps at most."""
        return [StepRow._make(row) for row in self.connection.execute(STANDING_IN, (run.key,))]

    def is_troubled(self, run: RunRow) -> bool:
        """Whether anything in a run asks for somebody; a run that is met again on the way is not asked twice."""
        if run.key not in self._troubled:
            self._troubled[run.key] = False
            rows = self.standing(run)
            self._troubled[run.key] = any(self.verdict(row, run).level == "warning" for row in rows)
        return self._troubled[run.key]


def stuck(look: Round) -> Iterator[Finding]:
    """Runs that somebody has to do something about: each cause once, with the runs that it holds up."""
    found: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    healthy: set[int] = set()
    for sql in STANDING:
        for values in look.connection.execute(f"select {STEP} {sql} limit {MOST}"):
            row = StepRow._make(values)
            run = look.run(row.run)
            if run is None:
                continue
            verdict = look.verdict(row, run)
            if verdict.level == "ok":
                healthy.add(run.key)
                continue
            # The same cause and remedy of many runs is told once; a remedy that names the run is told of the first.
            remedy = verdict.remedy.replace(f" {run.id}", " RUN")
            names = found[verdict.level, verdict.reason, remedy]
            names.append(f"{name_of(run)}{'/' + row.path if row.path else ''}")
    for (level, reason, remedy), names in found.items():
        first = names[0].partition("/")[0]
        yield Finding(
            level=level, about="runs", message=f"{several(names)}: {reason}", remedy=remedy.replace(" RUN", f" {first}")
        )
    for fault in broken(look.connection, rules=[rule for rule in RULES if rule.name in LIVE_RULES]):
        message = f"{fault.name}: {fault.count} ({', '.join(fault.examples)})"
        yield Finding(level="error", about="runs", message=message, remedy=fault.remedy)
    yield summary(look.connection, len(healthy))


def summary(connection: sqlite3.Connection, waiting: int) -> Finding:
    """How many runs are live."""
    count = connection.execute("select count(*) from runs where status in ('pending', 'running')").fetchone()[0]
    rest = f"; {waiting} of them wait for what is on its way" if waiting else ""
    return Finding(level="ok", about="runs", message=f"{count} live{rest}")


def explained_run(look: Round, run: RunRow) -> Iterator[Finding]:
    """Every live step of one run: why it stands where it stands, and what can be done."""
    name = name_of(run)
    if run.ended_at is not None:
        message = f"{name} has ended ({run.status})"
        remedy = look.visit.command(f"retry {run.id}") if run.status in ("failed", "canceled") else ""
        yield Finding(level="ok", about="runs", message=message, remedy=remedy)
        return
    rows = look.standing(run)
    if not rows:
        message = f"{name} is {run.status}, and no step of it can go on by itself"
        yield Finding(level="error", about="runs", message=message, remedy=look.visit.command(f"cancel {run.id}"))
    for row in rows:
        verdict = look.verdict(row, run)
        where = f"{name}/{row.path}" if row.path else name
        yield Finding(level=verdict.level, about="runs", message=f"{where}: {verdict.reason}", remedy=verdict.remedy)


#: The live steps of a run that are no groups waiting for their own, and do not wait for their needs.
STANDING_IN = f"""
select {STEP} from steps where run = ? and (status in ('ready', 'running')
    or (status = 'waiting' and phase in ('sleep', 'signal', 'approval', 'child'))
    or (status = 'pending' and (parked = 'timer' or path = ''))) order by id limit 100
"""


def name_of(run: RunRow) -> str:
    """A run as people name it."""
    return run.id if run.execution == 1 else f"{run.id}@{run.execution}"


def length(milliseconds: int) -> str:
    """A duration as people say it."""
    unit = HOUR if milliseconds > DAY else MINUTE if milliseconds > HOUR else 1000
    return format_duration(milliseconds // unit * unit)
