"""Results that are kept for later runs: taken instead of running, kept when a step has succeeded.

A result is one of a package, a step (its path without keys) and a key that the author says. Two runs that compute the
same at the same time both do; the last one's result stays. Every decision is an event.
"""

from __future__ import annotations

from collections.abc import Iterable

from .. import lifecycle
from ..checksums import is_intact
from ..clock import to_text
from ..outcome import Json
from ..plan import shape
from ..rows import CacheRow, StepRow, terms_of, with_terms
from .ends import end
from .work import Work

#: Results that are dropped at once when their time is over; the next look takes the rest.
BATCH = 1000


def take_kept(work: Work, row: StepRow, wanted: Json) -> bool:
    """End a step that is due with the result that is kept for it; False when it has to run.

    ``wanted`` is ``{key, ttl}``, the time to live in milliseconds or null.
    """
    run = work.run(row.run)
    found = None if run.uncached else work.tx.kept(run.package, shape(row.path), wanted["key"])
    why = "the run takes none" if run.uncached else unusable(found, work.now)
    if found is None or why:
        work.event(row.run, "step.uncached", row.path, {"key": wanted["key"], "reason": why})
        work.put(with_terms(row, cache=wanted))
        return False
    source = {"run": found.run_id, "execution": found.execution, "step": found.path, "at": to_text(found.created_at)}
    work.event(row.run, "step.cached", row.path, {"key": wanted["key"], **source})
    row = with_terms(row, cache={**wanted, "from": source})
    done = lifecycle.ended(row, "succeed", now=work.now, result=found.result, reason="cached")
    end(work, done, brought=found.checksum)
    return True


def unusable(found: CacheRow | None, now: int) -> str:
    """Why a step cannot take what is kept; "" when it can."""
    if found is None:
        return "none is kept"
    if found.expires_at is not None and found.expires_at <= now:
        return "expired"
    return "" if is_intact(found) else "it is damaged"


def unkept(work: Work, row: StepRow, why: str) -> StepRow:
    """The result of a step is not for others, although it asks for that."""
    if not terms_of(row).get("cache"):
        return row
    work.event(row.run, "step.uncached", row.path, {"key": terms_of(row)["cache"]["key"], "reason": why})
    return work.put(with_terms(row, cache=None))


def keep_result(work: Work, row: StepRow) -> None:
    """Keep the result of a step that has succeeded, if it asks for that and the result is its own."""
    wanted = terms_of(row).get("cache")
    if wanted is None or row.status != "succeeded" or row.reason is not None:
        return
    run = work.run(row.run)
    expires_at = None if wanted["ttl"] is None else work.now + wanted["ttl"]
    work.tx.keep(
        CacheRow(
            run.package, shape(row.path), wanted["key"], row.result or "null", run.id, run.execution, row.path,
            work.now, expires_at, row.checksum,
        )
    )  # fmt: skip


def forget_kept(work: Work, rows: Iterable[StepRow]) -> None:
    """What the steps gave holds no longer: their effect is being taken back."""
    for row in rows:
        wanted = terms_of(row).get("cache")
        if wanted is None or "from" in wanted:
            continue
        run, step = work.run(row.run), shape(row.path)
        found = work.tx.kept(run.package, step, wanted["key"])
        # Another run may have computed the same since; what that one did stands.
        if found is not None and (found.run_id, found.execution, found.path) == (run.id, run.execution, row.path):
            work.tx.forget_kept(package=run.package, step=step, key=wanted["key"])


def drop_expired(work: Work) -> None:
    """Forget results whose time is over."""
    work.tx.drop_expired(work.now, BATCH)
