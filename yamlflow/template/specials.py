"""What documents make that is no data: macros, ``loop``, namespaces and their like. It can be asked, not handed on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..outcome import Json
from .fault import Refused
from .frame import Evaluate, Frame
from .limits import Work
from .lists import items_of
from .values import Missing, Special

#: What a document may call without having made it.
MAKERS = frozenset({"namespace", "joiner", "cycler"})
#: Steps that a call takes the time of.
CALL = 40
NO_CALLER = Missing("there is no caller: the macro was not called with {% call %}")


class Namespace(Special):
    """``{% set ns = namespace(n=0) %}``: names that an inner loop can set for the outside."""

    def __init__(self, names: dict[str, Json]) -> None:
        self.names = names

    def get(self, name: str) -> Json:
        return self.names[name] if name in self.names else super().get(name)


class Joiner(Special):
    """``joiner(", ")``: nothing at its first call, the separator from then on."""

    def __init__(self, separator: Json = ", ") -> None:
        self.separator = separator
        self.used = False

    def call(self, work: Work, method: str, args: list[Json], named: dict[str, Json]) -> Json:
        separator, self.used = self.separator if self.used else "", True
        return separator


class Cycler(Special):
    """``cycler("odd", "even")``: one after the other, for ever."""

    def __init__(self, *items: Json) -> None:
        if not items:
            raise Refused("cycler needs at least one value")
        self.items = items
        self.place = 0

    def get(self, name: str) -> Json:
        return self.items[self.place] if name == "current" else super().get(name)

    def call(self, work: Work, method: str, args: list[Json], named: dict[str, Json]) -> Json:
        if method == "reset":
            self.place = 0
            return None
        if method != "next":
            return super().call(work, method, args, named)
        item = self.items[self.place]
        self.place = (self.place + 1) % len(self.items)
        return item


class Loop(Special):
    """``loop``: where a ``for`` stands."""

    def __init__(self, items: list[Json], depth: int, again: Callable[[list[Json], int], str] | None) -> None:
        self.items = items
        self.depth = depth
        self.place = 0
        self.again = again
        self.seen: Any = None

    def get(self, name: str) -> Json:
        place, size = self.place, len(self.items)
        numbers: Mapping[str, Json] = {
            "index": place + 1,
            "index0": place,
            "revindex": size - place,
            "revindex0": size - place - 1,
            "first": place == 0,
            "last": place == size - 1,
            "length": size,
            "depth": self.depth,
            "depth0": self.depth - 1,
        }
        if name in numbers:
            return numbers[name]
        beside = {"previtem": place - 1, "nextitem": place + 1}.get(name)
        if beside is None:
            return super().get(name)
        return self.items[beside] if 0 <= beside < size else Missing(f"there is no {name} here")

    def call(self, work: Work, method: str, args: list[Json], named: dict[str, Json]) -> Json:
        if method == "cycle" and args:
            return args[self.place % len(args)]
        if method == "changed":
            before, self.seen = self.seen, args
            return before != args
        if method == "" and len(args) == 1:
            if self.again is None:
                raise Refused("only a loop that is marked recursive can be called")
            with Deeper(work):
                return self.again(items_of(work, args[0]), self.depth + 1)
        return super().call(work, method, args, named)


class Macro(Special):
    """``{% macro %}``, or the body of ``{% call %}``."""

    def __init__(
        self, name: str, names: list[str], defaults: list[Evaluate], body: Callable[[Frame], str], frame: Frame
    ) -> None:
        self.name = name
        self.names = names
        self.defaults = defaults
        self.body = body
        self.frame = frame

    def call(self, work: Work, method: str, args: list[Json], named: dict[str, Json]) -> Json:
        if method:
            return super().call(work, method, args, named)
        frame = self.frame.child()
        frame.local["caller"] = named.pop("caller", NO_CALLER)
        frame.local["varargs"] = args[len(self.names) :]
        frame.local["kwargs"] = {name: value for name, value in named.items() if name not in self.names}
        with Deeper(work):
            self._bind(frame, args, named)
            return self.body(frame)

    def _bind(self, frame: Frame, args: list[Json], named: dict[str, Json]) -> None:
        optional = len(self.names) - len(self.defaults)
        for place, name in enumerate(self.names):
            if place < len(args):
                frame.local[name] = args[place]
            elif name in named:
                frame.local[name] = named[name]
            elif place >= optional:
                frame.local[name] = self.defaults[place - optional](frame)
            else:
                raise Refused(f"the macro {self.name} needs a value for {name}")


class Deeper:
    """Counts calls within calls."""

    def __init__(self, work: Work) -> None:
        self.work = work

    def __enter__(self) -> None:
        self.work.spend(CALL)
        self.work.calls -= 1
        if self.work.calls < 0:
            raise Refused(f"macros call one another more than {self.work.limits.calls} deep")

    def __exit__(self, *_: object) -> None:
        self.work.calls += 1


class Maker(Special):
    """One of ``MAKERS``."""

    def __init__(self, name: str, make: Callable[..., Special]) -> None:
        self.name = name
        self.make = make

    def call(self, work: Work, method: str, args: list[Json], named: dict[str, Json]) -> Json:
        if self.make is Namespace:
            first = args[0] if args else {}
            if len(args) > 1 or not isinstance(first, dict):
                raise Refused("namespace takes names with their values, or one mapping")
            return Namespace({**first, **named})
        if named:
            raise Refused(f"{self.name} takes no named values")
        return self.make(*args)
