"""What a run leaves in its project's folder is its owner's alone, whatever the umask; what was there is left."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from yamlflow.private import make_folder, open_file

PACKAGE = """
yamlflow: 1
name: keeps
projection: {}
steps:
  writes:
    run: echo said; echo kept > "$YAMLFLOW_ARTIFACTS/file.txt"; echo left > "$YAMLFLOW_DIR/left.txt"
  records: {kind: record, with: {collection: things, key: one, data: {a: 1}}}
  counts: {needs: records, kind: sql, with: {sql: select count(*) as n from things}}
"""
#: Runs the package and, while its store is open, tells the permissions of everything below the state's folder.
PROGRAM = """
import os, sys
from yamlflow import Package, Runtime
os.umask(int(sys.argv[1], 8))
with Runtime("sqlite:///.yamlflow/yamlflow.db", max_workers=2) as runtime:
    run = runtime.start(Package.load("keeps.yaml"))
    runtime.run_workers(lambda: runtime.run(run.id).ended_at is not None)
    print(runtime.run(run.id).status)
    for folder, _, names in os.walk(".yamlflow"):
        print(f"{os.stat(folder).st_mode & 0o777:o} folder {folder}")
        for name in names:
            print(f"{os.stat(os.path.join(folder, name)).st_mode & 0o777:o} file {name}")
"""


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("umask", ["000", "022", "007"])
def test_everything_below_the_states_folder_is_its_owners_alone(tmp_path: Path, umask: str) -> None:
    (tmp_path / "keeps.yaml").write_text(PACKAGE)
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, umask], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    status, *lines = ended.stdout.splitlines()
    assert status == "succeeded", ended.stderr
    found = [line.split(" ", 2) for line in lines]
    # What a command writes in its scratch folder has the command's own umask; the folder around it is closed.
    ours = [(bits, kind, name) for bits, kind, name in found if name != "left.txt"]
    names = {name for _, kind, name in ours if kind == "file"}
    assert {"yamlflow.db", "yamlflow.db-wal", "writes.1.log", "file.txt", "keeps.db"} <= names
    wrong = [(bits, name) for bits, kind, name in ours if int(bits, 8) & 0o077 or (kind == "folder" and bits != "700")]
    assert wrong == []


def test_a_folder_that_was_there_is_left_as_it_is(tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.mkdir(0o755)
    there.chmod(0o755)
    make_folder(there / "a" / "b")
    assert [mode(there), mode(there / "a"), mode(there / "a" / "b")] == [0o755, 0o700, 0o700]
    with pytest.raises(FileExistsError):
        (there / "file").touch()
        make_folder(there / "file")


def test_a_file_is_never_made_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        open_file(tmp_path / "link", os.O_WRONLY)
    assert not (tmp_path / "elsewhere").exists()
