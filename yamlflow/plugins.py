"""Who supplies executors, filters and secrets: the built-ins, installed packages, and modules in plugin folders.

All come in by the same hooks, each ``load`` with a plugin manager of its own. A module that cannot be imported is kept
as a ``BrokenPlugin`` and does not hinder the others; a kind that two of them claim is nobody's, and named as broken too.
"""

from __future__ import annotations

import inspect
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import pluggy

from . import hookspecs
from .errors import PluginError, did_you_mean, shortened
from .executors import Deferred, Executor, builtin, executor_of, place_of
from .folders import distrusted, import_plugin, misnamed_in, modules_in
from .outcome import Json
from .serializers import Serializer, Serializers

#: The entry points of this group are plugins.
GROUP = "yamlflow"
#: Characters of what a broken plugin's exception says.
LONGEST = 2_000
MISNAMED = "Python cannot import a module of this name: rename the file: letters, digits and _"
DECLARED = re.compile(rb"^\s*\[\s*yamlflow\s*\]", re.MULTILINE)
CLAIM = re.compile(r"""@(?:\w+\.)?executor\(\s*(?:kind\s*=\s*)?["']([^"']+)["']""")


@dataclass(frozen=True, kw_only=True)
class BrokenPlugin:
    """A plugin that could not be used."""

    #: The file or folder, or the entry point as it was declared.
    file: str
    #: Where in it, from 1; 0 when not known.
    line: int = 0
    #: Type and message of what went wrong.
    cause: str
    #: The kinds that its text seems to declare: packages that need them are told of this plugin.
    kinds: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.file}{f':{self.line}' if self.line else ''}: {self.cause}"


class Kinds(Mapping[str, Executor]):
    """Executors by kind; a deferred one is imported when it is first asked for."""

    def __init__(self) -> None:
        self._known: dict[str, Executor | Deferred] = {}

    def add(self, found: Executor | Deferred) -> None:
        """Add one; ``PluginError`` when its kind is taken."""
        taken = self._known.get(found.kind)
        if taken is not None and taken is not found:
            raise PluginError(claimed_twice(found.kind, (taken, found)))
        self._known[found.kind] = found

    def __getitem__(self, kind: str) -> Executor:
        found = self._known[kind]
        if isinstance(found, Deferred):
            found = self._known[kind] = found.load()
        return found

    def __contains__(self, kind: object) -> bool:
        return kind in self._known

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)

    def origins(self) -> dict[str, str]:
        """Kind to where it comes from, without importing anything."""
        return {kind: found.origin for kind, found in self._known.items()}


@dataclass(frozen=True, kw_only=True)
class Plugins:
    """Everything that one ``load`` found."""

    #: Calls every other hook: ``plugins.manager.hook.yamlflow_commands(cli=…)``.
    manager: pluggy.PluginManager
    executors: Kinds = field(default_factory=Kinds)
    #: Filters for expressions, by name.
    filters: Mapping[str, Callable[..., Json]] = field(default_factory=dict)
    #: How values of further types are stored.
    serializers: tuple[Serializer, ...] = ()
    #: The folders that plugins were imported from, absolute; a child process may import from them too.
    folders: tuple[Path, ...] = ()
    #: What could not be used, in the order met.
    broken: tuple[BrokenPlugin, ...] = ()

    @property
    def origins(self) -> Mapping[str, str]:
        """Kind to "built in" or file:line."""
        return self.executors.origins()

    def add_commands(self, cli: Any) -> None:
        """Let plugins add their commands to a group of click's. ``PluginError`` names one that cannot."""
        for implementation in self.manager.hook.yamlflow_commands.get_hookimpls():
            try:
                implementation.function(*(cli for _ in implementation.argnames))
            except Exception as fault:
                raise PluginError(str(_broken(implementation.plugin_name, fault))) from fault

    def secret(self, name: str) -> str | None:
        """The value of a secret from the first plugin that knows it; None when none does."""
        value = self.manager.hook.yamlflow_secrets(name=name)
        if value is not None and not isinstance(value, str):
            raise PluginError(f'a plugin gave {type(value).__name__} for the secret "{name}", not text')
        return value

    def on_event(self, event: Mapping[str, Json]) -> None:
        """Tell every plugin of an event; raises what the plugin raises."""
        self.manager.hook.yamlflow_on_event(event=event)

    def add(self, thing: Executor | Callable[..., Any]) -> Executor:
        """Add an executor, or a function decorated with ``@executor``; ``PluginError`` when its kind is taken."""
        found = executor_of(thing)
        if found is None:
            raise PluginError(f"{thing!r} is no executor; decorate it with @executor(kind)")
        self.executors.add(found)
        return found


def load(folders: Sequence[str | os.PathLike[str]] = (), *, entry_points: bool = True) -> Plugins:
    """The built-ins, the installed plugins and those in ``folders`` (one that does not exist is passed over).

    A kind that is claimed twice is refused, and told of in ``broken``. Raises ``PluginError`` for a filter or serializer
    that is.
    """
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    manager.register(builtin, name="built in")
    broken: list[BrokenPlugin] = []
    used = tuple(_usable(folders, broken))
    for name, source, bring in (*_installed(entry_points), *_in_folders(used, broken)):
        problem = _join(manager, name, source, bring)
        if problem is not None:
            broken.append(problem)
    executors, filters = _executors(manager, broken), _filters(manager, broken)
    serializers = _serializers(manager, broken)
    return Plugins(
        manager=manager,
        executors=executors,
        filters=filters,
        serializers=serializers,
        folders=used,
        broken=tuple(broken),
    )


#: A plugin yet to be imported: its name, its file (or declaration), and how.
Source = tuple[str, str, Callable[[], object]]


def _installed(wanted: bool) -> Iterable[Source]:
    if not wanted or not any(map(_declares, sys.path)):
        return ()
    from importlib.metadata import entry_points

    points = sorted(entry_points(group=GROUP), key=lambda point: (point.name, point.value))
    return [(f"{point.name} = {point.value}", f"{point.name} = {point.value}", point.load) for point in points]


def _declares(folder: str) -> bool:
    """Whether a package installed there may declare plugins: far quicker to tell than to read all metadata."""
    try:
        with os.scandir(folder or os.curdir) as entries:
            names = [entry.path for entry in entries if entry.name.endswith((".dist-info", ".egg-info", ".egg"))]
    except NotADirectoryError:
        return True
    except OSError:
        return False
    return any(_mentions(os.path.join(name, *where)) for name in names for where in _METADATA)


_METADATA = (("entry_points.txt",), ("EGG-INFO", "entry_points.txt"))


def _mentions(file: str) -> bool:
    try:
        with open(file, "rb") as stream:
            return DECLARED.search(stream.read()) is not None
    except OSError:
        return False


def _usable(folders: Sequence[str | os.PathLike[str]], broken: list[BrokenPlugin]) -> Iterator[Path]:
    """Each folder once, absolute, where it exists and only its owner may write to it."""
    for folder in dict.fromkeys(Path(each).resolve() for each in folders):
        if not folder.is_dir():
            continue
        if reason := distrusted(folder):
            broken.append(BrokenPlugin(file=str(folder), cause=reason))
        else:
            yield folder


def _in_folders(folders: Sequence[Path], broken: list[BrokenPlugin]) -> Iterator[Source]:
    for folder in folders:
        for file in modules_in(folder):
            if reason := distrusted(file):
                broken.append(BrokenPlugin(file=str(file), cause=reason, kinds=_claims(file)))
            else:
                yield str(file), str(file), _bring(folder, file)
        for file in misnamed_in(folder):
            broken.append(BrokenPlugin(file=str(file), cause=MISNAMED, kinds=_claims(_main(file))))


def _bring(folder: Path, file: Path) -> Callable[[], ModuleType]:
    return lambda: import_plugin(folder, file)


def _join(manager: pluggy.PluginManager, name: str, source: str, bring: Callable[[], object]) -> BrokenPlugin | None:
    """Import a plugin and register it; what went wrong, if anything did."""
    plugin: object = None
    try:
        plugin = bring()
        manager.register(plugin, name=name)
        manager.check_pending()
    except KeyboardInterrupt:
        raise
    except BaseException as fault:
        if plugin is not None and manager.is_registered(plugin):
            manager.unregister(plugin)
        return _broken(source, fault)
    return None


def _broken(source: str, fault: BaseException) -> BrokenPlugin:
    main = _main(Path(source))
    try:
        message = shortened(str(fault), LONGEST)
    except Exception as worse:  # an exception of the plugin's own, which cannot even say what it is
        message = f"its message cannot be read ({type(worse).__name__})"
    message = unknown_hook(message) if isinstance(fault, pluggy.PluginValidationError) else message
    # One line: more would look like further plugins in a list.
    cause = f"{type(fault).__name__}: {' '.join(message.split()) or 'no message'}"
    return BrokenPlugin(file=source, line=_line(main, fault), cause=cause, kinds=_claims(main))


def unknown_hook(message: str) -> str:
    """What pluggy says of a hook that there is not, in our words."""
    found = re.match("unknown hook '(.*?)' in plugin", message)
    if found is None:
        return message
    known = [name for name in vars(hookspecs) if name.startswith("yamlflow_")]
    return f'there is no hook "{found[1]}". {did_you_mean(found[1], known) or "There are " + ", ".join(sorted(known)) + "."}'


def _main(plugin: Path) -> Path:
    """The file that is run when a plugin is imported."""
    return plugin / "__init__.py" if plugin.is_dir() else plugin


def _line(file: Path, fault: BaseException) -> int:
    if isinstance(fault, SyntaxError) and fault.filename == str(file):
        return fault.lineno or 0
    lines = [frame.lineno for frame in traceback.extract_tb(fault.__traceback__) if frame.filename == str(file)]
    return (lines or [0])[-1] or 0


def _claims(file: Path) -> tuple[str, ...]:
    try:
        return tuple(CLAIM.findall(file.read_text(errors="replace")))
    except OSError:
        return ()


def _executors(manager: pluggy.PluginManager, broken: list[BrokenPlugin]) -> Kinds:
    offers: dict[str, list[Executor | Deferred]] = {}
    for name, plugin in manager.list_name_plugin():
        try:
            found = list(_offered(manager, plugin))
        except KeyboardInterrupt:
            raise
        except BaseException as fault:
            manager.unregister(plugin)
            broken.append(_broken(name, fault))
            continue
        for each in found:
            offers.setdefault(each.kind, []).append(each)
    kinds = Kinds()
    for kind, claims in offers.items():
        if len(claims) == 1:
            kinds.add(claims[0])
        else:
            broken.append(_contested(kind, claims))
    return kinds


def _contested(kind: str, claims: Sequence[Executor | Deferred]) -> BrokenPlugin:
    """A kind that several claim, at the place of the last of them."""
    file, _, line = claims[-1].origin.rpartition(":")
    place = (file, int(line)) if file and line.isdigit() else (claims[-1].origin or "?", 0)
    return BrokenPlugin(file=place[0], line=place[1], cause=claimed_twice(kind, claims), kinds=(kind,))


def claimed_twice(kind: str, claims: Iterable[Executor | Deferred]) -> str:
    """What to say of a kind that more than one claims."""
    places = " and by ".join(each.origin or "?" for each in claims)
    return f'the kind "{kind}" is claimed twice: by {places}. Rename or remove one of them.'


def _offered(manager: pluggy.PluginManager, plugin: object) -> Iterator[Executor | Deferred]:
    """What a plugin supplies: by its hook, and the decorated functions that were defined in it."""
    seen: dict[int, Executor | Deferred] = {}
    for implementation in manager.hook.yamlflow_executors.get_hookimpls():
        if implementation.plugin is plugin:
            for thing in _called(implementation.function):
                found = thing if isinstance(thing, Deferred) else executor_of(thing)
                if found is None:
                    raise PluginError(f"yamlflow_executors gave {thing!r}, which is no executor")
                seen[id(found)] = found
    for found in _declared_in(plugin):
        seen[id(found)] = found
    yield from seen.values()


def _called(function: Callable[..., Any]) -> Any:
    return function()


def _declared_in(plugin: object) -> Iterator[Executor]:
    if not inspect.ismodule(plugin):
        return
    for thing in list(vars(plugin).values()):
        found = executor_of(thing)
        if found is not None and _home(thing) == plugin.__name__:
            yield found


def _home(thing: Any) -> str | None:
    return getattr(thing.call if isinstance(thing, Executor) else thing, "__module__", None)


def _filters(manager: pluggy.PluginManager, broken: list[BrokenPlugin]) -> dict[str, Callable[..., Json]]:
    """Filters by name; one that two claim is nobody's."""
    claims: dict[str, list[Callable[..., Json]]] = {}
    for name, given in _given(manager.hook.yamlflow_filters, broken, _sound_filters):
        for word, function in given.items():
            claims.setdefault(word, []).append(function)
            if len(claims[word]) > 1:
                places = " and by ".join(map(place_of, claims[word]))
                broken.append(BrokenPlugin(file=name, cause=f'the filter "{word}" is claimed twice: by {places}'))
    return {word: functions[0] for word, functions in claims.items() if len(functions) == 1}


def _sound_filters(given: Any) -> Mapping[str, Callable[..., Json]]:
    # Imported only where there are such plugins: what does not render needs no templates.
    from .template import FILTERS

    if not isinstance(given, Mapping):
        raise PluginError(f"yamlflow_filters gave {given!r}; it gives a mapping of names to functions")
    for name, function in given.items():
        if not isinstance(name, str) or not name.isidentifier() or not callable(function):
            raise PluginError(f"the filter {name!r} is {function!r}; a filter has a name and is a function")
        if name in FILTERS:
            raise PluginError(f"the filter {name} is built in: give the plugin's another name")
    return given


def _serializers(manager: pluggy.PluginManager, broken: list[BrokenPlugin]) -> tuple[Serializer, ...]:
    """How values of further types are stored, of all plugins whose serializers fit together."""
    known = Serializers()

    def sound(given: Any) -> list[Serializer]:
        found = list(given)
        for each in found:
            known.add(each)
        return found

    return tuple(one for _, found in _given(manager.hook.yamlflow_serializers, broken, sound) for one in found)


Sound = TypeVar("Sound")


def _given(
    hook: pluggy.HookCaller, broken: list[BrokenPlugin], sound: Callable[[Any], Sound]
) -> Iterator[tuple[str, Sound]]:
    """What each plugin gives by a hook, judged; one whose gift is none is kept as broken."""
    for implementation in hook.get_hookimpls():
        try:
            given = sound(_called(implementation.function))
        except KeyboardInterrupt:
            raise
        except BaseException as fault:
            broken.append(_broken(implementation.plugin_name, fault))
        else:
            yield implementation.plugin_name, given
