"""The layers of the package: a module imports only from lines above its own. The table here is the rule.

Imports are read from the source, those inside functions too; those under ``if TYPE_CHECKING`` are words, not calls, and
do not count.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from .conftest import ROOT

#: From the top down. The modules of one text are a family and may import one another; families of a line may not.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("errors clock private",),
    (
        "addresses outcome facts rows values serializers policies duration checks masking faults patterns judging inputs loops "
        "spec template plan queueing lifecycle checksums",
    ),
    ("tables",),
    (
        "document",
        "cron",
        "store projections",
        "context ports artifacts sifting logs speech folders shapes executors",
        "project",
        "secrets",
        "guard supervised",
    ),
    ("hookspecs plugins", "packages", "analysis", "crew", "events", "outage"),
    ("scope", "building"),
    ("engine",),
    ("scheduler", "starting", "removal", "copies", "checkup"),
    ("timetable", "counts"),
    ("keeping",),
    ("lookup",),
    ("deciding", "attempt"),
    ("asking", "ability"),
    ("calls",),
    ("worker",),
    ("once",),
    ("client results",),
    ("runtime",),
    ("views",),
    ("doctor",),
    ("testing",),
    ("cli", "pytest_plugin"),
    ("__main__",),
)
#: What the pure line may not import: all that reads the world.
WORLD = frozenset(
    "asyncio datetime httpx io os pathlib random secrets shutil signal socket sqlite3 subprocess sys tempfile "
    "threading time uuid".split()
)
PURE = 1


def place_of(module: str) -> tuple[int, str] | None:
    """The line and the family of a module; None for one that the table does not name."""
    for line, families in enumerate(LAYERS):
        for family in families:
            if module in family.split():
                return line, family
    return None


def modules(package: Path) -> Mapping[str, Path]:
    """Dotted name to file, of a whole package."""
    found = {}
    for file in package.rglob("*.py"):
        parts = file.relative_to(package.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


def imports(source: str, package: str) -> Iterator[tuple[int, str]]:
    """Line number and dotted name of everything that a module of ``package`` imports when it runs."""
    tree = ast.parse(source)
    words = {id(inner) for node in ast.walk(tree) if is_for_types(node) for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if id(node) in words:
            continue
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")
            base = above[: len(above) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)


def is_for_types(node: ast.AST) -> bool:
    """Whether this is ``if TYPE_CHECKING:``."""
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def violations(name: str, source: str, *, is_package: bool = False) -> list[str]:
    """What a module imports from its own line or from below it, a sentence each."""
    own = name.split(".")[1]
    mine = place_of(own)
    if mine is None:
        return [f"{name} has no line in LAYERS: decide where it belongs"]
    found = []
    for line, imported in imports(source, name if is_package else name.rpartition(".")[0]):
        parts = imported.split(".")
        other = place_of(parts[1]) if parts[0] == "yamlflow" and len(parts) > 1 else None
        if other is not None and other != mine and other[0] >= mine[0]:
            found.append(f"{name}:{line} imports {parts[1]}, which is not above it")
        if mine[0] == PURE and parts[0] in WORLD:
            found.append(f"{name}:{line} is pure and imports {parts[0]}")
    return found


SOURCES = {name: file for name, file in modules(ROOT / "yamlflow").items() if name != "yamlflow"}


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_a_module_imports_only_from_above_its_line(name: str) -> None:
    file = SOURCES[name]
    assert violations(name, file.read_text(encoding="utf-8"), is_package=file.name == "__init__.py") == []


def test_the_table_names_no_module_that_is_not_there() -> None:
    there = {name.split(".")[1] for name in SOURCES}
    assert {module for line in LAYERS for family in line for module in family.split()} - there == set()


@pytest.mark.parametrize(
    ("name", "source", "complaint"),
    [
        ("yamlflow.store.sqlite", "from ..document import read", "imports document"),
        ("yamlflow.executors.shell", "from .. import store", "imports store"),
        ("yamlflow.document.reader", "def f():\n    from ..executors import executor", "imports executors"),
        ("yamlflow.plan", "import yamlflow.engine.commands", "imports engine"),
        ("yamlflow.engine.work", "from ..worker import Worker", "imports worker"),
        ("yamlflow.lifecycle", "import time", "is pure"),
        ("yamlflow.novelty", "", "has no line"),
    ],
)
def test_a_breach_of_the_layers_is_found(name: str, source: str, complaint: str) -> None:
    found = violations(name, source)
    assert len(found) == 1
    assert complaint in found[0]


def test_a_family_and_a_type_may_be_imported() -> None:
    source = (
        "from typing import TYPE_CHECKING\nfrom .ports import Ports\nif TYPE_CHECKING:\n    from .worker import Worker"
    )
    assert violations("yamlflow.context", source) == []
