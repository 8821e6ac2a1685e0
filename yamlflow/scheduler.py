"""What time brings: leases that ran out, workers that died, timers that are due. Idempotent; any process may run it.

A worker that lives holds a file locked; the lock goes with the process, however it ends. So a dead worker on this machine
is known at once, and a lease need not run out before its steps are offered again. Leases of an earlier boot are void.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from .clock import wait
from .engine.cache import drop_expired
from .engine.commands import expire, wake
from .engine.follow import settle
from .engine.locks import sweep
from .engine.work import Work
from .errors import NotAllowed
from .private import make_folder, open_file
from .rows import StepRow, WorkerRow


@dataclass(frozen=True, kw_only=True)
class Here:
    """The process that looks: its own worker, its machine and that machine's boot."""

    worker: str
    host: str
    boot: str


#: Timers that one transaction wakes at most; the next cycle takes the rest.
WAKE_BATCH = 1000
#: How often, and after how many milliseconds, a lock is tried that others hold for the moment of a look.
TRIES, PAUSE = 20, 20


def tick(work: Work, *, steady: int, here: Here | None = None, thorough: bool = True, judging: bool = True) -> bool:
    """Expire what is lost and wake what is due, within an open transaction; whether there may be more at once.

    With ``here`` the leases of workers that are known to be dead are void at once. What costs more than a glance is left
    out unless the look is ``thorough``. Without ``judging`` leases that ran out are left to whoever has them.
    """
    if judging:
        lose(work, work.tx.leased(expired_at=steady))
    if here is not None:
        for worker in work.tx.watched():
            if worker.name != here.worker and is_dead(worker, host=here.host, boot=here.boot):
                bury(work, worker)
    if thorough:
        sweep(work)
        drop_expired(work)
    return wake_due(work)


def lose(work: Work, rows: Iterable[StepRow]) -> None:
    """Void leases, as the store has them: this transaction may have given one back already, or voided it."""
    for row in rows:
        current = work.step(row.id)
        if current.status == "running" and current.epoch == row.epoch:
            expire(work, current)


def bury(work: Work, worker: WorkerRow) -> None:
    """A worker died: its leases are void, and its name is marked."""
    lose(work, work.tx.leased(workers=[worker.name]))
    work.tx.put_worker(worker._replace(status="lost"))
    if worker.lock is not None:
        take_away(Path(worker.lock))


def wake_due(work: Work) -> bool:
    """Wake what is due; whether there may be more."""
    work.flush()
    due = work.tx.due(work.now, WAKE_BATCH)
    for row in due:
        current = work.step(row.id)
        if current.parked == "timer" and (current.available_at or 0) <= work.now:
            wake(work, current)
            settle(work)
    return len(due) == WAKE_BATCH


class LifeSign:
    """A file that this process holds locked as long as it lives. ``NotAllowed`` when another one of that name lives."""

    def __init__(self, folder: Path, name: str) -> None:
        make_folder(folder)
        # Of those that were killed before they had said in the store who they are.
        for left in folder.glob("*.lock"):
            take_away(left)
        self.path = folder / f"{name}.lock"
        for _ in range(TRIES):
            handle = open_file(self.path, os.O_RDWR)
            if is_locked(handle) and is_at(handle, self.path):
                self._handle = handle
                return
            os.close(handle)
            # Somebody looks whether it is locked, or has just taken away what a dead one of this name left.
            wait(PAUSE)
        raise NotAllowed(f'a worker named "{name}" is at work already; give this one another name')

    def end(self) -> None:
        """Give the lock back; the worker is gone."""
        self.path.unlink(missing_ok=True)
        os.close(self._handle)


def take_away(path: Path) -> None:
    """Remove the file of a dead worker, unless one of the same name has begun to live meanwhile."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return
    if is_locked(handle) and is_at(handle, path):
        path.unlink(missing_ok=True)
    os.close(handle)


def is_locked(handle: int) -> bool:
    """Whether the lock was free, and is ours now."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def is_at(handle: int, path: Path) -> bool:
    """Whether an open file is still the one at a path."""
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except OSError:
        return False


def is_dead(worker: WorkerRow, *, host: str, boot: str) -> bool:
    """Whether a worker certainly is no more. One on another host is left to its leases."""
    if worker.status != "running":
        return True
    if worker.host != host:
        return False
    if worker.boot != boot:
        return True
    return worker.lock is not None and lock_is_free(Path(worker.lock))


def lock_is_free(path: Path) -> bool:
    """Whether nobody holds the lock; a file that is gone was taken away by its owner at its end."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    try:
        return is_locked(handle)
    finally:
        os.close(handle)
