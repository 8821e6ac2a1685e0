"""Errors, signals and pipes: what leaves the process when something goes wrong."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from yamlflow.cli import COMMANDS

from .conftest import HELLO, Cli, Write, command, environment

Process = Callable[..., subprocess.Popen[str]]
#: Writes a line when it begins, then waits to be told to stop.
LONG = """
    yamlflow: 1
    name: long
    steps:
      before: {run: echo before >> trace}
      wait: {needs: before, run: "echo waiting >> trace; test -f go || sleep 30; echo done >> trace"}
      after: {needs: wait, kind: noop}
    outputs: {ok: true}
"""


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_teaches_by_example(cli: Cli, name: str) -> None:
    shown = cli(name, "--help")
    assert shown.status == 0
    assert "Usage: yamlflow" in shown.out
    if name != "db":
        assert "Examples:" in shown.out
        assert f"yamlflow {name}" in shown.out.partition("Examples:")[2]


def test_the_help_lists_every_command(cli: Cli) -> None:
    text = cli("--help").out
    assert all(f"\n  {name} " in text for name in COMMANDS)


def test_help_and_version_import_nothing_heavy(folder: Path) -> None:
    heavy = "jinja2 jsonschema sqlite_utils rich httpx pydantic yaml asyncio pluggy".split()
    code = (
        "import sys\nfrom yamlflow.cli import run\n"
        f"run(['--version']); run(['--help']); print([m for m in {heavy!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("rnu",), 'Did you mean "run"?'),
        (("run",), "Name the package"),
        (("run", "nowhere.yaml"), "there is no file nowhere.yaml"),
        (("run", "hello.yml"), 'Did you mean "hello.yaml"?'),
        (("show",), "RUN"),
        (("pause",), "Name a run, or a queue"),
        (("worker", "--grace", "5"), "has no unit"),
        (("worker", "--kinds", "shel"), 'Did you mean "shell"?'),
    ],
)
def test_a_wrong_command_line_is_one_message_and_2(cli: Cli, write: Write, args: tuple[str, ...], words: str) -> None:
    write("hello.yaml", HELLO)
    ran = cli(*args)
    assert (ran.status, ran.out) == (2, "")
    assert words in ran.err
    assert "Traceback" not in ran.err


def test_a_fault_of_ours_is_short_unless_it_is_debugged(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, write: Write
) -> None:
    write("hello.yaml", HELLO)

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("by nought")

    monkeypatch.setattr("yamlflow.cli.opening.project_of", broken)
    ran = cli("packages")
    assert ran.status == 70
    assert "ZeroDivisionError: by nought" in ran.err
    assert "Traceback" not in ran.err
    assert "Traceback" in cli("packages", "--log-level", "debug").err


def until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Wait until something is so, for as long as the process lives."""
    while not condition():
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.02)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_can_be_resumed(
    cli: Cli, write: Write, folder: Path, process: Process, number: signal.Signals
) -> None:
    write("long.yaml", LONG)
    running = process("run", "long.yaml", "--run-id", "l1")
    until(lambda: (folder / "trace").exists() and "waiting" in (folder / "trace").read_text(), running)
    running.send_signal(number)
    out, err = running.communicate(timeout=20)
    assert (running.returncode, out) == (130, "")
    assert "yamlflow resume l1" in err
    (folder / "go").touch()
    resumed = cli("resume", "l1")
    assert (resumed.status, resumed.out) == (0, "ok: true\n")
    assert (folder / "trace").read_text().split() == ["before", "waiting", "waiting", "done"]


def test_a_killed_run_can_be_resumed(cli: Cli, write: Write, folder: Path, process: Process) -> None:
    write("long.yaml", LONG)
    running = process("run", "long.yaml", "--run-id", "l1")
    until(lambda: (folder / "trace").exists() and "waiting" in (folder / "trace").read_text(), running)
    running.kill()
    running.communicate(timeout=20)
    (folder / "go").touch()
    assert cli("resume").status == 0
    assert (folder / "trace").read_text().split() == ["before", "waiting", "waiting", "done"]
    assert cli("workers", "--json").json == []


def test_a_worker_told_to_stop_ends_what_it_has(cli: Cli, write: Write, folder: Path, process: Process) -> None:
    write("long.yaml", LONG.replace("test -f go || sleep 30", "until test -f go; do sleep 0.05; done"))
    cli("start", "long.yaml", "--run-id", "l1")
    running = process("worker", "--grace", "20s")
    until(lambda: (folder / "trace").exists() and "waiting" in (folder / "trace").read_text(), running)
    assert [one["status"] for one in cli("workers", "--json").json] == ["running"]
    running.send_signal(signal.SIGTERM)
    (folder / "go").touch()
    running.communicate(timeout=20)
    assert running.returncode == 0
    assert cli("show", "l1", "wait", "--json").json["status"] == "succeeded"
    assert cli("runs", "--json").json[0]["status"] == "running"
    assert cli("resume", "-q").status == 0


def test_two_workers_share_a_store(cli: Cli, write: Write, process: Process) -> None:
    write(
        "wide.yaml",
        "yamlflow: 1\nname: wide\nsteps:\n  each: {for_each: '${{ range(40) }}', run: 'sleep 0.02'}\n",
    )
    cli("start", "wide.yaml", "--run-id", "w1")
    both = [process("worker", "-q", "--max-workers", 2) for _ in range(2)]
    followed = process("events", "w1", "-f", "--json")
    out, _ = followed.communicate(timeout=60)
    for worker in both:
        worker.send_signal(signal.SIGTERM)
        worker.communicate(timeout=20)
        assert worker.returncode == 0
    assert '"run.succeeded"' in out.splitlines()[-1]
    assert out.count('"step.leased"') == 40


def test_whoever_stops_reading_is_not_shown_a_traceback(cli: Cli, write: Write, folder: Path) -> None:
    write("wide.yaml", "yamlflow: 1\nname: wide\nsteps:\n  each: {for_each: '${{ range(2000) }}', kind: noop}\n")
    cli("run", "wide.yaml", "-q", "--run-id", "w")
    read, wrote = os.pipe()
    reader = subprocess.Popen(
        command("events", "w"), cwd=folder, env=environment(), stdout=wrote, stderr=subprocess.PIPE
    )
    os.close(wrote)
    os.read(read, 100)
    os.close(read)
    _, err = reader.communicate(timeout=20)
    assert err == b""
    assert reader.returncode == 141


def test_logs_are_printed_as_they_were_written(cli: Cli, write: Write, folder: Path) -> None:
    write(
        "two.yaml",
        "yamlflow: 1\nname: two\nsteps:\n  a: {run: echo one; echo two >&2}\n  b: {needs: a, run: echo three}\n",
    )
    cli("run", "two.yaml", "-q", "--run-id", "t")

    def logs(*args: str) -> str:
        called = subprocess.run(
            command("logs", "t", *args), cwd=folder, env=environment(), capture_output=True, text=True
        )
        assert called.returncode == 0
        return called.stdout

    assert logs("a") == "one\ntwo\n"
    assert logs("a", "-n", "1") == "two\n"
    assert logs("b", "-f") == "three\n"
