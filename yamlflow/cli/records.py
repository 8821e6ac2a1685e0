"""``records``: what steps recorded in collections."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any

import click

from ..errors import UnknownName, did_you_mean
from .common import Count, command, json_option

if TYPE_CHECKING:
    from ..projections import Projections
    from .opening import Archive


@command(
    "records", short_help="Print the records of a collection.",
    examples=[
        ("yamlflow records", "the collections there are"),
        ("yamlflow records stories", "the records of one"),
        ("yamlflow records stories -p crawl --where 'points > 100' --csv", "of one package, some, for a spreadsheet"),
    ],
)  # fmt: skip
@click.argument("collection", required=False, metavar="[COLLECTION]")
@click.option("-p", "--projection", metavar="NAME", help="Whose; needed when several packages have such a collection.")
@click.option("--where", metavar="SQL", help="A condition on the columns.")
@click.option("--limit", type=Count(), metavar="N", help="At most so many.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@json_option
@click.pass_context
def records(
    ctx: click.Context, collection: str | None, projection: str | None, where: str | None, limit: int | None,
    as_csv: bool, as_json: bool,
) -> int:  # fmt: skip
    """Print what steps recorded: a table, --json, or --csv. Without COLLECTION the collections are listed."""
    from ..projections import Projections
    from .opening import looking

    if as_csv and as_json:
        raise click.UsageError("--csv and --json exclude one another.", ctx)
    with looking(ctx) as archive:
        projections = Projections(archive.home, archive.store)  # type: ignore[arg-type]
        names = known(projections, archive)
        if projection is not None:
            if projection not in names:
                remedy = did_you_mean(projection, names) or f"There are: {', '.join(names) or 'none'}."
                raise UnknownName(f'there is no projection "{projection}". {remedy}')
            names = [projection]
        if collection is None:
            return list_collections(projections, names, as_json=as_json)
        name = owner(projections, names, collection)
        with closing(projections.open(name)) as connection:
            connection.execute("pragma query_only = on")
            columns, rows = select(connection, collection, where, limit)
            write(columns, rows, as_csv=as_csv, as_json=as_json)
    return 0


def known(projections: Projections, archive: Archive) -> list[str]:
    """The projections there are, those included that no record has reached yet."""
    waiting: list[str] = getattr(archive.store, "recorded", list)()
    return sorted({*projections.names(), *waiting})


def collections_of(projections: Projections, name: str) -> list[str]:
    """The collections of a projection."""
    sql = "select name from sqlite_master where type = 'table' order by name"
    with closing(projections.open(name)) as connection:
        return [name for (name,) in connection.execute(sql) if not name.startswith(("_yamlflow", "sqlite_"))]


def list_collections(projections: Projections, names: list[str], *, as_json: bool) -> int:
    """Every collection, with how many records it holds."""
    from .texts import as_json as written
    from .texts import table

    found = []
    for name in names:
        for collection in collections_of(projections, name):
            with closing(projections.open(name)) as connection:
                count = connection.execute(f"select count(*) from {quoted(collection)}").fetchone()[0]
            found.append({"projection": name, "collection": collection, "records": count})
    if as_json:
        click.echo(written(found))
    elif not found:
        click.echo("nothing was recorded", err=True)
    else:
        rows = [(one["collection"], one["projection"], str(one["records"])) for one in found]
        click.echo(table(rows, ("COLLECTION", "PROJECTION", "RECORDS")))
    return 0


def owner(projections: Projections, names: list[str], collection: str) -> str:
    """The projection that has a collection. ``UnknownName`` when none has, or several."""
    held = {name: collections_of(projections, name) for name in names}
    found = [name for name, collections in held.items() if collection in collections]
    if len(found) == 1:
        return found[0]
    if found:
        raise UnknownName(f'{", ".join(found)} have a collection "{collection}" each. Say which with -p.')
    every = sorted({each for collections in held.values() for each in collections})
    remedy = did_you_mean(collection, every) or f"There are: {', '.join(every) or 'none'}."
    raise UnknownName(f'there is no collection "{collection}". {remedy}')


def select(
    connection: sqlite3.Connection, collection: str, where: str | None, limit: int | None
) -> tuple[list[str], Iterator[tuple[Any, ...]]]:
    """The columns and records of a collection. ``UsageError`` for a condition that SQLite refuses."""
    sql = f"select * from {quoted(collection)}{f' where ({where})' if where else ''} order by rowid limit ?"
    try:
        cursor = connection.execute(sql, (-1 if limit is None else limit,))
    except sqlite3.Error as wrong:
        raise click.UsageError(f"--where: {wrong}") from None
    return [column[0] for column in cursor.description], cursor


def quoted(name: str) -> str:
    """A name as SQL."""
    return '"' + name.replace('"', '""') + '"'


def write(columns: list[str], rows: Iterator[tuple[Any, ...]], *, as_csv: bool, as_json: bool) -> None:
    """Print records as they come."""
    import sys

    from .neat import beneath
    from .texts import json_text, short, table

    if as_csv:
        import csv

        writer = csv.writer(sys.stdout if sys.stdout.isatty() else beneath(sys.stdout), lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
    elif as_json:
        separator = "[\n"
        for row in rows:
            click.echo(f"{separator}  {json_text(dict(zip(columns, row, strict=True)))}", nl=False)
            separator = ",\n"
        click.echo("[]" if separator == "[\n" else "\n]")
    else:
        cells = [tuple("" if value is None else short(str(value), 60) for value in row) for row in rows]
        click.echo(table(cells, [column.upper() for column in columns]))
