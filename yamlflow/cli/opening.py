"""From the command line's settings to what a command works with: the project, its plugins, its store, a runtime."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import StoreCorrupt, StoreUnavailable, UnknownName, YamlflowError, shown
from ..project import Project, open_project
from .common import flags_of

if TYPE_CHECKING:
    from ..packages import Loaded, Plans
    from ..plugins import Plugins
    from ..rows import EventRow, RunRow, StepRow
    from ..runtime import Runtime
    from ..store.base import Store


#: Steps of one group among which the one that may be meant is looked for.
MOST_SUGGESTED = 200


def project_of(ctx: click.Context, start: Path | None = None) -> Project:
    """The project that a command is about."""
    return open_project(start, flags_of(ctx))


def plugins_of(ctx: click.Context, project: Project | None = None, *beside: Path | str | None) -> Plugins:
    """The plugins of a project, and those beside package files' folders; only the built-ins with ``--no-plugins``."""
    from ..plugins import load

    if flags_of(ctx).get("no_plugins"):
        return load(entry_points=False)
    return load((project or project_of(ctx)).plugin_folders(*beside))


@dataclass(frozen=True, kw_only=True)
class Archive:
    """A store that is only looked at."""

    project: Project
    store: Store
    plans: Plans
    #: The folder of logs, artifacts and projections.
    home: Path

    def run(self, given: str) -> RunRow:
        """A run by id, or ``id@execution``; "last" is the newest that is no child. ``UnknownName`` when there is none."""
        return find_run(self.store, given)


def find_run(store: Store, given: str) -> RunRow:
    """A run as somebody names it; see ``Archive.run``."""
    from ..store.base import RunFilter

    found = store.find_run(given)
    if found is None and given == "last":
        found = next(iter(store.runs(RunFilter(top=True, limit=1))), None)
    name, at, execution = given.rpartition("@")
    if found is None and at and execution.isascii() and execution.isdigit() and len(execution) < 10:
        found = store.find_run(name, int(execution))
    if found is not None:
        return found
    known = [run.id for run in store.runs(RunFilter(limit=200))]
    raise UnknownName(f'there is no run "{shown(given)}" in {store.url}. {run_remedy(given, known)}')


def find_newest(store: Store, given: str) -> RunRow:
    """A run that something is to be done with: its newest execution, to which one that continued leads.

    ``UnknownName``; ``NotAllowed`` for an execution that others followed for reasons of their own.
    """
    from ..errors import NotAllowed

    found = find_run(store, given)
    newest = store.find_run(found.id)
    if newest is None or newest.key == found.key or found.status == "continued":
        return newest or found
    name = name_of(store, found)
    raise NotAllowed(f'run "{name}" has ended ({found.status}), and is not the newest: `{found.id}` names that one')


def find_step(store: Store, run: RunRow, path: str) -> StepRow:
    """A step of a run as somebody names it; nothing is the run's root. ``UnknownName``, with what may be meant."""
    found = next(iter(store.steps_at(run.key, [path])), None)
    if found is None:
        raise UnknownName(f'run "{run.id}" has no step "{shown(path)}". {step_remedy(store, run, path)}')
    return found


def step_remedy(store: Store, run: RunRow, path: str) -> str:
    """Which step may have been meant: one beside it, or the one that is there with another ending."""
    import difflib

    from ..plan import parent_path

    missing, above = path, parent_path(path)
    while above and not store.steps_at(run.key, [above]):
        missing, above = above, parent_path(above)
    known = [
        child.path + path[len(missing) :]
        for row in store.steps_at(run.key, [above or ""])
        for child in store.children(run.key, row.path, row.id, limit=MOST_SUGGESTED)
    ]
    # What stands below a step may be called like what is missing, and not be there.
    near = difflib.get_close_matches(path[-1000:], known, n=3, cutoff=0.6)
    there = {row.path for row in store.steps_at(run.key, near)}
    meant = next((f'Did you mean "{each}"?' for each in near if each in there), "")
    return meant or f"`yamlflow show {run.id}` lists them."


def name_of(store: Store, run: RunRow) -> str:
    """What leads back to this execution: its id alone only where it is the newest, and the only one."""
    newest = store.find_run(run.id)
    alone = run.execution == 1 and (newest is None or newest.key == run.key)
    return run.id if alone else f"{run.id}@{run.execution}"


def run_remedy(given: str, known: Sequence[str]) -> str:
    """Which run may have been meant."""
    from ..errors import did_you_mean

    if not known:
        return "It holds no runs yet; `yamlflow run FILE` starts one."
    return did_you_mean(given, known) or "`yamlflow runs` lists them."


@contextmanager
def looking(ctx: click.Context, *, new: bool = False) -> Iterator[Archive]:
    """The store to look at; where there is none yet, an empty one, and nothing is made.

    ``StoreUnavailable`` when it was named with ``--store`` and is not there, unless it is to be made (``new``).
    """
    from ..packages import Plans
    from ..store.trouble import file_of

    project = project_of(ctx)
    file = file_of(project.store)
    with store_to_read(file, project.store, named=not new and is_named(ctx)) as store:
        yield Archive(project=project, store=store, plans=Plans(store), home=file.absolute().parent)


@contextmanager
def store_to_read(file: Path, url: str, *, named: bool) -> Iterator[Store]:
    """A store that is there, an empty one in its place, or one that cannot be written opened for reading only."""
    import os
    from contextlib import closing

    from ..store.sqlite import SqliteStore
    from ..store.trouble import trouble_at

    if os.path.exists(file) and not os.path.isfile(file):
        raise StoreUnavailable(f"{url}: {trouble_at(file)}")
    if not file.exists():
        if named:
            raise no_store(url)
        with closing(SqliteStore("sqlite:///:memory:")) as empty:
            empty.url = url
            yield empty
    else:
        with found(file, url) as store:
            yield store


@contextmanager
def found(file: Path, url: str) -> Iterator[Store]:
    """A store that is there; for reading only where it, or its folder, cannot be written to, or the disk is full."""
    from contextlib import closing

    from ..store.connection import connect_to_read
    from ..store.sqlite import SqliteStore
    from ..store.trouble import trouble_at

    # An empty file has nothing to be read.
    store = None if trouble_at(file) else writable(url, needed=not file.stat().st_size)
    if store is not None:
        with closing(store):
            yield store
        return
    with closing(connect_to_read(file, url)) as connection:
        lent = SqliteStore(connection)
        lent.url = url
        yield lent


def writable(url: str, *, needed: bool) -> Store | None:
    """A store; None, unless it is ``needed``, where the disk does not take what SQLite writes beside it, also to read."""
    from ..errors import StoreBusy
    from ..store.sqlite import SqliteStore

    try:
        return SqliteStore(url)
    except StoreBusy:
        raise
    except StoreUnavailable:
        if needed:
            raise
        return None


def damaged(ctx: click.Context) -> StoreCorrupt | None:
    """The damage of the store that a command is about, which explains a fault that nothing else does; None without any."""
    from ..store.trouble import file_of

    url = project_of(ctx).store
    found = damage_of(file_of(url), url)
    told = f"{'; '.join(found[:5])}{'; …' if len(found) > 5 else ''}"
    return StoreCorrupt(f"{url}: the store is damaged: {told}; restore a backup") if found else None


def damage_of(file: Path, url: str) -> list[str]:
    """What is wrong with the rows of a store that can be opened; nothing where it cannot."""
    import sqlite3
    from contextlib import closing

    from ..store.connection import connect_to_read
    from ..store.damage import damage_in

    try:
        with closing(connect_to_read(file, url)) as connection:
            return list(damage_in(connection))
    except (YamlflowError, OSError, sqlite3.Error):
        return []


def is_named(ctx: click.Context) -> bool:
    """Whether somebody named the store for this one call."""
    return bool(flags_of(ctx).get("store"))


def no_store(url: str) -> StoreUnavailable:
    """Nothing is where ``--store`` points."""
    return StoreUnavailable(f"{url}: there is no store there; `yamlflow run FILE --store …` makes one")


@contextmanager
def working(
    ctx: click.Context,
    project: Project,
    *,
    plugins: Plugins | None = None,
    on_event: Callable[[EventRow], None] | None = None,
    new: bool = False,
    **settings: Any,
) -> Iterator[Runtime]:
    """A runtime on the project's store. When there is none yet, and no ``new`` one may be made, ``UnknownName``, or
    ``StoreUnavailable`` where it was named with ``--store``.
    """
    from ..runtime import Runtime
    from ..secrets import Secrets

    if not new and not Path(project.store.removeprefix("sqlite:///")).exists():
        if is_named(ctx):
            raise no_store(project.store)
        raise UnknownName(f"{project.store} holds no runs yet; `yamlflow run FILE` starts one")
    project.prepare()
    with Runtime(
        project.store,
        plugins=plugins if plugins is not None else (),
        synchronous=project.settings["synchronous"],
        isolate=project.settings["isolate"],
        lease_duration=settings.pop("lease", None) or project.settings["lease"] / 1000,
        max_workers=settings.pop("workers", None) or project.settings["workers"] or default_slots(),
        on_event=on_event,
        addresses=project.settings["http_addresses"],
        secrets=None if plugins is None else Secrets(project.root, plugins.secret),
        find=finder(project),
        **settings,
    ) as runtime:
        yield runtime


def finder(project: Project) -> Callable[[str], Loaded]:
    """Finds the packages that steps start, by name or path, in a project."""
    from ..project import find_package
    from ..runtime import load_package

    return lambda name: load_package(find_package(name, project))


def default_slots() -> int:
    """Calls at once: one per core, and at least 4."""
    import os

    return max(4, os.cpu_count() or 1)


def lives_elsewhere(store: Store, run: RunRow | None = None) -> bool:
    """Whether a worker lives that takes steps of a run; without one, of any run."""
    from ..views.workers import workers_of

    alive = (worker for worker in workers_of(store) if worker.alive)
    return any(worker.runs is None if run is None else worker.works_on(run) for worker in alive)


def hint(project: Project, words: str) -> str:
    """A command as it can be pasted: with the store, where it would not be found from here."""
    from ..project import find_root

    own = project.owns_store and (find_root(Path.cwd()) or Path.cwd()) == project.root
    return f"yamlflow {words}" if own else f"yamlflow {words} --store {project.store}"
