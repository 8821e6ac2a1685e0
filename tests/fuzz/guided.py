"""One process of a campaign that is guided by coverage (atheris, optional): bytes to a case, the same judge, the same report.

``python -m tests.fuzz.guided TARGET SEED SECONDS SCRATCH``. libFuzzer never gives the process back, so it ends itself.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from random import Random
from typing import Any

import atheris


def main() -> None:
    """Run libFuzzer over one target."""
    name, seed, seconds, scratch = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), Path(sys.argv[4])
    with atheris.instrument_imports(
        include=[
            "yamlflow.document",
            "yamlflow.template",
            "yamlflow.executors",
            "yamlflow.cron",
            "yamlflow.duration",
            "yaml",
        ]
    ):
        from .judge import Judge, bound_memory
        from .targets import target_named
        from .worker import note, quiet

    quiet()
    target = target_named(name)
    assert target.from_bytes is not None
    rnd, count, found = Random(seed), [0], list[dict[str, Any]]()
    corpus = scratch / "corpus"
    corpus.mkdir()
    for number in range(40):
        (corpus / str(number)).write_bytes(seed_of(target.make(rnd)))
    current, stacks = (scratch / "case").open("w+"), (scratch / "stacks").open("w")
    bound_memory()
    judge, until = Judge(stacks), time.monotonic() + seconds

    def say() -> None:
        said = {"count": count[0], "lines": 0, "pool": 0, "found": found}
        (scratch / "said").write_text(json.dumps(said))

    def one(content: bytes) -> None:
        case = target.from_bytes(content)  # type: ignore[misc]
        if not note(current, case):
            return
        count[0] += 1
        finding = judge(name, target.check, case, timed=False)
        if finding is not None and len(found) < 20:
            found.append(vars(finding))
        if time.monotonic() > until:
            say()
            os._exit(0)

    sys.stdin.close()
    atheris.Setup(
        [
            "fuzz",
            str(corpus),
            "-rss_limit_mb=0",
            "-timeout=60",
            "-max_len=4096",
            f"-seed={seed % 2**31}",
            "-verbosity=0",
        ],
        one,
    )
    atheris.Fuzz()


def seed_of(case: Any) -> bytes:
    """The bytes of a case that a guided search begins with."""
    text = case if isinstance(case, str) else case.get("text") or case.get("raw") or case.get("content") or ""
    return str(text).encode("latin-1", "replace")[:4096]


if __name__ == "__main__":
    main()
