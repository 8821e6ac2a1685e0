"""``db``: look after the store."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import StoreCorrupt, StoreUnavailable
from ..store.schema import APPLICATION_ID, VERSION
from .common import CONTEXT, Command, command, json_option

if TYPE_CHECKING:
    from ..store.base import Store


@click.group("db", context_settings=CONTEXT)
def db() -> None:
    """Look after the store: what is in it, whether it is sound, copies of it."""


def member(name: str, *examples: tuple[str, str]) -> Callable[[Callable[..., Any]], Command]:
    """Declare a command of this group."""

    def declare(function: Callable[..., Any]) -> Command:
        made = command(name, examples=examples)(function)
        db.add_command(made)
        return made

    return declare


def file_of(ctx: click.Context) -> tuple[Path, str]:
    """The store's file and URL. ``StoreUnavailable`` when there is none yet."""
    from .opening import project_of

    url = project_of(ctx).store
    path = Path(url.removeprefix("sqlite:///"))
    if not path.is_file():
        raise StoreUnavailable(f"{url}: there is no store yet; `yamlflow run` makes one")
    return path, url


@contextmanager
def connected(path: Path, url: str) -> Iterator[sqlite3.Connection]:
    """A plain connection to the store's file, whatever state it is in, to read from."""
    from ..store.connection import connect_to_read
    from ..store.trouble import explained

    with explained(url), closing(connect_to_read(path, url)) as connection:
        yield connection


def refuse_others(connection: sqlite3.Connection, url: str) -> None:
    """``StoreCorrupt`` for a database that is no store of ours."""
    if one(connection, "pragma application_id") != APPLICATION_ID:
        raise StoreCorrupt(f"{url}: this is no yamlflow store; name another with --store")


@member("status", ("yamlflow db status", "size, schema, how many runs"))
@json_option
@click.pass_context
def status(ctx: click.Context, as_json: bool) -> int:
    """Show what the store is and what it holds."""
    from .texts import as_json as written

    path, url = file_of(ctx)
    with connected(path, url) as connection:
        found = facts(connection, path, url)
    if as_json:
        click.echo(written(found))
        return 0
    for name, value in found.items():
        shown = (
            ", ".join(f"{key} {count}" for key, count in value.items()) or "none" if isinstance(value, dict) else value
        )
        click.echo(f"{name.replace('_', ' '):<14} {shown}")
    return 0


def facts(connection: sqlite3.Connection, path: Path, url: str) -> dict[str, Any]:
    """What a store says of itself."""
    refuse_others(connection, url)
    version = one(connection, "pragma user_version")
    wal = path.with_name(f"{path.name}-wal")
    return {
        "store": url,
        "bytes": path.stat().st_size,
        "wal_bytes": wal.stat().st_size if wal.exists() else 0,
        "free_bytes": one(connection, "pragma freelist_count") * one(connection, "pragma page_size"),
        "schema": f"{version} of {VERSION}" if version < VERSION else version,
        "journal": one(connection, "pragma journal_mode"),
        "sqlite": sqlite3.sqlite_version,
        "runs": dict(
            connection.execute("select status, count(*) from runs group by status order by status").fetchall()
        ),
        "steps": one(connection, "select count(*) from steps"),
        "live_steps": dict(
            connection.execute(
                "select status, count(*) from steps where status in ('ready', 'running', 'waiting') group by status"
            ).fetchall()
        ),
        "events": one(connection, "select count(*) from events"),
    }


def one(connection: sqlite3.Connection, sql: str) -> Any:
    """The one value that a statement gives."""
    return connection.execute(sql).fetchone()[0]


@member("migrate", ("yamlflow db migrate", "after an upgrade; every command does it when it opens a store"))
@click.pass_context
def migrate(ctx: click.Context) -> int:
    """Bring the store's tables up to date."""
    from ..store.sqlite import SqliteStore

    path, url = file_of(ctx)
    with connected(path, url) as connection:
        before = one(connection, "pragma user_version")
    store: Store = SqliteStore(url)
    store.close()
    click.echo(f"schema {VERSION}, up to date" if before == VERSION else f"schema {before} → {VERSION}")
    return 0


@member(
    "check", ("yamlflow db check", "exit status 4 when anything is wrong"),
    ("yamlflow db check --files", "the projections and kept files too, each file's hash compared"),
)  # fmt: skip
@click.option("--files", is_flag=True, help="Also check projections, and read every artifact.")
@json_option
@click.pass_context
def check(ctx: click.Context, files: bool, as_json: bool) -> int:
    """Check the store: its file, its references, what must hold of its rows, and a checksum of each result. Nothing is
    changed, and nobody has to wait.
    """
    from ..checkup import DAMAGED, faults_beside, faults_in
    from .texts import as_json as written

    path, url = file_of(ctx)
    with connected(path, url) as connection:
        refuse_others(connection, url)
        # Workers go on meanwhile: all is read as it was at one moment.
        connection.execute("begin")
        found = faults_in(connection)
        if files and not (found and found[0].remedy is DAMAGED):
            found += faults_beside(connection, path.absolute().parent)
    if as_json:
        click.echo(written({"store": url, "sound": not found, "faults": [fault.to_json() for fault in found]}))
    else:
        for fault in found:
            click.echo(f"{url}: {fault}", err=True)
        if not found:
            click.echo(f"{url} is sound")
    return 4 if found else 0


@member(
    "backup", ("yamlflow db backup before-upgrade.db", "the store alone, while workers go on"),
    ("yamlflow db backup --whole backups/monday", "a folder with all that is needed to go on elsewhere"),
)  # fmt: skip
@click.argument("target", metavar="TARGET")
@click.option("--whole", is_flag=True, help="A folder with projections, artifacts and logs too.")
@click.pass_context
def backup(ctx: click.Context, target: str, whole: bool) -> int:
    """Copy the store into a new file, as it is at one moment, while others use it.

    With --whole into a new folder, with the projections of that same moment, the artifacts and the logs. Packages,
    plugins and `.env` are not in it: they are files of the project. Only you may read the copy. `yamlflow db restore` puts
    it back.
    """
    from ..copies import back_up

    path, url = file_of(ctx)
    with connected(path, url) as connection:
        refuse_others(connection, url)
    made = back_up(path, path.absolute().parent, Path(target), whole=whole, progress=progress("copied"))
    more = f", {made.projections} projections, {made.files} files" if whole else ""
    click.echo(f"{target}: {made.bytes:,} bytes{more}")
    return 0


@member(
    "restore", ("yamlflow db restore before-upgrade.db", "where there is no store, or none any more"),
    ("yamlflow db restore --replace backups/monday", "what is there is moved aside, not deleted"),
)  # fmt: skip
@click.argument("source", metavar="BACKUP")
@click.option("--replace", is_flag=True, help="Move the store that is there aside.")
@click.pass_context
def restore(ctx: click.Context, source: str, replace: bool) -> int:
    """Put a backup in the place of the store, once it was found sound. Nobody may work on the store meanwhile.

    Runs go on from where they were when the backup was made: what their steps did since is done again.
    """
    from ..clock import SystemClock, to_datetime
    from ..copies import restore as put_back
    from .opening import hint, project_of

    project = project_of(ctx)
    path = Path(project.store.removeprefix("sqlite:///"))
    if path.exists():
        refuse_busy(path, project.store, "replaced")
    project.prepare()
    stamp = to_datetime(SystemClock().now()).strftime("replaced-%Y%m%dT%H%M%S")
    made = put_back(Path(source), path, path.absolute().parent, replace=replace, stamp=stamp)
    click.echo(f"{project.store}: {made.bytes:,} bytes, {made.projections} projections, {made.files} files")
    click.echo(f"`{hint(project, 'resume')}` goes on with runs that have not ended", err=True)
    return 0


def refuse_busy(path: Path, url: str, done: str) -> None:
    """``NotAllowed`` while workers live; a store that cannot be read has none that matter."""
    from ..errors import NotAllowed
    from ..store.sqlite import SqliteStore
    from ..views.workers import workers_of

    try:
        with connected(path, url) as connection:
            current = one(connection, "pragma user_version") == VERSION
            alive = [each for each in workers_of(SqliteStore(connection)) if each.alive] if current else []
    except (StoreCorrupt, StoreUnavailable, sqlite3.Error):
        return
    if alive:
        names = ", ".join(f"{each.name} (process {each.pid})" for each in alive[:3])
        raise NotAllowed(f"{url} cannot be {done} while workers run: {names}; stop them first")


@member("vacuum", ("yamlflow db vacuum", "after prune, to make the file smaller"))
@click.option("--anyway", is_flag=True, help="Also while workers run: they wait until it is done.")
@click.pass_context
def vacuum(ctx: click.Context, anyway: bool) -> int:
    """Give the room of removed runs back to the disk. Nobody can write meanwhile, so no worker may run; it takes room for
    the store's content twice. Interrupted, it leaves the store as it was.
    """
    from ..copies import vacuum as rewrite

    path, url = file_of(ctx)
    with connected(path, url) as connection:
        refuse_others(connection, url)
    if not anyway:
        refuse_busy(path, url, "rewritten")
    done = rewrite(path)
    click.echo(f"{done.before:,} → {done.after:,} bytes")
    if done.left:
        words = f"{done.left:,} bytes stay in its WAL: another process reads an older state of the store"
        click.echo(f"{words}; `yamlflow doctor` says which", err=True)
    return 0


def progress(word: str) -> Callable[[int, int], None]:
    """Says on a terminal how far it is."""
    import sys

    def tell(left: int, total: int) -> None:
        if sys.stderr.isatty() and total:
            click.echo(f"\r{word} {100 * (total - left) // total} %", err=True, nl=not left)

    return tell
