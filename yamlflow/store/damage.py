"""Rows that yamlflow cannot have written: which column of which row, in words. Reads only, and repairs nothing.

A file that SQLite finds sound may hold anything: a disk turned a bit, or somebody wrote to it with another program. What
every column may hold stands in ``COLUMNS``; a command that meets a fault it cannot explain asks here whether the store
explains it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping

from ..clock import DAY

#: The last moment that a date can tell, in milliseconds since the epoch.
LAST_MOMENT = 2_932_896 * DAY - 1
#: What a column may hold, as a condition on it, ``{}``.
HOLDS: Mapping[str, str] = {
    "whole": "typeof({}) = 'integer' and abs({}) < 9007199254740992",
    "count": "typeof({}) = 'integer' and {} between 0 and 9007199254740991",
    "moment": f"typeof({{}}) = 'integer' and {{}} between 0 and {LAST_MOMENT}",
    "number": "typeof({}) in ('integer', 'real') and abs({}) < 1e300",
    "text": "typeof({}) = 'text'",
    # In a ``case``, as SQLite may look into what is no JSON where conditions are merely joined by ``and``.
    "json": "typeof({}) = 'text' and json_valid({})",
    "object": "case when typeof({}) = 'text' and json_valid({}) then json_type({}) = 'object' end",
    "list": "case when typeof({}) = 'text' and json_valid({}) then json_type({}) = 'array' end",
    "error": "case when typeof({}) = 'text' and json_valid({}) then json_type({}) = 'object' "
    "and json_type({}, '$.code') = 'text' and coalesce(json_type({}, '$.message'), 'text') = 'text' end",
    "run status": "{} in ('pending', 'running', 'waiting', 'paused', 'succeeded', 'failed', 'canceled', 'continued')",
    "step status": "{} in ('pending', 'ready', 'running', 'waiting', 'succeeded', 'failed', 'skipped', 'canceled')",
}
#: Table → what its columns hold; ``?`` where nothing may stand there too.
COLUMNS: Mapping[str, str] = {
    "packages": "digest text, name text, version text?, text text, file text?, created_at moment",
    "runs": "id text, execution count, package text, digest text, status run status, name text?, version text?, inputs object, "
    "metadata object, context object, folder text?, parent count?, paused count, steps count, done count, started_by text?, "
    "created_at moment, started_at moment?, ended_at moment?, parent_run count?, on_parent_close text?, depth count, "
    "slot text?, queue text?, uncached count",
    "steps": "run count, path text, parent count?, origin count?, definition object?, scope object?, ordinal whole, "
    "status step status, phase text, kind text, reason text?, queue text, priority whole, rank whole, parked text?, "
    "available_at moment?, attempt count, lost count, epoch count, worker text?, leased_until whole?, met count, missed count, "
    "children count, alive count, busy count, failures count, cancellations count, cancel object?, fault error?, winner text?, "
    "dedup_key text?, result json?, error error?, due count?, ended count?, ready_at moment?, started_at moment?, "
    "ended_at moment?, awaits text?, wait object?, terms object?, checksum count?",
    "edges": "source count, target count, ends text",
    "events": "run count, seq count, at moment, kind text, step text?, payload object?",
    "artifacts": "run count, step count, name text, uri text?, size count, sha256 text, content_type text, kind text, "
    "metadata object, created_at moment",
    "queues": "name text, max_in_flight count?, rate number?, burst count, tokens number, refilled_at moment, paused count",
    "records": "projection text, collection text, key text, data object",
    "workers": "name text, host text, pid count, boot text, lock text?, started_at moment, seen_at moment, status text, "
    "queues list?, kinds list?, runs list?",
    "signals": "run count, name text, data json, sender text?, key text?, at moment, taken_by count?",
    "cache": "package text, step text, key text, result json, run_id text, execution count, path text, created_at moment, "
    "expires_at moment?, checksum count?",
    "schedules": "package text, entry count, cron text, timezone text, next_at moment?, last_at moment?, last_run text?, "
    "note text?",
    "retentions": "package text, finished count?, continued count?",
    "locks": "name text, run count, step count, since moment",
}


def damage_in(connection: sqlite3.Connection) -> Iterator[str]:
    """Each column that somewhere holds what it cannot, with the rows that show it."""
    for table, columns in COLUMNS.items():
        for column, rule in (part.strip().split(" ", 1) for part in columns.split(",")):
            sound = HOLDS[rule.removesuffix("?")].replace("{}", f'"{column}"')
            if rule.endswith("?"):
                sound = f'"{column}" is null or ({sound})'
            count = connection.execute(f'select count(*) from "{table}" where not coalesce({sound}, 0)').fetchone()[0]
            if count:
                some = f"{count} rows" if count > 1 else "a row"
                yield f"{some} of {table}: {column} is not what yamlflow writes there"
