"""What operators do: cancel, pause, retry; and what a shield keeps from them."""

from __future__ import annotations

import pytest

from yamlflow.engine import commands
from yamlflow.errors import NotAllowed, UnknownName
from yamlflow.outcome import Error, Failed, Succeeded

from .stage import Stage, package
from .worlds import World

FLOW = """
steps:
  a: {kind: ok}
  b: {kind: ok, needs: a}
  g: {needs: a, steps: {x: {kind: ok}, y: {kind: ok, needs: x}}}
  late: {kind: ok, needs: [b, g]}
"""


def test_a_cancel_reaches_every_step_at_once_and_nothing_starts_after_it(stage: Stage) -> None:
    stage.start(FLOW)
    stage.lease()
    stage.end("a")
    assert stage.lease() == ["b", "g/x"]
    assert stage.runtime.cancel(stage.run_id, reason="enough", by="ann") is True
    assert stage.lease() == []
    assert {event.step for event in stage.events("step.canceling")} == {"b", "g/x"}
    assert (stage.status("g/y"), stage.status("late")) == ("canceled", "canceled")
    stage.fail("b", "canceled")
    stage.fail("g/x", "canceled")
    assert stage.status() == "canceled"


@pytest.mark.parametrize("state", ["ready", "timer", "sleep", "slot", "paused", "gate", "until", "dedup"])
def test_a_cancel_ends_a_step_whatever_it_waits_for(stage: Stage, state: str) -> None:
    body = {
        "ready": "steps: {a: {kind: ok}}",
        "timer": "steps: {a: {kind: ok, retry: {max_attempts: 2}}}",
        "sleep": "steps: {a: {kind: sleep, with: {for: 1h}}}",
        "slot": "max_parallel: 1\nsteps: {z: {kind: sleep, with: {for: 1h}}, a: {kind: ok}}",
        "paused": "steps: {a: {kind: ok}}",
        "gate": "steps: {a: {kind: ok, if: true}}",
        "until": "steps: {a: {kind: ok, repeat: {until: 'iteration == 9', every: 1h}}}",
        "dedup": "steps: {z: {kind: sleep, dedup_key: k, with: {for: 1h}}, a: {kind: ok, dedup_key: k}}",
    }[state]
    stage.start(body)
    if state == "paused":
        stage.runtime.pause(stage.run_id)
    elif state == "timer":
        stage.lease()
        stage.fail("a")
    elif state not in ("gate", "ready"):
        stage.runtime.run_until_idle()
    assert stage.runtime.cancel(stage.run_id)
    assert stage.run().status == "canceled"
    stage.runtime.run_until_idle()
    assert stage.status("a") == "canceled"


def test_a_step_that_succeeds_although_it_was_told_to_stop_has_succeeded(stage: Stage) -> None:
    stage.start("steps: {a: {kind: ok}, b: {kind: ok, needs: a}}")
    stage.lease()
    stage.runtime.cancel(stage.run_id)
    stage.end("a", Succeeded(result=1))
    assert (stage.status("a"), stage.status("b"), stage.status()) == ("succeeded", "canceled", "canceled")


def test_a_canceled_step_is_not_retried(stage: Stage) -> None:
    stage.start("steps: {a: {kind: ok, retry: {max_attempts: 5}}}")
    stage.lease()
    stage.runtime.cancel(stage.run_id, "a")
    stage.fail("a")
    assert (stage.status("a"), stage.run().status) == ("canceled", "canceled")


def test_those_that_need_a_canceled_step_may_still_run(stage: Stage) -> None:
    stage.start(
        "steps: {a: {kind: ok}, b: {kind: ok, needs: a}, c: {kind: ok, needs: {a: canceled}}, "
        "d: {kind: ok, needs: {b: canceled}}}"
    )
    stage.runtime.cancel(stage.run_id, "a")
    assert stage.finish() == "canceled"
    assert stage.statuses() == {"a": "canceled", "b": "skipped", "c": "succeeded", "d": "succeeded"}


def test_a_cancel_of_what_has_ended_is_told_and_changes_nothing(stage: Stage) -> None:
    stage.play("steps: {a: {kind: ok}}")
    before = stage.events()
    assert stage.runtime.cancel(stage.run_id) is False
    assert stage.runtime.cancel(stage.run_id, "a") is False
    assert stage.events() == before
    with pytest.raises(UnknownName, match="nobody"):
        stage.runtime.cancel(stage.run_id, "nobody")
    with pytest.raises(UnknownName, match="no run"):
        stage.runtime.cancel("nobody")


def test_the_cancel_kind_cancels_the_nearest_step_of_a_name_with_a_reason(stage: Stage) -> None:
    assert stage.play("""
        steps:
          w: {kind: sleep, with: {for: 1h}}
          g:
            steps:
              w:
                steps: {s: {kind: sleep, with: {for: 1h}}}
                on_cancel: [{id: c, kind: set, with: {value: "${{ cancel.reason }} by ${{ cancel.by }}"}}]
              k: {kind: cancel, with: {step: w, reason: no use}}
          after: {kind: ok, needs: {g: canceled}}
    """) == "canceled"  # fmt: skip
    assert (stage.status("w"), stage.status("g/w"), stage.status("after")) == ("succeeded", "canceled", "succeeded")
    assert stage.result("g/w@on_cancel/c") == "no use by g/k"


def test_the_cancel_kind_fails_when_there_is_no_such_step(stage: Stage) -> None:
    stage.play("steps: {k: {kind: cancel, with: {step: nobody}}}")
    assert stage.error("k")["code"] == "bad_input"


# -- shield --------------------------------------------------------------------------------------------------------


def test_a_shielded_step_that_has_begun_ends_before_a_cancel_from_around_takes_effect(stage: Stage) -> None:
    stage.start("steps: {a: {kind: ok, shield: true}, b: {kind: ok, needs: a}, c: {kind: ok}}")
    stage.lease()
    stage.runtime.cancel(stage.run_id)
    assert (stage.row("a").cancel, stage.row("c").cancel is None) == (None, False)
    stage.fail("c", "canceled")
    assert stage.run().status == "running"
    stage.end("a", Succeeded(result=1))
    assert stage.statuses() == {"a": "succeeded", "b": "canceled", "c": "canceled"}
    assert stage.run().status == "canceled"


def test_a_shield_is_none_against_a_cancel_of_the_step_itself(stage: Stage) -> None:
    stage.start("steps: {a: {kind: ok, shield: true}}")
    stage.lease()
    stage.runtime.cancel(stage.run_id, "a")
    assert stage.row("a").cancel is not None


def test_a_shielded_step_that_has_not_begun_never_will(stage: Stage) -> None:
    stage.start("steps: {a: {kind: ok, shield: true}, b: {kind: ok, shield: true, needs: a}}")
    stage.runtime.cancel(stage.run_id)
    assert stage.finish() == "canceled"
    assert stage.ran == []


def test_a_shielded_step_whose_if_is_being_evaluated_has_not_begun(stage: Stage) -> None:
    stage.start("steps: {a: {kind: ok, shield: true, if: 'true'}}")
    from yamlflow.deciding import decide
    from yamlflow.engine.leasing import lease

    with stage.transact() as work:
        (row,) = lease(work, stage.wanted(0)).steps
    stage.runtime.cancel(stage.run_id)
    stage.report(row, decide(stage.runtime.bench, row))
    assert stage.finish() == "canceled"
    assert stage.ran == []


def test_a_shield_holds_through_a_retry(stage: Stage) -> None:
    stage.start("steps: {a: {kind: ok, shield: true, retry: {max_attempts: 2}}}")
    stage.lease()
    stage.fail("a")
    stage.runtime.cancel(stage.run_id)
    stage.clock.advance(1000)
    assert stage.lease() == ["a"]
    stage.end("a")
    assert (stage.status("a"), stage.run().status) == ("succeeded", "canceled")


def test_a_shielded_group_goes_on_to_its_end(stage: Stage) -> None:
    stage.start("steps: {g: {shield: true, steps: {x: {kind: ok}, y: {kind: ok, needs: x}}}, z: {kind: ok, needs: g}}")
    stage.lease()
    stage.runtime.cancel(stage.run_id)
    stage.end("g/x")
    assert stage.lease() == ["g/y"]
    stage.end("g/y")
    assert stage.statuses() == {"g": "succeeded", "g/x": "succeeded", "g/y": "succeeded", "z": "canceled"}


def test_a_shield_holds_against_a_timeout_around_it(stage: Stage) -> None:
    assert (
        stage.play(
            "steps: {g: {timeout: 10s, steps: {a: {kind: sleep, shield: true, with: {for: 1h}}, "
            "b: {kind: ok, needs: a}}}}"
        )
        == "failed"
    )
    assert stage.statuses() == {"g": "failed", "g/a": "succeeded", "g/b": "canceled"}
    assert stage.error("g")["code"] == "timeout"


# -- pause ---------------------------------------------------------------------------------------------------------


def test_a_paused_run_starts_nothing_and_what_runs_goes_on(stage: Stage) -> None:
    stage.start(FLOW)
    stage.lease()
    stage.runtime.pause(stage.run_id, by="ann")
    assert stage.run().paused
    stage.end("a")
    stage.clock.advance(3_600_000)
    assert stage.lease() == []
    stage.runtime.pause(stage.run_id, paused=False)
    assert stage.lease() == ["b", "g/x"]
    assert [event.kind for event in stage.events() if event.kind.startswith("run.")] == [
        "run.started",
        "run.paused",
        "run.resumed",
    ]


def test_a_paused_run_that_is_canceled_is_paused_no_longer_and_cleans_up(stage: Stage) -> None:
    stage.runtime.register(package("steps: {nap: {kind: sleep, with: {for: 1h}}}\nfinally: [{kind: ok}]", "child"))
    stage.start(
        "steps: {call: {kind: workflow, with: {package: child}}, nap: {kind: sleep, with: {for: 1h}}}\nfinally: [{kind: ok}]"
    )
    stage.runtime.run_until_idle()
    for id in ("run-1", "run-1.call"):
        stage.runtime.pause(id)
    stage.runtime.cancel("run-1", by="ann")
    assert stage.finish() == "canceled"
    assert stage.ran == ["@finally/_1", "@finally/_1"]
    assert not stage.run().paused


@pytest.mark.parametrize("paused_when", ["before", "after"])
def test_a_retry_that_comes_due_in_a_paused_run_waits(stage: Stage, paused_when: str) -> None:
    stage.start("steps: {a: {kind: ok, retry: {max_attempts: 2}}}")
    stage.lease()
    if paused_when == "before":
        stage.runtime.pause(stage.run_id)
    stage.fail("a")
    if paused_when == "after":
        stage.runtime.pause(stage.run_id)
    stage.clock.advance(10_000)
    assert stage.lease() == []
    stage.runtime.pause(stage.run_id, paused=False)
    assert stage.lease() == ["a"]


def test_a_lease_lost_in_a_paused_run_is_not_offered(stage: Stage) -> None:
    stage.start("steps: {a: {kind: ok}}")
    stage.lease()
    stage.runtime.pause(stage.run_id)
    stage.held.clear()
    stage.clock.advance(60_000)
    assert stage.lease() == []


def test_pausing_twice_is_harmless_and_an_ended_run_cannot_be_paused(stage: Stage) -> None:
    stage.start("steps: {a: {kind: ok}}")
    stage.runtime.pause(stage.run_id)
    stage.runtime.pause(stage.run_id)
    stage.runtime.pause(stage.run_id, paused=False)
    assert stage.finish() == "succeeded"
    assert len(stage.events("run.paused")) == 1
    with pytest.raises(NotAllowed, match="ended"):
        stage.runtime.pause(stage.run_id)


def test_a_cancel_by_force_ends_even_handlers_and_shields() -> None:
    steps = {"a": {"kind": "noop", "shield": True}}
    world = World({"yamlflow": 1, "name": "forced", "steps": steps, "finally": [{"kind": "noop"}, {"kind": "noop"}]})
    world.lease(4)
    with world.transact() as work:
        commands.cancel(work, work.run(world.run.key), reason="now", force=True)
    (lease,) = world.leases
    world.report(lease, Failed(error=Error(code="stopped", message="told to")))
    assert {row.path: row.status for row in world.rows()} == {"": "canceled", "a": "canceled"}
    world.runtime.close()


def test_a_cancel_by_force_ends_handlers_that_run() -> None:
    handlers = {"finally": {"last": {"kind": "noop"}, "never": {"kind": "noop", "needs": "last"}}}
    world = World({"yamlflow": 1, "name": "forced", "steps": {"a": {"kind": "noop"}}, **handlers})
    world.lease(4)
    world.report(world.leases[0], Succeeded())
    world.lease(4)
    with world.transact() as work:
        commands.cancel(work, work.run(world.run.key), reason="enough")
    assert world.rows()[0].status == "waiting", "a cancel without force leaves the handler alone"
    with world.transact() as work:
        commands.cancel(work, work.run(world.run.key), reason="now", force=True)
    world.report(world.leases[0], Failed(error=Error(code="stopped", message="told to")))
    statuses = {row.path: row.status for row in world.rows()}
    assert statuses == {
        "": "canceled", "a": "succeeded", "@finally": "canceled", "@finally/last": "canceled", "@finally/never": "canceled",
    }  # fmt: skip
    world.runtime.close()
