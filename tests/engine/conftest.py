"""What the language's tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .stage import Stage, staged


@pytest.fixture
def stage() -> Iterator[Stage]:
    """A runtime in memory with small kinds."""
    with staged() as one:
        yield one
