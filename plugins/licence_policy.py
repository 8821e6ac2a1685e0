"""``licences/judge``: refuses licences that a policy forbids."""

from __future__ import annotations

from fnmatch import fnmatchcase

from yamlflow import Permanent, executor

from ._spdx import category_of, weigh

#: Distributions that the message names; all are in the error's details.
MOST = 3


@executor("licences/judge")
def judge(found: list[dict[str, str]], forbid: list[str]) -> int:
    """Fail with ``forbidden_licence`` when one is forbidden; else the number of distributions.

    Args:
        found: ``[{name, version, licence}]``. Of ``A OR B`` both must be forbidden, of ``A AND B`` or a list any.
        forbid: Names or patterns (``GPL-*``) and categories (``copyleft``). An unknown version may be any.
    """

    def forbidden(name: str) -> int:
        words, family = (name.lower(), category_of(name)), name.lower().removeprefix("licenseref-")
        unversioned = family != name.lower()
        return any(
            any(fnmatchcase(word, pattern) for word in words) or (unversioned and pattern.startswith(f"{family}-"))
            for pattern in map(str.lower, forbid)
        )

    bad = [each for each in found if weigh(each["licence"], forbidden)]
    if bad:
        told = ", ".join(f"{each['name']} ({each['licence']})" for each in bad[:MOST])
        more = f", … and {len(bad) - MOST} more" if len(bad) > MOST else ""
        count = "distribution under a forbidden licence" if len(bad) == 1 else "distributions under forbidden licences"
        raise Permanent("forbidden_licence", f"{len(bad)} {count}: {told}{more}", details=bad)
    return len(found)
