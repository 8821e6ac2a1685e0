"""Being told to stop: once is an orderly end, twice an end at once; signals that come together are one."""

from __future__ import annotations

import signal

import pytest

from yamlflow.cli.foreground import Signals
from yamlflow.supervised import HANDED_ON
from yamlflow.testing import FakeClock


class Left(Exception):
    """Stands in for the end of this process."""


def test_signals_that_come_together_are_one_and_a_later_one_ends_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def leave(status: int) -> None:
        raise Left(status)

    monkeypatch.setattr("os._exit", leave)
    woken: list[int] = []
    with Signals(lambda: woken.append(1), status=130) as signals:
        clock = signals._clock = FakeClock()
        for _ in range(2):
            signal.raise_signal(signal.SIGTERM)
        clock.advance(199)
        signal.raise_signal(signal.SIGINT)
        assert (signals.asked, woken) == (1, [1])
        clock.advance(1)
        with pytest.raises(Left, match="130"):
            signal.raise_signal(signal.SIGHUP)


def test_a_signal_that_is_handed_on_is_the_one_that_was_heard() -> None:
    with Signals(lambda: None, status=130) as signals:
        clock = signals._clock = FakeClock()
        signal.raise_signal(signal.SIGTERM)
        clock.advance(5_000)
        signal.raise_signal(HANDED_ON)
        assert signals.asked == 1


def test_what_is_ignored_under_nohup_stays_so() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Signals(lambda: None, status=130) as signals:
            signal.raise_signal(signal.SIGHUP)
            assert signals.asked == 0
    finally:
        signal.signal(signal.SIGHUP, before)
