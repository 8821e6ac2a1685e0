"""The tables of the SQLite store, as numbered migrations. A migration that was released is never edited.

No index stands on a column that every change of status rewrites, but for partial ones over live rows: a database with a
million finished steps costs what an empty one does.
"""

from __future__ import annotations

from typing import Any

from ..checksums import checksum

#: ``pragma application_id``: marks the file as ours ("YFLW").
APPLICATION_ID = 0x59464C57
#: ``pragma user_version``: how many migrations a complete store has seen.
VERSION = 2

M0001_CORE = """
create table packages (
    digest text primary key, name text not null, version text, text text not null, file text, created_at integer not null
) without rowid;

create table runs (
    key integer primary key autoincrement, id text not null, execution integer not null, package text not null,
    digest text not null references packages (digest), status text not null, name text, version text,
    inputs text not null, metadata text not null, context text not null, folder text, parent integer,
    paused integer not null, steps integer not null, done integer not null, started_by text,
    created_at integer not null, started_at integer, ended_at integer,
    unique (id, execution)
);
create index runs_by_package on runs (package, key);
create index runs_live on runs (status, key) where status in ('pending', 'running');

create table steps (
    id integer primary key autoincrement, run integer not null references runs (key), path text not null, parent integer,
    origin integer, definition text, scope text, ordinal integer not null,
    status text not null, phase text not null, kind text not null, reason text, queue text not null,
    priority integer not null, rank integer not null, parked text, available_at integer,
    attempt integer not null, lost integer not null, epoch integer not null, worker text, leased_until integer,
    met integer not null, missed integer not null, children integer not null, alive integer not null,
    busy integer not null, failures integer not null, cancellations integer not null,
    cancel text, fault text, winner text, dedup_key text, result text, error text, due integer, ended integer,
    ready_at integer, started_at integer, ended_at integer,
    unique (run, path)
);
create index steps_ready on steps (queue, priority desc, rank, id) where status = 'ready' and parked is null;
create index steps_running on steps (queue, worker, leased_until) where status = 'running';
create index steps_timed on steps (available_at) where parked = 'timer';
create index steps_slot on steps (parent, ordinal, id) where parked = 'slot';
create index steps_paused on steps (run) where parked = 'paused';
create index steps_waiting on steps (run) where status = 'waiting';
create index steps_dedup on steps (run, dedup_key) where dedup_key is not null;

create table edges (
    source integer not null, target integer not null, ends text not null, primary key (source, target)
) without rowid;

create table events (
    run integer not null, seq integer not null, at integer not null, kind text not null, step text, payload text,
    primary key (run, seq)
) without rowid;

create table artifacts (
    run integer not null, step integer not null, name text not null, uri text, size integer not null,
    sha256 text not null, content_type text not null, kind text not null, metadata text not null,
    created_at integer not null, primary key (run, step, name)
) without rowid;

create table queues (
    name text primary key, max_in_flight integer, rate real, burst integer not null, tokens real not null,
    refilled_at integer not null, paused integer not null
) without rowid;

create table records (
    seq integer primary key autoincrement, projection text not null, collection text not null, key text not null,
    data text not null
);
create index records_by_projection on records (projection, seq);

create table workers (
    name text primary key, host text not null, pid integer not null, boot text not null, lock text,
    started_at integer not null, seen_at integer not null, status text not null
) without rowid;
"""

M0002_TIME_AND_MESSAGES = """
alter table runs add column parent_run integer;
alter table runs add column on_parent_close text;
alter table runs add column depth integer not null default 0;
alter table runs add column slot text;
alter table runs add column queue text;
alter table runs add column uncached integer not null default 0;
create index runs_children on runs (parent_run) where parent_run is not null and ended_at is null;
create index runs_by_parent on runs (parent_run, key) where parent_run is not null;
create index runs_slot on runs (slot, status, key) where slot is not null and ended_at is null;
create index runs_ended on runs (package, status, ended_at) where ended_at is not null;
create index runs_by_digest on runs (digest);
create index runs_by_end on runs (status, key) where ended_at is not null;
create index packages_by_name on packages (name, created_at);

alter table steps add column awaits text;
alter table steps add column wait text;
alter table steps add column terms text;
alter table steps add column checksum integer;
update steps set checksum = crc32(result) where result is not null;
create index steps_awaiting on steps (run, awaits, started_at, id) where awaits is not null;

create table signals (
    seq integer primary key autoincrement, run integer not null, name text not null, data text not null, sender text,
    key text, at integer not null, taken_by integer, run_id text
);
create index signals_by_run on signals (run, seq);
create index signals_unread on signals (run, name, seq) where taken_by is null;
create unique index signals_once on signals (run_id, key) where key is not null;

create table locks (name text primary key, run integer not null, step integer not null, since integer not null)
without rowid;
create index locks_by_step on locks (step);

create table lock_waits (
    name text not null, turn integer not null, step integer not null, primary key (name, turn, step)
) without rowid;
create index lock_waits_by_step on lock_waits (step);

create table cache (
    package text not null, step text not null, key text not null, result text not null, run_id text not null,
    execution integer not null, path text not null, created_at integer not null, expires_at integer,
    checksum integer, primary key (package, step, key)
) without rowid;
create index cache_expiring on cache (expires_at) where expires_at is not null;
create index cache_by_run on cache (run_id, execution);
create index cache_by_age on cache (created_at);

create table schedules (
    package text not null, entry integer not null, cron text not null, timezone text not null, next_at integer,
    last_at integer, last_run text, note text, primary key (package, entry)
) without rowid;

create table retentions (package text primary key, finished integer, continued integer) without rowid;

alter table workers add column queues text;
alter table workers add column kinds text;
alter table workers add column runs text;

create table clock (boot text primary key, ahead integer not null) without rowid;

create table removals (run integer primary key, at integer not null);
create index removals_due on removals (at, run);
"""

MIGRATIONS: tuple[tuple[str, str], ...] = (
    ("0001_core", M0001_CORE),
    ("0002_time_and_messages", M0002_TIME_AND_MESSAGES),
)


def migrate(connection: Any) -> list[str]:
    """Bring a database up to date within the caller's transaction; the names of what was applied."""
    # Imported here: a store that is up to date opens without it.
    from sqlite_utils import Database, Migrations

    migrations = Migrations("yamlflow")
    for name, script in MIGRATIONS:
        migrations(name=name)(_runner(script))
    database = Database(connection, recursive_triggers=False)
    connection.create_function("crc32", 1, checksum, deterministic=True)
    pending = [migration.name for migration in migrations.pending(database)]
    migrations.apply(database)
    connection.execute(f"pragma application_id = {APPLICATION_ID}")
    connection.execute(f"pragma user_version = {VERSION}")
    return pending


def _runner(script: str) -> Any:
    # ``executescript`` would commit the transaction around it.
    def run(database: Any) -> None:
        for statement in script.split(";\n"):
            if statement.strip():
                database.execute(statement)

    return run
