"""Reading: what a text means, where it stands, and what is refused."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yamlflow.document import Document, Limits, load, read
from yamlflow.errors import InvalidPackage, Pointer, Problem


def refusal(text: str | bytes, *, limits: Limits | None = None) -> str:
    with pytest.raises(InvalidPackage) as caught:
        read(text, file="f.yaml", limits=limits or Limits())
    return str(caught.value)


# What scalars mean


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("null", None),
        ("", None),
        ("true", True),
        ("false", False),
        ("0", 0),
        ("-1", -1),
        ("12345678901234567890", 12345678901234567890),
        ("1.5", 1.5),
        ("-0.25", -0.25),
        ("1e+16", 1e16),
        ("1e-07", 1e-7),
    ],
)
def test_plain_scalars_are_null_truth_values_and_json_numbers(written: str, meant: object) -> None:
    value = read(f"a: {written}").data["a"]
    assert value == meant
    assert type(value) is type(meant)


@pytest.mark.parametrize(
    "written",
    [
        "on",
        "no",
        "yes",
        "off",
        "y",
        "NO",
        "12:30",
        "2024-01-01",
        "2024-13-45",
        "1.2.3",
        "--x",
        "nan",
        "inf",
        "0xZZ",
        "123abc",
        "1,000",
        ".",
        "..",
        "v1",
        "=",
        "a b",
        "Infinity",
    ],
)
def test_all_else_is_text(written: str) -> None:
    document = read(f"a: {written}")
    assert document.data == {"a": written}
    assert document.warnings == ()


@pytest.mark.parametrize("written", ["True", "FALSE", "~", "Null", "NULL"])
def test_what_elsewhere_is_null_or_a_truth_value_is_text_with_a_warning(written: str) -> None:
    document = read(f"a: {written}")
    assert document.data == {"a": written}
    assert [warning.warning for warning in document.warnings] == [True]
    assert f"{written} is text here" in str(document.warnings[0])
    assert read(f'a: "{written}"').warnings == ()


@pytest.mark.parametrize(
    "written",
    [
        "3.10",
        "022",
        "1e9",
        "1E5",
        "-0",
        "1.0e3",
        ".5",
        "5.",
        "+5",
        "1_000",
        "0x1F",
        "0o17",
        "0b1",
        "1e400",
        ".inf",
        "-.inf",
        ".nan",
        ".NaN",
        "9" * 101,
        "0.1000000000000000055",
    ],
)
def test_a_number_that_would_not_print_back_as_written_is_refused_with_the_remedy_to_quote_it(written: str) -> None:
    assert "quote it: " in refusal(f"a: {written}").lower()
    assert read(f'a: "{written}"').data == {"a": written}


def test_an_empty_text_has_no_value() -> None:
    assert read("").data is None
    assert read("# only a comment\n").data is None


def test_a_merge_stands_where_it_is_written_and_loses_against_the_keys_of_its_mapping() -> None:
    text = "x-a: &a {b: 1, c: 1}\nx-d: &d {c: 2, e: 2}\nf:\n  first: 0\n  <<: [*a, *d]\n  e: 3\n  last: 0\n"
    data = read(text).data
    assert data["f"] == {"first": 0, "b": 1, "c": 1, "e": 3, "last": 0}
    assert list(data["f"]) == ["first", "b", "c", "e", "last"]


def test_a_quoted_merge_key_is_an_ordinary_key() -> None:
    assert read('"<<": {a: 1}').data == {"<<": {"a": 1}}


def test_an_alias_is_the_value_of_its_anchor() -> None:
    data = read("a: &x [1, {b: 2}]\nc: *x\n&k d: 1\ne: {*k : 2}\n").data
    assert data == {"a": [1, {"b": 2}], "c": [1, {"b": 2}], "d": 1, "e": {"d": 2}}
    assert data["a"] is data["c"]


# Bytes


def test_utf_8_and_marked_utf_16_are_read_and_the_mark_is_no_part_of_the_text() -> None:
    text = "a: ü 😀\n"
    for content in (
        text.encode(),
        text.encode("utf-8-sig"),
        text.encode("utf-16"),
        b"\xfe\xff" + text.encode("utf-16-be"),
    ):
        document = read(content)
        assert document.text == text
        assert document.data == {"a": "ü 😀"}
        assert document.digest == hashlib.sha256(text.encode()).hexdigest()
    assert read("\ufeff" + text).text == text


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("a: 1\n".encode("utf-16-le"), "looks like UTF-16 without a byte order mark"),
        ("a: 1\n".encode("utf-16-be"), "looks like UTF-16 without a byte order mark"),
        ("a: 1\n".encode("utf-32"), "is written in UTF-32"),
        (b"a: 1\nb: \xff\n", "f.yaml:2:4: the byte 0xFF is not UTF-8"),
        (b"\xff\xfea\x00\xd8", "is not UTF-16-LE"),
        (b"a: b\0c", "f.yaml:1:5: the character U+0000 is not allowed"),
        ("a: \ud800", "U+D800"),
        ("a: 1\n\ufeffb: 2", "f.yaml:2:1: the character U+FEFF"),
        ("a: \x85", "U+0085"),
    ],
)
def test_other_bytes_are_refused_at_their_place(content: str | bytes, words: str) -> None:
    assert words in refusal(content)


# Places


def test_a_place_is_line_and_column_of_a_value_or_of_its_key() -> None:
    document = read("a: 1\nsteps:\n  fetch:\n    needs: [x, 'y']\n  été: &e\n    b: c\nz: *e\n")
    places: dict[Pointer, tuple[tuple[int, int], tuple[int, int]]] = {
        (): ((1, 1), (1, 1)),
        ("a",): ((1, 4), (1, 1)),
        ("steps",): ((3, 3), (2, 1)),
        ("steps", "fetch", "needs"): ((4, 12), (4, 5)),
        ("steps", "fetch", "needs", 1): ((4, 16), (4, 16)),
        ("steps", "été", "b"): ((6, 8), (6, 5)),
        ("z",): ((7, 4), (7, 1)),
        ("z", "b"): ((6, 8), (6, 5)),
    }
    for pointer, (value, key) in places.items():
        assert document.place(pointer) == value
        assert document.place(pointer, at_key=True) == key


def test_where_nothing_is_the_place_is_the_nearest_key_above() -> None:
    document = read("steps:\n  a:\n    run: x\n    needs: [b]\n")
    assert document.place(("steps", "a", "with", "url")) == (2, 3)
    assert document.place(("steps", "a", "needs", 7)) == (4, 5)
    assert document.place(("nowhere",)) == (1, 1)
    assert document.place(("steps", "a", "run", "deeper")) == (3, 5)


def test_what_a_merge_brings_has_the_place_where_it_was_written() -> None:
    document = read("x-a: &a {run: make}\nb:\n  <<: *a\n  c: 1\n")
    assert document.place(("b", "run")) == (1, 15)
    assert document.place(("b", "c"), at_key=True) == (4, 3)


@pytest.mark.parametrize(
    "text",
    [
        "a: see ${{ x }}",
        "a: 'it''s ''so'' ${{ x }}'",
        'a: "tab\\t \\"q\\" \\u00e4 \\x41 ${{ x }}"',
        "a: |\n  one\n    two\n\n  ${{ x }} three\n",
        "a: >-\n  folded\n  text ${{ x }}\n",
        "a: &n |2\n   x\n  ${{ x }}\nb: *n\n",
        "a: one\n   two\n   ${{ x }}\n",
        'a: "one \\\n  two\\\n  \\ ${{ x }}"',
        "a: ${{ x }}",
        "a: # note\n  ${{ x }}",
    ],
)
def test_an_offset_into_a_text_moves_the_place_whatever_way_it_is_quoted_or_folded(text: str) -> None:
    document = read(text)
    offset = document.data["a"].index("${{")
    line, column = document.place(("a",), offset=offset)
    assert text.splitlines()[line - 1][column - 1 :].startswith("${{")


def test_a_located_problem_has_file_line_and_column() -> None:
    document = read("a:\n  b: 1\n", file="f.yaml")
    assert str(document.locate(Problem(message="is wrong", pointer=("a", "b")))) == "f.yaml:2:6: a.b: is wrong"


def test_every_end_of_line_counts_once() -> None:
    assert read("a: 1\r\nb: 2\rc: 3\nd: 4").place(("d",)) == (4, 4)


_VISIBLE = st.text(
    st.characters(blacklist_categories=("Cc", "Cs", "Cf", "Zl", "Zp"), blacklist_characters="\ufffe\uffff"), max_size=12
)
_KEYS = st.text(st.characters(whitelist_categories=("L", "N", "P", "S")), max_size=12)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | _VISIBLE,
    lambda values: st.lists(values, max_size=4) | st.dictionaries(_KEYS, values, max_size=4),
    max_leaves=12,
)


@given(_JSON)
@settings(max_examples=150, deadline=None)
def test_json_is_read_as_json_and_every_value_stands_where_it_is_written(value: object) -> None:
    text = json.dumps(value, ensure_ascii=False)
    document = read(text)
    assert document.data == value
    assert json.dumps(document.data) == json.dumps(value)
    for pointer, part in walk(document.data):
        line, column = document.place(pointer)
        assert line == 1
        assert text[column - 1 :].startswith(json.dumps(part, ensure_ascii=False))


def walk(value: object, pointer: Pointer = ()) -> list[tuple[Pointer, object]]:
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [(pointer, value), *(found for key, part in parts for found in walk(part, (*pointer, key)))]


@given(st.text(alphabet="ab:-[]{}&*!|>'\"%@#?,\n \t<0\\$"))
@settings(max_examples=400, deadline=None)
def test_any_text_is_read_or_refused_with_places(text: str) -> None:
    assert all(problem.message and problem.line >= 1 and problem.column >= 1 for problem in problems_of(text))


def problems_of(text: str) -> tuple[Problem, ...]:
    try:
        return read(text).warnings
    except InvalidPackage as refused:
        return refused.problems


# Many problems at once


def test_every_problem_is_found_in_one_reading_in_the_order_of_the_text() -> None:
    text = "a: !x 1\nb: 022\nb: 1\nc: *nothing\nd: &unused 1\n1: x\n"
    with pytest.raises(InvalidPackage) as caught:
        read(text)
    assert [problem.line for problem in caught.value.problems] == [1, 2, 3, 4, 5, 6]


def test_problems_before_a_syntax_error_are_told_with_it() -> None:
    with pytest.raises(InvalidPackage) as caught:
        read("a: 1\na: 2\nb: [\n")
    assert [problem.line for problem in caught.value.problems] == [2, 4]


def test_at_most_a_hundred_problems_are_listed() -> None:
    with pytest.raises(InvalidPackage) as caught:
        read("a: 1\n" * 5000)
    assert len(caught.value.problems) == 100


# Limits


@pytest.mark.parametrize(
    ("limits", "text", "words"),
    [
        (Limits(size=10), "a: 45678901", "is 11 bytes long; at most 10 are read"),
        (Limits(depth=3), "[[[[1]]]]", "more than 3 levels"),
        (Limits(nodes=5), "[1, 2, 3, 4, 5]", "more than 5 values"),
        (Limits(nodes=10), "[&a [1, 2], *a, *a, *a]", "more than 10 values"),
        (Limits(nodes=20), "{x: &a {b: 1, c: 2, d: 3}, y: {<<: [*a, *a, *a]}}", "more than 20 values"),
        (Limits(aliases=2), "[&a 1, *a, *a, *a]", "more than 2 anchors or aliases"),
        (Limits(scalar=5), "a: 123 456", "more than 5 characters"),
        (Limits(size=40), "[&a aaaaaaaaaaaaaaaa, *a, *a, *a]", "more than 40 characters that aliases repeat"),
    ],
)
def test_each_limit_refuses_what_passes_it_and_names_itself(limits: Limits, text: str, words: str) -> None:
    assert words in refusal(text, limits=limits)
    assert isinstance(read(text), Document)


def test_what_is_at_a_limit_is_read() -> None:
    assert read("[[[1]]]", limits=Limits(depth=3)).data == [[[1]]]
    assert read("[1, 2, 3, 4]", limits=Limits(nodes=5)).data == [1, 2, 3, 4]
    assert read("a: 12345", limits=Limits(size=8)).data == {"a": 12345}


# Files


def test_a_file_is_loaded_under_the_name_it_was_given(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("a: 1\n")
    document = load(path)
    assert (document.file, document.data) == (str(path), {"a": 1})


def test_a_missing_file_is_told_with_the_nearest_name(tmp_path: Path) -> None:
    (tmp_path / "front-page.yaml").write_text("a: 1")
    with pytest.raises(InvalidPackage, match="there is no such file") as caught:
        load(tmp_path / "frontpage.yaml")
    assert f'Did you mean "{tmp_path / "front-page.yaml"}"?' in str(caught.value)


def test_a_folder_is_refused_with_the_files_in_it(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("a: 1")
    with pytest.raises(InvalidPackage, match=r"is a folder. Name a file in it: a.yaml"):
        load(tmp_path)


def test_what_is_no_regular_file_is_refused_without_opening_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(InvalidPackage, match="is not a regular file"):
        load(tmp_path / "pipe.yaml")


def test_a_name_that_no_file_can_have_is_refused() -> None:
    for name in ("a\0b", "x" * 5000):
        with pytest.raises(InvalidPackage, match="cannot be read"):
            load(name)


def test_a_file_over_the_limit_is_refused_before_it_is_parsed(tmp_path: Path) -> None:
    path = tmp_path / "big.yaml"
    path.write_text("[" * 100)
    with pytest.raises(InvalidPackage, match="is 100 bytes long; at most 99 are read"):
        load(path, limits=Limits(size=99))
