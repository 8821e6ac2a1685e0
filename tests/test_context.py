"""What a step sees, and what it leaves behind."""

from __future__ import annotations

import io
import threading
from pathlib import Path
from typing import Any

import pytest

from yamlflow.clock import SECOND
from yamlflow.context import EmittedStep, LeaseInfo, Limits, Ports, RunInfo, StepContext, StepInfo
from yamlflow.errors import Canceled, Permanent
from yamlflow.outcome import Emitted, Error, Failed, Record, Signal, StartRun, Succeeded
from yamlflow.ports import CancelToken, Masking, MemoryLog
from yamlflow.testing import T0, FakeClock


def secret() -> Masking:
    masking = Masking()
    masking.add("hunter2hunter2")
    return masking


def test_a_context_is_made_with_nothing() -> None:
    step = StepContext(input={"a": 1})
    assert step.raw_input == {"a": 1}
    assert step.result("other") is None
    assert step.deadline is None
    assert not step.canceled
    assert step.outcome() == Succeeded()


def test_the_idempotency_key_is_the_same_for_every_attempt() -> None:
    keys = {
        StepContext(run=RunInfo(id="r", execution=2), step=StepInfo(path="a[3]/b"), attempt=n, lease=LeaseInfo(epoch=n))
        .idempotency_key
        for n in (1, 2, 3)
    }  # fmt: skip
    assert keys == {"r/2/a[3]/b"}


def test_time_is_the_workers_reading_and_the_deadline_does_not_jump_with_it() -> None:
    clock = FakeClock()
    step = StepContext(ports=Ports(clock=clock), deadline_at=clock.steady() + 5 * SECOND)
    assert step.now.isoformat() == "2026-01-01T00:00:00+00:00"
    assert step.deadline is not None
    assert step.deadline.isoformat() == "2026-01-01T00:00:05+00:00"
    clock.jump(3_600_000)
    assert step.remaining == 5.0
    clock.advance(5 * SECOND)
    assert step.canceled
    assert StepContext(ports=Ports(clock=clock), now_ms=T0).now.hour == 0


def test_chance_comes_from_the_clock() -> None:
    one, two = (StepContext(ports=Ports(clock=FakeClock())) for _ in range(2))
    assert [one.random(), one.uuid()] == [two.random(), two.uuid()]
    assert 0 <= one.random() < 1


def test_relative_paths_start_at_the_packages_folder_or_the_scratch_folder(tmp_path: Path) -> None:
    scratch = tmp_path / "runs" / "r"
    assert StepContext(package_dir=tmp_path).cwd == tmp_path
    step = StepContext(package_dir=tmp_path / "gone", scratch=scratch)
    assert step.cwd == scratch
    assert scratch.is_dir()
    assert step.work_in("sub") == scratch / "sub"


def test_a_scratch_folder_of_its_own_goes_with_the_context() -> None:
    step = StepContext()
    folder = step.dir
    assert folder.is_dir()
    del step
    assert not folder.exists()


# Emitting.


def test_an_emitted_step_is_written_as_a_package_would_write_it() -> None:
    step = StepContext(step=StepInfo(path="crawl"))
    first = step.emit("first", kind="http", with_={"url": "u"}, retry={"max_attempts": 3})
    second = step.emit(kind="noop", needs=[first, "other"], queue="q", scope={"item": 1})
    step.emit("third", run="echo", needs={first: "finished"})
    assert (str(first), first.path) == ("first", "crawl/first")
    assert second == EmittedStep("emit_002", "crawl/emit_002")
    outcome = step.outcome("done")
    assert isinstance(outcome, Succeeded)
    assert outcome.emitted == (
        Emitted(key="first", definition={"kind": "http", "with": {"url": "u"}, "retry": {"max_attempts": 3}}),
        Emitted(
            key="emit_002",
            definition={"kind": "noop", "needs": ["first", "other"], "queue": "q"},
            scope={"item": 1},
        ),
        Emitted(key="third", definition={"needs": {"first": "finished"}, "run": "echo"}),
    )
    assert not outcome.detached


def test_a_key_emitted_twice_is_one_step_the_first() -> None:
    step = StepContext()
    assert step.emit("a", kind="noop") == step.emit("a", kind="log")
    outcome = step.outcome()
    assert isinstance(outcome, Succeeded)
    assert [each.definition["kind"] for each in outcome.emitted] == ["noop"]


def test_detached_is_for_all_children_or_none() -> None:
    step = StepContext()
    step.emit("a", kind="noop", detached=True)
    outcome = step.outcome()
    assert isinstance(outcome, Succeeded)
    assert outcome.detached
    with pytest.raises(Permanent, match="all children"):
        step.emit("b", kind="noop")


@pytest.mark.parametrize(
    "given",
    [
        {"key": "a"},
        {"key": "a", "kind": "noop", "run": "x"},
        {"key": "", "kind": "noop"},
        {"key": "a\nb", "kind": "noop"},
        {"key": "x" * 201, "kind": "noop"},
        {"key": 5, "kind": "noop"},
        {"key": "a", "kind": "noop", "with_": {"x": {1}}},
    ],
)
def test_what_cannot_be_emitted_is_a_bad_result(given: Any) -> None:
    with pytest.raises(Permanent) as caught:
        StepContext().emit(**given)
    assert caught.value.code == "bad_result"


def test_a_record_is_a_mapping_with_names() -> None:
    step = StepContext()
    assert step.record("c", "k", {"a": [1]}) == "k"
    assert step.outcome() == Succeeded(records=(Record(collection="c", key="k", data={"a": [1]}),))
    for collection, key, data in (("", "k", {}), ("c", "", {}), ("c", "k", [1]), ("c", "k", {"a": b""})):
        with pytest.raises(Permanent):
            step.record(collection, key, data)  # type: ignore[arg-type]


def test_what_is_kept_is_as_it_was_when_it_was_said() -> None:
    step, data = StepContext(), {"list": [1]}
    step.record("c", "k", data)
    data["list"].append(2)
    outcome = step.outcome()
    assert isinstance(outcome, Succeeded)
    assert outcome.records[0].data == {"list": [1]}


# Artifacts.


def test_artifacts_are_text_bytes_json_files_and_streams(tmp_path: Path) -> None:
    (tmp_path / "f.bin").write_bytes(b"file")
    step = StepContext(package_dir=tmp_path)
    kept = [
        step.artifact("a.txt", "text"),
        step.artifact("b", b"\x00"),
        step.artifact("c", text="t"),
        step.artifact("d", json={"a": 1}, kind="report", metadata={"k": "v"}),
        step.store_artifact("e.csv", "f.bin"),
        step.store_artifact("f", io.BytesIO(b"stream")),
    ]
    assert [(each.content_type, each.kind) for each in kept] == [
        ("text/plain", "text"),
        ("application/octet-stream", "artifact"),
        ("text/plain; charset=utf-8", "text"),
        ("application/json", "report"),
        ("text/csv", "text"),
        ("application/octet-stream", "artifact"),
    ]
    with step.open_artifact("f") as stream:
        assert stream.read() == b"stream"
    with step.open_artifact(kept[4].to_json()) as stream:
        assert stream.read() == b"file"
    with pytest.raises(Permanent, match="no artifact"):
        step.open_artifact("nosuch")
    outcome = step.outcome()
    assert isinstance(outcome, Succeeded)
    assert outcome.artifacts == tuple(kept)


def test_an_artifact_over_its_limit_is_refused() -> None:
    step = StepContext(ports=Ports(limits=Limits(artifact=3)))
    with pytest.raises(Permanent, match="more than 3 bytes"):
        step.artifact("a", "four")


# Secrets.


@pytest.mark.parametrize("where", ["result", "key", "record", "emit", "scope", "metadata", "started"])
def test_nothing_that_is_stored_may_hold_a_secret(where: str) -> None:
    step = StepContext(ports=Ports(masking=secret()))
    text, result = "see hunter2hunter2", None
    if where == "result":
        result = {"deep": [text]}
    elif where == "key":
        result = {text: 1}
    elif where == "record":
        step.record("c", "k", {"a": text})
    elif where == "emit":
        step.emit("a", kind="noop", with_={"x": text})
    elif where == "scope":
        step.emit("a", kind="noop", scope={"x": text})
    elif where == "started":
        start = StartRun(package="p", inputs={"x": text})
        result = Succeeded(signals=(Signal(run="r", name="go", start=start),))
    else:
        # Refused at once: its name would be a file's.
        with pytest.raises(Permanent) as caught:
            step.artifact("a", "x", metadata={"m": text})
        assert caught.value.code == "secret_in_result"
        return
    outcome = step.outcome(result)
    assert isinstance(outcome, Failed)
    assert (outcome.error.code, outcome.error.permanent) == ("secret_in_result", True)
    assert "hunter2" not in str(outcome.error)


def test_an_error_is_masked_everywhere() -> None:
    step = StepContext(ports=Ports(masking=secret()))
    error = Error(
        code="x",
        message="m hunter2hunter2",
        details={"hunter2hunter2": ["hunter2hunter2"]},
        cause={"message": "hunter2hunter2"},
    )
    outcome = step.outcome(Failed(error=error))
    assert isinstance(outcome, Failed)
    assert "hunter2" not in str(outcome)
    assert outcome.error.details == {"***": ["***"]}


def test_a_step_can_name_a_secret_of_its_own() -> None:
    masking = secret()
    log = MemoryLog(masking)
    step = StepContext(ports=Ports(masking=masking, log=log))
    step.log("before correct-horse")
    step.mask("correct-horse")
    step.log("after correct-horse and hunter2hunter2", "warning")
    log.close()
    assert log.text() == "before correct-horse\nwarning: after *** and ***\n"
    outcome = step.outcome("correct-horse")
    assert isinstance(outcome, Failed)


def test_progress_is_masked_and_handed_on() -> None:
    told: list[Any] = []
    step = StepContext(ports=Ports(masking=secret(), progress=told.append))
    step.progress(1, 4, "at hunter2hunter2")
    assert told == [{"done": 1, "total": 4, "message": "at ***"}]


# Canceling.


def test_a_token_is_told_once_and_tells_all() -> None:
    token = CancelToken()
    heard: list[str] = []
    forget = token.on_cancel(lambda: heard.append("forgotten"))
    token.on_cancel(lambda: heard.append("first"))
    forget()
    token.cancel("why", by="ada")
    token.cancel("again", by="bob", lost=True)
    token.on_cancel(lambda: heard.append("late"))
    assert heard == ["first", "late"]
    assert (token.reason, token.by, token.lost) == ("why", "ada", False)
    assert token.wait(0)


def test_a_waiting_thread_is_woken() -> None:
    token = CancelToken()
    woken: list[bool] = []
    thread = threading.Thread(target=lambda: woken.append(token.wait(30)))
    thread.start()
    token.cancel()
    thread.join(10)
    assert woken == [True]


def test_heartbeat_renews_and_tells_of_a_lost_lease() -> None:
    beats: list[int] = []
    token = CancelToken()
    step = StepContext(ports=Ports(cancel=token, heartbeat=lambda: beats.append(1)))
    step.heartbeat()
    token.cancel("the lease was lost", lost=True)
    with pytest.raises(Canceled, match="the lease was lost"):
        step.heartbeat()
    assert beats == [1, 1]
