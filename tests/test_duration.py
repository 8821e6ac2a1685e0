"""Durations: what reads as which length, what is refused with which remedy."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yamlflow.clock import DAY, HOUR, MINUTE, SECOND
from yamlflow.duration import LONGEST, InvalidDuration, format_duration, parse_duration
from yamlflow.errors import UserError

READS = {
    "90s": 90 * SECOND,
    "10m": 10 * MINUTE,
    "1h30m": HOUR + 30 * MINUTE,
    "2d": 2 * DAY,
    "250ms": 250,
    "1s250ms": 1250,
    "1w": 7 * DAY,
    "1.5h": 90 * MINUTE,
    "0.25s": 250,
    "0s": 0,
    " 5m ": 5 * MINUTE,
    "PT1H30M": HOUR + 30 * MINUTE,
    "P2D": 2 * DAY,
    "P1W": 7 * DAY,
    "P1DT12H": 36 * HOUR,
    "PT0.5S": 500,
}

REFUSED = {
    "90": '"90s" for seconds',
    "1.5": '"1.5s" for seconds',
    "-5": "such as",
    "-3s": "negative",
    "": "such as",
    "P": "such as",
    "PT": "such as",
    "P1DT": "such as",
    "P1M": "no fixed length",
    "P1Y2M": "no fixed length",
    "30m1h": "such as",
    "5m5m": "such as",
    "5x": "such as",
    "10min": 'Did you mean "10m"?',
    "1H": 'Did you mean "1h"?',
    "2 hours 5 minutes": 'Did you mean "2h5m"?',
    "0.0001s": "finer than a millisecond",
    "999999d": "a hundred years",
    "1e3s": "such as",
    "١s": "such as",
}


@pytest.mark.parametrize(("text", "milliseconds"), READS.items())
def test_a_duration_reads_as_milliseconds(text: str, milliseconds: int) -> None:
    assert parse_duration(text) == milliseconds


@pytest.mark.parametrize(("text", "remedy"), REFUSED.items())
def test_what_is_no_duration_is_refused_with_a_remedy(text: str, remedy: str) -> None:
    with pytest.raises(InvalidDuration) as caught:
        parse_duration(text)
    assert remedy in str(caught.value)
    assert isinstance(caught.value, UserError)


@pytest.mark.parametrize("value", [90, 1.5, -1, True, None, ["90s"], {}, b"90s"])
def test_a_bare_number_or_anything_but_text_is_refused(value: object) -> None:
    with pytest.raises(InvalidDuration, match=r"no unit|must be a text"):
        parse_duration(value)


@given(st.integers(min_value=0, max_value=LONGEST))
def test_a_formatted_duration_reads_back_as_it_was(milliseconds: int) -> None:
    assert parse_duration(format_duration(milliseconds)) == milliseconds


def test_durations_are_formatted_in_their_largest_units() -> None:
    assert format_duration(0) == "0s"
    assert format_duration(5_400_000) == "1h30m"
    assert format_duration(DAY + 1) == "1d1ms"
    assert format_duration(-1500) == "-1s500ms"


@given(st.text(alphabet="0123456789.PTYMWDHSmshdw -", max_size=40))
def test_no_text_raises_anything_else(text: str) -> None:
    try:
        read = parse_duration(text)
    except InvalidDuration:
        return
    assert 0 <= read <= LONGEST


@pytest.mark.parametrize("text", ["9" * 100_000, "9" * 100_000 + "s", "1h" * 50_000, "P" * 100_000, "1 " * 50_000])
def test_a_very_long_text_is_refused_at_once(text: str) -> None:
    before = time.process_time()
    with pytest.raises(InvalidDuration) as caught:
        parse_duration(text)
    assert time.process_time() - before < 0.5
    assert len(str(caught.value)) < 300
