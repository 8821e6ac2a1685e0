"""Every reason why a step stands where it stands has its words."""

from __future__ import annotations

import json
from typing import Any

import pytest

from yamlflow.rows import HeldLock, RunRow, StepRow, new_step
from yamlflow.views.queues import QueueView
from yamlflow.views.reasons import Surroundings, moment, why
from yamlflow.views.workers import WorkerView

NOW = 1_000_000
RUN = RunRow(
    1, "r", 1, "p", "d", "running", None, None, "{}", "{}", "{}", None, None, 0, 1, 0, None, NOW, NOW, None
)  # fmt: skip
LATER = NOW + 60_000
AT = moment(LATER, NOW)


def step(**changes: Any) -> StepRow:
    """A step of the run."""
    return new_step(id=2, run=1, path="a", parent=1)._replace(**changes)


def worker(**changes: Any) -> WorkerView:
    """A worker that lives and takes everything."""
    given: dict[str, Any] = {"kinds": ("noop",), **changes}
    return WorkerView(name="w", host="h", pid=1, status="running", started_at=0, seen_at=0, **given)


def queue(**changes: Any) -> QueueView:
    """A queue without limits."""
    given: dict[str, Any] = {
        "ready": 1, "in_flight": 0, "max_in_flight": None, "rate": None, "burst": 1, "tokens": None, "token_at": None,
        "paused": False, **changes,
    }  # fmt: skip
    return QueueView(name="q", **given)


def ready(**changes: Any) -> StepRow:
    """A call that could be offered."""
    return step(**{"status": "ready", "phase": "run", "kind": "noop", "queue": "q", **changes})


def waiting(phase: str, **changes: Any) -> StepRow:
    """A step that waits for something."""
    return step(status="waiting", phase=phase, **changes)


CASES: list[tuple[StepRow, dict[str, Any], str | None]] = [
    (step(), {}, "waits for its group"),
    (step(parked="slot"), {}, "not offered: waits for a place"),
    (step(parked="timer", available_at=LATER), {}, f"begins at {AT}"),
    (step(path=""), {"run": RUN._replace(slot="p/k", status="pending")},
     'waits until another run with the key "k" has ended (concurrency)'),
    (ready(parked="timer", available_at=LATER, attempt=1), {}, f"backing off until {AT}"),
    (ready(parked="timer", available_at=LATER), {}, f"held back until {AT}"),
    (ready(parked="paused"), {}, "paused: `yamlflow unpause` lets it go on"),
    (ready(), {"run": RUN._replace(paused=1)}, "paused: `yamlflow unpause` lets it go on"),
    (ready(), {"queues": {"q": queue(paused=True)}}, 'its queue "q" is paused'),
    (ready(), {"queues": {"q": queue(max_in_flight=2, in_flight=2)}}, 'queue "q" is full (2 of 2 in flight)'),
    (ready(), {"queues": {"q": queue(token_at=LATER)}}, f'queue "q" has no token until {AT}'),
    (ready(parked="lock", terms=json.dumps({"locks": ["l"]})),
     {"locks": lambda names: [HeldLock("l", "other", 2, "b", NOW, 1)]}, 'waits for lock "l", held by other@2/b'),
    (ready(parked="lock", terms=json.dumps({"locks": ["l"]})), {}, "its locks are free again: it is about to be offered"),
    (ready(), {"workers": []}, "no worker is running: `yamlflow resume` or `yamlflow worker` takes it up"),
    (ready(), {"workers": [worker(runs=(9,))]},
     "no worker takes it: those that run work on other runs; `yamlflow resume` takes it up"),
    (ready(kind="x"), {"workers": [worker()]},
     'no worker knows kind "x": start one with the plugin that supplies it'),
    (ready(), {"workers": [worker(queues=("other",))]},
     'no worker serves queue "q": start one that does (`--queues q`)'),
    (ready(), {"workers": [worker(queues=("other",)), worker(kinds=("x",))]},
     'no worker that knows kind "noop" serves queue "q": start one that does (`--queues q`)'),
    (ready(), {"workers": [worker()]}, 'waits for a worker in queue "q"'),
    (ready(kind="", queue="", phase="gate"), {"workers": [worker(queues=("other",))]}, "waits for a worker"),
    (ready(), {"workers": [worker(kinds=None)]}, 'waits for a worker in queue "q"'),
    (ready(), {"run": RUN._replace(key=5, parent_run=9), "workers": [worker(runs=(9,))]},
     'waits for a worker in queue "q"'),
    (step(status="running", cancel="{}"), {}, "being canceled"),
    (step(status="running"), {}, None),
    (waiting("sleep", available_at=LATER), {}, f"sleeps until {AT}"),
    (waiting("signal", wait='{"signal": "go"}', available_at=LATER), {},
     f'waits for the signal "go": `yamlflow signal r go` sends it, until {AT}'),
    (waiting("approval", wait='{"prompt": "ok?"}'), {}, "asks: ok? (`yamlflow approve r a`)"),
    (waiting("approval", wait="{}"), {}, "asks for a yes or no (`yamlflow approve r a`)"),
    (waiting("child", wait='{"run": "c"}'), {}, 'waits for run "c"'),
    (waiting("child", wait='{"run": "c"}', error="{}"), {}, 'its timeout passed; waits for run "c"'),
    (waiting("child", wait='{"run": "c"}', cancel="{}"), {}, "being canceled"),
    (waiting("dedup"), {}, "waits for the step that has the same dedup_key"),
    (waiting("undo"), {}, "its undo runs"),
    (waiting("handler"), {}, "its handler runs"),
    (waiting("steps"), {}, None),
    (step(status="skipped", reason="if"), {}, "its `if` was false"),
    (step(status="skipped", reason="concurrency"), {}, "another run has the key of its package's `concurrency`"),
    (step(status="skipped", reason="failed"), {}, "because of what it needs (failed)"),
    (step(status="canceled", cancel='{"origin": "race"}'), {}, "another branch won"),
    (step(status="canceled", cancel='{"by": "ann", "reason": "no"}'), {}, "by ann: no"),
    (step(status="succeeded"), {}, None),
]  # fmt: skip


@pytest.mark.parametrize(("row", "around", "words"), CASES, ids=[f"{row.status}: {words}" for row, _, words in CASES])
def test_a_step_says_why_it_stands_where_it_stands(row: StepRow, around: dict[str, Any], words: str | None) -> None:
    given: dict[str, Any] = {"run": RUN, "now": NOW, **around}
    assert why(row, None, Surroundings(**given)) == words
