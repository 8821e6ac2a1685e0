"""A client's part for what is kept: listing runs, counting them, removing them."""

from __future__ import annotations

import reprlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path

from .checks import MOST, check_count, check_seconds
from .clock import Clock
from .counts import Statistics, statistics_of
from .errors import UnknownName, UserError, did_you_mean
from .packages import Plans
from .ports import ArtifactStore
from .projections import Projections
from .removal import BATCH, FINISHED, Remover, refuse_live
from .rows import RunRow
from .store.base import RunFilter, Store

#: What a run's status may be.
STATUSES = ("pending", "running", "succeeded", "failed", "canceled", "continued")
ENDED = ("succeeded", "failed", "canceled", "continued")
#: Milliseconds since the epoch at the end of the last year of dates.
LAST = 253_402_300_799_999
#: In the class below ``list`` is a method.
Rows = list[RunRow]


@dataclass(frozen=True, kw_only=True)
class Page:
    """Some runs of a listing, newest first."""

    runs: list[RunRow]
    #: Give it as ``cursor`` to have the next page; None at the end.
    cursor: str | None


class Keeping:
    """See ``Client``."""

    store: Store
    clock: Clock
    plans: Plans
    home: Path
    artifact_store: ArtifactStore
    projections: Projections

    # -- looking

    def list(
        self,
        *,
        package: str | None = None,
        status: str | Sequence[str] = (),
        id: str | None = None,
        prefix: str | None = None,
        text: str | None = None,
        metadata: Mapping[str, str] | None = None,
        parent: str | None = None,
        created_after: datetime | int | None = None,
        created_before: datetime | int | None = None,
        ended_after: datetime | int | None = None,
        ended_before: datetime | int | None = None,
        live: bool = False,
        top: bool = False,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page:
        """Runs that all of these let through, newest first, a page at a time.

        ``status`` is one or several, ``prefix`` how ids begin, ``text`` stands in the id or name, ``parent`` is the id of
        the run whose children are wanted, ``top`` leaves out all that steps started. ``UserError`` for a status that there is
        not. Times are aware ``datetime`` or milliseconds since the epoch; ``after``
        includes its moment, ``before`` does not. Runs that are stored meanwhile neither repeat nor hide any.
        """
        statuses = refuse_unknown(status, STATUSES)
        check_count(limit, "limit", most=MOST - 1)
        wanted = RunFilter(
            package=package, status=statuses, id=id, prefix=prefix,
            text=text, metadata=tuple((metadata or {}).items()), parent=parent,
            created=(moment(created_after), moment(created_before)),
            ended=(moment(ended_after), moment(ended_before)), live=live, top=top,
            before=key_of(cursor), limit=limit + 1,
        )  # fmt: skip
        found = self.store.runs(wanted)
        more = len(found) > limit
        return Page(runs=found[:limit], cursor=str(found[limit - 1].key) if more else None)

    def statistics(self) -> Statistics:
        """How many runs there are by status, what waits and runs in each queue, and who works."""
        return statistics_of(self.store, now=self.clock.now())

    # -- removing

    @cached_property
    def remover(self) -> Remover:
        """Removes runs of this store with their files."""
        return Remover(
            self.store, plans=self.plans, clock=self.clock, home=self.home, artifacts=self.artifact_store,
            projections=self.projections,
        )  # fmt: skip

    def remove(self, run_id: str, *, execution: int | None = None) -> int:
        """Remove a run with everything of its: all its executions, or one. How many went.

        ``UnknownName``; ``NotAllowed`` while it has not ended, and then nothing goes.
        """
        if execution is None:
            rows = [row for page in self._pages(RunFilter(id=run_id, limit=BATCH)) for row in page]
        else:
            one = self.store.find_run(run_id, execution)
            rows = [] if one is None else [one]
        if not rows:
            named = run_id if execution is None else f"{run_id}@{execution}"
            raise UnknownName(f'there is no run "{named}"')
        for row in rows:
            refuse_live(row)
        # The newest goes last: what is left of the others is no newest execution meanwhile.
        return sum(self.remover.remove(row) for row in reversed(rows))

    def prune(
        self,
        *,
        older_than: float,
        package: str | None = None,
        status: str | Sequence[str] = (),
        limit: int | None = None,
        dry_run: bool = False,
    ) -> Rows:
        """Remove the runs that ended more than ``older_than`` seconds ago; which ones went, or with ``dry_run`` would go.

        Runs whose files cannot be removed are told of in the log and stay.
        """
        check_seconds(older_than, "age")
        check_count(limit, "limit")
        refuse_unknown(status, ENDED)
        wanted = (status,) if isinstance(status, str) else tuple(status) or (*FINISHED, "continued")
        upto = self.clock.now() - round(older_than * 1000)
        most = 2**62 if limit is None else limit
        chosen = [
            row
            for name in ([package] if package else self.store.packages_with_runs())
            for row in map(self.store.run_at, self.store.ended_runs(name, wanted, upto=upto, limit=most))
            if row is not None
        ][:most]
        return chosen if dry_run else [row for row in chosen if self.remover.attempt(row)]

    def apply_retention(self) -> int:
        """Remove the runs that their packages' newest ``retention`` does not keep; how many went.

        Workers and schedulers do it by themselves, about once a minute.
        """
        return self.remover.apply_retention()

    def _pages(self, wanted: RunFilter) -> Iterator[Rows]:
        from dataclasses import replace

        while found := self.store.runs(wanted):
            yield found
            wanted = replace(wanted, before=found[-1].key)


def refuse_unknown(status: str | Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """The statuses that are wanted. ``UserError`` for one that there is not."""
    statuses = (status,) if isinstance(status, str) else tuple(status)
    for each in statuses:
        if each not in known:
            remedy = did_you_mean(str(each), known) or f"There are: {', '.join(known)}."
            raise UserError(f'there is no status "{each}" of these runs. {remedy}')
    return statuses


def moment(given: datetime | int | None) -> int | None:
    """Milliseconds since the epoch. ``UserError`` for a date without a zone."""
    if not isinstance(given, datetime):
        check_count(given, "a moment in milliseconds", least=0, most=LAST)
        return given
    if given.tzinfo is None:
        raise UserError(f"{given} has no time zone; give an aware datetime, or milliseconds since the epoch")
    return round(given.timestamp() * 1000)


def key_of(cursor: str | None) -> int | None:
    """The run after which a page begins. ``UserError`` for what no page has given."""
    if cursor is None:
        return None
    if not isinstance(cursor, str) or not (cursor.isascii() and cursor.isdigit() and len(cursor) < 19):
        raise UserError(f"{reprlib.repr(cursor)} is no cursor of a page; give what a page had")
    return int(cursor)
