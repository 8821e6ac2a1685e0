"""A small budget of ``python -m tests.torture``; the large one is run by hand."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ..conftest import ROOT


@pytest.mark.parametrize(
    "budget",
    [
        ["--kills", "20", "--stops", "6", "--steps", "150"],
        # Generous: what is measured by hand is measured on a machine that has nothing else to do.
        ["--terms", "4", "--margin", "30"],
    ],
    ids=["storm", "terms"],
)
def test_a_small_torture_breaks_no_rule(tmp_path: Path, budget: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.torture", "--folder", str(tmp_path / "torture"), *budget],
        cwd=ROOT, capture_output=True, text=True, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
