"""Every name that an expression reads, against what its place sees. Nothing is evaluated here.

A step reads only what has ended when it becomes due: earlier steps of the groups around it. Outputs and handlers come
at the end of their group and read all of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from ..errors import Pointer
from ..template import FUNCTIONS, Reference
from .desk import Desk, Site, spelled
from .findings import listed
from .scope import ELSEWHERE, FIELDS, IN_NAMES, STEP_FIELDS, Frame, Scope

#: What people call the fields of a step elsewhere.
MEANT: Mapping[str, str] = {
    "outputs": "result", "output": "result", "value": "result", "return_value": "result", "data": "result",
    "state": "status", "outcome": "status", "conclusion": "status", "phase": "status",
    "attempt": "attempts", "retries": "attempts", "files": "artifacts", "exception": "error",
}  # fmt: skip
#: What may stand in the place of ``secrets.NAME``.
SECRET_REMEDY = "Name it in env, or in the `with` of a kind that executes, such as http: those are never stored."


def check_reference(desk: Desk, reference: Reference, pointer: Pointer, scope: Scope, refused: str) -> None:
    """Report what is wrong with one reference; ``refused`` says what no secret may stand in, or is empty."""
    name = reference.names[0]
    if name in scope.local:
        _check_key(desk, reference, pointer, scope.local[name])
    elif name in scope.area:
        if name in CHECKS:
            CHECKS[name](desk, reference, pointer, scope, refused)
    elif not (reference.optional and name in ELSEWHERE and len(reference.names) == 1):
        message, remedy = _unknown_name(desk, reference, scope)
        desk.findings.error(pointer, message, remedy, offset=reference.offset)


def _unknown_name(desk: Desk, reference: Reference, scope: Scope) -> tuple[str, str]:
    name = reference.names[0]
    if name in scope.within:
        remedy = "Read it in what belongs to each child: with, env, run or the steps of a group."
        return f'"{name}" is not in scope here: this belongs to the loop as a whole', remedy
    if name in FUNCTIONS:
        return f"{name} is a function", f"Write {name}()."
    if name in ELSEWHERE:
        return f'"{name}" {ELSEWHERE[name]}', ""
    owners = [
        ("inputs", scope.inputs),
        ("steps", (name,) if _is_in_sight(scope, name) else ()),
        ("env", scope.env),
        ("secrets", desk.package.secrets),
        ("context", desk.package.context),
    ]
    for owner, names in owners:
        if name in names and owner in scope.area:
            return f'there is no name "{name}"', f"Did you mean {owner}.{name}?"
    known = {*scope.area, *scope.local}
    return f'there is no name "{name[:60]}"', desk.findings.hint(name, known, "In scope are")


def _check_key(desk: Desk, reference: Reference, pointer: Pointer, keys: frozenset[str] | None) -> None:
    """The first key after a name that holds known keys only."""
    if keys is None or len(reference.names) < 2 or reference.names[1] in keys:
        return
    name, key = reference.names[:2]
    remedy = desk.findings.hint(key, keys, "It has")
    desk.findings.error(pointer, f'{name} has no "{key[:60]}"', remedy, offset=reference.offset)


def _fields(desk: Desk, reference: Reference, pointer: Pointer, scope: Scope, refused: str) -> None:
    keys = FIELDS[reference.names[0]]
    if scope.area is IN_NAMES:
        keys = frozenset({"id", "package", "version"})
    _check_key(desk, reference, pointer, keys)


def _inputs(desk: Desk, reference: Reference, pointer: Pointer, scope: Scope, refused: str) -> None:
    if len(reference.names) < 2:
        desk.used.update(("inputs", scope.kind, name) for name in scope.inputs)
        return
    name = reference.names[1]
    desk.used.add(("inputs", scope.kind, name))
    if name in scope.inputs:
        return
    owner = f'the kind "{scope.kind}"' if scope.kind else "the package"
    remedy = desk.findings.hint(name, scope.inputs) or f"Declare it: inputs: {{{name}: {{type: string}}}}."
    if scope.kind and name in desk.package.inputs:
        remedy = f"A kind sees its own inputs only: declare {name} among them and give it in `with`."
    desk.findings.error(pointer, f'{owner} has no input "{name[:60]}"', remedy, offset=reference.offset)


def _context(desk: Desk, reference: Reference, pointer: Pointer, scope: Scope, refused: str) -> None:
    if len(reference.names) > 1 and reference.names[1] not in desk.package.context:
        name = reference.names[1]
        remedy = desk.findings.hint(name, desk.package.context) or f"Declare it: context: [{name}]."
        desk.findings.error(pointer, f'the context has no "{name[:60]}"', remedy, offset=reference.offset)


def _env(desk: Desk, reference: Reference, pointer: Pointer, scope: Scope, refused: str) -> None:
    if len(reference.names) < 2:
        names = [name for name, secret in scope.env.items() if secret]
    else:
        names = [reference.names[1]]
    for name in names:
        if scope.env.get(name) and refused:
            message = f"env.{name} holds a secret, and no secret may stand in {refused}"
            desk.findings.error(pointer, message, SECRET_REMEDY, offset=reference.offset)
    if len(reference.names) < 2 or names[0] in scope.env or names[0] in desk.variables or desk.is_passed(names[0]):
        return
    remedy = desk.findings.hint(names[0], desk.variables) or f"Declare it: env: {{{names[0]}: …}}."
    message = f'there is no variable "{names[0][:60]}" in any env'
    desk.findings.error(pointer, message, remedy, offset=reference.offset)


def _secrets(desk: Desk, reference: Reference, pointer: Pointer, scope: Scope, refused: str) -> None:
    if len(reference.names) < 2:
        desk.used.update(("secrets", "", name) for name in desk.package.secrets)
        message, remedy = "secrets are read one by one", "Write secrets.NAME, with a name from the list `secrets`."
        desk.findings.error(pointer, message, remedy, offset=reference.offset)
        return
    name = reference.names[1]
    desk.used.add(("secrets", "", name))
    if name not in desk.package.secrets:
        remedy = desk.findings.hint(name, desk.package.secrets) or f"Declare it: secrets: [{name}]."
        desk.findings.error(pointer, f'the secret "{name[:60]}" is not declared', remedy, offset=reference.offset)
    if refused:
        message = f"no secret may stand in {refused}"
        desk.findings.error(pointer, message, SECRET_REMEDY, offset=reference.offset)


def _needs(desk: Desk, reference: Reference, pointer: Pointer, scope: Scope, refused: str) -> None:
    if len(reference.names) < 2:
        return
    id = reference.names[1]
    if id not in scope.needs:
        remedy = desk.findings.hint(id, scope.needs)
        if not remedy and _is_in_sight(scope, id):
            remedy = f"Write needs: {id}, or read steps.{id}."
        elif not remedy:
            remedy = f"It needs {listed(scope.needs)}." if scope.needs else "It needs none."
        desk.findings.error(pointer, f'the step does not need "{id[:60]}"', remedy, offset=reference.offset)
        return
    _check_field(desk, reference, pointer)


def _is_in_sight(scope: Scope, id: str) -> bool:
    return any(id in frame.level.index for frame in scope.frames)


def _check_field(desk: Desk, reference: Reference, pointer: Pointer) -> None:
    """The field of ``steps.<id>`` or ``needs.<id>``."""
    if len(reference.names) < 3 or reference.names[2] in STEP_FIELDS:
        return
    owner, id, field = reference.names[:3]
    meant = MEANT.get(field)
    remedy = f'Did you mean "{meant}"?' if meant else desk.findings.hint(field, STEP_FIELDS, "A step has")
    desk.findings.error(pointer, f'{owner}.{id} has no "{field[:60]}"', remedy, offset=reference.offset)


def _steps(desk: Desk, reference: Reference, pointer: Pointer, scope: Scope, refused: str) -> None:
    if len(reference.names) < 2:
        return
    id = reference.names[1]
    for frame in scope.frames:
        if id in frame.level.index:
            if trouble := _not_upstream(frame, id):
                desk.findings.error(pointer, *trouble, offset=reference.offset)
            _check_field(desk, reference, pointer)
            return
    message, remedy = _unknown_step(desk, id, scope)
    desk.findings.error(pointer, message, remedy, offset=reference.offset)


def _not_upstream(frame: Frame, id: str) -> tuple[str, str] | None:
    """Why a step of the group cannot be read from within its member; None when it can."""
    level, member = frame.level, frame.member
    if member is None or (id == member and frame.ended):
        return None
    if id == member:
        return f'"{id}" has not ended here: it is the step itself, or a group around it', ""
    if level.group.race:
        return "in a race no step reads another: they run at once", "Read the race from outside: `winner` and `result`."
    if level.comes_before(id, member):
        return None
    if level.group.sequence:
        return f'"{id}" comes later in the list than "{member}"', "A step reads those before it: change their order."
    if level.comes_before(member, id):
        return f'"{id}" runs after "{member}", so it cannot be read there', "Read it in a step that needs both."
    return f'"{id}" is not upstream of "{member}"', f'Write needs: {id} in "{member}", so that it has ended by then.'


def _unknown_step(desk: Desk, id: str, scope: Scope) -> tuple[str, str]:
    message = f'there is no step "{id[:60]}"'
    sites = desk.sites.get(id, ())
    if sites:
        return f"{message} in sight", _elsewhere(sites, scope)
    hints = (desk.findings.hint(id, frame.level.index) for frame in scope.frames)
    near = next((hint for hint in hints if hint), "")
    if near or not scope.frames:
        return message, near
    beside = scope.frames[0].level.index
    return message, desk.findings.hint(id, beside, "Beside it are") if beside else "It stands alone."


def _elsewhere(sites: Iterable[Site], scope: Scope) -> str:
    """What to do about a step that stands somewhere else."""
    site = next(iter(sites))
    border = f"kinds.{scope.kind}"
    if scope.kind and site[0] != border:
        return "A kind sees its own steps only: give the value to it as an input."
    if not scope.kind and site[0].startswith("kinds."):
        return f'It is inside the kind "{site[0].removeprefix("kinds.")}": read what that kind puts into its `outputs`.'
    if len(site) == 1:
        return "What belongs to the package as a whole is there before its steps: read it in a step."
    around = spelled(site[:-1])
    if any(part.startswith("@") for part in site):
        return f"It belongs to {around}, which no other step sees."
    return f'From outside, "{around}" is one step: put the value into its `outputs` and read steps.{site[-2]}.result.'


CHECKS: Mapping[str, Callable[[Desk, Reference, Pointer, Scope, str], None]] = {
    "inputs": _inputs,
    "steps": _steps,
    "needs": _needs,
    "env": _env,
    "secrets": _secrets,
    "context": _context,
    "run": _fields,
    "step": _fields,
}
