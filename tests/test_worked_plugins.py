"""The plugins of ``plugins/``, each called as the guide says: one call a test."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from yamlflow.outcome import Failed, Json, Outcome, Succeeded
from yamlflow.testing import run_executor

from .conftest import ROOT, plugins


def call(kind: str, **given: Json) -> Outcome:
    """One call of a kind of ``plugins/``."""
    return run_executor(plugins().executors[kind], given)


def result(kind: str, **given: Json) -> Json:
    """The result of a call that must succeed."""
    outcome = call(kind, **given)
    assert isinstance(outcome, Succeeded), outcome
    return outcome.result


def code(kind: str, **given: Json) -> str:
    """The code of a call that must fail."""
    outcome = call(kind, **given)
    assert isinstance(outcome, Failed)
    return outcome.error.code


def test_every_plugin_can_be_imported() -> None:
    assert plugins().broken == ()


@pytest.fixture(scope="module")
def spdx() -> Any:
    """``plugins/_spdx.py`` as a module."""
    spec = importlib.util.spec_from_file_location("spdx_of_the_plugins", ROOT / "plugins" / "_spdx.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("expression", "category"),
    [
        ("MIT", "permissive"),
        ("mit", "permissive"),
        ("GPL-3.0-only", "copyleft"),
        ("LGPL-2.1-or-later", "weak-copyleft"),
        ("AGPL-3.0-only", "network-copyleft"),
        ("MIT OR GPL-2.0-only", "permissive"),
        ("MIT AND GPL-2.0-only", "copyleft"),
        ("(MIT OR GPL-2.0-only) AND MPL-2.0", "weak-copyleft"),
        ("((GPL-2.0-only))", "copyleft"),
        ("GPL-2.0-only WITH Classpath-exception-2.0 OR MIT", "permissive"),
        ("LicenseRef-Ours", "unknown"),
        ("MIT AND LicenseRef-Ours", "unknown"),
        ("", "unknown"),
    ],
)
def test_an_expression_has_the_category_of_what_it_leaves_to_choose(spdx: Any, expression: str, category: str) -> None:
    assert spdx.category_of(expression) == category


@pytest.mark.parametrize(
    ("words", "licence"),
    [
        ("MIT License", "MIT"),
        ("Apache Software License", "Apache-2.0"),
        ("GNU General Public License v2 (GPLv2)", "GPL-2.0-only"),
        ("GNU General Public License v3 or later (GPLv3+)", "GPL-3.0-or-later"),
        ("GNU Lesser General Public License v2 or later (LGPLv2+)", "LGPL-2.1-or-later"),
        ("GNU Affero General Public License v3", "AGPL-3.0-or-later"),
        ("BSD License", "BSD-3-Clause"),
        ("GPL-3.0-only", "GPL-3.0-only"),
        ("Permission is hereby granted, free\n of charge, to any person" + " and so on" * 20, "MIT"),
        ("transmit with limits", None),
        ("", None),
    ],
)
def test_words_name_a_licence(spdx: Any, words: str, licence: str | None) -> None:
    assert spdx.named_in(words) == licence


def distribution(folder: Path, metadata: str, **files: str) -> str:
    """A distribution's folder."""
    folder.mkdir()
    (folder / "METADATA").write_text(metadata)
    for name, text in files.items():
        (folder / name).write_text(text)
    return str(folder)


def test_the_most_exact_claim_counts(tmp_path: Path) -> None:
    both = "License-Expression: ISC\nClassifier: License :: OSI Approved :: MIT License\nLicense: BSD\n"
    found = result("licences/read", folder=distribution(tmp_path / "both", both))
    assert found == {"licence": "ISC", "category": "permissive", "source": "expression"}


def test_of_several_classifiers_all_count(tmp_path: Path) -> None:
    two = "Classifier: License :: OSI Approved :: MIT License\nClassifier: License :: OSI Approved :: GPLv2\n"
    found = result("licences/read", folder=distribution(tmp_path / "two", two))
    assert found == {"licence": "MIT AND GPL-2.0-only", "category": "copyleft", "source": "classifier"}


def test_a_licence_is_known_from_its_text(tmp_path: Path) -> None:
    text = "Mozilla Public License Version 2.0 " + "and more " * 20
    found = result("licences/read", folder=distribution(tmp_path / "text", "Name: text\n", LICENSE=text))
    assert found == {"licence": "MPL-2.0", "category": "weak-copyleft", "source": "text"}


def test_metadata_that_are_not_there_say_nothing(tmp_path: Path) -> None:
    found = result("licences/read", folder=str(tmp_path / "gone"))
    assert found == {"licence": "unknown", "category": "unknown", "source": "nothing"}


def test_a_choice_is_forbidden_only_when_all_of_it_is() -> None:
    found = [{"name": "a", "version": "1", "licence": "MIT OR GPL-2.0-only"}]
    assert result("licences/judge", found=found, forbid=["gpl-*"]) == 1
    assert code("licences/judge", found=found, forbid=["GPL-*", "permissive"]) == "forbidden_licence"


PAGE = "<ul><li><a href='one?x=1'> One <b>1</b></a><li><a>two</a></ul>"


def test_fields_are_read_row_by_row() -> None:
    fields = {"text": "a", "link": "a@href", "bold": "b"}
    assert result("html/select", html=PAGE, rows="li", fields=fields, base="http://h/d/") == [
        {"text": "One 1", "link": "http://h/d/one?x=1", "bold": "1"},
        {"text": "two", "link": None, "bold": None},
    ]


def test_without_rows_the_page_is_one_row() -> None:
    assert result("html/select", html=PAGE, fields={"first": "a"}) == {"first": "One 1"}


def test_each_link_is_found_once() -> None:
    assert result("html/links", pages=[PAGE, PAGE]) == [{"href": "one?x=1", "title": "One 1"}]


def test_a_selector_that_is_none_is_refused() -> None:
    assert code("html/select", html=PAGE, fields={"a": "a["}) == "bad_selector"


def test_a_folder_that_is_not_there_cannot_be_walked(tmp_path: Path) -> None:
    assert code("tree/walk", folder=str(tmp_path / "gone"), run="r") == "no_folder"
