"""What the language says of ``continue_as_new`` and ``concurrency``: every claim once."""

from __future__ import annotations

import json

import pytest

from yamlflow.errors import NotAllowed, RunExists, StartRefused
from yamlflow.once import execute_here
from yamlflow.outcome import Succeeded

from .stage import Stage, package

COUNTER = """
    inputs: {n: {type: integer, default: 0}, last: {type: integer, default: 3}}
    steps:
      go: {kind: wait_signal, with: {signal: go}}
      again:
        needs: go
        if: inputs.n < inputs.last
        kind: continue_as_new
        with: {inputs: {n: "${{ inputs.n + 1 }}", last: "${{ inputs.last }}"}}
    outputs: {n: "${{ inputs.n }}", got: "${{ steps.go.result }}"}
    finally:
      - {kind: ok}
"""
ONE = """
    concurrency: {key: "${{ inputs.site }}", when_full: %s}
    inputs: {site: {type: string, default: a}}
    steps: {nap: {kind: sleep, with: {for: 1h}}}
    finally: [{kind: sleep, with: {for: 1m}}]
"""


# -- continue_as_new -----------------------------------------------------------------------------------------------


def test_a_run_goes_on_as_its_next_execution(stage: Stage) -> None:
    stage.start(COUNTER)
    for number in range(4):
        stage.runtime.signal("run-1", "go", number)
    assert stage.finish() == "succeeded"
    assert stage.run().execution == 4
    assert stage.result() == {"n": 3, "got": 3}
    statuses = [stage.store.find_run("run-1", number).status for number in (1, 2, 3, 4)]  # type: ignore[union-attr]
    assert statuses == ["continued", "continued", "continued", "succeeded"]


def test_unread_signals_move_on_in_order_and_read_ones_stay(stage: Stage) -> None:
    stage.start(COUNTER)
    for number in range(4):
        stage.runtime.signal("run-1", "go", number)
    stage.finish()
    first = stage.store.find_run("run-1", 1)
    assert first is not None
    assert [signal.data for signal in stage.store.signals(first.key)] == ["0"]


def test_a_thousand_renewals_lose_no_signal(stage: Stage) -> None:
    stage.start(COUNTER, {"last": 1000})
    stage.runtime.signal("run-1", "go", 0)
    for number in range(1000):
        stage.runtime.signal("run-1", "go", number + 1)
        stage.runtime.run_until_idle()
    assert stage.finish() == "succeeded"
    assert stage.run().execution == 1001
    assert stage.result() == {"n": 1000, "got": 1000}
    assert stage.runtime.wait("run-1", timeout=0).execution == 1001


def test_what_still_runs_is_canceled_and_finally_runs(stage: Stage) -> None:
    body = """
        inputs: {n: {type: integer, default: 0}}
        steps:
          nap: {if: inputs.n == 0, kind: sleep, with: {for: 1h}}
          later: {needs: nap, kind: ok}
          again: {if: inputs.n == 0, kind: continue_as_new, with: {inputs: {n: 1}}}
        finally: {tidy: {kind: ok, with: {value: 1}}}
    """
    assert stage.play(body) == "succeeded"
    first = stage.store.find_run("run-1", 1)
    assert first is not None
    rows = {row.path: row.status for row in stage.store.tree(first.key)}
    assert rows["nap"] == "canceled"
    assert rows["@finally/tidy"] == "succeeded"
    assert rows["later"] in ("canceled", "skipped")
    assert stage.run().execution == 2


def test_inputs_that_do_not_fit_fail_the_step_and_nothing_continues(stage: Stage) -> None:
    body = "inputs: {n: {type: integer, default: 0}}\nsteps: {again: {kind: continue_as_new, with: {inputs: {n: x}}}}"
    assert stage.play(body) == "failed"
    assert stage.error("again")["code"] == "bad_input"
    assert stage.run().execution == 1


def test_a_failure_that_nothing_handled_fails_the_run_instead_and_a_retry_lets_it_continue(stage: Stage) -> None:
    body = """
        inputs: {n: {type: integer, default: 0}}
        steps:
          bad: {if: inputs.n == 0, kind: flaky, with: {times: 1}}
          again: {needs: {bad: finished}, if: inputs.n == 0, kind: continue_as_new, with: {inputs: {n: 1}}}
    """
    assert stage.play(body) == "failed"
    assert stage.run().execution == 1
    stage.runtime.retry("run-1", "bad")
    with stage.transact() as work:
        row = work.at(work.run(stage.run().key).key, "bad")
        assert row is not None
        work.put(row._replace(attempt=1))
    assert stage.finish() == "succeeded"
    assert stage.run().execution == 2


def test_the_successor_keeps_context_metadata_queue_and_who_started_it(stage: Stage) -> None:
    body = "context: [tenant]\ninputs: {n: {default: 0}}\n"
    body += "steps: {again: {if: inputs.n == 0, kind: continue_as_new, with: {inputs: {n: 1}}}}"
    stage.play(package(body), context={"tenant": "acme"}, metadata={"team": "x"}, by="ann", queue="q")
    run = stage.run()
    assert (run.execution, json.loads(run.context), json.loads(run.metadata)) == (2, {"tenant": "acme"}, {"team": "x"})
    assert (run.started_by, run.queue) == ("ann", "q")


def test_a_parent_waits_for_the_last_execution(stage: Stage) -> None:
    stage.runtime.register(package(COUNTER, "counter"))
    stage.start("steps: {call: {kind: workflow, with: {package: counter, inputs: {last: 2}}}}")
    stage.runtime.run_until_idle()
    for number in range(3):
        stage.runtime.signal("run-1.call", "go", number)
    assert stage.finish("run-1") == "succeeded"
    stage.run_id = "run-1"
    assert stage.result("call") == {"n": 2, "got": 2}


def test_a_cancel_follows_the_chain(stage: Stage) -> None:
    stage.runtime.register(package(COUNTER, "counter"))
    stage.start("steps: {call: {kind: workflow, with: {package: counter}}}")
    stage.runtime.run_until_idle()
    stage.runtime.signal("run-1.call", "go")
    stage.runtime.run_until_idle()
    assert stage.runtime.run("run-1.call").execution == 2  # type: ignore[union-attr]
    stage.runtime.cancel("run-1", reason="enough")
    assert stage.finish("run-1") == "canceled"
    run = stage.runtime.run("run-1.call")
    assert run is not None
    assert (run.execution, run.status) == (2, "canceled")


def test_a_cancel_while_the_run_is_about_to_continue_ends_it(stage: Stage) -> None:
    body = """
        steps:
          again: {kind: continue_as_new}
        finally: {tidy: {kind: sleep, with: {for: 1h}}}
    """
    stage.start(body)
    stage.runtime.run_until_idle()
    assert stage.status("@finally/tidy") == "waiting"
    assert stage.runtime.cancel("run-1", reason="enough")
    assert stage.finish() == "canceled"
    assert stage.run().execution == 1


def test_children_that_are_not_waited_for_go_with_the_successor(stage: Stage) -> None:
    stage.runtime.register(package("steps: {nap: {kind: sleep, with: {for: 10h}}}", "sleeper"))
    body = """
        inputs: {n: {default: 0}}
        steps:
          call: {if: inputs.n == 0, kind: workflow, with: {package: sleeper, wait: false}}
          again: {needs: {call: finished}, if: inputs.n == 0, kind: continue_as_new, with: {inputs: {n: 1}}}
          nap: {if: inputs.n == 1, kind: sleep, with: {for: 1h}}
    """
    stage.start(body)
    stage.runtime.run_until_idle()
    assert stage.run().execution == 2
    assert stage.runtime.run("run-1.call").status == "running"  # type: ignore[union-attr]
    assert stage.finish() == "succeeded"
    assert stage.finish("run-1.call") == "canceled"


@pytest.mark.parametrize("order", [["work", "@finally/tidy"], ["@finally/tidy", "work"]])
def test_a_child_that_continues_as_its_parent_ends_goes_with_it(stage: Stage, order: list[str]) -> None:
    stage.runtime.register(
        package(
            """
            inputs: {n: {type: integer, default: 0}}
            steps:
              again: {if: inputs.n < 1, kind: continue_as_new, with: {inputs: {n: 1}}}
              go: {kind: wait_signal, with: {signal: go}}
            finally: [{id: tidy, kind: ok}]
            """,
            "child",
        )
    )
    stage.start("steps: {call: {kind: workflow, with: {package: child, wait: false}}, work: {kind: ok}}")
    while "@finally/tidy" not in stage.held:
        stage.lease()
        for path in stage.held.keys() - set(order):
            row = stage.held.pop(path)
            stage.report(row, execute_here(stage.runtime.bench, row, "hand").outcome)
    stage.end_together(*((path, Succeeded()) for path in order))
    assert stage.finish("run-1.call") == "canceled"
    assert stage.run("run-1.call").execution == 2


def test_only_the_newest_text_is_taken_where_it_is_asked_for(stage: Stage) -> None:
    again = "{if: inputs.n == 0, kind: continue_as_new, with: {latest: true, inputs: {n: 1}}}"
    old = package(f"inputs: {{n: {{default: 0}}}}\nsteps: {{a: {again}}}", "p")
    new = package("version: '2'\ninputs: {n: {default: 0}}\nsteps: {b: {kind: ok}}", "p")
    stage.start(old)
    stage.runtime.register(new)
    assert stage.finish() == "succeeded"
    assert stage.run().version == "2"


# -- concurrency ---------------------------------------------------------------------------------------------------


def both(stage: Stage, policy: str) -> None:
    stage.start(ONE % policy)
    stage.runtime.run_until_idle()


def test_a_run_of_the_same_key_waits_for_its_place(stage: Stage) -> None:
    both(stage, "wait")
    stage.start(ONE % "wait")
    stage.runtime.run_until_idle()
    assert stage.run().status == "pending"
    assert stage.statuses() == {}
    assert stage.finish("run-1") == "succeeded"
    assert stage.run("run-2").status == "running"
    assert stage.finish("run-2") == "succeeded"


def test_places_are_given_in_the_order_of_starting(stage: Stage) -> None:
    for _ in range(3):
        stage.start(ONE % "wait")
    assert [stage.run(f"run-{n}").status for n in (1, 2, 3)] == ["running", "pending", "pending"]
    stage.finish("run-1")
    assert [stage.run(f"run-{n}").status for n in (2, 3)] == ["running", "pending"]


def test_another_key_or_another_package_has_places_of_its_own(stage: Stage) -> None:
    both(stage, "wait")
    assert stage.start(ONE % "wait", {"site": "b"}).status == "running"
    assert stage.start(package(ONE % "wait", "other")).status == "running"


def test_a_limit_of_two_lets_two_go_on(stage: Stage) -> None:
    body = "concurrency: {key: k, limit: 2}\nsteps: {nap: {kind: sleep, with: {for: 1h}}}"
    assert [stage.start(body).status for _ in range(3)] == ["running", "running", "pending"]


@pytest.mark.parametrize(("policy", "skipped"), [("skip", True), ("fail", False)])
def test_skip_and_fail_store_no_run(stage: Stage, policy: str, skipped: bool) -> None:
    both(stage, policy)
    with pytest.raises(StartRefused, match='run "run-1"') as refused:
        stage.start(ONE % policy)
    assert refused.value.skipped is skipped
    assert stage.runtime.run("run-2") is None
    stage.run_id = "run-1"
    assert [event.kind for event in stage.events("start.refused")] == ["start.refused"]


def test_cancel_oldest_makes_room_and_begins_when_the_old_one_has_cleaned_up(stage: Stage) -> None:
    both(stage, "cancel_oldest")
    stage.start(ONE % "cancel_oldest", by="ann")
    stage.runtime.run_until_idle()
    assert (stage.run("run-1").status, stage.run("run-2").status) == ("running", "pending")
    stage.start(ONE % "cancel_oldest")
    assert stage.run("run-2").status == "canceled", "it never began, and a newer one took its place"
    assert stage.finish("run-1") == "canceled"
    assert stage.run("run-3").status == "running"


def test_a_run_that_waits_for_its_place_can_be_canceled_and_signaled(stage: Stage) -> None:
    both(stage, "wait")
    stage.start(ONE % "wait")
    assert stage.runtime.signal("run-2", "go", 1)
    stage.runtime.cancel("run-2", reason="no more")
    assert stage.run("run-2").status == "canceled"
    assert stage.finish("run-1") == "succeeded"


def test_a_run_that_continues_keeps_its_place(stage: Stage) -> None:
    body = """
        concurrency: {key: k}
        inputs: {n: {default: 0}}
        steps:
          nap: {kind: sleep, with: {for: 1h}}
          again: {needs: nap, if: inputs.n == 0, kind: continue_as_new, with: {inputs: {n: 1}}}
    """
    stage.start(body)
    stage.start(body)
    stage.runtime.run_until_idle()
    stage.clock.advance(3_600_000)
    stage.runtime.run_until_idle()
    assert stage.run("run-1").execution == 2
    assert stage.run("run-2").status == "pending"
    assert stage.finish("run-1") == "succeeded"
    assert stage.finish("run-2") == "succeeded"


def test_an_operators_retry_does_not_take_a_place_that_others_have(stage: Stage) -> None:
    body = "concurrency: {key: k}\nsteps: {a: {kind: bad}, nap: {needs: {a: finished}, kind: sleep, with: {for: 1h}}}"
    assert stage.play(body) == "failed"
    stage.start(body)
    with pytest.raises(NotAllowed, match='run "run-2" has the key "k"'):
        stage.runtime.retry("run-1")
    assert stage.finish("run-2") == "failed"
    assert stage.runtime.retry("run-1")


def test_a_child_of_a_full_key_waits_or_is_skipped(stage: Stage) -> None:
    stage.runtime.register(package(ONE % "skip", "skips"))
    stage.runtime.register(package(ONE % "wait", "waits"))
    for name in ("skips", "waits"):
        stage.start(stage.runtime.package(name), run_id=f"first-{name}")
    body = "steps: {{call: {{kind: workflow, with: {{package: {}}}}}}}"
    assert stage.play(body.format("skips")) == "succeeded"
    assert (stage.status("call"), stage.row("call").reason) == ("skipped", "concurrency")
    stage.start(body.format("waits"))
    stage.runtime.run_until_idle()
    assert stage.run(f"{stage.run_id}.call").status == "pending"
    assert stage.finish() == "succeeded"


def test_an_id_in_use_by_another_package_cannot_be_joined(stage: Stage) -> None:
    stage.start("steps: {nap: {kind: sleep, with: {for: 1h}}}", run_id="x")
    assert stage.start("steps: {nap: {kind: sleep, with: {for: 1h}}}", run_id="x", if_exists="join").execution == 1
    with pytest.raises(RunExists, match='of the package "play"'):
        stage.start(package("steps: [{kind: ok}]", "other"), run_id="x", if_exists="join")


def test_a_newcomer_does_not_overtake_those_that_wait_whatever_its_own_limit(stage: Stage) -> None:
    body = "concurrency: {{key: k, limit: {}}}\nsteps: {{nap: {{kind: sleep, with: {{for: 1h}}}}}}"
    for limit in (1, 1, 5):
        stage.start(body.format(limit))
    assert [stage.run(f"run-{n}").status for n in (1, 2, 3)] == ["running", "pending", "pending"]


def test_a_run_that_is_failing_does_not_continue(stage: Stage) -> None:
    from yamlflow.once import execute_here

    stage.start("fail_fast: true\nsteps: {a: {kind: ok}, again: {kind: continue_as_new, shield: true}}")
    stage.lease()
    again = stage.held.pop("again")
    stage.fail("a")
    stage.report(again, execute_here(stage.runtime.bench, again, "hand").outcome)
    assert stage.finish() == "failed"
    assert "ending already" in stage.error("again")["message"]
    assert stage.run().execution == 1
