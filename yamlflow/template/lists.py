"""Filters over lists and mappings, and the tests after ``is``. All are eager: a list comes out where Jinja's are lazy.

A dot in ``attribute=`` reads a key like a dot elsewhere: never a Python attribute.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ..outcome import Json
from .checks import LENIENT, TESTS
from .fault import Refused
from .limits import ITEM_BYTES, LIST_BYTES, Work
from .operators import add, join
from .values import Group, Missing, joined, kind, read, to_text, weigh

NOT_GIVEN = Missing("")
#: The longest text that names a part of an item, ``"a.b.c"``.
ATTRIBUTE = 500


def items_of(work: Work, value: Json) -> list[Json]:
    """The items of a list, the keys of a mapping, the characters of a text."""
    if isinstance(value, list):
        work.spend(len(value))
        return value
    if isinstance(value, str):
        work.make_items(len(value), 8 if value.isascii() else LIST_BYTES)
    elif isinstance(value, Mapping):
        work.make_items(len(value))
    else:
        raise Refused(f"{kind(value)} has no items")
    return list(value)


def attribute_of(attribute: Json, default: Json = NOT_GIVEN) -> Callable[[Json], Json]:
    """Reads ``"a.b"`` or a position from an item; gives ``Missing``, or the default, where it is not there."""
    if isinstance(attribute, bool) or not isinstance(attribute, str | int):
        raise Refused(f"attribute must be a text or a number, not {kind(attribute)}")
    if isinstance(attribute, str) and len(attribute) > ATTRIBUTE:
        raise Refused(f"attribute has more than {ATTRIBUTE} characters")
    parts: Sequence[str | int] = (
        [int(part) if part.isdecimal() and len(part) < 10 else part for part in attribute.split(".")]
        if isinstance(attribute, str)
        else [attribute]
    )

    def get(item: Json) -> Json:
        value, owner = item, "item"
        for part in parts:
            path = owner
            value = read(value, part, lambda path=path: path)  # type: ignore[misc]
            if isinstance(value, Missing):
                return value if default is NOT_GIVEN else default
            owner = joined(owner, part)
        return value

    return get


def _keys(work: Work, items: list[Json], attribute: Json, case_sensitive: Json) -> list[Json]:
    """What items are sorted and compared by: a part of them, in small letters unless ``case_sensitive``."""
    keys = items if attribute is None else [_there(_multi(attribute)(item)) for item in items]
    before = work.steps
    work.take(weigh(keys, work))
    work.spend((before - work.steps) * (len(keys).bit_length() // 4))
    return keys if case_sensitive else [_small(key) for key in keys]


def _multi(attribute: Json) -> Callable[[Json], Json]:
    """``"a,b"`` reads a list of both."""
    if isinstance(attribute, str) and "," in attribute and len(attribute) <= ATTRIBUTE:
        gets = [attribute_of(name) for name in attribute.split(",")]
        return lambda item: [_there(get(item)) for get in gets]
    return attribute_of(attribute)


def _small(key: Json) -> Json:
    if isinstance(key, str):
        return key.lower()
    return [_small(part) for part in key] if isinstance(key, list) else key


def _there(value: Json) -> Json:
    if isinstance(value, Missing):
        raise value.refused()
    return value


def _order(keys: list[Json], reverse: bool = False) -> list[int]:
    """The positions of keys in sorted order, equal ones as they were."""
    try:
        return sorted(range(len(keys)), key=keys.__getitem__, reverse=reverse)
    except TypeError:
        kinds = sorted({kind(key) for key in keys})
        raise Refused(f"{' and '.join(kinds)} cannot be brought into an order") from None


def listed(work: Work, value: Json) -> list[Json]:
    """A list of the items."""
    items = items_of(work, value)
    work.take(8 * len(items))
    return list(items)


def first(work: Work, value: Json) -> Json:
    """The first item."""
    items = items_of(work, value)
    return items[0] if items else Missing("first has no item to give: the list is empty")


def last(work: Work, value: Json) -> Json:
    """The last item."""
    items = items_of(work, value)
    return items[-1] if items else Missing("last has no item to give: the list is empty")


def length(work: Work, value: Json) -> int:
    """How many items, keys or characters."""
    if isinstance(value, str | list | Mapping):
        return len(value)
    raise Refused(f"{kind(value)} has no length")


def joins(work: Work, value: Json, d: Json = "", attribute: Json = None) -> str:
    """The items as one text, with ``d`` between them."""
    items = items_of(work, value)
    if attribute is not None:
        items = [_there(item) for item in map(attribute_of(attribute), items)]
    between = to_text(d, work)
    texts = [to_text(item, work) for item in items]
    length = sum(map(len, texts)) + len(between) * len(texts)
    work.make_text(length, 1 if all(map(str.isascii, texts)) and between.isascii() else 4)
    return between.join(texts)


def maps(work: Work, value: Json, *args: Json, **named: Json) -> list[Json]:
    """A filter's result for each item, or with ``attribute=`` a part of each (``default=`` where it is not there)."""
    items = items_of(work, value)
    work.make_items(len(items), ITEM_BYTES)
    if not args and "attribute" in named:
        if named.keys() - {"attribute", "default"}:
            raise Refused("map with attribute= takes nothing more but default=")
        get = attribute_of(named["attribute"], named.get("default", NOT_GIVEN))
        return [_there(get(item)) for item in items]
    if not args:
        raise Refused("map needs the name of a filter, or attribute=")
    apply = filter_named(work, args[0])
    return [_there(apply(work, item, *args[1:], **named)) for item in items]


def filter_named(work: Work, name: Json) -> Callable[..., Json]:
    """The filter of that name; raises ``Refused``."""
    if isinstance(name, str) and name in work.filters:
        return work.filters[name]
    raise Refused(f"there is no filter {to_text(name, work)[:60]!r}")


def _choose(keep: bool, by_attribute: bool) -> Callable[..., list[Json]]:
    def choose(work: Work, value: Json, *args: Json) -> list[Json]:
        items = items_of(work, value)
        work.make_items(len(items))
        get = _attribute_argument(args) if by_attribute else _itself
        name, *rest = args[by_attribute:] or (None,)
        if name is None:
            return [item for item in items if bool(_there(get(item))) is keep]
        if not isinstance(name, str) or name not in TESTS:
            raise Refused(f"there is no test {to_text(name, work)[:60]!r}")
        test = TESTS[name]
        lenient = name in LENIENT
        chosen = []
        for item in items:
            part = get(item)
            if bool(test(work, part if lenient else _there(part), *rest)) is keep:
                chosen.append(item)
        return chosen

    choose.__doc__ = f"The items that {'pass' if keep else 'fail'} a test{', by a part' if by_attribute else ''}."
    return choose


def _itself(item: Json) -> Json:
    return item


def _attribute_argument(args: tuple[Json, ...]) -> Callable[[Json], Json]:
    if not args:
        raise Refused("the name of the attribute is not given")
    return attribute_of(args[0])


def sort(
    work: Work, value: Json, reverse: Json = False, case_sensitive: Json = False, attribute: Json = None
) -> list[Json]:
    """The items in order."""
    items = items_of(work, value)
    order = _order(_keys(work, items, attribute, case_sensitive), bool(reverse))
    work.make_items(len(items))
    return [items[place] for place in order]


def unique(work: Work, value: Json, case_sensitive: Json = False, attribute: Json = None) -> list[Json]:
    """The items without those that came before."""
    items = items_of(work, value)
    seen: set[tuple[bool, Json]] = set()
    kept = []
    for item, key in zip(items, _keys(work, items, attribute, case_sensitive), strict=True):
        mark = (True, to_text(key, work)) if isinstance(key, list | dict) else (False, key)
        if mark not in seen:
            seen.add(mark)
            kept.append(item)
    work.make_items(len(items), 2 * ITEM_BYTES)
    return kept


def least(work: Work, value: Json, case_sensitive: Json = False, attribute: Json = None) -> Json:
    """The smallest item."""
    items = items_of(work, value)
    order = _order(_keys(work, items, attribute, case_sensitive))
    return items[order[0]] if order else Missing("min has no item to give: the list is empty")


def greatest(work: Work, value: Json, case_sensitive: Json = False, attribute: Json = None) -> Json:
    """The greatest item."""
    items = items_of(work, value)
    order = _order(_keys(work, items, attribute, case_sensitive), reverse=True)
    return items[order[0]] if order else Missing("max has no item to give: the list is empty")


def total(work: Work, value: Json, attribute: Json = None, start: Json = 0) -> Json:
    """The items added up."""
    items = items_of(work, value)
    get = attribute_of(attribute) if attribute is not None else _itself
    result = start
    for item in items:
        result = add(work, result, _there(get(item)))
    return result


def reverse(work: Work, value: Json) -> Json:
    """From the end to the beginning."""
    if isinstance(value, str):
        return join(work, (value,))[::-1]
    return listed(work, value)[::-1]


def batch(work: Work, value: Json, linecount: Json, fill_with: Json = None) -> list[Json]:
    """Lists of ``linecount`` items each, the last one filled up with ``fill_with`` unless null."""
    items, size = items_of(work, value), _count(linecount)
    if fill_with is not None and items:
        work.make_items(size)
    work.make_items(len(items), LIST_BYTES)
    rows = [items[place : place + size] for place in range(0, len(items), size)]
    if rows and fill_with is not None:
        rows[-1] = rows[-1] + [fill_with] * (size - len(rows[-1]))
    return rows


def slices(work: Work, value: Json, slices: Json, fill_with: Json = None) -> list[Json]:
    """``slices`` lists of about the same length, short ones filled up with ``fill_with`` unless null."""
    items, count = items_of(work, value), _count(slices)
    work.make_items(count, LIST_BYTES)
    work.make_items(len(items))
    size, longer = divmod(len(items), count)
    rows, place = [], 0
    for number in range(count):
        end = place + size + (number < longer)
        rows.append(items[place:end] + ([fill_with] if fill_with is not None and number >= longer else []))
        place = end
    return rows


def _count(value: Json) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise Refused("the number of items must be a whole number from 1")
    return value


def groupby(work: Work, value: Json, attribute: Json, default: Json = None, case_sensitive: Json = False) -> list[Json]:
    """Lists ``[key, items]`` in the order of the key; also read as ``.grouper`` and ``.list``."""
    items = items_of(work, value)
    get = attribute_of(attribute, NOT_GIVEN if default is None else default)
    written = [_there(get(item)) for item in items]
    keys = _keys(work, written, None, case_sensitive)
    work.make_items(len(items), 2 * LIST_BYTES)
    groups: list[Json] = []
    before: Json = NOT_GIVEN
    for place in _order(keys):
        if before is NOT_GIVEN or keys[place] != before:
            groups.append(Group([written[place], []]))
        groups[-1][1].append(items[place])
        before = keys[place]
    return groups


def dictsort(
    work: Work, value: Json, case_sensitive: Json = False, by: Json = "key", reverse: Json = False
) -> list[Json]:
    """``[key, value]`` pairs of a mapping, sorted by one of them."""
    if by not in ("key", "value"):
        raise Refused('by must be "key" or "value"')
    return sort(work, pairs(work, value), reverse, case_sensitive, 0 if by == "key" else 1)


def pairs(work: Work, value: Json) -> list[Json]:
    """``[key, value]`` pairs of a mapping."""
    if isinstance(value, Missing):
        return []
    if not isinstance(value, Mapping):
        raise Refused(f"items takes a mapping, not {kind(value)}")
    work.make_items(len(value), LIST_BYTES + 16)
    return [[key, item] for key, item in value.items()]


LISTS: Mapping[str, Callable[..., Json]] = {
    "batch": batch,
    "count": length,
    "dictsort": dictsort,
    "first": first,
    "groupby": groupby,
    "items": pairs,
    "join": joins,
    "last": last,
    "length": length,
    "list": listed,
    "map": maps,
    "max": greatest,
    "min": least,
    "reject": _choose(False, False),
    "rejectattr": _choose(False, True),
    "reverse": reverse,
    "select": _choose(True, False),
    "selectattr": _choose(True, True),
    "slice": slices,
    "sort": sort,
    "sum": total,
    "unique": unique,
}
