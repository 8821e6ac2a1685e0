"""Licences by their SPDX names: what words mean, what each asks for. Not a plugin: its name begins with _."""

from __future__ import annotations

import re
from collections.abc import Callable
from fnmatch import fnmatchcase

#: Category → patterns of names in lower case; from the lightest to the heaviest.
PATTERNS = {
    "public-domain": "cc0-* unlicense wtfpl",
    "permissive": "mit mit-* bsd-* 0bsd apache-* isc psf-* python-* zlib zpl-* bsl-* cnri-* hpnd",
    "weak-copyleft": "lgpl-* mpl-* epl-* cddl-*",
    "copyleft": "gpl-* eupl-*",
    "network-copyleft": "agpl-* sspl-*",
    "proprietary": "proprietary",
}
#: What is not known weighs most.
CATEGORIES = (*PATTERNS, "unknown")
#: Words of a classifier, a `License` field or a licence's text → its name; the first that is found.
WORDS = {
    "affero": "AGPL-3.0-or-later", "lgplv2": "LGPL-2.1-or-later", "lgpl": "LGPL-3.0-or-later",
    "lesser general public": "LGPL-3.0-or-later", "gplv2+": "GPL-2.0-or-later", "gplv2": "GPL-2.0-only",
    "gplv3+": "GPL-3.0-or-later", "gplv3": "GPL-3.0-only", "general public": "GPL-3.0-or-later",
    "gpl": "GPL-3.0-or-later", "mozilla public": "MPL-2.0", "mpl": "MPL-2.0", "apache": "Apache-2.0",
    "python software foundation": "PSF-2.0", "psf": "PSF-2.0", "unlicense": "Unlicense", "cc0": "CC0-1.0",
    "public domain": "CC0-1.0", "isc": "ISC", "zope": "ZPL-2.1", "2-clause": "BSD-2-Clause", "bsd": "BSD-3-Clause",
    "neither the name": "BSD-3-Clause", "redistribution and use": "BSD-2-Clause", "mit": "MIT",
    "permission is hereby granted, free": "MIT", "proprietary": "Proprietary",
}  # fmt: skip


def named_in(text: str) -> str | None:
    """The licence that some words, or a whole licence, speak of; None for none that is known."""
    if len(text) < 100 and category_of(text) != "unknown":
        return text.strip()
    words = " ".join(text.lower().split())
    return next((name for word, name in WORDS.items() if re.search(rf"\b{re.escape(word)}", words)), None)


def category_of(expression: str) -> str:
    """The category of an SPDX expression."""
    return CATEGORIES[weigh(expression, weight_of)]


def weight_of(name: str) -> int:
    """The place of one licence in ``CATEGORIES``."""
    fits = (kind for kind, patterns in PATTERNS.items() if any(fnmatchcase(name.lower(), p) for p in patterns.split()))
    return CATEGORIES.index(next(fits, "unknown"))


def weigh(expression: str, one: Callable[[str], int]) -> int:
    """Weigh each licence of an expression: of ``OR`` the lightest counts, of ``AND`` the heaviest."""

    def flat(text: str) -> int:
        choices = [re.split(r"\s+AND\s+", choice, flags=re.I) for choice in re.split(r"\s+OR\s+", text, flags=re.I)]
        return min(max(int(name) if name.strip().isdigit() else one(name.strip()) for name in all_) for all_ in choices)

    text = re.sub(r"\s+WITH\s+[^\s()]+", "", expression, flags=re.I)
    while inner := re.search(r"\(([^()]*)\)", text):
        text = f"{text[: inner.start()]} {flat(inner[1])} {text[inner.end() :]}"
    return flat(text)
