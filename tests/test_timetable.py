"""Schedules start each run once, at its time, whatever else happens."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from yamlflow import document
from yamlflow.clock import DAY, HOUR, MINUTE, to_text
from yamlflow.errors import InvalidPackage, NotAllowed
from yamlflow.packages import Loaded, loaded
from yamlflow.rows import ScheduleRow
from yamlflow.runtime import Runtime
from yamlflow.store.base import RunFilter
from yamlflow.testing import T0, FakeClock
from yamlflow.timetable import MOST, Fired

Make = Callable[..., Runtime]


def package(schedule: str, *, name: str = "tick", more: str = "") -> Loaded:
    """A package of one step with a schedule in flow style."""
    text = f"yamlflow: 1\nname: {name}\n{more}schedule: {schedule}\nsteps: {{a: {{kind: noop}}}}\n"
    return loaded(document.read(text, file=f"{name}.yaml"))


HOURLY = "[{cron: '0 * * * *'}]"


@pytest.fixture
def make(tmp_path: Path, clock: FakeClock) -> Iterator[Make]:
    """Runtimes on one store file and one clock."""
    opened: list[Runtime] = []

    def one(*schedules: Any, **options: Any) -> Runtime:
        given = {"store": f"sqlite:///{tmp_path}/y.db", "clock": clock, "synchronous": "normal", **options}
        opened.append(Runtime(**given, schedules=schedules))
        return opened[-1]

    yield one
    for each in opened:
        each.close()


def ids(runtime: Runtime) -> list[str]:
    """The runs there are, oldest first."""
    return [row.id for row in reversed(runtime.runs(RunFilter(limit=100_000)))]


def entry(runtime: Runtime) -> ScheduleRow:
    """The only entry of all schedules."""
    (row,) = runtime.store.schedules()
    return row


def test_a_time_that_concurrency_refuses_is_told_to_the_run_that_has_the_place(make: Make, clock: FakeClock) -> None:
    one = package(HOURLY, more="concurrency: {key: k, when_full: fail}\n")
    runtime = make(one)
    holder = runtime.start(one, run_id="holder")
    clock.advance(HOUR)
    runtime.timetable.fire()
    assert (ids(runtime), entry(runtime).last_run) == (["holder"], None)
    told = [event for event in runtime.store.events(holder.key) if event.kind == "start.refused"]
    assert [json.loads(event.payload or "")["by"] for event in told] == ["schedule"]


def test_a_run_starts_at_its_time_and_says_who_started_it(make: Make, clock: FakeClock) -> None:
    runtime = make(
        package(
            "[{cron: '30 5 * * *', timezone: Europe/Berlin, inputs: {n: 2}}]", more="inputs: {n: {type: integer}}\n"
        )
    )
    runtime.run_once()
    assert ids(runtime) == []
    clock.advance(4 * HOUR + 30 * MINUTE)
    assert runtime.run_once().succeeded == 1
    (run,) = runtime.runs()
    assert run.id == "tick-2026-01-01T04.30.00Z"
    assert (run.started_by, json.loads(run.inputs)) == ("schedule", {"n": 2})
    assert json.loads(run.metadata) == {"schedule": "30 5 * * *", "scheduled_at": "2026-01-01T04:30:00.000Z"}
    row = entry(runtime)
    assert (row.last_run, row.last_at, row.next_at) == (run.id, clock.now(), clock.now() + DAY)


def test_a_year_of_hours_in_berlin_starts_as_many_runs_as_it_has_hours(make: Make, clock: FakeClock) -> None:
    runtime = make(package("[{cron: '0 * * * *', timezone: Europe/Berlin}]"), store="sqlite:///:memory:")
    fired: list[Fired] = []
    runtime.timetable.on_fired = fired.append
    for _ in range(365 * 24):
        clock.advance(HOUR)
        runtime.timetable.fire()
    assert [one.at for one in fired] == [T0 + n * HOUR for n in range(1, 365 * 24 + 1)]
    assert len({one.run_id for one in fired}) == 365 * 24


def test_a_year_of_half_past_two_comes_once_a_day_also_where_clocks_change(make: Make, clock: FakeClock) -> None:
    runtime = make(package("[{cron: '30 2 * * *', timezone: Europe/Berlin}]"), store="sqlite:///:memory:")
    for _ in range(365 * 24 * 2):
        clock.advance(HOUR // 2)
        runtime.timetable.fire()
    found = ids(runtime)
    assert len(found) == 365
    assert "tick-2026-03-29T01.00.00Z" in found, "03:00 CEST stands for the reading that was skipped"
    assert [id for id in found if "2026-10-25" in id] == ["tick-2026-10-25T00.30.00Z"]


@pytest.mark.parametrize(
    ("catch_up", "late", "started", "passed"),
    [
        ("none", 0, ["01.00"], 0),
        ("none", 50_000, ["01.00"], 0),
        ("none", MINUTE + 1, [], 1),
        ("none", 3 * HOUR, ["04.00"], 3),
        ("none", 3 * HOUR + 5 * MINUTE, [], 4),
        ("latest", 5 * MINUTE, ["01.00"], 0),
        ("latest", 3 * HOUR + 5 * MINUTE, ["04.00"], 3),
        ("all", 3 * HOUR + 5 * MINUTE, ["01.00", "02.00", "03.00", "04.00"], 0),
    ],
)
def test_what_passed_while_nothing_ran_is_made_up_for_as_declared(
    make: Make, clock: FakeClock, catch_up: str, late: int, started: list[str], passed: int
) -> None:
    one = package(f"[{{cron: '0 * * * *', catch_up: {catch_up}}}]")
    make(one).close()
    clock.advance(HOUR + late)
    runtime = make(one)
    runtime.run_once()
    assert ids(runtime) == [f"tick-2026-01-01T{time}.00Z" for time in started]
    assert (entry(runtime).note or "").startswith(f"{passed} earlier time" if passed and len(started) < 2 else "")
    assert entry(runtime).next_at == (clock.now() // HOUR + 1) * HOUR
    runtime.run_once()
    assert len(ids(runtime)) == len(started)


def test_all_makes_up_for_the_newest_thousand_and_tells_of_the_rest(make: Make, clock: FakeClock) -> None:
    one = package("[{cron: '* * * * *', catch_up: all}]")
    make(one).close()
    clock.advance((MOST + 7) * MINUTE)
    runtime = make(one)
    fired = runtime.timetable.fire()
    assert len(fired) == MOST == len(ids(runtime))
    assert fired[0].at == T0 + 8 * MINUTE
    assert fired[0].note == "7 earlier times passed over (catch_up: all)"
    assert fired[-1].at == clock.now()


@pytest.mark.parametrize("cron", ["* * * * *", "*/7 3-5 * * *", "0 0 * * MON"])
@pytest.mark.parametrize("catch_up", ["latest", "all"])
def test_years_of_missed_times_are_not_looked_through_one_by_one(
    make: Make, clock: FakeClock, cron: str, catch_up: str
) -> None:
    one = package(f"[{{cron: '{cron}', catch_up: {catch_up}}}]")
    make(one).close()
    years = 60 if "MON" in cron else 2
    clock.advance(years * 365 * DAY + 5 * MINUTE)
    runtime = make(one)
    fired = runtime.timetable.fire()
    [(entry, _)] = runtime.timetable.entries()
    # The same, looked for from a little before: each time is there, in order.
    near = list(islice(entry.times.times(fired[0].at - 1000), len(fired)))
    assert [each.at for each in fired] == near
    following = entry.times.after(fired[-1].at)
    assert following is not None
    assert following > clock.now()
    assert len(fired) == (MOST if catch_up == "all" else 1)
    assert (fired[0].note or "").startswith("more than 2000 earlier times passed over")


def test_two_that_look_after_a_schedule_fire_a_time_once(make: Make, clock: FakeClock) -> None:
    one, two = make(package(HOURLY)), make(package(HOURLY))
    for _ in range(5):
        clock.advance(HOUR)
        assert sorted([len(one.timetable.fire()), len(two.timetable.fire())]) == [0, 1]
    assert len(ids(one)) == 5


def test_a_time_is_lost_or_doubled_by_no_crash_between_preparing_and_committing(make: Make, clock: FakeClock) -> None:
    runtime, other = make(package(HOURLY)), make(package(HOURLY))
    clock.advance(HOUR)
    begin = runtime.timetable._transaction

    def meanwhile() -> Any:
        # Between the preparing and the transaction of one, the other acts on the same time.
        runtime.timetable._transaction = begin
        assert len(other.timetable.fire()) == 1
        return begin()

    runtime.timetable._transaction = meanwhile
    assert runtime.timetable.fire() == []
    assert len(ids(runtime)) == 1


def test_a_changed_expression_or_zone_is_reckoned_anew_and_an_entry_that_is_gone_is_dropped(
    make: Make, clock: FakeClock
) -> None:
    make(package("[{cron: '0 * * * *'}, {cron: '0 9 * * *'}]")).close()
    runtime = make(package("[{cron: '0 12 * * *', timezone: Asia/Tokyo}]"))
    row = entry(runtime)
    assert (row.cron, row.timezone, to_text(row.next_at or 0)) == (
        "0 12 * * *",
        "Asia/Tokyo",
        "2026-01-01T03:00:00.000Z",
    )
    clock.advance(2 * HOUR)
    assert runtime.timetable.fire() == []
    make(package("[]"))
    assert runtime.store.schedules() == []
    clock.advance(2 * HOUR)
    assert runtime.timetable.fire() == [], "what another process took out of the schedule is not acted on"


def test_an_entry_that_stayed_keeps_its_time_when_the_package_is_loaded_again(make: Make, clock: FakeClock) -> None:
    make(package("[{cron: '0 * * * *', catch_up: latest}]")).close()
    clock.advance(90 * MINUTE)
    assert make(package("[{cron: '0 * * * *', catch_up: latest, inputs: {}}]")).timetable.next_at == T0 + HOUR


def test_entries_that_fall_on_one_time_start_a_run_each(make: Make, clock: FakeClock) -> None:
    runtime = make(package("[{cron: '0 * * * *'}, {cron: '0 1 * * *'}]"))
    clock.advance(HOUR)
    runtime.run_once()
    assert ids(runtime) == ["tick-2026-01-01T01.00.00Z", "tick-2026-01-01T01.00.00Z.1"]


def test_a_time_that_is_refused_is_told_of_and_not_tried_again(
    make: Make, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    from yamlflow.engine import commands

    def full(*_: Any) -> Any:
        raise NotAllowed("as many runs go on as may")

    runtime = make(package(HOURLY), package(HOURLY, name="other"))
    start = commands.start
    monkeypatch.setattr(commands, "start", full)
    clock.advance(HOUR)
    assert [one.note for one in runtime.timetable.fire()] == ["as many runs go on as may"] * 2
    assert runtime.timetable.fire() == []
    row = runtime.store.schedules()[0]
    assert (row.last_at, row.last_run, row.note) == (clock.now(), None, "as many runs go on as may")
    monkeypatch.setattr(commands, "start", start)
    clock.advance(HOUR)
    assert [one.note for one in runtime.timetable.fire()] == [None, None]
    assert runtime.store.schedules()[0].note is None


def test_a_schedule_whose_inputs_do_not_fit_does_not_stop_the_others(make: Make, clock: FakeClock) -> None:
    broken = package("[{cron: '0 * * * *'}]", name="broken", more="inputs: {n: {type: integer}}\n")
    runtime = make(broken, package(HOURLY))
    clock.advance(HOUR)
    assert [one.run_id is None for one in runtime.timetable.fire()] == [True, False]
    assert "n" in (runtime.store.schedules()[0].note or "")


def test_a_run_that_somebody_started_under_the_id_is_taken_for_it(make: Make, clock: FakeClock) -> None:
    runtime = make(package(HOURLY))
    runtime.start(package(HOURLY), run_id="tick-2026-01-01T01.00.00Z")
    clock.advance(HOUR)
    runtime.run_once()
    assert len(ids(runtime)) == 1
    assert entry(runtime).next_at == T0 + 2 * HOUR


@pytest.mark.parametrize(
    ("schedule", "place"),
    [
        ("[{cron: '0 25 * * *'}]", "tick.yaml:3:19: schedule[0].cron: "),
        ("[{cron: '0 5 * * *', timezone: Europe/Berln}]", "tick.yaml:3:42: schedule[0].timezone: "),
    ],
)
def test_what_cannot_be_is_refused_with_its_place(make: Make, schedule: str, place: str) -> None:
    with pytest.raises(InvalidPackage) as refused:
        make(package(schedule))
    assert str(refused.value).startswith(place)


def test_a_changed_file_is_taken_up_and_a_broken_one_leaves_what_was(make: Make, clock: FakeClock) -> None:
    current = [package(HOURLY)]
    runtime = make()
    runtime.timetable.add(current[0], lambda: current[0])
    assert runtime.timetable.refresh() == []
    current[0] = package("[{cron: '30 * * * *'}]")
    assert runtime.timetable.refresh() == ["tick"]
    assert runtime.timetable.next_at == T0 + HOUR // 2
    current[0] = package("[{cron: '99 * * * *'}]")
    assert runtime.timetable.refresh() == []
    assert runtime.timetable.next_at == T0 + HOUR // 2


def test_a_worker_fires_its_schedules_while_it_works(make: Make, clock: FakeClock) -> None:
    runtime = make(package(HOURLY))
    clock.advance(HOUR)
    runtime.run_workers(lambda: any(run.status == "succeeded" for run in runtime.runs()))
    assert ids(runtime) == ["tick-2026-01-01T01.00.00Z"]
