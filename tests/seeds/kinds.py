"""Packages and kinds for the tests of this folder, as a program that embeds yamlflow would write them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from yamlflow import Package, Permanent, Retryable, RunBuilder, Runtime, StepContext, executor, package
from yamlflow.outcome import Json
from yamlflow.testing import FakeClock


@dataclass
class HelloInput:
    message: str


@dataclass
class HelloResult:
    echoed: str


@executor("hello/echo")
def echo(input: HelloInput) -> HelloResult:
    """Gives back what it is told."""
    if not input.message:
        raise Permanent("empty_message", "message is required")
    return HelloResult(echoed=input.message)


@executor("any/ok")
def ok(input: Any = None) -> Json:
    """Gives back its input."""
    return input


@executor("any/bad")
def bad(code: str = "boom", permanent: bool = False, after: float | None = None) -> None:
    """Fails."""
    raise (Permanent if permanent else Retryable)(code, "it broke", after=after)


@executor("any/flaky")
def flaky(step: StepContext, times: int) -> int:
    """Fails so many times, then gives the number of the attempt."""
    if step.attempt <= times:
        raise Retryable("boom", f"attempt {step.attempt}")
    return step.attempt


@contextmanager
def runtime(**options: Any) -> Iterator[Runtime]:
    """A runtime in memory on a clock that stands still, with the kinds above."""
    with Runtime(**{"clock": FakeClock(), "max_workers": 10, **options}) as rt:
        for kind in (echo, ok, bad, flaky):
            rt.register(kind)
        yield rt


def built(*build: Callable[[RunBuilder], Any], name: str = "play", **keys: Any) -> Package:
    """A package whose entrypoint takes no input and calls these in turn."""

    def entrypoint(run: RunBuilder) -> None:
        for each in build:
            each(run)

    return Package(name, entrypoint=entrypoint, **keys)


def started(rt: Runtime, *build: Callable[[RunBuilder], Any], **options: Any) -> str:
    """The id of a run of such a package."""
    return rt.start(built(*build), **options).id


def status(rt: Runtime, run: str, step: str = "") -> str | None:
    """The status of a step, or of the run."""
    row = rt.step(run, step)
    return None if row is None else row.status


@package("hello", title="Hello Workflow")
def hello(run: RunBuilder, input: HelloInput) -> None:
    run.metadata["source"] = "getting-started"
    run.step("root", kind="hello/echo", input=input, queue="default")


def steps(*ids: str, kind: str = "any/ok", **keys: Any) -> Any:
    """A part of an entrypoint: some steps alike."""
    return lambda run: [run.step(id, kind=kind, **keys) for id in ids]


def emitting(*calls: dict[str, Any]) -> Any:
    """An executor that emits these."""

    @executor("emit/these")
    def emit(step: StepContext) -> str:
        for call in calls:
            step.emit(**{"kind": "any/ok", **call})
        return "emitted"

    return emit


def keeping(rt: Runtime, keep: Any) -> str:
    """A run of one step that does as it is told."""

    @executor("keep/it")
    def kept(step: StepContext) -> Any:
        return keep(step)

    rt.register(kept)
    rt.register(built(steps("a", kind="keep/it")))
    run = rt.start("play").id
    rt.run_until_idle()
    error = rt.error(run, "a")
    assert error is None, error
    return run
