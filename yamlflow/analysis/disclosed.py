"""Literal texts that look like secrets: a package is stored and shown, so everybody who reads it would know them.

What counts is the form that providers give their keys, or a telling name with a value that nobody makes up by hand.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from ..errors import Pointer
from ..outcome import Json
from ..template import has_expression
from .desk import Desk

#: Keys whose form says whose they are.
FORMS = re.compile(
    r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"
    r"|\bgh[pousr]_[A-Za-z0-9]{30,}"
    r"|\bgithub_pat_[A-Za-z0-9_]{30,}"
    r"|\bglpat-[A-Za-z0-9_-]{20,}"
    r"|\bxox[abprs]-[A-Za-z0-9-]{20,}"
    r"|\bsk_live_[A-Za-z0-9]{20,}"
    r"|\bsk-[A-Za-z0-9_-]{32,}"
    r"|\bAIza[A-Za-z0-9_-]{35}"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----"
)
#: Names that say what their value is.
NAMES = re.compile(r"passw(?:or)?d|secret|token|api[_-]?key|access[_-]?key|authorization|credential", re.IGNORECASE)
#: A value of one piece, with letters and digits: what a generator gives.
GENERATED = re.compile(r"(?:(?:Bearer|Basic|token) )?(?=[^0-9]*[0-9])(?=[^A-Za-z]*[A-Za-z])[A-Za-z0-9+/_=.-]{16,}")
REMEDY = "List its name under `secrets`, write ${{ secrets.NAME }}, and replace the value, which is known by now."


def warn_of_secrets(desk: Desk, value: Json, pointer: Pointer) -> None:
    """Warn of texts in ``env`` or ``with`` that look like secrets."""
    for place, text in _texts(value, pointer):
        name = place[-1]
        is_named = isinstance(name, str) and NAMES.search(name) and GENERATED.fullmatch(text)
        if is_named or FORMS.search(text):
            desk.findings.warn(place, "this looks like a secret, and the text of a package is stored", REMEDY)


def _texts(value: Json, pointer: Pointer) -> Iterator[tuple[Pointer, str]]:
    """The literal texts of a value that are long enough."""
    pending = [(pointer, value)]
    while pending:
        place, item = pending.pop()
        if isinstance(item, str):
            if len(item) >= 16 and not has_expression(item):
                yield place, item
        elif isinstance(item, list | tuple):
            pending.extend([((*place, index), each) for index, each in enumerate(item)])
        elif isinstance(item, Mapping):
            pending.extend([((*place, key), each) for key, each in item.items()])
