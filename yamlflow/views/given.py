"""What the attempts of a step were given: their input and environment, rendered again from what is stored.

Nothing of it is kept while a step runs. It can be rendered later because what a step sees is fixed when it becomes due, and
because time and chance that an attempt drew stand in the log. Every secret reads ``***``, and so does every text that would
be another one if a secret were: no value of a secret is asked for. What comes from the worker's own environment is not
kept; it reads as its name, ``$HOME``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..errors import UserError
from ..lookup import Bench, Lookup, declared_wrong, environment
from ..masking import MASK
from ..outcome import Json
from ..rows import StepRow
from ..scope import Draws
from .attempts import AttemptView

#: Two values for every secret, without a character in common, one short and one long: what differs was made of one.
STANDINS = ("⟪⟫", f"⟦{'·' * 80}⟧")


@dataclass(frozen=True, kw_only=True)
class Given:
    """What one attempt was given, or why that cannot be said."""

    input: Json = None
    #: What the package, its groups and the step declare under ``env``.
    env: Mapping[str, str] = field(default_factory=dict)
    #: Why there is no input to show.
    problem: str | None = None

    def to_json(self) -> dict[str, Json]:
        """The shape that ``--json`` prints."""
        return {"input": self.input, "env": dict(self.env), "input_problem": self.problem}


class Replayed(Draws):
    """Gives the values that an attempt drew, in the same order."""

    def now(self) -> str:
        return str(self._drawn("now"))

    def uuid(self) -> str:
        return str(self._drawn("uuid"))

    def random(self) -> float:
        return float(self._drawn("random"))

    def _drawn(self, name: str, value: Json = None) -> Any:
        values = self.drawn.get(name) or []
        if not values:
            raise UserError(f"{name}() is not in the log: it is told when an attempt ends")
        # One reading of the clock serves the whole attempt.
        return values[0] if name == "now" else values.pop(0)


def given_to(bench: Bench, row: StepRow, attempt: AttemptView) -> Given:
    """What an attempt of a step was given."""
    if row.due is None or attempt.seq <= row.due:
        return Given(problem="it was before the step was retried by hand, and what it saw then may be gone")
    try:
        versions = [rendered(bench, row, attempt, standin) for standin in STANDINS]
    except Exception as fault:  # whatever is wrong with a declaration or a plugin: the rest of the view stands
        return Given(problem=f"it cannot be rendered here: {declared_wrong(fault).message}")
    (input, env), other = versions
    return Given(input=masked(input, other[0]), env=masked(env, other[1]))


def rendered(bench: Bench, row: StepRow, attempt: AttemptView, standin: str) -> tuple[Json, dict[str, str]]:
    """The input and the declared environment, with something standing for each secret."""
    lent = replace(
        bench, secret=lambda name: standin, environ={name: f"${name}" for name in bench.environ}, _passed={},
    )  # fmt: skip
    drawn = {name: list(values) for name, values in attempt.drawn.items()}
    then = row._replace(status="running", phase="run", attempt=attempt.attempt)
    lookup = Lookup(lent, then, draws=Replayed(bench.clock, drawn))
    node = lookup.node
    if node.call is None:
        raise UserError("a group has no input")
    # In the order in which a worker renders them: draws are replayed one after the other.
    given = node.call.input if node.literal else lookup.render(node.call.input)
    if node.timeout is not None:
        lookup.render(node.timeout)
    return given, environment(lookup)


def masked(one: Any, other: Any) -> Any:
    """What two renderings have in common; ``***`` where they differ."""
    match one, other:
        case str(), str():
            return common(one, other)
        case dict(), dict() if one.keys() == other.keys():
            return {key: masked(value, other[key]) for key, value in one.items()}
        case list(), list() if len(one) == len(other):
            return [masked(first, second) for first, second in zip(one, other, strict=True)]
    return one if one == other and type(one) is type(other) else MASK


def common(one: str, other: str) -> str:
    """A text with each secret in it masked; masked as a whole where it is not simply within."""
    if one == other:
        return one
    cut = [text.replace(standin, MASK) for text, standin in zip((one, other), STANDINS, strict=True)]
    return cut[0] if cut[0] == cut[1] else MASK
