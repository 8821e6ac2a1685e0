"""The storm: workers over one store that are killed, frozen and started again, while clients, killed as well, keep
starting and steering runs; until as many faults have struck and as many steps were done as were asked for.

A fault strikes when the worker has steps in hand. No worker is hurt that has a step which was lost twice in a row: a third
loss would, and should, fail it.
"""

from __future__ import annotations

import json
import random
import signal
import sys
import time
from collections import Counter
from dataclasses import dataclass, field

from .packages import LOCK, NARROW, QUEUE, Wanted, batch
from .project import Broken, Process, Project, sent

#: Seconds that a worker's leases hold without renewal, and that it is frozen to lose them.
LEASE, FROZEN = 2.5, 3.2
#: Seconds that a worker has steps in hand before something happens to it, on average.
LIFE = 0.15
#: How often a worker is killed alone before the process that watches it is killed as well: that waits longer each time.
LIVES = 2
#: How likely a worker without anything in hand is killed at a look; there are a hundred a second.
IDLE = 0.002
#: Workers and clients at once, and runs that are alive at most.
WORKERS, CLIENTS, RUNS = 4, 2, 24
#: Workers that are frozen at once at most; one is always free.
ICED = 2
#: Seconds without any step's success that count as a stall, beyond what a frozen transaction may hold up.
STALLED = 120
#: In hand by worker and process: steps, and the most losses in a row of one of them.
HELD = """
select worker, pid, count(*), max(lost) from steps join workers on name = worker
where steps.status = 'running' and phase = 'run' and workers.status = 'running' group by worker
"""


@dataclass(kw_only=True)
class Limits:
    """How much of it."""

    kills: int
    stops: int
    steps: int
    seconds: float


@dataclass(kw_only=True)
class Seat:
    """A place for a worker; who sits there changes."""

    name: str
    worker: Process
    #: When something happens to it: set once it has steps in hand.
    doom: float | None = None
    #: Until when it is frozen.
    frozen: float | None = None
    #: Until its guard that was killed is replaced, killing it as well would leave nobody to clean up.
    unguarded: bool = False
    #: How often the worker was killed alone, and started again by the process that watches it.
    lives: int = 1


@dataclass(kw_only=True)
class Sender:
    """A client that works through a batch's commands."""

    number: int
    process: Process
    wanted: list[Wanted]
    commands: int


@dataclass
class Storm:
    """See the module."""

    project: Project
    limits: Limits
    site: str
    rnd: random.Random
    #: What was done, by name.
    struck: Counter[str] = field(default_factory=Counter)
    wanted: list[Wanted] = field(default_factory=list)
    seats: list[Seat] = field(default_factory=list)
    senders: list[Sender] = field(default_factory=list)
    batches: int = 0
    lives: int = 0

    def rage(self) -> None:
        """Storm until the limits are reached, then let everything end."""
        self.began = self.moved = self.told = self.looked = time.monotonic()
        self.steps = 0
        try:
            while not self.is_over():
                self.feed()
                self.look()
                self.say()
                time.sleep(0.01)
            self.calm()
        finally:
            self.end()

    def is_over(self) -> bool:
        """Whether as much has happened as was asked for. ``Broken`` when it takes too long."""
        if time.monotonic() - self.began > self.limits.seconds:
            raise Broken(f"the storm is not over after {self.limits.seconds:g} s: {dict(self.struck)}")
        return (
            self.struck["kills"] >= self.limits.kills
            and self.struck["stops"] >= self.limits.stops
            and self.steps >= self.limits.steps
            and self.batches > 0
        )

    # -- workers

    def seat(self, number: int) -> Seat:
        """Start a worker; those of the first seat all have one name."""
        self.lives += 1
        name = "w0" if number == 0 else f"w{number}-{self.lives}"
        # Most people let workers be watched.
        own = {"YAMLFLOW_SUPERVISE": "no"} if self.rnd.random() < 0.25 else {}
        return Seat(name=name, worker=self.project.worker(name, lease=f"{LEASE:g}s", grace="10s", **own))

    def look(self) -> None:
        """See who has what in hand, and let what is due happen."""
        now = time.monotonic()
        while len(self.seats) < WORKERS:
            self.seats.append(self.seat(len(self.seats)))
        held = {worker: pid for worker, pid, _, _ in self.project.query(HELD)}
        self.check_now()
        for number, seat in enumerate(self.seats):
            if seat.worker.status is not None:
                raise Broken(f"worker {seat.name} ended with {seat.worker.status}:\n{seat.worker.tail()}")
            if seat.frozen is not None:
                self.thaw(number, seat, now)
            elif seat.name in held and seat.worker.at_work == held[seat.name]:
                if seat.doom is None:
                    seat.doom = now + self.rnd.uniform(0, 2 * LIFE)
                if now >= seat.doom:
                    self.strike(number, seat, now)
            elif self.rnd.random() < IDLE:
                seat.worker.kill()
                self.struck["idle kills"] += 1
                self.seats[number] = self.seat(number)

    def strike(self, number: int, seat: Seat, now: float) -> None:
        """Kill or freeze a worker, or kill its guard; as often as was asked for each."""
        kills, stops = (max(0, getattr(self.limits, name) - self.struck[name]) for name in ("kills", "stops"))
        if not kills and not stops:
            return
        guard = seat.worker.guard()
        if seat.unguarded and guard is None:
            return
        seat.unguarded = False
        if guard is not None and self.rnd.random() < 0.04:
            self.struck["guards"] += sent(guard, signal.SIGKILL)
            seat.unguarded, seat.doom = True, None
            return
        iced = sum(each.frozen is not None for each in self.seats)
        if stops and iced < ICED and self.rnd.random() < max(0.2, stops / (stops + kills)):
            if seat.worker.freeze() and self.in_hand(seat):
                seat.frozen = now + FROZEN
                self.struck["stops"] += 1
            else:
                seat.worker.thaw()
            return
        steps = self.in_hand(seat)
        if not steps or (stops and not kills):
            return
        if seat.worker.watched and seat.lives <= LIVES:
            if seat.worker.kill_at_work():
                self.struck["kills"] += 1
                self.struck["in hand"] += steps
                self.lives, seat.lives, seat.doom = self.lives + 1, seat.lives + 1, None
            return
        seat.worker.kill()
        self.struck["kills"] += 1
        self.struck["in hand"] += steps
        self.seats[number] = self.seat(number)

    def in_hand(self, seat: Seat) -> int:
        """Steps that a worker has; none when one of them may not be lost once more."""
        held = {(worker, pid): count for worker, pid, count, lost in self.project.query(HELD) if lost < 2}
        return held.get((seat.name, seat.worker.at_work or 0), 0)

    def thaw(self, number: int, seat: Seat, now: float) -> None:
        """Let a frozen worker go on, too late; one in ten is killed instead."""
        if seat.frozen is None or now < seat.frozen:
            return
        if self.rnd.random() < 0.1:
            seat.worker.kill()
            self.struck["killed while frozen"] += 1
            self.seats[number] = self.seat(number)
            return
        seat.worker.thaw()
        seat.frozen = seat.doom = None

    def check_now(self) -> None:
        """What must hold at any moment: one holder of a lock, a queue's width."""
        for holders, narrow in self.project.query(
            "select sum(terms like ?), sum(queue like ?) from steps where status = 'running' and phase = 'run'",
            f'%"{LOCK}"%', f"%{QUEUE}",
        ):  # fmt: skip
            if (holders or 0) > 1:
                raise Broken(f"{holders} steps hold the lock {LOCK}")
            if (narrow or 0) > NARROW:
                raise Broken(f"{narrow} steps of {QUEUE} run at once")

    # -- clients

    def feed(self) -> None:
        """Keep clients at work, a new batch whenever few runs are left; kill one now and then."""
        live = self.project.query("select count(*) from runs where ended_at is null")
        if len(self.senders) < CLIENTS and (live[0][0] if live else 0) < RUNS:
            self.sow()
        for sender in list(self.senders):
            status = sender.process.status
            if status is None:
                if self.rnd.random() < 0.005:
                    sender.process.kill()
                    done = self.acknowledged(sender)
                    self.struck["clients" if 0 < done < sender.commands else "idle clients"] += 1
                    sender.process = self.client(sender.number)
            elif status != 0:
                raise Broken(f"client {sender.number} ended with {status}:\n{sender.process.tail()}")
            else:
                self.senders.remove(sender)

    def sow(self) -> None:
        """Another batch."""
        wanted, commands = batch(self.batches, self.site)
        file = self.project.folder / f"batch-{self.batches}.jsonl"
        file.write_text("".join(json.dumps(each) + "\n" for each in commands))
        self.senders.append(
            Sender(
                number=self.batches, process=self.client(self.batches), wanted=wanted, commands=len(commands)
            )
        )  # fmt: skip
        self.wanted += wanted
        self.batches += 1

    def client(self, number: int) -> Process:
        """Start, or go on, with a batch's commands."""
        folder = self.project.folder
        return self.project.spawn(
            self.project.url, str(folder / f"batch-{number}.jsonl"), str(folder / f"batch-{number}.done"),
            module="tests.torture.client",
        )  # fmt: skip

    def acknowledged(self, sender: Sender) -> int:
        """Commands of a batch that are done for certain."""
        noted = self.project.folder / f"batch-{sender.number}.done"
        return len(noted.read_text().splitlines()) if noted.exists() else 0

    # -- the end

    def calm(self) -> None:
        """No faults any more: everything ends by itself, then the workers are told to stop."""
        self.stormed = time.monotonic() - self.began
        for seat in self.seats:
            seat.worker.thaw()
        for sender in self.senders:
            status = sender.process.wait(600)
            if status != 0:
                raise Broken(f"client {sender.number} ended with {status}:\n{sender.process.tail()}")
        self.project.wait_until(
            lambda: not self.project.query("select 1 from runs where ended_at is null limit 1"),
            "every run ends", 600,
        )  # fmt: skip
        # A worker that died a moment ago is buried within two seconds, at the next thorough look.
        time.sleep(2.5)
        for seat in self.seats:
            seat.worker.send(signal.SIGTERM)
        for seat in self.seats:
            status = seat.worker.wait(20)
            if status != 0:
                raise Broken(f"worker {seat.name} ended with {status}:\n{seat.worker.tail()}")

    def end(self) -> None:
        """Leave no process of ours."""
        for each in (*(seat.worker for seat in self.seats), *(sender.process for sender in self.senders)):
            if each.status is None:
                each.kill()

    # -- progress

    def say(self) -> None:
        """How far it is, every few seconds; ``Broken`` when nothing moves any more."""
        now = time.monotonic()
        if now - self.looked < 0.25:
            return
        self.looked = now
        ((done,),) = self.project.query("select sum(done) from runs") or [(0,)]
        if done != self.steps:
            self.moved, self.steps = now, done or 0
        if now - self.moved > STALLED:
            raise Broken(f"no step has ended for {now - self.moved:.0f} s")
        if now - self.told >= 5:
            self.told = now
            faults = "  ".join(f"{name} {count}" for name, count in sorted(self.struck.items()))
            print(f"{now - self.began:5.0f} s  {self.steps} steps  {faults}", file=sys.stderr, flush=True)
