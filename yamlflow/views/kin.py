"""What a run is to others: its parent and children, the executions before and after it, signals that wait for it, its place.

Bounded like every view: a thousand children at most, and of a family so many levels.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..lifecycle import is_over
from ..outcome import Json
from ..rows import RunRow, StepRow
from ..store.base import Reader
from .runs import text_of

#: Children, unread signals and runs of one key that are looked at.
MOST = 1000


@dataclass(frozen=True, kw_only=True)
class Relative:
    """A run that another one has to do with."""

    id: str
    execution: int
    package: str
    status: str
    #: The step that stands between them: the parent's that started it; None for none.
    step: str | None = None
    #: What becomes of a child when its parent ends.
    on_parent_close: str | None = None

    def to_json(self) -> dict[str, Json]:
        """The shape that ``--json`` prints."""
        return {
            "run": self.id, "execution": self.execution, "package": self.package, "status": self.status,
            "step": self.step, "on_parent_close": self.on_parent_close,
        }  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Kin:
    """What is known around a run."""

    parent: Relative | None
    children: Sequence[Relative]
    #: The executions of the same id before and after.
    before: Relative | None
    after: Relative | None
    #: ``{name, sender, at}`` of each signal that nobody has read.
    unread: Sequence[Mapping[str, Json]]
    #: ``{key, holds, holders, ahead}``: its place in ``concurrency``; None when it has none, or has ended.
    place: Mapping[str, Json] | None
    #: ``{reason, by, origin}`` of a cancel that has not come to its end.
    cancel: Mapping[str, Json] | None

    def to_json(self) -> dict[str, Json]:
        """The shape that ``--json`` prints."""
        one = {name: value and value.to_json() for name, value in
               (("parent", self.parent), ("predecessor", self.before), ("successor", self.after))}  # fmt: skip
        return {
            **one,
            "child_runs": [child.to_json() for child in self.children],
            "unread_signals": [dict(signal) for signal in self.unread],
            "concurrency": None if self.place is None else dict(self.place),
            "cancel": None if self.cancel is None else dict(self.cancel),
        }


def kin_of(reader: Reader, run: RunRow) -> Kin:
    """A run's relations as they stand."""
    root = next(iter(reader.steps_at(run.key, [""])), None)
    return Kin(
        parent=parent_of(reader, run),
        children=children_of(reader, run),
        before=None if run.execution == 1 else relative(reader.find_run(run.id, run.execution - 1)),
        after=relative(reader.find_run(run.id, run.execution + 1)),
        unread=[
            {"name": one.name, "sender": one.sender, "at": text_of(one.at)}
            for one in reader.signals(run.key, unread=True, limit=MOST)
        ],
        place=place_of(reader, run),
        cancel=cancel_of(root),
    )


def relative(run: RunRow | None, step: str | None = None) -> Relative | None:
    """A run as a relative."""
    if run is None:
        return None
    return Relative(
        id=run.id, execution=run.execution, package=run.package, status=standing(run), step=step,
        on_parent_close=run.on_parent_close,
    )  # fmt: skip


def standing(run: RunRow) -> str:
    """A run's status as people see it."""
    return "paused" if run.paused and run.ended_at is None else run.status


def parent_of(reader: Reader, run: RunRow) -> Relative | None:
    """The run that started it, by which step."""
    step = None if run.parent is None else reader.step(run.parent)
    # A parent that went on as its next execution has handed the child over to it.
    key = run.parent_run if run.parent_run is not None else step and step.run
    return relative(None if key is None else reader.run_at(key), None if step is None else step.path)


def children_of(reader: Reader, run: RunRow) -> list[Relative]:
    """The runs that its steps started, in order."""
    found = []
    for child in reader.child_runs(run.key, limit=MOST):
        step = None if child.parent is None else reader.step(child.parent)
        one = relative(child, None if step is None else step.path)
        assert one is not None
        found.append(one)
    return found


def place_of(reader: Reader, run: RunRow) -> Mapping[str, Json] | None:
    """Whether a run has a place of its key, who has one, and how many wait before it."""
    if run.slot is None or run.ended_at is not None:
        return None
    runs = reader.in_slot(run.slot, limit=MOST)
    holders = [one for one in runs if one.status == "running"]
    return {
        "key": run.slot.partition("/")[2],
        "holds": run.status == "running",
        "holders": [one.id for one in holders],
        "ahead": sum(one.status == "pending" and one.key < run.key for one in runs),
    }


def cancel_of(root: StepRow | None) -> Mapping[str, Json] | None:
    """A cancel of the whole run that is on its way."""
    if root is None or root.cancel is None or is_over(root):
        return None
    cancel = json.loads(root.cancel)
    return {name: cancel.get(name) or None for name in ("reason", "by", "origin")}


@dataclass(frozen=True, kw_only=True)
class Branch:
    """A run in the tree of a family."""

    run: Relative
    children: Sequence[Branch]
    #: Children that are not listed.
    hidden: int = 0

    def to_json(self) -> dict[str, Json]:
        """The shape that ``--json`` prints."""
        return {**self.run.to_json(), "hidden": self.hidden, "children": [child.to_json() for child in self.children]}


def family_of(reader: Reader, run: RunRow, *, most: int) -> Branch:
    """A run with its children and theirs, ``most`` of each. Child runs go no deeper than runs can be nested."""
    step = None if run.parent is None else reader.step(run.parent)
    own = relative(run, None if step is None else step.path)
    assert own is not None
    found = reader.child_runs(run.key, limit=MOST)
    return Branch(
        run=own,
        children=[family_of(reader, child, most=most) for child in found[:most]],
        hidden=max(0, len(found) - most),
    )


def wait_of(reader: Reader, row: StepRow) -> Mapping[str, Json] | None:
    """What a step waits for, or has waited for: a signal, an answer with its form, a run with its status."""
    if row.wait is None or row.path == "":
        return None
    wait = json.loads(row.wait)
    told = {name: wait[name] for name in ("signal", "prompt", "form", "run", "execution") if name in wait}
    if "run" in wait:
        child = reader.find_run(wait["run"], wait.get("execution"))
        told["status"] = "removed" if child is None else standing(child)
    until = row.available_at if row.status == "waiting" else None
    return {**told, "until": text_of(until)} if told else None
