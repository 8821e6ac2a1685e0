"""Masking: secrets are found in every form in which they travel, across the pieces of a stream, and cheaply."""

from __future__ import annotations

import base64
import html
import json
import os
import re
import shlex
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
    masker, text = Masker([]), "any text"
    assert masker.mask(text) is text
    assert masker.stream().feed(text) is text
    assert not masker.sieve().catches(b"any bytes")
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
    raw = whole.encode()
    sieve = masker.sieve()
    caught = [sieve.catches(raw[start : start + 3]) for start in range(0, len(raw), 3)]
    assert any(caught) == masker.contains(whole)
    assert all(secret not in masker.mask(whole) for secret in secrets)


@settings(max_examples=200, deadline=None)
@given(st.text(min_size=4, max_size=20).filter(lambda text: len(text.strip()) >= 4), st.text(max_size=10))
def test_no_secret_is_left_in_a_masked_text(secret: str, around: str) -> None:
    masker = Masker([secret])
    if MASK not in secret and "*" not in secret:
        assert secret not in masker.mask(around + secret + around)
    assert masker.contains({"k": [around + secret + around]})


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
@pytest.mark.parametrize("around", [b"\xff\xfe", b"", "é".encode()])
def test_a_secret_in_bytes_is_caught_in_pieces_of_any_size(size: int, around: bytes) -> None:
    for form in (SECRET.encode(), base64.encodebytes(SECRET.encode() * 9), SECRET.encode().hex().encode()):
        data = around * 50 + form + around * 50
        sieve = Masker([SECRET]).sieve()
        assert any(sieve.catches(data[start : start + size]) for start in range(0, len(data), size))
    sieve = Masker([SECRET]).sieve()
    assert not any(sieve.catches(bytes(range(256))[start : start + size]) for start in range(0, 256, size))


@pytest.mark.parametrize("size", range(3, len(TOKEN)))
def test_a_piece_of_a_secret_beside_a_cut_is_masked(size: int) -> None:
    masker = Masker([TOKEN, "another one"])
    assert masker.mask(f"say {TOKEN[:size]}… more") == "say ***… more"
    assert masker.mask(f"…{TOKEN[-size:]} more") == "…*** more"
    assert masker.mask(f"…{TOKEN[-size:]} and {TOKEN[:size]}…") == "…*** and ***…"
    encoded = base64.b64encode(TOKEN.encode()).decode()
    assert size <= 4 or re.fullmatch(r"…\*\*\*.?", masker.mask(f"…{encoded[-size:-1]}"))
    assert masker.contains(f"{TOKEN[:size]}…")
    assert masker.mask(f"…{TOKEN[:size]}") == f"…{TOKEN[:size]}"
    assert masker.mask("an ordinary… text") == "an ordinary… text"


ENCODED = {
    "hex": SECRET.encode().hex(),
    "hex in capitals": SECRET.encode().hex().upper(),
    "repr": repr(SECRET)[1:-1],
    "repr of bytes": repr(SECRET.encode())[2:-1],
    "ascii": ascii(SECRET)[1:-1],
    "markup": html.escape(SECRET),
    "in double quotes of a shell": SECRET.replace("\\", "\\\\").replace('"', '\\"'),
}


@pytest.mark.parametrize("form", ENCODED)
def test_every_way_to_write_a_secret_is_masked(form: str) -> None:
    masker = Masker([SECRET])
    assert masker.mask(f"before {ENCODED[form]} after") == f"before {MASK} after"
    assert masker.contains([ENCODED[form]])


@pytest.mark.parametrize("secret", ["it's a secret", "don't 'quote' me"])
def test_a_quoted_secret_is_masked(secret: str) -> None:
    masker = Masker([secret])
    for quoted in (
        shlex.quote(secret)[1:-1],
        secret.replace("'", "'\\''"),
        html.escape(secret),
        repr(f'"{secret}')[2:-1],
    ):
        assert masker.mask(f"[{quoted}]") == f"[{MASK}]"


def test_a_secret_of_bytes_that_are_no_text_is_masked_as_it_is_shown() -> None:
    raw = b"caf\xe9-\xff-token"
    masker = Masker([os.fsdecode(raw)])
    assert masker.mask(f"say {raw.decode('utf-8', 'replace')}!") == f"say {MASK}!"
    assert MASK in masker.mask(base64.b64encode(raw).decode())
    assert masker.sieve().catches(b"\0" + raw + b"\0")


def test_a_large_stream_is_masked_in_linear_time() -> None:
    masker = Masker([TOKEN, SECRET, "-----BEGIN KEY-----\n" + "MIIBVgIBADANBgkq\n" * 30])
    line = "2026-11-22 03:24:00 INFO some ordinary line of a log with words and numbers 12345\n" * 800
    stream = masker.stream()
    before = time.process_time()
    masked = sum(len(stream.feed(line)) for _ in range(80)) + len(stream.flush())
    assert masked == len(line) * 80
    assert time.process_time() - before < 5
