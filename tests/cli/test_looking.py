"""Commands that look: runs, show, logs, events, result, artifacts, records, queues, workers, graph, kinds…"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .conftest import FLAKY, HELLO, Cli, Write


@pytest.mark.parametrize("command", ["runs", "queues", "workers", "records", "packages"])
def test_an_empty_folder_has_nothing_to_list_and_stays_empty(cli: Cli, folder: Path, command: str) -> None:
    assert cli(command).status == 0
    assert cli(command, "--json").json == []
    assert list(folder.iterdir()) == []


def test_a_run_that_is_not_there_is_named_with_the_one_that_may_be_meant(cli: Cli, write: Write) -> None:
    write("hello.yaml", HELLO)
    cli("run", "hello.yaml", "--run-id", "hello-1")
    looked = cli("show", "hello-2")
    assert looked.status == 2
    assert 'Did you mean "hello-1"?' in looked.err
    assert cli("show", "last").status == 0


def test_the_last_run_is_the_newest_that_no_step_started(cli: Cli, write: Write) -> None:
    write("child.yaml", "yamlflow: 1\nname: child\nsteps: {a: {kind: noop}}\n")
    write("parent.yaml", "yamlflow: 1\nname: parent\nsteps: {a: {kind: workflow, with: {package: ./child.yaml}}}\n")
    cli("run", "parent.yaml", "--run-id", "p", "-q")
    assert cli("runs", "--json").json[0]["id"] == "p.a"
    assert cli("show", "last", "--json").json["id"] == "p"


def test_show_says_why_a_step_does_not_run(cli: Cli, write: Write) -> None:
    write(
        "waits.yaml",
        """
        yamlflow: 1
        name: waits
        queues: {slow: {max_in_flight: 1}}
        steps:
          a: {kind: noop}
          b: {needs: a, kind: noop, queue: slow}
          c: {if: "false", kind: noop}
          each: {for_each: {items: [1, 2, 3], max_parallel: 1}, kind: noop}
        """,
    )
    cli("start", "waits.yaml", "--run-id", "w")
    assert "a  noop  no worker is running" in cli("show", "w").out
    assert "b  noop  waits for a" in cli("show", "w").out
    cli("worker", "--max-cycles", 1, "-q")
    cli("pause", "w")
    assert "paused" in cli("show", "w").out
    cli("unpause", "w")
    cli("resume", "-q")
    assert "c  noop  its `if` was false" in cli("show", "w").out


def test_show_tells_of_every_attempt_of_a_step(cli: Cli, write: Write) -> None:
    write("flaky.yaml", FLAKY.replace("needs: first\n", "needs: first\n        retry: {max_attempts: 2, delay: 1ms}\n"))
    cli("run", "flaky.yaml", "--run-id", "f1")
    document = cli("show", "f1", "shaky", "--json").json
    assert [(one["attempt"], one["status"]) for one in document["leases"]] == [(1, "failed"), (2, "succeeded")]
    assert document["leases"][0]["error"]["code"] == "exit_status"
    assert document["leases"][0]["worker"]
    assert "ATTEMPT" in cli("show", "f1", "shaky").out


def test_events_are_the_durable_log_in_order(cli: Cli, write: Write) -> None:
    write("hello.yaml", HELLO)
    cli("run", "hello.yaml", "--run-id", "h1")
    events = [json.loads(line) for line in cli("events", "h1", "--json").out.splitlines()]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert events[0]["kind"] == "run.started"
    assert events[-1]["kind"] == "run.succeeded"
    assert "step.succeeded greet" in cli("events", "h1", "--step", "greet").out


def test_the_result_of_a_fan_out_is_the_list_of_its_childrens(cli: Cli, write: Write) -> None:
    write(
        "each.yaml", "yamlflow: 1\nname: e\nsteps:\n  s: {for_each: [1, 2], kind: set, with: {value: '${{ item }}'}}\n"
    )
    cli("run", "each.yaml", "--run-id", "e1")
    assert cli("result", "e1", "s").json == [1, 2]
    assert cli("result", "e1", "s[1]").json == 2
    assert cli("result", "e1", "nix").status == 2


def test_a_kept_file_is_listed_and_taken_out(cli: Cli, write: Write, folder: Path) -> None:
    write(
        "keep.yaml",
        """
        yamlflow: 1
        name: keep
        steps:
          make: {run: 'printf content > "$YAMLFLOW_ARTIFACTS/report.txt"'}
        """,
    )
    cli("run", "keep.yaml", "--run-id", "k1")
    listed = cli("artifacts", "k1", "--json").json
    assert [(one["step"], one["name"], one["size"]) for one in listed] == [("make", "report.txt", 7)]
    assert cli("artifacts", "k1", "make", "report.txt", "-o", "out.txt").status == 0
    assert (folder / "out.txt").read_text() == "content"
    missing = cli("artifacts", "k1", "make", "repot.txt")
    assert (missing.status, "report.txt" in missing.err) == (2, True)


def test_records_are_printed_as_table_json_and_csv(cli: Cli, write: Write) -> None:
    write(
        "notes.yaml",
        """
        yamlflow: 1
        name: notes
        steps:
          note:
            for_each: [1, 2]
            kind: record
            with: {collection: notes, key: "${{ item }}", data: {text: "note, ${{ item }}"}}
        """,
    )
    assert cli("run", "notes.yaml").status == 0
    assert cli("records", "--json").json == [{"projection": "notes", "collection": "notes", "records": 2}]
    assert cli("records", "notes", "--json").json[1] == {"key": "2", "text": "note, 2"}
    assert cli("records", "notes", "--csv").out == 'key,text\n1,"note, 1"\n2,"note, 2"\n'
    assert cli("records", "notes", "--where", "key = 2", "--json").json == [{"key": "2", "text": "note, 2"}]
    assert cli("records", "note").status == 2
    assert cli("records", "notes", "--where", "1); drop table notes; --").status == 2


def test_queues_tell_of_their_limits_and_can_be_paused(cli: Cli, write: Write) -> None:
    write(
        "q.yaml",
        """
        yamlflow: 1
        name: q
        queues: {slow: {max_in_flight: 2, rate: 30/m}}
        steps: {a: {kind: noop, queue: slow}}
        """,
    )
    cli("start", "q.yaml", "--run-id", "q1")
    queue = next(one for one in cli("queues", "--json").json if one["name"] == "q/slow")
    assert (queue["max_in_flight"], queue["rate"], queue["ready"]) == (2, 0.5, 1)
    assert "30/m" in cli("queues").out
    cli("pause", "--queue", "q/slow")
    assert 'its queue "q/slow" is paused' in cli("show", "q1").out
    wrong = cli("pause", "--queue", "q/slw")
    assert (wrong.status, 'Did you mean "q/slow"?' in wrong.err) == (2, True)


@pytest.mark.parametrize("form", ["mermaid", "dot", "text"])
def test_a_graph_shows_groups_conditions_and_loops(cli: Cli, write: Write, form: str) -> None:
    write(
        "g.yaml",
        """
        yamlflow: 1
        name: g
        steps:
          a: {kind: noop}
          many: {needs: {a: finished}, for_each: ["x\\"y"], steps: {inner: {kind: noop}}}
        finally: [{kind: log, with: {message: done}}]
        """,
    )
    drawn = cli("graph", "g.yaml", "--format", form)
    assert drawn.status == 0
    for words in ("inner", "finished", "for_each", "finally"):
        assert words in drawn.out


def test_the_graph_of_a_run_shows_its_statuses(cli: Cli, write: Write) -> None:
    write("flaky.yaml", FLAKY)
    cli("run", "flaky.yaml", "--run-id", "f1")
    assert "classDef failed" in cli("graph", "f1").out
    assert "shaky  [shell]  needs first  (failed)" in cli("graph", "f1", "--format", "text").out


def test_validate_names_every_problem_with_its_place(cli: Cli, write: Write) -> None:
    write("good.yaml", HELLO)
    write("bad.yaml", "yamlflow: 1\nname: bad\nsteps:\n  a: {kind: noop, needs: nix}\n  b: {kind: nop}\n")
    checked = cli("validate", "good.yaml", "bad.yaml")
    assert checked.status == 2
    assert "✓ good.yaml" in checked.out
    assert "bad.yaml:4:" in checked.err
    assert "bad.yaml:5:" in checked.err
    assert 'Did you mean "noop"?' in checked.err
    document = cli("validate", "bad.yaml", "--json").json[0]
    assert document["valid"] is False
    assert {problem["line"] for problem in document["problems"]} == {4, 5}


def test_a_kind_is_explained_with_an_example(cli: Cli) -> None:
    text = cli("kinds", "shell").out
    assert "Run a command" in text
    assert "Example:" in text
    assert cli("kinds", "shell", "--json").json["schema"]["required"] == ["run"]
    wrong = cli("kinds", "shel")
    assert (wrong.status, 'Did you mean "shell"?' in wrong.err) == (2, True)


def test_a_broken_plugin_is_listed_with_its_line_and_spares_the_others(cli: Cli, write: Write) -> None:
    write(
        "plugins/good.py", "from yamlflow import executor\n\n@executor('good/one')\ndef one() -> int:\n    return 1\n"
    )
    write(
        "plugins/bad.py",
        "from yamlflow import executor\n\nimport nowhere_to_be_found\n\n@executor('bad/one')\ndef f(): ...\n",
    )
    listed = cli("plugins")
    assert listed.status == 0
    assert "good/one" in listed.out
    assert "plugins/bad.py:3" in listed.err
    assert cli("plugins", "--strict").status == 2
    assert "Its plugin is broken" in cli("kinds", "bad/one").err


def test_the_schema_holds_what_every_kind_wants(cli: Cli, write: Write) -> None:
    from jsonschema import Draft202012Validator

    write(
        "plugins/mine.py",
        "from yamlflow import executor\n\n@executor('mine/add')\ndef add(a: int, b: int) -> int:\n    return a + b\n",
    )
    schema = cli("schema").json
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)

    def package(step: object) -> dict[str, object]:
        return {"yamlflow": 1, "name": "p", "steps": {"s": step}}

    assert validator.is_valid(package({"kind": "mine/add", "with": {"a": 1, "b": "${{ 1 + 1 }}"}}))
    assert validator.is_valid(package({"kind": "somebody/elses", "with": {"x": 1}}))
    assert not validator.is_valid(package({"kind": "mine/add", "with": {"a": 1, "b": "two"}}))
    assert not validator.is_valid(package({"kind": "mine/add", "with": {"a": 1, "c": 2}}))
    assert not validator.is_valid(package({"run": "true", "with": {"pars": "json"}}))
    assert validator.is_valid(package({"run": "true", "with": {"parse": "json"}}))
    bare = cli("schema", "--bare").json
    assert "with:mine/add" not in bare["$defs"]


def test_an_older_execution_is_listed_by_what_leads_to_it(cli: Cli, write: Write) -> None:
    write("hello.yaml", HELLO)
    cli("run", "hello.yaml", "--run-id", "x1", "--who", "one", "-q")
    assert cli("runs").out.splitlines()[1].startswith("x1 ")
    cli("run", "hello.yaml", "--run-id", "x1", "--who", "two", "-q", "--if-exists", "new")
    names = [line.split()[0] for line in cli("runs").out.splitlines()[1:]]
    assert names == ["x1@2", "x1@1"]
    assert [cli("result", name).json["text"] for name in names] == ["hello two", "hello one"]
    assert "x1@1" in cli("show", "x1@1").out
    assert cli("runs", "--limit", 1).err == "… more: yamlflow runs --before x1@2\n"
    assert cli("prune", "x1@1").out == "x1@1\n"


def test_logs_of_several_steps_stand_under_their_names_on_stdout(cli: Cli, write: Write) -> None:
    write(
        "two.yaml",
        "yamlflow: 1\nname: two\nsteps:\n  a: {run: printf one}\n  b: {needs: a, run: echo three}\n",
    )
    cli("run", "two.yaml", "-q", "--run-id", "t")
    assert cli("logs", "t").out == "── a\none\n── b\nthree\n"
    alone = cli("logs", "t", "b")
    assert (alone.out, alone.err) == ("three\n", "── b\n")


def test_names_too_long_for_a_file_are_kept_apart(cli: Cli, write: Write) -> None:
    write(
        "long.yaml",
        "yamlflow: 1\nname: long\nsteps:\n  say:\n    for_each: {items: [one, two], key: \"${{ 'k' * 300 ~ item }}\"}\n"
        '    run: [echo, "${{ item }}"]\n',
    )
    run_id = "é" * 200
    assert cli("run", "long.yaml", "-q", "--run-id", run_id).status == 0
    assert [cli("logs", run_id, f"say[{'k' * 300}{item}]").out for item in ("one", "two")] == ["one\n", "two\n"]
    assert cli("logs", run_id, f"say[{'k' * 300}two]").err == f"── say[{'k' * 300}two]\n"
    assert cli("prune", run_id).status == 0


def test_each_attempt_has_a_log_of_its_own_under_its_number(cli: Cli, write: Write) -> None:
    write("flaky.yaml", FLAKY.replace("needs: first\n", "needs: first\n        retry: {max_attempts: 2, delay: 1ms}\n"))
    cli("run", "flaky.yaml", "--run-id", "f1", "-q")
    heads = [line for line in cli("logs", "f1", "shaky").out.splitlines() if line.startswith("──")]
    assert heads == ["── shaky, attempt 1", "── shaky, attempt 2"]
    assert "looking for it" in cli("logs", "f1", "shaky", "--attempt", 2).out
    none = cli("logs", "f1", "shaky", "--attempt", 9)
    assert (none.status, none.err) == (2, "error: there is no attempt 9: step shaky has had 2 attempts at most\n")


def test_a_step_that_is_not_there_has_no_events_but_an_error(cli: Cli, write: Write) -> None:
    write("hello.yaml", HELLO)
    cli("run", "hello.yaml", "--run-id", "h1", "-q")
    wrong = cli("events", "h1", "--step", "zz")
    assert (wrong.status, wrong.out, 'run "h1" has no step "zz"' in wrong.err) == (2, "", True)


def test_a_worker_is_warned_of_a_queue_that_nobody_has_used(cli: Cli, write: Write) -> None:
    write("q.yaml", "yamlflow: 1\nname: q\nqueues: {slow: {}}\nsteps: {a: {kind: noop, queue: slow}}\n")
    cli("start", "q.yaml")
    worked = cli("worker", "--queues", "slow,default,q/slow", "--max-cycles", 1)
    assert worked.status == 0
    assert worked.err.count("warning") == 1
    assert 'there is no queue "slow" yet. Did you mean "q/slow"?' in worked.err


def test_a_graph_is_json_for_programs(cli: Cli, write: Write) -> None:
    write("flaky.yaml", FLAKY)
    drawn = cli("graph", "flaky.yaml", "--json").json
    assert [step["path"] for step in drawn["steps"]] == ["first", "shaky", "last"]
    assert {"source": "first", "target": "shaky", "ends": "succeeded"} in drawn["arrows"]
    assert drawn["statuses"] == {}
    cli("run", "flaky.yaml", "--run-id", "f1", "-q")
    assert cli("graph", "f1", "--json").json["statuses"]["shaky"] == "failed"


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ("[{build: {run: make}}]", "write `- id: build` with its keys beside it"),
        ("[{kind: bash}]", "Write run: … with: {shell: bash}."),
        ("{a: {kind: noop, compensate: {kind: noop}}}", "Write undo."),
        ("[{kind: noop}]\non: x", "Write schedule."),
    ],
)
def test_a_hint_leads_to_what_this_version_does(cli: Cli, write: Write, steps: str, words: str) -> None:
    write("wrong.yaml", f"yamlflow: 1\nname: wrong\nsteps: {steps}\n")
    checked = cli("validate", "wrong.yaml")
    assert (checked.status, words in checked.err) == (2, True), checked.err


def test_a_list_of_kinds_never_ends_with_one_more(cli: Cli, write: Write) -> None:
    write("wrong.yaml", "yamlflow: 1\nname: wrong\nsteps: [{kind: zork}]\n")
    assert "1 more" not in cli("validate", "wrong.yaml").err
    assert "approval" in cli("validate", "wrong.yaml").err


def test_a_run_that_a_program_built_is_drawn_with_its_own_steps(cli: Cli, folder: Path) -> None:
    from yamlflow import Package, RunBuilder, Runtime

    def build(run: RunBuilder) -> None:
        run.step("last/one", kind="noop", needs=run.step("first", kind="noop"))

    (folder / ".yamlflow").mkdir()
    with Runtime(f"sqlite:///{folder}/.yamlflow/yamlflow.db") as rt:
        rt.start(Package("made", entrypoint=build), run_id="made-1")
        rt.run_until_idle()
    drawn = cli("graph", "made-1", "--json").json
    assert drawn["arrows"] == [{"source": "first", "target": "last%2Fone", "ends": "succeeded"}]
    assert drawn["statuses"]["last%2Fone"] == "succeeded"


def test_context_is_given_on_the_command_line_and_a_mistyped_name_is_told(cli: Cli, write: Write) -> None:
    write(
        "x.yaml",
        """
        yamlflow: 1
        name: x
        context: [tenant]
        steps: {a: {kind: set, with: {value: "${{ context.tenant }}"}}}
        outputs: {tenant: "${{ steps.a.result }}"}
        """,
    )
    assert cli("run", "x.yaml", "-q", "--context", "tenant=acme").out == "tenant: acme\n"
    told = cli("run", "x.yaml", "--context", "tennant=acme")
    assert told.status == 2
    assert 'context.tennant: the package declares no context value of this name. Did you mean "tenant"?' in told.err
