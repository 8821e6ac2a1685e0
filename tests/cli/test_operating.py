"""What an operator sees and does: why, what was given, who belongs to whom, and what a retry revives."""

from __future__ import annotations

import json
import os

import pytest

from yamlflow.runtime import Runtime

from .conftest import Cli, Write

STORE = "sqlite:///.yamlflow/yamlflow.db"


def work(**options: object) -> None:
    """What a worker does until there is nothing more to do."""
    with Runtime(STORE, max_workers=4, **options) as runtime:  # type: ignore[arg-type]
        runtime.run_until_idle()


GIVEN = """
yamlflow: 1
name: given
secrets: [TOKEN]
steps:
  say:
    env: {AUTH: "Bearer ${{ secrets.TOKEN }}", ID: "${{ uuid() }}"}
    retry: {max_attempts: 2, delay: 1ms}
    with: {stdin: "try ${{ attempt }}"}
    run: 'cat >&2; echo " with $AUTH" >&2; exit 4'
"""


def test_show_tells_what_each_attempt_was_given_and_wrote_with_secrets_masked(
    cli: Cli, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("given.yaml", GIVEN)
    monkeypatch.setenv("TOKEN", "a-token-that-nobody-may-see")
    assert cli("run", "given.yaml", "--run-id", "g", "-q").status == 1
    monkeypatch.delenv("TOKEN")
    first, second = cli("show", "g", "say", "--json").json["leases"]
    assert (first["input"]["stdin"], second["input"]["stdin"]) == ("try 1", "try 2")
    assert first["env"]["AUTH"] == "Bearer ***"
    assert len({first["env"]["ID"], second["env"]["ID"]}) == 2
    assert (first["log"], second["log"]) == ("try 1 with Bearer ***", "try 2 with Bearer ***")
    shown = cli("show", "g", "say").out
    for words in ("input of attempt 2 (that of attempt 1 was another", "stdin: try 2", "AUTH: Bearer ***",
                  "  │ try 2 with Bearer ***", "exit_code: 4"):  # fmt: skip
        assert words in shown
    earlier = cli("show", "g", "say", "--attempt", 1).out
    assert "stdin: try 1" in earlier
    assert "error of attempt 1: exit_status" in earlier
    assert "a-token" not in shown + earlier


def test_an_attempt_that_never_was_is_refused(cli: Cli, write: Write) -> None:
    write("one.yaml", "yamlflow: 1\nname: one\nsteps: {a: {kind: noop}, b: {needs: a, kind: noop}}\n")
    cli("run", "one.yaml", "--run-id", "o", "-q")
    for arguments, words in (
        (("o", "a", "--attempt", 3), "there is no attempt 3: step a had 1 attempt"),
        (("o", "--attempt", 1), "--attempt is of a step"),
        (("o", "a", "--tree"), "--tree shows runs"),
        (("o", "bb"), 'run "o" has no step "bb". Did you mean "b"?'),
    ):
        refused = cli("show", *arguments)
        assert (refused.status, words in refused.err) == (2, True), refused.err


def test_what_cannot_be_rendered_is_said_and_the_rest_is_shown(cli: Cli, write: Write) -> None:
    write(
        "plugins/loud.py",
        """
        from yamlflow import hookimpl


        @hookimpl
        def yamlflow_filters():
            return {"shout": lambda text: text.upper()}
        """,
    )
    write("loud.yaml", "yamlflow: 1\nname: loud\nsteps: {a: {kind: set, with: {value: \"${{ 'hey' | shout }}\"}}}\n")
    assert cli("run", "loud.yaml", "--run-id", "l", "-q").status == 0
    assert "value: HEY" in cli("show", "l", "a").out
    bare = cli("show", "l", "a", "--no-plugins")
    assert bare.status == 0
    assert "input of attempt 1: it cannot be rendered here: " in bare.out
    assert "result: HEY" in bare.out
    problem = cli("show", "l", "a", "--no-plugins", "--json").json["leases"][0]
    assert (problem["input"], "shout" in problem["input_problem"]) == (None, True)


CHILD = """
yamlflow: 1
name: child
steps:
  ok: {kind: noop}
  bad: {needs: ok, run: test -f found}
  end: {needs: bad, kind: set, with: {value: 7}}
outputs: {n: "${{ steps.end.result }}"}
"""
PARENT = """
yamlflow: 1
name: parent
steps:
  call: {kind: workflow, with: {package: ./child.yaml, run_id: c}}
  after: {needs: call, kind: set, with: {value: "${{ steps.call.result.n }}"}}
outputs: {n: "${{ steps.after.result }}"}
"""


def test_a_run_shows_its_parent_and_its_children(cli: Cli, write: Write) -> None:
    write("child.yaml", CHILD)
    write("parent.yaml", PARENT)
    assert cli("run", "parent.yaml", "--run-id", "p", "-q").status == 1
    assert "1 child run: 1 failed (--tree lists them)" in cli("show", "p").out
    assert "child of p (failed), step call" in cli("show", "c").out
    assert cli("show", "p", "--tree").out.splitlines()[1].split() == ["✗", "c", "failed", "child", "step", "call"]
    tree = cli("show", "p", "--tree", "--json").json
    assert [(one["run"], one["step"], one["status"]) for one in tree["children"]] == [("c", "call", "failed")]
    assert cli("show", "c", "--json").json["parent"]["run"] == "p"
    step = cli("show", "p", "call", "--json").json
    assert (step["wait"]["run"], step["wait"]["status"]) == ("c", "failed")
    assert step["error"]["cause"]["step"] == "bad"


def test_a_retry_of_a_step_of_a_child_lets_its_parent_go_on(cli: Cli, write: Write) -> None:
    write("child.yaml", CHILD)
    write("parent.yaml", PARENT)
    cli("run", "parent.yaml", "--run-id", "p", "-q")
    write("found", "")
    again = cli("retry", "c", "bad", "--json")
    assert again.status == 0, again.err
    assert "run p goes on with it" in again.err
    assert (again.json["run"], again.json["outputs"]) == ("p", {"n": 7})
    assert [one["execution"] for one in cli("runs", "--id", "c", "--json").json] == [1]


FAN = """
yamlflow: 1
name: fan
steps:
  each: {for_each: [0, 1, 2, 3], run: 'test "$N" != 3 || test -f found', env: {N: "${{ item }}"}}
  next: {needs: each, kind: noop}
  last: {needs: next, kind: noop}
"""


def test_a_retry_of_one_item_revives_what_was_skipped_because_of_it(cli: Cli, write: Write) -> None:
    write("fan.yaml", FAN)
    assert cli("run", "fan.yaml", "--run-id", "f", "-q").status == 1
    assert "– last  noop  because next was skipped" in cli("show", "f").out
    write("found", "")
    refused = cli("retry", "f", "each[2]")
    assert (refused.status, "only what failed or was canceled can be retried" in refused.err) == (2, True)
    assert (mistyped := cli("retry", "f", "eahc[3]")).status == 2
    assert "Did you mean" in mistyped.err
    assert cli("retry", "f", "each[3]", "-q").status == 0
    steps = {one["path"]: one for one in cli("show", "f", "--json").json["root"]["steps"]}
    assert {path: one["status"] for path, one in steps.items()} == dict.fromkeys(("each", "next", "last"), "succeeded")
    leases = [len(cli("show", "f", f"each[{n}]", "--json").json["leases"]) for n in range(4)]
    assert leases == [1, 1, 1, 2]


def test_one_item_can_be_canceled_alone(cli: Cli, write: Write) -> None:
    write(
        "nap.yaml",
        "yamlflow: 1\nname: nap\nsteps: {each: {for_each: [1, 2], kind: wait_signal, with: {signal: go}}}\n",
    )
    cli("start", "nap.yaml", "--run-id", "n")
    work()
    assert cli("cancel", "n", "each[0]").out == "step each[0] of run n was told to stop\n"
    cli("signal", "n", "go")
    steps = cli("show", "n", "each", "--json").json["steps"]
    assert [one["status"] for one in steps] == ["canceled", "succeeded"]
    assert cli("show", "n", "--json").json["status"] == "canceled"


def test_a_canceled_run_tells_of_its_children(cli: Cli, write: Write) -> None:
    write("sub.yaml", "yamlflow: 1\nname: sub\nsteps: {ask: {kind: approval}}\n")
    write("top.yaml", "yamlflow: 1\nname: top\nsteps: {call: {kind: workflow, with: {package: ./sub.yaml}}}\n")
    cli("start", "top.yaml", "--run-id", "t")
    with Runtime(STORE, max_workers=4, find=None) as runtime:
        from yamlflow.runtime import load_package

        runtime.shelf.register(load_package("sub.yaml"))
        runtime.run_until_idle()
    told = cli("cancel", "t", "--reason", "enough")
    assert told.status == 0
    listed = {one["id"]: one["status"] for one in cli("runs", "--json").json}
    assert listed["t"] == "canceled"
    assert set(listed.values()) == {"canceled"}


WAITS = """
yamlflow: 1
name: waits
signals: {go: {type: object}}
steps:
  go: {kind: wait_signal, with: {signal: go}}
  heard: {needs: go, kind: noop}
  ask: {kind: approval}
  answered: {needs: ask, kind: noop}
"""


def test_what_comes_to_a_paused_run_is_taken_and_what_follows_waits(cli: Cli, write: Write) -> None:
    write("waits.yaml", WAITS)
    cli("start", "waits.yaml", "--run-id", "w")
    work()
    cli("pause", "w")
    cli("signal", "w", "go", "--data", "{}")
    cli("approve", "w", "ask")
    work()
    steps = {one["path"]: one for one in cli("show", "w", "--json").json["root"]["steps"]}
    assert {steps[path]["status"] for path in ("go", "ask")} == {"succeeded"}
    for path in ("heard", "answered"):
        assert (steps[path]["status"], steps[path]["reason"].split(":")[0]) == ("ready", "paused")
    cli("unpause", "w")
    work()
    assert cli("show", "w", "--json").json["status"] == "succeeded"


PLACES = """
yamlflow: 1
name: one
concurrency: {key: k}
signals: {go: {}}
steps: [{kind: approval}, {kind: wait_signal, with: {signal: go}}]
"""


def test_unread_signals_a_place_and_who_has_it_are_shown(cli: Cli, write: Write) -> None:
    write("one.yaml", PLACES)
    for id in ("a", "b", "c"):
        cli("start", "one.yaml", "--run-id", id)
    cli("signal", "c", "go")
    cli("signal", "c", "go")
    shown = cli("show", "c").out
    assert "unread signals: go ×2" in shown
    assert 'another run with the key "k" has ended (concurrency): a has it, 1 before it' in shown
    document = cli("show", "c", "--json").json
    assert document["concurrency"] == {"key": "k", "holds": False, "holders": ["a"], "ahead": 1}
    assert [one["name"] for one in document["unread_signals"]] == ["go", "go"]
    assert cli("show", "a", "--json").json["concurrency"]["holds"] is True


def test_executions_lead_to_one_another_and_only_the_newest_is_steered(cli: Cli, write: Write) -> None:
    write("bad.yaml", "yamlflow: 1\nname: bad\nsteps: [{run: exit 1}]\n")
    cli("run", "bad.yaml", "--run-id", "b", "-q")
    cli("run", "bad.yaml", "--run-id", "b", "--if-exists", "new", "-q")
    assert "goes on where b ended (failed)" in cli("show", "b").out
    assert cli("show", "b@1", "--json").json["successor"]["execution"] == 2
    for command in (("retry", "b@1"), ("cancel", "b@1"), ("pause", "b@1"), ("signal", "b@1", "go")):
        refused = cli(*command)
        assert (refused.status, 'run "b@1" has ended (failed), and is not the newest' in refused.err) == (2, True)


def test_a_worker_says_once_that_a_run_has_ended(cli: Cli, write: Write) -> None:
    write("hello.yaml", "yamlflow: 1\nname: hello\nsteps: {a: {kind: noop}}\n")
    cli("start", "hello.yaml", "--run-id", "h")
    said = cli("worker", "--max-cycles", "3").err.splitlines()
    assert [line.split(maxsplit=2)[2] for line in said if line.endswith("succeeded")] == [
        "h a succeeded",
        "h succeeded",
    ]


def test_workers_say_which_queues_and_kinds_they_take(cli: Cli, write: Write) -> None:
    write("hello.yaml", "yamlflow: 1\nname: hello\nsteps: {a: {kind: noop}}\n")
    cli("start", "hello.yaml", "--run-id", "h")
    with Runtime(STORE, worker_id="narrow", only_queues=["http"], only_kinds=["shell", "http"]) as runtime:
        runtime.worker.open()
        (listed,) = cli("workers", "--json").json
        assert (listed["queues"], listed["kinds"], listed["runs"]) == (["http"], ["http", "shell"], None)
        line = cli("workers").out.splitlines()[1]
        assert "http, shell" in line
        assert 'no worker knows kind "noop"' in cli("show", "h").out
    assert str(os.getpid()) in cli("workers", "--all").out


def test_a_run_that_nobody_takes_is_worked_on_here_though_another_run_is_worked_on(cli: Cli, write: Write) -> None:
    write("fan.yaml", FAN)
    cli("run", "fan.yaml", "--run-id", "f", "-q")
    write("found", "")
    with Runtime(STORE, worker_id="busy-elsewhere", runs={10_000}) as runtime:
        runtime.worker.open()
        assert cli("retry", "f", "-q").status == 0
    assert json.loads(cli("show", "f", "--json").out)["status"] == "succeeded"


def test_a_paused_run_is_not_resumed_but_the_others_are(cli: Cli, write: Write) -> None:
    write("one.yaml", "yamlflow: 1\nname: one\nsteps: [{kind: noop}]\n")
    for id in ("a", "b"):
        cli("start", "one.yaml", "--run-id", id)
    cli("pause", "a")
    refused = cli("resume", "a")
    assert (refused.status, refused.err) == (2, "error: run a is paused; `yamlflow unpause a` lets it go on\n")
    resumed = cli("resume")
    assert resumed.status == 0, resumed.err
    assert "run a is paused and left" in resumed.err
    assert {run["id"]: run["status"] for run in cli("runs", "--json").json} == {"a": "paused", "b": "succeeded"}


def test_the_way_to_send_a_signal_is_ready_to_paste(cli: Cli, write: Write) -> None:
    write(
        "waits.yaml",
        """
        yamlflow: 1
        name: waits
        signals: {paid: {type: object}, go: {}}
        steps:
          - {kind: wait_signal, with: {signal: paid}}
        """,
    )
    write("odd.yaml", "yamlflow: 1\nname: odd\nsteps: [{kind: wait_signal, with: {signal: it is done}}]\n")
    for name in ("waits", "odd"):
        cli("start", f"{name}.yaml", "--run-id", name)
    with Runtime("sqlite:///.yamlflow/yamlflow.db", max_workers=4) as runtime:
        runtime.run_until_idle()
    assert "`yamlflow signal waits paid --data …`" in cli("show", "waits").out
    assert "`yamlflow signal odd 'it is done'`" in cli("show", "odd").out


def test_runs_that_no_step_started_can_be_listed_alone(cli: Cli, write: Write) -> None:
    write("child.yaml", "yamlflow: 1\nname: child\nsteps: [{kind: noop}]\n")
    write("parent.yaml", "yamlflow: 1\nname: parent\nsteps: [{kind: workflow, with: {package: ./child.yaml}}]\n")
    cli("run", "parent.yaml", "--run-id", "p", "-q")
    assert [run["id"] for run in cli("runs", "--json").json] == ["p._1", "p"]
    assert [run["id"] for run in cli("runs", "--top", "--json").json] == ["p"]


def test_who_goes_on_without_a_plugin_is_warned_before_its_steps_fail(cli: Cli, write: Write) -> None:
    plugin = write(
        "more/odd.py", "from yamlflow import executor\n\n@executor('odd')\ndef odd() -> int:\n    return 1\n"
    )
    write("odd.yaml", "yamlflow: 1\nname: odd\nsteps: [{kind: odd}]\n")
    assert cli("start", "odd.yaml", "--run-id", "o", "--plugins", plugin.parent).status == 0
    resumed = cli("resume", "o", "-q")
    assert resumed.status == 1
    assert "run o has steps of a kind that no plugin here supplies: odd. They will fail" in resumed.err
    assert cli("retry", "o", "-q", "--plugins", plugin.parent).status == 0
