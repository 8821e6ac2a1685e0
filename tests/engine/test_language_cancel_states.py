"""A cancel takes effect whatever a run waits for: each state, each way to be blocked, one claim."""

from __future__ import annotations

import json

import pytest

from .stage import Stage, package

#: How a step is blocked -> the package, the path of the step, and how its row stands then: (status, phase, parked).
BLOCKED: dict[str, tuple[str, str, tuple[str, str, str | None]]] = {
    "a need": ("a: {kind: sleep, with: {for: 9h}}, b: {needs: a, kind: ok}", "b", ("pending", "", None)),
    "a full queue": (
        "a: {kind: held, queue: narrow}, b: {needs: {a0: finished}, kind: ok, queue: narrow}, a0: {kind: ok}",
        "b",
        ("ready", "run", None),
    ),
    "its execution": ("a: {kind: held}", "a", ("running", "run", None)),
    "its back-off": ("a: {kind: bad, retry: {max_attempts: 5, delay: 9h}}", "a", ("ready", "run", "timer")),
    "time": ("a: {kind: sleep, with: {for: 9h}}", "a", ("waiting", "sleep", "timer")),
    "a signal": ("a: {kind: wait_signal, with: {signal: go}}", "a", ("waiting", "signal", None)),
    "a signal with a timeout": (
        "a: {kind: wait_signal, timeout: 9h, with: {signal: go}}",
        "a",
        ("waiting", "signal", "timer"),
    ),
    "an answer": ("a: {kind: approval}", "a", ("waiting", "approval", None)),
    "a child run": ("a: {kind: workflow, with: {package: sleeper}}", "a", ("waiting", "child", None)),
    "a lock": ("a: {kind: held, locks: [one]}, b: {kind: ok, locks: [one]}", "b", ("ready", "run", "lock")),
    "a place in its group": (
        "g: {max_parallel: 1, steps: {a: {kind: held}, b: {kind: ok}}}",
        "g/b",
        ("pending", "", "slot"),
    ),
    "a step of the same dedup_key": (
        "a: {kind: held, dedup_key: k}, b: {needs: {c: finished}, kind: ok, dedup_key: k}, c: {kind: ok}",
        "b",
        ("waiting", "dedup", None),
    ),
    "the pause between iterations": (
        "a: {kind: ok, with: {value: 1}, repeat: {until: 'false', every: 9h}}",
        "a[1]",
        ("pending", "", "timer"),
    ),
    "the timeout of its group": (
        "g: {timeout: 9h, steps: {a: {kind: sleep, with: {for: 9h}}}}",
        "g",
        ("waiting", "steps", "timer"),
    ),
}


def blocked(stage: Stage, steps: str) -> None:
    """A run of these steps, as far as it goes; what is of the kind ``held`` is in the test's hand."""
    from yamlflow.executors import executor

    @executor("held", schema={}, mode="inline")
    def held() -> None:
        raise AssertionError("nobody executes it")

    stage.runtime.register(held)
    stage.runtime.register(package("steps: {nap: {kind: sleep, with: {for: 9h}}}", "sleeper"))
    stage.start(f"queues: {{narrow: {{max_in_flight: 1}}}}\nsteps: {{{steps}}}\nfinally: [{{id: tidy, kind: ok}}]")
    stage.lease(kinds=["held"])
    while others := [path for path in {**stage.held, **dict.fromkeys(stage.lease())} if kind_of(stage, path) != "held"]:
        for path in others:
            play(stage, path)


def kind_of(stage: Stage, path: str) -> str:
    """The kind of a call in hand."""
    return stage.held[path].kind


def play(stage: Stage, path: str) -> None:
    """Execute a call in hand for real."""
    from yamlflow.once import execute_here

    row = stage.held.pop(path)
    stage.report(row, execute_here(stage.runtime.bench, row, "hand").outcome)
    stage.decide()


@pytest.mark.parametrize("how", BLOCKED)
def test_a_run_that_is_blocked_is_canceled_at_once(stage: Stage, how: str) -> None:
    steps, path, stands = BLOCKED[how]
    blocked(stage, steps)
    row = stage.row(path)
    assert (row.status, row.phase, row.parked) == stands, stage.statuses()
    assert stage.runtime.cancel(stage.run_id, reason="enough", by="ann")
    row = stage.row(path)
    if row.status == "running":
        assert json.loads(row.cancel or "") == {"reason": "enough", "by": "ann", "origin": "user"}
    elif row.phase == "child":
        child = stage.runtime.run(f"{stage.run_id}.a")
        assert child is not None
        assert child.status == "canceled", "nothing of it ran"
    assert "ready" not in {row.status for row in stage.rows().values() if row.path and "@" not in row.path}
    for held in list(stage.held):
        stage.fail(held, code="canceled", permanent=True)
    assert stage.finish() == "canceled"
    assert stage.status(path) in ("canceled", "skipped")
    assert stage.status("@finally/tidy") == "succeeded", "what cleans up runs all the same"
    assert stage.store.next_timer() is None
    assert not stage.runtime.cancel(stage.run_id), "canceled twice is harmless"


@pytest.mark.parametrize("how", [how for how in BLOCKED if how not in ("a need", "its execution")])
def test_a_step_that_is_blocked_can_be_canceled_alone(stage: Stage, how: str) -> None:
    steps, path, _ = BLOCKED[how]
    blocked(stage, steps)
    assert stage.runtime.cancel(stage.run_id, path, reason="not this one")
    for held in list(stage.held):
        stage.end(held)
    assert stage.finish() == "canceled", "a step that somebody canceled"
    assert stage.status(path) == "canceled"


def test_a_run_that_waits_for_its_place_is_canceled_at_once(stage: Stage) -> None:
    body = "concurrency: {key: k}\nsteps: {nap: {kind: sleep, with: {for: 9h}}}"
    stage.start(body)
    stage.start(body)
    stage.runtime.cancel("run-2", reason="enough")
    assert stage.run("run-2").status == "canceled"


def test_a_paused_run_is_canceled_at_once(stage: Stage) -> None:
    stage.start("steps: {a: {kind: ok}}")
    stage.runtime.pause("run-1")
    stage.runtime.cancel("run-1", reason="enough")
    assert stage.run().status == "canceled"
