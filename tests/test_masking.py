"""Masking: secrets are found in every form in which they travel, across the pieces of a stream, and cheaply."""

from __future__ import annotations

import base64
import json
import re
import time
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yamlflow.errors import UserError
from yamlflow.masking import MASK, Masker

SECRET = 'p/ä+s"s\\wö rd%1'
TOKEN = "ghp_Abc123XyzTokenForTests"

FORMS = {
    "raw": SECRET,
    "json": json.dumps(SECRET)[1:-1],
    "json, letters as they are": json.dumps(SECRET, ensure_ascii=False)[1:-1],
    "json within json": json.dumps(json.dumps(SECRET))[3:-3],
    "json with escaped slashes": json.dumps(SECRET)[1:-1].replace("/", "\\/"),
    "url": quote(SECRET, safe=""),
    "url path": quote(SECRET),
    "form": quote_plus(SECRET),
    "url in small letters": re.sub("%..", lambda code: code[0].lower(), quote(SECRET, safe="")),
    "white space around": f"  {SECRET}\n",
}


@pytest.mark.parametrize(
    "form", ["raw", "json", "json, letters as they are", "json within json", "url", "url path", "form"]
)
def test_every_form_of_a_secret_is_masked(form: str) -> None:
    masked = Masker([SECRET]).mask(f"before {FORMS[form]} after")
    assert masked == f"before {MASK} after"


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_secret_is_found_in_a_result(form: str) -> None:
    masker = Masker([SECRET])
    for value in (FORMS[form], {"a": [1, {"b": f"x{FORMS[form]}y"}]}, {FORMS[form]: None}):
        assert masker.contains(value)


@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
@pytest.mark.parametrize("before", [b"", b"x", b"xy", b"xyz", b"user:"])
@pytest.mark.parametrize("after", [b"", b"?", b"??", b"\xff\xff\xff"])
def test_base64_is_masked_wherever_the_secret_begins(encode: Any, before: bytes, after: bytes) -> None:
    for secret in (SECRET, TOKEN, "abcd", "~~~~???>>>"):
        text = encode(before + secret.encode() + after).decode()
        masked = Masker([secret]).mask(text)
        assert MASK in masked
        assert len(masked.replace(MASK, "")) <= len(encode(before + after)) + 4


@pytest.mark.parametrize("line", ["\n", "\r\n"])
def test_base64_that_is_broken_into_lines_is_masked(line: str) -> None:
    secret = TOKEN * 8
    encoded = base64.encodebytes(secret.encode()).decode().replace("\n", line)
    assert Masker([secret]).mask(encoded).strip("=\r\n") in (MASK, MASK + encoded.strip("=\r\n")[-1])


def test_overlapping_secrets_are_masked_as_one() -> None:
    assert Masker(["abcdef", "defghi", "abcd"]).mask("x abcdefghi y abcd") == "x *** y ***"


def test_a_secret_of_several_lines_is_masked_line_by_line() -> None:
    secret = "-----BEGIN KEY-----\nMIIBVgIBADANBgkq\nshort\n-----END KEY-----\n"
    masker = Masker([secret])
    assert masker.mask(f"a {secret} b") == "a *** b"
    assert masker.mask("log: MIIBVgIBADANBgkq\n") == "log: ***\n"
    assert masker.mask("a short word") == "a short word"


def test_numbers_are_compared_as_they_print() -> None:
    masker = Masker(["123456", "True"])
    assert masker.contains([0, {"a": 9123456}])
    assert not masker.contains([12345, True, None, 1.5])


@pytest.mark.parametrize("value", ["", "abc", "a  ", "   \n    ", None, 1234])
def test_a_secret_too_short_to_be_told_from_text_is_refused(value: Any) -> None:
    with pytest.raises(UserError) as caught:
        Masker(["long enough", value])
    assert "abc" not in str(caught.value)


def test_without_secrets_everything_is_the_same_object() -> None:
    masker, text, data = Masker([]), "any text", b"any bytes"
    assert masker.mask(text) is text
    assert masker.stream().feed(text) is text
    assert masker.byte_stream().feed(data) == data
    assert not masker.contains([text])
    assert masker.stream().flush() == ""
    assert Masker([TOKEN]).mask(text) is text


def test_a_line_is_passed_on_at_once_unless_a_secret_may_have_begun() -> None:
    stream = Masker([TOKEN]).stream()
    assert stream.feed("a line\n") == "a line\n"
    assert stream.feed(f"x {TOKEN[:10]}") == "x "
    assert stream.feed("no\n") == f"{TOKEN[:10]}no\n"
    assert stream.feed(TOKEN[:10]) == ""
    assert stream.feed(TOKEN[10:] + " y\n") == "*** y\n"
    assert stream.feed(TOKEN[:10]) == ""
    assert stream.flush() == TOKEN[:10]
    assert stream.flush() == ""


SECRETS = st.lists(st.text(alphabet="ab/é", min_size=4, max_size=7), min_size=1, max_size=3)
PIECES = st.lists(st.text(alphabet="ab/é \nYWJhYg", max_size=6), max_size=12)


@settings(max_examples=300, deadline=None)
@given(SECRETS, PIECES, st.integers(0, 11))
def test_a_stream_in_pieces_is_masked_like_the_whole(secrets: list[str], pieces: list[str], place: int) -> None:
    pieces = [
        *pieces[:place],
        secrets[0][:2],
        secrets[0][2:],
        base64.b64encode(secrets[-1].encode()).decode(),
        *pieces[place:],
    ]
    masker = Masker(secrets)
    whole = "".join(pieces)
    stream = masker.stream()
    assert "".join(map(stream.feed, pieces)) + stream.flush() == masker.mask(whole)
    data = masker.byte_stream()
    raw = whole.encode()
    chunks = [raw[start : start + 3] for start in range(0, len(raw), 3)]
    assert b"".join(map(data.feed, chunks)) + data.flush() == masker.mask(whole).encode()
    assert all(secret not in masker.mask(whole) for secret in secrets)


@settings(max_examples=200, deadline=None)
@given(st.text(min_size=4, max_size=20).filter(lambda text: len(text.strip()) >= 4), st.text(max_size=10))
def test_no_secret_is_left_in_a_masked_text(secret: str, around: str) -> None:
    masker = Masker([secret])
    if MASK not in secret and "*" not in secret:
        assert secret not in masker.mask(around + secret + around)
    assert masker.contains({"k": [around + secret + around]})


def test_bytes_that_are_no_text_pass_unchanged() -> None:
    stream = Masker([SECRET]).byte_stream()
    data = bytes(range(256))
    assert stream.feed(data) + stream.flush() == data
    assert stream.feed(b"\xff" + SECRET.encode() + b"\xfe") + stream.flush() == b"\xff***\xfe"


def test_a_large_stream_is_masked_in_linear_time() -> None:
    masker = Masker([TOKEN, SECRET, "-----BEGIN KEY-----\n" + "MIIBVgIBADANBgkq\n" * 30])
    line = b"2026-11-22 03:24:00 INFO some ordinary line of a log with words and numbers 12345\n" * 800
    stream = masker.byte_stream()
    before = time.process_time()
    masked = sum(len(stream.feed(line)) for _ in range(80)) + len(stream.flush())
    assert masked == len(line) * 80
    assert time.process_time() - before < 5
