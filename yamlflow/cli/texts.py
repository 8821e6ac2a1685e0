"""How things are written for people: durations, times, tables, statuses, values. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

import click

from ..clock import to_datetime
from ..duration import format_duration
from .neat import one_line

#: What JSON leaves as it is and a terminal may obey: see ``neat.SIGNS``.
UNPRINTED = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\U000e0000-\U000e007f]")
#: status -> (mark, colour)
LOOKS: dict[str, tuple[str, str | None]] = {
    "pending": ("·", None),
    "ready": ("○", None),
    "running": ("▶", "cyan"),
    "waiting": ("◔", "blue"),
    "paused": ("‖", "yellow"),
    "succeeded": ("✓", "green"),
    "failed": ("✗", "red"),
    "skipped": ("–", "bright_black"),
    "canceled": ("⊘", "yellow"),
    "continued": ("→", "green"),
    "dead": ("✗", "red"),
    "lost": ("✗", "red"),
}


def mark(status: str) -> str:
    """A status as one coloured sign."""
    sign, colour = LOOKS.get(status, ("?", None))
    return click.style(sign, fg=colour)


def colored(status: str) -> str:
    """A status as a coloured word."""
    return click.style(status, fg=LOOKS.get(status, ("", None))[1])


def length(milliseconds: int | None) -> str:
    """How long something took, with as much precision as anybody needs; ``-`` when it has not begun."""
    if milliseconds is None:
        return "-"
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    if milliseconds < 60_000:
        return f"{milliseconds / 1000:.1f}s"
    return format_duration(milliseconds // 1000 * 1000)


def clock_time(at: int) -> str:
    """A time of day, local."""
    return to_datetime(at).astimezone().strftime("%H:%M:%S")


def date_time(at: int | None) -> str:
    """A local date and time to the second; ``-`` for none."""
    return "-" if at is None else to_datetime(at).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def table(rows: Iterable[Sequence[str]], header: Sequence[str]) -> str:
    """Columns as wide as what stands in them, two spaces apart; colours do not count."""
    lines = [[click.style(title, dim=True) for title in header], *([one_line(cell) for cell in row] for row in rows)]
    widths = [max(len(click.unstyle(line[at])) for line in lines) for at in range(len(header))]
    text = []
    for line in lines:
        cells = [cell + " " * (width - len(click.unstyle(cell))) for cell, width in zip(line, widths, strict=True)]
        text.append("  ".join(cells).rstrip())
    return "\n".join(text)


def as_json(value: Any) -> str:
    """JSON for programs and for reading: indented, as written."""
    return json_text(value, indent=2)


def json_text(value: Any, indent: int | None = None) -> str:
    """JSON with letters as they are, and what a terminal would obey as numbers."""
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    return text if text.isprintable() else UNPRINTED.sub(lambda sign: json.dumps(sign[0])[1:-1], text)


def as_yaml(value: Any) -> str:
    """A value as YAML without a line at its end; a text as it is."""
    if isinstance(value, str):
        return value.rstrip("\n")
    import yaml

    class Dumper(yaml.SafeDumper):
        """Writes a text of several lines as a block."""

    def block(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)

    Dumper.add_representer(str, block)
    text = yaml.dump(value, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=100)
    return text.removesuffix("\n...\n").rstrip("\n")


def tail(text: str, lines: int) -> str:
    """The last lines of a text, and how many came before them."""
    every = text.rstrip("\n").split("\n")
    cut = len(every) - lines
    return "\n".join([f"… {cut} more lines", *every[-lines:]] if cut > 0 else every)


def short(text: str, most: int = 120) -> str:
    """The first line of a text, cut to a width."""
    first = text.split("\n", 1)[0]
    return first if len(first) <= most else f"{first[: most - 1]}…"
