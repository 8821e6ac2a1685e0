"""Random things that are nearly right: expressions, templates, packages from the language's schema. Chance is given."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from random import Random
from typing import Any

from yamlflow.document import package_schema
from yamlflow.template import FILTERS, FUNCTIONS
from yamlflow.template.checks import TESTS

from . import cases

ROOT = Path(__file__).parents[2]
NAMES = ("n", "s", "big", "rows", "m", "wide", "huge", "odd", "inputs", "steps", "item", "nosuch")


def scope(rnd: Random) -> dict[str, Any]:
    """What expressions of the grammar read, beside the large values of ``FIXED``."""
    return {
        "odd": cases.value(rnd, 3),
        "item": cases.value(rnd, 2),
        "inputs": {"a": cases.scalar(rnd), "b": cases.value(rnd)},
    }


#: Values of the scope that need not be kept in every case.
FIXED: dict[str, Any] = {
    "n": 10**6,
    "s": "aß" * 50,
    "big": "x" * 1_000_000,
    "rows": [{"a": str(number % 7), "b": [1, 2]} for number in range(2000)],
    "m": {"k": None, "f": 1.5, "__class__": "k"},
    "wide": {f"k{number}": number for number in range(20_000)},
    "huge": 10**4000,
    "steps": {"a": {"result": {"body": '{"x": [1]}', "list": list(range(5000))}, "status": "succeeded"}},
}

FILTER_NAMES = sorted(FILTERS)
TEST_NAMES = sorted(TESTS)
OPERATORS = (
    "+",
    "-",
    "*",
    "/",
    "//",
    "%",
    "**",
    "~",
    "==",
    "!=",
    "<",
    "<=",
    ">",
    ">=",
    " in ",
    " not in ",
    " and ",
    " or ",
    "|",
    "=",
)
NAMED = (
    "attribute", "default", "d", "width", "first", "indent", "reverse", "case_sensitive", "by", "start", "boolean", "count",
    "linecount", "fill_with", "slices", "length", "killwords", "end", "leeway", "base", "precision", "method", "chars", "x",
)  # fmt: skip


def literal(rnd: Random) -> str:
    """A literal, now and then a strange one."""
    kind = rnd.random()
    if kind < 0.4:
        return str(
            rnd.choice(
                [0, 1, 2, 3, -1, 7, 80, 255, 999, 10**6, 10**9, 10**10, 2**63, 10**300, "1.5", "1e3", "1e308", "1_0"]
            )
        )
    if kind < 0.8:
        return _quoted(
            rnd,
            rnd.choice(
                [
                    "",
                    "a",
                    "b",
                    "k",
                    "x y",
                    "a.b",
                    "%s",
                    "%d",
                    "%5s",
                    "%999d",
                    "%(a)s",
                    "{}",
                    "{0.x}",
                    "1h30m",
                    "[1]",
                    "map",
                    "upper",
                    "attr",
                    "__class__",
                    "grouper",
                    "key",
                    "value",
                    "\\n",
                    cases.text(rnd, 2),
                ]
            ),
        )
    return rnd.choice(
        ["true", "false", "none", "null", "True", "[]", "{}", "()", "''", "[1, 2, 3]", "{'a': 1}", "loop", "self"]
    )


def _quoted(rnd: Random, text: str) -> str:
    quote = rnd.choice("'\"")
    return quote + text.replace(quote, "").replace("\n", " ") + quote


def expression(rnd: Random, depth: int = 4) -> str:
    """An expression, mostly of the grammar."""
    if depth <= 0 or rnd.random() < 0.12:
        return rnd.choice(NAMES) if rnd.random() < 0.5 else literal(rnd)

    def inner() -> str:
        return expression(rnd, depth - 1)

    match rnd.randrange(16):
        case 0 | 1:
            return f"{inner()}{rnd.choice(OPERATORS)}{inner()}"
        case 2:
            return f"({inner()})"
        case 3 | 4 | 5 | 6:
            return f"{inner()} | {filtered(rnd, depth - 1)}"
        case 7:
            given = rnd.choice(["", f"({inner()})", f" {literal(rnd)}"])
            return f"{inner()} is {rnd.choice(['', 'not '])}{rnd.choice(TEST_NAMES)}{given}"
        case 8:
            return f"{inner()}.{rnd.choice(['a', 'k', 'result', 'items', '__class__', '0', 'list', 'format', 'body'])}"
        case 9:
            return f"{inner()}[{inner()}]"
        case 10:
            parts = [rnd.choice(["", inner()]) for _ in range(rnd.choice([2, 3]))]
            return f"{inner()}[{':'.join(parts)}]"
        case 11:
            return f"{inner()} if {inner()}{rnd.choice(['', f' else {inner()}'])}"
        case 12:
            return "[" + ", ".join(inner() for _ in range(rnd.randint(0, 3))) + "]"
        case 13:
            return "{" + ", ".join(f"{inner()}: {inner()}" for _ in range(rnd.randint(0, 2))) + "}"
        case 14:
            return f"{rnd.choice(['not ', '-', '+', 'not not '])}{inner()}"
        case _:
            return (
                f"{rnd.choice([*sorted(FUNCTIONS), inner()])}({', '.join(inner() for _ in range(rnd.randint(0, 3)))})"
            )


def filtered(rnd: Random, depth: int) -> str:
    """A filter with whatever arguments."""
    name = (
        rnd.choice(FILTER_NAMES)
        if rnd.random() < 0.97
        else rnd.choice(["attr", "xmlattr", "pprint", "random", "urlize", "a.b"])
    )
    given = [expression(rnd, min(depth, 2)) for _ in range(rnd.choice([0, 0, 1, 1, 2, 3]))]
    if name in ("map", "select", "reject", "selectattr", "rejectattr") and rnd.random() < 0.8:
        word = rnd.choice(FILTER_NAMES if name == "map" else TEST_NAMES)
        given = ["'a'", f"'{word}'", *given] if name.endswith("attr") else [f"'{word}'", *given]
    if rnd.random() < 0.3:
        given.append(f"{rnd.choice(NAMED)}={expression(rnd, 1)}")
    return f"{name}({', '.join(given)})" if given else name


def document(rnd: Random, depth: int = 3) -> str:
    """A whole template: text, values and statements."""
    return "".join(_statement(rnd, depth) for _ in range(rnd.randint(1, 4)))


def _statement(rnd: Random, depth: int) -> str:
    def value() -> str:
        return expression(rnd, 2)

    def body() -> str:
        return document(rnd, depth - 1) if depth > 0 else cases.text(rnd, 2)

    name = rnd.choice(["a", "b", "m", "ns", "loop", "caller", "x"])
    match rnd.randrange(20):
        case 0 | 1 | 2:
            return "{{ " + value() + " }}"
        case 3:
            return cases.text(rnd, 3)
        case 4 | 5:
            return f"{{% set {name} = {value()} %}}"
        case 6:
            return f"{{% set {name} %}}{body()}{{% endset %}}"
        case 7 | 8:
            target = rnd.choice([name, f"{name}, y"])
            tail = rnd.choice(["", f" if {value()}", " recursive"])
            return f"{{% for {target} in {value()}{tail} %}}{body()}{{% endfor %}}"
        case 9:
            return f"{{% if {value()} %}}{body()}{{% else %}}{body()}{{% endif %}}"
        case 10:
            return f"{{% macro {name}(p, q={value()}) %}}{body()}{{% endmacro %}}"
        case 11:
            return "{{ " + f"{name}({value()}, {value()})" + " }}"
        case 12:
            return f"{{% call {name}({value()}) %}}{body()}{{% endcall %}}"
        case 13:
            return f"{{% filter {filtered(rnd, 1)} %}}{body()}{{% endfilter %}}"
        case 14:
            return f"{{% with {name} = {value()} %}}{body()}{{% endwith %}}"
        case 15:
            return f"{{% set ns = namespace(x={value()}) %}}{{% set ns.x = {value()} %}}{{{{ ns.x }}}}"
        case 16:
            return rnd.choice(
                [
                    "{{ loop.index }}",
                    "{{ loop(rows) }}",
                    "{{ caller() }}",
                    "{{ loop.cycle(1, 2) }}",
                    "{{ self }}",
                    "{% break %}",
                ]
            )
        case 17:
            return f"{{{{ {rnd.choice(['cycler', 'joiner', 'namespace', 'lipsum', 'dict', 'range'])}({value()}) }}}}"
        case 18:
            return rnd.choice(
                [
                    "{% include 'x' %}",
                    "{% import 'x' as y %}",
                    "{% extends 'x' %}",
                    "{% raw %}{{ x }}{% endraw %}",
                    "{# c #}",
                    "{% block b %}{% endblock %}",
                    "{% autoescape true %}{% endautoescape %}",
                    "{% do x %}",
                ]
            )
        case _:
            return "{% for a in rows %}{% for b in rows %}" + body() + "{% endfor %}{% endfor %}"


# -- packages ------------------------------------------------------------------------------------------------------


@functools.cache
def schema() -> dict[str, Any]:
    """The language's schema."""
    return package_schema()


@functools.cache
def examples() -> tuple[str, ...]:
    """The texts of packages that are at hand: good ones and bad ones."""
    folders = ("workflows", "tests/corpus/packages", "tests/corpus/analysis")
    files = sorted(
        file for folder in folders for file in (ROOT / folder).glob("*.yaml") if not file.name.endswith(".test.yaml")
    )
    return tuple(file.read_bytes().decode("latin-1") for file in files if file.stat().st_size < 60_000)


@functools.cache
def good() -> tuple[Any, ...]:
    """The values of those packages that can be read."""
    from yamlflow.document import read
    from yamlflow.errors import InvalidPackage

    found = []
    for text in examples():
        try:
            found.append(read(text.encode("latin-1")).data)
        except InvalidPackage:
            continue
    return tuple(json.loads(json.dumps(data)) for data in found if isinstance(data, dict))


def of_schema(rnd: Random, node: Any, depth: int = 7, root: Any = None) -> Any:
    """A value that fits a schema of the language as far as chance wants it to."""
    if rnd.random() < 0.015:
        return cases.value(rnd, 2)
    if isinstance(node, bool):
        return cases.value(rnd, 2)
    if "$ref" in node:
        target: Any = root or schema()
        for part in node["$ref"].split("/")[1:]:
            target = target[part]
        return of_schema(rnd, target, depth, root)
    for key in ("const", "enum"):
        if key in node:
            return node[key] if key == "const" else rnd.choice(node[key])
    if node.get("examples") and rnd.random() < 0.5:
        return rnd.choice(node["examples"])
    if "anyOf" in node:
        return of_schema(rnd, rnd.choice(node["anyOf"]), depth, root)
    kinds = node.get("type", "object" if "properties" in node else "string")
    kind = rnd.choice(kinds) if isinstance(kinds, list) else kinds
    if kind == "object":
        return _object(rnd, node, depth, root)
    if kind == "array":
        count = (
            rnd.randint(node.get("minItems", 0), max(node.get("minItems", 0), 3))
            if depth > 0
            else node.get("minItems", 0)
        )
        return [of_schema(rnd, node.get("items", True), depth - 1, root) for _ in range(count)]
    if kind == "integer":
        return rnd.choice([node.get("minimum", 0), node.get("maximum", 9), 1, 2, 3, -1, 10**6])
    if kind == "number":
        return rnd.choice([0, 1, 0.5, 1e9, -1])
    if kind == "boolean":
        return rnd.random() < 0.5
    return None if kind == "null" else _word(rnd, node)


def _word(rnd: Random, node: dict[str, Any]) -> str:
    kind = rnd.random()
    if kind < 0.45:
        return rnd.choice(
            ["a", "b", "c", "step", "item", "noop", "set", "1s", "90s", "succeeded", "true", "default", "x", "A"]
        )
    if kind < 0.85:
        return "${{ " + expression(rnd, 2) + " }}" + rnd.choice(["", "", " tail"])
    return cases.text(rnd, 3)


def _object(rnd: Random, node: dict[str, Any], depth: int, root: Any) -> dict[str, Any]:
    made: dict[str, Any] = {}
    properties = node.get("properties", {})
    wanted = [*node.get("required", ())]
    optional = [name for name in properties if name not in wanted]
    if optional and depth > 0:
        wanted += rnd.sample(optional, min(len(optional), rnd.choice([0, 1, 1, 2, 3, 4])))
    for name in wanted:
        made[name] = of_schema(rnd, properties.get(name, True), depth - 1, root)
    additional = node.get("additionalProperties")
    if depth > 0 and isinstance(additional, dict):
        for _ in range(rnd.randint(node.get("minProperties", 0), 3)):
            made[rnd.choice(["a", "b", "c", "d", "step_1", "A", cases.text(rnd, 1)])] = of_schema(
                rnd, additional, depth - 1, root
            )
    return made


KINDS = (
    "noop",
    "set",
    "log",
    "fail",
    "sleep",
    "template",
    "record",
    "wait_signal",
    "approval",
    "signal",
    "odd",
    "odd",
    "flaky",
)
CONDITIONS = (
    "true",
    "false",
    "${{ inputs.a }}",
    "steps.a.result == 1",
    "nosuch",
    "inputs.b | length > 0",
    "steps.a.status == 'succeeded'",
)


def package(rnd: Random) -> dict[str, Any]:
    """A package that is mostly sound, of kinds that do no harm."""
    made: dict[str, Any] = {"yamlflow": 1, "name": "play", **group(rnd, 0)}
    if rnd.random() < 0.6:
        made["inputs"] = {"a": {"default": cases.value(rnd, 1)}, "b": {"type": "array", "default": [1, 2]}}
    for key, make in EXTRAS.items():
        if rnd.random() < 0.12:
            made[key] = make(rnd)
    return made


EXTRAS: dict[str, Any] = {
    "env": lambda rnd: {"E": text_value(rnd)},
    "run_name": lambda rnd: text_value(rnd),
    "title": lambda rnd: text_value(rnd),
    "queues": lambda rnd: {"q": {"max_in_flight": rnd.randint(1, 2)}},
    "signals": lambda rnd: {"go": {"type": "object"}, "s": {}},
    "limits": lambda rnd: {"steps": rnd.choice([1, 3, 50]), "events": rnd.choice([5, 100])},
    "defaults": lambda rnd: {"retry": {"max_attempts": 2, "delay": "1s"}, "timeout": "10s"},
    "concurrency": lambda rnd: {"key": text_value(rnd), "when_full": rnd.choice(["wait", "skip", "fail", "cancel_oldest"])},
    "context": lambda rnd: ["tenant"],
    "kinds": lambda rnd: {
        "own": {"inputs": {"x": {"default": 1}}, "steps": {"a": {"kind": "set", "with": {"value": "${{ inputs.x }}"}}}}
    },
}  # fmt: skip


def group(rnd: Random, depth: int) -> dict[str, Any]:
    """The keys of a group."""
    count = rnd.randint(1, 4 if depth == 0 else 3)
    ids = ["a", "b", "c", "d"][:count]
    made: dict[str, Any] = {}
    steps: dict[str, Any] = {}
    for place, id in enumerate(ids):
        steps[id] = step(rnd, depth)
        before = [each for each in ids[:place] if rnd.random() < 0.6]
        if before:
            steps[id]["needs"] = {
                each: rnd.choice(["succeeded", "finished", "not_failed", "failed"]) for each in before
            }
    if rnd.random() < 0.2:
        made["steps"] = [{key: each for key, each in one.items() if key != "needs"} for one in steps.values()]
    else:
        made["steps"] = steps
    for handler in ("on_failure", "on_cancel", "finally"):
        if rnd.random() < 0.15:
            made[handler] = [
                {"kind": "log", "with": {"message": rnd.choice(["${{ error.message }}", text_value(rnd)])}}
            ]
    if rnd.random() < 0.3:
        made["outputs"] = {"out": text_value(rnd)}
    if rnd.random() < 0.1:
        made["timeout"] = rnd.choice(["5s", "100s", text_value(rnd)])
    return made


def step(rnd: Random, depth: int) -> dict[str, Any]:
    """A step of a kind, or a group."""
    made: dict[str, Any] = group(rnd, depth + 1) if depth < 2 and rnd.random() < 0.2 else call(rnd)
    for key, make in KEYS.items():
        if rnd.random() < 0.1:
            made[key] = make(rnd)
    loop = rnd.random()
    if loop < 0.12:
        made["for_each"] = rnd.choice(
            [
                [1, 2, 2],
                [],
                text_value(rnd),
                "${{ range(3) }}",
                {"items": "${{ inputs.b }}", "key": text_value(rnd), "tolerate": "50%"},
                {"items": {"k": 1, "a/b": 2}, "as": "it"},
            ]
        )
    elif loop < 0.16:
        made["matrix"] = {"x": rnd.choice([[1, 2], text_value(rnd), []]), "y": ["p", None]}
    elif loop < 0.2:
        made["repeat"] = {
            "until": rnd.choice(["iteration >= 2", *CONDITIONS]),
            "every": rnd.choice(["1s", text_value(rnd)]),
            "max": 4,
        }
    return made


KEYS: dict[str, Any] = {
    "if": lambda rnd: rnd.choice(CONDITIONS),
    "continue_on_error": lambda rnd: True,
    "retry": lambda rnd: {"max_attempts": rnd.randint(1, 3), "delay": "2s", "backoff": rnd.choice(["fixed", "exponential"])},
    "timeout": lambda rnd: rnd.choice(["1s", "1h", text_value(rnd)]),
    "dedup_key": lambda rnd: text_value(rnd),
    "cache": lambda rnd: {"key": text_value(rnd), "ttl": rnd.choice(["1m", text_value(rnd)])},
    "locks": lambda rnd: [text_value(rnd)],
    "title": lambda rnd: text_value(rnd),
    "metadata": lambda rnd: {"m": text_value(rnd)},
    "env": lambda rnd: {"E": text_value(rnd)},
    "undo": lambda rnd: {"kind": "set", "with": {"value": "${{ result }}"}},
    "queue": lambda rnd: "q",
    "shield": lambda rnd: True,
    "join": lambda rnd: rnd.choice(["any", "all", 1]),
}  # fmt: skip


def text_value(rnd: Random) -> str:
    """A text of a package, mostly with an expression that means something."""
    kind = rnd.random()
    if kind < 0.35:
        return rnd.choice(
            [
                "${{ steps.a.result }}",
                "${{ inputs.a }}",
                "${{ item }}",
                "${{ run.id }}",
                "${{ steps.a.result.x | default(1) }}",
                "${{ iteration }}",
                "${{ matrix.x }}",
                "${{ index }}",
                "${{ now() }}",
                "${{ error }}",
                "${{ env.E }}",
                "${{ context.tenant }}",
            ]
        )
    if kind < 0.8:
        return (
            "${{ " + expression(rnd, 3).replace("steps", "steps.a.result" if rnd.random() < 0.5 else "inputs") + " }}"
        )
    return cases.text(rnd, 3)


def call(rnd: Random) -> dict[str, Any]:
    """The kind and input of a step."""
    kind = rnd.choice(KINDS)
    match kind:
        case "noop":
            return {"kind": "noop"}
        case "set" | "odd":
            return {
                "kind": kind,
                "with": {"value": rnd.choice([text_value(rnd), cases.value(rnd, 2), {"x": text_value(rnd)}])},
            }
        case "flaky":
            return {"kind": "flaky", "with": {"times": rnd.randint(0, 3)}}
        case "log" | "fail":
            return {"kind": kind, "with": {"message": text_value(rnd)}}
        case "sleep":
            return {
                "kind": "sleep",
                "with": rnd.choice([{"for": "5s"}, {"for": text_value(rnd)}, {"until": text_value(rnd)}]),
            }
        case "template":
            return {
                "kind": "template",
                "with": {"text": document(rnd, 2), "name": rnd.choice(["out.txt", text_value(rnd)])},
            }
        case "record":
            return {
                "kind": "record",
                "with": {
                    "collection": rnd.choice(["things", text_value(rnd)]),
                    "key": text_value(rnd),
                    "data": {"x": text_value(rnd)},
                },
            }
        case "wait_signal":
            return {"kind": "wait_signal", "with": {"signal": rnd.choice(["go", "s"])}}
        case "approval":
            return {"kind": "approval", "with": {"prompt": text_value(rnd)}}
        case _:
            return {
                "kind": "signal",
                "with": {
                    "run": rnd.choice(["${{ run.id }}", text_value(rnd)]),
                    "signal": "go",
                    "data": text_value(rnd),
                },
            }
