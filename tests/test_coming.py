"""What the language has and this version has not is refused with its place, never silently left out."""

from __future__ import annotations

import pytest

from yamlflow import document
from yamlflow.errors import InvalidPackage
from yamlflow.packages import loaded

HEAD = "yamlflow: 1\nname: x\n"
STEP = "steps:\n  a:\n    kind: noop\n"


@pytest.mark.parametrize(
    ("text", "place", "what"),
    [
        (HEAD + STEP + "    undo: {kind: noop}\n", "x.yaml:6:5: steps.a.undo", "`undo`"),
        (HEAD + STEP + "    locks: [one]\n", "x.yaml:6:5: steps.a.locks", "`locks`"),
        (HEAD + STEP + "    cache: {key: k}\n", "x.yaml:6:5: steps.a.cache", "`cache`"),
    ],
)
def test_what_is_still_to_come_is_refused(text: str, place: str, what: str) -> None:
    with pytest.raises(InvalidPackage) as refused:
        loaded(document.read(text, file="x.yaml"))
    assert str(refused.value).startswith(place)
    assert what in str(refused.value)
    assert "does not do it yet" in str(refused.value)


def test_a_kind_of_ones_own_may_have_the_name_of_one_to_come() -> None:
    text = HEAD + "kinds: {approval: {steps: [{kind: noop}]}}\nsteps: [{kind: approval}]\n"
    assert loaded(document.read(text)).package.kinds.keys() == {"approval"}


def test_what_is_refused_is_listed_in_the_order_of_the_text() -> None:
    text = HEAD + "steps:\n  a: {kind: noop, locks: [x]}\n  b: {kind: noop, locks: [y]}\n"
    with pytest.raises(InvalidPackage) as refused:
        loaded(document.read(text, file="x.yaml"))
    lines = [problem.line for problem in refused.value.problems]
    assert lines == sorted(lines)
    assert len(lines) >= 2
