"""``shell``: real processes, and that they are gone."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from yamlflow import StepContext, Succeeded
from yamlflow.context import LeaseInfo, Limits, Ports, StepInfo
from yamlflow.executors import execute_async, executor_of, shell
from yamlflow.executors.shell import Places
from yamlflow.outcome import Failed, Outcome
from yamlflow.ports import CancelToken, Masking, MemoryLog
from yamlflow.testing import run_executor

ENV = {"PATH": os.environ["PATH"]}


def run(what: Any, ports: Ports | None = None, env: dict[str, str] | None = None, **keys: Any) -> Outcome:
    context = {
        name: keys.pop(name)
        for name in ("package_dir", "scratch", "kill_grace", "keep", "step", "lease")
        if name in keys
    }
    return run_executor(shell, {"run": what, **keys}, ports=ports, env={**ENV, **(env or {})}, **context)


def result(outcome: Outcome) -> Any:
    assert isinstance(outcome, Succeeded), outcome
    return outcome.result


def error(outcome: Outcome) -> Any:
    assert isinstance(outcome, Failed), outcome
    return outcome.error


def test_the_result_is_what_was_written() -> None:
    assert result(run("echo out; echo err >&2")) == {"exit_code": 0, "stdout": "out\n", "stderr": "err\n"}


def test_text_stops_at_the_first_failure() -> None:
    assert error(run("false; echo on")).code == "exit_status"
    assert error(run("false | true; echo on", shell="bash")).code == "exit_status"
    assert result(run("false | true; echo on"))["stdout"] == "on\n"


def test_a_list_is_read_by_no_shell() -> None:
    assert result(run(["printf", "%s|", "$(id)", "a b", "; rm"], parse="text")) == "$(id)|a b|; rm|"


@pytest.mark.parametrize(
    ("how", "text", "expected"),
    [
        ("text", " a\n", " a\n"),
        ("lines", "a\nb\n", ["a", "b"]),
        ("json", '{"a": [1]}', {"a": [1]}),
    ],
)
def test_stdout_is_parsed(how: str, text: str, expected: Any) -> None:
    assert result(run(["printf", "%s", text], parse=how)) == expected


def test_stdout_that_is_no_json_may_be_tried_again() -> None:
    found = error(run("echo {", parse="json"))
    assert (found.code, found.permanent) == ("bad_result", False)


def test_an_exit_status_fails_with_the_end_of_stderr() -> None:
    found = error(run("echo first >&2; echo last >&2; exit 3"))
    assert found.message == "exit status 3: last"
    assert found.details["exit_code"] == 3
    assert found.details["stderr"] == "first\nlast\n"
    assert not found.permanent


def test_death_by_signal_says_which() -> None:
    found = error(run("kill -TERM $$"))
    assert found.details["signal"] == "SIGTERM"
    assert "SIGTERM" in found.message
    assert "memory" in error(run("kill -KILL $$")).message
    assert error(run("kill -KILL $$")).details["exit_code"] == 137


def test_stdin_is_text_or_json() -> None:
    assert result(run("cat", stdin="héllo", parse="text")) == "héllo"
    assert result(run("cat", stdin={"a": [1]}, parse="json")) == {"a": [1]}
    assert result(run("cat", parse="text")) == ""


def test_a_large_stdin_that_nobody_reads_does_not_hang() -> None:
    assert result(run("echo done", stdin="x" * 1_000_000, parse="text")) == "done\n"


def test_only_what_is_passed_on_is_in_the_environment() -> None:
    os.environ["YAMLFLOW_TEST_LEAK"] = "leak"
    try:
        lines = result(run("env", env={"MINE": "1"}, parse="lines"))
    finally:
        del os.environ["YAMLFLOW_TEST_LEAK"]
    names = {line.partition("=")[0] for line in lines}
    own = {name for name in names if name.startswith("YAMLFLOW_")}
    assert "MINE" in names
    assert own >= {"YAMLFLOW_RUN_ID", "YAMLFLOW_STEP", "YAMLFLOW_ATTEMPT", "YAMLFLOW_DIR", "YAMLFLOW_OUTPUT"}
    assert "YAMLFLOW_TEST_LEAK" not in names


def test_the_working_folder_is_the_packages_where_there_is_one(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    assert result(run("pwd", package_dir=tmp_path, parse="text")).strip() == str(tmp_path)
    assert result(run("pwd", package_dir=tmp_path, cwd="sub", parse="text")).strip() == str(tmp_path / "sub")
    scratch = tmp_path / "scratch"
    assert result(run("pwd", package_dir=tmp_path / "gone", scratch=scratch, parse="text")).strip() == str(scratch)


def test_scalars_in_a_list_are_arguments_as_env_has_them() -> None:
    listed = [sys.executable, "-c", "import json, sys; print(json.dumps(sys.argv[1:]))", 1, 2.5, True, None, "x y"]
    assert result(run(listed, parse="json")) == ["1", "2.5", "true", "", "x y"]


@pytest.mark.parametrize(
    ("what", "keys", "words"),
    [
        (["echo", ["x"]], {}, "run[1]: expected text or a number or true or false or null, got a list"),
        ("true", {"cwd": "/nosuch"}, "is not a folder"),
        (["nosuch-program"], {}, "there is no such program"),
        (["/etc"], {}, "may not be executed"),
        (["echo", "a\0b"], {}, "NUL"),
        (["echo", "half \ud800"], {}, "half a surrogate pair"),
        ("true", {"env": {"A": "half \ud800"}}, "half a surrogate pair"),
        (["echo", "x" * 131_072], {}, "pass it with stdin:"),
        (
            "true",
            {"env": {"BIG": "x" * 131_072}},
            "env BIG: the value is too large for an environment; pass it with stdin:",
        ),
        ("true", {"env": {"BIG": "x" * 131_068}}, "pass it with stdin:"),
        ("true", {"env": {f"N{i}": "x" * 100_000 for i in range(40)}}, "pass the large one with stdin:"),
        ("true", {"env": {"A": "a\0b"}}, "NUL"),
        ([], {}, "at least 1"),
        ("", {}, "at least 1"),
        ({"a": 1}, {}, "expected text or a list"),
        ("true", {"shell": "zsh"}, "expected one of sh, bash"),
        ("true", {"cmd": 1}, 'unknown key "cmd"'),
    ],
)
def test_what_no_process_can_be_given_is_bad_input(what: Any, keys: dict[str, Any], words: str) -> None:
    found = error(run(what, **keys))
    assert (found.code, found.permanent) == ("bad_input", True)
    assert words in found.message


def test_the_largest_environment_value_there_can_be_passes() -> None:
    assert result(run('printf %s "${#BIG}"', env={"BIG": "x" * 131_067}, parse="text")) == "131067"


# What a command says through files.


def test_the_output_file_is_the_result() -> None:
    assert result(run('echo a=1 > "$YAMLFLOW_OUTPUT"; echo "b=x=y z" >> "$YAMLFLOW_OUTPUT"')) == {
        "a": "1",
        "b": "x=y z",
    }
    assert result(run("""echo '{"n": 1}' > "$YAMLFLOW_OUTPUT" """)) == {"n": 1}
    assert result(run("""echo '[1]' > "$YAMLFLOW_OUTPUT" """)) == [1]


def test_output_lines_are_data_and_no_directives() -> None:
    found = error(run("printf 'X<<EOF\\nY=2\\nEOF\\n' > $YAMLFLOW_OUTPUT"))
    assert found.code == "bad_result"
    assert "line 1: expected name=value" in found.message


@pytest.mark.parametrize("odd", ["\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\r"])
def test_only_a_line_feed_ends_a_line(odd: str) -> None:
    given = {"TEXT": f"one{odd}admin=true"}
    assert result(run('printf "a=%s\\n" "$TEXT" > $YAMLFLOW_OUTPUT', env=given)) == {"a": given["TEXT"]}
    assert result(run('printf "%s\\nb\\r\\n" "$TEXT"', env=given, parse="lines")) == [given["TEXT"], "b"]


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo '{' > $YAMLFLOW_OUTPUT", "starts like JSON"),
        ("printf 'a=\\377' > $YAMLFLOW_OUTPUT", "UTF-8"),
        ("head -c 2000000 /dev/zero > $YAMLFLOW_OUTPUT", "more than"),
        ("rm $YAMLFLOW_OUTPUT; ln -s /etc/passwd $YAMLFLOW_OUTPUT", "cannot be read"),
        ("rm $YAMLFLOW_OUTPUT; mkdir $YAMLFLOW_OUTPUT", "regular file"),
    ],
)
def test_an_output_that_cannot_be_read_is_a_bad_result(script: str, words: str) -> None:
    found = error(run(script))
    assert found.code == "bad_result"
    assert words in found.message


def test_files_left_in_the_artifacts_folder_are_kept() -> None:
    outcome = run(
        "cd $YAMLFLOW_ARTIFACTS; mkdir sub; echo 1 > a.txt; echo 2 > sub/b.json; ln -s /etc/passwd link; mkfifo p"
    )
    assert isinstance(outcome, Succeeded)
    assert [each.name for each in outcome.artifacts] == ["a.txt", "sub/b.json"]
    assert [each.content_type for each in outcome.artifacts] == ["text/plain", "application/json"]


def test_artifacts_of_a_failed_command_are_kept_too() -> None:
    outcome = run("echo 1 > $YAMLFLOW_ARTIFACTS/core; exit 1")
    assert isinstance(outcome, Failed)
    assert [each.name for each in outcome.artifacts] == ["core"]


@pytest.mark.parametrize("files", [(), ("a.log",), ("a.log", "b.log")])
def test_a_glob_names_its_files_alike_however_many_there_are(tmp_path: Path, files: tuple[str, ...]) -> None:
    outcome = run(
        "true" + "".join(f"; echo 1 > {file}" for file in files), package_dir=tmp_path, keep={"logs": "*.log"}
    )
    assert isinstance(outcome, Succeeded)
    assert [each.name for each in outcome.artifacts] == [f"logs/{file}" for file in files]


def test_declared_artifacts_are_kept_when_the_step_ends(tmp_path: Path) -> None:
    script = "echo 1 > a.log; echo 2 > b.log; mkdir out; echo 3 > out/r.txt; ln -s /etc/passwd evil"
    keep = {"report": "out/r.txt", "logs": "*.log"}
    outcome = run(script, package_dir=tmp_path, keep=keep)
    assert isinstance(outcome, Succeeded)
    assert [each.name for each in outcome.artifacts] == ["report", "logs/a.log", "logs/b.log"]
    failed = run("echo 1 > a.log; exit 1", package_dir=tmp_path, keep={"log": "a.log", "report": "never-made"})
    assert isinstance(failed, Failed)
    assert [each.name for each in failed.artifacts] == ["log"]
    assert failed.error.code == "exit_status"
    for bad in ("evil", "nosuch", "../x"):
        assert error(run("true", package_dir=tmp_path, keep={"x": bad})).code == "bad_result"


# Bounds.


def test_endless_output_is_bounded_in_memory_and_in_the_result() -> None:
    log = MemoryLog()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    ports = Ports(log=Dropping(log), limits=Limits(tail=1000))
    found = result(run("head -c 300000000 /dev/zero; echo end", ports=ports))
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert len(found["stdout"]) == 1001
    assert found["stdout"].startswith("…")
    assert found["stdout"].endswith("end\n")
    assert grown < 50_000


class Dropping:
    """A log that is full."""

    def __init__(self, log: MemoryLog) -> None:
        self.log = log

    def write(self, text: str, stream: Any = "log") -> None: ...

    def close(self) -> None: ...


def test_stdout_larger_than_a_result_is_not_parsed() -> None:
    assert "write an artifact" in error(run("head -c 2000000 /dev/zero", parse="text")).message


def test_binary_output_is_replaced_in_the_result_and_the_log() -> None:
    log = MemoryLog()
    assert result(run("printf 'a\\377b'", ports=Ports(log=log)))["stdout"] == "a\ufffdb"
    assert log.text("stdout") == "a\ufffdb"


def test_a_log_whose_disk_is_full_does_not_stop_the_command() -> None:
    class Full(Dropping):
        def write(self, text: str, stream: Any = "log") -> None:
            raise OSError(28, "No space left on device")

    assert result(run("echo on", ports=Ports(log=Full(MemoryLog()))))["stdout"] == "on\n"


# Secrets.


def test_a_secret_is_masked_in_the_log_and_fails_as_a_result() -> None:
    masking = Masking()
    masking.add("hunter2hunter2")
    log = MemoryLog(masking)
    found = error(run("echo hunter2hunter2", ports=Ports(masking=masking, log=log)))
    log.close()
    assert found.code == "secret_in_result"
    assert "write it to stderr or nowhere" in found.message
    assert "`parse`, or by writing to $YAMLFLOW_OUTPUT" in found.message
    assert log.text("stdout") == "***\n"


def test_a_secret_on_stderr_is_masked_everywhere() -> None:
    masking = Masking()
    masking.add("hunter2hunter2")
    ports = Ports(masking=masking, log=MemoryLog(masking))
    assert result(run("echo hunter2hunter2 >&2", ports=ports))["stderr"] == "***\n"
    found = error(run("echo hunter2hunter2 >&2; exit 1", ports=ports))
    assert "hunter2" not in f"{found}"


# Ends.


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_what_a_command_leaves_running_is_killed(tmp_path: Path) -> None:
    assert result(run("sleep 1000 & echo $! > pid; echo on", package_dir=tmp_path))["stdout"] == "on\n"
    assert gone(int((tmp_path / "pid").read_text()))


async def canceled_when(script: str, ready: Path, folder: Path, grace: float) -> Outcome:
    """Run a script, cancel it when it has made ``ready``."""
    token = CancelToken()
    step = StepContext(
        input={"run": script}, env=ENV, package_dir=folder, kill_grace=grace, ports=Ports(cancel=token, log=MemoryLog())
    )
    found = executor_of(shell.shell)
    assert found is not None
    work = asyncio.ensure_future(execute_async(found, step))
    while not ready.exists() and not work.done():
        await asyncio.sleep(0.005)
    token.cancel("enough")
    return await work


def test_cancel_lets_a_command_end_well(tmp_path: Path) -> None:
    script = "trap 'echo bye > bye; exit 0' TERM; touch ready; while :; do sleep 0.02; done"
    outcome = asyncio.run(canceled_when(script, tmp_path / "ready", tmp_path, 5))
    assert error(outcome).code == "canceled"
    assert (tmp_path / "bye").read_text() == "bye\n"


def test_cancel_kills_what_ignores_it_and_its_whole_group(tmp_path: Path) -> None:
    script = "trap '' TERM; sleep 1000 & echo $! > child; echo $$ > own; touch ready; while :; do sleep 1; done"
    outcome = asyncio.run(canceled_when(script, tmp_path / "ready", tmp_path, 0.1))
    assert error(outcome).code == "canceled"
    assert gone(int((tmp_path / "child").read_text()))
    assert gone(int((tmp_path / "own").read_text()))


def test_cancel_finds_what_has_left_the_group(tmp_path: Path) -> None:
    script = (
        "setsid sh -c 'echo $$ > stray; exec sleep 1000' & while [ ! -s stray ]; do sleep 0.01; done; touch ready; wait"
    )
    outcome = asyncio.run(canceled_when(script, tmp_path / "ready", tmp_path, 0.2))
    assert error(outcome).code == "canceled"
    assert gone(int((tmp_path / "stray").read_text()))


def test_a_step_of_the_same_name_elsewhere_is_left_alone(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    script = "echo $$ > own; touch ready; exec sleep 1000"

    async def both() -> bool:
        for folder in (one, two):
            folder.mkdir()
        token = CancelToken()
        step = StepContext(input={"run": script}, env=ENV, package_dir=two, ports=Ports(cancel=token))
        found = executor_of(shell.shell)
        assert found is not None
        other = asyncio.ensure_future(execute_async(found, step))
        while not (two / "ready").exists():
            await asyncio.sleep(0.005)
        await canceled_when(script, one / "ready", one, 1)
        alive = not gone(int((two / "own").read_text()))
        token.cancel()
        await other
        return alive

    assert asyncio.run(both())


def test_cancel_kills_also_what_left_the_group_and_ignores_it(tmp_path: Path) -> None:
    stubborn = 'trap "" TERM; echo $$ > stray; while :; do sleep 1; done'
    script = f"setsid sh -c '{stubborn}' & while [ ! -s stray ]; do sleep 0.01; done; touch ready; wait"
    outcome = asyncio.run(canceled_when(script, tmp_path / "ready", tmp_path, 0.1))
    assert error(outcome).code == "canceled"
    assert gone(int((tmp_path / "stray").read_text()))


def test_a_process_that_keeps_the_pipe_open_from_outside_does_not_hold_the_step(tmp_path: Path) -> None:
    script = "setsid sh -c 'echo $$ > stray; exec sleep 1000' & while [ ! -s stray ]; do sleep 0.01; done; echo on"
    try:
        assert result(run(script, package_dir=tmp_path))["stdout"] == "on\n"
    finally:
        os.kill(int((tmp_path / "stray").read_text()), signal.SIGKILL)


def test_a_deadline_ends_the_command(tmp_path: Path) -> None:
    from yamlflow.clock import SystemClock

    outcome = run_executor(
        shell, {"run": "echo $$ > own; sleep 1000"}, env=ENV, package_dir=tmp_path,
        deadline_at=SystemClock().steady() + 300, kill_grace=1,
    )  # fmt: skip
    assert error(outcome).code == "timeout"
    assert gone(int((tmp_path / "own").read_text()))


def test_the_working_folder_deleted_meanwhile_is_the_commands_own_affair(tmp_path: Path) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    assert error(run("rm -r ../work; ls > x", package_dir=folder)).code == "exit_status"


def test_no_descriptors_left_fails_the_step_and_not_the_worker() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # The limit is on numbers, and lower ones may be free: all are taken, then as many given back as the loop takes.
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))) + 20, hard))
    taken = []
    try:
        with suppress(OSError):
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        for number in taken[-5:]:
            os.close(number)
        del taken[-5:]
        outcome = run("true")
    finally:
        for number in taken:
            os.close(number)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert error(outcome).code in ("spawn_failed", "executor_error")
    assert result(run("echo on"))["stdout"] == "on\n"


def test_an_artifacts_folder_that_was_replaced_by_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "private").write_text("not yours")
    script = f'rm -rf "$YAMLFLOW_ARTIFACTS"; ln -s {tmp_path}/other "$YAMLFLOW_ARTIFACTS"'
    outcome = run_executor("shell", {"run": script}, scratch=tmp_path / "scratch", env=ENV)
    assert isinstance(outcome, Failed)
    assert outcome.error.code == "bad_result"
    assert "replaced" in outcome.error.message


def test_what_a_killed_attempt_left_goes_with_the_next_one_and_not_the_other_way_round(tmp_path: Path) -> None:
    left = 'ls -A "$YAMLFLOW_DIR"'
    step = StepInfo(path="a")

    def attempt(epoch: int) -> list[str]:
        seen = run(left, parse="lines", scratch=tmp_path, step=step, lease=LeaseInfo(epoch=epoch))
        return list(result(seen))

    killed = Places(StepContext(scratch=tmp_path, step=step, lease=LeaseInfo(epoch=2)))
    assert len(attempt(1)) == 2
    assert killed.artifacts.exists()
    assert len(attempt(3)) == 1
    assert not killed.artifacts.exists()
    assert list(tmp_path.iterdir()) == []
