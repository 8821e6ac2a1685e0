"""What stands in ``with``, against what the kind takes.

Only what is literal can be judged: a value with an expression may be anything, but its key is known.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from ..cron import Cron, InvalidCron
from ..errors import Pointer
from ..executors.checking import check, is_plain
from ..outcome import Json
from ..spec import Kind
from ..template import has_expression
from .desk import Desk

#: The finding for a key that a schema does not know: it stands, whatever the key's value is.
UNKNOWN_KEY = "unknown key"
#: Where the remedy begins in a finding's sentence.
REMEDY = re.compile(r"\. (?=Did you mean |Known are )")


def check_given(desk: Desk, schema: Mapping[str, Json] | bool, value: Json, pointer: Pointer) -> None:
    """Report where a value does not fit a schema."""
    for place, text in check(schema, value):
        if text.startswith(UNKNOWN_KEY) or not _is_open(value, place):
            message, _, remedy = REMEDY.sub("\0", text, count=1).partition("\0")
            at_key = text.startswith(UNKNOWN_KEY)
            desk.findings.error((*pointer, *place), message, remedy, at_key=at_key)


def _check_by_author(desk: Desk, schema: Json, value: Json, pointer: Pointer) -> None:
    """The same by an author's schema: its patterns and rarer keywords may be slow, and are left to the run."""
    if isinstance(schema, bool | dict) and is_plain(schema) and not _has_pattern(schema):
        check_given(desk, schema, value, pointer)


def _has_pattern(schema: Json) -> bool:
    pending = [schema]
    while pending:
        part = pending.pop()
        if isinstance(part, dict):
            if "pattern" in part:
                return True
            pending.extend(part.values())
        elif isinstance(part, list):
            pending.extend(part)
    return False


def _is_open(value: Json, pointer: Pointer) -> bool:
    """Whether a place of a value holds an expression, whose value nobody knows yet."""
    for part in pointer:
        value = value[part]
    return isinstance(value, str) and has_expression(value)


def check_inputs(desk: Desk, kind: Kind, value: Json, pointer: Pointer) -> None:
    """Report where a ``with`` does not fit the inputs of a declared kind."""
    what = f'the kind "{kind.name}"'
    given = {} if value is None else value
    if not isinstance(given, Mapping):
        desk.findings.error(pointer, f"{what} takes a mapping of its inputs")
        return
    _check_values(desk, kind.inputs, given, pointer, what)


def check_declared(desk: Desk, inputs: Mapping[str, Json], pointer: Pointer) -> None:
    """Report defaults that do not fit their own schema; null is the default of an input that may be left out."""
    for name, schema in inputs.items():
        if isinstance(schema, dict) and schema.get("default") is not None:
            _check_by_author(desk, schema, schema["default"], (*pointer, name, "default"))


def check_scheduled(desk: Desk) -> None:
    """Report what is wrong with the times that schedules name, and with the inputs they give."""
    for index, entry in enumerate(desk.package.schedule):
        check_times(desk, entry, ("schedule", index))
        place = ("schedule", index, "inputs") if "inputs" in entry else ("schedule", index)
        _check_values(desk, desk.package.inputs, entry.get("inputs") or {}, place, "the package")


def check_times(desk: Desk, entry: Mapping[str, Json], pointer: Pointer) -> None:
    """Report a cron text or time zone that cannot be; each is judged without the other."""
    for key, cron, zone in (("cron", entry["cron"], "UTC"), ("timezone", "@daily", entry.get("timezone") or "UTC")):
        try:
            Cron.read(cron, zone)
        except InvalidCron as wrong:
            desk.findings.error((*pointer, key), wrong.message, wrong.remedy)


def _check_values(
    desk: Desk, inputs: Mapping[str, Json], given: Mapping[str, Json], pointer: Pointer, what: str
) -> None:
    for name in given:
        if name not in inputs:
            remedy = desk.findings.hint(name, inputs, "It has") if inputs else "It has none."
            desk.findings.error((*pointer, name), f'{what} has no input "{name}"', remedy, at_key=True)
    for name, schema in inputs.items():
        if name in given:
            if not (isinstance(given[name], str) and has_expression(given[name])):
                _check_by_author(desk, schema, given[name], (*pointer, name))
        elif not (isinstance(schema, dict) and "default" in schema):
            desk.findings.error(pointer, f'{what} needs the input "{name}", which has no default')
