"""``for_each``, ``matrix`` and ``repeat``: their values as far as they are literal, and the names they bring."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import replace

from ..errors import Permanent, Pointer
from ..loops import MOST_CHILDREN, combinations, fan_out
from ..outcome import Json
from ..spec import FanOut, Group, Matrix, Repeat, Step
from ..template import TemplateError, expressions_in, has_expression
from .desk import Desk
from .level import Level
from .scope import RESERVED, Frame, Scope, loop_names
from .texts import read_condition, read_value

#: Items, and combinations of a matrix, whose keys are compared before a run.
MOST_ITEMS = 10_000
MOST_COMBINATIONS = 500
#: Keys that cost nothing to render.
PLAIN_KEY = re.compile(r"\$\{\{\s*[A-Za-z_][A-Za-z0-9_.]*\s*\}\}")


def check_loop(desk: Desk, step: Step, scope: Scope) -> None:
    """Report what is wrong with a step's loop; ``scope`` is that of the step as a whole."""
    match step.loop:
        case FanOut() as loop:
            _check_fan_out(desk, loop, (*step.pointer, "for_each"), scope)
        case Matrix() as loop:
            _check_matrix(desk, loop, (*step.pointer, "matrix"), scope)
        case Repeat() as loop:
            inner = replace(scope, local={**scope.local, **loop_names(loop)})
            if isinstance(step.body, Group):
                # The condition speaks of the iteration that has just ended, and sees its steps.
                inner = replace(inner, frames=(Frame(level=Level(step.body, ())), *inner.frames))
            read_condition(desk, loop.until, (*step.pointer, "repeat", "until"), inner)


def _check_fan_out(desk: Desk, loop: FanOut, pointer: Pointer, scope: Scope) -> None:
    _check_name(desk, loop, pointer, scope)
    read_value(desk, loop.items, (*pointer, "items"), scope, "the items of a loop, which are stored")
    inner = replace(scope, local={**scope.local, **loop_names(loop)}, within=frozenset())
    read_value(desk, loop.key, (*pointer, "key"), inner, "a key, which is stored")
    if isinstance(loop.items, str):
        _refuse_text(desk, loop.items, (*pointer, "items"), "for_each takes a list or a mapping")
    elif isinstance(loop.items, list | Mapping):
        _compare_keys(desk, loop, pointer)
    else:
        desk.findings.error((*pointer, "items"), "for_each takes a list or a mapping")


def _check_name(desk: Desk, loop: FanOut, pointer: Pointer, scope: Scope) -> None:
    name, place = loop.name, (*pointer, "as")
    if name in RESERVED:
        desk.findings.error(place, f'"{name}" has a meaning of its own in expressions', "Choose another name.")
    elif name in scope.local and name == "item":
        message = '"item" hides the item of the loop around'
        desk.findings.warn(pointer, message, "Give one of them a name: {items: …, as: NAME}.", at_key=True)
    elif name in scope.local:
        desk.findings.error(place, f'the name "{name}" is in scope already', "Choose another name.")


def _refuse_text(desk: Desk, text: str, pointer: Pointer, wanted: str) -> None:
    """Text that is not one whole expression stays text."""
    if not has_expression(text):
        desk.findings.error(pointer, f"{wanted}; this is text", "Write a list, or one whole expression: ${{ … }}.")
        return
    try:
        spans = expressions_in(text)
    except TemplateError:
        return
    if len(spans) != 1 or spans[0].start or text[spans[0].end :] not in ("", "\n"):
        remedy = "Write one whole expression, ${{ … }}, and nothing around it."
        desk.findings.error(pointer, f"{wanted}; this gives text", remedy)


def _compare_keys(desk: Desk, loop: FanOut, pointer: Pointer) -> None:
    """The keys of literal items, where they depend on nothing else."""
    try:
        if len(loop.items) > MOST_ITEMS or not desk.expressions.compile(loop.items).literal:
            return
        fan_out(loop, loop.items, _key_of(desk, loop))
    except TemplateError as error:
        if not isinstance(loop.key, str) or error.message.startswith("there is no name"):
            return
        desk.findings.error((*pointer, "key"), error.message, error.remedy, offset=error.offset)
    except Permanent as wrong:
        desk.findings.error((*pointer, "key" if loop.key is not None else "items"), wrong.message)


def _key_of(desk: Desk, loop: FanOut) -> Callable[[dict[str, Json]], Json] | None:
    if not isinstance(loop.key, str):
        return None
    template = desk.expressions.compile(loop.key)
    own = {loop.name, "index"}
    if not PLAIN_KEY.fullmatch(loop.key) or any(reference.names[0] not in own for reference in template.references):
        return None
    return template.render


def _check_matrix(desk: Desk, loop: Matrix, pointer: Pointer, scope: Scope) -> None:
    for name, values in loop.axes.items():
        if isinstance(values, str):
            _refuse_text(desk, values, (*pointer, name), "an axis of a matrix takes a list")
        elif not isinstance(values, list):
            desk.findings.error((*pointer, name), "an axis of a matrix takes a list")
    for name, rows in (("include", loop.include), ("exclude", loop.exclude)):
        if isinstance(rows, str):
            _refuse_text(desk, rows, (*pointer, name), f"{name} takes a list of mappings")
    for name, value in (*loop.axes.items(), ("include", loop.include), ("exclude", loop.exclude)):
        read_value(desk, value, (*pointer, name), scope, "a matrix, which is stored")
    if "matrix" in scope.local:
        desk.findings.warn(pointer, '"matrix" hides the matrix of the loop around', at_key=True)
    _check_excluded(desk, loop, pointer)
    _compare_combinations(desk, loop, pointer)


def _check_excluded(desk: Desk, loop: Matrix, pointer: Pointer) -> None:
    for index, row in enumerate(loop.exclude if isinstance(loop.exclude, list) else ()):
        for name in row if isinstance(row, Mapping) else ():
            if name not in loop.axes:
                remedy = desk.findings.hint(name, loop.axes, "Axes are")
                message = f'the matrix has no axis "{name}", so this excludes nothing'
                desk.findings.error((*pointer, "exclude", index, name), message, remedy, at_key=True)


def _compare_combinations(desk: Desk, loop: Matrix, pointer: Pointer) -> None:
    """How many combinations there are, and whether two have one key, where all is literal."""
    axes = loop.axes.values()
    if not all(isinstance(values, list | tuple) for values in (*axes, loop.include, loop.exclude)):
        return
    total = math.prod(len(values) for values in axes)
    if total > MOST_CHILDREN:
        message = f"a loop may have {MOST_CHILDREN:,} children; this one would have {total:,}"
        desk.findings.error(pointer, message, at_key=True)
        return
    try:
        parts = [dict(loop.axes), list(loop.include), list(loop.exclude)]
        if total > MOST_COMBINATIONS or not desk.expressions.compile(parts).literal:
            return
        combinations(loop.axes, loop.include, loop.exclude)
    except TemplateError:
        return
    except Permanent as wrong:
        desk.findings.error(pointer, wrong.message, at_key=True)
