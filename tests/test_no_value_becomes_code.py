"""Values reach processes byte for byte and are never read as code; secrets stay out of everything that is kept."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from yamlflow import document
from yamlflow.analysis import analyze
from yamlflow.packages import loaded
from yamlflow.runtime import Runtime

PACKAGE = """
yamlflow: 1
name: bytes
inputs: {values: {type: array}}
steps:
  env:
    for_each: ${{ inputs.values }}
    env: {VALUE: "${{ item }}"}
    run: printf %s "$VALUE"
  list:
    for_each: ${{ inputs.values }}
    run: [printf, "%s", "${{ item }}"]
  stdin:
    for_each: ${{ inputs.values }}
    run: cat
    with: {stdin: "${{ item }}"}
outputs:
  env: ${{ steps.env.result | map(attribute='stdout') | list }}
  list: ${{ steps.list.result | map(attribute='stdout') | list }}
  stdin: ${{ steps.stdin.result | map(attribute='stdout') | list }}
"""
NASTY = [
    "$(touch pwned)", "`touch pwned`", "; touch pwned;", "' ; touch pwned ; '", '" ; touch pwned ; "', "\\", "\\\\n", "a\nb\n",
    "\n", "\t", "", " ", "  a  ", "-n", "--help", "%s%s%n", "*", "~", "${HOME}", "$VALUE", "!!", "é", "日本", "\U0001f600",
    "${{ inputs.values }}", "{{ 7*7 }}", "{% raw %}", "\r\n", "\x01\x7f", "&& touch pwned", "| touch pwned", "\u202e", "a" * 5000,
]  # fmt: skip


def play(folder: Path, text: str, inputs: dict[str, Any], **more: Any) -> tuple[str, Any, Runtime]:
    """Run a package to its end with threads and processes as usual."""
    runtime = Runtime(f"sqlite:///{folder}/state/y.db", max_workers=4, **more)
    run = runtime.start(loaded(document.read(text)), inputs)
    runtime.run_workers(lambda: (row := runtime.run(run.id)) is not None and row.ended_at is not None)
    row = runtime.run(run.id)
    assert row is not None
    return row.status, runtime.result(run.id), runtime


def check_values(folder: Path, values: list[str]) -> None:
    status, result, runtime = play(folder, PACKAGE, {"values": values})
    with runtime:
        assert status == "succeeded"
        assert result == {"env": values, "list": values, "stdin": values}
        assert not list(folder.rglob("pwned"))


def test_nasty_values_reach_processes_byte_for_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    check_values(tmp_path, NASTY)


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)


@settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(texts, min_size=6, max_size=12))
def test_any_text_reaches_processes_byte_for_byte(tmp_path_factory: pytest.TempPathFactory, values: list[str]) -> None:
    check_values(tmp_path_factory.mktemp("any"), values)


def test_an_expression_in_run_text_is_refused_with_a_remedy_to_paste(tmp_path: Path) -> None:
    text = "yamlflow: 1\nname: x\ninputs: {pages: {type: integer}}\nsteps:\n  a: {run: 'echo ${{ inputs.pages }}'}\n"
    read = document.read(text, file="x.yaml")
    problems = [str(problem) for problem in document.check(read)]
    if not problems:
        package = loaded(read).package
        with Runtime() as runtime:
            found = analyze(package, executors=runtime.plugins.executors, expressions=runtime.bench.expressions)
            problems = [str(read.locate(problem)) for problem in found]
    assert any('env: {PAGES: "${{ inputs.pages }}"}' in problem and '"$PAGES"' in problem for problem in problems)


@pytest.mark.parametrize("size", [131_071, 131_072, 3_000_000])
def test_a_value_too_large_for_the_environment_points_to_stdin(tmp_path: Path, size: int) -> None:
    text = (
        "yamlflow: 1\nname: x\ninputs: {v: {type: string}}\nsteps:\n  a: {run: 'true', env: {V: '${{ inputs.v }}'}}\n"
    )
    runtime = Runtime(f"sqlite:///{tmp_path}/y.db")
    with runtime:
        run = runtime.start(loaded(document.read(text)), {"v": "x" * size})
        runtime.run_workers(lambda: (row := runtime.run(run.id)) is not None and row.ended_at is not None)
        row = runtime.step(run.id, "a")
        assert row is not None
        assert row.error is not None
        error = json.loads(row.error)
    assert error["code"] == "bad_input"
    assert "stdin:" in error["message"]


SECRET = "s3cr3t/+värde & more"
SECRETIVE = """
yamlflow: 1
name: secretive
secrets: [TOKEN]
steps:
  tell:
    env: {TOKEN: "${{ secrets.TOKEN }}"}
    run: |
      echo "raw $TOKEN"; printf %s "$TOKEN" | base64; printf %s "$TOKEN" | base64 >&2
      for part in 1 2 3; do printf %s "$TOKEN"; sleep 0.01; done
    continue_on_error: true
  fail:
    env: {TOKEN: "${{ secrets.TOKEN }}"}
    run: echo "$TOKEN" >&2; exit 3
    continue_on_error: true
  result:
    env: {TOKEN: "${{ secrets.TOKEN }}"}
    run: printf '{"it":"%s"}' "$TOKEN"
    with: {parse: json}
    continue_on_error: true
"""


def test_a_secret_appears_nowhere_in_what_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", SECRET)
    status, _, runtime = play(tmp_path, SECRETIVE, {})
    with runtime:
        results = {row.path: row for row in runtime.store.tree(1)}
    assert status == "succeeded", {path: row.error for path, row in results.items()}
    codes = {path: json.loads(row.error or "{}").get("code") for path, row in results.items() if path}
    assert codes == {"tell": "secret_in_result", "fail": "exit_status", "result": "secret_in_result"}
    forms = [SECRET, base64.b64encode(SECRET.encode()).decode(), quote(SECRET, safe=""), json.dumps(SECRET)[1:-1]]
    kept = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert any("logs" in str(file) for file in kept)
    for file in kept:
        content = file.read_bytes()
        for form in forms:
            assert form.encode() not in content, (file, form)


def test_the_environment_of_a_step_holds_only_what_is_declared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNASKED_FOR", "leak")
    monkeypatch.setenv("ASKED_FOR", "passed")
    text = (
        "yamlflow: 1\nname: x\npass_env: [ASKED_*]\nsteps:\n  a: {run: env}\noutputs: '${{ steps.a.result.stdout }}'\n"
    )
    status, result, runtime = play(tmp_path, text, {})
    with runtime:
        names = {line.partition("=")[0] for line in result.splitlines()}
    assert status == "succeeded"
    assert "ASKED_FOR" in names
    assert "UNASKED_FOR" not in names
    assert names <= set(os.environ) | {name for name in names if name.startswith("YAMLFLOW_")} | {
        "PWD",
        "SHLVL",
        "_",
        "OLDPWD",
    }
