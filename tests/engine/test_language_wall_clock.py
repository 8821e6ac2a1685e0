"""Somebody sets the wall clock: what lasts a while lasts as long as before, and a moment of the day is the new clock's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from yamlflow import document
from yamlflow.client import Client
from yamlflow.clock import HOUR, MINUTE, SECOND, SystemClock, boot_id, to_text
from yamlflow.packages import loaded
from yamlflow.rows import EventRow
from yamlflow.runtime import Runtime
from yamlflow.testing import T0

JUMPS = pytest.mark.parametrize("jump", [HOUR, -HOUR], ids=["ahead", "back"])


class Machine:
    """What all processes of a machine share: a clock on the wall, and one that nobody can set."""

    def __init__(self) -> None:
        self.wall, self.up = T0, 5 * HOUR

    def pass_by(self, milliseconds: int) -> None:
        self.wall += milliseconds
        self.up += milliseconds


class OnMachine(SystemClock):
    """The clock of one process of it."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        super().__init__()

    def steady(self) -> int:
        return self._machine.up

    def offset(self) -> int:
        return self._machine.wall - self._machine.up


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.fixture
def runtime(machine: Machine, tmp_path: Path) -> Iterator[Runtime]:
    with Runtime(f"sqlite:///{tmp_path}/y.db", clock=OnMachine(machine), worker_id="w") as one:
        yield one


def start(client: Client, text: str) -> None:
    client.start(loaded(document.read(f"yamlflow: 1\nname: p\n{text}")), run_id="r")


def idle(runtime: Runtime) -> None:
    while runtime.run_once().processed:
        pass


def events(runtime: Runtime, kind: str) -> list[EventRow]:
    run = runtime.run("r")
    assert run is not None
    return [event for event in runtime.store.events(run.key) if event.kind == kind]


def status(runtime: Runtime, step: str = "a") -> str:
    row = runtime.step("r", step)
    assert row is not None
    return row.status


@JUMPS
def test_a_length_of_time_is_as_long_as_it_was_to_be(runtime: Runtime, machine: Machine, jump: int) -> None:
    start(runtime, "steps: {a: {kind: sleep, with: {for: 10s}}}")
    idle(runtime)
    machine.pass_by(6 * SECOND)
    machine.wall += jump
    idle(runtime)
    machine.pass_by(3 * SECOND)
    idle(runtime)
    assert status(runtime) == "waiting"
    machine.pass_by(SECOND)
    idle(runtime)
    assert status(runtime) == "succeeded"


@JUMPS
def test_a_moment_of_the_day_is_that_of_the_clock_as_it_is_set(runtime: Runtime, machine: Machine, jump: int) -> None:
    start(runtime, f"steps: {{a: {{kind: sleep, with: {{until: '{to_text(T0 + 2 * HOUR)}'}}}}}}")
    idle(runtime)
    machine.wall += jump
    left = 2 * HOUR - jump
    machine.pass_by(left - SECOND)
    idle(runtime)
    assert status(runtime) == "waiting"
    machine.pass_by(SECOND)
    idle(runtime)
    assert status(runtime) == "succeeded"
    waiting = events(runtime, "step.waiting")
    assert json.loads(waiting[0].payload or "") == {"until": to_text(T0 + 2 * HOUR)}


@JUMPS
def test_a_process_that_was_there_before_agrees_with_one_that_came_after(
    runtime: Runtime, machine: Machine, tmp_path: Path, jump: int
) -> None:
    idle(runtime)
    machine.wall += jump
    with Client(f"sqlite:///{tmp_path}/y.db", clock=OnMachine(machine)) as client:
        start(client, "timeout: 10s\nsteps: {a: {kind: sleep, with: {for: 1h}}}")
    machine.pass_by(9 * SECOND)
    idle(runtime)
    assert status(runtime, "") == "waiting"
    machine.pass_by(SECOND)
    idle(runtime)
    assert status(runtime, "") == "failed"


@JUMPS
def test_tokens_come_at_their_rate(runtime: Runtime, machine: Machine, jump: int) -> None:
    text = "queues: {q: {rate: 1/m}}\nsteps: {a: {for_each: [1, 2, 3], kind: noop, queue: q}}"
    start(runtime, text)
    idle(runtime)
    machine.wall += jump
    idle(runtime)
    begun = []
    for _ in range(3):
        begun.append(len(events(runtime, "step.leased")))
        machine.pass_by(MINUTE)
        idle(runtime)
    assert begun == [1, 2, 3]


def test_a_clock_that_is_slewed_moves_nothing(runtime: Runtime, machine: Machine) -> None:
    start(runtime, "steps: {a: {kind: sleep, with: {for: 10s}}}")
    idle(runtime)
    before = runtime.step("r", "a")
    machine.wall += SECOND
    idle(runtime)
    assert runtime.step("r", "a") == before


def test_after_a_boot_the_wall_clock_is_believed(
    runtime: Runtime, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(runtime, "steps: {a: {kind: sleep, with: {for: 10s}}}")
    idle(runtime)
    machine.pass_by(8 * SECOND)
    machine.up = MINUTE
    monkeypatch.setattr("yamlflow.engine.time.boot_id", lambda: "another")
    idle(runtime)
    assert status(runtime) == "waiting"
    machine.pass_by(2 * SECOND)
    idle(runtime)
    assert status(runtime) == "succeeded"
    with runtime.store.transaction() as tx:
        assert tx.offset(boot_id()) is None
        assert tx.offset("another") is not None


def test_two_looks_at_the_clocks_belong_together(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SystemClock()
    times = iter([1000, 9000, 9000, 9001])
    monkeypatch.setattr(clock, "steady", lambda: next(times))
    wall = OnMachine(Machine())
    assert clock.offset() > wall.offset() - 10**15
    assert next(times, None) is None
