"""Power cuts: what a disk may hold after one, made from the recorded writes and syncs of a real run.

    python -m tests.crash.power --images 10000
    python -m tests.crash.power --images 1000 --synchronous normal    (only the latest commits may be lost)
    python -m tests.crash.power --images 1000 --synchronous off       (shows that the check sees a loss)

A run is recorded on the disk of ``disk.c``: each change of the store's files and each thing that was acknowledged, in
order. An image is what is there when the power goes at one moment of that: of each file all that was synced; of what was
not, each 512-byte sector as some write left it or as it was; a truncation, a new length, a new name and a removal took
place or did not, a name once its folder was synced; the -shm file is gone. In each image the store must open and be
sound, and hold what was acknowledged before the cut: all of it under FULL, and under NORMAL all but the latest.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sqlite3
import struct
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from yamlflow.errors import StoreError
from yamlflow.outcome import Json

from .disk import Calls, Disk, with_disk
from .every_call import in_process, made, scratch
from .small_run import Play, lost, unsound

SECTOR = 512
HEAD = struct.Struct("=ccxxiq")
#: By their number in ``disk.c``; what ends the store's name, or None for its folder.
NAMES: dict[int, str | None] = {1: None, 2: "", 3: "-wal", 4: "-shm", 5: "-journal"}
#: One image in so many is also gone on with, to the end of the run.
RESUMED = 50
#: Pages in the WAL after which it is copied back, so that a short run does that often.
CHECKPOINT = 60
#: How many runs are recorded, one after the other.
RUNS = 2


@dataclass(frozen=True)
class Change:
    """One thing that happened, as ``disk.c`` wrote it down."""

    #: ``w`` write, ``s`` sync, ``t`` truncate, ``u`` unlink, ``o`` open or create, ``a`` acknowledged.
    what: str
    file: int
    at: int
    content: bytes


def record(folder: Path, *, synchronous: str) -> list[Change]:
    """Play runs in a process of its own, and read what its disk wrote down."""
    log = folder / "log"
    home = made(folder)
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            disk = Disk()
            disk.arm(home / "y.db", Calls(0))
            disk.record(os.open(log, os.O_WRONLY | os.O_CREAT, 0o600))
            play = Play(home, disk.mark)
            connection = play.runtime.store._db  # type: ignore[attr-defined]
            connection.execute(f"pragma wal_autocheckpoint = {CHECKPOINT}")
            if synchronous != "full":
                # Nobody may choose "off".
                connection.execute(f"pragma synchronous = {synchronous}")
            for number in range(RUNS):
                play.act(f"r{number}")
            play.close()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    _, status = os.waitpid(pid, 0)
    assert status == 0, "the recorded run came to an error"
    return list(read(log.read_bytes()))


def read(log: bytes) -> Iterator[Change]:
    """The changes in a log."""
    place = 0
    while place < len(log):
        what, file, length, at = HEAD.unpack_from(log, place)
        place += HEAD.size
        size = length if what in b"wa" else 0
        yield Change(what.decode(), file[0], at, log[place : place + size])
        place += size


@dataclass
class File:
    """A file: what is on the disk for sure, and what has happened to it since."""

    durable: bytearray = field(default_factory=bytearray)
    #: Whether its name is there for sure.
    named: bool = False
    #: Whether it is there for those who look, before the cut.
    there: bool = False
    pending: list[Change] = field(default_factory=list)

    def sync(self) -> None:
        """All of it is durable now."""
        for change in self.pending:
            apply(self.durable, change)
        self.pending.clear()

    def image(self, rnd: random.Random) -> bytes:
        """What may be left of it."""
        content = bytearray(self.durable)
        for change in self.pending:
            if change.what == "t":
                if rnd.random() < 0.5:
                    apply(content, change)
                continue
            fate = rnd.random()
            if fate < 0.35:
                apply(content, change)
            elif fate < 0.75:
                tear(content, change, rnd)
        return bytes(content)


def apply(content: bytearray, change: Change) -> None:
    """Do a write or a truncation."""
    if change.what == "t":
        del content[change.at :]
        content.extend(bytes(change.at - len(content)))
        return
    content.extend(bytes(max(0, change.at - len(content))))
    content[change.at : change.at + len(change.content)] = change.content


def tear(content: bytearray, change: Change, rnd: random.Random) -> None:
    """Do a write in part: each of its sectors or not; the file may be longer than what was written of it."""
    end = change.at + len(change.content)
    place = change.at
    while place < end:
        following = min(end, (place // SECTOR + 1) * SECTOR)
        if rnd.random() < 0.5:
            part = change.content[place - change.at : following - change.at]
            apply(content, Change("w", change.file, place, part))
        place = following
    if len(content) < end and rnd.random() < 0.5:
        content.extend(bytes(end - len(content)))


class Machine:
    """The files of one store while changes happen to them."""

    def __init__(self) -> None:
        self.files: dict[int, File] = {}
        self.heard: list[str] = []

    def happen(self, change: Change) -> None:
        """One change."""
        if change.what == "a":
            self.heard.append(change.content.decode())
            return
        if NAMES[change.file] is None:
            if change.what == "s":
                self._sync_names()
            return
        file = self.files.setdefault(change.file, File())
        match change.what:
            case "o":
                file.there = True
            case "u":
                file.there = False
            case "s":
                file.sync()
            case _:
                file.pending.append(change)

    def _sync_names(self) -> None:
        for file in self.files.values():
            file.named = file.there
            if not file.there:
                file.durable.clear()
                file.pending.clear()

    def cut(self, folder: Path, rnd: random.Random) -> None:
        """Write down what may be left when the power goes now."""
        for number, file in self.files.items():
            name = NAMES[number]
            if name == "-shm":
                continue
            if file.named if file.named == file.there else rnd.random() < 0.5:
                (folder / f"y.db{name}").write_bytes(file.image(rnd))


@dataclass
class Report:
    """What was found in images."""

    images: int = 0
    #: Those in which something acknowledged is not there.
    losing: int = 0
    lost: int = 0
    resumed: int = 0
    wrong: list[str] = field(default_factory=list)
    changes: Counter[str] = field(default_factory=Counter)


def examine(home: Path, heard: list[str], report: Report, *, synchronous: str) -> list[str]:
    """What is wrong with one image."""
    store = home / "y.db"
    wrong: list[str] = []
    gone: list[str] = []
    if store.exists():
        try:
            gone = lost(store, heard)
            wrong = [f"unsound: {one}" for one in unsound(store)]
        except (StoreError, sqlite3.Error) as fault:
            wrong, gone = [f"it cannot be read: {fault!r}"], heard
    else:
        gone = heard
    report.losing += bool(gone)
    report.lost += len(gone)
    if synchronous == "full":
        wrong += [f"acknowledged and lost: {one}" for one in gone[:3]]
    elif gone != heard[len(heard) - len(gone) :]:
        wrong.append(f"lost, though later ones are there: {gone[0]}")
    return wrong


def cut_often(folder: Path, *, images: int, seed: int, synchronous: str = "full") -> Report:
    """Cut the power at random moments of a recorded run."""
    report = Report()
    changes = record(made(folder), synchronous=synchronous)
    report.changes.update(change.what for change in changes)
    expected = in_process(made(folder), runs=RUNS).outcome
    rnd = random.Random(seed)
    moments = Counter(rnd.randrange(len(changes) + 1) for _ in range(images))
    machine = Machine()
    for moment in range(len(changes) + 1):
        for number in range(moments[moment]):
            chance = random.Random(f"{seed}/{moment}/{number}")
            home = made(folder)
            machine.cut(home, chance)
            report.images += 1
            wrong = examine(home, machine.heard, report, synchronous=synchronous)
            if synchronous == "full" and not wrong and report.images % RESUMED == 0:
                report.resumed += 1
                again = in_process(home, life=2, runs=RUNS)
                if runs_of(again.outcome) != runs_of(expected):
                    wrong.append(f"another process could not go on: {again}")
            report.wrong += [f"seed {seed}, change {moment}, image {number}: {one}" for one in wrong]
            shutil.rmtree(home)
        if moment < len(changes):
            machine.happen(changes[moment])
    return report


def runs_of(outcome: Json) -> Json:
    """What came of the runs; records that had reached their projection lie in a file of their own, not in the image."""
    return {name: what for name, what in (outcome or {}).items() if name != "notes"}


def main(arguments: list[str]) -> int:
    """Make images and print what they hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash.power")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--synchronous", choices=["full", "normal", "off"], default="full")
    given = parser.parse_args(arguments)
    folder, began = scratch(), time.monotonic()
    try:
        report = cut_often(folder, images=given.images, seed=given.seed, synchronous=given.synchronous)
    finally:
        shutil.rmtree(folder)
    for one in report.wrong:
        print(f"WRONG: {one}")
    names = {"w": "writes", "s": "syncs", "t": "truncations", "u": "removals", "o": "openings", "a": "acknowledged"}
    print(", ".join(f"{report.changes[what]} {name}" for what, name in names.items()))
    print(
        f"{report.images} power cuts under {given.synchronous}: {report.losing} images lost {report.lost} acknowledged, "
        f"{report.resumed} gone on with to the end, {len(report.wrong)} wrong; {time.monotonic() - began:.0f} s"
    )
    return 1 if report.wrong else 0


if __name__ == "__main__":
    with_disk(["tests.crash.power", *sys.argv[1:]])
    sys.exit(main(sys.argv[1:]))
