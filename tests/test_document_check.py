"""Checking: what is said of a package that is wrong, and that what is right passes."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yamlflow.document import MOST_PROBLEMS, check, package_schema, read
from yamlflow.document.names import WRONG_NAMES
from yamlflow.errors import Problem

HEAD = "yamlflow: 1\nname: good\n"

WHOLE = (
    HEAD
    + """
title: "${{ inputs.pages }} pages"
version: "1.4"
run_name: Run ${{ run.id }}
metadata: {team: news}
inputs:
  pages: {type: integer, minimum: 1, maximum: 5, default: 1}
  site: {type: string, format: uri, default: "http://127.0.0.1:8000"}
  any: true
secrets: [API_TOKEN]
env: {A: text, B: 1, C: true, D: null}
pass_env: ["CI_*"]
signals: {publish: {type: object, required: [by], properties: {by: {type: string}}}}
queues: {http: {max_in_flight: 4, rate: 2/s, burst: 4}, cpu: {max_in_flight: 2, shared: true}, plain: }
kinds:
  requires: [yamlflow-html>=1.0]
  page:
    inputs: {url: {type: string}}
    steps: [{id: get, kind: http, with: {url: "${{ inputs.url }}"}}]
    outputs: {body: "${{ steps.get.result.body }}"}
    finally: [{run: echo done}]
defaults: {queue: http, timeout: 2m, kill_grace: 5s, retry: {max_attempts: 3, backoff: linear, jitter: full}}
concurrency: {key: "${{ inputs.site }}", limit: 2, when_full: cancel_oldest}
schedule: [{cron: "0 6 * * 1-5", timezone: Europe/Berlin, inputs: {pages: 2}, catch_up: latest}, {cron: "@daily"}]
retention: {finished: 7d, continued: 0s}
limits: {steps: 100, events: 1000}
context: [tenant]
projection: {name: news, migrations: migrations}
x-notes: {anything: [1, 2]}
timeout: 1h30m
max_parallel: 3
fail_fast: true
outputs: ${{ steps.a.result }}
steps:
  a: {kind: page, for_each: "${{ range(3) }}", with: {url: x}, priority: -5, shield: true, x-note: kept}
  b: {kind: html/links, needs: a, for_each: [1, 2], with: "${{ inputs.any }}"}
  c:
    needs: {a: finished, b: [failed, skipped]}
    join: any
    for_each: {items: {x: 1}, as: story, key: "${{ story.key }}", max_parallel: 8, tolerate: 5%}
    steps:
      head: {run: [curl, "${{ story.value }}", 3], continue_on_error: true, timeout: "${{ inputs.pages }}s"}
    on_failure: [{kind: log, with: {message: "${{ error.message }}"}}]
    on_cancel: {x: {run: echo}}
    recover: true
  d:
    run: "true"
    matrix: {os: [a, b], v: "${{ steps.a.result }}", include: [{os: c}], exclude: [{os: a}], max_parallel: 1}
  e: {kind: sleep, with: {for: 1s}, repeat: {until: iteration > 3, every: 0s, max: 5}, if: false}
  f: {race: true, steps: {x: {run: a}, y: {run: b}}}
  g:
    {race: finished, continue_on_error: true, timeout: 5m, steps: {x: {run: a}}, env: {A: x}, kill_grace: PT10S}
  h:
    queue: cpu
    run: |
      echo "$A"
    with: {shell: bash}
    artifacts: {report: "out/*.html"}
    dedup_key: "${{ run.id }}"
    cache: {key: "${{ inputs.site }}", ttl: 1d}
    undo: {run: rm x}
    locks: ["${{ inputs.site }}"]
    retry:
      {max_attempts: 2, delay: 250ms, multiplier: 1.5, max_delay: 30s, max_elapsed: PT1H, only: [timeout], never: []}
    if: ${{ true }}
on_failure: [{run: echo}]
finally: [{run: echo}]
"""
)


def problems(text: str) -> list[str]:
    return [str(problem) for problem in check(read(text, file="f"))]


def test_a_package_that_uses_all_of_the_language_has_no_problems() -> None:
    assert problems(WHOLE) == []


def test_the_whole_package_above_uses_every_key_there_is() -> None:
    data = read(WHOLE).data
    schema = package_schema()
    used = {key for step in data["steps"].values() for key in step}
    assert set(schema["properties"]) - set(data) == {"description", "race", "recover", "on_cancel"}
    assert set(schema["$defs"]["step"]["properties"]) - used == {
        "title",
        "description",
        "metadata",
        "max_parallel",
        "fail_fast",
        "outputs",
        "finally",
    }


def test_problems_come_in_the_order_of_the_text_and_end_with_a_note_when_there_are_too_many() -> None:
    text = HEAD + "steps:\n" + "".join(f"  s{number}: {{runn: x, timeout: 3}}\n" for number in range(200))
    found = check(read(text))
    assert len(found) == MOST_PROBLEMS + 1
    places = [(problem.line, problem.column) for problem in found[:-1]]
    assert places == sorted(places)
    assert found[-1].message == "there are more problems than these"


@pytest.mark.parametrize(
    ("level", "step", "right"),
    [
        ("step", "depends_on: b", "needs"),
        ("step", "dependsOn: b", "needs"),
        ("step", "depends: b", "needs"),
        ("step", "when: x", "if"),
        ("step", "uses: x", "kind"),
        ("step", "withItems: [1]", "for_each"),
        ("step", "with_items: [1]", "for_each"),
        ("step", "params: {}", "with"),
        ("step", "continueOn: x", "continue_on_error"),
        ("step", "continue-on-error: true", "continue_on_error"),
        ("step", "script: x", "run"),
        ("step", "environment: {}", "env"),
        ("step", "retries: 3", "retry"),
        ("step", "retryPolicy: {}", "retry"),
        ("step", "timeout-minutes: 3", "timeout"),
        ("step", "maxParallel: 3", "max_parallel"),
        ("step", "forEach: [1]", "for_each"),
        ("step", "killGrace: 1s", "kill_grace"),
    ],
)
def test_a_key_from_elsewhere_is_refused_with_the_right_name(level: str, step: str, right: str) -> None:
    [found] = [line for line in problems(HEAD + f"steps: {{a: {{{step}, run: x}}}}") if "there is no key" in line]
    assert found.endswith(f"Write {right}.")


def test_the_right_names_in_the_tables_are_keys_of_their_level() -> None:
    schema = package_schema()
    keys = {level: set(schema["$defs"].get(level, {}).get("properties", ())) for level in WRONG_NAMES}
    keys[""] = set(schema["properties"])
    keys["for_each"] = set(schema["$defs"]["for_each"]["anyOf"][2]["properties"])
    keys["concurrency"] = set(schema["properties"]["concurrency"]["properties"])
    keys["cache"] = set(schema["$defs"]["step"]["properties"]["cache"]["properties"])
    for level, names in WRONG_NAMES.items():
        steps = keys["step"] if level in ("", "kind", "list_step", "undo") else set()
        for name, meant in names.items():
            assert " " in meant or meant in keys[level] | steps, (level, name)
            assert steps or name not in {key.replace("_", "") for key in keys[level]}, (level, name)


def test_a_step_that_is_wrong_in_many_ways_is_told_all_of_them() -> None:
    text = HEAD + "steps: {a: {kind: http, run: x, timeout: 3, retry: {max_attempts: 0}, joinn: 1}}"
    assert len(problems(text)) == 4


def test_an_expression_in_a_script_is_refused_at_its_place_with_a_remedy_to_paste() -> None:
    [found] = problems(HEAD + "steps:\n  a:\n    run: echo ${{ inputs.pages }}\n")
    assert found.startswith("f:5:15: steps.a.run: no value becomes code")
    assert found.endswith('Write env: {PAGES: "${{ inputs.pages }}"} and "$PAGES" in the script.')


def test_warnings_are_marked_and_refuse_nothing() -> None:
    found = check(read(HEAD + 'inputs: {a: {typ: string}}\nmetadata: {b: ~, c: "\u202e"}\nsteps: [{run: x}]\n'))
    assert [(problem.warning, problem.line) for problem in found] == [(True, 3), (True, 4), (True, 4)]


def test_a_package_schema_can_be_changed_without_changing_the_language() -> None:
    package_schema()["properties"].clear()
    assert "steps" in package_schema()["properties"]
    assert problems(HEAD + "steps: [{run: x}]") == []


def test_every_key_of_the_language_is_described_for_editors() -> None:
    schema = package_schema()

    def described(node: dict[str, object]) -> bool:
        while "description" not in node and "$ref" in node:
            target: object = schema
            for part in str(node["$ref"]).split("/")[1:]:
                assert isinstance(target, dict)
                target = target[part]
            assert isinstance(target, dict)
            node = target
        return len(str(node.get("description", ""))) > 10

    for level in (schema, *schema["$defs"].values()):
        for branch in (level, *level.get("anyOf", ())):
            for key, node in branch.get("properties", {}).items():
                if level is not schema["$defs"]["json_schema"]:
                    assert described(node), key


_LEAVES = st.sampled_from(
    [
        None,
        True,
        False,
        0,
        1,
        -1,
        2.5,
        "",
        "x",
        "1s",
        "30",
        "${{ x }}",
        "succeeded",
        "finished",
        "all",
        "2/s",
        "5%",
        "a b",
    ]
)
_KEYS = st.sampled_from(
    sorted(
        {
            *package_schema()["properties"],
            *package_schema()["$defs"]["step"]["properties"],
            "id",
            "items",
            "as",
            "key",
            "a",
            "max_attempts",
            "delay",
            "until",
            "cron",
            "type",
            "default",
            "x-a",
            "1",
            "a-b",
            "depends_on",
        }
    )
)
_ANYTHING = st.recursive(
    _LEAVES, lambda values: st.lists(values, max_size=3) | st.dictionaries(_KEYS, values, max_size=5), max_leaves=25
)


@given(_ANYTHING, st.sampled_from([(), ("steps",), ("steps", "a"), ("inputs",), ("kinds",), ("inputs", "a")]))
@settings(max_examples=400, deadline=None)
def test_checking_never_raises_whatever_a_document_holds(value: object, place: tuple[str, ...]) -> None:
    data: object = value
    for key in reversed(place):
        data = {key: data}
    if place and isinstance(data, dict):
        data = {"yamlflow": 1, "name": "x", "steps": {"b": {"run": "x"}}, **data}
    for problem in check(read(json.dumps(data))):
        assert isinstance(problem, Problem)
        assert problem.message
