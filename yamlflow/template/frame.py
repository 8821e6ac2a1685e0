"""What one rendering carries from closure to closure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..outcome import Json
from .limits import Work


class Frame:
    """What one rendering reads: the scope, a document's own names, and what is left of the allowance."""

    __slots__ = ("local", "scope", "work")

    def __init__(self, scope: Mapping[str, Json], work: Work, local: dict[str, Any] | None = None) -> None:
        self.scope = scope
        self.work = work
        self.local: dict[str, Any] = {} if local is None else local

    def child(self) -> Frame:
        """A frame whose new names are not seen outside it."""
        return Frame(self.scope, self.work, dict(self.local))


Evaluate = Callable[[Frame], Json]
Arguments = Callable[[Frame], tuple[list[Json], dict[str, Json]]]
