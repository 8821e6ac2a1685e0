"""The command line on arguments and files that people get wrong: every error leaves by the funnel, as one of ours."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import tempfile
from pathlib import Path
from random import Random
from typing import Any

import click

from yamlflow.cli import COMMANDS, cli
from yamlflow.errors import YamlflowError

from .. import cases, grammar
from .target import Target, told

#: Commands that go on until they are stopped, or follow.
ENDLESS = frozenset({"worker", "scheduler", "resume"})
OPTIONS = (
    "--json", "-i", "--input", "--input-file", "--run-id", "--store", "--name", "--meta", "--context", "--if-exists",
    "--data", "--data-file", "--key", "--start", "--older-than", "--limit", "--status", "--package", "--since",
    "--format", "--strict", "--dry-run", "--reject", "--reason", "--queue", "-q", "--no-plugins", "--tail", "--grep",
    "--step", "--where", "-k", "--workers", "--timeout", "--priority", "--detach", "--all",
)  # fmt: skip
WORDS = (
    "p.yaml", "t.test.yaml", "last", "run-1", "a", "go", "x=1", "a=[1", "a=" + "[" * 20_000, "a=" + "9" * 5000,
    "b=NaN", "sqlite:///s.db", "sqlite:///:memory:", "postgres://x", "/nowhere/x.db", ".", "", "-", "--", "1d", "7x",
    "p.yaml@2", "run-1@99999999999999999999", "check", "status", "backup", "b.db",
)  # fmt: skip


@functools.cache
def folder() -> Path:
    """A folder to stand in, removed with the process."""
    made = tempfile.TemporaryDirectory(prefix="yamlflow-fuzz-")
    _kept.append(made)
    for name in [name for name in os.environ if name.startswith("YAMLFLOW_")]:
        del os.environ[name]
    return Path(made.name)


_kept: list[Any] = []


def call(args: list[str]) -> None:
    """One command; what the funnel would call a fault of yamlflow itself is raised."""
    out, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        try:
            cli.main(args=args, prog_name="yamlflow", standalone_mode=False)
        except click.ClickException as wrong:
            assert wrong.format_message()
            # `cli.run` shortens it; a choice of click's repeats what was typed.
        except (click.exceptions.Exit, click.Abort):
            pass
        except YamlflowError as refused:
            told(refused)
        except OSError:
            pass
    assert "Traceback (most recent call last)" not in errors.getvalue() + out.getvalue()


def command_line(rnd: Random) -> dict[str, Any]:
    """A command with words and options, and the package it may be about."""
    name = rnd.choice([each for each in COMMANDS if each not in ENDLESS])
    words = [rnd.choice([*WORDS, *WORDS, cases.text(rnd, 2)]) for _ in range(rnd.randint(0, 3))]
    for _ in range(rnd.randint(0, 2)):
        words.insert(rnd.randint(0, len(words)), rnd.choice(OPTIONS))
    package = {
        "yamlflow": 1,
        "name": "p",
        "inputs": {"a": grammar.of_schema(rnd, {"$ref": "#/$defs/json_schema"}, 3)},
        "steps": [{"kind": "noop"}],
    }
    return {"args": [name, *words], "package": package, "tests": cases.text(rnd, 3)}


def check_command_line(case: dict[str, Any]) -> None:
    """No traceback, whatever is typed."""
    import json

    args = [str(arg).replace("\0", "") for arg in case["args"]]
    # Nothing is followed, and nothing is written but in this folder.
    if (
        not args
        or args[0] in ENDLESS
        or any(arg in ("-f", "--follow") or ".." in arg for arg in args)
        or not _is_here(args)
    ):
        return
    place = folder()
    os.chdir(place)
    (place / "p.yaml").write_text(json.dumps(case["package"]))
    (place / "t.test.yaml").write_bytes(case["tests"].encode("utf-8", "surrogatepass"))
    call(args)


def _is_here(args: list[str]) -> bool:
    return not any(
        arg.startswith("/")
        or "=/" in arg
        or "///" in arg.replace("sqlite:///s.db", "").replace("sqlite:///:memory:", "")
        for arg in args
    )


TARGETS = (Target(name="command-lines", make=command_line, check=check_command_line),)
