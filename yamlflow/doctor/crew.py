"""Workers and what they hold: who died, who is frozen, whose leases nobody takes over, which processes were left behind."""

from __future__ import annotations

import os
import socket
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path

from ..clock import MINUTE
from ..duration import format_duration
from ..guard import MARK, environments
from ..scheduler import lock_is_free
from ..views.workers import WorkerView
from . import Finding, Visit

#: A worker says every third of its lease that it lives; milliseconds of silence that are none of its own making.
SILENCE = 2 * MINUTE
#: Each worker that holds leases, how many, and when the first of them runs out (steady clock). By the index over leases.
LEASES = """
select worker, count(*), min(leased_until) from steps indexed by steps_running where status = 'running' group by worker
"""


def workers(connection: sqlite3.Connection, visit: Visit, found: list[WorkerView], *, steady: int) -> Iterator[Finding]:
    """Those that live, and what is wrong with the others."""
    alive = [one for one in found if one.alive]
    yield Finding(level="ok", about="workers", message=f"{len(alive)} running")
    known = {one.name: one for one in found}
    held = {name: (count, until) for name, count, until in connection.execute(LEASES)}
    for name, (count, until) in held.items():
        yield from leases(visit, known.get(name), name, count, overdue=steady - until, others=alive)
    for one in alive:
        if one.host == socket.gethostname() and visit.now - one.seen_at > SILENCE:
            yield silent(visit, one, held.get(one.name, (0, 0))[0])
    for path in sorted((visit.home / "workers").glob("*.lock")):
        row = known.get(path.name.removesuffix(".lock"))
        if (row is None or (not row.alive and row.status != "dead")) and lock_is_free(path):
            message = f"{path} is the sign of a worker that is no more"
            yield Finding(level="hint", about="workers", message=message, remedy=f"it does no harm; rm {path}")


def leases(
    visit: Visit, one: WorkerView | None, name: str, count: int, *, overdue: int, others: list[WorkerView]
) -> Iterator[Finding]:
    """Leases of a worker that cannot end them."""
    next_one = (
        "a worker that runs takes them over within a second" if others else f"{visit.command('resume')} takes them over"
    )
    held = f"holds {count} step{'s' if count > 1 else ''}"
    if one is not None and one.status == "dead":
        message = f"{name} (process {one.pid}) died and {held}"
        yield Finding(level="warning", about="workers", message=message, remedy=next_one)
    elif one is not None and one.alive and one.host != socket.gethostname() and visit.now - one.seen_at > SILENCE:
        silence = format_duration((visit.now - one.seen_at) // 1000 * 1000)
        message = f"{name} on the machine {one.host} {held}, and was last heard of {silence} ago"
        remedy = f"if that machine, or that boot of it, is no more: {visit.command(f'workers --gone {name}')}"
        yield Finding(level="warning", about="workers", message=message, remedy=remedy)
    elif overdue > MINUTE and (one is None or not one.alive):
        message = f"{name}, which no longer works on this store, {held}; the leases ran out"
        yield Finding(level="warning", about="workers", message=message, remedy=next_one)


def silent(visit: Visit, one: WorkerView, count: int) -> Finding:
    """A worker whose process is there and that does not say so any more."""
    silence = format_duration((visit.now - one.seen_at) // 1000 * 1000)
    held = f"; {count} of its steps are offered to others when their leases run out" if count else ""
    if process_state(one.pid) in ("T", "t"):
        message = f"{one.name} (process {one.pid}) is stopped, for {silence}{held}"
        return Finding(
            level="warning", about="workers", message=message, remedy=f"kill -CONT {one.pid}, or kill -KILL {one.pid}"
        )
    message = f"{one.name} (process {one.pid}) lives, and has not said so for {silence}{held}"
    remedy = f"look at what it does (py-spy dump --pid {one.pid}); kill -TERM {one.pid} ends it, its steps are not lost"
    return Finding(level="warning", about="workers", message=message, remedy=remedy)


def process_state(pid: int) -> str:
    """The kernel's letter for what a process does; "" where nothing tells."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return ""


# -- processes -----------------------------------------------------------------------------------------------------


def orphans(visit: Visit) -> Iterator[Finding]:
    """Processes that a worker started here, and neither it nor its guard is there any more to end them."""
    environments = dict(environments_of_processes())
    guarded = marks_of_guards()
    left = [
        pid
        for pid, env in environments.items()
        if MARK in env and env[MARK] not in guarded and is_here(pid, env, visit.home) and is_orphan(pid)
    ]
    for pid in left[:5]:
        env = environments[pid]
        run = f" of run {env['YAMLFLOW_RUN_ID']}" if env.get("YAMLFLOW_RUN_ID") else ""
        message = f"process {pid} ({' '.join(command_of(pid))[:60]}){run} goes on although its worker is no more"
        yield Finding(level="warning", about="processes", message=message, remedy=f"kill -TERM {pid}")
    if len(left) > 5:
        yield Finding(level="warning", about="processes", message=f"{len(left) - 5} more such processes go on")


def is_here(pid: int, env: Mapping[str, str], home: Path) -> bool:
    """Whether a process belongs to a run of this store, by the run's folder, or by where it stands."""
    try:
        places = [env.get("YAMLFLOW_DIR", ""), os.readlink(f"/proc/{pid}/cwd")]
    except OSError:
        return False
    return any(place and Path(place).is_relative_to(home.parent) for place in places)


def environments_of_processes() -> Iterator[tuple[int, Mapping[str, str]]]:
    """The processes that may be read, with what they were started with."""
    for pid, variables in environments():
        pairs = (each.decode("utf-8", "replace").partition("=") for each in variables)
        yield pid, {name: value for name, sign, value in pairs if sign}


def marks_of_guards() -> set[str]:
    """The marks that guards look after: each has its own in its command line, and no environment."""
    marks = set()
    for entry in os.listdir("/proc") if os.path.isdir("/proc") else ():
        if entry.isdecimal():
            words = command_of(int(entry))
            if any(word.endswith("guard.py") for word in words):
                marks.update(words)
    return marks


def command_of(pid: int) -> list[str]:
    """The words of a process's command line; none where nothing tells."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace").strip("\0").split("\0")
    except OSError:
        return []


def is_orphan(pid: int) -> bool:
    """Whether none of the processes above one is a Python that may have started it."""
    for _ in range(50):
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, IndexError, ValueError):
            return True
        if pid <= 1:
            return True
        if any("yamlflow" in word or "python" in word for word in command_of(pid)):
            return False
    return False
