"""``python -m tests.torture``: real workers over one store, killed and frozen; then everything is looked at.

    python -m tests.torture --kills 1000 --stops 250 --steps 10000
    python -m tests.torture --terms 100

The seed gives what happens to whom; real processes make it another story each time. The folder of a storm in which a rule
did not hold is kept. The exit status is 1 then.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

from ..fixtures.serve import serving
from .checks import Checks
from .project import Broken, Project
from .storm import Limits, Storm


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kills", type=int, default=20, help="kill -9 of workers that have steps in hand")
    parser.add_argument("--stops", type=int, default=6, help="SIGSTOP of such workers until their leases have run out")
    parser.add_argument("--steps", type=int, default=150, help="steps to be done at least")
    parser.add_argument("--terms", type=int, default=0, help="instead: SIGTERM of workers under load, so many times")
    parser.add_argument("--margin", type=float, default=1, help="seconds that a stop may take beyond the graces")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=60, help="a storm that takes longer is broken")
    parser.add_argument("--folder", type=Path, help="where to do it; by default a new folder below the temporary one")
    given = parser.parse_args()
    folder = given.folder or Path(tempfile.mkdtemp(prefix="yamlflow-torture-"))
    folder.mkdir(parents=True, exist_ok=True)
    project = Project(folder)
    try:
        if given.terms:
            from .terms import drain_many

            problems = drain_many(project, given.terms, random.Random(given.seed), given.margin)
        else:
            limits = Limits(kills=given.kills, stops=given.stops, steps=given.steps, seconds=given.minutes * 60)
            problems = rage(project, limits, random.Random(given.seed))
    except Broken as broken:
        problems = [str(broken)]
    finally:
        project.close()
    for problem in problems[:50]:
        print(problem)
    if problems:
        print(f"{len(problems)} problems; seed {given.seed}; the folder is kept: {folder}")
        return 1
    if given.folder is None:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


def rage(project: Project, limits: Limits, rnd: random.Random) -> list[str]:
    """A storm and what is wrong after it."""
    with serving() as shop:
        storm = Storm(project, limits, shop.url, rnd)
        storm.rage()
    began = time.monotonic()
    checks = Checks(project, storm.wanted)
    problems = checks.all()
    ((steps, leases, losses, refused),) = project.query(
        "select (select count(*) from steps), sum(kind = 'step.leased'), sum(kind = 'step.lost'), "
        "sum(kind = 'step.refused') from events"
    )
    struck = storm.struck
    print(
        f"{struck['kills']} kills of workers with {struck['in hand']} steps in hand, {struck['stops']} stops past the "
        f"lease ({struck['killed while frozen']} killed while frozen), {struck['guards']} guards and {struck['clients']} "
        f"clients in their midst killed ({struck['idle clients']} idle); {len(storm.wanted)} runs and those they started, "
        f"{steps} steps, {leases} leases, {losses} lost, {refused} late outcomes refused, {len(checks.spent)} runs with a "
        f"step lost three times in a row; {storm.lives} workers. The storm took {storm.stormed:.0f} s "
        f"({steps / storm.stormed:.0f} steps/s, {struck['kills'] / storm.stormed:.1f} kills/s), "
        f"the checks {time.monotonic() - began:.0f} s."
    )  # fmt: skip
    return problems


if __name__ == "__main__":
    sys.exit(main())
