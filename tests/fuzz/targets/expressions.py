"""Expressions, values with expressions, conditions and whole templates, against scopes of ordinary and strange values."""

from __future__ import annotations

import json
import math
from random import Random
from typing import Any

from yamlflow.template import Expressions, Limits, TemplateError, expressions_in, run_text_remedy

from .. import cases, grammar
from .target import Target, refusals

DRAWN = {"now": lambda: "2026-01-01T00:00:00.000Z", "uuid": lambda: "0" * 32, "random": lambda: 0.5}
#: Where types must be plain: what no JSON says never comes out of an expression.
PLAIN = frozenset({str, int, float, bool, type(None), list, dict})


def of_expression(rnd: Random) -> dict[str, Any]:
    """An expression and what it reads."""
    text = grammar.expression(rnd, rnd.randint(1, 5))
    if rnd.random() < 0.15:
        text = cases.changed_text(rnd, text, grammar.expression(rnd, 2))
    return {"text": text, "scope": grammar.scope(rnd)}


def scope_of(case: dict[str, Any]) -> dict[str, Any]:
    """What the expression sees."""
    return {**grammar.FIXED, **case["scope"], **DRAWN}


def check_expression(case: dict[str, Any]) -> None:
    """Compiled twice, rendered twice: the same value or the same error, and plain."""
    source = "${{ " + case["text"] + " }}"
    scope = scope_of(case)
    first, second = outcome(source, scope), outcome(source, scope)
    assert first == second, "rendered twice it is not the same"
    with refusals():
        Expressions().condition(case["text"]).evaluate(scope)
    run_text_remedy(f"echo '{source}' \"{source}\"")


def outcome(source: str, scope: dict[str, Any]) -> str:
    """What rendering gives, as text; an error's message."""
    try:
        template = Expressions().compile(source)
        value = template.render(scope)
    except TemplateError as refused:
        assert len(str(refused)) <= 4001, "a message of too many characters"
        assert refused.offset >= 0
        refused.problem(("a",))
        return f"error: {refused}"
    assert_plain(value)
    return sha(value)


def sha(value: Any) -> str:
    """Short for large values."""
    import hashlib

    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def assert_plain(value: Any) -> None:
    """Raises for what is no plain data."""
    level = [value]
    for _ in range(450):
        if not level:
            return
        kinds = {type(item) for item in level}
        odd = {kind for kind in kinds - PLAIN if not issubclass(kind, list)}
        assert not odd, f"an expression gave {odd}"
        assert all(math.isfinite(item) for item in level if type(item) is float)
        level = [
            part
            for item in {id(item): item for item in level if isinstance(item, list | dict)}.values()
            for part in (item.values() if isinstance(item, dict) else item)
        ]
    raise AssertionError("a value nested too deep")


def of_template(rnd: Random) -> dict[str, Any]:
    """A whole template and what it reads."""
    text = grammar.document(rnd, 3)
    if rnd.random() < 0.15:
        text = cases.changed_text(rnd, text, grammar.document(rnd, 1))
    return {"text": text, "scope": grammar.scope(rnd)}


def check_template(case: dict[str, Any]) -> None:
    """A document is refused or renders to text."""
    try:
        made = Expressions().document(case["text"])
        text = made.render(scope_of(case))
    except TemplateError as refused:
        assert len(str(refused)) <= 4001, "a message of too many characters"
        return
    assert type(text) is str
    assert len(text) <= Limits().text


def of_value(rnd: Random) -> dict[str, Any]:
    """A value with expressions within."""
    value = cases.value(rnd, 3)
    for path in list(cases.paths_of(value)):
        if rnd.random() < 0.3:
            try:
                value = cases.replaced(value, path, grammar.text_value(rnd))
            except (KeyError, TypeError, IndexError, AttributeError):
                continue
    return {"value": value, "scope": grammar.scope(rnd)}


def check_value(case: dict[str, Any]) -> None:
    """Compiling and rendering a value: typed errors, plain results, the original as it was."""
    before = json.dumps(case["value"])
    with refusals():
        made = Expressions().compile(case["value"])
        list(made.references)
        assert_plain(made.render(scope_of(case)))
    assert json.dumps(case["value"]) == before, "rendering changed the package"
    if isinstance(case["value"], str):
        with refusals():
            expressions_in(case["value"])


def text_only(content: bytes) -> dict[str, Any]:
    """Bytes as the text of an expression."""
    return {
        "text": content.decode("utf-8", "replace"),
        "scope": {"odd": [1, {"a": None}], "item": "x", "inputs": {"a": 1}},
    }


TARGETS = (
    Target(name="expressions", make=of_expression, check=check_expression, from_bytes=text_only, weight=4),
    Target(name="templates", make=of_template, check=check_template, from_bytes=text_only, weight=3),
    Target(name="values", make=of_value, check=check_value),
)
