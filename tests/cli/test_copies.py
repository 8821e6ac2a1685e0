"""``db backup``, ``restore``, ``vacuum`` and ``check --files``: of one moment, whole or not at all, while workers go on."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from yamlflow.checkup import faults_in
from yamlflow.copies import back_up, copy_tree

from .conftest import Cli, Write

STORE = Path(".yamlflow/yamlflow.db")
#: Each item leaves a record, a row by SQL, and now and then a file.
BUSY = """
    yamlflow: 1
    name: busy
    steps:
      table: {kind: sql, with: {sql: create table told (n integer)}}
      each:
        needs: table
        for_each: {items: "${{ range(150) }}", max_parallel: 4}
        steps:
          record: {kind: record, with: {collection: made, key: "${{ index | string }}", data: {n: "${{ index }}"}}}
          row: {kind: sql, needs: record, with: {sql: "insert into told values (:n)", params: {n: "${{ index }}"}}}
      file: {run: echo kept > kept.txt, artifacts: {kept: kept.txt}}
      last: {kind: wait_signal, needs: [each, file], with: {signal: go}}
"""


def count(file: Path, sql: str) -> int:
    with closing(sqlite3.connect(file, timeout=30)) as connection:
        return int(connection.execute(sql).fetchone()[0])


def wait_until(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + 120
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def done() -> int:
    return count(STORE, "select count(*) from steps where status = 'succeeded'")


def test_a_whole_backup_under_load_holds_all_that_was_acknowledged_and_goes_on_elsewhere(
    cli: Cli, write: Write, folder: Path, process: Callable[..., subprocess.Popen[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    write("busy.yaml", BUSY)
    assert cli("start", "busy.yaml", "--run-id", "r").status == 0
    worker = process("worker")
    try:
        wait_until(lambda: done() > 60)
        before = done()
        cli("records", "made", "-p", "busy")
        assert cli("db", "backup", "--whole", "copy").status == 0
        # It did not hold the worker up.
        wait_until(lambda: done() > before + 20)
    finally:
        worker.terminate()
        worker.communicate(timeout=60)
    copy = folder / "copy" / "yamlflow.db"
    with closing(sqlite3.connect(copy)) as connection:
        assert faults_in(connection) == []
        assert connection.execute(
            "select count(*) from workers where status = 'running' or lock is not null"
        ).fetchone() == (0,)
    assert before <= count(copy, "select count(*) from steps where status = 'succeeded'") < 600
    assert [stat.S_IMODE(path.stat().st_mode) & 0o077 for path in (folder / "copy", copy)] == [0, 0]

    other = folder / "other"
    other.mkdir()
    (other / "yamlflow.toml").touch()
    shutil.copy("busy.yaml", other)
    monkeypatch.chdir(other)
    restored = cli("db", "restore", "../copy")
    assert restored.status == 0, restored.err
    assert cli("signal", "r", "go").status == 0
    assert cli("resume", "r", "-q").status == 0
    assert len(cli("records", "made", "-p", "busy", "--json", "--limit", 1000).json) == 150
    rows = (
        sqlite3.connect(other / ".yamlflow/projections/busy.db")
        .execute("select n, count(*) from told group by n")
        .fetchall()
    )
    assert rows == [(n, 1) for n in range(150)]
    assert cli("db", "check", "--files").status == 0
    assert cli("artifacts", "r", "file", "kept", "-o", "-").out == "kept\n"


def test_records_made_after_an_older_store_was_put_back_reach_the_projection(cli: Cli, write: Write) -> None:
    steps = 'steps: {a: {kind: record, with: {collection: c, key: "${{ run.id }}", data: {}}}}'
    write("p.yaml", f"yamlflow: 1\nname: p\n{steps}\n")
    cli("run", "p.yaml", "--run-id", "one", "-q")
    cli("db", "backup", "early.db")
    for id in ("two", "three"):
        cli("run", "p.yaml", "--run-id", id, "-q")
    assert len(cli("records", "c", "-p", "p", "--json").json) == 3
    refused = cli("db", "restore", "early.db")
    assert (refused.status, "--replace" in refused.err) == (2, True)
    assert cli("db", "restore", "--replace", "early.db").status == 0
    assert [one["id"] for one in cli("runs", "--json").json] == ["one"]
    cli("run", "p.yaml", "--run-id", "four", "-q")
    keys = {row["key"] for row in cli("records", "c", "-p", "p", "--json").json}
    assert {"one", "four"} <= keys
    assert len(list(STORE.parent.glob("yamlflow.db.replaced-*"))) >= 1


def test_what_is_no_sound_backup_is_not_put_back(cli: Cli, write: Write, folder: Path) -> None:
    write("p.yaml", "yamlflow: 1\nname: p\nsteps: {a: {kind: noop}}\n")
    cli("run", "p.yaml", "-q")
    cli("db", "backup", "good.db")
    content = bytearray((folder / "good.db").read_bytes())
    content[8192:12288] = b"\xff" * 4096
    (folder / "torn.db").write_bytes(content)
    (folder / "text.db").write_text("text" * 2000)
    before = STORE.read_bytes()
    assert cli("db", "restore", "--replace", "nothing.db").status == 2
    for name in ("torn.db", "text.db"):
        refused = cli("db", "restore", "--replace", name)
        assert (refused.status, name in refused.err) == (4, True)
    assert STORE.read_bytes() == before
    assert not list(STORE.parent.glob("*partial*"))


def test_while_a_worker_lives_a_store_is_neither_replaced_nor_rewritten(
    cli: Cli, write: Write, process: Callable[..., subprocess.Popen[str]]
) -> None:
    write("p.yaml", "yamlflow: 1\nname: p\nsteps: {a: {kind: noop}}\n")
    cli("run", "p.yaml", "-q")
    cli("db", "backup", "copy.db")
    worker = process("worker")
    try:
        wait_until(lambda: count(STORE, "select count(*) from workers where status = 'running'"))
        for words in (("restore", "--replace", "copy.db"), ("vacuum",)):
            refused = cli("db", *words)
            assert (refused.status, "stop them first" in refused.err) == (2, True)
        assert cli("db", "vacuum", "--anyway").status == 0
    finally:
        worker.terminate()
        worker.communicate(timeout=60)
    assert cli("db", "vacuum").status == 0


def test_nothing_is_left_of_a_backup_that_did_not_come_to_its_end(cli: Cli, write: Write, folder: Path) -> None:
    write("p.yaml", "yamlflow: 1\nname: p\nsteps: {a: {kind: noop}}\n")
    cli("run", "p.yaml", "-q")
    with closing(sqlite3.connect(STORE)) as store:
        store.execute("create table filler (x)")
        store.execute("insert into filler values (zeroblob(30000000))")
        store.commit()

    def interrupted(left: int, total: int) -> None:
        raise KeyboardInterrupt

    files = sorted(os.listdir(folder))
    for whole in (False, True):
        with pytest.raises(KeyboardInterrupt):
            back_up(STORE, STORE.parent.absolute(), folder / "copy", whole=whole, progress=interrupted)
        assert sorted(os.listdir(folder)) == files
    assert cli("db", "backup", "nowhere/copy.db").status == 2
    limited = [sys.executable, "-c", LIMITED, str(STORE), str(folder / "copy.db")]
    found = subprocess.run(limited, capture_output=True, text=True, check=True)
    assert "StoreUnavailable" in found.stdout
    assert sorted(os.listdir(folder)) == files


#: A file may have no more than 10 MB: what a full disk is, to who writes it.
LIMITED = """
import resource, signal, sys
from pathlib import Path
from yamlflow.copies import back_up
from yamlflow.errors import StoreError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000_000, 10_000_000))
store = Path(sys.argv[1])
try:
    back_up(store, store.parent.absolute(), Path(sys.argv[2]), whole=False)
except StoreError as wrong:
    print(type(wrong).__name__, wrong)
"""


def test_a_backup_takes_no_name_that_is_taken(cli: Cli, write: Write, folder: Path) -> None:
    write("p.yaml", "yamlflow: 1\nname: p\nsteps: {a: {kind: noop}}\n")
    cli("run", "p.yaml", "-q")
    (folder / "taken").mkdir()
    (folder / "link").symlink_to("nowhere")
    for name in ("taken", "link", "p.yaml"):
        for more in ((), ("--whole",)):
            refused = cli("db", "backup", *more, name)
            assert (refused.status, "is there already" in refused.err) == (2, True)


def test_links_and_pipes_are_not_followed(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "file").write_text("a")
    (source / "link").symlink_to("/etc/passwd")
    (source / ".partial-1").write_text("half")
    os.mkfifo(source / "pipe")
    assert copy_tree(source, tmp_path / "target") == 2
    assert os.readlink(tmp_path / "target" / "link") == "/etc/passwd"
    assert sorted(os.listdir(tmp_path / "target")) == ["file", "link"]


def test_vacuum_says_what_a_reader_keeps_and_refuses_a_disk_without_room(
    cli: Cli, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("p.yaml", "yamlflow: 1\nname: p\nsteps: {a: {kind: noop}}\n")
    cli("run", "p.yaml", "-q")
    with closing(sqlite3.connect(STORE)) as reader:
        reader.execute("begin")
        reader.execute("select count(*) from runs").fetchone()
        done = cli("db", "vacuum")
        assert done.status == 0
        assert "bytes stay in its WAL" in done.err
        assert "yamlflow doctor" in done.err
    usage = shutil.disk_usage(".")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    refused = cli("db", "vacuum")
    assert (refused.status, "MB are free" in refused.err) == (4, True)


def test_vacuum_that_is_interrupted_leaves_the_store_as_it_was(cli: Cli, write: Write) -> None:
    from yamlflow.copies import vacuum

    write("p.yaml", "yamlflow: 1\nname: p\nsteps: {a: {kind: noop}}\n")
    cli("run", "p.yaml", "-q")
    with closing(sqlite3.connect(STORE)) as store:
        store.execute("create table filler (x)")
        store.executemany("insert into filler values (?)", [(b"x" * 100,)] * 50_000)
        store.commit()

    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        vacuum(STORE, watch=interrupted)
    with closing(sqlite3.connect(STORE)) as store:
        assert store.execute("select count(*) from filler").fetchone() == (50_000,)
        assert store.execute("pragma integrity_check").fetchone() == ("ok",)


def test_files_that_are_not_what_was_kept_are_told(cli: Cli, write: Write, folder: Path) -> None:
    steps = "{a: {run: echo kept > k, artifacts: {k: k}}, b: {kind: record, with: {collection: c, key: k, data: {}}}}"
    write("p.yaml", f"yamlflow: 1\nname: p\nsteps: {steps}\n")
    cli("run", "p.yaml", "--run-id", "r", "-q")
    cli("records", "c", "-p", "p")
    assert cli("db", "check", "--files").status == 0
    (kept,) = [path for path in (STORE.parent / "artifacts").rglob("*") if path.is_file()]
    kept.write_text("KEPT\n")
    projection = STORE.parent / "projections" / "p.db"
    content = bytearray(projection.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    projection.write_bytes(content)
    assert cli("db", "check").status == 0
    told = cli("db", "check", "--files", "--json")
    assert told.status == 4
    assert [fault["name"] for fault in told.json["faults"]] == [
        "a projection is damaged",
        "artifacts that are not what was kept",
    ]
    assert told.json["faults"][1]["examples"][0].startswith("r/a k: ")


def test_a_torn_store_is_told_with_what_to_do(cli: Cli, write: Write) -> None:
    write("p.yaml", "yamlflow: 1\nname: p\nsteps: {a: {kind: noop}}\n")
    cli("run", "p.yaml", "-q")
    content = bytearray(STORE.read_bytes())
    content[8192:20480] = b"\xff" * 12288
    STORE.write_bytes(content)
    found = cli("db", "check")
    assert found.status == 4
    assert "damaged" in found.err
    assert "db restore" in found.err
    assert cli("doctor").status == 4
