"""Wall clocks that jump an hour in running processes (libfaketime): nothing runs out early, nothing stands still."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from .project import Process, Project

HOUR = 3600
LIBRARY = next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))), None)
JUMPS = pytest.mark.parametrize("jump", [HOUR, -HOUR], ids=["ahead", "back"])
#: Seconds that are generous on a busy machine.
LONG = 60


class Clock:
    """A wall clock that can be set while processes look at it."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.set(0)

    def set(self, seconds: int) -> None:
        """So far ahead of the real one."""
        new = self.file.with_suffix(".new")
        new.write_text(f"{seconds:+d}\n")
        new.replace(self.file)

    @property
    def env(self) -> dict[str, str]:
        """What makes a process look at it."""
        return {
            "LD_PRELOAD": str(LIBRARY), "FAKETIME_TIMESTAMP_FILE": str(self.file), "FAKETIME_NO_CACHE": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }  # fmt: skip


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    if LIBRARY is None:
        assert not os.environ.get("CI"), "libfaketime is not installed"
        pytest.skip("libfaketime is not installed")
    one = Project(tmp_path)
    yield one
    one.close()


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    return Clock(tmp_path / "clock")


@pytest.fixture
def started() -> Iterator[list[Process]]:
    """Processes that end with the test."""
    processes: list[Process] = []
    yield processes
    for process in processes:
        process.kill()


def package(project: Project, name: str, text: str) -> None:
    (project.folder / "workflows" / f"{name}.yaml").write_text(f"yamlflow: 1\nname: {name}\n{text}")


def at(project: Project, kind: str, step: str) -> int:
    """When something was last told of a step, milliseconds on the wall clock."""
    sql = "select at from events where kind = ? and step = ? order by seq desc limit 1"
    return int(project.query(sql, kind, step)[0][0])


TIMES = """
queues: {slow: {rate: 1/s}}
steps:
  nap: {kind: sleep, with: {for: 4s}}
  work: {kind: torture/work, with: {seconds: 4}}
  late: {timeout: 5s, continue_on_error: true, steps: {nap: {kind: sleep, with: {for: 30m}}}}
  flaky: {kind: torture/flaky, retry: {max_attempts: 2, delay: 4s, jitter: none}}
  each: {for_each: [1, 2, 3, 4, 5], kind: torture/work, queue: slow}
  end: {needs: {nap: succeeded, work: succeeded, late: failed, flaky: succeeded, each: succeeded}, kind: noop}
"""


@JUMPS
def test_in_a_worker_whose_clock_jumps_all_takes_as_long_as_it_should(
    project: Project, clock: Clock, started: list[Process], jump: int
) -> None:
    package(project, "times", TIMES)
    project.call("start", "times", "--run-id", "r", **clock.env)
    started.append(project.worker("w", lease="1s", **clock.env))
    project.wait_until(
        lambda: len(project.query("select 1 from events where kind = 'step.waiting'")) == 2
        and project.query("select 1 from events where kind = 'step.retried'"),
        "all timers are set", LONG,
    )  # fmt: skip
    clock.set(jump)
    project.wait_until(lambda: project.query("select 1 from runs where ended_at is not null"), "the run ends", LONG)
    assert project.query("select status from runs") == [("succeeded",)]
    assert project.query("select kind, step from events where kind in ('step.lost', 'step.refused')") == []
    moved = jump * 1000
    assert passed(at(project, "step.leased", "nap"), at(project, "step.woken", "nap"), moved) >= 4000
    assert passed(at(project, "step.opened", "late"), at(project, "step.failed", "late"), moved) >= 5000
    assert passed(at(project, "step.retried", "flaky"), at(project, "step.leased", "flaky"), moved) >= 4000
    sql = "select at from events where kind = 'step.leased' and step like 'each[%' order by seq"
    leased = [when for (when,) in project.query(sql)]
    assert all(passed(earlier, later, moved) >= 980 for earlier, later in pairwise(leased)), leased


def passed(earlier: int, later: int, moved: int) -> int:
    """Milliseconds from one to the other, whether the clock was moved between them or not; each is rounded twice."""
    passed = later - earlier if abs(later - earlier) < 1000 * LONG else later - earlier - moved
    assert passed < 1000 * LONG
    return passed + 5


def test_a_moment_of_the_day_comes_when_the_clock_says_so(
    project: Project, clock: Clock, started: list[Process]
) -> None:
    moment = (datetime.now(UTC) + timedelta(hours=1, seconds=1)).isoformat()
    package(project, "day", f"steps: {{a: {{kind: sleep, with: {{until: '{moment}'}}}}}}\n")
    project.call("start", "day", "--run-id", "r", **clock.env)
    started.append(project.worker("w", **clock.env))
    project.wait_until(lambda: project.query("select 1 from steps where status = 'waiting' and path = 'a'"), "it waits")
    clock.set(HOUR)
    project.wait_until(lambda: project.query("select 1 from runs where status = 'succeeded'"), "it wakes", LONG)


@JUMPS
def test_a_client_whose_clock_is_an_hour_off_starts_runs_and_waits_as_long_as_it_says(
    project: Project, clock: Clock, started: list[Process], jump: int
) -> None:
    package(project, "bounded", "timeout: 30s\nsteps: {a: {kind: sleep, with: {for: 3s}}}\n")
    started.append(project.worker("w", lease="1s"))
    project.wait_until(lambda: project.query("select 1 from workers"), "the worker is there")
    clock.set(jump)
    project.call("start", "bounded", "--run-id", "r", **clock.env)
    # Event.wait in the place of time.sleep, which libfaketime breaks.
    waits = (
        "import sys, threading, time, yamlflow.client as m; m.wait = lambda ms: threading.Event().wait(ms / 1000)\n"
        "c, t = m.Client(sys.argv[1]), time.monotonic()\n"
        "try: c.wait('r', 1); print('ended')\n"
        "except TimeoutError: print(time.monotonic() - t)\n"
        "print(c.wait('r', 60).status)"
    )
    waiting = subprocess.run(
        [sys.executable, "-c", waits, project.url], env={**os.environ, **clock.env}, capture_output=True, text=True,
        timeout=2 * LONG, check=True,
    )  # fmt: skip
    first, status = waiting.stdout.split()
    assert first == "ended" or 0.99 <= float(first) < LONG
    assert status == "succeeded"
    assert project.query("select 1 from events where kind = 'step.lost'") == []


@pytest.mark.parametrize("catch_up", ["none", "all"])
def test_schedules_act_on_each_time_once_however_the_clock_jumps(
    project: Project, clock: Clock, started: list[Process], catch_up: str
) -> None:
    package(project, "tick", f"schedule: [{{cron: '* * * * *', catch_up: {catch_up}}}]\nsteps: [{{kind: noop}}]\n")
    started.append(project.spawn("worker", "--schedule", "tick", "--poll", "100ms", **clock.env))
    project.wait_until(lambda: project.query("select 1 from schedules"), "it looks after the schedule")
    clock.set(HOUR)

    def runs() -> list[str]:
        return [id for (id,) in project.query("select id from runs order by id")]

    project.wait_until(
        lambda: project.query("select 1 from schedules where next_at > ?", (time.time() + HOUR) * 1000),
        "it has acted on the newest time", LONG,
    )  # fmt: skip
    after = runs()
    # Real minutes may pass meanwhile, too.
    assert len(after) in ((59, 60, 61, 62) if catch_up == "all" else (1, 2))
    clock.set(0)
    time.sleep(1.5)
    assert len(runs()) <= len(after) + 1
    clock.set(HOUR)
    time.sleep(1.5)
    assert len(runs()) <= len(after) + 2
    minutes = [datetime.strptime(id, "tick-%Y-%m-%dT%H.%M.%SZ") for id in runs()]
    assert len(set(minutes)) == len(minutes)
    if catch_up == "all":
        assert minutes == [minutes[0] + timedelta(minutes=number) for number in range(len(minutes))]
    assert json.loads(project.call("schedules", "--json", **clock.env))
