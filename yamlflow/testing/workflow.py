"""Tests of workflows in Python, with the powers of ``*.test.yaml`` files: ``WorkflowTest`` and what comes of it, ``Ending``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from ..document.checking import check_expectation
from ..document.rules_of_tests import moment
from ..duration import parse_duration
from ..errors import UserError
from ..executors import executor_of
from ..outcome import Json
from ..packages import Loaded
from ..plugins import Plugins, load
from ..values import plain
from .cases import TIMEOUT, Answer, Case, Happening, Mock, error_from
from .clocks import T0
from .mocks import Called
from .play import Play, with_mocked
from .strays import strays
from .suite import Suite, quiet, refuse_unsound
from .verdict import Judge

#: A failure as one may write it: a code, or its parts.
Fault = str | Mapping[str, Any]


@dataclass(frozen=True)
class Later:
    """A moment of a test; what is called on it happens then."""

    _test: WorkflowTest
    _moment: Happening

    def signal(self, name: str, data: Json = None) -> WorkflowTest:
        """Send a signal to the run."""
        return self._add("signal", name=name, data=data)

    def approve(
        self, step: str | None = None, *, approved: bool = True, by: str = "test", comment: str = "", form: Json = None
    ) -> WorkflowTest:
        """Answer an approval; ``step`` may be left out where the moment is one at which a step waits."""
        path = step if step is not None else (self._moment.when or ("",))[0]
        if not path:
            raise UserError("approve needs the path of the step that it answers")
        return self._add("approve", step=path, approved=approved, by=by, comment=comment, form=form)

    def cancel(self, step: str = "", *, reason: str = "", by: str = "", force: bool = False) -> WorkflowTest:
        """Cancel the run, or a step of it."""
        return self._add("cancel", step=step, reason=reason, by=by, force=force)

    def pause(self, *, queue: str | None = None) -> WorkflowTest:
        """Withhold the run's steps from workers, or a queue's."""
        return self._add("pause", **({} if queue is None else {"queue": queue}))

    def unpause(self, *, queue: str | None = None) -> WorkflowTest:
        """Offer them again."""
        return self._add("unpause", **({} if queue is None else {"queue": queue}))

    def retry(self, step: str = "", *, by: str = "") -> WorkflowTest:
        """Let what failed or was canceled begin anew."""
        return self._add("retry", step=step, by=by)

    def call(self, function: Callable[[Any], Any]) -> WorkflowTest:
        """Call a function with the test's ``Runtime``."""
        return self._add("call", function=function)

    def _add(self, action: str, **given: Any) -> WorkflowTest:
        self._test._events.append(replace(self._moment, action=action, given=given))
        return self._test


@dataclass(frozen=True)
class Ending:
    """What came of a test's run, to look at as long as its test is open."""

    play: Play

    @property
    def status(self) -> str:
        """``succeeded``, ``failed`` or ``canceled``."""
        return self.play.run().status

    @property
    def outputs(self) -> Json:
        """The run's outputs."""
        return self.play.result()

    @property
    def error(self) -> dict[str, Json] | None:
        """The run's error; None when it has none."""
        return Judge(self.play).error_of("")

    @property
    def lasted(self) -> int:
        """Milliseconds of the test's clock from the start to the end."""
        run = self.play.run()
        return (run.ended_at or self.play.clock.now()) - self.play.case.start_at

    @property
    def story(self) -> list[str]:
        """What happened, a line each with its time since the start."""
        return self.play.story.lines()

    def result(self, step: str) -> Json:
        """A step's result."""
        return self.play.result(step)

    def step(self, path: str) -> Any:
        """A step's row: ``status``, ``attempt``, ``error``…; None when there is none."""
        return next(iter(self.play.steps(path)), None)

    def calls(self, kind: str | None = None, *, step: str | None = None) -> list[Called]:
        """The calls of a kind, of a step, or all, in the order in which they began."""
        from .mocks import names

        return [
            call for call in self.play.calls if kind in (None, call.kind) and (step is None or names(step, call.path))
        ]

    def expect(self, **expected: Json) -> Self:
        """Hold this against expectations, written as under ``expect`` in a file of tests. ``AssertionError`` tells the story."""
        __tracebackhide__ = True
        return self.check(expected)

    def check(self, expected: Mapping[str, Json]) -> Self:
        """The same for a mapping. ``UserError`` for words that no expectation has."""
        __tracebackhide__ = True
        if problems := check_expectation(plain(dict(expected))):
            raise UserError("\n".join(map(str, problems)))
        self.play.case = replace(self.play.case, expect=expected)
        failures = Judge(self.play).failures()
        if failures:
            lines = [line for failure in failures for line in failure.lines()]
            raise AssertionError("\n".join([*lines, "the story:", *(f"  {line}" for line in self.play.story.told())]))
        return self


class WorkflowTest:
    """One run of a package on a clock that jumps; what is not mocked runs for real.

    ``package`` is a file, a ``Loaded`` package, or a name that the project finds. ``executors`` are functions declared
    with ``@executor`` that the package may use besides its plugins, ``packages`` further ones that it may start as
    children. ``start_at`` is a moment in ISO 8601, a datetime or
    milliseconds since the epoch.
    """

    def __init__(
        self,
        package: str | Path | Loaded,
        inputs: Mapping[str, Json] | None = None,
        *,
        start_at: str | datetime | int = T0,
        metadata: Mapping[str, str] | None = None,
        context: Mapping[str, Json] | None = None,
        secrets: Mapping[str, str] | None = None,
        env: Mapping[str, str] | None = None,
        run_id: str = "test",
        plugins: Plugins | None = None,
        executors: Sequence[Any] = (),
        packages: Sequence[Loaded] = (),
        timeout: str = f"{TIMEOUT}ms",
    ) -> None:
        self._package = package
        self._plugins = plugins
        self._executors = executors
        self._packages = packages
        self._mocks: list[Mock] = []
        self._events: list[Happening] = []
        self._play: Play | None = None
        self._case = Case(
            name="", package="" if isinstance(package, Loaded) else package, inputs=inputs or {}, run_id=run_id,
            start_at=milliseconds(start_at), metadata=metadata or {}, context=context or {}, secrets=secrets or {},
            env=env or {}, timeout=parse_duration(timeout),
        )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Forget the run."""
        if self._play is not None:
            self._play.close()
            self._play = None

    # -- what is mocked, and what happens

    def mock(
        self,
        *,
        kind: str | None = None,
        step: str | None = None,
        package: str | None = None,
        when: Json = None,
        result: Any = None,
        error: Fault | None = None,
        sequence: Sequence[Any] | None = None,
        repeat: bool = False,
        per_step: bool = False,
        takes: str = "0s",
        real: bool = False,
    ) -> WorkflowTest:
        """Answer calls of a kind, a step or a child package.

        ``result`` may be a function of the ``StepContext``: what it returns is the result, what it raises the failure.
        ``sequence`` holds one answer a call: a result, a function, an exception (``Permanent``, ``Retryable`` or any
        other), or an ``Answer``.
        """
        if [kind, step, package].count(None) != 2:
            raise UserError("mock needs exactly one of kind, step and package")
        takes_ms = parse_duration(takes)
        if sequence is not None:
            answers = tuple(replace(answer_of(each), takes=answer_of(each).takes or takes_ms) for each in sequence)
        elif error is not None:
            answers = (Answer(error=error_from(error), takes=takes_ms),)
        else:
            answers = (replace(answer_of(result), takes=takes_ms, real=real),)
        self._mocks.append(
            Mock(
                kind=kind, step=step, package=package, when=when, answers=answers,
                 repeat=sequence is None or repeat, per_step=per_step
            )
        )  # fmt: skip
        return self

    def after(self, duration: str) -> Later:
        """This long after the start."""
        return Later(self, Happening(action="", after=parse_duration(duration)))

    def at(self, when: str | datetime | int) -> Later:
        """At a moment."""
        return Later(self, Happening(action="", at=milliseconds(when)))

    def when(self, step: str, status: str = "waiting", *, after: str = "0s") -> Later:
        """As soon as a step waits or is in another status, or ``after`` that."""
        return Later(self, Happening(action="", when=(step, status), after=parse_duration(after)))

    # -- running

    def run(self) -> Ending:
        """Play it to its end. ``AssertionError`` when it can only wait, ``UserError`` when it cannot be started."""
        from .play import Stopped

        self.close()
        package, plugins, find = self._materials()
        case = replace(self._case, mocks=tuple(self._mocks), events=tuple(self._events))
        refuse_unsound(package, with_mocked(plugins, case, package))
        self._play = play = Play(case, package, plugins=plugins, find=find, packages=self._packages)
        with quiet():
            play.start()
            try:
                play.finish()
            except Stopped as stopped:
                story = ["the story:", *(f"  {line}" for line in play.story.told())]
                raise AssertionError("\n".join([stopped.reason, *stopped.details, *story])) from None
        told = [why for _, why in strays(play, set(plugins.executors))]
        told += [failure.message for failure in Judge(play).events()]
        if told:
            raise AssertionError("\n".join([*told, "the story:", *(f"  {line}" for line in play.story.told())]))
        return Ending(play)

    def _materials(self) -> tuple[Loaded, Plugins, Any]:
        from functools import partial

        from ..project import find_package, open_project

        suite = Suite()
        given = self._package
        if isinstance(given, Loaded):
            project = open_project()
            package, plugins = given, self._plugins or load(project.plugin_folders())
        else:
            start = Path(given).absolute().parent if Path(given).is_file() else None
            project = open_project(start)
            file = find_package(str(given), project)
            package = suite.package(file)
            plugins = self._plugins or suite.plugins(project, file)
        return package, with_executors(plugins, self._executors), partial(suite.find, project)


def with_executors(plugins: Plugins, more: Sequence[Any]) -> Plugins:
    """The plugins and some executors more, which take the place of others of their kinds."""
    if not more:
        return plugins
    own = {found.kind: found for found in map(executor_of, more) if found is not None}
    kinds = type(plugins.executors)()
    for kind in plugins.executors:
        if kind not in own:
            kinds.add(plugins.executors[kind])
    for found in own.values():
        kinds.add(found)
    return replace(plugins, executors=kinds)


def answer_of(given: Any) -> Answer:
    """An answer from a result, a function, an exception or an ``Answer``."""
    if isinstance(given, Answer):
        return given
    if isinstance(given, BaseException):

        def fail(step: Any) -> Any:
            raise given

        return Answer(call=fail)
    return Answer(call=given) if callable(given) else Answer(result=given)


def milliseconds(when: str | datetime | int) -> int:
    """Milliseconds since the epoch of a moment; without a zone, UTC. ``UserError`` for a text that is none."""
    if isinstance(when, int):
        return when
    if isinstance(when, datetime):
        return round((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() * 1000)
    try:
        return moment(when)
    except ValueError:
        raise UserError(f"{when!r} is no moment; write it like 2026-03-01T09:00:00Z") from None


__all__ = ["Answer", "Ending", "Later", "WorkflowTest"]
