"""Sizes as people write them: ``10MB``, or a number of bytes."""

from __future__ import annotations

import re

from ..outcome import Json

#: The schema of a size.
SIZE: Json = {"type": ["integer", "string"], "pattern": r"^[0-9]+ ?([kKMG]i?)?B?$", "minimum": 1}
UNITS = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}


def size_of(value: int | str | None, default: int) -> int:
    """Bytes of ``10MB``."""
    if value is None:
        return default
    match = re.match(r"([0-9]+) ?([kKMG]?)", str(value))
    assert match is not None
    return int(match[1]) * UNITS[match[2].lower()]
