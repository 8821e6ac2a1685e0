"""Airflow's trigger rules, as docs/coming-from-airflow.md writes them, against every combination of ends."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping

import pytest

from yamlflow import document
from yamlflow.packages import loaded
from yamlflow.runtime import Runtime

from .conftest import ROOT

PAGE = (ROOT / "docs" / "coming-from-airflow.md").read_text("utf-8")
BLOCK = re.compile(r"^```yaml\n((\w+):.*?)^```$", re.MULTILINE | re.DOTALL)
WRITTEN: Mapping[str, str] = {match[2]: match[1] for match in BLOCK.finditer(PAGE)}
#: How a step comes to each end; ``upstream`` is skipped because a step before it failed.
ENDS: Mapping[str, str] = {
    "succeeded": "{kind: noop}",
    "failed": "{kind: fail}",
    "skipped": "{kind: noop, if: false}",
    "upstream": "{kind: noop, needs: broken}",
}


def failed(end: str) -> bool:
    """Airflow's ``failed`` and ``upstream_failed``."""
    return end in ("failed", "upstream")


#: Rule → whether it lets the step run, from the ends of the two before it; in the words of Airflow's own documentation.
RULES: Mapping[str, Callable[[tuple[str, ...]], bool]] = {
    "all_success": lambda ends: all(end == "succeeded" for end in ends),
    "all_failed": lambda ends: all(failed(end) for end in ends),
    "all_done": lambda ends: True,
    "all_skipped": lambda ends: all(end == "skipped" for end in ends),
    "one_success": lambda ends: any(end == "succeeded" for end in ends),
    "one_failed": lambda ends: any(failed(end) for end in ends),
    "one_done": lambda ends: any(end == "succeeded" or failed(end) for end in ends),
    "none_failed": lambda ends: not any(failed(end) for end in ends),
    "none_failed_min_one_success": lambda ends: not any(map(failed, ends)) and "succeeded" in ends,
    "none_skipped": lambda ends: "skipped" not in ends,
    "all_done_min_one_success": lambda ends: "succeeded" in ends,
    "always": lambda ends: True,
}


def test_every_rule_is_written_down() -> None:
    assert set(WRITTEN) == set(RULES)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("ends", [*itertools.product(ENDS, repeat=2)], ids="-".join)
def test_a_step_runs_when_its_rule_says_so(rule: str, ends: tuple[str, str]) -> None:
    text = f"""
yamlflow: 1
name: rules
steps:
  broken: {{kind: fail}}
  a: {ENDS[ends[0]]}
  b: {ENDS[ends[1]]}
  {WRITTEN[rule].strip().replace(chr(10), chr(10) + "  ")}
"""
    with Runtime(max_workers=4) as runtime:
        run = runtime.start(loaded(document.read(text)))
        runtime.run_until_idle()
        step = runtime.step(run.id, rule)
    assert step is not None
    assert step.status == ("succeeded" if RULES[rule](ends) else "skipped")
