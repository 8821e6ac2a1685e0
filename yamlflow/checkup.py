"""Whether a store is what it should be: its file, its references, its rows, and what lies beside it. Reads only."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from .artifacts import FileArtifacts
from .errors import Permanent, StoreCorrupt
from .store.connection import connect_to_read
from .store.damage import damage_in
from .store.rules import RESTORE, Broken, broken
from .store.schema import VERSION
from .store.trouble import explained

#: What to do about a file whose structure is damaged.
DAMAGED = (
    "stop all workers; `yamlflow db restore` takes a backup. Without one: `sqlite3 FILE .recover | sqlite3 NEW` saves what "
    "can be read, and `yamlflow db check --store NEW` says what is missing"
)
ARTIFACTS = """
select runs.id, steps.path, artifacts.name, artifacts.uri, artifacts.size, artifacts.sha256
from artifacts join runs on runs.key = artifacts.run join steps on steps.id = artifacts.step
"""


def faults_in(connection: sqlite3.Connection) -> list[Broken]:
    """Everything that is wrong with a store's file, references and rows; every page and row is read."""
    try:
        found = integrity(connection)
        if found:
            return found
        found = [
            Broken(name="references to nothing", count=1, examples=(f"row {row[1]} of {row[0]}",), remedy=RESTORE)
            for row in connection.execute("pragma foreign_key_check").fetchmany(10)
        ]
        # The rules speak of columns that an older store has not.
        older = connection.execute("pragma user_version").fetchone()[0] < VERSION
        if older:
            return found
        told = [
            Broken(name="rows that yamlflow did not write", count=1, examples=(text,), remedy=RESTORE)
            for text in damage_in(connection)
        ]
        return [*found, *told, *broken(connection)]
    except sqlite3.DatabaseError as wrong:
        if "malformed" not in str(wrong) and "not a database" not in str(wrong):
            raise
        return [Broken(name="the file is damaged", count=1, examples=(str(wrong),), remedy=DAMAGED)]


def integrity(connection: sqlite3.Connection) -> list[Broken]:
    """What SQLite finds wrong with the file."""
    return [
        Broken(name="the file is damaged", count=1, examples=(" ".join(str(row[0]).split()),), remedy=DAMAGED)
        for row in connection.execute("pragma integrity_check(10)")
        if row[0] != "ok"
    ]


def faults_beside(connection: sqlite3.Connection, home: Path) -> list[Broken]:
    """What is wrong with a store's projections, and with the artifacts that it knows of; every file is read."""
    found = [
        Broken(name="a projection is damaged", count=1, examples=(f"{path.name}: {words}",), remedy=ANEW)
        for path in sorted((home / "projections").glob("*.db"))
        if (words := projection_trouble(path))
    ]
    kept = FileArtifacts(home / "artifacts")
    wrong = [trouble for row in connection.execute(ARTIFACTS) if (trouble := artifact_trouble(kept, *row))]
    if wrong:
        name = "artifacts that are not what was kept"
        found.append(Broken(name=name, count=len(wrong), examples=tuple(wrong[:3]), remedy=AGAIN))
    return found


ANEW = "take the projection's file from a backup, or move it away: what is recorded from then on makes it anew"
AGAIN = "take the files from a backup (`yamlflow db backup --whole` makes one), or run those steps again"


def projection_trouble(path: Path) -> str:
    """What SQLite finds wrong with a projection; "" for nothing."""
    try:
        with explained(str(path)), closing(connect_to_read(path, str(path))) as projection:
            words = str(projection.execute("pragma integrity_check(1)").fetchone()[0])
    except StoreCorrupt as wrong:
        return str(wrong)
    return "" if words == "ok" else words


def artifact_trouble(
    kept: FileArtifacts, run: str, path: str, name: str, uri: str | None, size: int, sha256: str
) -> str:
    """Why a file is not what was kept; "" when it is, and for one that another store of artifacts has."""
    if uri and "://" in uri:
        return ""
    try:
        kept.open({"path": uri or "", "size": size, "sha256": sha256}).close()
    except Permanent as wrong:
        return f"{run}/{path} {name}: {wrong.message}"
    return ""
