"""Whether a value is what was expected, and where it is not. Pure.

Exactly, or *like* it: in mappings only the keys that are expected count; lists are compared item by item.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from ..errors import Pointer, dotted
from ..outcome import Json
from ..patterns import search

#: Differences that are told of one value.
MOST = 20
#: Characters of a value that are shown.
SHOWN = 200


def alike(expected: Json, came: Json) -> bool:
    """Whether a value is like what is expected."""
    return next(differences(expected, came, like=True), None) is None


def told(expected: Json, came: Json, *, like: bool, at: Pointer = ()) -> list[str]:
    """What differs, a line each: ``outputs.total: expected 3, came 4``; empty when nothing does."""
    lines: list[str] = []
    for pointer, sentence in differences(expected, came, like=like):
        if len(lines) == MOST:
            return [*lines, "… and more"]
        lines.append(f"{dotted((*at, *pointer))}: {sentence}")
    return lines


def differences(expected: Json, came: Json, *, like: bool) -> Iterator[tuple[Pointer, str]]:
    """Each place where a value is not as expected, and how."""
    if isinstance(expected, dict) and isinstance(came, dict):
        for key in expected:
            if key not in came:
                yield (key,), f"expected {shown(expected[key])}, came nothing"
            else:
                yield from below(key, differences(expected[key], came[key], like=like))
        if not like:
            yield from (((key,), f"expected nothing, came {shown(came[key])}") for key in came if key not in expected)
    elif isinstance(expected, list) and isinstance(came, list):
        for position, (one, other) in enumerate(zip(expected, came, strict=False)):
            yield from below(position, differences(one, other, like=like))
        if len(expected) != len(came):
            yield (), f"expected {counted(expected)}, came {counted(came)}: {shown(came)}"
    elif not same(expected, came):
        yield (), f"expected {shown(expected)}, came {shown(came)}"


def below(part: str | int, found: Iterator[tuple[Pointer, str]]) -> Iterator[tuple[Pointer, str]]:
    """Differences of a part as those of the whole."""
    for pointer, sentence in found:
        yield (part, *pointer), sentence


def same(expected: Json, came: Json) -> bool:
    """Equality of JSON: true is not 1, while 1.0 is 1."""
    return isinstance(expected, bool) == isinstance(came, bool) and expected == came


def counted(items: list[Json]) -> str:
    """``3 items``."""
    return f"{len(items)} item{'s' if len(items) != 1 else ''}"


def shown(value: Json) -> str:
    """A value on one line, as JSON, cut where it is long."""
    text = json.dumps(value, ensure_ascii=False, default=repr)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def fits(pattern: str, path: str) -> bool:
    """Whether a path is meant: by its whole, or by its last id without a key; ``*`` stands for anything."""
    if pattern == path:
        return True
    meant = ".*".join(re.escape(part) for part in pattern.split("*"))
    return "*" in pattern and search(rf"(?s)\A{meant}\z", path)
