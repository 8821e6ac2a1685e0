"""What every command shares: its common options, and how its help and its examples are laid out. Imports click."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import click

from ..errors import YamlflowError

Function = TypeVar("Function", bound=Callable[..., Any])
#: Where the settings from flags are kept, for all commands of one call.
FLAGS = "yamlflow.flags"
CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
#: Whether tracebacks are wanted: the one thing that outlives the command, for the funnel.
debugging = False


def keep(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
    """Remember a setting that was given as a flag; the innermost one counts."""
    global debugging
    if value not in (None, (), False):
        ctx.meta.setdefault(FLAGS, {})[param.name] = value
        if param.name == "log_level":
            debugging = value == "debug"
    return value


def flags_of(ctx: click.Context) -> Mapping[str, Any]:
    """The settings that were given as flags."""
    flags: Mapping[str, Any] = ctx.meta.get(FLAGS, {})
    return flags


def setting(*names: str, **attributes: Any) -> click.Option:
    """An option that is a setting: kept aside, not handed to the command."""
    return click.Option(names, expose_value=False, callback=keep, **attributes)


def common() -> list[click.Option]:
    """The options of every command."""
    return [
        setting("--store", metavar="URL", help="The store: sqlite:///file.db or a path. [.yamlflow/yamlflow.db]"),
        setting(
            "--log-level", type=click.Choice(["debug", "info", "warning", "error"]), help="How much to say on stderr."
        ),
        setting("--log-format", type=click.Choice(["text", "json"]), help="How diagnostic lines are written."),
        setting("--log-file", metavar="FILE", help="Where diagnostic lines go instead of stderr."),
    ]


def plugin_options() -> list[click.Option]:
    """The options of commands that need kinds or packages."""
    return [
        setting("--plugins", metavar="DIR", multiple=True, help="More folders with plugins."),
        setting("--no-plugins", is_flag=True, help="Use built-in kinds only."),
        setting("--packages", metavar="DIR", multiple=True, help="More folders with packages."),
    ]


def common_options(function: Function) -> Function:
    """Decorate a command or group with the options of every command."""
    held = getattr(function, "__click_params__", [])
    function.__click_params__ = [*held, *reversed(common())]  # type: ignore[attr-defined]
    return function


def version_option(function: Function) -> Function:
    """``--version``, read without importing what it is the version of."""

    def show(ctx: click.Context, param: click.Parameter, value: bool) -> None:
        if value and not ctx.resilient_parsing:
            click.echo(f"yamlflow {version()}")
            ctx.exit()

    option = click.option(
        "--version", is_flag=True, is_eager=True, expose_value=False, callback=show, help="Print the version."
    )
    return option(function)


def version() -> str:
    """The installed version, or ``0`` in a bare source tree."""
    import os

    # Installed, its metadata stands beside it, and the folder's name says enough; to read metadata takes far longer.
    beside = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    for name in os.listdir(beside):
        if name.startswith("yamlflow-") and name.endswith(".dist-info"):
            return name.removeprefix("yamlflow-").removesuffix(".dist-info")
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        return installed("yamlflow")
    except PackageNotFoundError:
        return "0"


#: What says of itself what is wrong.
EXPECTED = (YamlflowError, click.ClickException, click.exceptions.Exit, click.Abort, OSError)


class Command(click.Command):
    """A command with the common options, which its help lists last, and with examples, which it lists first."""

    def __init__(
        self, *args: Any, examples: Sequence[tuple[str, str]] = (), plugins: bool = False, **kwargs: Any
    ) -> None:
        kwargs.setdefault("context_settings", CONTEXT)
        super().__init__(*args, **kwargs)
        self.examples = examples
        #: Options that are not the command's own.
        self.shared: list[click.Option] = [*(plugin_options() if plugins else []), *common()]

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        own = super().get_params(ctx)
        return [*own[:-1], *self.shared, *own[-1:]]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        write_examples(formatter, self.examples)
        own = [param for param in self.get_params(ctx) if param not in self.shared]
        write_options(ctx, formatter, "Options", own)
        write_options(ctx, formatter, "Common options", self.shared)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except EXPECTED:
            raise
        except Exception as fault:  # a fault of ours, unless the store holds what we did not write
            from .opening import damaged

            if (found := damaged(ctx)) is not None:
                raise found from fault
            raise

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        refuse_twice(self.make_parser(ctx).parse_args(list(args))[2], ctx)
        rest = super().parse_args(ctx, args)
        listen(flags_of(ctx))
        return rest


def refuse_twice(given: Sequence[click.Parameter], ctx: click.Context) -> None:
    """Refuse an option that takes one value and has two: which is meant, nobody can tell. ``UsageError``."""
    for param in given:
        once = isinstance(param, click.Option) and not (param.multiple or param.is_flag or param.count)
        if once and given.count(param) > 1:
            raise click.UsageError(f"{param.opts[0]} is given {given.count(param)} times; give it once.", ctx)


def write_examples(formatter: click.HelpFormatter, examples: Sequence[tuple[str, str]]) -> None:
    """A section of examples, each with what it does."""
    if examples:
        with formatter.section("Examples"):
            formatter.write_dl(list(examples))


def write_options(
    ctx: click.Context, formatter: click.HelpFormatter, title: str, options: Sequence[click.Parameter]
) -> None:
    """A section of options."""
    rows = [row for row in (option.get_help_record(ctx) for option in options) if row is not None]
    if rows:
        with formatter.section(title):
            formatter.write_dl(rows)


def command(
    name: str, *, examples: Sequence[tuple[str, str]] = (), plugins: bool = False, cls: type[Command] = Command,
    **attributes: Any,
) -> Callable[[Callable[..., Any]], Command]:  # fmt: skip
    """Declare a command; ``plugins`` adds the options that say where kinds and packages come from."""

    def declare(function: Callable[..., Any]) -> Command:
        decorator = click.command(name, cls=cls, examples=examples, plugins=plugins, **attributes)
        return decorator(function)

    return declare


def listen(flags: Mapping[str, Any]) -> None:
    """Let Python's logging say what was asked for. Without a flag or variable nothing is set up."""
    import os

    level = flags.get("log_level") or os.environ.get("YAMLFLOW_LOG_LEVEL")
    form = flags.get("log_format") or os.environ.get("YAMLFLOW_LOG_FORMAT")
    file = flags.get("log_file") or os.environ.get("YAMLFLOW_LOG_FILE")
    if level or form or file or "log_file" in flags:
        from ..project import from_environment, given
        from .diagnostics import set_up

        # Both refuse what no setting can be, and say where it was set.
        given(flags)
        from_environment(os.environ)

        set_up(level or "warning", form or "text", file)


class Count(click.IntRange):
    """A whole number from ``least``, and at most ``most``."""

    name = "whole number"

    def __init__(self, least: int = 1, most: int | None = None) -> None:
        from ..checks import MOST

        super().__init__(least, most or MOST)
        self._bounded = most is not None

    def _describe_range(self) -> str:
        return super()._describe_range() if self._bounded else f"x>={self.min}"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number."""
        if isinstance(value, str) and value.isascii() and value.isdigit():
            # Python itself reads no number of more than some thousand digits.
            number = int(value[:20])
            if self.max is not None and number > self.max:
                self.fail(f"{value} is more than {self.max:,}.", param, ctx)
        return super().convert(value, param, ctx)


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
