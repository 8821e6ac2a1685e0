"""A run that is removed leaves nothing behind, whenever it is removed and whatever interrupts it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from yamlflow import document, removal
from yamlflow.clock import DAY, HOUR, MINUTE, SECOND
from yamlflow.errors import NotAllowed, RunExists, UnknownName, UserError
from yamlflow.packages import Loaded, loaded
from yamlflow.rows import RunRow
from yamlflow.runtime import Runtime
from yamlflow.testing import FakeClock

#: Leaves something everywhere: steps, events, artifacts, logs, scratch, a lock of its own, records and an sql marker.
EVERYWHERE = """
yamlflow: 1
name: everywhere
steps:
  - id: files
    run: |
      echo word > "$YAMLFLOW_DIR/scratch"
      mkdir "$YAMLFLOW_DIR/fixed" && touch "$YAMLFLOW_DIR/fixed/file" && chmod 500 "$YAMLFLOW_DIR/fixed"
      echo kept > "$YAMLFLOW_ARTIFACTS/kept.txt"
      echo said
  - {kind: sql, with: {sql: "create table t (x)"}}
  - {kind: log, with: {message: hello}}
"""
Make = Callable[..., Runtime]


@pytest.fixture
def make(tmp_path: Path, clock: FakeClock) -> Iterator[Make]:
    """Runtimes on one store file and one clock."""
    opened: list[Runtime] = []

    def one(**options: Any) -> Runtime:
        opened.append(Runtime(f"sqlite:///{tmp_path}/y.db", clock=clock, synchronous="normal", **options))
        return opened[-1]

    yield one
    for each in opened:
        each.close()


def package(text: str) -> Loaded:
    return loaded(document.read(text))


def kept(retention: str, name: str = "kept") -> Loaded:
    """A package with a declaration of how long its runs are kept."""
    return package(f"yamlflow: 1\nname: {name}\nretention: {retention}\nsteps: [{{kind: noop}}]\n")


def ended(runtime: Runtime, one: Loaded, run_id: str, **options: Any) -> RunRow:
    """A run that has ended."""
    runtime.start(one, run_id=run_id, **options)
    runtime.run_until_idle()
    row = runtime.run(run_id)
    assert row is not None
    assert row.status == "succeeded", runtime.store.tree(row.key)
    return row


def traces(folder: Path, run: RunRow) -> list[str]:
    """Every place below a folder, and in every table of its databases, that tells of a run."""
    found = [str(path) for path in folder.rglob("*") if run.id in path.name]
    for file in folder.rglob("*.db"):
        with closing(sqlite3.connect(file)) as db:
            for (table,) in db.execute("select name from sqlite_master where type = 'table'").fetchall():
                if table.startswith("sqlite_"):
                    continue
                columns = [column[1] for column in db.execute(f"pragma table_info({table})")]
                for row in db.execute(f"select * from {table}"):
                    told = dict(zip(columns, row, strict=True))
                    keyed = any(told.get(name) == run.key for name in ("run", "parent_run")) or (
                        table == "runs" and told["key"] == run.key
                    )
                    if keyed or any(run.id in str(value) for value in row):
                        found.append(f"{table}: {told}")
    return found


def test_of_a_removed_run_no_table_folder_or_projection_holds_a_trace(make: Make, tmp_path: Path) -> None:
    runtime = make()
    run = ended(runtime, package(EVERYWHERE), "r-7f3a")
    with runtime.store.transaction() as tx:
        # What other parts of the engine leave: of each table one row.
        db = tx._db  # type: ignore[attr-defined]
        step = runtime.store.tree(run.key)[-1].id
        db.execute("insert into signals (run, name, data, at) values (?, 's', 'null', 0)", (run.key,))
        db.execute("insert into locks values ('l', ?, ?, 0)", (run.key, step))
        db.execute("insert into lock_waits values ('l', 0, ?)", (step,))
        db.execute("insert into edges values (?, ?, 'succeeded')", (step, step))
        db.execute("insert into cache values ('p', 's', 'k', '1', ?, 1, 's', 0, null, null)", (run.id,))
        db.execute("insert into schedules values ('p', 0, '* * * * *', 'UTC', 1, 1, ?, null)", (run.id,))
    places = " ".join(traces(tmp_path, run))
    for place in (
        "runs:",
        "steps:",
        "events:",
        "artifacts:",
        "_yamlflow_applied:",
        "cache:",
        "signals:",
        "/runs/r-7f3a",
    ):
        assert place in places, f"the run left nothing in {place}; the test would show nothing"
    assert runtime.remove("r-7f3a") == 1
    assert traces(tmp_path, run) == []
    assert runtime.store.package(run.digest) is None
    with closing(sqlite3.connect(tmp_path / "y.db")) as raw:
        assert raw.execute("select result, run_id from cache").fetchall() == [("1", "")], (
            "the cached result is still of use"
        )
        assert raw.execute("select count(*) from lock_waits").fetchone() == (0,)
        assert raw.execute("select count(*) from edges").fetchone() == (0,)


def test_a_run_that_goes_on_is_not_removed_nor_are_its_earlier_executions(make: Make) -> None:
    runtime = make()
    one = kept("{}")
    ended(runtime, one, "r")
    runtime.start(one, run_id="r", if_exists="new")
    with pytest.raises(NotAllowed, match="has not ended"):
        runtime.remove("r")
    assert runtime.store.find_run("r", 1) is not None
    assert runtime.remove("r", execution=1) == 1
    runtime.run_until_idle()
    assert runtime.remove("r") == 1
    with pytest.raises(UnknownName):
        runtime.remove("r")


def test_all_executions_of_an_id_go_together(make: Make, tmp_path: Path) -> None:
    runtime = make()
    for _ in range(3):
        run = ended(
            runtime,
            package(EVERYWHERE.replace("create table t", "create table if not exists t")),
            "r-x",
            if_exists="new",
        )
    assert run.execution == 3
    assert runtime.remove("r-x") == 3
    assert traces(tmp_path, run) == []


class Killed(BaseException):
    """The process is gone."""


@pytest.mark.parametrize("at", range(12))
def test_a_removal_that_is_killed_at_any_moment_is_ended_by_the_next_sweep(
    make: Make, clock: FakeClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    runtime = make()
    run = ended(runtime, package(EVERYWHERE), "r-7f3a")
    monkeypatch.setattr(removal, "ROWS", 4)
    moments = 0

    def mortal(function: Callable[..., Any]) -> Callable[..., Any]:
        def act(*args: Any, **options: Any) -> Any:
            nonlocal moments
            moments += 1
            if moments == at + 1:
                raise Killed
            return function(*args, **options)

        return act

    with monkeypatch.context() as patch:
        for owner, name in ((removal, "remove_folder"), (removal, "remove_markers"), (runtime.artifact_store, "remove_run"),
                            (runtime.store, "transaction")):  # fmt: skip
            patch.setattr(owner, name, mortal(getattr(owner, name)))
        try:
            runtime.remove("r-7f3a")
            assert at >= 6, "the run was removed in fewer moments than there are"
        except Killed:
            left = runtime.run("r-7f3a")
            assert left is not None
            with runtime.store.transaction() as tx:
                assert at == 0 or tx.is_leaving(run.key)
    other = make()
    if at > 0 and other.run("r-7f3a") is not None:
        with pytest.raises(RunExists):
            other.start(package(EVERYWHERE), run_id="r-7f3a")
        with pytest.raises(NotAllowed):
            other.retry("r-7f3a")
    other.remover.sweep()
    clock.advance(removal.PATIENCE)
    other.remover.sweep()
    assert at == 0 or traces(tmp_path, run) == []


def test_files_that_stay_are_told_of_and_hold_up_no_other_run(
    make: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, clock: FakeClock
) -> None:
    runtime = make()
    ended(runtime, kept("{finished: 0s}"), "stuck")
    ended(runtime, kept("{finished: 0s}"), "free")
    real = removal.remove_folder

    def fail(folder: Path) -> None:
        if "stuck" in str(folder):
            raise OSError("busy")
        real(folder)

    monkeypatch.setattr(removal, "remove_folder", fail)
    clock.advance(SECOND)
    assert runtime.apply_retention() == 1
    assert "run stuck@1 is not removed" in caplog.text
    assert (runtime.run("free"), runtime.run("stuck") is not None) == (None, True)
    monkeypatch.setattr(removal, "remove_folder", real)
    clock.advance(removal.PATIENCE)
    assert runtime.apply_retention() == 1


def test_a_projection_that_cannot_be_opened_holds_up_no_other_run_nor_the_worker(
    make: Make, caplog: pytest.LogCaptureFixture, clock: FakeClock
) -> None:
    runtime = make()
    ended(runtime, kept("{finished: 0s}", "broken"), "stuck")
    ended(runtime, kept("{finished: 0s}"), "free")
    file = runtime.projections.path("broken")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"no database, but long enough to be taken for one that was damaged" * 20)
    clock.advance(MINUTE)
    runtime.run_once()
    assert "run stuck@1 is not removed" in caplog.text
    assert (runtime.run("free"), runtime.run("stuck") is not None) == (None, True)


def test_a_parent_and_its_child_end_well_when_the_other_one_is_gone(make: Make, clock: FakeClock) -> None:
    runtime = make()
    child = "yamlflow: 1\nname: child\nsteps: [{kind: sleep, with: {for: 1h}}]\n"
    runtime.register(package(child))
    step = "{kind: workflow, with: {package: child, run_id: c, wait: false, on_parent_close: abandon}}"
    runtime.start(package(f"yamlflow: 1\nname: parent\nsteps: [{step}]\n"), run_id="p")
    runtime.run_until_idle()
    above, below = runtime.run("p"), runtime.run("c")
    assert above is not None
    assert below is not None
    assert (above.status, below.status, below.parent_run) == ("succeeded", "running", above.key)
    assert [row.id for row in runtime.list(parent="p").runs] == ["c"]
    runtime.remove("p")
    clock.advance(HOUR)
    runtime.run_until_idle()
    after = runtime.run("c")
    assert after is not None
    assert (after.status, after.parent_run) == ("succeeded", None)
    # The other way round: a child that has ended goes before its parent has.
    waits = "{kind: workflow, with: {package: child, run_id: d}}"
    sleeps = "{kind: sleep, with: {for: 2h}}"
    runtime.start(package(f"yamlflow: 1\nname: waits\nsteps: {{a: {waits}, b: {sleeps}}}\n"), run_id="w")
    runtime.run_until_idle()
    clock.advance(HOUR)
    runtime.run_until_idle()
    assert runtime.remove("d") == 1
    clock.advance(HOUR)
    runtime.run_until_idle()
    last = runtime.run("w")
    assert last is not None
    assert last.status == "succeeded"


# -- retention -----------------------------------------------------------------------------------------------------


def test_ended_runs_are_kept_as_long_as_declared_and_removed_by_whoever_works(make: Make, clock: FakeClock) -> None:
    runtime = make()
    ended(runtime, kept("{finished: 7d}"), "short")
    ended(runtime, package("yamlflow: 1\nname: ever\nsteps: [{kind: noop}]\n"), "ever")
    runtime.start(
        package("yamlflow: 1\nname: long\nretention: {finished: 0s}\nsteps: [{kind: sleep, with: {for: 30d}}]\n")
    )
    for _ in range(6):
        clock.advance(DAY)
        runtime.run_once()
    assert runtime.run("short") is not None
    clock.advance(DAY)
    runtime.run_once()
    assert runtime.run("short") is None
    assert runtime.run("ever") is not None
    assert [row.status for row in runtime.list(package="long").runs] == ["running"]


def test_a_changed_declaration_applies_to_runs_that_ended_before_it(make: Make, clock: FakeClock) -> None:
    runtime = make()
    ended(runtime, kept("{finished: 30d}"), "r")
    clock.advance(2 * DAY)
    assert runtime.apply_retention() == 0
    make().register(kept("{finished: 1d}"))
    assert runtime.apply_retention() == 1


def test_a_package_that_declares_it_no_more_keeps_for_ever(make: Make, clock: FakeClock) -> None:
    runtime = make()
    ended(runtime, kept("{finished: 1d}"), "r")
    ended(runtime, kept("{}"), "s")
    clock.advance(1000 * DAY)
    assert runtime.apply_retention() == 0
    assert runtime.store.retentions() == []


def test_continued_runs_have_a_time_of_their_own(make: Make, clock: FakeClock) -> None:
    runtime = make()
    run = ended(runtime, kept("{continued: 0s}"), "r")
    with runtime.store.transaction() as tx:
        tx.update_run(run._replace(status="continued"))
    ended(runtime, kept("{continued: 0s}"), "r", if_exists="new")
    clock.advance(HOUR)
    assert runtime.apply_retention() == 1
    assert [row.execution for row in runtime.list(id="r").runs] == [2]


def test_whoever_waits_for_a_run_whose_last_execution_is_gone_gets_what_is_left(make: Make, clock: FakeClock) -> None:
    runtime = make()
    again = "steps: [{kind: continue_as_new, if: inputs.n < 1, with: {inputs: {n: 1}}}]"
    one = package(
        f"yamlflow: 1\nname: kept\nretention: {{finished: 0s}}\ninputs: {{n: {{type: integer, default: 0}}}}\n{again}\n"
    )
    ended(runtime, one, "r")
    runtime.apply_retention()
    left = runtime.wait("r", timeout=10)
    assert (left.execution, left.status) == (1, "continued")


def test_the_sweep_looks_once_a_minute_and_takes_a_batch(
    make: Make, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(removal, "BATCH", 3)
    runtime = make()
    for number in range(7):
        ended(runtime, kept("{finished: 1h}"), f"r{number}")
    clock.advance(HOUR)
    counts = []
    for _ in range(4):
        counts.append(runtime.remover.sweep())
    assert counts == [3, 3, 1, 0]
    ended(runtime, kept("{finished: 0s}"), "late")
    clock.advance(MINUTE - 1)
    assert runtime.remover.sweep() == 0
    clock.advance(1)
    assert runtime.remover.sweep() == 1


def test_a_look_costs_the_same_however_many_runs_are_kept(make: Make, clock: FakeClock) -> None:
    runtime = make()

    def statements() -> int:
        count = 0

        def step() -> int:
            nonlocal count
            count += 1
            return 0

        db = runtime.store._db  # type: ignore[attr-defined]
        db.set_progress_handler(step, 1)
        clock.advance(MINUTE)
        runtime.remover.sweep()
        db.set_progress_handler(None, 0)
        return count

    ended(runtime, kept("{finished: 30d}"), "first")
    few = statements()
    with runtime.store.transaction() as tx:
        row = runtime.run("first")
        assert row is not None
        for number in range(3000):
            tx.insert_run(row._replace(id=f"more-{number}", status=("failed", "continued")[number % 2]))
    assert statements() <= few + 20


# -- prune, list, count --------------------------------------------------------------------------------------------


def test_prune_takes_what_is_old_by_package_status_and_number(make: Make, clock: FakeClock) -> None:
    runtime = make()
    for number in range(4):
        ended(runtime, kept("{}", name=f"p{number % 2}"), f"r{number}")
        clock.advance(HOUR)
    assert [row.id for row in runtime.prune(older_than=2 * 3600, dry_run=True)] == ["r0", "r2", "r1"]
    assert runtime.prune(older_than=2 * 3600, status="failed") == []
    assert [row.id for row in runtime.prune(older_than=3600, package="p1", limit=1)] == ["r1"]
    assert [row.id for row in runtime.prune(older_than=0)] == ["r0", "r2", "r3"]
    assert runtime.list().runs == []
    with pytest.raises(UserError):
        runtime.prune(older_than=-1)


def test_pages_hold_every_run_once_also_when_others_start_and_leave_meanwhile(make: Make) -> None:
    runtime = make()
    for number in range(7):
        ended(runtime, kept("{}"), f"r{number}")
    page = runtime.list(limit=3, status=["succeeded", "failed"])
    seen = [row.id for row in page.runs]
    ended(runtime, kept("{}"), "new")
    runtime.remove("r4")
    while page.cursor is not None:
        page = runtime.list(limit=3, status=["succeeded", "failed"], cursor=page.cursor)
        seen += [row.id for row in page.runs]
    assert seen == ["r6", "r5", "r4", "r3", "r2", "r1", "r0"]
    with pytest.raises(UserError, match="no cursor"):
        runtime.list(cursor="r3")


def test_statistics_count_runs_calls_and_workers(make: Make, clock: FakeClock) -> None:
    runtime = make()
    ended(runtime, kept("{}"), "done")
    text = "yamlflow: 1\nname: q\nqueues: {one: {max_in_flight: 1}}\nsteps:\n  c: {kind: sleep, with: {for: 1h}}\n"
    runtime.start(package(text + "  a: {kind: noop, queue: one}\n  b: {kind: noop, queue: one}\n"), run_id="q")
    runtime.run_once()
    clock.advance(5 * SECOND)
    counted = runtime.statistics()
    assert (counted.runs, counted.active, counted.workers) == ({"succeeded": 1, "running": 1}, 1, 0)
    assert counted.queues["q/one"].ready >= 1
    assert counted.oldest_ready_age == 5 * SECOND
    assert json.loads(json.dumps(counted.to_json()))["queues"]["q/one"]["ready"] == counted.queues["q/one"].ready
    runtime.run_until_idle()
    after = runtime.statistics()
    assert (after.waiting, after.queues, after.oldest_ready_age) == (1, {}, None)


def test_a_status_that_there_is_not_is_refused(runtime: Callable[..., Runtime]) -> None:
    with pytest.raises(UserError, match='Did you mean "canceled"'):
        runtime().list(status="cancelled")
