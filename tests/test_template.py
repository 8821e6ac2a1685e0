"""Expressions: what they read, what they give, what they are refused for. Bounds are in ``test_sandbox``."""

from __future__ import annotations

import subprocess
import sys
import threading
import types
from typing import Any

import jinja2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from yamlflow.errors import PluginError
from yamlflow.template import (
    FILTERS,
    Expressions,
    Reference,
    TemplateError,
    expressions_in,
    has_expression,
    run_text_remedy,
)

EXPRESSIONS = Expressions()
SCOPE: dict[str, Any] = {
    "inputs": {
        "pages": 3,
        "flag": False,
        "name": "bob",
        "none": None,
        "rate": 1.5,
        "text": "a <b> & 'c' \"d\"\nline two",
    },
    "steps": {"fetch": {"result": {"body": [1, 2, {"x": "y"}], "ok": True}}, "a": {"result": None}},
    "rows": [{"n": "b", "v": 2, "t": {"u": 1}}, {"n": "a", "v": 1, "t": {"u": 2}}, {"n": "C", "v": 2, "t": {"u": 3}}],
    "words": ["pear", "Apple", "fig", "apple"],
    "item": {"items": 1, "href": "http://x/y?z=1&w=ä"},
    "now": lambda: "2026-11-22T03:24:00.000Z",
    "uuid": lambda: "c0ffee",
    "random": lambda: 0.25,
}


def render(value: Any, scope: dict[str, Any] | None = None) -> Any:
    return EXPRESSIONS.compile(value).render(SCOPE if scope is None else scope)


def error_of(value: Any, scope: dict[str, Any] | None = None) -> TemplateError:
    with pytest.raises(TemplateError) as caught:
        render(value, scope)
    return caught.value


# Values: what a text with expressions becomes.

VALUES: dict[str, Any] = {
    "plain text": "plain text",
    "${{ inputs.pages }}": 3,
    "${{inputs.pages}}": 3,
    "${{ inputs.pages }}\n": 3,
    " ${{ inputs.pages }}": " 3",
    "${{ inputs.pages }}${{ inputs.pages }}": "33",
    "n=${{ inputs.pages }}!": "n=3!",
    "$${{ inputs.pages }}": "$3",
    "<${{ inputs.none }}>": "<>",
    "<${{ inputs.flag }}|${{ inputs.rate }}|${{ inputs.name }}>": "<false|1.5|bob>",
    "<${{ steps.fetch.result }}>": '<{"body":[1,2,{"x":"y"}],"ok":true}>',
    "${{ inputs.none }}": None,
    "${{ steps['fetch'].result[\"body\"][2].x }}": "y",
    "${{ steps.fetch.result.body[-1].x }}": "y",
    "${{ {'a': {'b': 1}} }}": {"a": {"b": 1}},
    "${{ '}}' ~ \"}}\" }}": "}}}}",
    "${{ 'it\\'s }}' }}": "it's }}",
    "a ${{ '${{' }} b": "a ${{ b",
    "${{ item.items }}": 1,
    "${{ {'keys': 2}.keys }}": 2,
    "${{ '\\d' }}": "\\d",
    "${{ range(1, inputs.pages + 1) }}": [1, 2, 3],
    "${{ range(5, 0, -2) }}": [5, 3, 1],
    "${{ now() }} ${{ uuid() }} ${{ random() }}": "2026-11-22T03:24:00.000Z c0ffee 0.25",
    "${{ rows | map(attribute='t.u') }}": [1, 2, 3],
    "${{ rows | map(attribute='z', default=0) }}": [0, 0, 0],
    "${{ (1, 2) }}": [1, 2],
    "${{ 1 ~ none ~ true ~ [1] }}": "1true[1]",
    "${{ inputs.nosuch | default(7) }}": 7,
    "${{ nosuch | d('x') }}": "x",
    "${{ inputs.name | default('x', true) }}": "bob",
    "${{ '' | default('x', true) }}": "x",
    "${{ [] | first | default('none') }}": "none",
    "${{ ('a' if inputs.flag) | default('b') }}": "b",
    "${{ nosuch is defined }}": False,
    "${{ inputs.nosuch is undefined }}": True,
    "${{ inputs.name is defined }}": True,
    "${{ inputs.pages is divisibleby 3 and inputs.name is not none }}": True,
    "${{ 1 < inputs.pages < 5 }}": True,
    "${{ 'a' in inputs.name or 'name' in inputs }}": True,
    "${{ '{\"a\": [1, 2]}' | fromjson }}": {"a": [1, 2]},
    "${{ {'b': '</x>', 'a': 'ä'} | tojson }}": '{"b":"</x>","a":"ä"}',
    "${{ 'abc' | sha256 }}": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    "${{ '1h30m' | duration }}": 5400,
    "${{ 5400 | duration }}": "1h30m",
    "${{ 0.25 | duration }}": "250ms",
    "${{ 'a,b' | split(',') }}": ["a", "b"],
    "${{ '%s: %05.1f%%' | format('x', 2) }}": "x: 002.0%",
    "${{ '%(a)s' % {'a': [1]} }}": "[1]",
    "${{ inputs.text | e }}": "a &lt;b&gt; &amp; &#39;c&#39; &#34;d&#34;\nline two",
    "${{ rows | groupby('v') | map(attribute='grouper') }}": [1, 2],
    "${{ rows | selectattr('v', 'eq', 2) | map(attribute='n') }}": ["b", "C"],
    "${{ rows | rejectattr('nosuch', 'defined') | length }}": 3,
    "${{ words | select('in', ['fig', 'pear']) }}": ["pear", "fig"],
    "${{ '\ud83d' | tojson }}": '"\\ud83d"',
}


@pytest.mark.parametrize(("text", "value"), VALUES.items())
def test_a_text_becomes_the_value_of_its_expressions(text: str, value: Any) -> None:
    assert render(text) == value
    assert type(render(text)) is type(value)


def test_within_a_value_texts_are_rendered_and_the_rest_is_as_written() -> None:
    literal = {"deep": [1, None, True]}
    value = {"a": [1, {"b": "${{ inputs.pages }}"}], "c": literal, "d": "x${{ inputs.name }}", "e": []}
    template = EXPRESSIONS.compile(value)
    assert template.render(SCOPE) == {"a": [1, {"b": 3}], "c": literal, "d": "xbob", "e": []}
    assert value["a"] == [1, {"b": "${{ inputs.pages }}"}]
    assert template.render({"inputs": {"pages": 4, "name": ""}}) == {
        "a": [1, {"b": 4}],
        "c": literal,
        "d": "x",
        "e": [],
    }


def test_frozen_mappings_and_tuples_are_walked_like_plain_ones() -> None:
    value = types.MappingProxyType({"a": ("${{ inputs.pages }}", 1)})
    assert render(value) == {"a": [3, 1]}


def test_a_value_without_expressions_is_literal_and_renders_as_itself() -> None:
    value = {"a": [1, "$x", "{{ y }}"]}
    template = EXPRESSIONS.compile(value)
    assert template.literal
    assert template.render({}) is value
    assert not EXPRESSIONS.compile("${{ 1 }}").literal


def test_a_deeply_nested_value_is_walked_without_recursion() -> None:
    value: Any = "${{ inputs.pages }}"
    for _ in range(3000):
        value = [value]
    rendered = render(value)
    for _ in range(3000):
        rendered = rendered[0]
    assert rendered == 3


@given(st.text(max_size=30))
def test_what_was_rendered_is_never_rendered_again(text: str) -> None:
    scope = {"x": "${{ 1 }}" + text, "y": "{{ 1 }}"}
    assert render("${{ x }}", scope) == "${{ 1 }}" + text
    assert render("a${{ x }}${{ y }}", scope) == "a${{ 1 }}" + text + "{{ 1 }}"
    assert EXPRESSIONS.document("{{ x }}").render(scope) == "${{ 1 }}" + text


# Errors: the cause, the path, the remedy, the place.

ERRORS: dict[str, tuple[str, str]] = {
    "${{ nosuch }}": ('no name "nosuch"', "In scope are"),
    "${{ input.pages }}": ('no name "input"', 'Did you mean "inputs"?'),
    "${{ inputs.page }}": ("inputs.page is not there: inputs has pages", 'Did you mean "pages"?'),
    "${{ steps.fetch.result.nosuch }}": ("steps.fetch.result.nosuch is not there", ""),
    "${{ steps.fetch.result.nosuch.deeper | default(1) }}": ("steps.fetch.result.nosuch is not there", ""),
    "${{ steps.a.result.body }}": ("steps.a.result is null", ""),
    "${{ rows.n }}": ("rows.n is not there: rows is a list", "map(attribute='n')"),
    "${{ rows[7] }}": ("rows[7] is not there: rows has 3 items", ""),
    "${{ rows | map(attribute='z') }}": ("item.z is not there", ""),
    "${{ ''.__class__ }}": ("is a text", ""),
    "${{ ''['__class__'] }}": ("is a text", ""),
    "${{ 'x'.upper() }}": (".upper() is a method call", "Write value | upper."),
    "${{ inputs.name.upper() }}": (".upper() is a method call", "Write inputs.name | upper."),
    "${{ inputs.name.upper }}": ("inputs.name is a text", "inputs.name | upper"),
    "${{ inputs.items() }}": (".items() is a method call", "inputs | items"),
    "${{ inputs.text.split(',') }}": (".split() is a method call", "| split(',')"),
    "${{ foo(1) }}": ("there is no function foo()", "range(), now(), uuid() and random()"),
    "${{ upper('x') }}": ("there is no function upper()", "value | upper"),
    "${{ now }}": ("a function is not a value", "Call it"),
    "${{ now(1) }}": ("takes nothing", ""),
    "${{ inputs.name | uper }}": ('no filter "uper"', 'Did you mean "upper"?'),
    "${{ inputs.name is strin }}": ('no test "strin"', 'Did you mean "string"?'),
    "${{ inputs.name | attr('x') }}": ('no filter "attr"', "A dot reads a key"),
    "${{ rows | random }}": ('no filter "random"', "random()"),
    "${{ inputs.name | replace('b') }}": ("the filter replace takes (old, new, count=None)", ""),
    "${{ rows | map('uper') }}": ('no filter "uper"', 'Did you mean "upper"?'),
    "${{ rows | select('evn') }}": ('no test "evn"', 'Did you mean "even"?'),
    "${{ 1 if inputs.flag }}": ("there is no else", "Write else"),
    "${{ 'a' + 1 }}": ("+ cannot be applied to a text and a number", "Write ~"),
    "${{ 'a' < 1 }}": ("< cannot compare a text with a number", ""),
    "${{ 1 / 0 }}": ("division by zero", ""),
    "${{ 'x' | abs }}": ("abs takes a number, not a text", ""),
    "${{ [1, 'a'] | sort }}": ("a number and a text cannot be brought into an order", ""),
    "${{ 'x' | fromjson }}": ("is not JSON", ""),
    "${{ '[NaN]' | fromjson }}": ("is not JSON", ""),
    "${{ '5x' | duration }}": ('"5x" is not a duration', "such as"),
    "${{ {1: 2} }}": ("a key of a mapping must be a text", "quotes"),
    "${{ }}": ("the expression is empty", ""),
    "${{ a b }}": ("'b' is not expected here", ""),
    "${{ a. }}": ("expected", ""),
    "${{ 1, 2 }}": ("',' is not expected here", ""),
    "${{ x": ("${{ is never closed", "Write }}"),
    "${{ 'x }}": ("the quote ' is never closed", ""),
    "${{ (x }}": ("the bracket ( is never closed", ""),
    "${{ x) }}": ("the bracket ) closes nothing", ""),
    "${{ x ? y }}": ("the character '?' is not expected here", ""),
    "${{ x ; y }}": ("';' is not expected here", ""),
}


@pytest.mark.parametrize(("text", "message", "remedy"), [(text, *expected) for text, expected in ERRORS.items()])
def test_an_error_names_the_cause_and_the_remedy(text: str, message: str, remedy: str) -> None:
    error = error_of(text)
    assert message in error.message
    assert remedy in error.remedy
    assert error.code == "template_error"
    assert len(str(error)) < 600


def test_an_error_knows_its_place_in_the_text_and_in_the_value() -> None:
    error = error_of({"with": ["ok", "url: ${{ inputs.name }}/${{ inputs.nosuch }}"]})
    assert error.pointer == ("with", 1)
    assert error.offset == len("url: ${{ inputs.name }}/${{ ")
    assert error.expression == "inputs.nosuch"
    assert str(error).startswith("with[1]: inputs.nosuch is not there")
    assert error.problem(("steps", "a")).pointer == ("steps", "a", "with", 1)
    assert error_of("ab ${{ 1 + nosuch | upper }}").offset == len("ab ${{ 1 + ")
    assert error_of("ab ${{ 1 + * }}").offset == len("ab ${{ 1 + ")


def test_a_key_cannot_hold_an_expression() -> None:
    assert error_of({"a": {"${{ x }}": 1}}).pointer == ("a", "${{ x }}")


def test_the_same_wrong_text_at_two_places_is_reported_at_each() -> None:
    for key in ("a", "b"):
        assert error_of({key: "${{ x | nosuch }}"}).pointer == (key,)


# Conditions.


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("inputs.pages > 2", True),
        ("${{ inputs.pages > 2 }}", True),
        (" ${{ inputs.flag }}\n", False),
        ("steps.a.result", False),
        ("not inputs.flag and inputs.name == 'bob'", True),
        ("inputs.name == '${{'", False),
        (True, True),
        (False, False),
        ("none", False),
    ],
)
def test_a_condition_gives_a_boolean_and_null_is_false(text: str | bool, holds: bool) -> None:
    assert EXPRESSIONS.condition(text).evaluate(SCOPE) is holds


@pytest.mark.parametrize("text", ["inputs.pages", "inputs.name", "rows", "${{ 'true' }}", "0"])
def test_a_condition_that_gives_something_else_is_refused(text: str) -> None:
    with pytest.raises(TemplateError, match=r"not true or false.*Compare it"):
        EXPRESSIONS.condition(text).evaluate(SCOPE)


@pytest.mark.parametrize("text", ["${{ a }} and ${{ b }}", "", "  ", "a }} b", "${{ a", "x ${{ a }}"])
def test_a_condition_is_one_expression(text: str) -> None:
    with pytest.raises(TemplateError):
        EXPRESSIONS.condition(text)


# References and functions.


@pytest.mark.parametrize(
    ("expression", "names"),
    [
        ("steps.fetch.result.body", ["steps.fetch.result.body"]),
        ("steps['fetch'].result", ["steps.fetch.result"]),
        ("steps.fetch.result[0].x", ["steps.fetch.result"]),
        ("steps[item].result", ["steps", "item"]),
        ("a | replace(b.c, d) | default(e)", ["a", "b.c", "d", "e"]),
        ("a if b else c", ["a", "b", "c"]),
        ("[a, {'k': b}, (c ~ d)]", ["a", "b", "c", "d"]),
        ("rows | map(attribute=inputs.key)", ["rows", "inputs.key"]),
        ("a[b:c.d]", ["a", "b", "c.d"]),
        ("range(x.y) and not z is in w", ["x.y", "z", "w"]),
        ("-a ** b < c.d in e", ["a", "b", "c.d", "e"]),
        ("(a or b).c", ["a", "b"]),
        ("now() ~ uuid()", []),
    ],
)
def test_references_name_everything_that_is_read(expression: str, names: list[str]) -> None:
    references = EXPRESSIONS.compile("${{ " + expression + " }}").references
    assert [".".join(reference.names) for reference in references] == names


def test_references_know_their_place() -> None:
    template = EXPRESSIONS.compile({"a": ["x ${{ inputs.a ~ inputs.b }}"]})
    assert template.references == (
        Reference(names=("inputs", "a"), offset=6, pointer=("a", 0), text="inputs.a ~ inputs.b"),
        Reference(names=("inputs", "b"), offset=17, pointer=("a", 0), text="inputs.a ~ inputs.b"),
    )


def test_a_reference_that_may_be_missing_says_so() -> None:
    references = EXPRESSIONS.compile("${{ (a.b | default(c)) if d.e is defined else f }}").references
    assert {reference.names[0]: reference.optional for reference in references} == {
        "a": True,
        "c": False,
        "d": True,
        "f": False,
    }


def test_functions_that_draw_are_named() -> None:
    assert EXPRESSIONS.compile({"a": "${{ now() }}", "b": "${{ [random()] | first }}"}).functions == {"now", "random"}
    assert EXPRESSIONS.compile("${{ range(3) }}").functions == frozenset()
    assert EXPRESSIONS.condition("uuid() == 'a'").functions == {"uuid"}
    assert EXPRESSIONS.document("{{ now() }}").functions == {"now"}


def test_spans_are_found_in_a_text() -> None:
    text = "a ${{ x }} ${{ '}}' }}"
    assert has_expression(text)
    assert not has_expression("{{ x }} $ {{ y }}")
    assert [(span.start, span.end, span.source, span.offset) for span in expressions_in(text)] == [
        (2, 10, " x ", 5),
        (11, 22, " '}}' ", 14),
    ]


# Plain paths take a way of their own; it must mean the same.

KEYS = st.sampled_from([".a", ".b", "['a']", '["b c"]', "[0]", "[1]", ".items", ".__class__", "[12]"])
DATA = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=3)),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "b", "b c", "items", "0"]), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(st.lists(KEYS, max_size=4), st.dictionaries(st.sampled_from(["a", "x"]), DATA))
def test_the_short_way_of_plain_paths_means_the_same_as_the_long_one(keys: list[str], scope: dict[str, Any]) -> None:
    path = "x" + "".join(keys)

    def outcome(text: str) -> Any:
        try:
            return ("value", render(text, scope))
        except TemplateError as error:
            return ("error", error.message, error.remedy)

    short, long = outcome("${{ " + path + " }}"), outcome("${{ (" + path + ") if true else 1 }}")
    assert short == long
    assert EXPRESSIONS.compile("${{ " + path + " }}").references[0].names == (
        EXPRESSIONS.compile("${{ " + path + " | length }}").references[0].names
    )


# Jinja itself is the reference for what operators and filters mean.

SAME_AS_JINJA = """
inputs.pages + 2 * 3 - 1 | 7 // 2 | -7 // 2 | 7 % 3 | 2 ** 10 | 2 ** -1 | 7 / 2 | -inputs.pages | +1
2 ** 3 ** 2 | inputs.pages == 3 | 3 != 3 | 'a' < 'b' | [1,2] == [1,2] | 1 < 2 < 3 | 3 in [1,3]
'x' not in 'abc' | not true | 'a' ~ 'b' ~ 1 | 'ab' * 2 | [1] * 2 | [1] + [2] | 'abc'[1] | 'abc'[1:] | rows[0].n
rows[::2] | words[-1] | 'abc'[::-1] | true and 'x' | '' or 'y' | 1 if false else 2
inputs.name if inputs.pages else 'no' | none | 1.5e3 | 0x1F | 1_000 | inputs.name|upper | 'ABC'|lower
'aBC d'|capitalize | 'ab-cd (ef) <g'|title | '  x '|trim | 'xxaxx'|trim('x') | 'aXbX'|replace('X','-')
'aXbX'|replace('X','-',1) | 'aaa'|replace('','-') | 'x'|center(9) | 'abc'|center(2) | inputs.text|indent
inputs.text|indent(2,true) | 'a\\n\\nb'|indent(2) | 'a\\n\\nb'|indent(2,blank=true) | ''|indent
'foo bar baz qux'|truncate(9) | 'foo bar baz qux'|truncate(9,true) | 'foo bar baz'|truncate(11)
'a b'|truncate(3,end='') | 'foo bar baz qux'|truncate(9,false,'..',0) | 'one two three four'|wordwrap(7)
'abcdefghijkl'|wordwrap(5) | 'one\\ntwo three'|wordwrap(4,wrapstring='|') | 'a b  c-d'|wordcount
'%s-%d'|format('a',3) | '%s' % 'x' | '%05d' % 3 | item.href|urlencode | {'a':'b c','d':'/'}|urlencode
[['a',1]]|urlencode | '<a>b</a> <!-- c --> &amp; d'|striptags | '12'|int | 'x'|int | 'x'|int(5) | '1.9'|int
'ff'|int(0,16) | none|int(3) | '1.5'|float | 'x'|float(2.0) | 3|float | 2.5|round | 2.567|round(2)
2.1|round(0,'ceil') | 2.9|round(method='floor') | 15|round(-1) | -3|abs | 13000|filesizeformat
1|filesizeformat | 999|filesizeformat | 1000000|filesizeformat | 1048576|filesizeformat(true)
12345678901|filesizeformat | words|first | words|last | words|length | words|count | inputs|length | 'abc'|list
inputs|list | words|join(', ') | rows|join(',', attribute='n') | words|join | words|map('upper')|list
rows|map(attribute='v')|list | [1,[2]]|first | rows|map(attribute='t.u')|list
rows|map(attribute='q',default='-')|list | words|map('replace','p','q')|list | [1,0,2]|select|list
[1,2,3]|select('odd')|list | [1,2,3]|reject('odd')|list | [1,2,3]|select('divisibleby',3)|list
[1,2,3]|select('>',1)|list | rows|selectattr('v','equalto',2)|map(attribute='n')|list
rows|selectattr('t')|list|length | rows|rejectattr('n','in',['a'])|map(attribute='n')|list | words|sort
words|sort(true) | words|sort(case_sensitive=true) | rows|sort(attribute='v')|map(attribute='n')|list
rows|sort(attribute='v,n')|map(attribute='n')|list | [3,1,2]|sort
rows|sort(true,attribute='n')|map(attribute='n')|list | words|unique|list | words|unique(true)|list
[1,1,2]|unique|list | rows|unique(attribute='v')|map(attribute='n')|list | [3,1,2]|min | [3,1,2]|max | words|min
words|max | rows|min(attribute='v') | rows|max(attribute='n') | [1,2,3]|sum | rows|sum(attribute='v')
[1,2]|sum(start=10) | 'abc'|reverse | [1,2]|reverse|list | [1,2,3,4,5]|batch(2)|list
[1,2,3,4,5]|batch(3,'-')|list | [1,2,3,4,5,6,7]|slice(3)|map('list')|list
[1,2,3,4]|slice(3,'x')|map('list')|list | {'b':1,'a':2}|items|list|length | 1 is odd | 2 is even
6 is divisibleby 3 | none is none | true is boolean | true is true | 1 is true | 1 is integer | 1.0 is float
'a' is string | {} is mapping | [] is sequence | 'x' is iterable | 1 is number | true is integer | 'a' is lower
'A' is upper | 'upper' is filter | 'odd' is test | 1 is sameas 1 | 1 is in [1] | 1 is eq 1 | 1 is not gt 2
""".strip().replace("\n", " | ")


def _split(table: str) -> list[str]:
    """At the bars with blanks around them; a filter's bar has none."""
    return [part.strip() for part in table.split(" | ") if part.strip()]


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        value = list(value)
    return [_plain(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("expression", _split(SAME_AS_JINJA))
def test_operators_and_filters_mean_what_they_mean_in_jinja(expression: str) -> None:
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined)
    expected = environment.compile_expression(expression, undefined_to_none=False)(**SCOPE)
    assert render("${{ " + expression + " }}") == _plain(expected)


def test_every_filter_of_jinja_is_here_or_refused_on_purpose() -> None:
    refused = {"attr", "pprint", "random", "urlize", "xmlattr"}
    assert set(jinja2.Environment().filters) - FILTERS == refused


# Filters of plugins.


def test_a_plugin_filter_takes_and_gives_plain_data() -> None:
    def shout(value: str, times: int = 1) -> str:
        return value.upper() + "!" * times

    expressions = Expressions({"shout": shout})
    assert expressions.compile("${{ inputs.name | shout(times=2) }}").render(SCOPE) == "BOB!!"
    assert expressions.compile("${{ words | map('shout') | first }}").render(SCOPE) == "PEAR!"
    with pytest.raises(TemplateError, match=r"the filter shout takes \(times: .*=1\)"):
        expressions.compile("${{ 'x' | shout(1, 2) }}")


@pytest.mark.parametrize(
    "made", [{1, 2}, b"x", object(), float("nan"), {1: 2}, (1,), [[{"a": {2}}]], lambda: 1, 2**5000]
)
def test_a_plugin_filter_that_gives_anything_else_is_refused(made: Any) -> None:
    expressions = Expressions({"make": lambda value: made})
    with pytest.raises(TemplateError, match="the filter make gave something else than plain data"):
        expressions.compile("${{ inputs | make }}").render(SCOPE)


def test_a_plugin_filter_that_raises_is_named_with_its_error() -> None:
    def broken(value: Any) -> Any:
        raise RuntimeError("out of paper")

    with pytest.raises(TemplateError, match="the filter broken failed: RuntimeError: out of paper"):
        Expressions({"broken": broken}).compile("${{ inputs | broken }}").render(SCOPE)


def test_plugin_code_is_not_run_before_the_step_is() -> None:
    calls: list[Any] = []
    expressions = Expressions({"note": calls.append})
    for text in ("${{ 1 | note }}", "${{ [1] | map('note') }}", "${{ [1] | map('no' ~ 'te') }}"):
        expressions.compile(text)
    assert calls == []


def test_a_plugin_cannot_replace_a_built_in_filter() -> None:
    with pytest.raises(PluginError, match="upper"):
        Expressions({"upper": str.upper})


# Documents.

DOCUMENTS = {
    "plain": "plain",
    "a\n{{ inputs.pages }}\n": "a\n3\n",
    "{{ inputs.none }}|{{ inputs.flag }}|{{ rows[0].t }}": '|false|{"u":1}',
    "{% for r in rows if r.v > 1 %}{{ loop.index }}/{{ loop.length }}{{ r.n }}{{ loop.last }},{% endfor %}": (
        "1/2bfalse,2/2Ctrue,"
    ),
    "{% for r in [] %}x{% else %}none{% endfor %}": "none",
    "{% for k, v in {'a': 1, 'b': 2} | items %}{{ k }}{{ v }}{{ loop.cycle('x', 'y') }}{% endfor %}": "a1xb2y",
    "{% for i in range(9) %}{% if i == 1 %}{% continue %}{% endif %}{{ i }}{% endfor %}": "02345678",
    "{% for i in range(9) %}{% if i > 3 %}{% break %}{% endif %}{{ i }}{% endfor %}": "0123",
    "{% set x = 1 %}{% for i in [1] %}{% set x = 2 %}{% endfor %}{{ x }}": "1",
    "{% set ns = namespace(n=0) %}{% for i in [1, 2] %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }}": "3",
    "{% set a, b = [1, 2] %}{{ a }}{{ b }}": "12",
    "{% set x | upper %}a{{ 1 }}{% endset %}{{ x }}": "A1",
    "{% macro m(a, b=2) %}<{{ a }}{{ b }}>{% endmacro %}{{ m(1) }}{{ m(1, b=3) }}{{ m(a=4) }}": "<12><13><42>",
    "{% macro m() %}[{{ caller() }}]{% endmacro %}{% call m() %}x{% endcall %}": "[x]",
    "{% macro m() %}[{{ caller(1) }}]{% endmacro %}{% call(i) m() %}{{ i }}{% endcall %}": "[1]",
    "{% macro m() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, x=2) }}": '[1]{"x":2}',
    "{% macro f(n) %}{{ n }}{% if n > 0 %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(3) }}": "3210",
    "{% for x in [[[]], []] recursive %}{{ x | length }}{% if x %}({{ loop(x) }}){% endif %}{% endfor %}": "1(0)0",
    "{% filter upper %}a{{ inputs.name }}{% endfilter %}": "ABOB",
    "{% with a = 1, b = inputs.pages %}{{ a }}{{ b }}{% endwith %}": "13",
    "{% if inputs.flag %}a{% elif inputs.pages == 3 %}b{% else %}c{% endif %}": "b",
    "{# gone #}x{% raw %}{{ y }}{% endraw %}": "x{{ y }}",
    "a  {%- if true %}  b{% endif -%}   c": "a  bc",
    "{% set j = joiner('+') %}{% for i in [1, 2] %}{{ j() }}{{ i }}{% endfor %}": "1+2",
    "{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.next() }}{{ c.current }}": "abab",
    "{{ x is defined }}{% set x = 1 %}{{ x is defined }}": "falsetrue",
    "${{ inputs.pages }}": "$3",
}


@pytest.mark.parametrize(("text", "expected"), DOCUMENTS.items())
def test_a_document_renders_as_in_jinja(text: str, expected: str) -> None:
    assert EXPRESSIONS.document(text).render(SCOPE) == expected


@pytest.mark.parametrize(
    "text",
    [
        "{% include '/etc/passwd' %}",
        "{% import 'x' as y %}",
        "{% from 'x' import y %}",
        "{% extends 'x' %}",
        "{% block a %}{% endblock %}",
        "{% autoescape true %}{% endautoescape %}",
        "{% set f = '{0.__class__}'.format %}{{ f(1) }}",
        "{{ '{0.__class__}'.format(1) }}",
        "{% break %}",
        "{% for i in [1] %}{% macro m() %}{% continue %}{% endmacro %}{{ m() }}{% endfor %}",
        "{{ self }}",
        "{{ lipsum() }}",
        "{{ cycler.__init__.__globals__ }}",
        "{{ namespace.__class__ }}",
        "{{ loop }}",
        "{% macro m() %}{% endmacro %}{{ m }}{{ m | list }}",
        "{% macro m(a) %}{{ a }}{% endmacro %}{{ m() }}",
        "{% for a, b in [[1]] %}{% endfor %}",
        "{% set x = nosuch %}{{ x }}",
        "{% set x = nosuch %}{{ x.y | default(1) }}",
        "{% if x %}",
        "{{ x",
        "{% nosuch %}",
        "{{ inputs.nosuch }}",
        "{% set inputs.x = 1 %}",
    ],
)
def test_a_document_that_reaches_out_or_is_wrong_is_refused(text: str) -> None:
    with pytest.raises(TemplateError):
        EXPRESSIONS.document(text).render(SCOPE)


def test_a_documents_own_names_are_no_references() -> None:
    text = (
        "{% set a = inputs.x %}{% for i in rows %}{{ i.v }}{{ loop.index }}{{ a }}{% endfor %}{{ i }}"
        "{% macro m(p, q=d) %}{{ p }}{{ caller() }}{% endmacro %}{{ m(steps.f.result) }}"
        "{% with w = z %}{{ w }}{% endwith %}"
    )
    references = EXPRESSIONS.document(text).references
    assert [".".join(reference.names) for reference in references] == [
        "inputs.x",
        "rows",
        "i",
        "d",
        "steps.f.result",
        "z",
    ]
    assert [text[reference.offset :][:4] for reference in references] == [
        "inpu",
        "rows",
        "i }}",
        "d) %",
        "step",
        "z %}",
    ]
    assert EXPRESSIONS.document("no signs").literal
    assert not EXPRESSIONS.document("{{ 1 }}").literal


# The remedy for run text.

REMEDIES = {
    "echo hi": None,
    "echo ${{ inputs": None,
    "./x --pages ${{ inputs.pages }}": 'env: {PAGES: "${{ inputs.pages }}"}\nrun: ./x --pages "$PAGES"',
    'echo "${{ inputs.a }}" "b ${{ inputs.b }}c"': (
        'env: {A: "${{ inputs.a }}", B: "${{ inputs.b }}"}\nrun: echo "$A" "b ${B}c"'
    ),
    "echo '${{ inputs.a }}' 'x ${{ inputs.a }} y'": ('env: {A: "${{ inputs.a }}"}\nrun: echo "$A" \'x \'"$A"\' y\''),
    "echo ${{ steps.fetch.result.body }} ${{ steps.fetch.result }}": (
        'env: {FETCH_BODY: "${{ steps.fetch.result.body }}", FETCH: "${{ steps.fetch.result }}"}\n'
        'run: echo "$FETCH_BODY" "$FETCH"'
    ),
    "a ${{ inputs.x }} ${{ steps.x.result }}": (
        'env: {X: "${{ inputs.x }}", X_2: "${{ steps.x.result }}"}\nrun: a "$X" "$X_2"'
    ),
    "a ${{ inputs.path }}": 'env: {INPUTS_PATH: "${{ inputs.path }}"}\nrun: a "$INPUTS_PATH"',
    "a ${{ env.TOKEN }}": 'run: a "$TOKEN"',
    'a ${{ rows | join(", ") }}': 'env: {ROWS: \'${{ rows | join(", ") }}\'}\nrun: a "$ROWS"',
    "a ${{ now() }} ${{ 1 + 1 }}": 'env: {NOW: "${{ now() }}", VALUE: "${{ 1 + 1 }}"}\nrun: a "$NOW" "$VALUE"',
    "# don't\na ${{ item }}\nb\n": 'env: {ITEM: "${{ item }}"}\nrun: |\n  # don\'t\n  a "$ITEM"\n  b',
    "cat <<EOF\n${{ item }} it's\nEOF\nb ${{ item }}": (
        'env: {ITEM: "${{ item }}"}\nrun: |\n  cat <<EOF\n  $ITEM it\'s\n  EOF\n  b "$ITEM"'
    ),
}


@pytest.mark.parametrize(("text", "remedy"), REMEDIES.items())
def test_run_text_with_an_expression_gets_a_remedy_to_paste(text: str, remedy: str | None) -> None:
    assert run_text_remedy(text) == remedy


@given(st.text(alphabet="ab '\"\\$#<E\n", max_size=20), st.text(alphabet="ab '\"\n", max_size=10))
def test_no_remedy_leaves_an_expression_in_the_run_text(before: str, after: str) -> None:
    remedy = run_text_remedy(f"{before}${{{{ inputs.x }}}}{after}")
    assert remedy is not None
    assert "${{" not in remedy.split("\nrun: ", 1)[1]


# Cost and threads.


def test_plain_paths_and_literals_never_import_jinja() -> None:
    code = (
        "import sys; from yamlflow.template import Expressions; e = Expressions();"
        "e.compile({'a': 'x ${{ inputs.a }} ${{ item }}', 'b': '${{ steps.a.result[0].b }}'})"
        ".render({'inputs': {'a': 1}, 'item': 2, 'steps': {'a': {'result': [{'b': 1}]}}});"
        "e.condition('inputs.flag').evaluate({'inputs': {'flag': True}});"
        "assert 'jinja2' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_one_template_renders_in_many_threads_at_once() -> None:
    expressions = Expressions()
    wrong: list[Any] = []

    def work(number: int) -> None:
        for _ in range(50):
            template = expressions.compile({"a": "${{ range(n) | sum }}", "b": ["${{ n }}-${{ n * 2 }}"]})
            if template.render({"n": number}) != {"a": sum(range(number)), "b": [f"{number}-{number * 2}"]}:
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
