"""Graphs of workflows that really ran: order is kept, every task runs once, and a failure takes its closure and no more."""

from __future__ import annotations

import json
import random

import pytest

from yamlflow import StepContext, document, executor
from yamlflow.errors import Permanent
from yamlflow.packages import loaded
from yamlflow.runtime import Runtime
from yamlflow.testing import FakeClock

from ..crash.traces import closure, package_of, trace, trace_files

NAMES = [file.name for file in trace_files()] or ["(no traces here)"]


def play(graph: dict[str, list[str]], failing: set[str]) -> tuple[list[str], dict[str, str]]:
    """Run a graph; the order in which tasks ran, and how each step ended."""
    order: list[str] = []

    @executor("task", mode="inline", schema={"type": "object"})
    def task(step: StepContext) -> None:
        order.append(step.step.id)
        if step.step.id in failing:
            raise Permanent("broken")

    with Runtime(clock=FakeClock(), max_workers=7) as runtime:
        runtime.register(task)
        package = loaded(document.read(json.dumps(package_of(graph, {"kind": "task"}))))
        run = runtime.start(package)
        runtime.run_until_idle()
        rows = runtime.store.tree(run.key)
        return order, {row.path: row.status for row in rows}


@pytest.mark.parametrize("name", NAMES)
def test_every_task_of_a_real_graph_runs_once_and_after_its_parents(name: str) -> None:
    graph = trace(name)
    order, statuses = play(graph, set())
    assert sorted(order) == sorted(graph)
    position = {id: at for at, id in enumerate(order)}
    assert all(position[parent] < position[id] for id, parents in graph.items() for parent in parents)
    assert set(statuses.values()) == {"succeeded"}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("name", NAMES)
def test_failing_tasks_skip_exactly_what_is_downstream_of_them(name: str, seed: int) -> None:
    graph = trace(name)
    failing = set(random.Random(seed).sample(sorted(graph), k=3))
    order, statuses = play(graph, failing)
    skipped = closure(graph, failing)
    ran = failing - skipped
    assert {id for id in graph if statuses[id] == "skipped"} == skipped
    assert {id for id in graph if statuses[id] == "failed"} == ran
    assert sorted(order) == sorted(set(graph) - skipped)
    assert statuses[""] == "failed"
