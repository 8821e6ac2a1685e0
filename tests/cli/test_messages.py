"""``signal``, ``approve`` and child runs, as they are met on the command line."""

from __future__ import annotations

import json

from yamlflow.runtime import Runtime

from .conftest import Cli, Write

WAITS = """
yamlflow: 1
name: waits
signals: {go: {type: object, required: [n], properties: {n: {type: integer}}}}
steps:
  go: {kind: wait_signal, with: {signal: go}}
  ask: {kind: approval, needs: go, with: {prompt: "Ship it?", form: {properties: {days: {type: integer, default: 2}}}}}
outputs: {n: "${{ steps.go.result.n }}", days: "${{ steps.ask.result.form.days }}"}
"""


def work() -> None:
    """What a worker does until there is nothing more to do."""
    with Runtime("sqlite:///.yamlflow/yamlflow.db", max_workers=4) as runtime:
        runtime.run_until_idle()


def begun(cli: Cli, write: Write) -> None:
    write("waits.yaml", WAITS)
    assert cli("start", "waits.yaml", "--run-id", "w").status == 0
    work()


def test_a_signal_and_an_answer_let_a_run_end(cli: Cli, write: Write) -> None:
    begun(cli, write)
    assert 'waits for the signal "go": `yamlflow signal w go --data …` sends it' in cli("show", "w").out
    sent = cli("signal", "w", "go", "--data", '{"n": 5}')
    assert (sent.status, sent.out) == (0, "signal go was sent to run w\n")
    work()
    assert "asks: Ship it? (`yamlflow approve w ask`)" in cli("show", "w").out
    answered = cli("approve", "w", "--set", "days=7", "--comment", "fine")
    assert (answered.status, answered.out) == (0, "step ask of run w was approved\n")
    ended = cli("resume", "w", "-q", "--json")
    assert json.loads(ended.out)["outputs"] == {"n": 5, "days": 7}
    assert cli("approve", "w", "ask").out == "step ask of run w was approved already\n"
    refused = cli("approve", "w", "ask", "--reject")
    assert (refused.status, "was approved already by" in refused.err) == (2, True)


def test_a_signal_that_cannot_be_is_refused_with_the_remedy(cli: Cli, write: Write) -> None:
    begun(cli, write)
    for arguments, words in (
        (("w", "og"), "Declared are: go."),
        (("w", "go"), "signals.go: expected a mapping. Given: null."),
        (("w", "go", "--data", '{"n": "x"}'), 'signals.go.n: expected a whole number. Given: "x".'),
        (("w", "go", "--data", '{"n": '), "this is broken JSON"),
        (("nobody", "go"), 'there is no run "nobody"'),
        (("w", "go", "--data", "1", "--data-file", "x"), "Give the data once"),
        (("w", "go", "-i", "a=1"), "-i gives inputs to the run that --start starts"),
    ):
        refused = cli("signal", *arguments)
        assert (refused.status, words in refused.err, "Traceback" in refused.err) == (2, True, False), refused.err
    assert "signal.received" not in cli("events", "w").out


def test_a_signal_to_a_run_that_has_ended_is_refused(cli: Cli, write: Write) -> None:
    write("done.yaml", "yamlflow: 1\nname: done\nsteps: [{kind: noop}]\n")
    cli("run", "done.yaml", "--run-id", "d", "-q")
    refused = cli("signal", "d", "go")
    assert (refused.status, 'run "d" has ended (succeeded)' in refused.err) == (2, True)


def test_a_signal_of_a_key_is_sent_once(cli: Cli, write: Write) -> None:
    begun(cli, write)
    assert "was sent" in cli("signal", "w", "go", "--data", '{"n": 1}', "--key", "d1").out
    assert cli("signal", "w", "go", "--data", '{"n": 2}', "--key", "d1").out == "run w has had a signal of that key\n"


def test_a_signal_may_start_the_run_it_is_for(cli: Cli, write: Write) -> None:
    write("waits.yaml", WAITS)
    write("data.yaml", "n: 9\n")
    sent = cli("signal", "fresh", "go", "--data-file", "data.yaml", "--start", "waits.yaml")
    assert (sent.status, sent.out) == (0, "signal go was sent to run fresh\n")
    work()
    assert json.loads(cli("result", "fresh", "go").out) == {"n": 9}


def test_several_questions_must_be_told_apart(cli: Cli, write: Write) -> None:
    write("two.yaml", "yamlflow: 1\nname: two\nsteps: {a: {kind: approval}, b: {kind: approval}}\n")
    cli("start", "two.yaml", "--run-id", "t")
    assert 'no step of run "t" asks just now' in cli("approve", "t").err
    work()
    refused = cli("approve", "t")
    assert (refused.status, '2 steps of run "t" ask: a, b' in refused.err) == (2, True)
    assert cli("approve", "t", "b", "--reject").out == "step b of run t was rejected\n"


def test_run_works_on_children_and_on_what_continues(cli: Cli, write: Write) -> None:
    write(
        "child.yaml",
        'yamlflow: 1\nname: child\nsteps: {a: {kind: set, with: {value: 4}}}\noutputs: {n: "${{ steps.a.result }}"}\n',
    )
    write(
        "parent.yaml",
        """
        yamlflow: 1
        name: parent
        inputs: {n: {type: integer, default: 0}}
        steps:
          call: {kind: workflow, with: {package: ./child.yaml}}
          again: {needs: call, if: inputs.n < 2, kind: continue_as_new, with: {inputs: {n: "${{ inputs.n + 1 }}"}}}
        outputs: {n: "${{ inputs.n + steps.call.result.n }}"}
        """,
    )
    ran = cli("run", "parent.yaml", "--run-id", "p", "--json", "-q")
    assert ran.status == 0, ran.err
    told = json.loads(ran.out)
    assert (told["execution"], told["outputs"]) == (3, {"n": 6})


def test_run_waits_for_the_cleanup_of_children_that_are_canceled(cli: Cli, write: Write) -> None:
    write(
        "child.yaml",
        "yamlflow: 1\nname: child\nsteps: [{kind: sleep, with: {for: 1h}}]\nfinally: [{id: tidy, kind: noop}]\n",
    )
    write(
        "parent.yaml",
        "yamlflow: 1\nname: parent\nsteps: [{kind: workflow, with: {package: ./child.yaml, wait: false, run_id: c}}]\n",
    )
    assert cli("run", "parent.yaml", "-q").status == 0
    listed = {run["id"]: run["status"] for run in json.loads(cli("runs", "--json").out)}
    assert listed["c"] == "canceled"


def test_a_start_that_concurrency_skips_is_no_error_and_one_that_it_fails_is(cli: Cli, write: Write) -> None:
    for policy, status in (("skip", 0), ("fail", 2)):
        body = (
            f"yamlflow: 1\nname: {policy}\nconcurrency: {{key: k, when_full: {policy}}}\nsteps: [{{kind: approval}}]\n"
        )
        write(f"{policy}.yaml", body)
        assert cli("start", f"{policy}.yaml", "--run-id", f"{policy}-1").status == 0
        for command in (("start",), ("run", "-q")):
            again = cli(command[0], f"{policy}.yaml", *command[1:])
            assert again.status == status, again.err
            assert f'run "{policy}-1" of "{policy}" has the key "k"' in again.err
    assert len(json.loads(cli("runs", "--json").out)) == 2


def test_a_run_that_waits_for_its_place_says_so(cli: Cli, write: Write) -> None:
    write("one.yaml", "yamlflow: 1\nname: one\nconcurrency: {key: k}\nsteps: [{kind: approval}]\n")
    for id in ("a", "b"):
        assert cli("start", "one.yaml", "--run-id", id).status == 0
    shown = cli("show", "b")
    assert 'another run with the key "k"' in shown.out
