"""What live runs need from outside the store, and what lies beside it: packages, kinds, secrets, folders of runs."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from ..errors import YamlflowError
from ..packages import Plans
from ..plan import every_step
from ..rows import RunRow
from ..spec import Call, Package
from ..store.base import RunFilter, Store
from . import Finding, Visit, several

#: Live runs, folders and kept files that are looked at.
MOST_RUNS, MOST_FOLDERS, MOST_FILES = 1000, 2000, 500
#: The start of a folder's name that was cut: it does not tell the whole id.
CUT = "="


@dataclass(frozen=True, kw_only=True)
class Text:
    """A package text that live runs go on with."""

    package: Package
    digest: str
    #: Where it was read from, and whether that is still what it says.
    file: str | None
    #: Some of the runs.
    runs: list[RunRow]


def texts(store: Store) -> tuple[list[Text], list[Finding]]:
    """The packages of live runs, and what keeps one from being read."""
    by_digest: dict[str, list[RunRow]] = {}
    for run in store.runs(RunFilter(live=True, limit=MOST_RUNS)):
        by_digest.setdefault(run.digest, []).append(run)
    plans, found, troubles = Plans(store), [], []
    for digest, runs in by_digest.items():
        try:
            row = store.package(digest)
            package = plans(digest).package
        except YamlflowError as wrong:
            message = f"{several([run.id for run in runs])} cannot go on: {wrong}"
            troubles.append(Finding(level="error", about="store", message=message))
            continue
        found.append(Text(package=package, digest=digest, file=None if row is None else row.file, runs=runs))
    return found, troubles


def packages(found: list[Text]) -> Iterator[Finding]:
    """Folders and files of packages that are gone, or changed since their runs were started."""
    for text in found:
        names = several([run.id for run in text.runs])
        gone = sorted({run.folder for run in text.runs if run.folder and not os.path.isdir(run.folder)})
        for folder in gone:
            message = (
                f"{names}: the folder of the package, {folder}, is not there: its scripts and plugins are not either"
            )
            remedy = "put it back; else steps work in the run's scratch folder instead"
            yield Finding(level="warning", about="files", message=message, remedy=remedy)
        file = None if text.file is None or gone else place_of(text)
        if file is not None and not file.is_file():
            message = f"{names} go on with the text of {file}, which is not there any more"
            yield Finding(level="ok", about="files", message=message)
        elif file is not None and hashlib.sha256(file.read_bytes()).hexdigest() != text.digest:
            message = f"{names} go on with the text that {file} had when they were started; it has changed since"
            yield Finding(level="ok", about="files", message=message)


def place_of(text: Text) -> Path | None:
    """A package's file, by the folder that its runs remember."""
    folder = text.runs[0].folder
    return None if folder is None or text.file is None else Path(folder) / Path(text.file).name


def kinds(found: list[Text], *, here: frozenset[str], elsewhere: frozenset[str]) -> Iterator[Finding]:
    """Kinds that live runs name and nobody has, neither a plugin here nor a worker that lives."""
    for text in found:
        named = {step.body.kind for step in every_step(text.package) if isinstance(step.body, Call)}
        lacking = sorted(named - text.package.kinds.keys() - here - elsewhere)
        if lacking:
            wanted = f": its package requires {', '.join(text.package.requires)}" if text.package.requires else ""
            message = f"{several([run.id for run in text.runs])} need the kind {several(lacking)}, which nobody has"
            remedy = f"install or put in plugins/ what supplies it{wanted}; `--plugins DIR` says where to look"
            yield Finding(level="warning", about="kinds", message=message, remedy=remedy)


def secrets(found: list[Text], known: Callable[[str], str | None]) -> Iterator[Finding]:
    """Secrets that live runs declare and that are not to be had here."""
    for text in found:
        lacking = [name for name in text.package.secrets if not known(name)]
        if lacking:
            names = several([run.id for run in text.runs])
            message = f"{names} need the secret{'s' if len(lacking) > 1 else ''} {', '.join(lacking)}, not set here"
            remedy = "export it before a worker starts, or write NAME=value in .env beside yamlflow.toml"
            yield Finding(level="warning", about="secrets", message=message, remedy=remedy)


# -- beside the store ----------------------------------------------------------------------------------------------


def leftovers(connection: sqlite3.Connection, visit: Visit) -> Iterator[Finding]:
    """Folders of runs that the store does not know, and kept files that are not there."""
    logs = [name for name in entries(visit.home / "runs") if unknown(connection, name)]
    if logs:
        message = f"{visit.home / 'runs'}: folders of runs that are not in the store: {several(logs)}"
        remedy = "left by a removal that was cut off, or another store's; they can be deleted"
        yield Finding(level="hint", about="files", message=message, remedy=remedy)
    kept = [name for name in entries(visit.home / "artifacts") if unknown(connection, name.rpartition("/")[0])]
    if kept:
        message = f"{visit.home / 'artifacts'}: files of runs that are not in the store: {several(kept)}"
        remedy = "left by a removal that was cut off, or another store's; they can be deleted"
        yield Finding(level="hint", about="files", message=message, remedy=remedy)
    missing = [row[0] for row in connection.execute(KEPT, (MOST_FILES,)) if not os.path.exists(row[1])]
    gone = [row for row in missing if not (visit.home / "artifacts").joinpath(*Path(row).parts[-4:]).exists()]
    if gone:
        message = f"kept files are not there: {several(gone)}"
        remedy = f"{visit.command('db check --files')} lists all; take them from a backup"
        yield Finding(level="warning", about="files", message=message, remedy=remedy)


KEPT = "select uri, uri from artifacts where uri like '/%' order by run desc limit ?"


def entries(folder: Path) -> list[str]:
    """The first names in a folder, as they were before they became components of paths; cut ones are left out."""
    try:
        with os.scandir(folder) as found:
            names = [entry.name for entry, _ in zip(found, range(MOST_FOLDERS), strict=False)]
    except OSError:
        return []
    return sorted(unquote(name) for name in names if CUT not in name)


def unknown(connection: sqlite3.Connection, id: str) -> bool:
    """Whether no run has an id."""
    return connection.execute("select 1 from runs where id = ? limit 1", (id,)).fetchone() is None
