"""Where steps wait: limits, token buckets, priority and turns between runs."""

from __future__ import annotations

import pytest

from yamlflow.engine import commands
from yamlflow.store.sqlite import SqliteStore

from .stage import Stage, package, staged

SECOND = 1000


def many(count: int, more: str = "", name: str = "s") -> str:
    """Steps that need nothing, as a mapping."""
    return "steps:\n" + "".join(f"  {name}{n}: {{kind: ok{more}}}\n" for n in range(count))


def test_no_more_steps_of_a_queue_run_at_once_than_max_in_flight_over_all_workers_and_runs(stage: Stage) -> None:
    one = package("queues: {q: {max_in_flight: 2}}\n" + many(3, ", queue: q"))
    stage.start(one)
    stage.start(one)
    stage.decide()
    assert len(stage.lease(1)) == 1
    assert len(stage.lease(9, worker="other")) == 1
    assert stage.lease(9) == []


def test_a_place_in_a_queue_is_free_again_when_a_step_ends_or_is_lost(stage: Stage) -> None:
    stage.start("queues: {q: {max_in_flight: 1}}\n" + many(3, ", queue: q"))
    assert stage.lease() == ["s0"]
    stage.fail("s0")
    assert stage.lease() == ["s1"]
    stage.held.clear()
    stage.clock.advance(60 * SECOND)
    assert len(stage.lease()) == 1


def test_a_queue_starts_full_and_spends_a_token_per_start(stage: Stage) -> None:
    stage.start("queues: {q: {rate: 2/s, burst: 3}}\n" + many(9, ", queue: q"))
    assert len(stage.lease()) == 3
    assert stage.lease() == []
    stage.clock.advance(499)
    assert stage.lease() == []
    stage.clock.advance(1)
    assert len(stage.lease()) == 1
    stage.clock.advance(10 * SECOND)
    assert len(stage.lease()) == 3


@pytest.mark.parametrize(
    ("rate", "milliseconds"), [("1/s", 1000), ("4/s", 250), ("6/m", 10_000), ("30/h", 120_000), ("0.5/s", 2000)]
)
def test_tokens_come_at_the_rate_that_is_written(stage: Stage, rate: str, milliseconds: int) -> None:
    stage.start(f"queues: {{q: {{rate: {rate}}}}}\n" + many(2, ", queue: q"))
    assert len(stage.lease()) == 1
    stage.clock.advance(milliseconds - 1)
    assert stage.lease() == []
    stage.clock.advance(1)
    assert len(stage.lease()) == 1


def test_a_token_is_not_given_back_and_a_retry_costs_another(stage: Stage) -> None:
    stage.start("queues: {q: {rate: 1/m, burst: 2}}\n" + many(1, ", queue: q, retry: {max_attempts: 9, delay: 0s}"))
    for _ in range(2):
        assert stage.lease() == ["s0"]
        stage.fail("s0")
    assert stage.lease() == []
    stage.clock.advance(60 * SECOND)
    assert stage.lease() == ["s0"]


def test_a_bucket_outlives_the_process(tmp_path: object) -> None:
    url = f"sqlite:///{tmp_path}/y.db"
    one = package("queues: {q: {rate: 1/h, burst: 2}}\n" + many(4, ", queue: q"))
    with staged(store=url) as first:
        first.start(one)
        assert len(first.lease()) == 2
    with staged(store=url) as second:
        second.start(one, run_id="again")
        assert second.lease() == []
        second.clock.advance(3600 * SECOND)
        assert len(second.lease()) == 1


def test_a_clock_that_went_back_gives_no_tokens_and_takes_none(stage: Stage) -> None:
    stage.start("queues: {q: {rate: 1/s, burst: 2}}\n" + many(5, ", queue: q"))
    assert len(stage.lease(1)) == 1
    stage.clock.jump(-3600 * SECOND)
    assert len(stage.lease()) == 1
    assert stage.lease() == []


def test_a_queue_belongs_to_its_package_unless_it_is_shared(stage: Stage) -> None:
    own = "queues: {q: {max_in_flight: 1}}\n" + many(2, ", queue: q")
    stage.start(package(own, "one"))
    stage.start(package(own, "two"))
    assert len(stage.lease()) == 2
    shared = "queues: {w: {max_in_flight: 1, shared: true}}\n" + many(2, ", queue: w")
    stage.start(package(shared, "three"))
    stage.start(package(shared, "four"))
    assert len(stage.lease()) == 1


def test_a_step_without_a_queue_waits_in_default_and_defaults_may_name_another(stage: Stage) -> None:
    stage.start("steps: {a: {kind: ok}}")
    assert stage.row("a").queue == "default"
    stage.start("queues: {q: }\ndefaults: {queue: q}\nsteps: {a: {kind: ok}, b: {kind: ok, queue: default}}")
    assert (stage.row("a").queue, stage.row("b").queue) == ("play/q", "default")


def test_a_group_s_queue_and_priority_are_the_default_for_its_steps(stage: Stage) -> None:
    stage.start("""
        queues: {q: {max_in_flight: 1}, r: {max_in_flight: 1}}
        steps:
          g:
            queue: q
            priority: 5
            steps: {a: {kind: ok}, b: {kind: ok, queue: r, priority: 1}, h: {steps: {c: {kind: ok}}}}
    """)
    found = {path: (row.queue, row.priority) for path, row in stage.rows().items() if row.phase == "run"}
    assert found == {"g/a": ("play/q", 5), "g/b": ("play/r", 1), "g/h/c": ("play/q", 5)}


def test_a_step_that_holds_no_worker_takes_no_place_in_a_queue(stage: Stage) -> None:
    stage.start(
        "queues: {q: {max_in_flight: 1}}\ndefaults: {queue: q}\nsteps: {s: {kind: sleep, "
        "with: {for: 1h}}, a: {kind: ok}}"
    )
    stage.runtime.run_until_idle()
    assert stage.statuses() == {"s": "waiting", "a": "succeeded"}


# -- who is next ---------------------------------------------------------------------------------------------------


def test_higher_priority_goes_first_then_the_oldest(stage: Stage) -> None:
    stage.start(
        "steps: {a: {kind: ok}, b: {kind: ok, priority: 5}, c: {kind: ok}, "
        "d: {kind: ok, priority: 5}, e: {kind: ok, priority: -1}}"
    )
    assert stage.lease() == ["b", "d", "a", "c", "e"]


def test_priority_goes_across_runs(stage: Stage) -> None:
    stage.start(many(3))
    stage.start("steps: {urgent: {kind: ok, priority: 1}}")
    assert stage.lease(1) == ["urgent"]


def test_runs_take_turns_in_a_queue(stage: Stage) -> None:
    stage.start(many(50, name="big"))
    stage.start(many(3, name="small"))
    first = [stage.lease(1)[0] for _ in range(8)]
    assert sum(path.startswith("small") for path in first) == 3


def test_a_run_that_comes_late_waits_for_no_other_run_s_backlog(stage: Stage) -> None:
    stage.start(many(100, name="big"))
    for _ in range(20):
        stage.lease(1)
    stage.start("steps: [{kind: ok, id: small}, {kind: ok, id: next}]")
    assert "small" in [stage.lease(1)[0] for _ in range(3)]
    stage.end("small")
    assert "next" in [stage.lease(1)[0] for _ in range(3)]


def test_no_queue_starves_another(stage: Stage) -> None:
    stage.start(
        "queues: {q: , r: }\nsteps:\n"
        + "".join(f"  a{n}: {{kind: ok, queue: q}}\n" for n in range(40))
        + "  b: {kind: ok, queue: r}\n"
    )
    assert "b" in stage.lease(2) + stage.lease(2, turn=1)


def test_slots_that_one_queue_leaves_go_to_the_others(stage: Stage) -> None:
    stage.start(
        "queues: {q: {max_in_flight: 1}, r: }\nsteps:\n"
        + "".join(f"  a{n}: {{kind: ok, queue: {'q' if n % 2 else 'r'}}}\n" for n in range(20))
    )
    assert len(stage.lease(6)) == 6


def test_a_worker_may_serve_some_queues_or_kinds_only(stage: Stage) -> None:
    stage.start("queues: {q: }\nsteps: {a: {kind: ok, queue: q}, b: {kind: ok}, c: {kind: bad}}")
    assert stage.lease(queues=["q"]) == ["a"]
    assert stage.lease(kinds=["bad"]) == ["c"]
    assert stage.lease() == ["b"]


def test_a_paused_queue_gives_nothing_until_it_is_offered_again(stage: Stage) -> None:
    stage.start("queues: {q: {max_in_flight: 3}}\n" + many(2, ", queue: q"))
    with stage.transact() as work:
        commands.pause_queue(work, "play/q", paused=True)
    assert stage.lease() == []
    stage.start("queues: {q: {max_in_flight: 3}}\n" + many(2, ", queue: q"))
    assert stage.lease() == []
    with stage.transact() as work:
        commands.pause_queue(work, "play/q", paused=False)
    assert len(stage.lease()) == 3


def test_a_new_version_of_a_package_changes_its_queue_and_keeps_its_tokens(stage: Stage) -> None:
    stage.start("queues: {q: {rate: 1/h, burst: 5}}\n" + many(5, ", queue: q"))
    assert len(stage.lease(3)) == 3
    stage.start("queues: {q: {rate: 1/h, burst: 4}}\n" + many(5, ", queue: q"))
    assert len(stage.lease()) == 2


def test_run_once_takes_at_most_what_it_may(stage: Stage) -> None:
    with staged(slots=3) as small:
        small.start(many(7))
        assert [small.runtime.run_once().processed for _ in range(4)] == [3, 3, 1, 0]
        small.start("queues: {q: {max_in_flight: 2}}\n" + many(5, ", queue: q"))
        assert [small.runtime.run_once().processed for _ in range(4)] == [2, 2, 1, 0]


def test_children_released_in_a_cycle_run_in_it_while_there_is_room(stage: Stage) -> None:
    with staged(slots=2) as small:
        small.start("steps: [{kind: ok}, {kind: ok}, {kind: ok}]")
        cycle = small.runtime.run_once()
        assert (cycle.processed, cycle.succeeded, cycle.retried, cycle.failed) == (2, 2, 0, 0)
        assert small.ran == ["_1", "_2"]


def test_queues_are_listed_with_what_waits_and_runs(stage: Stage) -> None:
    stage.start("queues: {q: {max_in_flight: 1}}\n" + many(3, ", queue: q"))
    stage.lease()
    assert isinstance(stage.store, SqliteStore)
    assert [(row.name, ready, running) for row, ready, running in stage.store.queues()] == [("play/q", 2, 1)]


def test_time_goes_on_for_a_paused_run_and_what_it_brings_waits(stage: Stage) -> None:
    stage.start("""
        steps:
          nap: {kind: sleep, with: {for: 1m}}
          woken: {kind: ok, needs: nap}
          late: {kind: approval, timeout: 2m}
          missed: {kind: ok, needs: {late: failed}}
    """)
    stage.runtime.run_until_idle()
    stage.runtime.pause(stage.run_id)
    stage.clock.advance(180_000)
    stage.runtime.run_until_idle()
    statuses = stage.statuses()
    assert (statuses["nap"], statuses["late"]) == ("succeeded", "failed")
    assert {stage.row(path).parked for path in ("woken", "missed")} == {"paused"}
    assert stage.ran == []
    stage.runtime.pause(stage.run_id, paused=False)
    stage.finish()
    assert sorted(stage.ran) == ["missed", "woken"]
