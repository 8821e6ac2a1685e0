"""``doctor``: each sort of trouble made for real, and found with its cause and what to do; what is well is no warning."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from yamlflow.clock import DAY
from yamlflow.doctor.machine import sqlite_finding
from yamlflow.rows import WorkerRow
from yamlflow.store.sqlite import SqliteStore

from .conftest import Called, Cli, Write

STORE = ".yamlflow/yamlflow.db"


def found(cli: Cli, *args: str) -> list[tuple[str, str, str, str]]:
    """What ``doctor`` says that is not well: level, about, message, remedy."""
    told: Called = cli("doctor", *args, "--json")
    return [tuple(one.values()) for one in told.json if one["level"] != "ok" and one["about"] != "sqlite"]


def test_the_text_says_what_the_json_says(cli: Cli, write: Write) -> None:
    start(cli, write, "{a: {kind: noop}}")
    cli("pause", "r")
    told, text = cli("doctor", "--json").json, cli("doctor").out
    assert len(told) > 5
    lines = [
        line
        for one in told
        for line in (f"{one['about']}: {one['message']}", *([one["remedy"]] if one["remedy"] else []))
    ]
    assert [line.lstrip(" →✓!·✗") for line in text.splitlines()] == lines


def change(sql: str, *values: object) -> None:
    with closing(sqlite3.connect(STORE)) as store, store:
        assert store.execute(sql, values).rowcount > 0, sql


@contextmanager
def alive(name: str = "w", **more: str) -> Iterator[None]:
    """A worker that lives, as far as anybody sees, and takes nothing."""
    import fcntl
    import json
    import socket

    from yamlflow.clock import SystemClock, boot_id

    path = Path(".yamlflow/workers").absolute() / f"{name}.lock"
    path.parent.mkdir(exist_ok=True)
    with path.open("w") as sign:
        fcntl.flock(sign, fcntl.LOCK_EX)
        now = SystemClock().now()
        kinds = more.pop("kinds", json.dumps(["noop", "set", "shell", "sleep", "wait_signal", "approval", "workflow"]))
        row = WorkerRow(
            name, socket.gethostname(), os.getpid(), boot_id(), str(path), now, now, "running", kinds=kinds, **more
        )
        with closing(SqliteStore(STORE)) as store, store.transaction() as tx:
            tx.put_worker(row)
        yield
    path.unlink(missing_ok=True)


def package(write: Write, steps: str, *, name: str = "p", head: str = "") -> str:
    write(f"{name}.yaml", f"yamlflow: 1\nname: {name}\n{head}\nsteps: {steps}\n")
    return f"{name}.yaml"


def start(cli: Cli, write: Write, steps: str, *, id: str = "r", **more: str) -> None:
    assert cli("start", package(write, steps, **more), "--run-id", id).status == 0


# -- runs ----------------------------------------------------------------------------------------------------------


def test_a_run_that_nobody_works_on(cli: Cli, write: Write) -> None:
    start(cli, write, "{a: {kind: noop}}")
    assert found(cli) == [
        ("warning", "runs", "r/a: no worker is running", "`yamlflow resume r`, or `yamlflow worker` for all")
    ]
    with alive():
        assert found(cli) == []
    assert cli("doctor").status == 0


def test_workers_that_do_not_take_a_step_for_its_kind_queue_or_run(cli: Cli, write: Write) -> None:
    start(cli, write, "{a: {kind: noop, queue: q}}", head="queues: {q: {}}")
    with alive(kinds='["set"]'):
        ((level, _, message, remedy),) = found(cli)
        assert (level, message) == ("warning", 'r/a: no worker knows kind "noop"')
        assert remedy == "a plugin here supplies it: `yamlflow worker`"
    with alive(queues='["other"]'):
        assert found(cli)[0][2:] == ('r/a: no worker serves queue "p/q"', "`yamlflow worker --queues p/q`")
    with alive(runs="[999]"):
        assert found(cli)[0][2].startswith("r/a: no worker takes it")
        assert "`yamlflow resume r`" in found(cli)[0][3]


def test_a_kind_that_nobody_has(cli: Cli, write: Write) -> None:
    write(
        "plugins/shout.py", "from yamlflow import executor\n@executor('shout/it')\ndef it() -> str:\n    return 'A'\n"
    )
    start(cli, write, "{a: {kind: shout/it}}", head="kinds: {requires: [shout]}")
    Path("plugins/shout.py").unlink()
    with alive():
        troubles = {about: (message, remedy) for _, about, message, remedy in found(cli)}
    assert troubles["runs"][0] == 'r/a: no worker knows kind "shout/it"'
    assert "plugins/ (as shout.py?)" in troubles["runs"][1]
    assert troubles["kinds"][0] == "r need the kind shout/it, which nobody has"
    assert "its package requires shout" in troubles["kinds"][1]


def test_what_is_paused_says_how_it_goes_on(cli: Cli, write: Write) -> None:
    start(cli, write, "{a: {kind: noop}}")
    start(cli, write, "{b: {kind: noop, queue: q}}", id="s", name="q", head="queues: {q: {}}")
    cli("pause", "r")
    cli("pause", "--queue", "q/q")
    with alive():
        assert [one[2:] for one in found(cli)] == [
            ('s/b: its queue "q/q" is paused', "`yamlflow unpause --queue q/q`"),
            ("r/a: its run is paused", "`yamlflow unpause r`"),
        ]


def test_a_wait_is_a_warning_only_when_it_is_very_long(cli: Cli, write: Write) -> None:
    start(
        cli,
        write,
        "{s: {kind: wait_signal, with: {signal: go}}, a: {kind: approval}, z: {kind: sleep, with: {for: 3h}}}",
    )
    cli("worker", "--max-cycles", 3)
    assert found(cli) == []
    lines = {one["message"].partition(":")[0]: one for one in cli("doctor", "r", "--json").json}
    assert {one["level"] for one in lines.values()} == {"ok"}
    assert lines["r/s"]["message"] == 'r/s: waits for the signal "go"'
    change("update steps set started_at = started_at - ? where path in ('s', 'a')", 3 * DAY)
    assert [one[2:] for one in found(cli)] == [
        ('r/s: waits for the signal "go", for 3d', "`yamlflow signal r go`, or `yamlflow cancel r`"),
        ("r/a: asks for a yes or no, for 3d", "`yamlflow approve r a`, or `yamlflow cancel r`"),
    ]


def test_a_timer_that_is_far_or_that_nobody_has_woken(cli: Cli, write: Write) -> None:
    start(cli, write, "{z: {kind: sleep, with: {for: 800d}}}")
    cli("worker", "--max-cycles", 3)
    ((level, _, message, remedy),) = found(cli)
    assert (level, remedy) == ("hint", "`yamlflow cancel r z`")
    assert message.startswith("r/z: sleeps until ")
    change("update steps set available_at = available_at - ? where path = 'z'", 801 * DAY)
    ((level, _, message, remedy),) = found(cli)
    assert level == "warning"
    assert "that was 1d ago, and no process woke it" in message or "that was 23h" in message
    assert "`yamlflow worker`" in remedy


def test_a_run_waits_for_the_place_of_one_that_stands_still(cli: Cli, write: Write) -> None:
    for id in ("one", "two"):
        start(
            cli,
            write,
            "{s: {kind: wait_signal, with: {signal: go}}, b: {kind: noop}}",
            id=id,
            head="concurrency: {key: k}",
        )
    with alive():
        assert found(cli) == []
        cli("pause", "one")
        ((_, _, message, remedy),) = [one for one in found(cli) if one[2].startswith("two")]
    assert message.endswith('key "k" has ended (concurrency): one has its place and stands still')
    assert remedy == "`yamlflow doctor one`"


def test_a_parent_waits_for_a_child_that_stands_still(cli: Cli, write: Write) -> None:
    package(write, "{c: {kind: noop}}", name="below")
    start(cli, write, "{call: {kind: workflow, with: {package: below.yaml, run_id: child}}}")
    cli("worker", "--max-cycles", 1)
    with alive():
        assert found(cli) == []
        cli("pause", "child")
        told = [one[2:] for one in found(cli)]
        assert ('r/call: waits for run "child", which stands still', "`yamlflow doctor child`") in told


def test_a_lock_whose_holder_is_dead(cli: Cli, write: Write, process: Callable[..., subprocess.Popen[str]]) -> None:
    steps = "{a: {run: sleep 100, locks: [l]}, b: {run: 'true', locks: [l]}}"
    start(cli, write, steps)
    worker = process("worker")
    wait_until(lambda: sqlite3.connect(STORE).execute("select count(*) from lock_waits").fetchone()[0])
    pid = worker_pid()
    os.kill(pid, signal.SIGKILL)
    worker.kill()
    worker.communicate()
    troubles = found(cli)
    assert any('waits for lock "l", held by a, whose worker is dead' in one[2] for one in troubles), troubles
    assert any(f"(process {pid}) died and holds 1 step" in one[2] and one[3] == "`yamlflow resume` takes them over"
               for one in troubles), troubles  # fmt: skip


def test_a_run_that_nothing_can_bring_further(cli: Cli, write: Write) -> None:
    start(cli, write, "{a: {kind: wait_signal, with: {signal: go}}, b: {kind: noop, needs: a}}")
    cli("worker", "--max-cycles", 3)
    change("update steps set status = 'pending', phase = '', awaits = null where path = 'a'")
    told = cli("doctor", "--json")
    assert any(one["message"] == "live runs that nothing can bring further: 1 (r)" for one in told.json)
    assert told.status == 4


def test_one_run_is_explained_alone(cli: Cli, write: Write) -> None:
    start(cli, write, "{a: {kind: noop}}")
    start(cli, write, "{a: {kind: noop}}", id="other")
    told = cli("doctor", "r", "--json").json
    assert [one["message"] for one in told] == ["r/a: no worker is running"]
    cli("cancel", "r")
    cli("worker", "--max-cycles", 3)
    assert cli("doctor", "r").out.splitlines() == ["✓ runs: r has ended (canceled)", "  → `yamlflow retry r`"]
    assert cli("doctor", "nobody").status == 2


# -- workers and processes -----------------------------------------------------------------------------------------


def wait_until(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def worker_pid() -> int:
    """The process that takes leases; the one that was started looks after it."""
    with closing(sqlite3.connect(STORE)) as store:
        return int(store.execute("select pid from workers where status = 'running'").fetchone()[0])


def test_a_worker_that_was_stopped(cli: Cli, write: Write, process: Callable[..., subprocess.Popen[str]]) -> None:
    start(cli, write, "{a: {run: sleep 100}}")
    worker = process("worker")
    try:
        wait_until(lambda: sqlite3.connect(STORE).execute("select 1 from steps where status = 'running'").fetchone())
        pid = worker_pid()
        os.kill(pid, signal.SIGSTOP)
        assert found(cli) == []
        change("update workers set seen_at = seen_at - 600000")
        ((_, about, message, remedy),) = found(cli)
        assert about == "workers"
        assert "is stopped, for 10m" in message
        assert "1 of its steps" in message
        assert remedy == f"kill -CONT {pid}, or kill -KILL {pid}"
    finally:
        os.kill(worker_pid(), signal.SIGKILL)
        worker.kill()
        worker.communicate(timeout=60)


def test_a_worker_of_a_machine_that_is_no_more_is_given_up_by_hand(cli: Cli, write: Write) -> None:
    start(cli, write, "{a: {kind: noop}}")
    with alive():
        change("update workers set host = 'elsewhere', boot = 'b', seen_at = seen_at - 3600000")
        change("update steps set status = 'running', worker = 'w', leased_until = 9000000000000, epoch = 1, attempt = 1 "
               "where path = 'a'")  # fmt: skip
        ((_, _, message, remedy),) = found(cli)
    assert message == "w on the machine elsewhere holds 1 step, and was last heard of 1h ago"
    assert "`yamlflow workers --gone w`" in remedy
    assert cli("workers", "--gone", "nobody").status == 2
    assert cli("workers", "--gone", "w").status == 0
    assert cli("resume", "r", "-q").status == 0


def test_a_worker_that_lives_is_not_given_up(cli: Cli, write: Write) -> None:
    start(cli, write, "{a: {kind: noop}}")
    with alive():
        refused = cli("workers", "--gone", "w")
    assert (refused.status, "lives" in refused.err) == (2, True)


def test_signs_of_workers_that_are_no_more(cli: Cli, write: Write) -> None:
    start(cli, write, "{s: {kind: wait_signal, with: {signal: go}}}")
    cli("worker", "--max-cycles", 3)
    write(".yamlflow/workers/left.lock", "")
    ((level, _, message, remedy),) = found(cli)
    assert (level, "left.lock is the sign of a worker that is no more" in message, "rm " in remedy) == (
        "hint",
        True,
        True,
    )


def test_a_process_that_outlived_its_worker_and_the_guard(cli: Cli, write: Write) -> None:
    start(cli, write, "{s: {kind: wait_signal, with: {signal: go}}}")
    cli("worker", "--max-cycles", 3)
    env = {**os.environ, "YAMLFLOW_WORKER": "abc", "YAMLFLOW_RUN_ID": "r"}
    # A daemon: whoever started it is gone, and it has a session of its own.
    text = "import subprocess; print(subprocess.Popen(['sleep', '500'], stdout=2, start_new_session=True).pid)"
    pid = int(
        subprocess.run([sys.executable, "-c", text], env=env, stdout=subprocess.PIPE, text=True, check=True).stdout
    )
    try:
        mine = [one for one in found(cli) if f"process {pid} " in one[2]]
        message = f"process {pid} (sleep 500) of run r goes on although its worker is no more"
        assert mine == [("warning", "processes", message, f"kill -TERM {pid}")]
    finally:
        os.kill(pid, signal.SIGKILL)


# -- the store, the disk, the clock --------------------------------------------------------------------------------


def test_a_wal_that_cannot_be_reset_names_who_reads(cli: Cli, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    start(cli, write, "{s: {kind: wait_signal, with: {signal: go}}}")
    cli("worker", "--max-cycles", 3)
    monkeypatch.setattr("yamlflow.doctor.file.LARGE_WAL", 200_000)
    text = f"""
import sqlite3, sys, time
db = sqlite3.connect({STORE!r}); db.execute("begin"); db.execute("select count(*) from runs").fetchone()
print("reads", flush=True); sys.stdin.read()
"""
    reader = subprocess.Popen([sys.executable, "-c", text], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert reader.stdout is not None
    assert reader.stdout.readline() == "reads\n"
    try:
        with closing(sqlite3.connect(STORE)) as store:
            store.execute("create table big (x)")
            store.execute("insert into big values (randomblob(1000000))")
            store.commit()
            ((level, about, message, remedy),) = found(cli)
            assert (level, about) == ("warning", "wal")
            assert f"process {reader.pid} (" in message
            assert "end what reads it" in remedy
    finally:
        reader.communicate("")


def test_stores_of_other_schemas(cli: Cli, write: Write) -> None:
    start(cli, write, "{s: {kind: noop}}")
    change_version(1)
    ((level, _, message, remedy),) = found(cli)
    assert (level, message[:13]) == ("hint", "schema 1 of 2")
    assert "`yamlflow db migrate`" in remedy
    change_version(99)
    told = cli("doctor", "--json")
    assert (told.status, told.json[-1]["level"]) == (4, "error")
    assert "newer yamlflow" in told.json[-1]["message"]
    assert "upgrade" in told.json[-1]["remedy"]


def change_version(number: int) -> None:
    with closing(sqlite3.connect(STORE)) as store:
        store.execute(f"pragma user_version = {number}")


def test_a_clock_behind_what_the_store_has_seen(cli: Cli, write: Write) -> None:
    start(cli, write, "{s: {kind: wait_signal, with: {signal: go}}}")
    cli("worker", "--max-cycles", 3)
    change("update runs set created_at = created_at + 7200000")
    ((level, about, _, remedy),) = found(cli)
    assert (level, about) == ("warning", "clock")
    assert "timedatectl" in remedy


def test_others_may_read_or_change_what_they_should_not(cli: Cli, write: Write, folder: Path) -> None:
    plugin = write("plugins/mine.py", "")
    start(cli, write, "{s: {kind: wait_signal, with: {signal: go}}}")
    cli("worker", "--max-cycles", 3)
    Path(STORE).chmod(0o600)
    plugin.chmod(0o644)
    plugin.parent.chmod(0o755)
    assert found(cli) == []
    Path(STORE).chmod(0o644)
    Path(STORE).parent.chmod(0o755)
    plugin.chmod(0o666)
    told = found(cli)
    assert any(one[1] == "files" and "chmod -R go-rwx" in one[3] for one in told)
    assert any(one[1] == "plugins" and "chmod -R go-w" in one[3] for one in told)


def test_what_is_left_in_the_folder_of_runs_that_are_not_there(cli: Cli, write: Write) -> None:
    cli("run", package(write, "{s: {run: 'echo a > b; echo hello', artifacts: {b: b}}}"), "--run-id", "r", "-q")
    assert found(cli) == []
    write(".yamlflow/runs/gone/1/logs/a.1.log", "")
    write(".yamlflow/artifacts/gone%2F1/a/0/b", "")
    assert [one[2].rpartition(": ")[2] for one in found(cli)] == ["gone", "gone/1"]
    (kept,) = [path for path in Path(".yamlflow/artifacts/r%2F1").rglob("*") if path.is_file()]
    kept.unlink()
    assert any(one[2].startswith("kept files are not there") and "db check --files" in one[3] for one in found(cli))


def test_what_live_runs_need_and_is_not_there(
    cli: Cli, write: Write, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = (
        "{s: {kind: wait_signal, with: {signal: go}}, t: {needs: s, run: 'echo $A', env: {A: '${{ secrets.TOKEN }}'}}}"
    )
    write("inner/p.yaml", f"yamlflow: 1\nname: p\nsecrets: [TOKEN]\nsteps: {steps}\n")
    cli("start", "inner/p.yaml", "--run-id", "r")
    cli("worker", "--max-cycles", 3)
    ((_, about, message, remedy),) = found(cli)
    assert (about, message) == ("secrets", "r need the secret TOKEN, not set here")
    assert ".env" in remedy
    monkeypatch.setenv("TOKEN", "x" * 10)
    assert found(cli) == []
    write("inner/p.yaml", "changed")
    assert any("it has changed since" in one["message"] for one in cli("doctor", "--json").json)
    (folder / "inner" / "p.yaml").unlink()
    (folder / "inner").rmdir()
    ((_, about, message, remedy),) = found(cli)
    assert about == "files"
    assert message.startswith("r: the folder of the package, ")
    assert "put it back" in remedy


def test_versions_of_sqlite_that_reset_a_wal_safely() -> None:
    safe = [(3, 51, 3), (3, 52, 0), (3, 50, 7), (3, 44, 6)]
    assert {sqlite_finding(version).level for version in safe} == {"ok"}
    assert {sqlite_finding(version).level for version in [(3, 40, 1), (3, 51, 2), (3, 50, 6)]} == {"warning"}


def test_looking_changes_nothing(cli: Cli, write: Write) -> None:
    start(cli, write, "{a: {kind: noop}, s: {kind: wait_signal, with: {signal: go}}}")
    with closing(sqlite3.connect(STORE)) as store:
        before, version = list(store.iterdump()), store.execute("pragma data_version").fetchone()
        cli("doctor")
        cli("doctor", "r")
        assert store.execute("pragma data_version").fetchone() == version
        assert list(store.iterdump()) == before


def test_what_doctor_asks_a_large_store_goes_by_the_indexes_over_what_is_live() -> None:
    from yamlflow.doctor.crew import LEASES
    from yamlflow.doctor.file import FOREVER
    from yamlflow.doctor.runs import LIVE_RULES, STANDING, STANDING_IN
    from yamlflow.store.rules import RULES

    rules = [rule.sql for rule in RULES if rule.name in LIVE_RULES]
    assert len(rules) == len(LIVE_RULES)
    asked = [*rules, LEASES, FOREVER, STANDING_IN, *(f"select * {sql}" for sql in STANDING)]
    with closing(SqliteStore()) as store:
        for sql in asked:
            plan = [str(row[3]) for row in store._db.execute(f"explain query plan {sql}", (1,) * sql.count("?"))]
            whole = [line for line in plan if re.fullmatch(r"SCAN (steps|runs|events|root|other)( AS \w+)?", line)]
            assert not whole, (sql, plan)
