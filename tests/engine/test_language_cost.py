"""What a step costs does not grow with its run: statements are counted, not seconds."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

import pytest

from yamlflow.engine import commands
from yamlflow.outcome import Succeeded

from .stage import Stage, package, staged

SMALL, LARGE = 20, 400


def chain(count: int) -> str:
    """Each step needs the one before it."""
    return "steps: [" + ", ".join(["{kind: ok}"] * count) + "]"


def graph(count: int) -> str:
    """The same as a mapping, with needs two back."""
    steps = [
        f"s{n}: {{kind: ok, needs: [{', '.join(f's{m}' for m in (n - 2, n - 1) if m >= 0)}]}}" for n in range(count)
    ]
    return "steps: {" + ", ".join(steps) + "}"


def fan(count: int) -> str:
    """A loop."""
    return f"steps: {{a: {{kind: ok, for_each: '${{{{ range({count}) }}}}'}}}}"


def narrow_fan(count: int) -> str:
    """A loop whose children wait for places."""
    return f"steps: {{a: {{kind: ok, for_each: {{items: '${{{{ range({count}) }}}}', max_parallel: 3}}}}}}"


def join(count: int) -> str:
    """One step that needs all others."""
    names = [f"s{n}" for n in range(count)]
    return (
        "steps: {"
        + ", ".join(f"{name}: {{kind: ok}}" for name in names)
        + f", last: {{kind: ok, needs: [{', '.join(names)}]}}}}"
    )


def gated(count: int) -> str:
    """Steps with something to evaluate."""
    return "steps: {" + ", ".join(f"s{n}: {{kind: ok, if: 'true'}}" for n in range(count)) + "}"


def queued(count: int) -> str:
    """Steps in a queue with limits."""
    return (
        "queues: {q: {max_in_flight: 2}}\nsteps: {"
        + ", ".join(f"s{n}: {{kind: ok, queue: q}}" for n in range(count))
        + "}"
    )


def handled(count: int) -> str:
    """Groups with handlers."""
    return (
        "steps: {" + ", ".join(f"s{n}: {{steps: [{{kind: ok}}], finally: [{{kind: ok}}]}}" for n in range(count)) + "}"
    )


def undone(count: int) -> str:
    """Steps that are all undone, because the last one's condition cannot be evaluated."""
    steps = [f"{{id: s{n}, kind: ok, undo: {{kind: ok}}}}" for n in range(count)]
    steps.append("{kind: ok, if: steps.s0.result}")
    return f"steps: {{g: {{steps: [{', '.join(steps)}], on_failure: [{{kind: ok}}], recover: true}}}}"


def cached(count: int) -> str:
    """A loop whose children take the result of the first of ten."""
    return f"steps: {{a: {{kind: ok, for_each: '${{{{ range({count}) }}}}', cache: {{key: '${{{{ item // 10 }}}}'}}}}}}"


SHAPES = [chain, graph, fan, narrow_fan, join, gated, queued, handled, undone, cached]


def statements(stage: Stage, act: Callable[[], object]) -> list[str]:
    """The statements that an act needs, those of one ``executemany`` counted as one."""
    connection = stage.store._db  # type: ignore[attr-defined]
    assert isinstance(connection, sqlite3.Connection)
    seen: list[str] = []

    def note(text: str) -> None:
        # A bound row is no statement of its own: the shape without its values is what counts.
        head = text.split("values")[0].split("set ")[0][:60]
        if not (seen and seen[-1] == head and head.startswith(("insert", "update steps", "delete"))):
            seen.append(head)

    connection.set_trace_callback(note)
    try:
        act()
    finally:
        connection.set_trace_callback(None)
    return seen


def cost(shape: Callable[[int], str], count: int) -> float:
    """Statements per step of a whole run, one step at a time."""
    with staged() as stage:
        stage.start(shape(count))

        def play() -> None:
            while paths := stage.lease(1):
                for path in paths:
                    stage.end(path, Succeeded(result=1))

        found = statements(stage, play)
        assert stage.status() == "succeeded"
        return len(found) / stage.run().steps


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)
def test_statements_per_step_do_not_grow_with_the_run(shape: Callable[[int], str]) -> None:
    small, large = cost(shape, SMALL), cost(shape, LARGE)
    assert large <= small * 1.1 + 1, (small, large)


def test_a_lock_costs_the_same_however_many_wait_for_it() -> None:
    costs = []
    for count in (100, LARGE):
        with staged() as stage:
            stage.start(f"steps: {{a: {{kind: ok, for_each: '${{{{ range({count}) }}}}', locks: [one]}}}}")

            def play(stage: Stage = stage) -> None:
                while paths := stage.lease(2):
                    for path in paths:
                        stage.end(path)

            costs.append(len(statements(stage, play)) / count)
            assert stage.status() == "succeeded"
    assert costs[1] <= costs[0] * 1.2 + 1, costs


@pytest.mark.parametrize("count", [SMALL, LARGE])
def test_many_outcomes_are_one_transaction(stage: Stage, count: int) -> None:
    stage.start(fan(count))
    stage.lease(count)

    def end_all() -> None:
        with stage.transact() as work:
            for row in list(stage.held.values()):
                commands.report(work, step=row.id, epoch=row.epoch, worker="hand", outcome=Succeeded(result=1))

    found = statements(stage, end_all)
    assert sum(text.startswith("begin") for text in found) == 1
    assert stage.status() == "succeeded"
    # Each outcome finds its own row; all else is done once.
    assert len(found) <= count + 30


def test_opening_a_loop_costs_the_same_statements_however_many_children_it_has() -> None:
    counts = []
    for count in (SMALL, LARGE):
        with staged() as stage:
            stage.start(fan(count))
            counts.append(len(statements(stage, stage.decide)))
    assert counts[0] == counts[1]


def test_a_cancel_of_a_large_run_costs_the_same_statements_as_one_of_a_small() -> None:
    counts = []
    for count in (SMALL, LARGE):
        with staged() as stage:
            stage.start(join(count))
            counts.append(len(statements(stage, lambda stage=stage: stage.runtime.cancel(stage.run_id))))  # type: ignore[misc]
    assert counts[1] <= counts[0] + 2


@pytest.mark.parametrize("sql", ["claim", "timer", "parked"])
def test_what_is_asked_each_turn_is_found_by_an_index(stage: Stage, sql: str) -> None:
    from yamlflow.store import sqlite

    text = {"claim": sqlite.CLAIM.format(kinds=""), "timer": sqlite.DUE, "parked": sqlite.NEXT_PARKED}[sql]
    connection = stage.store._db  # type: ignore[attr-defined]
    plan = [row[3] for row in connection.execute(f"explain query plan {text}", [None] * text.count("?"))]
    assert not any(line.startswith("SCAN steps") and "INDEX" not in line for line in plan), plan


def test_a_child_run_costs_the_same_however_many_its_parent_has() -> None:
    costs = []
    for count in (SMALL, LARGE):
        with staged() as stage:
            stage.runtime.register(package("steps: {a: {kind: ok}}\noutputs: {n: 1}", "child"))
            body = f"steps: {{a: {{kind: workflow, for_each: '${{{{ range({count}) }}}}', with: {{package: child}}}}}}"
            stage.start(body)
            found = statements(stage, stage.runtime.run_until_idle)
            assert stage.status() == "succeeded"
            costs.append(len(found) / count)
    assert costs[1] <= costs[0] * 1.1 + 1, costs


@pytest.mark.parametrize("read", [False, True])
def test_a_signal_costs_the_same_however_many_there_are(stage: Stage, read: bool) -> None:
    stage.start(
        f"steps: {{a: {{kind: wait_signal, repeat: {{until: iteration >= {LARGE}}}, with: {{signal: go}}}}}}"
        if read
        else "steps: {a: {kind: wait_signal, with: {signal: other}}}"
    )
    stage.runtime.run_until_idle()

    def send(number: int) -> None:
        stage.runtime.signal(stage.run_id, "go", number, key=str(number))
        stage.runtime.run_until_idle()

    first = len(statements(stage, lambda: send(1)))
    for number in range(2, LARGE):
        send(number)
    assert len(statements(stage, lambda: send(LARGE))) <= first + 2


def test_a_renewal_costs_the_same_however_often_a_run_has_renewed_itself(stage: Stage) -> None:
    again = "{kind: continue_as_new, needs: go, with: {inputs: {n: '${{ inputs.n + 1 }}'}}}"
    go = "{kind: wait_signal, with: {signal: go}}"
    stage.start(f"inputs: {{n: {{type: integer, default: 0}}}}\nsteps: {{go: {go}, again: {again}}}")
    stage.runtime.run_until_idle()

    def renew() -> None:
        stage.runtime.signal("run-1", "go")
        stage.runtime.run_until_idle()

    first = len(statements(stage, renew))
    for _ in range(100):
        renew()
    assert len(statements(stage, renew)) <= first
    assert stage.run("run-1").execution == 103
