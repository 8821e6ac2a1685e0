"""What an attempt was given, rendered again: what the worker rendered, and never a secret."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given as examples
from hypothesis import strategies as st

from yamlflow import document, executor
from yamlflow.context import StepContext
from yamlflow.packages import Loaded, loaded
from yamlflow.plugins import load
from yamlflow.runtime import Runtime
from yamlflow.testing import FakeClock
from yamlflow.views.attempts import told_by
from yamlflow.views.given import STANDINS, Given, given_to, masked

SECRET = "s3cr3t-value-of-a-token"


class Seen:
    """A runtime whose kind ``probe`` keeps what it was given."""

    def __init__(self, clock: FakeClock, **more: Any) -> None:
        self.clock = clock
        self.calls: list[tuple[str, Any, dict[str, str]]] = []
        self.runtime = Runtime(
            "sqlite:///:memory:", clock=clock, plugins=load(entry_points=False), max_workers=50,
            secrets={"TOKEN": SECRET}.get, **more,
        )  # fmt: skip

        @executor("probe", schema={"type": "object"})
        def probe(step: StepContext) -> None:
            """Keeps what it was given."""
            self.calls.append((step.step.path, step.input, dict(step.env)))
            if step.input.get("fail"):
                raise RuntimeError("no")

        self.runtime.register(probe)

    def run(self, steps: dict[str, Any], values: Any = None, /, **more: Any) -> None:
        """Run a package of some steps to its end, or until it only waits."""
        self.runtime.start(package(steps, **more), values, run_id="r")
        self.runtime.run_until_idle()

    def given(self, path: str, attempt: int = -1, runtime: Runtime | None = None) -> Given:
        """What an attempt of a step is said to have been given."""
        run, row = self.runtime.run("r"), self.runtime.step("r", path)
        assert run is not None
        assert row is not None
        return given_to(
            (runtime or self.runtime).bench, row, told_by(self.runtime.store.events(run.key, step=path))[attempt]
        )


def package(steps: dict[str, Any], **more: Any) -> Loaded:
    """A package of these steps."""
    return loaded(document.read(json.dumps({"yamlflow": 1, "name": "p", "steps": steps, **more})))


@pytest.fixture
def seen(clock: FakeClock) -> Iterator[Seen]:
    one = Seen(clock)
    yield one
    one.runtime.close()


DRAWS = {
    "a": "${{ uuid() }}", "b": "${{ random() }}", "c": "${{ now() }}", "d": "${{ uuid() }} and ${{ uuid() }}",
    "n": "${{ attempt }}",
}  # fmt: skip


def test_what_is_shown_is_what_the_worker_rendered(seen: Seen) -> None:
    seen.run(
        {
            "first": {"kind": "set", "with": {"value": {"x": [1, "two"]}}},
            "each": {
                "needs": "first",
                "for_each": ["p", "q"],
                "env": {"ITEM": "${{ item }}", "U": "${{ uuid() }}"},
                "kind": "probe",
                "with": {**DRAWS, "x": "${{ steps.first.result }}", "i": "${{ inputs.n + index }}", "e": "${{ env.ITEM }}"},
            },
            "again": {"kind": "probe", "with": {**DRAWS, "fail": "${{ attempt < 3 }}"},
                      "timeout": "${{ 1 + 1 }}m", "retry": {"max_attempts": 3, "delay": "0s"}},
        },
        {"n": 5},
        inputs={"n": {"type": "integer"}},
        env={"OUTER": "${{ random() }}"},
    )  # fmt: skip
    assert [path for path, _, _ in seen.calls] != []
    tried: dict[str, int] = {}
    for path, input, env in seen.calls:
        at = tried[path] = tried.get(path, -1) + 1
        shown = seen.given(path, at)
        assert shown.problem is None
        assert shown.input == input
        assert shown.env == {name: env[name] for name in shown.env}
        assert "OUTER" in shown.env
    assert tried == {"each[0]": 0, "each[1]": 0, "again": 2}


def test_what_ended_after_a_step_became_due_is_still_not_seen(seen: Seen) -> None:
    seen.run(
        {
            "slow": {"kind": "sleep", "with": {"for": "10s"}},
            "quick": {"kind": "noop"},
            "any": {"kind": "probe", "needs": {"slow": "finished", "quick": "finished"}, "join": "any",
                    "with": {"slow": "${{ steps.slow.status }}"}},
        }
    )  # fmt: skip
    seen.clock.advance(60_000)
    seen.runtime.run_until_idle()
    assert seen.runtime.step("r", "slow").status == "succeeded"  # type: ignore[union-attr]
    assert seen.given("any").input == {"slow": "pending"}


def test_no_secret_is_asked_for_and_whatever_was_made_of_one_is_masked(seen: Seen, clock: FakeClock) -> None:
    seen.run(
        {
            "a": {"kind": "probe", "env": {"AUTH": "Bearer ${{ secrets.TOKEN }}!", "H": "${{ secrets.TOKEN | sha256 }}"},
                  "with": {"plain": "${{ secrets.TOKEN }}", "upper": "x ${{ secrets.TOKEN | upper }}",
                           "first": "${{ secrets.TOKEN[0] }}", "long": "${{ secrets.TOKEN | length }}",
                           "list": ["${{ secrets.TOKEN }}", 1], "env": "${{ env.AUTH }}", "none": "${{ 1 + 1 }}"}},
        },
        secrets=["TOKEN"],
    )  # fmt: skip
    assert seen.calls[0][1]["plain"] == SECRET
    asked: list[str] = []
    without = Runtime(
        seen.runtime.store,
        home=seen.runtime.home,
        clock=clock,
        plugins=load(entry_points=False),
        secrets=asked.append,
    )
    shown = seen.given("a", runtime=without)
    assert shown.input == {
        "plain": "***", "upper": "x ***", "first": "***", "long": "***", "list": ["***", 1], "env": "Bearer ***!", "none": 2,
    }  # fmt: skip
    assert shown.env == {"AUTH": "Bearer ***!", "H": "***"}
    assert asked == []
    assert SECRET[:4] not in json.dumps(shown.to_json())


@examples(st.text(alphabet="ab⟪⟫{}· ", max_size=12), st.text(alphabet="ab⟪⟫· ", max_size=6), st.text(max_size=6))
def test_nothing_of_a_stand_in_is_shown_whatever_stands_around_it(before: str, between: str, after: str) -> None:
    one, other = (before + standin + between + standin + after for standin in STANDINS)
    assert masked(one, other) in ("***", f"{before}***{between}***{after}")


def test_what_was_drawn_is_known_only_when_an_attempt_has_ended(seen: Seen) -> None:
    seen.run({"a": {"kind": "sleep", "with": {"for": "1h"}}, "b": {"kind": "probe", "with": {"id": "${{ uuid() }}"}}})
    assert seen.given("a").input == {"for": "1h"}
    run, row = seen.runtime.run("r"), seen.runtime.step("r", "b")
    assert run is not None
    assert row is not None
    (attempt,) = told_by(seen.runtime.store.events(run.key, step="b"))
    running = given_to(seen.runtime.bench, row, replace(attempt, drawn={}))
    assert running.problem == "it cannot be rendered here: uuid() is not in the log: it is told when an attempt ends"


def test_a_filter_that_is_not_here_is_named(clock: FakeClock, tmp_path: Any) -> None:
    (tmp_path / "shout.py").write_text(
        "from yamlflow import hookimpl\n\n\n@hookimpl\ndef yamlflow_filters():\n    return {'shout': lambda text: text.upper()}\n"
    )
    with Runtime("sqlite:///:memory:", clock=clock, plugins=[tmp_path]) as runtime:
        step = {"kind": "set", "with": {"value": "${{ 'hey' | shout }}"}}
        run = runtime.start(package({"a": step}), run_id="r")
        runtime.run_until_idle()
        row = runtime.step("r", "a")
        assert row is not None
        (attempt,) = told_by(runtime.store.events(run.key, step="a"))
        assert given_to(runtime.bench, row, attempt).input == {"value": "HEY"}
        bare = Runtime(runtime.store, home=runtime.home, clock=clock, plugins=load(entry_points=False))
        problem = given_to(bare.bench, row, attempt).problem
    assert str(problem).startswith("it cannot be rendered here: ")
    assert "shout" in str(problem)


def test_what_an_attempt_before_an_operators_retry_saw_is_not_guessed(seen: Seen) -> None:
    seen.run({"a": {"kind": "probe", "with": {"fail": True}}})
    assert seen.given("a").input == {"fail": True}
    seen.runtime.retry("r")
    assert "retried by hand" in str(seen.given("a").problem)
    seen.runtime.run_until_idle()
    assert "retried by hand" in str(seen.given("a", 0).problem)
    assert seen.given("a", 1).input == {"fail": True}


def test_the_workers_own_environment_reads_as_its_names(seen: Seen) -> None:
    seen.run({"a": {"kind": "probe", "env": {"D": "d"}, "with": {"p": "${{ env.PATH }}/${{ env.D }}"}}})
    assert seen.calls[0][1] == {"p": f"{os.environ['PATH']}/d"}
    assert seen.given("a").input == {"p": "$PATH/d"}
    assert seen.given("a").env == {"D": "d"}
