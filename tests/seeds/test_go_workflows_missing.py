"""What go-workflows lacks (the end of section 6 of its features), each as a test named for it: it can be said here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from yamlflow import Package, RunBuilder, Runtime, package
from yamlflow.clock import DAY, HOUR
from yamlflow.errors import NotAllowed, StartRefused
from yamlflow.testing import FakeClock

from ..conftest import problems
from ..crash.processes import Project
from ..engine.stage import Stage, staged
from ..engine.stage import package as written
from .samples import play, sample

SAGA = {
    "flight": {"kind": "set", "with": {"value": "LH1"}},
    "hotel": {"kind": "set", "with": {"value": "Ritz"}},
    "car": {"kind": "fail", "with": {"code": "none_left"}},
}


def test_missing_saga_what_was_done_is_taken_back_latest_first(stage: Stage) -> None:
    undo = "undo: {kind: ok, with: {value: 'no ${{ result }}'}}"
    steps = (
        f"{{kind: ok, with: {{value: flight}}, {undo}}}, {{kind: ok, with: {{value: hotel}}, {undo}}}, {{kind: bad}}"
    )
    assert stage.play(f"steps: [{steps}]") == "failed"
    assert stage.ran == ["_1", "_2", "_3", "_2@undo", "_1@undo"]
    assert [stage.result(path) for path in ("_2@undo", "_1@undo")] == ["no hotel", "no flight"]


def test_missing_saga_in_python() -> None:
    @package("trip")
    def trip(run: RunBuilder) -> None:
        last = None
        for id, step in SAGA.items():
            last = run.step(id, needs=last, undo={"kind": "set", "with": {"value": f"no {id}"}}, **step)

    with sample(trip) as rt:
        run = rt.start("trip")
        assert play(rt, run.id) == "failed"
        assert rt.result(run.id, "flight@undo") == "no flight"
        undone = [event.step for event in rt.store.events(run.key) if event.kind == "undo.fired"]
        assert undone == ["hotel@undo", "flight@undo"]


def test_missing_schedules() -> None:
    clock = FakeClock()
    text = "schedule: [{cron: '0 6 * * *', timezone: Europe/Berlin}]\nsteps: [{kind: noop}]"
    with Runtime(clock=clock, schedules=[written(text, "nightly")]) as rt:
        for _ in range(3 * 24):
            rt.run_until_idle()
            clock.advance(HOUR)
        rt.run_until_idle()
        assert [run.package for run in rt.runs()] == ["nightly"] * 3


def test_missing_concurrency_keys(stage: Stage) -> None:
    body = """
        concurrency: {key: "${{ inputs.site }}", when_full: fail}
        inputs: {site: {}}
        steps: [{kind: sleep, with: {for: 1h}}]
    """
    for site in ("a", "b"):
        stage.start(body, {"site": site})
    with pytest.raises(StartRefused, match='run "run-1"'):
        stage.start(body, {"site": "a"})


def test_missing_mutex(stage: Stage) -> None:
    stage.start("steps: {a: {kind: ok, locks: [db]}, b: {kind: ok, locks: [db]}}")
    assert stage.lease() == ["a"]
    stage.end("a")
    assert stage.lease() == ["b"]


def test_missing_pause_and_resume(stage: Stage) -> None:
    stage.start("steps: [{kind: ok}, {kind: ok}]")
    stage.runtime.pause("run-1")
    stage.runtime.run_until_idle()
    assert stage.ran == []
    stage.runtime.pause("run-1", paused=False)
    assert stage.finish() == "succeeded"


def test_missing_rerun_from_a_step(stage: Stage) -> None:
    stage.start("steps: {a: {kind: ok}, b: {needs: a, kind: flaky, with: {times: 0}}, c: {needs: b, kind: ok}}")
    stage.lease()
    stage.end("a")
    stage.lease()
    stage.fail("b")
    assert stage.finish() == "failed"
    assert sorted(stage.runtime.retry("run-1", "b")) == ["b", "c"]
    assert stage.finish() == "succeeded"
    assert stage.ran == ["b", "c"]


def test_missing_human_tasks(stage: Stage) -> None:
    stage.start(
        "steps: {ask: {kind: approval, with: {prompt: Ship?}}, ship: {needs: ask, if: steps.ask.result.approved, kind: ok}}"
    )
    stage.runtime.run_until_idle()
    stage.runtime.approve("run-1", "ask", by="ann")
    assert not stage.runtime.approve("run-1", "ask", by="bob"), "the same answer twice is harmless"
    with pytest.raises(NotAllowed, match="approved already by ann"):
        stage.runtime.approve("run-1", "ask", approved=False)
    assert stage.finish() == "succeeded"
    assert stage.ran == ["ship"]


def test_missing_search_by_metadata_text_and_time(stage: Stage) -> None:
    for number in range(3):
        stage.start("steps: [{kind: ok}]", metadata={"team": "ab"[number % 2]}, name=f"Order {number}")
        stage.clock.advance(HOUR)
    assert [run.id for run in stage.runtime.list(metadata={"team": "a"}).runs] == ["run-3", "run-1"]
    assert [run.id for run in stage.runtime.list(text="order 1").runs] == ["run-2"]
    after = stage.clock.now() - HOUR
    assert [run.id for run in stage.runtime.list(created_after=after).runs] == ["run-3"]


def test_missing_queries_a_run_is_read_while_it_goes_on(stage: Stage) -> None:
    stage.start("steps: {a: {kind: ok, with: {value: 7}}, nap: {needs: a, kind: sleep, with: {for: 9d}}}")
    stage.runtime.run_until_idle()
    assert (stage.runtime.result("run-1", "a"), stage.runtime.step("run-1", "nap").status) == (7, "waiting")  # type: ignore[union-attr]


def test_missing_cached_results(stage: Stage) -> None:
    body = "steps: {a: {kind: ok, with: {value: 7}, cache: {key: one, ttl: 1d}}}"
    for _ in range(2):
        assert stage.play(body) == "succeeded"
    assert (stage.ran, stage.result("a")) == (["a"], 7)
    stage.clock.advance(2 * DAY)
    stage.play(body)
    assert stage.ran == ["a", "a"]


def test_missing_secrets_are_given_to_steps_and_kept_nowhere() -> None:
    with staged(secrets={"TOKEN": "s3cr3t-t0ken"}.get) as stage:
        body = """
            secrets: [TOKEN]
            steps: {a: {env: {T: "${{ secrets.TOKEN }}"}, run: 'test ${#T} = 12 && echo "$T" >&2'}}
        """
        assert stage.play(body) == "succeeded"
        kept = json.dumps([list(row) for row in (*stage.rows().values(), *stage.events())], default=str)
        assert "s3cr3t-t0ken" not in kept


def test_missing_validation_and_dry_run_before_anything_is_stored(tmp_path: Path) -> None:
    assert (
        'there is no step "bb"'
        in problems("yamlflow: 1\nname: p\nsteps: {a: {kind: noop}, b: {needs: bb, kind: noop}}")[0]
    )
    project = Project(tmp_path, "yamlflow: 1\nname: p\nsteps: {a: {kind: noop}, b: {needs: a, kind: noop}}")
    told = project.call("run", "package.yaml", "--dry-run")
    assert told.returncode == 0
    assert project.query("select * from runs") == []


def test_missing_drawing_of_the_graph_before_it_runs(tmp_path: Path) -> None:
    project = Project(tmp_path, "yamlflow: 1\nname: p\nsteps: {first: {kind: noop}, then: {needs: first, kind: noop}}")
    drawn = project.call("graph", "package.yaml", "--format", "mermaid").stdout
    assert "first" in drawn
    assert "-->" in drawn


def test_missing_where_exactly_a_run_is_waiting(tmp_path: Path) -> None:
    project = Project(tmp_path, "yamlflow: 1\nname: p\nsteps: {go: {kind: wait_signal, with: {signal: paid}}}")
    assert project.call("start", "package.yaml", "--run-id", "r").returncode == 0
    with Runtime(f"sqlite:///{project.store}") as rt:
        rt.run_until_idle()
    assert 'waits for the signal "paid"' in project.call("show", "r").stdout


def test_missing_a_definition_can_be_compared_with_the_one_that_runs(stage: Stage) -> None:
    one = Package("p", version="1", steps=[{"kind": "sleep", "with": {"for": "1h"}}])
    run = stage.runtime.start(one)
    kept = stage.store.package(run.digest)
    assert kept is not None
    assert (kept.version, kept.text) == ("1", one.document.text)
