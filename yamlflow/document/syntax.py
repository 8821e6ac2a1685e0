"""What to say when a text is not strict YAML: the parser's words, and a remedy fit for the line it stopped at.

Most such lines hold an expression or a condition whose brackets, quotes or colons mean something to YAML; the remedy
for those is the line itself, quoted, ready to paste. A complaint is a position, a message and a remedy.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ..errors import did_you_mean
from ..outcome import Json
from .complaints import shown
from .places import Lines
from .source import name_of

if TYPE_CHECKING:
    from yaml.error import MarkedYAMLError

_ENTRY = re.compile(r"^\s*(?:- +)*(?P<key>[\w.-]+) *:\s+(?P<value>\S.*?)\s*$")
_FLOW_ENTRY = re.compile(r"(?P<key>[\w-]+): *(?P<value>\$\{\{.*?\}\})")
_CONDITION = re.compile(r"(?:^|[{,\s-])(?:if|until|when|condition)\s*:\s")
_SPACE = re.compile("[\u00a0\u1680\u2000-\u200b\u202f\u205f\u2060\u3000]")
#: Words of the parser's complaint, and what to do; the first that fits counts.
_REMEDIES = (
    ("incompatible YAML document", "Remove the %YAML line, or write %YAML 1.2."),
    ("scanning a directive", "Remove the line that begins with %."),
    ("scanning a %", "Remove the line that begins with %."),
    ("scanning an alias", 'Text that begins with "*" must be quoted.'),
    ("scanning an anchor", 'Text that begins with "&" must be quoted.'),
    ("a tag", 'Text that begins with "!" must be quoted.'),
    ("Unicode character escape", 'Write the character itself, or its whole number: "\\U0001F600".'),
    ("escape", "In double quotes a backslash is written \\\\; in single quotes it stands for itself."),
    ("unexpected end of stream", "A quote is opened here and never closed."),
    ("unexpected document", "A quote is opened here and never closed."),
    ("mapping values are not allowed", 'Check the indentation of this line; a value that holds ": " must be quoted.'),
    ("block sequence entries are not allowed", 'Put "- " on a line of its own below the key.'),
    ("could not find expected ':'", 'A key needs ":" behind it; check the indentation of this line.'),
    ("expected '-' indicator", "Items of a list and keys cannot stand side by side; check the indentation."),
    ("flow sequence", 'A list that begins with "[" ends with "]", with "," between its items.'),
    ("flow mapping", 'A mapping that begins with "{" ends with "}", with "," between its entries.'),
    ("expected key", "Check the indentation of this line, and the quotes in it."),
    ("cannot start any token", 'Text that begins with "%", "@" or "`" must be quoted.'),
    ("<document start>", "Remove the line ... above; one file holds one document."),
)
_QUOTE_IT = 'Put the whole value in quotes, as in url: "${{ inputs.url }}" or if: "steps.a.result == \'x\'".'


def complaint(error: MarkedYAMLError, lines: Lines) -> tuple[int, str, str]:
    """Where the parser stopped, why, and what to do."""
    mark = error.problem_mark or error.context_mark
    is_open_quote = "quoted scalar" in (error.context or "") and "unexpected" in (error.problem or "")
    if is_open_quote or mark is None:
        mark = error.context_mark
    position = min(mark.index, len(lines.text)) if mark else 0
    before = error.context_mark.index if error.context_mark else position
    words = f"{error.context or ''} {error.problem or ''}"
    message = f"this is not YAML: {(error.problem or error.context or 'it cannot be read').strip()}"
    remedy = _remedy(lines, position, before, words)
    if "while parsing a flow" in words and before < lines.start(position):
        remedy += " It begins at {}:{}.".format(*lines.at(before))
    return position, message, remedy


def _remedy(lines: Lines, position: int, before: int, words: str) -> str:
    line = lines.line(position)
    if "\t" in line[: len(line) - len(line.lstrip())] or lines.text.startswith("\t", position):
        return "Indent with spaces; YAML knows no tabs there."
    for near in (position, lines.start(position) - 1, before):
        if near >= 0 and (strange := _SPACE.search(lines.line(near))):
            return f"Replace the character {name_of(strange[0])} in line {lines.at(near)[0]} by a space."
    for text in (line, lines.line(before)):
        if "${{" in text or _CONDITION.search(text):
            return _quote(text)
    fitting = (remedy for part, remedy in _REMEDIES if part in words)
    return next(fitting, "Check the indentation and the quotes around here.")


def _quote(line: str) -> str:
    """How to write a line with an expression or a condition."""
    entry = _ENTRY.match(line)
    if entry is None or entry["value"].startswith(("{", "[", "|", ">")):
        entry = _FLOW_ENTRY.search(line)
    if entry is None or len(entry["value"]) > 200:
        return _QUOTE_IT
    return f"Put the whole value in quotes: {entry['key']}: {quoted(entry['value'])}"


def quoted(text: str) -> str:
    """A text as one quoted scalar on one line; quotes around an expression that were meant so are not doubled."""
    inner = text[1:-1]
    if len(text) > 2 and text[0] == text[-1] and text[0] in "\"'" and inner.startswith("${{"):
        text = inner
    if '"' not in text and "\\" not in text:
        return f'"{text}"'
    return "'" + text.replace("'", "''") + "'"


def tag_complaint(tag: str, source: str) -> tuple[str, str]:
    """For a node with a tag; ``source`` is how it is written, from the tag on."""
    written = (source.split() or [tag])[0]
    message = f'"{shown(written)}" is a YAML tag; there are none here'
    if written.startswith(("!!", "!<")):
        return message, "Remove it; text that looks like a number is quoted instead."
    text = source.strip()
    remedy = f"Text that begins with ! must be quoted: {quoted(text)}." if len(text) <= 200 else "Quote the text."
    return message, f"{remedy} In a condition write not."


def alias_complaint(name: str, known: list[str]) -> tuple[str, str]:
    """For an alias of an anchor that was not seen."""
    guess = did_you_mean(name, known) if len(name) < 80 and len(known) < 1000 else ""
    return f'there is no anchor "&{shown(name)}" above', guess or f'To mean the text, quote it: "*{shown(name)}".'


def key_complaint(key: Json, source: str) -> tuple[str, str]:
    """For a key that is no text; ``source`` is how it begins."""
    if isinstance(key, dict | list):
        example = ': "${{ … }}"' if source == "{{" else ""
        return "a mapping or list cannot be a key", f"Text that begins with {source[:1]} must be quoted{example}."
    if key is None:
        return "a key is missing, or is null", 'Write a key before the ":"; to mean the text, quote it: "null".'
    written = str(key).lower() if isinstance(key, bool) else shown(str(key))
    return f"the key {written} is not text", f'Quote it: "{written}".'
