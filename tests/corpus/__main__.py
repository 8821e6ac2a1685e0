"""Show where what is refused is told otherwise than the corpus says; with ``--write`` also write it down.

python -m tests.corpus [--write] [WORDS…]     WORDS: only cases whose sort, theme or name holds one of them

Nothing is written without being shown: read the difference, then look at it again in version control.
"""

from __future__ import annotations

import argparse
import difflib
import sys
import tempfile
from pathlib import Path

from .cases import Case, Seen, corpus, read, written
from .play import Stage


def main() -> int:
    """Play the cases; 0 when all is as it stands in the files and nothing is amiss."""
    parser = argparse.ArgumentParser(prog="python -m tests.corpus", description=__doc__)
    parser.add_argument("--write", action="store_true", help="write down what was seen")
    parser.add_argument("words", nargs="*", help="only cases that hold one of them")
    given = parser.parse_args()
    worlds, cases = corpus()
    wanted = [case for case in cases if not given.words or any(word in case.id for word in given.words)]
    amiss = 0
    seen: dict[Path, dict[str, Seen]] = {}
    with tempfile.TemporaryDirectory(prefix="yamlflow-corpus-") as folder:
        stage = Stage(Path(folder).resolve(), worlds)
        for case in wanted:
            played = stage.play(case)
            seen.setdefault(case.source, {})[case.name] = played.seen
            for fault in played.faults():
                print(f"{case.id}: {fault}")
                amiss += 1
    differing = sum(shown(source, found, write=given.write) for source, found in seen.items())
    print(f"{len(wanted)} cases, {amiss} faults, {differing} files {'written' if given.write else 'that differ'}")
    return 1 if amiss or (differing and not given.write) else 0


def shown(source: Path, found: dict[str, Seen], *, write: bool) -> bool:
    """Show how a file would change, and change it where that is wanted; whether there was anything."""
    if source.suffix == ".yaml":
        source, new = source.with_suffix(".txt"), found[source.stem].says
    else:
        new = written(source, found)
    old = source.read_text("utf-8") if source.exists() else ""
    if old == new:
        return False
    sys.stdout.writelines(
        line if line.endswith("\n") else f"{line}\n"
        for line in difflib.unified_diff(old.splitlines(True), new.splitlines(True), str(source), "what was seen")
    )
    if write:
        source.write_text(new, "utf-8")
    return True


if __name__ == "__main__":
    sys.exit(main())


__all__ = ["Case", "main", "read"]
