"""From a lease to an executor: rendering what was declared, and lending the step its ports.

Nothing here writes to the store.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from .checksums import result_of
from .context import LeaseInfo, RunInfo, StepContext, StepInfo, StepSeen
from .duration import parse_duration
from .errors import Permanent, StoreUnavailable
from .executors import Executor
from .logs import FileLog, log_file
from .lookup import Bench, Lookup, declared_wrong, known_secrets, process_environment
from .outcome import Artifact, Error, Failed, Json
from .plan import ancestors, child_path, keyed_path
from .ports import CancelToken, LogSink, Masking, Ports, forget
from .rows import ArtifactRow, RunRow, StepRow
from .scope import Draws, gathered, parent_of, resolve_step, scope_for
from .spec import FanOut, Matrix
from .template import has_expression


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
    #: The durable name of the queue that a child run's steps wait in; None is ``default``.
    child_queue: str | None = None
    #: The deadline has passed once and the executor was told to stop.
    warned: bool = False
    #: It runs apart because it was lost with its worker: should it end its process, that is one more loss.
    suspect: bool = False


#: Takes what a step says of how far it is.
Progress = Callable[[Mapping[str, Json]], None]


def prepare(
    bench: Bench, row: StepRow, token: CancelToken, *, worker: str, progress: Progress = forget
) -> Attempt | Failed:
    """Everything an executor needs for one attempt, or why it cannot be had.

    ``StoreUnavailable`` when the store cannot be read: that is no fault of the step's.
    """
    masking = Masking()
    try:
        lookup = Lookup(bench, row)
        return attempt(lookup, token, masking, worker, progress)
    except StoreUnavailable:
        raise
    except Exception as fault:  # whatever is wrong with the step's declaration is the step's failure
        context = StepContext(ports=Ports(masking=masking))
        return context.failed(Failed(error=declared_wrong(fault)))


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
    if not node.literal:
        refuse_code(executor, call.input)
    given = call.input if node.literal else lookup.render(call.input)
    timeout = None if node.timeout is None else parse_duration(lookup.render(node.timeout))
    deadline = None if timeout is None else bench.clock.steady() + timeout
    log = FileLog(lambda: log_file(bench.home, run.id, run.execution, row.path, row.attempt), masking, bench.limits.log)
    step = node.step
    context = StepContext(
        input=given,
        raw_input=given,
        run=run_info(run, parent_of(bench.store, run)),
        step=StepInfo(id=step.id, path=row.path, kind=call.kind, title=step.title, metadata=step.metadata),
        lease=LeaseInfo(worker=worker, epoch=row.epoch, expires_at=row.leased_until or 0, lost=row.lost),
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
    queue = lookup.plan.queue_name(node.inherited_queue) if node.inherited_queue else run.queue
    placed = set_apart(bench, row, executor)
    return Attempt(
        row, run, placed, context, lookup.draws, log, deadline, child_queue=queue,
        suspect=placed is not executor and row.lost > 0,
    )  # fmt: skip


def set_apart(bench: Bench, row: StepRow, executor: Executor) -> Executor:
    """The executor with each call in a process of its own, where this one should be; else as it is.

    A step that was lost with its worker may be what killed it, and is not run beside others again.
    """
    wanted = bench.isolate == "plugins" or (bench.isolate == "lost" and row.lost > 0)
    if not wanted or executor.origin == "built in" or executor.mode == "process":
        return executor
    from .executors.apart import where_of

    return executor if where_of(executor) is None else replace(executor, mode="process")


def refuse_code(executor: Executor, declared: Json) -> None:
    """No value becomes code: what ``validate`` refuses is refused here too, as steps that a plugin emits come unseen."""
    if not executor.code:
        return
    if isinstance(declared, str) and has_expression(declared):
        raise Permanent("bad_input", "no value becomes code: a whole `with` from an expression could bring some along")
    for path, text in executor.code_in(declared):
        if has_expression(text):
            raise Permanent("bad_input", f"with.{'.'.join(map(str, path))}: no value becomes code: no expression here")


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
        steps=lambda name: step_seen(lookup, name),
        serializers=bench.serializers,
        projection=lambda: bench.projections.open(name, migrations=migrations),
        cancel=token,
        guard=bench.guard,
        clock=bench.clock,
        limits=bench.limits,
        addresses=bench.addresses,
        progress=progress,
        render_document=lambda text, values: render_document(lookup, text, values),
    )


def render_document(lookup: Lookup, text: str, values: Mapping[str, Json]) -> str:
    """A full template with the step's scope, and ``values`` above it."""
    template = lookup.bench.expressions.document(text)
    names = [ref.names for ref in template.references if ref.names[0] not in values]
    return str(template.render({**scope_for(lookup.place, names), **values}))


def step_seen(lookup: Lookup, name: str) -> StepSeen | None:
    """A step as it stands: the nearest of that id or key, declared or emitted, or the one at that path."""
    own = lookup.row.path
    key = keyed_path("", name)[1:-1]
    declared = resolve_step(lookup.place, name)
    paths = [*([declared] if declared else []), *(child_path(above, key) for above in (own, *ancestors(own))), name]
    rows = {row.path: row for row in lookup.bench.store.steps_at(lookup.run.key, paths)}
    row = next((rows[path] for path in paths if path in rows), None)
    if row is None:
        return None
    node = lookup.node_at(row.path)
    looped = node is not None and isinstance(node.loop, FanOut | Matrix) and row.status == "succeeded"
    result = gathered(lookup.bench.store, row) if looped else result_of(row)
    return StepSeen(
        path=row.path,
        status=row.status,
        result=result,
        error=Error.from_json(json.loads(row.error)) if row.error and row.status == "failed" else None,
        attempts=row.attempt,
        artifacts={each.name: artifact_of(each) for each in lookup.bench.store.artifacts(row.run, row.id)},
    )


def artifact_of(row: ArtifactRow) -> Artifact:
    """A kept file, from what the store knows of it."""
    return Artifact(
        name=row.name, uri=row.uri, size=row.size, sha256=row.sha256, content_type=row.content_type, kind=row.kind,
        metadata=json.loads(row.metadata),
    )  # fmt: skip


def run_info(run: RunRow, parent: Json = None) -> RunInfo:
    """What an executor knows of its run."""
    return RunInfo(
        id=run.id, execution=run.execution, name=run.name or run.package, package=run.package, version=run.version,
        metadata=json.loads(run.metadata), started_at=run.started_at or run.created_at, parent=parent,
    )  # fmt: skip
