"""``licences/judge``: refuses licences that a policy forbids."""

from __future__ import annotations

from fnmatch import fnmatchcase

from yamlflow import Permanent, executor

from ._spdx import category_of, weigh


@executor("licences/judge")
def judge(found: list[dict[str, str]], forbid: list[str]) -> int:
    """Fail with ``forbidden_licence``, naming every package and licence, when one is forbidden; else their number.

    Args:
        found: ``[{name, version, licence}]``, each licence an SPDX expression. ``A OR B`` is forbidden when both are.
        forbid: Names or patterns (``GPL-*``) and categories (``copyleft``, ``unknown``).
    """

    def forbidden(name: str) -> int:
        words = (name.lower(), category_of(name))
        return any(fnmatchcase(word, pattern.lower()) for word in words for pattern in forbid)

    bad = [each for each in found if weigh(each["licence"], forbidden)]
    if bad:
        told = ", ".join(f"{each['name']} {each['version']} is under {each['licence']}" for each in bad)
        raise Permanent("forbidden_licence", f"{told}; forbidden: {', '.join(forbid)}", details=bad)
    return len(found)
