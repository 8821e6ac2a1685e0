"""A fixed budget of the simulation: seeds that must go well, mistakes that must be noticed, and that a seed is a seed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .choices import Choices, shrink
from .mutants import MUTANTS, mutated, notices
from .packages import pool
from .play import play

ROOT = Path(__file__).parent.parent.parent
#: Seeds that are played each time, and in how many tests.
SEEDS, PARTS = 200, 4
#: Seeds that are known to notice a mistake. A change of the engine may shift what happens in them; then others do.
KNOWN: dict[str, int] = {
    "a signal of a known key is kept again": 7,
    "no fence": 52,
    "a fence by the name of the worker": 52,
    "leases that run out by the wall clock": 23,
    "a lost lease spends an attempt": 0,
    "the steps of who is buried are not offered": 0,
    "a commit that lies is reported as a failed attempt": 34,
    "a result and its release in two transactions": 0,
    "no lock on the run": 0,
    "children counted after the commit": 0,
    "a need that is not awaited": 5,
    "nobody is told of a signal": 5,
    "nobody is told of a free lock": 7,
    "no parent is told that its child ended": 3,
    "children go on without their parent": 13,
    "a place is given twice": 23,
    "a handler fires again": 0,
    "undone in the order of completion": 5,
    "timers that fire early": 5,
    "two of one dedup key run": 40,
    "a step of a canceled group begins": 5,
    "tokens refilled twice as fast": 73,
    "tokens that are not spent": 17,
    "a clock that goes back fills the bucket": 189,
    "one more in flight than may be": 16,
    "a lock is given to two": 5,
    "a signal is read twice": 75,
    "the last signal is read first": 34,
    "signals stay behind when a run continues": 1,
}
#: Seeds within which a mistake has to be noticed.
ENOUGH = 1000

STORIES = """
import hashlib, logging
from tests.simulate.choices import Choices
from tests.simulate.play import play
logging.disable(logging.CRITICAL)
for seed in (3, 15, 20, 26, 31, 35):
    result = play(Choices(seed), telling=True)
    print(seed, result.record, result.rule, len(result.story), hashlib.sha256("\\n".join(result.story).encode()).hexdigest())
"""


@pytest.mark.parametrize("part", range(PARTS))
def test_every_rule_holds_after_every_commit_whatever_strikes(part: int) -> None:
    for seed in range(part * SEEDS // PARTS, (part + 1) * SEEDS // PARTS):
        found = play(Choices(seed))
        assert found.rule is None, f"{found.what}\npython -m tests.simulate --seed {seed}"


def test_a_seed_tells_the_same_story_in_every_process() -> None:
    told = []
    for hashes in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": hashes}
        done = subprocess.run(
            [sys.executable, "-c", STORIES], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        told.append(done.stdout)
    assert told[0] == told[1]
    assert len(told[0].splitlines()) == 6


def test_a_record_plays_what_its_seed_played() -> None:
    first = play(Choices(20), telling=True)
    again = play(Choices(recorded=first.record), telling=True)
    assert again.story == first.story
    assert again.record == first.record


def test_an_empty_record_is_a_dull_play_that_goes_well() -> None:
    found = play(Choices(recorded=()))
    assert found.rule is None
    assert set(found.counts) <= {"commits", "runs", "calls", "start"}


def test_what_breaks_a_rule_is_made_shorter() -> None:
    name = "one more in flight than may be"
    seed = next(seed for seed in [KNOWN[name], *range(ENOUGH)] if notices(name, seed) is not None)
    with mutated(name):
        found = play(Choices(seed))
        short = shrink(found.record, lambda record: play(Choices(recorded=record)).rule == found.rule, most=120)
        told = play(Choices(recorded=short), telling=True)
    assert told.rule == found.rule == "a queue is no wider than it says"
    assert len(short) < len(found.record)
    assert sum(short) < sum(found.record)
    assert any("step.leased" in line for line in told.story)


def test_shrinking_finds_what_matters() -> None:
    def fails(record: list[int]) -> bool:
        return any(one >= 7 for one in record) and len(record) >= 3

    assert shrink([9, 3, 0, 12, 4, 4, 8, 1], fails, most=1000) == [0, 0, 7]  # type: ignore[arg-type]


@pytest.mark.parametrize("name", MUTANTS)
def test_a_deliberate_mistake_is_noticed(name: str) -> None:
    seeds = [KNOWN[name]] if name in KNOWN else []
    assert any(notices(name, seed) is not None for seed in [*seeds, *range(ENOUGH)])


def test_families_of_packages_are_always_the_same_and_differ() -> None:
    texts = {str(one.texts) for one in pool()}
    assert len(texts) > 0.95 * len(pool())
    assert all(one.loaded() for one in pool()[:: len(pool()) // 20])
