"""Plugin folders as packages of their own: their modules see one another, and nobody else sees them by their name.

A module ``html.py`` in a folder is imported as ``yamlflow_plugins.<hash>.html``, so two folders may hold the same
name, and none hides an installed module. Within the folder ``from . import html`` works, and so does plain
``import html`` where no installed module has that name.

What is imported is what the source says, never what ``__pycache__`` holds, and no file that somebody else could have
written: one that others may write to, or that lies in a folder that they may, or that belongs to another user.
"""

from __future__ import annotations

import builtins
import importlib
import importlib.util
import os
import stat
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

#: The package above all plugin folders.
ROOT = "yamlflow_plugins"


def modules_in(folder: Path) -> Iterator[Path]:
    """The plugins of a folder, sorted: its modules and packages, without those that begin with ``_`` or a dot."""
    return (path for path in _code_in(folder) if _importable(path))


def misnamed_in(folder: Path) -> Iterator[Path]:
    """What would be plugins of a folder, sorted, had they names that Python can import."""
    return (path for path in _code_in(folder) if not _importable(path))


def _code_in(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        is_module = path.suffix == ".py" and path.is_file()
        if not path.name.startswith(("_", ".")) and (is_module or (path / "__init__.py").is_file()):
            yield path


def _importable(path: Path) -> bool:
    return (path.stem if path.is_file() else path.name).isidentifier()


def import_plugin(folder: Path, file: Path) -> ModuleType:
    """Import one plugin of a folder; raises whatever it raises.

    A folder whose modules have changed since is another package: what it held before is left to those who use it.
    """
    return import_from(folder, file.stem)


def import_from(folder: Path, name: str) -> ModuleType:
    """Import a module of a folder by its dotted name there, as the folder's own."""
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)
    return importlib.import_module(f"{_finder.package(folder)}.{name}")


def home_of(module: str) -> tuple[Path, str] | None:
    """The folder of a module that was imported as its folder's own, and its dotted name there; None for any other."""
    _, package, name = (*module.split(".", 2), "", "")[:3]
    folder = _finder.folder(f"{ROOT}.{package}") if module.startswith(f"{ROOT}.") else None
    return None if folder is None else (folder, name)


def distrusted(path: Path) -> str | None:
    """Why nothing is imported from a file or folder: others could have written what is there. None when it may be.

    It must belong to root, to us, or to the owner of the folder in which its plugin folder is: whoever runs a package
    trusts its author.
    """
    found = path.stat()
    mode = stat.S_IMODE(found.st_mode)
    if mode & stat.S_IWOTH:
        return f"anybody may write to it (mode {mode:o}), so it is not imported; chmod o-w mends that"
    if mode & stat.S_IWGRP and not _is_private(found.st_gid, found.st_uid):
        return f"its group may write to it (mode {mode:o}), so it is not imported; chmod g-w mends that"
    if found.st_uid not in (0, os.geteuid(), _author(path)):
        return f"it belongs to another user (number {found.st_uid}), so it is not imported; chown it if you trust it"
    return None


def _author(path: Path) -> int:
    """Whose project a plugin is in: the owner of what its folder lies in."""
    folder = path if path.is_dir() else path.parent
    return folder.parent.stat().st_uid


def _is_private(group: int, user: int) -> bool:
    """Whether a group is one that many systems make for each user, of the same name and with nobody else in it."""
    import grp
    import pwd

    try:
        found, owner = grp.getgrgid(group), pwd.getpwuid(user)
    except KeyError:
        return False
    return group != 0 and found.gr_name == owner.pw_name and set(found.gr_mem) <= {owner.pw_name}


class PluginLoader(SourceFileLoader):
    """Loads a module that finds the others of its folder."""

    def get_code(self, fullname: str) -> Any:
        """Its code, if nobody else could have written it; ``ImportError``."""
        file = Path(self.path).resolve()
        for place in (file.parent, file):
            if reason := distrusted(place):
                raise ImportError(f"{place}: {reason}", name=fullname, path=self.path)
        return super().get_code(fullname)

    def path_stats(self, path: str) -> Mapping[str, Any]:
        """Nothing is known of a file's age, so no compiled code is taken for its own, and none is left beside it."""
        raise OSError("no compiled code is used")

    def exec_module(self, module: ModuleType) -> None:
        """Run it, with an ``import`` that falls back to its folder."""
        vars(module)["__builtins__"] = {**vars(builtins), "__import__": _sibling_import(module.__name__)}
        super().exec_module(module)


class PluginFinder:
    """Finds what lies below ``yamlflow_plugins``, and nothing else."""

    def __init__(self) -> None:
        self._folders: dict[str, Path] = {}

    def package(self, folder: Path) -> str:
        """The name under which a folder, as it is now, is imported."""
        states = [(path.name, path.stat().st_mtime_ns, path.stat().st_size) for path in sorted(folder.glob("*.py"))]
        import hashlib

        key = hashlib.sha256(repr((str(folder), states)).encode()).hexdigest()[:16]
        name = f"{ROOT}.f{key}"
        self._folders[name] = folder
        return name

    def folder(self, package: str) -> Path | None:
        """The folder that is imported under a name."""
        return self._folders.get(package)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec of a plugin, of a folder, or of the package above them."""
        if fullname == ROOT or fullname in self._folders:
            spec = ModuleSpec(fullname, None, is_package=True)
            spec.submodule_search_locations = []
            return spec
        if not fullname.startswith(f"{ROOT}."):
            return None
        _, package, *inner = fullname.split(".")
        folder = self._folders.get(f"{ROOT}.{package}")
        return None if folder is None else _spec(fullname, folder.joinpath(*inner))


def _spec(fullname: str, file: Path) -> ModuleSpec | None:
    if (file / "__init__.py").is_file():
        main = str(file / "__init__.py")
        loader = PluginLoader(fullname, main)
        return importlib.util.spec_from_file_location(
            fullname, main, loader=loader, submodule_search_locations=[str(file)]
        )
    source = file.with_name(f"{file.name}.py")
    if not source.is_file():
        return None
    return importlib.util.spec_from_file_location(fullname, str(source), loader=PluginLoader(fullname, str(source)))


_finder = PluginFinder()


def _sibling_import(name: str) -> Any:
    """An ``__import__`` for one module: as ever, and where there is no such module, from its folder."""
    package = ".".join(name.split(".")[:2])

    def import_(
        wanted: str,
        globals: Mapping[str, object] | None = None,
        locals: Mapping[str, object] | None = None,
        fromlist: Sequence[str] = (),
        level: int = 0,
    ) -> ModuleType:
        try:
            return builtins.__import__(wanted, globals, locals, fromlist, level)
        except ModuleNotFoundError as missing:
            head = wanted.partition(".")[0]
            if missing.name != head or _finder.find_spec(f"{package}.{head}") is None:
                raise
        module = importlib.import_module(f"{package}.{wanted}")
        if not fromlist:
            return sys.modules[f"{package}.{head}"]
        for each in fromlist:
            if not hasattr(module, each) and hasattr(module, "__path__"):
                importlib.import_module(f"{module.__name__}.{each}")
        return module

    return import_
