"""One test as types: what it starts, what is mocked, what happens meanwhile and what must come of it. Runs nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from .. import document
from ..context import StepContext
from ..document.rules_of_tests import ACTIONS, moment
from ..duration import parse_duration
from ..errors import InvalidPackage, Pointer
from ..outcome import Error, Json
from .clocks import T0

#: Milliseconds of real time that a test may take, unless it says otherwise.
TIMEOUT = 60_000
#: Keys beside ``tests`` that hold for each of them, merged key by key.
MERGED = ("inputs", "metadata", "context", "secrets", "env")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What comes of one call that is mocked."""

    result: Json = None
    error: Error | None = None
    #: Milliseconds that the call takes, on the test's clock.
    takes: int = 0
    #: Artifacts that it keeps: name and content.
    artifacts: Mapping[str, str] = field(default_factory=dict)
    #: Gives the result instead, or raises; from Python only.
    call: Callable[[StepContext], Any] | None = None
    #: The call is really made.
    real: bool = False


@dataclass(frozen=True, kw_only=True)
class Mock:
    """Calls that are answered by the test. Exactly one of ``kind``, ``step`` and ``package`` is set."""

    kind: str | None = None
    step: str | None = None
    package: str | None = None
    #: What the input must be like; None is anything.
    when: Json = None
    answers: tuple[Answer, ...] = (Answer(),)
    #: The last answer stands for all further calls.
    repeat: bool = True
    #: The answers begin anew for each step that is meant.
    per_step: bool = False
    #: Where it is declared, for messages.
    place: str = ""

    @property
    def target(self) -> str:
        """What is mocked, in words."""
        words = {"the kind": self.kind, "the step": self.step, "the package": self.package}
        return next(f'{word} "{name}"' for word, name in words.items() if name is not None)


@dataclass(frozen=True, kw_only=True)
class Happening:
    """Something that happens from outside while the run goes on."""

    #: One of ``ACTIONS``.
    action: str
    #: Its own words: ``{name, data}`` of a signal, ``{step, reason, by}`` of a cancel.
    given: Mapping[str, Json] = field(default_factory=dict)
    #: Milliseconds after the start, or after ``when`` has come true.
    after: int = 0
    #: Milliseconds since the epoch; instead of ``after``.
    at: int | None = None
    #: A step's path and the status it must be in.
    when: tuple[str, str] | None = None
    #: The id of the run that is meant; None is the test's own.
    run: str | None = None
    #: Where it is declared, for messages.
    place: str = ""

    def words(self) -> str:
        """What it is, as a sentence begins."""
        name = self.given.get("name") or self.given.get("step") or self.given.get("queue") or ""
        moment = "" if self.when is None else f" when {self.when[0]} is {self.when[1]}"
        return f"{self.action}{f' {name}' if name else ''}{moment}"


@dataclass(frozen=True, kw_only=True)
class Case:
    """One test."""

    name: str
    #: The package: a file, or a name that the project finds.
    package: Path | str
    inputs: Mapping[str, Json] = field(default_factory=dict)
    run_id: str = "test"
    #: Milliseconds since the epoch.
    start_at: int = T0
    metadata: Mapping[str, str] = field(default_factory=dict)
    context: Mapping[str, Json] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    mocks: tuple[Mock, ...] = ()
    events: tuple[Happening, ...] = ()
    #: As it was written, see ``schemas/test.schema.json``.
    expect: Mapping[str, Json] = field(default_factory=dict)
    #: Milliseconds of real time.
    timeout: int = TIMEOUT
    #: The file, and the line in it; "" and 0 for a test in Python.
    file: str = ""
    line: int = 0
    #: Where the package is named, as ``file:line:column``; "" where it is not.
    package_place: str = ""
    #: Where a part of ``expect`` stands, as ``file:line:column``.
    locate: Callable[[Pointer], str] = lambda pointer: ""


def load_cases(path: Path | str) -> list[Case]:
    """The tests in a file. Raises ``InvalidPackage`` with every problem, each in its place."""
    return cases_of(document.load(path))


def cases_of(read: document.Document) -> list[Case]:
    """The tests in a document. Raises ``InvalidPackage``."""
    problems = [problem for problem in document.check_tests(read) if not problem.warning]
    if problems:
        raise InvalidPackage(problems)
    data = read.data
    listed = (
        [(("tests", name), name, test or {}) for name, test in data["tests"].items()]
        if isinstance(data["tests"], dict)
        else [(("tests", position), test["name"], test) for position, test in enumerate(data["tests"])]
    )
    package = package_of(read, data.get("package"))
    return [Reading(read, pointer, data, test).case(name, package) for pointer, name, test in listed]


def package_of(read: document.Document, given: str | None) -> Path | str:
    """The package that a file of tests is for: a path, or a name."""
    file = Path(read.file)
    if given is None:
        return package_beside(file)
    return file.parent / given if given.endswith((".yaml", ".yml")) else given


def package_beside(file: Path) -> Path:
    """``crawl.yaml`` of ``crawl.test.yaml``."""
    return file.with_name(file.name.removesuffix(file.suffix).removesuffix(".test") + file.suffix)


@dataclass(frozen=True)
class Reading:
    """One test of a document being read."""

    document: document.Document
    pointer: Pointer
    #: What stands beside ``tests``, and the test.
    shared: Mapping[str, Any]
    test: Mapping[str, Any]

    def place(self, *pointer: str | int, at_key: bool = False) -> str:
        """``file:line:column`` of a part of the test."""
        line, column = self.document.place((*self.pointer, *pointer), at_key=at_key)
        return f"{self.document.file}:{line}:{column}"

    def case(self, name: str, package: Path | str) -> Case:
        """The test as a type."""
        merged = {key: {**self.shared.get(key, {}), **self.test.get(key, {})} for key in MERGED}
        start = self.either("start_at")
        timeout = self.either("timeout")
        return Case(
            name=name,
            package=package,
            run_id=self.test.get("run_id", "test"),
            start_at=T0 if start is None else moment(start),
            timeout=TIMEOUT if timeout is None else parse_duration(timeout),
            mocks=(*self.mocks(self.pointer, self.test), *self.mocks((), self.shared)),
            events=tuple(
                replace(happening_from(each), place=self.place("events", position))
                for position, each in enumerate(self.test.get("events", ()))
            ),
            expect=self.test.get("expect", {}),
            file=self.document.file,
            line=self.document.place(self.pointer, at_key=True)[0],
            package_place=self.place_of_package(),
            locate=lambda pointer: self.place("expect", *pointer, at_key=True),
            **merged,
        )

    def place_of_package(self) -> str:
        """Where the file says which package its tests are for."""
        if "package" not in self.shared:
            return ""
        line, column = self.document.place(("package",))
        return f"{self.document.file}:{line}:{column}"

    def mocks(self, pointer: Pointer, holder: Mapping[str, Any]) -> Iterator[Mock]:
        """The mocks of the test, or those beside all tests, each with its place."""
        for position, given in enumerate(holder.get("mocks", ())):
            line, column = self.document.place((*pointer, "mocks", position))
            yield replace(mock_from(given), place=f"{self.document.file}:{line}:{column}")

    def either(self, key: str) -> Any:
        """The test's own word, or the file's."""
        return self.test.get(key, self.shared.get(key))


def mock_from(given: Mapping[str, Any]) -> Mock:
    """A mock as it is written in a file of tests."""
    answers = given.get("sequence")
    return Mock(
        kind=given.get("kind"),
        step=given.get("step"),
        package=given.get("package"),
        when=given.get("when"),
        answers=tuple(map(answer_from, answers if answers is not None else [given])),
        repeat=answers is None or given.get("repeat", False),
        per_step=given.get("per_step", False),
    )


def answer_from(given: Mapping[str, Any]) -> Answer:
    """An answer as it is written in a file of tests."""
    takes = given.get("takes")
    return Answer(
        result=given.get("result"),
        error=None if given.get("error") is None else error_from(given["error"]),
        takes=0 if takes is None else parse_duration(takes),
        artifacts=given.get("artifacts", {}),
        real=given.get("real", False),
    )


def error_from(given: str | Mapping[str, Any]) -> Error:
    """A failure as it is written: its code, or its parts."""
    parts = {"code": given} if isinstance(given, str) else dict(given)
    return Error(**{"message": f"the test says {parts['code']}", **parts})


def happening_from(given: Mapping[str, Any]) -> Happening:
    """An event as it is written in a file of tests."""
    action = next(key for key in ACTIONS if key in given)
    said = given[action]
    details = {"name": said} if isinstance(said, str) else {} if said is True else dict(said)
    when = given.get("when")
    awaited = (when, "waiting") if isinstance(when, str) else None
    if isinstance(when, Mapping):
        awaited = (when["step"], when.get("status", "waiting"))
    if action == "approve" and awaited is not None:
        details.setdefault("step", awaited[0])
    after = given.get("after")
    return Happening(
        action=action,
        given=details,
        after=0 if after is None else parse_duration(after),
        at=moment(given["at"]) if "at" in given else None,
        when=awaited,
        run=given.get("run"),
    )
