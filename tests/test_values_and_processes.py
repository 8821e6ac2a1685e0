"""Whatever a value holds, a process gets it byte for byte, in every place where the language lets a value reach one."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from yamlflow import Succeeded, document, executor
from yamlflow.analysis import analyze
from yamlflow.context import RunInfo, StepInfo
from yamlflow.executors.python import python
from yamlflow.executors.shell import shell
from yamlflow.outcome import Failed
from yamlflow.packages import loaded
from yamlflow.runtime import Runtime
from yamlflow.testing import run_executor

CODE = [
    "$(touch pwned)", "`touch pwned`", "; touch pwned;", "' ; touch pwned ; '", '" ; touch pwned ; "', "\n touch pwned \n",
    "&& touch pwned", "| touch pwned", "> pwned", "<(touch pwned)", "${x:=$(touch pwned)}", "$((x[$(touch pwned)]))",
    "() { :;}; touch pwned", "\r\ntouch pwned\r\n", "EOF\ntouch pwned\n", "x[$(touch pwned)]", "\\$(touch pwned)", "\\\n",
    "-e", "-c", "--", "-n", "-p", "--help", "-eo", "+x", "-v PWNED", "%n%s%d%b%q%(%s)T", "*", "?", "[a-z]", "~", "~root",
    "{a,b}",
    "!!", "!$", "#x", "a=b", "IFS=x", "PATH=", " ", "  a  b  ", "\t", "\n", "\n\n", "a\n",
    "", "'", '"', "\\", "\\\\", "\\n", "\\0",
    "\x01", "\x7f", "\x80", "\xff", "\x1b[2J", "é", "e\u0301", "日本", "\U0001f600",
    "\U0001f468\u200d\U0001f469", "\u202eabc\u2066", "\ufeff",
    "\u2028", "\udcff\udc80", "${{ inputs.values }}", "{{ 7*7 }}", "{% raw %}", "null", "[1]", "x" * 3000,
]  # fmt: skip
#: Any text but NUL; bytes that are no text are written as Python has them.
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)
BYTES = st.binary(max_size=30).map(lambda data: os.fsdecode(data.replace(b"\0", b"")))
PIECES = st.lists(
    st.sampled_from([*"'\"`$\\;&|<>(){}[]*?~!#-= \n\t\r", "$(touch pwned)", "-e", "EOF"]), max_size=12
).map("".join)
MANY = st.lists(TEXTS | BYTES | PIECES, min_size=100, max_size=150)
property_test = settings(max_examples=3, deadline=None, suppress_health_check=list(HealthCheck))


def ran(folder: Path, what: Any, given: dict[str, Any], **more: Any) -> Any:
    """The result, in a folder where nothing but what is expected may come to be."""
    outcome = run_executor(what, given, scratch=folder, **more)
    assert isinstance(outcome, Succeeded), outcome
    assert not list(folder.rglob("pwned"))
    return outcome


def kept(outcome: Succeeded) -> list[str]:
    """The values that a command wrote to its one artifact, each with a NUL behind it."""
    assert outcome.artifacts[0].uri
    return [os.fsdecode(value) for value in Path(outcome.artifacts[0].uri).read_bytes().split(b"\0")[:-1]]


def by_env(folder: Path, values: list[str], **given: Any) -> list[str]:
    names = [f"V{number}" for number in range(len(values))]
    text = "printf '%s\\0' " + " ".join(f'"${name}"' for name in names) + ' > "$YAMLFLOW_ARTIFACTS/out"'
    env = {"PATH": os.environ["PATH"], **dict(zip(names, values, strict=True))}
    return kept(ran(folder, shell, {"run": text, **given}, env=env))


def by_list(folder: Path, values: list[str]) -> list[str]:
    text = 'printf "%s\\0" "$@" > "$YAMLFLOW_ARTIFACTS/out"'
    return kept(ran(folder, shell, {"run": ["sh", "-c", text, "sh", *values]}, env={"PATH": os.environ["PATH"]}))


def by_stdin(folder: Path, values: list[str]) -> list[str]:
    text = "".join(f"{value}\0" for value in values)
    return kept(ran(folder, shell, {"run": 'cat > "$YAMLFLOW_ARTIFACTS/out"', "stdin": text}, env={}))


def by_arguments(folder: Path, values: list[str]) -> list[str]:
    code = "import json\nopen(out, 'w').write(json.dumps([*values, *names, *globals()['extra']]))"
    out = folder / "values.json"
    args = {"out": str(out), "values": values, "names": {}, "extra": []}
    ran(folder, python, {"code": code, "args": args})
    found: list[str] = json.loads(out.read_text())
    return found


WAYS: dict[str, Callable[[Path, list[str]], list[str]]] = {
    "env, sh": by_env,
    "env, bash": lambda folder, values: by_env(folder, values, shell="bash"),
    "list": by_list,
    "stdin": by_stdin,
    "arguments of python": by_arguments,
}


@pytest.mark.parametrize("way", WAYS)
def test_what_looks_like_code_reaches_a_process_as_it_is(tmp_path: Path, way: str) -> None:
    assert WAYS[way](tmp_path, CODE) == CODE


@pytest.mark.parametrize("way", WAYS)
@property_test
@given(values=MANY)
def test_any_value_reaches_a_process_byte_for_byte(
    tmp_path_factory: pytest.TempPathFactory, way: str, values: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("any")
    assert WAYS[way](folder, values) == values
    shutil.rmtree(folder)


NAMES = [name for name in CODE if name.strip(" ./\t") and len(name) < 200 and "/" not in name and "\n" not in name]


def test_folders_and_files_may_be_named_as_they_like(tmp_path: Path) -> None:
    text = 'basename -z -- "$PWD" > "$YAMLFLOW_ARTIFACTS/out"'
    for name in NAMES[::4]:
        (tmp_path / "x" / name).mkdir(parents=True)
        assert kept(ran(tmp_path, shell, {"run": text, "cwd": f"x/{name}"}, env={"PATH": os.environ["PATH"]})) == [name]
    texts = [name for name in NAMES if name.isprintable()]
    script = "".join(f'touch "$YAMLFLOW_ARTIFACTS/$V{number}"\n' for number in range(len(texts)))
    env = {"PATH": os.environ["PATH"], **{f"V{number}": name for number, name in enumerate(texts)}}
    found = ran(tmp_path, shell, {"run": script}, env=env)
    assert {artifact.name for artifact in found.artifacts} == set(texts)


def test_what_names_a_step_or_a_run_is_a_value_too(tmp_path: Path) -> None:
    text = 'printf "%s\\0" "$YAMLFLOW_RUN_ID" "$YAMLFLOW_STEP" > "$YAMLFLOW_ARTIFACTS/out"'
    for name in NAMES[::3]:
        step, run = StepInfo(path=f"each[{name}]", kind="shell"), RunInfo(id=name)
        assert kept(ran(tmp_path, shell, {"run": text}, step=step, run=run)) == [name, f"each[{name}]"]


def test_an_output_is_read_as_data_whatever_it_holds(tmp_path: Path) -> None:
    values = [value for value in CODE if value.isprintable()]
    text = "".join(f'printf "V{number}=%s\\n" "$V{number}"\n' for number in range(len(values)))
    env = {f"V{number}": value for number, value in enumerate(values)}
    found = ran(tmp_path, shell, {"run": f'{{ {text} }} > "$YAMLFLOW_OUTPUT"'}, env=env)
    assert found.result == env


@pytest.mark.parametrize(
    ("value", "words"), [("a\0b", "NUL"), ("\ud800", "half a surrogate pair"), ("x\udfff", "half a surrogate pair")]
)
def test_a_value_that_no_program_can_be_given_is_refused_for_good(tmp_path: Path, value: str, words: str) -> None:
    ways: list[tuple[dict[str, Any], dict[str, str]]] = [
        ({"run": ["true", value]}, {}), ({"run": "true"}, {"V": value}), ({"run": "true"}, {f"V{value}": "x"}),
        ({"run": [value]}, {}), ({"run": "true", "cwd": value}, {}),
    ]  # fmt: skip
    if value != "a\0b":
        ways.append(({"run": "true", "stdin": value}, {}))
    for given_, env in ways:
        outcome = run_executor(shell, given_, env=env, scratch=tmp_path)
        assert isinstance(outcome, Failed)
        assert (outcome.error.code, outcome.error.permanent) == ("bad_input", True), outcome
        assert words in outcome.error.message or "cwd" in given_


# What is refused, so that no value ever stands in a text that is read as code.

REFUSED = {
    "plain": "steps: {a: {run: 'echo ${{ inputs.v }}'}}",
    "whole": "steps: {a: {run: '${{ inputs.v }}'}}",
    "heredoc": "steps:\n  a:\n    run: |\n      cat <<'EOF'\n      ${{ inputs.v }}\n      EOF",
    "folded": "steps:\n  a:\n    run: >-\n      echo\n      ${{\n      inputs.v }}",
    "escaped": 'steps: {a: {run: "echo $\\x7b{ inputs.v }}"}}',
    "anchor": "x-t: &t 'echo ${{ inputs.v }}'\nsteps: {a: {run: *t}}",
    "merged": "x-t: &t {run: 'echo ${{ inputs.v }}'}\nsteps: {a: {<<: *t}}",
    "with": "steps: {a: {kind: shell, with: {run: 'echo ${{ inputs.v }}'}}}",
    "bash": "steps: {a: {kind: shell, with: {shell: bash, run: 'echo ${{ inputs.v }}'}}}",
    "whole with": "steps: {a: {kind: shell, with: '${{ inputs.o }}'}}",
    "whole with, python": "steps: {a: {kind: python, with: '${{ inputs.o }}'}}",
    "whole with, sql": "steps: {a: {kind: sql, with: '${{ inputs.o }}'}}",
    "code": "steps: {a: {kind: python, with: {code: 'x = ${{ inputs.v }}'}}}",
    "call": "steps: {a: {kind: python, with: {call: '${{ inputs.v }}'}}}",
    "sql": "steps: {a: {kind: sql, with: {sql: 'select ${{ inputs.v }}'}}}",
    "sql, whole": "steps: {a: {kind: sql, with: {sql: '${{ inputs.l }}'}}}",
    "sql, list": "steps: {a: {kind: sql, with: {sql: ['select 1', 'select ${{ inputs.v }}']}}}",
    "sql, statement": "steps: {a: {kind: sql, with: {sql: [{sql: 'select ${{ inputs.v }}', params: [1]}]}}}",
    "template": "steps: {a: {kind: template, with: {text: '${{ inputs.v }}'}}}",
    "kinds": "kinds: {k: {inputs: {v: {}}, steps: {b: {run: 'echo ${{ inputs.v }}'}}}}\nsteps: {a: {kind: k, with: {v: 1}}}",
    "kinds, with": "kinds: {k: {inputs: {v: {}}, steps: [{kind: shell, with: {run: '${{ inputs.v }}'}}]}}\nsteps: {a: {kind: k}}",
    "finally": "steps: {a: {kind: noop}}\nfinally: [{run: 'echo ${{ inputs.v }}'}]",
    "on_failure": "steps: {a: {kind: noop}}\non_failure: [{run: 'echo ${{ error.message }}'}]",
    "on_cancel": "steps: {a: {kind: noop}}\non_cancel: [{kind: shell, with: {run: 'echo ${{ inputs.v }}'}}]",
    "undo": "steps: {a: {kind: noop, undo: {run: 'echo ${{ inputs.v }}'}}}",
    "for_each": "steps: {a: {for_each: '${{ inputs.l }}', run: 'echo ${{ item }}'}}",
    "name of a variable": "steps: {a: {run: env, env: {'${{ inputs.v }}': x}}}",
    "env": "steps: {a: {run: env, env: '${{ inputs.o }}'}}",
    "kind": "steps: {a: {kind: '${{ inputs.v }}'}}",
    "a plugin's code": "steps: {a: {kind: any/code, with: {script: 'x ${{ inputs.v }}'}}}",
}


@executor("any/code", schema={"type": "object"}, code=["script"])
def any_code(step: Any) -> None: ...


@pytest.mark.parametrize("form", REFUSED)
def test_an_expression_in_a_text_that_is_read_as_code_is_refused(form: str) -> None:
    text = f"yamlflow: 1\nname: x\ninputs: {{v: {{type: string}}, l: {{type: array}}, o: {{type: object}}}}\n{REFUSED[form]}\n"
    read = document.read(text, file="x.yaml")
    problems = list(document.check(read))
    if not problems:
        with Runtime() as runtime:
            runtime.register(any_code)
            bench = runtime.bench
            found = analyze(loaded(read).package, executors=bench.plugins.executors, expressions=bench.expressions)
        problems = [problem for problem in found if not problem.warning]
    assert problems
    assert any("becomes code" in p.message or "env" in p.pointer or "kind" in p.pointer for p in problems), problems


def test_what_a_plugin_emits_is_refused_just_so(tmp_path: Path) -> None:
    given_ = {"run": f"touch {tmp_path}/pwned"}

    @executor("emit/whole")
    def whole(step: Any) -> None:
        step.emit("g", steps={"a": {"kind": "shell", "with": "${{ evil }}"}}, scope={"evil": given_})

    @executor("emit/text")
    def text(step: Any) -> None:
        step.emit("g", steps={"a": {"kind": "shell", "with": {"run": "${{ evil }}"}}}, scope={"evil": given_["run"]})

    @executor("emit/sql")
    def sql(step: Any) -> None:
        step.emit(
            "g", steps={"a": {"kind": "sql", "with": {"sql": [{"sql": "${{ evil }}"}]}}}, scope={"evil": "select 1"}
        )

    steps = "".join(f"  {name}: {{kind: emit/{name}, continue_on_error: true}}\n" for name in ("whole", "text", "sql"))
    with Runtime(f"sqlite:///{tmp_path}/y.db", max_workers=2) as runtime:
        for each in (whole, text, sql):
            runtime.register(each)
        run = runtime.start(loaded(document.read(f"yamlflow: 1\nname: x\nsteps:\n{steps}")))
        runtime.run_workers(lambda: (row := runtime.run(run.id)) is not None and row.ended_at is not None)
        errors = {row.path: json.loads(row.error or "{}") for row in runtime.store.tree(1)}
    for name in ("whole", "text", "sql"):
        error = errors[f"{name}/g/a"] or errors[name]
        assert error["permanent"], errors
        assert "becomes code" in error["message"], errors
    assert not (tmp_path / "pwned").exists()


# The environment.

ENVIRONMENT = """
yamlflow: 1
name: environment
pass_env: [ASKED_*]
secrets: [TOKEN]
steps:
  shell: {run: env > "$YAMLFLOW_ARTIFACTS/env"}
  bash: {run: env > "$YAMLFLOW_ARTIFACTS/env", with: {shell: bash}}
  list: {run: [sh, -c, 'env > "$YAMLFLOW_ARTIFACTS/env"']}
  call:
    kind: python
    with: {code: "import os\\nopen(os.environ['YAMLFLOW_ARTIFACTS'] + '/env', 'w').write(repr(dict(os.environ)))"}
  given: {run: env > "$YAMLFLOW_ARTIFACTS/env", env: {MORE: "yes"}}
"""


def test_a_process_sees_of_the_workers_environment_only_what_is_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (
        "UNASKED",
        "AWS_SECRET_ACCESS_KEY",
        "TOKEN",
        "HTTP_PROXY",
        "LD_LIBRARY_PATH",
        "PYTHONPATH",
        "BASH_ENV",
        "ENV",
    ):
        monkeypatch.setenv(name, "unasked for")
    monkeypatch.setenv("ASKED_FOR", "passed on")
    (tmp_path / ".env").write_text("DOTENV=unasked for\n")
    with Runtime(f"sqlite:///{tmp_path}/y.db", max_workers=4) as runtime:
        run = runtime.start(loaded(document.read(ENVIRONMENT)))
        runtime.run_workers(lambda: (row := runtime.run(run.id)) is not None and row.ended_at is not None)
        found = {row.step: Path(row.uri).read_text() for row in runtime.store.artifacts(1)}
    assert len(found) == 5
    for text in found.values():
        assert "unasked for" not in text
        assert "passed on" in text


def test_what_a_process_of_ours_is_given_beside_is_known(tmp_path: Path) -> None:
    """The names that yamlflow adds; a shell adds ``PWD``, ``SHLVL``, ``OLDPWD`` and ``_``."""
    outcome = ran(tmp_path, shell, {"run": ["/usr/bin/env"]}, env={})
    names = {line.partition("=")[0] for line in outcome.result["stdout"].splitlines()}
    assert names == {
        f"YAMLFLOW_{name}" for name in ("RUN_ID", "STEP", "ATTEMPT", "DIR", "OUTPUT", "ARTIFACTS", "COMMAND")
    }


def test_the_guard_of_processes_is_given_no_environment_at_all() -> None:
    from yamlflow.guard import Guard

    guard = Guard()
    guard.track(2**30)
    try:
        process = guard._process
        assert process is not None
        assert Path(f"/proc/{process.pid}/environ").read_bytes() == b""
    finally:
        guard.close()
