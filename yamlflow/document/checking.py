"""A document as a package: the language's schema, and the rules that a schema cannot say."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

from ..errors import Problem
from ..outcome import Json
from .author_schemas import schemas_rule
from .complaints import MOST_PROBLEMS
from .names import unknown_key
from .reading import Document
from .rules import RULES
from .rules_of_tests import TEST_RULES
from .schema import Schema
from .source import BIDI, name_of


def package_schema() -> dict[str, Json]:
    """The JSON Schema of the language, a fresh copy."""
    return _read("package.schema.json")


def schema_of_tests() -> dict[str, Json]:
    """The JSON Schema of test files (``*.test.yaml``), a fresh copy."""
    return _read("test.schema.json")


def _read(name: str) -> dict[str, Json]:
    """A schema from the installed package, or from the project's checkout."""
    here = Path(__file__).parents[1]
    for folder in (here / "schemas", here.parent / "schemas"):
        if (folder / name).is_file():
            schema: dict[str, Json] = json.loads((folder / name).read_text("utf-8"))
            return schema
    raise FileNotFoundError(f"{name} is missing from the installation; install yamlflow again")


@cache
def _language() -> Schema:
    rules = {**RULES, "inputs": schemas_rule, "signals": schemas_rule}
    return Schema(package_schema(), rules=rules, unknown=unknown_key)


@cache
def _tests() -> Schema:
    return Schema(schema_of_tests(), rules=TEST_RULES)


def check(document: Document) -> list[Problem]:
    """All that is wrong with a document as a package, in the order of the text; warnings are marked. Never raises.

    At most ``MOST_PROBLEMS`` are listed; a last one without a place says that there are more.
    """
    return _problems(document, _language())


def check_tests(document: Document) -> list[Problem]:
    """The same for a document as a file of tests."""
    return _problems(document, _tests())


def check_expectation(value: Json) -> list[Problem]:
    """What is wrong with a value as the ``expect`` of a test."""
    found = _tests().problems({"tests": {"": {"expect": value}}})
    return [replace(problem, pointer=problem.pointer[2:]) for problem in found]


def _problems(document: Document, schema: Schema) -> list[Problem]:
    try:
        found = schema.problems(document.data)
    except RecursionError:
        found = [Problem(message="is too deep to be checked", remedy="Put groups into packages of their own.")]
    wrong = [document.locate(problem) for problem in found if not problem.warning][: MOST_PROBLEMS + 1]
    refused = {(problem.line, problem.column) for problem in wrong}
    warnings = [document.locate(problem) for problem in found if problem.warning]
    warnings += [*document.warnings, *_bidi(document)]
    listed = wrong + [warning for warning in warnings if (warning.line, warning.column) not in refused]
    shown = sorted(listed[:MOST_PROBLEMS], key=lambda problem: (problem.line, problem.column))
    if len(listed) > MOST_PROBLEMS:
        more = "there are more problems than these"
        shown.append(Problem(message=more, file=document.file, warning=len(wrong) <= MOST_PROBLEMS))
    return shown


def _bidi(document: Document) -> list[Problem]:
    """Characters that let a text read otherwise than it runs; written as escapes they are seen."""
    problems = []
    for match in BIDI.finditer(document.text):
        line, column = document.lines.at(match.start())
        problem = Problem(
            message=f"the character {name_of(match[0])} makes the text read otherwise than it is",
            remedy=f'Remove it, or write it in double quotes as "\\u{ord(match[0]):04X}".',
            warning=True,
        )
        problems.append(problem.placed(file=document.file, line=line, column=column))
        if len(problems) == MOST_PROBLEMS:
            break
    return problems
