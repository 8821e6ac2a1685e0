"""What the Go workflow API can do, one test for one claim: what a step emits, keeps, sees and is made of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pydantic
import pytest

from yamlflow import (
    Cycle,
    FileArtifacts,
    Permanent,
    RetryPolicy,
    Runtime,
    StepContext,
    executor,
)
from yamlflow.errors import (
    InvalidInput,
    PluginError,
    UnknownName,
    UserError,
)
from yamlflow.testing import FakeClock, run_executor

from .kinds import HelloResult, built, emitting, hello, keeping, ok, runtime, started, status, steps

# -- emitted steps ---------------------------------------------------------------------------------------------------------


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


class Model(pydantic.BaseModel):
    echoed: str


@pytest.mark.parametrize("value", [HelloResult("hi"), Model(echoed="hi"), {"echoed": "hi"}])
def test_a_result_of_any_shape_is_stored_as_json(rt: Runtime, value: Any) -> None:
    run = keeping(rt, lambda step: value)
    assert rt.result(run, "a") == {"echoed": "hi"}


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
