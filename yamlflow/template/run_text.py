"""What to write instead of ``${{ }}`` in ``run`` text: environment variables, which no shell takes for code.

This gives advice, ready to paste; it reads a shell's quoting well enough to put the quotes right, and decides nothing.
"""

from __future__ import annotations

import json
import re

from .fault import TemplateError
from .scan import WORDS, Span, expressions_in, has_expression

#: Names that say nothing by themselves: a variable is called by what follows them.
_SCOPES = frozenset({"inputs", "steps", "needs", "secrets", "matrix", "context", "env"})
_EMPTY_WORDS = frozenset({"result", "outputs"})
#: Variables that a shell or the engine gives a meaning.
# fmt: off
_TAKEN = frozenset({
    "PATH", "HOME", "USER", "LANG", "TZ", "TMPDIR", "SHELL", "PWD", "OLDPWD", "IFS", "PS1", "PS2", "PS4", "ENV",
    "UID", "EUID", "PPID", "RANDOM", "SECONDS", "LINENO", "TERM", "HOSTNAME", "LOGNAME", "MAIL", "CDPATH", "OPTARG",
    "OPTIND", "BASH_ENV", "LD_PRELOAD", "LD_LIBRARY_PATH", "PYTHONPATH",
})
# fmt: on
_LITERAL = re.compile(r"""'[^'\\]*+(?:\\.[^'\\]*+)*+'|"[^"\\]*+(?:\\.[^"\\]*+)*+\"""", re.DOTALL)
_NAMES = re.compile(r"(?<![\w.|])[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*")
_OWN_VARIABLE = re.compile(r"\s*env\.([A-Za-z_][A-Za-z0-9_]*)\s*")
_HEREDOC = re.compile(r"<<-?\s*(['\"\\]?)(\w+)['\"]?")
#: A line that YAML reads as one plain text.
_PLAIN = re.compile(r"[A-Za-z0-9_./$][^\n]*")


def run_text_remedy(text: str) -> str | None:
    """The ``env:`` and ``run:`` to write for a run text that holds ``${{ }}``; None when it holds none that closes."""
    if not has_expression(text):
        return None
    try:
        spans = expressions_in(text)
    except TemplateError:
        return None
    names = _names(spans)
    made = {source: name for source, name in names.items() if not _OWN_VARIABLE.fullmatch(source)}
    env = ", ".join(f"{name}: {_quoted(source)}" for source, name in made.items())
    return (f"env: {{{env}}}\n" if env else "") + _run(_rewritten(text, spans, names))


def _names(spans: tuple[Span, ...]) -> dict[str, str]:
    """A variable for each different expression."""
    names: dict[str, str] = {}
    for source in (span.source.strip() for span in spans):
        own = _OWN_VARIABLE.fullmatch(source)
        if source not in names:
            names[source] = own[1] if own else _free(_name(source), set(names.values()))
    return names


def _name(source: str) -> str:
    """``inputs.pages`` is PAGES, ``steps.fetch.result.body`` FETCH_BODY, ``now()`` NOW."""
    bare = _LITERAL.sub(" ", source)
    paths = [path.split(".") for path in _NAMES.findall(bare)]
    path = next((path for path in paths if path[0] not in WORDS), ["value"])
    parts = path[1:] if path[0] in _SCOPES and len(path) > 1 else path
    words = [part for part in parts if part not in _EMPTY_WORDS] or parts
    name = re.sub(r"\W", "_", "_".join(words), flags=re.ASCII).upper()
    return "_".join(path).upper() if name in _TAKEN else name


def _free(name: str, taken: set[str]) -> str:
    number, free = 2, name
    while free in taken or free in _TAKEN:
        free, number = f"{name}_{number}", number + 1
    return free


def _quoted(source: str) -> str:
    text = f"${{{{ {source} }}}}"
    return f"'{text}'" if '"' in text and not set("'\n\\") & set(text) else json.dumps(text, ensure_ascii=False)


def _run(text: str) -> str:
    """The run text as YAML: on one line where YAML reads it as written, else as a block."""
    plain = _PLAIN.fullmatch(text) and ": " not in text and " #" not in text and text == text.strip()
    if plain and not text.endswith(":"):
        return f"run: {text}"
    return "run: |\n" + "\n".join(f"  {line}" if line else "" for line in text.rstrip("\n").split("\n"))


def _rewritten(text: str, spans: tuple[Span, ...], names: dict[str, str]) -> str:
    """The text with its expressions as variables, each quoted as its place needs."""
    out: list[str] = []
    quote, place, heredoc = "", 0, ""
    for span in spans:
        quote, heredoc = _state(text[place : span.start], quote, heredoc)
        out.append(text[place : span.start])
        following = text[span.end : span.end + 1]
        name = names[span.source.strip()]
        value = f"${{{name}}}" if re.match(r"\w", following, re.ASCII) else f"${name}"
        if quote == "'" and not heredoc:
            _into_single_quotes(out, value, following)
            place, quote = span.end, "" if following == "'" else quote
            place += following == "'"
            continue
        out.append(value if quote or heredoc else f'"{value}"')
        place = span.end
    return "".join(out) + text[place:]


def _into_single_quotes(out: list[str], value: str, following: str) -> None:
    """Where nothing is expanded, the quotes end for the value: ``'a '"$B"' c'``."""
    opened = out[-1].endswith("'")
    if opened:
        out[-1] = out[-1][:-1]
    out.append(("" if opened else "'") + f'"{value}"' + ("" if following == "'" else "'"))


def _state(text: str, quote: str, heredoc: str) -> tuple[str, str]:
    """Which quote, and which here-document's last line, is open after a piece of shell text."""
    place = 0
    while place < len(text):
        if heredoc:
            end = re.search(rf"^\s*{re.escape(heredoc)}\s*$", text[place:], re.MULTILINE)
            if end is None:
                return quote, heredoc
            place, heredoc = place + end.end(), ""
            continue
        sign = text[place]
        if sign == "\\" and quote != "'":
            place += 1
        elif quote:
            quote = "" if sign == quote else quote
        elif sign in "'\"":
            quote = sign
        elif sign == "#" and (place == 0 or text[place - 1].isspace()):
            place = len(text) if (line := text.find("\n", place)) < 0 else line
        elif begun := _HEREDOC.match(text, place) if sign == "<" else None:
            heredoc = begun[2]
            place = begun.end()
        place += 1
    return quote, heredoc
