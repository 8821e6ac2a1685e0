"""A store's file that is damaged, foreign, too new or gone, before a command and under a worker: an error with its path,
the cause and what to do, exit status 4, never a traceback, and the file is left as it is.
"""

from __future__ import annotations

import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from yamlflow.cli import run as command_line
from yamlflow.errors import StoreTooNew
from yamlflow.store.schema import VERSION
from yamlflow.store.sqlite import SqliteStore

from .processes import Project

PACKAGE = """
yamlflow: 1
name: p
steps:
  a: {kind: set, with: {value: 1}}
  b: {kind: wait_signal, needs: a, with: {signal: go}}
"""
#: Every command that opens a store.
COMMANDS = (
    "run p.yaml -q", "start p.yaml", "resume r -q", "retry r", "cancel r", "signal r go", "approve r b", "pause r",
    "unpause r", "worker --max-cycles 2 -q", "runs", "show r", "show r a", "logs r", "events r", "result r", "artifacts r",
    "records p", "queues", "locks", "workers", "prune --older-than 1d", "cache", "db status", "db check", "db migrate",
    "db backup copy.db", "doctor", "db vacuum",
)  # fmt: skip


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose store is sound, with runs in it."""
    folder = tmp_path_factory.mktemp("sound")
    project = Project(folder, PACKAGE)
    (folder / "p.yaml").write_text(PACKAGE)
    assert project.call("start", "p.yaml", "--run-id", "r").returncode == 0
    assert project.call("worker", "--max-cycles", "6", "-q").returncode == 0
    return folder


@pytest.fixture
def project(sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A copy of it, and the current folder."""
    shutil.copytree(sound, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return Project(tmp_path, PACKAGE)


def cut(store: Path) -> None:
    """It ends in its midst."""
    store.write_bytes(store.read_bytes()[: store.stat().st_size // 2 + 1000])


def zero_header(store: Path) -> None:
    """Its first bytes are zero."""
    store.write_bytes(bytes(100) + store.read_bytes()[100:])


def lose_tables(store: Path) -> None:
    """It says that it is a store, and has no tables."""
    store.write_bytes(b"")
    with closing(sqlite3.connect(store)) as connection:
        connection.execute("pragma journal_mode = wal")
        connection.execute("pragma application_id = 0x59464C57")
        connection.execute(f"pragma user_version = {VERSION}")


def overwrite(store: Path) -> None:
    """The roots of all its tables hold something else."""
    content = bytearray(store.read_bytes())
    for start in range(4096, len(content), 4096):
        content[start : start + 4096] = bytes((start // 4096 * 31 + n) % 251 for n in range(4096))
    store.write_bytes(content)


def text(store: Path) -> None:
    """Somebody's notes."""
    store.write_text("dear diary, \n" * 1000)


def foreign(store: Path) -> None:
    """Another application's database."""
    store.unlink()
    with closing(sqlite3.connect(store)) as connection:
        connection.execute("create table bookmarks (url)")


def newer(store: Path) -> None:
    """What a later yamlflow has made of it."""
    with closing(sqlite3.connect(store)) as connection:
        connection.execute(f"pragma user_version = {VERSION + 7}")


DAMAGES: dict[Callable[[Path], None], str] = {
    cut: "malformed", zero_header: "file is not a database", lose_tables: "no such table", overwrite: "malformed",
    text: "file is not a database", foreign: "name another with --store", newer: "newer yamlflow",
}  # fmt: skip
#: What may still be done with such a file: none of it changes anything.
HARMLESS = {newer: ("db status", "db check", "db backup copy.db"), lose_tables: ("db migrate", "db backup copy.db")}


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_every_command_refuses_a_store_that_is_none_and_leaves_it_as_it_is(
    project: Project, damage: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    damage(project.store)
    before = project.store.read_bytes()
    for line in COMMANDS if damage is not lose_tables else COMMANDS[:-1]:
        status = command_line(line.split())
        told = capsys.readouterr()
        assert "Traceback" not in told.out + told.err, line
        assert project.store.read_bytes() == before, f"{line} changed it"
        if status == 0 and line in HARMLESS.get(damage, ()):
            continue
        assert status == 4, (line, told)
        assert ".yamlflow/yamlflow.db" in told.out + told.err, (line, told)
        if not line.startswith(("db check", "doctor")):
            assert DAMAGES[damage] in told.err, (line, told.err)
            assert any(word in told.err for word in ("restore a backup", "--store", "upgrade yamlflow")), (
                line,
                told.err,
            )


def test_an_empty_file_is_a_new_store(project: Project) -> None:
    project.store.write_bytes(b"")
    assert command_line(["start", "p.yaml", "--run-id", "first"]) == 0
    assert [id for (id,) in project.query("select id from runs")] == ["first"]


def under_a_worker(folder: Path, harm: Callable[[Path], None]) -> tuple[int, str, Project]:
    """Harm a store while a worker uses it: how that ended, and what it said."""
    step = {"kind": "witness", "with": {"seconds": 0.2}}
    project = Project(folder, {"yamlflow": 1, "name": "chain", "steps": [{"id": f"s{n}", **step} for n in range(40)]})
    assert project.call("start", "package.yaml", "--run-id", "r").returncode == 0
    worker = project.spawn("worker", "--grace", "5s")
    project.wait_until(lambda: len(project.starts()) >= 3)
    harm(project.store)
    try:
        output, _ = worker.communicate(timeout=40)
    except subprocess.TimeoutExpired:
        worker.kill()
        raise AssertionError(worker.communicate()[0]) from None
    assert "Traceback" not in output, output
    assert project.left_running() == []
    return worker.returncode, output, project


def remove_folder(store: Path) -> None:
    """Somebody cleans up."""
    shutil.rmtree(store.parent)


def replace(store: Path) -> None:
    """Another store takes its place."""
    copy = store.with_name("copy.db")
    with closing(sqlite3.connect(store)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
    copy.replace(store)


def upgrade(store: Path) -> None:
    """A later yamlflow brings it up to date."""
    with closing(sqlite3.connect(store, timeout=30)) as connection:
        connection.execute(f"pragma user_version = {VERSION + 1}")


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (remove_folder, "deleted or replaced while it was in use"),
        (replace, "deleted or replaced while it was in use"),
        (upgrade, f"written by a newer yamlflow (schema {VERSION + 1}"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_worker_whose_store_is_gone_or_too_new_stops_at_once_with_the_reason(
    tmp_path: Path, harm: Callable[[Path], None], words: str
) -> None:
    status, output, project = under_a_worker(tmp_path, harm)
    assert status == 4, output
    assert words in output
    assert ".yamlflow/yamlflow.db" in output
    assert len(project.starts()) < 40


def test_an_older_yamlflow_neither_writes_to_nor_downgrades_a_store_that_was_upgraded_meanwhile(tmp_path: Path) -> None:
    file = tmp_path / "y.db"
    with closing(SqliteStore(str(file))) as store:
        upgrade(file)
        with pytest.raises(StoreTooNew, match="newer yamlflow"), store.transaction():
            raise AssertionError("it was begun")
    with pytest.raises(StoreTooNew):
        SqliteStore(str(file))
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("pragma user_version").fetchone() == (VERSION + 1,)


def limited(project: Project, what: int, most: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command in a process that may not have more of something."""
    code = "import resource, sys; resource.setrlimit(int(sys.argv[1]), (int(sys.argv[2]),) * 2); "
    code += "sys.argv[1:] = sys.argv[3:]; from yamlflow.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, str(what), str(most), *arguments], cwd=project.folder, capture_output=True, text=True,
        timeout=100,
    )  # fmt: skip


def test_a_limit_of_file_sizes_is_named_and_ends_no_process_by_a_signal(project: Project) -> None:
    refused = limited(project, resource.RLIMIT_FSIZE, 40_000, "start", "p.yaml", "--run-id", "large")
    assert refused.returncode == 4, refused.stderr
    assert refused.returncode != -signal.SIGXFSZ
    assert "may write no file of more than 40,000 bytes" in refused.stderr
    assert project.query("select id from runs") == [("r",)]


def test_a_process_that_may_open_no_more_files_says_so(project: Project) -> None:
    # Python needs some to start with; the store is opened when hardly one is left.
    for most in range(4, 12):
        refused = limited(project, resource.RLIMIT_NOFILE, most, "runs")
        assert refused.returncode in (0, 1, 2, 4, 70), refused.stderr
        if refused.returncode == 4:
            assert "no file can be opened: Too many open files" in refused.stderr, refused.stderr
