"""Mocks that are for nothing: of a kind or step that is nowhere. Else a typo would let a test call the real thing.

A mock that merely was not called is none: some are there so that a call would show.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..errors import did_you_mean
from ..outcome import Json
from .cases import Mock
from .mocks import KEY
from .play import Play

#: What ends the name of a step: the last part of its path.
LAST = re.compile(r"[/@]")


def strays(play: Play, kinds: set[str]) -> Iterator[tuple[Mock, str]]:
    """Each mock that is for nothing, with why; ``kinds`` are those that plugins supply."""
    unused = play.mocks.unused
    if not unused:
        return
    data = play.package.document.data
    known_kinds = kinds | set(kinds_in(data)) | {call.kind for call in play.calls}
    rows = (row.path for run in play.runtime.runs() for row in play.runtime.store.tree(run.key))
    ids = {id_of(path) for path in rows} | set(ids_in(data))
    for mock in unused:
        if mock.kind is not None and mock.kind not in known_kinds:
            yield mock, f'nothing here is of the kind "{mock.kind}". {did_you_mean(mock.kind, known_kinds)}'.rstrip()
        elif mock.step is not None and "*" not in id_of(mock.step) and id_of(mock.step) not in ids:
            yield mock, f'there is no step "{mock.step}". {did_you_mean(id_of(mock.step), ids)}'.rstrip()


def id_of(path: str) -> str:
    """The last id of a path, without its key."""
    return LAST.split(KEY.sub("", path))[-1]


def ids_in(data: Json) -> Iterator[str]:
    """The ids of all steps that a package declares."""
    for key, value in items(data):
        if key in ("steps", "on_failure", "on_cancel", "finally") and isinstance(value, dict):
            yield from value
        elif key == "id" and isinstance(value, str):
            yield value
        yield from ids_in(value)


def kinds_in(data: Json) -> Iterator[str]:
    """The kinds that a package names."""
    for key, value in items(data):
        if key == "kind" and isinstance(value, str):
            yield value
        yield from kinds_in(value)


def items(data: Json) -> Iterator[tuple[str | int, Json]]:
    """What a mapping or list holds."""
    if isinstance(data, dict):
        yield from data.items()
    elif isinstance(data, list):
        yield from enumerate(data)
