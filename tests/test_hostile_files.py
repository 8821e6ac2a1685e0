"""Files that a command leaves behind, and names that become paths: nothing is read or written outside of its folder."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest

from yamlflow import Package, Permanent, Succeeded
from yamlflow.artifacts import FileArtifacts, component, keep_folder, open_beneath
from yamlflow.context import RunInfo, StepContext, StepInfo
from yamlflow.errors import UserError
from yamlflow.executors.file import file
from yamlflow.executors.shell import shell
from yamlflow.logs import log_file
from yamlflow.outcome import Failed
from yamlflow.ports import Limits, Ports
from yamlflow.projections import Projections
from yamlflow.runtime import Runtime
from yamlflow.testing import run_executor

PATHS = {"PATH": os.environ["PATH"]}


def left(folder: Path, command: str, **limits: int) -> Any:
    return run_executor(
        shell,
        {"run": f'cd "$YAMLFLOW_ARTIFACTS"; {command}'},
        scratch=folder,
        env=PATHS,
        ports=Ports(limits=Limits(**limits)),
    )


def test_only_regular_files_are_kept(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("outside")
    command = f"""
        ln -s {tmp_path}/outside/secret to-file; ln -s {tmp_path}/outside to-folder; ln -s nowhere dangling; ln -s . round
        ln -s ../../../../../../../../etc/passwd above; mkfifo pipe; mkdir inner
        ln -s ../to-file inner/again; echo kept > inner/fine
        python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("sock")'
        test "$(id -u)" != 0 || mknod device c 1 5
    """
    outcome = left(tmp_path, command)
    assert isinstance(outcome, Succeeded), outcome
    assert [artifact.name for artifact in outcome.artifacts] == ["inner/fine"]


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("touch \"$(printf 'a\\nb')\"", "control character"),
        ("touch \"$(printf 'a\\033[2Jb')\"", "control character"),
        ("touch \"$(printf 'a\\377b')\"", "half of a character"),
        (f"mkdir -p {'a' * 200}/{'b' * 90}; touch {'a' * 200}/{'b' * 90}/c", "at most 200 are allowed"),
        ("truncate -s 1M huge", "more than 1,000 bytes"),
        ('cd /; rm -r "$YAMLFLOW_ARTIFACTS"; ln -s /etc "$YAMLFLOW_ARTIFACTS"', "removed or replaced"),
        ('cd /; rm -r "$YAMLFLOW_ARTIFACTS"', "removed or replaced"),
        ('rm "$YAMLFLOW_OUTPUT"; ln -s /etc/passwd "$YAMLFLOW_OUTPUT"', "cannot be read"),
        ('rm "$YAMLFLOW_OUTPUT"; mkdir "$YAMLFLOW_OUTPUT"', "cannot be read"),
    ],
)
def test_what_cannot_be_kept_is_refused_for_good(tmp_path: Path, command: str, words: str) -> None:
    outcome = left(tmp_path, command, artifact=1000)
    assert isinstance(outcome, Failed)
    assert (outcome.error.code, outcome.error.permanent) == ("bad_result", True)
    assert words in outcome.error.message


def test_a_file_that_becomes_a_link_meanwhile_is_never_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("outside")
    inside = tmp_path / "inside" / "deep"
    inside.mkdir(parents=True)
    (inside.parent / "through").symlink_to(tmp_path)
    with pytest.raises(OSError, match=r"directory|symbolic"):
        open_beneath(inside.parent, "through/secret")
    stop = threading.Event()

    def swap() -> None:
        """As fast as can be: a file, a link to one outside, a folder of that name, a link to a folder."""
        place, spare = inside / "file", inside.parent / "spare"
        while not stop.is_set():
            (inside.parent / "new").write_text("inside")
            os.replace(inside.parent / "new", place)
            (inside.parent / "link").symlink_to(tmp_path / "secret")
            os.replace(inside.parent / "link", place)
            os.rename(inside, spare)
            inside.symlink_to(tmp_path)
            inside.unlink()
            os.rename(spare, inside)

    swapper = threading.Thread(target=swap)
    swapper.start()
    try:
        seen = set()
        for _ in range(3000):
            for name in ("deep/file", "deep/secret"):
                try:
                    with os.fdopen(open_beneath(tmp_path / "inside", name), "rb") as stream:
                        seen.add(stream.read())
                except OSError:
                    seen.add(b"refused")
    finally:
        stop.set()
        swapper.join()
    assert b"outside" not in seen
    assert {b"inside", b"refused"} <= seen


def test_a_folder_of_files_is_gathered_by_its_descriptor(tmp_path: Path) -> None:
    step = StepContext(scratch=tmp_path)
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "link").symlink_to("/etc/passwd")
    (tmp_path / "kept" / "fine").write_text("x")
    keep_folder(step, tmp_path / "kept")
    outcome = step.outcome()
    assert isinstance(outcome, Succeeded)
    assert [artifact.name for artifact in outcome.artifacts] == ["fine"]


NAMES = [
    "../../x", "..", ".", "/etc/x", "a/../../b", "a\\b", "x" * 5000, "a/b", "~", "a\nb", "\u202e", ".hidden", "-rf", "%2e%2e",
    "é" * 300,
]  # fmt: skip
#: Ways out of a folder ``box``.
OUT = ["../outside", "/etc/passwd", "link/secret", "to-secret", "a/../../outside", "inner/../../outside"]


@pytest.mark.parametrize("name", NAMES)
def test_no_name_leads_out_of_the_folder_it_is_for(tmp_path: Path, name: str) -> None:
    home = tmp_path / "home"
    log = log_file(home, name, 1, name, 1)
    assert log.resolve().is_relative_to(home)
    assert log.parent.parent.parent.parent == home / "runs"
    assert Projections(home, None).path(name).resolve().is_relative_to(home)  # type: ignore[arg-type]
    assert "/" not in component(name)
    assert len(os.fsencode(component(name))) <= 255
    store = FileArtifacts(home / "artifacts")
    if "\n" not in name and len(name) <= 200:
        kept = store.put(name, name, name, b"x")
        assert kept.uri
        assert Path(kept.uri).resolve().is_relative_to(home / "artifacts")
        with store.open(kept) as stream:
            assert stream.read() == b"x"
    step = StepContext(scratch=home / "work", run=RunInfo(id=name), step=StepInfo(path=name))
    assert step.dir.resolve().is_relative_to(home)


@pytest.mark.parametrize("name", NAMES)
def test_a_run_id_never_becomes_a_path_outside(tmp_path: Path, name: str) -> None:
    with Runtime(f"sqlite:///{tmp_path}/state/y.db") as runtime:
        runtime.register(Package("p", steps=[{"id": "say", "run": "echo said; touch $YAMLFLOW_ARTIFACTS/a"}]))
        try:
            run = runtime.start("p", run_id=name)
        except UserError:
            return
        runtime.run_workers(lambda: (row := runtime.run(run.id)) is not None and row.ended_at is not None)
    written = {path for path in tmp_path.rglob("*") if path.is_file()}
    assert all(path.is_relative_to(tmp_path / "state") for path in written)
    assert any(path.suffix == ".log" for path in written)


@pytest.mark.parametrize("path", OUT)
@pytest.mark.parametrize("verb", ["read", "write", "delete", "copy"])
def test_a_path_from_data_stays_within_its_folder(tmp_path: Path, path: str, verb: str) -> None:
    (tmp_path / "box" / "inner").mkdir(parents=True)
    (tmp_path / "outside").write_text("outside")
    (tmp_path / "secret").write_text("outside")
    (tmp_path / "box" / "link").symlink_to(tmp_path)
    (tmp_path / "box" / "to-secret").symlink_to(tmp_path / "secret")
    given = {
        verb: path,
        "within": "box",
        **({"data": "x"} if verb == "write" else {"to": "mine"} if verb == "copy" else {}),
    }
    outcome = run_executor(file, given, package_dir=tmp_path)
    assert isinstance(outcome, Failed)
    assert "leads out of" in outcome.error.message
    assert (tmp_path / "outside").read_text() == (tmp_path / "secret").read_text() == "outside"


def test_an_artifact_that_was_changed_after_it_was_hashed_is_not_read(tmp_path: Path) -> None:
    store = FileArtifacts(tmp_path)
    kept = store.put("r", "s", "a", b"what was kept")
    assert kept.uri
    for content, words in ((b"what was forg", "is not what was kept"), (b"longer than it was", "were kept")):
        Path(kept.uri).write_bytes(content)
        with pytest.raises(Permanent, match=words) as caught:
            store.open(kept)
        assert caught.value.code == "artifact_changed"
    Path(kept.uri).unlink()
    Path(kept.uri).symlink_to("/etc/passwd")
    with pytest.raises(Permanent) as caught:
        store.open(kept)
    assert caught.value.code == "artifact_missing"
