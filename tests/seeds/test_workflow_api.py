"""Every feature of the Go workflow API has its counterpart here: one test, one claim.

In the order of that system's own description: records, statuses, cycles, retries, queues, loops; embedding; messages.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypedDict

import pydantic
import pytest

from yamlflow import (
    Client,
    Cycle,
    FileArtifacts,
    Package,
    Permanent,
    QueuePolicy,
    Retryable,
    RetryPolicy,
    RunBuilder,
    Runtime,
    StepContext,
    executor,
    package,
)
from yamlflow.errors import (
    InvalidInput,
    InvalidPackage,
    NotAllowed,
    PluginError,
    RunExists,
    UnknownName,
    UserError,
)
from yamlflow.testing import FakeClock, run_executor

from .kinds import HelloInput, HelloResult, built, echo, ok, runtime, started, status


@pytest.fixture
def rt() -> Iterator[Runtime]:
    """A runtime in memory, its clock standing still, ten steps a cycle."""
    with runtime() as opened:
        yield opened


@package("hello", title="Hello Workflow")
def hello(run: RunBuilder, input: HelloInput) -> None:
    run.metadata["source"] = "getting-started"
    run.step("root", kind="hello/echo", input=input, queue="default")


def steps(*ids: str, kind: str = "any/ok", **keys: Any) -> Any:
    """A part of an entrypoint: some steps alike."""
    return lambda run: [run.step(id, kind=kind, **keys) for id in ids]


# -- the tutorial --------------------------------------------------------------------------------------------------


def test_the_tutorial(rt: Runtime) -> None:
    rt.register(hello)
    run = rt.start("hello", HelloInput("hello workflow"), run_id="hello-run-1", metadata={"requested_by": "example"})
    assert run.id == "hello-run-1"
    assert rt.run_once().processed == 1
    assert status(rt, run.id) == "succeeded"
    assert rt.result(run.id, "root") == {"echoed": "hello workflow"}


def test_a_result_is_decoded_into_a_type(rt: Runtime) -> None:
    run = rt.start(hello, {"message": "hi"})
    rt.run_once()
    assert rt.result(run.id, "root", HelloResult) == HelloResult(echoed="hi")


def test_a_permanent_error_keeps_its_code(rt: Runtime) -> None:
    run = rt.start(hello, {"message": ""})
    rt.run_once()
    error = rt.error(run.id, "root")
    assert error is not None
    assert (error.code, error.message, error.permanent) == ("empty_message", "message is required", True)


def test_the_store_outlives_the_runtime(tmp_path: Path) -> None:
    with runtime(store=f"sqlite:///{tmp_path}/hello.db") as rt:
        run = rt.start(hello, {"message": "hi"})
    with runtime(store=f"sqlite:///{tmp_path}/hello.db") as rt:
        assert rt.run_once().succeeded == 1
        assert rt.result(run.id, "root") == {"echoed": "hi"}


# -- entrypoints and graphs ----------------------------------------------------------------------------------------


def test_a_run_without_an_id_is_named_for_its_package(rt: Runtime) -> None:
    assert rt.start(hello, {"message": "hi"}).id.startswith("hello-")


def test_a_run_is_called_by_its_option_else_the_packages_title(rt: Runtime) -> None:
    assert rt.start(hello, {"message": "hi"}).name == "Hello Workflow"
    assert rt.start(hello, {"message": "hi"}, name="mine").name == "mine"


def test_name_and_metadata_that_an_entrypoint_sets_are_kept_and_returned(rt: Runtime) -> None:
    def entrypoint(run: RunBuilder) -> None:
        run.name = f"{run.name} of {run.metadata['by']}"
        run.metadata["source"] = "test"
        run.step(kind="any/ok")

    row = rt.start(Package("play", entrypoint=entrypoint), name="Run", metadata={"by": "me"})
    assert (row.name, json.loads(row.metadata)) == ("Run of me", {"by": "me", "source": "test"})
    assert rt.run(row.id) == row


def test_the_input_is_kept_with_the_run(rt: Runtime) -> None:
    assert json.loads(rt.start(hello, {"message": "hi"}).inputs) == {"message": "hi"}


def test_an_entrypoint_without_steps_is_refused_and_nothing_stored(rt: Runtime) -> None:
    with pytest.raises(UserError, match=r"made no step; call run\.step"):
        rt.start(built())
    assert rt.runs() == []


def test_an_entrypoint_that_raises_is_refused_and_nothing_stored(rt: Runtime) -> None:
    def broken(run: RunBuilder) -> None:
        run.step(kind="any/ok")
        raise RuntimeError("no book")

    with pytest.raises(UserError, match='entrypoint of package "play" failed: RuntimeError: no book') as refused:
        rt.start(built(broken))
    assert isinstance(refused.value.__cause__, RuntimeError)
    assert rt.runs() == []


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (steps("a", needs="b"), r'steps\.a\.needs: there is no step "b"'),
        (steps("copy", "paste", needs="cop"), r'there is no step "cop"\. Did you mean "copy"\?'),
        (steps("a", needs="a"), "need one another in a circle: a"),
        (lambda run: (steps("a", needs="b")(run), steps("b", needs="a")(run)), "in a circle: a, b"),
        (steps("a", "a"), 'there is a step "a" already'),
        (steps("a", needs={"a": "done"}), "conditions are succeeded, failed"),
        (steps("a", quue="fast"), r'there is no key "quue" here\. Did you mean "queue"\?'),
        (steps("a", retry={"max_attempts": 0}), r"retry\.max_attempts"),
        (steps("a", kind=""), 'step "a": its kind is empty'),
        (steps("a", kind=None), 'step "a": exactly one of kind, run and steps'),
        (steps(""), "needs a name that is not empty"),
        (steps("a", input={1, 2}), r"with: a set is no JSON value; return a sorted list"),
        (steps("a", timeout=-1), "a duration is 0 seconds or more"),
    ],
)  # fmt: skip
def test_an_unsound_graph_is_refused_and_nothing_stored(rt: Runtime, build: Any, words: str) -> None:
    with pytest.raises(UserError, match=words):
        rt.start(built(build))
    assert rt.runs() == []


def test_steps_without_an_id_are_numbered(rt: Runtime) -> None:
    made: list[str] = []
    started(rt, lambda run: made.extend(str(run.step(kind="any/ok")) for _ in range(2)))
    assert made == ["step_001", "step_002"]


def test_input_of_a_step_is_data_and_never_a_template(rt: Runtime) -> None:
    run = started(rt, steps("a", input={"text": "${{ inputs.nothing }}"}))
    rt.run_once()
    assert rt.result(run, "a") == {"text": "${{ inputs.nothing }}"}


def test_a_handle_names_a_need(rt: Runtime) -> None:
    order: list[str] = []

    @executor("note/id")
    def note(step: StepContext) -> None:
        order.append(step.step.id)

    rt.register(note)

    def build(run: RunBuilder) -> None:
        second = run.step("second", kind="note/id", needs=None)
        run.step("third", kind="note/id", needs=[second, None])

    started(rt, build)
    rt.run_once()
    assert order == ["second", "third"]


def test_two_runs_of_a_package_have_steps_of_one_name(rt: Runtime) -> None:
    runs = [rt.start(hello, {"message": text}).id for text in "ab"]
    assert rt.run_once() == Cycle(processed=2, succeeded=2)
    assert [rt.result(run, "root") for run in runs] == [{"echoed": "a"}, {"echoed": "b"}]


def test_outputs_name_what_built_steps_gave(rt: Runtime) -> None:
    run = rt.start(built(steps("a", input=5), outputs={"sum": "${{ steps.a.result + 1 }}"})).id
    rt.run_until_idle()
    assert rt.result(run) == {"sum": 6}


def test_a_condition_reads_what_built_steps_gave(rt: Runtime) -> None:
    def build(run: RunBuilder) -> None:
        a = run.step("a", kind="any/ok", input=5)
        run.step("b", kind="any/ok", needs=a, if_="steps.a.result > 5")

    run = started(rt, build)
    rt.run_until_idle()
    assert (status(rt, run, "b"), status(rt, run)) == ("skipped", "succeeded")


def test_handlers_of_a_built_package_run(rt: Runtime) -> None:
    keys = {"on_failure": [{"kind": "any/ok", "id": "tell", "with": {"input": "${{ error.code }}"}}]}
    run = rt.start(built(steps("a", kind="any/bad"), **keys)).id
    rt.run_until_idle()
    assert rt.result(run, "@on_failure/tell") == {"input": "boom"}


def test_a_built_packages_text_is_the_same_in_every_process() -> None:
    assert built(steps("a")).document.digest == built(steps("b")).document.digest


def test_a_package_can_be_written_as_mappings(rt: Runtime) -> None:
    run = rt.start(Package("plain", steps={"a": {"kind": "any/ok", "with": {"input": "${{ 1 + 1 }}"}}}))
    rt.run_once()
    assert rt.result(run.id, "a") == {"input": 2}


def test_a_package_is_loaded_from_a_file(rt: Runtime, tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text("yamlflow: 1\nname: x\nsteps: {a: {kind: any/ok, with: {}}}\n")
    rt.register(Package.load(file))
    assert rt.start("x").package == "x"


def test_an_unknown_key_of_a_package_is_refused() -> None:
    with pytest.raises(InvalidPackage, match=r'^x: titel: there is no key "titel" here\. Did you mean "title"\?'):
        Package("x", entrypoint=steps("a"), titel="X")


# -- typed inputs --------------------------------------------------------------------------------------------------


class HelloModel(pydantic.BaseModel):
    message: str
    times: int = 1


class HelloDict(TypedDict):
    message: str


def typed_model(run: RunBuilder, input: HelloModel) -> None:
    run.step("root", kind="any/ok", input=input)


def typed_dict(run: RunBuilder, input: HelloDict) -> None:
    run.step("root", kind="any/ok", input=input)


def typed_dataclass(run: RunBuilder, input: HelloInput) -> None:
    run.step("root", kind="any/ok", input=input)


def typed_keys(run: RunBuilder, message: str) -> None:
    run.step("root", kind="any/ok", input={"message": message})


@pytest.mark.parametrize("entrypoint", [typed_model, typed_dict, typed_dataclass, typed_keys])
@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({}, "inputs.*message"),
        ({"message": 5}, "inputs.message"),
        ({"message": "hi", "mesage": "hi"}, "inputs.mesage"),
        (["hi"], "a mapping of names to values, not list"),
        ({"message": {1}}, "a set is no JSON value"),
    ],
)
def test_typed_input_is_checked_before_anything_is_stored(
    rt: Runtime, entrypoint: Any, inputs: Any, words: str
) -> None:
    with pytest.raises(InvalidInput, match=words):
        rt.start(Package("typed", entrypoint=entrypoint), inputs)
    assert rt.runs() == []


@pytest.mark.parametrize("entrypoint", [typed_model, typed_dict, typed_dataclass, typed_keys])
def test_typed_input_reaches_the_entrypoint(rt: Runtime, entrypoint: Any) -> None:
    run = rt.start(Package("typed", entrypoint=entrypoint), {"message": "hi"})
    rt.run_once()
    assert rt.result(run.id, "root")["message"] == "hi"


def test_defaults_of_a_typed_input_are_kept_with_the_run(rt: Runtime) -> None:
    row = rt.start(Package("typed", entrypoint=typed_model), {"message": "hi"})
    assert json.loads(row.inputs) == {"message": "hi", "times": 1}


def test_a_plain_dict_takes_any_input(rt: Runtime) -> None:
    def entrypoint(run: RunBuilder, input: dict[str, Any]) -> None:
        run.step("root", kind="any/ok", input=input)

    row = rt.start(Package("free", entrypoint=entrypoint), {"anything": [1]})
    assert json.loads(row.inputs) == {"anything": [1]}


# -- dependencies and statuses ---------------------------------------------------------------------------------------


def test_a_run_with_a_ready_step_is_running_at_once(rt: Runtime) -> None:
    assert rt.start(hello, {"message": "hi"}).status == "running"


def test_a_step_without_needs_is_ready_and_one_with_needs_pending(rt: Runtime) -> None:
    run = started(rt, steps("a"), steps("b", needs="a"))
    assert (status(rt, run, "a"), status(rt, run, "b")) == ("ready", "pending")


def test_a_required_dependency_that_fails_keeps_all_behind_it_from_running(rt: Runtime) -> None:
    run = started(rt, steps("a", kind="any/bad"), steps("b", needs="a"), steps("c", needs="b"))
    rt.run_once()
    assert [status(rt, run, id) for id in ("a", "b", "c", "")] == ["failed", "skipped", "skipped", "failed"]


def test_an_optional_dependency_only_has_to_end(rt: Runtime) -> None:
    seen: list[Any] = []

    @executor("look/at")
    def look(step: StepContext) -> None:
        found = step.dependency("a")
        assert found is not None
        assert found.error is not None
        seen.append((found.status, found.error.code, found.attempts, step.result("a")))

    rt.register(look)
    run = started(
        rt, steps("a", kind="any/bad", continue_on_error=True), steps("b", kind="look/at", needs={"a": "finished"})
    )
    rt.run_once()
    assert seen == [("failed", "boom", 1, None)]
    assert status(rt, run) == "succeeded"


def test_dependency_results_are_read_by_step_id(rt: Runtime) -> None:
    @executor("sum/up")
    def sum_up(step: StepContext) -> int:
        return int(step.result("a") + step.result("b", int) + (step.result("nothing") or 0))

    rt.register(sum_up)
    run = started(rt, steps("a", "b", input=20), steps("c", kind="sum/up", needs=["a", "b"]))
    rt.run_once()
    assert rt.result(run, "c") == 40


def test_a_dependency_result_of_another_shape_fails_the_step(rt: Runtime) -> None:
    @executor("read/hello")
    def read(step: StepContext) -> None:
        step.result("a", HelloResult)

    rt.register(read)
    run = started(rt, steps("a", input={"wrong": 1}), steps("b", kind="read/hello", needs="a"))
    rt.run_once()
    error = rt.error(run, "b")
    assert error is not None
    assert error.code == "bad_input"
    assert "a.echoed" in error.message


def test_a_step_has_priority_queue_and_metadata(rt: Runtime) -> None:
    seen: list[Any] = []

    @executor("note/all")
    def note(step: StepContext) -> None:
        seen.append((step.step.id, dict(step.step.metadata)))

    rt.register(note)
    run = started(rt, steps("low", kind="note/all"), steps("high", kind="note/all", priority=5, metadata={"page": "7"}))
    row = rt.step(run, "high")
    assert row is not None
    assert (row.priority, row.queue) == (5, "default")
    rt.run_once()
    assert seen == [("high", {"page": "7"}), ("low", {})]


def test_a_dedup_key_makes_two_steps_one(rt: Runtime) -> None:
    run = started(rt, steps("a", "b", dedup_key="same", input={"x": 1}))
    assert rt.run_until_idle().processed == 1
    assert (rt.result(run, "a"), rt.result(run, "b")) == ({"x": 1}, {"x": 1})


def test_an_unknown_kind_is_a_permanent_failure(rt: Runtime) -> None:
    run = started(rt, steps("a", kind="no/such", retry=RetryPolicy(max_attempts=5)))
    rt.run_until_idle()
    error = rt.error(run, "a")
    assert error is not None
    assert error.code == "missing_kind"


def test_an_unknown_run_or_result_reads_as_none(rt: Runtime) -> None:
    run = started(rt, steps("a"))
    assert (rt.run("nope"), rt.step(run, "nope"), rt.result("nope"), rt.result(run, "a")) == (None, None, None, None)
    assert rt.error("nope") is None
    assert rt.artifacts("nope") == []


# -- operators -------------------------------------------------------------------------------------------------------


def test_a_canceled_run_processes_nothing(rt: Runtime) -> None:
    run = started(rt, steps("a"))
    assert rt.cancel(run, reason="no longer wanted", by="me")
    assert rt.run_once() == Cycle()
    assert (status(rt, run, "a"), status(rt, run)) == ("canceled", "canceled")


def test_cancel_of_an_unknown_run_says_so(rt: Runtime) -> None:
    with pytest.raises(UnknownName, match='there is no run "nope"'):
        rt.cancel("nope")


def test_a_retry_revives_what_was_skipped_and_the_run_can_succeed(rt: Runtime) -> None:
    fails = [True]

    @executor("mend/me")
    def mend() -> str:
        if fails:
            raise Permanent("broken", "not yet")
        return "mended"

    rt.register(mend)
    run = started(rt, steps("a", kind="mend/me"), steps("b", needs="a"))
    rt.run_once()
    fails.clear()
    assert rt.retry(run, "a") == ["a", "b"]
    rt.run_once()
    assert [status(rt, run, id) for id in ("a", "b", "")] == ["succeeded"] * 3


def test_a_retry_of_what_has_not_failed_is_refused(rt: Runtime) -> None:
    run = started(rt, steps("a"))
    with pytest.raises(NotAllowed, match="only what failed or was canceled can be retried"):
        rt.retry(run, "a")


def test_a_run_id_in_use_is_refused_and_stores_nothing(rt: Runtime) -> None:
    started(rt, steps("a"), run_id="one")
    with pytest.raises(RunExists, match='there is a run "one" already'):
        started(rt, steps("a"), run_id="one")
    assert len(rt.runs()) == 1


# -- cycles ------------------------------------------------------------------------------------------------------------


def test_a_cycle_takes_at_most_max_workers_steps() -> None:
    with runtime(max_workers=2) as rt:
        started(rt, steps("a", "b", "c"))
        assert [rt.run_once().processed for _ in range(3)] == [2, 1, 0]


def test_a_cycle_takes_of_a_queue_at_most_max_in_flight() -> None:
    with runtime(queues={"default": QueuePolicy(max_in_flight=1)}) as rt:
        started(rt, steps("a", "b"), steps("c", queue="other"))
        assert [rt.run_once().processed for _ in range(3)] == [2, 1, 0]


def test_children_run_in_the_same_cycle_while_slots_remain() -> None:
    with runtime(max_workers=2) as rt:
        run = started(rt, steps("root"), steps("child", needs="root"), steps("grandchild", needs="child"))
        assert rt.run_once().processed == 2
        assert status(rt, run, "grandchild") == "ready"


def test_children_wait_for_the_next_cycle_when_their_queue_is_used_up() -> None:
    with runtime(queues={"default": QueuePolicy(max_in_flight=1)}) as rt:
        started(rt, steps("root"), steps("child", needs="root"))
        assert [rt.run_once().processed for _ in range(3)] == [1, 1, 0]


def test_a_token_bucket_at_a_clock_that_stands_still_gives_its_burst_and_no_more() -> None:
    clock = FakeClock()
    with runtime(clock=clock, queues={"default": QueuePolicy(rate="2/s", burst=3)}) as rt:
        started(rt, steps(*"abcdef"))
        assert [rt.run_once().processed for _ in range(2)] == [3, 0]
        clock.advance(1000)
        assert [rt.run_once().processed for _ in range(2)] == [2, 0]


def test_tokens_are_kept_over_a_restart(tmp_path: Path) -> None:
    clock, queues = FakeClock(), {"default": QueuePolicy(rate="1/m", burst=2)}
    with runtime(store=f"sqlite:///{tmp_path}/x.db", clock=clock, queues=queues) as rt:
        started(rt, steps("a", "b", "c"))
        assert rt.run_once().processed == 2
    with runtime(store=f"sqlite:///{tmp_path}/x.db", clock=clock, queues=queues) as rt:
        assert rt.run_once().processed == 0


def test_a_cycle_counts_what_became_of_its_steps() -> None:
    with runtime() as rt:
        started(
            rt, steps("a"), steps("b", kind="any/bad"), steps("c", kind="any/bad", retry=RetryPolicy(max_attempts=2))
        )
        assert rt.run_once() == Cycle(processed=3, succeeded=1, retried=1, failed=1)


def test_a_cycle_reads_the_clock_once() -> None:
    clock = FakeClock()
    with runtime(clock=clock) as rt:
        seen: list[Any] = []

        @executor("slow/look")
        def look(step: StepContext) -> None:
            clock.advance(5_000)
            seen.append(step.now)

        rt.register(look)
        run = started(rt, steps("a", "b", kind="slow/look"))
        before = clock.now()
        rt.run_once()
        assert len(set(seen)) == 1
        row = rt.step(run, "b")
        assert row is not None
        assert row.ended_at == before


def test_a_cycle_is_the_same_every_time() -> None:
    def story() -> list[Any]:
        with runtime(max_workers=3) as rt:
            run = started(rt, steps("a", "b", kind="any/flaky", input={"times": 1}, retry=RetryPolicy(max_attempts=2)))
            rt.run_until_idle()
            row = rt.run(run)
            assert row is not None
            return [(each.kind, each.step, each.at) for each in rt.store.events(row.key)]

    assert story() == story()


def test_running_until_idle_sums_its_cycles_and_waits_for_no_timer() -> None:
    with runtime(max_workers=1) as rt:
        started(rt, steps("a", "b"), steps("c", kind="any/bad", retry=RetryPolicy(max_attempts=2, delay=60)))
        assert rt.run_until_idle() == Cycle(processed=3, succeeded=2, retried=1)


# -- failures and retries ------------------------------------------------------------------------------------------------


def test_a_retryable_error_without_a_policy_is_not_retried(rt: Runtime) -> None:
    run = started(rt, steps("a", kind="any/bad"))
    assert rt.run_once() == Cycle(processed=1, failed=1)
    assert status(rt, run, "a") == "failed"


def test_max_attempts_are_executions_in_all(rt: Runtime) -> None:
    started(rt, steps("a", kind="any/bad", retry=RetryPolicy(max_attempts=3, delay=0)))
    assert rt.run_until_idle() == Cycle(processed=3, retried=2, failed=1)


@pytest.mark.parametrize(
    ("policy", "delays"),
    [
        (RetryPolicy(max_attempts=5, backoff="fixed"), [1, 1, 1, 1]),
        (RetryPolicy(max_attempts=5, backoff="linear"), [1, 2, 3, 4]),
        (RetryPolicy(max_attempts=6, max_delay=10), [1, 2, 4, 8, 10]),
        (RetryPolicy(max_attempts=3, delay="2s", multiplier=3), [2, 6]),
    ],
)
def test_backoff(policy: RetryPolicy, delays: list[int]) -> None:
    clock = FakeClock()
    with runtime(clock=clock) as rt:
        run = started(rt, steps("a", kind="any/bad", retry=policy))
        waited = []
        while rt.run_once().retried:
            row = rt.step(run, "a")
            assert row is not None
            assert row.available_at is not None
            waited.append((row.available_at - clock.now()) // 1000)
            clock.advance(row.available_at - clock.now())
        assert waited == delays


def test_an_error_says_itself_when_it_is_tried_again() -> None:
    clock = FakeClock()
    with runtime(clock=clock) as rt:
        run = started(rt, steps("a", kind="any/bad", input={"after": 42}, retry=RetryPolicy(max_attempts=2)))
        rt.run_once()
        row = rt.step(run, "a")
        assert row is not None
        assert row.available_at == clock.now() + 42_000


class OutOfPaper(Exception):
    """An error of somebody's own."""


def failing(fault: Any) -> Any:
    """A part of an entrypoint: one step that may be tried three times and raises ``fault()``."""

    @executor("own/fault")
    def own() -> None:
        fault()

    return own


def raise_own() -> None:
    raise OutOfPaper("tray 2")


def raise_wrapped() -> None:
    try:
        raise Permanent("no_account", "it was closed")
    except Permanent as fault:
        raise OutOfPaper("cannot print the statement") from fault


def test_an_error_of_ones_own_is_kept_by_name_with_its_traceback(rt: Runtime) -> None:
    rt.register(failing(raise_own))
    run = started(rt, steps("a", kind="own/fault"))
    rt.run_once()
    error = rt.error(run, "a")
    assert error is not None
    assert (error.code, error.type, error.message) == ("executor_error", "OutOfPaper", "tray 2")
    assert 'raise OutOfPaper("tray 2")' in error.details["traceback"]


def test_a_cause_is_kept_with_its_code(rt: Runtime) -> None:
    rt.register(failing(raise_wrapped))
    run = started(rt, steps("a", kind="own/fault"))
    rt.run_once()
    error = rt.error(run, "a")
    assert error is not None
    assert (error.type, error.cause["code"], error.cause["message"]) == ("OutOfPaper", "no_account", "it was closed")


def test_a_wrapped_permanent_error_stays_permanent(rt: Runtime) -> None:
    rt.register(failing(raise_wrapped))
    started(rt, steps("a", kind="own/fault", retry=RetryPolicy(max_attempts=3, delay=0)))
    assert rt.run_until_idle() == Cycle(processed=1, failed=1)


def test_a_plain_exception_is_retried_where_a_policy_asks_for_it(rt: Runtime) -> None:
    rt.register(failing(raise_own))
    started(rt, steps("a", kind="own/fault", retry=RetryPolicy(max_attempts=3, delay=0)))
    assert rt.run_until_idle() == Cycle(processed=3, retried=2, failed=1)


def test_an_error_without_a_code_or_message_still_has_both() -> None:
    assert (Permanent("", "x").code, Retryable("boom").message) == ("executor_error", "boom")


def test_a_package_gives_its_steps_a_retry(rt: Runtime) -> None:
    rt.start(built(steps("a", kind="any/bad"), retry=RetryPolicy(max_attempts=2, delay=0)))
    assert rt.run_until_idle() == Cycle(processed=2, retried=1, failed=1)


def test_what_a_failing_step_left_is_dropped_but_for_its_files(rt: Runtime) -> None:
    @executor("leave/all")
    def leave(step: StepContext) -> None:
        step.emit("child", kind="any/ok")
        step.record("pages", "1", {"n": 1})
        step.artifact("log", "what happened")
        raise Permanent("boom", "after all that")

    rt.register(leave)
    rt.register(built(steps("a", kind="leave/all")))
    run = rt.start("play").id
    rt.run_until_idle()
    assert status(rt, run, "a/child") is None
    with pytest.raises(UnknownName, match='no collection "pages"'):
        rt.records("play", "pages")
    assert [each.name for each in rt.artifacts(run)] == ["log"]


# -- emitted steps ---------------------------------------------------------------------------------------------------------


def emitting(*calls: dict[str, Any]) -> Any:
    """An executor that emits these."""

    @executor("emit/these")
    def emit(step: StepContext) -> str:
        for call in calls:
            step.emit(**{"kind": "any/ok", **call})
        return "emitted"

    return emit


def test_children_are_durable_with_their_parents_success(rt: Runtime) -> None:
    rt.register(emitting({"key": "x", "input": {"n": 1}}, {"key": "y", "needs": "x"}))
    run = started(rt, steps("a", kind="emit/these"), steps("b", needs="a"))
    rt.run_until_idle()
    assert rt.result(run, "a/x") == {"n": 1}
    assert [status(rt, run, id) for id in ("a", "a/x", "a/y", "b")] == ["succeeded"] * 4


def test_a_key_emitted_twice_is_one_step(rt: Runtime) -> None:
    rt.register(emitting({"key": "x", "input": 1}, {"key": "x", "input": 2}))
    run = started(rt, steps("a", kind="emit/these"))
    rt.run_until_idle()
    assert rt.result(run, "a/x") == 1


def test_emitted_steps_without_a_key_are_numbered(rt: Runtime) -> None:
    rt.register(emitting({}, {}))
    run = started(rt, steps("a", kind="emit/these"))
    rt.run_until_idle()
    assert [status(rt, run, f"a/emit_00{n}") for n in (1, 2, 3)] == ["succeeded", "succeeded", None]


def test_an_emitted_step_that_cannot_be_fails_its_parent_and_not_the_worker(rt: Runtime) -> None:
    rt.register(emitting({"key": "x", "needs": "nobody"}))
    run = started(rt, steps("a", kind="emit/these"))
    rt.run_until_idle()
    error = rt.error(run, "a")
    assert error is not None
    assert error.code == "bad_result"
    assert '"nobody" was not emitted beside it' in error.message


@pytest.mark.parametrize(("detached", "order"), [(False, ["x", "b"]), (True, ["b", "x"])])
def test_dependents_wait_for_children_unless_they_are_detached(detached: bool, order: list[str]) -> None:
    with runtime(max_workers=1) as rt:
        ran: list[str] = []

        @executor("note/id")
        def note(step: StepContext) -> None:
            ran.append(step.step.id)

        rt.register(note)
        rt.register(emitting({"key": "x", "kind": "note/id", "priority": -1, "detached": detached}))
        started(rt, steps("a", kind="emit/these"), steps("b", kind="note/id", needs="a"))
        rt.run_until_idle()
        assert ran == order


def test_an_emitted_sibling_is_read_by_its_key(rt: Runtime) -> None:
    @executor("read/sibling")
    def read(step: StepContext) -> Any:
        return [step.result("x"), step.result("before")]

    rt.register(read)
    rt.register(emitting({"key": "x", "input": 1}, {"key": "join", "kind": "read/sibling", "needs": ["x"]}))
    run = started(rt, steps("before", input=0), steps("a", kind="emit/these", needs="before"))
    rt.run_until_idle()
    assert rt.result(run, "a/join") == [1, 0]


# -- records, projections, artifacts -----------------------------------------------------------------------------------------


def keeping(rt: Runtime, keep: Any) -> str:
    """A run of one step that does as it is told."""

    @executor("keep/it")
    def kept(step: StepContext) -> Any:
        return keep(step)

    rt.register(kept)
    rt.register(built(steps("a", kind="keep/it")))
    run = rt.start("play").id
    rt.run_until_idle()
    error = rt.error(run, "a")
    assert error is None, error
    return run


def test_records_are_read_outside_executors(rt: Runtime) -> None:
    def keep(step: StepContext) -> None:
        step.record("pages", "p1", {"title": "One", "words": 12})
        step.record("pages", "p1", {"title": "Uno"})

    keeping(rt, keep)
    assert rt.records("play", "pages") == [{"key": "p1", "title": "Uno", "words": 12}]


def test_a_projection_takes_statements_and_gives_rows_inside_and_outside(rt: Runtime) -> None:
    def keep(step: StepContext) -> Any:
        with step.projection() as db:
            db.exec("create table t (n integer)")
            return [db.exec("insert into t values (?), (?)", [1, 2]), db.query("select sum(n) as total from t")]

    run = keeping(rt, keep)
    assert rt.result(run, "a") == [2, [{"total": 3}]]
    with rt.projection("play") as db:
        assert db.query("select n from t where n > :least", {"least": 1}) == [{"n": 2}]


def test_an_inline_artifact_has_a_kind_a_type_and_metadata(rt: Runtime) -> None:
    run = keeping(rt, lambda step: step.artifact("page.html", "<p>", metadata={"url": "x"}) and None)
    (kept,) = rt.artifacts(run)
    assert (kept.step, kept.name, kept.kind, kept.content_type) == ("a", "page.html", "text", "text/html")
    assert (kept.size, kept.metadata) == (3, {"url": "x"})


@pytest.mark.parametrize(
    ("name", "content_type", "kind"),
    [("a", None, "artifact"), ("a.pdfx", None, "pdfx"), ("a", "image/png", "image")],
)
def test_an_artifacts_kind_is_its_major_type_else_its_extension(
    rt: Runtime, name: str, content_type: str | None, kind: str
) -> None:
    run = keeping(rt, lambda step: step.artifact(name, b"x", content_type=content_type) and None)
    assert rt.artifacts(run)[0].kind == kind


def test_an_artifact_of_any_size_is_streamed_hashed_and_read_from_outside(tmp_path: Path) -> None:
    with runtime(artifacts=FileArtifacts(tmp_path / "artifacts")) as rt:
        big = tmp_path / "big"
        big.write_bytes(b"0123456789" * 500_000)
        run = keeping(rt, lambda step: step.store_artifact("big", big) and None)
        (kept,) = rt.artifacts(run, "a")
        assert kept.size == 5_000_000
        assert str(kept.uri).startswith(str(tmp_path / "artifacts"))
        with rt.open_artifact(run, "a", "big") as stream:
            assert stream.read(10) == b"0123456789"


def test_a_changed_artifact_is_not_given_out(tmp_path: Path) -> None:
    with runtime(artifacts=FileArtifacts(tmp_path)) as rt:
        run = keeping(rt, lambda step: step.artifact("note", "one") and None)
        Path(str(rt.artifacts(run)[0].uri)).write_text("two")
        with pytest.raises(Permanent, match="not what was kept"):
            rt.open_artifact(run, "a", "note")


def test_a_file_that_was_not_kept_is_named_with_those_that_were(rt: Runtime) -> None:
    run = keeping(rt, lambda step: step.artifact("report", "x") and None)
    with pytest.raises(UnknownName, match=r'kept no file "repot"\. Did you mean "report"\?'):
        rt.open_artifact(run, "a", "repot")


def test_a_later_step_opens_an_earlier_ones_artifact(rt: Runtime) -> None:
    @executor("read/it")
    def read(step: StepContext) -> str:
        found = step.dependency("a")
        assert found is not None
        with step.open_artifact(found.artifacts["note"]) as stream:
            return stream.read().decode()

    @executor("keep/note")
    def keep(step: StepContext) -> None:
        step.artifact("note", "hi")

    rt.register(read)
    rt.register(keep)
    run = started(rt, steps("a", kind="keep/note"), steps("b", kind="read/it", needs="a"))
    rt.run_once()
    assert rt.result(run, "b") == "hi"


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (lambda step: step.record("", "k", {}), "a collection needs a name that is not empty"),
        (lambda step: step.record("c", "", {}), "a record's key needs a name that is not empty"),
        (lambda step: step.artifact("", "x"), "an artifact needs a name that is not empty"),
        (lambda step: step.emit("x"), "exactly one of kind, run and steps"),
        (lambda step: step.emit("x", kind=""), "its kind is empty"),
        (lambda step: step.emit("x", kind="any/ok", input={1}), 'emitted step "x": with: a set is no JSON value'),
        (lambda step: step.open_artifact("x"), 'this step has kept no artifact "x"'),
    ],
)
def test_what_a_step_cannot_do_is_said_in_its_error(act: Any, words: str) -> None:
    @executor("act/so")
    def acts(step: StepContext) -> None:
        act(step)

    outcome: Any = run_executor(acts)
    assert words in outcome.error.message


# -- the step's context ----------------------------------------------------------------------------------------------------


def test_a_step_knows_its_run_lease_attempt_and_key(rt: Runtime) -> None:
    def keep(step: StepContext) -> Any:
        assert step.run.parent is None
        return [
            step.run.id, step.run.package, step.step.path, step.lease.worker, step.attempt, step.idempotency_key,
            step.canceled, step.deadline, step.now.isoformat(),
        ]  # fmt: skip

    run = keeping(rt, keep)
    assert rt.result(run, "a") == [
        run, "play", "a", "once", 1, f"{run}/1/a", False, None, "2026-01-01T00:00:00+00:00",
    ]  # fmt: skip


def test_the_worker_id_is_in_the_lease() -> None:
    with runtime(worker_id="hello-worker") as rt:
        run = keeping(rt, lambda step: step.lease.worker)
        assert rt.result(run, "a") == "hello-worker"


def test_context_values_are_handed_to_every_step(rt: Runtime) -> None:
    @executor("read/context")
    def read(step: StepContext) -> Any:
        return dict(step.context)

    rt.register(read)
    made = built(
        steps("a", kind="read/context"), steps("b", if_="context.tenant == 'acme'"), context=["tenant", "trace"]
    )
    run = rt.start(made, context={"tenant": "acme"}).id
    rt.run_until_idle()
    assert rt.result(run, "a") == {"tenant": "acme", "trace": None}
    assert status(rt, run, "b") == "succeeded"


def test_a_context_value_that_nobody_declared_is_refused(rt: Runtime) -> None:
    with pytest.raises(InvalidInput, match=r'context\.tennant: .* Did you mean "tenant"\?'):
        rt.start(built(steps("a"), context=["tenant"]), context={"tennant": "acme"})
    assert rt.runs() == []


# -- executors -------------------------------------------------------------------------------------------------------------


def test_a_kind_registered_twice_is_an_error(rt: Runtime) -> None:
    with pytest.raises(PluginError, match='the kind "any/ok" is registered already'):
        rt.register(ok)


def test_a_package_registered_twice_is_an_error(rt: Runtime) -> None:
    rt.register(hello)
    with pytest.raises(UserError, match='the package "hello" is registered already'):
        rt.register(hello)


def test_an_empty_kind_is_refused() -> None:
    with pytest.raises(PluginError, match="'' is no name for a kind"):
        executor("")


def test_what_is_no_executor_cannot_be_registered(rt: Runtime) -> None:
    with pytest.raises(PluginError, match="decorate a function with @executor"):
        rt.register(print)


def test_methods_of_an_object_are_executors(rt: Runtime) -> None:
    class Bank:
        def __init__(self, name: str) -> None:
            self.name = name

        @executor("bank/pay")
        def pay(self, cents: int) -> str:
            return f"{self.name} pays {cents}"

    rt.register(Bank("mine"))
    run = started(rt, steps("a", kind="bank/pay", input={"cents": 5}))
    rt.run_once()
    assert rt.result(run, "a") == "mine pays 5"


def test_an_input_that_does_not_fit_fails_for_good_before_the_call(rt: Runtime) -> None:
    run = started(rt, steps("a", kind="hello/echo", input={"message": 5}, retry=RetryPolicy(max_attempts=5)))
    assert rt.run_until_idle() == Cycle(processed=1, failed=1)
    error = rt.error(run, "a")
    assert error is not None
    assert error.code == "bad_input"
    assert "with.message" in error.message


@pytest.mark.parametrize("value", [HelloResult("hi"), HelloModel(message="hi"), {"echoed": "hi"}])
def test_a_result_of_any_shape_is_stored_as_json(rt: Runtime, value: Any) -> None:
    run = keeping(rt, lambda step: value)
    wanted = dataclasses.asdict(value) if isinstance(value, HelloResult) else value
    assert rt.result(run, "a") == (wanted.model_dump() if isinstance(wanted, HelloModel) else wanted)


def test_an_executor_that_returns_nothing_succeeds_with_null(rt: Runtime) -> None:
    run = keeping(rt, lambda step: None)
    assert (status(rt, run, "a"), rt.result(run, "a")) == ("succeeded", None)


def test_a_step_takes_no_longer_than_its_timeout() -> None:
    clock = FakeClock()
    with runtime(clock=clock) as rt:

        @executor("take/long")
        def long() -> None:
            clock.advance(31_000)

        rt.register(long)
        run = started(rt, steps("a", kind="take/long", timeout=30))
        rt.run_once()
        error = rt.error(run, "a")
        assert error is not None
        assert error.code == "timeout"


# -- runtimes and workers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_workers": 0}, "max_workers must be at least 1"),
        ({"poll_interval": 0}, "poll_interval and lease_duration must be more than 0 seconds"),
        ({"lease_duration": -1}, "poll_interval and lease_duration must be more than 0 seconds"),
        ({"queues": {"default": QueuePolicy(max_in_flight=0)}}, r"queues\.default\.max_in_flight"),
        ({"queues": {"default": QueuePolicy(rate="fast")}}, r'queues\.default\.rate: must be a rate: N/s.*"2/s"'),
        ({"queues": {"default": QueuePolicy(rate="1/s", burst=0)}}, r"queues\.default\.burst"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        Runtime(**options)


def test_a_package_that_is_not_registered_is_named_with_those_that_are(rt: Runtime) -> None:
    rt.register(hello)
    with pytest.raises(
        UnknownName, match=r'the package "helo" is not registered; registered are: hello\. Did you mean'
    ):
        rt.start("helo")


def test_a_packages_own_queue_has_its_own_policy() -> None:
    with runtime(queues={"slow": QueuePolicy(max_in_flight=1)}) as rt:
        rt.start(built(steps("a", "b", queue="slow"), queues={"slow": QueuePolicy(max_in_flight=2)}))
        rt.start(built(steps("a", "b", queue="slow"), name="other"))
        assert rt.run_once().processed == 3


def test_two_runtimes_share_the_queues_of_one_file(tmp_path: Path) -> None:
    url, clock = f"sqlite:///{tmp_path}/x.db", FakeClock()
    with (
        runtime(store=url, clock=clock, only_queues=["cpu"], worker_id="c") as cpu,
        runtime(store=url, clock=clock, only_queues=["net"], worker_id="n") as net,
    ):
        run = started(
            cpu, steps("a", queue="cpu"), steps("b", queue="net", needs="a"), steps("c", queue="cpu", needs="b")
        )
        assert [one.run_once().processed for one in (net, cpu, cpu, net, cpu)] == [0, 1, 0, 1, 1]
        assert net.run(run) == cpu.run(run)
        assert status(net, run) == "succeeded"


def test_a_runtime_takes_only_the_kinds_it_is_for(tmp_path: Path) -> None:
    with runtime(only_kinds=["any/bad"]) as rt:
        run = started(rt, steps("a"), steps("b", kind="any/bad"))
        assert rt.run_until_idle() == Cycle(processed=1, failed=1)
        assert status(rt, run, "a") == "ready"


def until(condition: Any, patience: float = 20) -> None:
    """Wait for what threads do."""
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.005)


def test_workers_run_in_a_thread_until_they_are_told_to_stop() -> None:
    with Runtime(max_workers=4) as rt:
        rt.register(echo)
        working = threading.Thread(target=rt.run_workers)
        working.start()
        run = rt.start(hello, {"message": "hi"})
        until(lambda: status(rt, run.id) == "succeeded")
        rt.stop()
        working.join(10)
        assert not working.is_alive()


def test_a_stop_that_comes_before_the_workers_begin_is_kept() -> None:
    with Runtime() as rt:
        rt.stop()
        rt.run_workers()


def test_workers_stop_after_max_cycles() -> None:
    with Runtime() as rt:
        rt.run_workers(max_cycles=1)


def test_a_drain_lets_what_is_in_hand_end() -> None:
    with Runtime() as rt:
        begun = threading.Event()

        @executor("take/while")
        def take() -> str:
            begun.set()
            time.sleep(0.2)
            return "done"

        rt.register(take)
        run = started(rt, steps("a", kind="take/while"))
        rt.run_workers(begun.is_set, drain=10)
        assert rt.result(run, "a") == "done"


def test_without_a_drain_what_is_in_hand_is_given_back_unspent() -> None:
    with Runtime() as rt:
        begun = threading.Event()

        @executor("wait/long")
        def wait(step: StepContext) -> None:
            begun.set()
            while not step.canceled:
                time.sleep(0.005)

        rt.register(wait)
        run = started(rt, steps("a", kind="wait/long"))
        rt.run_workers(begun.is_set)
        row = rt.step(run, "a")
        assert row is not None
        assert (row.status, row.attempt) == ("ready", 0)


def test_two_threads_cannot_be_the_workers_of_one_runtime() -> None:
    with Runtime() as rt:
        begun = threading.Event()

        def done() -> bool:
            begun.set()
            return False

        working = threading.Thread(target=rt.run_workers, args=(done,))
        working.start()
        assert begun.wait(10)
        with pytest.raises(NotAllowed, match="works already"):
            rt.run_workers()
        rt.stop()
        working.join(10)


def test_closing_stops_the_workers() -> None:
    rt = Runtime()
    working = threading.Thread(target=rt.run_workers)
    working.start()
    rt.close()
    working.join(10)
    assert not working.is_alive()


def test_workers_run_beside_an_event_loop() -> None:
    async def serve() -> Any:
        with Runtime() as rt:
            rt.register(echo)
            working = asyncio.create_task(asyncio.to_thread(rt.run_workers))
            run = await asyncio.to_thread(rt.start, hello, {"message": "hi"})
            while status(rt, run.id) != "succeeded":
                await asyncio.sleep(0.005)
            rt.stop()
            await working
            return rt.result(run.id, "root")

    assert asyncio.run(serve()) == {"echoed": "hi"}


def test_a_cycle_within_an_event_loop_runs_coroutines_too() -> None:
    @executor("say/async")
    async def say() -> str:
        await asyncio.sleep(0)
        return "said"

    async def serve() -> Any:
        with runtime() as rt:
            rt.register(say)
            run = started(rt, steps("a", kind="say/async"))
            rt.run_once()
            return rt.result(run, "a")

    assert asyncio.run(serve()) == "said"


def test_a_connection_that_was_lent_stays_open() -> None:
    connection = sqlite3.connect(":memory:", check_same_thread=False)
    with runtime(store=connection) as rt:
        run = started(rt, steps("a"))
    assert connection.execute("select count(*) from runs where id = ?", (run,)).fetchone() == (1,)
    connection.close()


def test_a_client_without_the_package_reads_steers_and_is_told_where_to_start(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/x.db"
    with runtime(store=url) as rt, Client(url) as client:
        rt.register(hello)
        run = rt.start("hello", {"message": "hi"}).id
        with pytest.raises(NotAllowed, match=r'"hello" is built in Python.*rt\.register\(package\)'):
            client.start("hello", {"message": "ho"})
        assert len(client.runs()) == 1
        rt.run_once()
        assert client.result(run, "root") == {"echoed": "hi"}
        other = rt.start("hello", {"message": "ho"}).id
        assert client.cancel(other)
        assert status(rt, other) == "canceled"


def test_a_runtime_that_has_not_registered_the_package_works_on_its_runs(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/x.db"
    with runtime(store=url) as one, runtime(store=url) as other:
        run = one.start(hello, {"message": "hi"}).id
        assert other.run_once().succeeded == 1
        assert one.result(run, "root") == {"echoed": "hi"}


def test_an_artifact_is_opened_from_another_process_view(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/x.db"
    with runtime(store=url) as rt, Client(url) as client:
        run = keeping(rt, lambda step: step.artifact("note", "hi") and None)
        with client.open_artifact(run, "a", "note") as stream:
            assert stream.read() == b"hi"
        assert client.projection("play").query("select 1 as one") == [{"one": 1}]
