"""``python``: in a child process, and in a thread where that is asked for."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from yamlflow import StepContext, Succeeded
from yamlflow.context import Limits, Ports
from yamlflow.executors import execute_async, executor_of, python
from yamlflow.outcome import Failed, Outcome
from yamlflow.ports import CancelToken, MemoryLog
from yamlflow.testing import run_executor


def result(outcome: Outcome) -> Any:
    assert isinstance(outcome, Succeeded), outcome
    return outcome.result


def error(outcome: Outcome) -> Any:
    assert isinstance(outcome, Failed), outcome
    return outcome.error


@pytest.fixture(params=[False, True], ids=["child", "thread"])
def where(request: pytest.FixtureRequest) -> dict[str, bool]:
    return {"in_process": request.param}


def test_code_leaves_its_result(where: dict[str, bool]) -> None:
    given = {"code": "import math\nresult = {'root': math.isqrt(n)}", "args": {"n": 10}, **where}
    assert result(run_executor(python, given)) == {"root": 3}


def test_a_function_beside_the_package_is_called(where: dict[str, bool], tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(
        "from till import add\nclass A:\n    @staticmethod\n    def sum(*n, k=0): return add(n) + k\n"
    )
    (tmp_path / "till.py").write_text("def add(n): return sum(n)\nasync def later(n): return n + 1\n")
    assert result(run_executor(python, {"call": "shop:A.sum", "args": [1, 2], **where}, package_dir=tmp_path)) == 3
    assert result(run_executor(python, {"call": "shop:A.sum", "args": {"k": 2}, **where}, package_dir=tmp_path)) == 2
    assert result(run_executor(python, {"call": "till:later", "args": [1], **where}, plugin_dirs=[tmp_path])) == 2


def test_an_exception_is_kept_with_its_traceback(where: dict[str, bool]) -> None:
    found = error(run_executor(python, {"code": "def f():\n    1/0\nf()", **where}))
    assert (found.code, found.type, found.message) == ("executor_error", "ZeroDivisionError", "division by zero")
    assert 'File "<code>", line 2, in f' in found.details["traceback"]
    assert (found.step, found.attempt) == ("step", 1)


def test_retryable_and_permanent_mean_what_they_say(where: dict[str, bool]) -> None:
    code = "from yamlflow import Retryable\nraise Retryable('busy', 'later', after=2)"
    outcome = run_executor(python, {"code": code, **where})
    assert isinstance(outcome, Failed)
    assert (outcome.error.code, outcome.after) == ("busy", 2000)
    code = "from yamlflow import Permanent\nraise ValueError('x') from Permanent('gone')"
    assert error(run_executor(python, {"code": code, **where})).permanent


def test_a_result_json_cannot_say_names_its_place(where: dict[str, bool]) -> None:
    found = error(run_executor(python, {"code": "result = {'a': [{1}]}", **where}))
    assert found.code == "bad_result"
    assert "a[0]: a set" in found.message


def test_leaving_ends_the_step_and_nothing_else(where: dict[str, bool]) -> None:
    assert error(run_executor(python, {"code": "raise SystemExit(0)", **where})).type == "SystemExit"


def test_what_is_missing_is_named(where: dict[str, bool]) -> None:
    assert error(run_executor(python, {"call": "nosuch_module:f", **where})).type == "ModuleNotFoundError"
    assert error(run_executor(python, {"call": "json:nosuch", **where})).type == "AttributeError"


def test_a_child_that_dies_is_the_steps_failure() -> None:
    found = error(run_executor(python, {"code": "import os; os.kill(os.getpid(), 11)"}))
    assert (found.code, found.details["signal"]) == ("exit_status", "SIGSEGV")
    assert error(run_executor(python, {"code": "import os; os._exit(0)"})).code == "exit_status"


def test_what_a_child_prints_goes_to_the_log() -> None:
    log = MemoryLog()
    run_executor(python, {"code": "import sys; print('out'); print('err', file=sys.stderr)"}, ports=Ports(log=log))
    assert log.text("stdout") == "out\n"
    assert log.text("stderr") == "err\n"


def test_a_result_over_its_limit_is_refused_in_the_child() -> None:
    found = error(run_executor(python, {"code": "result = 'x' * 5000"}, ports=Ports(limits=Limits(result=1000))))
    assert found.code == "bad_result"
    assert "artifact" in found.message


@pytest.mark.parametrize(
    "given", [{}, {"call": "x"}, {"call": "a:b", "code": ""}, {"code": "1", "args": [1]}, {"call": "os; import x:y"}]
)
def test_a_call_that_is_none_is_bad_input(given: dict[str, Any]) -> None:
    assert error(run_executor(python, given)).code == "bad_input"


def test_modules_of_one_name_in_two_folders_do_not_meet(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "same.py").write_text(f"def f(): return '{name}'")
    given = {"call": "same:f", "in_process": True}
    assert [result(run_executor(python, given, package_dir=tmp_path / name)) for name in ("one", "two")] == [
        "one",
        "two",
    ]


def test_cancel_ends_the_child(tmp_path: Path) -> None:
    token = CancelToken()
    code = "import pathlib, time\npathlib.Path('ready').touch()\ntime.sleep(1000)"
    step = StepContext(input={"code": code}, package_dir=tmp_path, ports=Ports(cancel=token), kill_grace=1)

    async def both() -> Outcome:
        found = executor_of(python.python)
        assert found is not None
        work = asyncio.ensure_future(execute_async(found, step))
        while not (tmp_path / "ready").exists() and not work.done():
            await asyncio.sleep(0.005)
        token.cancel("enough")
        return await work

    assert error(asyncio.run(both())).code == "canceled"
