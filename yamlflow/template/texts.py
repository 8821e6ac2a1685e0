"""Filters over texts and numbers. Each takes the rendering's ``Work``, then the value, then what stands in ().

They do what Jinja's filters of the same name do; a value that is not a text is taken as the text it would be in a
longer one. What can grow is measured before it is made, and no filter's time grows faster than its text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping

from ..outcome import Json
from .fault import Refused
from .limits import ITEM_BYTES, TEXT_BYTES, Work, width
from .operators import fill, whole
from .values import Missing, kind, to_json, to_text, weigh

#: Longer texts are not taken apart word by word: the pieces would cost fifty times the text.
WORDY = 1_000_000
#: Longer texts are not wrapped, nor texts with a longer word.
WRAPPED, WORD = 200_000, 2_000
_BEGINNINGS = re.compile(r"([-\s({\[<]+)")
_BREAKS = "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"


def _text(work: Work, value: Json) -> str:
    text = to_text(value, work)
    work.make_text(len(text), width(text))
    return text


def _wordy(work: Work, value: Json) -> str:
    text = _text(work, value)
    if len(text) > WORDY:
        raise Refused(f"a text of {len(text):,} characters is too long to go through word by word")
    work.take(len(text) * ITEM_BYTES)
    return text


def upper(work: Work, value: Json) -> str:
    """The text in capitals."""
    return _text(work, value).upper()


def lower(work: Work, value: Json) -> str:
    """The text in small letters."""
    return _text(work, value).lower()


def capitalize(work: Work, value: Json) -> str:
    """The first letter a capital, the others small."""
    return _text(work, value).capitalize()


def title(work: Work, value: Json) -> str:
    """Every word with a capital."""
    words = _BEGINNINGS.split(_wordy(work, value))
    return "".join(word[0].upper() + word[1:].lower() for word in words if word)


def trim(work: Work, value: Json, chars: Json = None) -> str:
    """Without white space, or the given characters, at both ends."""
    return _text(work, value).strip(None if chars is None else to_text(chars, work)[:1000])


def replace(work: Work, value: Json, old: Json, new: Json, count: Json = None) -> str:
    """``old`` replaced by ``new``, everywhere or the first ``count`` times."""
    text, before, after = _text(work, value), to_text(old, work), to_text(new, work)
    most = -1 if count is None else whole(count, "count")
    found = text.count(before)
    found = found if most < 0 else min(found, most)
    work.make_text(len(text) + found * (len(after) - len(before)), max(width(text), width(after)))
    return text.replace(before, after, most)


def center(work: Work, value: Json, width: Json = 80) -> str:
    """The text in the middle of a line."""
    text = _text(work, value)
    work.make_text(max(len(text), whole(width, "width")), 4)
    return text.center(width)


def indent(work: Work, value: Json, width: Json = 4, first: Json = False, blank: Json = False) -> str:
    """Every line but the first (unless ``first``) moved right; blank lines only if ``blank``."""
    text = _text(work, value)
    work.make_text(whole(width, "width")) if not isinstance(width, str) else None
    margin = width if isinstance(width, str) else " " * width
    lines = 2 + sum(map(text.count, _BREAKS))
    work.make_items(lines, TEXT_BYTES)
    work.make_text(len(text) + lines * (1 + len(margin)), 4 if not (text + margin).isascii() else 1)
    head, *rest = (text + "\n").splitlines()
    moved = [head, *(margin + line if line or blank else line for line in rest)]
    return (margin if first else "") + "\n".join(moved)


def truncate(
    work: Work, value: Json, length: Json = 255, killwords: Json = False, end: Json = "...", leeway: Json = 5
) -> str:
    """At most ``length`` characters with ``end``, cut between words unless ``killwords``."""
    text, last = _text(work, value), to_text(end, work)
    if len(text) <= whole(length, "length", len(last)) + whole(leeway, "leeway"):
        return text
    cut = text[: length - len(last)]
    return (cut if killwords else cut.rsplit(" ", 1)[0]) + last


def wordwrap(
    work: Work,
    value: Json,
    width: Json = 79,
    break_long_words: Json = True,
    wrapstring: Json = "\n",
    break_on_hyphens: Json = True,
) -> str:
    """Lines of at most ``width`` characters."""
    import textwrap

    text = _wordy(work, value)
    if len(text) > WRAPPED or any(len(word) > WORD for word in text.split()):
        raise Refused(f"a text over {WRAPPED:,} characters, or with a word over {WORD:,}, cannot be wrapped")
    work.spend(len(text))
    lines = [
        textwrap.wrap(
            line,
            width=whole(width, "width", 1),
            expand_tabs=False,
            replace_whitespace=False,
            break_long_words=bool(break_long_words),
            break_on_hyphens=bool(break_on_hyphens),
        )
        for line in text.splitlines()
    ]
    pieces = sum(map(len, lines)) + len(lines)
    between = to_text(wrapstring, work)
    work.make_text(len(text) + pieces * len(between), 1 if (text + between).isascii() else 4)
    return between.join(between.join(line) for line in lines)


def wordcount(work: Work, value: Json) -> int:
    """How many words."""
    return sum(1 for _ in re.finditer(r"\w+", _wordy(work, value)))


def string(work: Work, value: Json) -> str:
    """The value as text."""
    return _text(work, value)


def form(work: Work, value: Json, *values: Json, **named: Json) -> str:
    """``"%s of %d" | format(a, b)``."""
    if values and named:
        raise Refused("format takes values or named values, not both")
    return fill(work, _text(work, value), list(values), named)


def urlencode(work: Work, value: Json) -> str:
    """A text as part of an address, or a mapping or list of pairs as its query."""
    from urllib.parse import quote

    work.make_text(12 * weigh(value, work) if isinstance(value, list | dict) else 12 * len(to_text(value, work)))
    if not isinstance(value, list | dict):
        return quote(to_text(value, work).encode("utf-8", "surrogatepass"), safe="/")
    pairs = value.items() if isinstance(value, dict) else value
    return "&".join(f"{_query(work, name)}={_query(work, item)}" for name, item in pairs)


def _query(work: Work, value: Json) -> str:
    from urllib.parse import quote

    return quote(to_text(value, work).encode("utf-8", "surrogatepass"), safe="").replace("%20", "+")


def escape(work: Work, value: Json) -> str:
    """The text with ``& < > " '`` as HTML writes them."""
    import html

    text = _text(work, value)
    signs = sum(map(text.count, "&<>\"'"))
    work.make_text(len(text) + 4 * signs, width(text))
    return html.escape(text, quote=False).replace('"', "&#34;").replace("'", "&#39;")


def striptags(work: Work, value: Json) -> str:
    """Without HTML tags and comments, white space as single spaces."""
    import html

    text, kept, place = _wordy(work, value), [], 0
    while (start := text.find("<", place)) >= 0:
        last = "-->" if text.startswith("<!--", start) else ">"
        end = text.find(last, start)
        if end < 0:
            break
        kept.append(text[place:start])
        place = end + len(last)
    return html.unescape(" ".join(("".join(kept) + text[place:]).split()))


def split(work: Work, value: Json, separator: Json = None) -> list[str]:
    """The parts between separators; without one, the words."""
    text = _text(work, value)
    if separator is None:
        parts = text.split(None, work.limits.items)
    else:
        work.make_items(text.count(to_text(separator, work)) + 1, TEXT_BYTES)
        parts = text.split(to_text(separator, work))
    work.make_items(len(parts), TEXT_BYTES)
    return parts


def from_json(work: Work, value: Json) -> Json:
    """The value that a JSON text says."""
    if not isinstance(value, str):
        raise Refused(f"fromjson takes a text, not {kind(value)}")
    work.read(len(value))
    work.make_items(1 + value.count(",") + value.count("["), 64)
    work.make_items(value.count("{"), 240)
    work.take(4 * len(value))
    try:
        made = json.loads(value, parse_constant=_no_constant)
    except RecursionError:
        raise Refused("the JSON text is nested too deep") from None
    except ValueError as error:
        raise Refused(f"the text is not JSON ({str(error)[:100]})") from None
    weigh(made, work)
    return made


def _no_constant(name: str) -> Json:
    raise ValueError(f"{name} is not JSON")


def as_json(work: Work, value: Json, indent: Json = None) -> str:
    """The value as JSON text: compact, or with lines and ``indent`` spaces."""
    if indent is None:
        return to_json(value, work)
    if whole(indent, "indent") > 16:
        raise Refused("indent must be a whole number from 0 to 16")
    before = work.steps
    weigh(value, work)
    depth = _depth(value)
    work.make_text((before - work.steps) * (2 + indent * depth))
    return to_json(value, work, indent=indent)


def _depth(value: Json) -> int:
    level, depth = [value], 0
    while level := [item for item in level if isinstance(item, list | dict)]:
        depth += 1
        level = [item for value in level for item in (value.values() if isinstance(value, dict) else value)]
    return depth


def sha256(work: Work, value: Json) -> str:
    """The SHA-256 of a text's UTF-8, or of any other value's JSON with sorted keys, in hexadecimal."""
    import hashlib

    text = value if isinstance(value, str) else to_json(value, work, sort_keys=True)
    work.make_text(len(text), width(text))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def default(work: Work, value: Json, default_value: Json = "", boolean: Json = False) -> Json:
    """The value, or another where it is not there (with ``true``: where it is empty, zero, false or null too)."""
    return default_value if isinstance(value, Missing) or (boolean and not value) else value


TEXTS: Mapping[str, Callable[..., Json]] = {
    "capitalize": capitalize,
    "center": center,
    "d": default,
    "default": default,
    "e": escape,
    "escape": escape,
    "forceescape": escape,
    "format": form,
    "fromjson": from_json,
    "indent": indent,
    "lower": lower,
    "replace": replace,
    "safe": string,
    "sha256": sha256,
    "split": split,
    "string": string,
    "striptags": striptags,
    "title": title,
    "tojson": as_json,
    "trim": trim,
    "truncate": truncate,
    "upper": upper,
    "urlencode": urlencode,
    "wordcount": wordcount,
    "wordwrap": wordwrap,
}
