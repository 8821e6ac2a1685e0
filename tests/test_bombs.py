"""Small inputs that ask for much, when a package is checked and when it runs: refused within two seconds and 200 MB.

What documents and expressions alone can ask for is in ``test_document_corpus`` and ``test_sandbox``; here it comes by schemas,
inputs, keys and results.
"""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import pytest

from yamlflow import document
from yamlflow.context import StepContext
from yamlflow.errors import InvalidInput, InvalidPackage, UserError
from yamlflow.executors import executor
from yamlflow.executors.checking import check as check_against
from yamlflow.inputs import check, from_text
from yamlflow.outcome import Json
from yamlflow.packages import loaded
from yamlflow.plugins import load
from yamlflow.runtime import Runtime
from yamlflow.testing import FakeClock
from yamlflow.testing.likeness import fits

from .fuzz.judge import Judge

EVIL = "a" * 50 + "!"
LONG = "x" * 1_000_000


def bounded(act: Callable[[], Any]) -> Any:
    """What an act gives, within the bounds of time and memory; what it raises goes through."""
    given: list[Any] = []

    def once(case: Any) -> None:
        try:
            given.append(act())
        except UserError as refused:
            given.append(refused)

    finding = Judge()("bomb", once, None)
    assert finding is None, f"{finding.site}\n{finding.story}"
    if isinstance(given[0], UserError):
        raise given[0]
    return given[0]


def package(inputs: dict[str, Json], **keys: Any) -> str:
    """A package with these inputs."""
    return json.dumps({"yamlflow": 1, "name": "bomb", "inputs": inputs, "steps": [{"kind": "noop"}], **keys})


# -- schemas -------------------------------------------------------------------------------------------------------

PATTERNS = ["(a+)+$", "^(a|a)*$", "(a*)*b", "(a|aa)+$", "^(([a-z])+.)+[A-Z]([a-z])+$", "(.*a){20}$"]
DOUBLING = {
    f"a{level}": {"allOf": [{"$ref": f"#/$defs/a{level + 1}"}, {"$ref": f"#/$defs/a{level + 1}"}]}
    for level in range(30)
} | {"a30": {"type": "integer"}}


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_pattern_that_backtracks_for_ever_elsewhere_is_matched_at_once(pattern: str) -> None:
    for schema, value in (
        ({"type": "string", "pattern": pattern}, EVIL),
        ({"patternProperties": {pattern: {"type": "integer"}}}, {EVIL: "x"}),
        ({"properties": {}, "patternProperties": {pattern: {}}, "additionalProperties": False}, {EVIL: 1}),
        ({"propertyNames": {"pattern": pattern}}, {EVIL: 1}),
        ({"items": {"anyOf": [{"pattern": pattern}, {"const": 1}]}}, [EVIL]),
    ):
        bounded(lambda schema=schema, value=value: check(schema, value, ()))  # type: ignore[misc]
        bounded(lambda schema=schema, value=value: check_against(schema, value))  # type: ignore[misc]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_nor_does_it_stop_the_check_of_a_default_or_of_a_test(pattern: str) -> None:
    text = package({"a": {"type": "string", "pattern": pattern, "default": EVIL}})
    try:
        bounded(lambda: loaded(document.read(text)))
    except InvalidPackage as refused:
        assert "inputs.a.default" in str(refused)  # noqa: PT017
    stars = "*a" * 30 + "*b"
    assert bounded(lambda: fits(stars, "a" * 5000)) is False


@pytest.mark.parametrize("pattern", ["(?=a)b", r"(a)\1", "(?<!x)y"])
def test_what_cannot_be_matched_in_bounded_time_is_refused_with_the_reason(pattern: str) -> None:
    with pytest.raises(InvalidPackage, match="look-around and back-references are not supported"):
        loaded(document.read(package({"a": {"pattern": pattern}})))


@pytest.mark.parametrize("pattern", ["((a{1000}){1000}){1000}", "a{1001}", "x" * 20_000, "[" * 500])
def test_a_pattern_that_would_be_huge_is_refused(pattern: str) -> None:
    with pytest.raises(InvalidPackage, match="is no regular expression"):
        bounded(lambda: loaded(document.read(package({"a": {"pattern": pattern}}))))


def test_patterns_of_json_schema_mean_what_they_mean_there() -> None:
    assert check({"pattern": "^\\u00e4$"}, "ä", ()) == []
    assert check({"pattern": "^\\d$"}, "٣", ())
    assert check({"pattern": "^a$"}, "a\n", ())
    assert check({"pattern": "^\\p{L}+$"}, "äöü", ()) == []


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"$ref": "#"}, "refers to itself without end"),
        ({"anyOf": [{"type": "string"}, {"$ref": "#"}]}, "refers to itself without end"),
        (
            {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"not": {"$ref": "#/$defs/a"}}}, "$ref": "#/$defs/a"},
            "without end",
        ),
        ({"if": {"$ref": "#"}}, "without end"),
        ({"$ref": "http://example.invalid/x"}, 'there is nothing at "http://example.invalid/x"'),
        ({"$dynamicRef": "http://example.invalid/x"}, "there is nothing at"),
        ({"$dynamicRef": "#nowhere"}, "there is nothing at"),
        ({"unevaluatedProperties": False, "patternProperties": {"a": {}}}, "cannot stand in one schema with"),
    ],
)
def test_a_schema_that_nobody_can_judge_by_is_refused(schema: Any, words: str) -> None:
    for text in (package({"a": schema}), package({}, signals={"a": schema})):
        with pytest.raises(InvalidPackage, match=words):
            bounded(lambda text=text: loaded(document.read(text)))  # type: ignore[misc]


def test_a_schema_may_refer_to_itself_where_values_end() -> None:
    tree = {
        "$ref": "#/$defs/tree",
        "$defs": {"tree": {"type": "object", "properties": {"child": {"$ref": "#/$defs/tree"}}}},
    }
    assert loaded(document.read(package({"a": tree}))).package.inputs == {"a": tree}
    assert check(tree, {"child": {"child": {}}}, ()) == []
    assert check(tree, {"child": {"child": 1}}, ())


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"$defs": DOUBLING, "$ref": "#/$defs/a0"}, 1),
        ({"type": "array", "items": {"enum": list(range(10_000))}}, list(range(10_000))),
        ({"contains": {"allOf": [{"const": number} for number in range(100)]}}, list(range(100_000))),
        ({"items": {"patternProperties": {"a+": {}}}}, [{f"k{number}": 1 for number in range(1000)}] * 1000),
    ],
)
def test_work_that_multiplies_is_counted_and_refused(schema: Any, value: Json) -> None:
    [problem] = bounded(lambda: check(schema, value, ("inputs", "a")))
    assert "takes too long to judge" in problem.message
    found = bounded(lambda: check_against(schema, value))
    assert found == [] or "takes too long to judge" in found[0][1]


def test_a_long_list_is_told_apart_item_by_item_in_time_that_grows_with_it() -> None:
    items = [{"a": number} for number in range(50_000)]
    assert bounded(lambda: check({"uniqueItems": True}, items, ())) == []
    assert bounded(lambda: check({"uniqueItems": True}, [*items, {"a": 7.0}], ()))
    assert check({"uniqueItems": True}, [1, True, "1", [1], {"a": 1}], ()) == []


class _Told(http.server.BaseHTTPRequestHandler):
    """Notes that somebody asked."""

    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture
def server() -> Iterator[str]:
    """A server on loopback that nobody must ask."""
    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Told)
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{made.server_address[1]}"
    made.shutdown()
    made.server_close()


def test_nothing_is_fetched_that_a_schema_refers_to(server: str) -> None:
    for key in ("$ref", "$dynamicRef"):
        for schema in ({key: f"{server}/x"}, {"items": {key: f"{server}/x"}}, {"$id": f"{server}/y", key: "x"}):
            assert check(schema, [1], ("a",))
            assert check_against(schema, [1])
        text = package({}, steps=[{"kind": "approval", "with": {"form": {key: f"{server}/x"}}}])
        with Runtime(clock=FakeClock()) as runtime:
            runtime.start(loaded(document.read(text)), run_id="r")
            runtime.run_until_idle()
            row = runtime.run("r")
            assert row is not None
            assert row.status == "failed"
    assert _Told.asked == []


# -- what is typed -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"a":' * 100_000, "[" + "9" * 5000 + "]", '{"a": ' + "9" * 5000 + "}"]
)
@pytest.mark.parametrize("kind", ["array", "object", "integer", None])
def test_json_that_python_cannot_read_is_a_wrong_input(text: str, kind: str | None) -> None:
    schema = {} if kind is None else {"type": kind}
    try:
        values = bounded(lambda: from_text({"a": schema}, [("a", text)]))
    except InvalidInput as refused:
        assert len(str(refused)) < 1000  # noqa: PT017
    else:
        assert values in ({"a": text}, {"a": [text]})


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "integer"}, {"enum": ["a", "b"]}, {"pattern": "y"}, {"maxLength": 3}, {"const": 1}, {"not": {}},
        {"format": "ipv4"}, {"minLength": 10**9}, {"oneOf": [{"type": "null"}, {"type": "integer"}]},
    ],
)  # fmt: skip
def test_a_message_repeats_no_more_than_the_beginning_of_a_large_value(schema: Any) -> None:
    for value in (LONG, [LONG, LONG], {LONG: LONG}):
        for problem in bounded(lambda value=value: check(schema, value, ("inputs", "a"))):  # type: ignore[misc]
            assert len(str(problem)) < 1000
        for _, message in bounded(lambda value=value: check_against(schema, value)):  # type: ignore[misc]
            assert len(message) < 1000


def test_no_error_of_ours_is_longer_than_a_page() -> None:
    with Runtime(clock=FakeClock()) as runtime:
        one = loaded(document.read(package({"a": {"default": 1}})))
        for call in (
            lambda: runtime.start(one, run_id=LONG),
            lambda: runtime.start(one, {LONG: 1}),
            lambda: runtime.start(one, context={LONG: 1}),
            lambda: runtime.start(LONG),
            lambda: runtime.signal(LONG, "x"),
            lambda: runtime.cancel(LONG),
            lambda: loaded(document.read(package({}, **{LONG[:100_000]: 1}))),
            lambda: loaded(document.read(package({}, steps={LONG[:100_000]: {"kind": "noop"}}))),
            lambda: loaded(document.read(package({}, steps={"a": {"kind": "noop", "needs": LONG[:100_000]}}))),
        ):
            with pytest.raises(UserError) as refused:
                bounded(call)
            assert len(str(refused.value)) <= 4001


# -- results and keys ----------------------------------------------------------------------------------------------


def deep(levels: int) -> Json:
    """Lists within lists."""
    value: Json = 1
    for _ in range(levels):
        value = [value]
    return value


class Loud:
    """Says too much of itself."""

    def __repr__(self) -> str:
        return LONG


def blow_up() -> Json:
    """Fails with a very long message."""
    raise ValueError(LONG * 10)


@pytest.mark.parametrize(
    ("give", "words"),
    [
        (lambda: "x" * 100_000_000, "more than the 1,048,576 bytes of JSON"),
        (lambda: [LONG] * 100_000, "more than the 1,048,576 bytes of JSON"),
        (lambda: dict.fromkeys(map(str, range(600_000))), "more than the 1,048,576 bytes of JSON"),
        (lambda: deep(10_000), "more than 100 levels deep"),
        (lambda: 10**5000, "a whole number of more than 4300 digits"),
        (lambda: {"a": float("nan")}, "nan is no JSON number"),
        (lambda: {"a": "\ud800"}, "half a surrogate pair"),
        (lambda: {Loud(): 1}, "JSON keys are text"),
        (lambda: {LONG: Loud()}, "more than the 1,048,576 bytes of JSON|is no JSON value"),
        (blow_up, "xxxx"),
    ],
)
def test_a_result_that_cannot_be_kept_fails_its_step_and_says_so_in_short(give: Callable[[], Json], words: str) -> None:
    @executor("give", schema={}, mode="inline")
    def give_it(step: StepContext) -> Json:
        return give()

    error = bounded(lambda: error_of({"kind": "give"}, plugins=[give_it]))
    assert any(word in error["message"] for word in words.split("|"))
    assert len(error["message"]) <= 4001


def error_of(
    step: dict[str, Json], inputs: dict[str, Json] | None = None, plugins: list[Any] | None = None
) -> dict[str, Any]:
    """The error of a step of a run."""
    known = load(entry_points=False)
    for each in plugins or ():
        known.add(each)
    with Runtime(clock=FakeClock(), plugins=known) as runtime:
        text = package({name: {} for name in inputs or {}}, steps={"a": step})
        runtime.start(loaded(document.read(text)), inputs, run_id="r")
        runtime.run_until_idle(max_cycles=30)
        row = runtime.step("r", "a")
        assert row is not None
        assert row.status == "failed", row
        error: dict[str, Any] = json.loads(row.error or row.fault or "")
        return error


@pytest.mark.parametrize(
    ("step", "inputs", "words"),
    [
        ({"kind": "noop", "for_each": "${{ range(inputs.n) }}"}, {"n": 10**7}, "longer than 1,000,000"),
        (
            {"kind": "noop", "matrix": dict.fromkeys("xyz", "${{ range(inputs.n) }}")}, {"n": 1000},
            "a loop may have 1,000,000 children; this one would have 1,000,000,000",
        ),
        ({"kind": "set", "with": {"value": "${{ inputs.n * 9 }}"}}, {"n": LONG}, "more than the 1,048,576 bytes"),
        ({"kind": "set", "with": {"value": "${{ inputs.n ** inputs.n }}"}}, {"n": 10**6}, "more than 256 bits"),
        ({"kind": "set", "with": {"value": "${{ inputs.n * inputs.n }}"}}, {"n": 10**4000}, "more than 256 bits"),
        ({"kind": "fail", "with": {"message": "${{ inputs.n }}", "code": "${{ inputs.n }}"}}, {"n": LONG}, "xxx"),
        ({"kind": "sleep", "with": {"for": "${{ inputs.n }}"}}, {"n": "9" * 10**6}, "has no unit"),
        ({"kind": "noop", "timeout": "${{ inputs.n }}"}, {"n": "9" * 10**6 + "s"}, "is not a duration"),
        ({"kind": "noop", "locks": ["${{ inputs.n }}"]}, {"n": LONG}, "1 to 500 characters"),
        ({"kind": "noop", "dedup_key": "${{ inputs.n }}"}, {"n": LONG}, "1 to 500 characters"),
        ({"kind": "noop", "cache": {"key": "${{ inputs.n }}", "ttl": "1h"}}, {"n": LONG}, "1 to 500 characters"),
        ({"kind": "noop", "for_each": {"items": [1], "key": "${{ inputs.n }}"}}, {"n": LONG}, "1 to 500 characters"),
        ({"kind": "template", "with": {"text": "x", "name": "${{ inputs.n }}"}}, {"n": LONG}, "at most 200"),
        ({"kind": "record", "with": {"collection": "${{ inputs.n }}", "key": "k", "data": {}}}, {"n": LONG}, "at most 200"),
        ({"kind": "signal", "with": {"run": "${{ inputs.n }}", "signal": "x"}}, {"n": LONG}, "to run"),
        ({"kind": "workflow", "with": {"package": "${{ inputs.n }}"}}, {"n": LONG}, "the package"),
        ({"kind": "approval", "with": {"form": {"pattern": "${{ inputs.n }}"}}}, {"n": "(" * 500}, "no JSON Schema"),
    ],
)  # fmt: skip
def test_a_value_of_a_run_that_asks_for_too_much_fails_its_step(step: dict[str, Json], inputs: Any, words: str) -> None:
    error = bounded(lambda: error_of(step, inputs))
    assert words in error["message"]
    assert len(error["message"]) <= 4001
    assert len(error["code"]) <= 201


def test_what_would_be_stored_with_a_run_is_bounded() -> None:
    with Runtime(clock=FakeClock()) as runtime:
        named = loaded(document.read(package({"n": {}}, run_name="${{ inputs.n }}")))
        with pytest.raises(UserError, match="the run's name has 1,000,000 characters"):
            bounded(lambda: runtime.start(named, {"n": LONG}))
        run = runtime.start(named, {"n": "x"})
        keyed = loaded(document.read(package({"n": {}}, concurrency={"key": "${{ inputs.n }}"})))
        with pytest.raises(InvalidInput, match=r"concurrency\.key: a key has 1 to 500 characters"):
            bounded(lambda: runtime.start(keyed, {"n": LONG}, run_id="r"))
        assert runtime.run("r") is None
        with pytest.raises(InvalidInput, match="more than the 1,048,576 bytes"):
            bounded(lambda: runtime.signal(run.id, "s", LONG * 2))
