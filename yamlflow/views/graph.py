"""What a run's rows are in its package: the node of any path, emitted steps included."""

from __future__ import annotations

import json

from ..packages import Plans
from ..plan import Node, ancestors, parent_path
from ..rows import RunRow, StepRow
from ..scope import plan_node
from ..spec import FanOut, Matrix, Repeat
from ..store.base import Reader


class RunGraph:
    """The nodes of one run's rows."""

    def __init__(self, reader: Reader, plans: Plans, run: RunRow) -> None:
        self.reader = reader
        self.run = run
        self.plan = plans(run.digest)
        self._emitted: dict[int, StepRow] = {}

    def node(self, row: StepRow) -> Node | None:
        """The node of a row; None when its package no longer says what it is."""
        root = row if row.definition is not None else self._root(row)
        if root is None or root.definition is None:
            return plan_node(self.plan, row.path)
        self._emitted[root.id] = root
        above = parent_path(root.path) or ""
        try:
            return self.plan.fragment(root.definition, json.loads(root.definition), above).node(root.path, row.path)
        except KeyError:
            return None

    def _root(self, row: StepRow) -> StepRow | None:
        """The emitted step in whose definition a row is declared."""
        if row.origin is None:
            return None
        if row.origin not in self._emitted:
            for above in self.reader.steps_at(self.run.key, list(ancestors(row.path))):
                self._emitted[above.id] = above
        return self._emitted.get(row.origin)


def form_of(node: Node | None, row: StepRow) -> str:
    """What a step is, in a word: its kind, ``group``, ``for_each``, ``matrix``, ``repeat``."""
    if node is None:
        return row.kind or "step"
    match node.loop:
        case FanOut():
            return "for_each"
        case Matrix():
            return "matrix"
        case Repeat():
            return "repeat"
    return "group" if node.call is None else node.call.kind
