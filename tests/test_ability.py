"""Who takes which steps: a worker leaves what it cannot execute to those that can."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from yamlflow import document, executor
from yamlflow.packages import Loaded, loaded
from yamlflow.plugins import load
from yamlflow.rows import RunRow, WorkerRow
from yamlflow.runtime import Runtime
from yamlflow.views.steps import tree_of

RARE = {"rare": {"kind": "rare/thing"}, "common": {"kind": "noop"}}


@executor("rare/thing")
def rare() -> str:
    """What only some workers can do."""
    return "done"


def package(steps: dict[str, Any]) -> Loaded:
    """A package of these steps."""
    return loaded(document.read(json.dumps({"yamlflow": 1, "name": "p", "steps": steps})))


class Site:
    """One store, and workers on it."""

    def __init__(self, folder: Path) -> None:
        self.url = f"sqlite:///{folder}/y.db"

    def runtime(self, name: str, *, able: bool = False, **more: Any) -> Runtime:
        """A runtime with the built-in kinds, and ``rare/thing`` if it is able."""
        one = Runtime(self.url, worker_id=name, plugins=load(entry_points=False), max_workers=4, **more)
        if able:
            one.register(rare)
        return one

    def turns(self, one: Runtime, count: int) -> None:
        """Let a worker do some turns, as it would in its loop."""
        one.worker.open()
        for _ in range(count):
            one.worker.turn()


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def status(one: Runtime, path: str) -> str:
    """Where a step of the run ``r`` stands."""
    row = one.step("r", path)
    assert row is not None
    return row.status


def reason(one: Runtime, run: RunRow, path: str) -> str | None:
    """Why a step does not run."""
    view = tree_of(one.store, one.plans, run, now=one.clock.now(), path=path)
    assert view is not None
    return view.reason


def test_a_worker_leaves_a_step_whose_kind_it_lacks_unclaimed_and_says_so(site: Site) -> None:
    with site.runtime("plain") as plain:
        run = plain.start(package(RARE), run_id="r")
        site.turns(plain, 5)
        assert (status(plain, "common"), status(plain, "rare")) == ("succeeded", "ready")
        assert reason(plain, run, "rare") == (
            'no worker knows kind "rare/thing": start one with the plugin that supplies it'
        )
        assert [event.kind for event in plain.store.events(run.key, step="rare")] == ["step.ready"]


def test_a_worker_that_has_the_kind_takes_what_the_other_left(site: Site) -> None:
    with site.runtime("plain") as plain, site.runtime("able", able=True) as able:
        run = plain.start(package(RARE), run_id="r")
        site.turns(plain, 5)
        able.worker.open()
        assert reason(plain, run, "rare") == 'waits for a worker in queue "default"'
        able.run_workers(lambda: (found := able.run("r")) is not None and found.ended_at is not None)
        assert able.result("r", "rare") == "done"


def test_a_worker_of_some_runs_fails_what_nobody_can_execute(site: Site) -> None:
    keys: set[int] = set()
    with site.runtime("foreground", runs=keys) as one:
        keys.add(one.start(package(RARE), run_id="r").key)
        one.run_workers(lambda: (found := one.run("r")) is not None and found.ended_at is not None)
        row = one.step("r", "rare")
        assert row is not None
        assert json.loads(row.error or "{}")["code"] == "missing_kind"


@pytest.mark.parametrize("once", [False, True])
def test_a_worker_of_some_runs_gives_a_step_back_that_another_one_can_execute(site: Site, once: bool) -> None:
    keys: set[int] = set()
    with site.runtime("able", able=True) as able, site.runtime("foreground", runs=keys) as one:
        able.worker.open()
        keys.add(one.start(package(RARE), run_id="r").key)
        if once:
            one.run_until_idle()
        else:
            site.turns(one, 5)
        row = one.step("r", "rare")
        assert row is not None
        assert (row.status, row.attempt, status(one, "common")) == ("ready", 0, "succeeded")
        able.run_until_idle()
        assert able.result("r", "rare") == "done"


def test_a_dead_worker_that_knew_the_kind_does_not_count(site: Site) -> None:
    keys: set[int] = set()
    with site.runtime("foreground", runs=keys) as one:
        with one.store.transaction() as tx:
            row = WorkerRow("gone", "elsewhere", 1, "boot", None, 0, 0, "lost", kinds='["rare/thing"]')
            tx.put_worker(row)
        run = one.start(package(RARE), run_id="r")
        keys.add(run.key)
        one.run_until_idle()
        assert one.step("r", "rare").status == "failed"  # type: ignore[union-attr]


def test_queues_that_no_worker_serves_and_workers_of_other_runs_are_named(site: Site) -> None:
    with site.runtime("http only", only_queues=["http"]) as one:
        run = one.start(package({"a": {"kind": "noop"}}), run_id="r")
        site.turns(one, 3)
        assert reason(one, run, "a") == ('no worker serves queue "default": start one that does (`--queues default`)')
    with site.runtime("foreground", runs={run.key + 100}) as other:
        other.worker.open()
        assert reason(other, run, "a") == (
            "no worker takes it: those that run work on other runs; `yamlflow resume` takes it up"
        )


def test_a_worker_row_says_what_it_takes_and_only_that(site: Site) -> None:
    with site.runtime("w", only_queues=["q"], only_kinds=["noop", "set"], runs={7}) as one:
        one.worker.open()
        (row,) = one.store.workers()
        assert (row.queues, row.kinds, row.runs) == ('["q"]', '["noop", "set"]', "[7]")


def test_two_workers_share_a_run_of_which_each_can_execute_a_part(site: Site) -> None:
    steps: dict[str, Any] = {f"rare{n}": {"kind": "rare/thing"} for n in range(20)}
    steps |= {f"plain{n}": {"kind": "noop", "needs": f"rare{n}"} for n in range(20)}
    with site.runtime("able", able=True, only_kinds=["rare/thing"]) as able, site.runtime("plain") as plain:
        run = plain.start(package(steps), run_id="r")

        def done(one: Runtime) -> bool:
            found = one.run("r")
            return found is not None and found.ended_at is not None

        def work() -> None:
            with site.runtime("plain too") as also:
                also.run_workers(lambda: done(also))

        thread = threading.Thread(target=work)
        thread.start()
        # One that died must not be waited for.
        able.run_workers(lambda: done(able) or not thread.is_alive())
        thread.join(30)
        assert plain.run("r").status == "succeeded"  # type: ignore[union-attr]
        assert not [event for event in plain.store.events(run.key, limit=9000) if event.kind == "step.released"]
