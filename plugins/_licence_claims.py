"""What a distribution's metadata and files say of its licence. Not a plugin: its name begins with _."""

from __future__ import annotations

import re
from collections.abc import Iterator
from email.message import Message
from pathlib import Path

from ._licence_words import names_in
from ._spdx import category_of, is_expression


def claims(headers: Message, folder: Path) -> Iterator[tuple[str, str]]:
    """What says the licence, the most trustworthy first: ``(source, SPDX expression or list)``."""
    expression, field = headers["License-Expression"] or "", headers["License"] or ""
    if is_expression(expression):
        yield "expression", expression.strip()
    if is_expression(field) and category_of(field) != "unknown":
        yield "field", field.strip()
    said = [each.rpartition(" :: ")[2] for each in headers.get_all("Classifier", []) if each.startswith("License ::")]
    yield from _told("classifier", list(dict.fromkeys(name for each in said for name in names_in(each))))
    yield from _told("field", names_in(field))
    files = sorted(folder.rglob("*")) if folder.is_dir() else []
    for file in (file for file in files if re.match("licen[sc]e|copying", file.name, re.I) and file.is_file()):
        yield from _told("text", names_in(text_of(file)[:2000])[:1])


def _told(source: str, names: list[str]) -> Iterator[tuple[str, str]]:
    """One name as it is; of several nobody says whether one or all apply, so they stay a list."""
    if names:
        yield source, names[0] if len(names) == 1 else f"{source}s: {'; '.join(names)}"


def text_of(file: Path) -> str:
    """A file's text; what is no UTF-8 is replaced."""
    return file.read_text(encoding="utf-8", errors="replace")
