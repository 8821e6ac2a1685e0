"""Every decision of a play as a small number: drawn from a seed, or read from a record. 0 is the dull choice.

A record that is cut, or whose numbers are lowered, is still the record of a play: what is missing reads as 0, what is too
large as the largest there is. So a play that fails can be made shorter by trial.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from itertools import accumulate

#: A gap that never ends.
NEVER = 1 << 60


class Weights:
    """Options by number, and how likely each is."""

    def __init__(self, *weights: float) -> None:
        total = sum(weights)
        self.bounds = [at / total for at in accumulate(weights)]
        self.count = len(weights)


class Choices:
    """Where a play's decisions come from."""

    def __init__(self, seed: int | None = None, recorded: Sequence[int] = ()) -> None:
        self._random = None if seed is None else random.Random(seed)
        self._recorded = recorded
        self._at = 0
        #: Everything that was decided so far.
        self.taken: list[int] = []

    def _read(self, count: int) -> int:
        value = self._recorded[self._at] if self._at < len(self._recorded) else 0
        self._at += 1
        return min(value, count - 1)

    def upto(self, count: int) -> int:
        """A number below ``count``, each as likely."""
        value = self._read(count) if self._random is None else int(self._random.random() * count)
        self.taken.append(value)
        return value

    def pick(self, weights: Weights) -> int:
        """One of some options."""
        if self._random is None:
            value = self._read(weights.count)
        else:
            drawn = self._random.random()
            value = next(at for at, bound in enumerate(weights.bounds) if drawn < bound or at == weights.count - 1)
        self.taken.append(value)
        return value

    def gap(self, mean: int) -> int:
        """How many times something does not happen until it does; ``NEVER`` is the dull choice."""
        most = 8 * mean
        value = self._read(most) if self._random is None else 1 + int(min(most - 2, self._random.expovariate(1 / mean)))
        self.taken.append(value)
        return value or NEVER


def shrink(record: Sequence[int], fails: Callable[[Sequence[int]], bool], *, most: int) -> list[int]:
    """A shorter record with lower numbers that fails as well, found in at most so many plays."""
    left = most
    best = list(record)

    def accepts(candidate: list[int]) -> bool:
        nonlocal left, best
        while candidate and candidate[-1] == 0:
            candidate.pop()
        if left <= 0 or candidate == best:
            return False
        left -= 1
        if fails(candidate):
            best = candidate
            return True
        return False

    before: list[int] | None = None
    while best != before and left > 0:
        before = list(best)
        size = max(1, len(best) // 2)
        while size >= 1 and left > 0:
            at = len(best) - size
            while at >= 0 and left > 0:
                at = min(at, len(best) - size)
                if at < 0:
                    break
                if not accepts(best[:at] + best[at + size :]) and any(best[at : at + size]):
                    accepts(best[:at] + [0] * size + best[at + size :])
                at -= size
            size //= 2
        for at in range(len(best) - 1, -1, -1):
            if at >= len(best):
                continue
            low, high = 0, best[at]
            while low < high and left > 0 and at < len(best):
                middle = (low + high) // 2
                if accepts([*best[:at], middle, *best[at + 1 :]]):
                    high = middle
                else:
                    low = middle + 1
    return best
