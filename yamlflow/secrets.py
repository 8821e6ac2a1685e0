"""Where secrets come from: the environment, then ``.env`` in the project, then plugins. Values are never stored."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path


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
                self._file = parse(path.read_text(encoding="utf-8"))
                self._read = (found.st_size, found.st_mtime_ns)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            self._file, self._read = {}, None
        return self._file


def parse(text: str) -> dict[str, str]:
    """``NAME=value`` lines; quotes around a value and ``export`` before a name are taken off, ``#`` lines are skipped."""
    values: dict[str, str] = {}
    for line in text.splitlines():
        name, found, value = line.strip().removeprefix("export ").partition("=")
        if found and name.strip() and not name.startswith("#"):
            value = value.strip()
            quoted = len(value) >= 2 and value[0] == value[-1] and value[0] in "\"'"
            values[name.strip()] = value[1:-1] if quoted else value
    return values
