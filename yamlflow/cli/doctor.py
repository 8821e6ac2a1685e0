"""``doctor``: what is wrong with this machine, the store and the runs, or only looks so."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import StoreError, YamlflowError
from .common import command, flags_of, json_option

if TYPE_CHECKING:
    from ..doctor import Finding, Visit
    from ..doctor.runs import Round
    from ..plugins import Plugins
    from ..project import Project
    from ..store.base import Store


@command(
    "doctor", plugins=True, short_help="Find what is wrong with this machine, the store and the runs.",
    examples=[
        ("yamlflow doctor", "exit status 2 when something is wrong, 4 when it is the store"),
        ("yamlflow doctor last", "one run: why each step of it stands where it stands"),
    ],
)  # fmt: skip
@click.argument("run_id", required=False, metavar="[RUN]")
@json_option
@click.pass_context
def doctor(ctx: click.Context, run_id: str | None, as_json: bool) -> int:
    """Look for what makes trouble: the SQLite library, the disk, the store and its WAL, broken plugins, missing kinds and
    secrets, dead and frozen workers, processes and files left behind, stuck runs. Each finding says what to do. What waits as
    it should is no trouble. Nothing is changed.

    Exit status 0, also with warnings; 2 when something is broken, 4 when it is the store.
    """
    from .opening import project_of
    from .texts import as_json as written

    project = project_of(ctx)
    findings = list(of_run(ctx, project, run_id) if run_id else of_all(ctx, project))
    if as_json:
        click.echo(written([one.to_json() for one in findings]))
    else:
        for one in findings:
            tell(one)
    errors = [one for one in findings if one.level == "error"]
    return 4 if any(one.about == "store" for one in errors) else 2 if errors else 0


def tell(one: Finding) -> None:
    """One finding, with what to do on a line of its own."""
    sign, colour = {"ok": ("✓", "green"), "hint": ("·", "blue"), "warning": ("!", "yellow"), "error": ("✗", "red")}[
        one.level
    ]
    click.echo(f"{click.style(sign, fg=colour)} {one.about}: {one.message}")
    if one.remedy:
        click.echo(f"  → {one.remedy}")


def visit_of(project: Project) -> Visit:
    """What is to be looked at, now."""
    from ..clock import WallClock
    from ..doctor import Visit
    from ..store.trouble import file_of
    from .opening import hint

    file = file_of(project.store)
    return Visit(
        home=file.absolute().parent, file=file, url=project.store, now=WallClock().now(),
        command=lambda words: f"`{hint(project, words)}`",
    )  # fmt: skip


def of_all(ctx: click.Context, project: Project) -> Iterator[Finding]:
    """Everything."""
    from ..doctor import machine
    from ..doctor.crew import orphans

    visit = visit_of(project)
    yield from machine.machine()
    yield from machine.disk(visit)
    yield from machine.permissions(visit, project.plugin_folders())
    found, troubles = loaded_plugins(ctx, project)
    yield from troubles
    yield from of_store(ctx, project, visit, found)
    yield from orphans(visit)


def of_store(ctx: click.Context, project: Project, visit: Visit, plugins: Plugins | None) -> Iterator[Finding]:
    """The store's file, and the life in it."""
    from ..doctor import Finding, file
    from ..store.schema import VERSION
    from .db import connected, refuse_others

    if not visit.file.is_file():
        yield Finding(level="ok", about="store", message=f"{visit.url} is not there yet")
        return
    try:
        yield from file.wal(visit)
        with connected(visit.file, visit.url) as connection:
            refuse_others(connection, visit.url)
            yield from file.schema(connection, visit)
            if connection.execute("pragma user_version").fetchone()[0] != VERSION:
                return
            yield from file.soundness(connection, visit)
            yield from file.size(connection, visit)
            yield from file.clock(connection, visit)
            yield from life(ctx, project, visit, connection, plugins)
    except StoreError as wrong:
        yield Finding(level="error", about="store", message=str(wrong))


def life(
    ctx: click.Context, project: Project, visit: Visit, connection: sqlite3.Connection, plugins: Plugins | None
) -> Iterator[Finding]:
    """Workers, live runs, and what those need."""
    from ..clock import SystemClock
    from ..doctor import crew, files, runs
    from ..secrets import Secrets
    from ..store.sqlite import SqliteStore

    store: Store = SqliteStore(connection)
    look = round_of(visit, connection, store, plugins)
    yield from crew.workers(connection, visit, look.workers, steady=SystemClock().steady())
    found, troubles = files.texts(store)
    yield from troubles
    yield from runs.stuck(look)
    yield from files.packages(found)
    if plugins is not None and not flags_of(ctx).get("no_plugins"):
        elsewhere = frozenset(kind for one in look.workers if one.alive for kind in one.kinds or ())
        yield from files.kinds(found, here=frozenset(plugins.executors), elsewhere=elsewhere)
        yield from files.secrets(found, Secrets(project.root, plugins.secret))
    yield from files.leftovers(connection, visit)


def round_of(visit: Visit, connection: sqlite3.Connection, store: Store, plugins: Plugins | None) -> Round:
    """One look at the runs of a store."""
    from ..doctor.runs import Round
    from ..views.queues import queues_of
    from ..views.workers import workers_of

    return Round(
        visit=visit, store=store, connection=connection, workers=workers_of(store),
        queues={queue.name: queue for queue in queues_of(store, now=visit.now)},
        kinds=None if plugins is None else frozenset(plugins.executors),
    )  # fmt: skip


def of_run(ctx: click.Context, project: Project, run_id: str) -> Iterator[Finding]:
    """One run."""
    from ..doctor.runs import explained_run
    from ..store.connection import refuse_foreign
    from ..store.sqlite import SqliteStore
    from .db import connected, file_of
    from .opening import find_run

    file_of(ctx)
    visit = visit_of(project)
    plugins, _ = loaded_plugins(ctx, project)
    with connected(visit.file, visit.url) as connection:
        refuse_foreign(connection, visit.url)
        store: Store = SqliteStore(connection)
        store.url = visit.url
        run = find_run(store, run_id)
        yield from explained_run(round_of(visit, connection, store, plugins), run)


def loaded_plugins(ctx: click.Context, project: Project) -> tuple[Plugins | None, list[Finding]]:
    """The plugins, and what is wrong with some."""
    from ..doctor import Finding
    from .opening import plugins_of

    try:
        found = plugins_of(ctx, project, *beside(project))
    except YamlflowError as wrong:
        return None, [Finding(level="error", about="plugins", message=str(wrong))]
    broken = [Finding(level="error", about="plugins", message=str(one), remedy=MEND) for one in found.broken]
    return found, broken or [Finding(level="ok", about="plugins", message=f"{len(found.executors)} kinds")]


MEND = "mend it, or `--no-plugins` leaves it out; packages that do not need it run without it"


def beside(project: Project) -> list[Path | str | None]:
    """Folders of packages whose plugins count: the project's, and those of live runs, as far as the store can be read."""
    from .db import connected

    path = Path(project.store.removeprefix("sqlite:///"))
    folders: list[Path | str | None] = list(project.package_folders)
    if path.is_file():
        try:
            with connected(path, project.store) as connection:
                folders += [Path(folder) for (folder,) in connection.execute(FOLDERS)]
        except (StoreError, sqlite3.Error):
            # What is wrong with the store is told where it is looked at.
            return folders
    return folders


FOLDERS = """
select distinct folder from (
    select folder from runs where status in ('pending', 'running') and folder is not null limit 1000)
"""
