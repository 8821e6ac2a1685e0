"""The samples of go-workflows (section 1.22), each as a test named for it; where both can say it, in YAML and in Python."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from yamlflow import (
    Client,
    FileArtifacts,
    Package,
    Permanent,
    Retryable,
    RetryPolicy,
    RunBuilder,
    Runtime,
    Serializer,
    StepContext,
    executor,
    package,
)
from yamlflow.clock import HOUR, SECOND
from yamlflow.errors import PluginError
from yamlflow.rows import EventRow
from yamlflow.testing import FakeClock

from ..conftest import ROOT
from ..crash.processes import Project


@executor("math/add")
def add(a: int, b: int) -> int:
    return a + b


@executor("shop/flaky")
def flaky(step: StepContext, fails: int) -> int:
    if step.attempt <= fails:
        raise Retryable("busy", f"attempt {step.attempt}")
    return step.attempt


@executor("shop/closed")
def closed() -> None:
    raise Permanent("closed", "the shop is closed", details={"until": "monday"})


@contextmanager
def sample(*packages: Package, **options: Any) -> Iterator[Runtime]:
    """A runtime on a clock that stands still, with the kinds above and some packages."""
    with Runtime(**{"clock": FakeClock(), "max_workers": 100, **options}) as rt:
        for thing in (add, flaky, closed, *packages):
            rt.register(thing)
        yield rt


def play(rt: Runtime, run: str) -> str:
    """Let a run go on to its end, time passing from timer to timer: its status."""
    for _ in range(1000):
        rt.run_until_idle()
        row, timer = rt.run(run), rt.store.next_timer()
        assert row is not None
        if row.status in ("succeeded", "failed", "canceled"):
            return row.status
        assert timer is not None, rt.store.tree(row.key)
        assert isinstance(rt.clock, FakeClock)
        rt.clock.advance(max(0, timer - rt.clock.now()))
    raise AssertionError("it does not end")


def forms(text: str, *build: Callable[..., None], **keys: Any) -> Any:
    """A package from YAML, and the same one built in Python."""
    yaml = Package.read(f"yamlflow: 1\nname: sample\n{text}")
    python = Package("sample", entrypoint=build[0], **keys)
    return pytest.mark.parametrize("one", [pytest.param(yaml, id="yaml"), pytest.param(python, id="python")])


# -- simple, activity-registration, workflow-registration, complex-parameters --------------------------------------


def build_simple(run: RunBuilder, a: int, b: int) -> None:
    run.step("sum", kind="math/add", input={"a": a, "b": b})


@forms(
    "inputs: {a: {type: integer}, b: {type: integer}}\n"
    "steps: {sum: {kind: math/add, with: {a: '${{ inputs.a }}', b: '${{ inputs.b }}'}}}",
    build_simple,
)
def test_sample_simple(one: Package) -> None:
    with sample() as rt:
        run = rt.start(one, {"a": 35, "b": 12})
        assert rt.run_once().succeeded == 1
        assert rt.result(run.id, "sum") == 47


class Activities:
    """``RegisterActivity`` of a struct: an object whose methods are executors."""

    def __init__(self, greeting: str) -> None:
        self.greeting = greeting

    @executor("greet/one")
    def one(self, name: str) -> str:
        return f"{self.greeting} {name}"

    @executor("greet/all")
    def all(self, names: list[str]) -> str:
        return f"{self.greeting} {' and '.join(names)}"


def test_sample_activity_registration() -> None:
    with sample() as rt:
        rt.register(Activities("hello"))
        steps = [{"kind": "greet/one", "with": {"name": "ann"}}, {"kind": "greet/all", "with": {"names": ["a", "b"]}}]
        run = rt.start(Package("p", steps=steps))
        play(rt, run.id)
        assert [rt.result(run.id, step) for step in ("_1", "_2")] == ["hello ann", "hello a and b"]
        with pytest.raises(PluginError, match="registered already"):
            rt.register(Activities("again"))


def test_sample_workflow_registration() -> None:
    @package("by-name")
    def by_name(run: RunBuilder) -> None:
        run.step(kind="noop")

    with sample(by_name) as rt:
        assert play(rt, rt.start("by-name").id) == "succeeded"
        assert play(rt, rt.start(by_name).id) == "succeeded"


@dataclass
class Line:
    item: str
    count: int = 1


@dataclass
class Order:
    customer: str
    lines: list[Line]
    due: datetime | None = None


def test_sample_complex_parameters() -> None:
    @executor("order/price")
    def price(input: Order) -> dict[str, int]:
        return {line.item: line.count * 10 for line in input.lines}

    @package("orders")
    def orders(run: RunBuilder, input: Order) -> None:
        run.step("price", kind="order/price", input=input)

    with sample(orders) as rt:
        rt.register(price)
        run = rt.start("orders", Order("ann", [Line("lamp", 2), Line("vase")], datetime(2026, 3, 1)))
        rt.run_once()
        assert rt.result(run.id, "price") == {"lamp": 20, "vase": 10}


# -- errors, retries -----------------------------------------------------------------------------------------------


def build_errors(run: RunBuilder) -> None:
    run.step("buy", kind="shop/closed", retry=RetryPolicy(max_attempts=5))
    run.step("apologize", kind="set", input={"value": "sorry"}, needs={"buy": "failed"})


@forms(
    "steps:\n"
    "  buy: {kind: shop/closed, retry: {max_attempts: 5}}\n"
    "  apologize: {kind: set, needs: {buy: failed}, with: {value: sorry}}",
    build_errors,
)
def test_sample_errors(one: Package) -> None:
    with sample() as rt:
        run = rt.start(one)
        assert play(rt, run.id) == "failed"
        error = rt.error(run.id)
        assert error is not None
        assert (error.code, error.message, error.attempt, error.permanent) == ("closed", "the shop is closed", 1, True)
        assert error.details == {"until": "monday"}
        assert rt.result(run.id, "apologize") == "sorry"


def build_retries(run: RunBuilder) -> None:
    run.step("buy", kind="shop/flaky", input={"fails": 2}, retry=RetryPolicy(max_attempts=3, delay=10, multiplier=6))


@forms(
    "steps: {buy: {kind: shop/flaky, with: {fails: 2}, retry: {max_attempts: 3, delay: 10s, multiplier: 6}}}",
    build_retries,
)
def test_sample_retries(one: Package) -> None:
    with sample() as rt:
        run = rt.start(one)
        assert play(rt, run.id) == "succeeded"
        assert rt.result(run.id, "buy") == 3
        assert rt.clock.now() - run.created_at == 70 * SECOND


# -- timer, signal, cancellation -----------------------------------------------------------------------------------


def build_timer(run: RunBuilder) -> None:
    run.step(
        "first",
        race=True,
        steps={"slow": {"kind": "sleep", "with": {"for": "9d"}}, "timer": {"kind": "sleep", "with": {"for": "1h"}}},
    )


@forms(
    "steps: {first: {race: true, steps: {slow: {kind: sleep, with: {for: 9d}}, timer: {kind: sleep, with: {for: 1h}}}}}",
    build_timer,
)
def test_sample_timer(one: Package) -> None:
    with sample() as rt:
        run = rt.start(one)
        assert play(rt, run.id) == "succeeded"
        first = rt.step(run.id, "first")
        assert first is not None
        assert (first.winner, rt.clock.now() - run.created_at) == ("timer", HOUR)


def build_signal(run: RunBuilder) -> None:
    heard = run.step("hear", kind="wait_signal", input={"signal": "go"}, timeout=60)
    run.step("sum", kind="math/add", with_={"a": 40, "b": 2}, needs=heard)


@forms(
    "steps:\n"
    "  hear: {kind: wait_signal, timeout: 1m, with: {signal: go}}\n"
    "  sum: {needs: hear, kind: math/add, with: {a: 40, b: 2}}",
    build_signal,
)
def test_sample_signal(one: Package) -> None:
    with sample() as rt:
        run = rt.start(one)
        rt.run_until_idle()
        rt.signal(run.id, "go", {"by": "ann"})
        assert play(rt, run.id) == "succeeded"
        assert (rt.result(run.id, "hear"), rt.result(run.id, "sum")) == ({"by": "ann"}, 42)
        late = rt.start(one)
        assert play(rt, late.id) == "failed"
        error = rt.error(late.id)
        assert error is not None
        assert error.code == "timeout"


def build_cancellation(run: RunBuilder) -> None:
    run.step("nap", kind="sleep", input={"for": "9d"})
    run.step("never", kind="noop", needs="nap")


CLEANUP = {"said": {"kind": "set", "with": {"value": "${{ cancel.reason }}"}}}


@forms(
    "steps: {nap: {kind: sleep, with: {for: 9d}}, never: {needs: nap, kind: noop}}\n"
    f"on_cancel: {json.dumps(CLEANUP)}",
    build_cancellation,
    on_cancel=CLEANUP,
)
def test_sample_cancellation(one: Package) -> None:
    with sample() as rt:
        run = rt.start(one)
        rt.run_until_idle()
        rt.cancel(run.id, reason="closed early")
        assert play(rt, run.id) == "canceled"
        assert rt.result(run.id, "@on_cancel/said") == "closed early"


# -- subworkflow, signal-subworkflow, continue-as-new --------------------------------------------------------------


@package("child", outputs={"sum": "${{ steps.sum.result }}"})
def child(run: RunBuilder, a: int) -> None:
    run.step("sum", kind="math/add", input={"a": a, "b": 1})


def build_parent(run: RunBuilder) -> None:
    run.step("call", kind="workflow", input={"package": "child", "inputs": {"a": 41}})


@forms("steps: {call: {kind: workflow, with: {package: child, inputs: {a: 41}}}}", build_parent)
def test_sample_subworkflow(one: Package) -> None:
    with sample(child) as rt:
        run = rt.start(one, run_id="parent")
        assert play(rt, run.id) == "succeeded"
        assert rt.result("parent", "call") == {"sum": 42}
        (below,) = rt.list(parent="parent").runs
        assert (below.id, below.package) == ("parent.call", "child")


def build_signaling(run: RunBuilder) -> None:
    run.step("call", kind="workflow", input={"package": "listener", "run_id": "listener"})
    run.step("tell", kind="signal", input={"run": "listener", "signal": "go", "data": 7}, retry={"max_attempts": 3})


@forms(
    "steps:\n"
    "  call: {kind: workflow, with: {package: listener, run_id: listener}}\n"
    "  tell: {kind: signal, retry: {max_attempts: 3}, with: {run: listener, signal: go, data: 7}}",
    build_signaling,
)
def test_sample_signal_subworkflow(one: Package) -> None:
    hears = {"hear": {"kind": "wait_signal", "with": {"signal": "go"}}}
    with sample(Package("listener", steps=hears, outputs="${{ steps.hear.result }}")) as rt:
        run = rt.start(one)
        assert play(rt, run.id) == "succeeded"
        assert rt.result(run.id, "call") == 7


def build_renewing(run: RunBuilder, n: int = 0) -> None:
    run.step("work", kind="math/add", input={"a": n, "b": 1})
    if n < 3:
        run.step("again", kind="continue_as_new", input={"inputs": {"n": n + 1}}, needs="work")


@forms(
    "inputs: {n: {type: integer, default: 0}}\n"
    "steps:\n"
    "  work: {kind: math/add, with: {a: '${{ inputs.n }}', b: 1}}\n"
    "  again: {needs: work, if: inputs.n < 3, kind: continue_as_new, with: {inputs: {n: '${{ inputs.n + 1 }}'}}}\n"
    "outputs: '${{ steps.work.result }}'",
    build_renewing,
    outputs="${{ steps.work.result }}",
)
def test_sample_continue_as_new(one: Package) -> None:
    with sample(one) as rt:
        run = rt.start(one)
        assert play(rt, run.id) == "succeeded"
        last = rt.wait(run.id, 0)
        assert (last.execution, rt.result(run.id)) == (4, 4)


# -- concurrent, concurrent-errgroup, queues, scale ----------------------------------------------------------------


def build_concurrent(run: RunBuilder) -> None:
    both = [run.step(f"s{n}", kind="math/add", input={"a": n, "b": n}) for n in (1, 2)]
    run.step("after", kind="noop", needs=both)


@forms(
    "steps:\n"
    "  s1: {kind: math/add, with: {a: 1, b: 1}}\n"
    "  s2: {kind: math/add, with: {a: 2, b: 2}}\n"
    "  after: {needs: [s1, s2], kind: noop}",
    build_concurrent,
)
def test_sample_concurrent(one: Package) -> None:
    with sample(max_workers=2) as rt:
        run = rt.start(one)
        assert rt.run_once().processed == 2
        assert (rt.result(run.id, "s1"), rt.result(run.id, "s2")) == (2, 4)
        assert play(rt, run.id) == "succeeded"


def build_errgroup(run: RunBuilder) -> None:
    run.step("nap", kind="sleep", input={"for": "9d"})
    run.step("bad", kind="shop/closed")


@forms(
    "fail_fast: true\nsteps: {nap: {kind: sleep, with: {for: 9d}}, bad: {kind: shop/closed}}",
    build_errgroup,
    fail_fast=True,
)
def test_sample_concurrent_errgroup(one: Package) -> None:
    with sample() as rt:
        run = rt.start(one)
        assert play(rt, run.id) == "failed"
        nap, error = rt.step(run.id, "nap"), rt.error(run.id)
        assert nap is not None
        assert error is not None
        assert (nap.status, error.code, rt.clock.now()) == ("canceled", "closed", run.created_at)


def build_queues(run: RunBuilder) -> None:
    run.step("here", kind="math/add", input={"a": 1, "b": 1})
    run.step("there", kind="math/add", input={"a": 2, "b": 2}, queue="gpu")


@forms(
    "queues: {gpu: {}}\n"
    "steps: {here: {kind: math/add, with: {a: 1, b: 1}}, there: {queue: gpu, kind: math/add, with: {a: 2, b: 2}}}",
    build_queues,
    queues={"gpu": {}},
)
def test_sample_queues(one: Package, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/y.db"
    with sample(store=url, only_queues=["default"]) as default, sample(store=url, only_queues=["gpu"]) as gpu:
        run = default.start(one)
        assert default.run_until_idle().processed == 1
        assert (gpu.result(run.id, "here"), gpu.result(run.id, "there")) == (2, None)
        assert gpu.run_until_idle().processed == 1
        assert default.result(run.id, "there") == 4


def test_sample_scale() -> None:
    """A hundred runs of ten steps each, worked on by four at once; ``benchmarks/`` measures more."""
    steps = {"many": {"for_each": "${{ range(8) }}", "kind": "math/add", "with": {"a": "${{ item }}", "b": 1}}}
    with Runtime(max_workers=4, synchronous="normal") as rt:
        rt.register(add)
        one = Package("scale", steps=steps, outputs="${{ steps.many.result }}")
        runs = [rt.start(one).id for _ in range(100)]
        rt.run_workers(lambda: rt.statistics().active == 0)
        assert {json.dumps(rt.result(run)) for run in runs} == {"[1, 2, 3, 4, 5, 6, 7, 8]"}


# -- context-propagation, converter, workflow-info -----------------------------------------------------------------


def build_greeting(run: RunBuilder) -> None:
    run.step("say", kind="set", input={"value": f"hello {run.context['tenant']}"})
    run.step("see", kind="sees")


@forms(
    "context: [tenant]\nsteps: {say: {kind: set, with: {value: 'hello ${{ context.tenant }}'}}, see: {kind: sees}}",
    build_greeting,
    context=["tenant"],
)
def test_sample_context_propagation(one: Package) -> None:
    @executor("sees")
    def sees(step: StepContext) -> Any:
        return step.context["tenant"]

    with sample() as rt:
        rt.register(sees)
        run = rt.start(one, context={"tenant": "acme"})
        rt.run_until_idle()
        assert (rt.result(run.id, "say"), rt.result(run.id, "see")) == ("hello acme", "acme")


def test_sample_converter() -> None:
    @executor("shift")
    def shift(input: dict) -> complex:  # type: ignore[type-arg]
        shifted: complex = input["z"] + 1j
        return shifted

    numbers = Serializer(
        "complex", complex, to_json=lambda z: [z.real, z.imag], from_json=lambda parts: complex(*parts)
    )
    with sample(serializers=[numbers]) as rt:
        rt.register(shift)
        run = rt.start(
            Package("p", inputs={"z": {}}, steps={"a": {"kind": "shift", "with": {"z": "${{ inputs.z }}"}}}),
            {"z": 2 + 3j},
        )
        rt.run_once()
        assert rt.result(run.id, "a") == 2 + 4j


def test_sample_workflow_info() -> None:
    info = {"kind": "set", "with": {"value": {"id": "${{ run.id }}", "events": "${{ run.event_count }}"}}}
    with sample() as rt:
        run = rt.start(Package("p", steps=[info, info]), run_id="me")
        play(rt, run.id)
        first, second = rt.result("me", "_1"), rt.result("me", "_2")
        assert first["id"] == "me"
        assert 0 < first["events"] < second["events"]


# -- orchestrator, simple-split-worker, runner ---------------------------------------------------------------------


def test_sample_orchestrator() -> None:
    with sample(clock=None) as rt:
        working = threading.Thread(target=rt.run_workers)
        working.start()
        run = rt.start(Package("p", steps={"sum": {"kind": "math/add", "with": {"a": 1, "b": 2}}}))
        assert rt.wait(run.id, 20).status == "succeeded"
        rt.stop()
        working.join()
        assert rt.result(run.id, "sum") == 3


WORKER = """
import sys
from yamlflow import Runtime, executor

@executor("math/add")
def add(a: int, b: int) -> int:
    return a + b

with Runtime(sys.argv[1], max_workers=2) as rt:
    rt.register(add)
    print("ready", flush=True)
    rt.run_workers(lambda: rt.statistics().runs.get("succeeded", 0) == 2)
"""


def test_sample_simple_split_worker(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/y.db"
    worker = subprocess.Popen([sys.executable, "-c", WORKER, url], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert worker.stdout is not None
    assert worker.stdout.readline() == "ready\n"
    with Client(url) as client:
        for n in range(2):
            run = client.start(Package("p", steps={"sum": {"kind": "math/add", "with": {"a": n, "b": n}}}))
            assert client.wait(run.id, 30).status == "succeeded"
            assert client.result(run.id, "sum") == 2 * n
    assert worker.wait(timeout=30) == 0
    worker.stdout.close()


def test_sample_runner(tmp_path: Path) -> None:
    """The samples' own runner is ``yamlflow run``."""
    project = Project(
        tmp_path, "yamlflow: 1\nname: p\nsteps: {a: {run: echo hello}}\noutputs: '${{ steps.a.result.stdout }}'\n"
    )
    done = project.call("run", "package.yaml", "-q")
    assert (done.returncode, done.stdout) == (0, "hello\n\n")


# -- tracing, web: what there is until they come -------------------------------------------------------------------


def test_sample_tracing_every_event_is_told_to_whoever_listens_with_its_time() -> None:
    """Spans of OpenTelemetry are still to come; all they would say is in the events."""
    told: list[EventRow] = []
    with sample(on_event=told.append) as rt:
        run = rt.start(Package("p", steps={"nap": {"kind": "sleep", "with": {"for": "1h"}}}))
        play(rt, run.id)
        times = {event.kind: event.at - run.created_at for event in told if event.step == "nap"}
    assert (times["step.leased"], times["step.woken"], times["step.succeeded"]) == (0, HOUR, HOUR)


def test_sample_web_all_that_a_page_would_show_can_be_read(tmp_path: Path) -> None:
    """The pages are still to come; the command line shows the same."""
    project = Project(tmp_path, "yamlflow: 1\nname: p\nsteps: {a: {run: echo hello}, b: {needs: a, run: exit 3}}\n")
    assert project.call("run", "package.yaml", "--run-id", "r", "-q").returncode == 1
    runs = json.loads(project.call("runs", "--json").stdout)
    assert [(run["id"], run["status"], run["package"]) for run in runs] == [("r", "failed", "p")]
    shown = project.call("show", "r").stdout
    assert "exit_status" in shown
    graph = project.call("graph", "r").stdout
    assert "a" in graph
    assert "b" in graph


def test_sample_artifacts_go_where_the_program_says(tmp_path: Path) -> None:
    @executor("keeps")
    def keeps(step: StepContext) -> None:
        step.artifact("note.txt", text="kept")

    with sample(artifacts=FileArtifacts(tmp_path / "kept")) as rt:
        rt.register(keeps)
        run = rt.start(Package("p", steps={"a": {"kind": "keeps"}}))
        rt.run_once()
        assert [kept.name for kept in rt.artifacts(run.id)] == ["note.txt"]
        assert [file.read_text() for file in (tmp_path / "kept").rglob("*note*") if file.is_file()] == ["kept"]
