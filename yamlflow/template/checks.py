"""The tests after ``is``, and those that ``select`` and ``reject`` name. Each takes the rendering's ``Work`` first."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ..outcome import Json
from .fault import Refused
from .limits import Work
from .operators import COMPARE
from .values import Missing, kind, to_text


def _is_number(value: Json) -> bool:
    return isinstance(value, int | float)


def _divides(work: Work, value: Json, number: Json) -> bool:
    if not (isinstance(value, int) and isinstance(number, int) and number):
        raise Refused(f"divisibleby takes whole numbers, not {kind(value)} and {kind(number)}")
    return value % number == 0


def _case(check: Callable[[str], bool]) -> Callable[[Work, Json], bool]:
    return lambda work, value: check(to_text(value, work))


TESTS: Mapping[str, Callable[..., bool]] = {
    "defined": lambda work, value: not isinstance(value, Missing),
    "undefined": lambda work, value: isinstance(value, Missing),
    "none": lambda work, value: value is None,
    "boolean": lambda work, value: isinstance(value, bool),
    "true": lambda work, value: value is True,
    "false": lambda work, value: value is False,
    "integer": lambda work, value: isinstance(value, int) and not isinstance(value, bool),
    "float": lambda work, value: isinstance(value, float),
    "number": lambda work, value: _is_number(value),
    "string": lambda work, value: isinstance(value, str),
    "mapping": lambda work, value: isinstance(value, Mapping),
    "sequence": lambda work, value: isinstance(value, str | list | Mapping),
    "iterable": lambda work, value: isinstance(value, str | list | Mapping),
    "odd": lambda work, value: not _divides(work, value, 2),
    "even": lambda work, value: _divides(work, value, 2),
    "divisibleby": _divides,
    "lower": _case(str.islower),
    "upper": _case(str.isupper),
    "sameas": lambda work, value, other: type(value) is type(other) and COMPARE["eq"](work, value, other),
    "filter": lambda work, value: isinstance(value, str) and value in work.filters,
    "test": lambda work, value: isinstance(value, str) and value in TESTS,
    "in": COMPARE["in"],
    **dict.fromkeys(("eq", "==", "equalto"), COMPARE["eq"]),
    **dict.fromkeys(("ne", "!="), COMPARE["ne"]),
    **dict.fromkeys(("lt", "<", "lessthan"), COMPARE["lt"]),
    **dict.fromkeys(("le", "<="), COMPARE["lteq"]),
    **dict.fromkeys(("gt", ">", "greaterthan"), COMPARE["gt"]),
    **dict.fromkeys(("ge", ">="), COMPARE["gteq"]),
}
#: Tests that take what is not there.
LENIENT = frozenset({"defined", "undefined"})
