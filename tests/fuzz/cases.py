"""A case: the JSON value that a target reads. Random change of one, and making one smaller that shows a fault."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

Case = Any

#: Pieces that have troubled readers before.
STRANGE = (
    "", " ", "\t", "\n", "\r\n", "\0", "\x1b[31m", "\x7f", "\x85", "\u00a0", "\u2028", "\u200b", "\u202e", "\ufeff",
    "\ud800", "\udfff", "\U0001f600", "e\u0301", "ß", "İ", "ǆ", "①", "٣", "x" * 300, "ab" * 3000, "-0", "0x1f",
    "1e999", "-1e-999", "9" * 400, "9" * 5000, "NaN", "Infinity", "null", "true", "NO", "~", "<<", "*a", "&a", "!!x",
    "!", "%", "@", "`", "---", "...", "../../etc/passwd", "/etc/passwd", "CON", ".", "..", "a/b", "C:\\x", "$HOME",
    "$(id)", "`id`", "'; drop table steps; --", "${{ inputs }}", "${{ 1/0 }}", "${{", "}}", "{{ 7*7 }}",
    "{% for x in y %}", "{0.__class__}", "%s%s%n", "__class__", "2024-13-45", "12:30", "[" * 200, "{" * 200, "(" * 60,
    '{"a":' * 200, "\\", "\\u", '"', "'", "#", ": ", "- ", "|", ">", "a: b",
)  # fmt: skip
NUMBERS = (
    0, 1, -1, 2, 7, 255, 256, -256, 2**31, 2**53 + 1, 2**63 - 1, 2**63, -(2**63) - 1, 2**64, 10**30, 10**400,
    -(10**4290), 0.5, -0.0, 1e308, -1e308, 5e-324, 1.7976931348623157e308, 0.1, 1e16,
)  # fmt: skip


def to_text(case: Case) -> str:
    """A case as a line of JSON, halves of characters and all."""
    return json.dumps(case, ensure_ascii=True)


def from_text(text: str) -> Case:
    """A case from its line."""
    return json.loads(text)


def bytes_of(text: str) -> bytes:
    """Bytes that a case holds as text, a character each; wider characters are written in UTF-8."""
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


# -- random values -------------------------------------------------------------------------------------------------


def text(rnd: Random, longest: int = 6) -> str:
    """Letters and strange pieces."""
    return "".join(piece(rnd) for _ in range(rnd.randint(0, longest)))


def piece(rnd: Random) -> str:
    """A few characters."""
    kind = rnd.random()
    if kind < 0.5:
        return rnd.choice("abcxyzABC019 ._-:,/")
    return rnd.choice(STRANGE) if kind < 0.9 else chr(rnd.randrange(0x250))


def scalar(rnd: Random) -> Case:
    """Any JSON value without parts."""
    kind = rnd.randrange(6)
    if kind == 0:
        return rnd.choice([None, True, False])
    return rnd.choice(NUMBERS) if kind < 3 else text(rnd)


def value(rnd: Random, depth: int = 3) -> Case:
    """Any JSON value."""
    kind = rnd.random()
    if depth <= 0 or kind < 0.5:
        return scalar(rnd)
    count = rnd.randint(0, 4)
    if kind < 0.75:
        return [value(rnd, depth - 1) for _ in range(count)]
    if kind < 0.97:
        return {rnd.choice(["a", "b", "k", "$type", "name", text(rnd, 2)]): value(rnd, depth - 1) for _ in range(count)}
    return deep(rnd.choice([30, 99, 100, 101, 150, 900]), rnd.random() < 0.5)


def deep(levels: int, lists: bool) -> Case:
    """Lists within lists, or mappings within mappings."""
    inner: Case = 1
    for _ in range(levels):
        inner = [inner] if lists else {"a": inner}
    return inner


# -- change --------------------------------------------------------------------------------------------------------


def mutated(rnd: Random, case: Case, other: Case = None) -> Case:
    """The case with a few parts changed; ``other`` lends parts of its own."""
    for _ in range(rnd.choice((1, 1, 1, 2, 3, 6))):
        paths = list(paths_of(case))
        path = rnd.choice(paths)
        case = replaced(case, path, _changed(rnd, at(case, path), other))
    return case


def _changed(rnd: Random, part: Case, other: Case) -> Case:
    if isinstance(part, str) and rnd.random() < 0.85:
        return changed_text(rnd, part, other if isinstance(other, str) else "")
    if isinstance(part, list) and part and rnd.random() < 0.7:
        place = rnd.randrange(len(part))
        extra = rnd.choice([[], [part[place]] * rnd.choice([2, 2, 40]), [value(rnd, 2)]])
        return part[:place] + extra + part[place + 1 :]
    if isinstance(part, dict) and part and rnd.random() < 0.7:
        key = rnd.choice(list(part))
        rest = {name: each for name, each in part.items() if name != key}
        return rest if rnd.random() < 0.4 else {**rest, changed_text(rnd, key, ""): part[key]}
    if other is not None and rnd.random() < 0.4:
        return at(other, rnd.choice(list(paths_of(other))))
    return value(rnd, 2)


def changed_text(rnd: Random, old: str, other: str) -> str:
    """A text cut, doubled, or with something strange put in."""
    start = rnd.randint(0, len(old))
    end = min(len(old), start + rnd.choice((0, 0, 1, 1, 4, 30)))
    kind = rnd.random()
    if kind < 0.15:
        inside = ""
    elif kind < 0.3:
        inside = old[start:end] * rnd.choice((2, 3, 50))
    elif kind < 0.45 and other:
        from_ = rnd.randint(0, len(other))
        inside = other[from_ : from_ + rnd.choice((5, 40, 200))]
    elif kind < 0.55:
        lines = old.split("\n")
        at_line = rnd.randrange(len(lines))
        line = lines.pop(at_line)
        lines.insert(rnd.randint(0, len(lines)), rnd.choice(["  ", "- ", ""]) + line)
        return "\n".join(lines)
    else:
        inside = piece(rnd)
    return old[:start] + inside + old[end:]


def alike(case: Case, base: Case) -> bool:
    """Whether two cases are of one type, with the same outer keys to values of the same types."""
    if type(case) is not type(base):
        return False
    if not isinstance(case, dict):
        return True
    return case.keys() == base.keys() and all(
        type(case[key]) is type(base[key]) or base[key] is None or not isinstance(base[key], str | list | dict)
        for key in case
    )


# -- parts ---------------------------------------------------------------------------------------------------------

Path = tuple[Any, ...]


def paths_of(case: Case, most: int = 400) -> Iterator[Path]:
    """Where the parts of a case are, its own place first."""
    pending: list[tuple[Path, Case]] = [((), case)]
    for path, part in pending:
        yield path
        if len(pending) < most and isinstance(part, dict | list):
            pairs = part.items() if isinstance(part, dict) else enumerate(part)
            pending += [((*path, key), each) for key, each in pairs]


def at(case: Case, path: Path) -> Case:
    """The part at a place."""
    for key in path:
        case = case[key]
    return case


def replaced(case: Case, path: Path, part: Case) -> Case:
    """A case with another part at a place; the original is not changed."""
    if not path:
        return part
    copy = case.copy()
    copy[path[0]] = replaced(case[path[0]], path[1:], part)
    return copy


# -- smaller -------------------------------------------------------------------------------------------------------


def smaller(case: Case, shows: Callable[[Case], bool], seconds: float = 20) -> Case:
    """A smaller case that shows the same, as far as the time allows."""
    until = time.monotonic() + seconds
    improved = True
    while improved and time.monotonic() < until:
        improved = False
        for candidate in _reductions(case):
            if time.monotonic() > until:
                break
            if shows(candidate):
                case, improved = candidate, True
                break
    return case


def _reductions(case: Case) -> Iterator[Case]:
    for path in paths_of(case):
        part = at(case, path)
        for less in _lesser(part):
            yield replaced(case, path, less)


def _lesser(part: Case) -> Iterator[Case]:
    if isinstance(part, str):
        size = len(part)
        while size:
            yield from (part[:start] + part[start + size :] for start in range(0, len(part), size))
            size //= 2
    elif isinstance(part, list):
        size = len(part)
        while size:
            yield from (part[:start] + part[start + size :] for start in range(0, len(part), size))
            size //= 2
        yield from part
    elif isinstance(part, dict):
        yield from ({name: each for name, each in part.items() if name != gone} for gone in part)
        yield from part.values()
    elif isinstance(part, int | float) and not isinstance(part, bool) and part not in (0, 1):
        yield from (0, 1)
