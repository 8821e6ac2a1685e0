"""A run as a tree of steps, each with why it stands where it stands."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from ..lifecycle import TERMINAL
from ..outcome import Json
from ..packages import Plans
from ..plan import UNDO
from ..rows import RunRow, StepRow
from ..store.base import Reader
from .graph import RunGraph, form_of
from .queues import queues_of
from .reasons import Surroundings, why
from .runs import text_of
from .workers import workers_of

#: Children of one step that are listed; of more, those that matter most.
MOST = 20
#: What matters, in this order.
FIRST = (("failed",), ("running",), ("waiting", "ready"), ("canceled",))


#: A step that waits holds what it comes to should its time run out; that is no error yet.
NO_ERROR = ("succeeded", "waiting")


@dataclass(frozen=True, kw_only=True)
class StepView:
    """One step, and what is listed below it."""

    path: str
    #: The last part of its path: ``head``, ``enrich[3]``, ``@finally``; of an undo with the step: ``head@undo``.
    label: str
    title: str | None
    #: Its kind, or ``group``, ``for_each``, ``matrix``, ``repeat``.
    form: str
    status: str
    #: Why it waits, was skipped or canceled; None when there is nothing to say.
    reason: str | None
    attempts: int
    worker: str | None
    error: Json
    result: Json
    started_at: int | None
    ended_at: int | None
    #: Milliseconds from its start to its end, or until now; None when it never started.
    duration: int | None
    #: Children there are, those that have ended, and those that failed unhandled.
    total: int
    done: int
    failed: int
    children: tuple[StepView, ...] = ()
    #: Children that are not listed.
    hidden: int = 0

    def to_json(self) -> dict[str, Json]:
        """The shape that ``--json`` prints."""
        return {
            "path": self.path,
            "title": self.title,
            "kind": self.form,
            "status": self.status,
            "reason": self.reason,
            "attempts": self.attempts,
            "worker": self.worker,
            "error": self.error,
            "started_at": text_of(self.started_at),
            "ended_at": text_of(self.ended_at),
            "duration_ms": self.duration,
            "children": {"total": self.total, "done": self.done, "failed": self.failed, "hidden": self.hidden},
            "steps": [child.to_json() for child in self.children],
        }


def tree_of(
    reader: Reader,
    plans: Plans,
    run: RunRow,
    *,
    now: int,
    path: str = "",
    most: int = MOST,
    working: bool = False,
) -> StepView | None:
    """The step at a path (the package) with what is below it; None when there is none.

    ``working`` says that somebody certainly works on the run, whatever is known of workers.
    """
    row = next(iter(reader.steps_at(run.key, [path])), None)
    if row is None:
        return None
    around = Surroundings(
        run=run,
        now=now,
        queues={queue.name: queue for queue in queues_of(reader, now=now)},
        steps_at=lambda paths: reader.steps_at(run.key, paths),
        locks=reader.locks,
        signals=plans(run.digest).package.signals,
        workers=None if working else [worker for worker in workers_of(reader) if worker.alive],
    )
    return Builder(RunGraph(reader, plans, run), around).view(row, most)


class Builder:
    """Builds the views of one run."""

    def __init__(self, graph: RunGraph, around: Surroundings) -> None:
        self._graph = graph
        self._around = around

    def view(self, row: StepRow, most: int, above: str = "") -> StepView:
        """A step with its children, at most ``most`` of each; ``above`` is the path of what it is listed under."""
        node = self._graph.node(row)
        children = self._children(row, most) if row.children or node is None or node.call is None else []
        deeper = most if row.children <= most else max(3, most // 4)
        shown = tuple(self.view(child, deeper, row.path) for child in children)
        counted = sum("@" not in label(child.path, row.path) for child in children)
        return StepView(
            path=row.path,
            label=label(row.path, above if row.path.endswith(UNDO) else None),
            title=node.step.title if node else None,
            form=form_of(node, row),
            status=row.status,
            reason=why(row, node, self._around),
            attempts=row.attempt,
            worker=row.worker,
            error=json.loads(row.error) if row.error and row.status not in NO_ERROR else None,
            result=row.result,
            started_at=row.started_at,
            ended_at=row.ended_at,
            duration=None
            if row.started_at is None or row.status == "skipped"
            else max(0, (row.ended_at or self._around.now) - row.started_at),
            total=row.children,
            done=row.children - row.alive if row.status not in TERMINAL else row.children,
            failed=row.failures,
            children=shown,
            hidden=max(0, row.children - counted),
        )

    def _children(self, row: StepRow, most: int) -> Sequence[StepRow]:
        reader = self._graph.reader
        if row.children <= most:
            return reader.children(row.run, row.path, row.id)
        chosen: dict[int, StepRow] = {}
        for statuses in FIRST:
            if len(chosen) < most:
                left = max(1, (most - len(chosen)) // 2 if statuses != FIRST[-1] else most - len(chosen))
                some = reader.children(row.run, row.path, row.id, statuses=statuses, limit=left)
                chosen.update((child.id, child) for child in some)
        if not chosen:
            chosen.update((child.id, child) for child in reader.children(row.run, row.path, row.id, limit=3))
        return sorted(chosen.values(), key=lambda child: (child.ordinal, child.id))


def label(path: str, above: str | None) -> str:
    """The last part of a path: an id with its key, or a handler's name."""
    if above is not None:
        return path[len(above) :].lstrip("/")
    cut = max(path.rfind("/"), path.rfind("@") - 1 if "@" in path else -1)
    return path[cut + 1 :]
