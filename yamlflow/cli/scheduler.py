"""``scheduler``: start the runs of schedules, at their times."""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING

import click

from .common import command

if TYPE_CHECKING:
    from ..runtime import Runtime
    from ..timetable import Fired
    from .foreground import Signals

#: Milliseconds that it sleeps at most: a machine may have slept meanwhile, or a file changed.
LONGEST = 60_000


@command(
    "scheduler", plugins=True, short_help="Start the runs of schedules, at their times.",
    examples=[
        ("yamlflow scheduler", "look after every schedule of the project"),
        ("yamlflow scheduler nightly report.yaml", "after these"),
        ("yamlflow scheduler --dry-run", "only say when they are due"),
        ("yamlflow scheduler --once", "start what is due and end, for a timer of your own"),
    ],
)  # fmt: skip
@click.argument("given", nargs=-1, metavar="[PACKAGE]...")
@click.option("--once", is_flag=True, help="Look once, and end.")
@click.option("--dry-run", is_flag=True, help="Only list the entries with their next times.")
@click.option("-q", "--quiet", is_flag=True, help="Say only what goes wrong.")
@click.pass_context
def scheduler(ctx: click.Context, given: tuple[str, ...], once: bool, dry_run: bool, quiet: bool) -> int:
    """Start a run of each package whose `schedule` says so, until told to stop (Ctrl-C, SIGTERM). Workers work on them.

    Without names it looks after every package of the project that has a schedule. Changed files are taken up within a
    minute. As many schedulers as you like may run: each time is acted on once. Runs that no `retention` keeps are removed.
    """
    from ..speech import heard
    from .foreground import Signals
    from .opening import looking, plugins_of, project_of, working
    from .scheduled import files_of, scheduled, take_up

    project = project_of(ctx)
    files = files_of(project, given)
    plugins = plugins_of(ctx, project, *dict.fromkeys(file.absolute().parent for file in files))
    found = scheduled(files, plugins, named=bool(given))
    if dry_run:
        from ..clock import WallClock
        from .schedules import listing

        with looking(ctx, new=True) as archive:
            click.echo(listing(archive.store, [one.package for one in found], now=WallClock().now()))
        return 0
    inbox: queue.SimpleQueue[None] = queue.SimpleQueue()
    told = Signals(lambda: inbox.put(None), status=130)
    with heard(), told, working(ctx, project, plugins=plugins, new=True) as runtime:
        said = Saying(runtime, quiet=quiet)
        runtime.timetable.on_fired = said.fired
        take_up(runtime, found, plugins)
        names = ", ".join(one.package.package.name for one in found)
        said.say(f"scheduler looks after {names} in {runtime.store.url}")
        keep_time(runtime, said, told, inbox, once=once)
        said.say("scheduler has stopped")
    return 0


class Saying:
    """What a scheduler writes to stderr."""

    def __init__(self, runtime: Runtime, *, quiet: bool) -> None:
        self._runtime = runtime
        self._quiet = quiet
        self._told: int | None = None

    def say(self, text: str) -> None:
        """A line."""
        from .lines import to_stderr

        if not self._quiet:
            to_stderr(text)

    def fired(self, one: Fired) -> None:
        """What came of a time."""
        from .lines import to_stderr
        from .texts import date_time

        what = f"started {one.run_id}" if one.run_id else "started no run"
        words = f"{date_time(one.at)} {one.entry.package}: {what}{f': {one.note}' if one.note else ''}"
        if one.note or not self._quiet:
            to_stderr(words)

    def next(self) -> None:
        """When something is due next, where it was not said already."""
        from .texts import date_time

        at = self._runtime.timetable.next_at
        if at != self._told:
            self._told = at
            self.say(f"next at {date_time(at)}" if at is not None else "nothing is due ever again")


def keep_time(runtime: Runtime, said: Saying, told: Signals, inbox: queue.SimpleQueue[None], *, once: bool) -> None:
    """Fire what is due and sleep until the next time, until told to stop. A store out of reach is tried again."""
    from ..clock import SECOND, WallClock
    from ..errors import StoreUnavailable

    clock, failing = WallClock(), False
    while not told.asked:
        pause = LONGEST
        try:
            runtime.store.still_there()
            for name in runtime.timetable.refresh():
                said.say(f"{name} was changed, and is taken up")
            runtime.timetable.fire()
            failing = False
            if once:
                runtime.remover.sweep()
                return
            begin_sweep(runtime)
            said.next()
            due = runtime.timetable.next_at
            pause = LONGEST if due is None else max(0, min(LONGEST, due - clock.now()))
        except StoreUnavailable as trouble:
            if once:
                raise
            if not failing:
                said.say(f"the store is out of reach, trying again: {trouble}")
            failing, pause = True, SECOND
        try:
            inbox.get(timeout=pause / 1000)
        except queue.Empty:
            pass
    end_sweep(runtime)


#: The thread that removes runs.
SWEEP = "yamlflow-sweep"


def begin_sweep(runtime: Runtime) -> None:
    """Let runs go that need not be kept, in a thread: many files must not hold up a time."""
    from ..worker import sweep

    def clear() -> None:
        while runtime.remover.is_time:
            sweep(runtime.remover, threading.Event())

    if runtime.remover.is_time and not sweeps():
        threading.Thread(target=clear, name=SWEEP, daemon=True).start()


def end_sweep(runtime: Runtime) -> None:
    """Let it end with the run it is at."""
    from ..worker import SWEEPING

    runtime.remover.stop()
    for thread in sweeps():
        thread.join(SWEEPING)


def sweeps() -> list[threading.Thread]:
    """The thread that removes runs, while it lives."""
    return [thread for thread in threading.enumerate() if thread.name == SWEEP]
