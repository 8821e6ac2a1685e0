"""The live view, on a terminal of the test's own."""

from __future__ import annotations

import re
from pathlib import Path

import pexpect

from .conftest import Write, command, environment

#: Up one line, and clear it.
UP = "\x1b[1A\x1b[2K"
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def terminal(folder: Path, *args: str, height: int = 24) -> pexpect.spawn:
    """The command line at a terminal of 80 columns."""
    program, *rest = command(*args)
    # Said in words too: the size is set on the terminal only after the program was started, and may come too late.
    env = {**environment(), "TERM": "xterm-256color", "LINES": str(height), "COLUMNS": "80"}
    return pexpect.spawn(program, rest, cwd=str(folder), env=env, dimensions=(height, 80), encoding="utf-8", timeout=30)


def test_a_terminal_shows_a_tree_that_ends_with_every_status(folder: Path, write: Write) -> None:
    write(
        "live.yaml",
        """
        yamlflow: 1
        name: live
        title: A live run
        steps:
          list: {kind: set, with: {value: 1}}
          each: {needs: list, for_each: "${{ range(60) }}", kind: noop}
          group: {needs: each, steps: {inner: {run: "sleep 0.3"}}}
          never: {needs: list, if: "false", kind: noop}
        outputs: {ok: true}
        """,
    )
    shown = terminal(folder, "run", "live.yaml")
    shown.expect(pexpect.EOF)
    shown.close()
    assert shown.exitstatus == 0
    text = ESCAPES.sub("", shown.before)
    last = text[text.rindex("A live run") :]
    for words in ("✓ list", "✓ each", "60/60", "✓ group", "✓ inner", "– never", "ok: true"):
        assert words in last


def test_the_tree_is_never_higher_than_the_terminal(folder: Path, write: Write) -> None:
    steps = "\n".join(f"  s{number}: {{kind: noop}}" for number in range(60))
    write("tall.yaml", f"yamlflow: 1\nname: tall\nsteps:\n{steps}\n  end: {{needs: s0, run: sleep 1}}\n")
    shown = terminal(folder, "run", "tall.yaml", height=12)
    shown.expect(pexpect.EOF)
    shown.close()
    # To draw anew, the cursor goes up line by line over what it drew: so far at most as the terminal is high.
    redrawn = [len(lines[0]) // len(UP) for lines in re.finditer(f"(?:{re.escape(UP)})+", shown.before)]
    assert redrawn
    assert max(redrawn) < 12
    assert "more steps" in shown.before


def test_an_interrupt_leaves_the_tree_and_says_how_to_go_on(folder: Path, write: Write) -> None:
    write("long.yaml", "yamlflow: 1\nname: long\nsteps:\n  wait: {run: touch begun; sleep 30}\n")
    shown = terminal(folder, "run", "long.yaml", "--run-id", "l1")
    shown.expect("▶ .*wait")
    while not (folder / "begun").exists():
        shown.expect(pexpect.TIMEOUT, timeout=0.02)
    shown.sendintr()
    shown.expect("yamlflow resume l1")
    shown.expect(pexpect.EOF)
    shown.close()
    assert shown.exitstatus == 130
