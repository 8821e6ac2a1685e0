"""Kinds of mode ``process``: all that a step can do, and that whatever becomes of the process costs this step alone."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from yamlflow import StepContext, Succeeded, executor
from yamlflow.artifacts import TemporaryArtifacts
from yamlflow.context import Limits, Ports
from yamlflow.errors import PluginError
from yamlflow.executors import execute_async, executor_of
from yamlflow.executors.apart import where_of
from yamlflow.executors.apart_child import outcome_from, outcome_of
from yamlflow.facts import StepSeen
from yamlflow.outcome import (
    Artifact,
    Asking,
    CancelStep,
    ContinueAsNew,
    Emitted,
    Error,
    Failed,
    Outcome,
    Record,
    Signal,
    StartRun,
    Waiting,
)
from yamlflow.ports import CancelToken, Masking, MemoryLog
from yamlflow.serializers import Serializers
from yamlflow.tables import connect
from yamlflow.testing import run_executor

from . import apart_kinds as kinds


def result(outcome: Outcome) -> Any:
    assert isinstance(outcome, Succeeded), outcome
    return outcome.result


def error(outcome: Outcome) -> Error:
    assert isinstance(outcome, Failed), outcome
    return outcome.error


def test_input_is_read_as_in_a_thread_and_the_process_is_another() -> None:
    found = result(run_executor(kinds.typed, {"order": {"name": "tea"}, "note": "x"}))
    assert {**found, "pid": 0} == {"name": "tea", "count": 1, "note": "x", "pid": 0}
    assert found["pid"] != os.getpid()
    assert error(run_executor(kinds.typed, {"order": {"nome": "tea"}})).code == "bad_input"


def test_a_coroutine_and_an_outcome_come_back() -> None:
    assert result(run_executor(kinds.later, {"n": 1})) == 2
    assert run_executor(kinds.waits, {}) == Waiting(signal="go")


def test_values_of_the_plugins_own_types_go_there_and_back() -> None:
    ports = Ports(serializers=Serializers(kinds.yamlflow_serializers()))
    paid = {"paid": {"$type": "money", "cents": 5}}
    assert result(run_executor(kinds.money, paid, ports=ports)) == {"paid": {"$type": "money", "cents": 10}}


def test_a_step_can_do_there_what_it_can_do_in_a_thread(tmp_path: Path) -> None:
    log, said, masking = MemoryLog(masking := Masking()), [], masking
    ports = Ports(
        log=log, masking=masking, artifacts=TemporaryArtifacts(), progress=said.append,
        steps=lambda name: StepSeen(path="before", status="succeeded", result=[7], attempts=2) if name == "before" else None,
        projection=lambda: connect(tmp_path / "tables.db"),
    )  # fmt: skip
    done = run_executor(
        kinds.everything, {}, ports=ports, env={"GIVEN": "yes"}, deadline_at=ports.clock.steady() + 60_000, scratch=tmp_path / "s"
    )  # fmt: skip
    assert result(done) == {
        "body": "hello", "child": "step/child", "rows": [{"one": 1}], "before": [7], "missing": None,
        "seen": ["succeeded", 2], "key": "run/1/step", "env": "yes", "remaining": True,
    }  # fmt: skip
    assert isinstance(done, Succeeded)
    assert done.emitted == (Emitted(key="child", definition={"kind": "noop", "queue": "q"}),)
    assert done.records == (Record(collection="things", key="one", data={"n": 1}),)
    assert done.signals == (Signal(run="other", name="go", data={"n": 1}),)
    assert [(one.name, one.size) for one in done.artifacts] == [("note.txt", 5), ("file", 2)]
    assert said == [{"done": 1, "total": 2, "message": "half"}]
    log.close()
    assert "printed\n" in log.text("stdout")
    assert log.text("log") == "logged\n***\n"
    assert "hidden" not in log.text()
    assert not list((tmp_path / "s").glob(".apart-*"))


def test_what_it_raises_is_told() -> None:
    found = error(run_executor(kinds.raises, {"how": "permanent"}))
    assert (found.code, found.message, found.details, found.permanent) == ("no_such", "not here", {"n": 1}, True)
    outcome = run_executor(kinds.raises, {"how": "retryable"})
    assert isinstance(outcome, Failed)
    assert (outcome.error.code, outcome.after) == ("busy", 2000)
    found = error(run_executor(kinds.raises, {"how": "artifact"}))
    assert (found.type, found.cause["type"]) == ("ValueError", "KeyError")
    assert 'apart_kinds.py", line' in found.details["traceback"]
    assert "apart_child.py" not in found.details["traceback"]


@pytest.mark.parametrize(
    ("how", "message", "signal_name"),
    [
        ("segfault", "ended by SIGSEGV, before the step returned", "SIGSEGV"),
        ("exit", "exit status 0, before the step returned", None),
        (
            "kill",
            "killed with SIGKILL (exit status 137); often the system ran out of memory, before the step",
            "SIGKILL",
        ),
    ],
)
def test_a_process_that_ends_early_is_the_steps_failure(how: str, message: str, signal_name: str | None) -> None:
    found = error(run_executor(kinds.ends, {"how": how}))
    assert (found.code, found.permanent) == ("exit_status", False)
    assert found.message.startswith(message)
    assert found.details["signal"] == signal_name


def test_sys_exit_is_a_failure_like_any_other() -> None:
    assert error(run_executor(kinds.ends, {"how": "system exit"})).type == "SystemExit"


@pytest.mark.parametrize("what", ["set", "nan", "bytes", "cycle", "object", "digits", "surrogate", "keys", "large"])
def test_what_json_cannot_say_is_named(what: str) -> None:
    found = error(run_executor(kinds.returns, {"what": what}))
    assert (found.code, found.permanent) == ("bad_result", True)


def test_what_it_leaves_open_goes_with_it() -> None:
    before = len(os.listdir("/proc/self/fd"))
    assert [result(run_executor(kinds.leaves, {})) for _ in range(3)] == ["left"] * 3
    assert len(os.listdir("/proc/self/fd")) <= before + 1


def stopped(how: str, stop: Callable[[CancelToken], None], tmp_path: Path, **keys: Any) -> tuple[Outcome, str]:
    """The outcome of a call that is stopped once it has begun, and its log."""
    token, log = CancelToken(), MemoryLog()
    found = executor_of(kinds.stubborn)
    assert found is not None
    step = StepContext(raw_input={"how": how}, ports=Ports(cancel=token, log=log), scratch=tmp_path, **keys)

    async def go() -> Outcome:
        call = asyncio.create_task(execute_async(found, step))
        while not (tmp_path / "started").exists():
            await asyncio.sleep(0.01)
        stop(token)
        return await call

    return asyncio.run(go()), log.text()


@pytest.mark.parametrize("how", ["yields", "ignores"])
def test_a_cancel_is_raised_in_it_and_the_grace_ends_what_ignores_it(how: str, tmp_path: Path) -> None:
    grace = 0.5 if how == "ignores" else 20
    outcome, said = stopped(how, lambda token: token.cancel("enough"), tmp_path, kill_grace=grace)
    assert (error(outcome).code, error(outcome).message) == ("canceled", "enough")
    assert how == "ignores" or "cleaned up" in said


def test_a_timeout_ends_it(tmp_path: Path) -> None:
    soon = Ports().clock.steady() + 2_000
    outcome, said = stopped("yields", lambda token: None, tmp_path, deadline_at=soon, kill_grace=20)
    assert error(outcome).code == "timeout"
    assert "cleaned up" in said


def test_a_function_that_no_other_process_can_find_is_refused() -> None:
    with pytest.raises(PluginError, match="at the top of a module"):

        @executor("t/inner", mode="process")
        def inner() -> None: ...

    found = executor_of(kinds.typed)
    assert found is not None
    assert where_of(found) == {"module": "tests.executors.apart_kinds", "name": "typed"}


OUTCOMES: list[Outcome] = [
    Succeeded(result={"is": "x", "emitted": 1}, emitted=(Emitted(key="k", definition={"kind": "noop"}, scope={"a": 1}),),
              detached=True, records=(Record(collection="c", key="k", data={"error": 1}),),
              signals=(Signal(run="r", name="n", start=StartRun(package="p", inputs={"start": 1})),),
              artifacts=(Artifact(name="a", uri="u", size=1, sha256="s", content_type="t", metadata={"m": "1"}),)),
    Failed(error=Error(code="c", message="m", details={"error": {"x": 1}}), after=3),
    Waiting(until=1, signal="s", result=[1]), Asking(prompt="p", form={"type": "object"}),
    StartRun(package="p"), ContinueAsNew(inputs={"a": [1]}, latest=True), CancelStep(target="t", reason="r"),
]  # fmt: skip


@pytest.mark.parametrize("outcome", OUTCOMES, ids=lambda one: type(one).__name__)
def test_every_outcome_is_said_and_heard(outcome: Outcome) -> None:
    assert outcome_from(outcome_of(outcome)) == outcome


def test_more_than_a_line_may_hold_is_a_failure_of_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("yamlflow.executors.apart.LINE", 100_000)
    limits = Ports(limits=Limits(result=200_000_000))
    assert error(run_executor(kinds.returns, {"what": "large"}, ports=limits)).code == "bad_result"
