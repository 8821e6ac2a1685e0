"""What a run's rows are in its package: the node of any path, emitted steps included."""

from __future__ import annotations

import json
from dataclasses import replace

from ..outcome import Json
from ..packages import Plans
from ..plan import Node, Plan, ancestors, keyed_path, parent_path
from ..rows import RunRow, StepRow
from ..scope import plan_node
from ..spec import FanOut, Group, Matrix, Repeat, Step, step_from
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


def whole_plan(reader: Reader, plan: Plan, run: RunRow) -> Plan:
    """A run's plan; of a package built in Python, with the steps that the program made for this run."""
    body = plan.package.root.body
    root = next(iter(reader.steps_at(run.key, [""])), None)
    if root is None or not isinstance(body, Group) or body.steps:
        return plan
    made = [row for row in reader.children(run.key, "", root.id) if row.definition is not None]
    steps = {row.path: step_at(row.path, json.loads(row.definition or "{}")) for row in made}
    package = replace(plan.package, root=replace(plan.package.root, body=replace(body, steps=steps)))
    return Plan(package)


def step_at(path: str, definition: Json) -> Step:
    """An emitted step as if it were declared at its path, its needs named by path too."""
    step = step_from(path, definition, ())
    return replace(step, needs=tuple(replace(need, step=keyed_path("", need.step)[1:-1]) for need in step.needs))


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
