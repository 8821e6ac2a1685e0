"""What a step's expressions see: names and values gathered from its run's rows, no more than are named.

Reads through the store, decides nothing and writes nothing. What a step sees of other steps is fixed when it becomes due:
one that ended later reads as not ended.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from .artifacts import is_glob
from .checksums import result_of
from .clock import Clock, to_text
from .lifecycle import TERMINAL
from .outcome import Json
from .plan import UNDO, Node, Plan, ancestors, child_path, parent_path
from .rows import RunRow, StepRow
from .spec import FanOut, Group, Matrix
from .store.base import Reader

#: Phases in which a step speaks for its own children: it sees them, not its siblings.
INSIDE = frozenset({"outputs", "until"})
#: Drawn values of each kind that one attempt tells the log; a template may draw without end.
MOST_DRAWN = 100
#: An expression within a text, whose own brackets make no glob of it.
EXPRESSION = re.compile(r"\$\{\{.*?\}\}", re.DOTALL)
#: What stands for a step that has not ended, or was never made.
NOT_ENDED: Mapping[str, Json] = {
    "result": None, "status": "pending", "error": None, "attempts": 0, "artifacts": {}, "winner": None, "run_id": None,
}  # fmt: skip


@dataclass
class Draws:
    """Time and chance for one attempt: drawn once, and told to the log."""

    clock: Clock
    drawn: dict[str, list[Json]] = field(default_factory=dict)

    def now(self) -> str:
        """The attempt's one reading of the clock, as ISO text."""
        known = self.drawn.get("now")
        if known is None:
            known = self.drawn["now"] = [to_text(self.clock.now())]
        return str(known[0])

    def uuid(self) -> str:
        """A new UUID."""
        return str(self._drawn("uuid", self.clock.uuid()))

    def random(self) -> float:
        """A number in [0, 1)."""
        return float(self._drawn("random", self.clock.random()))

    def _drawn(self, name: str, value: Json) -> Any:
        kept = self.drawn.setdefault(name, [])
        if len(kept) < MOST_DRAWN:
            kept.append(value)
        return value


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where an expression is evaluated."""

    run: RunRow
    row: StepRow
    node: Node
    #: The node at any path of the run, emitted steps included.
    node_at: Callable[[str], Node | None]
    reader: Reader
    draws: Draws
    secret: Callable[[str], str]
    #: The rendered ``env`` of the step, when an expression names it.
    env: Callable[[], Mapping[str, str]]


def scope_for(place: Place, names: Iterable[tuple[str, ...]]) -> dict[str, Json]:
    """A value for every name that expressions at this place read; a name that is not in scope stays out."""
    wanted: dict[str, set[str]] = {}
    for path in names:
        wanted.setdefault(path[0], set()).add(path[1] if len(path) > 1 else "")
    scope: dict[str, Json] = {
        "now": place.draws.now, "uuid": place.draws.uuid, "random": place.draws.random,
    }  # fmt: skip
    loops = loop_names(place, wanted)
    for name, parts in wanted.items():
        if name in loops:
            scope[name] = loops[name]
        elif name in SOURCES:
            scope[name] = SOURCES[name](place, parts)
    return scope


# -- around a step -------------------------------------------------------------------------------------------------


def around(place: Place) -> Iterator[tuple[str, Node]]:
    """The groups and loops whose names a step sees, from the nearest outwards, up to the border of its kind.

    What takes a step back stands beside it: it sees that step as one, not what is in it.
    """
    paths = (path for path in ancestors(place.row.path) if not place.row.path.startswith(path + UNDO))
    if place.row.phase == "until":
        # The condition speaks of the iteration that has just ended: it sees that group's steps too.
        last = f"{place.row.path}[{place.row.children - 1}]"
        node = place.node_at(last)
        if node is not None and node.inputs is None:
            yield last, node
    if place.row.phase in INSIDE:
        yield place.row.path, place.node
        if place.node.inputs is not None:
            return
    for path in paths:
        node = place.node_at(path)
        if node is None:
            continue
        yield path, node
        if node.inputs is not None:
            return


def resolve_step(place: Place, id: str) -> str | None:
    """The path of the nearest step of that id."""
    for path, node in around(place):
        # A package built in Python declares none: its steps are known by their rows alone.
        if isinstance(node.group, Group) and (id in node.group.steps or not node.group.steps):
            return child_path(path, id)
    return None


def loop_names(place: Place, wanted: Container[str]) -> dict[str, Json]:
    """``item``, ``index``, ``matrix``, ``iteration`` and ``as`` names, the nearest of each; and of an undo, ``result``."""
    names: dict[str, Json] = {}
    own = place.row.phase not in INSIDE or place.node.inputs is None
    paths = [place.row.path] if own else []
    paths += [path for path, node in around(place) if node.inputs is None and path != place.row.path]
    paths = [each for path in paths for each in ((path, undone_by(path)) if path.endswith(UNDO) else (path,))]
    keyed = [path for path in paths if path.endswith(("]", UNDO)) or path == place.row.path or path + UNDO in paths]
    rows = {place.row.path: place.row}
    missing = [path for path in keyed if path not in rows]
    if missing:
        rows.update({row.path: row for row in place.reader.steps_at(place.run.key, missing)})
    for path in keyed:
        row = rows.get(path)
        if row is not None and path + UNDO in paths and "result" in wanted:
            names.setdefault("result", value_of(place, row))
        if row is not None and row.scope:
            for name, value in json.loads(row.scope).items():
                if name != "inputs":
                    names.setdefault(name, value)
    return names


def undone_by(path: str) -> str:
    """The path of the step that the undo at a path takes back."""
    return path.removesuffix(UNDO)


# -- one function for each name in scope ---------------------------------------------------------------------------


def inputs_of(place: Place, parts: set[str]) -> Json:
    """The run's inputs, or those of the kind that the step stands in."""
    for path, node in around(place):
        if node.inputs is not None:
            row = place.row if path == place.row.path else place.reader.steps_at(place.run.key, [path])[0]
            return json.loads(row.scope or "{}").get("inputs", {})
    return json.loads(place.run.inputs)


def steps_of(place: Place, parts: set[str]) -> Json:
    """``steps.<id>`` for each id that is named."""
    if "" in parts:
        parts = {id for _, node in around(place) if node.group for id in node.group.steps} | (parts - {""})
    paths = {id: path for id in parts if (path := resolve_step(place, id)) is not None}
    rows = {row.path: row for row in place.reader.steps_at(place.run.key, list(paths.values()))}
    return {id: step_value(place, rows.get(path)) for id, path in paths.items()}


def needs_of(place: Place, parts: set[str]) -> Json:
    """``needs.<id>``: the same for the step's own needs; those of a loop are its children's too."""
    own = undone_by(place.row.path)
    path = (parent_path(own) or "") if own.endswith("]") else own
    owner = place.node if path == place.row.path else place.node_at(path)
    known = {need.step for need in (owner or place.node).needs}
    return steps_of(place, known if "" in parts else parts & known)


def step_value(place: Place, row: StepRow | None) -> Json:
    """What ``steps.<id>`` reads as."""
    if row is None or row.status not in TERMINAL or is_later(row, place.row):
        return dict(NOT_ENDED)
    return {
        "result": value_of(place, row),
        "status": row.status,
        "error": json.loads(row.error) if row.error and row.status == "failed" else None,
        "attempts": row.attempt,
        "artifacts": artifacts_of(place, row),
        "winner": row.winner,
        "run_id": None if row.wait is None else json.loads(row.wait).get("run"),
    }  # fmt: skip


def artifacts_of(place: Place, row: StepRow) -> dict[str, Json]:
    """What is known of a step's files by name; of a declared glob, a mapping by each file's path, however many."""
    found = {
        one.name: {
            "path": one.uri, "size": one.size, "sha256": one.sha256, "content_type": one.content_type,
            "kind": one.kind, "metadata": json.loads(one.metadata),
        }
        for one in place.reader.artifacts(row.run, row.id)
    }  # fmt: skip
    node = place.node_at(row.path)
    for name, pattern in node.step.artifacts.items() if node is not None and node.loop is None else ():
        inside = [each for each in found if each.startswith(f"{name}/")]
        if name not in found and (inside or may_be_glob(str(pattern), row)):
            found[name] = {each.removeprefix(f"{name}/"): found.pop(each) for each in inside}
    return found


def may_be_glob(pattern: str, row: StepRow) -> bool:
    """Whether a pattern that kept nothing names any number of files: a path's file is there when its step succeeded."""
    literal = EXPRESSION.sub("", pattern)
    return is_glob(literal) or (literal != pattern and row.status == "succeeded")


def is_later(other: StepRow, seen_by: StepRow) -> bool:
    """Whether a step ended after the one that looks at it had become due."""
    return (
        other.ended is not None
        and seen_by.due is not None
        and seen_by.phase not in INSIDE
        and other.ended > seen_by.due
    )


def value_of(place: Place, row: StepRow) -> Json:
    """A step's result; of a loop, its children's in order."""
    node = place.node_at(row.path)
    if node is not None and isinstance(node.loop, FanOut | Matrix) and row.status == "succeeded":
        return gathered(place.reader, row)
    return result_of(row)


def gathered(reader: Reader, row: StepRow) -> list[Json]:
    """The results of a loop's children, null where one failed or was skipped."""
    children = [each for each in reader.children(row.run, row.path, row.id) if each.path.endswith("]")]
    return [result_of(child) for child in children]


def error_of(place: Place, parts: set[str]) -> Json:
    """In a handler: the first failure committed in its group."""
    row = handled(place)
    text = None if row is None else row.error or row.fault
    return None if text is None else json.loads(text)


def cancel_of(place: Place, parts: set[str]) -> Json:
    """In a handler: why the group was canceled, and by whom; if it was only a step in it, why that one was."""
    row = handled(place)
    while row is not None and row.cancel is None:
        canceled = place.reader.children(row.run, row.path, row.id, statuses=("canceled",))
        row = min((each for each in canceled if each.reason == "user"), key=lambda each: each.ended or 0, default=None)
    if row is None or row.cancel is None:
        return {"reason": None, "by": None}
    cancel = json.loads(row.cancel)
    return {"reason": cancel.get("reason"), "by": cancel.get("by")}


def handled(place: Place) -> StepRow | None:
    """The group whose handler the step stands in."""
    for path in (place.row.path, *ancestors(place.row.path)):
        cut = path.rfind("@")
        if cut > max(path.rfind("/"), path.rfind("]")) and not path.endswith(UNDO):
            return next(iter(place.reader.steps_at(place.run.key, [path[:cut]])), None)
    return None


def run_of(place: Place, parts: set[str]) -> Json:
    """``run``: what is known of the run itself."""
    run = place.run
    return {
        "id": run.id,
        "execution": run.execution,
        "name": run.name,
        "package": run.package,
        "version": run.version,
        "metadata": json.loads(run.metadata),
        "parent": parent_of(place.reader, run) if not parts or parts & {"", "parent"} else None,
        "started_at": to_text(run.started_at or run.created_at),
        "steps_done": run.done,
        "event_count": place.row.due or 0,
    }


def parent_of(reader: Reader, run: RunRow) -> Json:
    """The run and the step that started a run as a child, ``{run, execution, step}``; None when none did."""
    step = None if run.parent is None else reader.step(run.parent)
    above = None if step is None else reader.run_at(step.run)
    if step is None or above is None:
        return None
    return {"run": above.id, "execution": above.execution, "step": step.path}


def step_of(place: Place, parts: set[str]) -> Json:
    """``step``: the step itself."""
    step = place.node.step
    return {"id": step.id, "path": place.row.path, "metadata": dict(step.metadata)}


def secrets_of(place: Place, parts: set[str]) -> Json:
    """``secrets.NAME`` for each name that is asked for."""
    return {name: place.secret(name) for name in parts if name}


SOURCES: Mapping[str, Callable[[Place, set[str]], Json]] = {
    "inputs": inputs_of,
    "steps": steps_of,
    "needs": needs_of,
    "error": error_of,
    "cancel": cancel_of,
    "run": run_of,
    "step": step_of,
    "secrets": secrets_of,
    "attempt": lambda place, parts: place.row.attempt,
    "context": lambda place, parts: json.loads(place.run.context),
    "env": lambda place, parts: dict(place.env()),
}


def last_result(place: Place) -> Json:
    """The result of a ``repeat``'s last iteration."""
    path = f"{place.row.path}[{place.row.children - 1}]"
    row = next(iter(place.reader.steps_at(place.run.key, [path])), None)
    return None if row is None else result_of(row)


def plan_node(plan: Plan, path: str) -> Node | None:
    """The node at a path, or None when the package declares none."""
    try:
        return plan.node(path)
    except KeyError:
        return None


def node_of(reader: Reader, plan: Plan, run: int, path: str) -> Node | None:
    """The node at a path of a run, also of a step that was emitted or that a program built; None when there is none."""
    declared = plan_node(plan, path)
    if declared is not None:
        return declared
    above = [path, *ancestors(path)]
    rows = {row.path: row for row in reader.steps_at(run, above) if row.definition is not None}
    root = next((rows[each] for each in above if each in rows), None)
    if root is None:
        return None
    fragment = plan.fragment(root.definition or "", json.loads(root.definition or "{}"), parent_path(root.path) or "")
    try:
        return fragment.node(root.path, path)
    except KeyError:
        return None
