"""The list of targets: what is read, how a case of it is made by chance, and the check that a case must pass.

A check returns for what is taken well, refusals with a typed error included; whatever it raises is a finding.
"""

from __future__ import annotations

from . import commands, documents, expressions, given, outside, packages, places, stored
from .target import Target

TARGETS: tuple[Target, ...] = (
    *documents.TARGETS,
    *expressions.TARGETS,
    *packages.TARGETS,
    *given.TARGETS,
    *outside.TARGETS,
    *places.TARGETS,
    *stored.TARGETS,
    *commands.TARGETS,
)


def target_named(name: str) -> Target:
    """A target by its name; ``KeyError`` when there is none."""
    return {target.name: target for target in TARGETS}[name]


__all__ = ["TARGETS", "Target", "target_named"]
