"""``yamlflow test``, as a user meets it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

from ..conftest import ROOT
from .conftest import HELLO, Cli, Write, command, environment

TESTS = """
    tests:
      it greets: {inputs: {who: Ada}, expect: {outputs_like: {text: hello Ada}}}
      it shouts: {inputs: {who: Ada}, expect: {outputs_like: {text: HELLO ADA}}}
"""
ENV = environment()


@pytest.fixture
def hello(write: Write) -> Path:
    write("workflows/hello.yaml", HELLO)
    return write("workflows/hello.test.yaml", TESTS)


def test_it_tells_what_passed_and_what_did_not(cli: Cli, hello: Path) -> None:
    called = cli("test")
    assert called.status == 1
    assert "✓ workflows/hello.test.yaml: it greets\n" in called.out
    assert "✗ workflows/hello.test.yaml: it shouts\n" in called.out
    assert '      outputs.text: expected "HELLO ADA", came "hello Ada"' in called.out
    assert "    workflows/hello.test.yaml:3:44: outputs: not as expected" in called.out
    assert "greet: succeeded" in called.out
    assert "1 failed, 1 passed in " in called.out


@pytest.mark.parametrize(
    "given", [["workflows/hello.test.yaml"], ["workflows"], ["hello"], ["workflows/hello.yaml"], []]
)
def test_tests_are_named_by_file_folder_or_package(cli: Cli, hello: Path, given: list[str]) -> None:
    called = cli("test", *given, "-k", "GREETS")
    assert (called.status, called.out.count("✓"), "1 passed" in called.out) == (0, 1, True)


def test_quiet_tells_of_failures_only(cli: Cli, hello: Path) -> None:
    assert cli("test", "-q", "-k", "greets").out == ""
    assert "it greets" not in cli("test", "-q").out


def test_verbose_tells_the_story_of_what_passed(cli: Cli, hello: Path) -> None:
    assert "+0s         greet: succeeded" in cli("test", "-v", "-k", "greets").out


def test_json_holds_all_of_it(cli: Cli, hello: Path) -> None:
    called = cli("test", "--json")
    good, bad = called.json
    assert called.status == 1
    assert (good["test"], good["passed"], good["failures"], good["line"]) == ("it greets", True, [], 2)
    assert bad["failures"][0]["message"] == "outputs: not as expected"
    assert any("greet: succeeded" in line for line in bad["story"])


def test_junit_is_written_for_ci(cli: Cli, hello: Path) -> None:
    assert cli("test", "--junit", "report.xml").status == 1
    root = ElementTree.parse("report.xml").getroot()
    assert (root.attrib["tests"], root.attrib["failures"]) == ("2", "1")
    failure = root.find("testsuite/testcase[@name='it shouts']/failure")
    assert failure is not None
    assert "HELLO ADA" in (failure.text or "")


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        (["nowhere.test.yaml"], "there is no file nowhere.test.yaml"),
        (["workflows/helo.test.yaml"], 'Did you mean "hello.test.yaml"?'),
        (["helo"], 'Did you mean "hello"?'),
        (["-k", "nothing"], 'No test has "nothing" in its name'),
        (["empty"], "there are no *.test.yaml files in empty"),
        (["bare"], "workflows/bare.yaml has no tests; they would be in workflows/bare.test.yaml"),
    ],
)
def test_what_is_not_there_is_told_with_a_remedy(
    cli: Cli, hello: Path, write: Write, given: list[str], complaint: str
) -> None:
    Path("empty").mkdir()
    write("workflows/bare.yaml", HELLO.replace("name: hello", "name: bare"))
    called = cli("test", *given)
    assert called.status == 2
    assert complaint in called.err
    assert called.out == ""


def test_a_folder_without_packages_says_how_to_begin(cli: Cli) -> None:
    called = cli("test")
    assert called.status == 2
    assert "write one beside a package: workflows/hello.test.yaml" in called.err


def test_a_file_that_is_wrong_runs_nothing(cli: Cli, hello: Path, write: Write) -> None:
    write("workflows/other.test.yaml", "tests: {a: {expect: {stauts: failed}}}")
    called = cli("test")
    assert called.status == 2
    assert called.out == ""
    assert (
        'workflows/other.test.yaml:1:22: tests.a.expect.stauts: there is no key "stauts" here. Did you mean "status"?'
        in called.err
    )


def test_a_package_that_is_wrong_or_not_there_is_told(cli: Cli, write: Write) -> None:
    write("a.test.yaml", "tests: {t: }")
    called = cli("test", "a.test.yaml")
    assert called.status == 2
    assert "there is no file a.yaml" in called.err
    write("a.yaml", "yamlflow: 1\nname: a\nsteps: {x: {kind: stt}}")
    called = cli("test", "a.test.yaml")
    assert called.status == 2
    assert 'a.yaml:3:19: steps.x.kind: there is no kind "stt"' in called.err


def test_packages_that_are_wrong_are_all_told_before_anything_runs(cli: Cli, hello: Path, write: Write) -> None:
    for name in ("worse", "zworst"):
        write(f"workflows/{name}.yaml", f"yamlflow: 1\nname: {name}\nsteps: {{x: {{kind: stt}}}}")
        write(f"workflows/{name}.test.yaml", "tests: {one: , two: }")
    called = cli("test")
    assert (called.status, called.out, called.err.count("there is no kind")) == (2, "", 2)


def test_nothing_is_left_behind(cli: Cli, hello: Path, folder: Path) -> None:
    cli("test")
    assert sorted(file.name for file in folder.rglob("*") if file.is_file()) == ["hello.test.yaml", "hello.yaml"]


# -- files of tests are no packages --------------------------------------------------------------------------------


def test_files_of_tests_are_not_listed_as_packages(cli: Cli, hello: Path) -> None:
    assert "test" not in cli("packages").out


def test_validate_checks_them_as_tests(cli: Cli, hello: Path, write: Write) -> None:
    called = cli("validate")
    assert (called.status, called.out.splitlines()) == (0, ["✓ workflows/hello.yaml", "✓ workflows/hello.test.yaml"])
    write("workflows/hello.test.yaml", "tests: {a: {mock: []}}")
    called = cli("validate", "workflows/hello.yaml", "workflows/hello.test.yaml")
    assert called.status == 2
    assert (
        'workflows/hello.test.yaml:1:13: tests.a.mock: there is no key "mock" here. Did you mean "mocks"?' in called.err
    )


def test_run_says_how_tests_are_run(cli: Cli, hello: Path) -> None:
    called = cli("run", "workflows/hello.test.yaml")
    assert called.status == 2
    assert "holds tests, not a package; `yamlflow test workflows/hello.test.yaml` runs them" in called.err


def test_the_schema_of_tests_is_printed(cli: Cli) -> None:
    assert cli("schema", "--test").json == json.loads((ROOT / "schemas" / "test.schema.json").read_text())


# -- the worked packages -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", sorted((ROOT / "workflows").rglob("*.test.yaml")), ids=lambda file: file.name)
def test_the_tests_of_a_worked_package_pass(file: Path) -> None:
    pytest.importorskip("selectolax")
    told = subprocess.run(
        command("test", file), env=ENV, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
    )
    assert told.returncode == 0, told.stdout + told.stderr
    assert told.stderr == ""


def test_a_month_of_sleeping_tests_is_over_in_milliseconds(
    write: Write, process: Callable[..., subprocess.Popen[str]]
) -> None:
    write("workflows/nap.yaml", "yamlflow: 1\nname: nap\nsteps: {nap: {kind: sleep, with: {for: 30d}}}\n")
    cases = "".join(f"  night {number}: {{expect: {{duration: 30d}}}}\n" for number in range(30))
    Path("workflows/nap.test.yaml").write_text(f"tests:\n{cases}")
    out, err = process("test", "--json").communicate(timeout=60)
    verdicts = json.loads(out)
    assert (len(verdicts), err) == (30, "")
    assert all(one["passed"] for one in verdicts)
    assert sorted(one["took_ms"] for one in verdicts)[15] < 200


def test_a_package_that_is_not_there_is_told_where_it_is_named(cli: Cli, write: Write) -> None:
    write("a.test.yaml", "package: nope.yaml\ntests: {it ends: {expect: {status: succeeded}}}\n")
    called = cli("test", "a.test.yaml")
    assert (called.status, called.err) == (
        2,
        "error: a.test.yaml:1:10: package: there is no file nope.yaml. Check the path.\n",
    )
