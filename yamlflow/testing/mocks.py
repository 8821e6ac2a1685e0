"""Which calls are answered by the test, and a record of every call, answered or made.

The first mock that fits counts. A kind, step or package that is mocked is never called for real because no ``when``
fitted: such a call fails with ``mock_mismatch``, as one beyond the end of a sequence does with ``mock_exhausted``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..attempt import Attempt
from ..context import StepContext
from ..executors import Executor
from ..outcome import Error, Failed, Json
from .cases import Answer, Mock
from .likeness import alike, fits, shown

#: The kind that starts a package as a child run.
CHILD = "workflow"
KEY = re.compile(r"\[[^\]]*\]")


@dataclass(frozen=True, kw_only=True)
class Called:
    """One call of an executor, real or mocked."""

    kind: str
    path: str
    #: The id of its run.
    run: str
    attempt: int
    input: Json
    mocked: bool

    @property
    def package(self) -> str | None:
        """The package that it starts as a child run."""
        return self.input.get("package") if self.kind == CHILD and isinstance(self.input, dict) else None


class Mocks:
    """The mocks of one test at work."""

    def __init__(self, mocks: Sequence[Mock]) -> None:
        self._mocks = list(mocks)
        #: (position of the mock, what its sequence is counted for) -> answers given.
        self._given: dict[tuple[int, str], int] = {}
        self.calls: list[Called] = []
        self._used: set[int] = set()

    @property
    def unused(self) -> list[Mock]:
        """Mocks that no call has met."""
        return [mock for position, mock in enumerate(self._mocks) if position not in self._used]

    def answer(self, attempt: Attempt) -> Answer | None:
        """What comes of a call; None when it is made for real."""
        answer = self._choose(attempt)
        context = attempt.context
        self.calls.append(
            Called(
                kind=attempt.executor.kind, path=context.step.path, run=attempt.run.id, attempt=context.attempt,
                input=context.raw_input, mocked=answer is not None,
            )
        )  # fmt: skip
        return answer

    def _choose(self, attempt: Attempt) -> Answer | None:
        given, path = attempt.context.raw_input, attempt.context.step.path
        missed: Mock | None = None
        for position, mock in enumerate(self._mocks):
            if not meant(mock, attempt.executor.kind, path, given):
                continue
            if mock.when is None or alike(mock.when, given):
                self._used.add(position)
                answer = self._next(position, mock, f"{attempt.run.id} {path}" if mock.per_step else "")
                return None if answer.real else answer
            missed = missed or mock
        if missed is None:
            return None
        message = f"{missed.target} is mocked, and no mock's `when` is like this input: {shown(given)}"
        return Answer(error=Error(code="mock_mismatch", message=message, permanent=True))

    def _next(self, position: int, mock: Mock, counted_for: str) -> Answer:
        number = self._given.get((position, counted_for), 0)
        self._given[position, counted_for] = number + 1
        if number < len(mock.answers) or mock.repeat:
            return mock.answers[min(number, len(mock.answers) - 1)]
        answers = f"{len(mock.answers)} answer{'s' if len(mock.answers) != 1 else ''}"
        message = f"the mock of {mock.target} has {answers}, and this is call {number + 1}"
        return Answer(error=Error(code="mock_exhausted", message=message, permanent=True))


def meant(mock: Mock, kind: str, path: str, given: Json) -> bool:
    """Whether a call is one of those that are mocked, whatever its input."""
    if mock.kind is not None:
        return mock.kind == kind
    if mock.step is not None:
        return names(mock.step, path)
    return kind == CHILD and isinstance(given, dict) and given.get("package") == mock.package


def names(pattern: str, path: str) -> bool:
    """Whether a step is meant: by its path, by its id alone wherever it stands, or with ``*`` for anything.

    A path without keys means all children of its loops: ``fetch`` is ``fetch[0]`` too.
    """
    bare = KEY.sub("", path)
    last = path.rpartition("/")[2].rpartition("@")[2]
    return any(fits(pattern, each) for each in (path, bare, last, KEY.sub("", last)))


def stand_in(answer: Answer, executor: Executor) -> Executor:
    """An executor that gives an answer; input is checked as the real one would."""
    return replace(executor, call=giving(answer), declared=executor.schema, mode="inline")


def giving(answer: Answer) -> Callable[[StepContext], Any]:
    """A function that gives an answer to any call."""

    def call(step: StepContext) -> Any:
        for name, content in answer.artifacts.items():
            step.artifact(name, content)
        if answer.call is not None:
            return answer.call(step)
        return answer.result if answer.error is None else Failed(error=answer.error)

    return call


def missing(kind: str) -> Executor:
    """Stands where a mocked kind has no plugin here."""
    return Executor(kind=kind, call=giving(Answer()), mode="inline", declared={}, origin="a test's mock")
