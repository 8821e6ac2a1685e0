"""Where expressions are rendered: a leased row with its run, its node and what a worker works with.

Rendering happens here, in the worker, never inside a transaction. Nothing here writes to the store.
"""

from __future__ import annotations

import fnmatch
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from .clock import Clock
from .errors import Permanent
from .faults import error_of
from .logs import run_folder
from .outcome import Error, Json
from .packages import Plans
from .plan import Layer, Node, ancestors, parent_path, shape
from .plugins import Plugins
from .ports import ArtifactStore, Limits, ProcessGuard
from .projections import Projections
from .removal import Remover
from .rows import RunRow, StepRow
from .scope import Draws, Place, node_of, scope_for
from .serializers import Serializers
from .starting import Shelf
from .store.base import Store
from .template import Expressions, TemplateError
from .timetable import Timetable
from .values import NotJson

#: See ``Bench.isolate``.
Isolate = Literal["no", "lost", "plugins"]
#: What a process gets of the worker's own environment.
PASSED = ("PATH", "HOME", "USER", "LANG", "LC_*", "TZ", "TMPDIR")


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What a worker works with."""

    store: Store
    plans: Plans
    plugins: Plugins
    expressions: Expressions
    clock: Clock
    artifacts: ArtifactStore
    projections: Projections
    guard: ProcessGuard
    #: The folder for logs and scratch folders.
    home: Path
    #: The value of a secret; None when nobody knows it.
    secret: Callable[[str], str | None]
    #: The packages that steps can start as runs.
    shelf: Shelf
    #: Removes runs that need not be kept any more.
    remover: Remover
    #: The schedules that this process looks after; None for none.
    timetable: Timetable | None = None
    plugin_dirs: tuple[Path, ...] = ()
    #: Which calls of plugins have a process of their own, besides the kinds that ask for it: none, those of steps that were
    #: lost with their worker, or all.
    isolate: Isolate = "no"
    limits: Limits = Limits()
    #: Which addresses ``http`` may reach; see ``addresses.reach``.
    addresses: str = "default"
    #: Values of people's own types.
    serializers: Serializers = field(default_factory=Serializers)
    #: The worker's own environment.
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    _passed: dict[tuple[str, ...], dict[str, str]] = field(default_factory=dict)
    _scratch: dict[int, Path] = field(default_factory=dict)

    def scratch(self, run: RunRow) -> Path:
        """The run's scratch folder."""
        known = self._scratch.get(run.key)
        if known is None:
            if len(self._scratch) > 1000:
                self._scratch.clear()
            known = self._scratch[run.key] = run_folder(self.home, run.id, run.execution) / "work"
        return known

    def passed(self, names: tuple[str, ...]) -> dict[str, str]:
        """What processes get of the worker's own environment, with what ``pass_env`` names."""
        known = self._passed.get(names)
        if known is None:
            patterns = (*PASSED, *names)
            known = self._passed[names] = {
                name: value
                for name, value in self.environ.items()
                if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
            }
        return known


class Lookup:
    """One leased row with its run and node: where expressions are rendered."""

    def __init__(self, bench: Bench, row: StepRow, *, draws: Draws | None = None) -> None:
        self.bench = bench
        self.row = row
        run = bench.store.run_at(row.run)
        assert run is not None
        self.run = run
        self.plan = bench.plans(run.digest)
        self.draws = draws or Draws(bench.clock)
        self._origins: dict[int, StepRow] = {}
        self.node = self._own_node()
        self.used_secrets: set[str] = set()
        self.place = Place(
            run=run, row=row, node=self.node, node_at=self.node_at, reader=bench.store, draws=self.draws,
            secret=self.secret, env=lambda: process_environment(self),
        )  # fmt: skip

    def _own_node(self) -> Node:
        node = self.node_at(self.row.path)
        assert node is not None, f"{self.row.path} is not in the package"
        return node

    def node_at(self, path: str) -> Node | None:
        """The node at a path of this run."""
        root = self._emitted_root()
        if root is not None and (
            path == root.path or path.startswith((f"{root.path}/", f"{root.path}[", f"{root.path}@"))
        ):
            assert root.definition is not None
            fragment = self.plan.fragment(root.definition, json.loads(root.definition), parent_path(root.path) or "")
            return fragment.node(root.path, path)
        return node_of(self.bench.store, self.plan, self.run.key, path)

    def _emitted_root(self) -> StepRow | None:
        if self.row.definition is not None:
            return self.row
        if self.row.origin is None:
            return None
        if self.row.origin not in self._origins:
            above = self.row.path
            while above:
                above = parent_path(above) or ""
                for row in self.bench.store.steps_at(self.run.key, [above]):
                    if row.id == self.row.origin:
                        self._origins[row.id] = row
                        return row
        return self._origins.get(self.row.origin)

    def declaring(self, layer: Layer) -> Lookup:
        """Where a layer of the environment was declared: this step, or a group around it."""
        own = self.row.path
        path = next(path for path in (own, *ancestors(own)) if shape(path) == layer.form)
        if path == own and not layer.inside:
            return self
        row = self.row if path == own else next(iter(self.bench.store.steps_at(self.run.key, [path])))
        above = row._replace(phase="outputs" if layer.inside else "gate", due=self.row.due)
        return Lookup(self.bench, above, draws=self.draws)

    def secret(self, name: str) -> str:
        """A secret's value. ``Permanent`` when nobody knows it."""
        value = self.bench.secret(name)
        if value is None:
            raise Permanent("bad_input", f"the secret {name} is not set: put it in the environment or in .env")
        return value

    def render(self, value: Json, **extra: Json) -> Json:
        """A declared value with its expressions evaluated."""
        template = self.bench.expressions.compile(value)
        if template.literal:
            return value
        names = [ref.names for ref in template.references if ref.names[0] not in extra]
        return template.render({**scope_for(self.place, names), **extra})

    def holds(self, condition: str | bool, **extra: Json) -> bool:
        """Whether a condition is true."""
        compiled = self.bench.expressions.condition(condition)
        names = [ref.names for ref in compiled.references if ref.names[0] not in extra]
        return compiled.evaluate({**scope_for(self.place, names), **extra})


def declared_wrong(fault: Exception) -> Error:
    """The error of a step that could not be rendered: trying again will not mend it."""
    if isinstance(fault, TemplateError):
        return Error(code="template_error", message=fault.message, type="TemplateError", permanent=True)
    if isinstance(fault, NotJson):
        return Error(code="bad_input", message=str(fault), type="NotJson", permanent=True)
    return error_of(fault)


def process_environment(lookup: Lookup) -> dict[str, str]:
    """What processes get: a little of the worker's own, and what the package and its groups declare."""
    own = lookup.bench.passed(lookup.plan.package.pass_env)
    return {**own, **environment(lookup)} if lookup.node.env else own


def environment(lookup: Lookup) -> dict[str, str]:
    """The declared ``env`` from the package to the step, as text; each layer sees what its own place sees."""
    values: dict[str, str] = {}
    for layer in lookup.node.env:
        place: Lookup | None = None
        for name, value in layer.values.items():
            if place is None and not is_literal(lookup, value):
                place = lookup.declaring(layer)
            values[name] = env_text(value if place is None else place.render(value, env=dict(values)))
    return values


def is_literal(lookup: Lookup, value: Json) -> bool:
    """Whether a value holds no expression."""
    return lookup.bench.expressions.compile(value).literal


def env_text(value: Any) -> str:
    """A value as an environment holds it: text as it is, nothing for null, else JSON."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def known_secrets(lookup: Lookup) -> list[str]:
    """The values of all secrets of the package that are set: none of them may appear anywhere."""
    values = (lookup.bench.secret(name) for name in lookup.plan.package.secrets)
    return [value for value in values if value]
