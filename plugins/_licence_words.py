"""Licences by the words that people have for them, as SPDX names. Not a plugin: its name begins with _."""

from __future__ import annotations

import re

from ._spdx import category_of

#: Families whose licences differ by version → the words for them.
VERSIONED = {
    "AGPL": "(gnu )?affero general public|agpl", "EUPL": "european union public|eupl",
    "LGPL": "(gnu )?(library or )?lesser general public|(gnu )?library general public|lgpl",
    "GPL": "(gnu )?general public|gpl", "MPL": "mozilla public|mpl", "EPL": "eclipse public|epl",
    "GFDL": "(gnu )?free documentation|gfdl", "Artistic": "artistic", "Apache": "apache",
    "PSF": "python software foundation|psf", "ZPL": "zope public|zpl",
}  # fmt: skip
#: Licences that have no other version.
SINGLE = {
    "CC0-1.0": "cc0.*", "Unlicense": "(the )?unlicense", "LicenseRef-Public-Domain": "public domain",
    "ISC": "isc|permission to use, copy, modify, and/or distribute",
    "MIT-0": "mit-0|mit no attribution", "MIT": "mit|permission is hereby granted, free", "0BSD": "0bsd|zero-clause bsd",
    "BSD": "bsd|redistribution and use in source", "Zlib": "zlib/libpng|zlib", "BSL-1.0": "boost software|bsl",
    "HPND": "historical permission|hpnd", "LicenseRef-Proprietary": "proprietary",
}  # fmt: skip
#: The longest that a sentence about licences is; more is a licence's own text.
SENTENCE = 200
NAMES = (*VERSIONED, *SINGLE)
WORDS = re.compile(
    "|".join(rf"(\b(?:{words.replace('(', '(?:')})(?![a-uw-z]))" for words in (*VERSIONED.values(), *SINGLE.values()))
)
VERSION = re.compile(r"(?<![\d.])(\d)(?:\.(\d))?(?!\d)")
LATER = re.compile(r"\d\+|or[ -](any )?(later|newer)|>=")
GNU = frozenset({"AGPL", "LGPL", "GPL"})
#: Clauses of a BSD licence → what tells of them, in its name or in its text.
CLAUSES = {
    "4": "4-clause|original bsd|all advertising materials", "3": "3-clause|new bsd|modified bsd|neither the name",
    "2": "2-clause|simplified bsd|redistribution and use",
}  # fmt: skip


def names_in(text: str) -> list[str]:
    """The licences that some words speak of, in order; of a licence's own text the first that it names."""
    words = " ".join(text.lower().split())
    found = list(WORDS.finditer(words))
    ends = [*(match.start() for match in found[1:]), len(words)]
    named = [_named(match, words, end) for match, end in zip(found, ends, strict=False)]
    exact = dict.fromkeys(name for name in named if not any(refines(other, name) for other in named))
    return list(exact)[: None if len(words) <= SENTENCE else 1]


def refines(name: str, other: str) -> bool:
    """Whether a name says the version of what another one says without: ``GPL-2.0-only`` of ``LicenseRef-GPL``."""
    return other.startswith("LicenseRef-") and name.startswith(other.removeprefix("LicenseRef-") + "-")


def _named(match: re.Match[str], words: str, end: int) -> str:
    """The SPDX name of one licence, from its words and those around them, up to the next one."""
    family = NAMES[(match.lastindex or 0) - 1]
    if family == "BSD":
        around = words if len(words) > SENTENCE else words[max(0, match.start() - 20) : end]
        return next((f"BSD-{n}-Clause" for n, told in CLAUSES.items() if re.search(told, around)), "LicenseRef-BSD")
    if family not in VERSIONED:
        return family
    after = words[match.end() : min(end, match.end() + 40)]
    version = VERSION.search(after)
    if version is None:
        return f"LicenseRef-{family}"
    name = f"{family}-{version[1]}.{version[2] or 0}"
    if family in GNU:
        name += "-or-later" if LATER.search(after) else "-only"
    return f"LicenseRef-{family}" if category_of(name) == "unknown" else name
