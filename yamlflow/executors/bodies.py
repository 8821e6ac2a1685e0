"""The body of a response, read within bounds: also when it is compressed, endless or not what it says it is."""

from __future__ import annotations

import json
import zlib
from collections.abc import AsyncIterator
from typing import IO, Protocol

from ..errors import Permanent, shortened
from ..outcome import Json
from .formats import refuse_constant


class Decoder(Protocol):
    """Takes compressed pieces and gives plain ones of bounded size."""

    def feed(self, piece: bytes, most: int) -> bytes:
        """At most ``most`` bytes of what the pieces so far stand for."""


class Plain:
    """No compression."""

    def feed(self, piece: bytes, most: int) -> bytes:
        """The piece itself."""
        return piece[:most]


class Inflate:
    """gzip and deflate, the latter with or without its header."""

    def __init__(self, wbits: int) -> None:
        self._wbits = wbits
        self._inflater = zlib.decompressobj(wbits)
        self._first = True

    def feed(self, piece: bytes, most: int) -> bytes:
        """At most ``most`` bytes; what stays behind is lost, as the bound is then passed."""
        first, self._first = self._first, False
        try:
            return self._inflater.decompress(piece, most)
        except zlib.error as wrong:
            if first and self._wbits == zlib.MAX_WBITS:
                # Without a header, as some servers have it; what is none of both says so at the second try.
                self._wbits, self._inflater = -zlib.MAX_WBITS, zlib.decompressobj(-zlib.MAX_WBITS)
                return self.feed(piece, most)
            raise Permanent("bad_result", f"the body is not compressed as it says: {wrong}") from None


def decoder_for(encoding: str) -> Decoder:
    """The decoder of a ``Content-Encoding``; ``Permanent`` for one that was not asked for, or several at once."""
    match encoding.strip().lower():
        case "" | "identity":
            return Plain()
        case "gzip" | "x-gzip":
            return Inflate(zlib.MAX_WBITS | 16)
        case "deflate":
            return Inflate(zlib.MAX_WBITS)
        case other:
            raise Permanent("bad_result", f"the body is encoded as {shortened(other, 60)!r}, which was not asked for")


async def receive(pieces: AsyncIterator[bytes], encoding: str, limit: int, into: IO[bytes], *, cut: bool) -> bool:
    """Write a decoded body to a stream. Past ``limit`` bytes it is ``cut``, or fails with ``bad_result``; whether it was."""
    decoder, size = decoder_for(encoding), 0
    async for piece in pieces:
        plain = decoder.feed(piece, limit + 1 - size)
        size += len(plain)
        if size > limit:
            if cut:
                into.write(plain[: limit - size])
                return True
            raise Permanent("bad_result", f"the body has more than {limit:,} bytes; allow more with `max_size`")
        into.write(plain)
    return False


def text_of(content: bytes, content_type: str, charset: str | None) -> str:
    """The body as text; ``Permanent`` (``bad_result``) when it is none."""
    try:
        return content.decode(charset or "utf-8")
    except (ValueError, LookupError):
        if content_type.startswith("text/"):
            return content.decode("latin-1")
    raise Permanent("bad_result", f"the body ({content_type or 'no content type'}) is no text; keep it with `save_as`")


def json_of(text: str, content_type: str) -> Json:
    """The JSON value where the body says that it is JSON and it is; else None."""
    main = content_type.partition(";")[0].strip().lower()
    if main != "application/json" and not main.endswith("+json"):
        return None
    try:
        return json.loads(text, parse_constant=refuse_constant)
    except (ValueError, RecursionError):
        return None
