"""Commands about one package: its inputs are their options, and their ``--help`` is the package's own.

FILE is found first, among the arguments; then the command line is read with the options that its inputs make.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import UserError
from ..outcome import Json
from ..project import Project, find_package, open_project
from .common import Command, flags_of, write_examples, write_options

if TYPE_CHECKING:
    from ..packages import Loaded

#: Where the package, its inputs' options and their values are kept for one call.
CHOSEN, OPTIONS, VALUES = "yamlflow.package", "yamlflow.options", "yamlflow.values"


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """The package that a command line names."""

    file: Path
    #: The folder from which the project is looked for; None is the current one.
    start: Path | None
    project: Project
    package: Loaded


def chosen(ctx: click.Context) -> Chosen:
    """The package of this call. ``UsageError`` when none was named."""
    found: Chosen | None = ctx.meta.get(CHOSEN)
    if found is None:
        raise click.UsageError("Name the package: a file, or a name that `yamlflow packages` lists.", ctx)
    # Only now is the whole command line read, and with it every setting.
    return replace(found, project=open_project(found.start, flags_of(ctx)))


def choose(given: str, flags: Mapping[str, Any]) -> Chosen:
    """The package that somebody means by a path or a name. ``UnknownName``, ``InvalidPackage``."""
    from .checking import load

    path = Path(given)
    start = path.absolute().parent if path.is_file() else None
    project = open_project(start, flags)
    file = find_package(given, project)
    return Chosen(file=file, start=start, project=project, package=load(file))


class PackageCommand(Command):
    """A command whose first argument is a package."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        given = self.named(ctx, args)
        if given is not None and not ctx.resilient_parsing:
            found = choose(given, {**flags_of(ctx), "packages": tuple(values_of("--packages", args))})
            ctx.meta[CHOSEN] = found
            ctx.meta[OPTIONS] = input_options(found.package.package.inputs, self.own_names(ctx))
        return super().parse_args(ctx, args)

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        return [*ctx.meta.get(OPTIONS, ()), *super().get_params(ctx)]

    def own_names(self, ctx: click.Context) -> set[str]:
        """The options that an input cannot have."""
        return {name for param in super().get_params(ctx) for name in (*param.opts, *param.secondary_opts)}

    def named(self, ctx: click.Context, args: list[str]) -> str | None:
        """The argument that is the package: the first that is neither an option nor an option's value."""
        values = {name for param in super().get_params(ctx) if takes_value(param) for name in param.opts}
        own = self.own_names(ctx)
        rest = iter(args)
        for arg in rest:
            if arg == "--":
                return next(rest, None)
            if not arg.startswith("-") or arg == "-":
                return arg
            if arg in values:
                next(rest, None)
            elif arg.startswith("--") and "=" not in arg and arg not in own:
                following = next(rest, None)
                if following is not None and Path(following).is_file():
                    return following
        return None

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        found: Chosen | None = ctx.meta.get(CHOSEN)
        if found is None:
            super().format_help(ctx, formatter)
            return
        package, name = found.package.package, ctx.command_path
        formatter.write_usage(name, f"{found.file} [INPUTS] [OPTIONS]")
        formatter.write_paragraph()
        write_about(formatter, package)
        write_inputs(ctx, formatter, package.inputs, ctx.meta[OPTIONS])
        outputs = package.root.body.outputs if hasattr(package.root.body, "outputs") else None
        if isinstance(outputs, dict) and outputs:
            with formatter.section("Outputs"):
                formatter.write_dl(
                    [(key, value if isinstance(value, str) else str(value)) for key, value in outputs.items()]
                )
        own = [param for param in self.get_params(ctx) if param not in self.shared and param not in ctx.meta[OPTIONS]]
        write_options(ctx, formatter, "Options", own)
        write_options(ctx, formatter, "Common options", self.shared)


def takes_value(param: click.Parameter) -> bool:
    """Whether an option is followed by its value."""
    return isinstance(param, click.Option) and not param.is_flag and not param.count


def values_of(option: str, args: list[str]) -> Iterator[str]:
    """The values of one option, before the command line is read."""
    rest = iter(args)
    for arg in rest:
        if arg == option:
            value = next(rest, None)
            if value is not None:
                yield value
        elif arg.startswith(f"{option}="):
            yield arg[len(option) + 1 :]


# -- inputs --------------------------------------------------------------------------------------------------------


def input_options(inputs: Mapping[str, Json], taken: set[str]) -> list[click.Option]:
    """An option for every input whose name no other option has."""
    options = []
    for position, (name, schema) in enumerate(inputs.items()):
        option = input_option(name, schema if isinstance(schema, dict) else {}, f"input_{position}", taken)
        if option is not None:
            options.append(option)
    return options


def input_option(name: str, schema: Mapping[str, Json], id: str, taken: set[str]) -> click.Option | None:
    """The option of one input; None when its name is taken, so that only ``-i`` gives it."""
    flags = dict.fromkeys((f"--{name.replace('_', '-')}", f"--{name}"))
    if not name.replace("_", "").replace("-", "").isalnum() or taken.intersection(flags):
        return None

    def keep(ctx: click.Context, param: click.Parameter, value: Any) -> None:
        if value not in (None, ()):
            ctx.meta.setdefault(VALUES, {})[name] = value

    if schema.get("type") == "boolean":
        names = [f"{flag}/--no-{flag[2:]}" for flag in flags]
        return click.Option(
            [*names, id], default=None, expose_value=False, callback=keep, help=input_help(schema), show_default=False
        )
    return click.Option(
        [*flags, id], type=str, multiple=True, expose_value=False, callback=keep,
        metavar=type_text(schema), help=input_help(schema),
    )  # fmt: skip


def type_text(schema: Mapping[str, Json]) -> str:
    """What an input takes, in capitals or as the choice it is."""
    if isinstance(schema.get("enum"), list):
        return "[" + "|".join(str(one) for one in schema["enum"]) + "]"
    kind = schema.get("type", "value")
    return "|".join(kind if isinstance(kind, list) else [str(kind)]).upper()


#: Bounds that a help text names.
BOUNDS = {
    "minimum": "from {}",
    "maximum": "to {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "pattern": "matching {}",
    "format": "a {}",
}


def input_help(schema: Mapping[str, Json]) -> str:
    """What an input is for, its bounds, its default."""
    import json

    text = str(schema.get("description") or schema.get("title") or "").strip()
    bounds = ", ".join(words.format(schema[key]) for key, words in BOUNDS.items() if key in schema)
    if "default" in schema:
        default = schema["default"]
        last = (
            f"default: {default if isinstance(default, str) and default else json.dumps(default, ensure_ascii=False)}"
        )
    else:
        last = "required"
    return f"{text}{'  ' if text else ''}[{'; '.join(part for part in (bounds, last) if part)}]"


def write_about(formatter: click.HelpFormatter, package: Any) -> None:
    """What a package is."""
    title = package.title or package.name
    formatter.write_text(f"{title}{f' ({package.version})' if package.version else ''}")
    if package.description:
        formatter.write_paragraph()
        formatter.write_text(package.description)


def write_inputs(
    ctx: click.Context, formatter: click.HelpFormatter, inputs: Mapping[str, Json], options: list[click.Option]
) -> None:
    """The inputs of a package: as options, or with ``-i`` where their name is another option's."""
    by_id = {option.name: option for option in options}
    rows = []
    for position, (name, schema) in enumerate(inputs.items()):
        option = by_id.get(f"input_{position}")
        record = None if option is None else option.get_help_record(ctx)
        declared = schema if isinstance(schema, dict) else {}
        rows.append(record or (f"-i {name}={type_text(declared)}", input_help(declared)))
    if rows:
        with formatter.section("Inputs"):
            formatter.write_dl(rows)
    else:
        write_examples(formatter, ())


def inputs_given(ctx: click.Context, pairs: tuple[str, ...], file: str | None) -> dict[str, Json]:
    """The inputs of this call: from a file, then ``-i name=value``, then options. ``UserError``, ``UsageError``."""
    from ..inputs import from_text

    schemas = chosen(ctx).package.package.inputs
    values = from_input_file(file) if file is not None else {}
    options: Mapping[str, bool | tuple[str, ...]] = ctx.meta.get(VALUES, {})
    typed = [(name, text) for name, text in split_pairs(pairs, "-i") if name not in options]
    switched = {name: value for name, value in options.items() if isinstance(value, bool)}
    typed += [(name, text) for name, texts in options.items() if isinstance(texts, tuple) for text in texts]
    return {**values, **from_text(schemas, typed), **switched}


def split_pairs(pairs: tuple[str, ...], option: str) -> Iterator[tuple[str, str]]:
    """``name=value`` texts as pairs."""
    for pair in pairs:
        name, found, value = pair.partition("=")
        if not found or not name:
            raise click.UsageError(f'{option} wants name=value; it got "{pair}".')
        yield name, value


def once(pairs: tuple[str, ...], option: str) -> dict[str, str]:
    """``name=value`` texts, no name twice. ``UsageError``."""
    values: dict[str, str] = {}
    for name, value in split_pairs(pairs, option):
        if name in values:
            raise click.UsageError(f"{option} {name} is given twice.")
        values[name] = value
    return values


def from_input_file(file: str) -> dict[str, Json]:
    """A mapping in YAML or JSON; ``-`` is standard input."""
    data = value_from_file(file)
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise UserError(f"{file}: the inputs must be a mapping of names to values: write `name: value`")
    return dict(data)


def value_from_file(file: str) -> Json:
    """A value in YAML or JSON; ``-`` is standard input."""
    import sys

    from .. import document

    if file != "-":
        return document.load(file).data
    # Bytes: what is no UTF-8 is told by its place. No more of them than are read of a file.
    return document.read(sys.stdin.buffer.read(document.Limits().size + 1), file="<stdin>").data
