"""The walk over all steps: what each sees, and whether each of its keys can mean something where it stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ..duration import InvalidDuration, parse_duration
from ..errors import PluginError, Pointer
from ..executors import Executor
from ..outcome import Json
from ..spec import Call, Group, Kind, Step
from ..template import TemplateError, expressions_in, has_expression
from .code import check_code, refuse_whole
from .desk import HANDLERS, Desk, Site, spelled
from .disclosed import warn_of_secrets
from .findings import POSITIONAL
from .given import check_given, check_inputs
from .kinds import kind_of
from .level import Level
from .needs import check_needs
from .repetition import check_loop
from .scope import IN_HANDLERS, Frame, Scope, loop_names
from .special import SPECIAL
from .texts import read_condition, read_value, refuse_expressions

#: Aspects that are rendered for each child, and what no secret may stand in because it is stored.
RENDERED: Mapping[str, str] = {
    "title": "a title, which is stored",
    "metadata": "metadata, which is stored",
    "timeout": "a timeout",
    "artifacts": "an artifact's path, which is stored",
    "dedup_key": "a key, which is stored",
    "cache": "a key, which is stored",
    "locks": "a lock's name, which is stored",
}


def check_step(desk: Desk, step: Step, scope: Scope, site: Site) -> None:
    """Report what is wrong with a step and all that is in it. ``scope`` is what is around it."""
    names = loop_names(step.loop)
    if names:
        scope = replace(scope, within=frozenset(names) - scope.local.keys())
    if step.condition is not None:
        read_condition(desk, step.condition, (*step.pointer, "if"), scope)
    if step.loop is not None:
        check_loop(desk, step, scope)
        scope = replace(scope, local={**scope.local, **names}, within=frozenset())
    _check_queue(desk, step.queue, (*step.pointer, "queue"))
    _read_rendered(desk, step, scope)
    if step.cache and step.artifacts:
        message = "a step that keeps files is not cached: a result taken from the cache would not bring them back"
        desk.findings.warn((*step.pointer, "cache"), message, at_key=True)
    if step.env:
        scope = read_env(desk, step.env, (*step.pointer, "env"), scope)
    if isinstance(step.body, Group):
        _refuse_for_groups(desk, step, "a group")
        check_group(desk, step, step.body, scope, site)
    else:
        _check_call(desk, step, step.body, scope, site)
    if step.undo is not None:
        _check_undo(desk, step, step.undo, scope, site)


def check_group(desk: Desk, step: Step, group: Group, scope: Scope, site: Site) -> None:
    """Report what is wrong with the steps of a group, its outputs and its handlers."""
    level = Level(group, site)
    check_needs(desk, level)
    _check_forms(desk, step, group)
    for id, inner in group.steps.items():
        _warn_of_shadow(desk, scope, id, inner)
        needs = frozenset(need.step for need in inner.needs)
        around = replace(scope, frames=(Frame(level=level, member=id), *scope.frames), needs=needs)
        check_step(desk, inner, around, (*site, id))
    within = replace(scope, frames=(Frame(level=level), *scope.frames), needs=frozenset())
    read_value(desk, group.outputs, (*step.pointer, "outputs"), within, "outputs, which are stored")
    handled = replace(within, local={**within.local, **IN_HANDLERS})
    for attribute, key in HANDLERS.items():
        handler = getattr(group, attribute)
        if handler is not None:
            check_group(desk, handler, handler.body, handled, (*site, f"@{key}"))


def _check_undo(desk: Desk, step: Step, undo: Step, scope: Scope, site: Site) -> None:
    """What takes a step back sees what the step saw, its result, and the step itself as ended."""
    frames = scope.frames
    if frames:
        frames = (replace(frames[0], ended=True), *frames[1:])
    around = replace(scope, frames=frames, local={**scope.local, "result": None})
    check_step(desk, undo, around, (*site, "@undo"))


# -- calls ---------------------------------------------------------------------------------------------------------


def _check_call(desk: Desk, step: Step, call: Call, scope: Scope, site: Site) -> None:
    kind = kind_of(desk, step)
    pointer: Pointer = (*step.pointer, "with")
    refused: frozenset[str] = frozenset()
    if isinstance(kind, Executor):
        refused = _check_executor(desk, step, call, kind, scope, site)
    elif kind is not None:
        _refuse_for_groups(desk, step, f'the kind "{kind.name}", which is made of steps')
        if not isinstance(call.input, str):
            check_inputs(desk, kind, call.input, pointer if call.input is not None else (*step.pointer, "kind"))
    given = call.input
    if isinstance(given, str):
        _refuse_pieces(desk, given, pointer)
    elif refused and isinstance(given, Mapping):
        given = {key: value for key, value in given.items() if key not in refused}
    read_value(desk, given, pointer, scope, _stored_input(kind))
    warn_of_secrets(desk, call.input, pointer)


def _check_executor(desk: Desk, step: Step, call: Call, executor: Executor, scope: Scope, site: Site) -> frozenset[str]:
    """Report what is wrong with a call of an executor; the keys of ``with`` that were refused as code."""
    pointer: Pointer = (*step.pointer, "with")
    if executor.waits:
        _check_waiting(desk, step, executor)
    if isinstance(call.input, str):
        refuse_whole(desk, executor, pointer)
        return frozenset()
    given = {} if call.input is None else call.input
    try:
        check_given(desk, executor.schema, given, pointer if call.input is not None else (*step.pointer, "kind"))
    except PluginError as error:
        desk.findings.error((*step.pointer, "kind"), f'the kind "{executor.kind}" cannot be used', str(error))
    if not isinstance(given, Mapping):
        return frozenset()
    if executor.kind in SPECIAL:
        SPECIAL[executor.kind](desk, step, given, scope, site)
    return check_code(desk, executor, given, pointer)


def _stored_input(kind: Executor | Kind | None) -> str:
    """What no secret may stand in: the input of a kind that is stored as rendered."""
    if isinstance(kind, Executor):
        return f'the `with` of "{kind.kind}", which is stored' if kind.stores_input else ""
    return f'the `with` of "{kind.name}", which is stored with its inputs' if kind is not None else ""


def _refuse_pieces(desk: Desk, text: str, pointer: Pointer) -> None:
    """A ``with`` that is text must be one whole expression, which gives a mapping."""
    try:
        spans = expressions_in(text)
    except TemplateError:
        return
    if len(spans) != 1 or spans[0].start or text[spans[0].end :] not in ("", "\n"):
        remedy = "Write keys and values, or one whole expression, ${{ … }}, that gives them."
        desk.findings.error(pointer, "`with` takes a mapping; this is text", remedy)


def _check_waiting(desk: Desk, step: Step, executor: Executor) -> None:
    if step.locks:
        message = f'locks are for kinds that occupy a worker, and "{executor.kind}" waits without one'
        desk.findings.error((*step.pointer, "locks"), message, at_key=True)
    if step.retry is not None and executor.kind != "workflow":
        message = f'"{executor.kind}" waits: it is begun once, and a retry begins the whole wait again'
        desk.findings.warn((*step.pointer, "retry"), message, at_key=True)


def _refuse_for_groups(desk: Desk, step: Step, what: str) -> None:
    """Keys that are for kinds only."""
    if step.retry is not None:
        remedy = "Put it on the steps inside, or under `defaults`."
        desk.findings.error((*step.pointer, "retry"), f"retry is for kinds; this is {what}", remedy, at_key=True)
    if step.locks:
        remedy = "Put them on the steps inside."
        desk.findings.error((*step.pointer, "locks"), f"locks are for kinds; this is {what}", remedy, at_key=True)


# -- what every step may have --------------------------------------------------------------------------------------


def _read_rendered(desk: Desk, step: Step, scope: Scope) -> None:
    for name, what in RENDERED.items():
        value = getattr(step, name)
        if value:
            read_value(desk, value, (*step.pointer, name), scope, what)
    check_duration(desk, step.timeout, (*step.pointer, "timeout"))


def read_env(desk: Desk, env: Mapping[str, Json], pointer: Pointer, scope: Scope) -> Scope:
    """Report what is wrong with an ``env``; the scope with its variables, each of which sees those before it."""
    known = dict(scope.env)
    scope = replace(scope, env=known)
    for name, value in env.items():
        known[name] = read_value(desk, value, (*pointer, name), scope)
    warn_of_secrets(desk, env, pointer)
    return scope


def check_duration(desk: Desk, text: str | None, pointer: Pointer) -> None:
    """Report a literal text that is no duration."""
    if text is None or has_expression(text):
        return
    try:
        parse_duration(text)
    except InvalidDuration as wrong:
        desk.findings.error(pointer, wrong.message, wrong.remedy)


def _check_queue(desk: Desk, queue: str | None, pointer: Pointer) -> None:
    if queue is None or refuse_expressions(desk, queue, pointer, "a queue's name"):
        return
    desk.used.add(("queues", "", queue))
    if queue not in desk.package.queues and queue != "default":
        remedy = desk.findings.hint(queue, desk.package.queues)
        remedy = remedy or f"Declare it: queues: {{{queue}: {{max_in_flight: 1}}}}."
        desk.findings.error(pointer, f'the queue "{queue}" is not declared', remedy)


def check_default_queue(desk: Desk) -> None:
    """Report a queue that ``defaults`` names and nobody declares."""
    _check_queue(desk, desk.package.defaults.queue, ("defaults", "queue"))


def _check_forms(desk: Desk, step: Step, group: Group) -> None:
    """Keys of a group that mean something only beside another."""
    if group.race and group.sequence:
        message = "the steps of a list follow one another, so they cannot race"
        desk.findings.error((*step.pointer, "race"), message, "Write the steps as a mapping of ids.")
    if group.recover and group.on_failure is None and group.on_cancel is None:
        message = "recover lets a group succeed whose on_failure or on_cancel succeeded, and it has neither"
        desk.findings.error((*step.pointer, "recover"), message, "Add on_failure, or remove recover.", at_key=True)


def _warn_of_shadow(desk: Desk, scope: Scope, id: str, step: Step) -> None:
    level = next((frame.level for frame in scope.frames if id in frame.level.index), None)
    if level is None or POSITIONAL.fullmatch(id):
        return
    message = f'"{id}" hides the step {spelled((*level.path, id))}: within this group steps.{id} is this one'
    desk.findings.warn(step.pointer, message, "Rename one of them if both are to be read.", at_key=True)
