"""Where secrets come from: the environment, then ``.env`` in the project, then plugins. Values are never stored."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from .errors import UserError

#: What a line of ``.env`` may call a value.
NAME = re.compile("[A-Za-z_][A-Za-z0-9_.-]*")


class Secrets:
    """Looks a secret up by name; None when nobody knows it."""

    def __init__(self, folder: Path, plugin: Callable[[str], str | None]) -> None:
        self._folder = folder
        self._plugin = plugin
        self._file: Mapping[str, str] = {}
        #: Size and time of change of the file as it was read; a secret may be changed while a worker runs.
        self._read: tuple[int, int] | None = None

    def __call__(self, name: str) -> str | None:
        """The value of a secret."""
        value = os.environ.get(name)
        if value is None:
            value = self._from_file().get(name)
        return self._plugin(name) if value is None else value

    def _from_file(self) -> Mapping[str, str]:
        path = self._folder / ".env"
        try:
            found = path.stat()
            if self._read != (found.st_size, found.st_mtime_ns):
                self._file = parse(path.read_bytes(), str(path))
                self._read = (found.st_size, found.st_mtime_ns)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            self._file, self._read = {}, None
        return self._file


def parse(content: bytes, file: str = ".env") -> dict[str, str]:
    """``NAME=value`` lines; quotes around a value and ``export`` before a name are taken off, ``#`` lines are skipped.

    ``UserError`` for any other line. It names the line and repeats nothing of it: it may be a secret.
    """
    values: dict[str, str] = {}
    for number, line in enumerate(content.splitlines(), 1):
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
            if text and not text.startswith("#"):
                name, value = pair(text)
                values[name] = value
        except ValueError as wrong:
            words = "this is not UTF-8. Save the file as UTF-8" if isinstance(wrong, UnicodeDecodeError) else str(wrong)
            raise UserError(f"{file}:{number}: {words}.") from None
    return values


def pair(line: str) -> tuple[str, str]:
    """One name and its value. ``ValueError`` says what is wrong."""
    name, found, value = line.removeprefix("export ").partition("=")
    name, value = name.strip(), value.strip()
    if not found or not NAME.fullmatch(name):
        raise ValueError("a line is NAME=value, the name of letters, digits and _; or it begins with #")
    if "\0" in value:
        raise ValueError("a value cannot hold NUL. Remove it")
    if value[:1] in ("'", '"'):
        if len(value) < 2 or value[-1] != value[0]:
            raise ValueError(f"the quote {value[0]} is not closed on this line. Close it; a value is one line")
        return name, value[1:-1]
    return name, value
