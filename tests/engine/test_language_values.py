"""What steps see and leave: kinds made of steps, environment, secrets, artifacts, ``dedup_key``, expressions."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from .stage import Stage, staged

SECRET = "s3cret-t0ken-value"

# -- kinds made of steps -------------------------------------------------------------------------------------------

DOUBLE = """
kinds:
  double:
    inputs: {n: {type: integer}, by: {type: integer, default: 2}}
    steps: {x: {kind: set, with: {value: "${{ inputs.n * inputs.by }}"}}}
    outputs: {n: "${{ steps.x.result }}"}
"""


def test_a_kind_made_of_steps_is_a_group_with_inputs(stage: Stage) -> None:
    stage.play(
        DOUBLE + "steps: {a: {kind: double, with: {n: 3}}, "
        "b: {kind: double, needs: a, with: {n: '${{ steps.a.result.n }}', by: 10}}}"
    )
    assert stage.result("b") == {"n": 60}
    assert stage.status("a/x") == "succeeded"


@pytest.mark.parametrize("given", ["{}", "{n: x}", "{n: 1, m: 2}", "{n: '${{ none }}'}"])
def test_its_inputs_are_checked_and_a_bad_one_opens_nothing(stage: Stage, given: str) -> None:
    assert stage.play(DOUBLE + f"steps: {{a: {{kind: double, with: {given}}}}}") == "failed"
    assert stage.error("a")["code"] == "bad_input"
    assert set(stage.statuses()) == {"a"}


@pytest.mark.parametrize("name", ["steps.outside.result", "item", "inputs.n"])
def test_no_name_crosses_the_border_of_a_kind(stage: Stage, name: str) -> None:
    assert stage.play(f"""
        inputs: {{n: {{default: 1}}}}
        kinds: {{k: {{steps: {{x: {{kind: set, with: {{value: "${{{{ {name} }}}}"}}}}}}}}}}
        steps:
          outside: {{kind: ok}}
          a: {{needs: outside, kind: k, for_each: [1]}}
    """) == "failed"  # fmt: skip
    assert stage.error("a[0]/x")["code"] == "template_error"


def test_what_every_step_sees_is_seen_in_a_kind_too(stage: Stage) -> None:
    stage.play(
        """
        context: [tenant]
        kinds:
          k: {steps: {x: {kind: set, with: {value: ["${{ run.id }}", "${{ context.tenant }}", "${{ step.path }}"]}}}}
        steps: {a: {kind: k}}
    """,
        context={"tenant": "acme"},
    )
    assert stage.result("a/x") == ["run-1", "acme", "a/x"]


def test_kinds_may_use_kinds(stage: Stage) -> None:
    stage.play(
        DOUBLE.rstrip()
        + """
  quadruple:
    inputs: {n: {type: integer}}
    steps:
      a: {kind: double, with: {n: "${{ inputs.n }}"}}
      b: {kind: double, needs: a, with: {n: "${{ steps.a.result.n }}"}}
    outputs: "${{ steps.b.result.n }}"
steps: {q: {kind: quadruple, with: {n: 3}}}
"""
    )
    assert stage.result("q") == 12


# -- environment ---------------------------------------------------------------------------------------------------


def test_env_goes_from_the_package_through_groups_to_the_step_and_the_nearest_wins(stage: Stage) -> None:
    stage.play("""
        env: {A: package, B: package, C: package}
        steps:
          g:
            env: {B: group, C: group}
            steps:
              x:
                env: {C: "step ${{ env.A }}"}
                kind: set
                with: {value: ["${{ env.A }}", "${{ env.B }}", "${{ env.C }}"]}
    """)
    assert stage.result("g/x") == ["package", "group", "step package"]


def test_processes_get_env_as_text_and_little_of_the_worker_s_own(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_OWN", "1")
    monkeypatch.setenv("MY_OTHER", "2")
    with staged() as one:
        assert one.play("""
            pass_env: [MY_OW*]
            env: {N: "${{ 3 }}", L: "${{ [1, {'a': none}] }}", Z: "${{ none }}"}
            steps: {s: {run: 'echo "$N|$L|[$Z]|${MY_OWN-}|${MY_OTHER-}"'}}
        """) == "succeeded"  # fmt: skip
        assert one.result("s")["stdout"].strip() == '3|[1,{"a":null}]|[]|1|'


# -- secrets -------------------------------------------------------------------------------------------------------


def everything(stage: Stage) -> str:
    """All that is stored: every table, every file."""
    connection = stage.store._db  # type: ignore[attr-defined]
    assert isinstance(connection, sqlite3.Connection)
    tables = [name for (name,) in connection.execute("select name from sqlite_master where type = 'table'")]
    rows = [repr(connection.execute(f"select * from {table}").fetchall()) for table in tables]
    files = [
        path.read_bytes().decode("utf-8", "replace") for path in Path(stage.runtime.home).rglob("*") if path.is_file()
    ]
    return "\n".join([*rows, *files])


def with_secret() -> object:
    """A stage on which TOKEN is known."""
    return staged(secrets={"TOKEN": SECRET}.get)


def test_a_secret_reaches_the_step_and_nothing_that_is_stored_holds_it() -> None:
    with with_secret() as stage:
        assert stage.play("""
            secrets: [TOKEN]
            steps:
              s:
                env: {T: "${{ secrets.TOKEN }}"}
                run: 'test "$T" = s3cret-t0ken-value && echo "said $T" && echo "$T" >&2 && printf %s "$T" | base64'
                with: {parse: lines}
                continue_on_error: true
              f: {run: 'echo "$T" >&2; exit 3', env: {T: "${{ secrets.TOKEN }}"}, continue_on_error: true}
        """) == "succeeded"  # fmt: skip
        assert stage.error("s")["code"] == "secret_in_result"
        assert stage.error("f")["code"] == "exit_status"
        stored = everything(stage)
        assert "***" in stored
        assert SECRET not in stored.replace('test \\"$T\\" = ' + SECRET, "").replace(f'test "$T" = {SECRET}', "")


@pytest.mark.parametrize("value", [SECRET, f"a {SECRET} b", "czNjcmV0LXQwa2VuLXZhbHVl"])
def test_a_result_that_contains_a_secret_fails(value: str) -> None:
    with with_secret() as stage:
        assert (
            stage.play(
                "inputs: {v: {}}\nsecrets: [TOKEN]\nsteps: {a: {kind: ok, with: {value: {deep: ['${{ inputs.v }}']}}}}",
                {"v": value},
            )
            == "failed"
        )
        assert stage.error("a")["code"] == "secret_in_result"
        assert stage.row("a").result is None


def test_a_secret_in_an_error_reads_as_stars() -> None:
    with with_secret() as stage:
        stage.play("secrets: [TOKEN]\nsteps: {a: {kind: bad, with: {message: 'with ${{ secrets.TOKEN }}'}}}")
        assert stage.error("a")["message"] == "with ***"
        assert SECRET not in everything(stage)


@pytest.mark.parametrize(("known", "message"), [({}, "TOKEN is not set"), ({"TOKEN": "abc"}, "fewer than 4")])
def test_a_secret_that_nobody_knows_or_that_is_too_short_fails_the_step(known: dict[str, str], message: str) -> None:
    with staged(secrets=known.get) as stage:
        assert (
            stage.play('secrets: [TOKEN]\nsteps: {a: {kind: ok, with: {value: "${{ secrets.TOKEN | length }}"}}}')
            == "failed"
        )
        assert message in stage.error("a")["message"]


# -- artifacts -----------------------------------------------------------------------------------------------------


def test_artifacts_are_kept_hashed_and_readable_by_later_steps(stage: Stage) -> None:
    import hashlib

    assert stage.play("""
        steps:
          a: {run: 'printf hello > out.txt', artifacts: {text: out.txt}}
          b: {kind: set, needs: a, with: {value: "${{ steps.a.artifacts.text }}"}}
    """) == "succeeded", stage.rows()  # fmt: skip
    kept = stage.result("b")
    assert (kept["size"], kept["sha256"]) == (5, hashlib.sha256(b"hello").hexdigest())
    assert {"path", "size", "sha256", "content_type"} <= set(kept)


def test_a_glob_reads_as_a_mapping_by_path_however_many_files_it_names(stage: Stage) -> None:
    assert stage.play("""
        inputs: {pattern: {type: string, default: '*.nothing'}}
        steps:
          a:
            run: 'mkdir -p out; printf 1 > out/a.log; printf 22 > b.txt; printf 3 > c.txt'
            artifacts:
              {plain: b.txt, one: "out/*.log", two: "*.txt", none: "*.md", given: "${{ inputs.pattern }}"}
          b: {kind: set, needs: a, with: {value: "${{ steps.a.artifacts }}"}}
    """) == "succeeded", stage.rows()  # fmt: skip
    kept = stage.result("b")
    assert kept["plain"]["size"] == 2
    sizes = {name: {path: one["size"] for path, one in kept[name].items()} for name in ("one", "two", "none", "given")}
    assert sizes == {"one": {"out/a.log": 1}, "two": {"b.txt": 2, "c.txt": 1}, "none": {}, "given": {}}
    assert set(kept) == {"plain", *sizes}


def test_a_plain_path_that_a_failed_step_did_not_leave_reads_as_nothing(stage: Stage) -> None:
    stage.play("""
        steps:
          a: {run: 'exit 1', continue_on_error: true, artifacts: {plain: a.txt, many: "*.txt"}}
          b: {kind: set, needs: {a: failed}, with: {value: "${{ steps.a.artifacts }}"}}
    """)
    assert stage.result("b") == {"many": {}}


def test_files_that_a_command_leaves_below_a_folder_keep_their_names(stage: Stage) -> None:
    stage.play("""
        steps:
          a: {run: 'mkdir $YAMLFLOW_ARTIFACTS/sub; printf x > $YAMLFLOW_ARTIFACTS/sub/b.txt'}
          b: {kind: set, needs: a, with: {value: "${{ steps.a.artifacts['sub/b.txt'].size }}"}}
    """)
    assert stage.result("b") == 1


def test_artifacts_are_listed_with_their_run(stage: Stage) -> None:
    stage.play("steps: {a: {run: 'printf x > a.txt', artifacts: {one: a.txt}}}")
    (row,) = stage.store.artifacts(stage.run().key)
    assert (row.name, row.size) == ("one", 1)


# -- dedup_key -----------------------------------------------------------------------------------------------------


def test_a_second_step_with_the_key_takes_the_first_one_s_outcome(stage: Stage) -> None:
    stage.play(
        "steps: {a: {kind: ok, dedup_key: k, with: {value: 1}}, "
        "b: {kind: ok, dedup_key: k, with: {value: 2}}, c: {kind: ok, needs: b, dedup_key: k}}"
    )
    assert (stage.result("a"), stage.result("b"), stage.result("c")) == (1, 1, 1)
    assert stage.ran == ["a"]


def test_a_second_step_waits_for_the_first_and_fails_with_it(stage: Stage) -> None:
    stage.start("steps: {a: {kind: ok, dedup_key: k}, b: {kind: ok, dedup_key: k}, c: {kind: ok, needs: {b: failed}}}")
    assert stage.lease() == ["a"]
    assert stage.status("b") == "waiting"
    stage.fail("a")
    assert (stage.status("b"), stage.error("b")["code"]) == ("failed", "boom")
    assert stage.lease() == ["c"]


def test_keys_are_evaluated_and_differ_between_runs(stage: Stage) -> None:
    body = "inputs: {k: {}}\nsteps: {a: {kind: ok, for_each: [1, 1, 2], dedup_key: '${{ inputs.k }}-${{ item }}'}}"
    stage.play(body, {"k": "x"})
    stage.play(body, {"k": "x"})
    assert stage.ran == ["a[0]", "a[2]"] * 2


def test_the_key_of_a_step_that_failed_is_its_own_again_after_a_retry(stage: Stage) -> None:
    stage.start("steps: {a: {kind: ok, dedup_key: k}, b: {kind: ok, dedup_key: k}}")
    stage.lease()
    stage.fail("a")
    assert stage.finish() == "failed"
    assert set(stage.runtime.retry(stage.run_id)) == {"a", "b"}
    assert stage.finish() == "succeeded"
    assert len(stage.ran) == 1


# -- expressions ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "value"), [
    ("${{ 1 + 1 }}", 2), ("${{ [1, 'a'] }}", [1, "a"]), ("n=${{ 1 + 1 }}", "n=2"), ("${{ none }}", None),
    ("-${{ none }}-", "--"), ("${{ [1, none] }}!", "[1,null]!"), ("${{ true }}x", "truex"), ("$ {{ 1 }}", "$ {{ 1 }}"),
    ("{{ 1 }} {% x %}", "{{ 1 }} {% x %}"), ("${{ 'a' }}${{ 'b' }}", "ab"),
])  # fmt: skip
def test_a_whole_expression_keeps_its_type_and_longer_text_is_text(stage: Stage, text: str, value: object) -> None:
    stage.play(f"steps: {{a: {{kind: ok, with: {{value: {json.dumps(text)}}}}}}}")
    assert stage.result("a") == value


def test_rendered_text_is_never_rendered_again(stage: Stage) -> None:
    stage.play(
        "inputs: {x: {}}\nsteps: {a: {kind: set, with: {value: '${{ inputs.x }}'}}, "
        "b: {kind: set, needs: a, with: {value: '${{ steps.a.result }}!'}}}",
        {"x": "${{ 1 + 1 }}"},
    )
    assert stage.result("b") == "${{ 1 + 1 }}!"


def test_everything_that_is_said_to_be_in_scope_is(stage: Stage) -> None:
    assert stage.play("""
        version: "2"
        metadata: {team: news}
        context: [tenant]
        steps:
          a: {kind: set, with: {value: {x: 1}}}
          b:
            needs: a
            metadata: {m: 'one'}
            kind: set
            with:
              value:
                - ${{ steps.a.result.x }}
                - ${{ steps.a.status }}
                - ${{ needs.a.result.x }}
                - ${{ step.id }} ${{ step.path }} ${{ step.metadata.m }}
                - ${{ attempt }}
                - ${{ run.package }} ${{ run.version }} ${{ run.metadata.team }} ${{ run.name }}
                - ${{ run.parent }}
                - ${{ run.started_at == now() }}
                - ${{ context.tenant }}
                - ${{ [3, 1] | sort | tojson }}
                - ${{ range(3) | list }}
    """, context={"tenant": "acme"}, name="mine") == "succeeded"  # fmt: skip
    assert stage.result("b") == [
        1,
        "succeeded",
        1,
        "b b one",
        1,
        "play 2 news mine",
        None,
        True,
        "acme",
        "[1,3]",
        [0, 1, 2],
    ]


def test_run_name_and_metadata_are_rendered(stage: Stage) -> None:
    stage.play(
        "run_name: Pages ${{ inputs.n }}\nmetadata: {n: '${{ inputs.n }}'}\ninputs: {n: {}}\nsteps: {a: {kind: ok}}",
        {"n": 5},
    )
    assert stage.run().name == "Pages 5"
    assert json.loads(stage.run().metadata) in ({"n": 5}, {"n": "5"})


def test_an_input_that_does_not_fit_its_kind_fails_before_execution(stage: Stage) -> None:
    stage.play("steps: {a: {kind: sleep, with: {for: '${{ 5 }}'}}, b: {kind: fail, with: {code: 3}}}")
    assert (stage.error("a")["code"], stage.error("b")["code"]) == ("bad_input", "bad_input")


def test_a_kind_that_no_plugin_supplies_fails_the_step(stage: Stage) -> None:
    assert stage.play("steps: {a: {kind: nobody/knows, retry: {max_attempts: 3}}}") == "failed"
    assert stage.error("a")["code"] == "missing_kind"


def test_records_reach_the_projection_with_their_step_or_not_at_all(stage: Stage) -> None:
    stage.play("""
        steps:
          a: {kind: record, with: {collection: stories, key: one, data: {title: A, tags: [x], n: 1}}}
          b: {kind: record, needs: a, with: {collection: stories, key: one, data: {title: B, extra: true}}}
          c: {kind: record, needs: b, with: {collection: stories, key: two, data: {title: C}}}
    """)
    with stage.runtime.projections.open("play") as rows:
        assert rows.execute("select key, title, tags, n, extra from stories order by key").fetchall() == [
            ("one", "B", '["x"]', 1, 1), ("two", "C", None, None, None),
        ]  # fmt: skip
    rows.close()
