"""The examples of docs/testing.md do what the page says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from ..cli.conftest import command, environment
from ..conftest import ROOT

PAGE = (ROOT / "docs" / "testing.md").read_text(encoding="utf-8")
FILE = re.compile(r"^```\w+\n# (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The files of the page, in a folder of their own."""
    for match in FILE.finditer(PAGE):
        file = tmp_path / match[1]
        file.parent.mkdir(exist_ok=True)
        file.write_text(match[2])
    return tmp_path


def called(project: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words, cwd=project, env=environment(), capture_output=True, text=True, check=False, timeout=120
    )


def test_the_tests_of_the_page_pass(project: Path) -> None:
    told = called(project, *command("test"))
    assert (told.returncode, told.stderr) == (0, ""), told.stdout
    assert told.stdout.count("✓") == 4


def test_pytest_runs_them_and_the_python_of_the_page(project: Path) -> None:
    told = called(project, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider")
    assert told.returncode == 0, told.stdout
    assert "5 passed" in told.stdout


def test_a_failure_reads_as_the_page_shows(project: Path) -> None:
    file = project / "workflows" / "order.test.yaml"
    file.write_text(file.read_text().replace("{shipped: true}", "{shipped: false}", 1))
    told = called(project, *command("test", "-k", "small")).stdout
    shown = re.search(r"```text\n(✗.*?)```", PAGE, re.DOTALL)
    assert shown is not None
    for line in shown[1].splitlines():
        if "…" not in line and "✗" not in line:
            assert re.sub(r":\d+:\d+:", "", line) in re.sub(r":\d+:\d+:", "", told)


def test_a_test_that_can_only_wait_reads_as_the_page_shows(project: Path) -> None:
    file = project / "workflows" / "order.test.yaml"
    file.write_text(
        "inputs: {item: lamp}\nmocks: [{kind: http, result: {}}, {step: paid, result: {amount: 5000}}]\ntests: {t: }\n"
    )
    told = called(project, *command("test")).stdout
    shown = re.search(r"```text\n(nothing can.*?)```", PAGE, re.DOTALL)
    assert shown is not None
    for line in shown[1].splitlines():
        assert line.strip() in told
