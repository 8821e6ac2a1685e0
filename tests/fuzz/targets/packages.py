"""Whole packages: what ``validate`` accepts can be planned and run, and every run ends or waits."""

from __future__ import annotations

import json
import tempfile
import time
from random import Random
from typing import Any

from yamlflow import document
from yamlflow.analysis import analyze
from yamlflow.context import StepContext
from yamlflow.errors import Retryable, UserError
from yamlflow.executors import executor
from yamlflow.outcome import Json
from yamlflow.packages import Loaded, loaded
from yamlflow.plugins import Plugins, load
from yamlflow.runtime import Runtime
from yamlflow.template import Expressions, TemplateError
from yamlflow.testing import FakeClock
from yamlflow.views.outline import outline_of, text_of_outline

from .. import cases, grammar
from .target import Target, told

#: Kinds that reach beyond the process are never executed here; their steps stay ready.
HARMLESS = frozenset({
    "noop", "set", "log", "fail", "sleep", "template", "record", "wait_signal", "approval", "signal", "workflow", "cancel",
    "continue_as_new", "odd", "flaky",
})  # fmt: skip
ENDED = frozenset({"succeeded", "failed", "canceled", "continued"})
#: Steps that a run may have, calls that are made, and seconds of CPU that are given to one.
STEPS, CALLS, PATIENCE = 150, 250, 1.2


@executor("odd", schema={}, mode="inline")
def odd(step: StepContext) -> Json:
    """Gives back its ``value``, whatever it is."""
    given = step.raw_input
    return given.get("value") if isinstance(given, dict) else given


@executor(
    "flaky",
    schema={"type": "object", "required": ["times"], "properties": {"times": {"type": "integer"}}},
    mode="inline",
)
def flaky(step: StepContext) -> int:
    """Fails a few times."""
    if step.attempt <= step.raw_input["times"]:
        raise Retryable("boom", "x" * 1000)
    return step.attempt


def plugins() -> Plugins:
    """The built-in kinds and ours."""
    made = load(entry_points=False)
    made.add(odd)
    made.add(flaky)
    return made


def sound(rnd: Random) -> Any:
    """A package that is mostly right."""
    case = grammar.package(rnd)
    return cases.mutated(rnd, case, rnd.choice(grammar.good())) if rnd.random() < 0.3 else case


def any_package(rnd: Random) -> Any:
    """A package of the schema, or one at hand that was changed."""
    if rnd.random() < 0.4:
        made = grammar.of_schema(rnd, grammar.schema())
        return {"yamlflow": 1, "name": "x", **made} if isinstance(made, dict) else made
    return cases.mutated(rnd, rnd.choice(grammar.good()), rnd.choice(grammar.good()))


def accepted(case: Any, known: Plugins) -> Loaded | None:
    """The package, when all checks pass; None when it was refused as it should be."""
    try:
        one = loaded(document.read(json.dumps(case), file="p.yaml"))
    except UserError as refused:
        told(refused)
        return None
    first, second = findings(one, known), findings(one, known)
    assert first == second, "analysed twice it is not the same"
    return None if any(not line.startswith("warning: ") for line in first) else one


def findings(one: Loaded, known: Plugins) -> list[str]:
    """What ``validate`` would say."""
    found = analyze(
        one.package, executors=known.executors, expressions=Expressions(filters=known.filters), data=one.document.data
    )
    lines = [str(one.document.locate(problem)) for problem in found]
    assert all(len(line) <= 4001 for line in lines), "a problem of too many characters"
    return lines


def check_analysis(case: Any) -> None:
    """``validate`` and the outline of ``run --dry-run``."""
    one = accepted(case, plugins())
    if one is not None:
        text_of_outline(outline_of(one.plan))


def check_run(case: Any) -> None:
    """A package that is accepted runs to its end, or waits, without a fault of the engine's own."""
    known = plugins()
    one = accepted(case, known)
    if one is None or not bounded(one):
        return
    with tempfile.TemporaryDirectory(prefix="yamlflow-fuzz-") as home:
        clock = FakeClock()
        with Runtime(
            clock=clock,
            plugins=known,
            max_workers=3,
            only_kinds=HARMLESS,
            home=home,
            secrets=lambda name: "s3cr3t-value",
        ) as runtime:
            try:
                run = runtime.start(one, defaults_for(one), run_id="run")
            except (UserError, TemplateError) as refused:
                told(refused)
                assert runtime.run("run") is None, "a refused start was stored"
                return
            play(runtime, clock, run.id)


def bounded(one: Loaded) -> bool:
    """Whether the run is kept small by its own ``limits``; a run of a million steps is allowed, and long."""
    return one.package.max_steps is not None and one.package.max_steps <= STEPS


def defaults_for(one: Loaded) -> dict[str, Json]:
    """Something for each input without a default."""
    return {
        name: "x" for name, schema in one.package.inputs.items() if isinstance(schema, dict) and "default" not in schema
    }


def play(runtime: Runtime, clock: FakeClock, run_id: str) -> None:
    """Work, and let time pass, until the run ends, waits, or has had its budget."""
    began, calls = time.process_time(), 0
    for _ in range(60):
        calls += runtime.run_until_idle(max_cycles=60).processed
        assert_no_fault(runtime, run_id)
        run = runtime.run(run_id)
        assert run is not None
        if run.status in ENDED or calls > CALLS or time.process_time() - began > PATIENCE:
            break
        timer = runtime.store.next_timer()
        if timer is None:
            assert_waits(runtime, run.key)
            break
        clock.advance(max(0, timer - clock.now()))
    runtime.cancel(run_id)
    runtime.run_until_idle(max_cycles=60)
    assert_no_fault(runtime, run_id)


def assert_no_fault(runtime: Runtime, run_id: str) -> None:
    """No step failed with an exception that nobody meant."""
    run = runtime.run(run_id)
    assert run is not None
    for row in runtime.store.tree(run.key):
        if row.error is not None:
            error = json.loads(row.error)
            assert error["code"] != "executor_error", f"{row.kind}: {error['type']}: {error['message'][:200]}"
            assert len(row.error) < 200_000, "an error of too many characters"


def assert_waits(runtime: Runtime, key: int) -> None:
    """Nothing is due and the run has not ended: some step waits for people, or for a worker that takes its kind."""
    rows = runtime.store.tree(key)
    waits = any(row.awaits is not None or row.status == "waiting" for row in rows)
    elsewhere = any(row.status == "ready" and row.kind not in HARMLESS for row in rows)
    assert waits or elsewhere, f"the run neither ends nor waits: { {row.path: row.status for row in rows} }"


def small(rnd: Random) -> Any:
    """A package whose runs stay small."""
    case = sound(rnd)
    return {**case, "limits": {"steps": rnd.choice([3, 20, STEPS])}} if isinstance(case, dict) else case


TARGETS = (
    Target(name="analysis", make=any_package, check=check_analysis, free=True, weight=3),
    Target(name="runs", make=small, check=check_run, free=True, weight=4),
)
