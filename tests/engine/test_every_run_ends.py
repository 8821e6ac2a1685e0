"""Every run ends, and ends right: random packages, outcomes, crashes and operators against a real store."""

from __future__ import annotations

import random

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from .worlds import World, assert_ended_right, assert_undone_right, random_package


def play(seed: int, moves: int = 60) -> World:
    """One random history, checked between its moves, to its end."""
    rnd = random.Random(seed)
    world = World(random_package(rnd))
    for _ in range(rnd.randint(0, moves)):
        world.move(rnd)
        world.check()
    world.finish(rnd)
    world.check()
    assert_ended_right(world)
    assert_undone_right(world)
    return world


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@example(25168385)
@example(874)
@given(st.integers(min_value=0, max_value=2**32))
def test_every_run_ends_and_ends_right(seed: int) -> None:
    world = play(seed)
    world.runtime.close()
