"""What must be refused, is: with these words and this exit status, at once, and nothing comes of it. See ``tests.corpus``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .corpus.cases import Case, Seen, corpus, read, sources, written
from .corpus.play import Played, Stage

WORLDS, CASES = corpus()
#: The first command of every file, as a process of its own too: there nothing of the tests' is around it.
APART = list({case.source.parent.name: case for case in reversed(CASES) if case.run is not None}.values())


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Where the cases are played; their worlds are made once."""
    return Stage(tmp_path_factory.mktemp("corpus").resolve(), WORLDS)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_it_is_refused_with_these_words_and_nothing_comes_of_it(stage: Stage, case: Case) -> None:
    played = stage.play(case)
    assert played.faults() == []
    assert played.seen == case.expected


@pytest.mark.parametrize("case", APART, ids=lambda case: case.id)
def test_as_a_process_it_is_refused_alike(stage: Stage, case: Case) -> None:
    played = stage.play(case, apart=True)
    assert (played.changed, played.seen) == ((), case.expected)


def test_every_case_has_a_name_of_its_own_and_says_what_it_expects() -> None:
    ids = [case.id for case in CASES]
    assert len(set(ids)) == len(ids)
    assert [case.id for case in CASES if case.expected is None or not case.expected.says + case.expected.prints] == []
    assert [case.id for case in CASES if case.expected is not None and case.expected.exit == 0] == []


def test_a_file_of_cases_is_written_as_it_was_read() -> None:
    for source in sources():
        seen = {case.name: case.expected for case in read(source)[1] if case.expected is not None}
        assert written(source, seen) == source.read_text("utf-8")


def test_a_case_that_leaves_a_file_or_takes_room_is_found_out(stage: Stage, tmp_path: Path) -> None:
    case = Case(name="leaves", source=tmp_path, call="Path('left').write_text('x')\nbytearray(300_000_000)\n")
    played = stage.play(case)
    assert played.seen.says == "not refused\n"
    assert played.faults()[0] == "this was left or changed: left"
    assert played.room is None or "it took" in played.faults()[-1]


@pytest.mark.parametrize(
    ("seen", "seconds", "fault"),
    [
        (Seen(exit=2, says="error: no\n"), 3.0, "it took 3.0 seconds"),
        (Seen(exit=70, says="error: no\n"), 0.0, "a traceback, or a fault of yamlflow itself"),
        (
            Seen(exit=None, says="Traceback (most recent call last):\n"),
            0.0,
            "a traceback, or a fault of yamlflow itself",
        ),
        (Seen(exit=2, says="error: \x1b[2J\n"), 0.0, "a character that is no text: '\\x1b'"),
        (Seen(exit=2, says="error: " + "x" * 2_000), 0.0, "too much is said: 2007 characters"),
    ],
)
def test_what_no_refusal_may_do_is_found_out(seen: Seen, seconds: float, fault: str) -> None:
    assert Played(seen=seen, changed=(), seconds=seconds, room=0).faults() == [fault]


def test_a_change_of_a_row_is_found_out(stage: Stage, tmp_path: Path) -> None:
    case = Case(name="changes", source=tmp_path, given="shop", run="cancel ready")
    assert stage.play(case).changed == (".yamlflow/yamlflow.db",)
