"""Every family of runs ends, and ends right: children, signals, answers, renewals and places, crashes in between."""

from __future__ import annotations

import random

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from .families import PACKAGES, Family, random_package


def play(seed: int, moves: int = 80) -> Family:
    """One random history, checked between its moves, to its end."""
    rnd = random.Random(seed)
    family = Family([random_package(rnd, number) for number in range(PACKAGES)])
    family.start(rnd)
    for _ in range(rnd.randint(0, moves)):
        family.move(rnd)
        family.check()
    family.finish()
    return family


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@example(102683)
@example(300796)
@example(208227)
@given(st.integers(min_value=0, max_value=2**32))
def test_every_family_of_runs_ends(seed: int) -> None:
    play(seed).runtime.close()
