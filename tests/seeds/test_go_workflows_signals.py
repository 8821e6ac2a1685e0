"""The features of go-workflows, each as a test named for it: signals (section 1.6, and 1, 2 and 11 of its weaknesses)."""

from __future__ import annotations

import pytest

from yamlflow import executor
from yamlflow.clock import HOUR
from yamlflow.context import StepContext
from yamlflow.errors import InvalidInput, NotAllowed, UnknownName

from ..engine.stage import Stage, package

GO = "steps: {go: {kind: wait_signal, with: {signal: go}}}\noutputs: '${{ steps.go.result }}'"
ONE = "{kind: wait_signal, with: {signal: go}}"
THREE = f"steps: [{ONE}, {ONE}, {ONE}]"
TYPED = f"signals: {{go: {{type: object, required: [amount], properties: {{amount: {{type: integer}}}}}}}}\n{GO}"
EACH = """
    steps:
      each: {repeat: {until: iteration == 250, max: 250}, kind: wait_signal, with: {signal: go}}
"""


def waiting(stage: Stage, body: str, **options: object) -> None:
    stage.start(body, **options)
    stage.runtime.run_until_idle()


def test_a_signal_wakes_the_step_that_waits_for_its_name_with_its_data(stage: Stage) -> None:
    waiting(stage, GO)
    stage.runtime.signal("run-1", "other", 1)
    assert stage.status("go") == "waiting"
    stage.runtime.signal("run-1", "go", {"n": [1, 2]})
    assert stage.finish() == "succeeded"
    assert stage.result() == {"n": [1, 2]}


def test_signals_that_came_before_the_wait_are_read_first_in_first_out(stage: Stage) -> None:
    """There they are read last in first out (6.1)."""
    stage.start(THREE)
    for number in (1, 2, 3):
        stage.runtime.signal("run-1", "go", number)
    assert stage.finish() == "succeeded"
    assert [stage.result(id) for id in ("_1", "_2", "_3")] == [1, 2, 3]


@pytest.mark.parametrize("before", [True, False])
def test_more_than_a_hundred_unread_signals_are_kept_and_block_nothing(stage: Stage, before: bool) -> None:
    """There the hundred and first is dropped without a word (6.1)."""
    stage.start(EACH)
    if not before:
        stage.runtime.run_until_idle()
    for number in range(250):
        assert stage.runtime.signal("run-1", "go", number)
    assert stage.finish() == "succeeded"
    assert [stage.result(f"each[{n}]") for n in range(250)] == list(range(250))


def test_unread_signals_are_kept_over_continue_as_new(stage: Stage) -> None:
    """There they are lost (6.1)."""
    body = """
        inputs: {n: {type: integer, default: 1}}
        steps:
          go: {kind: wait_signal, with: {signal: go}}
          again: {needs: go, if: inputs.n < 3, kind: continue_as_new, with: {inputs: {n: "${{ inputs.n + 1 }}"}}}
        outputs: ["${{ inputs.n }}", "${{ steps.go.result }}"]
    """
    stage.start(body)
    for word in ("a", "b", "c"):
        stage.runtime.signal("run-1", "go", word)
    assert stage.finish() == "succeeded"
    assert stage.result() == [3, "c"]


def test_a_payload_that_does_not_fit_is_refused_at_the_sender_and_the_worker_lives_on(stage: Stage) -> None:
    """There it ends the worker's process, again and again (6.1, 6.11)."""
    waiting(stage, TYPED)
    for wrong in ({"amount": "many"}, {}, "text", None):
        with pytest.raises(InvalidInput, match=r"signals\.go"):
            stage.runtime.signal("run-1", "go", wrong)
    assert stage.store.signals(stage.run().key) == []
    stage.runtime.signal("run-1", "go", {"amount": 3})
    assert stage.finish() == "succeeded"


def test_a_signal_that_no_step_can_ever_read_is_refused_with_the_name_that_was_meant(stage: Stage) -> None:
    waiting(stage, TYPED)
    with pytest.raises(UnknownName, match='Did you mean "go"'):
        stage.runtime.signal("run-1", "goo", {"amount": 3})


def test_a_signal_to_an_unknown_or_finished_instance_is_an_error_at_the_sender(stage: Stage) -> None:
    with pytest.raises(UnknownName, match='no run "nobody"'):
        stage.runtime.signal("nobody", "go")
    stage.play("steps: [{kind: ok}]")
    with pytest.raises(NotAllowed, match=r"has ended \(succeeded\)"):
        stage.runtime.signal("run-1", "go")


def test_a_step_signals_another_instance_when_it_succeeds(stage: Stage) -> None:
    waiting(stage, GO, run_id="receiver")
    assert stage.play("steps: {tell: {kind: signal, with: {run: receiver, signal: go, data: 42}}}") == "succeeded"
    assert stage.finish("receiver") == "succeeded"
    assert stage.runtime.result("receiver") == 42


def test_a_step_that_signals_nobody_fails_with_an_error_that_can_be_handled(stage: Stage) -> None:
    body = "steps: {tell: {kind: signal, with: {run: nobody, signal: go}, continue_on_error: true}}"
    assert stage.play(body) == "succeeded"
    assert stage.error("tell")["code"] == "no_receiver"


def test_an_activity_of_ones_own_signals_with_its_success_and_not_with_its_failure(stage: Stage) -> None:
    @executor("tells")
    def tells(step: StepContext) -> None:
        step.signal("receiver", "go", step.attempt)
        if step.attempt == 1:
            raise OSError("try again")

    stage.runtime.register(tells)
    waiting(stage, GO, run_id="receiver")
    assert stage.play("steps: {a: {kind: tells, retry: {max_attempts: 2}}}") == "succeeded"
    run = stage.runtime.run("receiver")
    assert run is not None
    assert [signal.data for signal in stage.store.signals(run.key)] == ["2"]


def test_signal_with_start_does_both_in_one_transaction(stage: Stage) -> None:
    """There is none."""
    one = package(TYPED, "account")
    with pytest.raises(InvalidInput):
        stage.runtime.signal_or_start("acme", "go", {"amount": "x"}, package=one)
    assert stage.runtime.run("acme") is None, "neither, then"
    first = stage.runtime.signal_or_start("acme", "go", {"amount": 1}, package=one)
    second = stage.runtime.signal_or_start("acme", "go", {"amount": 2}, package=one)
    assert first.key == second.key
    assert stage.finish("acme") == "succeeded"
    assert stage.runtime.signal_or_start("acme", "go", {"amount": 3}, package=one).execution == 2


def test_signal_with_start_can_be_said_in_yaml(stage: Stage) -> None:
    stage.runtime.register(package(GO, "listener"))
    body = "{kind: signal, with: {run: l, signal: go, data: hi, start_if_missing: {package: listener}}}"
    assert stage.play(f"steps: [{body}]") == "succeeded"
    assert stage.finish("l") == "succeeded"
    assert stage.runtime.result("l") == "hi"


def test_a_signal_tells_who_sent_it_and_one_of_a_key_is_kept_once(stage: Stage) -> None:
    """There is no sender and no key."""
    waiting(stage, THREE)
    assert stage.runtime.signal("run-1", "go", 1, sender="till 4", key="receipt-9")
    assert not stage.runtime.signal("run-1", "go", 1, sender="till 4", key="receipt-9")
    assert [(one.sender, one.data) for one in stage.store.signals(stage.run().key)] == [("till 4", "1")]


def test_receive_without_blocking_takes_what_is_there(stage: Stage) -> None:
    poll = "{kind: wait_signal, timeout: 0s, with: {signal: go}, continue_on_error: true}"
    stage.start(f"steps: [{poll}, {poll}]")
    stage.runtime.signal("run-1", "go", "there")
    assert stage.finish() == "succeeded"
    assert (stage.result("_1"), stage.status("_2"), stage.error("_2")["code"]) == ("there", "failed", "timeout")


def test_select_over_a_signal_and_a_timer(stage: Stage) -> None:
    body = """
        steps:
          select:
            race: true
            steps:
              signal: {kind: wait_signal, with: {signal: go}}
              timer: {kind: sleep, with: {for: 1h}}
        outputs: "${{ steps.select.winner }}"
    """
    waiting(stage, body)
    stage.clock.advance(HOUR - 1)
    stage.runtime.signal("run-1", "go")
    assert stage.finish() == "succeeded"
    assert stage.result() == "signal"
    assert stage.play(body) == "succeeded"
    assert stage.result() == "timer"


def test_a_wait_for_a_signal_wakes_on_cancel(stage: Stage) -> None:
    """There a workflow that waits for a signal cannot be canceled (6.2)."""
    waiting(stage, GO)
    stage.runtime.cancel("run-1")
    assert stage.run().status == "canceled"


def test_two_waits_of_one_name_share_the_signals_and_none_is_read_twice(stage: Stage) -> None:
    wait = "{kind: wait_signal, with: {signal: go}}"
    waiting(stage, f"steps: {{a: {wait}, b: {wait}}}")
    stage.runtime.signal("run-1", "go", 1)
    stage.runtime.signal("run-1", "go", 2)
    assert stage.finish() == "succeeded"
    assert [stage.result("a"), stage.result("b")] == [1, 2]
