"""One test being played: a real store in memory, the real engine and worker, and a clock that jumps.

While anything is in hand the clock stands still. When nothing is, it jumps to the next moment at which something is due:
a timer, the end of a mocked call, an event of the test. Only a call that is really made lets real time in: what falls due
while it goes on happens meanwhile; how long it took is forgotten afterwards. A test in which nothing can happen any
more fails at once.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..clock import SECOND, to_text
from ..duration import format_duration
from ..engine.commands import pause_queue
from ..errors import UserError, YamlflowError
from ..lifecycle import TERMINAL
from ..outcome import Json
from ..packages import Loaded
from ..plugins import Plugins
from ..rows import RunRow, StepRow
from ..runtime import Runtime
from ..starting import Finder
from ..store.base import RunFilter
from ..views.steps import StepView, tree_of
from ..worker import Settings
from .cases import Case, Happening
from .clocks import VirtualClock
from .hands import Hands
from .likeness import fits
from .mocks import Called, Mocks, missing
from .story import Story

#: Calls at once: so many that no test waits for a worker.
SLOTS = 100
ENDED = frozenset({"succeeded", "failed", "canceled"})
#: Milliseconds between two looks at calls that are really made.
LOOK = 20


@dataclass
class Stopped(Exception):
    """The test cannot go on."""

    reason: str
    details: list[str] = field(default_factory=list)


@dataclass
class Pending:
    """An event that has not happened yet."""

    event: Happening
    #: When it does; None until its ``when`` has come true.
    at: int | None


class Play:
    """One test's world, from its start to its end."""

    def __init__(
        self,
        case: Case,
        package: Loaded,
        *,
        plugins: Plugins,
        find: Finder | None = None,
        packages: Sequence[Loaded] = (),
    ) -> None:
        self.case = case
        self.package = package
        self.clock = VirtualClock(case.start_at)
        self.story = Story(case.start_at, self._name_of, case.run_id)
        self.mocks = Mocks(case.mocks)
        self.runtime = Runtime(
            worker_id="test", clock=self.clock, plugins=with_mocked(plugins, case, package), find=find,
            secrets=case.secrets.get, synchronous="normal", on_event=self.story.take,
        )  # fmt: skip
        for each in (package, *packages):
            self.runtime.register(each)
        self.runtime.bench = replace(self.runtime.bench, environ={**os.environ, **case.env})
        settings = Settings(name="test", slots=SLOTS)
        self.worker = Hands(
            self.runtime.bench, settings, mocks=self.mocks, clock=self.clock, on_event=self.story.take
        )  # fmt: skip
        # The runtime's end is the worker's.
        self.runtime._worker = self.worker
        self._names: dict[int, str] = {}
        self._pending = [Pending(event, self._moment_of(event)) for event in case.events]
        #: Since when calls that are really made have gone on, on the steady clock.
        self._real_since: int | None = None
        #: Events that could not happen, and why.
        self.refused: list[tuple[Happening, str]] = []

    def close(self) -> None:
        """Stop what still goes on and forget everything."""
        self.runtime.close()

    # -- from start to end

    def start(self) -> None:
        """Store the run. Raises ``UserError`` for inputs that are refused."""
        case = self.case
        self.runtime.start(self.package, case.inputs, run_id=case.run_id, metadata=case.metadata, context=case.context)

    def finish(self) -> None:
        """Go on until the run has ended and no event is left. ``Stopped`` when that never happens."""
        started = self.clock.steady()
        while True:
            self.worker.turn()
            if self._happen():
                continue
            if self._over():
                return
            # Looked at also while there is work: a run that renews itself without end always has some.
            if self.clock.steady() - started > self.case.timeout:
                raise self._stopped(f"the test took longer than {format_duration(self.case.timeout)} of real time")
            if not self.worker.unfinished:
                self._pass_time()

    def _over(self) -> bool:
        run = self.run()
        return run.status in ENDED and not any(one.at is not None for one in self._pending)

    def _pass_time(self) -> None:
        """Nothing is to be done at this moment: wait for what is really going on, or jump."""
        due = self._next_time()
        if not self.worker.mocked.real:
            self._real_since = None
            if due is None:
                raise self._stuck()
            self._move_to(due)
            return
        steady = self.clock.steady()
        since = self._real_since = steady if self._real_since is None else self._real_since
        left = LOOK if due is None else due - self.clock.now() - (steady - since)
        if left <= 0 and due is not None:
            self._real_since = steady
            self._move_to(due)
        else:
            self.worker.calls.wait(min(left, LOOK) / SECOND)

    def _move_to(self, moment: int) -> None:
        self.clock.jump(max(0, moment - self.clock.now()))
        self.worker.mocked.end_due()

    def _next_time(self) -> int | None:
        times = [one.at for one in self._pending if one.at is not None]
        own = self.worker.next_time()
        return min(times if own is None else [*times, own], default=None)

    # -- events

    def _moment_of(self, event: Happening) -> int | None:
        if event.at is not None:
            return event.at
        return None if event.when is not None else self.case.start_at + event.after

    def _happen(self) -> bool:
        """Let happen what is due, in the order of its time; whether anything did."""
        now = self.clock.now()
        for one in self._pending:
            if one.at is None and self._has_come(one.event):
                one.at = now + one.event.after
        due = sorted((one for one in self._pending if one.at is not None and one.at <= now), key=moment_of)
        for one in due:
            self._pending.remove(one)
            self._do(one.event)
        return bool(due)

    def _has_come(self, event: Happening) -> bool:
        assert event.when is not None
        path, status = event.when
        return any(row.status == status for row in self.steps(path, event.run))

    def _do(self, event: Happening) -> None:
        self.story.remark(self.clock.now(), event.words())
        try:
            act(self.runtime, event, event.run or self.case.run_id)
        except YamlflowError as wrong:
            self.story.remark(self.clock.now(), f"refused: {wrong}")
            self.refused.append((event, str(wrong)))

    @property
    def missed(self) -> list[Happening]:
        """Events whose ``when`` never came true."""
        return [one.event for one in self._pending]

    # -- what is there

    def run(self, run_id: str | None = None) -> RunRow:
        """A run, the test's own unless another is named."""
        row = self.runtime.run(run_id or self.case.run_id)
        if row is None:
            raise UserError(f'there is no run "{run_id}"')
        self._names[row.key] = row.id
        return row

    def steps(self, path: str, run_id: str | None = None) -> list[StepRow]:
        """The steps at a path, or those that a path with ``*`` fits."""
        row = self.runtime.run(run_id or self.case.run_id)
        if row is None:
            return []
        if "*" not in path:
            return self.runtime.store.steps_at(row.key, [path])
        return [step for step in self.runtime.store.tree(row.key) if fits(path, step.path)]

    def paths(self) -> list[str]:
        """The path of every step of the run."""
        return [step.path for step in self.runtime.store.tree(self.run().key)]

    @property
    def calls(self) -> list[Called]:
        """Every call, in the order in which they began."""
        return self.mocks.calls

    def result(self, path: str = "", run_id: str | None = None) -> Json:
        """A step's result, or the run's outputs."""
        return self.runtime.result(run_id or self.case.run_id, path)

    def _name_of(self, key: int) -> str:
        if key not in self._names:
            row = self.runtime.store.run_at(key)
            self._names[key] = "?" if row is None else row.id
        return self._names[key]

    # -- when it cannot go on

    def _stuck(self) -> Stopped:
        ended = self.run().status in ENDED
        left = "events of the test are left that cannot happen any more" if ended else "nothing can happen any more"
        return self._stopped(f"{left}, and the run is {self.run().status}")

    def _stopped(self, reason: str) -> Stopped:
        waits = [f"{path}: {why}" for path, why in self.waits()]
        events = [f"the event {event.words()} has not happened" for event in self.missed]
        return Stopped(f"{reason} at {to_text(self.clock.now())}", [*waits, *events])

    def waits(self) -> Iterator[tuple[str, str]]:
        """What the runs wait for: each step that has not ended and holds none that has not, and why."""
        own = self.run().key
        for run in sorted(self.runtime.runs(RunFilter(live=True)), key=lambda run: (run.key != own, run.key)):
            where = "" if run.key == own else f"[{run.id}] "
            if run.paused:
                yield f"{where}the run", "paused; an event {unpause: true} lets it go on"
            tree = tree_of(self.runtime.store, self.runtime.plans, run, now=self.clock.now(), working=True)
            for view in leaves(tree) if tree is not None else ():
                why = self._awaited(run, view) or view.reason or f"is {view.status}"
                yield f"{where}{view.path or 'the package'}", why

    def _awaited(self, run: RunRow, view: StepView) -> str:
        """What somebody has to bring, and which event of a test does; "" when nobody has to."""
        row = next(iter(self.runtime.store.steps_at(run.key, [view.path])), None)
        awaits = (row.awaits if row is not None else None) or ""
        if awaits.startswith("signal:"):
            name = awaits.removeprefix("signal:")
            return f'waits for the signal "{name}"; an event {{signal: {name}}} sends it'
        if awaits == "approval":
            return "waits for an answer; an event {approve: …} gives it"
        return ""


def leaves(view: StepView) -> Iterator[StepView]:
    """The steps that have not ended, and hold none that has not."""
    if view.status in TERMINAL:
        return
    going_on = [child for child in view.children if child.status not in TERMINAL]
    if not going_on:
        yield view
    for child in going_on:
        yield from leaves(child)


def moment_of(one: Pending) -> int:
    """When an event that is due happens."""
    assert one.at is not None
    return one.at


def with_mocked(plugins: Plugins, case: Case, package: Loaded) -> Plugins:
    """The plugins, and a stand-in for each kind that is mocked and that none of them supplies."""
    wanted = {mock.kind for mock in case.mocks if mock.kind is not None}
    absent = [kind for kind in wanted if kind not in plugins.executors and kind not in package.package.kinds]
    if not absent:
        return plugins
    kinds = type(plugins.executors)()
    for kind in plugins.executors:
        kinds.add(plugins.executors[kind])
    for kind in sorted(absent):
        kinds.add(missing(kind))
    return replace(plugins, executors=kinds)


# -- what events do ------------------------------------------------------------------------------------------------


def act(runtime: Any, event: Happening, run_id: str) -> None:
    """Let an event happen, by the same commands that people use."""
    ACTS[event.action](runtime, run_id, event.given)


Given = Mapping[str, Any]


def send(runtime: Any, run_id: str, given: Given) -> None:
    """A signal."""
    runtime.signal(run_id, given["name"], given.get("data"))


def approve(runtime: Any, run_id: str, given: Given) -> None:
    """An answer."""
    words = {"approved": True, "by": "test", **{key: value for key, value in given.items() if key != "step"}}
    runtime.approve(run_id, given["step"], **words)


def cancel(runtime: Any, run_id: str, given: Given) -> None:
    """A cancel of the run, or of a step."""
    runtime.cancel(run_id, **given)


def pause(runtime: Any, run_id: str, given: Given, *, paused: bool = True) -> None:
    """A pause of the run, or of a queue."""
    if "queue" not in given:
        runtime.pause(run_id, paused=paused, **given)
        return
    with runtime.transaction() as work:
        pause_queue(work, queue_named(runtime, run_id, given["queue"]), paused=paused)


def queue_named(runtime: Any, run_id: str, name: str) -> str:
    """A queue's durable name: that of the package's own."""
    from ..views.queues import queues_of

    known = [one.name for one in queues_of(runtime.store, now=runtime.clock.now())]
    own = f"{runtime.run(run_id).package}/{name}"
    if name not in known and own not in known and name != "default":
        raise UserError(f'there is no queue "{name}"; there are: {", ".join(known) or "none"}')
    return own if own in known else name


def unpause(runtime: Any, run_id: str, given: Given) -> None:
    """The end of a pause."""
    pause(runtime, run_id, given, paused=False)


def retry(runtime: Any, run_id: str, given: Given) -> None:
    """An operator's retry."""
    runtime.retry(run_id, given.get("step", ""), by=given.get("by", ""))


def call(runtime: Any, run_id: str, given: Given) -> None:
    """A function of the test's own."""
    given["function"](runtime)


ACTS: Mapping[str, Callable[[Any, str, Given], None]] = {
    "call": call,
    "signal": send,
    "approve": approve,
    "cancel": cancel,
    "pause": pause,
    "unpause": unpause,
    "retry": retry,
}
