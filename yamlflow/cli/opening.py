"""From the command line's settings to what a command works with: the project, its plugins, its store, a runtime."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import UnknownName
from ..project import Project, open_project
from .common import flags_of

if TYPE_CHECKING:
    from ..packages import Plans
    from ..plugins import Plugins
    from ..rows import EventRow, RunRow
    from ..runtime import Runtime
    from ..store.base import Store


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
        """A run by id, or ``id@execution``; "last" is the one started last. ``UnknownName`` when there is none."""
        return find_run(self.store, given)


def find_run(store: Store, given: str) -> RunRow:
    """A run as somebody names it; see ``Archive.run``."""
    from ..store.base import RunFilter

    found = store.find_run(given)
    if found is None and given == "last":
        found = next(iter(store.runs(RunFilter(limit=1))), None)
    name, at, execution = given.rpartition("@")
    if found is None and at and execution.isdigit():
        found = store.find_run(name, int(execution))
    if found is not None:
        return found
    known = [run.id for run in store.runs(RunFilter(limit=200))]
    raise UnknownName(f'there is no run "{given}" in {store.url}. {run_remedy(given, known)}')


def run_remedy(given: str, known: Sequence[str]) -> str:
    """Which run may have been meant."""
    from ..errors import did_you_mean

    if not known:
        return "It holds no runs yet; `yamlflow run FILE` starts one."
    return did_you_mean(given, known) or "`yamlflow runs` lists them."


@contextmanager
def looking(ctx: click.Context) -> Iterator[Archive]:
    """The store to look at; where there is none yet, an empty one, and nothing is made."""
    from ..packages import Plans
    from ..store.connection import path_of
    from ..store.sqlite import SqliteStore

    project = project_of(ctx)
    url = project.store
    file = Path(url.removeprefix("sqlite:///"))
    store = SqliteStore(url) if file.exists() else EmptyStore(url)
    home = Path(path_of(url)).absolute().parent if file.exists() else file.absolute().parent
    try:
        yield Archive(project=project, store=store, plans=Plans(store), home=home)
    finally:
        store.close()


def EmptyStore(url: str) -> Any:
    """A store without rows that goes by the name of one that is not there yet."""
    from ..store.sqlite import SqliteStore

    store = SqliteStore("sqlite:///:memory:")
    store.url = url
    return store


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
    """A runtime on the project's store. ``UnknownName`` when there is none yet, unless a ``new`` one may be made."""
    from ..runtime import Runtime
    from ..secrets import Secrets

    if not new and not Path(project.store.removeprefix("sqlite:///")).exists():
        raise UnknownName(f"{project.store} holds no runs yet; `yamlflow run FILE` starts one")
    project.prepare()
    with Runtime(
        project.store,
        plugins=plugins if plugins is not None else (),
        synchronous=project.settings["synchronous"],
        lease_duration=settings.pop("lease", None) or project.settings["lease"] / 1000,
        max_workers=settings.pop("workers", None) or project.settings["workers"] or default_slots(),
        on_event=on_event,
        secrets=None if plugins is None else Secrets(project.root, plugins.secret),
        **settings,
    ) as runtime:
        yield runtime


def default_slots() -> int:
    """Calls at once: one per core, and at least 4."""
    import os

    return max(4, os.cpu_count() or 1)


def lives_elsewhere(store: Store, own: str = "") -> bool:
    """Whether a worker that is alive looks after the store."""
    from ..views.workers import workers_of

    return any(worker.alive and worker.name != own for worker in workers_of(store))


def hint(project: Project, words: str) -> str:
    """A command as it can be pasted: with the store, where it would not be found from here."""
    from ..project import find_root

    own = project.owns_store and (find_root(Path.cwd()) or Path.cwd()) == project.root
    return f"yamlflow {words}" if own else f"yamlflow {words} --store {project.store}"
