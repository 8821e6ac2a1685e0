"""Token buckets, back-off and turns: arithmetic only. Pure: time and chance are arguments, in milliseconds and [0, 1)."""

from __future__ import annotations

from .spec import Retry


def refill(*, tokens: float, burst: int, rate: float, since: int, now: int) -> float:
    """The tokens of a bucket at ``now``. A clock that went back adds none and takes none away."""
    return min(float(burst), tokens + max(0, now - since) * rate)


def next_token_at(*, tokens: float, rate: float, now: int) -> int:
    """When a bucket that has less than one token will hold one."""
    return now if tokens >= 1 else now + max(1, round((1 - tokens) / rate))


def room(*, in_flight: int, max_in_flight: int | None, wanted: int) -> int:
    """How many more steps of a queue may start."""
    return wanted if max_in_flight is None else max(0, min(wanted, max_in_flight - in_flight))


def backoff(policy: Retry, *, attempt: int, chance: float) -> int:
    """Milliseconds to wait after failed attempt number ``attempt`` (from 1)."""
    match policy.backoff:
        case "fixed":
            delay = float(policy.delay)
        case "linear":
            delay = float(policy.delay) * attempt
        case "exponential":
            # Beyond a thousand doublings every bound is long passed; the power itself would overflow.
            delay = policy.delay * policy.multiplier ** min(attempt - 1, 1000)
    if policy.max_delay is not None:
        delay = min(delay, policy.max_delay)
    if policy.jitter == "full":
        delay *= chance
    return int(min(delay, 10 * 365 * 86_400_000))


def may_retry(policy: Retry, *, code: str, permanent: bool, attempt: int, elapsed: int, delay: int) -> bool:
    """Whether a failed attempt is followed by another."""
    if permanent or attempt >= policy.max_attempts or code in policy.never:
        return False
    if policy.only and code not in policy.only:
        return False
    return policy.max_elapsed is None or elapsed + delay <= policy.max_elapsed
