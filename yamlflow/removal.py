"""Removing runs that have ended, with everything of theirs, by command or when their package's ``retention`` says so.

A run is marked first, then its files go, then its rows, the run's own last, with the mark. So its id stays taken until
nothing of it is left, and what a crash left half done anybody can find and end. A run that goes on is never touched.
"""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Protocol

from .clock import MINUTE, Clock
from .errors import NotAllowed
from .logs import run_folder
from .packages import Plans
from .ports import ArtifactStore
from .rows import RunRow
from .store.base import Store

#: Ends after which nothing follows.
FINISHED = ("succeeded", "failed", "canceled")
#: How often a process looks for runs that nobody has to keep.
EVERY = MINUTE
#: Runs that one look removes at most; when there were so many the next look comes at once.
BATCH = 50
#: Rows of a table that one transaction deletes at most.
ROWS = 20_000
#: After this time a removal that has not come to its end is taken for abandoned.
PATIENCE = 10 * MINUTE

_LOG = logging.getLogger("yamlflow.removal")


class Projected(Protocol):
    """Where the projections are."""

    def path(self, name: str) -> Path:
        """The file of a projection."""


class Remover:
    """What it takes to remove runs of a store: the store, and the folders of their files."""

    def __init__(
        self, store: Store, *, plans: Plans, clock: Clock, home: Path, artifacts: ArtifactStore, projections: Projected
    ) -> None:
        self._store = store
        self._plans = plans
        self._clock = clock
        self._home = home
        self._artifacts = artifacts
        self._projections = projections
        self._looked: int | None = None
        self._more = False
        self._stopping = False

    # -- one run

    def remove(self, run: RunRow) -> bool:
        """Remove one run; False when it is gone already. ``NotAllowed`` while it goes on, ``OSError`` when a file stays."""
        with self._store.transaction() as tx:
            row = tx.run(run.key)
            if row is None:
                return False
            refuse_live(row)
            tx.mark_leaving(row.key, self._clock.now() + PATIENCE)
        self._finish(row)
        return True

    def _finish(self, run: RunRow) -> None:
        self._remove_files(run)
        gone = False
        while not gone:
            with self._store.transaction() as tx:
                gone = tx.run(run.key) is None or tx.remove_run(run.key, limit=ROWS)

    def _remove_files(self, run: RunRow) -> None:
        folder = run_folder(self._home, run.id, run.execution)
        remove_folder(folder)
        self._artifacts.remove_run(f"{run.id}/{run.execution}")
        try:
            # Of its last execution; a folder that holds others' stays.
            folder.parent.rmdir()
        except OSError:
            pass
        projection = self._plans(run.digest).package.projection.get("name") or run.package
        remove_markers(self._projections.path(projection), f"{run.id}/{run.execution}@{run.started_at}")

    # -- many

    def stop(self) -> None:
        """Let a sweep that goes on in another thread end with the run it is at."""
        self._stopping = True

    def go_on(self) -> None:
        """Sweep again."""
        self._stopping = False

    @property
    def is_time(self) -> bool:
        """Whether ``sweep`` would look: the last time was a minute ago, or did not do it all."""
        return self._more or self._looked is None or self._clock.steady() - self._looked >= EVERY

    def sweep(self) -> int:
        """Once a minute at most: end removals that were left half done, and remove what need not be kept; how many went."""
        if not self.is_time:
            return 0
        self._looked, self._more = self._clock.steady(), False
        removed = tried = 0
        for run in (*self._abandoned(), *self.overdue(BATCH)):
            if self._stopping:
                break
            tried, removed = tried + 1, removed + self.attempt(run)
        self._more = tried >= BATCH
        return removed

    def apply_retention(self) -> int:
        """Remove every run that its package's newest ``retention`` does not keep; how many went."""
        removed = sum(self.attempt(run) for run in self._abandoned())
        while True:
            # A run that cannot be removed is marked, and so is not found again.
            found = [*self.overdue(BATCH)]
            removed += sum(self.attempt(run) for run in found)
            if not found:
                return removed

    def overdue(self, limit: int) -> Iterator[RunRow]:
        """Runs that their package's newest ``retention`` does not keep."""
        now = self._clock.now()
        for row in self._store.retentions():
            for keep, statuses in ((row.finished, FINISHED), (row.continued, ("continued",))):
                if keep is not None and limit > 0:
                    keys = self._store.ended_runs(row.package, statuses, upto=now - keep, limit=limit)
                    limit -= len(keys)
                    yield from self._rows(keys)

    def _abandoned(self) -> Iterator[RunRow]:
        return self._rows(self._store.leaving(self._clock.now(), BATCH))

    def _rows(self, keys: list[int]) -> Iterator[RunRow]:
        return (row for row in map(self._store.run_at, keys) if row is not None)

    def attempt(self, run: RunRow) -> int:
        """Remove one of many: trouble with its files or its projection is told, and does not stop the others."""
        try:
            return int(self.remove(run))
        except NotAllowed:
            # Reopened since it was found.
            return 0
        except (OSError, sqlite3.Error) as trouble:
            _LOG.warning("run %s@%s is not removed, files of it stay: %s", run.id, run.execution, trouble)
            return 0


def refuse_live(run: RunRow) -> None:
    """``NotAllowed`` for a run that has not ended."""
    if run.ended_at is None:
        raise NotAllowed(f'run "{run.id}" has not ended; cancel it first: yamlflow cancel {run.id}')


def remove_folder(folder: Path) -> None:
    """Remove a folder and all below it, also what was made read-only; nothing happens when it is not there."""
    if not folder.is_dir():
        return
    try:
        shutil.rmtree(folder)
    except PermissionError:
        for above, _, _ in os.walk(folder):
            os.chmod(above, stat.S_IRWXU)
        shutil.rmtree(folder)


def remove_markers(projection: Path, run: str) -> None:
    """Forget which statements of a run were applied to its projection."""
    if not projection.exists():
        return
    with closing(sqlite3.connect(projection, timeout=30, isolation_level=None)) as connection:
        if connection.execute("select 1 from sqlite_master where name = '_yamlflow_applied'").fetchone():
            connection.execute("delete from _yamlflow_applied where run = ?", (run,))
