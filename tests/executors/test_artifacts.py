"""Files are kept whole, under names that cannot meet, and come back as they were or not at all."""

from __future__ import annotations

import io
import os
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yamlflow.artifacts import FileArtifacts, component, default_kind, files_beneath, fits, open_beneath
from yamlflow.errors import Permanent


@pytest.fixture
def store(tmp_path: Path) -> FileArtifacts:
    return FileArtifacts(tmp_path / "artifacts")


def every_file(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_what_was_kept_is_read_back_and_verified(store: FileArtifacts) -> None:
    kept = store.put("r/1", "a[0]/b", "page.html", b"<p>", metadata={"k": "v"})
    assert (kept.size, kept.content_type, kept.kind) == (3, "text/html", "text")
    assert kept.sha256 == __import__("hashlib").sha256(b"<p>").hexdigest()
    assert Path(str(kept.uri)).read_bytes() == b"<p>"
    with store.open(kept) as stream:
        assert stream.read() == b"<p>"
    with store.open(kept.to_json()) as stream:
        assert stream.read() == b"<p>"


@pytest.mark.parametrize("name", ["", "  ", "a\0b", "a\nb", "x" * 201, "a\u2028b", None, 7])
def test_a_name_that_cannot_be_is_refused(store: FileArtifacts, name: Any) -> None:
    with pytest.raises(Permanent) as caught:
        store.put("r", "s", name, b"")
    assert caught.value.code == "bad_result"


@pytest.mark.parametrize(
    "name", ["..", ".", "../../x", "/etc/passwd", "a/b", "%2e%2e", "é" * 100, ".partial-x", "~", "con:aux"]
)
def test_a_strange_name_stays_below_the_root(store: FileArtifacts, name: str) -> None:
    kept = store.put(name, name, name, b"x")
    path = Path(str(kept.uri))
    assert path.resolve().is_relative_to(store.root.resolve())
    assert len(path.relative_to(store.root).parts) == 4
    with store.open(kept) as stream:
        assert stream.read() == b"x"
    store.remove_run(name)
    assert every_file(store.root) == []


@given(names=st.lists(st.text(min_size=1, max_size=260), min_size=2, max_size=2, unique=True))
def test_no_two_names_are_one_component(names: list[str]) -> None:
    try:
        [name.encode() for name in names]
    except UnicodeEncodeError:
        return
    one, two = map(component, names)
    assert one != two
    for each in (one, two):
        assert "/" not in each
        assert not each.startswith(".")
        assert 0 < len(each) <= 200


def test_a_late_worker_does_not_change_what_was_kept(store: FileArtifacts) -> None:
    kept = store.put("r", "s", "a", b"committed")
    late = store.put("r", "s", "a", b"too late!")
    assert late.uri != kept.uri
    with store.open(kept) as stream:
        assert stream.read() == b"committed"
    assert store.put("r", "s", "a", b"committed").uri == kept.uri


def test_what_was_changed_afterwards_is_not_read(store: FileArtifacts) -> None:
    kept = store.put("r", "s", "a", b"12345")
    for content in (b"54321", b"1234"):
        Path(str(kept.uri)).write_bytes(content)
        with pytest.raises(Permanent) as caught:
            store.open(kept)
        assert caught.value.code == "artifact_changed"
    with store.open(kept, verify=False) as stream:
        assert stream.read() == b"1234"


def test_only_what_lies_in_the_store_is_opened(store: FileArtifacts, tmp_path: Path) -> None:
    kept = store.put("r", "s", "a", b"x")
    (tmp_path / "passwd").write_text("root")
    path = Path(str(kept.uri))
    path.unlink()
    path.symlink_to(tmp_path / "passwd")
    for uri in (str(kept.uri), "/etc/passwd", "../../../../etc/passwd", "", "a/b/../c", "/a/b/c/../../d"):
        with pytest.raises(Permanent) as caught:
            store.open({"path": uri})
        assert caught.value.code == "artifact_missing"


def test_a_store_that_was_moved_still_opens(store: FileArtifacts, tmp_path: Path) -> None:
    kept = store.put("r", "s", "a", b"x")
    shutil.move(store.root, tmp_path / "moved")
    with FileArtifacts(tmp_path / "moved").open(kept) as stream:
        assert stream.read() == b"x"


def test_a_source_must_be_a_regular_file(store: FileArtifacts, tmp_path: Path) -> None:
    (tmp_path / "real").write_text("x")
    (tmp_path / "link").symlink_to("real")
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "pipe", ".", "nosuch", "a\0b"):
        with pytest.raises(Permanent) as caught:
            store.put("r", "s", "a", tmp_path / name)
        assert caught.value.code == "bad_result"
    assert store.put("r", "s", "a", str(tmp_path / "real")).size == 1


class Failing(io.RawIOBase):
    def __init__(self) -> None:
        self.left = 3

    def read(self, size: int = -1) -> bytes:
        self.left -= 1
        if not self.left:
            raise OSError(5, "Input/output error")
        return b"x" * 1000


def test_nothing_is_left_of_what_failed_half_way(store: FileArtifacts) -> None:
    with pytest.raises(OSError, match="Input/output"):
        store.put("r", "s", "a", Failing())  # type: ignore[arg-type]
    with pytest.raises(Permanent, match="more than 10 bytes"):
        store.put("r", "s", "a", b"x" * 11, limit=10)
    assert every_file(store.root) == []


def test_many_at_once_do_not_disturb_one_another(store: FileArtifacts) -> None:
    threads = [
        threading.Thread(target=lambda n=n: store.put("r", "s", f"f{n % 3}", bytes([n % 2]) * 1000)) for n in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(every_file(store.root)) == 6
    store.remove_run("r")
    store.remove_run("r")
    assert not (store.root / "r").exists()


def test_no_component_of_a_path_is_followed_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "in/sub").mkdir(parents=True)
    (tmp_path / "in/sub/f").write_text("x")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/f").write_text("secret")
    (tmp_path / "in/link").symlink_to("../out")
    (tmp_path / "in/file").symlink_to("../out/f")
    os.close(open_beneath(tmp_path / "in", "sub/f"))
    for path in ("link/f", "file", "../out/f", "/etc/passwd", "sub/../../out/f", "", "sub"):
        with pytest.raises(OSError):
            os.close(open_beneath(tmp_path / "in", path))
    assert list(files_beneath(tmp_path / "in")) == ["sub/f"]


@pytest.mark.parametrize(
    ("path", "pattern", "expected"),
    [
        ("a.txt", "*.txt", True),
        ("a/b.txt", "*.txt", False),
        ("a/b.txt", "**/*.txt", True),
        ("b.txt", "**/*.txt", True),
        ("a/b/c", "a/**", True),
        ("a/b/c", "a/**/c", True),
        ("a/c", "a/**/c", True),
        ("a/b/c/d", "**/b/**/d", True),
        (".git/config", "**/config", False),
        (".git/config", ".git/*", True),
        (".env", "*", False),
        ("a", "?", True),
        ("ab", "[ab]b", True),
        ("a/b", "a", False),
    ],
)
def test_a_glob_means_what_people_mean(path: str, pattern: str, expected: bool) -> None:
    assert fits(tuple(path.split("/")), tuple(pattern.split("/"))) is expected


def test_the_kind_is_the_type_the_ending_or_artifact() -> None:
    assert default_kind("a.png", "image/png") == "image"
    assert default_kind("a.DAT", "application/octet-stream") == "dat"
    assert default_kind("a", "application/octet-stream") == "artifact"
