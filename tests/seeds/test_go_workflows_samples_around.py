"""The samples of go-workflows (section 1.22) on what is around the work: propagation, converters, processes, looking on."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from yamlflow import (
    Client,
    FileArtifacts,
    Package,
    RunBuilder,
    Serializer,
    StepContext,
    executor,
)
from yamlflow.clock import HOUR
from yamlflow.rows import EventRow

from ..conftest import ROOT
from ..crash.processes import Project
from .samples import forms, play, sample

# -- context-propagation, converter, workflow-info -----------------------------------------------------------------


def build_greeting(run: RunBuilder) -> None:
    run.step("say", kind="set", input={"value": f"hello {run.context['tenant']}"})
    run.step("see", kind="sees")


@forms(
    "context: [tenant]\nsteps: {say: {kind: set, with: {value: 'hello ${{ context.tenant }}'}}, see: {kind: sees}}",
    build_greeting,
    context=["tenant"],
)
def test_sample_context_propagation(one: Package) -> None:
    @executor("sees")
    def sees(step: StepContext) -> Any:
        return step.context["tenant"]

    with sample() as rt:
        rt.register(sees)
        run = rt.start(one, context={"tenant": "acme"})
        rt.run_until_idle()
        assert (rt.result(run.id, "say"), rt.result(run.id, "see")) == ("hello acme", "acme")


def test_sample_converter() -> None:
    @executor("shift")
    def shift(input: dict) -> complex:  # type: ignore[type-arg]
        shifted: complex = input["z"] + 1j
        return shifted

    numbers = Serializer(
        "complex", complex, to_json=lambda z: [z.real, z.imag], from_json=lambda parts: complex(*parts)
    )
    steps = {"a": {"kind": "shift", "with": {"z": "${{ inputs.z }}"}}}
    with sample(serializers=[numbers]) as rt:
        rt.register(shift)
        run = rt.start(Package("p", inputs={"z": {}}, steps=steps), {"z": 2 + 3j})
        rt.run_once()
        assert rt.result(run.id, "a") == 2 + 4j


def test_sample_workflow_info() -> None:
    info = {"kind": "set", "with": {"value": {"id": "${{ run.id }}", "events": "${{ run.event_count }}"}}}
    with sample() as rt:
        run = rt.start(Package("p", steps=[info, info]), run_id="me")
        play(rt, run.id)
        first, second = rt.result("me", "_1"), rt.result("me", "_2")
        assert first["id"] == "me"
        assert 0 < first["events"] < second["events"]


# -- orchestrator, simple-split-worker, runner ---------------------------------------------------------------------


def test_sample_orchestrator() -> None:
    with sample(clock=None) as rt:
        working = threading.Thread(target=rt.run_workers)
        working.start()
        run = rt.start(Package("p", steps={"sum": {"kind": "math/add", "with": {"a": 1, "b": 2}}}))
        assert rt.wait(run.id, 20).status == "succeeded"
        rt.stop()
        working.join()
        assert rt.result(run.id, "sum") == 3


WORKER = """
import sys
from yamlflow import Runtime, executor

@executor("math/add")
def add(a: int, b: int) -> int:
    return a + b

with Runtime(sys.argv[1], max_workers=2) as rt:
    rt.register(add)
    print("ready", flush=True)
    rt.run_workers(lambda: rt.statistics().runs.get("succeeded", 0) == 2)
"""


def test_sample_simple_split_worker(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/y.db"
    worker = subprocess.Popen([sys.executable, "-c", WORKER, url], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert worker.stdout is not None
    assert worker.stdout.readline() == "ready\n"
    with Client(url) as client:
        for n in range(2):
            run = client.start(Package("p", steps={"sum": {"kind": "math/add", "with": {"a": n, "b": n}}}))
            assert client.wait(run.id, 30).status == "succeeded"
            assert client.result(run.id, "sum") == 2 * n
    assert worker.wait(timeout=30) == 0
    worker.stdout.close()


def test_sample_runner(tmp_path: Path) -> None:
    """The samples' own runner is ``yamlflow run``."""
    project = Project(
        tmp_path, "yamlflow: 1\nname: p\nsteps: {a: {run: echo hello}}\noutputs: '${{ steps.a.result.stdout }}'\n"
    )
    done = project.call("run", "package.yaml", "-q")
    assert (done.returncode, done.stdout) == (0, "hello\n")


# -- tracing, web: what there is until they come -------------------------------------------------------------------


def test_sample_tracing_every_event_is_told_to_whoever_listens_with_its_time() -> None:
    """Spans of OpenTelemetry are still to come; all they would say is in the events."""
    told: list[EventRow] = []
    with sample(on_event=told.append) as rt:
        run = rt.start(Package("p", steps={"nap": {"kind": "sleep", "with": {"for": "1h"}}}))
        play(rt, run.id)
        times = {event.kind: event.at - run.created_at for event in told if event.step == "nap"}
    assert (times["step.leased"], times["step.woken"], times["step.succeeded"]) == (0, HOUR, HOUR)


def test_sample_web_all_that_a_page_would_show_can_be_read(tmp_path: Path) -> None:
    """The pages are still to come; the command line shows the same."""
    project = Project(tmp_path, "yamlflow: 1\nname: p\nsteps: {a: {run: echo hello}, b: {needs: a, run: exit 3}}\n")
    assert project.call("run", "package.yaml", "--run-id", "r", "-q").returncode == 1
    runs = json.loads(project.call("runs", "--json").stdout)
    assert [(run["id"], run["status"], run["package"]) for run in runs] == [("r", "failed", "p")]
    shown = project.call("show", "r").stdout
    assert "exit_status" in shown
    graph = project.call("graph", "r").stdout
    assert "a" in graph
    assert "b" in graph


def test_sample_artifacts_go_where_the_program_says(tmp_path: Path) -> None:
    @executor("keeps")
    def keeps(step: StepContext) -> None:
        step.artifact("note.txt", text="kept")

    with sample(artifacts=FileArtifacts(tmp_path / "kept")) as rt:
        rt.register(keeps)
        run = rt.start(Package("p", steps={"a": {"kind": "keeps"}}))
        rt.run_once()
        assert [kept.name for kept in rt.artifacts(run.id)] == ["note.txt"]
        assert [file.read_text() for file in (tmp_path / "kept").rglob("*note*") if file.is_file()] == ["kept"]
