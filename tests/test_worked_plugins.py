"""The plugins of ``plugins/``, each called as the guide says: one call a test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from yamlflow.folders import import_from
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
    return import_from(ROOT / "plugins", "_spdx")


@pytest.fixture(scope="module")
def words() -> Any:
    """``plugins/_licence_words.py`` as a module."""
    return import_from(ROOT / "plugins", "_licence_words")


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
        ("BSD", "unknown"),
        ("LicenseRef-GPL", "copyleft"),
        ("LicenseRef-Public-Domain", "public-domain"),
        ("classifiers: MIT; GPL-2.0-only", "copyleft"),
        ("classifiers: GPL-2.0-only OR MIT; ISC", "permissive"),
    ],
)
def test_an_expression_has_the_category_of_what_it_leaves_to_choose(spdx: Any, expression: str, category: str) -> None:
    assert spdx.category_of(expression) == category


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("MIT", True),
        ("BSD-3-Clause OR Apache-2.0", True),
        ("(MIT or ISC) and GPL-2.0+ WITH Classpath-exception-2.0", True),
        ("LicenseRef-Ours", True),
        ("MIT License", False),
        ("MIT OR", False),
        ("OR", False),
        ("(MIT", False),
        ("MIT, ISC", False),
        ("", False),
    ],
)
def test_an_expression_is_told_from_words(spdx: Any, text: str, is_one: bool) -> None:
    assert spdx.is_expression(text) == is_one


@pytest.mark.parametrize(
    ("text", "licences"),
    [
        ("MIT License", ["MIT"]),
        ("MIT No Attribution License (MIT-0)", ["MIT-0"]),
        ("Apache Software License", ["LicenseRef-Apache"]),
        ("Apache License, Version 2.0", ["Apache-2.0"]),
        ("Apache License 7", ["LicenseRef-Apache"]),
        ("GNU GPL", ["LicenseRef-GPL"]),
        ("GPL (>= 2)", ["GPL-2.0-or-later"]),
        ("GNU General Public License (GPL)", ["LicenseRef-GPL"]),
        ("GNU General Public License v2 (GPLv2)", ["GPL-2.0-only"]),
        ("GNU General Public License v3 or later (GPLv3+)", ["GPL-3.0-or-later"]),
        ("GNU Lesser General Public License v2 or later (LGPLv2+)", ["LGPL-2.0-or-later"]),
        ("GNU Library or Lesser General Public License (LGPL)", ["LicenseRef-LGPL"]),
        ("GNU Affero General Public License v3", ["AGPL-3.0-only"]),
        ("Mozilla Public License 2.0 (MPL 2.0)", ["MPL-2.0"]),
        ("BSD License", ["LicenseRef-BSD"]),
        ("new BSD", ["BSD-3-Clause"]),
        ("BSD 2-Clause", ["BSD-2-Clause"]),
        ("Public Domain", ["LicenseRef-Public-Domain"]),
        ("CC0 1.0 Universal (CC0 1.0) Public Domain Dedication", ["CC0-1.0"]),
        ("Dual MIT/GPLv2", ["MIT", "GPL-2.0-only"]),
        ("Permission is hereby granted, free\n of charge, to any person" + " and so on" * 20, ["MIT"]),
        ("Redistribution and use in source" + " and so on" * 20, ["BSD-2-Clause"]),
        ("Redistribution and use in source" + " and so on" * 20 + " Neither the name", ["BSD-3-Clause"]),
        (
            "GNU GENERAL PUBLIC LICENSE Version 2, June 1991" + " x" * 100 + " GNU Lesser General Public",
            ["GPL-2.0-only"],
        ),
        ("UNKNOWN", []),
        ("transmit with limits", []),
        ("", []),
    ],
)
def test_words_name_licences_and_no_version_that_they_do_not_state(words: Any, text: str, licences: list[str]) -> None:
    assert words.names_in(text) == licences


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


def classified(*names: str) -> str:
    """Licence classifiers."""
    return "".join(f"Classifier: License :: OSI Approved :: {name}\n" for name in names)


@pytest.mark.parametrize(
    ("metadata", "licence", "source"),
    [
        ("License: BSD-2-Clause\n" + classified("BSD License"), "BSD-2-Clause", "field"),
        ("License: BSD-3-Clause OR Apache-2.0\n" + classified("MIT License"), "BSD-3-Clause OR Apache-2.0", "field"),
        ("License-Expression: MIT or\n" + classified("ISC License (ISCL)"), "ISC", "classifier"),
        ("License: see LICENSE\n" + classified("MIT License"), "MIT", "classifier"),
        ("License: BSD 3-Clause\n" + classified("BSD License"), "BSD-3-Clause", "field"),
        ("License: MIT License\n" + classified("BSD License"), "LicenseRef-BSD", "classifier"),
        ("License: UNKNOWN\n", "unknown", "nothing"),
        ("License: GNU GPL\n", "LicenseRef-GPL", "field"),
    ],
)
def test_an_exact_name_goes_before_a_vague_one(tmp_path: Path, metadata: str, licence: str, source: str) -> None:
    found = result("licences/read", folder=distribution(tmp_path / "one", metadata))
    assert (found["licence"], found["source"]) == (licence, source)


def test_of_several_classifiers_nobody_knows_whether_one_or_all_apply(tmp_path: Path) -> None:
    two = classified("MIT License", "GNU General Public License v2 (GPLv2)")
    found = result("licences/read", folder=distribution(tmp_path / "two", two))
    assert found == {"licence": "classifiers: MIT; GPL-2.0-only", "category": "copyleft", "source": "classifier"}
    named = [{"name": "a", "version": "1", **found}]
    assert result("licences/judge", found=named, forbid=["LGPL-*"]) == 1
    for forbid in ("MIT", "GPL-*", "copyleft"):
        assert code("licences/judge", found=named, forbid=[forbid]) == "forbidden_licence"


def test_the_text_tells_the_version_that_a_classifier_does_not(tmp_path: Path) -> None:
    text = "Apache License Version 2.0, January 2004 " + "and more " * 30
    folder = distribution(tmp_path / "apache", classified("Apache Software License"), LICENSE=text)
    assert result("licences/read", folder=folder)["licence"] == "Apache-2.0"


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


def test_a_version_that_is_not_stated_may_be_any() -> None:
    found = [{"name": "a", "version": "1", "licence": "LicenseRef-GPL"}]
    for forbid in ("GPL-3.0-only", "gpl-*", "copyleft"):
        assert code("licences/judge", found=found, forbid=[forbid]) == "forbidden_licence"
    assert result("licences/judge", found=found, forbid=["LGPL-*", "AGPL-3.0-only"]) == 1


def test_what_is_forbidden_is_told_in_short_and_kept_in_full() -> None:
    found = [{"name": f"p{number}", "version": "1", "licence": "MIT"} for number in range(12)]
    outcome = call("licences/judge", found=found, forbid=["permissive"])
    assert isinstance(outcome, Failed)
    told = "12 distributions under forbidden licences: p0 (MIT), p1 (MIT), p2 (MIT), … and 9 more"
    assert outcome.error.message == told
    assert outcome.error.details == found


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
