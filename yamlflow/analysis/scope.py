"""What expressions see from a place, known before anything runs: names, and steps by the groups around the place. Pure.

A scope belongs to a place in the package, not to a moment of a run. A kind made of steps is a border: its body sees its
own inputs and steps, and of the run only ``run``, ``context``, ``env`` and ``secrets``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..outcome import Json
from ..spec import FanOut, Matrix, Repeat
from ..template import FUNCTIONS, has_expression
from ..template.scan import WORDS
from .level import Level

#: What ``steps.<id>`` and ``needs.<id>`` hold.
STEP_FIELDS = frozenset({"result", "status", "error", "attempts", "artifacts", "winner", "run_id"})
ERROR_FIELDS = frozenset({"code", "type", "message", "step", "attempt", "cause", "details", "permanent"})
CANCEL_FIELDS = frozenset({"reason", "by"})
#: What the names that are everywhere hold.
FIELDS: Mapping[str, frozenset[str]] = {
    "step": frozenset({"id", "path", "metadata"}),
    "run": frozenset(
        ["id", "execution", "name", "package", "version", "metadata", "parent", "started_at", "steps_done",
         "event_count"]
    ),
}  # fmt: skip
#: In scope wherever a step is.
IN_STEPS = frozenset({"inputs", "steps", "needs", "step", "attempt", "run", "context", "env", "secrets"})
#: In scope where a run is named, before it has begun.
IN_NAMES = frozenset({"inputs", "run", "context"})
#: Names that are in scope in some places only → where that is.
ELSEWHERE: Mapping[str, str] = {
    "item": "is the item of a `for_each`; it is in scope only within one",
    "index": "is in scope only within `for_each` and `matrix`",
    "matrix": "is in scope only within `matrix`",
    "iteration": "is in scope only within `repeat`",
    "result": "is in scope only within `repeat` (the last iteration's) and `undo` (the step's)",
    "error": "is in scope only in handlers: `on_failure`, `on_cancel`, `finally`",
    "cancel": "is in scope only in handlers: `on_failure`, `on_cancel`, `finally`",
    **dict.fromkeys(IN_STEPS - IN_NAMES, "cannot be read here, where the run has not begun"),
}
#: Names that no loop may give to its items.
RESERVED = IN_STEPS | FUNCTIONS | WORDS | {"index", "matrix", "iteration", "error", "cancel"}
#: The names of a handler, with what they hold.
IN_HANDLERS: Mapping[str, frozenset[str] | None] = {"error": ERROR_FIELDS, "cancel": CANCEL_FIELDS}


@dataclass(frozen=True, kw_only=True, slots=True)
class Frame:
    """A group around a place."""

    level: Level
    #: The step of that group in which the place is; None sees all of them: outputs and handlers.
    member: str | None = None
    #: The member has ended and may be read too: its ``undo``.
    ended: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Scope:
    """What a place sees."""

    #: The names that are always there: ``IN_STEPS`` or ``IN_NAMES``.
    area: frozenset[str] = IN_STEPS
    #: Names of loops and handlers → the keys they hold, or None when any.
    local: Mapping[str, frozenset[str] | None] = field(default_factory=dict)
    #: Names that the children of the step will see, but not the place itself.
    within: frozenset[str] = frozenset()
    #: The groups around, nearest first, up to the border of a kind.
    frames: tuple[Frame, ...] = ()
    #: Declared inputs.
    inputs: Mapping[str, Json] = field(default_factory=dict)
    #: The kind whose body this is; "" in the package's own steps.
    kind: str = ""
    #: The ids that the step itself needs.
    needs: frozenset[str] = frozenset()
    #: Declared variables → whether they hold a secret.
    env: Mapping[str, bool] = field(default_factory=dict)


def loop_names(loop: FanOut | Matrix | Repeat | None) -> Mapping[str, frozenset[str] | None]:
    """The names that each child of a loop sees."""
    match loop:
        case FanOut():
            return {loop.name: None, "index": None}
        case Matrix():
            return {"matrix": matrix_keys(loop), "index": None}
        case Repeat():
            return {"iteration": None, "result": None}
    return {}


def matrix_keys(matrix: Matrix) -> frozenset[str] | None:
    """The keys that combinations have; None when an expression adds some."""
    if isinstance(matrix.include, str):
        return None
    added = {name for row in matrix.include or () if isinstance(row, dict) for name in row}
    return None if any(has_expression(name) for name in added) else frozenset({*matrix.axes, *added})
