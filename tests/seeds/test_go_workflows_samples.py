"""The samples of go-workflows (section 1.22), each as a test named for it; where both can say it, in YAML and in Python."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pytest

from yamlflow import (
    Package,
    RetryPolicy,
    RunBuilder,
    Runtime,
    executor,
    package,
)
from yamlflow.clock import HOUR, SECOND
from yamlflow.errors import PluginError

from .samples import add, forms, play, sample

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
