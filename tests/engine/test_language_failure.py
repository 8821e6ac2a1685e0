"""What a failure comes to: retries, timeouts, handled failures, races, and the handlers of groups."""

from __future__ import annotations

import pytest

from yamlflow.outcome import Error as StepError
from yamlflow.outcome import Failed, Succeeded

from .stage import Stage

# -- retry ---------------------------------------------------------------------------------------------------------


def waits(stage: Stage, retry: str, *, kind: str = "bad", given: str = "{}") -> list[int]:
    """Play a step that keeps failing: the seconds between its attempts."""
    stage.start(f"steps: {{a: {{kind: {kind}, with: {given}, retry: {retry}}}}}")
    found: list[int] = []
    while True:
        stage.runtime.run_until_idle()
        if stage.status("a") != "ready":
            return found
        timer = stage.store.next_timer()
        assert timer is not None
        found.append((timer - stage.clock.now()) // 1000)
        stage.clock.advance(timer - stage.clock.now())


@pytest.mark.parametrize(("retry", "seconds"), [
    ("{max_attempts: 4}", [1, 2, 4]),
    ("{max_attempts: 1}", []),
    ("{max_attempts: 4, backoff: fixed, delay: 5s}", [5, 5, 5]),
    ("{max_attempts: 4, backoff: linear, delay: 5s}", [5, 10, 15]),
    ("{max_attempts: 4, backoff: exponential, delay: 1s, multiplier: 3}", [1, 3, 9]),
    ("{max_attempts: 5, delay: 10s, max_delay: 25s}", [10, 20, 25, 25]),
    ("{max_attempts: 9, delay: 10s, backoff: fixed, max_elapsed: 25s}", [10, 10]),
    ("{max_attempts: 9, only: [boom], delay: 1s, backoff: fixed, max_elapsed: 2s}", [1, 1]),
    ("{max_attempts: 9, only: [other]}", []),
    ("{max_attempts: 9, never: [boom]}", []),
    ("{max_attempts: 2, never: [other]}", [1]),
    ("{max_attempts: 3, delay: 0s}", []),
])  # fmt: skip
def test_an_attempt_follows_when_and_as_often_as_retry_says(stage: Stage, retry: str, seconds: list[int]) -> None:
    assert waits(stage, retry) == seconds
    assert stage.status("a") == "failed"


def test_without_retry_there_is_one_attempt(stage: Stage) -> None:
    stage.play("steps: {a: {kind: bad}}")
    assert stage.ran == ["a"]


def test_a_permanent_failure_is_not_retried(stage: Stage) -> None:
    assert waits(stage, "{max_attempts: 5}", given="{permanent: true}") == []


def test_a_failure_may_say_itself_when_the_next_attempt_is_due(stage: Stage) -> None:
    assert waits(stage, "{max_attempts: 3, delay: 1s}", given="{after: 7}") == [7, 7]


def test_full_jitter_waits_less_and_not_always_the_same(stage: Stage) -> None:
    found = waits(stage, "{max_attempts: 6, delay: 1000s, backoff: fixed, jitter: full}")
    assert len(set(found)) == 5
    assert all(0 <= seconds <= 1000 for seconds in found)


def test_max_elapsed_counts_from_the_start_of_the_first_attempt_not_from_the_queue(stage: Stage) -> None:
    stage.start("steps: {a: {kind: ok, retry: {max_attempts: 3, delay: 1s, max_elapsed: 60s}}}")
    stage.decide()
    stage.clock.advance(3_600_000)
    stage.lease()
    stage.clock.advance(10_000)
    stage.fail("a")
    assert stage.status("a") == "ready"


def test_a_success_after_failures_is_a_success(stage: Stage) -> None:
    assert stage.play("""
        steps:
          a: {kind: flaky, with: {times: 2}, retry: {max_attempts: 3}}
          b: {kind: set, needs: a, with: {value: ["${{ steps.a.attempts }}", "${{ steps.a.error }}"]}}
    """) == "succeeded"  # fmt: skip
    assert (stage.result("a"), stage.result("b")) == (3, [3, None])


def test_a_waiting_retry_holds_no_worker_and_no_place_in_its_queue(stage: Stage) -> None:
    stage.start(
        "queues: {q: {max_in_flight: 1}}\nsteps: {a: {kind: ok, queue: q, retry: {max_attempts: 2}}, "
        "b: {kind: ok, queue: q}}"
    )
    assert stage.lease() == ["a"]
    stage.fail("a")
    assert (stage.row("a").worker, stage.lease()) == (None, ["b"])


def test_defaults_of_retry_are_for_kinds_that_occupy_a_worker(stage: Stage) -> None:
    stage.play("""
        defaults: {retry: {max_attempts: 2, delay: 1s}, timeout: 10s}
        steps:
          a: {kind: bad, continue_on_error: true}
          g: {steps: {x: {kind: ok}}}
          s: {kind: sleep, with: {for: 1h}}
    """)
    assert stage.ran == ["a", "g/x", "a"]
    assert stage.statuses() == {"a": "failed", "g": "succeeded", "g/x": "succeeded", "s": "succeeded"}


def test_a_step_s_own_retry_replaces_the_default(stage: Stage) -> None:
    stage.play("defaults: {retry: {max_attempts: 5}}\nsteps: {a: {kind: bad, retry: {max_attempts: 1}}}")
    assert stage.ran == ["a"]


# -- timeouts ------------------------------------------------------------------------------------------------------


def test_an_attempt_that_takes_too_long_fails_with_timeout(stage: Stage) -> None:
    assert stage.play("steps: {a: {kind: slow, timeout: 10s, with: {seconds: 11}}}") == "failed"
    assert stage.error("a")["code"] == "timeout"
    assert stage.play("steps: {a: {kind: slow, timeout: 10s, with: {seconds: 9}}}") == "succeeded"


def test_a_timeout_is_one_attempt_s_and_may_be_retried(stage: Stage) -> None:
    stage.play("steps: {a: {kind: slow, timeout: 10s, with: {seconds: 11}, retry: {max_attempts: 2, only: [timeout]}}}")
    assert stage.ran == ["a", "a"]


@pytest.mark.parametrize("timeout", ["100s", "${{ inputs.limit }}", "PT1M40S"])
def test_a_group_that_is_open_too_long_fails_with_timeout(stage: Stage, timeout: str) -> None:
    stage.play(f"""
        inputs: {{limit: {{default: 100s}}}}
        steps:
          g:
            timeout: {timeout}
            steps: {{a: {{kind: sleep, with: {{for: 1h}}}}, b: {{kind: ok, needs: a}}}}
            on_failure: [{{kind: set, with: {{value: "${{{{ error.code }}}}"}}}}]
    """)
    assert (stage.error("g")["code"], stage.error("g")["step"]) == ("timeout", "g")
    assert stage.statuses()["g/a"] == stage.statuses()["g/b"] == "canceled"
    assert stage.result("g@on_failure/_1") == "timeout"
    assert stage.row("").ended_at == stage.row("").started_at + 100_000


def test_a_package_has_a_timeout_as_any_group(stage: Stage) -> None:
    assert stage.play("timeout: 1m\nsteps: {a: {kind: sleep, with: {for: 1h}}}") == "failed"
    assert stage.error()["code"] == "timeout"


def test_a_kind_made_of_steps_has_the_timeout_of_the_step_that_names_it(stage: Stage) -> None:
    assert (
        stage.play("kinds: {k: {steps: {a: {kind: sleep, with: {for: 1h}}}}}\nsteps: {g: {kind: k, timeout: 1m}}")
        == "failed"
    )
    assert stage.error("g")["code"] == "timeout"


def test_a_kind_made_of_steps_may_have_a_timeout_of_its_own(stage: Stage) -> None:
    assert (
        stage.play("kinds: {k: {timeout: 1m, steps: {a: {kind: sleep, with: {for: 1h}}}}}\nsteps: {g: {kind: k}}")
        == "failed"
    )


def test_a_group_that_ends_in_time_hears_no_more_of_its_timeout(stage: Stage) -> None:
    assert stage.play("""
        steps:
          g: {timeout: 10s, steps: {a: {kind: ok}}, finally: [{kind: sleep, with: {for: 1m}}]}
          b: {kind: sleep, needs: g, with: {for: 1h}}
    """) == "succeeded"  # fmt: skip


# -- handled failures ----------------------------------------------------------------------------------------------


def test_continue_on_error_keeps_and_shows_the_failure(stage: Stage) -> None:
    assert stage.play("""
        steps:
          a: {kind: bad, continue_on_error: true}
          b:
            needs: a
            kind: set
            with: {value: ["${{ steps.a.status }}", "${{ steps.a.error.code }}", "${{ steps.a.result }}"]}
    """) == "succeeded"  # fmt: skip
    assert (stage.status("a"), stage.result("b")) == ("failed", ["failed", "boom", None])


def test_fail_fast_cancels_what_still_runs(stage: Stage) -> None:
    stage.start(
        "fail_fast: true\nsteps: {a: {kind: ok}, b: {kind: ok}, c: {kind: ok, needs: b}, "
        "d: {kind: ok, needs: {a: failed}}}"
    )
    stage.lease()
    stage.fail("a")
    assert stage.row("b").cancel is not None
    assert stage.statuses()["c"] == "canceled"
    stage.fail("b", "canceled")
    assert stage.finish() == "failed"
    assert stage.error()["step"] == "a"


def test_a_handled_failure_is_none_for_fail_fast(stage: Stage) -> None:
    assert (
        stage.play(
            "fail_fast: true\nsteps: {a: {kind: bad, continue_on_error: true}, b: {kind: sleep, with: {for: 1m}}}"
        )
        == "succeeded"
    )


def test_the_error_of_a_run_is_the_first_failure_committed(stage: Stage) -> None:
    stage.start("steps: {a: {kind: ok}, b: {kind: ok}}")
    stage.lease()
    stage.fail("b", "first")
    stage.fail("a", "second")
    assert stage.error()["code"] == "first"
    assert set(stage.error()) >= {"code", "type", "message", "step", "attempt", "cause", "details"}


# -- races ---------------------------------------------------------------------------------------------------------

RACE = """
steps:
  r: {race: %s, steps: {a: {kind: ok}, b: {kind: ok}, c: {kind: ok}}}
  w: {kind: set, needs: {r: finished}, with: {value: "${{ steps.r.winner }}"}}
"""


def test_the_first_success_wins_and_the_rest_are_canceled(stage: Stage) -> None:
    stage.start(RACE % "true")
    stage.lease()
    stage.fail("r/a")
    stage.end("r/b")
    assert stage.row("r/c").cancel is not None
    stage.fail("r/c", "canceled")
    assert stage.finish() == "succeeded"
    assert stage.result("w") == "b"
    assert stage.statuses() == {
        "r": "succeeded",
        "r/a": "failed",
        "r/b": "succeeded",
        "r/c": "canceled",
        "w": "succeeded",
    }


def test_a_race_that_nobody_wins_fails(stage: Stage) -> None:
    stage.start(RACE % "true")
    for path in stage.lease():
        stage.fail(path)
    assert (stage.finish(), stage.row("r").winner, stage.result("w")) == ("failed", None, None)


@pytest.mark.parametrize("first", ["a", "b", "c"])
def test_in_one_commit_the_first_declared_wins(stage: Stage, first: str) -> None:
    stage.start(RACE % "true")
    stage.lease()
    order = [first, *(path for path in "cba" if path != first)]
    stage.end_together(*((f"r/{path}", Succeeded(result=path)) for path in order))
    assert stage.finish() == "succeeded"
    assert stage.row("r").winner == "a"


def broken() -> Failed:
    """A failure."""
    return Failed(error=StepError(code="boom", message="it broke"))


def test_race_finished_takes_the_first_end_of_any_kind(stage: Stage) -> None:
    stage.start(RACE % "finished")
    stage.lease()
    stage.fail("r/b")
    for path in ("r/a", "r/c"):
        assert stage.row(path).cancel is not None
        stage.fail(path, "canceled")
    assert (stage.finish(), stage.row("r").winner, stage.error("r")["step"]) == ("failed", "b", "r/b")


def test_race_finished_ends_as_its_winner_did_whatever_else_ended_in_the_same_commit(stage: Stage) -> None:
    stage.start(RACE % "finished")
    stage.lease()
    stage.end_together(("r/b", broken()), ("r/a", Succeeded()), ("r/c", broken()))
    assert (stage.finish(), stage.row("r").winner) == ("succeeded", "a")


def test_race_finished_is_won_by_a_step_that_somebody_canceled(stage: Stage) -> None:
    stage.start(RACE % "finished")
    stage.lease()
    stage.runtime.cancel(stage.run_id, "r/b")
    stage.fail("r/b", "canceled")
    assert stage.row("r/a").cancel is not None
    stage.fail("r/a", "canceled")
    stage.fail("r/c", "canceled")
    assert (stage.finish(), stage.row("r").winner, stage.status("r")) == ("canceled", "b", "canceled")


def test_a_loser_of_a_race_is_nobody_s_cancel(stage: Stage) -> None:
    assert (
        stage.play("steps: {r: {race: true, steps: {a: {kind: ok}, b: {kind: sleep, with: {for: 1h}}}}}") == "succeeded"
    )
    assert (stage.status("r/b"), stage.row("r/b").reason) == ("canceled", "race")


def test_groups_can_race(stage: Stage) -> None:
    assert stage.play("""
        steps:
          r:
            race: true
            steps:
              slow: {steps: [{kind: sleep, with: {for: 1h}}, {kind: ok}], on_cancel: [{kind: ok}]}
              fast: {steps: [{kind: ok}], outputs: 7}
            outputs: "${{ steps.fast.result }}"
    """) == "succeeded"  # fmt: skip
    assert (stage.row("r").winner, stage.result("r"), stage.status("r/slow@on_cancel")) == ("fast", 7, "succeeded")


def test_a_step_that_is_skipped_wins_no_race(stage: Stage) -> None:
    assert stage.play("steps: {r: {race: finished, steps: {a: {kind: ok, if: false}, b: {kind: ok}}}}") == "succeeded"
    assert stage.row("r").winner == "b"
