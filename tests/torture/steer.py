"""Somebody who steers runs without a plan, in a process of its own: ``python -m tests.torture.steer STORE SEED WORDS TIMES``.

``WORDS`` are what it does, with commas; what the present state forbids is no trouble.
"""

from __future__ import annotations

import random
import sys
import time

from yamlflow.client import Client
from yamlflow.errors import UserError
from yamlflow.rows import RunRow
from yamlflow.store.base import RunFilter


def main(store: str, seed: str, words: str, times: str) -> None:
    """Do it so many times."""
    rnd, chosen, refused = random.Random(int(seed)), words.split(","), 0
    with Client(store) as client:
        for number in range(int(times)):
            runs = client.runs(RunFilter(limit=1000))
            try:
                if runs:
                    do(client, rnd.choice(chosen), rnd.choice(runs), f"{seed}-{number}")
            except UserError:
                refused += 1
            time.sleep(rnd.uniform(0, 0.03))
    print(f"{refused} of {times} were refused")


def do(client: Client, word: str, run: RunRow, key: str) -> None:
    """One thing to one run."""
    match word:
        case "signal":
            client.signal(run.id, "go", key, key=key)
        case "approve":
            client.approve(run.id, "ask", by=key)
        case "cancel":
            client.cancel(run.id, reason=key)
        case "cancel-step":
            client.cancel(run.id, "each[2]", reason=key)
        case "retry":
            client.retry(run.id)
        case "pause":
            client.pause(run.id)
        case "unpause":
            client.pause(run.id, paused=False)
        case "remove":
            client.remove(run.id)
        case "prune":
            client.prune(older_than=0)
        case _:
            raise SystemExit(f"{word} is not known")


if __name__ == "__main__":
    main(*sys.argv[1:])
