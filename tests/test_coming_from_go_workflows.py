"""The page for those who come from go-workflows does what it says: its packages and its programs run."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from yamlflow import Package, Runtime
from yamlflow.clock import DAY
from yamlflow.logs import log_file
from yamlflow.testing import FakeClock

from .conftest import ROOT
from .test_docs import BLOCK, called

PAGE = (ROOT / "docs" / "coming-from-go-workflows.md").read_text(encoding="utf-8")
PROGRAMS = [text for language, text in BLOCK.findall(PAGE) if language == "python"]
PACKAGES = {
    one.name: one for one in (Package.read(text) for language, text in BLOCK.findall(PAGE) if language == "yaml")
}


def logged(rt: Runtime, run: str) -> list[str]:
    """What the steps of a run have logged, in the order in which they ended."""
    row = rt.run(run)
    assert row is not None
    ended = [event.step for event in rt.store.events(row.key, limit=1000) if event.kind == "step.succeeded"]
    files = {str(step): log_file(rt.home, row.id, row.execution, str(step), 1) for step in ended}
    return [file.read_text(encoding="utf-8").strip() for file in files.values() if file.exists()]


def sums(rt: Runtime, clock: FakeClock) -> None:
    run = rt.start("sum", {"a": 35, "b": 12, "c": 3})
    rt.run_until_idle()
    assert rt.result(run.id) == 50


def retries(rt: Runtime, clock: FakeClock) -> None:
    run = rt.start("retries")
    for _ in range(4):
        rt.run_until_idle()
        clock.advance(1000)
    error = rt.error(run.id, "call")
    assert error is not None
    assert (error.type, error.attempt, rt.result(run.id, "report")) == ("OSError", 4, "line busy")


def reminds(rt: Runtime, clock: FakeClock) -> None:
    for id in ("quick", "late"):
        rt.start("reminder", run_id=id)
    rt.run_until_idle()
    rt.signal("quick", "paid", {"amount": 9})
    clock.advance(14 * DAY)
    rt.run_until_idle()
    assert (rt.result("quick"), rt.result("late")) == ("paid", "overdue")
    assert [rt.step(id, "remind").status for id in ("quick", "late")] == ["skipped", "succeeded"]  # type: ignore[union-attr]


def books(rt: Runtime, clock: FakeClock) -> None:
    rt.start("book", run_id="b")
    rt.run_until_idle()
    assert rt.result("b") == {"last": 30}
    assert rt.run("b-pages").execution == 3  # type: ignore[union-attr]


def trips(rt: Runtime, clock: FakeClock) -> None:
    rt.start("trip", run_id="t")
    rt.run_until_idle()
    rt.cancel("t", reason="flat tyre", by="ann")
    rt.run_until_idle()
    assert rt.run("t").status == "canceled"  # type: ignore[union-attr]
    assert logged(rt, "t") == ["give back car 7", "ann: flat tyre", "the garage is locked"]


def fans(rt: Runtime, clock: FakeClock) -> None:
    run = rt.start("fan-out")
    rt.run_until_idle()
    assert rt.result(run.id, "after") == 101


SCENES: dict[str, Callable[[Runtime, FakeClock], None]] = {
    "sum": sums, "retries": retries, "reminder": reminds, "book": books, "pages": books, "trip": trips, "fan-out": fans,
}  # fmt: skip


@pytest.mark.parametrize("name", PACKAGES)
def test_a_package_of_the_page_does_what_the_page_says(name: str) -> None:
    clock = FakeClock()
    with Runtime(clock=clock, max_workers=10) as rt:
        for one in PACKAGES.values():
            rt.register(one)
        SCENES[name](rt, clock)


@pytest.mark.parametrize("number", range(len(PROGRAMS)))
def test_a_program_of_the_page_runs(number: int, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAMS[number], encoding="utf-8")
    told = called(tmp_path, sys.executable, "program.py")
    assert (told.returncode, told.stderr) == (0, "")
    if number == 0:
        assert f"`{told.stdout.strip()}`" in PAGE
