"""File contents as JSON values, and back: text, JSON, YAML, CSV. Pure; what cannot be read is a ``Permanent``."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ..errors import Permanent
from ..outcome import Json

#: Nodes of a YAML file with every alias written out, and levels of nesting.
YAML_NODES, YAML_DEPTH = 500_000, 100
ENDINGS = {".json": "json", ".yaml": "yaml", ".yml": "yaml", ".csv": "csv"}


def format_of(path: str, given: str | None) -> str:
    """The format that was named, else the one that the file's ending says, else text."""
    return given or next((name for ending, name in ENDINGS.items() if path.lower().endswith(ending)), "text")


def decode(content: bytes, name: str, path: str) -> Json:
    """The JSON value that a file's bytes stand for."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as wrong:
        raise Permanent("bad_input", f"{path} is not UTF-8 text: {wrong.reason} at byte {wrong.start}") from None
    try:
        return READERS[name](text)
    except (ValueError, RecursionError) as wrong:
        raise Permanent("bad_input", f"{path} is no {name.upper()}: {wrong}") from None


def encode(value: Json, name: str) -> bytes:
    """The bytes of a file that stands for a JSON value."""
    return WRITERS[name](value).encode()


def refuse_constant(word: str) -> Json:
    """NaN and the infinities are no JSON."""
    raise ValueError(f"{word} is no JSON number")


def read_json(text: str) -> Json:
    """Strict JSON."""
    return json.loads(text, parse_constant=refuse_constant)


def read_yaml(text: str) -> Json:
    """One YAML document as plain data; dates stay text, tags other than YAML's own are errors."""
    import yaml

    try:
        bounded(text)
        return yaml.load(text, Loader=plain_loader())
    except yaml.YAMLError as wrong:
        raise ValueError(str(wrong)) from None


def plain_loader() -> Any:
    """A safe loader that leaves dates as text."""
    import yaml

    base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    resolvers = {
        first: [(tag, pattern) for tag, pattern in pairs if tag != "tag:yaml.org,2002:timestamp"]
        for first, pairs in base.yaml_implicit_resolvers.items()
    }
    return type("PlainLoader", (base,), {"yaml_implicit_resolvers": resolvers})


def bounded(text: str) -> None:
    """Refuse a document that is too deep, or too large once its aliases are written out, before it is built."""
    import yaml

    sizes: dict[str, int] = {}
    total, stack = 0, [("", 0)]
    for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in sizes:
                raise ValueError(f"the alias *{event.anchor} stands for nothing that ended before it")
            total += sizes[event.anchor]
        elif isinstance(event, yaml.CollectionStartEvent):
            stack.append((event.anchor or "", total))
            total += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = stack.pop()
            sizes[anchor] = total - before
        elif isinstance(event, yaml.ScalarEvent):
            total += 1
            sizes[event.anchor or ""] = 1
        if total > YAML_NODES:
            raise ValueError(f"more than {YAML_NODES:,} nodes")
        if len(stack) > YAML_DEPTH:
            raise ValueError(f"more than {YAML_DEPTH} levels deep")


def read_csv(text: str) -> Json:
    """A list of mappings, by the names in the first line; all values are text."""
    import csv

    try:
        lines = csv.reader(io.StringIO(text, newline=""), strict=True)
        names = next(lines, [])
        if len(set(names)) < len(names):
            raise ValueError("two columns have one name")
        return list(csv_rows(lines, names))
    except csv.Error as wrong:
        raise ValueError(str(wrong)) from None


def csv_rows(lines: Any, names: list[str]) -> Iterator[dict[str, str]]:
    """Each line by name; an empty one is passed over."""
    for line in lines:
        if len(line) > len(names):
            raise ValueError(f"line {lines.line_num} has {len(line)} values, the first line {len(names)} names")
        if line:
            yield dict(zip(names, line + [""] * (len(names) - len(line)), strict=True))


def write_csv(value: Json) -> str:
    """A list of mappings (the first line is their names, as they first appear) or of lists."""
    import csv

    if not isinstance(value, list):
        raise Permanent("bad_input", "with.data: a CSV file is written from a list of mappings or of lists")
    stream = io.StringIO(newline="")
    if value and all(isinstance(row, dict) for row in value):
        names = list(dict.fromkeys(name for row in value for name in row))
        writer = csv.writer(stream)
        writer.writerow(names)
        writer.writerows([cell(row.get(name)) for name in names] for row in value)
    elif all(isinstance(row, list) for row in value):
        csv.writer(stream).writerows([cell(item) for item in row] for row in value)
    else:
        raise Permanent("bad_input", "with.data: the rows of a CSV file are all mappings or all lists")
    return stream.getvalue()


def cell(value: Json) -> str:
    """Text as it is, nothing for null, else JSON."""
    return "" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def write_json(value: Json) -> str:
    """Indented JSON with a final line end."""
    return json.dumps(value, ensure_ascii=False, indent=2) + "\n"


def write_yaml(value: Json) -> str:
    """YAML in the order of the keys."""
    import yaml

    return str(yaml.safe_dump(value, sort_keys=False, allow_unicode=True))


def write_text(value: Json) -> str:
    """Text as it is, anything else as JSON."""
    return value if isinstance(value, str) else write_json(value)


READERS: Mapping[str, Callable[[str], Json]] = {"text": str, "json": read_json, "yaml": read_yaml, "csv": read_csv}
WRITERS: Mapping[str, Callable[[Json], str]] = {
    "text": write_text,
    "json": write_json,
    "yaml": write_yaml,
    "csv": write_csv,
}
