"""What every part of an analysis has at hand: the package, the kinds there are, and what was found and used so far."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property
from typing import TYPE_CHECKING

from ..errors import PluginError
from ..executors import Executor
from ..spec import Call, Group, Package, Step
from ..template import Expressions
from .findings import Findings

if TYPE_CHECKING:
    from ..plugins import BrokenPlugin

#: The handlers of a group: its attribute → the key that authors write.
HANDLERS: Mapping[str, str] = {"on_failure": "on_failure", "on_cancel": "on_cancel", "final": "finally"}
#: The ids around a step and its own; handlers and kinds have a part of their own: ``("enrich", "@finally", "_1")``.
Site = tuple[str, ...]


@dataclass(kw_only=True)
class Desk:
    """One analysis at work."""

    package: Package
    executors: Mapping[str, Executor]
    expressions: Expressions
    broken: Sequence[BrokenPlugin]
    #: The version of an installed plugin by its name; "" when it tells none, None when there is no such plugin.
    installed: Callable[[str], str | None]
    findings: Findings = field(default_factory=Findings)
    #: Declared things that something uses: ``("inputs", "", "pages")``, ``("queues", "", "cpu")``.
    used: set[tuple[str, str, str]] = field(default_factory=set)
    #: Kinds whose executor could not be had → why.
    faulty: dict[str, str] = field(default_factory=dict)
    _executors: dict[str, Executor | None] = field(default_factory=dict)

    def executor(self, kind: str) -> Executor | None:
        """The executor of a kind; None when there is none, or when it cannot be imported (then ``faulty`` says why)."""
        if kind not in self._executors:
            try:
                self._executors[kind] = self.executors.get(kind)
            except PluginError as error:
                self._executors[kind] = None
                self.faulty[kind] = str(error)
        return self._executors[kind]

    @cached_property
    def known_kinds(self) -> set[str]:
        """The names of all kinds, declared or supplied."""
        return {*self.package.kinds, *self.executors}

    @cached_property
    def sites(self) -> Mapping[str, list[Site]]:
        """Where in the package the steps of each id stand."""
        found: dict[str, list[Site]] = {}
        for site in _sites(self.package.root, ()):
            found.setdefault(site[-1], []).append(site)
        for name, kind in self.package.kinds.items():
            for site in _sites(kind.step, (f"kinds.{name}",)):
                found.setdefault(site[-1], []).append(site)
        return found

    @cached_property
    def variables(self) -> frozenset[str]:
        """Every variable that some ``env`` of the package declares."""
        owners = [self.package.root, *(kind.step for kind in self.package.kinds.values())]
        return frozenset(name for owner in owners for step in steps_within(owner) for name in step.env)

    def is_passed(self, name: str) -> bool:
        """Whether ``pass_env`` hands a variable on."""
        return any(fnmatchcase(name, pattern) for pattern in self.package.pass_env)


def groups_of(step: Step) -> Iterator[tuple[str, Step]]:
    """The groups that a step brings besides its steps: its handlers, and what undoes it."""
    if isinstance(step.body, Group):
        for attribute, key in HANDLERS.items():
            handler = getattr(step.body, attribute)
            if handler is not None:
                yield f"@{key}", handler
    if step.undo is not None:
        yield "@undo", step.undo


def steps_within(step: Step) -> Iterator[Step]:
    """A step and all steps in it, its handlers' and its undo's included."""
    pending = [step]
    while pending:
        step = pending.pop()
        yield step
        pending.extend(inner for _, inner in groups_of(step))
        if isinstance(step.body, Group):
            pending.extend(step.body.steps.values())


def kinds_within(step: Step) -> Iterator[tuple[str, Step]]:
    """The kinds that a step and all in it call."""
    for inner in steps_within(step):
        if isinstance(inner.body, Call):
            yield inner.body.kind, inner


def _sites(step: Step, path: Site) -> Iterator[Site]:
    pending = [(step, path)]
    while pending:
        step, path = pending.pop()
        for name, inner in groups_of(step):
            pending.append((inner, (*path, name)))
        if isinstance(step.body, Group):
            for id, inner in step.body.steps.items():
                yield (*path, id)
                pending.append((inner, (*path, id)))


def spelled(site: Site) -> str:
    """A site as paths are written: ``enrich/head``, ``enrich@finally/_1``."""
    return "/".join(site).replace("/@", "@")
