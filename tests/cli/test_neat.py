"""Nothing that a package, or what it talks to, says is obeyed by a terminal, and none of it forges a line of ours."""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path

import pexpect
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yamlflow.cli.neat import neat, one_line
from yamlflow.cli.texts import json_text

from .conftest import Cli, Write, command, environment

#: Colours that ``click.style`` and rich use; the live view also goes up lines, clears them and hides the cursor.
COLOURS = re.compile(r"\x1b\[[0-9;]*m")
DRAWN = re.compile(r"\x1b\[(?:[0-9;]*m|1A|2K|\?25[hl])|\r(?=\n|\x1b\[2K)")
#: Whatever a terminal obeys, and marks of direction.
OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
#: A title, a link, a cleared screen, a line overwritten, a bell, C1, right-to-left, a hidden text, a forged line.
HOSTILE = (
    "\x1b]0;owned\x07|\x1b]8;;http://evil\x1b\\x|\x1b[2J\x1b[H|\roverwritten|\x07|\x9b31mC1\x9d0;t\x9c|\u202edlrow|\x1b[8mhidden|"
    "a\u2028b\u2029c|\x1bP0;0|0\x1b\\|\x00"
)
FORGED = "\n12:00:00 ✓ pay succeeded in 1ms\n── pay, attempt 1\nerror: forged\n"


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=60) | st.text(st.sampled_from("\x1b[0;31mKJ\r\n\u202e\x9b\x07a"), max_size=40))
def test_a_neat_text_holds_nothing_that_a_terminal_obeys_but_line_ends_and_our_colours(text: str) -> None:
    assert not OBEYED.search(re.sub(r"\x1b\[(0|1|2|3[1-7]|9[0-7])m", "", neat(text)))
    assert "\n" not in one_line(text)
    assert neat(text.replace("\x1b", "")).count("\n") == text.count("\n")
    assert neat(neat(text)) == neat(text)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60) | st.text(st.sampled_from('\x7f\x9b\u2028\u202e\\"\n'), max_size=20))
def test_json_says_the_same_and_needs_no_neatness(text: str) -> None:
    written = json_text({"k": [text], text: 1})
    assert json.loads(written) == {"k": [text], text: 1}
    assert not OBEYED.search(written)
    assert neat(written) == written


@pytest.fixture
def hostile(write: Write, folder: Path) -> str:
    """A package whose step says hostile things, fails with them, and gives them as a result."""
    (folder / "hostile.txt").write_bytes((HOSTILE.replace("\0", "") + FORGED).encode())
    write(
        "hostile.yaml",
        """
        yamlflow: 1
        name: hostile
        inputs: {said: {type: string}}
        run_name: ${{ inputs.said }}
        signals: {go: {type: string}}
        steps:
          say: {run: "cat hostile.txt; cat hostile.txt >&2"}
          again: {needs: say, run: cat hostile.txt}
          told: {needs: say, kind: log, with: {message: "${{ inputs.said }}"}}
          give: {needs: say, kind: set, with: {value: "${{ inputs.said }}"}}
          each: {needs: say, for_each: {items: "${{ [inputs.said] }}", key: "${{ item }}"}, kind: noop}
          wait: {needs: say, kind: wait_signal, with: {signal: go}, timeout: 0s, continue_on_error: true}
          fail: {needs: [give, again], kind: fail, with: {message: "${{ inputs.said }}"}, continue_on_error: true}
        outputs: {said: "${{ inputs.said }}"}
        """,
    )
    (folder / "said.json").write_text(json.dumps({"said": HOSTILE.replace("\0", "") + FORGED}))
    return "hostile.yaml"


COMMANDS = [
    ("runs",), ("show", "h1"), ("show", "h1", "say"), ("show", "h1", "fail"), ("show", "h1", "give"), ("show", "h1", "told"),
    ("events", "h1"), ("graph", "h1", "--format", "text"), ("graph", "h1", "--format", "mermaid"), ("show", "h1", "--json"),
    ("events", "h1", "--json"), ("runs", "--json"), ("result", "h1"), ("result", "h1", "give"), ("show", "no\x1b[2Jrun"),
    ("logs", "h1", "no\x1b]0;x\x07step"), ("run", "no\x1b[2J\rfile.yaml"), ("signal", "h1", "go", "--data", '"\x1b[2J"'),
    ("no\x1b[2Jcommand",), ("run", "hostile.yaml", "-i", "sai\x1b[2Jd=x"),
    ("run", "hostile.yaml", "-i", "said=x", "--run-id", "\x1b[2J"),
]  # fmt: skip


def test_no_listing_and_no_message_obeys_or_forges(hostile: str, cli: Cli) -> None:
    ran = cli("run", hostile, "--input-file", "said.json", "--run-id", "h1", "--json")
    assert ran.json["status"] == "succeeded", ran
    for called in [ran, *(cli(*words) for words in COMMANDS)]:
        for text in (called.out, called.err):
            assert not OBEYED.search(text), called
    for words in (("runs",), ("events", "h1"), ("show", "h1")):
        assert not re.search(r"^(12:00:00|── pay|error: forged)", cli(*words).out, re.MULTILINE), words


def test_progress_in_lines_forges_nothing(hostile: str, cli: Cli) -> None:
    ran = cli("run", hostile, "--input-file", "said.json")
    assert ran.status == 0
    assert not OBEYED.search(ran.err)
    assert not re.search(r"^(12:00:00|── pay|error: forged)", ran.err, re.MULTILINE)
    # What is printed into a pipe is data.
    assert "12:00:00" in ran.out


def test_what_is_said_of_a_failed_run_forges_nothing(write: Write, hostile: str, folder: Path, cli: Cli) -> None:
    write(
        "fails.yaml",
        """
        yamlflow: 1
        name: fails
        inputs: {said: {type: string}}
        steps:
          fail: {run: "cat hostile.txt >&2; exit 1", continue_on_error: true}
          last: {needs: {fail: finished}, kind: fail, with: {message: "${{ inputs.said }}"}}
        """,
    )
    ran = cli("run", "fails.yaml", "--input-file", "said.json", "--run-id", "f1")
    assert ran.status == 1
    for text in (ran.err, cli("show", "f1").out, cli("show", "f1", "last").out, cli("show", "f1", "fail").out):
        assert not OBEYED.search(text)
        assert not re.search(r"^(12:00:00|── pay|error: forged)", text, re.MULTILINE), text


def test_a_terminal_is_given_nothing_to_obey(hostile: str, folder: Path) -> None:
    program = " ".join(map(shlex.quote, command()))
    script = (
        f"{program} run {hostile} --input-file said.json --run-id h1; {program} logs h1; {program} result h1 --yaml; "
        f"{program} logs h1 say"
    )
    shown = pexpect.spawn(
        "/bin/sh", ["-c", script], cwd=str(folder), env={**environment(), "TERM": "xterm-256color", "COLUMNS": "120"},
        dimensions=(50, 120), encoding="utf-8", timeout=60,
    )  # fmt: skip
    shown.expect(pexpect.EOF)
    shown.close()
    assert "\\x1b]0;owned" in shown.before
    assert "\\u202edlrow" in shown.before
    assert OBEYED.sub("", DRAWN.sub("", shown.before)) == DRAWN.sub("", shown.before)


def test_no_log_can_say_that_another_one_begins(hostile: str, cli: Cli) -> None:
    cli("run", hostile, "--input-file", "said.json", "--run-id", "h1", "--json")
    lines = cli("logs", "h1").out.splitlines()
    assert "── say" in lines
    assert "── pay, attempt 1" not in lines
    assert " ── pay, attempt 1" in lines
    # One log alone is data, as it was written.
    assert "── pay, attempt 1" in cli("logs", "h1", "again").out.splitlines()


def test_a_diagnostic_line_stays_one_line(hostile: str, cli: Cli) -> None:
    import logging

    from yamlflow.cli.diagnostics import JsonLines, TextLines

    record = logging.LogRecord("a.b", logging.WARNING, __file__, 1, "said %s", (HOSTILE + FORGED,), None)
    for form in (TextLines(), JsonLines()):
        line = form.format(record)
        assert "\n" not in line
        assert not OBEYED.search(line)
    assert json.loads(JsonLines().format(record))["message"] == f"said {HOSTILE}{FORGED}"
    assert sys.stdout is not None
