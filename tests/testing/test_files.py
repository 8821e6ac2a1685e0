"""Files of tests: read strictly, found beside their packages, never taken for packages."""

from __future__ import annotations

import json
from pathlib import Path
from textwrap import dedent

import jsonschema
import pytest

from yamlflow.document import check_tests, read, schema_of_tests
from yamlflow.errors import InvalidPackage
from yamlflow.project import package_files
from yamlflow.testing.cases import cases_of, load_cases

from ..conftest import ROOT

FILES = sorted(ROOT.rglob("workflows/**/*.test.yaml"))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "the file is empty"),
        ("[1]", "a file of tests is a mapping"),
        ("yamlflow: 1\nname: a\nsteps: {}", "this is a package, not its tests"),
        ("test: {}", 'Did you mean "tests"?'),
        ("tests: {}", "must not be empty"),
        ("tests: {a: {exspect: {}}}", 'there is no key "exspect" here. Did you mean "expect"?'),
        ("tests: {a: {expect: {staus: failed}}}", 'Did you mean "status"?'),
        ("tests: {a: {expect: {status: done}}}", "must be succeeded, failed or canceled"),
        ("tests: {a: {expect: {outputs: 1, outputs_like: 1}}}", "outputs and outputs_like exclude one another"),
        ("tests: {a: {expect: {error: x, status: succeeded}}}", "error goes with status: failed"),
        ("tests: {a: {expect: {refused: x, outputs: 1}}}", "a run that is refused has no outputs"),
        ("tests: {a: {expect: {error: {message_matches: '('}}}}", "this is no regular expression"),
        ("tests: {a: {expect: {duration: 30}}}", "must be text or a mapping; this is the number 30"),
        ("tests: {a: {start_at: noon}}", 'must be a moment; this is text "noon"'),
        ("tests: {a: {mocks: [{result: 1}]}}", "what is mocked is missing. Write one of kind, step or package."),
        ("tests: {a: {mocks: [{kind: a, step: b}]}}", "kind and step exclude one another"),
        ("tests: {a: {mocks: [{kind: a, result: 1, error: b}]}}", "result and error exclude one another"),
        ("tests: {a: {mocks: [{kind: a, repeat: true}]}}", "repeat belongs to sequence"),
        ("tests: {a: {mocks: [{kind: a, takes: 1s, sequence: [{}]}]}}", "takes belongs to one answer"),
        ("tests: {a: {mocks: [{kind: a, sequence: []}]}}", "must not be empty"),
        ("tests: {a: {events: [{cancel: true}]}}", "when it happens is missing"),
        ("tests: {a: {events: [{after: 1s}]}}", "what happens is missing"),
        ("tests: {a: {events: [{after: 1s, at: '2026-01-01'}]}}", "after and at exclude one another"),
        ("tests: {a: {events: [{after: 1s, cancel: true, retry: true}]}}", "cancel and retry exclude one another"),
        ("tests: {a: {events: [{after: 1s, cancel: false}]}}", "cancel cannot be false"),
        ("tests: {a: {events: [{after: 1s, approve: true}]}}", "which step is answered is missing"),
        ("tests: {a: {events: [{after: soon, cancel: true}]}}", '"soon"'),
        ("tests: [{expect: {}}]", '"name" is missing'),
        ("tests: [{name: a}, {name: a}]", 'the name "a" is in this list twice'),
    ],
)
def test_what_is_wrong_is_told_with_its_place_and_remedy(text: str, complaint: str) -> None:
    with pytest.raises(InvalidPackage) as caught:
        cases_of(read(text, file="a.test.yaml"))
    assert complaint in str(caught.value)
    assert str(caught.value).startswith("a.test.yaml:1:") or "yamlflow" in text


def test_a_problem_has_line_and_column() -> None:
    text = "tests:\n  one:\n    expect:\n      outputs_lik: 1\n"
    (problem,) = check_tests(read(text, file="a.test.yaml"))
    assert (problem.line, problem.column) == (4, 7)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_the_schema_and_the_jsonschema_library_agree_on_our_files(file: Path) -> None:
    document = read(file.read_text(encoding="utf-8"), file=file.name)
    jsonschema.Draft202012Validator(schema_of_tests()).validate(document.data)
    assert check_tests(document) == []


def test_the_schema_is_a_schema_and_says_something_of_every_key() -> None:
    schema = schema_of_tests()
    jsonschema.Draft202012Validator.check_schema(schema)
    silent = []

    def walk(node: object, where: str) -> None:
        if not isinstance(node, dict):
            return
        for key, child in node.get("properties", {}).items():
            target = schema["$defs"].get(child.get("$ref", "").rpartition("/")[2], {})
            if not child.get("description") and not target.get("description"):
                silent.append(f"{where}.{key}")
            walk(child, f"{where}.{key}")
        for name, child in node.get("$defs", {}).items():
            walk(child, name)
        walk(node.get("additionalProperties"), f"{where}.*")
        walk(node.get("items"), f"{where}[]")

    walk(schema, "")
    assert silent == []


def test_what_stands_beside_the_tests_holds_for_each(tmp_path: Path) -> None:
    file = tmp_path / "a.test.yaml"
    file.write_text(
        dedent("""
            package: b.yaml
            start_at: 2026-05-01
            inputs: {x: 1, y: 1}
            mocks: [{kind: shared}]
            tests:
              - {name: one, inputs: {y: 2}, mocks: [{kind: own}]}
              - {name: two, start_at: 2026-06-01, timeout: 5s}
        """)
    )
    one, two = load_cases(file)
    assert one.inputs == {"x": 1, "y": 2}
    assert [mock.kind for mock in one.mocks] == ["own", "shared"]
    assert one.package == tmp_path / "b.yaml"
    assert two.start_at - one.start_at == 31 * 24 * 3600 * 1000
    assert (one.timeout, two.timeout) == (60_000, 5_000)


def test_a_file_with_the_name_of_tests_is_no_package(tmp_path: Path) -> None:
    for name in ("a.yaml", "a.test.yaml", "b.test.yml"):
        (tmp_path / name).write_text("yamlflow: 1\nname: a\nsteps: {x: {kind: noop}}\n")
    assert [one.file.name for one in package_files([tmp_path])] == ["a.yaml"]


def test_a_file_of_tests_is_for_the_package_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "a.b.test.yml"
    file.write_text("tests: {one: }")
    assert load_cases(file)[0].package == tmp_path / "a.b.yml"


@pytest.mark.parametrize("file", sorted((ROOT / "workflows").glob("*.yaml")), ids=lambda file: file.name)
def test_every_worked_package_has_its_tests_with_success_and_failure(file: Path) -> None:
    if file.name.endswith(".test.yaml"):
        assert file.with_name(file.name.replace(".test", "")).is_file()
        return
    beside = file.with_name(f"{file.stem}.test.yaml")
    assert beside.is_file(), f"write {beside.name}"
    cases = load_cases(beside)
    failing = [case for case in cases if is_of_failure(dict(case.expect))]
    assert failing, "no test is of a failure"
    assert len(failing) < len(cases), "no test is of success"


def is_of_failure(expect: dict[str, object]) -> bool:
    """Whether a test is of a run that does not succeed."""
    return bool(expect.keys() & {"error", "refused"}) or expect.get("status") in ("failed", "canceled")


def test_the_schema_in_the_wheel_is_the_one_here() -> None:
    assert json.loads((ROOT / "schemas" / "test.schema.json").read_text()) == schema_of_tests()
    assert 'schemas = "yamlflow/schemas"' in (ROOT / "pyproject.toml").read_text()
