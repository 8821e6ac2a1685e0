"""``file``: read, write, find, copy and delete files. What is written is there whole or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO

from ..artifacts import matches, open_regular
from ..context import StepContext
from ..errors import Permanent, Retryable
from ..outcome import Json
from . import executor
from .formats import READERS, decode, encode, format_of

SCHEMA: Json = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "read": {"type": "string", "minLength": 1, "description": "The file to read; the result is its content."},
        "write": {"type": "string", "minLength": 1, "description": "The file to write `data` to, whole or not at all."},
        "glob": {"type": "string", "minLength": 1, "description": "The paths it names; `**` goes over folders."},
        "copy": {"type": "string", "minLength": 1, "description": "The file to copy to the path in `to`."},
        "delete": {"type": "string", "minLength": 1, "description": "The file to delete."},
        "data": {"description": "What to write: text, or any value for JSON and YAML, a list for CSV."},
        "to": {"type": "string", "minLength": 1, "description": "Where to copy to."},
        "append": {"type": "boolean", "default": False, "description": "Write after what is there."},
        "format": {"enum": list(READERS), "description": "Default is what the ending says."},
        "within": {
            "type": "string",
            "description": "A folder that no path may lead out of, for paths that come from data.",
        },
    },
    "oneOf": [{"required": [verb]} for verb in ("read", "write", "glob", "copy", "delete")],
}  # fmt: skip


@executor("file", schema=SCHEMA, mode="thread", origin="built in")
def file(step: StepContext) -> Json:
    """Read, write, find (`glob`), copy or delete files; paths start at the package file's folder.

    The result is the content read, the path written or copied to, the list of paths found, or whether a file was
    deleted. The format (text, JSON, YAML, CSV) is what the ending says unless `format` does.
    """
    verb = next(name for name in VERBS if name in step.input)
    needed = NEEDED.get(verb)
    if needed and needed not in step.input:
        raise Permanent("bad_input", f'with: "{verb}" needs "{needed}"')
    try:
        return VERBS[verb](step, step.input)
    except OSError as wrong:
        raise fault_of(wrong) from wrong


def read(step: StepContext, given: Mapping[str, Json]) -> Json:
    """The content of a file that is small enough to be a result."""
    limit = step.ports.limits.result
    with opened(place(step, given["read"])) as stream:
        content = stream.read(limit + 1)
    if len(content) > limit:
        message = f"{given['read']} has more than the {limit:,} bytes of a result; keep it as an artifact"
        raise Permanent("bad_result", message)
    return decode(content, format_of(given["read"], given.get("format")), given["read"])


def write(step: StepContext, given: Mapping[str, Json]) -> str:
    """The path written."""
    target = place(step, given["write"])
    content = encode(given["data"], format_of(given["write"], given.get("format")))
    with replacing(target) as stream:
        if given["append"] and target.exists():
            with opened(target) as before:
                shutil.copyfileobj(before, stream)
        stream.write(content)
    return str(given["write"])


def glob(step: StepContext, given: Mapping[str, Json]) -> list[str]:
    """The paths found, sorted, relative to the folder that is searched."""
    return list(matches(folder_of(step), given["glob"]))


def copy(step: StepContext, given: Mapping[str, Json]) -> str:
    """The path copied to."""
    source, target = place(step, given["copy"]), place(step, given["to"])
    with opened(source) as stream, replacing(target) as copied:
        shutil.copyfileobj(stream, copied, 1024 * 1024)
    return str(given["to"])


def delete(step: StepContext, given: Mapping[str, Json]) -> bool:
    """Whether there was a file; deleting it again is harmless."""
    try:
        os.unlink(place(step, given["delete"]))
    except FileNotFoundError:
        return False
    return True


VERBS: Mapping[str, Callable[[StepContext, Mapping[str, Json]], Json]] = {
    "read": read,
    "write": write,
    "glob": glob,
    "copy": copy,
    "delete": delete,
}
NEEDED = {"write": "data", "copy": "to"}


def folder_of(step: StepContext) -> Path:
    """Where paths start."""
    within = step.input.get("within")
    return step.cwd / within if within is not None else step.cwd


def place(step: StepContext, path: str) -> Path:
    """A path from the step's folder; with ``within`` it stays there, links followed."""
    if "\0" in path:
        raise Permanent("bad_input", "a path holds a NUL character")
    folder = folder_of(step)
    if step.input.get("within") is None:
        return folder / path
    target, root = (folder / path).resolve(), folder.resolve()
    if root != target and root not in target.parents:
        raise Permanent("bad_input", f"{path} leads out of {step.input['within']}")
    return target


def opened(path: Path) -> IO[bytes]:
    """A regular file, links in its path followed."""
    try:
        return open_regular(Path(os.path.realpath(path, strict=True)), "the file", code="file_error")
    except OSError as wrong:
        raise fault_of(wrong) from wrong


@contextlib.contextmanager
def replacing(target: Path) -> Iterator[IO[bytes]]:
    """A stream whose content takes the target's place, synced, when all went well; its folder is made if need be."""
    if target.is_dir():
        raise Permanent("bad_input", f"{target} is a folder")
    target = Path(os.path.realpath(target))
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name[:100]}.{os.urandom(6).hex()}.partial")
    try:
        with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        if target.exists():
            shutil.copymode(target, partial)
        os.replace(partial, target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


#: What another attempt cannot mend.
LASTING = (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError)


def fault_of(wrong: OSError) -> Permanent | Retryable:
    """The failure that an error of the file system stands for."""
    message = f"{wrong.filename or 'the file'}: {wrong.strerror or wrong}"
    return Permanent("file_error", message) if isinstance(wrong, LASTING) else Retryable("file_error", message)
