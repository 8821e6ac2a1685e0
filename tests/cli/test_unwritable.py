"""Places where no store can be, and folders that cannot be written: what is said, and what can still be looked at."""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import HELLO, Called, Cli, Write, command, environment

#: ``prctl(PR_CAPBSET_DROP, …)``: without these two the superuser, too, keeps to the permissions of files.
DROP, CAPABILITIES = 24, (1, 2)


def without_privileges() -> None:
    """Before a program begins: give up what lets the superuser past permissions. Others have nothing to give up."""
    for capability in CAPABILITIES:
        ctypes.CDLL(None).prctl(DROP, capability, 0, 0, 0)


def called(*args: object) -> Called:
    """The command line as a process that permissions hold for."""
    done = subprocess.run(
        command(*args),
        env=environment(),
        capture_output=True,
        text=True,
        preexec_fn=without_privileges,
    )
    return Called(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def closed(cli: Cli, write: Write, folder: Path) -> Iterator[Path]:
    """A project with one run whose state cannot be written any more."""
    write("hello.yaml", HELLO)
    write("say.yaml", "yamlflow: 1\nname: say\nsteps: {a: {run: echo said}}\n")
    cli("run", "say.yaml", "--run-id", "s1", "-q")
    (folder / ".yamlflow").chmod(0o555)
    yield folder / ".yamlflow"
    (folder / ".yamlflow").chmod(0o755)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("runs",), "s1"),
        (("show", "s1"), "succeeded"),
        (("logs", "s1"), "said"),
        (("events", "s1"), "run.succeeded"),
        (("db", "check"), "is sound"),
    ],
)
def test_what_cannot_be_written_can_be_looked_at(closed: Path, args: tuple[str, ...], words: str) -> None:
    looked = called(*args)
    assert (looked.status, words in looked.out) == (0, True), looked.err
    assert not list(closed.glob("*.db-*"))


@pytest.mark.parametrize("args", [("run", "hello.yaml"), ("cancel", "s1"), ("worker", "--max-cycles", "1")])
def test_who_must_write_is_told_what_may_not_be_written(closed: Path, args: tuple[str, ...]) -> None:
    refused = called(*args)
    assert refused.status == 4
    assert f"the folder {closed} may not be written to; change its permissions" in refused.err


def test_doctor_reports_a_folder_that_cannot_be_written(closed: Path) -> None:
    found = called("doctor")
    assert found.status == 4
    assert f"nothing can be stored: the folder {closed} may not be written to" in found.out


def test_a_project_in_a_folder_that_cannot_be_written_is_refused_with_the_remedy(write: Write, folder: Path) -> None:
    write("hello.yaml", HELLO)
    folder.chmod(0o555)
    try:
        ran, doctor = called("run", "hello.yaml"), called("doctor")
    finally:
        folder.chmod(0o755)
    assert ran.status == 4
    assert ".yamlflow: nothing can be written there: Permission denied; " in ran.err
    assert "--store" in ran.err
    assert (doctor.status, str(folder) in doctor.out) == (4, True)


@pytest.mark.parametrize("command", [("runs",), ("run", "hello.yaml"), ("doctor",)])
def test_a_folder_is_no_store(cli: Cli, write: Write, folder: Path, command: tuple[str, ...]) -> None:
    write("hello.yaml", HELLO)
    (folder / "place").mkdir()
    refused = cli(*command, "--store", "place")
    assert refused.status == 4
    assert "this is a folder; name a file in it: " in refused.err + refused.out


def test_a_store_below_a_file_cannot_be(cli: Cli, write: Write, folder: Path) -> None:
    write("hello.yaml", HELLO)
    refused = cli("run", "hello.yaml", "--store", "hello.yaml/x.db")
    assert refused.status == 4
    assert "hello.yaml is a file, not a folder" in refused.err


@pytest.mark.parametrize("args", [("runs",), ("show", "h1"), ("queues",), ("cancel", "h1"), ("resume",)])
def test_a_named_store_that_is_not_there_is_an_error(cli: Cli, folder: Path, args: tuple[str, ...]) -> None:
    refused = cli(*args, "--store", "mistyped.db")
    assert (refused.status, refused.out) == (4, "")
    assert "mistyped.db: there is no store there" in refused.err
    assert list(folder.iterdir()) == []


def test_a_worker_makes_the_store_that_it_is_to_work_on(cli: Cli, folder: Path) -> None:
    assert cli("worker", "--max-cycles", 1, "-q", "--store", "new.db").status == 0
    assert (folder / "new.db").is_file()


def test_a_file_that_may_not_be_read_is_named_as_what_is_wrong(closed: Path) -> None:
    (closed / "yamlflow.db").chmod(0)
    refused = called("runs")
    assert refused.status == 4
    assert "the file may not be read; change its permissions" in refused.err
