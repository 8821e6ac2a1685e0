"""What an executor may return or raise, and what becomes of it."""

from __future__ import annotations

import asyncio
import math
import threading
import tracemalloc
from dataclasses import dataclass
from enum import Enum
from typing import Any

import pytest

from yamlflow import Permanent, Retryable, StepContext, Succeeded, executor
from yamlflow.context import Limits, Ports
from yamlflow.errors import Canceled, InvalidInput, PluginError, Problem, StoreUnavailable
from yamlflow.executors import Deferred, Executor, execute, execute_async, executor_of
from yamlflow.outcome import Failed, Waiting
from yamlflow.ports import CancelToken
from yamlflow.template import TemplateError
from yamlflow.testing import FakeClock, run_executor


def returning(value: Any) -> Any:
    @executor("t/returning")
    def returns() -> Any:
        return value

    return run_executor(returns)


def raising(fault: BaseException) -> Failed:
    @executor("t/raising")
    def raises() -> None:
        raise fault

    outcome = run_executor(raises)
    assert isinstance(outcome, Failed)
    return outcome


@dataclass
class Point:
    x: int
    tags: tuple[str, ...] = ()


class Color(Enum):
    RED = "red"


@pytest.mark.parametrize(
    ("value", "result"),
    [
        (None, None),
        (0, 0),
        ({"a": [1, 2.5, "ü", None, True]}, {"a": [1, 2.5, "ü", None, True]}),
        ((1, (2,)), [1, [2]]),
        (Point(1, ("a",)), {"x": 1, "tags": ["a"]}),
        ({"c": Color.RED}, {"c": "red"}),
        (10**30, 10**30),
    ],
)
def test_a_json_value_is_the_result(value: Any, result: Any) -> None:
    assert returning(value) == Succeeded(result=result)


def cycle() -> Any:
    ring: list[Any] = []
    ring.append({"again": ring})
    return ring


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "place", "words"),
    [
        ({"a": [1, {2}]}, "a[1]", "a set is no JSON value"),
        ([math.nan], "[0]", "nan is no JSON number"),
        ({"x": math.inf}, "x", "inf"),
        ({"b": b"x"}, "b", "a bytes"),
        ({1: 2}, "", "the key 1 is an int"),
        ({"in": {None: 1}}, "in", "the key None"),
        (cycle(), "[0].again", "holds itself"),
        (deep(101), "[0]", "levels deep"),
        (["\ud800"], "[0]", "surrogate"),
        pytest.param([10**5000], "[0]", "digits", id="5000 digits"),
        (object(), "", "an object is no JSON value"),
        ({"took": __import__("datetime").timedelta(1)}, "took", "total_seconds()"),
    ],
)
def test_what_json_cannot_say_fails_with_its_place(value: Any, place: str, words: str) -> None:
    outcome = returning(value)
    assert isinstance(outcome, Failed)
    assert outcome.error.code == "bad_result"
    assert outcome.error.permanent
    assert words in outcome.error.message
    assert place in outcome.error.message


def test_a_hundred_levels_are_kept() -> None:
    assert returning(deep(100)) == Succeeded(result=deep(100))


def test_a_result_shares_nothing_with_what_the_function_keeps() -> None:
    kept = {"list": [1]}
    outcome = returning(kept)
    kept["list"].append(2)
    assert outcome == Succeeded(result={"list": [1]})


def test_a_result_over_its_limit_names_artifacts_as_the_way_out() -> None:
    @executor("t/large")
    def large() -> str:
        return "x" * 100

    outcome = run_executor(large, ports=Ports(limits=Limits(result=50)))
    assert isinstance(outcome, Failed)
    assert outcome.error.code == "bad_result"
    assert "artifact" in outcome.error.message
    assert "the 50 bytes" in outcome.error.message


@pytest.mark.parametrize("value", ["x" * 50_000_000, [["x" * 1000] * 1000] * 1000, [(0,) * 10_000] * 10_000])
def test_a_huge_result_is_refused_before_it_is_written_out(value: Any) -> None:
    tracemalloc.start()
    try:
        outcome = returning(value)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert isinstance(outcome, Failed)
    assert "artifact" in outcome.error.message
    assert peak < 60_000_000


def test_an_outcome_is_taken_as_it_is() -> None:
    assert returning(Waiting(signal="go")) == Waiting(signal="go")


def test_an_ordinary_exception_keeps_type_message_cause_and_traceback() -> None:
    @executor("t/chain")
    def chain() -> None:
        try:
            raise KeyError("inner")
        except KeyError as inner:
            raise ValueError("outer") from inner

    outcome = run_executor(chain)
    assert isinstance(outcome, Failed)
    error = outcome.error
    assert (error.code, error.type, error.message) == ("executor_error", "ValueError", "outer")
    assert error.cause["type"] == "KeyError"
    assert not error.permanent
    assert "in chain" in error.details["traceback"]
    assert "executors/__init__.py" not in error.details["traceback"]
    assert (error.step, error.attempt) == ("step", 1)


def test_retryable_and_permanent_say_so_and_keep_their_details() -> None:
    outcome = raising(Retryable("busy", "later", details={"a": 1}, after=2.5))
    assert (outcome.after, outcome.error.code, outcome.error.permanent) == (2500, "busy", False)
    assert outcome.error.details == {"a": 1}
    assert raising(Permanent("gone")).error.permanent


def test_a_permanent_cause_makes_the_whole_permanent() -> None:
    fault = RuntimeError("outer")
    fault.__cause__ = Retryable("middle")
    fault.__cause__.__cause__ = Permanent("inner")
    error = raising(fault).error
    assert error.permanent
    assert error.code == "executor_error"
    assert error.cause["cause"]["code"] == "inner"


def test_an_error_that_was_only_being_handled_does_not_make_it_permanent() -> None:
    @executor("t/handled")
    def handled() -> None:
        try:
            raise Permanent("first")
        except Permanent:
            raise Retryable("second")  # noqa: B904

    outcome = run_executor(handled)
    assert isinstance(outcome, Failed)
    assert not outcome.error.permanent
    assert outcome.error.cause["code"] == "first"


@pytest.mark.parametrize(
    ("fault", "code", "permanent"),
    [
        (InvalidInput([Problem(message="no")]), "bad_input", True),
        (TemplateError("undefined", expression="x"), "template_error", True),
        (StoreUnavailable("locked"), "executor_error", False),
    ],
)
def test_errors_of_our_own_keep_their_code_and_have_no_traceback(fault: Exception, code: str, permanent: bool) -> None:
    error = raising(fault).error
    assert (error.code, error.permanent, error.details) == (code, permanent, None)


def test_a_ring_of_causes_ends() -> None:
    one, two = ValueError("one"), ValueError("two")
    one.__cause__, two.__cause__ = two, one
    assert raising(one).error.cause["cause"] is None


@pytest.mark.parametrize("fault", [SystemExit(3), GeneratorExit(), MemoryError(), RecursionError("deep")])
def test_nothing_a_function_raises_gets_out(fault: BaseException) -> None:
    assert raising(fault).error.type == type(fault).__name__


def test_only_an_interrupt_gets_out_of_a_thread() -> None:
    with pytest.raises(KeyboardInterrupt):
        raising(KeyboardInterrupt())


def test_details_that_json_cannot_say_are_told_as_text() -> None:
    details = raising(Permanent("x", details={"a": {1}})).error.details
    assert "set" in details["unreadable"]


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


def test_an_exception_whose_message_cannot_be_read_is_still_told() -> None:
    assert "RuntimeError" in raising(Unspeakable()).error.message


def test_what_was_buffered_travels_with_success_and_not_with_failure() -> None:
    @executor("t/buffer")
    def buffer(step: StepContext, fail: bool = False) -> str:
        step.emit("child", kind="noop")
        step.record("c", "k", {"a": 1})
        step.artifact("note", text="hi")
        if fail:
            raise ValueError("no")
        return "done"

    done = run_executor(buffer)
    assert isinstance(done, Succeeded)
    assert [each.key for each in done.emitted] == ["child"]
    assert [each.key for each in done.records] == ["k"]
    failed = run_executor(buffer, {"fail": True})
    assert isinstance(failed, Failed)
    assert [each.name for each in failed.artifacts] == ["note"]


def test_the_function_stays_callable() -> None:
    @executor("t/plain")
    def double(n: int) -> int:
        return 2 * n

    assert double(4) == 8
    found = executor_of(double)
    assert isinstance(found, Executor)
    assert found.origin.endswith(f"test_contract.py:{double.__code__.co_firstlineno}")
    assert found.mode == "thread"


@pytest.mark.parametrize("kind", ["", " ", "a b", "/a", "a/", "a//b", "a\n", "é", "x" * 101, None])
def test_a_kind_is_a_name(kind: Any) -> None:
    with pytest.raises(PluginError, match="no name for a kind"):
        executor(kind)


def test_what_cannot_be_an_executor_is_refused() -> None:
    def numbers() -> Any:
        yield 1

    async def later() -> None: ...

    with pytest.raises(PluginError, match="generator"):
        executor("t/x")(numbers)
    with pytest.raises(PluginError, match="mode"):
        executor("t/x", mode="thread")(later)
    with pytest.raises(PluginError, match="already the executor"):
        executor("t/y")(executor("t/x")(lambda: None))


def test_a_deferred_executor_must_be_of_its_kind() -> None:
    with pytest.raises(PluginError, match="no executor of this kind"):
        Deferred(kind="other", target="yamlflow.executors.noop:noop").load()
    with pytest.raises(PluginError, match="cannot be loaded"):
        Deferred(kind="other", target="yamlflow.nosuch:noop").load()


# Coroutines.


def test_a_coroutine_is_awaited() -> None:
    @executor("t/async")
    async def later(n: int) -> int:
        await asyncio.sleep(0)
        return n + 1

    assert run_executor(later, {"n": 1}) == Succeeded(result=2)


def test_a_coroutine_that_wants_to_end_the_process_ends_only_its_step() -> None:
    @executor("t/exit")
    async def leave() -> None:
        raise SystemExit(3)

    outcome = run_executor(leave)
    assert isinstance(outcome, Failed)
    assert outcome.error.type == "SystemExit"


@executor("t/forever")
async def forever(step: StepContext) -> str:
    """Wait without end."""
    await asyncio.Event().wait()
    return "never"


def test_a_coroutine_is_ended_at_its_deadline() -> None:
    clock = FakeClock()
    outcome = run_executor(forever, ports=Ports(clock=clock), deadline_at=clock.steady())
    assert isinstance(outcome, Failed)
    assert outcome.error.code == "timeout"


def test_a_coroutine_is_ended_when_canceled_from_another_thread() -> None:
    token = CancelToken()
    step = StepContext(ports=Ports(cancel=token))

    async def both() -> Any:
        work = asyncio.ensure_future(execute_async(forever.__yamlflow_executor__, step))  # type: ignore[attr-defined]
        await asyncio.sleep(0)
        thread = threading.Thread(target=token.cancel, args=("enough",), kwargs={"by": "ada"})
        thread.start()
        outcome = await work
        thread.join()
        return outcome

    outcome = asyncio.run(both())
    assert (outcome.error.code, outcome.error.message) == ("canceled", "enough")
    assert outcome.error.details == {"by": "ada", "lost": False}


def test_a_caller_that_is_canceled_itself_is_told_so() -> None:
    async def both() -> None:
        step = StepContext()
        work = asyncio.ensure_future(execute_async(forever.__yamlflow_executor__, step))  # type: ignore[attr-defined]
        await asyncio.sleep(0)
        work.cancel()
        await work

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(both())


def test_check_canceled_gives_a_canceled_outcome() -> None:
    @executor("t/polite")
    def polite(step: StepContext) -> None:
        step.check_canceled()

    token = CancelToken()
    token.cancel("stop")
    step = StepContext(ports=Ports(cancel=token))
    outcome = execute(polite.__yamlflow_executor__, step)  # type: ignore[attr-defined]
    assert isinstance(outcome, Failed)
    assert (outcome.error.code, outcome.error.message, outcome.error.permanent) == ("canceled", "stop", True)
    with pytest.raises(Canceled):
        step.heartbeat()
