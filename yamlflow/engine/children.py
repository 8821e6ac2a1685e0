"""Runs that steps ask for: a child that the step may wait for, and the run's own next execution.

What the end of such a run means for others stands in ``runs``.
"""

from __future__ import annotations

import json
from dataclasses import replace

from .. import lifecycle
from ..errors import RunExists, StartRefused
from ..outcome import Error
from ..rows import RunRow, StepRow
from .decisions import Renewed, Spawned
from .ends import CONTINUED, cancel_children, end, skip
from .places import place_above, tell_refusal
from .runs import Parent, start, tell_parent
from .waits import parked, told
from .work import Work

#: Runs within runs: a package that starts itself without end stops here.
MAX_DEPTH = 50


def spawn(work: Work, row: StepRow, outcome: Spawned) -> Error | None:
    """Start a run as a step's child, and let the step wait for it; why it cannot be started."""
    run = work.run(row.run)
    if run.depth >= MAX_DEPTH:
        message = f"runs may start runs {MAX_DEPTH} levels deep; this one would be deeper"
        return Error(code="limit_exceeded", message=message, permanent=True)
    parent = Parent(run=run, step=row.id, on_parent_close=outcome.on_parent_close)
    wanted = replace(outcome.start, by=f"step {run.id}/{row.path}")
    known = work.tx.find_run(wanted.run_id)
    own = known if known is not None and is_its_own(work, row, known, str(wanted.by)) else None
    if wanted.if_exists == "fail" and own is not None:
        # The run of an earlier attempt at this very step has ended: this one is its next execution.
        wanted = replace(wanted, if_exists="new")
    if outcome.wait and (above := place_above(work, run, wanted)) is not None:
        key = (wanted.slot or "").partition("/")[2]
        message = (
            f'run "{wanted.run_id}" would wait for run "{above.id}", which waits for it: both have the key "{key}"'
        )
        return Error(code="concurrency", message=message)
    try:
        joined = None if own is None else rejoined(work, row, own)
        child, fresh = (joined, True) if joined is not None else start(work, wanted, parent)
    except RunExists as taken:
        return Error(code="run_exists", message=str(taken))
    except StartRefused as full:
        tell_refusal(work, full, wanted)
        if full.skipped:
            skip(work, row, "concurrency")
            return None
        return Error(code="concurrency", message=str(full))
    wait = {
        "run": child.id, "execution": child.execution, "key": child.key,
        "on_parent_close": outcome.on_parent_close if fresh else "abandon",
    }  # fmt: skip
    if not outcome.wait:
        done = row._replace(wait=json.dumps({**wait, "key": None}))
        end(work, lifecycle.ended(done, "succeed", now=work.now))
        return None
    row = work.put(parked(work, row, "child", None, outcome.deadline)._replace(wait=json.dumps(wait)))
    work.event(row.run, "step.waiting", row.path, told(row, {"run": child.id, "execution": child.execution}))
    if child.ended_at is not None:
        root = work.at(child.key, "")
        assert root is not None
        tell_parent(work, child, root)
    return None


def rejoined(work: Work, row: StepRow, own: RunRow) -> RunRow | None:
    """The run that this very step has started before and that goes on, or that an operator's retry let it wait for again.

    None where it has ended: another is to be started.
    """
    if own.ended_at is not None:
        return own if json.loads(row.wait or "{}").get("rejoin") == own.key else None
    root = work.at(own.key, "")
    if root is None or root.cancel is not None:
        return None
    work.put_run(work.run(own.key)._replace(parent=row.id))
    return work.run(own.key)


def is_its_own(work: Work, row: StepRow, known: RunRow, by: str) -> bool:
    """Whether a run was started by an earlier attempt at a step, or by the step that stood there before a retry made it anew."""
    if known.parent == row.id:
        return True
    return (
        known.parent_run == row.run and known.started_by == by and (known.parent is None or not work.find(known.parent))
    )


def renew(work: Work, row: StepRow, outcome: Renewed) -> Error | None:
    """End the run here and let it go on as its next execution, once all that runs has ended and ``finally`` has run."""
    root = work.at(row.run, "")
    assert root is not None
    if row.parent != root.id or root.phase != "steps" or root.reason is not None or root.error is not None:
        message = "the run is ending already, or this step is not one of the package's own"
        return Error(code="bad_input", message=message, permanent=True)
    wanted, run = outcome.start, work.run(row.run)
    work.tx.put_package(wanted.package)
    told = {
        "digest": wanted.package.digest, "version": wanted.package.version, "folder": wanted.folder,
        "inputs": dict(wanted.inputs), "name": wanted.name, "slot": wanted.slot,
        "metadata": {**json.loads(run.metadata), **wanted.metadata},
        "steps": [{"key": one.key, "definition": one.definition, "scope": one.scope} for one in wanted.steps],
    }  # fmt: skip
    end(work, lifecycle.ended(row, "succeed", now=work.now))
    root = work.put(work.step(root.id)._replace(reason=CONTINUED, wait=json.dumps({"continue": told})))
    cancel_children(work, root, {"origin": CONTINUED})
    return None
