"""What the tests of the samples share: kinds, a runtime, and packages in two forms."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from yamlflow import Package, Permanent, Retryable, Runtime, StepContext, executor
from yamlflow.testing import FakeClock


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
