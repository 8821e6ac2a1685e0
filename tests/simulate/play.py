"""One play: a family of packages, some processes, what clients ask for, and the faults that strike meanwhile."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from yamlflow.errors import NotAllowed, RunExists, StartRefused, StoreUnavailable, UnknownName
from yamlflow.rows import EventRow, RunRow, StepRow

from .actors import SimulatedScheduler, SimulatedWorker, desk, live_runs, simulated
from .choices import NEVER, Choices, Weights
from .invariants import TERMINAL, Rules
from .packages import PACKAGES, pool
from .world import BOOTED, HOUR, Broken, Process, World

NAMES = ("go", "stop")
PAUSES = (0, 100, 2_000, 15_000, 45_000)
THINKING = Weights(3, 3, 3, 2, 1)
RESPAWNS = (1_000, 100, 15_000, 40_000)
MOVES = ("start", "signal", "answer", "cancel", "retry", "pause", "resume", "remove", "wait", "queue")
LIKELY = Weights(4, 6, 4, 2, 2, 1, 1, 1, 2, 0.5)
#: Commits after which clients do nothing more.
BUSY = 160
#: Without the end of any step for so many commits, and so long, a play is stuck. A bucket whose tokens were spent by a
#: clock that was an hour ahead has none for that hour.
STUCK, LONG = 400, 2 * HOUR


@dataclass
class Result:
    """What came of a play."""

    record: list[int]
    counts: dict[str, int]
    rule: str | None = None
    what: str = ""
    story: list[str] = field(default_factory=list)


class Play:
    """See above."""

    def __init__(self, choices: Choices, *, telling: bool = False) -> None:
        self.world = World(choices, telling=telling)
        families = pool()
        # Small ones more often: many short histories find more than a few long ones.
        self.family = families[choices.upto(len(families)) * choices.upto(len(families)) // len(families)]
        self.policies = {
            one.plan.queue_name(queue.name): {
                "max_in_flight": queue.max_in_flight, "rate": queue.rate, "burst": queue.burst,
            }
            for one in self.family.loaded()
            for queue in one.package.queues.values()
        }  # fmt: skip
        self._plans = {one.document.digest: one.plan for one in self.family.loaded()}
        #: Ids of runs that somebody has asked to remove.
        self.removals: set[str] = set()
        self.acknowledged: list[tuple[str, str, str]] = []
        self.workers: list[SimulatedWorker] = []
        self.scheduler: SimulatedScheduler | None = None
        self.clients = 0
        self.started = 0
        self.sent = 0
        self.paused_queues: set[str] = set()
        self._born = 0
        self.rules = Rules(self)
        self.world.on_commit = self.rules.look
        self.world.next_cause = self.next_cause

    # -- what the rules ask

    def keeps_not(self, package: str) -> bool:
        """Whether a package's runs go by themselves."""
        return "retention" in self.family.named(package)

    def node(self, row: StepRow) -> Any:
        """What a package declares at a step."""
        plan = self._plans[self.rules.runs[row.run].digest]
        root = row if row.definition is not None else None if row.origin is None else self.rules.steps.get(row.origin)
        if root is None or root.definition is None:
            return plan.node(row.path)
        above = root.path.rpartition("/")[0]
        return plan.fragment(root.definition, json.loads(root.definition), above).node(root.path, row.path)

    def tell_event(self, event: EventRow) -> None:
        """A line of a run's log, in the story."""
        run = self.rules.runs[event.run]
        place = f"{run.id}@{run.execution}" + (f" {event.step}" if event.step else "")
        self.world.tell("", f"    {place} {event.kind} {event.payload or ''}".rstrip())

    # -- the play

    def play(self) -> None:
        """From the first start to the end of every run."""
        world, choices = self.world, self.world.choices
        world.tell("", f"packages {self.family.number}")
        for number in range(1 + choices.upto(3)):
            self.hire(f"w{number}", slot=number)
        if choices.upto(3) == 1:
            self.scheduler = SimulatedScheduler(world, self.family, "scheduler")
        for _ in range(1 + choices.upto(2)):
            self.clients += 1
            SimulatedClient(self, f"client{self.clients}", moves=1 + choices.upto(8))
        world.run(lambda: self.clients == 0 or world.counts["commits"] > BUSY)
        self.finish()

    def hire(self, name: str, *, slot: int) -> None:
        """A worker begins; should it crash, somebody begins another one."""
        choices = self.world.choices
        host = ("here", "here", "there")[self.world.upto(3)]
        worker = SimulatedWorker(
            self.world,
            self.family,
            name,
            host=host,
            schedules=self.world.upto(2) == 1,
            slots=(4, 1, 2)[self.world.upto(3)],
        )

        def replace() -> None:
            self.workers.remove(worker)
            if self.world.calm:
                if not self.workers:
                    self.hire("last", slot=9)
                return
            same = choices.upto(2) == 0
            self._born += 1
            again = name if same else f"{name.split('.')[0]}.{self._born}"
            self.world.at(RESPAWNS[choices.upto(len(RESPAWNS))], lambda: self.hire(again, slot=slot))

        worker.process.on_end = replace
        self.workers.append(worker)

    def next_cause(self) -> int:
        """See ``World.next_cause``."""
        found = [worker.next_cause() for worker in self.workers if worker.process.alive]
        until = self.world.store._db.execute("select min(leased_until) from steps where status = 'running'").fetchone()[
            0
        ]
        if until is not None:
            found.append(until - BOOTED)
        return min(found, default=NEVER)

    def finish(self) -> None:
        """From here on everybody behaves: every run must end."""
        world = self.world
        self.rules.look_at_store()
        world.tell("", "-- from here on all is calm")
        world.be_calm()
        world.timers.clear()
        if self.scheduler is not None:
            self.scheduler.stopping = True
        for worker in self.workers:
            # Else there would be new runs for ever.
            worker.look_after_nothing()
        while not self.workers:
            self.hire("last", slot=9)
        Operator(self)
        self.rules.moved()
        ended = world.run(lambda: not live_runs(world) or self.rules.stands_still(STUCK, LONG))
        if not ended or live_runs(world):
            raise Broken("every run ends", f"nothing comes of anything any more, and {self.lasting()} go on")
        self.rules.look_at_all()

    def lasting(self) -> str:
        """The runs that have not ended, with their steps."""
        lines = []
        for run in live_runs(self.world):
            steps = [
                f"{row.path or '.'}={row.status}/{row.phase} {row.parked or ''}"
                for row in self.world.store.tree(run.key) if row.status not in TERMINAL
            ]  # fmt: skip
            lines.append(f"{run.id}@{run.execution} {run.status}: {', '.join(steps)}")
        return "; ".join(lines)


class SimulatedClient:
    """Somebody who starts runs and steers them."""

    def __init__(self, play: Play, name: str, *, moves: int) -> None:
        self.play = play
        self.world = play.world
        self.process = Process(play.world, name)
        self.process.on_end = self._gone
        self._moves = moves
        self._own = desk(self.process, play.family)
        self.process.begin(self._main)

    def _gone(self) -> None:
        self.play.clients -= 1

    def _main(self) -> None:
        world = self.world
        self.start()
        for _ in range(self._moves):
            world.sleep(PAUSES[world.choose(THINKING)])
            move = MOVES[world.choose(LIKELY)]
            world.counts[move] += 1
            # The operator refuses what cannot be done; that is no fault of anybody's.
            with suppress(NotAllowed, UnknownName, RunExists, TimeoutError):
                getattr(self, move)()
        self.process.end()

    def until_heard(self, what: str, do: Callable[[], Any]) -> Any:
        """Ask again as long as the store does not answer; None when it never did."""
        for _ in range(4):
            self.world.tell(self.process, what)
            try:
                return do()
            except StoreUnavailable:
                self.process.sleep(500)
        raise NotAllowed("nobody answers")

    def one_of(self, found: Sequence[Any]) -> Any:
        return found[self.world.upto(len(found))] if found else None

    # -- moves

    def start(self) -> None:
        play, again = self.play, self.world.upto(8) == 1 and self.play.started
        number = self.world.upto(play.started) if again else play.started
        play.started += not again
        run_id, name = f"r{number}", f"p{self.world.upto(PACKAGES)}" if number else "p0"
        unnamed = self.world.upto(8) == 1
        options: dict[str, Any] = {} if unnamed else {"run_id": run_id, "if_exists": "new" if again else "join"}
        try:
            run = self.until_heard(f"starts {run_id} of {name}", lambda: self._own.start(name, **options))
        except (StartRefused, RunExists, NotAllowed):
            return
        play.acknowledged.append((run.id, "start", ""))

    def run(self, *, ended: bool = False) -> RunRow | None:
        rows = [row for row in self.play.rules.runs.values() if (row.ended_at is not None) == ended]
        found: RunRow | None = self.one_of(rows)
        return found

    def signal(self) -> None:
        run = self.run()
        if run is None:
            return
        self.play.sent += 1
        key, name = f"key{self.play.sent}", self.one_of(NAMES)
        data = self.play.sent
        self.until_heard(f"signals {name} {key} to {run.id}", lambda: self._own.signal(run.id, name, data, key=key))
        self.play.acknowledged.append((run.id, "signal", key))
        if self.world.upto(4) == 1:
            self.until_heard(f"signals {key} to {run.id} again", lambda: self._own.signal(run.id, name, data, key=key))

    def answer(self) -> None:
        asking = [row for row in self.play.rules.steps.values() if row.awaits == "approval"]
        row = self.one_of(asking)
        if row is None:
            return
        run_id, approved = self.play.rules.runs[row.run].id, self.world.upto(3) != 1
        self.until_heard(
            f"answers {run_id} {row.path}", lambda: self._own.approve(run_id, row.path, approved=approved, by="client")
        )
        self.play.acknowledged.append((run_id, "answer", row.path))

    def cancel(self) -> None:
        run = self.run()
        if run is None:
            return
        row = self.one_of(list(self.play.rules.of_run[run.key].values())) if self.world.upto(2) == 1 else None
        path, force = row.path if row is not None else "", self.world.upto(6) == 1
        self.until_heard(
            f"cancels {run.id} {path or '.'}{' by force' if force else ''}",
            lambda: self._own.cancel(run.id, path, reason="because", by="client", force=force),
        )

    def retry(self) -> None:
        run = self.run(ended=True)
        if run is not None and run.status in ("failed", "canceled"):
            failed = [
                row.path for row in self.play.rules.of_run[run.key].values() if row.status in ("failed", "canceled")
            ]
            path = self.one_of(failed) if self.world.upto(2) == 1 else ""
            with suppress(StartRefused):
                self.until_heard(f"retries {run.id} {path or '.'}", lambda: self._own.retry(run.id, path or ""))

    def pause(self) -> None:
        run = self.run()
        if run is not None:
            self.until_heard(f"pauses {run.id}", lambda: self._own.pause(run.id))

    def resume(self) -> None:
        run = self.run()
        if run is not None:
            self.until_heard(f"resumes {run.id}", lambda: self._own.pause(run.id, paused=False))

    def queue(self) -> None:
        names = ["default", *self.play.policies]
        name = self.one_of(names)
        self.play.paused_queues ^= {name}
        paused = name in self.play.paused_queues
        self.until_heard(
            f"{'pauses' if paused else 'resumes'} the queue {name}", lambda: self._own.pause_queue(name, paused=paused)
        )

    def remove(self) -> None:
        run = self.run(ended=True)
        if run is not None:
            self.play.removals.add(run.id)
            only = run.execution if self.world.upto(2) == 1 else None
            self.until_heard(f"removes {run.id}@{only or 'all'}", lambda: self._own.remove(run.id, execution=only))

    def wait(self) -> None:
        run = self.run()
        if run is not None:
            self.until_heard(f"waits for {run.id}", lambda: self._own.wait(run.id, timeout=20))


class Operator:
    """In the end somebody lets go on what was paused, and brings what is waited for and nobody else brings."""

    def __init__(self, play: Play) -> None:
        self.play = play
        self.process = Process(play.world, "operator")
        self._own = desk(self.process, play.family)
        self.process.begin(self._main)

    def _main(self) -> None:
        world, own, pause = self.play.world, self._own, 20_000
        for name in ["default", *self.play.policies]:
            own.pause_queue(name, paused=False)
        while live := live_runs(world):
            for run in live:
                if run.paused:
                    with suppress(NotAllowed):
                        own.pause(run.id, paused=False)
                for row in world.store.tree(run.key):
                    if row.awaits is not None:
                        with suppress(NotAllowed, UnknownName):
                            self.bring(run, row)
                        pause = 10_000
            pause = min(2 * pause, 600_000)
            world.sleep(pause)

    def bring(self, run: RunRow, row: StepRow) -> None:
        """What a step waits for."""
        self.play.world.tell(self.process, f"brings {run.id} {row.path} {row.awaits}")
        if row.awaits == "approval":
            self._own.approve(run.id, row.path)
        else:
            self._own.signal(run.id, (row.awaits or "").removeprefix("signal:"), "brought")


def play(choices: Choices, *, telling: bool = False) -> Result:
    """Play once."""
    with simulated():
        one = Play(choices, telling=telling)
        rule, what = None, ""
        try:
            one.play()
        except Broken as broken:
            rule, what = broken.rule, str(broken)
        except Exception as fault:
            rule, what = f"{type(fault).__name__}", f"{type(fault).__name__}: {fault}"
            if telling:
                import traceback

                one.world.story.append(traceback.format_exc())
        finally:
            one.world.on_commit = lambda process: None
            one.world.close()
        one.world.tell("", what)
        return Result(choices.taken, dict(one.world.counts), rule, what, one.world.story)
