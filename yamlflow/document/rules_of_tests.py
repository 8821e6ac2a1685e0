"""What files of tests ask beyond their schema: keys that exclude one another, moments, patterns. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from ..errors import Problem
from ..outcome import Json
from ..patterns import NoPattern, compiled
from . import phrases
from .rules import RULES
from .schema import OK, Rule

Found = Sequence[Problem]

TARGETS = ("kind", "step", "package")
ANSWERS = ("result", "error", "sequence", "real")
ACTIONS = ("signal", "approve", "cancel", "pause", "unpause", "retry")


def moment(text: str) -> int:
    """Milliseconds since the epoch of an ISO 8601 moment; without a zone, UTC. ``ValueError`` for what is none."""
    found = datetime.fromisoformat(text)
    return round((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp() * 1000)


def _moment_rule(value: Json, found: Found) -> Found:
    if not isinstance(value, str) or found:
        return found
    try:
        moment(value)
    except (ValueError, OverflowError):
        remedy = "Write it like 2026-03-01T09:00:00Z."
        return [Problem(message=f"must be a moment; this is {phrases.given(value)}", remedy=remedy)]
    return OK


def one_of(value: Mapping[str, Json], keys: Sequence[str], what: str, *, needed: bool = True) -> list[Problem]:
    """Exactly one of some keys, or at most one."""
    there = [key for key in keys if key in value]
    if len(there) > 1:
        message = f"{there[0]} and {there[1]} exclude one another"
        return [Problem(message=message, remedy="Keep one of them.", pointer=(there[1],), at_key=True)]
    if there or not needed:
        return []
    return [Problem(message=f"{what} is missing", remedy=f"Write one of {phrases.joined(keys)}.", at_key=True)]


def _mock_rule(value: Json, found: Found) -> Found:
    if not isinstance(value, dict):
        return found
    more = [*one_of(value, TARGETS, "what is mocked"), *one_of(value, ANSWERS, "the answer", needed=False)]
    for key in ("repeat", "per_step"):
        if key in value and "sequence" not in value:
            remedy = "Remove it: one result or error answers every call."
            more.append(Problem(message=f"{key} belongs to sequence", remedy=remedy, pointer=(key,), at_key=True))
    for key in ("takes", "artifacts"):
        if key in value and "sequence" in value:
            remedy = "Write it into the answers of the sequence."
            more.append(Problem(message=f"{key} belongs to one answer", remedy=remedy, pointer=(key,), at_key=True))
    return [*found, *more]


def _answer_rule(value: Json, found: Found) -> Found:
    return [*found, *one_of(value, ("result", "error"), "the answer", needed=False)] if type(value) is dict else found


def _event_rule(value: Json, found: Found) -> Found:
    if not isinstance(value, dict):
        return found
    more = [*one_of(value, ACTIONS, "what happens"), *one_of(value, ("after", "at"), "when", needed=False)]
    if not value.keys() & {"after", "at", "when"}:
        remedy = "Write after: 2h, at: a moment, or when: the step that waits."
        more.append(Problem(message="when it happens is missing", remedy=remedy, at_key=True))
    if "at" in value and "when" in value:
        remedy = "Write after instead of at."
        more.append(Problem(message="at and when exclude one another", remedy=remedy, pointer=("at",), at_key=True))
    answer = value.get("approve")
    if answer is not None and "when" not in value and not (isinstance(answer, dict) and "step" in answer):
        remedy = "Write approve: {step: …}, or when: the step."
        more.append(Problem(message="which step is answered is missing", remedy=remedy, pointer=("approve",)))
    off = [key for key in ("cancel", "pause", "unpause", "retry", "approve") if value.get(key) is False]
    for key in off:
        remedy = "Write approve: {approved: false}." if key == "approve" else "Write true, or remove it."
        more.append(Problem(message=f"{key} cannot be false", remedy=remedy, pointer=(key,)))
    return [*found, *more]


def _call_rule(value: Json, found: Found) -> Found:
    if not isinstance(value, dict):
        return found
    return [*found, *one_of(value, TARGETS, "which calls"), *one_of(value, ("inputs", "inputs_like"), "", needed=False)]


def _error_rule(value: Json, found: Found) -> Found:
    pattern = value.get("message_matches") if isinstance(value, dict) else None
    if not isinstance(pattern, str):
        return found
    try:
        compiled(pattern)
    except NoPattern as wrong:
        message = f"this is no regular expression: {wrong}"
        return [*found, Problem(message=message, remedy="Use message for plain text.", pointer=("message_matches",))]
    return found


def _expect_rule(value: Json, found: Found) -> Found:
    if not isinstance(value, dict):
        return found
    more = one_of(value, ("outputs", "outputs_like"), "", needed=False)
    if "error" in value and value.get("status", "failed") != "failed":
        remedy = "A run with an error has failed; remove one of them."
        more.append(Problem(message="error goes with status: failed", remedy=remedy, pointer=("status",)))
    if "refused" in value and len(value) > 1:
        other = next(key for key in value if key != "refused")
        message = f"a run that is refused has no {other}"
        more.append(Problem(message=message, remedy="Keep one of them.", pointer=(other,), at_key=True))
    return [*found, *more]


def _file_rule(value: Json, found: Found) -> Found:
    if isinstance(value, dict) and "tests" in value:
        names: set[str] = set()
        twice: list[Problem] = []
        listed = value["tests"] if isinstance(value["tests"], list) else []
        for position, one in enumerate(listed):
            name = one.get("name") if isinstance(one, dict) else None
            if isinstance(name, str) and name in names:
                message = f'the name "{name}" is in this list twice'
                twice.append(
                    Problem(message=message, remedy="Rename one of them.", pointer=("tests", position, "name"))
                )
            elif isinstance(name, str):
                names.add(name)
        return [*found, *twice]
    if value is None or not isinstance(value, dict):
        given = (
            "the file is empty" if value is None else f"a file of tests is a mapping; this is {phrases.given(value)}"
        )
        return [Problem(message=given, remedy="Begin with: tests: {it succeeds: {expect: {status: succeeded}}}")]
    if "yamlflow" in value and "steps" in value:
        return [Problem(message="this is a package, not its tests", remedy="Name the file without .test.")]
    return found


#: By the names of definitions in the schema; "" is the file.
TEST_RULES: Mapping[str, Rule] = {
    "": _file_rule,
    "duration": RULES["duration"],
    "moment": _moment_rule,
    "mock": _mock_rule,
    "answer": _answer_rule,
    "event": _event_rule,
    "expect": _expect_rule,
    "expected_call": _call_rule,
    "expected_error": _error_rule,
}
