"""The docs say what is so: generated parts are current, every YAML block is well-formed, every example runs."""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from yamlflow import errors
from yamlflow.document import check_tests, package_schema, read

from .conftest import ROOT, problems

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")


def blocks(language: str) -> Iterator[Any]:
    """Each block of a language in the docs, as a parameter named for its page and line."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in BLOCK.finditer(text):
            if match[1] == language:
                line = text.count("\n", 0, match.start()) + 1
                yield pytest.param(match[2], id=f"{page.name}:{line}")


def as_package(text: str) -> str:
    """A block as a whole package: some show only the steps, or only one of them."""
    data = yaml.safe_load(text)
    if "yamlflow" in data:
        return text
    header = "yamlflow: 1\nname: example\n"
    if "steps" in data:
        return header + text
    asked = {need for step in data.values() for need in step.get("needs", ())}
    before = "".join(f"  {need}: {{kind: noop, if: run.id != 'none'}}\n" for need in sorted(asked - set(data)))
    return header + "steps:\n" + before + "".join(f"  {line}\n" for line in text.splitlines())


def generator() -> Any:
    """``docs/generate.py`` as a module."""
    spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda page: page.name)
def test_the_generated_parts_are_what_the_code_says(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert generator().renewed(text) == text, "run docs/generate.py"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    links = LINK.findall(page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("text", [*blocks("yaml")])
def test_nothing_is_wrong_with_a_yaml_block(text: str) -> None:
    if "\ntests:\n" in text:
        assert check_tests(read(text)) == []
        return
    assert problems(as_package(text)) == []


@pytest.mark.parametrize("text", [*blocks("python")])
def test_a_python_block_is_python(text: str) -> None:
    ast.parse(text)


def test_a_wrong_block_would_be_found() -> None:
    assert "there is no step" in problems(as_package("steps:\n  one: {needs: tow, kind: noop}\n"))[0]


# -- the language --------------------------------------------------------------------------------------------------


def documented(section: str) -> list[str]:
    """The keys in the first table after a heading of the language page, and in tables below it of a deeper level."""
    page = (ROOT / "docs" / "language.md").read_text(encoding="utf-8")
    _, _, rest = page.partition(f"\n{section}\n")
    assert rest, f"there is no heading {section!r}"
    level = section.partition(" ")[0]
    body = re.split(rf"^#{{1,{len(level)}}} ", rest, maxsplit=1, flags=re.MULTILINE)[0]
    same = [line for line in body.splitlines() if line.startswith(("As for a group:", "As for a step:"))]
    return re.findall(r"^\| `(\w+)` \|", body, re.MULTILINE) + re.findall(r"`(\w+)`", "".join(same))


def test_every_key_of_a_package_is_documented_once() -> None:
    assert sorted(documented("## Package keys")) == sorted(package_schema()["properties"])


def test_every_key_of_a_step_is_documented_once() -> None:
    definitions = package_schema()["$defs"]
    known = {*definitions["step"]["properties"], *definitions["list_step"]["properties"]}
    assert sorted(documented("## Step keys")) == sorted(known)


def test_every_mapping_of_the_language_has_its_table() -> None:
    schema, made = package_schema(), generator()
    elsewhere = {"", "$defs/step", "$defs/list_step", "$defs/undo", "$defs/json_schema", "$defs/json_schema/properties"}
    assert set(mappings(schema, "")) - elsewhere == set(made.INNER.values())
    for heading, pointer in made.INNER.items():
        assert sorted(documented(f"### {heading}")) == sorted(made.at(schema, pointer)["properties"]), heading


def mappings(node: Any, pointer: str) -> Iterator[str]:
    """Where in the schema the keys of a mapping are listed."""
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    if isinstance(node, dict) and isinstance(node.get("properties"), dict) and "type" in node:
        yield pointer
    for key, child in children:
        yield from mappings(child, f"{pointer}/{key}".removeprefix("/"))


def test_every_key_has_a_description() -> None:
    made, schema = generator(), package_schema()
    for pointer in mappings(schema, ""):
        for key, node in made.at(schema, pointer)["properties"].items():
            if isinstance(node, dict) and "json_schema" not in pointer:
                assert made.resolved(schema, node).get("description"), f"{pointer}/{key}"


# -- errors --------------------------------------------------------------------------------------------------------

FAULTS = frozenset({"Permanent", "Retryable", "StepFault", "fault"})
CODE = re.compile(r"[a-z]+(_[a-z]+)*")


def codes() -> set[str]:
    """Every code of an error that the source of yamlflow names."""
    calls = [
        node
        for file in (ROOT / "yamlflow").rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
    ]
    given = [call.args[0] for call in calls if getattr(call.func, "id", "") in FAULTS and call.args]
    given += [word.value for call in calls for word in call.keywords if word.arg == "code"]
    texts = {each.value for each in given if isinstance(each, ast.Constant) and isinstance(each.value, str)}
    return {text for text in texts if CODE.fullmatch(text)}


def test_every_code_is_documented_once() -> None:
    page = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    written = re.findall(r"^\| `([a-z_]+)` \|", page, re.MULTILINE)
    assert sorted(written) == sorted(codes() | {"executor_error", "result_damaged"})


def test_every_error_that_yamlflow_raises_is_documented() -> None:
    page = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    for family in (errors.UserError, errors.StoreError):
        for each in family.__subclasses__():
            assert each.__module__ != errors.__name__ or f"`{each.__name__}`" in page


# -- examples ------------------------------------------------------------------------------------------------------

QUICKSTART = (ROOT / "docs" / "quickstart.md").read_text(encoding="utf-8")
#: Lines of the quickstart that end with another status than 0.
STATUSES = {"yamlflow run workflows/hello.yaml -i message=": 1, "yamlflow retry RUN": 1}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The project that the quickstart makes, from the files on its page."""
    (tmp_path / "yamlflow.toml").touch()
    for language, text in BLOCK.findall(QUICKSTART):
        if found := re.match(r"# (\w+/\w+\.(?:yaml|py))\n", text):
            assert language in ("yaml", "python")
            file = tmp_path / found[1]
            file.parent.mkdir(exist_ok=True)
            file.write_text(text, encoding="utf-8")
    return tmp_path


def called(project: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """A command in the project, with this source tree's yamlflow."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
    return subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)


def test_the_commands_of_the_quickstart_do_what_it_says(project: Path) -> None:
    lines = [line for language, text in BLOCK.findall(QUICKSTART) if language == "sh" for line in text.splitlines()]
    run = ""
    for line in lines:
        if not line.startswith("yamlflow "):
            continue
        words = [run if word == "RUN" else word for word in shlex.split(line)[1:]]
        told = called(project, sys.executable, "-m", "yamlflow", *words)
        assert told.returncode == STATUSES.get(line, 0), f"{line}: {told.stdout}{told.stderr}"
        if found := re.search(r"\bhello-[0-9a-f]{8}\b", told.stderr):
            run = found[0]
        if line.endswith("message=hi"):
            assert told.stdout == "echoed: hi\n"


def test_the_program_of_the_quickstart_prints_what_it_says(project: Path) -> None:
    program = next(text for language, text in BLOCK.findall(QUICKSTART) if language == "python" and "Runtime(" in text)
    told = called(project, sys.executable, "-c", program)
    assert told.stderr == ""
    assert told.stdout.splitlines() == ["hello-run-1 1 succeeded", "{'echoed': 'hello workflow'}"]
    assert all(f"`{line}`" in QUICKSTART for line in told.stdout.splitlines())


def test_the_plugin_of_the_guide_runs_and_its_test_passes(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
    plugin, test = (block for language, block in BLOCK.findall(text) if language == "python")
    (tmp_path / "bank.py").write_text(
        f"{plugin}\nfrom yamlflow.testing import run_executor\n"
        "print(run_executor(transfer, {'account': 'a', 'cents': 5}).result)\n"
        "print(run_executor(transfer, {'account': 'a', 'cents': 0}).error.code)\n"
    )
    told = called(tmp_path, sys.executable, "bank.py")
    assert told.stdout == "{'account': 'a', 'reference': 'run/1/step'}\nbad_amount\n", told.stderr
    assert called(tmp_path, sys.executable, "-c", f"{test}\ntest_a_message_is_echoed()").returncode == 0


@pytest.mark.parametrize("line", ["./yamlflow-here run workflows/licence-audit.yaml", "./test"])
def test_the_two_commands_of_the_readme_are_there(line: str) -> None:
    assert f"```sh\n{line}\n```" in (ROOT / "README.md").read_text(encoding="utf-8")
    script, *arguments = shlex.split(line)
    assert os.access(ROOT / script, os.X_OK)
    assert all((ROOT / argument).is_file() for argument in arguments if "/" in argument)


def test_nothing_that_is_published_names_a_machine() -> None:
    roots = ("workflows", "plugins", "docs", ".ci")
    files = [file for root in roots for file in (ROOT / root).rglob("*") if file.is_file() and file.suffix != ".pyc"]
    for file in (*files, *PAGES, ROOT / "pyproject.toml", ROOT / "yamlflow-here", ROOT / "test"):
        assert not re.search(r"/(home|root|Users|work)/", file.read_text(encoding="utf-8")), file
