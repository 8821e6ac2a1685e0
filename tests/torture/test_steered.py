"""Several processes steer the same runs at once, while workers work on them: whatever the order, it comes to an end."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from yamlflow.client import Client
from yamlflow.errors import UserError

from .checks import Checks
from .project import Project

STEERED = """
signals: {go: {}}
steps:
  first: {kind: torture/work, undo: {kind: torture/work}}
  ask: {needs: first, kind: approval}
  go: {needs: first, kind: wait_signal, with: {signal: go}}
  each:
    needs: first
    for_each: [0, 1, 2, 3, 4]
    steps: {a: {kind: torture/work, undo: {kind: torture/work}}, b: {needs: a, kind: torture/spin}}
  shell: {needs: first, run: sleep 0.2}
  last: {needs: [ask, go, each, shell], kind: torture/work, locks: [torture-one]}
on_failure: {told: {kind: torture/work}}
on_cancel: {told: {kind: torture/work}}
finally: {last: {kind: torture/work}}
"""


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    one = Project(tmp_path)
    yield one
    one.close()


@contextmanager
def workers(project: Project, count: int = 2) -> Iterator[None]:
    """Some workers, that end well."""
    started = [project.worker(f"w{number}", lease="5s") for number in range(count)]
    try:
        yield
        for one in started:
            one.send(signal.SIGTERM)
        assert [one.wait(30) for one in started] == [0] * count
    finally:
        for one in started:
            if one.status is None:
                one.kill()


def package(project: Project, name: str, text: str) -> None:
    (project.folder / "workflows" / f"{name}.yaml").write_text(f"yamlflow: 1\nname: {name}\n{text}")


def steer(project: Project, *words: str, times: int) -> None:
    """A process for each list of words, all at once, until they are done."""
    several = [
        project.spawn(project.url, str(number), each, str(times), module="tests.torture.steer")
        for number, each in enumerate(words)
    ]
    for one in several:
        assert one.wait(120) == 0, one.tail()


def test_two_clients_that_do_everything_to_one_run_at_once_leave_it_able_to_end(project: Project) -> None:
    package(project, "steered", STEERED)
    with workers(project):
        project.call("start", "steered", "--run-id", "r")
        everything = "signal,approve,cancel,cancel-step,retry,retry,pause,unpause"
        steer(project, everything, everything, times=60)
        with Client(project.url) as client:
            deadline = time.monotonic() + 60
            while client.run("r").status != "succeeded":  # type: ignore[union-attr]
                assert time.monotonic() < deadline, Checks(project, []).story("r")
                for help_it in (
                    lambda: client.pause("r", paused=False),
                    lambda: client.approve("r", "ask"),
                    lambda: client.signal("r", "go"),
                    lambda: client.retry("r"),
                ):
                    try:
                        help_it()
                    except UserError:
                        pass
                time.sleep(0.05)
    checks = Checks(project, [])
    found = [checks.nothing_goes_on, checks.nothing_is_left, checks.files, checks.soundness]
    assert [problem for check in found for problem in check()] == []
    # Each signal was read by one step at most.
    assert (
        project.query("select taken_by from signals where taken_by is not null group by taken_by having count(*) > 1")
        == []
    )
    # What had ended began again only after somebody's retry.
    ended: set[str] = set()
    for kind, step in project.query("select kind, step from events order by seq"):
        if kind == "step.leased":
            assert step not in ended, f"{step} began again by itself"
        elif kind in ("step.succeeded", "step.failed"):
            ended.add(step)
        elif kind == "run.retried":
            ended.clear()


def test_runs_that_are_paused_and_resumed_all_the_time_do_each_step_once(project: Project) -> None:
    package(project, "many", "steps: {each: {for_each: '${{ range(80) }}', kind: torture/work}}\n")
    project.call("start", "many", "--run-id", "a")
    project.call("start", "many", "--run-id", "b")
    with workers(project):
        steer(project, "pause,unpause", "pause,unpause", times=60)
        with Client(project.url) as client:
            for run in ("a", "b"):
                try:
                    client.pause(run, paused=False)
                except UserError:
                    pass
                client.wait(run, 60)
    assert project.query("select status, count(*) from runs group by status") == [("succeeded", 2)]
    assert set(project.starts().values()) == {2}
    checks = Checks(project, [])
    found = [
        checks.outcomes_once,
        checks.leases,
        checks.marks,
        checks.attempts,
        checks.nothing_goes_on,
        checks.soundness,
    ]
    assert [problem for check in found for problem in check()] == []


def test_runs_that_are_removed_while_others_go_on_leave_nothing_and_harm_nobody(project: Project) -> None:
    text = (
        "signals: {go: {}}\nsteps:\n  work: {for_each: [1, 2, 3], kind: torture/work}\n"
        "  kept: {kind: record, with: {collection: kept, key: '${{ run.id }}', data: {run: '${{ run.id }}'}}}\n"
        "  said: {run: 'echo hi; touch \"$YAMLFLOW_DIR/x\"'}\n"
    )
    package(project, "short", text)
    package(
        project, "long", "steps: {each: {for_each: '${{ range(60) }}', kind: torture/work, with: {seconds: 0.1}}}\n"
    )
    project.call("start", "long", "--run-id", "long")
    lines = [["start", f"short-{number}", "short", {}] for number in range(30)]
    (project.folder / "commands").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with workers(project):
        starting = project.spawn(project.url, "commands", "done", module="tests.torture.client")
        steer(project, "remove", "remove,prune", "prune", times=40)
        assert starting.wait(60) == 0, starting.tail()
        with Client(project.url) as client:
            assert client.wait("long", 60).status == "succeeded"
            project.wait_until(lambda: not project.query("select 1 from runs where ended_at is null"), "all end")
            client.prune(older_than=0)
    assert project.starts()["each[0]"] == 1
    for table in ("runs", "steps", "events", "signals", "artifacts", "removals", "edges", "packages"):
        assert project.query(f"select count(*) from {table}") == [(0,)], table
    folder = project.store.parent / "runs"
    assert not folder.exists() or list(folder.iterdir()) == []
    # What was kept is the project's.
    rows = json.loads(project.call("records", "kept", "-p", "short", "--json"))
    assert sorted(row["key"] for row in rows) == sorted(f"short-{number}" for number in range(30))
