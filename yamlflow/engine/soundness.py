"""Whether steps can ever come to an end: a need on nobody, or on a circle, would keep a run waiting for ever. Pure.

``validate`` says the same and more, with better words; this is what nothing gets past, neither a package that a program
starts nor a step that an executor emits.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache

from .. import document
from ..document.names import unknown_key
from ..document.rules import RULES
from ..document.schema import Schema
from ..errors import Pointer, Problem, did_you_mean, dotted
from ..outcome import Emitted, Error, Json
from ..spec import CONDITIONS, Call, Group, Need, Package, Step, needs_from, step_from


def unsound(package: Package) -> list[Problem]:
    """Needs, queues and kinds of a package that would keep a run from ever ending, or from being what was meant."""
    problems = [problem for group in groups(package.root) for problem in graph_problems(group)]
    for kind in package.kinds.values():
        problems += [problem for group in groups(kind.step) for problem in graph_problems(group)]
        if kind.name in reached(package, kind.step):
            problems.append(Problem(message="a kind cannot contain itself", pointer=("kinds", kind.name)))
    return problems


def groups(step: Step) -> Iterator[Group]:
    """Every group at and below a step, handlers included."""
    pending = [step]
    while pending:
        current = pending.pop()
        if current.undo is not None:
            pending.append(current.undo)
        if isinstance(current.body, Group):
            yield current.body
            pending += inside(current.body)


def inside(group: Group) -> Iterator[Step]:
    """The steps and handlers of a group."""
    yield from group.steps.values()
    yield from (each for each in (group.on_failure, group.on_cancel, group.final) if each is not None)


def graph_problems(group: Group) -> list[Problem]:
    """Needs of a group's steps that name no step of it, or the steps of a circle."""
    needs = {step.id: [need.step for need in step.needs] for step in group.steps.values()}
    found = [
        Problem(message=f'there is no step "{need.step}"', remedy=did_you_mean(need.step, needs), pointer=need.pointer)
        for step in group.steps.values()
        for need in step.needs
        if need.step not in needs
    ]
    stuck = [] if found else circle(needs)
    if stuck:
        pointer: Pointer = (*group.steps[stuck[0]].pointer, "needs")
        message = f"the steps need one another in a circle: {', '.join(stuck[:10])}"
        found.append(Problem(message=message, pointer=pointer))
    return found


def circle(needs: Mapping[str, Sequence[str]]) -> list[str]:
    """What can never become due because it needs itself, directly or through others; empty when there is none."""
    missing = {id: len(set(wanted)) for id, wanted in needs.items()}
    needed_by: dict[str, list[str]] = {}
    for id, wanted in needs.items():
        for each in set(wanted):
            needed_by.setdefault(each, []).append(id)
    ready = [id for id, count in missing.items() if not count]
    for id in ready:
        for dependent in needed_by.get(id, ()):
            missing[dependent] -= 1
            if not missing[dependent]:
                ready.append(dependent)
    return [id for id, count in missing.items() if count]


def reached(package: Package, step: Step) -> set[str]:
    """The package's own kinds that a step uses, through others too."""
    found: set[str] = set()
    pending = [step]
    while pending:
        for group in groups(pending.pop()):
            for each in inside(group):
                kind = package.kinds.get(each.body.kind) if isinstance(each.body, Call) else None
                if kind is not None and kind.name not in found:
                    found.add(kind.name)
                    pending.append(kind.step)
    return found


# -- steps that a program builds -----------------------------------------------------------------------------------


def built_problems(steps: Sequence[Emitted]) -> list[Problem]:
    """Why the steps that a program built for a run cannot be its steps."""
    keys = [one.key for one in steps]
    found: list[Problem] = []
    for position, one in enumerate(steps):
        pointer: Pointer = ("steps", one.key)
        if one.key in keys[:position]:
            found.append(Problem(message=f'there is a step "{one.key}" already', pointer=pointer))
        for need in needs_of(one) if not need_form_problem(one) else ():
            if need.step not in keys:
                words = f'there is no step "{need.step}"'
                found.append(Problem(message=words, remedy=did_you_mean(need.step, keys), pointer=(*pointer, "needs")))
        message = definition_problem(one.definition) or need_form_problem(one)
        if message:
            found.append(Problem(message=message, pointer=pointer))
    stuck = [] if found else circle({one.key: [need.step for need in needs_of(one)] for one in steps})
    if stuck:
        message = f"the steps need one another in a circle: {', '.join(stuck[:10])}"
        found.append(Problem(message=message, pointer=("steps", stuck[0], "needs")))
    return found


# -- emitted steps -------------------------------------------------------------------------------------------------


@cache
def language() -> Schema:
    """The language's definition of a step, as a check of ``{steps: {…}}``."""
    schema = document.package_schema()
    return Schema({**schema, "required": ["steps"]}, rules={k: v for k, v in RULES.items() if k}, unknown=unknown_key)


def emitted_error(emitted: Sequence[Emitted], emitter: Iterable[str]) -> Error | None:
    """Why steps that an executor emitted cannot be steps; None when they can. ``emitter``: what they may call it."""
    own = set(emitter)
    keys = {one.key for one in emitted}
    graph: dict[str, list[str]] = {}
    for one in emitted:
        message = definition_problem(one.definition) or need_problem(one, keys, own)
        if message:
            return refused(f'emitted step "{one.key}": {message}')
        wanted = [need.step for need in needs_of(one)]
        graph.setdefault(one.key, [each for each in wanted if each in keys and not (each in own and each == one.key)])
    stuck = circle(graph)
    return refused(f"emitted steps need one another in a circle: {', '.join(stuck[:10])}") if stuck else None


def refused(message: str) -> Error:
    """What an executor emitted is part of its result."""
    return Error(code="bad_result", message=message, permanent=True)


def definition_problem(definition: Mapping[str, Json]) -> str:
    """What is wrong with a definition as a step of a package; its ``with`` is data, and its needs name keys."""
    plain = {name: value for name, value in definition.items() if name not in ("with", "needs", "join", "id")}
    found = [problem for problem in language().problems({"steps": {"step": plain}}) if not problem.warning]
    if not found:
        found = [problem for group in groups(step_from("step", plain, ())) for problem in graph_problems(group)]
    if not found:
        return ""
    place = dotted(found[0].pointer).removeprefix("steps.step").removeprefix(".")
    words = f"{found[0].message}. {found[0].remedy}" if found[0].remedy else found[0].message
    return f"{place}: {words}" if place else words


def need_problem(one: Emitted, keys: set[str], own: set[str]) -> str:
    """A need on a sibling that was not emitted, or on the step itself, or under a condition that there is not."""
    wrong = need_form_problem(one)
    if wrong:
        return wrong
    for need in needs_of(one):
        if need.step not in own and (need.step not in keys or need.step == one.key):
            return f'needs: "{need.step}" was not emitted beside it'
    return ""


def need_form_problem(one: Emitted) -> str:
    """What is wrong with the needs of a step as they are written, whatever they name."""
    needs = one.definition.get("needs")
    conditions = list(needs.values()) if isinstance(needs, dict) else []
    words = [word for each in conditions for word in (each if isinstance(each, list) else [each])]
    if not all(isinstance(word, str) and word in CONDITIONS for word in words):
        return f"needs: conditions are {', '.join(CONDITIONS)}"
    if not isinstance(needs, str | dict | None) and not isinstance(needs, list):
        return "needs: a key, a list of keys, or a mapping of key to condition"
    join = one.definition.get("join", "all")
    most = len(needs_of(one))
    if join not in ("all", "any") and not (type(join) is int and 1 <= join <= most):
        return f"join: all, any, or a number up to {most}"
    return ""


def needs_of(one: Emitted) -> tuple[Need, ...]:
    """The needs of an emitted step."""
    return needs_from(one.definition.get("needs"), ())
