"""``artifacts``: the files that steps kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ..errors import UnknownName, did_you_mean
from .common import command, json_option

if TYPE_CHECKING:
    from ..rows import ArtifactRow, RunRow
    from .opening import Archive


@command(
    "artifacts", short_help="List kept files, or take one out.",
    examples=[
        ("yamlflow artifacts last", "the files of the newest run"),
        ("yamlflow artifacts last report page.html -o page.html", "one of them, into a file"),
        ("yamlflow artifacts last report page.html | less", "or to stdout"),
    ],
)  # fmt: skip
@click.argument("run_id", metavar="RUN")
@click.argument("step", required=False, metavar="[STEP]")
@click.argument("name", required=False, metavar="[NAME]")
@click.option("-o", "--output", metavar="FILE", help="Where to put it; - is stdout.")
@json_option
@click.pass_context
def artifacts(
    ctx: click.Context, run_id: str, step: str | None, name: str | None, output: str | None, as_json: bool
) -> int:
    """List the files that the steps of a run kept; with STEP and NAME write one of them out, its hash checked."""
    from .opening import looking
    from .texts import as_json as written
    from .texts import table

    if output is not None and name is None:
        raise click.UsageError("-o is the place of one file: name its STEP and NAME.", ctx)
    with looking(ctx) as archive:
        run = archive.run(run_id)
        found = kept(archive, run, step)
        if name is not None:
            return take_out(archive, found, name, output)
    if as_json:
        click.echo(written([to_json(path, row) for path, row in found]))
    elif not found:
        click.echo("no files were kept", err=True)
    else:
        rows = [(path, row.name, f"{row.size:,}", row.content_type, row.sha256[:12]) for path, row in found]
        click.echo(table(rows, ("STEP", "NAME", "BYTES", "TYPE", "SHA-256")))
    return 0


def kept(archive: Archive, run: RunRow, step: str | None) -> list[tuple[str, ArtifactRow]]:
    """The files of a run, or of one step, with the path of their step. ``UnknownName`` for a step that is not there."""
    from ..store.base import Reader

    reader: Reader = archive.store
    if step is not None:
        rows = reader.steps_at(run.key, [step])
        if not rows:
            raise UnknownName(
                f'run "{run.id}" has no step "{step}". `yamlflow artifacts {run.id}` lists what was kept.'
            )
        return [(step, row) for row in reader.artifacts(run.key, rows[0].id)]
    found = reader.artifacts(run.key)
    with archive.store.transaction() as tx:
        paths = {row.id: row.path for row in tx.steps({row.step for row in found})}
    return [(paths.get(row.step, "?"), row) for row in found]


def to_json(path: str, row: ArtifactRow) -> dict[str, object]:
    """One file, for programs."""
    import json

    from ..clock import to_text

    return {
        "step": path, "name": row.name, "path": row.uri, "size": row.size, "sha256": row.sha256,
        "content_type": row.content_type, "kind": row.kind, "metadata": json.loads(row.metadata),
        "created_at": to_text(row.created_at),
    }  # fmt: skip


def take_out(archive: Archive, found: list[tuple[str, ArtifactRow]], name: str, output: str | None) -> int:
    """Write one file out. ``UnknownName`` when it was not kept; ``Permanent`` when its bytes have changed."""
    import shutil
    import sys

    from ..artifacts import FileArtifacts
    from ..errors import Permanent, UserError

    row = next((row for _, row in found if row.name == name), None)
    if row is None:
        names = [each.name for _, each in found]
        remedy = did_you_mean(name, names) or f"There are: {', '.join(names) or 'none'}."
        raise UnknownName(f'the step kept no file "{name}". {remedy}')
    try:
        source = FileArtifacts(archive.home / "artifacts").open(
            {"uri": row.uri, "size": row.size, "sha256": row.sha256}
        )
    except Permanent as wrong:
        raise UserError(wrong.message) from wrong
    with source:
        if output in (None, "-"):
            shutil.copyfileobj(source, sys.stdout.buffer)
            return 0
        with open(str(output), "wb") as target:
            shutil.copyfileobj(source, target)
    click.echo(f"{output}: {row.size:,} bytes", err=True)
    return 0
