"""``shell``: a command in a process group of its own. No value from a package ever becomes shell code here."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

from ..artifacts import keep_folder, open_regular
from ..context import StepContext
from ..errors import Permanent, Retryable, shortened
from ..outcome import Json
from ..private import make_folder
from ..values import to_text
from . import executor
from .limits import SCHEMA as LIMITS
from .limits import limits_of
from .processes import Ended, encoded, run, signal_name

#: ``shell:`` → the command that reads ``run:`` text.
SHELLS: Mapping[str, tuple[str, ...]] = {
    "sh": ("/bin/sh", "-e", "-c"),
    "bash": ("bash", "-eo", "pipefail", "-c"),
}
SCHEMA: Json = {
    "type": "object",
    "required": ["run"],
    "additionalProperties": False,
    "properties": {
        "run": {
            "type": ["string", "array"],
            "minLength": 1,
            "minItems": 1,
            "items": {"type": ["string", "number", "boolean", "null"]},
            "description": "Text for a shell, or a list: a program and its arguments, which no shell reads.",
        },
        "shell": {
            "enum": list(SHELLS),
            "default": "sh",
            "description": "What reads `run` text: `sh` is `sh -e`, `bash` is `bash -eo pipefail`.",
        },
        "cwd": {
            "type": "string",
            "description": "The working folder, from the package file's folder where it exists, else `$YAMLFLOW_DIR`.",
        },
        "stdin": {"description": "What the command reads: text as it is, anything else as JSON."},
        "limits": LIMITS,
        "parse": {
            "enum": ["text", "json", "lines"],
            "description": "Make stdout the result: as text, as one JSON value, or as a list of lines.",
        },
    },
}
SECRET_REMEDY = (
    "write it to stderr or nowhere, and return something else: with `parse`, or by writing to $YAMLFLOW_OUTPUT"
)
ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_-]*)=(.*)", re.DOTALL)


@executor("shell", schema=SCHEMA, mode="async", code=["run"], origin="built in")
async def shell(step: StepContext) -> Json:
    """Run a command, as text for a shell or as a list without one.

    The result is what `$YAMLFLOW_OUTPUT` says if it was written, else stdout as `parse` says, else
    `{exit_code, stdout, stderr}` with the end of each, after `…` where it was longer. Files in `$YAMLFLOW_ARTIFACTS`
    become artifacts. An exit status other than 0 fails with `exit_status`.
    """
    step.secret_remedy = SECRET_REMEDY
    cwd = step.work_in(step.input.get("cwd"))
    parse = step.input.get("parse")
    places = Places(step)
    try:
        ended = await run(
            command_of(step.input["run"], step.input["shell"]),
            step,
            env={**step.env, **places.env},
            cwd=cwd,
            stdin=stdin_of(step.input.get("stdin")),
            keep_stdout=step.ports.limits.result + 1 if parse else None,
            limits=limits_of(step.input.get("limits")),
        )
        await places.keep(step)
        if ended.exit_code:
            raise failure_of(ended, step)
        return places.output(step) if places.written() else result_of(ended, parse, step)
    finally:
        places.clear()


class Places:
    """The files through which a command speaks to its step."""

    def __init__(self, step: StepContext) -> None:
        name = f".step-{sha256(step.step.path.encode()).hexdigest()[:12]}"
        # What an attempt left whose worker was killed; one that only thinks it holds the lease must not hit its successor.
        for left in step.dir.glob(f"{name}.*"):
            if int(left.name.split(".")[2]) < step.lease.epoch:
                shutil.rmtree(left, ignore_errors=True)
        self._folder = step.dir / f"{name}.{step.lease.epoch}.{os.urandom(4).hex()}"
        self.artifacts = self._folder / "artifacts"
        make_folder(self.artifacts)
        self._made = identity(self.artifacts)
        self._output = self._folder / "output"
        self._output.touch()
        self.env = {
            "YAMLFLOW_RUN_ID": step.run.id,
            "YAMLFLOW_STEP": step.step.path,
            "YAMLFLOW_ATTEMPT": str(step.attempt),
            "YAMLFLOW_DIR": str(step.dir.absolute()),
            "YAMLFLOW_OUTPUT": str(self._output.absolute()),
            "YAMLFLOW_ARTIFACTS": str(self.artifacts.absolute()),
        }

    def written(self) -> bool:
        """Whether the command wrote an output."""
        try:
            return os.lstat(self._output).st_size > 0
        except OSError:
            return False

    def output(self, step: StepContext) -> Json:
        """What it wrote: a JSON value, or ``name=value`` lines; ``Permanent`` (``bad_result``) for anything else."""
        limit = step.ports.limits.result
        with open_regular(self._output, "$YAMLFLOW_OUTPUT") as stream:
            content = stream.read(limit + 1)
        if len(content) > limit:
            raise Permanent("bad_result", f"$YAMLFLOW_OUTPUT holds more than {limit:,} bytes; keep an artifact instead")
        try:
            return output_of(content.decode())
        except UnicodeDecodeError:
            raise Permanent("bad_result", "$YAMLFLOW_OUTPUT is not UTF-8 text") from None

    async def keep(self, step: StepContext) -> None:
        """Keep the artifacts it left; in a thread, as each is synced to disk."""
        import asyncio

        if identity(self.artifacts) != self._made:
            # A link in its place would have other folders' files kept.
            raise Permanent(
                "bad_result", "$YAMLFLOW_ARTIFACTS was removed or replaced by something else; keep the folder"
            )
        if any(self.artifacts.iterdir()):
            await asyncio.to_thread(keep_folder, step, self.artifacts)

    def clear(self) -> None:
        """Remove them."""
        shutil.rmtree(self._folder, ignore_errors=True)


def identity(folder: Path) -> tuple[int, int, int] | None:
    """Type, device and inode of what is at a path, links not followed; None when nothing is."""
    try:
        found = os.lstat(folder)
    except OSError:
        return None
    # The type too: a link may get the very inode that the folder gave back.
    return stat.S_IFMT(found.st_mode), found.st_dev, found.st_ino


def output_of(text: str) -> Json:
    """JSON where it starts like a JSON value, else ``name=value`` lines; every line is data, none a directive."""
    if text.lstrip()[:1] in ("{", "[", '"'):
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as wrong:
            raise Permanent("bad_result", f"$YAMLFLOW_OUTPUT starts like JSON and is none: {wrong}") from None
    result: dict[str, Json] = {}
    for number, line in enumerate(lines_of(text), 1):
        if not line.strip():
            continue
        match = ASSIGNMENT.fullmatch(line)
        if match is None:
            raise Permanent(
                "bad_result", f"$YAMLFLOW_OUTPUT line {number}: expected name=value, got {shortened(line, 80)!r}"
            )
        result[match[1]] = match[2]
    return result


def lines_of(text: str) -> list[str]:
    """The lines of a text: what Python takes for an end of line besides is data."""
    lines = re.split(r"\r?\n", text)
    return lines if lines[-1] else lines[:-1]


def command_of(text: str | list[Json], shell: str) -> list[str]:
    """The program and its arguments."""
    return [*SHELLS[shell], text] if isinstance(text, str) else [argument_of(each) for each in text]


def argument_of(value: Json) -> str:
    """A value as an argument, as ``env`` has it: text as it is, nothing for null, else JSON."""
    return value if isinstance(value, str) else "" if value is None else to_text(value)


def stdin_of(value: Json) -> bytes | None:
    """What a command reads: text as it is, anything else as JSON."""
    if value is None:
        return None
    return encoded(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False), "with.stdin")


def failure_of(ended: Ended, step: StepContext) -> Retryable:
    """The error of a command that did not exit with 0."""
    tail = tail_of(ended.stderr, ended.stderr_size)
    details = {"exit_code": ended.exit_code, "signal": signal_name(ended.signal), "stderr": tail, "stdout": None}
    details["stdout"] = tail_of(ended.stdout[-step.ports.limits.tail :], ended.stdout_size)
    last = tail.strip().rpartition("\n")[2]
    return Retryable("exit_status", f"{ended.how}{': ' + shortened(last, 300) if last else ''}", details=details)


def text_of(content: bytes) -> str:
    """Bytes for people: what is no UTF-8 is replaced."""
    return content.decode("utf-8", "replace")


def tail_of(content: bytes, size: int) -> str:
    """The end of a stream of so many bytes; ``…`` in place of what came before, as a secret may have been cut there."""
    if size <= len(content):
        return text_of(content)
    # Not from the middle of a character, which would hide the piece of a secret behind it.
    return "…" + text_of(re.sub(rb"\A[\x80-\xbf]{1,3}", b"", content))


def result_of(ended: Ended, parse: str | None, step: StepContext) -> Json:
    """The result that stdout makes.

    stdout counts as the result (a secret in it fails the step); stderr is the log's end, masked like the log.
    """
    if parse is None:
        masked = step.ports.masking.mask(tail_of(ended.stderr, ended.stderr_size))
        return {"exit_code": 0, "stdout": tail_of(ended.stdout, ended.stdout_size), "stderr": masked}
    limit = step.ports.limits.result
    if ended.stdout_size > limit:
        message = f"{ended.stdout_size:,} bytes of stdout, at most {limit:,} are kept; write an artifact"
        raise Permanent("bad_result", message)
    text = text_of(ended.stdout)
    if parse == "text":
        return text
    if parse == "lines":
        return lines_of(text)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as wrong:
        raise Retryable(
            "bad_result", f"stdout is no JSON: {wrong}", details={"stdout": shortened(text, 2000)}
        ) from None
