"""What the processes of a step may take: ``limits`` of the kinds ``shell`` and ``python``."""

from __future__ import annotations

from collections.abc import Mapping

from ..duration import parse_duration
from ..errors import Permanent, UserError
from ..outcome import Json
from .sizes import SIZE, size_of

COUNT: Json = {"type": "integer", "minimum": 1}
SCHEMA: Json = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "memory": {**SIZE, "description": "Address space of each process, `512MB`."},
        "cpu": {"type": "string", "description": "Processor time of each process, `30s`; SIGXCPU and SIGKILL end it."},
        "processes": {**COUNT, "description": "Processes of the user, all together; root has no such limit."},
        "file_size": {**SIZE, "description": "The largest file that it may write; SIGXFSZ ends it."},
        "open_files": {**COUNT, "description": "Open files of each process."},
    },
    "description": "What each process of the step may take at most; by default what the worker may.",
}
#: Key -> what the system calls it.
NAMES: Mapping[str, str] = {
    "memory": "as", "cpu": "cpu", "processes": "nproc", "file_size": "fsize", "open_files": "nofile",
}  # fmt: skip


def limits_of(given: Mapping[str, Json] | None) -> dict[str, int]:
    """The limits in the system's words: bytes, seconds, counts. ``Permanent`` (``bad_input``) for a wrong duration."""
    return {NAMES[key]: number_of(key, value) for key, value in (given or {}).items()}


def number_of(key: str, value: Json) -> int:
    """One limit as a number."""
    if key == "cpu":
        try:
            return max(1, -(-parse_duration(value) // 1000))
        except UserError as wrong:
            raise Permanent("bad_input", f"with.limits.cpu: {wrong}") from None
    return size_of(value, 0) if key in ("memory", "file_size") else int(value)
