"""From a lease to what is done about it: rendering what was declared, and building what an executor needs.

Expressions are rendered here, in the worker, never inside a transaction. Nothing here writes to the store.
"""

from __future__ import annotations

import fnmatch
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from .clock import Clock
from .context import LeaseInfo, RunInfo, StepContext, StepInfo
from .duration import parse_duration
from .engine.decisions import Admitted, Expanded, Opened, PassedBy, Rendered, Repeated, Report
from .errors import Permanent, UserError
from .executors import Executor
from .faults import error_of
from .logs import FileLog, log_file
from .loops import Child, combinations, fan_out, key_text
from .outcome import Error, Failed, Json
from .packages import Plans
from .plan import Layer, Node, ancestors, parent_path, shape
from .plugins import Plugins
from .ports import ArtifactStore, CancelToken, Limits, LogSink, Masking, Ports, ProcessGuard, forget
from .projections import Projections
from .rows import RunRow, StepRow
from .scope import Draws, Place, gathered, last_result, plan_node, resolve_step, scope_for
from .spec import FanOut, Matrix, Repeat
from .store.base import Store
from .template import Expressions, TemplateError
from .values import NotJson, plain

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
    plugin_dirs: tuple[Path, ...] = ()
    limits: Limits = Limits()
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
            known = self._scratch[run.key] = self.home / "runs" / quote(run.id, safe="") / str(run.execution) / "work"
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


@dataclass
class Attempt:
    """One lease in a worker's hands."""

    row: StepRow
    run: RunRow
    executor: Executor
    context: StepContext
    draws: Draws
    log: LogSink
    #: On the steady clock; None is never.
    deadline: int | None = None


class Lookup:
    """One leased row with its run and node: where expressions are rendered."""

    def __init__(self, bench: Bench, row: StepRow) -> None:
        self.bench = bench
        self.row = row
        run = bench.store.run_at(row.run)
        assert run is not None
        self.run = run
        self.plan = bench.plans(run.digest)
        self.draws = Draws(bench.clock)
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
        if root is not None and (path == root.path or path.startswith((f"{root.path}/", f"{root.path}[", f"{root.path}@"))):
            assert root.definition is not None
            fragment = self.plan.fragment(root.definition, json.loads(root.definition), parent_path(root.path) or "")
            return fragment.node(root.path, path)
        return plan_node(self.plan, path)

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
        above = Lookup(self.bench, row._replace(phase="outputs" if layer.inside else "gate", due=self.row.due))
        above.draws = self.draws
        return above

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


# -- the engine's own work -----------------------------------------------------------------------------------------


def decide(bench: Bench, row: StepRow) -> Report:
    """Evaluate what the engine itself needs to know: a gate, outputs, or ``until``."""
    try:
        lookup = Lookup(bench, row)
        match row.phase:
            case "gate":
                return gate(lookup)
            case "outputs":
                assert lookup.node.group is not None
                return Rendered(result=stored(bench, lookup.render(lookup.node.group.outputs)))
            case "until":
                return until(lookup)
            case phase:
                raise AssertionError(f"a step in phase {phase!r} was leased to the engine")
    except Exception as fault:  # whatever is wrong with the declaration, or with us: the step fails, the worker lives
        return Failed(error=declared_wrong(fault))


def stored(bench: Bench, value: Json) -> str:
    """A result as it is kept; ``Permanent`` when it is too large."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    if len(text.encode()) > bench.limits.result:
        size = len(text.encode())
        raise Permanent("bad_result", f"the outputs have {size} bytes, the limit is {bench.limits.result}; keep an artifact")
    return text


def gate(lookup: Lookup) -> Report:
    """What happens to a step that is due."""
    node, row = lookup.node, lookup.row
    if node.step.condition is not None and not lookup.holds(node.step.condition):
        return PassedBy()
    match node.loop:
        case FanOut() as loop:
            items = lookup.render(loop.items)
            return expanded(fan_out(loop, items, keys_of(lookup, loop, items)))
        case Matrix() as loop:
            axes, include, exclude = (lookup.render(part) for part in (dict(loop.axes), loop.include, loop.exclude))
            return expanded(combinations(axes, include, exclude))
        case Repeat():
            return Repeated(done=False)
    if node.group is not None:
        timeout = None if node.timeout is None else parse_duration(lookup.render(node.timeout))
        return Opened(scope=kind_scope(lookup), timeout=timeout)
    key = node.step.dedup_key
    if key is None or row.attempt:
        return Admitted(dedup_key=row.dedup_key)
    return Admitted(dedup_key=plain(key_text(lookup.render(key))))


def expanded(children: tuple[Child, ...]) -> Expanded:
    """A loop's children, if their keys can stand in a path; else ``NotJson``."""
    plain([key for key, _ in children if key is not None])
    return Expanded(children=children)


def keys_of(lookup: Lookup, loop: FanOut, items: Json) -> Callable[[dict[str, Json]], Json] | None:
    """How a child's key is rendered; what does not depend on the item is looked up once. A mapping has keys already."""
    if loop.key is None:
        return (lambda item: item[loop.name]["key"]) if isinstance(items, Mapping) else None
    template = lookup.bench.expressions.compile(loop.key)
    scope = scope_for(lookup.place, [ref.names for ref in template.references])
    return lambda item: template.render({**scope, **item})


def kind_scope(lookup: Lookup) -> dict[str, Json] | None:
    """The inputs of a kind made of steps, checked against what it declares."""
    from .inputs import resolve

    node = lookup.node
    if node.inputs is None:
        return None
    assert not hasattr(node.step.body, "steps")
    given = node.step.body.input if node.literal else lookup.render(node.step.body.input)
    try:
        inputs = resolve(node.inputs, given or {}, what="input")
    except UserError as wrong:
        raise Permanent("bad_input", str(wrong)) from wrong
    own = json.loads(lookup.row.scope) if lookup.row.scope else {}
    return {**own, "inputs": inputs}


def until(lookup: Lookup) -> Report:
    """Whether a ``repeat`` is done."""
    loop = lookup.node.loop
    assert isinstance(loop, Repeat)
    result = last_result(lookup.place)
    done = lookup.holds(loop.until, result=result, iteration=lookup.row.children)
    return Repeated(done=done, result=json.dumps(result, separators=(",", ":"), ensure_ascii=False))


# -- calls ---------------------------------------------------------------------------------------------------------


#: Takes what a step says of how far it is.
Progress = Callable[[Mapping[str, Json]], None]


def prepare(
    bench: Bench, row: StepRow, token: CancelToken, *, worker: str, progress: Progress = forget
) -> Attempt | Failed:
    """Everything an executor needs for one attempt, or why it cannot be had."""
    masking = Masking()
    try:
        lookup = Lookup(bench, row)
        return attempt(lookup, token, masking, worker, progress)
    except Exception as fault:  # whatever is wrong with the step's declaration is the step's failure
        context = StepContext(ports=Ports(masking=masking))
        return context.failed(Failed(error=declared_wrong(fault)))


def declared_wrong(fault: Exception) -> Error:
    """The error of a step that could not be rendered: trying again will not mend it."""
    if isinstance(fault, TemplateError):
        return Error(code="template_error", message=fault.message, type="TemplateError", permanent=True)
    if isinstance(fault, NotJson):
        return Error(code="bad_input", message=str(fault), type="NotJson", permanent=True)
    return error_of(fault)


def attempt(lookup: Lookup, token: CancelToken, masking: Masking, worker: str, progress: Progress) -> Attempt:
    """Render a call's input and environment and lend it its ports."""
    bench, row, run, node = lookup.bench, lookup.row, lookup.run, lookup.node
    call = node.call
    assert call is not None
    secrets = known_secrets(lookup)
    if secrets:
        masking.add(*secrets)
    executor = bench.plugins.executors.get(call.kind)
    if executor is None:
        raise Permanent("missing_kind", f'no plugin of this worker supplies the kind "{call.kind}"')
    given = call.input if node.literal else lookup.render(call.input)
    timeout = None if node.timeout is None else parse_duration(lookup.render(node.timeout))
    deadline = None if timeout is None else bench.clock.steady() + timeout
    log = FileLog(
        lambda: log_file(bench.home, run.id, run.execution, row.path, row.attempt), masking, bench.limits.log
    )
    step = node.step
    context = StepContext(
        input=given,
        raw_input=given,
        run=run_info(run),
        step=StepInfo(id=step.id, path=row.path, kind=call.kind, title=step.title, metadata=step.metadata),
        lease=LeaseInfo(worker=worker, epoch=row.epoch, expires_at=row.leased_until or 0),
        attempt=row.attempt,
        context=json.loads(run.context),
        env=process_environment(lookup),
        package_dir=Path(run.folder) if run.folder else None,
        plugin_dirs=bench.plugin_dirs,
        scratch=bench.scratch(run),
        deadline_at=deadline,
        kill_grace=node.kill_grace / 1000,
        keep=lookup.render(dict(step.artifacts)) if step.artifacts else {},
        ports=ports(lookup, token, masking, log, progress),
    )
    return Attempt(row, run, executor, context, lookup.draws, log, deadline)


def ports(lookup: Lookup, token: CancelToken, masking: Masking, log: LogSink, progress: Progress) -> Ports:
    """What the worker lends."""
    bench, run = lookup.bench, lookup.run
    declared = lookup.plan.package.projection
    name, folder = declared.get("name") or run.package, declared.get("migrations")
    migrations = Path(run.folder or ".") / folder if folder else None
    return Ports(
        masking=masking,
        log=log,
        artifacts=bench.artifacts,
        results=lambda name: result_for(lookup, name),
        projection=lambda: bench.projections.open(name, migrations=migrations),
        cancel=token,
        guard=bench.guard,
        clock=bench.clock,
        limits=bench.limits,
        progress=progress,
        render_document=lambda text, values: render_document(lookup, text, values),
    )


def render_document(lookup: Lookup, text: str, values: Mapping[str, Json]) -> str:
    """A full template with the step's scope, and ``values`` above it."""
    template = lookup.bench.expressions.document(text)
    names = [ref.names for ref in template.references if ref.names[0] not in values]
    return str(template.render({**scope_for(lookup.place, names), **values}))


def result_for(lookup: Lookup, name: str) -> Json:
    """The result of a step by id (the nearest) or by path."""
    path = resolve_step(lookup.place, name) or name
    row = next(iter(lookup.bench.store.steps_at(lookup.run.key, [path])), None)
    if row is None:
        return None
    node = lookup.node_at(path)
    if node is not None and isinstance(node.loop, FanOut | Matrix) and row.status == "succeeded":
        return gathered(lookup.bench.store, row)
    return None if row.result is None else json.loads(row.result)


def run_info(run: RunRow) -> RunInfo:
    """What an executor knows of its run."""
    return RunInfo(
        id=run.id, execution=run.execution, name=run.name or run.package, package=run.package, version=run.version,
        metadata=json.loads(run.metadata), started_at=run.started_at or run.created_at,
    )  # fmt: skip


# -- environment and secrets ---------------------------------------------------------------------------------------


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


