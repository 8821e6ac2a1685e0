"""What must hold in every sound store, whenever no transaction is open: a rule is a query for the rows that break it.

``broken(connection)`` looks at all rules; a small store takes a millisecond. The statements read and change nothing. They
are for whoever doubts a store: ``db check``, ``doctor``, and the tests that try to break one.
"""

from __future__ import annotations

import hashlib
import sqlite3
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

#: Examples that are told of each broken rule.
MOST = 3
#: What to do about rows that no command can have left so.
REPORT = "restore a backup (`yamlflow db restore`), and report this with what came before it"
#: What to do about texts that the disk has changed.
RESTORE = "the disk or the machine's memory has changed it: restore a backup (`yamlflow db restore`)"
#: What to do about a run that waits for what has happened.
AGAIN = "`yamlflow cancel` that run and start it again, and report this"


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One thing that must hold."""

    #: What breaks it, in the plural: ``ended runs with live steps``.
    name: str
    #: Gives ``(run key, path)`` of each row that breaks it; ``(null, text)`` where it is no run's.
    sql: str
    remedy: str = REPORT
    #: Whether it reads all texts, and not only the columns of every row.
    deep: bool = False


@dataclass(frozen=True, kw_only=True)
class Broken:
    """A rule that does not hold."""

    name: str
    count: int
    #: The first rows that break it, as people name them: ``crawl-1f3a/fetch[3]``.
    examples: tuple[str, ...]
    remedy: str

    def to_json(self) -> dict[str, Any]:
        """The shape that ``--json`` prints."""
        return {"name": self.name, "count": self.count, "examples": list(self.examples), "remedy": self.remedy}

    def __str__(self) -> str:
        dots = ", …" if self.count > len(self.examples) else ""
        return f"{self.name}: {self.count} ({', '.join(self.examples)}{dots}); {self.remedy}"


LIVE = "('pending', 'ready', 'running', 'waiting')"
OVER = "('succeeded', 'failed', 'skipped', 'canceled')"
#: Phases in which a group waits for its own children.
OPEN = "('steps', 'children')"
#: Whether a child is its parent's handler: ``a@finally`` of ``a``.
HANDLER = "substr(child.path, length(parent.path) + 1, 1) = '@'"
#: Whether a child is the undo of a step below its parent; then it is no child like others.
UNDO = "child.path like '%@undo'"
#: A group with its counters, and what its rows say.
FAMILIES = f"""
(select parent.*,
    count(*) filter (where not ({HANDLER}) and not ({UNDO})) as real_children,
    count(*) filter (where child.status in {LIVE}) as real_alive,
    count(*) filter (where child.status in {LIVE} and child.due is not null and child.parked is not 'slot'
        and not ({HANDLER}) and not ({UNDO})) as real_busy
 from steps as child join steps as parent on parent.id = child.parent group by parent.id)
"""

RULES: tuple[Rule, ...] = (
    # -- who belongs to whom
    Rule(
        name="steps without a run",
        sql="select null, 'step ' || id from steps where run not in (select key from runs)",
    ),
    Rule(
        name="runs without their package",
        sql="select key, '' from runs where digest not in (select digest from packages)",
    ),
    Rule(
        name="runs without a root step",
        sql="select key, '' from runs where key not in (select run from steps where path = '') "
        "and key not in (select run from removals)",
    ),
    Rule(
        name="steps whose group is not there",
        sql="select run, path from steps as child where path <> '' and run not in (select run from removals) "
        "and not exists (select 1 from steps as parent where parent.id = child.parent and parent.run = child.run)",
    ),
    Rule(
        name="live child runs whose parent is not there",
        sql="select key, '' from runs where parent_run is not null and ended_at is null "
        "and not exists (select 1 from runs as parent where parent.key = runs.parent_run)",
        remedy="`yamlflow cancel` them, or let them end",
    ),
    *(
        Rule(
            name=f"{table} of runs that are gone",
            sql=f"select null, '{table} of run ' || run from {table} where run not in (select key from runs) group by run",
            remedy="they do no harm; report this",
        )
        for table in ("events", "artifacts", "signals", "removals")
    ),
    Rule(
        name="needs of steps that are gone",
        sql="select null, 'step ' || source from edges where source not in (select id from steps) group by source",
        remedy="they do no harm; report this",
    ),
    # -- ends
    Rule(
        name="ended runs with live steps",
        sql="select steps.run, steps.path from steps join runs on runs.key = steps.run "
        f"where runs.ended_at is not null and steps.status in {LIVE}",
    ),
    Rule(
        name="runs whose status is not that of their root",
        sql=f"""
        select runs.key, '' from runs join steps on steps.run = runs.key and steps.path = ''
        where (runs.ended_at is null) <> (steps.status in {LIVE})
            or (runs.ended_at is null) <> (runs.status in ('pending', 'running'))
            or (runs.ended_at is not null and runs.status <> case when steps.reason = 'continued' then 'continued'
                when steps.status = 'skipped' then 'succeeded' else steps.status end)
        """,
    ),
    Rule(
        name="ended steps that do not say when",
        sql=f"select run, path from steps where status in {OVER} and (ended_at is null or ended is null)",
    ),
    Rule(
        name="live steps that say when they ended",
        sql=f"select run, path from steps where status in {LIVE} and (ended_at is not null or ended is not null)",
    ),
    Rule(
        name="ends that the log tells otherwise",
        sql=f"""
        select steps.run, steps.path from steps left join events on events.run = steps.run and events.seq = steps.ended
        where steps.status in {OVER} and steps.run not in (select run from removals)
            and (events.kind is not 'step.' || steps.status or events.step is not steps.path)
        """,
    ),
    Rule(
        name="runs with gaps in their log",
        sql="select run, '' from events where run not in (select run from removals) "
        "group by run having max(seq) <> count(*) or min(seq) <> 1",
    ),
    # -- counters
    Rule(
        name="runs that miscount their steps",
        sql=f"""
        select key, '' from runs left join (
            select run, count(*) as steps, sum(status in {OVER}) as done from steps group by run
        ) as counted on counted.run = runs.key
        where key not in (select run from removals) and (runs.steps <> counted.steps or runs.done <> counted.done)
        """,
    ),
    Rule(
        name="groups that miscount their children",
        sql=f"select run, path from {FAMILIES} where real_children <> children and run not in (select run from removals)",
    ),
    Rule(
        name="groups that miscount those alive",
        sql=f"select run, path from {FAMILIES} where real_alive <> alive and status in {LIVE}",
    ),
    Rule(
        name="groups that miscount the places taken",
        sql=f"select run, path from {FAMILIES} where busy > 0 and busy <> real_busy and status in {LIVE}",
    ),
    Rule(
        name="counters below nothing",
        sql="select run, path from steps where min(attempt, lost, epoch, met, missed, children, alive, busy, failures, "
        "cancellations) < 0",
    ),
    # -- leases, locks, queues
    Rule(
        name="leased steps without a worker, an end of the lease or an epoch",
        sql="select run, path from steps where status = 'running' "
        "and (worker is null or leased_until is null or epoch < 1 or (phase = 'run' and attempt < 1))",
    ),
    Rule(
        name="steps that are not leased and have a worker",
        sql="select run, path from steps where status <> 'running' and (worker is not null or leased_until is not null)",
    ),
    Rule(
        name="locks of steps that are not leased",
        sql="select locks.run, 'lock ' || name from locks left join steps on steps.id = locks.step and steps.run = locks.run "
        "where steps.status is not 'running'",
        remedy="`yamlflow worker` or `resume` gives them back within a second; if not, report this",
    ),
    Rule(
        name="leased steps without their locks",
        sql="""
        select steps.run, steps.path from steps join json_each(steps.terms, '$.locks') as wanted
        where steps.status = 'running' and steps.phase = 'run' and steps.terms is not null and not exists (
            select 1 from locks where locks.name = wanted.value and locks.step = steps.id)
        """,
    ),
    Rule(
        name="waits for locks of steps that do not wait",
        sql="select null, 'lock ' || name from lock_waits left join steps on steps.id = lock_waits.step "
        "where steps.parked is not 'lock'",
    ),
    Rule(
        name="queues with more tokens than their burst",
        sql="select null, name from queues where tokens > burst + 0.001 or tokens < -0.001",
    ),
    # -- waiting
    Rule(
        name="parked steps that nothing offers again",
        sql=f"""
        select run, path from steps where parked is not null and (
            status not in {LIVE}
            or (parked = 'timer' and available_at is null)
            or (parked = 'slot' and status <> 'pending')
            or (parked = 'lock' and (status <> 'ready' or id not in (select step from lock_waits)))
            or (parked = 'paused' and run not in (select key from runs where paused))
        )
        """,
        remedy=AGAIN,
    ),
    Rule(
        name="due steps that were not begun",
        sql="select run, path from steps where status = 'pending' and due is not null and parked is null",
        remedy=AGAIN,
    ),
    Rule(
        name="open groups without a child alive",
        sql=f"select run, path from steps where status = 'waiting' and phase in {OPEN} and alive <= 0",
        remedy=AGAIN,
    ),
    Rule(
        name="steps that wait for a signal that is there",
        sql="""
        select steps.run, steps.path from steps join signals on signals.run = steps.run
            and 'signal:' || signals.name = steps.awaits and signals.taken_by is null
        where steps.awaits is not null and steps.status = 'waiting'
        """,
        remedy=AGAIN,
    ),
    Rule(
        name="signals that were read before older ones",
        sql="""
        select run, 'signal ' || name from (
            select run, name, min(seq) filter (where taken_by is null) as unread,
                max(seq) filter (where taken_by is not null) as read
            from signals group by run, name
        ) where unread < read
        """,
    ),
    Rule(
        name="steps that wait for a run that has ended",
        sql="""
        select steps.run, steps.path from steps join runs on runs.key = json_extract(steps.wait, '$.key')
        where steps.status = 'waiting' and steps.phase = 'child' and runs.ended_at is not null
        """,
        remedy=AGAIN,
    ),
    Rule(
        name="runs that wait for a place that is free",
        sql="""
        select key, '' from runs where slot is not null and ended_at is null and status = 'pending' and not exists (
            select 1 from runs as other where other.slot = runs.slot and other.status = 'running'
                and other.slot is not null and other.ended_at is null)
        """,
        remedy=AGAIN,
    ),
    Rule(
        name="steps that wait for a duplicate that has ended",
        sql=f"""
        select run, path from steps where status = 'waiting' and phase = 'dedup' and not exists (
            select 1 from steps as other where other.run = steps.run and other.dedup_key = steps.dedup_key
                and other.dedup_key is not null and other.id <> steps.id and other.status in {LIVE} and other.phase <> 'dedup')
        """,
        remedy=AGAIN,
    ),
    Rule(
        name="live runs that nothing can bring further",
        sql="""
        select key, '' from runs where status in ('pending', 'running') and status = 'running' and not exists (
            select 1 from steps where steps.run = runs.key and (status in ('ready', 'running')
                or (status = 'pending' and parked = 'timer')
                or (status = 'waiting' and phase in ('sleep', 'signal', 'approval', 'child'))))
        """,
        remedy=AGAIN,
    ),
    # -- what is stored
    Rule(
        name="results that are not what was written",
        sql="select run, path from steps where result is not null and checksum is not yamlflow_crc32(cast(result as blob))",
        remedy=RESTORE,
        deep=True,
    ),
    Rule(
        name="kept results that are not what was written",
        sql="select null, package || '/' || step || ' ' || key from cache "
        "where checksum is not null and checksum <> yamlflow_crc32(cast(result as blob))",
        remedy="`yamlflow cache` forgets them; no step takes them",
        deep=True,
    ),
    Rule(
        name="package texts that are not what was written",
        sql="select null, name || ' ' || substr(digest, 1, 12) from packages where digest <> yamlflow_sha256(cast(text as blob))",
        remedy=RESTORE,
        deep=True,
    ),
    Rule(
        name="texts that are no JSON",
        sql="""
        select key, '' from runs where not (json_valid(inputs) and json_valid(metadata) and json_valid(context))
        union all
        select run, path from steps where not (json_valid(coalesce(definition, '0')) and json_valid(coalesce(scope, '0'))
            and json_valid(coalesce(cancel, '0')) and json_valid(coalesce(fault, '0')) and json_valid(coalesce(error, '0'))
            and json_valid(coalesce(wait, '0')) and json_valid(coalesce(terms, '0')))
        union all
        select run, 'signal ' || name from signals where not json_valid(data)
        union all
        select run, 'event ' || seq from events where payload is not null and not json_valid(payload)
        union all
        select null, 'record ' || seq from records where not json_valid(data)
        """,
        remedy=RESTORE,
        deep=True,
    ),
)  # fmt: skip


def broken(connection: sqlite3.Connection, *, rules: Iterable[Rule] = RULES) -> list[Broken]:
    """The rules that a store does not keep. The connection must be in no transaction of its own that has written."""
    connection.create_function("yamlflow_crc32", 1, zlib.crc32, deterministic=True)
    connection.create_function("yamlflow_sha256", 1, lambda text: hashlib.sha256(text).hexdigest(), deterministic=True)
    found = []
    for rule in rules:
        try:
            cursor = connection.execute(rule.sql)
            rows = cursor.fetchmany(MOST)
            count = len(rows) + sum(1 for _ in cursor)
        except sqlite3.OperationalError as wrong:
            # That a text is no JSON is a rule of its own; who reads what is in it cannot tell more.
            if "malformed JSON" not in str(wrong):
                raise
            continue
        if rows:
            examples = tuple(example(connection, *row) for row in rows)
            found.append(Broken(name=rule.name, count=count, examples=examples, remedy=rule.remedy))
    return found


def example(connection: sqlite3.Connection, run: int | None, path: Any) -> str:
    """A row as people name it."""
    if run is None:
        return str(path)
    row = connection.execute("select id, execution from runs where key = ?", (run,)).fetchone()
    name = f"run {run}" if row is None else row[0] if row[1] == 1 else f"{row[0]}@{row[1]}"
    return f"{name}/{path}" if path else str(name)
