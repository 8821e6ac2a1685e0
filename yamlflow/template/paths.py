"""Expressions that only read: a name of the scope, then keys and positions. They need no grammar and no syntax tree.

Most expressions of a package are of this kind; others hold them as their leaves, so both mean the same by a dot.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import Pointer, did_you_mean
from ..outcome import Json
from .fault import Refused
from .values import PLAIN, Missing, joined, not_plain, read

#: Functions whose value is drawn anew: the scope supplies them as callables.
DRAWN = frozenset({"now", "uuid", "random"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Reference:
    """A place in an expression that reads a name of the scope."""

    #: The name and the keys after it as far as they are written out: ``("steps", "fetch", "result", "body")``.
    names: tuple[str, ...]
    #: Characters into the text where the name stands.
    offset: int = 0
    #: The text's place inside the compiled value.
    pointer: Pointer = ()
    #: The expression that holds it.
    text: str = ""
    #: It may be missing: ``default`` or ``is defined`` asks for it.
    optional: bool = False


class Path:
    """A name and the keys and positions after it: ``steps.fetch.result[0]``. Needs no syntax tree."""

    __slots__ = ("keys", "name", "offset")

    def __init__(self, name: str, keys: tuple[str | int, ...] = (), offset: int = 0) -> None:
        self.name = name
        self.keys = keys
        self.offset = offset

    def __call__(self, scope: Mapping[str, Json]) -> Json:
        """Its value; raises ``Refused`` when it is not there or no plain data."""
        value = self.look(scope)
        if type(value) in PLAIN:
            return value
        if isinstance(value, Missing):
            raise value.refused(self.offset)
        return _data(value, self.offset)

    def look(self, scope: Mapping[str, Json]) -> Json:
        """Its value, or ``Missing`` when the last key is not there; raises ``Refused`` when an earlier one is not."""
        try:
            value = scope[self.name]
        except KeyError:
            missing = _no_name(self.name, scope)
            if self.keys:
                raise missing.refused(self.offset) from None
            return missing
        return self.follow(value) if self.keys else value

    def follow(self, value: Json) -> Json:
        """The same from the name's value on."""
        for place, key in enumerate(self.keys):
            if type(value) is dict:
                try:
                    value = value[key]
                    continue
                except KeyError:
                    pass
            value = read(value, key, lambda place=place: self.text(place))  # type: ignore[misc]
            if isinstance(value, Missing) and place < len(self.keys) - 1:
                raise value.refused(self.offset)
        return value

    def text(self, place: int) -> str:
        """The path as an author would write it, up to so many keys."""
        text = self.name
        for key in self.keys[:place]:
            text = joined(text, key)
        return text

    def reference(self, optional: bool = False) -> Reference:
        """What the path reads."""
        names = [self.name]
        for key in self.keys:
            if not isinstance(key, str):
                break
            names.append(key)
        return Reference(names=tuple(names), offset=self.offset, optional=optional)


def _data(value: Json, offset: int | None = None) -> Json:
    """A scope's value as plain data: a mapping of another type is copied, anything else refused."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, tuple | list):
        return list(value)
    refused = not_plain(value)
    raise Refused(refused.message, refused.remedy, offset)


def _no_name(name: str, scope: Mapping[str, Json]) -> Missing:
    if name in DRAWN or name == "range":
        return Missing(f"{name} is a function", f"Write {name}().")
    known = sorted(key for key in scope if key not in DRAWN)
    listed = f"In scope are {', '.join(known)}." if known else ""
    return Missing(f'there is no name "{name[:60]}"', did_you_mean(name[:60], known) or listed)
