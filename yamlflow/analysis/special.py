"""Kinds of which the language says more than a schema can: where they may stand, and what their texts name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ..errors import Pointer
from ..outcome import Json
from ..spec import Step
from ..template import TemplateError, has_expression
from .desk import Desk, Site, spelled
from .references import check_reference
from .scope import Scope


def _continue_as_new(desk: Desk, step: Step, given: Mapping[str, Json], scope: Scope, site: Site) -> None:
    if len(site) == 1:
        return
    message = f"continue_as_new ends the whole run, and this step is {spelled(site)}"
    remedy = "Only the package's own steps may: not those of groups, handlers and kinds."
    desk.findings.error((*step.pointer, "kind"), message, remedy)


def _template(desk: Desk, step: Step, given: Mapping[str, Json], scope: Scope, site: Site) -> None:
    """The names in the text of a template; one in a file is read when the step runs."""
    text, values = given.get("text"), given.get("values") or {}
    if not isinstance(text, str) or has_expression(text) or not isinstance(values, Mapping):
        return
    pointer: Pointer = (*step.pointer, "with", "text")
    try:
        references = desk.expressions.document(text).references
    except TemplateError as error:
        desk.findings.error(pointer, error.message, error.remedy, offset=error.offset)
        return
    for reference in references:
        if reference.names[0] not in values:
            check_reference(desk, reference, pointer, scope, "a file that is kept")


def _wait_signal(desk: Desk, step: Step, given: Mapping[str, Json], scope: Scope, site: Site) -> None:
    name, declared = given.get("signal"), desk.package.signals
    if not declared or not isinstance(name, str) or has_expression(name) or name in declared:
        return
    remedy = desk.findings.hint(name, declared, "Declared are")
    desk.findings.warn((*step.pointer, "with", "signal"), f'the signal "{name}" is not declared', remedy)


#: Kind → its check.
SPECIAL: Mapping[str, Callable[[Desk, Step, Mapping[str, Json], Scope, Site], None]] = {
    "continue_as_new": _continue_as_new,
    "template": _template,
    "wait_signal": _wait_signal,
}
