"""One worker process of a campaign: cases of one target, one after the other, until its time is over.

It writes each case down before it runs it, so that whoever finds this process dead knows of what. Every so often a case
is traced: one that reaches lines that none did before is kept, and changed in its turn.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
import warnings
from pathlib import Path
from random import Random
from typing import Any

from . import cases
from .judge import ROOT, Finding, Judge, bound_memory
from .targets import Target, target_named

#: One case in so many is traced.
TRACED = 25
#: Cases that are kept for change.
POOL = 300


class Lines:
    """The lines of yamlflow that cases have reached."""

    def __init__(self) -> None:
        self.seen: set[tuple[str, int]] = set()

    def __call__(self, frame: Any, event: str, arg: Any) -> Any:
        if not frame.f_code.co_filename.startswith(_PRODUCT):
            return None
        file, seen = frame.f_code.co_filename, self.seen

        def within(frame: Any, event: str, arg: Any) -> Any:
            seen.add((file, frame.f_lineno))
            return within

        return within


_PRODUCT = str(ROOT / "yamlflow")


def work(name: str, seed: int, seconds: float, scratch: Path) -> dict[str, Any]:
    """Run cases of a target; counts, findings and the number of lines that were reached."""
    quiet()
    target, rnd = target_named(name), Random(seed)
    current = (scratch / "case").open("w+")
    with (scratch / "stacks").open("w") as stacks:
        target.make(Random(0))
        bound_memory()
        judge, lines, pool = Judge(stacks), Lines(), list[Any]()
        found: list[Finding] = []
        until, count = time.monotonic() + seconds, 0
        while time.monotonic() < until:
            count += 1
            fresh = not pool or rnd.random() < 0.6
            case = target.make(rnd) if fresh else changed(rnd, target, pool)
            if not note(current, case):
                continue
            traced = count % TRACED == 0 or (not fresh and count % 5 == 0)
            before = len(lines.seen)
            if traced:
                sys.settrace(lines)
            try:
                finding = judge(name, target.check, case, timed=not traced)
            finally:
                sys.settrace(None)
            if len(lines.seen) > before:
                pool.append(case)
                del pool[:-POOL]
            if finding is not None:
                found.append(finding)
                if len(found) >= 20:
                    break
    return {
        "count": count,
        "lines": len(lines.seen),
        "pool": len(pool),
        "found": [vars(finding) for finding in found],
    }


def changed(rnd: Random, target: Target, pool: list[Any]) -> Any:
    """A case of the pool, changed, of the shape that the target's check reads."""
    base = rnd.choice(pool)
    case = cases.mutated(rnd, base, rnd.choice(pool))
    return case if target.free or cases.alike(case, base) else base


def note(stream: Any, case: Any) -> bool:
    """Write the case down where the parent finds it; False when it is too deep to be written."""
    try:
        text = cases.to_text(case)
    except RecursionError:
        return False
    stream.seek(0)
    stream.truncate()
    stream.write(text)
    stream.flush()
    return True


def quiet() -> None:
    """What the engine logs for operators is not of interest here."""
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")


def replay(name: str, file: Path) -> Finding | None:
    """One case from a file, under the same rules."""
    quiet()
    case = cases.from_text(file.read_text())
    bound_memory()
    target = target_named(name)
    target.make(Random(0))
    with (file.parent / f"{file.name}.stacks").open("w") as stacks:
        finding = Judge(stacks)(name, target.check, case)
    os.unlink(f"{file}.stacks")
    return finding


def shrink(name: str, file: Path, site: str) -> None:
    """Make the case of a file smaller, as long as it shows the same; the file is written anew."""
    quiet()
    bound_memory()
    target, best = target_named(name), cases.from_text(file.read_text())

    with (file.parent / f"{file.name}.stacks").open("w") as stacks:
        judge = Judge(stacks)

        def shows(case: Any) -> bool:
            if not (target.free or cases.alike(case, best)):
                return False
            finding = judge(name, target.check, case)
            return finding is not None and finding.site == site

        if shows(best):
            file.write_text(cases.to_text(cases.smaller(best, shows)))
    os.unlink(f"{file}.stacks")


def main() -> None:
    """``… TARGET SEED SECONDS SCRATCH`` works, ``… TARGET replay FILE`` runs one case, ``… TARGET shrink FILE SITE`` one."""
    name, how, *rest = sys.argv[1:]
    if how == "replay":
        finding = replay(name, Path(rest[0]))
        print(json.dumps(None if finding is None else vars(finding)))
        return
    if how == "shrink":
        shrink(name, Path(rest[0]), rest[1])
        os._exit(0)
    said = work(name, int(how), float(rest[0]), Path(rest[1]))
    (Path(rest[1]) / "said").write_text(json.dumps(said))
    # Threads of a case that hangs must not hold this process up.
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
