"""What time brings: leases that ran out, workers that died, timers that are due. Idempotent; any process may run it.

A worker that lives holds a file locked; the lock goes with the process, however it ends. So a dead worker on this machine
is known at once, and a lease need not run out before its steps are offered again. Leases of an earlier boot are void.
"""

from __future__ import annotations

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path

from .engine.cache import drop_expired
from .engine.commands import expire, wake
from .engine.follow import settle
from .engine.locks import sweep
from .engine.work import Work
from .private import make_folder, open_file
from .rows import WorkerRow


@dataclass(frozen=True, kw_only=True)
class Here:
    """The process that looks: its own worker, its machine and that machine's boot."""

    worker: str
    host: str
    boot: str


#: Timers that one transaction wakes at most; the next cycle takes the rest.
WAKE_BATCH = 1000


def tick(work: Work, *, steady: int, here: Here | None = None, thorough: bool = True) -> bool:
    """Expire what is lost and wake what is due, within an open transaction; whether there may be more at once.

    With ``here`` the leases of workers that are known to be dead are void at once. What costs more than a glance is left
    out unless the look is ``thorough``.
    """
    for row in work.tx.leased(expired_at=steady):
        expire(work, work.step(row.id))
    if here is not None:
        for worker in work.tx.holders():
            if worker.name != here.worker and is_dead(worker, host=here.host, boot=here.boot):
                bury(work, worker)
    if thorough:
        sweep(work)
        drop_expired(work)
    return wake_due(work)


def bury(work: Work, worker: WorkerRow) -> None:
    """A worker died: its leases are void, and its name is marked."""
    for row in work.tx.leased(workers=[worker.name]):
        current = work.step(row.id)
        # One that ran out as well has been expired within this transaction already.
        if current.status == "running" and current.worker == worker.name:
            expire(work, current)
    work.tx.put_worker(worker._replace(status="lost"))
    if worker.lock is not None:
        Path(worker.lock).unlink(missing_ok=True)


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
    """A file that this process holds locked as long as it lives."""

    def __init__(self, folder: Path, name: str) -> None:
        make_folder(folder)
        self.path = folder / f"{name}.lock"
        self._handle = open_file(self.path, os.O_RDWR)
        fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def end(self) -> None:
        """Give the lock back; the worker is gone."""
        self.path.unlink(missing_ok=True)
        os.close(self._handle)


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
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except OSError:
        return False
    finally:
        os.close(handle)
