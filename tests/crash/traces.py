"""Graphs of workflows that really ran, as packages. The traces are not part of the project; without them tests skip."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(os.environ.get("YAMLFLOW_TRACES", Path(__file__).parents[3] / "shared" / "traces"))


def trace_files() -> list[Path]:
    """The traces at hand."""
    return sorted(FOLDER.glob("*.json"))


def trace(name: str) -> dict[str, list[str]]:
    """Task to parents, under ids that a package may use."""
    files = [file for file in trace_files() if file.name.startswith(name)]
    if not files:
        pytest.skip(f"no traces in {FOLDER}: set YAMLFLOW_TRACES to a folder of WfCommons instances")
    tasks = json.loads(files[0].read_text())["workflow"]["specification"]["tasks"]
    ids = {task["id"]: f"t{number}" for number, task in enumerate(tasks)}
    return {ids[task["id"]]: [ids[parent] for parent in task["parents"]] for task in tasks}


def package_of(graph: dict[str, list[str]], step: dict[str, Any], **keys: Any) -> dict[str, Any]:
    """A package with ``step`` for every task."""
    steps = {id: {**step, **({"needs": parents} if parents else {})} for id, parents in graph.items()}
    return {"yamlflow": 1, "name": "trace", "steps": steps, **keys}


def closure(graph: dict[str, list[str]], failed: set[str]) -> set[str]:
    """Everything downstream of some tasks: themselves only where they are downstream of another."""
    reached: set[str] = set()
    changed = True
    while changed:
        more = {id for id, parents in graph.items() if id not in reached and (reached | failed) & set(parents)}
        changed = bool(more)
        reached |= more
    return reached
