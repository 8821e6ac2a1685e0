"""Every target on a fixed budget, on every case that ever showed a fault; and that the judge finds what it is for.

``python -m tests.fuzz --minutes N`` looks further.
"""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from yamlflow.duration import format_duration
from yamlflow.errors import UserError

from . import cases
from .judge import MEMORY, ROOT, Judge
from .targets import TARGETS, Target, target_named

FINDINGS = sorted((Path(__file__).parent / "findings").glob("*.json"))
#: Cases of a target in the suite; others get ``FEW``.
MANY = {
    "yaml-changed": 150,
    "yaml-written": 150,
    "expressions": 150,
    "times-and-names": 60,
    "outputs": 100,
    "data-files": 200,
    "values": 100,
}
FEW = 25


@pytest.fixture(autouse=True)
def _own_place(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Targets stand in folders of their own, and the tester's settings are not for them."""
    for name in [name for name in os.environ if name.startswith("YAMLFLOW_")]:
        monkeypatch.delenv(name)
    before = os.getcwd()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    os.chdir(before)


@pytest.fixture(scope="module")
def judge() -> Judge:
    """One for all cases that were kept."""
    return Judge()


def assert_taken_well(judge: Judge, target: Target, case: Any) -> None:
    """Raises with the story of a finding."""
    finding = judge(target.name, target.check, case)
    assert finding is None, f"{finding.site}\n{finding.story}\n{target.name}: {cases.to_text(finding.case)[:2000]}"


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_whatever_is_read_is_taken_or_refused_with_a_typed_error_soon_and_in_little_memory(target: Target) -> None:
    judge = Judge()

    @settings(
        max_examples=MANY.get(target.name, FEW), deadline=None, derandomize=True, database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(st.integers(0, 2**64 - 1))
    def every_case(seed: int) -> None:
        assert_taken_well(judge, target, target.make(Random(seed)))

    every_case()


@pytest.mark.parametrize("file", FINDINGS, ids=lambda file: file.stem)
def test_what_was_found_once_is_taken_well(file: Path, judge: Judge) -> None:
    target = target_named(file.stem.rpartition("-")[0])
    assert_taken_well(judge, target, cases.from_text(file.read_text()))


def test_the_judge_finds_faults_broken_promises_and_memory() -> None:
    def fault(case: Any) -> None:
        format_duration("no number")  # type: ignore[arg-type]

    def promise(case: Any) -> None:
        raise AssertionError("twice is not the same, 17 times")

    def memory(case: Any) -> None:
        bytearray(MEMORY + 50_000_000)[::4096] = b"x" * len(range(0, MEMORY + 50_000_000, 4096))

    def shape(case: Any) -> None:
        case["text"]

    judge = Judge()
    found = judge("t", fault, None)
    assert found is not None
    assert found.site == "TypeError at yamlflow/duration.py:format_duration"
    found = judge("t", promise, None)
    assert found is not None
    assert found.site.endswith("twice is not the same, N times")
    found = judge("t", memory, None)
    assert found is not None
    assert found.site == "memory at t"
    assert judge("t", shape, []) is None
    assert judge("t", lambda case: None, None) is None


def test_a_message_that_repeats_too_much_is_a_finding() -> None:
    from .targets.target import told

    told(UserError("x" * 10_000))  # shortened where it is told
    with pytest.raises(AssertionError, match="without a message"):
        told(UserError(""))


def test_a_case_is_made_smaller_as_long_as_it_shows_the_same() -> None:
    case = {"a": ["some", "words", {"k": "before NEEDLE after"}], "b": 17}
    assert cases.smaller(case, lambda each: "NEEDLE" in str(each)) == "NEEDLE"


@pytest.mark.parametrize("seed", range(30))
def test_a_changed_case_can_be_written_and_the_original_stays(seed: int) -> None:
    rnd = Random(seed)
    case = cases.value(rnd, 3)
    before = cases.to_text(case)
    changed = cases.mutated(rnd, case, cases.value(rnd, 3))
    assert cases.to_text(case) == before
    assert cases.to_text(cases.from_text(cases.to_text(changed))) == cases.to_text(changed)


def test_a_campaign_runs_its_targets_in_processes_and_tells_what_it_did(tmp_path: Path) -> None:
    options = ["--minutes", "0.02", "--slice", "1", "--target", "results", "--found", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", *options], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "executions" in done.stdout
    assert "0 findings" in done.stdout
