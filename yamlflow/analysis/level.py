"""One group's graph: which of its steps come before which, and the circles among them. Pure.

Which step is upstream is answered with one bit set for each step, made when it is first asked for; a group too large
for that is searched instead. Nothing here recurses.
"""

from __future__ import annotations

from functools import cached_property

from ..spec import Group

#: Steps of a group up to which every step keeps the set of those before it (32 MiB at most).
MOST_SETS = 16_384
#: Needs that are followed in all in a larger group; after that every step counts as upstream, so that nobody is accused
#: wrongly and the time is bounded.
MOST_FOLLOWED = 2_000_000


class Level:
    """The steps of a group by position, with the needs that lead to steps of the same group."""

    def __init__(self, group: Group, path: tuple[str, ...]) -> None:
        self.group = group
        #: Where the group is: the ids around its steps.
        self.path = path
        self._left = MOST_FOLLOWED
        self.index = {id: position for position, id in enumerate(group.steps)}
        self.ids = list(group.steps)
        self.needs = [
            [self.index[need.step] for need in step.needs if need.step in self.index and need.step != step.id]
            for step in group.steps.values()
        ]

    def comes_before(self, one: str, other: str) -> bool:
        """Whether ``other`` needs ``one``, by itself or through others; within circles everything counts as needed."""
        first, last = self.index[one], self.index[other]
        if self.group.sequence:
            return first < last
        if first in self.needs[last]:
            return True
        if first not in self.rank or last not in self.rank:
            return first != last
        if self.rank[first] >= self.rank[last]:
            return False
        if len(self.ids) <= MOST_SETS:
            return bool(self.before[last] >> first & 1)
        return self._is_found(first, last)

    @cached_property
    def rank(self) -> dict[int, int]:
        """Each step's place in an order in which every step follows what it needs; steps behind a circle have none."""
        open_needs = [len(set(needs)) for needs in self.needs]
        order = [position for position, count in enumerate(open_needs) if not count]
        needed_by = self._needed_by()
        for position in order:
            for dependent in needed_by[position]:
                open_needs[dependent] -= 1
                if not open_needs[dependent]:
                    order.append(dependent)
        return {position: rank for rank, position in enumerate(order)}

    @cached_property
    def before(self) -> list[int]:
        """For each step the set, as bits, of all that it needs."""
        sets = [0] * len(self.ids)
        for position in self.rank:
            for need in self.needs[position]:
                sets[position] |= sets[need] | 1 << need
        return sets

    def circles(self) -> list[list[str]]:
        """The members of each circle of needs, in order, from the one declared first."""
        stuck = [position for position in range(len(self.ids)) if position not in self.rank]
        seen: dict[int, int] = {}
        circles = []
        for start in stuck:
            way = []
            position = start
            while position not in seen:
                seen[position] = start
                way.append(position)
                position = next(need for need in self.needs[position] if need not in self.rank)
            if way and seen[position] == start:
                circles.append(way[way.index(position) :])
        return [[self.ids[position] for position in _from_first(circle)] for circle in circles]

    def _needed_by(self) -> list[list[int]]:
        lists: list[list[int]] = [[] for _ in self.ids]
        for position, needs in enumerate(self.needs):
            for need in set(needs):
                lists[need].append(position)
        return lists

    def _is_found(self, first: int, last: int) -> bool:
        """Look for ``first`` among all that ``last`` needs, passing over what comes too early to need it."""
        floor, seen, ways = self.rank[first], {last}, [last]
        while ways:
            needs = self.needs[ways.pop()]
            self._left -= len(needs)
            for need in needs:
                if need == first or self._left < 0:
                    return True
                if need not in seen and self.rank[need] > floor:
                    seen.add(need)
                    ways.append(need)
        return False


def _from_first(circle: list[int]) -> list[int]:
    start = circle.index(min(circle))
    return circle[start:] + circle[:start]
