"""Cron expressions name the moments that the module's rule says, also where clocks change."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import given, settings
from hypothesis import strategies as st

from yamlflow.cron import Cron, InvalidCron

BERLIN, SYDNEY, HOWE = "Europe/Berlin", "Australia/Sydney", "Australia/Lord_Howe"


def ms(text: str) -> int:
    """An ISO time with its offset, as milliseconds."""
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def shown(cron: str, zone: str, after: str, count: int) -> list[str]:
    """The next times, as local time with offset."""
    found = islice(Cron.read(cron, zone).times(ms(after)), count)
    return [datetime.fromtimestamp(each / 1000, ZoneInfo(zone)).strftime("%m-%d %H:%M%z") for each in found]


@pytest.mark.parametrize(
    ("cron", "zone", "after", "times"),
    [
        # Spring forward: 02:00 CET becomes 03:00 CEST.
        ("30 2 * * *", BERLIN, "2026-03-28T12:00+01:00", ["03-29 03:00+0200", "03-30 02:30+0200"]),
        ("0,30 2,3 * * *", BERLIN, "2026-03-28T12:00+01:00", ["03-29 03:00+0200", "03-29 03:30+0200"]),
        ("*/30 * * * *", BERLIN, "2026-03-29T01:15+01:00", ["03-29 01:30+0100", "03-29 03:00+0200"]),
        ("0 * * * *", BERLIN, "2026-03-29T00:30+01:00", ["03-29 01:00+0100", "03-29 03:00+0200", "03-29 04:00+0200"]),
        ("*/20 2 * * *", BERLIN, "2026-03-29T00:30+01:00", ["03-30 02:00+0200"]),
        # Fall back: 03:00 CEST becomes 02:00 CET.
        ("30 2 * * *", BERLIN, "2026-10-24T12:00+02:00", ["10-25 02:30+0200", "10-26 02:30+0100"]),
        ("30 2 * * *", BERLIN, "2026-10-25T02:10+01:00", ["10-26 02:30+0100"]),
        ("0 * * * *", BERLIN, "2026-10-25T01:30+02:00", ["10-25 02:00+0200", "10-25 02:00+0100", "10-25 03:00+0100"]),
        ("30 3 * * *", BERLIN, "2026-10-25T02:50+02:00", ["10-25 03:30+0100"]),
        # The south: forward in October, back in April.
        ("30 2 * * *", SYDNEY, "2026-10-03T12:00+10:00", ["10-04 03:00+1100", "10-05 02:30+1100"]),
        ("30 2 * * *", SYDNEY, "2026-04-04T12:00+11:00", ["04-05 02:30+1100", "04-06 02:30+1000"]),
        ("*/30 2 * * *", SYDNEY, "2026-04-05T01:00+11:00",
         ["04-05 02:00+1100", "04-05 02:30+1100", "04-05 02:00+1000", "04-05 02:30+1000", "04-06 02:00+1000"]),
        # Half an hour: 02:00 becomes 02:30 in October, and 02:00 becomes 01:30 in April.
        ("15 2 * * *", HOWE, "2026-10-03T12:00+10:30", ["10-04 02:30+1100", "10-05 02:15+1100"]),
        ("*/15 3 * * *", HOWE, "2026-10-04T01:00+10:30", ["10-04 03:00+1100", "10-04 03:15+1100"]),
        ("0 */3 * * *", HOWE, "2026-10-04T00:30+10:30", ["10-04 03:00+1100", "10-04 06:00+1100"]),
        ("45 1 * * *", HOWE, "2026-04-04T12:00+11:00", ["04-05 01:45+1100", "04-06 01:45+1030"]),
        ("*/15 1,2 * * *", HOWE, "2026-04-05T01:20+11:00",
         ["04-05 01:30+1100", "04-05 01:45+1100", "04-05 01:30+1030", "04-05 01:45+1030", "04-05 02:00+1030"]),
        # A whole day that was not: Samoa crossed the date line.
        ("0 12 * * *", "Pacific/Apia", "2011-12-29T13:00-10:00", ["12-31 00:00+1400", "12-31 12:00+1400"]),
    ],
)  # fmt: skip
def test_where_clocks_change_the_rule_holds(cron: str, zone: str, after: str, times: list[str]) -> None:
    assert shown(cron, zone, after, len(times)) == times


@pytest.mark.parametrize(
    ("cron", "times"),
    [
        ("@hourly", ["01-01 00:00+0000", "01-01 01:00+0000"]),
        ("@daily", ["01-01 00:00+0000", "01-02 00:00+0000"]),
        ("@Monthly", ["01-01 00:00+0000", "02-01 00:00+0000"]),
        ("0 0 L * *", ["01-31 00:00+0000", "02-28 00:00+0000"]),
        ("0 0 * feb-mar 5L", ["02-27 00:00+0000", "03-27 00:00+0000"]),
        ("0 0 * * mon#2", ["01-12 00:00+0000", "02-09 00:00+0000"]),
        ("0 0 13 * FRI", ["01-02 00:00+0000", "01-09 00:00+0000", "01-13 00:00+0000"]),
        ("0 0 */13 * FRI", ["02-27 00:00+0000", "03-27 00:00+0000"]),
        ("0 0 * * 7", ["01-04 00:00+0000"]),
        ("0 0 29 2 *", ["02-29 00:00+0000"]),
    ],
)  # fmt: skip
def test_the_extensions_that_hold(cron: str, times: list[str]) -> None:
    assert shown(cron, "UTC", "2025-12-31T23:59:59+00:00", len(times)) == times


@pytest.mark.parametrize(
    ("cron", "zone", "words"),
    [
        ("0 25 * * *", "UTC", 'the hour "25"'),
        ("0 6 * * tues", "UTC", 'the day of week "tues"'),
        ("61 * * * *", "UTC", 'the minute "61"'),
        ("@dayly", "UTC", 'Did you mean "@daily"?'),
        ("@reboot", "UTC", "There are: @hourly"),
        ("0 0 6 * * *", "UTC", "Seconds are not among them"),
        ("0 0 30 2 *", "UTC", "never comes"),
        ("0 0 31 2,4 1#1", "UTC", ""),
        ("0 6 * * *", "Europe/Berln", 'Did you mean "Europe/Berlin"?'),
        ("0 6 * * *", "berlin", 'Did you mean "Europe/Berlin"?'),
        ("0 6 * * *", "/etc/passwd", "there is no time zone"),
        ("0 6 * * *", "", "there is no time zone"),
    ],
)
def test_what_cannot_be_is_refused_with_its_remedy(cron: str, zone: str, words: str) -> None:
    if words:
        with pytest.raises(InvalidCron, match=words.replace("?", r"\?")):
            Cron.read(cron, zone)
    else:
        assert Cron.read(cron, zone).after(0) is not None


# -- the rule, once more and slowly ------------------------------------------------------------------------------------

ZONES = st.sampled_from([BERLIN, SYDNEY, HOWE, "America/New_York", "Asia/Kathmandu", "Africa/Casablanca", "UTC"])
MINUTES = st.sampled_from(["0", "30", "*/15", "*", "5,45", "59"])
HOURS = st.sampled_from(["*", "2", "1-3", "*/3", "0", "23,1"])
DAYS = st.sampled_from(["* * *", "* * SUN", "1-7 4,10 *"])
#: Around clock changes, where it matters.
STARTS = st.sampled_from(
    [datetime(2026, month, day, tzinfo=UTC) for month, day in ((3, 28), (10, 24), (4, 4), (10, 3), (3, 8), (11, 1))]
)


def slowly(cron: Cron, start: datetime, hours: int) -> list[datetime]:
    """The rule by looking at every minute: what the clock reads, and what is skipped."""
    zone, found = cron.zone, []
    due = False
    before = start.astimezone(zone).replace(tzinfo=None)
    seen: set[datetime] = {before}
    for minute in range(1, hours * 60 + 1):
        moment = start + timedelta(minutes=minute)
        wall = moment.astimezone(zone).replace(tzinfo=None)
        if cron.by_elapsed_time:
            due = matches(cron, wall)
        else:
            gap = (before + timedelta(minutes=each) for each in range(1, int((wall - before).total_seconds()) // 60))
            due = any(matches(cron, each) for each in gap) or (matches(cron, wall) and wall not in seen)
            seen.add(wall)
        if due:
            found.append(moment)
        before = wall
    return found


def matches(cron: Cron, wall: datetime) -> bool:
    return next(CronSim(cron.fields, wall - timedelta(minutes=1))) == wall


@settings(max_examples=60, deadline=None)
@given(ZONES, MINUTES, HOURS, DAYS, STARTS, st.integers(0, 30 * 60))
def test_the_times_are_those_of_looking_at_every_minute(
    zone: str, minute: str, hour: str, days: str, start: datetime, late: int
) -> None:
    cron = Cron.read(f"{minute} {hour} {days}", zone)
    # Far enough before that the slow rule has seen both of two equal readings.
    expected = slowly(cron, start, 54)
    asked = start + timedelta(minutes=late)
    end = start + timedelta(hours=54)
    found = []
    for each in cron.times(round(asked.timestamp() * 1000)):
        moment = datetime.fromtimestamp(each / 1000, UTC)
        if moment > end:
            break
        found.append(moment)
    assert found == [moment for moment in expected if moment > asked]


def test_a_time_is_the_same_whether_one_walks_to_it_or_asks_from_just_before() -> None:
    cron = Cron.read("*/7 1-3 * * *", HOWE)
    times = list(islice(cron.times(ms("2026-04-03T00:00+11:00")), 200))
    assert [cron.after(before) for before in times[:-1]] == times[1:]
