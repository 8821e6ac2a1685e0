"""``plugins``: who supplies what, and what is broken."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from .common import command, json_option

if TYPE_CHECKING:
    from ..plugins import Plugins


@command(
    "plugins", plugins=True, short_help="List plugins, and what is wrong with broken ones.",
    examples=[
        ("yamlflow plugins", "every plugin with its kinds"),
        ("yamlflow plugins --strict", "fail when one is broken, for CI"),
    ],
)  # fmt: skip
@click.option("--strict", is_flag=True, help="End with 2 when a plugin is broken.")
@json_option
@click.pass_context
def plugins(ctx: click.Context, strict: bool, as_json: bool) -> int:
    """List the plugins of the project: where each comes from, which kinds it supplies, and for one that cannot be used
    the file, the line and the cause.
    """
    from .opening import plugins_of
    from .texts import as_json as written
    from .texts import table

    found = plugins_of(ctx)
    origins = by_origin(found)
    if as_json:
        broken = [
            {"file": one.file, "line": one.line or None, "cause": one.cause, "kinds": list(one.kinds)}
            for one in found.broken
        ]
        click.echo(
            written({"plugins": [{"origin": key, "kinds": kinds} for key, kinds in origins.items()], "broken": broken})
        )
    else:
        click.echo(table([(origin, ", ".join(kinds)) for origin, kinds in origins.items()], ("ORIGIN", "KINDS")))
        for one in found.broken:
            click.echo(f"{click.style('broken', fg='red')}: {one}", err=True)
            if one.kinds:
                click.echo(f"  kinds that are missing for it: {', '.join(one.kinds)}", err=True)
    return 2 if strict and found.broken else 0


def by_origin(plugins: Plugins) -> dict[str, list[str]]:
    """Each file (or "built in") with its kinds, sorted."""
    from pathlib import Path

    from ..project import near

    found: dict[str, list[str]] = {}
    for kind, origin in plugins.origins.items():
        file, _, line = origin.rpartition(":")
        name = near(Path(file)) if file and line.isdigit() else origin or "?"
        found.setdefault(name, []).append(kind)
    return {origin: sorted(kinds) for origin, kinds in found.items()}
