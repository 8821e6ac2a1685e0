"""The files of cases: reading them, and writing down what is really said. Nothing is run here.

A file is a list of sections, each begun by a line in brackets; empty lines before the next one are no part of it:

    [world waiting]             a project that is made once: its files, and commands that must succeed
    [file waits.yaml]
    ...
    [setup]
    start waits.yaml --run-id w

    [case a run that nobody started]
    [given waiting]             the world; without one an empty folder
    [file data.json]            a file of the case, or of the world
    {"n": 1}
    [bytes other.yaml]          the same from an expression of Python that gives bytes
    b"\\xff\\xfe" * 10
    [python prepare]            what is done before: anything that a file cannot say
    [let LONG 'x' * 10_000]     a word of the command line: `$LONG`
    [set YAMLFLOW_STORE=x]      a variable of the environment
    [stdin]                     what the command reads
    [run signal nobody go]      a command line; [call] instead is Python, whose error is what is said
    [keeps new.db]              files that may be there afterwards; without it nothing may be new or different
    [exit 2]
    [says]                      stderr, or the error's type and message
    [prints]                    stdout
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path

HERE = Path(__file__).parent
WORDS = "world|case|given|file|bytes|python|let|set|stdin|run|call|keeps|exit|says|prints|setup"
SECTION = re.compile(rf"^\[({WORDS})(?: (.*))?\]$")
#: What was seen, and stands at the end of a case.
SEEN = ("exit", "says", "prints")


@dataclass(frozen=True, kw_only=True)
class World:
    """A project, made once for all cases that are given it."""

    name: str
    #: By name: text, or an expression that gives bytes.
    files: dict[str, str | Bytes] = field(default_factory=dict)
    #: Command lines.
    setup: tuple[str, ...] = ()
    #: Python that ends the preparation.
    python: str = ""


@dataclass(frozen=True)
class Bytes:
    """An expression of Python that gives a file's bytes."""

    expression: str


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a command or a call came to."""

    exit: int | None
    says: str
    prints: str = ""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One thing that must be refused."""

    name: str
    source: Path
    given: str | None = None
    files: dict[str, str | Bytes] = field(default_factory=dict)
    prepare: str = ""
    lets: dict[str, str] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)
    stdin: str | Bytes | None = None
    #: The command line, else Python.
    run: str | None = None
    call: str = ""
    keeps: tuple[str, ...] = ()
    expected: Seen | None = None

    @property
    def id(self) -> str:
        """``signals/wrong: a run that nobody started``."""
        return f"{self.source.parent.name}/{self.source.stem}: {self.name}"


@dataclass
class Section:
    """A line in brackets and what stands below it."""

    word: str
    argument: str
    body: str
    #: Index of its line, and of the one after it.
    start: int
    end: int = 0


def sections(text: str) -> list[Section]:
    """The sections of a file, in order."""
    found: list[Section] = []
    lines = text.split("\n")
    for at, line in enumerate(lines):
        begins = SECTION.match(line)
        if begins:
            found.append(Section(begins[1], begins[2] or "", "", at))
    for at, one in enumerate(found):
        one.end = found[at + 1].start if at + 1 < len(found) else len(lines)
        body = "\n".join(lines[one.start + 1 : one.end]).rstrip("\n")
        one.body = body + "\n" if body else ""
    return found


def read(source: Path) -> tuple[dict[str, World], list[Case]]:
    """The worlds and the cases of a file."""
    worlds: dict[str, World] = {}
    cases: list[Case] = []
    for group in grouped(sections(source.read_text("utf-8"))):
        head, rest = group[0], group[1:]
        files: dict[str, str | Bytes] = {
            one.argument: Bytes(one.body) if one.word == "bytes" else one.body
            for one in rest
            if one.word in ("file", "bytes")
        }
        python = "".join(one.body for one in rest if one.word == "python")
        if head.word == "world":
            setup = tuple(line for one in rest if one.word == "setup" for line in one.body.splitlines())
            worlds[head.argument] = World(name=head.argument, files=files, setup=setup, python=python)
        else:
            cases.append(filled(Case(name=head.argument, source=source, files=files, prepare=python), rest))
    return worlds, cases


def grouped(found: list[Section]) -> list[list[Section]]:
    """Each world or case with its sections."""
    groups: list[list[Section]] = []
    for one in found:
        if one.word in ("case", "world"):
            groups.append([])
        groups[-1].append(one)
    return groups


def filled(case: Case, rest: list[Section]) -> Case:
    """A case with what its sections say."""
    exit: int | None = None
    says = prints = ""
    seen = False
    for one in rest:
        match one.word:
            case "given":
                case = replace(case, given=one.argument)
            case "let":
                name, _, value = one.argument.partition(" ")
                case = replace(case, lets={**case.lets, name: value})
            case "set":
                name, _, value = one.argument.partition("=")
                case = replace(case, env={**case.env, name: value})
            case "stdin":
                case = replace(case, stdin=Bytes(one.argument) if one.argument else one.body)
            case "run":
                case = replace(case, run=one.argument)
            case "call":
                case = replace(case, call=one.body)
            case "keeps":
                case = replace(case, keeps=(*case.keeps, one.argument))
            case "exit":
                exit, seen = int(one.argument), True
            case "says":
                says, seen = one.body, True
            case "prints":
                prints, seen = one.body, True
    return replace(case, expected=Seen(exit=exit, says=says, prints=prints) if seen else None)


def written(source: Path, seen: dict[str, Seen]) -> str:
    """The text of a file with what was seen in place of what stood there, by the cases' names."""
    text = source.read_text("utf-8")
    lines = text.split("\n")
    out: list[str] = []
    begun = 0
    for group in grouped(sections(text)):
        begin, end = group[0].start, group[-1].end
        out += lines[begun:begin]
        begun = end
        if group[0].word == "world" or group[0].argument not in seen:
            out += lines[begin:end]
            continue
        for one in group:
            if one.word not in SEEN:
                out += stripped(lines[one.start : one.end])
        out += [*told(seen[group[0].argument]), ""]
    out += lines[begun:]
    return "\n".join(stripped(out)) + "\n"


def told(seen: Seen) -> list[str]:
    """What was seen, as it stands in a file."""
    lines = [] if seen.exit is None else [f"[exit {seen.exit}]"]
    for word, text in (("says", seen.says), ("prints", seen.prints)):
        if text:
            lines += [f"[{word}]", *text.rstrip("\n").split("\n")]
    return lines


def stripped(lines: list[str]) -> list[str]:
    """Without the empty lines at the end."""
    while lines and not lines[-1].strip():
        lines = lines[:-1]
    return lines


def sources() -> list[Path]:
    """Every file of cases."""
    return [path for path in sorted(HERE.glob("*/*.txt")) if not path.with_suffix(".yaml").exists()]


def packages() -> list[Case]:
    """Every package that stands beside what is said of it: it is run, as its author would run it."""
    found = []
    for path in sorted((HERE / "packages").glob("*.yaml")):
        content, beside = path.read_bytes(), path.with_suffix(".txt")
        expected = Seen(exit=2, says=beside.read_text("utf-8")) if beside.exists() else None
        found.append(
            Case(
                name=path.stem, source=path, files={path.name: Bytes(repr(content))}, run=f"run {path.name}",
                expected=expected,
            )
        )  # fmt: skip
    return found


def corpus() -> tuple[dict[str, World], list[Case]]:
    """All worlds and all cases."""
    worlds: dict[str, World] = {}
    cases = packages()
    for source in sources():
        more, found = read(source)
        worlds |= more
        cases += found
    return worlds, cases
