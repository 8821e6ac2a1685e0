"""``kinds.requires``: plugins by name and version. What is installed is all that is asked from outside."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .desk import Desk

REQUIREMENT = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._/-]*)\s*((?:[<>=!~]=?=?\s*[0-9][0-9A-Za-z.*+-]*\s*,?\s*)*)")
BOUND = re.compile(r"([<>=!~]=?=?)\s*([0-9][0-9A-Za-z.*+-]*)")
Version = tuple[int, ...]


def installed_version(name: str) -> str | None:
    """The version of an installed distribution; None when there is none of that name."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(name)
    except (PackageNotFoundError, ValueError):
        return None


def check_requires(desk: Desk) -> None:
    """Report the required plugins that are not there, or not in the version that is asked for."""
    for index, text in enumerate(desk.package.requires):
        place = ("kinds", "requires", index)
        match = REQUIREMENT.fullmatch(text)
        if match is None:
            remedy = "Write a plugin's name and versions, such as yamlflow-html >= 1.2, < 2."
            desk.findings.error(place, f'"{text[:60]}" does not name a plugin', remedy)
            continue
        name, bounds = match[1], BOUND.findall(match[2])
        version = _version(desk, name)
        if version is None:
            desk.findings.error(place, f'the plugin "{name}" is not there', _remedy(desk, name))
        elif bounds and not all(_fits(version, sign, bound) for sign, bound in bounds):
            have = f"this is {version}" if version else "this one tells no version"
            desk.findings.error(place, f'the plugin "{name}" is needed as {match[2].strip()}; {have}')


def _version(desk: Desk, name: str) -> str | None:
    """The version of a plugin, installed or a module of that name; None when there is none."""
    version = desk.installed(name)
    if version is not None:
        return version
    return "" if name in _modules(desk) else None


def _modules(desk: Desk) -> set[str]:
    """The modules, and first parts of kinds, that plugins supply."""
    found = set()
    for kind in desk.executors:
        executor = desk.executor(kind)
        if executor is not None and executor.origin != "built in":
            path = PurePath(executor.origin.rpartition(":")[0])
            found |= {path.stem if path.stem != "__init__" else path.parent.name, kind.partition("/")[0]}
    return found


def _remedy(desk: Desk, name: str) -> str:
    for plugin in desk.broken:
        path = PurePath(plugin.file)
        if name in (path.stem, path.name, plugin.file.partition(" = ")[0]):
            return f"It cannot be imported: {plugin}."
    return desk.findings.hint(name, _modules(desk)) or "Install it, or put its module into plugins/."


def _numbers(version: str) -> Version:
    numbers = [int(number) for number in re.findall(r"\d+", re.match(r"[0-9.]*", version)[0])]  # type: ignore[index]
    while numbers and not numbers[-1]:
        numbers.pop()
    return tuple(numbers)


def _is_compatible(have: Version, least: Version) -> bool:
    return have >= least and have[: max(len(least) - 1, 1)] == least[: max(len(least) - 1, 1)]


SIGNS: Mapping[str, Callable[[Version, Version], bool]] = {
    "==": operator.eq, "=": operator.eq, "!=": operator.ne, ">=": operator.ge, "<=": operator.le,
    ">": operator.gt, "<": operator.lt, "~=": _is_compatible,
}  # fmt: skip


def _fits(version: str, sign: str, bound: str) -> bool:
    if not version:
        return False
    have, wanted = _numbers(version), _numbers(bound)
    if bound.endswith(".*"):
        have = have[: len(wanted)]
    return sign in SIGNS and SIGNS[sign](have, wanted)
