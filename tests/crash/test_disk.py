"""A disk that fails: a sample of every call killed and failed, and of power cuts; the commands do all of them."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from ..conftest import ROOT
from .disk import needs_compiler


def command(name: str, *arguments: str) -> str:
    """What a command of this folder prints."""
    needs_compiler()
    played = subprocess.run(
        [sys.executable, "-m", f"tests.crash.{name}", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert played.returncode == 0, played.stdout + played.stderr
    return played.stdout


def number(pattern: str, text: str) -> int:
    """The number in a text."""
    found = re.search(pattern, text)
    assert found is not None, text
    return int(found[1])


def test_whichever_call_is_killed_or_fails_nothing_acknowledged_is_lost_and_the_run_ends_the_same() -> None:
    told = command("every_call", "--every", "250")
    for what in ("kill -9 before a call", "kill -9 within a write", "EIO of a sync", "ENOSPC of a write"):
        assert number(rf"(\d+) × {what}", told) >= 1, told
    assert number(r"(\d+) faults, 0 wrong", told) >= 20


def test_random_errors_of_the_disk_end_no_process_with_a_traceback() -> None:
    told = command("every_call", "--random", "5", "--odds", "0.01")
    assert number(r"(\d+) faults, 0 wrong", told) == 5


def test_no_power_cut_loses_an_acknowledged_commit_under_full() -> None:
    told = command("power", "--images", "150")
    assert number(r"(\d+) images lost 0 acknowledged", told) == 0
    assert number(r"(\d+) gone on with to the end", told) == 3
    assert number(r"(\d+) syncs", told) > 50


def test_a_power_cut_loses_only_the_latest_commits_under_normal() -> None:
    told = command("power", "--images", "60", "--synchronous", "normal")
    assert number(r"(\d+) images lost", told) > 20


def test_the_check_sees_what_is_lost_where_nothing_is_synced() -> None:
    with pytest.raises(AssertionError, match="WRONG: "):
        command("power", "--images", "60", "--synchronous", "off")
