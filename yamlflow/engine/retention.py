"""How long a package's ended runs are kept: by the declaration that came last, for all of its runs."""

from __future__ import annotations

from ..duration import parse_duration
from ..plan import Plan
from ..rows import RetentionRow
from .work import Work


def declare_retention(work: Work, plan: Plan) -> None:
    """Keep what a package says of it; one that says nothing keeps for ever."""
    wanted = retention_of(plan)
    if (work.tx.retention(wanted.package) or RetentionRow(wanted.package, None, None)) != wanted:
        work.tx.put_retention(wanted)


def retention_of(plan: Plan) -> RetentionRow:
    """What a package says, in milliseconds."""
    declared = plan.package.retention
    finished, continued = (
        None if declared.get(key) is None else parse_duration(declared[key]) for key in ("finished", "continued")
    )
    return RetentionRow(plan.package.name, finished, continued)
