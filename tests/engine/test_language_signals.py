"""What the language says of signals, answers and waiting: every claim once."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yamlflow.errors import InvalidInput, NotAllowed, StartRefused, UnknownName
from yamlflow.outcome import Waiting

from .stage import Stage, package, staged

WAIT = """
    steps:
      go: {kind: wait_signal, with: {signal: go}}
      after: {needs: go, kind: ok, with: {value: "${{ steps.go.result.n }}"}}
"""
ASK = """
    steps:
      ask: {kind: approval, with: {prompt: "Publish ${{ 3 }}?"}}
      yes: {needs: ask, if: steps.ask.result.approved, kind: ok}
"""
FORM = """
    steps:
      ask:
        kind: approval
        with:
          form: {type: object, required: [why], properties: {why: {type: string}, days: {type: integer, default: 3}}}
"""


def waits(stage: Stage, body: str) -> None:
    stage.start(body)
    stage.runtime.run_until_idle()


# -- signals -------------------------------------------------------------------------------------------------------


def test_a_step_waits_for_a_signal_and_gives_its_data(stage: Stage) -> None:
    waits(stage, WAIT)
    assert stage.statuses() == {"go": "waiting", "after": "pending"}
    assert stage.runtime.signal(stage.run_id, "go", {"n": 7})
    assert stage.finish() == "succeeded"
    assert stage.result("after") == 7


def test_what_waits_holds_no_lease_no_queue_slot_and_no_timer(stage: Stage) -> None:
    waits(stage, WAIT)
    row = stage.row("go")
    assert (row.worker, row.leased_until, row.available_at) == (None, None, None)
    with stage.transact() as work:
        assert work.tx.in_flight(row.queue) == 0
    assert stage.store.next_timer() is None


def test_signals_are_kept_from_before_the_wait_and_read_first_in_first_out(stage: Stage) -> None:
    stage.start(
        """
        steps:
          first: {kind: wait_signal, with: {signal: go}}
          second: {needs: first, kind: wait_signal, with: {signal: go}}
          third: {needs: second, kind: wait_signal, with: {signal: other}}
        """
    )
    for number in (1, 2):
        stage.runtime.signal(stage.run_id, "go", number)
    stage.runtime.signal(stage.run_id, "other", "o")
    assert stage.finish() == "succeeded"
    assert [stage.result(id) for id in ("first", "second", "third")] == [1, 2, "o"]


def test_each_signal_is_read_by_one_step_and_the_longest_waiting_comes_first(stage: Stage) -> None:
    stage.start(
        """
        steps:
          b: {kind: wait_signal, with: {signal: go}}
          late: {needs: nap, kind: wait_signal, with: {signal: go}}
          nap: {kind: sleep, with: {for: 1s}}
        """
    )
    stage.runtime.run_until_idle()
    stage.clock.advance(1000)
    stage.runtime.run_until_idle()
    stage.runtime.signal(stage.run_id, "go", 1)
    assert (stage.status("b"), stage.status("late")) == ("succeeded", "waiting")
    stage.runtime.signal(stage.run_id, "go", 2)
    assert stage.finish() == "succeeded"
    assert (stage.result("b"), stage.result("late")) == (1, 2)


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from("ab"), st.booleans()), max_size=12))
def test_signals_of_a_name_are_read_in_the_order_they_came_however_they_meet_the_waits(
    moves: list[tuple[str, bool]],
) -> None:
    """A name and whether it is sent (or waited for): the n-th wait of a name gets the n-th signal of it."""
    with staged() as stage:
        waiters: dict[str, list[str]] = {"a": [], "b": []}
        steps = {f"w{n}": name for n, (name, sends) in enumerate(moves) if not sends}
        body = "steps:\n  gate: {kind: wait_signal, with: {signal: gate}}\n"
        body += "".join(
            f"  {id}_t: {{kind: sleep, with: {{for: {int(id[1:]) + 1}s}}}}\n"
            f"  {id}: {{needs: {id}_t, kind: wait_signal, with: {{signal: {name}}}}}\n"
            for id, name in steps.items()
        )  # fmt: skip
        stage.start(package(body))
        stage.runtime.run_until_idle()
        sent: dict[str, int] = {"a": 0, "b": 0}
        for n, (name, sends) in enumerate(moves):
            if sends:
                stage.runtime.signal(stage.run_id, name, sent[name])
                sent[name] += 1
            stage.clock.advance(1000)
            stage.runtime.run_until_idle()
            if not sends:
                waiters[name].append(f"w{n}")
        for name, ids in waiters.items():
            got = [stage.result(id) for id in ids]
            assert got == [n if n < sent[name] else None for n in range(len(ids))]


def test_more_signals_than_any_buffer_would_hold_are_all_kept(stage: Stage) -> None:
    stage.start(
        """
        steps:
          each:
            repeat: {until: iteration >= 300, max: 400}
            kind: wait_signal
            with: {signal: go}
          last: {needs: each, kind: ok, with: {value: "${{ steps.each.result }}"}}
        """
    )
    for number in range(300):
        stage.runtime.signal(stage.run_id, "go", number)
    assert stage.finish() == "succeeded"
    assert stage.result("last") == 299


def test_a_wait_that_times_out_fails_with_timeout(stage: Stage) -> None:
    assert stage.play("steps:\n  go: {kind: wait_signal, timeout: 10m, with: {signal: go}}\n") == "failed"
    assert stage.error("go")["code"] == "timeout"
    assert stage.clock.now() - stage.run().created_at == 600_000


def test_a_signal_in_time_beats_the_timeout_and_the_timer_is_gone(stage: Stage) -> None:
    waits(stage, "steps:\n  go: {kind: wait_signal, timeout: 10m, with: {signal: go}}\n")
    stage.runtime.signal(stage.run_id, "go", 1)
    stage.clock.advance(3_600_000)
    assert stage.finish() == "succeeded"
    assert stage.store.next_timer() is None


def test_a_timeout_of_nothing_polls(stage: Stage) -> None:
    body = "steps:\n  go: {kind: wait_signal, timeout: 0s, with: {signal: go}, continue_on_error: true}\n"
    stage.start(body)
    stage.runtime.signal(stage.run_id, "go", "there")
    assert stage.finish() == "succeeded"
    assert stage.result("go") == "there"
    assert stage.play(body) == "succeeded"
    assert stage.error("go")["code"] == "timeout"


def test_a_race_between_a_signal_and_a_timer_has_one_winner(stage: Stage) -> None:
    body = """
        steps:
          first:
            race: true
            steps:
              signal: {kind: wait_signal, with: {signal: go}}
              timer: {kind: sleep, with: {for: 1h}}
          said: {needs: first, kind: ok, with: {value: "${{ steps.first.winner }}"}}
    """
    waits(stage, body)
    stage.clock.advance(3_600_000)
    # Both are there: whoever commits first has won, and the other is canceled with it.
    stage.runtime.signal(stage.run_id, "go")
    assert stage.finish() == "succeeded"
    assert stage.result("said") == "signal"
    assert stage.status("first/timer") == "canceled"
    assert stage.play(body) == "succeeded"
    assert stage.result("said") == "timer"
    assert stage.status("first/signal") == "canceled"


def test_data_that_does_not_fit_its_schema_is_refused_at_the_sender(stage: Stage) -> None:
    waits(
        stage,
        "signals: {go: {type: object, required: [by]}}\n" + "steps:\n  go: {kind: wait_signal, with: {signal: go}}\n",
    )
    with pytest.raises(InvalidInput, match=r'signals\.go: "by" is missing'):
        stage.runtime.signal(stage.run_id, "go", {})
    assert stage.store.signals(stage.run().key) == []
    stage.runtime.signal(stage.run_id, "go", {"by": "me"})
    assert stage.finish() == "succeeded"


def test_a_signal_that_the_package_does_not_know_is_refused_with_the_nearest(stage: Stage) -> None:
    waits(stage, "signals: {publish: {}}\nsteps:\n  go: {kind: wait_signal, with: {signal: publish}}\n")
    with pytest.raises(UnknownName, match='Did you mean "publish"'):
        stage.runtime.signal(stage.run_id, "pubish")


def test_a_signal_to_a_run_that_has_ended_or_is_not_there_is_an_error(stage: Stage) -> None:
    stage.play("steps: [{kind: ok}]")
    with pytest.raises(NotAllowed, match="has ended"):
        stage.runtime.signal(stage.run_id, "go")
    with pytest.raises(UnknownName, match='no run "nobody"'):
        stage.runtime.signal("nobody", "go")


def test_a_signal_of_one_key_is_kept_once(stage: Stage) -> None:
    waits(stage, WAIT)
    assert stage.runtime.signal(stage.run_id, "go", {"n": 1}, key="d1")
    assert not stage.runtime.signal(stage.run_id, "go", {"n": 2}, key="d1")
    assert stage.finish() == "succeeded"
    assert stage.result("after") == 1
    # Who never heard that it was taken sends it again, and need not know what became of the run.
    assert not stage.runtime.signal(stage.run_id, "go", {"n": 1}, key="d1")
    with pytest.raises(NotAllowed, match="has ended"):
        stage.runtime.signal(stage.run_id, "go", {"n": 1}, key="d2")


def test_a_signal_stays_unread_when_its_wait_was_canceled(stage: Stage) -> None:
    waits(stage, "steps:\n  go: {kind: wait_signal, with: {signal: go}}\n  nap: {kind: sleep, with: {for: 1h}}\n")
    stage.runtime.cancel(stage.run_id, "go")
    stage.runtime.signal(stage.run_id, "go", 1)
    assert stage.status("go") == "canceled"
    assert [signal.taken_by for signal in stage.store.signals(stage.run().key)] == [None]


def test_what_a_plugin_waits_for_may_be_a_signal_until_a_time(stage: Stage) -> None:
    from yamlflow.context import StepContext
    from yamlflow.executors import executor

    @executor("either", schema={}, mode="inline", waits=True)
    def either(step: StepContext) -> Waiting:
        return Waiting(signal="go", until=stage.clock.now() + 5000, result="nobody came")

    stage.runtime.register(either)
    assert stage.play("steps: {a: {kind: either}}") == "succeeded"
    assert stage.result("a") == "nobody came"
    waits(stage, "steps: {a: {kind: either}}")
    stage.runtime.signal(stage.run_id, "go", "somebody")
    assert stage.finish() == "succeeded"
    assert stage.result("a") == "somebody"


# -- signals from steps --------------------------------------------------------------------------------------------


def test_a_step_sends_a_signal_with_its_success(stage: Stage) -> None:
    waits(stage, WAIT)
    receiver = stage.run_id
    body = f"steps:\n  tell: {{kind: signal, with: {{run: {receiver}, signal: go, data: {{n: 5}}}}}}\n"
    assert stage.play(body) == "succeeded"
    sender = stage.run_id
    assert stage.finish(receiver) == "succeeded"
    stage.run_id = receiver
    assert stage.result("after") == 5
    assert [signal.sender for signal in stage.store.signals(stage.run().key)] == [f"{sender}/tell"]


def test_a_step_may_signal_its_own_run(stage: Stage) -> None:
    body = """
        steps:
          go: {kind: wait_signal, with: {signal: go}}
          tell: {kind: signal, with: {run: "${{ run.id }}", signal: go, data: 1}}
    """
    assert stage.play(body) == "succeeded"
    assert stage.result("go") == 1


@pytest.mark.parametrize(("run", "words"), [("nobody", "there is no such run"), ("ended", "it has ended")])
def test_a_step_whose_signal_nobody_can_get_fails(stage: Stage, run: str, words: str) -> None:
    stage.play("steps: [{kind: ok}]", run_id="ended")
    assert stage.play(f"steps: {{tell: {{kind: signal, with: {{run: {run}, signal: go}}}}}}") == "failed"
    assert stage.error("tell")["code"] == "no_receiver"
    assert words in stage.error("tell")["message"]


def test_a_step_that_sends_what_does_not_fit_fails_and_nothing_is_sent(stage: Stage) -> None:
    waits(stage, "signals: {go: {type: integer}}\nsteps: {go: {kind: wait_signal, with: {signal: go}}}")
    receiver = stage.run()
    assert stage.play(f"steps: {{t: {{kind: signal, with: {{run: {receiver.id}, signal: go, data: x}}}}}}") == "failed"
    assert stage.error("t")["code"] == "bad_input"
    assert stage.store.signals(receiver.key) == []


def test_start_if_missing_starts_the_run_once_and_then_signals_it(stage: Stage) -> None:
    stage.runtime.register(package(WAIT, "listener"))
    body = """
        steps:
          - &tell
            kind: signal
            with: {run: l1, signal: go, data: {n: 1}, start_if_missing: {package: listener}}
          - *tell
    """
    assert stage.play(body) == "succeeded"
    assert stage.finish("l1") == "succeeded"
    run = stage.runtime.run("l1")
    assert run is not None
    assert run.execution == 1
    assert [signal.taken_by is None for signal in stage.store.signals(run.key)] == [False, True]
    # It has ended: the next signal starts its next execution.
    assert stage.play(body) == "succeeded"
    assert stage.runtime.run("l1").execution == 2  # type: ignore[union-attr]


def test_start_if_missing_of_a_package_that_is_not_there_fails_the_step(stage: Stage) -> None:
    body = "steps: {t: {kind: signal, with: {run: x, signal: go, start_if_missing: {package: nobody}}}}"
    assert stage.play(body) == "failed"
    assert stage.error("t")["code"] == "unknown_package"
    assert stage.runtime.run("x") is None


def test_signal_or_start_does_both_in_one_transaction(stage: Stage) -> None:
    one = package(WAIT, "listener")
    run = stage.runtime.signal_or_start("l1", "go", {"n": 3}, package=one)
    again = stage.runtime.signal_or_start("l1", "go", {"n": 4}, package=one)
    assert run.key == again.key
    assert stage.finish("l1") == "succeeded"
    assert stage.runtime.result("l1", "after") == 3


def test_a_start_that_a_signal_asks_for_and_concurrency_refuses_is_told_to_the_run_that_has_the_place(
    stage: Stage,
) -> None:
    one = package("\n    concurrency: {key: k, when_full: fail}" + WAIT, "listener")
    holder = stage.runtime.start(one, run_id="l1")
    with pytest.raises(StartRefused):
        stage.runtime.signal_or_start("l2", "go", {"n": 3}, package=one)
    assert stage.runtime.run("l2") is None
    told = [event for event in stage.store.events(holder.key) if event.kind == "start.refused"]
    assert [json.loads(event.payload or "")["run"] for event in told] == ["l2"]


# -- answers -------------------------------------------------------------------------------------------------------


def test_a_yes_goes_on_with_what_was_said(stage: Stage) -> None:
    waits(stage, ASK)
    assert json.loads(stage.row("ask").wait or "")["prompt"] == "Publish 3?"
    assert stage.runtime.approve(stage.run_id, "ask", by="ann", comment="fine")
    assert stage.finish() == "succeeded"
    assert stage.result("ask") == {"approved": True, "by": "ann", "comment": "fine", "form": None}
    assert stage.status("yes") == "succeeded"


def test_a_no_is_an_answer_not_a_failure(stage: Stage) -> None:
    waits(stage, ASK)
    stage.runtime.approve(stage.run_id, "ask", approved=False, by="ann")
    assert stage.finish() == "succeeded"
    assert stage.status("yes") == "skipped"


def test_the_same_answer_twice_is_harmless_and_another_one_refused(stage: Stage) -> None:
    waits(stage, ASK)
    assert stage.runtime.approve(stage.run_id, "ask", by="ann")
    assert not stage.runtime.approve(stage.run_id, "ask", by="bob")
    with pytest.raises(NotAllowed, match="approved already by ann"):
        stage.runtime.approve(stage.run_id, "ask", approved=False)
    stage.finish()
    assert not stage.runtime.approve(stage.run_id, "ask")
    assert stage.result("ask")["by"] == "ann"


def test_a_form_is_checked_and_its_defaults_are_filled_in(stage: Stage) -> None:
    waits(stage, FORM)
    with pytest.raises(InvalidInput, match='"why" is missing'):
        stage.runtime.approve(stage.run_id, "ask")
    with pytest.raises(InvalidInput, match=r"form\.why"):
        stage.runtime.approve(stage.run_id, "ask", form={"why": 1})
    assert stage.status("ask") == "waiting"
    stage.runtime.approve(stage.run_id, "ask", form={"why": "because"})
    assert stage.result("ask")["form"] == {"why": "because", "days": 3}


def test_a_yes_with_another_form_is_another_answer(stage: Stage) -> None:
    waits(stage, FORM)
    stage.runtime.approve(stage.run_id, "ask", form={"why": "because"}, by="ann")
    assert not stage.runtime.approve(stage.run_id, "ask", form={"why": "because", "days": 3})
    with pytest.raises(NotAllowed, match="approved already by ann"):
        stage.runtime.approve(stage.run_id, "ask", form={"why": "for no reason"})


def test_a_no_needs_no_form(stage: Stage) -> None:
    waits(stage, FORM)
    stage.runtime.approve(stage.run_id, "ask", approved=False)
    assert stage.finish() == "succeeded"


def test_a_form_that_is_no_schema_fails_the_step(stage: Stage) -> None:
    assert stage.play("steps: {ask: {kind: approval, with: {form: {type: nonsense}}}}") == "failed"
    assert stage.error("ask")["code"] == "bad_input"


def test_a_step_that_asks_nothing_cannot_be_answered(stage: Stage) -> None:
    stage.start("steps:\n  nap: {kind: sleep, with: {for: 1h}}\n  ask: {needs: nap, kind: approval}\n")
    stage.runtime.run_until_idle()
    with pytest.raises(NotAllowed, match="has not begun to ask"):
        stage.runtime.approve(stage.run_id, "ask")
    with pytest.raises(NotAllowed, match="asks nothing"):
        stage.runtime.approve(stage.run_id, "nap")
    with pytest.raises(UnknownName, match='no step "nobody"'):
        stage.runtime.approve(stage.run_id, "nobody")


def test_a_question_nobody_answers_times_out(stage: Stage) -> None:
    assert stage.play("steps: {ask: {kind: approval, timeout: 24h}}") == "failed"
    assert stage.error("ask")["code"] == "timeout"
    with pytest.raises(NotAllowed, match="has failed"):
        stage.runtime.approve(stage.run_id, "ask")


def test_a_wait_with_a_retry_begins_again(stage: Stage) -> None:
    retry = "{max_attempts: 3, delay: 1s, backoff: fixed}"
    body = f"steps: {{go: {{kind: wait_signal, timeout: 1m, retry: {retry}, with: {{signal: go}}}}}}"
    assert stage.play(body) == "failed"
    assert stage.row("go").attempt == 3
    assert stage.clock.now() - stage.run().created_at == 182_000


def test_defaults_for_timeout_and_retry_are_not_for_what_waits(stage: Stage) -> None:
    waits(stage, "defaults: {timeout: 1s, retry: {max_attempts: 3}}\nsteps: {ask: {kind: approval}}")
    assert stage.store.next_timer() is None


def test_sleeping_longer_than_its_timeout_fails(stage: Stage) -> None:
    assert stage.play("steps: {nap: {kind: sleep, timeout: 1m, with: {for: 1h}}}") == "failed"
    assert stage.error("nap")["code"] == "timeout"
    assert stage.clock.now() - stage.run().created_at == 60_000


def test_a_year_of_sleep_is_a_row(stage: Stage) -> None:
    assert stage.play("steps: {nap: {kind: sleep, with: {for: 365d}}}") == "succeeded"
    assert stage.clock.now() - stage.run().created_at == 365 * 86_400_000
