"""Files on their way to the artifacts: one that holds a secret is not kept. Nothing is changed on the way."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from .artifacts import open_regular
from .errors import Permanent
from .ports import Masking

#: What an artifact is made of.
Source = bytes | str | Path | IO[bytes]


@contextlib.contextmanager
def watched(source: Source, name: str, masking: Masking) -> Iterator[Source]:
    """The source, to be read while this holds; ``Permanent`` (``secret_in_result``) as soon as a secret was read."""
    if not masking.parts():
        yield source
        return
    with contextlib.ExitStack() as stack:
        if isinstance(source, str | Path):
            stream: IO[bytes] = stack.enter_context(open_regular(Path(source), f'the artifact "{name}"'))
        elif isinstance(source, bytes | bytearray | memoryview):
            stream = io.BytesIO(source)
        else:
            stream = source
        yield io.BufferedReader(Watched(stream, name, masking), 1024 * 1024)


class Watched(io.RawIOBase):
    """A stream that does not give a secret away."""

    def __init__(self, stream: IO[bytes], name: str, masking: Masking) -> None:
        super().__init__()
        self._stream, self._name = stream, name
        self._sieves = masking.sieves()

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Read as any stream."""
        piece = self._stream.read(len(buffer))
        if any(sieve.catches(piece) for sieve in self._sieves):
            message = f'the artifact "{self._name}" contains a secret, which is never stored; leave it out of the file'
            raise Permanent("secret_in_result", message)
        buffer[: len(piece)] = piece
        return len(piece)
