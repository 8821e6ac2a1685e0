"""A project on disk: its root, its settings, where its store is, which packages and plugins it has. Runs nothing.

The root is the nearest folder upwards that holds ``.yamlflow/``, ``yamlflow.toml`` or ``pyproject.toml``; without
one it is the current folder. A setting comes from a flag, else from ``YAMLFLOW_<NAME>``, else from ``yamlflow.toml``,
else from ``SETTINGS``. Folders in ``yamlflow.toml`` are relative to the root, all others to the current folder.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from .addresses import reach
from .duration import parse_duration
from .errors import StoreUnavailable, UnknownName, UserError, did_you_mean
from .policies import MOST_SLOTS
from .private import make_folder

MARKS = (".yamlflow", "yamlflow.toml", "pyproject.toml")
#: Where a project keeps its state, below its root.
STATE = ".yamlflow"
SETTINGS_FILE = "yamlflow.toml"
SUFFIXES = (".yaml", ".yml")
#: How the names of files of tests end; they are no packages.
TESTS = tuple(f".test{suffix}" for suffix in SUFFIXES)
#: How much of a file is searched for its package's name.
HEAD = 65536
NAME = re.compile(r"""^name:[ \t]*["']?([a-z0-9][a-z0-9._-]*)["']?[ \t]*(?:#.*)?$""", re.MULTILINE)
FORMAT = re.compile(r"^yamlflow:", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One thing that a project may say of itself."""

    #: ``text``, ``path``, ``folders``, ``count``, ``duration``, ``addresses``, or the words that are allowed.
    form: str | tuple[str, ...]
    doc: str
    default: Any = None


#: Every key of ``yamlflow.toml``; in capitals, after ``YAMLFLOW_``, every variable of the environment.
SETTINGS: Mapping[str, Setting] = MappingProxyType(
    {
        "store": Setting(form="text", doc="the store's URL, or the path of its file"),
        "packages": Setting(form="folders", doc="more folders that hold packages", default=()),
        "plugins": Setting(form="folders", doc="more folders that hold plugins", default=()),
        "workers": Setting(form="count", doc="calls at once in one process"),
        "lease": Setting(form="duration", doc="how long a step stays a silent worker's", default=30_000),
        "isolate": Setting(
            form=("no", "lost", "plugins"),
            doc="which calls of plugins have a process of their own: only those of kinds that ask for it, those of steps "
            "that were lost with their worker too, or all",
            default="lost",
        ),
        "synchronous": Setting(
            form=("full", "normal"), doc="whether a committed outcome survives power loss", default="full"
        ),
        "http_addresses": Setting(
            form="addresses", doc="what `http` may reach: default or public, +NETWORK, -NETWORK", default="default"
        ),
        "log_level": Setting(
            form=("debug", "info", "warning", "error"), doc="how grave a diagnostic line must be", default="warning"
        ),
        "log_format": Setting(form=("text", "json"), doc="how diagnostic lines are written", default="text"),
        "log_file": Setting(form="path", doc="where diagnostic lines go instead of stderr"),
    }
)


@dataclass(frozen=True, kw_only=True)
class Project:
    """A root, and what is set for it."""

    root: Path
    #: By name, every one of ``SETTINGS``.
    settings: Mapping[str, Any] = field(default_factory=dict)
    #: Whether a mark was found, or the current folder had to do.
    marked: bool = False

    @property
    def store(self) -> str:
        """The store's URL."""
        chosen = self.settings.get("store")
        return store_url(chosen) if chosen else f"sqlite:///{near(self.root / STATE / 'yamlflow.db')}"

    @property
    def owns_store(self) -> bool:
        """Whether the store is the project's own, below its root."""
        return not self.settings.get("store")

    @property
    def package_folders(self) -> list[Path]:
        """Where packages are looked for by name."""
        return existing([self.root / "workflows", *self.settings.get("packages", ())])

    def plugin_folders(self, *beside: Path | str | None) -> list[Path]:
        """Where plugins are looked for: the project's, those that are set, and those beside package files' folders."""
        around = [Path(folder) / "plugins" for folder in beside if folder]
        return existing([self.root / "plugins", *self.settings.get("plugins", ()), *around])

    def prepare(self) -> None:
        """Make the folder for the project's state, which no version control should take in. ``StoreUnavailable``."""
        if not self.owns_store:
            return
        folder = self.root / STATE
        ignore = folder / ".gitignore"
        try:
            make_folder(folder)
            if not ignore.exists():
                ignore.write_text("*\n", encoding="utf-8")
        except OSError as wrong:
            remedy = "change the folder's permissions, or name another place with --store"
            raise StoreUnavailable(
                f"{near(folder)}: nothing can be written there: {wrong.strerror}; {remedy}"
            ) from wrong


def existing(folders: Iterable[Path]) -> list[Path]:
    """The folders that are there, each once, in order."""
    return list(dict.fromkeys(folder.resolve() for folder in folders if folder.is_dir()))


def near(path: Path) -> str:
    """A path as short as it can be said from the current folder."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def find_root(start: Path) -> Path | None:
    """The nearest folder from ``start`` upwards that is marked as a project; None when none is.

    A mark that belongs to somebody else counts only where ``start`` is theirs too: in a folder that all may write to,
    like ``/tmp``, another user could otherwise choose our plugins, secrets and store.
    """
    start = start.absolute()
    folders = (start, *start.parents)
    trusted = {0, os.geteuid(), *(folder.stat().st_uid for folder in folders[:1] if folder.exists())}
    return next((folder for folder in folders if any(_is_mark(folder / mark, trusted) for mark in MARKS)), None)


def _is_mark(path: Path, trusted: set[int]) -> bool:
    try:
        return path.stat().st_uid in trusted
    except OSError:
        return False


def open_project(start: Path | None = None, flags: Mapping[str, Any] | None = None) -> Project:
    """The project around a folder (the current one), with its settings. ``UserError`` for one that cannot be."""
    found = find_root(start or Path.cwd())
    root = found or Path.cwd()
    layers = (given(flags or {}), from_environment(os.environ), from_file(root))
    settings = {
        name: next((layer[name] for layer in layers if name in layer), setting.default)
        for name, setting in SETTINGS.items()
    }
    return Project(root=root, settings=settings, marked=found is not None)


# -- settings ------------------------------------------------------------------------------------------------------


def given(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Settings from flags: those that were given."""
    return {
        name: read(name, value, Path.cwd(), f"--{name.replace('_', '-')}")
        for name, value in flags.items()
        if name in SETTINGS and value not in (None, ())
    }


def from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    """Settings from ``YAMLFLOW_*``; empty ones count as not given."""
    values: dict[str, Any] = {}
    for name, setting in SETTINGS.items():
        variable = f"YAMLFLOW_{name.upper()}"
        text = environ.get(variable)
        if text:
            value: Any = text.split(os.pathsep) if setting.form == "folders" else text
            values[name] = read(name, value, Path.cwd(), variable)
    return values


def from_file(root: Path) -> dict[str, Any]:
    """Settings from the root's ``yamlflow.toml``; a key that is not known is refused."""
    path = root / SETTINGS_FILE
    if not path.is_file():
        return {}
    import tomllib

    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as wrong:
        byte = f"the byte 0x{wrong.object[wrong.start]:02X} at {wrong.start + 1}"
        raise UserError(f"{near(path)}: {byte} is not UTF-8. Save the file as UTF-8.") from None
    except RecursionError:
        raise UserError(f"{near(path)}: this is no TOML: it is nested too deeply") from None
    except tomllib.TOMLDecodeError as wrong:
        raise UserError(f"{near(path)}: this is no TOML: {wrong}") from None
    for name in values:
        if name not in SETTINGS:
            remedy = did_you_mean(name, SETTINGS) or f"There are: {', '.join(sorted(SETTINGS))}."
            raise UserError(f'{near(path)}: there is no setting "{name}". {remedy}')
    return {name: read(name, value, root, f"{near(path)}: {name}") for name, value in values.items()}


def read(name: str, value: Any, folder: Path, place: str) -> Any:
    """A setting's value in its own type; relative paths begin at ``folder``. ``UserError`` names the place."""
    form = SETTINGS[name].form
    if isinstance(form, tuple):
        if value not in form:
            raise UserError(
                f'{place}: "{value}" is not one of {", ".join(form)}. {did_you_mean(str(value), form)}'.rstrip()
            )
        return value
    return READERS[form](value, folder, place)


def read_text(value: Any, folder: Path, place: str) -> str:
    """The store: a relative path begins at ``folder``."""
    if not isinstance(value, str) or not value.strip():
        raise UserError(f"{place}: this must be a store's URL or the path of its file; it is {value!r}")
    path = value.removeprefix("sqlite:///") if value.startswith("sqlite:///") else value
    if "://" in path or path == ":memory:" or folder == Path.cwd():
        return value
    return str(folder / path)


def read_path(value: Any, folder: Path, place: str) -> Path:
    """A file."""
    if not isinstance(value, str | Path) or not str(value):
        raise UserError(f"{place}: this must be a path; it is {value!r}")
    return folder / Path(value).expanduser()


def read_folders(value: Any, folder: Path, place: str) -> tuple[Path, ...]:
    """One folder or several; each must be there."""
    several = list(value) if isinstance(value, list | tuple) else [value]
    folders = tuple(read_path(each, folder, place) for each in several if each)
    for each in folders:
        if not each.is_dir():
            raise UserError(f"{place}: there is no folder {near(each)}")
    return folders


def read_count(value: Any, folder: Path, place: str) -> int:
    """A number from 1."""
    text = str(value)
    if isinstance(value, bool) or not text.isascii() or not text.isdigit() or not 1 <= int(text[:10]) <= MOST_SLOTS:
        raise UserError(f"{place}: this must be a number from 1 to {MOST_SLOTS:,}; it is {value!r}")
    return int(text)


def read_duration(value: Any, folder: Path, place: str) -> int:
    """Milliseconds."""
    try:
        found = parse_duration(value)
    except UserError as wrong:
        raise UserError(f"{place}: {wrong}") from None
    if not found:
        raise UserError(f"{place}: this must be more than nothing; it is {value!r}")
    return found


def read_addresses(value: Any, folder: Path, place: str) -> str:
    """Which addresses may be reached; a list is the same as commas."""
    text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    try:
        reach(text)
    except UserError as wrong:
        raise UserError(f"{place}: {wrong}") from None
    return text


READERS: Mapping[str, Any] = MappingProxyType(
    {
        "text": read_text,
        "path": read_path,
        "folders": read_folders,
        "count": read_count,
        "duration": read_duration,
        "addresses": read_addresses,
    }
)


def store_url(chosen: str) -> str:
    """A store's URL from what somebody wrote: a URL, or the path of a file."""
    if chosen == ":memory:":
        return f"sqlite:///{chosen}"
    if chosen.startswith("sqlite:"):
        path = chosen.removeprefix("sqlite:///")
        if path == chosen or not path or "?" in path:
            raise StoreUnavailable(
                f"{chosen}: this names no file; write sqlite:///folder/file.db, with nothing behind it"
            )
        return chosen
    scheme, found, _ = chosen.partition("://")
    if found:
        raise StoreUnavailable(f'{chosen}: no store answers to "{scheme}://"; write sqlite:///folder/file.db')
    return f"sqlite:///{chosen}"


# -- packages ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Found:
    """A package file, as a listing shows it: nothing but its name was read."""

    name: str
    file: Path


def package_files(folders: Iterable[Path]) -> Iterator[Found]:
    """The packages in folders, by file; a file without a name is none."""
    for folder in folders:
        for file in sorted(folder.iterdir()):
            is_one = file.suffix in SUFFIXES and not is_test_file(file) and file.is_file()
            name = declared_name(file) if is_one else None
            if name is not None:
                yield Found(name=name, file=file)


def is_test_file(file: Path | str) -> bool:
    """Whether a file holds tests of a package, by its name: ``crawl.test.yaml``."""
    return str(file).endswith(TESTS)


def declared_name(file: Path) -> str | None:
    """The name that a package file declares, without reading the rest of it; None when it is no package."""
    try:
        with file.open(encoding="utf-8", errors="replace") as stream:
            head = stream.read(HEAD)
    except OSError:
        return None
    match = NAME.search(head)
    return match.group(1) if match and FORMAT.search(head) else None


def find_package(given: str, project: Project) -> Path:
    """The file of a package, by path or by name. ``UnknownName`` when there is none, or more than one."""
    path = Path(given)
    if path.is_file() and is_test_file(path):
        raise UnknownName(f"{given} holds tests, not a package; `yamlflow test {given}` runs them")
    if path.is_file():
        return path
    if path.is_dir():
        raise UnknownName(f"{given} is a folder. Name a file in it.")
    if os.path.lexists(path):
        words = "a link that leads to no file" if path.is_symlink() else "no regular file"
        raise UnknownName(f"{given} is {words}. Name a file that holds a package.")
    if looks_like_path(given):
        raise UnknownName(f"there is no file {given}. {nearby(path)}")
    known = list(package_files(project.package_folders))
    found = [each.file for each in known if each.name == given]
    if len(found) > 1:
        files = " and ".join(near(file) for file in found)
        raise UnknownName(
            f'there are {len(found)} packages named "{given}": {files}. Give the path of the one you mean.'
        )
    if not found:
        raise UnknownName(f'there is no file or package "{given}". {remedy_for(given, known, project)}')
    return found[0]


def looks_like_path(given: str) -> bool:
    """Whether somebody meant a file, not a name."""
    return os.sep in given or given.endswith(SUFFIXES)


def nearby(path: Path) -> str:
    """Which file beside a missing one may have been meant."""
    beside = path.parent.iterdir() if path.parent.is_dir() else ()
    # Tests are no package, however much their file is named like one.
    names = [file.name for file in beside if not is_test_file(file)]
    return did_you_mean(path.name, names) or "Check the path."


def remedy_for(given: str, known: list[Found], project: Project) -> str:
    """Which packages there are, or where they would be looked for."""
    names = sorted({each.name for each in known})
    if names:
        return did_you_mean(given, names) or f"There are: {', '.join(names)}."
    folders = ", ".join(near(folder) for folder in project.package_folders) or near(project.root / "workflows")
    return f"Give the path of a file; by name it was looked for in {folders}."
