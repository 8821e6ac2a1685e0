"""Bad packages are refused with their place, quickly, and without eating the machine; ``test_refusals`` has the words."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from yamlflow.document import check, read
from yamlflow.errors import InvalidPackage, Problem

CORPUS = Path(__file__).parent / "corpus" / "packages"
NAMES = sorted(path.stem for path in CORPUS.glob("*.yaml"))
#: Seconds of this process (others may keep the machine busy) within which anything is refused.
PATIENCE = 2.0
MEGABYTE = 1024 * 1024
HEAD = "yamlflow: 1\nname: bad\n"
GOOD = HEAD + "steps: [{run: make}]\n"


def problems_of(content: str | bytes, name: str) -> list[Problem]:
    started = time.process_time()
    try:
        found = check(read(content, file=name))
    except InvalidPackage as refused:
        found = list(refused.problems)
    assert time.process_time() - started < PATIENCE
    return found


@pytest.mark.parametrize("name", NAMES)
def test_without_the_parser_in_c_the_same_lines_are_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    content = (CORPUS / f"{name}.yaml").read_bytes()
    lines = [problem.line for problem in problems_of(content, name)]
    monkeypatch.setattr(yaml, "__with_libyaml__", False)
    assert [problem.line for problem in problems_of(content, name)] == lines


@pytest.mark.parametrize("name", NAMES)
def test_every_message_gives_a_place_and_nearly_every_one_a_remedy(name: str) -> None:
    found = problems_of((CORPUS / f"{name}.yaml").read_bytes(), f"{name}.yaml")
    assert all(problem.line and problem.column and problem.message for problem in found)
    said = [problem for problem in found if not problem.message.startswith("must be ")]
    assert all(problem.remedy for problem in said)


def _bombs() -> dict[str, tuple[Callable[[], str | bytes], str]]:
    aliases = "x-a0: &a0 [lol]\n" + "".join(f"x-a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12))
    levels = range(1500)
    properties = ", ".join(f"p{n}: {{type: string}}" for n in range(25_000))
    return {
        "brackets": (lambda: "a: " + "[" * 50_000, "more than 100 levels"),
        "braces": (lambda: "a: " + "{a: " * 50_000, "more than 100 levels"),
        "dashes": (lambda: "- " * 50_000, "more than 100 levels"),
        "question marks": (lambda: "? " * 50_000, "more than 100 levels"),
        "indentation": (lambda: "\n".join(" " * n + f"k{n}:" for n in levels), "more than 100 levels"),
        "quadratic aliases": (
            lambda: "x-a: &a [" + "1, " * 20_000 + "]\nx-b: [" + "*a, " * 20_000 + "]\n",
            "more than 500,000 values",
        ),
        "exponential aliases": (lambda: aliases, "more than 500,000 values"),
        "merges": (
            lambda: (
                "x-a: &x {" + ", ".join(f"k{n}: 1" for n in range(3000)) + "}\nx-b: {<<: [" + "*x, " * 3000 + "]}\n"
            ),
            "more than 500,000 values",
        ),
        "a long text repeated": (
            lambda: "x-a: &a " + "y" * MEGABYTE + "\nx-b: [" + "*a, " * 9000 + "]\n",
            "characters that aliases repeat",
        ),
        "items": (lambda: "x-a:\n" + " - 12\n" * 1_700_000, "more than 500,000 values"),
        "keys": (lambda: "".join(f"x-{n}: 1\n" for n in range(700_000)), "more than 500,000 values"),
        "the same key": (lambda: "a: 1\n" * 1_500_000, "is here twice"),
        "anchors": (lambda: "".join(f"- &a{n} 1\n" for n in range(300_000)), "more than 10,000 anchors"),
        "unused anchors": (lambda: "".join(f"- &a{n} 1\n" for n in range(10_000)), "is never used"),
        "unknown aliases": (lambda: "[" + "*a, " * 50_000 + "]", 'there is no anchor "&a"'),
        "tags": (lambda: "- !x 1\n" * 500_000, "is a YAML tag"),
        "a long text": (lambda: "x-a: " + "a" * 9 * MEGABYTE, "more than 1,048,576 characters"),
        "too large": (lambda: b"a" * (11 * MEGABYTE), "at most 10,485,760 are read"),
        "zeros": (lambda: b"\0" * 9 * MEGABYTE, "looks like UTF-16"),
        "a zero": (lambda: GOOD + "\0", "U+0000"),
        "blank lines": (lambda: "\n" * 10 * MEGABYTE, "the file is empty"),
        "comments": (lambda: "# x\n" * 2_500_000, "the file is empty"),
        "a wrong key in every step": (
            lambda: HEAD + "steps:\n" + "".join(f"  s{n}: {{run: x, queu: y}}\n" for n in range(50_000)),
            "there are more problems than these",
        ),
        "unknown keys": (lambda: GOOD + "".join(f"key{n}: 1\n" for n in range(100_000)), "there is no key"),
        "a long key": (lambda: GOOD + "? " + "k" * MEGABYTE + "\n: 1\n", "there is no key"),
        "a large schema": (
            lambda: GOOD + "inputs: {a: {properties: {" + properties + "}, type: object, default: []}}",
            "must be a mapping",
        ),
        "a large enumeration": (
            lambda: GOOD + "inputs: {a: {enum: [" + ", ".join(map(str, range(200_000))) + "], default: x}}",
            "others; this is text",
        ),
        "a schema that is itself": (
            lambda: GOOD + "inputs: {a: {$ref: '#', default: 1}}",
            "refers to itself without end",
        ),
        "lone surrogate": (lambda: GOOD + "title: \ud800", "U+D800"),
        "an open bracket and much behind it": (lambda: "a: " + "x: " * 3 * MEGABYTE, "this is not YAML"),
    }


BOMBS = _bombs()


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_within_two_seconds(name: str) -> None:
    make, words = BOMBS[name]
    found = problems_of(make(), "bomb.yaml")
    assert any(words in str(problem) for problem in found), found[:3]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks /proc for the memory that was used")
@pytest.mark.parametrize("name", ["items", "keys", "merges", "blank lines"])
def test_a_bomb_is_refused_within_two_hundred_megabytes(name: str) -> None:
    # What /proc says begins anew with a program; ``getrusage`` remembers the process that it was forked from.
    program = (
        "from pathlib import Path\n"
        "from tests.test_document_corpus import BOMBS, problems_of\n"
        f"assert problems_of(BOMBS[{name!r}][0](), 'bomb.yaml')\n"
        "print(Path('/proc/self/status').read_text())\n"
    )
    root = CORPUS.parents[2]
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=root, check=True)
    [kilobytes] = [int(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("VmHWM")]
    assert kilobytes < 200 * 1024


def test_forty_eight_groups_in_one_another_are_a_good_package() -> None:
    text = HEAD + "steps: " + "{a: {steps: " * 48 + "[{run: make}]" + "}}" * 48
    assert problems_of(text, "deep.yaml") == []


def test_a_thousand_steps_are_read_and_checked_in_a_moment() -> None:
    steps = (
        f"  s{n}:\n    kind: http\n    needs: [s{n - 1}]\n    timeout: 30s\n    retry: {{max_attempts: 3, delay: 1s}}\n"
        f"    with: {{url: 'http://127.0.0.1/{n}', method: GET}}\n"
        for n in range(1, 1001)
    )
    text = HEAD + "steps:\n  s0: {run: make}\n" + "".join(steps)
    started = time.process_time()
    assert check(read(text)) == []
    assert time.process_time() - started < 1.0
