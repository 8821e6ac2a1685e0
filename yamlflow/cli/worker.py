"""``worker``: work on whatever is due in a store, for as long as it is wanted."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from ..checks import check_worker
from ..policies import MOST_SLOTS
from ..rows import EventRow
from ..views.board import STATUS
from .common import Count, command
from .lines import to_stderr
from .texts import clock_time, mark

if TYPE_CHECKING:
    from ..plugins import Plugins
    from ..runtime import Runtime
    from .scheduled import Scheduled


#: Seconds between SIGTERM and SIGKILL for what has not ended within the grace: whoever asked counts on an end.
AFTER_GRACE = 0.5


class Span(click.ParamType):  # type: ignore[type-arg]
    """A duration, as milliseconds; with ``some`` it is not nothing."""

    name = "duration"

    def __init__(self, *, some: bool = False) -> None:
        self._some = some

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        from ..duration import InvalidDuration, parse_duration

        try:
            found = value if isinstance(value, int) else parse_duration(value)
        except InvalidDuration as wrong:
            self.fail(str(wrong), param, ctx)
        if self._some and found == 0:
            self.fail("it must be more than nothing.", param, ctx)
        return found


@command(
    "worker", plugins=True, short_help="Work on whatever is due.",
    examples=[
        ("yamlflow worker", "work until told to stop (Ctrl-C, SIGTERM)"),
        ("yamlflow worker --max-workers 16 --grace 2m", "16 calls at once; two minutes to end them when told to stop"),
        ("yamlflow worker --queues http,default", "only these queues"),
        ("yamlflow worker --kinds shell,python", "only these kinds"),
        ("yamlflow worker --schedules", "also start the runs of the project's schedules"),
    ],
)  # fmt: skip
@click.option("--queues", metavar="A,B", help="Only steps of these queues.")
@click.option("--kinds", metavar="A,B", help="Only steps of these kinds.")
@click.option(
    "--max-workers",
    "--workers",
    "workers",
    type=Count(1, MOST_SLOTS),
    metavar="N",
    help="Calls at once. [one per core, at least 4]",
)
@click.option("--name", default="", metavar="NAME", help="What the worker is called. [host, process and 8 characters]")
@click.option(
    "--lease", type=Span(some=True), metavar="TIME", help="How long a step stays its own when it falls silent. [30s]"
)
@click.option(
    "--poll",
    type=Span(some=True),
    default=250,
    metavar="TIME",
    help="How long at most until it sees others' changes. [250ms]",
)
@click.option(
    "--grace", type=Span(), default=30_000, metavar="TIME", help="How long steps may go on when told to stop. [30s]"
)
@click.option("--schedules", is_flag=True, help="Start the runs of the project's schedules too, as a scheduler would.")
@click.option("--schedule", "named", multiple=True, metavar="PACKAGE", help="Those of this package only.")
@click.option("--max-cycles", type=Count(), metavar="N", help="Stop after so many turns.")
@click.option("-q", "--quiet", is_flag=True, help="Do not say what happens.")
@click.pass_context
def worker(
    ctx: click.Context, queues: str | None, kinds: str | None, workers: int | None, name: str, lease: int | None,
    poll: int, grace: int, schedules: bool, named: tuple[str, ...], max_cycles: int | None, quiet: bool,
) -> int:  # fmt: skip
    """Work on the runs of a store: one of as many processes as you like, on one machine.

    Told to stop once, it takes nothing more, lets what is in hand end within --grace, and gives the rest back unspent;
    told twice, it ends at once. Another worker takes over what a dead one had.
    """
    from ..supervised import life
    from .foreground import Signals, work
    from .opening import looking, plugins_of, project_of, working
    from .resume import live_runs
    from .scheduled import files_of, scheduled

    if name:
        check_worker(name)
    project = project_of(ctx)
    said = Saying(quiet)
    with looking(ctx, new=True) as archive:
        beside = dict.fromkeys(run.folder for run in live_runs(archive.store))
        files = files_of(project, named) if schedules or named else []
        plugins = plugins_of(ctx, project, *beside, *dict.fromkeys(file.absolute().parent for file in files))
        warn_of_queues(words(queues), [row.name for row, _, _ in archive.store.queues()])
    found = scheduled(files, plugins, named=bool(named)) if schedules or named else []

    def hear(event: EventRow) -> None:
        if event.kind == "step.leased":
            life.took()
        said.hear(event)

    with working(
        ctx, project, plugins=plugins, on_event=hear, worker_id=name, workers=workers,
        only_queues=words(queues), only_kinds=kinds_of(kinds, plugins),
        lease=lease and lease / 1000, poll_interval=poll / 1000, new=True,
    ) as runtime:  # fmt: skip
        for one in plugins.broken:
            click.echo(f"broken plugin: {one}", err=True)
        said.names = lambda key: getattr(runtime.store.run_at(key), "id", str(key))
        said.say(
            f"worker {runtime.worker.name} works on {runtime.store.url}, {runtime.worker.settings.slots} calls at once"
        )
        if found:
            look_after(runtime, said, found, plugins)
        with Signals(runtime.worker.wake_up, status=130) as signals:

            def stop() -> bool:
                return signals.asked > 0

            work(runtime, stop, grace=grace, patience=None, cycles=max_cycles, kill_grace=AFTER_GRACE)
            said.say(f"worker {runtime.worker.name} has stopped")
            return 0


def look_after(runtime: Runtime, said: Saying, found: list[Scheduled], plugins: Plugins) -> None:
    """Let the worker start the runs of schedules as well."""
    from .scheduled import take_up
    from .scheduler import Saying as Scheduling

    runtime.timetable.on_fired = Scheduling(runtime, quiet=said.quiet).fired
    take_up(runtime, found, plugins)
    said.say(f"it looks after the schedules of {', '.join(one.package.package.name for one in found)}")


def words(text: str | None) -> list[str] | None:
    """Names with commas between them; None for all."""
    if text is None:
        return None
    names = [part.strip() for part in text.split(",")]
    if not all(names):
        raise click.UsageError(f'Names with commas between them are wanted; "{text}" has an empty one.')
    return names


def warn_of_queues(wanted: list[str] | None, known: list[str]) -> None:
    """Name the queues that no run has used yet: they may come, or be mistyped."""
    from ..errors import did_you_mean

    for name in wanted or ():
        if name not in known and name != "default":
            own = next((f'Did you mean "{each}"?' for each in known if each.endswith(f"/{name}")), "")
            words = f'warning: there is no queue "{name}" yet. {own or did_you_mean(name, known)}'
            click.secho(words.rstrip(), err=True, fg="yellow")


def kinds_of(text: str | None, plugins: Plugins) -> list[str] | None:
    """The kinds a worker takes; None for all. ``UnknownName`` for one that it could not execute."""
    from ..errors import UnknownName, did_you_mean

    wanted = words(text)
    for kind in wanted or ():
        if kind not in plugins.executors:
            raise UnknownName(f'there is no kind "{kind}". {did_you_mean(kind, plugins.executors)}'.rstrip())
    return wanted


#: What a worker says of steps, by event.
SAID = {
    "step.leased": "started", "step.succeeded": "succeeded", "step.failed": "failed", "step.retried": "is tried again",
    "step.lost": "was lost", "step.released": "was given back", "step.canceled": "was canceled",
    "run.succeeded": "succeeded", "run.failed": "failed", "run.canceled": "was canceled",
}  # fmt: skip
#: What is said of steps at most, in one second; the rest is only counted.
MOST_LINES = 20


class Saying:
    """What a worker writes to stderr: a line for what it does, and only a count when it does too much to be read."""

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet
        self._second = self._said = self._kept_back = 0
        self._names: dict[int, str] = {}
        #: The id of a run, by key.
        self.names: Callable[[int], str] = str

    def say(self, text: str) -> None:
        """A line."""
        if not self.quiet:
            to_stderr(text)

    def hear(self, event: EventRow) -> None:
        """An event that this process has committed."""
        # The root step's path is empty; what comes of it is said of the run.
        if self.quiet or event.kind not in SAID or event.step == "":
            return
        if event.at // 1000 != self._second:
            if self._kept_back:
                to_stderr(f"{clock_time(event.at)} … and {self._kept_back} more")
            self._second, self._said, self._kept_back = event.at // 1000, 0, 0
        if self._said >= MOST_LINES and event.step is not None:
            self._kept_back += 1
            return
        self._said += 1
        name = self._names.get(event.run)
        if name is None:
            if len(self._names) > 1000:
                self._names.clear()
            name = self._names[event.run] = self.names(event.run)
        status = STATUS.get(event.kind, event.kind.removeprefix("run."))
        to_stderr(
            f"{clock_time(event.at)} {mark(status)} {name}{f' {event.step}' if event.step else ''} {SAID[event.kind]}"
        )
