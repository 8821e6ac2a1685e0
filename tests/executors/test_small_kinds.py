"""The kinds that do little: each is one call."""

from __future__ import annotations

from typing import Any

import pytest

from yamlflow import Succeeded, Waiting
from yamlflow.clock import SECOND
from yamlflow.executors import cancel, fail, log, noop, record, sleep, template
from yamlflow.executors import set as set_
from yamlflow.outcome import CancelStep, Failed, Record
from yamlflow.plugins import load
from yamlflow.ports import MemoryLog, Ports
from yamlflow.testing import T0, FakeClock, run_executor

INLINE = {
    "noop", "set", "log", "sleep", "fail", "cancel", "record", "wait_signal", "approval", "continue_as_new",
}  # fmt: skip


def error(outcome: Any) -> Any:
    assert isinstance(outcome, Failed), outcome
    return outcome.error


def test_noop_does_nothing() -> None:
    assert run_executor(noop) == Succeeded()


def test_set_gives_its_value() -> None:
    assert run_executor(set_, {"value": {"a": [1]}}) == Succeeded(result={"a": [1]})
    assert error(run_executor(set_, {})).code == "bad_input"


def test_log_writes_a_line() -> None:
    sink = MemoryLog()
    assert run_executor(log, {"message": "hi"}, ports=Ports(log=sink)) == Succeeded()
    assert run_executor(log, {"message": {"a": 1}, "level": "error"}, ports=Ports(log=sink)) == Succeeded()
    assert sink.text() == 'hi\nerror: {"a":1}\n'


def test_sleep_waits_for_a_length_of_time() -> None:
    assert run_executor(sleep, {"for": "5s"}) == Waiting(until=T0 + 5 * SECOND, result="2026-01-01T00:00:05.000Z")


def test_sleep_counts_from_the_workers_reading_of_the_clock() -> None:
    outcome = run_executor(sleep, {"for": "1s"}, now_ms=0)
    assert isinstance(outcome, Waiting)
    assert outcome.until == SECOND


def test_sleep_waits_until_a_moment() -> None:
    for text in ("2026-01-01T00:00:07Z", "2026-01-01T00:00:07", "2026-01-01T02:00:07+02:00"):
        outcome = run_executor(sleep, {"until": text})
        assert isinstance(outcome, Waiting)
        assert outcome.until == T0 + 7 * SECOND


@pytest.mark.parametrize(
    "given", [{"for": "5"}, {"for": ""}, {"until": "soon"}, {"until": "2024-13-45"}, {}, {"for": "1s", "until": "x"}]
)
def test_sleep_refuses_what_is_no_time(given: Any) -> None:
    found = error(run_executor(sleep, given))
    assert (found.code, found.permanent) == ("bad_input", True)


def test_a_length_of_time_without_a_unit_is_told_what_to_write() -> None:
    for kind, given in ((sleep, {"for": 10}), ("http", {"url": "http://a", "timeout": 10})):
        message = error(run_executor(kind, given)).message
        assert '10 has no unit: write "10s" for seconds, "10m" for minutes or "10ms" for milliseconds' in message
    assert "expected text, got true" in error(run_executor(sleep, {"for": True})).message


def test_fail_fails_as_it_is_told() -> None:
    found = error(run_executor(fail, {"code": "stale", "message": "too old", "permanent": True}))
    assert (found.code, found.message, found.permanent) == ("stale", "too old", True)
    assert not error(run_executor(fail)).permanent


def test_cancel_names_its_target() -> None:
    assert run_executor(cancel, {"step": "a", "reason": "late"}) == CancelStep(target="a", reason="late")


def test_record_gives_its_key_and_travels_with_the_outcome() -> None:
    outcome = run_executor(record, {"collection": "c", "key": 7, "data": {"a": 1}})
    assert outcome == Succeeded(result="7", records=(Record(collection="c", key="7", data={"a": 1}),))


def test_template_keeps_what_it_renders(tmp_path: Any) -> None:
    (tmp_path / "page.html.j2").write_text("<ul>{% for n in names %}<li>{{ n }}</li>{% endfor %}</ul>")
    outcome = run_executor(template, {"file": "page.html.j2", "values": {"names": ["a", "b"]}}, package_dir=tmp_path)
    assert isinstance(outcome, Succeeded)
    assert outcome.result["name"] == "page.html"
    assert outcome.result["content_type"] == "text/html"
    with open(outcome.result["path"]) as stream:
        assert stream.read() == "<ul><li>a</li><li>b</li></ul>"


def test_template_takes_text_or_a_file() -> None:
    ports = Ports(clock=FakeClock())
    outcome = run_executor(template, {"text": "{{ 1 + 1 }}", "name": "two.txt"}, ports=ports)
    assert isinstance(outcome, Succeeded)
    assert outcome.artifacts[0].size == 1
    assert error(run_executor(template, {})).code == "bad_input"
    assert error(run_executor(template, {"text": "", "file": "x"})).code == "bad_input"
    assert error(run_executor(template, {"file": "/nosuch"})).code == "bad_input"


def test_only_trivial_kinds_run_in_the_workers_loop() -> None:
    kinds = load(entry_points=False).executors
    assert {kind for kind in kinds if kinds[kind].mode == "inline"} == INLINE


def test_secrets_may_not_be_named_where_input_is_stored() -> None:
    kinds = load(entry_points=False).executors
    assert {kind for kind in kinds if kinds[kind].stores_input} == INLINE | {"template", "workflow", "signal"}
