"""Token buckets, back-off and places: the arithmetic of queues."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from yamlflow.queueing import backoff, may_retry, next_token_at, refill, room
from yamlflow.spec import Retry

RATES = st.floats(min_value=1 / 3_600_000, max_value=10)
MOMENTS = st.integers(min_value=0, max_value=10**12)


@given(st.floats(0, 100), st.integers(1, 100), RATES, MOMENTS, MOMENTS)
def test_a_bucket_never_holds_more_than_its_burst_nor_less_than_it_held(
    tokens: float, burst: int, rate: float, since: int, now: int
) -> None:
    tokens = min(tokens, burst)
    after = refill(tokens=tokens, burst=burst, rate=rate, since=since, now=now)
    assert tokens <= after <= burst


@given(st.integers(1, 50), RATES, MOMENTS, st.lists(st.integers(0, 5000), max_size=30))
def test_looking_at_a_bucket_often_gives_no_more_than_looking_once(
    burst: int, rate: float, start: int, steps: list[int]
) -> None:
    tokens, now = 0.0, start
    for step in steps:
        tokens = refill(tokens=tokens, burst=burst, rate=rate, since=now, now=now + step)
        now += step
    assert abs(tokens - refill(tokens=0, burst=burst, rate=rate, since=start, now=now)) < 1e-6 * max(1, burst)


@given(st.floats(0, 0.999), RATES, MOMENTS)
def test_at_the_moment_that_is_told_there_is_a_token(tokens: float, rate: float, now: int) -> None:
    at = next_token_at(tokens=tokens, rate=rate, now=now)
    assert at > now
    # To the nearest millisecond.
    assert refill(tokens=tokens, burst=9, rate=rate, since=now, now=at + 1) >= 1 - 1e-9


def test_a_bucket_that_holds_a_token_need_not_be_waited_for() -> None:
    assert next_token_at(tokens=1, rate=0.1, now=5) == 5


def test_there_is_room_for_what_is_free_and_no_more() -> None:
    assert room(in_flight=3, max_in_flight=5, wanted=9) == 2
    assert room(in_flight=3, max_in_flight=5, wanted=1) == 1
    assert room(in_flight=9, max_in_flight=5, wanted=1) == 0
    assert room(in_flight=9, max_in_flight=None, wanted=4) == 4


@given(
    st.sampled_from(["fixed", "linear", "exponential"]),
    st.integers(0, 10**9),
    st.integers(1, 10**6),
    st.floats(0, 0.999),
)
def test_a_delay_is_never_negative_never_endless_and_never_over_its_bound(
    kind: str, delay: int, attempt: int, chance: float
) -> None:
    policy = Retry(backoff=kind, delay=delay, max_delay=60_000, jitter="full")  # type: ignore[arg-type]
    assert 0 <= backoff(policy, attempt=attempt, chance=chance) <= 60_000
    unbounded = Retry(backoff=kind, delay=delay)  # type: ignore[arg-type]
    assert backoff(unbounded, attempt=attempt, chance=0) <= 10 * 365 * 86_400_000


def test_delays_grow_as_they_are_said_to() -> None:
    def delays(**policy: object) -> list[int]:
        return [backoff(Retry(delay=100, **policy), attempt=n, chance=0.5) for n in (1, 2, 3)]  # type: ignore[arg-type]

    assert delays(backoff="fixed") == [100, 100, 100]
    assert delays(backoff="linear") == [100, 200, 300]
    assert delays(backoff="exponential") == [100, 200, 400]
    assert delays(backoff="exponential", multiplier=1.5) == [100, 150, 225]
    assert delays(backoff="exponential", multiplier=0.5) == [100, 50, 25]
    assert delays(jitter="full") == [50, 100, 200]


def may(
    policy: Retry, *, code: str = "boom", permanent: bool = False, attempt: int = 1, elapsed: int = 0, delay: int = 0
) -> bool:
    """Whether another attempt follows."""
    return may_retry(policy, code=code, permanent=permanent, attempt=attempt, elapsed=elapsed, delay=delay)


def test_another_attempt_follows_only_where_every_rule_lets_it() -> None:
    three = Retry(max_attempts=3)
    assert [may(three, attempt=n) for n in (1, 2, 3)] == [True, True, False]
    assert not may(three, permanent=True)
    assert may(Retry(max_attempts=3, only=frozenset({"boom"})))
    assert not may(Retry(max_attempts=3, only=frozenset({"other"})))
    assert not may(Retry(max_attempts=3, never=frozenset({"boom"})))
    assert not may(Retry(max_attempts=3, only=frozenset({"boom"}), never=frozenset({"boom"})))
    bounded = Retry(max_attempts=3, max_elapsed=100)
    assert may(bounded, elapsed=60, delay=40)
    assert not may(bounded, elapsed=60, delay=41)
