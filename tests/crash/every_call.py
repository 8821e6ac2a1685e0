"""Every call of a small run on its store's files killed, cut short and failed once, each in a process of its own; then
another process goes on. What comes of it must be what comes of an undisturbed run.

    python -m tests.crash.every_call                  all of it
    python -m tests.crash.every_call --every 12       each twelfth call
    python -m tests.crash.every_call --random 500     so many runs with random faults instead

A process says what it was told is done; after its end the store must be sound and hold all of that. A process that meets
an error goes on, or ends with an error of yamlflow's own that names the store; never with any other.
"""

from __future__ import annotations

import argparse
import errno
import json
import logging
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from yamlflow.errors import StoreError
from yamlflow.outcome import Json

from .disk import ALWAYS, Calls, Disk, Fault, with_disk
from .small_run import Play, kept, lost, unsound


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """What a process suffers."""

    name: str
    calls: Calls
    fault: Fault
    number: int = 0
    #: How many calls in a row.
    length: int = 1
    #: Each call with these odds, instead of one.
    odds: float = 0.0

    @property
    def kills(self) -> bool:
        """Whether it ends the process."""
        return self.fault in (Fault.KILL, Fault.TEAR)


TROUBLES = (
    Trouble(name="kill -9 before a call", calls=Calls.CHANGES | Calls.UNLOCK, fault=Fault.KILL),
    Trouble(name="kill -9 within a write", calls=Calls.WRITE, fault=Fault.TEAR),
    Trouble(name="EIO of a write", calls=Calls.WRITE, fault=Fault.ERROR, number=errno.EIO),
    Trouble(name="ENOSPC of a write", calls=Calls.WRITE, fault=Fault.ERROR, number=errno.ENOSPC),
    Trouble(name="EFBIG of a write", calls=Calls.WRITE, fault=Fault.ERROR, number=errno.EFBIG),
    Trouble(name="a short write", calls=Calls.WRITE, fault=Fault.SHORT),
    Trouble(name="ENOSPC of 5 writes", calls=Calls.WRITE, fault=Fault.ERROR, number=errno.ENOSPC, length=5),
    Trouble(name="EIO of a read", calls=Calls.READ, fault=Fault.ERROR, number=errno.EIO),
    Trouble(name="EIO of a sync", calls=Calls.SYNC, fault=Fault.ERROR, number=errno.EIO),
    Trouble(name="EIO of a lock", calls=Calls.LOCK, fault=Fault.ERROR, number=errno.EIO),
    Trouble(name="EIO of a truncation", calls=Calls.TRUNCATE, fault=Fault.ERROR, number=errno.EIO),
    Trouble(name="EIO of a removal", calls=Calls.UNLINK, fault=Fault.ERROR, number=errno.EIO),
    Trouble(name="EIO of an opening", calls=Calls.OPEN, fault=Fault.ERROR, number=errno.EIO),
    Trouble(name="EMFILE of an opening", calls=Calls.OPEN, fault=Fault.ERROR, number=errno.EMFILE),
)
#: What random faults are drawn from.
RANDOM = (errno.EIO, errno.ENOSPC, errno.EAGAIN)


@dataclass
class Ending:
    """How a process ended."""

    #: What it was told is done, in order.
    heard: list[str] = field(default_factory=list)
    killed: bool = False
    #: How many calls it made, where it could say so.
    count: int = 0
    #: The error of yamlflow's own that ended it.
    refused: str = ""
    #: Any other.
    fault: str = ""
    outcome: Json = None


def in_process(
    home: Path, trouble: Trouble | None = None, at: int = 0, *, seed: int = 0, life: int = 1, runs: int = 1
) -> Ending:
    """Play the small run in a process of its own, with its ``at``-th call suffering a trouble."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        # One that hangs is found, too.
        signal.alarm(120)
        child(home, writer, trouble, at, seed=seed, life=life, runs=runs)
    os.close(writer)
    with open(reader, encoding="utf-8") as stream:
        lines = stream.read().splitlines()
    _, status = os.waitpid(pid, 0)
    ending = Ending(killed=os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL)
    for line in lines:
        word, _, rest = line.partition(" ")
        match word:
            case "count":
                ending.count = int(rest)
            case "refused" | "fault" | "outcome":
                setattr(ending, word, json.loads(rest))
            case _:
                ending.heard.append(line)
    if os.WIFSIGNALED(status) and not ending.killed:
        ending.fault = f"it was ended by signal {os.WTERMSIG(status)}"
    return ending


def child(home: Path, writer: int, trouble: Trouble | None, at: int, *, seed: int, life: int, runs: int) -> None:
    """The process itself; it does not come back."""

    def say(word: str, value: Any = None) -> None:
        text = word if value is None else f"{word} {json.dumps(value, sort_keys=True)}"
        os.write(writer, f"{text}\n".encode())

    logging.getLogger("yamlflow").addHandler(logging.NullHandler())
    try:
        disk = Disk()
        if trouble is None:
            disk.arm(home / "y.db", Calls(0))
        else:
            last = ALWAYS if trouble.odds else at + trouble.length
            disk.arm(
                home / "y.db", trouble.calls, trouble.fault, number=trouble.number, first=at, last=last,
                odds=trouble.odds, seed=seed,
            )  # fmt: skip
        play = Play(home, say, life=life)
        try:
            for number in range(runs):
                play.act(f"r{number}")
            if len(kept) != len(set(kept)):
                say("fault", "a step was called again though its process lived through the trouble")
            if trouble is None:
                say("outcome", play.outcome())
        finally:
            play.close()
    except StoreError as trouble_met:
        if str(home) in str(trouble_met):
            say("refused", str(trouble_met))
        else:
            say("fault", f"an error that does not name the store: {trouble_met!r}")
    except BaseException:
        say("fault", traceback.format_exc())
    finally:
        say("count", Disk().count)
        os._exit(0)


def check(home: Path, ending: Ending, expected: Json) -> list[str]:
    """Everything that is wrong after a process has met trouble: in the store now, and once another one went on."""
    store = home / "y.db"
    wrong = [f"it ended with a fault:\n{ending.fault}"] if ending.fault else []
    if store.exists() and store.stat().st_size:
        wrong += [f"acknowledged and lost: {one}" for one in lost(store, ending.heard)]
        wrong += [f"unsound: {one}" for one in unsound(store)]
    elif ending.heard:
        wrong.append(f"acknowledged, and there is no store: {ending.heard[0]}")
    again = in_process(home, life=2)
    if again.fault or again.refused:
        wrong.append(f"another process could not go on: {again.refused}{again.fault}")
    elif again.outcome != expected:
        wrong.append(f"another outcome:\n{json.dumps(again.outcome)}\n  instead of\n{json.dumps(expected)}")
    wrong += [f"acknowledged and lost later: {one}" for one in lost(store, [*ending.heard, *again.heard])]
    wrong += [f"unsound in the end: {one}" for one in unsound(store)]
    return wrong


@dataclass
class Report:
    """What a sweep has found."""

    faults: Counter[str] = field(default_factory=Counter)
    #: Processes that ended with an error of yamlflow's own, as they should where they could not go on.
    refused: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


def sweep(folder: Path, *, every: int = 1, only: str = "") -> Report:
    """Each trouble at each call (or each ``every``-th) of the small run."""
    report = Report()
    plain = in_process(made(folder))
    assert plain.outcome, plain
    for turn, trouble in enumerate(TROUBLES):
        if only not in trouble.name:
            continue
        # Samples of different troubles begin at different calls; of some calls there are few.
        at = 1 + turn % min(every, 4)
        while True:
            home = made(folder)
            ending = in_process(home, trouble, at)
            struck = ending.killed if trouble.kills else ending.count >= at
            if struck:
                report.faults[trouble.name] += 1
                report.refused[trouble.name] += bool(ending.refused)
            # After the last call there is nothing new to be seen.
            found = check(home, ending, plain.outcome) if struck else [ending.fault] if ending.fault else []
            report.wrong += [f"{trouble.name} {at}: {one}" for one in found]
            shutil.rmtree(home)
            if not struck:
                break
            at += every
        print(f"{trouble.name}: {report.faults[trouble.name]} calls", file=sys.stderr, flush=True)
    return report


def storm(folder: Path, runs: int, odds: float, seed: int) -> Report:
    """Runs whose every call may fail."""
    report = Report()
    plain = in_process(made(folder))
    for number in range(runs):
        rnd = random.Random(seed + number)
        trouble = Trouble(
            name="random errors",
            calls=Calls.CHANGES | Calls.READ,
            fault=Fault.ERROR,
            number=rnd.choice(RANDOM),
            odds=odds,
        )
        home = made(folder)
        ending = in_process(home, trouble, seed=seed + number)
        report.faults[trouble.name] += 1
        report.refused[trouble.name] += bool(ending.refused)
        report.wrong += [f"seed {seed + number}: {one}" for one in check(home, ending, plain.outcome)]
        shutil.rmtree(home)
    return report


def made(folder: Path) -> Path:
    """A new folder in it."""
    return Path(tempfile.mkdtemp(dir=folder))


def scratch() -> Path:
    """Where the stores lie: in memory, where there is such a place."""
    shared = Path("/dev/shm")
    return Path(tempfile.mkdtemp(prefix="yamlflow-crash-", dir=shared if os.access(shared, os.W_OK) else None))


def lines(report: Report) -> Iterator[str]:
    """What is printed."""
    for name, count in report.faults.items():
        yield f"{count:6} × {name}, {report.refused[name]} of them ended with an error that names the store"
    for one in report.wrong:
        yield f"WRONG: {one}"
    yield f"{report.faults.total()} faults, {len(report.wrong)} wrong"


def main(arguments: list[str]) -> int:
    """Run a sweep and print what it found."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash.every_call")
    parser.add_argument("--every", type=int, default=1, help="only each n-th call")
    parser.add_argument("--only", default="", help="only troubles whose name has this in it")
    parser.add_argument("--random", type=int, default=0, metavar="RUNS", help="random faults in so many runs instead")
    parser.add_argument("--odds", type=float, default=0.004)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args(arguments)
    folder, began = scratch(), time.monotonic()
    try:
        if given.random:
            report = storm(folder, given.random, given.odds, given.seed)
        else:
            report = sweep(folder, every=given.every, only=given.only)
    finally:
        shutil.rmtree(folder)
    print("\n".join(lines(report)))
    print(f"{time.monotonic() - began:.0f} s")
    return 1 if report.wrong else 0


if __name__ == "__main__":
    with_disk(["tests.crash.every_call", *sys.argv[1:]])
    sys.exit(main(sys.argv[1:]))
