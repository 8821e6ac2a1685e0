"""A store that is out of reach: how long to wait before it is asked again, what is said of it, and when to give up."""

from __future__ import annotations

import logging
from collections.abc import Callable

from .clock import SECOND, Clock
from .errors import StoreUnavailable

#: Milliseconds until the first and between the later tries.
FIRST, LONGEST = 50, 2 * SECOND


class Outage:
    """One outage after the other. It is said once that the store is out of reach, and once that it is there again.

    ``patience`` is how many milliseconds one may last; None is for ever.
    """

    def __init__(self, clock: Clock, *, patience: int | None, say: Callable[[str], None]) -> None:
        self._clock = clock
        self._patience = patience
        self._say = say
        self._since: int | None = None
        self._pause = FIRST
        self._paused = 0

    def met(self, trouble: StoreUnavailable) -> float:
        """The store could not be used: how many seconds to wait. Raises the trouble when patience is at its end."""
        if self._since is None:
            self._since, self._pause, self._paused = self._clock.steady(), FIRST, 0
            self._say(f"the store is out of reach, trying again: {trouble}")
        if self._patience is not None and max(self._paused, self._lasted(self._since)) >= self._patience:
            raise trouble
        # Others wait for the same: not all of them at once.
        pause = round(self._pause * (0.5 + self._clock.random() / 2))
        self._paused += pause
        self._pause = min(self._pause * 2, LONGEST)
        return pause / 1000

    def over(self) -> None:
        """The store was used."""
        if self._since is not None:
            self._say(f"the store is there again, after {self._lasted(self._since) / 1000:.0f} s")
            self._since = None

    def _lasted(self, since: int) -> int:
        return self._clock.steady() - since


def warn(text: str) -> None:
    """Says it to whoever listens to the logger ``yamlflow.store``."""
    logging.getLogger("yamlflow.store").warning(text)
