"""What JSON can say, judged once. Pure: a Python value becomes a plain JSON value, or what is wrong is named in place.

Plain means: ``None``, ``bool``, ``int``, finite ``float``, ``str`` without lone surrogates, ``list``, ``dict`` with
text keys; at most ``DEPTH`` levels. The answer shares nothing with the value it was made from.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any

from .errors import PLACE, Pointer, dotted, shortened
from .outcome import Json

#: Gives a mapping for a value of a type that somebody registered, None for any other.
Tagger = Callable[[Any], Mapping[str, Any] | None]

#: Levels of lists and mappings within one value.
DEPTH = 100
#: Decimal digits of a whole number; Python itself reads no more.
DIGITS = 4300
TOO_LONG = 10**DIGITS


class NotJson(ValueError):
    """A value that JSON cannot say."""

    def __init__(self, pointer: Pointer, message: str) -> None:
        self.pointer = pointer
        self.message = message
        place = shortened(dotted(pointer), PLACE)
        super().__init__(f"{place}: {message}" if place else message)


def from_text(text: str) -> Json:
    """JSON text as a value, read strictly: no key twice, no number that JSON has not, at most ``DEPTH`` levels.

    ``json.JSONDecodeError`` where it is broken, ``NotJson`` where it says what cannot be kept.
    """
    try:
        read: Json = json.loads(
            text, object_pairs_hook=_once, parse_constant=_constant, parse_int=_digits, parse_float=_fraction
        )
        deep = not shallow(read, None)
    except RecursionError:
        deep = True
    if deep:
        raise NotJson((), f"more than {DEPTH} levels deep")
    return read


def _once(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    """A mapping; JSON itself lets the last of two keys count."""
    made = dict(pairs)
    if len(made) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise NotJson((), f"the key {json.dumps(twice)[:100]} is here twice")
    return made


def _constant(word: str) -> Json:
    raise NotJson((), f"{word} is no JSON number")


def _digits(text: str) -> int:
    if len(text.lstrip("-")) > DIGITS:
        raise NotJson((), f"a whole number of more than {DIGITS} digits")
    return int(text)


def _fraction(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise NotJson((), f"{text if len(text) <= 40 else text[:40] + '…'} is too large a number")
    return value


def to_text(value: Json) -> str:
    """A plain value as compact JSON text."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def plain(value: Any, *, limit: int | None = None, tagger: Tagger | None = None) -> Json:
    """The value as plain JSON.

    Tuples become lists; dataclasses, enums and pydantic models their content; dates and times ISO 8601 text; decimals,
    UUIDs and paths text; numbers of numpy plain ones. ``tagger`` is asked first for whatever is no JSON value itself.
    Raises ``NotJson`` with the place, also when the JSON text is longer than ``limit`` bytes.
    """
    if value is None or value is True or value is False:
        return value
    # The quick way would take a registered subclass of a plain type for the plain type.
    copy = _UNSURE if tagger is not None else _quick(value, limit)
    return _careful(value, limit, tagger) if copy is _UNSURE else copy


#: The quick way could not tell.
_UNSURE = object()


def _quick(value: Any, limit: int | None) -> Any:
    """Through JSON text and back, in C: right when nothing changed on the way."""
    if not shallow(value, limit):
        return _UNSURE
    try:
        text = to_text(value)
        size = len(text.encode())
        copy = json.loads(text)
    except (TypeError, ValueError, RecursionError):
        return _UNSURE
    if limit is not None and size > limit:
        raise NotJson((), too_large(limit))
    return copy if copy == value else _UNSURE


def shallow(value: Any, limit: int | None) -> bool:
    """Whether a value has at most ``DEPTH`` levels; raises ``NotJson`` once it is surely larger than ``limit``."""
    level, size = [value], 0
    for _ in range(DEPTH):
        size += sum(len(each) if type(each) in SIZED else 1 for each in level)
        if limit is not None and size > limit:
            raise NotJson((), too_large(limit))
        level = [
            item for each in level if type(each) in HOLDERS for item in (each.values() if type(each) is dict else each)
        ]
        if not level:
            return True
    return not any(type(each) in HOLDERS for each in level)


#: What has at least a byte of JSON for each of its parts; what holds other values.
SIZED = frozenset({str, list, dict, tuple})
HOLDERS = frozenset({list, dict, tuple})


def _careful(value: Any, limit: int | None, tagger: Tagger | None) -> Json:
    """Node by node, converting what can be and naming what cannot."""
    budget = [limit or 100_000_000] * 2
    copy = _Copy(budget, tagger or _untagged).node(value)
    size = len(to_text(copy).encode())
    if limit is not None and size > limit:
        raise NotJson((), too_large(limit))
    return copy


def _untagged(value: Any) -> None:
    return None


class _Copy:
    """One careful copy: what is left of the limit (and the limit itself), who knows further types, and where it is."""

    def __init__(self, budget: list[int], tagger: Tagger) -> None:
        self._budget = budget
        self._tagger = tagger
        self._path: list[str | int] = []
        #: The values around the one that is copied, by identity.
        self._above: set[int] = set()

    def node(self, value: Any) -> Json:
        if value is None or isinstance(value, bool):
            return value
        self._budget[0] -= len(value) if isinstance(value, str) else 1
        if self._budget[0] < 0:
            raise NotJson((), too_large(self._budget[1]))
        if type(value) not in PLAIN_TYPES and (tagged := self._tagger(value)) is not None:
            return self._within(value, tagged)
        if isinstance(value, Enum):
            return self.node(value.value)
        if isinstance(value, str):
            return _text(str.__str__(value), self._path)
        if isinstance(value, int):
            return _whole(int(value), self._path)
        if isinstance(value, float):
            return _finite(float(value), self._path)
        return self._within(value, value)

    def _within(self, value: Any, form: Any) -> Json:
        """The copy of what holds other values; ``form`` stands for it."""
        if id(value) in self._above:
            raise NotJson(tuple(self._path), "the value holds itself")
        if len(self._path) >= DEPTH:
            raise NotJson(tuple(self._path), f"more than {DEPTH} levels deep")
        self._above.add(id(value))
        copy = self._container(form)
        self._above.discard(id(value))
        return copy

    def _at(self, key: str | int, value: Any) -> Json:
        self._path.append(key)
        copy = self.node(value)
        self._path.pop()
        return copy

    def _container(self, value: Any) -> Json:
        if isinstance(value, list | tuple):
            return [self._at(index, item) for index, item in enumerate(value)]
        if is_dataclass(value) and not isinstance(value, type):
            value = {field.name: getattr(value, field.name) for field in fields(value)}
        elif callable(dump := getattr(value, "model_dump", None)) and not isinstance(value, type):
            value = dump(mode="json")
        if isinstance(value, Mapping):
            return {_key(key, self._path): self._at(str(key), item) for key, item in value.items()}
        said = _said(value)
        if said is not _UNSURE:
            return self.node(said)
        name = type(value).__name__
        raise NotJson(tuple(self._path), f"{_article(name)} is no JSON value{_REMEDIES.get(name, _REGISTER)}")


#: What JSON says itself: nobody's serializer is asked for it.
PLAIN_TYPES = frozenset({str, int, float, list, tuple, dict})
#: Further types that one text says without loss, by module and name: nothing is imported for them.
TEXTS: Mapping[tuple[str, str], Callable[[Any], Json]] = {
    ("datetime", "datetime"): lambda value: value.isoformat(),
    ("datetime", "date"): lambda value: value.isoformat(),
    ("datetime", "time"): lambda value: value.isoformat(),
    ("decimal", "Decimal"): str,
    ("uuid", "UUID"): str,
    ("pathlib", "PurePath"): str,
    ("numpy", "generic"): lambda value: value.item(),
    ("numpy", "ndarray"): lambda value: value.tolist(),
}


def _said(value: Any) -> Any:
    """The plain form of a type that has one, subclasses included."""
    for base in type(value).__mro__:
        form = TEXTS.get((base.__module__.partition(".")[0], base.__name__))
        if form is not None:
            said = form(value)
            return _UNSURE if type(said) is type(value) else said
    return _UNSURE


_REMEDIES = {
    "set": "; return a sorted list",
    "frozenset": "; return a sorted list",
    "bytes": "; decode it to text, or keep it with step.artifact(…)",
    "bytearray": "; decode it to text, or keep it with step.artifact(…)",
    "timedelta": "; return its total_seconds()",
    "generator": "; return a list of it",
    "coroutine": "; it was not awaited",
}
_REGISTER = "; return what is in it, or register a Serializer for the type"


def _article(name: str) -> str:
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"


def _key(key: Any, path: list[str | int]) -> str:
    if isinstance(key, str):
        return str(_text(str.__str__(key), path))
    raise NotJson(
        tuple(path), f"the key {shortened(repr(key), 100)} is {_article(type(key).__name__)}; JSON keys are text"
    )


def _text(value: str, path: list[str | int]) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise NotJson(tuple(path), "the text holds half a surrogate pair, which UTF-8 cannot say") from None
    return value


def _whole(value: int, path: list[str | int]) -> int:
    if abs(value) >= TOO_LONG:
        raise NotJson(tuple(path), f"a whole number of more than {DIGITS} digits")
    return value


def _finite(value: float, path: list[str | int]) -> float:
    if not math.isfinite(value):
        raise NotJson(tuple(path), f"{value} is no JSON number")
    return value


def too_large(limit: int) -> str:
    """The sentence for a value over its limit, in bytes."""
    return f"more than the {limit:,} bytes of JSON that are kept; put it into an artifact and return its name"
