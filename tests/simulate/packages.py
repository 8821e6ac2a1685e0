"""Random packages for the simulation, prepared once: families whose members start one another, made of what the two other
suites of random histories make (``tests/engine/families.py``, ``tests/engine/worlds.py``), with queues, token buckets,
schedules, retention and calls that take time.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from tests.engine import families, worlds
from yamlflow import document
from yamlflow.packages import Loaded, loaded

#: How many families there are to choose from, the smallest first.
FAMILIES = 3000
PACKAGES = families.PACKAGES
QUEUES: dict[str, dict[str, Any]] = {
    "narrow": {"max_in_flight": 1},
    "pair": {"max_in_flight": 2},
    "drip": {"rate": "6/m", "burst": 1},
    "burst": {"rate": "2/s", "burst": 2, "max_in_flight": 3},
    "common": {"max_in_flight": 2, "rate": "30/m", "burst": 2, "shared": True},
}


@dataclass(frozen=True)
class Family:
    """Packages that go together."""

    number: int
    texts: tuple[dict[str, Any], ...]

    def loaded(self) -> tuple[Loaded, ...]:
        """The packages, read and checked; once for each process that plays."""
        return read_family(self.number)

    def named(self, name: str) -> dict[str, Any]:
        """A package by name, as it was written."""
        return next(one for one in self.texts if one["name"] == name)


@cache
def pool() -> tuple[Family, ...]:
    """Every family, the smallest first."""
    made = (tuple(family(number)) for number in range(FAMILIES))
    ordered = sorted(made, key=lambda texts: len(json.dumps(texts)))
    return tuple(Family(number, texts) for number, texts in enumerate(ordered))


@cache
def read_family(number: int) -> tuple[Loaded, ...]:
    """See ``Family.loaded``."""
    return tuple(loaded(document.read(json.dumps(one))) for one in pool()[number].texts)


def family(number: int) -> Iterator[dict[str, Any]]:
    """The packages of one family."""
    rnd = random.Random(number)
    for place in range(PACKAGES):
        package = (
            families.random_package(rnd, place)
            if rnd.random() < 0.6
            else {
                "yamlflow": 1,
                "inputs": {"n": {"type": "integer", "default": 0}},
                **worlds.random_group(rnd, depth=1),
            }
        )
        package["name"] = f"p{place}"
        finish(rnd, package, place)
        yield package


def finish(rnd: random.Random, package: dict[str, Any], place: int) -> None:
    """Let some of a package's calls take time, and wait in queues."""
    chosen = rnd.sample(sorted(QUEUES), rnd.randint(0, 2))
    package["queues"] = {name: QUEUES[name] for name in {*chosen, "narrow"}}
    package["queues"] = dict(sorted(package["queues"].items()))
    for step, undoing in calls(package):
        if step["kind"] == "noop" and rnd.random() < 0.6:
            step["kind"] = "work"
            if chosen and rnd.random() < 0.5:
                step["queue"] = rnd.choice(chosen)
            if rnd.random() < 0.15:
                step["timeout"] = rnd.choice(["5s", "30s"])
            if rnd.random() < 0.3 and "retry" not in step:
                step["retry"] = {"max_attempts": rnd.randint(2, 3), "delay": rnd.choice(["0s", "0s", "1s", "15s"])}
            if rnd.random() < 0.1 and "dedup_key" not in step and not undoing:
                step["dedup_key"] = rnd.choice(["k1", "k2"])
    if rnd.random() < 0.15:
        package["retention"] = {"finished": rnd.choice(["0s", "1m"]), "continued": "0s"}
    if place == PACKAGES - 1 and rnd.random() < 0.25:
        package["schedule"] = [{"cron": "*/20 * * * *", "catch_up": rnd.choice(["none", "latest", "all"])}]


def calls(declared: Any, *, undoing: bool = False) -> Iterator[tuple[dict[str, Any], bool]]:
    """Every step of a package that names a kind, emitted ones too, and whether it takes another one back."""
    if isinstance(declared, dict):
        if isinstance(declared.get("kind"), str):
            yield declared, undoing
        for name, each in declared.items():
            yield from calls(each, undoing=name == "undo")
    elif isinstance(declared, list):
        for each in declared:
            yield from calls(each)
