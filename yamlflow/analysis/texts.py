"""Reading every expression of a value: its syntax, and the names in it. Each text by itself, so all faults are told."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ..errors import Pointer
from ..outcome import Json
from ..template import TemplateError, has_expression
from .desk import Desk
from .references import check_reference
from .scope import Scope

#: What to write instead of a key with an expression.
KEY_REMEDY = "Make the whole mapping in one expression: ${{ {inputs.name: 1} }}."


def read_value(desk: Desk, value: Json, pointer: Pointer, scope: Scope, refused: str = "") -> bool:
    """Report what is wrong with a value's expressions; whether a secret is named in it.

    ``refused`` says what the value is when no secret may be named in it.
    """
    secret = False
    for place, text, is_key in texts_in(value, pointer):
        if is_key:
            desk.findings.error(place, "a key cannot hold an expression", KEY_REMEDY, at_key=True)
            continue
        try:
            references = desk.expressions.compile(text).references
        except TemplateError as error:
            desk.findings.error(place, error.message, error.remedy, offset=error.offset)
            continue
        for reference in references:
            check_reference(desk, reference, place, scope, refused)
            secret = secret or _is_secret(reference.names, scope)
    return secret


def read_condition(desk: Desk, value: str | bool | None, pointer: Pointer, scope: Scope) -> None:
    """Report what is wrong with an ``if`` or ``until``."""
    if value is None or isinstance(value, bool):
        return
    try:
        references = desk.expressions.condition(value).references
    except TemplateError as error:
        desk.findings.error(pointer, error.message, error.remedy, offset=error.offset)
        return
    for reference in references:
        check_reference(desk, reference, pointer, scope, "a condition")


def refuse_expressions(desk: Desk, value: Json, pointer: Pointer, what: str, remedy: str = "") -> bool:
    """Report expressions where everything is literal; whether there are any."""
    found = list(texts_in(value, pointer))
    for place, text, is_key in found:
        message = f"{what} is literal: no expression is evaluated here"
        desk.findings.error(place, message, remedy, offset=text.find("${{"), at_key=is_key)
    return bool(found)


def texts_in(value: Json, pointer: Pointer) -> Iterator[tuple[Pointer, str, bool]]:
    """The texts that hold expressions, in the order they are written: place, text, and whether it is a key."""
    if isinstance(value, str):
        if has_expression(value):
            yield pointer, value, False
        return
    pending = [(pointer, value)]
    while pending:
        place, item = pending.pop()
        if isinstance(item, str):
            if has_expression(item):
                yield place, item, False
        elif isinstance(item, list | tuple):
            pending.extend([((*place, index), item[index]) for index in range(len(item) - 1, -1, -1)])
        elif isinstance(item, Mapping):
            for key in item:
                if has_expression(str(key)):
                    yield (*place, key), key, True
            pending.extend([((*place, key), item[key]) for key in reversed(list(item))])


def _is_secret(names: tuple[str, ...], scope: Scope) -> bool:
    return names[0] == "secrets" or (names[0] == "env" and len(names) > 1 and scope.env.get(names[1], False))
