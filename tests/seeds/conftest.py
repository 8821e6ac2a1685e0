"""What the tests of this folder share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from yamlflow import Runtime

from ..engine.stage import Stage, staged
from .kinds import runtime


@pytest.fixture
def rt() -> Iterator[Runtime]:
    """A runtime in memory, its clock standing still, ten steps a cycle."""
    with runtime() as opened:
        yield opened


@pytest.fixture
def stage() -> Iterator[Stage]:
    """A runtime in memory with small kinds, on a clock that stands still."""
    with staged() as one:
        yield one
