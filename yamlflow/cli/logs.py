"""``logs``: what steps wrote."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .common import command

if TYPE_CHECKING:
    from ..rows import RunRow
    from .opening import Archive

#: Milliseconds between looks while following.
LOOK = 200


@command(
    "logs", short_help="Print what steps wrote.",
    examples=[
        ("yamlflow logs last", "all that the newest run's steps wrote"),
        ("yamlflow logs crawl-1f3a enrich", "one step and those below it"),
        ("yamlflow logs last -f", "and what they go on to write, until the run has ended"),
    ],
)  # fmt: skip
@click.argument("run_id", metavar="RUN")
@click.argument("step", required=False, metavar="[STEP]")
@click.option("-f", "--follow", is_flag=True, help="Go on until the run has ended.")
@click.option("-n", "--tail", "lines", type=click.IntRange(0), metavar="N", help="Only the last N lines of each log.")
@click.option("--attempt", type=click.IntRange(1), metavar="N", help="Only this attempt.")
@click.pass_context
def logs(
    ctx: click.Context, run_id: str, step: str | None, follow: bool, lines: int | None, attempt: int | None
) -> int:
    """Print what the steps of a run wrote: stdout, stderr and log lines, with secrets as ***.

    Logs stand in the order in which they were last written to, each under the name of its step and attempt.
    """
    from ..clock import wait
    from ..errors import UnknownName
    from .opening import looking

    with looking(ctx) as archive:
        run = archive.run(run_id)
        if step and not archive.store.steps_at(run.key, [step]):
            raise UnknownName(f'run "{run.id}" has no step "{step}". `yamlflow show {run.id}` lists them.')
        reading = Reading(archive, run, step, attempt)
        shown = reading.print(lines)
        while follow and (archive.store.run_at(run.key) or run).ended_at is None:
            wait(LOOK)
            shown += reading.print(None)
        shown += reading.print(None) if follow else 0
        if not shown and not follow:
            click.echo("nothing was written", err=True)
    return 0


class Reading:
    """The logs of a run, read from where they were left."""

    def __init__(self, archive: Archive, run: RunRow, step: str | None, attempt: int | None) -> None:
        self._archive, self._run, self._step, self._attempt = archive, run, step, attempt
        self._read: dict[Path, int] = {}
        self._last: Path | None = None

    def print(self, lines: int | None) -> int:
        """Print what is new, the last ``lines`` of each log only; how many logs had something."""
        from .log_files import logs_of

        count = 0
        for one in logs_of(self._archive.home, self._run, self._step):
            if self._attempt is not None and one.attempt != self._attempt:
                continue
            start = self._read.get(one.file, 0)
            if one.file.stat().st_size > start:
                self._print(one, start, lines)
                count += 1
        return count

    def _print(self, one: Any, start: int, lines: int | None) -> None:
        import shutil
        import sys

        if one.file != self._last:
            attempt = f", attempt {one.attempt}" if one.attempt > 1 else ""
            click.secho(f"── {one.step or '(package)'}{attempt}", dim=True, err=True)
            self._last = one.file
        with one.file.open("rb") as stream:
            stream.seek(start)
            if lines is not None:
                seek_last(stream, lines)
            sys.stdout.flush()
            shutil.copyfileobj(stream, sys.stdout.buffer)
            sys.stdout.buffer.flush()
            self._read[one.file] = stream.tell()


def seek_last(stream: Any, lines: int) -> None:
    """Go to where the last lines of a file begin, reading it from its end."""
    stream.seek(0, 2)
    end = at = stream.tell()
    found, tail = 0, b""
    while at > 0 and found <= lines:
        size = min(65536, at)
        at -= size
        stream.seek(at)
        tail = stream.read(size) + tail
        found = tail.rstrip(b"\n").count(b"\n") + 1
    kept = tail.splitlines(keepends=True)[-lines:] if lines else []
    stream.seek(end - sum(map(len, kept)))
