"""A package and its tests in a folder of their own, played as ``yamlflow test`` plays them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

from yamlflow.testing.cases import load_cases
from yamlflow.testing.suite import Suite, Verdict

Played = dict[str, Verdict]
Play = Callable[[str, str], Played]


@pytest.fixture
def played(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Play:
    """Play the tests of a package: verdicts by name."""
    monkeypatch.chdir(tmp_path)

    def play(package: str, tests: str) -> Played:
        Path("flow.yaml").write_text(f"yamlflow: 1\nname: flow\n{dedent(package)}")
        Path("flow.test.yaml").write_text(dedent(tests))
        suite = Suite(story=True)
        return {case.name: suite.run(case) for case in load_cases("flow.test.yaml")}

    return play


def only(played: Played) -> Verdict:
    """The one verdict."""
    (verdict,) = played.values()
    return verdict
