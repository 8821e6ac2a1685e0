"""A checksum beside each result: what the disk changed of a stored result is found before anybody uses it. Pure.

SQLite's own checks see the shape of a file, not a flipped bit within a text. A checksum is made where a result is made
and travels with it, also into the cache and to steps that take another one's result; it is compared where a result is
read for use.
"""

from __future__ import annotations

import json
import zlib

from .errors import ResultDamaged
from .outcome import Json
from .rows import CacheRow, StepRow


def checksum(text: str | None) -> int | None:
    """The CRC-32 of a text in UTF-8; None of none."""
    return None if text is None else zlib.crc32(text.encode("utf-8", "surrogatepass"))


def is_intact(row: StepRow | CacheRow) -> bool:
    """Whether a result is what was written. One that has no checksum was kept before there were any."""
    return row.checksum is None or row.checksum == checksum(row.result)


def result_of(row: StepRow) -> Json:
    """A step's own result; None where there is none. ``ResultDamaged`` when it is not what was written."""
    if not is_intact(row):
        raise ResultDamaged(
            f'the result of step "{row.path}" is damaged in the store: it is not what was written. Restore a backup '
            "(yamlflow db restore), or start the run anew; `yamlflow db check` lists all that is damaged"
        )
    return None if row.result is None else json.loads(row.result)
