"""The resolved graph of a package: for every path a run may have, what its step is. Pure.

Paths name steps within a run; what stands at a path follows from the package alone:

    ""                      the package
    enrich                  a step; with ``for_each``, ``matrix`` or ``repeat`` the whole of its children
    enrich[3]               one child of it
    enrich[3]/head          a step of the group that the child is
    enrich[3]@on_failure    a handler of that group, itself a group: enrich[3]@on_failure/_1
    deploy@undo             the step that takes back what ``deploy`` did

A key between brackets is percent-encoded, so it never holds ``/ [ ] @ %``. Nodes are resolved when first asked for and
kept by the path without its keys, so a plan is as large as the package, never as large as a run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple
from urllib.parse import quote

from .outcome import Json
from .spec import NO_RETRY, Call, FanOut, Group, Matrix, Need, Package, Repeat, Retry, Step, step_from
from .template import has_expression

#: Kinds of the engine that hold no worker while they wait, and take neither default ``retry`` nor ``timeout``.
WAITING_KINDS = frozenset({"sleep", "wait_signal", "approval", "workflow"})
#: The queue of the engine's own work: no limit, no name that an author could write.
ENGINE_QUEUE = ""

KEYS = re.compile(r"\[[^\]]*\]")
#: What follows the path of a step in that of the one that takes it back.
UNDO = "@undo"
HANDLERS = {"on_failure": "on_failure", "on_cancel": "on_cancel", "finally": "final"}


def shape(path: str) -> str:
    """A path without its keys: ``enrich[3]/head`` is ``enrich[]/head``."""
    return KEYS.sub("[]", path) if "[" in path else path


def child_path(path: str, id: str) -> str:
    """The path of a step of the group at ``path``."""
    return f"{path}/{id}" if path else id


def keyed_path(path: str, key: str) -> str:
    """The path of one child of the loop at ``path``."""
    return f"{path}[{quote(key, safe=' !$&()*+,:;=?#<>|~')}]"


def parent_path(path: str) -> str | None:
    """The path of what a step belongs to; None for the package."""
    if not path:
        return None
    cut = path.rfind("[") if path.endswith("]") else max(path.rfind("/"), path.rfind("@"))
    return path[: max(cut, 0)]


def ancestors(path: str) -> Iterator[str]:
    """The paths around a step, from the nearest to the package."""
    above = parent_path(path)
    while above is not None:
        yield above
        above = parent_path(above)


class Layer(NamedTuple):
    """An ``env`` mapping and where it was declared: its values see what that place sees."""

    #: The declaring step's path without keys.
    form: str
    #: Declared by the kind of that step: it sees the kind's inputs.
    inside: bool
    values: Mapping[str, Json]


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    """One step of the graph, with what it inherits."""

    path: str
    step: Step
    #: What it does; None for groups and loops.
    call: Call | None
    #: What it holds; None for calls and loops.
    group: Group | None
    #: What it repeats; None for the children of a loop and all other steps.
    loop: FanOut | Matrix | Repeat | None
    needs: tuple[Need, ...]
    #: How many needs must come true.
    required: int
    #: Something has to be evaluated when it becomes due, before it is offered to workers.
    gate: bool
    #: Its queue's durable name, or ``ENGINE_QUEUE``.
    queue: str
    #: The queue that its own steps inherit, as the author wrote it.
    inherited_queue: str | None
    priority: int
    retry: Retry
    timeout: str | None
    #: Milliseconds.
    kill_grace: int
    #: ``env`` mappings from the package to this step, outermost first.
    env: tuple[Layer, ...]
    #: The declared inputs, when its kind is made of steps: a border that no name crosses.
    inputs: Mapping[str, Json] | None
    max_parallel: int | None
    #: Its input is data that an executor emitted, not a template.
    literal: bool = False

    @property
    def holds(self) -> bool:
        """Whether its end is that of its children."""
        return self.call is None


class Plan:
    """A package's nodes by path. Safe to share between threads: a node resolved twice is the same."""

    def __init__(self, package: Package, *, waiting_kinds: frozenset[str] = WAITING_KINDS) -> None:
        self.package = package
        self.waiting_kinds = waiting_kinds
        self._nodes: dict[str, Node] = {}
        self._paths: dict[str, Node] = {}
        self._dependents: dict[int, Mapping[str, tuple[tuple[str, frozenset[str]], ...]]] = {}
        self._fragments: dict[tuple[str, str], Fragment] = {}
        #: By identity; the group is kept so that no other takes its number.
        self._undoes: dict[int, tuple[Group, bool]] = {}
        self._awaited: frozenset[str] | None = None

    def node(self, path: str) -> Node:
        """The node at a path. ``KeyError`` when the package has no such step."""
        form = shape(path)
        node = self._nodes.get(form)
        if node is None:
            node = self._nodes[form] = self._resolve(form)
        return node

    def dependents(self, group: Group) -> Mapping[str, tuple[tuple[str, frozenset[str]], ...]]:
        """For each step of a group, who needs it and what for."""
        known = self._dependents.get(id(group))
        if known is None:
            lists: dict[str, list[tuple[str, frozenset[str]]]] = {}
            for step in group.steps.values():
                for need in step.needs:
                    lists.setdefault(need.step, []).append((step.id, need.ends))
            known = self._dependents[id(group)] = {id: tuple(needed) for id, needed in lists.items()}
        return known

    def undoes(self, group: Group) -> bool:
        """Whether some step of a group, or of a group within it, can be undone; handlers are not looked at."""
        known = self._undoes.get(id(group))
        if known is None:
            if len(self._undoes) > 10_000:
                self._undoes.clear()
            known = self._undoes[id(group)] = (group, any(map(self.can_be_undone, group.steps.values())))
        return known[1]

    def can_be_undone(self, step: Step) -> bool:
        """Whether a step, or a step in it, declares an ``undo``."""
        if step.undo is not None:
            return True
        kind = self.package.kinds.get(step.body.kind) if isinstance(step.body, Call) else None
        body = kind.step.body if kind is not None else step.body
        return isinstance(body, Group) and self.undoes(body)

    def may_await(self, signal: str) -> bool:
        """Whether a ``wait_signal`` step names a signal, or one that only its run will know."""
        if self._awaited is None:
            self._awaited = frozenset(awaited_in(self.package))
        return signal in self._awaited or ANY_SIGNAL in self._awaited

    def fragment(self, definition: str, parsed: Json, parent: str) -> Fragment:
        """The graph of an emitted step: ``definition`` is its text, ``parsed`` the same as data."""
        above = self.declared_above(parent)
        key = (above.path, definition)
        known = self._fragments.get(key)
        if known is None:
            if len(self._fragments) > 10_000:
                self._fragments.clear()
            known = self._fragments[key] = Fragment(self, step_from(parsed.get("id", ""), parsed, ()), above)
        return known

    def declared_above(self, path: str) -> Node:
        """The nearest step at or above a path that the package itself declares."""
        while True:
            try:
                return self.node(path)
            except KeyError:
                path = parent_path(path) or ""

    def queue_name(self, queue: str | None) -> str:
        """The durable name of a queue: its package's own, unless it is shared or nobody declared it."""
        name = queue or self.package.defaults.queue or "default"
        policy = self.package.queues.get(name)
        return name if policy is None or policy.shared else f"{self.package.name}/{name}"

    def _resolve(self, form: str) -> Node:
        if not form:
            return self.build(form, self.package.root, None)
        if form.endswith("[]"):
            return self.child_of(self.node(form[:-2]), form)
        above = self.node(parent_path(form) or "")
        return self.build(form, self.declared(above, form), above)

    def declared(self, above: Node, form: str) -> Step:
        """The step that a path's last part names within the node above it."""
        cut = max(form.rfind("/"), form.rfind("@"))
        name = form[cut + 1 :]
        if cut >= 0 and form[cut] == "@":
            handler = above.step.undo if name == "undo" else getattr(above.group, HANDLERS[name])
            if handler is None:
                raise KeyError(form)
            return handler
        if above.group is None:
            raise KeyError(form)
        return above.group.steps[name]

    def child_of(self, whole: Node, form: str) -> Node:
        """What each child of a loop is: the step without what belongs to the whole."""
        step = replace(whole.step, needs=(), join="all", condition=None, loop=None, continue_on_error=False)
        return self.build(form, step, self.node(parent_path(whole.path) or ""))

    def build(self, path: str, step: Step, above: Node | None, *, literal: bool = False) -> Node:
        """A node, with what it inherits from the one above it."""
        kind = self.package.kinds.get(step.body.kind) if isinstance(step.body, Call) else None
        group = step.body if isinstance(step.body, Group) else kind.step.body if kind else None
        looped = step.loop is not None
        call = step.body if group is None and not looped else None
        works = isinstance(call, Call) and call.kind not in self.waiting_kinds
        defaults = self.package.defaults
        queue = step.queue or (above.inherited_queue if above else None)
        outer = above.env if above else ()
        if above is not None and path.endswith(UNDO):
            # It stands beside the step, not within what the step's kind is made of.
            outer = tuple(layer for layer in outer if not (layer.inside and layer.form == above.path))
        assert not isinstance(call, Group)
        return Node(
            path=path,
            step=step,
            call=call,
            group=None if looped or not isinstance(group, Group) else group,
            loop=step.loop,
            needs=step.needs,
            required=len(step.needs) if step.join == "all" else 1 if step.join == "any" else step.join,
            gate=needs_gate(step, kind is not None),
            queue=self.queue_name(queue) if works else ENGINE_QUEUE,
            inherited_queue=queue,
            priority=step.priority if step.priority is not None else above.priority if above else 0,
            retry=(step.retry or (defaults.retry if works else None) or NO_RETRY) if not looped else NO_RETRY,
            timeout=None
            if looped
            else step.timeout or (kind.step.timeout if kind else defaults.timeout if works else None),
            kill_grace=first(step.kill_grace, above.kill_grace if above else None, defaults.kill_grace, 10_000),
            env=(*outer, *layers(path, step, kind.step if kind else None)),
            inputs=None if looped or kind is None else kind.inputs,
            max_parallel=parallel(step, group),
            literal=literal,
        )


class Fragment:
    """The graph below an emitted step, in the same words as a plan's."""

    def __init__(self, plan: Plan, step: Step, above: Node) -> None:
        self._plan = plan
        self._step = step
        self._above = above
        self._nodes: dict[str, Node] = {}

    def node(self, root: str, path: str) -> Node:
        """The node at ``path``, where ``root`` is the path of the emitted step."""
        form = shape(path[len(root) :])
        node = self._nodes.get(form)
        if node is None:
            node = self._nodes[form] = self._resolve(form, path)
        return node

    def _resolve(self, form: str, path: str) -> Node:
        if not form:
            return self._plan.build(shape(path), self._step, self._above, literal=True)
        if form.endswith("[]"):
            whole = self.node("", form[:-2])
            step = replace(whole.step, needs=(), join="all", condition=None, loop=None, continue_on_error=False)
            return self._plan.build(shape(path), step, self._above)
        above = self.node("", parent_path(form) or "")
        return self._plan.build(shape(path), self._plan.declared(above, form), above)


#: Stands for the name of a signal that is an expression.
ANY_SIGNAL = "${{"


def awaited_in(package: Package) -> Iterator[str]:
    """The signals that a package's own steps wait for."""
    for step in every_step(package):
        if isinstance(step.body, Call) and step.body.kind == "wait_signal":
            given = step.body.input
            name = given.get("signal") if isinstance(given, Mapping) else None
            yield name if isinstance(name, str) and not has_expression(name) else ANY_SIGNAL


def every_step(package: Package) -> Iterator[Step]:
    """All steps of a package: those of groups, handlers, undos and kinds too."""
    pending = [package.root, *(kind.step for kind in package.kinds.values())]
    while pending:
        step = pending.pop()
        yield step
        pending += [] if step.undo is None else [step.undo]
        if isinstance(step.body, Group):
            held = step.body
            pending += held.steps.values()
            pending += [each for each in (held.on_failure, held.on_cancel, held.final) if each is not None]


def needs_gate(step: Step, kind_of_steps: bool) -> bool:
    """Whether a step has something to evaluate when it becomes due."""
    if step.condition is not None or step.loop is not None or kind_of_steps:
        return True
    if step.dedup_key is not None or step.cache is not None or step.locks:
        return True
    return isinstance(step.body, Group) and step.timeout is not None and has_expression(step.timeout)


def parallel(step: Step, group: Any) -> int | None:
    """How many children may go on at once."""
    if isinstance(step.loop, FanOut | Matrix):
        return step.loop.max_parallel
    return group.max_parallel if step.loop is None and isinstance(group, Group) else None


def layers(path: str, step: Step, kind: Step | None) -> Iterator[Layer]:
    """The environment that a step adds, and the kind it is of."""
    if step.env:
        yield Layer(path, False, step.env)
    if kind is not None and kind.env:
        yield Layer(path, True, kind.env)


def first(*values: int | None) -> int:
    """The first value that was said."""
    return next(value for value in values if value is not None)
