"""What the language has and this version has not: refused in words, never silently left out. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from .errors import Pointer, Problem
from .spec import Call, Group, Package, Step

#: Kinds that this version does not supply.
KINDS = frozenset[str]()
#: Keys of a package and of a step that this version does not act on.
PACKAGE_KEYS: tuple[str, ...] = ()
STEP_KEYS = ("undo", "cache", "locks")


def refusals(package: Package) -> Iterator[Problem]:
    """Each use of what is still to come."""
    for key in PACKAGE_KEYS:
        if getattr(package, key):
            yield refusal(f"`{key}`", (key,))
    roots = [package.root, *(kind.step for kind in package.kinds.values())]
    while roots:
        step = roots.pop()
        yield from in_step(step, package)
        roots += inner(step)


def in_step(step: Step, package: Package) -> Iterator[Problem]:
    """What one step uses."""
    for key in STEP_KEYS:
        if getattr(step, key):
            yield refusal(f"`{key}`", (*step.pointer, key))
    if isinstance(step.body, Call) and step.body.kind in KINDS - package.kinds.keys():
        yield refusal(f'the kind "{step.body.kind}"', (*step.pointer, "kind"), at_key=False)


def inner(step: Step) -> list[Step]:
    """The steps that a step holds, handlers included."""
    found = [step.undo] if step.undo is not None else []
    if isinstance(step.body, Group):
        found += step.body.steps.values()
        found += [one for one in (step.body.on_failure, step.body.on_cancel, step.body.final) if one is not None]
    return found


def refusal(what: str, pointer: Pointer, *, at_key: bool = True) -> Problem:
    """Says that it is known, and not yet there."""
    message = f"{what} is part of the language, but this version of yamlflow does not do it yet"
    return Problem(message=message, remedy="Leave it out for now.", pointer=pointer, at_key=at_key)
