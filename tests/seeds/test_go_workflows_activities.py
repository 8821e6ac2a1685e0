"""The features of go-workflows, each as a test named for it: activities, their retries and errors, timers, side effects.

Sections 1.4, 1.5 and 1.11 of its features, and 6, 7 and 8 of its weaknesses, where this is to be better.
"""

from __future__ import annotations

import json
import threading
import time
from itertools import pairwise
from typing import Any

import pytest

from yamlflow import Permanent, executor
from yamlflow.clock import DAY, HOUR, MINUTE, SECOND
from yamlflow.context import StepContext
from yamlflow.errors import PluginError
from yamlflow.logs import log_file
from yamlflow.outcome import Succeeded
from yamlflow.runtime import Runtime
from yamlflow.testing import FakeClock

from ..engine.stage import Stage, package


def pauses(stage: Stage, retry: str, given: str = "{}", kind: str = "bad") -> list[float]:
    """Play a step to its end: the seconds between its attempts."""
    stage.play(f"steps: {{a: {{kind: {kind}, with: {given}, retry: {retry}}}}}")
    times = [event.at for event in stage.events("step.leased", "a")]
    return [(later - earlier) / SECOND for earlier, later in pairwise(times)]


# -- activities ----------------------------------------------------------------------------------------------------


def test_an_activity_is_a_function_and_its_hints_are_its_signature(stage: Stage) -> None:
    @executor("math/add")
    def add(a: int, b: int) -> int:
        return a + b

    stage.runtime.register(add)
    assert stage.play("steps: {sum: {kind: math/add, with: {a: 35, b: 12}}}") == "succeeded"
    assert stage.result("sum") == 47
    assert stage.play("steps: {sum: {kind: math/add, with: {a: 35}}}") == "failed"
    assert stage.error("sum")["code"] == "bad_input"
    assert "b" in stage.error("sum")["message"]


def test_an_activity_knows_its_attempt_and_logs(stage: Stage) -> None:
    seen: list[int] = []

    @executor("knows")
    def knows(step: StepContext) -> None:
        seen.append(step.attempt)
        step.log(f"try {step.attempt}")
        raise OSError("not yet")

    stage.runtime.register(knows)
    stage.play("steps: {a: {kind: knows, retry: {max_attempts: 2}}}")
    assert seen == [1, 2]
    logs = [log_file(stage.runtime.home, "run-1", 1, "a", attempt).read_text().strip() for attempt in (1, 2)]
    assert logs == ["try 1", "try 2"]


def test_an_activity_registered_twice_is_an_error(stage: Stage) -> None:
    with pytest.raises(PluginError, match='"ok" is registered already'):
        stage.runtime.register(executor("ok")(lambda: None))


def test_an_activity_that_runs_when_the_run_is_canceled_ends_and_its_result_is_seen(stage: Stage) -> None:
    stage.start(
        "steps: {a: {kind: ok}, b: {needs: a, kind: ok}}\non_cancel: [{kind: set, with: {value: '${{ steps.a.result }}'}}]"
    )
    stage.lease()
    stage.runtime.cancel("run-1")
    stage.end("a", Succeeded(result="done all the same"))
    assert stage.finish() == "canceled"
    assert (stage.status("a"), stage.status("b")) == ("succeeded", "canceled")
    assert stage.result("@on_cancel/_1") == "done all the same"


def test_an_activity_has_a_timeout(stage: Stage) -> None:
    """There a hung activity blocks for ever (6.8)."""
    assert stage.play("steps: {a: {kind: slow, timeout: 10s, with: {seconds: 60}}}") == "failed"
    assert stage.error("a")["code"] == "timeout"


def test_an_activity_can_be_canceled_while_it_runs_and_says_how_far_it_is(stage: Stage) -> None:
    """There it cannot, and says nothing (6.8)."""
    told: list[str] = []

    @executor("works")
    def works(step: StepContext) -> None:
        for done in range(10_000):
            step.progress(done, 10_000)
            time.sleep(0.005)
            if step.canceled:
                told.append("stopped")
                step.check_canceled()

    with Runtime() as runtime:
        runtime.register(works)
        run = runtime.start(package("steps: {a: {kind: works}}"))
        canceled = threading.Event()

        def done() -> bool:
            log = [event.kind for event in runtime.store.events(run.key)]
            if "step.progress" in log and not canceled.is_set():
                canceled.set()
                runtime.cancel(run.id, reason="enough")
            return runtime.run(run.id).ended_at is not None  # type: ignore[union-attr]

        runtime.run_workers(done)
        assert (runtime.run(run.id).status, told) == ("canceled", ["stopped"])  # type: ignore[union-attr]


# -- retries -------------------------------------------------------------------------------------------------------


def test_without_retry_options_there_is_one_attempt(stage: Stage) -> None:
    assert pauses(stage, "{}") == []


def test_max_attempts_are_attempts_in_all(stage: Stage) -> None:
    assert pauses(stage, "{max_attempts: 3, backoff: fixed, delay: 1s}") == [1, 1]
    assert stage.row("a").attempt == 3


def test_the_first_wait_is_the_interval_and_the_coefficient_multiplies_those_after_it(stage: Stage) -> None:
    """There the first wait is multiplied already (6.7)."""
    assert pauses(stage, "{max_attempts: 5, delay: 10s, multiplier: 3}") == [10, 30, 90, 270]


def test_max_retry_interval_caps_the_waits(stage: Stage) -> None:
    assert pauses(stage, "{max_attempts: 5, delay: 10s, multiplier: 3, max_delay: 1m}") == [10, 30, 60, 60]


def test_retry_timeout_gives_up_before_a_wait_that_would_pass_it_with_the_last_error(stage: Stage) -> None:
    assert pauses(stage, "{max_attempts: 99, backoff: fixed, delay: 10s, max_elapsed: 35s}") == [10, 10, 10]
    assert (stage.error("a")["code"], stage.error("a")["attempt"]) == ("boom", 4)


def test_the_wait_between_attempts_is_durable_and_holds_nothing(stage: Stage) -> None:
    stage.start(
        "queues: {q: {max_in_flight: 1}}\nsteps: {a: {queue: q, kind: bad, retry: {max_attempts: 2, delay: 30d}}}"
    )
    stage.runtime.run_until_idle()
    row = stage.row("a")
    assert (row.status, row.worker, row.available_at) == ("ready", None, stage.clock.now() + 30 * DAY)
    with stage.transact() as work:
        assert work.tx.in_flight(row.queue) == 0


def test_a_cancel_between_attempts_ends_the_retries(stage: Stage) -> None:
    stage.start("steps: {a: {kind: bad, retry: {max_attempts: 5, delay: 1h}}}")
    stage.runtime.run_until_idle()
    stage.runtime.cancel("run-1")
    assert stage.finish() == "canceled"
    assert stage.ran == ["a"]


def test_waits_can_be_spread_by_chance(stage: Stage) -> None:
    """There is none (6.7)."""
    waits = pauses(stage, "{max_attempts: 5, backoff: fixed, delay: 100s, jitter: full}")
    assert len(set(waits)) == 4
    assert all(0 <= wait <= 100 for wait in waits)


def test_a_permanent_error_is_not_retried(stage: Stage) -> None:
    assert pauses(stage, "{max_attempts: 5}", "{permanent: true}") == []


def test_a_wrapped_permanent_error_stays_permanent(stage: Stage) -> None:
    """There a wrapped one is retried (6.7)."""

    @executor("wraps")
    def wraps() -> None:
        try:
            raise Permanent("no_such_account", "account 7 is closed")
        except Permanent as closed:
            raise RuntimeError("cannot pay") from closed

    stage.runtime.register(wraps)
    assert pauses(stage, "{max_attempts: 5}", kind="wraps") == []
    error = stage.error("a")
    assert (error["type"], error["message"], error["permanent"]) == ("RuntimeError", "cannot pay", True)
    assert error["cause"]["code"] == "no_such_account"


def test_error_codes_can_be_named_that_are_retried_or_never(stage: Stage) -> None:
    """There is no list of either (6.7)."""
    assert pauses(stage, "{max_attempts: 3, only: [busy], delay: 1s, backoff: fixed}", "{code: busy}") == [1, 1]
    assert pauses(stage, "{max_attempts: 3, only: [busy]}", "{code: gone}") == []
    assert pauses(stage, "{max_attempts: 3, never: [gone]}", "{code: gone}") == []


def test_an_error_may_say_when_to_try_again(stage: Stage) -> None:
    assert pauses(stage, "{max_attempts: 2, delay: 1s}", "{after: 42}") == [42]


# -- errors --------------------------------------------------------------------------------------------------------


class SoldOut(Exception):
    """An error of an author's own."""


def test_an_error_keeps_type_message_cause_and_stack_and_a_panic_is_one(stage: Stage) -> None:
    @executor("buys")
    def buys() -> None:
        try:
            {}["lamp"]
        except KeyError as missing:
            raise SoldOut("no lamp left") from missing

    stage.runtime.register(buys)
    assert pauses(stage, "{max_attempts: 3, delay: 1s, backoff: fixed}", kind="buys") == [1, 1], "plain exceptions too"
    error = stage.error("a")
    assert (error["code"], error["type"], error["message"]) == ("executor_error", "SoldOut", "no lamp left")
    assert error["cause"]["type"] == "KeyError"
    assert "buys" in json.dumps(error["details"])


def test_an_activity_that_raises_what_would_end_a_process_ends_only_itself(stage: Stage) -> None:
    """There a panic outside a coroutine ends the worker (6.11)."""

    @executor("exits", mode="inline")
    def exits() -> None:
        raise SystemExit(3)

    stage.runtime.register(exits)
    assert stage.play("steps: {a: {kind: exits, continue_on_error: true}, b: {needs: a, kind: ok}}") == "succeeded"
    assert stage.status("a") == "failed"


def test_an_error_is_handled_by_what_comes_after_it(stage: Stage) -> None:
    body = """
        steps:
          pay:
            steps: {charge: {kind: bad, with: {code: declined, permanent: true}}}
            on_failure:
              other: {kind: set, with: {value: "because ${{ error.code }}"}}
            recover: true
          said: {needs: pay, kind: ok}
    """
    assert stage.play(body) == "succeeded"
    assert stage.result("pay@on_failure/other") == "because declined"


# -- timers --------------------------------------------------------------------------------------------------------


def test_a_timer_has_the_name_of_its_step_and_fires_at_its_time(stage: Stage) -> None:
    assert stage.play("steps: {cooling_off: {kind: sleep, with: {for: 90s}}}") == "succeeded"
    (fired,) = stage.events("step.woken", "cooling_off")
    assert fired.at - stage.run().created_at == 90 * SECOND


def test_a_timer_may_be_set_to_a_moment(stage: Stage) -> None:
    """There is only a duration."""
    assert stage.play("steps: {a: {kind: sleep, with: {until: '2026-03-01T09:00:00Z'}}}") == "succeeded"
    assert stage.result("a").startswith("2026-03-01T09:00:00")


def test_a_timer_can_last_a_year_and_holds_no_worker(stage: Stage) -> None:
    stage.start("steps: {a: {kind: sleep, with: {for: 365d}}}")
    stage.runtime.run_until_idle()
    assert (stage.row("a").status, stage.row("a").worker) == ("waiting", None)
    assert stage.finish() == "succeeded"
    assert stage.clock.now() - stage.run().created_at == 365 * DAY


def test_a_timer_is_canceled_by_its_name_at_once_and_leaves_nothing_to_fire(stage: Stage) -> None:
    body = """
        steps:
          remind: {kind: sleep, with: {for: 7d}}
          paid: {kind: sleep, with: {for: 1h}}
          enough: {needs: paid, kind: cancel, with: {step: remind, reason: paid}}
          mail: {needs: remind, kind: ok}
    """
    stage.start(body)
    stage.runtime.run_until_idle()
    stage.clock.advance(HOUR)
    stage.runtime.run_until_idle()
    assert (stage.status("remind"), stage.status("mail")) == ("canceled", "skipped")
    assert stage.store.next_timer() is None
    assert stage.runtime.cancel("run-1", "remind") is False, "a second cancel changes nothing"


def test_a_timer_that_a_race_has_lost_needs_no_one_to_cancel_it(stage: Stage) -> None:
    body = "steps: {first: {race: true, steps: {slow: {kind: sleep, with: {for: 2d}}, quick: {kind: ok}}}}"
    assert stage.play(body) == "succeeded"
    assert (stage.row("first").winner, stage.status("first/slow"), stage.store.next_timer()) == (
        "quick",
        "canceled",
        None,
    )


# -- side effects and what a run knows of itself -------------------------------------------------------------------


def test_a_side_effect_is_drawn_once_recorded_and_the_same_for_all_who_read_it(stage: Stage) -> None:
    drawn = '["${{ uuid() }}", "${{ random() }}", "${{ now() }}"]'
    body = f"""
        steps:
          once: {{kind: set, with: {{value: {drawn}}}}}
          first: {{needs: once, kind: ok, with: {{value: "${{{{ steps.once.result }}}}"}}}}
          flaky: {{needs: once, kind: flaky, with: {{times: 2}}, retry: {{max_attempts: 3, delay: 1h}}}}
          second: {{needs: flaky, kind: ok, with: {{value: "${{{{ steps.once.result }}}}"}}}}
    """
    assert stage.play(body) == "succeeded"
    assert stage.result("first") == stage.result("second") == stage.result("once")
    (event,) = stage.events("step.drawn", "once")
    assert {each for draws in json.loads(event.payload or "").values() for each in draws} == set(stage.result("once"))


def test_now_is_one_moment_within_an_attempt(stage: Stage) -> None:
    stage.play('steps: {a: {kind: set, with: {value: ["${{ now() }}", "${{ now() }}"]}}}')
    first, second = stage.result("a")
    assert first == second


def test_info_tells_a_step_how_long_the_history_is_and_how_much_is_done(stage: Stage) -> None:
    info = "{kind: set, with: {value: {events: '${{ run.event_count }}', done: '${{ run.steps_done }}', me: '${{ run.id }}'}}}"
    stage.play(f"steps: [{info}, {info}]")
    first, second = stage.result("_1"), stage.result("_2")
    assert (first["done"], second["done"], second["me"]) == (0, 1, "run-1")
    assert 0 < first["events"] < second["events"] < len(stage.events())


def test_retry_options_hold_for_activities_sub_workflows_and_groups_of_steps_alike(stage: Stage) -> None:
    """``workflow.WithRetries``: a group has none of its own; it is repeated until it has succeeded, or run as a child."""
    stage.runtime.register(package("steps: {a: {kind: bad}}", "child"))
    body = """
        steps:
          child:
            kind: workflow
            with: {package: child}
            retry: {max_attempts: 3, delay: 1m, backoff: fixed}
            continue_on_error: true
          group:
            repeat: {until: "steps.try.status == 'succeeded'", every: 1m, max: 5}
            steps: {try: {kind: flaky, with: {times: "${{ 3 - iteration }}"}, continue_on_error: true}}
    """
    assert stage.play(body) == "succeeded", stage.statuses()
    assert stage.row("child").attempt == 3
    assert stage.runtime.run("run-1.child").execution == 3  # type: ignore[union-attr]
    assert [path for path in stage.statuses() if path.endswith("/try")] == [f"group[{n}]/try" for n in range(3)]


def test_time_travels_only_by_the_clock_that_is_given() -> None:
    clock = FakeClock()
    with Runtime(clock=clock) as runtime:
        run = runtime.start(package("steps: {a: {kind: sleep, with: {for: 1m}}}"))
        runtime.run_until_idle()
        row: Any = runtime.step(run.id, "a")
        assert (row.status, row.available_at) == ("waiting", clock.now() + MINUTE)
        clock.advance(MINUTE)
        runtime.run_until_idle()
        assert runtime.run(run.id).status == "succeeded"  # type: ignore[union-attr]
