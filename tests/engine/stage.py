"""A stage for the language's promises: a real runtime in memory, a clock that stands still, and kinds of a few lines.

``play`` lets a run go on to its end, time passing from timer to timer. ``lease`` and ``end`` play the worker by hand,
where a test needs steps that are running at the same time.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from textwrap import dedent
from typing import Any

from yamlflow import document
from yamlflow.context import StepContext
from yamlflow.deciding import decide
from yamlflow.engine import commands
from yamlflow.engine.leasing import Wanted, lease
from yamlflow.engine.work import Work
from yamlflow.errors import Permanent, Retryable
from yamlflow.executors import executor
from yamlflow.outcome import Error, Failed, Json, Succeeded
from yamlflow.packages import Loaded, loaded
from yamlflow.plugins import load
from yamlflow.rows import EventRow, RunRow, StepRow
from yamlflow.runtime import Runtime
from yamlflow.scheduler import tick
from yamlflow.testing import FakeClock

ENDED = frozenset({"succeeded", "failed", "canceled"})
LEASE = 30_000


def package(body: str, name: str = "play") -> Loaded:
    """A package from what follows its name."""
    return loaded(document.read(f"yamlflow: 1\nname: {name}\n" + dedent(body)))


class Stage:
    """One runtime, and the run that was started on it last."""

    def __init__(self, *, slots: int = 100, **options: Any) -> None:
        self.clock = FakeClock()
        #: Paths in the order in which their calls were executed.
        self.ran: list[str] = []
        given: dict[str, Any] = {
            "clock": self.clock,
            "max_workers": slots,
            "plugins": load(entry_points=False),
            **options,
        }
        self.runtime = Runtime(**given)
        for make in KINDS:
            self.runtime.register(make(self))
        self.store = self.runtime.store
        self.run_id = ""
        self.started = 0
        #: Leases in the test's own hands.
        self.held: dict[str, StepRow] = {}

    # -- a run from start to end

    def start(self, body: str | Loaded, inputs: Mapping[str, Json] | None = None, **options: Any) -> RunRow:
        """Store a run of a package."""
        self.started += 1
        options.setdefault("run_id", f"run-{self.started}")
        row = self.runtime.start(package(body) if isinstance(body, str) else body, inputs, **options)
        self.run_id = row.id
        return row

    def play(self, body: str | Loaded, inputs: Mapping[str, Json] | None = None, **options: Any) -> str:
        """Start a run and let it end: its status."""
        self.start(body, inputs, **options)
        return self.finish()

    def finish(self, run_id: str | None = None) -> str:
        """Work, and let time pass to the next timer, until the run has ended: its status."""
        for _ in range(10_000):
            self.runtime.run_until_idle()
            row = self.run(run_id)
            timer = self.store.next_timer()
            if row.status in ENDED:
                return row.status
            assert timer is not None, f"nothing is left to do, and the run is {row.status}: {self.statuses()}"
            self.clock.advance(max(0, timer - self.clock.now()))
        raise AssertionError(f"the run does not end: {self.statuses()}")

    # -- by hand

    def transact(self) -> Any:
        """One transaction of the engine."""
        return self.runtime.transaction()

    def decide(self) -> None:
        """Let the engine evaluate whatever waits for it."""
        while True:
            with self.transact() as work:
                tick(work, steady=self.clock.steady())
            with self.transact() as work:
                rows = lease(work, self.wanted(0)).steps
            calls = [row for row in rows if row.phase == "run"]
            self.held |= {row.path: row for row in calls}
            if len(rows) == len(calls):
                return
            for row in rows:
                if row.phase != "run":
                    self.report(row, decide(self.runtime.bench, row))

    def wanted(self, slots: int, worker: str = "hand", **options: Any) -> Wanted:
        """What this worker asks for."""
        return Wanted(worker=worker, slots=slots, until=self.clock.steady() + LEASE, **options)

    def lease(self, slots: int = 100, **options: Any) -> list[str]:
        """Take calls into the hand: their paths, in the order in which they were given."""
        self.decide()
        with self.transact() as work:
            rows = lease(work, self.wanted(slots, **options)).steps
        self.held |= {row.path: row for row in rows}
        return [row.path for row in rows]

    def report(self, row: StepRow, outcome: Any) -> bool:
        """Say what became of a lease."""
        with self.transact() as work:
            return commands.report(work, step=row.id, epoch=row.epoch, worker=row.worker or "hand", outcome=outcome)

    def end(self, path: str, outcome: Any = None) -> bool:
        """End a call in hand; it succeeds unless another outcome is given."""
        took = self.report(self.held.pop(path), Succeeded() if outcome is None else outcome)
        self.decide()
        return took

    def fail(self, path: str, code: str = "boom", **error: Any) -> bool:
        """Let a call in hand fail."""
        return self.end(path, Failed(error=Error(code=code, message=error.pop("message", f"{path} broke"), **error)))

    def end_together(self, *ends: tuple[str, Any]) -> None:
        """End several calls in one transaction, in this order."""
        with self.transact() as work:
            for path, outcome in ends:
                row = self.held.pop(path)
                commands.report(work, step=row.id, epoch=row.epoch, worker="hand", outcome=outcome)
        self.decide()

    # -- what came of it

    def run(self, run_id: str | None = None) -> RunRow:
        """The run."""
        row = self.runtime.run(run_id or self.run_id)
        assert row is not None
        return row

    def rows(self) -> dict[str, StepRow]:
        """Every step by path."""
        return {row.path: row for row in self.store.tree(self.run().key)}

    def row(self, path: str) -> StepRow:
        """One step."""
        row = self.runtime.step(self.run_id, path)
        assert row is not None, f"there is no {path}; there are {sorted(self.rows())}"
        return row

    def statuses(self) -> dict[str, str]:
        """The status of every step but the root's."""
        return {path: row.status for path, row in self.rows().items() if path}

    def status(self, path: str = "") -> str:
        """One step's status."""
        return self.row(path).status

    def result(self, path: str = "") -> Json:
        """One step's result; the run's outputs."""
        return self.runtime.result(self.run_id, path)

    def error(self, path: str = "") -> dict[str, Any]:
        """One step's error; the run's."""
        text = self.row(path).error
        assert text is not None, f"{path or 'the run'} has no error; it is {self.status(path)}"
        error: dict[str, Any] = json.loads(text)
        return error

    def events(self, kind: str | None = None, step: str | None = None) -> list[EventRow]:
        """The run's log."""
        rows = self.store.events(self.run().key, limit=10**6)
        return [row for row in rows if kind in (None, row.kind) and step in (None, row.step)]


@contextmanager
def staged(**options: Any) -> Iterator[Stage]:
    """A stage that is closed again."""
    stage = Stage(**options)
    try:
        yield stage
    finally:
        stage.runtime.close()


def counted(stage: Stage, act: Callable[[Work], Any]) -> Any:
    """What an act within one transaction gives."""
    with stage.transact() as work:
        return act(work)


# -- kinds ---------------------------------------------------------------------------------------------------------


def ok_kind(stage: Stage) -> Any:
    """Gives the ``value`` it is given, or its whole input."""

    @executor("ok", schema={}, mode="inline")
    def ok(step: StepContext) -> Json:
        stage.ran.append(step.step.path)
        given = step.raw_input
        return given["value"] if isinstance(given, dict) and "value" in given else given

    return ok


def bad_kind(stage: Stage) -> Any:
    """Fails with the ``code`` it is given."""

    @executor("bad", schema={}, mode="inline")
    def bad(step: StepContext) -> Json:
        stage.ran.append(step.step.path)
        given = step.raw_input or {}
        fault = Permanent if given.get("permanent") else Retryable
        raise fault(
            given.get("code", "boom"), given.get("message", f"{step.step.path} broke"), after=given.get("after")
        )

    return bad


def flaky_kind(stage: Stage) -> Any:
    """Fails as many ``times`` as it is told, then gives the number of the attempt."""

    @executor("flaky", schema={}, mode="inline")
    def flaky(step: StepContext) -> int:
        stage.ran.append(step.step.path)
        if step.attempt <= step.raw_input["times"]:
            raise Retryable("boom", f"attempt {step.attempt}")
        return step.attempt

    return flaky


def slow_kind(stage: Stage) -> Any:
    """Takes as many ``seconds`` of the stage's time as it is told."""

    @executor("slow", schema={}, mode="thread")
    def slow(step: StepContext) -> str:
        stage.ran.append(step.step.path)
        stage.clock.advance(round(step.raw_input["seconds"] * 1000))
        return "done"

    return slow


def emit_kind(stage: Stage) -> Any:
    """Emits the ``children`` it is told, as steps by key."""

    @executor("emit", schema={}, mode="inline")
    def emit(step: StepContext) -> str:
        stage.ran.append(step.step.path)
        given = step.raw_input
        for key, child in given["children"].items():
            declared = dict(child)
            with_ = declared.pop("with", None)
            step.emit(key, with_=with_, detached=given.get("detached", False), **declared)
        return "emitted"

    return emit


KINDS: tuple[Callable[[Stage], Any], ...] = (ok_kind, bad_kind, flaky_kind, slow_kind, emit_kind)
