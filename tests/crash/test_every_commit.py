"""``kill -9`` at every commit of time, messages, children, cancels and renewals: the outcome is the same."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ..conftest import ROOT
from .every_commit import SCENES

#: Kills that a scene has at least; fewer would mean that it was not played.
FEWEST = 10


@pytest.mark.parametrize("name", SCENES)
def test_a_kill_at_any_commit_changes_nothing(name: str, tmp_path: Path) -> None:
    played = subprocess.run(
        [sys.executable, "-m", "tests.crash.every_commit", name, str(tmp_path / "scene")],
        cwd=ROOT, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert played.returncode == 0, played.stderr
    kills, _, differences = played.stdout.partition("\n")
    assert not differences.strip(), differences
    assert int(kills) >= FEWEST
