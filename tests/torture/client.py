"""A client in a process of its own: ``python -m tests.torture.client STORE COMMANDS ACKNOWLEDGED``.

It carries out commands from a file of JSON lines, one after the other, and notes each in another file once the store has
it. Killed at any moment and started again it goes on behind the last one that it noted; the one that may or may not have
been done it does again, with the same id or key.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from yamlflow.client import Client
from yamlflow.errors import NotAllowed
from yamlflow.project import open_project
from yamlflow.runtime import load_package

#: Seconds between commands: a batch takes a while, so that it can be killed in its midst.
PAUSE = 0.004


def main(store: str, commands: str, acknowledged: str) -> None:
    """Do what is not done yet."""
    lines = [json.loads(line) for line in Path(commands).read_text().splitlines()]
    noted = Path(acknowledged)
    done = len(noted.read_text().splitlines()) if noted.exists() else 0
    handle = os.open(noted, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    folder = open_project().root / "workflows"
    with Client(store, find=lambda name: load_package(folder / f"{name}.yaml")) as client:
        for number in range(done, len(lines)):
            do(client, *lines[number])
            os.write(handle, f"{number}\n".encode())
            time.sleep(PAUSE)


def do(client: Client, verb: str, run: str, *given: Any) -> None:
    """One command; done twice it is done once."""
    if verb == "start":
        package, inputs = given
        client.start(package, inputs, run_id=run, if_exists="join")
    elif verb == "signal":
        sender, number = given
        client.signal(run, "number", {"from": sender, "number": number}, sender=sender, key=f"{sender}-{number}")
    elif verb == "approve":
        approve(client, run, *given)


def approve(client: Client, run: str, by: str) -> None:
    """Wait until it is asked for, and answer."""
    deadline = time.monotonic() + 600
    while True:
        try:
            client.approve(run, "ask", by=by)
            return
        except NotAllowed:
            row = client.run(run)
            if row is not None and row.ended_at is not None:
                return
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


if __name__ == "__main__":
    main(*sys.argv[1:])
