"""The command line: which commands there are, and the one funnel through which every error leaves.

A command's module is imported when it is called; ``--help`` and ``--version`` import none. A command parses, calls and
prints, and returns its exit status:

    0    succeeded
    1    the run failed
    2    the package, an input or the command line is wrong
    3    the run was canceled
    4    the store cannot be used
    70   a fault of yamlflow itself
    130  interrupted; the run stays resumable
"""

from __future__ import annotations

import errno
import os
import sys
import threading
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import click

from .. import supervised
from ..errors import StartRefused, StoreError, UserError, YamlflowError, did_you_mean, shown
from . import common
from .common import Command, common_options, version_option
from .neat import neat_streams

SUCCEEDED, FAILED, WRONG, CANCELED, NO_STORE, FAULT, BROKEN_PIPE, INTERRUPTED = 0, 1, 2, 3, 4, 70, 141, 130

#: command -> (section of the help, what it does). Its module has its name, or the one in ``ELSEWHERE``.
COMMANDS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "run": ("Run", "Start a package and work on it until it has ended."),
        "start": ("Run", "Store a run for workers to take up; do not wait."),
        "resume": ("Run", "Go on with runs that were interrupted."),
        "retry": ("Run", "Let what failed or was canceled in a run begin anew."),
        "cancel": ("Run", "Cancel a run, or a step of it."),
        "signal": ("Run", "Send a signal to a run."),
        "approve": ("Run", "Say yes or no to a step that asks."),
        "pause": ("Run", "Withhold the steps of a run, or of a queue, from workers."),
        "unpause": ("Run", "Offer the steps of a paused run or queue again."),
        "worker": ("Run", "Work on whatever is due, until told to stop."),
        "scheduler": ("Run", "Start the runs of schedules, at their times."),
        "runs": ("Look", "List runs, newest first."),
        "show": ("Look", "Show a run's steps, or one step with its attempts."),
        "logs": ("Look", "Print what steps wrote."),
        "events": ("Look", "Print the durable log of a run."),
        "result": ("Look", "Print a run's outputs, or a step's result."),
        "artifacts": ("Look", "List the files a run kept, or take one out."),
        "records": ("Look", "Print the records of a collection."),
        "schedules": ("Look", "List schedules and their next times."),
        "queues": ("Look", "List queues, their limits and what waits in them."),
        "locks": ("Look", "List locks that steps hold."),
        "workers": ("Look", "List worker processes."),
        "validate": ("Write", "Check packages without running them."),
        "test": ("Write", "Run the tests of packages on a virtual clock."),
        "graph": ("Write", "Draw the steps of a package or run."),
        "packages": ("Write", "List the packages that are found by name."),
        "kinds": ("Write", "List the kinds of steps, or explain one."),
        "plugins": ("Write", "List plugins, and what is wrong with broken ones."),
        "schema": ("Write", "Print the language's JSON Schema for editors."),
        "init": ("Write", "Make a small project to begin with."),
        "prune": ("Keep", "Remove runs that ended long ago."),
        "cache": ("Keep", "List results that are kept for later runs, or forget some."),
        "db": ("Keep", "Look after the store: status, migrate, check, backup, restore, vacuum."),
        "doctor": ("Keep", "Check this machine, the store and the plugins."),
    }
)
#: Commands that share a module.
ELSEWHERE: Mapping[str, str] = MappingProxyType({"start": "run", "unpause": "pause"})


class ReaderGone(Exception):
    """Nobody reads our output any more; an ``OSError`` would be taken by click for its own."""


class Commands(click.Group):
    """The commands, imported when called; one that nobody knows may be a plugin's."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError as gone:
            raise ReaderGone from gone

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return super().get_command(ctx, cmd_name) or self._from_plugins(ctx, cmd_name)
        import importlib

        module = importlib.import_module(f".{ELSEWHERE.get(cmd_name, cmd_name)}", __name__)
        return next(each for each in vars(module).values() if isinstance(each, click.Command) and each.name == cmd_name)

    def _from_plugins(self, ctx: click.Context, name: str) -> click.Command | None:
        from .opening import plugins_of

        plugins_of(ctx).add_commands(self)
        return super().get_command(ctx, name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        command = self.get_command(ctx, args[0])
        if command is None:
            remedy = did_you_mean(args[0], COMMANDS) or "`yamlflow --help` lists them."
            raise click.UsageError(f'There is no command "{args[0]}". {remedy}', ctx)
        return command.name, command, args[1:]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for name, (section, summary) in COMMANDS.items():
            sections.setdefault(section, []).append((name, summary))
        for section, rows in sections.items():
            with formatter.section(section):
                formatter.write_dl(rows)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@version_option
@common_options
def cli() -> None:
    """Run workflows written in YAML, durably: what is done stays done, whatever crashes.

    \b
      yamlflow init                        make a small project
      yamlflow run workflows/hello.yaml    run a package and watch it
      yamlflow runs                        what ran, and what came of it
      yamlflow show RUN                    where a run stands, and why
    """


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line and end the process with its exit status."""
    status = run(args)
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        status = silenced()
    supervised.life.ended(status)
    if any(not thread.daemon and thread is not threading.main_thread() for thread in threading.enumerate()):
        # A plugin left a thread running that Python would wait for, perhaps for ever.
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


def run(args: Sequence[str] | None = None) -> int:
    """Run one command; its exit status. What it prints is shown by a terminal, never obeyed."""
    with neat_streams():
        return funneled(args)


def funneled(args: Sequence[str] | None) -> int:
    """Run one command. Every error becomes one message on stderr here, and nowhere else."""
    common.debugging = False
    try:
        words = sys.argv[1:] if args is None else list(args)
        refuse_bytes(words)
        status = cli.main(args=words, prog_name="yamlflow", standalone_mode=False)
        return status if isinstance(status, int) else SUCCEEDED
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.ClickException as wrong:
        complain_of(wrong)
        return WRONG
    except ReaderGone:
        return silenced()
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        return INTERRUPTED
    except StartRefused as refused:
        if not refused.skipped:
            complain(str(refused), refused)
            return WRONG
        click.echo(readable(f"not started: {refused}"), err=True)
        return SUCCEEDED
    except StoreError as wrong:
        complain(str(wrong), wrong)
        return NO_STORE
    except YamlflowError as wrong:
        complain(str(wrong), wrong)
        return WRONG
    except OSError as wrong:
        complain(told(wrong), wrong)
        return WRONG
    except Exception as fault:  # the one funnel
        complain(
            f"a fault of yamlflow itself: {type(fault).__name__}: {fault}\n"
            "What is stored is safe. Please report this with the output of the same command with --log-level debug.",
            fault,
        )
        return FAULT
    finally:
        if "yamlflow.cli.diagnostics" in sys.modules:
            sys.modules["yamlflow.cli.diagnostics"].take_down()


def refuse_bytes(words: Sequence[str]) -> None:
    """What is no UTF-8 can be neither stored nor printed, whatever it is meant for. ``UsageError``."""
    for at, word in enumerate(words, 1):
        try:
            word.encode()
        except UnicodeEncodeError:
            quoted = ascii(os.fsencode(word[:100]))[1:]
            raise click.UsageError(f"Word {at} of the command line is not UTF-8: {quoted}.") from None


#: What to do about what the system refuses.
REMEDIES: Mapping[int, str] = MappingProxyType(
    {
        errno.ENOENT: "Check the path; folders are not made.",
        errno.ENOTDIR: "A file stands where a folder should be; check the path.",
        errno.EISDIR: "Name a file in it.",
        errno.EACCES: "Check the permissions there.",
        errno.ENAMETOOLONG: "Use a shorter name.",
    }
)


def told(wrong: OSError) -> str:
    """What the system refuses: the place, the cause, and the remedy where there is one."""
    words = f"{wrong.filename}: {wrong.strerror}" if wrong.filename else str(wrong)
    remedy = REMEDIES.get(wrong.errno or 0)
    return f"{words}. {remedy}" if remedy else words


def complain_of(wrong: click.ClickException) -> None:
    """A mistake on the command line, with how the command is called."""
    if isinstance(wrong, click.UsageError) and wrong.ctx is not None:
        usage = wrong.ctx.get_usage()
        click.echo(f"{usage}\nTry '{wrong.ctx.command_path} --help' for help.\n", err=True)
    click.echo(readable(f"Error: {wrong.format_message()}"), err=True)


#: Characters of one line of a message that are shown.
LONGEST_LINE = 500


def readable(message: str) -> str:
    """A message as it can be printed: what a terminal would act on is written out, and of long lines the middle left out.

    A message quotes what was given, and that may be anything.
    """
    return "\n".join(map(_line, message.split("\n")))


def _line(line: str) -> str:
    text = shown(line, len(line))
    half = LONGEST_LINE // 2
    return text if len(text) <= LONGEST_LINE else f"{text[:half]}…{text[-half:]}"


def complain(message: str, fault: BaseException | None = None) -> None:
    """One message on stderr; with ``--log-level debug`` also where it came from."""
    message = readable(message)
    problems: Any = getattr(fault, "problems", None)
    if problems is not None or (isinstance(fault, UserError) and message.count("\n") > 2):
        click.echo(message, err=True)
    else:
        click.secho("error: ", err=True, fg="red", bold=True, nl=False)
        click.echo(message, err=True)
    if fault is not None and common.debugging:
        import traceback

        click.echo("".join(traceback.format_exception(fault)), err=True, nl=False)


def silenced() -> int:
    """Whoever read our output is gone: say nothing more, not even at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return BROKEN_PIPE


__all__ = ["COMMANDS", "Command", "cli", "main", "run"]
