"""What the Go workflow API can do, one test for one claim: graphs, statuses, cycles, failures and retries."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypedDict

import pydantic
import pytest

from yamlflow import (
    Cycle,
    Package,
    Permanent,
    QueuePolicy,
    Retryable,
    RetryPolicy,
    RunBuilder,
    Runtime,
    StepContext,
    executor,
)
from yamlflow.errors import (
    InvalidInput,
    InvalidPackage,
    NotAllowed,
    RunExists,
    UnknownName,
    UserError,
)
from yamlflow.testing import FakeClock

from .kinds import HelloInput, HelloResult, built, hello, runtime, started, status, steps

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


def test_a_built_step_may_be_a_loop_whose_results_others_read(rt: Runtime) -> None:
    def build(run: RunBuilder) -> None:
        a = run.step("a", steps={"x": {"kind": "any/ok", "with": {"input": "${{ item * 2 }}"}}}, for_each=[1, 2])
        run.step("b", kind="any/ok", needs=a, for_each="${{ steps.a.result }}", input="data")
        run.step("c", needs="b", steps={"x": {"kind": "any/ok", "with": {"input": "${{ steps.b.result }}"}}})

    run = rt.start(built(build, outputs={"a": "${{ steps.a.result | length }}"})).id
    rt.run_until_idle()
    assert rt.error(run) is None
    assert rt.result(run, "a[1]/x") == {"input": 4}
    assert rt.result(run, "b") == ["data", "data"]
    assert rt.result(run, "c/x") == {"input": ["data", "data"]}
    assert rt.result(run) == {"a": 2}


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


def test_inputs_may_be_declared_in_json_schema(rt: Runtime) -> None:
    declared = {"pages": {"type": "integer", "minimum": 1, "default": 2}}

    def entrypoint(run: RunBuilder, input: dict[str, Any]) -> None:
        run.step("root", kind="any/ok", input=input)

    one = Package("declared", entrypoint=entrypoint, inputs=declared)
    assert json.loads(rt.start(one).inputs) == {"pages": 2}
    with pytest.raises(InvalidInput, match=r"inputs\.pages: 0 is less than the minimum of 1"):
        rt.start(one, {"pages": 0})


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
