"""What the language asks beyond its schema, rule by rule: keys that exclude one another, and better words. Pure.

A rule sees a value and the problems that the schema found in it; it gives the problems to report.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache

from ..duration import InvalidDuration, parse_duration
from ..errors import Problem
from ..outcome import Json
from . import phrases
from .complaints import MOST_PROBLEMS, shown
from .schema import OK, Rule

Found = Sequence[Problem]

#: What only groups have, and what to do instead.
GROUP_ONLY: Mapping[str, str] = {
    "max_parallel": "For the children of for_each or matrix write it inside: for_each: {items: …, max_parallel: 4}.",
    "fail_fast": "Put the step into a group: steps: {…}.",
    "outputs": "The result of a step is its kind's: steps.<id>.result.",
    "race": "Put the competing steps into a group: race: true, steps: {…}.",
    "recover": "To go on after a failure write continue_on_error: true, or put the step into a group.",
    "on_failure": "Put the step into a group: steps: [{…}], on_failure: [{…}].",
    "on_cancel": "Put the step into a group: steps: [{…}], on_cancel: [{…}].",
    "finally": "Put the step into a group: steps: [{…}], finally: [{…}].",
}
#: What groups do not have.
NOT_FOR_GROUPS: Mapping[str, str] = {
    "with": "A group sees the scope around it; a group with inputs of its own is a kind.",
    "retry": "Retry the steps in it, each with its own retry.",
    "locks": "Name the locks at the steps in it.",
    "artifacts": "Name the artifacts at the steps that make them.",
}
#: Names that expressions know already.
RESERVED = frozenset({
    "inputs", "steps", "needs", "step", "attempt", "index", "matrix", "iteration", "error", "cancel", "run", "context",
    "env", "secrets", "now", "uuid", "random", "range", "result", "loop", "self", "and", "or", "not", "in", "is", "if",
    "else", "true", "false", "none", "True", "False", "None",
})  # fmt: skip
_BODIES = ("kind", "run", "steps")
_LOOPS = ("for_each", "matrix", "repeat")
_EXPRESSION = re.compile(r"\$\{\{(.*?)\}\}", re.DOTALL)
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def _duration_rule(value: Json, found: Found) -> Found:
    """What ``parse_duration`` says, which knows better than a pattern."""
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        problem = _not_a_duration(value)
        return [problem] if problem else OK
    return found


@lru_cache(maxsize=1024)
def _not_a_duration(value: str | int | float) -> Problem | None:
    try:
        parse_duration(value)
    except InvalidDuration as error:
        return Problem(message=error.message, remedy=error.remedy)
    if isinstance(value, str) and value != value.strip():
        return Problem(message="must have no spaces around it")
    return None


def _duration_or_expression_rule(value: Json, found: Found) -> Found:
    return found if isinstance(value, str) and "${{" in value else _duration_rule(value, found)


def _step_rule(value: Json, found: Found) -> Found:
    if type(value) is not dict:
        return _not_a_step(value, found)
    more: list[Problem] = []
    for part in _STEP_RULES:
        more += part(value, found)
    if not more:
        return found
    if "run" in value and any(problem.pointer == ("run",) for problem in more):
        found = [problem for problem in found if problem.pointer != ("run",)]
    return [*found, *more]


def _not_a_step(value: Json, found: Found) -> Found:
    example = f"run: {phrases.pasted(value)}" if isinstance(value, str) and len(value) <= 80 else "run: make"
    if isinstance(value, list):
        example = "steps: [{run: make}, …]"
    return [Problem(message=f"a step is a mapping; this is {phrases.given(value)}", remedy=f"Write {{{example}}}.")]


def _body(value: Mapping[str, Json], found: Found) -> Found:
    """Exactly one of ``kind``, ``run`` and ``steps``."""
    bodies = [key for key in _BODIES if key in value]
    if len(bodies) == 1:
        return OK
    if bodies:
        remedy = "Keep one of them; steps that do several things are groups: steps: [{…}, {…}]."
        return [_at_key(bodies[1], f"exactly one of kind, run and steps is possible; {bodies[0]} is here too", remedy)]
    if any(problem.remedy in ("Write kind.", "Write run.", "Write steps.") for problem in found):
        return OK
    remedy = "Say what it does: kind: http (with its input under with), run: a script, or steps."
    return [Problem(message="a step has exactly one of kind, run and steps", remedy=remedy, at_key=True)]


def _group_keys(value: Mapping[str, Json], found: Found) -> Found:
    if "steps" in value:
        wrong = [key for key in NOT_FOR_GROUPS if key in value]
        return [_at_key(key, f'"{key}" is not for groups', NOT_FOR_GROUPS[key]) for key in wrong]
    if value.keys().isdisjoint(GROUP_ONLY):
        return OK
    return [_at_key(key, f'"{key}" belongs to groups', GROUP_ONLY[key]) for key in GROUP_ONLY if key in value]


def _loops(value: Mapping[str, Json], found: Found) -> Found:
    loops = [key for key in _LOOPS if key in value]
    if len(loops) < 2:
        return OK
    remedy = "Put one of them on a group around the step."
    return [_at_key(loops[1], f"{loops[0]} and {loops[1]} exclude one another", remedy)]


def _join(value: Mapping[str, Json], found: Found) -> Found:
    if "join" not in value:
        return OK
    join, needs = value["join"], value.get("needs")
    count = 1 if isinstance(needs, str) else len(needs) if isinstance(needs, list | dict) else 0
    if not count:
        return [_at_key("join", "join counts needs, and there are none", "Add needs, or remove join.")]
    if isinstance(join, int) and not isinstance(join, bool) and join > count:
        message = f"asks for {join} needs, and there are {count}"
        return [Problem(message=message, remedy="Write all for all of them.", pointer=("join",))]
    return OK


def _run(value: Mapping[str, Json], found: Found) -> Found:
    run, given = value.get("run"), value.get("with")
    if "run" not in value:
        return OK
    problems: list[Problem] = []
    if isinstance(given, dict) and "run" in given:
        again = Problem(message="run is here twice", remedy="Remove this one.", pointer=("with", "run"), at_key=True)
        problems.append(again)
    if isinstance(given, str):
        problems.append(Problem(message=f"must be a mapping; this is {phrases.given(given)}", pointer=("with",)))
    if isinstance(run, str) and (start := run.find("${{")) >= 0:
        problems.append(_code_from_value(run, start))
    return problems


def _code_from_value(run: str, start: int) -> Problem:
    """An expression in a script, with the way that is safe, ready to paste."""
    match = _EXPRESSION.search(run, start)
    words = _WORD.findall(match[1]) if match else []
    name = (words[-1] if words else "value").upper()
    expression = match[0] if match and len(match[0]) <= 120 and '"' not in match[0] else "${{ … }}"
    return Problem(
        message="no value becomes code: ${{ }} is not possible in a script",
        remedy=f'Write env: {{{name}: "{expression}"}} and "${name}" in the script.',
        pointer=("run",),
        offset=start,
    )


def _race(value: Mapping[str, Json], found: Found) -> Found:
    if not value.get("race"):
        return OK
    steps = value.get("steps")
    if isinstance(steps, list):
        message = "a race is between the steps of a mapping; these are a list"
        return [_at_key("race", message, "Write steps as a mapping.")]
    if not isinstance(steps, dict):
        return OK
    needing = [id for id, step in steps.items() if isinstance(step, dict) and "needs" in step]
    remedy = "Remove needs; steps that follow one another are one group of the race."
    problem = Problem(message="the steps of a race start together", remedy=remedy, at_key=True)
    return [replace(problem, pointer=("steps", id, "needs")) for id in needing[:MOST_PROBLEMS]]


def _recover(value: Mapping[str, Json], found: Found) -> Found:
    if value.get("recover") is not True or "on_failure" in value or "on_cancel" in value or "steps" not in value:
        return OK
    remedy = "Add on_failure; to go on after a failure without it write continue_on_error: true."
    return [_at_key("recover", "there is no on_failure or on_cancel that could recover the group", remedy)]


_STEP_RULES: tuple[Callable[[Mapping[str, Json], Found], Found], ...] = (
    _body, _group_keys, _loops, _join, _run, _race, _recover,
)  # fmt: skip


def _group_rule(value: Json, found: Found) -> Found:
    """For the kinds of a package and the package itself, which are groups without being steps."""
    if not isinstance(value, dict):
        return found
    return [*found, *_race(value, found), *_recover(value, found)]


def _steps_rule(value: Json, found: Found) -> Found:
    """The ids in a list are different, as the keys of a mapping are."""
    if not isinstance(value, list):
        return found
    seen: set[str] = set()
    twice: list[Problem] = []
    for position, step in enumerate(value):
        id = step.get("id") if isinstance(step, dict) else None
        if isinstance(id, str) and id in seen and len(twice) < MOST_PROBLEMS:
            message = f'the id "{shown(id)}" is in this list twice'
            twice.append(Problem(message=message, remedy="Give one of them another id.", pointer=(position, "id")))
        elif isinstance(id, str):
            seen.add(id)
    return [*found, *twice] if twice else found


def _for_each_rule(value: Json, found: Found) -> Found:
    name = value.get("as") if isinstance(value, dict) else None
    if isinstance(name, str) and name in RESERVED:
        message = f'"{name}" has a meaning in expressions already'
        return [*found, Problem(message=message, remedy="Choose another name.", pointer=("as",))]
    if isinstance(value, str) and "${{" not in value and found:
        remedy = f"Write ${{{{ {value} }}}}." if len(value) <= 80 else ""
        return [Problem(message=f"must be an expression or a list; this is {phrases.given(value)}", remedy=remedy)]
    return found


def _json_schema_rule(value: Json, found: Found) -> Found:
    if found and isinstance(value, dict) and isinstance(value.get("required"), bool):
        remedy = "An input without a default is required, one with a default is not; remove this key."
        found = [replace(each, remedy=remedy) if each.pointer == ("required",) else each for each in found]
    return found


def _id_rule(value: Json, found: Found) -> Found:
    """Suggests the nearest id."""
    if not found or not isinstance(value, str) or not value:
        return found
    letters = unicodedata.normalize("NFKD", value).encode("ascii", "ignore").decode()
    near = re.sub(r"[^A-Za-z0-9_]+", "_", letters)[:64].strip("_")
    near = near if near and not near[0].isdigit() else f"_{near}"
    message = f'"{shown(value)}" is no id: letters, digits and _, not beginning with a digit, up to 64'
    return [Problem(message=message, remedy=f"Write, for example, {near}." if near != "_" else "")]


def _package_rule(value: Json, found: Found) -> Found:
    if value is None:
        return [Problem(message="the file is empty", remedy="Begin with: yamlflow: 1, name: …, steps: …")]
    if not isinstance(value, dict):
        message = f"a package is a mapping of keys; this is {phrases.given(value)}"
        return [Problem(message=message, remedy="Begin with: yamlflow: 1, name: …, steps: …")]
    version = value.get("yamlflow")
    if isinstance(version, int) and not isinstance(version, bool) and version > 1:
        message = f"the format version {shown(str(version))} is newer than this yamlflow, which reads version 1"
        found = [problem for problem in found if problem.pointer != ("yamlflow",)]
        found = [*found, Problem(message=message, remedy="Upgrade yamlflow.", pointer=("yamlflow",))]
    return _group_rule(value, found)


def _at_key(key: str, message: str, remedy: str) -> Problem:
    return Problem(message=message, remedy=remedy, pointer=(key,), at_key=True)


#: By the names of definitions in the schema; "" is the package.
RULES: Mapping[str, Rule] = {
    "": _package_rule,
    "id": _id_rule,
    "json_schema": _json_schema_rule,
    "duration": _duration_rule,
    "duration_or_expression": _duration_or_expression_rule,
    "step": _step_rule,
    "list_step": _step_rule,
    "undo": _step_rule,
    "kind": _group_rule,
    "steps": _steps_rule,
    "for_each": _for_each_rule,
}
