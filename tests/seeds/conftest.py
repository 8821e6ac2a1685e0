"""What the tests of this folder share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ..engine.stage import Stage, staged


@pytest.fixture
def stage() -> Iterator[Stage]:
    """A runtime in memory with small kinds, on a clock that stands still."""
    with staged() as one:
        yield one
