"""``run`` and ``start``: inputs, outputs, help, and what the exit status says."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import FLAKY, HELLO, Cli, Write


def test_outputs_go_to_stdout_and_progress_to_stderr(cli: Cli, write: Write) -> None:
    write("hello.yaml", HELLO)
    ran = cli("run", "hello.yaml")
    assert ran.status == 0
    assert ran.out == "text: hello world\ntimes: 1\nloud: false\ntags: []\n"
    assert "greet succeeded" in ran.err


def test_quiet_prints_nothing_but_the_outputs(cli: Cli, write: Write) -> None:
    write("hello.yaml", HELLO)
    ran = cli("run", "hello.yaml", "-q")
    assert (ran.status, ran.err) == (0, "")


def test_json_prints_one_document_for_programs(cli: Cli, write: Write) -> None:
    write("hello.yaml", HELLO)
    document = cli("run", "hello.yaml", "--json", "-q", "--run-id", "one").json
    assert document["run"] == "one"
    assert document["status"] == "succeeded"
    assert document["outputs"]["text"] == "hello world"
    assert document["error"] is None


def test_the_inputs_of_a_package_are_options(cli: Cli, write: Write) -> None:
    write("hello.yaml", HELLO)
    ran = cli("run", "hello.yaml", "--who=Ada", "--times", 3, "--loud", "--tags", 1, "--tags", 2, "--json", "-q")
    assert ran.json["outputs"] == {"text": "hello Ada", "times": 3, "loud": True, "tags": [1, 2]}
    assert cli("run", "--loud", "hello.yaml", "--no-loud", "--json", "-q").json["outputs"]["loud"] is False


def test_an_option_goes_before_a_pair_and_a_pair_before_a_file(cli: Cli, write: Write) -> None:
    write("hello.yaml", HELLO)
    write("in.yaml", "who: file\ntimes: 2\nloud: true\n")
    ran = cli("run", "hello.yaml", "--input-file", "in.yaml", "-i", "who=pair", "-i", "times=3", "--times=4", "--json")
    assert ran.json["outputs"] == {"text": "hello pair", "times": 4, "loud": True, "tags": []}


def test_the_help_of_a_package_tells_of_its_inputs_and_outputs(cli: Cli, write: Write) -> None:
    write("hello.yaml", HELLO)
    text = cli("run", "hello.yaml", "--help").out
    for words in ("Say hello", "Greets whoever is named.", "--who", "Whom to greet.", "default: world"):
        assert words in text
    assert "--loud / --no-loud" in text
    assert "from 1, to 9" in text
    assert "steps.greet.result.text" in text


def test_an_input_whose_name_is_taken_is_given_as_a_pair(cli: Cli, write: Write) -> None:
    write("taken.yaml", HELLO.replace("who:", "name:").replace("inputs.who", "inputs.name"))
    assert "-i name=STRING" in cli("run", "taken.yaml", "--help").out
    assert "text: hello Ada" in cli("run", "taken.yaml", "-i", "name=Ada", "--name", "shown in listings").out


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--tims", "3"), "--times"),
        (("--times", "many"), "expected a whole number"),
        (("--times", "12"), "12 is greater than the maximum of 9"),
        (("-i", "tims=3"), 'Did you mean "times"?'),
        (("-i", "times"), "name=value"),
        (("-i", "times=1", "-i", "times=2"), "this is no list, and it is given 2 times"),
        (("--times", "1", "--times", "2"), "this is no list, and it is given 2 times"),
        (("-i", "tags=[1"), "this is broken JSON: expecting ',' delimiter, at character 3. Given: [1"),
        (("--tags", "[1"), "this is broken JSON: expecting ',' delimiter, at character 3. Given: [1"),
        (("--input-file", "nowhere.yaml"), "nowhere.yaml"),
    ],
)
def test_a_wrong_input_is_named_and_nothing_is_stored(
    cli: Cli, write: Write, args: tuple[str, ...], words: str
) -> None:
    write("hello.yaml", HELLO)
    ran = cli("run", "hello.yaml", *args)
    assert ran.status == 2
    assert words in ran.err
    assert cli("runs", "--json").json == []


def test_a_failed_run_names_the_step_its_log_and_the_way_to_retry(cli: Cli, write: Write) -> None:
    write("flaky.yaml", FLAKY)
    ran = cli("run", "flaky.yaml", "--run-id", "f1")
    assert ran.status == 1
    assert ran.out == ""
    for words in ("step shaky", "exit_status", "| looking for it", "| it is not there", "yamlflow retry f1"):
        assert words in ran.err


def test_retry_goes_on_in_the_foreground_when_no_worker_is_running(cli: Cli, write: Write) -> None:
    write("flaky.yaml", FLAKY)
    cli("run", "flaky.yaml", "--run-id", "f1")
    again = cli("retry", "f1")
    assert (again.status, again.out) == (0, "ok: true\n")
    assert "first started" not in again.err


def test_retry_of_what_has_not_failed_is_refused(cli: Cli, write: Write) -> None:
    write("hello.yaml", HELLO)
    cli("run", "hello.yaml", "--run-id", "h1")
    ran = cli("retry", "h1")
    assert ran.status == 2
    assert "only what failed or was canceled can be retried" in ran.err


def test_a_run_id_in_use_is_refused_joined_or_begun_anew(cli: Cli, write: Write) -> None:
    write("hello.yaml", HELLO)
    cli("run", "hello.yaml", "--run-id", "h1", "--who", "one")
    assert cli("run", "hello.yaml", "--run-id", "h1").status == 2
    joined = cli("run", "hello.yaml", "--run-id", "h1", "--who", "two", "--if-exists", "join")
    assert "hello one" in joined.out
    anew = cli("run", "hello.yaml", "--run-id", "h1", "--who", "two", "--if-exists", "new", "--json")
    assert (anew.json["execution"], anew.json["outputs"]["text"]) == (2, "hello two")
    assert "hello one" in cli("result", "h1@1").out


def test_a_dry_run_prints_the_plan_and_stores_nothing(cli: Cli, write: Write) -> None:
    write("flaky.yaml", FLAKY)
    ran = cli("run", "flaky.yaml", "--dry-run")
    assert ran.status == 0
    assert "shaky  [shell]  needs first" in ran.out
    assert cli("runs", "--json").json == []


def test_start_leaves_the_run_to_a_worker(cli: Cli, write: Write) -> None:
    write("hello.yaml", HELLO)
    started = cli("start", "hello.yaml", "--run-id", "h1", "--meta", "team=news")
    assert (started.status, started.out) == (0, "h1\n")
    assert "no worker is running" in started.err
    assert cli("runs", "--meta", "team=news", "--json").json[0]["status"] == "running"
    assert cli("worker", "--max-cycles", 10).status == 0
    assert cli("result", "h1").json["text"] == "hello world"


def test_a_run_in_the_foreground_leaves_other_runs_alone(cli: Cli, write: Write) -> None:
    write("hello.yaml", HELLO)
    cli("start", "hello.yaml", "--run-id", "other")
    cli("run", "hello.yaml", "--run-id", "mine")
    statuses = {one["id"]: one["status"] for one in cli("runs", "--json").json}
    assert statuses == {"mine": "succeeded", "other": "running"}


def test_resume_goes_on_with_every_run_that_has_not_ended(cli: Cli, write: Write) -> None:
    write("hello.yaml", HELLO)
    for id in ("one", "two"):
        cli("start", "hello.yaml", "--run-id", id)
    resumed = cli("resume")
    assert resumed.status == 0
    assert "one: greet succeeded" in resumed.err
    assert "two: greet succeeded" in resumed.err
    assert cli("resume").err == "no run is unfinished\n"


def test_a_canceled_run_ends_with_3(cli: Cli, write: Write) -> None:
    write("hello.yaml", HELLO)
    cli("start", "hello.yaml", "--run-id", "h1")
    assert cli("cancel", "h1", "--reason", "wrong one").status == 0
    resumed = cli("resume", "h1")
    assert resumed.status == 3
    assert "reason: wrong one" in resumed.err
    assert cli("result", "h1").status == 3


def test_a_large_fan_out_is_counted_not_listed(cli: Cli, write: Write) -> None:
    write("wide.yaml", "yamlflow: 1\nname: wide\nsteps:\n  each: {for_each: '${{ range(300) }}', kind: noop}\n")
    ran = cli("run", "wide.yaml", "--run-id", "w")
    assert len(ran.err.splitlines()) < 20
    assert "each succeeded" in ran.err
    shown = cli("show", "w")
    assert "300/300 done" in shown.out
    assert len(shown.out.splitlines()) < 30


def test_two_failures_of_many_are_named(cli: Cli, write: Write) -> None:
    write(
        "some.yaml",
        """
        yamlflow: 1
        name: some
        steps:
          each:
            for_each: {items: "${{ range(100) | list }}", tolerate: 5}
            steps:
              look: {kind: noop}
              bad: {needs: look, if: item == 3 or item == 70, kind: fail, with: {code: odd, message: "at ${{ item }}"}}
        """,
    )
    ran = cli("run", "some.yaml", "--run-id", "s")
    assert ran.status == 0
    assert "each[3]/bad failed" in ran.err
    assert "each[70]/bad failed" in ran.err
    assert "each[5]" not in ran.err
    shown = cli("show", "s").out
    assert "each[70]" in shown
    assert "at 70" in shown


def test_a_pair_means_what_the_option_means(cli: Cli, write: Write) -> None:
    write("hello.yaml", HELLO)
    for given in (("-i", "tags=7"), ("--tags", "7"), ("-i", "tags=[7]"), ("--tags", "[7]")):
        assert cli("run", "hello.yaml", *given, "--json", "-q").json["outputs"]["tags"] == [7], given
    several = cli("run", "hello.yaml", "-i", "tags=7", "-i", "tags=8", "--json", "-q")
    assert several.json["outputs"]["tags"] == [7, 8]


WIDE = """
    yamlflow: 1
    name: wide
    steps:
      one: {for_each: [1], kind: noop}
      each: {for_each: "${{ range(30) | list }}", steps: {bad: {if: "item % 10 == 0", kind: fail}}}
"""


def test_the_end_of_a_failed_fan_out_counts_its_failures(cli: Cli, write: Write) -> None:
    write("wide.yaml", WIDE)
    ran = cli("run", "wide.yaml")
    assert ran.status == 1
    assert "step each: 3 of 30 failed" in ran.err
    assert "one opened, 1 item\n" in ran.err


LATE = """
    yamlflow: 1
    name: late
    steps:
      bad: {kind: fail}
      wait: {kind: sleep, with: {for: 1h}}
"""


def test_cancel_says_what_will_become_of_the_run(cli: Cli, write: Write) -> None:
    write("late.yaml", LATE)
    write("hello.yaml", HELLO)
    cli("start", "late.yaml", "--run-id", "l1")
    cli("worker", "--max-cycles", 3, "-q")
    canceled = cli("cancel", "l1")
    assert (canceled.status, canceled.out) == (0, "run l1 failed: a step had failed before\n")
    assert cli("runs", "--json").json[0]["status"] == "failed"
    cli("start", "hello.yaml", "--run-id", "h1")
    canceled = cli("cancel", "h1")
    assert (canceled.status, canceled.out) == (0, "run h1 was canceled\n")
    again = cli("cancel", "h1")
    assert (again.status, again.err) == (0, "run h1 has ended already: it was canceled\n")


def test_cancel_of_what_still_ends_tells_of_both_ends(
    cli: Cli, write: Write, folder: Path, process: Callable[..., subprocess.Popen[str]]
) -> None:
    write("slow.yaml", "yamlflow: 1\nname: slow\nsteps: {a: {run: touch begun; sleep 30}}\n")
    running = process("run", "slow.yaml", "--run-id", "s1", "-q")
    while not (folder / "begun").exists():
        with pytest.raises(subprocess.TimeoutExpired):
            running.wait(0.02)
    told = cli("cancel", "s1")
    running.communicate(timeout=20)
    assert told.out == "run s1 was told to stop; it will end canceled, or failed if a step had failed before\n"
    assert (told.status, running.returncode) == (0, 3)


def test_resume_of_what_has_ended_tells_how_and_ends_likewise(cli: Cli, write: Write) -> None:
    write("hello.yaml", HELLO)
    write("flaky.yaml", FLAKY)
    cli("run", "hello.yaml", "--run-id", "h1")
    cli("run", "flaky.yaml", "--run-id", "f1")
    good, bad = cli("resume", "h1"), cli("resume", "f1")
    assert good.status == 0
    assert "run h1 has ended already; there is nothing to resume" in good.err
    assert "text: hello world" in good.out
    assert bad.status == 1
    assert "run f1 failed" in bad.err
    assert "yamlflow retry f1" in bad.err
    assert cli("resume", "f1", "--json", "-q").json["status"] == "failed"


@pytest.mark.parametrize(("flags", "cleaned"), [((), True), (("--force",), False)])
def test_a_forced_cancel_begins_no_handler(
    cli: Cli, write: Write, folder: Path, flags: tuple[str, ...], cleaned: bool
) -> None:
    write(
        "tidy.yaml",
        """
        yamlflow: 1
        name: tidy
        steps: {wait: {kind: sleep, with: {for: 1h}}}
        finally: [{run: touch cleaned}]
        """,
    )
    cli("start", "tidy.yaml", "--run-id", "t1")
    cli("worker", "--max-cycles", 2, "-q")
    assert cli("cancel", "t1", *flags).status == 0
    assert cli("resume", "t1", "-q").status == 3
    assert (folder / "cleaned").exists() is cleaned
