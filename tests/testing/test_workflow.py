"""``WorkflowTest``: the powers of files of tests, from Python."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from yamlflow import Permanent, Retryable, executor
from yamlflow.context import StepContext
from yamlflow.errors import InvalidInput, UserError
from yamlflow.testing import Ending, WorkflowTest

from ..engine.stage import package

ORDER = """
    inputs: {n: {type: integer, default: 1}}
    signals: {paid: {type: object}}
    steps:
      reserve: {kind: http, retry: {max_attempts: 3, delay: 1m, backoff: fixed}, with: {url: "http://shop.test/reserve"}}
      paid: {needs: reserve, kind: wait_signal, timeout: 7d, with: {signal: paid}}
      ask: {needs: paid, kind: approval, with: {prompt: "Ship?"}}
      ship: {needs: ask, if: steps.ask.result.approved, kind: noop}
    outputs: {approved: "${{ steps.ask.result.approved }}"}
"""


@pytest.fixture
def order(workflow: Any) -> WorkflowTest:
    made = workflow(package(ORDER, "order"))
    assert isinstance(made, WorkflowTest)
    return made


def test_the_whole_of_a_long_order_in_a_few_lines(order: WorkflowTest) -> None:
    order.mock(kind="http", sequence=[Retryable("busy", "later"), {"status": 200}])
    order.when("paid", after="2d").signal("paid", {"amount": 3})
    order.when("ask", after="1h").approve(by="ann", comment="go")
    end = order.run()
    assert end.status == "succeeded"
    assert end.outputs == {"approved": True}
    assert end.result("paid") == {"amount": 3}
    assert end.lasted == (1 + 2 * 24 * 60 + 60) * 60_000
    assert [call.attempt for call in end.calls("http")] == [1, 2]
    assert end.step("ship").status == "succeeded"
    end.expect(order=["reserve", "paid", "ask", "ship"], calls={"http": 2}, steps={"reserve": {"attempts": 2}})


def test_an_expectation_that_does_not_hold_tells_the_story(order: WorkflowTest) -> None:
    order.mock(kind="http", error="no_stock")
    with pytest.raises(AssertionError, match="expected the run to be succeeded") as caught:
        order.run().expect(status="succeeded")
    assert "the story:" in str(caught.value)
    assert "+2m         reserve: failed (attempt 3, code no_stock" in str(caught.value)


def test_an_expectation_with_a_word_that_there_is_not_is_refused(order: WorkflowTest) -> None:
    order.mock(kind="http", error="no_stock")
    with pytest.raises(UserError, match='there is no key "stauts" here'):
        order.run().expect(stauts="failed")


def test_a_test_that_can_only_wait_is_an_assertion(order: WorkflowTest) -> None:
    order.mock(kind="http", result={}).mock(step="paid", result={})
    with pytest.raises(AssertionError, match="ask: waits for"):
        order.run()


def test_an_event_that_never_happens_is_an_assertion(order: WorkflowTest) -> None:
    order.mock(kind="http", error="no_stock").when("ask").approve()
    with pytest.raises(AssertionError, match="the event approve ask when ask is waiting never happened"):
        order.run()


def test_a_command_that_is_refused_is_an_assertion(order: WorkflowTest) -> None:
    order.mock(kind="http", result={}).after("1h").signal("paid", "no object")
    with pytest.raises(AssertionError, match="the event signal paid was refused"):
        order.run()


def test_a_mock_may_be_a_function_of_the_step(workflow: Any) -> None:
    body = "steps: {get: {for_each: [1, 2], kind: http, with: {url: 'http://x.test/${{ item }}'}}}"

    def answer(step: StepContext) -> dict[str, Any]:
        if step.raw_input["url"].endswith("2"):
            raise Permanent("gone", "no longer there")
        return {"body": step.step.path}

    end = workflow(package(body)).mock(kind="http", result=answer).run()
    assert end.error is not None
    assert (end.status, end.error["code"], end.result("get[0]")) == ("failed", "gone", {"body": "get[0]"})


def test_executors_of_the_test_s_own_take_part(workflow: Any) -> None:
    @executor("shop/price")
    def price(item: str) -> int:
        return len(item)

    body = "steps: {a: {kind: shop/price, with: {item: lamp}}}\noutputs: {price: '${{ steps.a.result }}'}"
    assert workflow(package(body), executors=[price]).run().outputs == {"price": 4}


def test_quick_real_steps_end_in_the_order_in_which_they_began(workflow: Any) -> None:
    @executor("take")
    def take(n: int) -> None:
        threading.Event().wait(n / 100)

    body = "steps: {fan: {for_each: [5, 4, 3, 2, 1, 0], kind: take, with: {n: '${{ item }}'}}}"
    story = workflow(package(body), executors=[take]).run().story
    ended = [line.split()[1] for line in story if ": succeeded" in line and "fan[" in line]
    assert ended == [f"fan[{number}]:" for number in range(6)]


@pytest.mark.parametrize("moment", ["2026-05-01T00:00:00Z", datetime(2026, 5, 1, tzinfo=UTC), 1_777_593_600_000])
def test_a_moment_is_a_text_a_datetime_or_milliseconds(workflow: Any, moment: Any) -> None:
    test = workflow(
        package("steps: {nap: {kind: sleep, with: {for: 1h}}, at: {kind: set, with: {value: '${{ now() }}'}}}"),
        start_at=moment,
    )
    assert test.run().result("at").startswith("2026-05-01T00:00:00")


def test_what_cannot_be_said_is_refused(workflow: Any) -> None:
    with pytest.raises(UserError, match="noon"):
        workflow(package(ORDER), start_at="noon")
    with pytest.raises(UserError, match="exactly one of kind, step and package"):
        workflow(package(ORDER)).mock(result=1)
    with pytest.raises(UserError, match="approve needs"):
        workflow(package(ORDER)).after("1h").approve()
    with pytest.raises(InvalidInput, match=r"inputs\.n"):
        workflow(package(ORDER), {"n": "x"}).run()


def test_commands_and_functions_at_their_times(workflow: Any) -> None:
    seen: list[str] = []
    test = workflow(package("steps: {nap: {kind: sleep, with: {for: 1d}}, work: {needs: nap, kind: noop}}"))
    test.after("1h").pause().at("2026-01-03").unpause()
    test.after("2h").call(lambda runtime: seen.append(runtime.run("test").status))
    end = test.run()
    assert (end.status, end.lasted, seen) == ("succeeded", 2 * 24 * 3600 * 1000, ["running"])
    test = workflow(package("steps: {nap: {kind: sleep, with: {for: 1d}}}"))
    assert test.after("3h").cancel(reason="enough", by="ann").run().status == "canceled"


def test_a_test_may_be_run_again_and_tells_the_same_story(order: WorkflowTest) -> None:
    order.mock(kind="http", sequence=["ok"]).when("paid").signal("paid", {}).when("ask").approve(approved=False)
    first = order.run()
    story = first.story
    second: Ending = order.run()
    assert second.story == story
    assert second.step("ship").status == "skipped"


def test_a_package_is_found_beside_the_test_s_own_file(pytester: pytest.Pytester) -> None:
    pytester.makefile(
        ".yaml",
        flow="yamlflow: 1\nname: flow\nsteps: {a: {kind: set, with: {value: 1}}}\noutputs: {a: '${{ steps.a.result }}'}",
    )
    pytester.makepyfile(
        """
        def test_it(workflow):
            assert workflow("flow.yaml").run().outputs == {"a": 1}

        def test_runtime(yamlflow_runtime, yamlflow_clock):
            from yamlflow.runtime import load_package
            yamlflow_runtime.register(load_package("flow.yaml"))
            run = yamlflow_runtime.start("flow")
            yamlflow_clock.advance(5000)
            yamlflow_runtime.run_until_idle()
            assert yamlflow_runtime.run(run.id).ended_at == yamlflow_clock.now()
        """
    )
    pytester.runpytest("-p", "no:cacheprovider").assert_outcomes(passed=2)


def test_pytest_collects_files_of_tests_and_leaves_others_alone(pytester: pytest.Pytester) -> None:
    pytester.makefile(".yaml", flow="yamlflow: 1\nname: flow\nsteps: {a: {kind: set, with: {value: 1}}}")
    write = pytester.path.joinpath
    write("flow.test.yaml").write_text(
        "tests:\n  good: {expect: {status: succeeded}}\n  bad: {expect: {duration: 1h}}\n"
    )
    write("api.test.yaml").write_text("openapi: 3\ntests: !weird\n")
    write("api.yaml").write_text("openapi: 3\n")
    write("lonely.test.yaml").write_text("tests: {a: }\n")
    result = pytester.runpytest("-p", "no:cacheprovider")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*duration: expected 1h, came 0s", "the story:", "*a: succeeded"])
    result.stdout.no_fnmatch_line("*Traceback*")


def test_a_wrong_file_of_tests_is_an_error_with_its_place(pytester: pytest.Pytester) -> None:
    pytester.makefile(".yaml", flow="yamlflow: 1\nname: flow\nsteps: {a: {kind: noop}}")
    pytester.path.joinpath("flow.test.yaml").write_text("tests:\n  a: {exspect: {}}\n")
    result = pytester.runpytest("-p", "no:cacheprovider")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        ['*flow.test.yaml:2:7: tests.a.exspect: there is no key "exspect" here. Did you mean "expect"?*']
    )


def test_the_plugin_costs_others_nothing(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import sys

        def test_nothing_of_yamlflow_is_imported():
            loaded = {name for name in sys.modules if name.startswith("yamlflow")}
            assert loaded == {"yamlflow", "yamlflow.pytest_plugin"}, loaded
        """
    )
    pytester.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(passed=1)


def test_the_test_of_an_executor_needs_no_engine() -> None:
    import subprocess
    import sys

    from ..conftest import ROOT

    code = "import yamlflow.testing, sys; print([m for m in sys.modules if m.startswith(('yamlflow.engine', 'yamlflow.store'))])"
    told = subprocess.run([sys.executable, "-c", code], cwd=Path(ROOT), capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"


def test_children_may_be_packages_of_the_test_s_own(workflow: Any) -> None:
    child = package("steps: {a: {kind: noop}}\noutputs: {n: 5}", "child")
    body = "steps: {call: {kind: workflow, with: {package: child}}}\noutputs: {n: '${{ steps.call.result.n }}'}"
    assert workflow(package(body, "parent"), packages=[child]).run().outputs == {"n": 5}
