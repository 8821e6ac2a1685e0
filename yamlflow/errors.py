"""Every error yamlflow raises on purpose, split by whose fault it is. Nothing here reads a file, a clock or a store.

YamlflowError
├── UserError               what somebody wrote is wrong (exit status 2)
│   ├── InvalidPackage      the YAML of a package; carries every problem found, each with its place
│   ├── InvalidInput        a run's inputs, a signal's data, an answer's form
│   ├── UnknownName         a run, package, step or kind that is not there
│   ├── RunExists           a run id that is in use
│   ├── NotAllowed          a command that the state forbids: a retry of what has not failed
│   │   └── StartRefused    a start that the package's `concurrency` forbids just now
│   └── PluginError         a plugin that cannot be imported, or claims a kind twice
├── StepFault               a step failed; raised by executors, caught by the worker, kept as the step's ``error``
│   ├── Retryable
│   └── Permanent
├── Canceled                raised inside an executor that asked for it when its step was canceled
└── StoreError              the store cannot be used (exit status 4)
    ├── StoreUnavailable    read-only, full, unreachable
    │   └── StoreBusy       another program holds it locked
    ├── StoreGone           its file was deleted or replaced while in use
    ├── StoreCorrupt        not a database, or a damaged one
    │   └── ResultDamaged   one stored value that is not what was written; the rest can be used
    └── StoreTooNew         written by a newer yamlflow
"""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

#: A place in a document: keys and list positions from the root, ``("steps", "fetch", "needs", 0)``.
Pointer = tuple[str | int, ...]


#: Characters of one message. What somebody wrote is quoted in messages, and may be of any length.
LONGEST = 4_000
#: Characters of a problem's message or remedy, and of its place in the document.
CLAUSE, PLACE = 1_500, 300
#: Characters of a word that others are looked through for, and how many: the search takes the product of their lengths.
NAME, NAMES = 100, 2_000


def dotted(pointer: Pointer) -> str:
    """A pointer as people write it: ``steps.fetch.needs[0]``; the root is the empty text."""
    text = ""
    for part in pointer:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def shown(text: str, most: int = PLACE) -> str:
    """A text as it can stand within a line: not too long, and what a terminal would act on, line ends too, written out."""
    text = shortened(text, most)
    return text if text.isprintable() else "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def shortened(text: str, most: int) -> str:
    """The beginning of a text, and ``…`` where it was cut: beside that sign a piece of a secret is masked too."""
    return text if len(text) <= most else f"{text[:most]}…"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A sentence that names the nearest known word, or the empty text when none is near."""
    if len(word) > NAME:
        return ""
    names = [name for name in itertools.islice(known, NAMES) if len(name) <= NAME]
    near = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    return f'Did you mean "{near[0]}"?' if near else ""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One thing that is wrong with a document: the place, the cause and the remedy."""

    #: What is wrong, a clause without a full stop: ``there is no step "fech"``.
    message: str
    #: What to write instead, whole sentences; empty when the message says it.
    remedy: str = ""
    #: Where in the document, from the root.
    pointer: Pointer = ()
    #: True when the key itself is wrong, not its value: the mark is the key's.
    at_key: bool = False
    #: How many characters into the scalar's text the trouble starts (expressions); 0 is its beginning.
    offset: int = 0
    #: The file's name as it was given, or "" for text without a file.
    file: str = ""
    #: Line and column from 1; 0 when not known.
    line: int = 0
    column: int = 0
    #: A warning does not refuse the document.
    warning: bool = False

    def placed(self, *, file: str, line: int, column: int) -> Problem:
        """The same problem with its place in the text filled in."""
        return replace(self, file=file, line=line, column=column)

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.line or "", self.column or "") if part)
        at, message = shortened(dotted(self.pointer[:50]), PLACE), shortened(self.message, CLAUSE)
        text = ": ".join(part for part in (shown(place), shown(at), message) if part)
        kind = "warning: " if self.warning else ""
        return f"{kind}{text}. {shortened(self.remedy, CLAUSE)}" if self.remedy else f"{kind}{text}"


class YamlflowError(Exception):
    """The root of all errors that yamlflow raises on purpose."""

    def __str__(self) -> str:
        return shortened(super().__str__(), LONGEST)


class UserError(YamlflowError):
    """Something a person wrote is wrong; the message says what and what to do. Nothing was stored."""


class InvalidPackage(UserError):
    """A package that was refused, with every problem that was found in it."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: tuple[Problem, ...] = tuple(problems)
        super().__init__(self.problems)

    def __str__(self) -> str:
        return "\n".join(map(str, self.problems))


class InvalidInput(UserError):
    """Inputs, signal data or a form that do not fit their declared schema; one problem each."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: tuple[Problem, ...] = tuple(problems)
        super().__init__(self.problems)

    def __str__(self) -> str:
        return "\n".join(map(str, self.problems))


class UnknownName(UserError):
    """A run, package, step, kind or collection that is not there."""


class RunExists(UserError):
    """A run id that is in use, started without ``if_exists``."""


class NotAllowed(UserError):
    """A command that the present state forbids."""


class StartRefused(NotAllowed):
    """A start that a package's ``concurrency`` forbids while other runs have its key; no run was stored."""

    def __init__(self, message: str, *, holder: str, holder_key: int, skipped: bool) -> None:
        super().__init__(message)
        #: The run that has the place.
        self.holder = holder
        self.holder_key = holder_key
        #: ``when_full: skip``: the caller wanted no error.
        self.skipped = skipped


class PluginError(UserError):
    """A plugin that cannot be imported or used; names the file, the line and the cause."""


class StepFault(YamlflowError):
    """A step's failure with a stable code, raised by an executor.

    ``code`` is a short word for programs (``http_status``), ``message`` a sentence for people,
    ``details`` any JSON value that helps to understand.
    """

    retryable = True

    def __init__(self, code: str, message: str = "", *, details: Any = None, after: float | None = None) -> None:
        super().__init__(message or code)
        self.code = code or "executor_error"
        self.message = message or code
        self.details = details
        #: Seconds until the next attempt, instead of the policy's delay; None leaves it to the policy.
        self.after = after


class Retryable(StepFault):
    """A failure that another attempt may mend; tried again where the step's ``retry`` allows it."""


class Permanent(StepFault):
    """A failure that no further attempt can mend; never retried."""

    retryable = False


class Canceled(YamlflowError):
    """The step was canceled; raised by ``StepContext.check_canceled`` and let through by executors."""


class StoreError(YamlflowError):
    """The store cannot be used; the message names it and says what to do."""


class StoreUnavailable(StoreError):
    """Locked, read-only, full or unreachable: may work later, nothing was lost."""


class StoreBusy(StoreUnavailable):
    """Another program holds it locked, longer than one wait for it lasts. Nothing was done."""


class StoreGone(StoreError):
    """The store's file was deleted or replaced while it was in use; nothing more is written to it."""


class StoreCorrupt(StoreError):
    """Not a yamlflow store, or a damaged one. It is never overwritten."""


class ResultDamaged(StoreCorrupt):
    """A stored result or package text that is not what was written; everything else of the store can be used."""


class StoreTooNew(StoreError):
    """Written by a newer yamlflow than this one."""
