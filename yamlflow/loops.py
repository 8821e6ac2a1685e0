"""The children of ``for_each`` and ``matrix``: items and combinations to keys and scopes. Pure."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping, Sequence

from .errors import Permanent, shortened
from .outcome import Json
from .spec import FanOut

#: Children that one loop may have.
MOST_CHILDREN = 1_000_000
Child = tuple[str | None, dict[str, Json]]


def fan_out(loop: FanOut, items: Json, key_of: Callable[[dict[str, Json]], Json] | None) -> tuple[Child, ...]:
    """One child per item. ``Permanent`` (``bad_input``, ``limit_exceeded``) when the items cannot be that."""
    if isinstance(items, Mapping):
        entries: Sequence[Json] = [{"key": key, "value": value} for key, value in items.items()]
    elif isinstance(items, list):
        entries = items
    else:
        raise Permanent("bad_input", f"for_each takes a list or a mapping; this is {shortened(json.dumps(items), 80)}")
    refuse_too_many(len(entries))
    children: list[Child] = []
    for index, item in enumerate(entries):
        scope = {loop.name: item, "index": index}
        key = key_text(key_of(scope)) if key_of else item["key"] if isinstance(items, Mapping) else None
        children.append((key, scope))
    refuse_doubles([key for key, _ in children])
    return tuple(children)


def combinations(axes: Mapping[str, Json], include: Json, exclude: Json) -> tuple[Child, ...]:
    """One child per combination of the axes' values, without those excluded, then those included."""
    for name, values in axes.items():
        if not isinstance(values, list):
            raise Permanent("bad_input", f"matrix.{name} takes a list; this is {shortened(json.dumps(values), 80)}")
    total = 1
    for values in axes.values():
        total *= len(values)
    refuse_too_many(total)
    rows = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())] if axes else []
    rows = [row for row in rows if not any(fits(row, one) for one in exclude or ())]
    rows += [dict(one) for one in include or () if not any(same(dict(one), row) for row in rows)]
    keys = [",".join(map(part_text, row.values())) for row in rows]
    refuse_doubles(keys)
    return tuple(
        (key, {"matrix": row, "index": index}) for index, (key, row) in enumerate(zip(keys, rows, strict=True))
    )


def fits(row: Mapping[str, Json], pattern: Mapping[str, Json]) -> bool:
    """Whether a combination has all the values that a pattern names."""
    return all(name in row and same(row[name], value) for name, value in pattern.items())


def same(one: Json, other: Json) -> bool:
    """Whether two JSON values are the same; to Python 1 and true are."""
    return one == other and json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def part_text(value: Json) -> str:
    """One value in a combination's key; what could be taken for two, or for none, is quoted."""
    plain = isinstance(value, str) and value and "," not in value and '"' not in value
    return str(value) if plain else json.dumps(value, ensure_ascii=False)


def key_text(value: Json) -> str:
    """A key as it stands in a path, before it is encoded."""
    text = value if isinstance(value, str) else json.dumps(value)
    if not text or len(text) > 500:
        raise Permanent("bad_input", f"a key has 1 to 500 characters; this one has {len(text)}")
    return text


def refuse_too_many(count: int) -> None:
    """A fan-out is bounded, never silently."""
    if count > MOST_CHILDREN:
        raise Permanent("limit_exceeded", f"a loop may have {MOST_CHILDREN:,} children; this one would have {count:,}")


def refuse_doubles(keys: Sequence[str | None]) -> None:
    """Two children with one key would be one step."""
    seen: set[str] = set()
    for key in keys:
        if key is not None and key in seen:
            raise Permanent("bad_input", f'two items have the key "{shortened(key, 100)}"; keys must differ')
        if key is not None:
            seen.add(key)
