"""Verdicts as JUnit XML, the form that CI systems read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING
from xml.etree.ElementTree import Element, SubElement, indent, tostring

if TYPE_CHECKING:
    from ..testing.suite import Verdict

#: Characters that XML cannot hold.
UNSAYABLE = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def as_junit(verdicts: Sequence[Verdict]) -> str:
    """One suite a file, one case a test."""
    root = Element("testsuites", {"name": "yamlflow", **totals(verdicts)})
    for file, group in groupby(verdicts, key=lambda verdict: verdict.case.file):
        of_file = list(group)
        suite = SubElement(root, "testsuite", {"name": file, **totals(of_file)})
        for verdict in of_file:
            add(suite, verdict)
    indent(root)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{tostring(root, encoding="unicode")}\n'


def totals(verdicts: Sequence[Verdict]) -> dict[str, str]:
    """How many, how many failed, and how many seconds they took."""
    failed = sum(not verdict.passed for verdict in verdicts)
    took = sum(verdict.took for verdict in verdicts) / 1000
    return {"tests": str(len(verdicts)), "failures": str(failed), "errors": "0", "time": f"{took:.3f}"}


def add(suite: Element, verdict: Verdict) -> None:
    """One test."""
    case = verdict.case
    name = case.file.rpartition("/")[2].partition(".")[0]
    one = SubElement(
        suite, "testcase", name=sayable(case.name), classname=name, file=case.file, line=str(case.line),
        time=f"{verdict.took / 1000:.3f}",
    )  # fmt: skip
    if not verdict.passed:
        failure = SubElement(one, "failure", message=sayable(verdict.failures[0].message))
        failure.text = sayable(verdict.told())


def sayable(text: str) -> str:
    """Text without what XML cannot hold."""
    return UNSAYABLE.sub("�", text)
