"""What a worker can execute, and what others can: who leaves which steps to whom.

A worker for everybody takes only steps of kinds that it has. What it lacks it leaves to others, and where nobody has it,
waiting: somebody may start a worker that does. A worker that was started for some runs (``yamlflow run``, ``resume``), and
``run_once``, leave a step only to a worker that lives and has its kind; what nobody has fails with ``missing_kind``.
"""

from __future__ import annotations

import json
from collections.abc import Collection

from .lookup import Bench
from .scheduler import Here, is_dead

#: Runs that a worker names in its row at most; it may work on more.
MOST_RUNS = 1000


def able(bench: Bench, chosen: Collection[str] | None) -> tuple[str, ...]:
    """The kinds that are here, of those that were chosen; None is all."""
    known = bench.plugins.executors
    return tuple(known) if chosen is None else tuple(kind for kind in chosen if kind in known)


def known_elsewhere(bench: Bench, kind: str, here: Here) -> bool:
    """Whether another worker lives that can execute a kind."""
    return any(
        kind in json.loads(row.kinds or "[]")
        for row in bench.store.workers()
        if row.name != here.worker and not is_dead(row, host=here.host, boot=here.boot)
    )


def told(
    bench: Bench, *, queues: Collection[str] | None, kinds: Collection[str] | None, runs: Collection[int] | None
) -> dict[str, str | None]:
    """What a worker's row says of the steps that it takes."""
    return {
        "queues": None if queues is None else json.dumps(sorted(queues)),
        "kinds": json.dumps(sorted(able(bench, kinds))),
        "runs": None if runs is None else json.dumps(sorted(runs)[-MOST_RUNS:]),
    }
