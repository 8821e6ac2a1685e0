"""A step that tries to leak a secret in many ways: nothing of it, raw or encoded, is found in what yamlflow keeps or prints."""

from __future__ import annotations

import base64
import json
import os
import re
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from yamlflow import Package, Permanent, Retryable, document, executor
from yamlflow.analysis import analyze
from yamlflow.cli import run as cli
from yamlflow.context import StepContext
from yamlflow.outcome import Asking, CancelStep, ContinueAsNew, Error, Failed, Signal, StartRun, Succeeded, Waiting
from yamlflow.packages import loaded
from yamlflow.ports import Limits
from yamlflow.runtime import Runtime

TOKEN = "tok/sécret+0x77 \"quoted\" & 'more'"
PIN = "90817263"
KEY = "-----BEGIN KEY-----\nMIIBVgIBADANBgkqhkiG9w0\nqqqqwwwweeeerrrr\n-----END KEY-----"
#: As an environment holds bytes that are no text.
BYTES = os.fsdecode(b"byt\xe9s-\xff-secret")
SECRETS = {"TOKEN": TOKEN, "PIN": PIN, "KEY": KEY, "BYTES": BYTES}


def encoded(secret: str) -> Iterator[bytes]:
    """The forms in which a secret travels; of each the whole, or all that does not depend on what stands around it."""
    data = os.fsencode(secret)
    yield data
    yield data.hex().encode()
    yield data.hex().upper().encode()
    yield urllib.parse.quote(data, safe="").encode()
    yield urllib.parse.quote_plus(data).encode()
    yield data.decode("utf-8", "replace").encode()
    for text in (
        json.dumps(secret),
        json.dumps(secret, ensure_ascii=False),
        repr(secret),
        repr(data).removeprefix("b"),
    ):
        yield text[1:-1].encode("utf-8", "surrogateescape")
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        for before in range(3):
            whole = encode(b"\0" * before + data).rstrip(b"=")
            yield whole[(0, 2, 3)[before] : (before + len(data)) * 8 // 6]


class Odd(Exception):
    """Says it in its notes, its causes and its arguments."""


def chained(secret: str) -> None:
    try:
        raise KeyError(secret)
    except KeyError:
        raise Odd("handled")  # noqa: B904


def in_a_group(secret: str) -> None:
    raise ExceptionGroup("several", [ValueError("x"), ExceptionGroup(secret, [OSError(5, secret, f"/x/{secret}")])])


def noted(secret: str) -> None:
    fault = Odd("noted")
    fault.add_note(f"note {secret}")
    raise fault


def caused(secret: str) -> None:
    raise Permanent("x", "caused", details={"a": 1}) from Odd(secret)


def of_a_telling_type(secret: str) -> None:
    raise type(re.sub(r"\0", "", secret), (Exception,), {})("telling")


def fail(secret: str, **said: Any) -> Any:
    raise Permanent(**{"code": "c", "message": "m", **said})


def printed(step: StepContext, text: str) -> None:
    step.ports.log.write(text, "stdout")


def split(step: StepContext, secret: str, between: str) -> None:
    for at in range(1, len(secret)):
        step.ports.log.write(secret[:at], "stdout")
        step.ports.log.write(between, "stderr")
        step.ports.log.write(f"{secret[at:]}\n", "stdout")


def to_a_file(step: StepContext, secret: str, name: str = "file.txt") -> Any:
    file = step.dir / "leak.txt"
    file.write_bytes(b"x" * 1_048_570 + os.fsencode(secret) + b"x" * 100_000)
    try:
        return step.store_artifact(name, file).to_json()
    finally:
        file.unlink()


def start(**given: Any) -> StartRun:
    return StartRun(package="secretive", **given)


SETS = {"kind": "set", "with": {"value": "${{ secrets.TOKEN }}"}}
WAYS: dict[str, Any] = {
    "result": lambda step, it: it,
    "result, nested": lambda step, it: {"a": [{"b": ("c", it)}]},
    "result, key": lambda step, it: {it: 1},
    "result, number": lambda step, it: {"n": int(it) if it.isdigit() else it},
    "result, base64": lambda step, it: base64.b64encode(b"user:" + os.fsencode(it)).decode(),
    "result, hex": lambda step, it: os.fsencode(it).hex(),
    "result, url": lambda step, it: "https://x/?q=" + urllib.parse.quote(os.fsencode(it)),
    "result, json": lambda step, it: json.dumps([it]),
    "result, repr": lambda step, it: repr([it]),
    "result, succeeded": lambda step, it: Succeeded(result=it),
    "emitted, definition": lambda step, it: step.emit("a", kind="set", with_={"value": it}) and None,
    "emitted, key": lambda step, it: step.emit(it.replace("\n", ""), kind="noop") and None,
    "emitted, scope": lambda step, it: step.emit("b", kind="noop", scope={"x": it}) and None,
    "emitted, env": lambda step, it: step.emit("c", run="true", env={"X": it}) and None,
    "emitted, expression": lambda step, it: step.emit("d", steps={"e": SETS}) and None,
    "record, data": lambda step, it: step.record("c", "k", {"x": it}),
    "record, column": lambda step, it: step.record("c", "k", {it: 1}),
    "record, key": lambda step, it: step.record("c", it.replace("\n", ""), {"x": 1}),
    "record, collection": lambda step, it: step.record(it.replace("\n", ""), "k", {"x": 1}),
    "signal, data": lambda step, it: step.signal(step.run.id, "s", {"x": it}),
    "signal, name": lambda step, it: step.signal(step.run.id, it.replace("\n", "")),
    "signal, key": lambda step, it: step.signal(step.run.id, "s", key=it),
    "signal, run": lambda step, it: step.signal(it, "s"),
    "signal, start": lambda step, it: Succeeded(signals=(Signal(run="x", name="s", start=start(run_id=it)),)),
    "artifact, bytes": lambda step, it: step.artifact("a.txt", os.fsencode(it)).to_json(),
    "artifact, json": lambda step, it: step.artifact("a.json", json={"x": it}).to_json(),
    "artifact, base64": lambda step, it: step.artifact("a.b64", base64.encodebytes(os.fsencode(it * 3))).to_json(),
    "artifact, name": lambda step, it: step.artifact(it.replace("\n", ""), "x").to_json(),
    "artifact, metadata": lambda step, it: step.artifact("b", "x", metadata={"x": it}).to_json(),
    "artifact, type": lambda step, it: step.artifact("c", "x", content_type=f"text/{it}").to_json(),
    "artifact, kind": lambda step, it: step.artifact("d", "x", kind=it).to_json(),
    "artifact, file": to_a_file,
    "artifact, failed": lambda step, it: (step.artifact("e", "x"), fail(it, message=it)),
    "log": lambda step, it: step.log(f"say {it}", level="warning"),
    "log, base64": lambda step, it: step.log(base64.encodebytes(os.fsencode(it * 9)).decode()),
    "log, split": lambda step, it: split(step, it, ""),
    "log, split with noise between": lambda step, it: split(step, it, "noise\n"),
    "log, long": lambda step, it: printed(step, "x" * (256 * 1024 - 9) + it + "x" * 300_000),
    "progress": lambda step, it: step.progress(1, 2, f"at {it}"),
    "error": lambda step, it: fail(it, message=f"bad {it}"),
    "error, code": lambda step, it: fail(it, code=it),
    "error, details": lambda step, it: fail(it, details={"a": [it], it: int(it) if it.isdigit() else 1}),
    "error, cut": lambda step, it: fail(it, message="x" * (4000 - len(it) // 2) + it + "y" * 100),
    "error, retryable": lambda step, it: (_ for _ in ()).throw(Retryable("r", it)),
    "error, plain": lambda step, it: {}[it],
    "error, chained": lambda step, it: chained(it),
    "error, caused": lambda step, it: caused(it),
    "error, group": lambda step, it: in_a_group(it),
    "error, notes": lambda step, it: noted(it),
    "error, type": lambda step, it: of_a_telling_type(it),
    "error, long traceback": lambda step, it: fail("", message="m") if not it else (_ for _ in ()).throw(Odd(it * 400)),
    "error, failed": lambda step, it: Failed(error=Error(code="c", message=it, type=it, step=it, cause={"x": it}, details=it)),
    "error, exit": lambda step, it: (_ for _ in ()).throw(SystemExit(it)),
    "error, not json": lambda step, it: {"x": {it}},
    "error, key no text": lambda step, it: {(it,): 1},
    "wait, signal": lambda step, it: Waiting(signal=it),
    "wait, result": lambda step, it: Waiting(until=1, result=int(it) if it.isdigit() else it),
    "ask": lambda step, it: Asking(prompt=it),
    "ask, form": lambda step, it: Asking(form={"title": it}),
    "start, inputs": lambda step, it: start(inputs={"x": it}),
    "start, id": lambda step, it: start(run_id=it),
    "start, name": lambda step, it: start(name=it),
    "start, metadata": lambda step, it: start(metadata={"x": it}),
    "start, package": lambda step, it: StartRun(package=it),
    "again": lambda step, it: ContinueAsNew(inputs={"x": it}),
    "cancel": lambda step, it: CancelStep(target="x", reason=it),
    "cancel, target": lambda step, it: CancelStep(target=it),
}  # fmt: skip

#: So much that the end of the output that is kept begins within what was written before.
FILL = 'head -c 65520 /dev/zero | tr "\\0" x'
#: Ways of commands; ``$S`` holds the secret.
COMMANDS = {
    "echo": 'printf "%s\\n" "$S"; printf "%s" "$S" >&2',
    "in pieces": 'printf "%.3s" "$S"; sleep 0.02; printf "%s" "${S#???}"',
    "with noise between": 'printf "%.4s" "$S"; sleep 0.05; echo noise >&2; sleep 0.05; printf "%s" "${S#????}"',
    "base64": 'printf "%s" "$S" | base64 -w 8; printf "xy%s" "$S" | base64',
    "hex": 'printf "%s" "$S" | od -An -tx1 | tr -d " \\n"',
    "failed": 'printf "%s" "$S" >&2; exit 3',
    "failed, cut": f'printf "%s" "$S" >&2; {FILL} >&2; printf "%s" "$S"; {FILL}; exit 3',
    "cut": f'printf "%s" "$S"; {FILL}; printf "%s" "$S" >&2; {FILL} >&2',
    "output": 'printf "name=%s\\n" "$S" > "$YAMLFLOW_OUTPUT"',
    "output, wrong": 'printf "%s\\n" "$S" > "$YAMLFLOW_OUTPUT"',
    "artifact": 'printf "%s" "$S" > "$YAMLFLOW_ARTIFACTS/a"',
    "artifact, name": 'cd "$YAMLFLOW_ARTIFACTS"; mkdir -p "${S%/*}"; touch "$S"',
    "no command": '"$S"',
    "environment": "env; set",
    "trace": 'set -x; true "$S"',
}

PARTS = """
yamlflow: 1
name: secretive
inputs: {x: {default: null}}
secrets: [TOKEN, PIN, KEY, BYTES]
defaults: {kill_grace: 1s}
steps:
"""


def steps_of() -> Iterator[str]:
    """A step for every way and every secret."""
    number = 0
    for name in SECRETS:
        value = f"${{{{ secrets.{name} }}}}"
        for way in WAYS:
            number += 1
            given = json.dumps({"way": way, "secret": value})
            yield f"  w{number}: {{kind: leak/way, continue_on_error: true, timeout: 20s, with: {given}}}"
        for text in COMMANDS.values() if name in ("TOKEN", "KEY") else list(COMMANDS.values())[:2]:
            number += 1
            yield f"  c{number}: {{continue_on_error: true, env: {json.dumps({'S': value})}, run: {json.dumps(text)}}}"
    value = "${{ secrets.TOKEN }}"
    for call in (
        {"kind": "shell", "with": {"run": [value, "x"]}},
        {"kind": "shell", "with": {"run": "cat", "stdin": value, "parse": "json"}},
        {"kind": "shell", "with": {"run": "pwd", "cwd": value}},
        {"kind": "python", "with": {"code": "raise ValueError(x * 300)", "args": {"x": value}}},
        {"kind": "python", "with": {"code": "return [x]", "args": {"x": value}}},
        {"kind": "python", "with": {"code": "import sys, os\nprint(x)\nos._exit(3)", "args": {"x": value}}},
        {"kind": "python", "with": {"code": "raise ValueError(x)", "args": {"x": value}, "in_process": True}},
        {"kind": "http", "with": {"url": f"http://127.0.0.1:9/{value}", "headers": {"Authorization": value}}},
        {"kind": "http", "with": {"url": value}},
        {"kind": "http", "with": {"url": "http://127.0.0.1:9/", "headers": {value: "x"}}},
        {"kind": "http", "with": {"url": "http://127.0.0.1:9/", "proxy": value}},
        {"kind": "http", "with": {"url": "http://127.0.0.1:9/", "timeout": value}},
        {"kind": "http", "with": {"url": "http://127.0.0.1:9/", "method": value}},
        {"kind": "file", "with": {"read": value}},
        {"kind": "file", "with": {"write": "x.json", "data": value, "format": value}},
        {"kind": "sql", "with": {"sql": "select ? as x", "params": [value]}},
        {"kind": "sql", "with": {"sql": "select 1", "database": f"no/{value}/x.db"}},
        {"kind": "sql", "with": {"sql": "select x", "params": {value: 1}}},
        {"kind": "template", "with": {"text": "{{ secrets.TOKEN }}"}},
        {"kind": "shell", "with": {"run": "true", "stdin": "${{ secrets.TOKEN | int / 0 }}"}},
        {"kind": "shell", "with": {"run": "true", "stdin": "${{ secrets.TOKEN.nothing.at.all }}"}},
    ):
        number += 1
        yield f"  k{number}: {json.dumps({**call, 'continue_on_error': True})}"


@executor("leak/way", schema={"type": "object"})
def leak(step: StepContext) -> Any:
    return WAYS[step.input["way"]](step, step.input["secret"])


def test_nothing_of_a_secret_is_kept_or_printed_however_a_step_leaks_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    limits = Limits(result=4 * 1024 * 1024)
    text = PARTS + "\n".join(steps_of())
    (tmp_path / "secretive.yaml").write_text(text)
    state = tmp_path / ".yamlflow"
    with Runtime(f"sqlite:///{state}/yamlflow.db", max_workers=8, limits=limits) as runtime:
        runtime.register(leak)
        run = runtime.start(Package.load("secretive.yaml"))
        until = time.monotonic() + 120
        runtime.run_workers(lambda: settled(runtime) or time.monotonic() > until)
        rows = runtime.store.tree(1)
        assert settled(runtime), [row.path for row in rows if row.ended_at is None]
        # While the store is open, so that the journal is there too.
        found = list(leaks(state))
    assert found == []
    codes = {row.path: json.loads(row.error or "{}").get("code", row.status) for row in rows}
    steps = dict(zip(WAYS, (f"w{number}" for number in range(1, len(WAYS) + 1)), strict=True))
    refused = {way for way, path in steps.items() if codes[path] == "secret_in_result"}
    told = {way for way in WAYS if way.startswith(("log", "progress", "error"))}
    assert refused == WAYS.keys() - told - {"artifact, failed"}
    assert codes[f"{steps['emitted, expression']}/d/e"] == "secret_in_result"
    assert all(codes[steps[way]] == "succeeded" for way in told if not way.startswith("error"))
    said = "".join(file.read_text() for file in state.rglob("*.log"))
    assert said.count("***") > 100
    capfd.readouterr()
    for command in (
        ["show", run.id, "--json"],
        ["show", run.id],
        ["events", run.id, "--json"],
        ["logs", run.id],
        ["runs", "--json"],
    ):
        cli(command)
        out, err = capfd.readouterr()
        printed_ = (out + err).encode("utf-8", "surrogateescape")
        assert [form for form in forms() if form in printed_] == [], command


def settled(runtime: Runtime) -> bool:
    """Whether nothing more will happen: what waits for a signal or a person was let in by its way, and waits for ever."""
    return all(row.ended_at is not None or not row.path for row in runtime.store.tree(1))


def forms() -> list[bytes]:
    """All forms, and the pieces that a cut could leave."""
    every = [form for secret in SECRETS.values() for form in encoded(secret)]
    ends = [os.fsencode(TOKEN)[:12], os.fsencode(TOKEN)[-12:]]
    pieces = [*ends, b" & 'more'", b"secr\xc3\xa9t", b"MIIBVgIBADANBg", b"qqqqwwwweeee"]
    return [*every, *pieces]


def leaks(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Files that hold a secret, or are named by one."""
    for file in folder.rglob("*"):
        content = file.read_bytes() if file.is_file() else b""
        for form in forms():
            if form in content or form in os.fsencode(str(file.relative_to(folder))):
                yield str(file.relative_to(folder)), form


PLACES = {
    "run_name": "run_name: ${{ secrets.TOKEN }}\nsteps: {a: {kind: noop}}",
    "outputs": "outputs: {x: '${{ secrets.TOKEN }}'}\nsteps: {a: {kind: noop}}",
    "if": "steps: {a: {kind: noop, if: secrets.TOKEN == 'x'}}",
    "for_each": "steps: {a: {kind: noop, for_each: '${{ [secrets.TOKEN] }}'}}",
    "matrix": "steps: {a: {kind: noop, matrix: {x: ['${{ secrets.TOKEN }}']}}}",
    "until": "steps: {a: {kind: noop, repeat: {until: secrets.TOKEN == 'x', every: 1s}}}",
    "locks": "steps: {a: {run: 'true', locks: ['${{ secrets.TOKEN }}']}}",
    "dedup_key": "steps: {a: {run: 'true', dedup_key: '${{ secrets.TOKEN }}'}}",
    "cache": "steps: {a: {run: 'true', cache: {key: '${{ secrets.TOKEN }}'}}}",
    "artifacts": "steps: {a: {run: 'true', artifacts: {x: '${{ secrets.TOKEN }}'}}}",
    "timeout": "steps: {a: {run: 'true', timeout: '${{ secrets.TOKEN }}'}}",
    "concurrency": "concurrency: {key: '${{ secrets.TOKEN }}'}\nsteps: {a: {kind: noop}}",
    "group outputs": "steps: {g: {outputs: {x: '${{ secrets.TOKEN }}'}, steps: {a: {kind: noop}}}}",
    "child input": "steps: {a: {kind: workflow, with: {package: p, inputs: {x: '${{ secrets.TOKEN }}'}}}}",
    "successor": "steps: {a: {kind: continue_as_new, with: {inputs: {x: '${{ secrets.TOKEN }}'}}}}",
    "signal": "steps: {a: {kind: wait_signal, with: {signal: '${{ secrets.TOKEN }}'}}}",
    "prompt": "steps: {a: {kind: approval, with: {prompt: '${{ secrets.TOKEN }}'}}}",
    "kind of steps": "kinds: {k: {inputs: {x: {}}, steps: {b: {kind: noop}}}}\n"
    "steps: {a: {kind: k, with: {x: '${{ secrets.TOKEN }}'}}}",
    "by env": "env: {X: '${{ secrets.TOKEN }}'}\nsteps: {a: {kind: noop, if: env.X == 'x'}}",
    "by env, in a child": "env: {X: '${{ secrets.TOKEN }}'}\n"
    "steps: {a: {kind: workflow, with: {package: p, inputs: {x: '${{ env.X }}'}}}}",
    "all of them": "steps: {a: {run: env, env: {X: '${{ secrets }}'}}}",
}


@pytest.mark.parametrize("place", PLACES)
def test_a_secret_is_refused_wherever_what_is_rendered_is_stored(place: str) -> None:
    read = document.read(f"yamlflow: 1\nname: x\nsecrets: [TOKEN]\n{PLACES[place]}\n", file="x.yaml")
    problems = [str(problem) for problem in document.check(read)]
    if not problems:
        with Runtime() as runtime:
            found = analyze(
                loaded(read).package, executors=runtime.plugins.executors, expressions=runtime.bench.expressions
            )
        problems = [problem.message for problem in found if not problem.warning]
    assert any("secret" in problem for problem in problems), problems
