"""The pages on embedding do what they say: their programs run, as a reader would run them, in the order of the page."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from yamlflow import Runtime, executor
from yamlflow.testing import FakeClock

from .conftest import ROOT
from .test_docs import BLOCK, called


def programs(page: str) -> list[str]:
    """The Python blocks of a page."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return [block for language, block in BLOCK.findall(text) if language == "python"]


EMBEDDING, COMING = programs("embedding.md"), programs("coming-from-workflow-api.md")


def run(program: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """A program in a folder of its own."""
    (folder / "program.py").write_text(program, encoding="utf-8")
    return called(folder, sys.executable, "program.py")


def test_hello_takes_less_than_thirty_lines() -> None:
    assert len([line for line in EMBEDDING[0].splitlines() if line.strip()]) < 30


@pytest.mark.parametrize(
    ("program", "page"), [(EMBEDDING[0], "embedding.md"), (COMING[0], "coming-from-workflow-api.md")]
)
def test_the_tutorial_prints_what_its_page_says(program: str, page: str, tmp_path: Path) -> None:
    told = run(program, tmp_path)
    assert told.stderr == ""
    assert len(told.stdout.splitlines()) == 2
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    assert all(f"`{line}`" in text for line in told.stdout.splitlines())


def test_a_client_reads_what_the_tutorial_left(tmp_path: Path) -> None:
    run(EMBEDDING[0], tmp_path)
    told = run(next(text for text in EMBEDDING if "with Client(" in text), tmp_path)
    assert told.stderr == ""
    assert "succeeded {'echoed': 'hello workflow'}" in told.stdout


@pytest.mark.parametrize("number", range(1, len(EMBEDDING)))
def test_every_program_of_the_page_runs(number: int, tmp_path: Path) -> None:
    if "with Client(" in EMBEDDING[number]:
        run(EMBEDDING[0], tmp_path)
    told = run(EMBEDDING[number], tmp_path)
    assert (told.returncode, told.stderr) == (0, "")


def named(text: str) -> dict[str, Any]:
    """What the program that holds a text defines."""
    names: dict[str, Any] = {}
    exec(compile(next(each for each in EMBEDDING if text in each), "embedding.md", "exec", dont_inherit=True), names)
    return names


def test_the_package_of_the_page_runs_with_the_kinds_of_the_page() -> None:
    clock, published = FakeClock(), []

    @executor("ocr/publish")
    def publish() -> None:
        published.append(True)

    with Runtime(max_workers=10, clock=clock) as rt:
        rt.register(named("class Ocr")["Ocr"]("fast"))
        rt.register(publish)
        rt.register(named("scans = Package(")["scans"])
        run = rt.start("scan", {"title": "Moby Dick", "pages": ["one", "smudged"]})
        assert run.name == "Scan of Moby Dick"
        assert rt.run_until_idle().retried == 1
        clock.advance(30_000)
        rt.run_until_idle()
        assert rt.result(run.id) == {"text": "one by fast"}
        assert published == [True]


def test_the_service_of_the_page_starts_and_stops() -> None:
    with Runtime() as rt:
        before = threading.active_count()
        named("def service")["service"](rt)
        assert threading.active_count() <= before + 1
