"""``doctor``: what might be wrong with this machine, the store and the plugins."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import YamlflowError
from .common import command, json_option

if TYPE_CHECKING:
    from ..project import Project
    from ..store.base import Store

#: File systems on which SQLite's locks and shared memory cannot be relied on.
REMOTE = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "afs", "ceph", "glusterfs", "lustre"})
#: From this version on SQLite resets its WAL safely; so do the versions that got the correction later.
SAFE_WAL, CORRECTED = (3, 51, 3), frozenset({(3, 50, 7), (3, 44, 6)})
#: A live run that nothing has happened to for this long is worth a look; milliseconds.
LONG = 3_600_000


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was looked at."""

    #: ``ok``, ``warning`` or ``error``.
    level: str
    about: str
    message: str

    def to_json(self) -> dict[str, str]:
        """The shape that ``--json`` prints."""
        return {"level": self.level, "about": self.about, "message": self.message}


@command(
    "doctor", plugins=True, short_help="Check this machine, the store and the plugins.",
    examples=[("yamlflow doctor", "exit status 2 when something is wrong, 4 when it is the store")],
)  # fmt: skip
@json_option
@click.pass_context
def doctor(ctx: click.Context, as_json: bool) -> int:
    """Look for what makes trouble: the SQLite library, the disk, the store, broken plugins, dead workers, stuck runs.
    Nothing is changed.
    """
    from .opening import project_of
    from .texts import as_json as written

    project = project_of(ctx)
    findings = [*machine(), *disk(project), *store(ctx, project), *plugins(ctx, project)]
    if as_json:
        click.echo(written([one.to_json() for one in findings]))
    else:
        signs = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "error": ("✗", "red")}
        for one in findings:
            sign, colour = signs[one.level]
            click.echo(f"{click.style(sign, fg=colour)} {one.about}: {one.message}")
    errors = [one for one in findings if one.level == "error"]
    return 4 if any(one.about == "store" for one in errors) else 2 if errors else 0


def machine() -> Iterator[Finding]:
    """The Python and the SQLite that are in use."""
    import sys

    yield Finding(level="ok", about="python", message=sys.version.split()[0])
    version = sqlite3.sqlite_version_info
    if version >= SAFE_WAL or version in CORRECTED:
        yield Finding(level="ok", about="sqlite", message=sqlite3.sqlite_version)
    else:
        text = (
            f"{sqlite3.sqlite_version} can, very rarely, damage a WAL that several processes reset at once; "
            "3.51.3, 3.50.7 and 3.44.6 cannot. Upgrade it, or keep to one process a store."
        )
        yield Finding(level="warning", about="sqlite", message=text)


def disk(project: Project) -> Iterator[Finding]:
    """Where the store lies."""
    import shutil

    from ..private import shared
    from ..store.connection import file_of, trouble_at

    file = file_of(project.store).absolute()
    folder = file.parent
    while not folder.exists():
        folder = folder.parent
    kind = file_system(folder)
    if kind in REMOTE:
        text = f"{folder} is on {kind}: SQLite's locks do not hold there. Put the store on a local disk with --store."
        yield Finding(level="error", about="disk", message=text)
    else:
        yield Finding(level="ok", about="disk", message=f"{folder} is on {kind or 'an unknown file system'}")
    if trouble := trouble_at(file if folder == file.parent else folder / file.name):
        yield Finding(level="error", about="store", message=f"nothing can be stored: {trouble}")
    else:
        state = file.parent if project.owns_store else file
        if state.exists() and (others := shared(state)):
            text = f"{state} holds what runs were given and gave, and others may {others} it: chmod go-rwx {state}"
            yield Finding(level="warning", about="store", message=text)
    free = shutil.disk_usage(folder).free
    if free < 100 * 1024 * 1024:
        yield Finding(level="warning", about="disk", message=f"only {free // (1024 * 1024)} MB are free")


def file_system(folder: Path) -> str:
    """The type of the file system that a folder is on; empty where nothing says so."""
    try:
        lines = Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    place, kind = "", ""
    for fields in (line.split() for line in lines):
        mount = fields[1].replace("\\040", " ")
        if len(mount) >= len(place) and folder.resolve().is_relative_to(mount):
            place, kind = mount, fields[2]
    return kind


def store(ctx: click.Context, project: Project) -> Iterator[Finding]:
    """The store's file and rows, its workers and runs."""
    from .db import connected, facts, faults_in

    path = Path(project.store.removeprefix("sqlite:///"))
    if not path.is_file():
        yield Finding(level="ok", about="store", message=f"{project.store} is not there yet")
        return
    try:
        with connected(path, project.store) as connection:
            facts(connection, path, project.store)
            faults = faults_in(connection)
        for fault in faults:
            yield Finding(level="error", about="store", message=fault)
        if not faults:
            yield Finding(level="ok", about="store", message=f"{project.store} is sound")
            yield from life(ctx)
    except YamlflowError as wrong:
        yield Finding(level="error", about="store", message=str(wrong))


def life(ctx: click.Context) -> Iterator[Finding]:
    """Workers that died, and live runs that nobody works on."""
    from ..clock import SystemClock
    from ..views.workers import workers_of
    from .opening import looking
    from .resume import live_runs
    from .texts import length

    now = SystemClock().now()
    with looking(ctx) as archive:
        found = workers_of(archive.store)
        alive = [one for one in found if one.alive]
        for one in found:
            if one.status == "dead" and holds_leases(archive.store, one.name):
                text = f"{one.name} (process {one.pid}) died with steps in hand; the next worker takes them over"
                yield Finding(level="warning", about="workers", message=text)
        yield Finding(level="ok", about="workers", message=f"{len(alive)} running")
        for run in live_runs(archive.store):
            if not any(one.works_on(run) for one in alive):
                text = f"{run.id} has not ended and no worker takes it up: yamlflow resume {run.id}"
                yield Finding(level="warning", about="runs", message=text)
            elif now - run.created_at > LONG and (idle := now - last_at(archive.store, run.key, run.created_at)) > LONG:
                text = f"nothing happened to {run.id} for {length(idle)}: yamlflow show {run.id} says why"
                yield Finding(level="warning", about="runs", message=text)


def holds_leases(store: Store, worker: str) -> bool:
    """Whether a worker holds leases."""
    with store.transaction() as tx:
        return bool(tx.leased(workers=[worker]))


def last_at(store: Store, run: int, otherwise: int) -> int:
    """When something last happened to a run."""
    with store.transaction() as tx:
        last = tx.last_event(run)
    events = store.events(run, after=last - 1, limit=1)
    return events[0].at if events else otherwise


def plugins(ctx: click.Context, project: Project) -> Iterator[Finding]:
    """Plugins that cannot be used."""
    from .opening import plugins_of

    try:
        found = plugins_of(ctx, project)
    except YamlflowError as wrong:
        yield Finding(level="error", about="plugins", message=str(wrong))
        return
    for one in found.broken:
        yield Finding(level="error", about="plugins", message=str(one))
    if not found.broken:
        yield Finding(level="ok", about="plugins", message=f"{len(found.executors)} kinds")
