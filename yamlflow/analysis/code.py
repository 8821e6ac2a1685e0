"""No value becomes code: expressions in text that an interpreter reads are refused, those near one are warned of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath

from ..errors import Pointer
from ..executors import Executor
from ..outcome import Json
from ..template import has_expression, run_text_remedy
from .desk import Desk

#: Programs → the option after which they read an argument as code; "" when every argument is.
INTERPRETERS: Mapping[str, str] = {
    **dict.fromkeys(["sh", "bash", "dash", "zsh", "ksh", "ash", "fish", "busybox"], "c"),
    **dict.fromkeys(["python", "python2", "python3", "pypy", "pypy3"], "c"),
    **dict.fromkeys(["perl", "ruby", "node", "lua", "deno", "bun"], "e"),
    "php": "r",
    "eval": "",
}
REMEDIES: Mapping[str, str] = {
    "shell": 'Give values by env and write "$NAME" in the text, or write a list, which no shell reads.',
    "python": "Give values in `args`, or by env; the code reads them there.",
    "sql": "Give values in `params`: they are bound, never part of the statement.",
    "template": "Within a template write {{ inputs.name }}; what is in scope can be read there.",
}
NO_CODE = "no value becomes code: an expression is not allowed in this text"
OTHER_REMEDY = "Give the value in another key of `with`."


def check_code(desk: Desk, step_kind: Executor, given: Mapping[str, Json], pointer: Pointer) -> frozenset[str]:
    """Report expressions in code; the keys of ``with`` that held one, which need no other check."""
    refused = set()
    for place, text in step_kind.code_in(given):
        if has_expression(text):
            refused.add(str(place[0]))
            remedy = run_text_remedy(text) if step_kind.kind == "shell" else None
            words = f"Write:\n{remedy}" if remedy else REMEDIES.get(step_kind.kind, OTHER_REMEDY)
            desk.findings.error((*pointer, *place), NO_CODE, words, offset=text.find("${{"))
    for key in sorted(step_kind.code.intersection(given)):
        if isinstance(value := given[key], list):
            _warn_of_interpreters(desk, value, (*pointer, key))
    return frozenset(refused)


def refuse_whole(desk: Desk, step_kind: Executor, pointer: Pointer) -> None:
    """Report a ``with`` that is one expression, where the mapping it gives could bring code along."""
    if step_kind.code:
        keys = " and ".join(sorted(path for path in step_kind.code if "." not in path))
        message = f"no value becomes code: a whole `with` from an expression could hold {keys}"
        desk.findings.error(pointer, message, f"Write the keys of `with` one by one, {keys} as it is.")


def _warn_of_interpreters(desk: Desk, arguments: Sequence[Json], pointer: Pointer) -> None:
    for index, program in _scripts(arguments):
        text = arguments[index]
        if isinstance(text, str) and has_expression(text):
            message = f"{program} reads this argument as code, and with it whatever the expression gives"
            remedy = "Give the value as an argument after the code, or by env."
            desk.findings.warn((*pointer, index), message, remedy, offset=text.find("${{"))


def _scripts(arguments: Sequence[Json]) -> Iterator[tuple[int, str]]:
    """The arguments that an interpreter reads as code, with its name."""
    program, option = "", ""
    for index, argument in enumerate(arguments):
        text = argument if isinstance(argument, str) else ""
        name = PurePosixPath(text).name if not has_expression(text) else ""
        if program and not option:
            yield index, program
        elif program and text.startswith("-") and not text.startswith("--") and option in text[1:]:
            if index + 1 < len(arguments):
                yield index + 1, f"{program} {text}"
            program = ""
        elif program and not text.startswith("-"):
            program = ""
        if not program and name in INTERPRETERS:
            program, option = name, INTERPRETERS[name]
