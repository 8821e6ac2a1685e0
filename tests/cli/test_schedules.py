"""Schedules on the command line: listed, looked after, and what is wrong with them said where it stands."""

from __future__ import annotations

from pathlib import Path

from .conftest import HELLO, Cli, Write

NIGHTLY = """
    yamlflow: 1
    name: nightly
    schedule:
      - {cron: "30 2 * * *", timezone: Europe/Berlin}
      - {cron: "@hourly", catch_up: latest}
    retention: {finished: 1d}
    steps: [{kind: noop}]
"""


def test_schedules_lists_entries_with_their_next_times(cli: Cli, write: Write) -> None:
    write("workflows/nightly.yaml", NIGHTLY)
    write("workflows/hello.yaml", HELLO)
    listed = cli("schedules", "--json", "--count", 3).json
    assert [(one["package"], one["entry"], one["cron"], one["catch_up"], one["known"]) for one in listed] == [
        ("nightly", 0, "30 2 * * *", "none", False),
        ("nightly", 1, "@hourly", "latest", False),
    ]
    assert all("T02:30:00+0" in time or "T03:00:00+02:00" in time for time in listed[0]["next"])
    assert len(listed[1]["next"]) == 3
    assert "Europe/Berlin" in cli("schedules").out


def test_a_broken_package_is_told_of_and_does_not_stop_the_others(cli: Cli, write: Write) -> None:
    write("workflows/nightly.yaml", NIGHTLY)
    write("workflows/broken.yaml", NIGHTLY.replace("nightly", "broken").replace("30 2", "30 25"))
    write("workflows/wrong.yaml", "yamlflow: 1\nname: wrong\nsteps: [\n")
    done = cli("scheduler", "--once")
    assert done.status == 0
    assert (
        'workflows/broken.yaml:4:12: schedule[0].cron: "30 25 * * *" is no cron expression: the hour "25"' in done.err
    )
    assert "scheduler looks after nightly" in done.err
    assert {one["package"] for one in cli("schedules", "--json").json} == {"nightly"}
    assert cli("validate", "workflows/broken.yaml").status == 2


def test_without_a_schedule_to_look_after_nothing_is_begun(cli: Cli, write: Write, folder: Path) -> None:
    write("workflows/hello.yaml", HELLO)
    for words in (("scheduler",), ("schedules",), ("scheduler", "hello"), ("worker", "--schedules", "--max-cycles", 1)):
        refused = cli(*words)
        assert (refused.status, "no package with a schedule" in refused.err) == (2, True), words
    assert not (folder / ".yamlflow").exists()
    assert 'Did you mean "hello"?' in cli("scheduler", "helo").err


def test_a_dry_run_stores_nothing(cli: Cli, write: Write, folder: Path) -> None:
    write("nightly.yaml", NIGHTLY)
    listed = cli("scheduler", "nightly.yaml", "--dry-run")
    assert (listed.status, "30 2 * * *" in listed.out) == (0, True)
    assert not (folder / ".yamlflow").exists()


def test_a_worker_looks_after_schedules_too(cli: Cli, write: Write) -> None:
    write("workflows/nightly.yaml", NIGHTLY)
    done = cli("worker", "--schedule", "nightly", "--max-cycles", 1)
    assert "it looks after the schedules of nightly" in done.err
    assert [one["known"] for one in cli("schedules", "--json").json] == [True, True]


def test_prune_applies_what_packages_now_say_of_retention(cli: Cli, write: Write) -> None:
    write("workflows/nightly.yaml", NIGHTLY)
    cli("run", "nightly", "--run-id", "n", "-q")
    assert cli("prune", "--retention", "--json").json == []
    write("workflows/nightly.yaml", NIGHTLY.replace("finished: 1d", "finished: 0s"))
    assert cli("prune", "--retention", "--dry-run", "--json").json == ["n"]
    assert cli("prune", "--retention", "--json").json == ["n"]
    assert cli("prune", "--retention", "--package", "x").status == 2


def test_runs_are_found_by_several_filters_and_pages(cli: Cli, write: Write) -> None:
    write("hello.yaml", HELLO)
    for number in range(3):
        cli("run", "hello.yaml", "-q", "--run-id", f"a-{number}", "--name", f"Invoice {number}")
    cli("start", "hello.yaml", "--run-id", "b")

    def ids(*words: object) -> list[str]:
        return [one["id"] for one in cli("runs", "--json", *words).json]

    assert ids("--prefix", "a-", "--limit", 2) == ["a-2", "a-1"]
    assert ids("--prefix", "a-", "--limit", 2, "--before", "a-1") == ["a-0"]
    assert ids("--search", "INVOICE 1") == ["a-1"]
    assert ids("--status", "succeeded", "--status", "running") == ["b", "a-2", "a-1", "a-0"]
    assert ids("--since", "1h", "--ended-since", "1h") == ["a-2", "a-1", "a-0"]
    assert ids("--until", "1h") == ids("--until", "2020-01-01") == ids("--ended-until", "2020-01-01T06:00+02:00") == []
    assert cli("runs", "--since", "yesterday").status == 2
