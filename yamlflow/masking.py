"""Secrets out of texts: every occurrence reads ``***``. Pure; knows values, not where they come from.

A secret is found as it is, within base64 (at any of the three places where it may begin, both alphabets, broken into
lines or not), in hexadecimal, and as JSON, URLs, XML, shells and Python write it; where occurrences overlap they are
masked as one. Of a secret of several lines every line of at least 8 characters is masked by itself too, as programs
print them one by one; shorter lines are ordinary words. A text that was cut has a ``…`` where it was: a piece of a
secret beside one, of at least 3 characters, is masked as well.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from .errors import UserError
from .outcome import Json

MASK = "***"
#: Shorter secrets are refused: half of every text would be masked.
SHORTEST = 4
#: Shorter lines of a secret of several lines are not masked by themselves.
SHORTEST_LINE = 8
#: Base64 of at least this length may be broken into lines.
BROKEN = 16
#: Stands where a text was cut.
CUT = "…"
#: A shorter piece of a secret beside a cut may stay.
SHORTEST_PIECE = 3

#: From and to behind, in a text.
Region = tuple[int, int]


class Masker:
    """Masks a set of secrets. Raises ``UserError`` for one that is too short to be told from ordinary text."""

    def __init__(self, values: Iterable[str]) -> None:
        exact: set[str] = set()
        broken: set[str] = set()
        for value in dict.fromkeys(values):
            for part in _parts(value):
                exact |= _escaped(part)
                encoded = _base64(part)
                broken |= {text for text in encoded if len(text) >= BROKEN}
                exact |= {text for text in encoded if len(text) < BROKEN}
        self._exact, self._broken = exact, broken
        self._finder = _Finder(exact, broken) if exact else None

    def mask(self, text: str) -> str:
        """The text with every occurrence as ``***``; the very same object when there is none."""
        if self._finder is None:
            return text
        masked = self._finder.replace(text)
        return _without_pieces(self._finder, masked) if CUT in masked else masked

    def contains(self, value: Json) -> bool:
        """Whether a secret occurs anywhere in a JSON value: in its texts, keys or numbers."""
        if self._finder is None:
            return False
        pending = [value]
        while pending:
            item = pending.pop()
            if isinstance(item, str):
                if self.mask(item) is not item:
                    return True
            elif isinstance(item, Mapping):
                pending.extend(item)
                pending.extend(item.values())
            elif isinstance(item, list | tuple):
                pending.extend(item)
            elif (
                isinstance(item, int | float) and not isinstance(item, bool) and self._finder.pattern.search(repr(item))
            ):
                return True
        return False

    def stream(self) -> StreamMasker:
        """For one stream of text in pieces."""
        return StreamMasker(self._finder)

    def sieve(self) -> Sieve:
        """For bytes in pieces that are only looked at."""
        return Sieve(*(list(map(_utf8, forms)) for forms in (self._exact, self._broken)))


class StreamMasker:
    """Masks a stream piece by piece, across the borders of pieces.

    What could be the beginning of a secret is held back until the next piece or ``flush`` shows whether it is one.
    """

    def __init__(self, finder: _Finder | None) -> None:
        self._finder = finder
        self._held = ""
        #: How many characters of what is held are part of an occurrence whose mask is out already.
        self._covered = 0

    def feed(self, chunk: str) -> str:
        """What is certain of the stream with this piece, masked."""
        if self._finder is None:
            return chunk
        buffer = self._held + chunk
        return self._pass(self._finder, buffer, self._finder.certain(buffer))

    def flush(self) -> str:
        """The rest, masked; empty when nothing is held. The stream begins anew after it."""
        if self._finder is None or not self._held:
            return ""
        return self._pass(self._finder, self._held, len(self._held))

    def _pass(self, finder: _Finder, buffer: str, cut: int) -> str:
        """What stands before ``cut``, masked; the rest is held."""
        out: list[str] = []
        place = covered = self._covered
        for start, end in finder.regions(buffer, covered):
            if start >= cut:
                break
            if start >= covered:
                out += (buffer[place:start], MASK)
            place = end
        if place < cut:
            out.append(buffer[place:cut])
        self._held = buffer[cut:]
        self._covered = max(0, place - cut)
        return "".join(out)


class Sieve:
    """Finds secrets in bytes that come in pieces, across the borders of pieces; it keeps no more than a secret's length."""

    def __init__(self, exact: Sequence[bytes], broken: Sequence[bytes]) -> None:
        self._forms = (exact, broken)
        self._keep = max(map(len, (*exact, *broken)), default=0)
        #: The ends of what came: as it is, and without line ends.
        self._ends = [b"", b""]

    def catches(self, piece: bytes) -> bool:
        """Whether a secret ends in this piece."""
        for at, (forms, new) in enumerate(zip(self._forms, (piece, piece.translate(None, b"\r\n")), strict=True)):
            seen = self._ends[at] + new
            if any(form in seen for form in forms):
                return True
            self._ends[at] = seen[-self._keep :]
        return False


class _Finder:
    """Finds the forms of secrets in texts; ``broken`` ones may have line ends anywhere within them."""

    def __init__(self, exact: Iterable[str], broken: Iterable[str]) -> None:
        self.exact, self.broken = sorted(exact), sorted(broken)
        sources = [(form, re.escape(form)) for form in self.exact]
        sources += [(form, "(?:\r?\n)?".join(map(re.escape, form))) for form in self.broken]
        self.pattern = re.compile(_alternatives(sources))
        self.longest = max([*map(len, self.exact), *(3 * len(form) for form in self.broken)])
        self.firsts = {form[0] for form in (*self.exact, *self.broken)}

    def replace(self, text: str) -> str:
        """The text with its occurrences masked."""
        out: list[str] = []
        place = 0
        for start, end in self.regions(text):
            out += (text[place:start], MASK)
            place = end
        return "".join((*out, text[place:])) if out else text

    def regions(self, text: str, covered: int = 0) -> Iterator[Region]:
        """Where the forms are, overlapping ones as one; the first ``covered`` characters count as one."""
        start, end, place = 0, covered, 0
        while (match := self.pattern.search(text, place)) is not None:
            if match.start() >= end:
                if end > start:
                    yield start, end
                start = match.start()
            end = max(end, match.end())
            place = match.start() + 1
        if end > start:
            yield start, end

    def certain(self, text: str) -> int:
        """How much of a text nothing that follows can make part of a form that begins in it."""
        for place in range(max(0, len(text) - self.longest + 1), len(text)):
            if text[place] in self.firsts and self._begins(text[place:]):
                return place
        return len(text)

    def ending(self, text: str) -> int:
        """How many characters at the beginning of a text are the end of a form whose beginning was cut off."""
        places = [place for place, char in enumerate(text[: self.longest]) if char not in "\r\n"]
        joined = "".join(text[place] for place in places)
        whole = max((_overlap(form, text) for form in self.exact), default=0)
        parted = max((_overlap(form, joined) for form in self.broken), default=0)
        return max(whole, places[parted - 1] + 1 if parted else 0)

    def _begins(self, rest: str) -> bool:
        """Whether a form longer than ``rest`` begins with it."""
        if any(form.startswith(rest) for form in self.exact if len(form) > len(rest)):
            return True
        joined = rest.replace("\r", "").replace("\n", "")
        return any(form.startswith(joined) for form in self.broken if len(form) > len(joined))


def _without_pieces(finder: _Finder, text: str) -> str:
    """A text with the pieces of secrets masked that stand before or behind a cut; the same object when there is none."""
    parts = text.split(CUT)
    for at, part in enumerate(parts):
        start = finder.ending(part) if at > 0 else 0
        rest = part[start:] if start >= SHORTEST_PIECE else part
        stop = finder.certain(rest) if at < len(parts) - 1 else len(rest)
        kept = rest[:stop] if len(rest) - stop >= SHORTEST_PIECE else rest
        parts[at] = (MASK if rest is not part else "") + kept + (MASK if kept is not rest else "")
    joined = CUT.join(parts)
    return text if joined == text else joined


def _overlap(form: str, text: str) -> int:
    """The length of the longest proper end of a form that a text begins with."""
    sizes = range(min(len(form) - 1, len(text)), 0, -1)
    return next((size for size in sizes if text.startswith(form[-size:])), 0)


def _parts(value: object) -> Iterator[str]:
    """A secret, what it is without white space around it, and its longer lines."""
    if not isinstance(value, str):
        raise UserError("A secret must be a text.")
    bare = value.strip()
    if len(bare) < SHORTEST:
        raise UserError(
            f"A secret has fewer than {SHORTEST} characters: masking it would garble every text. Use a longer one."
        )
    yield value
    yield bare
    lines = bare.splitlines()
    if len(lines) > 1:
        yield from (line.strip() for line in lines if len(line.strip()) >= SHORTEST_LINE)


def _escaped(value: str) -> set[str]:
    """A text as it is, and as others write it."""
    data = _utf8(value)
    shown = data.decode("utf-8", "replace")
    # In Python the kind of quotes, and so what is escaped, depends on what stands around it.
    spoken = {
        repr(value)[1:-1],
        ascii(value)[1:-1],
        repr("'\"" + value)[4:-1],
        repr(data)[2:-1],
        repr(b"'\"" + data)[5:-1],
    }
    forms = {value, shown, data.hex(), data.hex().upper()} | spoken
    return forms | _as_json(value) | _as_json(shown) | _as_url(data) | _as_markup(value) | _as_shell(value)


def _as_json(value: str) -> set[str]:
    """Also within JSON, with letters or their numbers, in small letters or capitals."""
    forms = set()
    for ascii_only in (True, False):
        inner = json.dumps(value, ensure_ascii=ascii_only)[1:-1]
        forms |= {inner, inner.replace("/", "\\/"), json.dumps(inner, ensure_ascii=ascii_only)[1:-1]}
        forms.add(re.sub(r"\\u[0-9a-f]{4}", lambda code: "\\u" + code[0][2:].upper(), inner))
    return forms


def _as_url(data: bytes) -> set[str]:
    from urllib.parse import quote, quote_plus

    forms = set()
    for url in (quote(data, safe=""), quote(data, safe="/"), quote_plus(data)):
        forms |= {url, re.sub("%[0-9A-F]{2}", lambda code: code[0].lower(), url)}
    return forms


def _as_markup(value: str) -> set[str]:
    plain = value.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    quoted = plain.replace('"', "&quot;")
    return {plain, quoted, quoted.replace("'", "&#x27;"), quoted.replace("'", "&#39;"), quoted.replace("'", "&apos;")}


def _as_shell(value: str) -> set[str]:
    """Within quotes of either kind."""
    double = re.sub(r'([\\"$`])', r"\\\1", value)
    forms = {value.replace("'", "'\"'\"'"), value.replace("'", "'\\''"), double}
    # As dash has it, which puts several into one pair of quotes, and no empty pair at either end.
    forms.add(re.sub("'+", lambda several: f"'\"{several[0]}\"'", value))
    forms |= {form.removesuffix("'") for form in forms if value.endswith("'")}
    return forms | {form.removeprefix("'") for form in forms if value.startswith("'")}


def _base64(value: str) -> set[str]:
    """The characters that a text's bytes alone decide, for the three places in a group of three where it may begin."""
    import base64

    data, forms = _utf8(value), set()
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + data).decode().rstrip("=")
        whole = (before + len(data)) * 8 // 6
        form = encoded[(0, 2, 3)[before] : whole]
        forms |= {form, form.translate(str.maketrans("+/", "-_"))}
    return forms


def _utf8(text: str) -> bytes:
    """The bytes of a text; those of the environment that were no UTF-8 as they were there."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def _alternatives(sources: list[tuple[str, str]]) -> str:
    """One pattern for all forms, told apart by their first characters, the longest of each first."""
    groups: dict[str, list[tuple[str, str]]] = {}
    for form, source in sorted(sources, key=lambda pair: len(pair[0]), reverse=True):
        groups.setdefault(form[0], []).append((form, source))
    return "|".join("(?:" + "|".join(source for _, source in group) + ")" for group in groups.values())
