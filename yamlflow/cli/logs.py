"""``logs``: what steps wrote."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TextIO

import click

from .common import Count, command

if TYPE_CHECKING:
    from ..rows import RunRow
    from .log_files import LogFile
    from .opening import Archive

#: Milliseconds between looks while following.
LOOK = 200
#: How a name above a log begins.
HEAD = "── ".encode()
#: Bytes of a line that are copied at once.
PIECE = 65536


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
@click.option("-n", "--tail", "lines", type=Count(0), metavar="N", help="Only the last N lines of each log.")
@click.option("--attempt", type=Count(), metavar="N", help="Only this attempt.")
@click.pass_context
def logs(
    ctx: click.Context, run_id: str, step: str | None, follow: bool, lines: int | None, attempt: int | None
) -> int:
    """Print what the steps of a run wrote: stdout, stderr and log lines, with secrets as ***.

    Logs stand in the order in which they were last written to. Where there are several, each stands under the name of
    its step and attempt, on stdout like the logs themselves; one alone is printed as it was written.
    """
    from ..clock import wait
    from .opening import find_step, looking

    with looking(ctx) as archive:
        run = archive.run(run_id)
        find_step(archive.store, run, step or "")
        if attempt is not None and not follow:
            check_attempt(archive, run, step, attempt)
        reading = Reading(archive, run, step, attempt, headed=follow and step is None)
        shown = reading.print(lines)
        while follow and (archive.store.run_at(run.key) or run).ended_at is None:
            wait(LOOK)
            shown += reading.print(None)
        shown += reading.print(None) if follow else 0
        if not shown and not follow:
            click.echo("nothing was written", err=True)
    return 0


def check_attempt(archive: Archive, run: RunRow, step: str | None, attempt: int) -> None:
    """``UnknownName`` for an attempt that no step has had."""
    from ..errors import UnknownName
    from .log_files import logs_of

    written = (one.attempt for one in logs_of(archive.home, run, step))
    most = max((*written, *(row.attempt for row in archive.store.tree(run.key, step or ""))), default=0)
    if attempt > most:
        what = f"step {step} has" if step else f"the steps of run {run.id} have"
        count = "not been tried" if not most else f"had {most} {'attempt' if most == 1 else 'attempts'} at most"
        raise UnknownName(f"there is no attempt {attempt}: {what} {count}")


class Reading:
    """The logs of a run, read from where they were left."""

    def __init__(
        self, archive: Archive, run: RunRow, step: str | None, attempt: int | None, *, headed: bool = False
    ) -> None:
        self._archive, self._run, self._step, self._attempt = archive, run, step, attempt
        self._read: dict[Path, int] = {}
        self._last: Path | None = None
        #: Whether names stand on stdout; once there was more than one log they do.
        self._headed = headed
        self._ended = True

    def print(self, lines: int | None) -> int:
        """Print what is new, the last ``lines`` of each log only; how many logs had something."""
        from .log_files import logs_of

        found = [
            one
            for one in logs_of(self._archive.home, self._run, self._step)
            if self._attempt in (None, one.attempt) and one.file.stat().st_size
        ]
        self._headed = self._headed or len(found) > 1
        again = {one.step for one in found if one.attempt > 1}
        count = 0
        for one in found:
            start = self._read.get(one.file, 0)
            if one.file.stat().st_size > start:
                self._head(one, numbered=one.step in again)
                self._print(one, start, lines)
                count += 1
        return count

    def _head(self, one: LogFile, *, numbered: bool) -> None:
        """The name above a log, on a line of its own."""
        if one.file == self._last:
            return
        attempt = f", attempt {one.attempt}" if numbered else ""
        before = "" if self._ended else "\n"
        click.secho(f"{before}── {one.step or '(package)'}{attempt}", dim=True, err=not self._headed)
        self._last = one.file

    def _print(self, one: LogFile, start: int, lines: int | None) -> None:
        import sys

        with one.file.open("rb") as stream:
            stream.seek(start)
            if lines is not None:
                seek_last(stream, lines)
            if sys.stdout.isatty():
                copy_text(stream, sys.stdout, headed=self._headed)
            else:
                sys.stdout.flush()
                copy_lines(stream, sys.stdout.buffer.write, headed=self._headed)
                sys.stdout.buffer.flush()
            self._read[one.file] = end = stream.tell()
            stream.seek(max(0, end - 1))
            self._ended = stream.read(1) in (b"\n", b"")


def copy_lines(source: IO[bytes], write: Callable[[bytes], object], *, headed: bool) -> None:
    """Copy a log as it is; where names stand above logs, a line that looks like one is moved by a space."""
    begins = True
    while piece := source.readline(PIECE):
        if headed and begins and piece.startswith(HEAD):
            write(b" ")
        write(piece)
        begins = piece.endswith(b"\n")


def copy_text(source: IO[bytes], terminal: TextIO, *, headed: bool) -> None:
    """The same as text, for a terminal."""
    import codecs

    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    copy_lines(source, lambda piece: terminal.write(decoder.decode(piece)), headed=headed)
    terminal.flush()


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
