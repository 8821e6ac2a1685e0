"""Packages at work: from text to plan, once per digest. A run's text is in its store; nothing else is asked for it."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from . import document
from .errors import InvalidPackage, ResultDamaged, UnknownName
from .outcome import Emitted, Json
from .plan import WAITING_KINDS, Plan
from .rows import PackageRow
from .serializers import Serializers
from .spec import Package, package_from
from .store.base import Store


@dataclass(frozen=True, kw_only=True)
class Graph:
    """The first steps of a run, as a program has built them, and what it made of the run's name and metadata."""

    inputs: Mapping[str, Json]
    steps: tuple[Emitted, ...]
    name: str | None
    metadata: Mapping[str, Any]


class Entrypoint(Protocol):
    """Builds the first graph of a run, before anything is stored."""

    def __call__(
        self, given: Mapping[str, Json], *, id: str, name: str | None, metadata: Mapping[str, Json],
        context: Mapping[str, Json], serializers: Serializers,
    ) -> Graph:  # fmt: skip
        """The graph for these inputs. ``UserError`` for inputs that do not fit and graphs that cannot be."""


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A package that was read and found well-formed."""

    document: document.Document
    package: Package
    plan: Plan
    #: What builds the first graph, of a package that declares no steps.
    entrypoint: Entrypoint | None = None

    @property
    def built(self) -> bool:
        """Whether a program builds its runs' steps: the text declares none, which no author's text could do."""
        return bool(self.document.data.get("steps") == {})

    def row(self, now: int) -> PackageRow:
        """The row that keeps its text."""
        return PackageRow(
            self.document.digest, self.package.name, self.package.version, self.document.text,
            self.document.file or None, now,
        )  # fmt: skip


def loaded(read: document.Document) -> Loaded:
    """A package from a document. Raises ``InvalidPackage`` with every problem of its structure."""
    problems = [problem for problem in document.check(read) if not problem.warning]
    if problems:
        raise InvalidPackage(problems)
    return made(read)


def made(read: document.Document) -> Loaded:
    """A package from a document that is known to be well-formed."""
    package = package_from(read.data)
    return Loaded(document=read, package=package, plan=Plan(package, waiting_kinds=WAITING_KINDS))


#: Packages that a process keeps at hand; of a store with more it reads those that it needs again.
MOST = 1000


class Plans:
    """The plans of a store's packages by digest, the newest ``MOST`` of them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._plans: dict[str, Plan] = {}
        self._lock = threading.Lock()

    def add(self, package: Loaded) -> None:
        """Remember a plan that is at hand already."""
        with self._lock:
            self._plans.setdefault(package.document.digest, package.plan)
            drop_oldest(self._plans)

    def __call__(self, digest: str) -> Plan:
        """The plan of a stored package. ``UnknownName`` when the store has no such text."""
        plan = self._plans.get(digest)
        if plan is None:
            with self._lock:
                plan = self._plans.get(digest) or self._read(digest)
                self._plans[digest] = plan
                drop_oldest(self._plans)
        return plan

    def _read(self, digest: str) -> Plan:
        row = self._store.package(digest)
        if row is None:
            raise UnknownName(f"the store has no package text {digest}")
        return Plan(package_from(read_back(row).data))


def drop_oldest(known: dict[str, Any]) -> None:
    """Forget what was remembered first, down to ``MOST``."""
    while len(known) > MOST:
        del known[next(iter(known))]


def read_back(row: PackageRow) -> document.Document:
    """A package's stored text, as it was written. ``ResultDamaged`` when it is not."""
    if hashlib.sha256(row.text.encode("utf-8", "surrogatepass")).hexdigest() != row.digest:
        raise ResultDamaged(
            f'the text of the package "{row.name}" is damaged in the store: it is not what was written. Restore a backup '
            "(yamlflow db restore), or start its runs anew; `yamlflow db check` lists all that is damaged"
        )
    return document.read(row.text, file=row.file or "")


def folder_of(package: Loaded) -> str | None:
    """The folder of the package's file, absolute; None for text without a file."""
    from pathlib import Path

    file = package.document.file
    return str(Path(file).absolute().parent) if file else None
