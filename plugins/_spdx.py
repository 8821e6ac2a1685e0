"""SPDX licence expressions: which texts are one, and what each licence asks for. Not a plugin: its name begins with _.

Where metadata name a licence and no version of it, ``LicenseRef-GPL`` and the like stand for it. A list of licences of
which nobody says whether one or all apply is ``classifiers: A; B`` and counts as the heaviest of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from fnmatch import fnmatchcase

#: Category → patterns of names in lower case; from the lightest to the heaviest.
PATTERNS = {
    "public-domain": "cc0-1.0 unlicense wtfpl licenseref-public-domain",
    "permissive": "mit mit-0 mit-cmu bsd-[1-4]-clause* 0bsd apache-1.[01] apache-2.0 isc psf-2.0 python-2.0* zlib hpnd"
    " zpl-[12].[01] bsl-1.0 cnri-* ncsa postgresql afl-[123].[01] artistic-2.0 cc-by-[1-4].0 ofl-1.[01] upl-1.0"
    " licenseref-bsd licenseref-apache licenseref-psf licenseref-zpl",
    "weak-copyleft": "lgpl-[23].[01]* mpl-[12].[01]* epl-[12].0 cddl-1.[01] licenseref-lgpl licenseref-mpl licenseref-epl",
    "copyleft": "gpl-[123].0* eupl-1.[0-2] cc-by-sa-[1-4].0 licenseref-gpl licenseref-eupl",
    "network-copyleft": "agpl-[13].0* sspl-1.0 licenseref-agpl",
    "proprietary": "licenseref-proprietary",
}
#: What is not known weighs most.
CATEGORIES = (*PATTERNS, "unknown")
NAME = r"(?<![A-Za-z0-9.:+-])(?!(?:AND|OR|WITH)\b)[A-Za-z0-9][A-Za-z0-9.:-]*\+?"


def is_expression(text: str) -> bool:
    """Whether a text has the grammar of an SPDX expression, whatever the licences in it."""
    rest, flat = "", re.sub(rf"{NAME}(\s+WITH\s+{NAME})?", "x", text.strip(), flags=re.I)
    while rest != flat:
        rest, flat = flat, re.sub(r"\(\s*x\s*\)|x\s+(AND|OR)\s+x", "x", flat, flags=re.I)
    return flat == "x"


def category_of(licence: str) -> str:
    """The category of an SPDX expression, or of a list of licences."""
    return CATEGORIES[weigh(licence, weight_of)]


def weight_of(name: str) -> int:
    """The place of one licence in ``CATEGORIES``."""
    fits = (kind for kind, patterns in PATTERNS.items() if any(fnmatchcase(name.lower(), p) for p in patterns.split()))
    return CATEGORIES.index(next(fits, "unknown"))


def weigh(licence: str, one: Callable[[str], int]) -> int:
    """Weigh each licence of an expression: of ``OR`` the lightest counts, of ``AND`` and of a list the heaviest."""

    def flat(text: str) -> int:
        choices = [re.split(r"\s+AND\s+", choice, flags=re.I) for choice in re.split(r"\s+OR\s+", text, flags=re.I)]
        return min(max(int(name) if name.strip().isdigit() else one(name.strip()) for name in all_) for all_ in choices)

    text = re.sub(r"\s+WITH\s+[^\s();]+", "", licence.rpartition(": ")[2], flags=re.I)
    while inner := re.search(r"\(([^()]*)\)", text):
        text = f"{text[: inner.start()]} {flat(inner[1])} {text[inner.end() :]}"
    return max(map(flat, text.split(";")))
