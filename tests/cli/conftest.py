"""A folder of the test's own to stand in, packages to write there, and two ways to call the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from yamlflow.cli import run

from ..conftest import ROOT

HELLO = """
    yamlflow: 1
    name: hello
    title: Say hello
    description: Greets whoever is named.
    inputs:
      who: {type: string, default: world, description: Whom to greet.}
      times: {type: integer, minimum: 1, maximum: 9, default: 1}
      loud: {type: boolean, default: false}
      tags: {type: array, items: {type: integer}, default: []}
    steps:
      greet: {kind: set, with: {value: {text: "hello ${{ inputs.who }}", tags: "${{ inputs.tags }}"}}}
    outputs:
      text: ${{ steps.greet.result.text }}
      times: ${{ inputs.times }}
      loud: ${{ inputs.loud }}
      tags: ${{ steps.greet.result.tags }}
"""
#: Fails once, and succeeds when it is tried again: the file that it looks for is there then.
FLAKY = """
    yamlflow: 1
    name: flaky
    steps:
      first: {kind: noop}
      shaky:
        needs: first
        run: |
          echo looking for it
          test -f found || { touch found; echo "it is not there" >&2; exit 3; }
      last: {needs: shaky, kind: noop}
    outputs: {ok: true}
"""


@dataclass(frozen=True)
class Called:
    """What a call of the command line came to."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it printed, as JSON."""
        return json.loads(self.out)


Cli = Callable[..., Called]
Write = Callable[..., Path]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, empty; nothing of the tester's own settings reaches it."""
    for name in [name for name in os.environ if name.startswith("YAMLFLOW_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def write(folder: Path) -> Write:
    """Write a file into the folder."""

    def put(name: str, text: str) -> Path:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text).lstrip(), encoding="utf-8")
        return path

    return put


@pytest.fixture
def cli(folder: Path, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Call the command line in this process."""

    def call(*args: object) -> Called:
        capsys.readouterr()
        status = run([str(arg) for arg in args])
        out, err = capsys.readouterr()
        return Called(status, out, err)

    return call


def command(*args: object) -> list[str]:
    """The command line as a process of its own."""
    return [sys.executable, "-m", "yamlflow", *map(str, args)]


def environment(**more: str) -> dict[str, str]:
    """The environment for such a process."""
    return {**os.environ, "PYTHONPATH": str(ROOT), **more}


@pytest.fixture
def process(folder: Path) -> Callable[..., subprocess.Popen[str]]:
    """Start the command line as a process of its own."""

    def begin(*args: object, **more: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            command(*args),
            cwd=folder,
            env=environment(**more),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return begin
