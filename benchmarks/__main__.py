"""Measures and prints; asserts nothing.

    python -m benchmarks             all workloads, three runs each, medians
    python -m benchmarks --runs 7    more runs

Each workload is a process of its own, from cold start to exit, on a store of its own. ``write_bytes`` is what the kernel
says the process sent to its disk. The baseline commits one small row a transaction, with the same durability.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def chain(count: int) -> str:
    """Steps that each need the one before."""
    steps = {f"s{n}": {"kind": "noop", **({"needs": f"s{n - 1}"} if n else {})} for n in range(count)}
    return json.dumps({"yamlflow": 1, "name": "chain", "steps": steps})


def independent(count: int) -> str:
    """Steps that need nothing, and a join."""
    steps: dict[str, Any] = {f"s{n}": {"kind": "noop"} for n in range(count)}
    steps["join"] = {"kind": "noop", "needs": list(steps)}
    return json.dumps({"yamlflow": 1, "name": "independent", "steps": steps})


def fan_out(count: int) -> str:
    """A ``for_each`` and a join."""
    steps = {
        "each": {"kind": "noop", "for_each": f"${{{{ range({count}) }}}}"},
        "join": {"kind": "noop", "needs": "each"},
    }
    return json.dumps({"yamlflow": 1, "name": "fan-out", "steps": steps})


def shell(count: int) -> str:
    """Processes that do nothing."""
    steps = {f"s{n}": {"run": "true"} for n in range(count)}
    return json.dumps({"yamlflow": 1, "name": "shell", "steps": steps})


WORKLOADS: tuple[tuple[str, Callable[[int], str], int], ...] = (
    ("COLD     1 noop", chain, 1),
    ("CHAIN    1,000 noop, one after the other", chain, 1000),
    ("WIDE     1,000 independent noop and a join", independent, 1000),
    ("WIDE     10,000 independent noop and a join", independent, 10_000),
    ("FANOUT   1,000 items", fan_out, 1000),
    ("FANOUT   10,000 items", fan_out, 10_000),
    ("SHELL    200 `true`", shell, 200),
)


def measure(text: str) -> dict[str, float]:
    """One run of a package through the command line."""
    folder = Path(tempfile.mkdtemp(prefix="yamlflow-benchmark-"))
    try:
        (folder / "package.yaml").write_text(text)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        begun = time.perf_counter()
        process = subprocess.run(
            [sys.executable, "-m", "yamlflow", "run", "package.yaml", "-q"], cwd=folder, capture_output=True, text=True
        )
        seconds = time.perf_counter() - begun
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if process.returncode:
            raise SystemExit(process.stderr)
        return {
            "seconds": seconds,
            "cpu": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
            "written": 512.0 * (after.ru_oublock - before.ru_oublock),
            "memory": float(after.ru_maxrss),
        }
    finally:
        shutil.rmtree(folder)


def raw_commits(seconds: float = 1.0) -> float:
    """Small transactions a second of sqlite3 itself, in WAL with synchronous=FULL."""
    folder = Path(tempfile.mkdtemp(prefix="yamlflow-benchmark-"))
    try:
        db = sqlite3.connect(folder / "raw.db", isolation_level=None)
        db.execute("pragma journal_mode = wal")
        db.execute("pragma synchronous = full")
        db.execute("create table t (id integer primary key, text text)")
        count, begun = 0, time.perf_counter()
        while time.perf_counter() - begun < seconds:
            db.execute("begin immediate")
            db.execute("insert into t (text) values ('x')")
            db.execute("commit")
            count += 1
        return count / (time.perf_counter() - begun)
    finally:
        shutil.rmtree(folder)


def main() -> None:
    """Measure every workload and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    runs = parser.parse_args().runs
    raw = statistics.median(raw_commits() for _ in range(runs))
    print(f"python {platform.python_version()}, sqlite {sqlite3.sqlite_version}, {os.cpu_count()} cores, "
          f"load {os.getloadavg()[0]:.2f}, durability FULL, medians of {runs}")  # fmt: skip
    print(f"raw sqlite3: {raw:,.0f} small commits/s\n")
    print(f"{'workload':<45}{'seconds':>9}{'steps/s':>9}{'of raw':>8}{'cpu ms/step':>13}{'bytes/step':>12}{'MB':>6}")
    for name, make, count in WORKLOADS:
        text = make(count)
        results = [measure(text) for _ in range(runs)]
        median = {key: statistics.median(result[key] for result in results) for key in results[0]}
        rate = count / median["seconds"]
        print(
            f"{name:<45}{median['seconds']:>9.2f}{rate:>9,.0f}{rate / raw:>8.2f}{1000 * median['cpu'] / count:>13.2f}"
            f"{median['written'] / count:>12,.0f}{max(result['memory'] for result in results) / 1024:>6.0f}"
        )


if __name__ == "__main__":
    main()
