"""The ground of the suite: an empty store, and the rows that most claims begin with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ...rows import PackageRow, RunRow, StepRow, new_step
from ..base import Store

PACKAGE = PackageRow("digest", "pkg", "1", "yamlflow: 1", None, 0)


def run_row(id: str = "r", execution: int = 1, **changes: Any) -> RunRow:
    """A live run."""
    row = RunRow(
        key=0, id=id, execution=execution, package="pkg", digest="digest", status="running", name=None, version=None,
        inputs="{}", metadata="{}", context="{}", folder=None, parent=None, paused=0, steps=0, done=0, started_by=None,
        created_at=1, started_at=1, ended_at=None,
    )  # fmt: skip
    return row._replace(**changes)


class Ground:
    """Inherit, and say how to make an empty store."""

    def make_store(self, folder: Path) -> Store:
        """An empty store that keeps what it has below ``folder``."""
        raise NotImplementedError

    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[Store]:
        store = self.make_store(tmp_path)
        yield store
        store.close()

    def add_run(self, store: Store, id: str = "r", **changes: Any) -> RunRow:
        with store.transaction() as tx:
            tx.put_package(PACKAGE)
            return tx.insert_run(run_row(id, **changes))

    def add_steps(self, store: Store, run: RunRow, count: int = 1, **changes: Any) -> list[StepRow]:
        with store.transaction() as tx:
            first = tx.reserve(count)
            rows = [
                new_step(id=first + n, run=run.key, path=f"s{first + n}", parent=None)._replace(
                    status="ready", phase="run", queue="q", rank=n + 1
                )._replace(**changes)
                for n in range(count)
            ]  # fmt: skip
            tx.insert_steps(rows)
        return rows

    def claim(self, store: Store, limit: int = 10, worker: str = "w", **more: Any) -> list[StepRow]:
        with store.transaction() as tx:
            return tx.claim("q", limit=limit, worker=worker, until=1000, now=5, **more)
