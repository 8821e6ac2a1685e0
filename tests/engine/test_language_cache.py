"""``cache``: a result that one run computed is taken by later ones, each decision told."""

from __future__ import annotations

import json
from typing import Any

import pytest

from yamlflow.outcome import Artifact, Emitted, Succeeded
from yamlflow.scheduler import tick

from .stage import Stage

ONE = """
inputs: {n: {type: integer, default: 1}}
steps: {a: {kind: ok, with: {value: "${{ inputs.n * 10 }}"}, cache: {key: "n is ${{ inputs.n }}", ttl: 1h}}}
outputs: "${{ steps.a.result }}"
"""


def told(stage: Stage, kind: str) -> list[tuple[str | None, dict[str, Any]]]:
    """Step and payload of each event of a kind."""
    return [(event.step, json.loads(event.payload or "{}")) for event in stage.events(kind)]


def test_a_later_run_takes_the_result_and_says_whose_it_is(stage: Stage) -> None:
    assert (stage.play(ONE), stage.result()) == ("succeeded", 10)
    made = stage.row("a")
    assert told(stage, "step.uncached") == [("a", {"key": "n is 1", "reason": "none is kept"})]
    assert (stage.play(ONE), stage.result()) == ("succeeded", 10)
    assert stage.ran == ["a"]
    assert (stage.status("a"), stage.row("a").reason, stage.row("a").attempt) == ("succeeded", "cached", 0)
    ((step, source),) = told(stage, "step.cached")
    assert (step, source["run"], source["execution"], source["step"]) == ("a", "run-1", 1, "a")
    (kept,) = stage.store.cached()
    assert (kept.run_id, kept.created_at, kept.expires_at) == ("run-1", made.ended_at, (made.ended_at or 0) + 3_600_000)


def test_another_key_is_another_result(stage: Stage) -> None:
    stage.play(ONE)
    stage.play(ONE, {"n": 2})
    assert (stage.ran, stage.result()) == (["a", "a"], 20)
    stage.play(ONE, {"n": 1})
    assert (stage.ran, stage.result()) == (["a", "a"], 10)


def test_a_result_is_one_of_its_package_and_its_step(stage: Stage) -> None:
    from .stage import package

    body = "steps: {a: {kind: ok, with: {value: 1}, cache: {key: k}}, b: {kind: ok, with: {value: 2}, cache: {key: k}}}"
    stage.play(package(body, name="one"))
    stage.play(package(body, name="two"))
    assert sorted(stage.ran) == ["a", "a", "b", "b"]
    assert [(row.package, row.step) for row in stage.store.cached()] == [
        ("one", "a"), ("one", "b"), ("two", "a"), ("two", "b")
    ]  # fmt: skip


def test_after_its_time_a_result_is_computed_again(stage: Stage) -> None:
    stage.play(ONE)
    stage.clock.advance(3_599_999)
    stage.play(ONE)
    assert stage.ran == ["a"]
    stage.clock.advance(1)
    stage.play(ONE)
    assert stage.ran == ["a", "a"]


def test_a_result_whose_time_is_over_is_dropped(stage: Stage) -> None:
    stage.play(ONE)
    stage.clock.advance(3_600_000)
    with stage.transact() as work:
        tick(work, steady=stage.clock.steady())
    assert stage.store.cached() == []


def test_a_failure_is_not_kept(stage: Stage) -> None:
    body = "steps: {a: {kind: bad, cache: {key: k}}}"
    stage.play(body)
    stage.play(body)
    assert (stage.ran, stage.store.cached()) == (["a", "a"], [])


def test_null_is_a_result_too(stage: Stage) -> None:
    body = "steps: {a: {kind: ok, cache: {key: k}}}"
    stage.play(body)
    stage.play(body)
    assert (stage.ran, stage.result("a")) == (["a"], None)


def test_each_child_of_a_loop_is_kept_by_its_own_key(stage: Stage) -> None:
    body = """
        inputs: {items: {type: array}}
        steps:
          a: {for_each: "${{ inputs.items }}", kind: ok, with: {value: "${{ item }}!"}, cache: {key: "${{ item }}"}}
        outputs: "${{ steps.a.result }}"
    """
    stage.play(body, {"items": ["x", "y"]})
    stage.ran.clear()
    assert stage.play(body, {"items": ["z", "y", "x"]}) == "succeeded"
    assert (stage.ran, stage.result()) == (["a[0]"], ["z!", "y!", "x!"])


def test_a_group_is_kept_as_a_whole(stage: Stage) -> None:
    body = """
        steps:
          g:
            cache: {key: k}
            steps: {x: {kind: ok, with: {value: 5}}, y: {kind: ok, needs: x}}
            outputs: {x: "${{ steps.x.result }}"}
            finally: [{kind: ok}]
        outputs: "${{ steps.g.result }}"
    """
    stage.play(body)
    stage.ran.clear()
    assert stage.play(body) == "succeeded"
    assert (stage.ran, stage.result()) == ([], {"x": 5})
    assert "g/x" not in stage.rows()


def test_a_kind_made_of_steps_is_kept_too(stage: Stage) -> None:
    body = """
        kinds:
          k:
            inputs: {n: {type: integer}}
            steps: [{id: x, kind: ok, with: {value: "${{ inputs.n }}"}}]
            outputs: "${{ steps.x.result }}"
        steps: {a: {kind: k, with: {n: 3}, cache: {key: three}}}
    """
    stage.play(body)
    stage.play(body)
    assert (stage.ran, stage.result("a")) == (["a/x"], 3)


def test_a_recovered_group_is_not_kept(stage: Stage) -> None:
    body = "steps: {g: {cache: {key: k}, steps: [{kind: bad}], on_failure: [{kind: ok}], recover: true}}"
    assert stage.play(body) == "succeeded"
    assert stage.store.cached() == []


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [
        (Succeeded(emitted=(Emitted(key="x", definition={"kind": "ok"}),)), "it emitted steps"),
        (Succeeded(emitted=(Emitted(key="x", definition={"kind": "ok"}),), detached=True), "it emitted steps"),
        (
            Succeeded(artifacts=(Artifact(name="f", uri="u", size=1, sha256="0", content_type="text/plain"),)),
            "it kept files",
        ),
    ],
)
def test_what_left_more_than_a_result_is_not_kept_and_that_is_told(
    stage: Stage, outcome: Succeeded, reason: str
) -> None:
    stage.start("steps: {a: {kind: ok, cache: {key: k}}}")
    stage.lease()
    stage.end("a", outcome)
    assert stage.finish() == "succeeded"
    assert stage.store.cached() == []
    assert told(stage, "step.uncached")[-1] == ("a", {"key": "k", "reason": reason})


def test_two_runs_that_compute_the_same_at_once_both_do_and_the_last_one_stays(stage: Stage) -> None:
    body = "steps: {a: {kind: ok, cache: {key: k}}}"
    rows = []
    for _ in range(2):
        stage.start(body)
        stage.lease()
        rows.append(stage.held.pop("a"))
    for number in (1, 0):
        stage.report(rows[number], Succeeded(result=number))
    stage.play(body)
    assert stage.result("a") == 0


def test_a_run_may_take_no_kept_results_and_keeps_its_own(stage: Stage) -> None:
    stage.play(ONE)
    stage.play(ONE, use_cache=False)
    assert stage.ran == ["a", "a"]
    assert told(stage, "step.uncached") == [("a", {"key": "n is 1", "reason": "the run takes none"})]
    assert [row.run_id for row in stage.store.cached()] == ["run-2"]


def test_kept_results_can_be_forgotten(stage: Stage) -> None:
    stage.play(ONE)
    assert stage.runtime.forget_cached("other") == 0
    assert stage.runtime.forget_cached("play", "a", "n is 1") == 1
    stage.play(ONE)
    assert stage.ran == ["a", "a"]


def test_a_key_that_is_no_key_fails_the_step(stage: Stage) -> None:
    assert stage.play("steps: {a: {kind: ok, cache: {key: \"${{ '' }}\"}}}") == "failed"
    assert stage.error()["code"] == "bad_input"


def test_those_that_wait_for_a_step_go_on_when_its_result_was_kept(stage: Stage) -> None:
    body = """
        steps:
          a: {kind: ok, with: {value: 1}, cache: {key: k}, dedup_key: d}
          b: {kind: ok, needs: a, with: {value: "${{ steps.a.result }} of ${{ steps.a.attempts }}"}}
          c: {kind: ok, needs: a, dedup_key: d}
    """
    stage.play(body)
    assert stage.play(body) == "succeeded"
    assert (stage.result("b"), stage.result("c")) == ("1 of 0", 1)


def test_what_is_undone_is_not_taken_by_anybody(stage: Stage) -> None:
    body = """
        steps:
          - id: g
            cache: {key: k}
            steps: [{id: a, kind: ok, cache: {key: k}, undo: {kind: ok}}, {id: b, kind: ok, cache: {key: k}}]
          - {id: c, kind: bad}
    """
    assert stage.play(body) == "failed"
    assert [row.step for row in stage.store.cached()] == ["g/b"]
    stage.ran.clear()
    stage.runtime.retry(stage.run_id)
    assert stage.finish() == "failed"
    assert stage.ran == ["g/a", "c", "g/a@undo"]


def test_an_undo_leaves_what_another_run_has_computed_since(stage: Stage) -> None:
    body = """
        inputs: {fails: {type: boolean}}
        steps:
          - {id: a, kind: ok, cache: {key: k}, undo: {kind: ok}}
          - {kind: sleep, with: {for: 1h}}
          - {kind: bad, if: inputs.fails}
    """
    stage.start(body, {"fails": True})
    stage.start(body, {"fails": False}, use_cache=False)
    stage.runtime.run_until_idle()
    assert stage.finish("run-1") == "failed"
    assert [row.run_id for row in stage.store.cached()] == ["run-2"]


def test_a_step_that_took_a_kept_result_has_nothing_to_undo(stage: Stage) -> None:
    stage.play("steps: {a: {kind: ok, cache: {key: k}, undo: {kind: ok}}}")
    stage.ran.clear()
    assert stage.play("steps: [{id: a, kind: ok, cache: {key: k}, undo: {kind: ok}}, {id: b, kind: bad}]") == "failed"
    assert stage.ran == ["b"]


def test_a_child_run_takes_kept_results_as_its_parent_does(stage: Stage) -> None:
    from .stage import package

    stage.runtime.register(package("steps: {a: {kind: ok, cache: {key: k}}}", name="child"))
    parent = "steps: {w: {kind: workflow, with: {package: child}}}"
    for use_cache in (True, True, False):
        assert stage.play(parent, use_cache=use_cache) == "succeeded"
    assert stage.ran == ["a", "a"]
