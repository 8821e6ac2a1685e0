"""``db``: look after the store."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import StoreCorrupt, StoreUnavailable, UserError
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
def connected(path: Path, url: str, *, write: bool = False) -> Iterator[sqlite3.Connection]:
    """A plain connection to the store's file, whatever state it is in."""
    from ..store.connection import connect_to_read, refuse_foreign
    from ..store.trouble import explained

    uri = f"{path.absolute().as_uri()}?mode=rw"
    with explained(url):
        connection = (
            sqlite3.connect(uri, uri=True, timeout=30, isolation_level=None) if write else connect_to_read(path, url)
        )
        with closing(connection):
            if write:
                refuse_foreign(connection, url)
            yield connection


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
    from ..store.schema import APPLICATION_ID, VERSION

    if one(connection, "pragma application_id") != APPLICATION_ID:
        raise StoreCorrupt(f"{url}: this is no yamlflow store; name another with --store")
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
    from ..store.schema import VERSION
    from ..store.sqlite import SqliteStore

    path, url = file_of(ctx)
    with connected(path, url) as connection:
        before = one(connection, "pragma user_version")
    store: Store = SqliteStore(url)
    store.close()
    click.echo(f"schema {VERSION}, up to date" if before == VERSION else f"schema {before} → {VERSION}")
    return 0


#: What must hold in every sound store: what it is called when it does not, and the rows that break it.
RULES = (
    ("steps without a run", "select count(*) from steps where run not in (select key from runs)"),
    ("runs without their package", "select count(*) from runs where digest not in (select digest from packages)"),
    (
        "runs without a root step",
        "select count(*) from runs where key not in (select run from steps where path = '') "
        "and key not in (select run from removals)",
    ),
    (
        "ended runs with live steps",
        "select count(*) from steps join runs on runs.key = steps.run where runs.ended_at is not null "
        "and steps.status in ('pending', 'ready', 'running', 'waiting')",
    ),
    ("leased steps without a worker", "select count(*) from steps where status = 'running' and worker is null"),
    (
        "runs with gaps in their log",
        "select count(*) from (select run from events group by run having max(seq) <> count(*))",
    ),
)


def faults_in(connection: sqlite3.Connection) -> list[str]:
    """Everything that is wrong with a store."""
    from ..store.damage import damage_in

    found = [str(row[0]) for row in connection.execute("pragma integrity_check") if row[0] != "ok"]
    found += [f"a row of {row[0]} refers to nothing" for row in connection.execute("pragma foreign_key_check")]
    if not found:
        counts = ((name, one(connection, sql)) for name, sql in RULES)
        found += [f"{name}: {count}" for name, count in counts if count]
        found += damage_in(connection)
    return found


@member("check", ("yamlflow db check", "exit status 4 when anything is wrong"))
@json_option
@click.pass_context
def check(ctx: click.Context, as_json: bool) -> int:
    """Check the store's file, its references and its rows. Nothing is changed."""
    from .texts import as_json as written

    path, url = file_of(ctx)
    with connected(path, url) as connection:
        facts(connection, path, url)
        found = faults_in(connection)
    if as_json:
        click.echo(written({"store": url, "sound": not found, "faults": found}))
    else:
        for fault in found:
            click.echo(f"{url}: {fault}", err=True)
        if not found:
            click.echo(f"{url} is sound")
    return 4 if found else 0


@member("backup", ("yamlflow db backup before-upgrade.db", "while workers go on"))
@click.argument("target", metavar="FILE")
@click.pass_context
def backup(ctx: click.Context, target: str) -> int:
    """Copy the store into a new file, as it is at one moment, while others use it. Artifacts, logs and projections are
    files of their own beside the store.
    """
    path, url = file_of(ctx)
    if Path(target).exists():
        raise UserError(f"{target} is there already; name a file that is not")
    with connected(path, url) as source, closing(sqlite3.connect(target)) as copy:
        source.backup(copy)
        copy.execute("pragma journal_mode = delete")
    click.echo(f"{target}: {Path(target).stat().st_size:,} bytes")
    return 0


@member("vacuum", ("yamlflow db vacuum", "after prune, to make the file smaller"))
@click.pass_context
def vacuum(ctx: click.Context) -> int:
    """Give the room of removed runs back to the disk. Others wait meanwhile."""
    path, url = file_of(ctx)
    before = path.stat().st_size
    with connected(path, url, write=True) as connection:
        connection.execute("vacuum")
        connection.execute("pragma wal_checkpoint(truncate)")
    click.echo(f"{before:,} → {path.stat().st_size:,} bytes")
    return 0
