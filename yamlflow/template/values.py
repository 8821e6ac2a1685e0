"""Plain data: what expressions read, make and become as text. A key is a key; no Python attribute is ever read here.

Values are text, whole and other numbers, booleans, null, lists and mappings with text keys, and nothing else.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import ClassVar, Final

from ..errors import did_you_mean
from ..outcome import Json
from .fault import Refused, shorten
from .limits import Work, width

SCALARS: Final = frozenset({str, int, float, bool, type(None)})
PLAIN: Final = SCALARS | {list, dict}
#: A value's kind in a sentence.
KINDS: Mapping[type, str] = {
    str: "a text",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    type(None): "null",
    list: "a list",
    dict: "a mapping",
}
#: How many keys a message lists.
LISTED = 8
#: What to write where other languages call a method, by the method's name; ``{}`` stands for the value.
METHODS: Mapping[str, str] = {
    "items": "{} | items",
    "keys": "{} | list",
    "values": "{} | items | map('last')",
    "get": "{}['key'] | default(…)",
    "strip": "{} | trim",
    "split": "{} | split(',')",
    "splitlines": "{} | split('\\n')",
    "join": "list | join({})",
    "startswith": "{}[:3] == 'abc'",
    "endswith": "{}[-3:] == 'abc'",
    "count": "{} | length",
    "append": "{} + [item]",
    "isoformat": "{}",
    "hexdigest": "{} | sha256",
} | {
    name: f"{{}} | {name}"
    for name in ("upper", "lower", "title", "capitalize", "replace", "format", "center", "sort", "reverse", "length")
}


class Group(list[Json]):
    """A group of ``groupby``: the list ``[grouper, list]`` whose items can be read by these names as well."""

    __slots__ = ()
    NAMES: ClassVar = {"grouper": 0, "list": 1}


class Missing:
    """What is not there: an error as soon as anything but ``default`` and ``is defined`` touches it."""

    __slots__ = ("message", "remedy")

    def __init__(self, message: str, remedy: str = "") -> None:
        self.message = message
        self.remedy = remedy

    def refused(self, offset: int | None = None) -> Refused:
        """The error that reading it is."""
        return Refused(self.message, self.remedy, offset)


class Special:
    """Something a document made that is no data: a macro, ``loop``, a namespace. It can be asked, not handed on."""

    def get(self, name: str) -> Json:
        """What a dot reads; ``Missing`` when there is no such name."""
        return Missing(f"{type(self).__name__.lower()} has no {name[:60]}")

    def call(self, work: Work, method: str, args: list[Json], named: dict[str, Json]) -> Json:
        """What () gives, of itself (``method`` is "") or of one of its names."""
        raise Refused(f"{type(self).__name__.lower()} cannot be called so")


def kind(value: object) -> str:
    """The kind of a value, with its article."""
    known = KINDS.get(type(value))
    if known is None:
        known = "a mapping" if isinstance(value, Mapping) else "a list" if isinstance(value, list) else "not plain data"
    return known


def read(value: Json, key: Json, owner: Callable[[], str]) -> Json:
    """The item of a value at a key or position, or ``Missing``; ``owner`` names the value for people."""
    if isinstance(key, str):
        if type(value) is dict or isinstance(value, Mapping):
            return value[key] if key in value else _no_key(value, key, owner())
        if isinstance(value, Special):
            return value.get(key)
        if type(value) is Group and key in Group.NAMES:
            return value[Group.NAMES[key]]
        return _no_keys(value, key, owner())
    if isinstance(key, int) and isinstance(value, list | str):
        return value[key] if -len(value) <= key < len(value) else _no_item(value, key, owner())
    if isinstance(key, int | float | None):
        return Missing(f"{owner()}[{shorten(to_text(key, None))}] is not there: {owner()} is {kind(value)}")
    raise Refused(f"{kind(key)} cannot be a key", offset=None)


def _no_key(value: Mapping[str, Json], key: str, owner: str) -> Missing:
    names = [name for name in value if isinstance(name, str)]
    listed = ", ".join(names[:LISTED]) + (", …" if len(names) > LISTED else "")
    has = f"has {listed}" if listed else "is empty"
    remedy = did_you_mean(key, names[:200]) if len(key) <= 100 else ""
    return Missing(f"{joined(owner, key)} is not there: {owner} {has}", remedy or _instead(owner, key))


def _no_keys(value: Json, key: str, owner: str) -> Missing:
    remedy = _instead(owner, key)
    if isinstance(value, list) and not remedy:
        remedy = f"Write {owner}[0]{joined('', key)} for one item, or {owner} | map(attribute={key!r}) for all."
    return Missing(f"{joined(owner, key)} is not there: {owner} is {kind(value)}", remedy)


def _instead(owner: str, key: str) -> str:
    known = METHODS.get(key)
    return f"A dot reads a key, not a method: write {known.format(owner)}." if known else ""


def _no_item(value: list[Json] | str, key: int, owner: str) -> Missing:
    unit = "characters" if isinstance(value, str) else "items"
    return Missing(f"{joined(owner, key)} is not there: {owner} has {len(value)} {unit}")


def joined(owner: str, key: str | int) -> str:
    """A path and one more part as an author would write them."""
    if isinstance(key, int):
        return f"{owner}[{shorten(str(key))}]"
    return f"{owner}.{key}" if len(key) <= 60 and key.isidentifier() else f"{owner}[{key[:60]!r}]"


def weigh(value: Json, work: Work) -> int:
    """Characters of text anywhere in a value, keys too; takes the steps of walking it and bounds its nesting."""
    if isinstance(value, str):
        work.read(len(value))
        return len(value)
    level = [value] if isinstance(value, list | dict) else []
    characters = 0
    for _ in range(work.limits.nesting):
        if not level:
            break
        below: list[Json] = []
        for container in level:
            work.spend(1 + len(container))
            if isinstance(container, dict):
                characters += sum(map(len, container))
            for item in container.values() if isinstance(container, dict) else container:
                if isinstance(item, str):
                    characters += len(item)
                elif isinstance(item, list | dict):
                    below.append(item)
        level = below
    if level:
        raise Refused(f"the value is nested more than {work.limits.nesting} deep")
    work.read(characters)
    return characters


def to_text(value: Json, work: Work | None) -> str:
    """A value within a longer text: text as it is, null as nothing, the rest as JSON."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if value is True or value is False:
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float) and math.isfinite(value):
        return repr(value)
    if work is None or not isinstance(value, list | dict):
        raise not_plain(value)
    return to_json(value, work)


def to_json(value: Json, work: Work, indent: int | None = None, sort_keys: bool = False) -> str:
    """A value as JSON text, compact unless indented, letters as they are."""
    work.make_text(weigh(value, work))
    separators = (",", ":") if indent is None else (",", ": ")
    text = json.dumps(
        value, ensure_ascii=False, separators=separators, indent=indent, sort_keys=sort_keys, allow_nan=False
    )
    work.make_text(len(text), width(text))
    return text if _encodable(text) else json.dumps(value, separators=separators, indent=indent, sort_keys=sort_keys)


def _encodable(text: str) -> bool:
    """False for a text with half of a surrogate pair, which only the ``\\u`` notation can carry."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def not_plain(value: object) -> Refused:
    """The error for a value that is no plain data."""
    if isinstance(value, float):
        return Refused("a number is infinite or not a number")
    name = getattr(value, "__name__", "")
    if callable(value) and isinstance(name, str):
        return Refused("a function is not a value", "Call it, with () after its name.")
    return Refused(f"{type(value).__name__} is not plain data (text, number, boolean, null, list or mapping)")


def plain(value: object, work: Work) -> Json:
    """The value itself when it is plain data throughout; else raises ``Refused``."""
    pending = [value]
    while pending:
        item = pending.pop()
        work.spend(1)
        if type(item) is list:
            pending.extend(item)
        elif type(item) is dict:
            if not all(type(key) is str for key in item):
                raise Refused("a mapping has a key that is not a text")
            pending.extend(item.values())
        elif type(item) is int and item.bit_length() > work.limits.bits:
            raise Refused(f"a number has more than {work.limits.bits} bits")
        elif type(item) not in SCALARS or (type(item) is float and not math.isfinite(item)):
            raise not_plain(item)
    weigh(value, work)
    return value
