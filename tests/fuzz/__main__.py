"""``python -m tests.fuzz --minutes N [--target X] [--jobs J]``: all targets in rotation, each in a process under limits.

Prints executions a second and the lines reached for each target, and each new finding with the command that replays it.
Exit status 1 when anything was found.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from .judge import ROOT
from .targets import TARGETS, Target, target_named

FOUND = ROOT / "tests" / "fuzz" / "found"
#: Seconds of one process, and those after which one that says nothing is ended.
SLICE, SILENT = 25.0, 300.0


class Campaign:
    """What a campaign has done so far."""

    def __init__(self, found: Path, slice_: float) -> None:
        self.found, self.slice = found, slice_
        self.counts: Counter[str] = Counter()
        self.seconds: Counter[str] = Counter()
        self.lines: dict[str, int] = {}
        self.sites: dict[str, Path] = {}
        self._lock = threading.Lock()

    def turn(self, target: Target, seed: int, guided: bool) -> None:
        """One process of a target."""
        scratch = Path(tempfile.mkdtemp(prefix="yamlflow-fuzz-"))
        began = time.monotonic()
        module = "tests.fuzz.guided" if guided else "tests.fuzz.worker"
        command = [sys.executable, "-m", module, target.name, str(seed), str(self.slice), str(scratch)]
        # What hangs without using the processor is ended here.
        try:
            ended = subprocess.run(
                command, cwd=ROOT, capture_output=True, timeout=self.slice + SILENT, env=environment(scratch)
            )
            status, errors = ended.returncode, ended.stderr.decode("utf-8", "replace")[-4000:]
        except subprocess.TimeoutExpired:
            status, errors = -9, "silent"
        said = json.loads((scratch / "said").read_text()) if (scratch / "said").exists() else None
        with self._lock:
            self.seconds[target.name] += time.monotonic() - began  # type: ignore[assignment]
            if said is not None:
                self.counts[target.name] += said["count"]
                self.lines[target.name] = max(self.lines.get(target.name, 0), said["lines"])
                for finding in said["found"]:
                    self.keep(target.name, finding["site"], finding["story"], finding["case"])
            elif (scratch / "case").exists() and self.is_well(target.name, scratch / "case"):
                print(f"{target.name}: ended with {status}, {errors[-6:].strip()}; its case is taken well", flush=True)
            elif (scratch / "case").exists():
                stacks = (scratch / "stacks").read_text()[-4000:] if (scratch / "stacks").exists() else ""
                case = json.loads((scratch / "case").read_text() or "null")
                self.keep(target.name, died(status, stacks, target.name), f"status {status}\n{stacks}\n{errors}", case)
            else:
                print(f"{target.name}: could not be run: {errors.strip().splitlines()[-1:]}", flush=True)
        shutil.rmtree(scratch, ignore_errors=True)

    def is_well(self, target: str, case: Path) -> bool:
        """Whether a case that held up its process passes alone: a busy machine may have done it."""
        command = [sys.executable, "-m", "tests.fuzz.worker", target, "replay", str(case)]
        try:
            ended = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=SILENT, check=False)
        except subprocess.TimeoutExpired:
            return False
        return ended.returncode == 0 and ended.stdout.strip().endswith(b"null")

    def keep(self, target: str, site: str, story: str, case: Any) -> None:
        """Write a finding down, unless one of its site was."""
        if site in self.sites:
            return
        self.found.mkdir(parents=True, exist_ok=True)
        stem = f"{target}-{hashlib.sha256(site.encode()).hexdigest()[:8]}"
        file = self.sites[site] = self.found / f"{stem}.json"
        file.write_text(json.dumps(case))
        shrunk = subprocess.Popen(
            [sys.executable, "-m", "tests.fuzz.worker", target, "shrink", str(file), site],
            cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment(self.found),
        )  # fmt: skip
        try:
            shrunk.wait(60)
        except subprocess.TimeoutExpired:
            shrunk.kill()
        (self.found / f"{stem}.txt").write_text(f"{site}\n\n{story}\n")
        print(
            f"FOUND {site}\n  {file.stat().st_size} bytes; python -m tests.fuzz --target {target} --replay {file}",
            flush=True,
        )

    def report(self) -> None:
        """One line a target."""
        for target in TARGETS:
            if count := self.counts[target.name]:
                rate = count / max(1e-9, self.seconds[target.name])
                print(
                    f"{target.name:16} {count:10,} executions {rate:8,.0f}/s {self.lines[target.name]:6,} lines",
                    flush=True,
                )
        print(
            f"{sum(self.counts.values()):,} executions in {sum(self.seconds.values()) / 3600:.2f} hours, "
            f"{len(self.sites)} findings",
            flush=True,
        )


def died(status: int, stacks: str, target: str) -> str:
    """The site of a process that did not come back."""
    own = [line.strip() for line in stacks.splitlines() if "/yamlflow/" in line and "File" in line]
    where = own[0].partition("/yamlflow/")[2].replace('"', "") if own else target
    return f"died ({status}) at {where}"


def environment(scratch: Path) -> dict[str, str]:
    """Temporary files of a process go where they are removed with it."""
    return {**os.environ, "TMPDIR": str(scratch), "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--target", action="append", choices=[target.name for target in TARGETS])
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--slice", type=float, default=SLICE, help="seconds of one process")
    parser.add_argument("--found", type=Path, default=FOUND, help="the folder for findings")
    parser.add_argument("--replay", type=Path, help="run the case of this file, and say what it shows")
    given = parser.parse_args()
    if given.replay is not None:
        return replay(given.target[0], given.replay.absolute())
    chosen = [target_named(name) for name in given.target] if given.target else list(TARGETS)
    turns = [target for target in chosen for _ in range(target.weight)]
    can_guide = importlib.util.find_spec("atheris") is not None
    rnd = random.Random(given.seed)
    campaign = Campaign(given.found, given.slice)
    until = last = time.monotonic()
    until += given.minutes * 60
    with ThreadPoolExecutor(given.jobs) as pool:
        while time.monotonic() < until:
            rnd.shuffle(turns)
            for batch in range(0, len(turns), given.jobs):
                if time.monotonic() > until:
                    break
                picked = turns[batch : batch + given.jobs]
                ways = [can_guide and target.from_bytes is not None and rnd.random() < 0.4 for target in picked]
                list(pool.map(campaign.turn, picked, [rnd.randrange(2**32) for _ in picked], ways))
                if time.monotonic() - last > 300:
                    last = time.monotonic()
                    campaign.report()
    campaign.report()
    return 1 if campaign.sites else 0


def replay(name: str, file: Path) -> int:
    """What a kept case shows now."""
    ended = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.worker", name, "replay", str(file)], cwd=ROOT, capture_output=True, text=True
    )
    said = (
        json.loads(ended.stdout.splitlines()[-1])
        if ended.returncode == 0 and ended.stdout
        else {"site": f"died ({ended.returncode})", "story": ended.stderr}
    )
    print("nothing is found" if said is None else f"{said['site']}\n{said['story']}")
    return 0 if said is None else 1


if __name__ == "__main__":
    sys.exit(main())
