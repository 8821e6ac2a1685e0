"""The SQLite store's statements for signals, waits, and what binds runs to one another."""

from __future__ import annotations

import sqlite3

from ..rows import RunRow, SignalRow, StepRow

RUN = ", ".join(RunRow._fields)
STEP = ", ".join(StepRow._fields)
SIGNAL = ", ".join(SignalRow._fields)

PUT_SIGNAL = """
insert into signals (run, name, data, sender, key, at, run_id)
values (?, ?, ?, ?, ?, ?, (select id from runs where runs.key = ?))
on conflict (run_id, key) where key is not null do nothing returning seq
"""
READ_SIGNAL = f"""
update signals set taken_by = ?
where seq = (select seq from signals where run = ? and name = ? and taken_by is null order by seq limit 1)
returning {SIGNAL}
"""
#: By the partial index over steps that await something: as many rows as wait, not as many as the run has.
WAITERS = (
    f"select {STEP} from steps where run = ? and awaits = ? and awaits is not null order by started_at, id limit ?"
)
CHILDREN = f"select {RUN} from runs where parent_run = ? and parent_run is not null and ended_at is null order by key"
IN_SLOT = f"select {RUN} from runs where slot = ? and status = ? and slot is not null and ended_at is null order by key limit ?"
SIGNALS = f"select {SIGNAL} from signals where run = ? and (? or taken_by is null) order by seq limit ?"


class MessageStatements:
    """Part of one transaction on the store's connection."""

    _db: sqlite3.Connection

    def put_signal(self, row: SignalRow) -> SignalRow | None:
        kept = self._db.execute(
            PUT_SIGNAL, (row.run, row.name, row.data, row.sender, row.key, row.at, row.run)
        ).fetchone()
        return None if kept is None else row._replace(seq=kept[0])

    def has_signal(self, run_id: str, key: str) -> bool:
        sql = "select 1 from signals where run_id = ? and key = ? and key is not null"
        return self._db.execute(sql, (run_id, key)).fetchone() is not None

    def read_signal(self, run: int, name: str, step: int) -> SignalRow | None:
        row = self._db.execute(READ_SIGNAL, (step, run, name)).fetchone()
        return None if row is None else SignalRow._make(row)

    def move_signals(self, run: int, successor: int) -> int:
        sql = "update signals set run = ? where run = ? and taken_by is null"
        return self._db.execute(sql, (successor, run)).rowcount

    def awaiting(self, run: int, awaits: str) -> StepRow | None:
        row = self._db.execute(WAITERS, (run, awaits, 1)).fetchone()
        return None if row is None else StepRow._make(row)

    def children(self, run: int) -> list[RunRow]:
        return [RunRow._make(row) for row in self._db.execute(CHILDREN, (run,))]

    def adopt_children(self, run: int, successor: int) -> None:
        self._db.execute("update runs set parent_run = ? where parent_run = ? and ended_at is null", (successor, run))

    def in_slot(self, slot: str, status: str, limit: int) -> list[RunRow]:
        return [RunRow._make(row) for row in self._db.execute(IN_SLOT, (slot, status, limit))]
