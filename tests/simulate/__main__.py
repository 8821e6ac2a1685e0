"""``python -m tests.simulate``: play many seeds, or one, or find out which deliberate mistakes are noticed.

Exit status 1 when a rule was broken; then the shortest story that breaks it is printed, and the command that plays it again.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from multiprocessing import get_context

from .choices import Choices, shrink
from .play import Result, play

#: Seeds that one of the processes plays before it says how far it is.
PART = 50
#: Plays that a story may cost to be made shorter.
SHRINKING = 600


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulate", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, metavar="N", help="how many [1000]")
    parser.add_argument("--from", type=int, default=0, dest="first", metavar="S", help="the first one [0]")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, metavar="J", help="processes [one per core]")
    parser.add_argument("--seed", type=int, metavar="S", help="play this one, and tell its story")
    parser.add_argument("--whole", action="store_true", help="with --seed: do not make the story shorter")
    parser.add_argument("--go-on", action="store_true", help="play all seeds, whatever fails")
    parser.add_argument("--mutants", action="store_true", help="which deliberate mistakes in the engine are noticed")
    given = parser.parse_args()
    logging.disable(logging.CRITICAL)
    if given.mutants:
        from .mutants import survey

        return survey(most=given.seeds, jobs=given.jobs)
    if given.seed is not None:
        return tell(given.seed, whole=given.whole)
    return campaign(given.first, given.seeds, jobs=given.jobs, go_on=given.go_on)


def tell(seed: int, *, whole: bool = False) -> int:
    """Play a seed and tell its story; a shorter one when a rule is broken."""
    found = play(Choices(seed))
    record = found.record if whole or found.rule is None else shortest(found)
    told = play(Choices(recorded=record), telling=True)
    print("\n".join(told.story))
    if found.rule is None:
        print(f"seed {seed}: all is well")
        return 0
    print(f"\nseed {seed} breaks a rule: {told.what}\nto see it again: python -m tests.simulate --seed {seed}")
    return 1


def shortest(found: Result) -> list[int]:
    """The shortest record found that breaks the same rule."""

    def fails(record: list[int]) -> bool:
        return play(Choices(recorded=record)).rule == found.rule

    return shrink(found.record, fails, most=SHRINKING)  # type: ignore[arg-type]


def part(first_and_last: tuple[int, int]) -> tuple[int, Counter[str], list[tuple[int, str, str]]]:
    """Play some seeds: how many, what happened, and which of them break which rule."""
    logging.disable(logging.CRITICAL)
    counts: Counter[str] = Counter()
    wrong = []
    first, last = first_and_last
    for seed in range(first, last):
        result = play(Choices(seed))
        counts.update(result.counts)
        if result.rule is not None:
            wrong.append((seed, result.rule, result.what))
    return last - first, counts, wrong


def parts(first: int, seeds: int) -> Iterator[tuple[int, int]]:
    """Seeds in portions."""
    for at in range(first, first + seeds, PART):
        yield at, min(at + PART, first + seeds)


def campaign(first: int, seeds: int, *, jobs: int, go_on: bool) -> int:
    """Play many seeds; 1 when one of them broke a rule."""
    begun, done, counts = time.monotonic(), 0, Counter[str]()
    wrong: list[tuple[int, str, str]] = []
    said = begun
    with get_context("fork").Pool(jobs) as pool:
        for number, more, found in pool.imap_unordered(part, parts(first, seeds)):
            done += number
            counts.update(more)
            wrong += found
            now = time.monotonic()
            if now - said > 15 or done == seeds:
                said = now
                print(f"{done:,} of {seeds:,} seeds, {done / (now - begun):.1f}/s, {len(wrong)} failed", flush=True)
            for seed, _, what in found:
                print(f"seed {seed}: {what[:300]}", flush=True)
            if wrong and not go_on:
                pool.terminate()
                break
    print(", ".join(f"{name} {count:,}" for name, count in sorted(counts.items())))
    if wrong:
        seed = min(wrong)[0]
        print(f"\n{len(wrong)} of {done:,} seeds break a rule; the story of seed {seed}, made shorter:\n", flush=True)
        tell(seed)
        return 1
    print(f"{done:,} seeds, every rule held, {time.monotonic() - begun:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
