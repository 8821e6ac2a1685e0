"""What is given to a run and typed on the way: inputs and their schemas, signals, names, ids, times, settings, secrets."""

from __future__ import annotations

import itertools
import json
from random import Random
from typing import Any

from yamlflow import document
from yamlflow.checks import check_id
from yamlflow.cron import Cron
from yamlflow.duration import format_duration, parse_duration
from yamlflow.errors import UserError
from yamlflow.executors.checking import check as check_against
from yamlflow.facts import named
from yamlflow.inputs import from_text, resolve
from yamlflow.packages import loaded
from yamlflow.runtime import Runtime
from yamlflow.secrets import parse
from yamlflow.starting import sound_value
from yamlflow.testing import T0, FakeClock
from yamlflow.values import NotJson, plain

from .. import cases
from .target import Target, refusals, told

PATTERNS = (
    "(a+)+$", "^(a|a)*$", "(x*)*y", "(.*a){12}$", "^[a-z]+$", "(?:a?){30}a{30}", "(", "[", "a{2,1}", "\\p{L}",
    "a{99999}", "(?P<x>a)(?P=x)", "",
)  # fmt: skip
WORDS = (
    "type", "enum", "const", "pattern", "minLength", "maxLength", "minimum", "maximum", "multipleOf", "items",
    "prefixItems", "uniqueItems", "minItems", "contains", "properties", "patternProperties", "additionalProperties",
    "propertyNames", "required", "allOf", "anyOf", "oneOf", "not", "if", "then", "else", "$ref", "$dynamicRef", "$id",
    "$anchor", "$defs", "format", "default", "dependentSchemas", "dependentRequired", "unevaluatedProperties",
    "unevaluatedItems",
)  # fmt: skip
REFS = ("#", "#/$defs/a", "#/$defs/b", "#a", "http://127.0.0.1:9/x", "file:///etc/passwd", "x", "#/nowhere", "urn:x")
FORMATS = (
    "date-time",
    "email",
    "uri",
    "ipv4",
    "ipv6",
    "regex",
    "uuid",
    "duration",
    "hostname",
    "date",
    "time",
    "idn-hostname",
)


def json_schema(rnd: Random, depth: int = 3) -> Any:
    """A JSON Schema, mostly."""
    if depth <= 0 or rnd.random() < 0.1:
        return rnd.choice([True, False, {}, {"type": "string"}, {"$ref": rnd.choice(REFS)}, cases.value(rnd, 1)])
    made: dict[str, Any] = {}
    for word in rnd.sample(WORDS, rnd.randint(1, 4)):
        made[word] = _value_of(rnd, word, depth)
    return made


def _value_of(rnd: Random, word: str, depth: int) -> Any:
    def inner() -> Any:
        return json_schema(rnd, depth - 1)

    if rnd.random() < 0.04:
        return cases.value(rnd, 1)
    match word:
        case "type":
            return rnd.choice(
                [
                    "string",
                    "integer",
                    "number",
                    "boolean",
                    "null",
                    "array",
                    "object",
                    ["string", "null"],
                    ["integer", "array"],
                ]
            )
        case "enum":
            return [cases.value(rnd, 1) for _ in range(rnd.randint(1, 3))]
        case "const" | "default":
            return cases.value(rnd, 2)
        case "pattern":
            return rnd.choice(PATTERNS)
        case "$ref" | "$dynamicRef":
            return rnd.choice(REFS)
        case "$id" | "$anchor":
            return rnd.choice(["a", "http://127.0.0.1:9/x", "#a", ""])
        case "format":
            return rnd.choice(FORMATS)
        case "allOf" | "anyOf" | "oneOf" | "prefixItems":
            return [inner() for _ in range(rnd.randint(1, 3))]
        case "properties" | "$defs" | "dependentSchemas":
            return {rnd.choice("abk"): inner() for _ in range(rnd.randint(1, 3))}
        case "patternProperties":
            return {rnd.choice(PATTERNS): inner()}
        case "required":
            return [rnd.choice("abk")]
        case "dependentRequired":
            return {"a": ["b"]}
        case "uniqueItems":
            return True
        case _ if word.startswith(("min", "max", "multiple")):
            return rnd.choice([0, 1, 2, 5, 0.1, -1, 10**400, 1e308])
        case _:
            return inner()


def instance(rnd: Random) -> Any:
    """A value that a schema judges."""
    kind = rnd.random()
    if kind < 0.3:
        return rnd.choice(["a" * 40 + "!", "a" * 5000, "ab" * 2000 + "c", "x" * 60])
    if kind < 0.4:
        return [{"a": number % 50} for number in range(rnd.choice([3, 3000]))]
    return cases.value(rnd, 3)


def inputs(rnd: Random) -> dict[str, Any]:
    """Schemas of inputs, what is typed for them, and what a program gives."""
    names = rnd.sample(["a", "b", "list", "name-x"], rnd.randint(1, 3))
    typed = rnd.choice(
        [
            cases.text(rnd, 4),
            json.dumps(instance(rnd)),
            "[" * 30_000,
            "9" * 5000,
            "[" + "9" * 5000 + "]",
            "NaN",
            "[1e999]",
        ]
    )
    return {
        "schemas": {name: json_schema(rnd) for name in names},
        "typed": [[rnd.choice([*names, "nosuch", ""]), typed] for _ in range(rnd.randint(0, 3))],
        "given": {name: instance(rnd) for name in names},
    }


def check_inputs(case: dict[str, Any]) -> None:
    """A package with these inputs, if it is accepted, takes or refuses what is given; nothing is stored when refused."""
    text = json.dumps(
        {
            "yamlflow": 1,
            "name": "x",
            "inputs": case["schemas"],
            "signals": {"s": next(iter(case["schemas"].values()), {})},
            "steps": [{"kind": "noop"}],
        }
    )
    try:
        one = loaded(document.read(text, file="p.yaml"))
    except UserError as refused:
        told(refused)
        return
    schemas = one.package.inputs
    pairs = [(str(name), str(text)) for name, text in case["typed"]]
    values: dict[str, Any] = {}
    with refusals():
        values = from_text(schemas, pairs)
    with refusals():
        resolve(schemas, values)
    with Runtime(clock=FakeClock()) as runtime:
        for given in (case["given"], values):
            try:
                run = runtime.start(one, given, run_id="x", if_exists="new")
            except UserError as refused:
                told(refused)
                assert runtime.run("x") is None or given is values, "a refused start was stored"
                continue
            for data in case["given"].values():
                with refusals():
                    runtime.signal(run.id, "s", data)
            runtime.cancel("x")
            runtime.run_until_idle(max_cycles=20)


def kind_input(rnd: Random) -> dict[str, Any]:
    """The schema of a kind and what stands in ``with``."""
    return {"schema": json_schema(rnd), "value": instance(rnd)}


def check_kind_input(case: dict[str, Any]) -> None:
    """Findings, or none; the schema of an approval's form is refused when it is none."""
    import jsonschema

    try:
        jsonschema.Draft202012Validator.check_schema(case["schema"])
    except jsonschema.SchemaError:
        return
    if isinstance(case["schema"], dict):
        found = check_against(case["schema"], case["value"])
        assert all(len(message) <= 4001 for _, message in found)


def signal(rnd: Random) -> dict[str, Any]:
    """The name, data and key of a signal; a run id."""
    return {
        "id": cases.text(rnd, 4),
        "name": cases.text(rnd, 3),
        "data": cases.value(rnd, 4),
        "key": rnd.choice([None, cases.text(rnd, 2)]),
    }


TAKER = """
yamlflow: 1
name: taker
steps:
  wait: {kind: wait_signal, with: {signal: go}}
"""


def check_signal(case: dict[str, Any]) -> None:
    """A run of that id, and a signal of that name to it: taken or refused."""
    key = None if case["key"] is None else str(case["key"])
    with Runtime(clock=FakeClock()) as runtime:
        one = loaded(document.read(TAKER))
        try:
            run = runtime.start(one, run_id=case["id"])
        except UserError as refused:
            told(refused)
            assert not runtime.runs(), "a refused start was stored"
            run = runtime.start(one, run_id="x")
        for name in (case["name"], "go"):
            with refusals():
                runtime.signal(run.id, name, case["data"], key=key, sender=case["name"])
        runtime.run_until_idle(max_cycles=10)
        with refusals():
            runtime.cancel(case["id"], reason=case["name"])
        with refusals():
            runtime.cancel(run.id, case["name"])


def small_text(rnd: Random) -> str:
    """A text of the kinds that are read as a time, an id or a name, changed."""
    known = (
        "0 6 * * 1-5",
        "*/5 * * * *",
        "0 0 L * 5L",
        "@daily",
        "0 0 31 2 *",
        "0 0 * * 1#2",
        "1h30m",
        "PT1H30M",
        "250ms",
        "90s",
        "run-1@2",
        "a/b",
        "../x",
        "Europe/Berlin",
    )
    return cases.changed_text(rnd, rnd.choice(known), rnd.choice(known)) if rnd.random() < 0.8 else cases.text(rnd, 6)


def check_small_text(case: str) -> None:
    """As a duration, a cron line, a time zone, a run id, the name of an artifact, a ``.env`` file."""
    with refusals():
        length = parse_duration(case)
        assert parse_duration(format_duration(length)) == length
    for line, zone in ((case, "UTC"), ("0 6 * * *", case), (case, "Australia/Lord_Howe")):
        with refusals():
            times = list(itertools.islice(Cron.read(line, zone).times(T0), 3))
            assert times == sorted(times)
            assert all(time > T0 for time in times)
    with refusals():
        check_id(case)
        assert "/" not in case
        assert case.isprintable()
    with refusals():
        named(case, "an artifact")
    with refusals():
        assert all(isinstance(each, str) for each in parse(cases.bytes_of(case)).values())


def any_value(rnd: Random) -> Any:
    """Any value that a plugin may give back."""
    return cases.value(rnd, 5)


def check_any_value(case: Any) -> None:
    """A result, a signal's data: plain, or refused; what is plain comes back the same."""
    with refusals():
        value = sound_value(case)
        assert sound_value(value) == value
    try:
        made = plain({"a": (case, case)}, limit=2**20, tagger=lambda value: None)
    except NotJson as wrong:
        assert len(str(wrong)) <= 4001, "a message of too many characters"
    else:
        assert json.loads(json.dumps(made)) == made


TARGETS = (
    Target(name="inputs", make=inputs, check=check_inputs, weight=2),
    Target(name="kind-inputs", make=kind_input, check=check_kind_input),
    Target(name="signals", make=signal, check=check_signal),
    Target(
        name="times-and-names",
        make=small_text,
        check=check_small_text,
        from_bytes=lambda content: content.decode("utf-8", "replace"),
    ),
    Target(name="results", make=any_value, check=check_any_value, free=True),
)
