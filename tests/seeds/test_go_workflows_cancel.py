"""The features of go-workflows, each as a test named for it: cancellation and its contexts, and what runs side by side.

Sections 1.9 and 1.10 of its features, and 2, 4 and 8 of its weaknesses, where this is to be better.
"""

from __future__ import annotations

import pytest

from yamlflow.clock import HOUR, SECOND

from ..engine.stage import Stage, package

WAITS = {
    "pending": "{needs: gate, kind: ok}",
    "ready in a full queue": "{queue: full, kind: ok}",
    "backing off": "{kind: bad, retry: {max_attempts: 9, delay: 1h}}",
    "asleep": "{kind: sleep, with: {for: 9d}}",
    "waiting for a signal": "{kind: wait_signal, with: {signal: go}}",
    "waiting for an answer": "{kind: approval}",
    "waiting for a child": "{kind: workflow, with: {package: waits}}",
    "between iterations": "{kind: ok, repeat: {until: 'false', every: 1h}}",
    "in a group": "{steps: {inner: {kind: sleep, with: {for: 9d}}}}",
}


def running(stage: Stage, body: str) -> None:
    stage.start(body)
    stage.runtime.run_until_idle()


# -- cancellation --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", WAITS.values(), ids=WAITS.keys())
def test_a_cancel_wakes_whatever_is_blocked(stage: Stage, step: str) -> None:
    """There a workflow that waits for a signal or a future does not wake (6.2)."""
    stage.runtime.register(package("steps: {go: {kind: wait_signal, with: {signal: go}}}", "waits"))
    stage.runtime.pause_queue("play/full")
    gate = "gate: {kind: wait_signal, with: {signal: gate}}"
    running(stage, f"queues: {{full: {{max_in_flight: 1}}}}\nsteps: {{a: {step}, {gate}}}")
    assert stage.runtime.cancel("run-1", reason="enough")
    stage.runtime.run_until_idle()
    assert (stage.run().status, stage.status("a"), stage.status("gate")) == ("canceled", "canceled", "canceled")
    assert stage.store.next_timer() is None
    assert {run.status for run in stage.runtime.runs()} == {"canceled"}


def test_a_cancel_tells_why_and_who(stage: Stage) -> None:
    """There it carries no reason."""
    running(
        stage,
        """
        steps: {nap: {kind: sleep, with: {for: 9d}}}
        on_cancel: {said: {kind: set, with: {value: "${{ cancel.reason }} (${{ cancel.by }})"}}}
        """,
    )
    stage.runtime.cancel("run-1", reason="wrong customer", by="ann")
    assert stage.finish() == "canceled"
    assert stage.result("@on_cancel/said") == "wrong customer (ann)"


def test_the_first_cause_of_a_cancel_wins_and_a_second_cancel_changes_nothing(stage: Stage) -> None:
    running(
        stage,
        """
        steps: {nap: {kind: sleep, with: {for: 9d}}}
        on_cancel: [{kind: sleep, with: {for: 1m}}, {id: said, kind: set, with: {value: "${{ cancel.reason }}"}}]
        """,
    )
    assert stage.runtime.cancel("run-1", reason="first")
    stage.runtime.run_until_idle()
    stage.runtime.cancel("run-1", reason="second")
    assert stage.finish() == "canceled"
    assert stage.result("@on_cancel/said") == "first"
    assert stage.runtime.cancel("run-1", reason="third") is False


def test_nothing_new_starts_in_a_canceled_context(stage: Stage) -> None:
    stage.start("steps: [{kind: ok}, {kind: ok}, {kind: sleep, with: {for: 1s}}, {kind: workflow, with: {package: x}}]")
    stage.lease()
    stage.runtime.cancel("run-1")
    stage.end("_1")
    assert stage.finish() == "canceled"
    assert stage.ran == []
    assert {stage.status(f"_{n}") for n in (2, 3, 4)} <= {"canceled", "skipped"}


def test_cleanup_after_a_cancel_is_not_canceled_itself(stage: Stage) -> None:
    """``NewDisconnectedContext``: handlers are shielded from the cancel that made them run."""
    body = """
        steps:
          rent: {kind: ok, needs: [], with: {value: car}}
          drive: {needs: rent, kind: sleep, with: {for: 9d}}
        on_cancel: {call: {kind: flaky, with: {times: 1}, retry: {max_attempts: 2, delay: 1m}}}
        finally: {give_back: {kind: set, with: {value: "${{ steps.rent.result }}"}}}
    """.replace("needs: [], ", "")
    running(stage, body)
    stage.runtime.cancel("run-1")
    assert stage.finish() == "canceled"
    assert (stage.result("@on_cancel/call"), stage.result("@finally/give_back")) == (2, "car")


def test_a_shielded_step_ends_before_a_cancel_takes_effect(stage: Stage) -> None:
    """``NewDisconnectedContext`` around one step."""
    running(
        stage,
        "steps: {commit: {shield: true, kind: sleep, with: {for: 5s}}, after: {needs: commit, kind: ok}}",
    )
    stage.runtime.cancel("run-1")
    since = stage.clock.now()
    assert stage.finish() == "canceled"
    assert (stage.status("commit"), stage.status("after")) == ("succeeded", "canceled")
    assert stage.clock.now() - since == 5 * SECOND


def test_a_part_of_a_run_can_be_canceled_alone(stage: Stage) -> None:
    """``WithCancel``: a group is a context of its own."""
    body = """
        steps:
          part: {steps: {nap: {kind: sleep, with: {for: 9d}}, never: {needs: nap, kind: ok}}}
          stop: {kind: cancel, with: {step: part, reason: not needed}}
          other: {needs: {part: finished}, kind: set, with: {value: "${{ steps.part.status }}"}}
    """
    running(stage, body)
    assert stage.result("other") == "canceled"
    assert stage.runtime.step("run-1", "part/nap").status == "canceled"  # type: ignore[union-attr]


def test_a_canceled_run_ends_canceled_whatever_its_steps_say(stage: Stage) -> None:
    """There the code may swallow a cancel; here a group may recover, and the run is canceled all the same."""
    running(stage, "steps: {g: {steps: {n: {kind: sleep, with: {for: 1h}}}, on_cancel: [{kind: ok}], recover: true}}")
    stage.runtime.cancel("run-1")
    assert stage.finish() == "canceled"
    running(stage, "steps: {g: {steps: {n: {kind: sleep, with: {for: 1h}}}, on_cancel: [{kind: ok}], recover: true}}")
    stage.runtime.cancel("run-2", "g")
    assert stage.finish() == "succeeded"


def test_a_cancel_by_force_ends_cleanup_too(stage: Stage) -> None:
    """There is no terminate (6.2)."""
    running(stage, "steps: {n: {kind: sleep, with: {for: 1h}}}\non_cancel: [{kind: sleep, with: {for: 9d}}]")
    stage.runtime.cancel("run-1")
    stage.runtime.run_until_idle()
    assert stage.run().status == "running"
    stage.runtime.cancel("run-1", force=True)
    assert stage.run().status == "canceled"


def test_a_deadline_cancels_what_is_in_it_and_is_a_failure(stage: Stage) -> None:
    """There is no ``WithTimeout``."""
    assert stage.play("timeout: 1h\nsteps: {n: {kind: sleep, with: {for: 9d}}}") == "failed"
    assert (stage.error()["code"], stage.status("n")) == ("timeout", "canceled")
    assert stage.clock.now() - stage.run().created_at == HOUR


# -- side by side --------------------------------------------------------------------------------------------------


def test_steps_without_needs_run_side_by_side(stage: Stage) -> None:
    stage.start("steps: {a: {kind: ok}, b: {kind: ok}, c: {needs: [a, b], kind: ok}}")
    assert sorted(stage.lease()) == ["a", "b"]


def test_select_takes_what_is_ready_in_the_order_of_declaration(stage: Stage) -> None:
    from yamlflow.outcome import Succeeded

    stage.start("steps: {s: {race: true, steps: {second_best: {kind: ok}, best: {kind: ok}}}}")
    stage.lease()
    stage.end_together(("s/best", Succeeded()), ("s/second_best", Succeeded()))
    assert stage.row("s").winner == "second_best"


def test_select_ends_with_the_first_and_cancels_the_losers(stage: Stage) -> None:
    """There they run on, and fail the run at its end (6.4)."""
    body = (
        "steps: {s: {race: true, steps: {slow: {kind: sleep, with: {for: 2h}}, quick: {kind: sleep, with: {for: 1h}}}}}"
    )
    assert stage.play(body) == "succeeded"
    assert (stage.row("s").winner, stage.status("s/slow")) == ("quick", "canceled")
    assert stage.clock.now() - stage.run().created_at == HOUR


def test_select_with_a_default_takes_it_when_nothing_is_ready(stage: Stage) -> None:
    body = """
        steps:
          poll: {kind: wait_signal, timeout: 0s, with: {signal: go}, continue_on_error: true}
          got: {needs: poll, if: steps.poll.status == 'succeeded', kind: ok}
          default: {needs: poll, if: steps.poll.status != 'succeeded', kind: ok}
    """
    assert stage.play(body) == "succeeded"
    assert (stage.status("got"), stage.status("default")) == ("skipped", "succeeded")


def test_a_wait_group_is_a_step_that_needs_them_all(stage: Stage) -> None:
    body = """
        steps:
          a: {kind: sleep, with: {for: 1h}}
          b: {kind: sleep, with: {for: 3h}}
          c: {kind: bad, continue_on_error: true}
          done: {needs: {a: finished, b: finished, c: finished}, kind: ok}
    """
    assert stage.play(body) == "succeeded"
    assert stage.events("step.leased", "done")[0].at - stage.run().created_at == 3 * HOUR


def test_a_join_goes_on_with_as_many_as_it_asks_for(stage: Stage) -> None:
    body = """
        steps:
          a: {kind: sleep, with: {for: 1h}}
          b: {kind: sleep, with: {for: 2h}}
          c: {kind: sleep, with: {for: 3h}}
          two: {needs: [a, b, c], join: 2, kind: ok}
    """
    assert stage.play(body) == "succeeded"
    assert stage.events("step.leased", "two")[0].at - stage.run().created_at == 2 * HOUR


def test_an_err_group_is_canceled_by_its_first_error_and_waits_for_all(stage: Stage) -> None:
    body = """
        steps:
          group:
            fail_fast: true
            steps:
              slow: {kind: workflow, with: {package: tidy}}
              fails: {kind: bad, with: {code: first}}
              second: {kind: bad, with: {code: second}, needs: fails}
            on_failure: {said: {kind: set, with: {value: "${{ error.code }}"}}}
            recover: true
    """
    stage.runtime.register(
        package("steps: {n: {kind: sleep, with: {for: 9d}}}\nfinally: [{kind: sleep, with: {for: 1m}}]", "tidy")
    )
    assert stage.play(body) == "succeeded"
    assert stage.result("group@on_failure/said") == "first"
    assert stage.status("group/slow") == "canceled"
    assert stage.clock.now() - stage.run().created_at == 60 * SECOND


def test_fan_out_runs_a_bounded_number_at_once_and_keeps_order(stage: Stage) -> None:
    """There are no limits, and no mapping."""
    stage.start(
        "steps: {m: {for_each: {items: '${{ range(10) }}', max_parallel: 3}, kind: ok, with: {value: '${{ item }}'}}}"
    )
    assert len(stage.lease()) == 3
    for path in list(stage.held):
        stage.held.pop(path)
    stage.clock.advance(HOUR)
    assert stage.finish() == "succeeded"
    assert stage.result("m") == list(range(10))


def test_a_channel_between_two_parts_of_a_run_is_a_signal_to_itself(stage: Stage) -> None:
    body = """
        steps:
          producer:
            for_each: [1, 2, 3]
            kind: signal
            with: {run: "${{ run.id }}", signal: items, data: "${{ item }}"}
          consumer:
            repeat: {until: iteration == 3}
            kind: wait_signal
            with: {signal: items}
          sum: {needs: consumer, kind: ok}
    """
    assert stage.play(body) == "succeeded"
    assert sorted(stage.result(f"consumer[{n}]") for n in range(3)) == [1, 2, 3]
