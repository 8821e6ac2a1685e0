"""``file``: real files in a real folder."""

from __future__ import annotations

import contextlib
import itertools
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yamlflow import Succeeded
from yamlflow.errors import Permanent
from yamlflow.executors import file
from yamlflow.executors.formats import decode, encode
from yamlflow.outcome import Failed, Outcome
from yamlflow.testing import run_executor


def run(folder: Path, **given_: Any) -> Outcome:
    return run_executor(file, given_, package_dir=folder)


def result(outcome: Outcome) -> Any:
    assert isinstance(outcome, Succeeded), outcome
    return outcome.result


def error(outcome: Outcome) -> Any:
    assert isinstance(outcome, Failed), outcome
    return outcome.error


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("a.txt", "héllo\n"),
        ("a.json", {"a": [1, None, "ü"]}),
        ("a.yaml", {"a": [1, None, "ü"], "date": "2024-01-01"}),
        ("a.csv", [{"a": "1", "b": "x, y"}, {"a": "", "b": 'q"'}]),
    ],
)
def test_what_was_written_is_read_back(tmp_path: Path, name: str, value: Any) -> None:
    assert result(run(tmp_path, write=f"sub/{name}", data=value)) == f"sub/{name}"
    assert result(run(tmp_path, read=f"sub/{name}")) == value
    assert os.listdir(tmp_path / "sub") == [name]


def test_the_format_can_be_named(tmp_path: Path) -> None:
    (tmp_path / "x.dat").write_text('{"a": 1}')
    assert result(run(tmp_path, read="x.dat")) == '{"a": 1}'
    assert result(run(tmp_path, read="x.dat", format="json")) == {"a": 1}


def test_append_writes_after_what_is_there(tmp_path: Path) -> None:
    for line in ("a\n", "b\n"):
        run(tmp_path, write="log.txt", data=line, append=True)
    assert (tmp_path / "log.txt").read_text() == "a\nb\n"


def test_replacing_keeps_mode_and_follows_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("old")
    (tmp_path / "real").chmod(0o600)
    (tmp_path / "link").symlink_to("real")
    run(tmp_path, write="link", data="new")
    assert (tmp_path / "real").read_text() == "new"
    assert (tmp_path / "real").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "link").is_symlink()


def test_glob_finds_files_sorted_and_within_folders(tmp_path: Path) -> None:
    for name in ("b.csv", "a.csv", "sub/c.csv", "sub/deep/d.csv", ".hidden/e.csv", "x.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert result(run(tmp_path, glob="*.csv")) == ["a.csv", "b.csv"]
    assert result(run(tmp_path, glob="**/*.csv")) == ["a.csv", "b.csv", "sub/c.csv", "sub/deep/d.csv"]
    assert result(run(tmp_path, glob="*.csv", within="sub")) == ["c.csv"]
    assert error(run(tmp_path, glob="../*")).code == "bad_input"


def test_copy_and_delete(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\xff\x00")
    assert result(run(tmp_path, copy="a", to="new/b")) == "new/b"
    assert (tmp_path / "new/b").read_bytes() == b"\xff\x00"
    assert result(run(tmp_path, delete="a")) is True
    assert result(run(tmp_path, delete="a")) is False


def test_paths_from_data_stay_within_their_folder(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "secret.txt").write_text("x")
    (tmp_path / "in" / "link.txt").symlink_to("../secret.txt")
    for path in ("../secret.txt", "/etc/passwd", "link.txt", "a/../../secret.txt"):
        assert "leads out" in error(run(tmp_path, read=path, within="in")).message
    assert error(run(tmp_path, write="../evil", data="", within="in")).code == "bad_input"
    assert result(run(tmp_path, write="sub/fine", data="x", within="in")) == "sub/fine"


@pytest.mark.parametrize(
    ("given_", "code", "words"),
    [
        ({"read": "nosuch"}, "file_error", "No such file"),
        ({"read": "."}, "file_error", "regular file"),
        ({"read": "pipe"}, "file_error", "regular file"),
        ({"read": "binary"}, "bad_input", "not UTF-8 text"),
        ({"read": "bad.json"}, "bad_input", "is no JSON"),
        ({"read": "nan.json"}, "bad_input", "NaN is no JSON number"),
        ({"read": "large"}, "bad_result", "keep it as an artifact"),
        ({"read": "a\0b"}, "bad_input", "NUL"),
        ({"write": "x"}, "bad_input", 'needs "data"'),
        ({"copy": "x"}, "bad_input", 'needs "to"'),
        ({"write": ".", "data": ""}, "bad_input", "is a folder"),
        ({"write": "x.csv", "data": {"a": 1}}, "bad_input", "list"),
        ({}, "bad_input", "missing"),
        ({"read": "a", "delete": "b"}, "bad_input", "more than one"),
    ],
)
def test_what_cannot_be_says_why(tmp_path: Path, given_: Any, code: str, words: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    (tmp_path / "bad.json").write_text("{")
    (tmp_path / "nan.json").write_text("[NaN]")
    (tmp_path / "large").write_bytes(b"x" * 1_100_000)
    found = error(run(tmp_path, **given_))
    assert found.code == code
    assert words in found.message


NAMES = ["x", *(f"k{n}" for n in range(40))]
DOUBLING = [f"{name}: &{name} [*{before}, *{before}]" for before, name in itertools.pairwise(NAMES)]
BOMBS = {
    "deep": "[" * 50_000,
    "aliases": "\n".join(["x: &x 1", *DOUBLING]),
    "tag": "!!python/object/apply:os.system [id]",
    "own": "&a [*a]",
    "set": "!!set {a, b}",
    "keys": "1: x",
}  # fmt: skip


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_hostile_yaml_file_is_refused_at_once(tmp_path: Path, bomb: str) -> None:
    (tmp_path / "x.yaml").write_text(BOMBS[bomb])
    assert error(run(tmp_path, read="x.yaml")).code == ("bad_result" if bomb in ("set", "keys") else "bad_input")


def test_a_csv_line_longer_than_its_header_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("a,b\n1\n1,2,3\n")
    assert "line 3 has 3 values" in error(run(tmp_path, read="x.csv")).message


CELLS = st.dictionaries(st.sampled_from(["a", "b"]), st.text(max_size=5), min_size=2, max_size=2)


@given(rows=st.lists(CELLS, min_size=1, max_size=4))
def test_any_table_survives_csv(rows: list[dict[str, str]]) -> None:
    assume_readable = [{k: v.replace("\0", "").replace("\r", "") for k, v in row.items()} for row in rows]
    assert decode(encode(assume_readable, "csv"), "csv", "x") == assume_readable


@given(text=st.text(max_size=40), name=st.sampled_from(["json", "yaml", "csv"]))
def test_any_text_is_read_or_refused(text: str, name: str) -> None:
    with contextlib.suppress(Permanent):
        decode(text.encode(), name, "x")
