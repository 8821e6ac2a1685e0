"""The bounds of expressions: no text, however it was made, costs more than a moment, some memory and a clear error.

The bombs run in one child process each kind whose memory is limited by the system, so that a hole fails the test and
not the machine.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2.defaults import DEFAULT_FILTERS, DEFAULT_NAMESPACE, DEFAULT_TESTS

from yamlflow.template import FILTERS, Expressions, Limits, TemplateError
from yamlflow.template.checks import TESTS as TESTS_KNOWN
from yamlflow.template.fault import shorten

SCOPE: dict[str, Any] = {
    "n": 10**6,
    "s": "ab" * 50,
    "big": "x" * 1_000_000,
    "rows": [{"a": "1", "b": [1, 2]}, {"a": "2", "b": []}],
    "m": {"k": None, "f": 1.5},
    "now": lambda: "2026-11-22T03:24:00.000Z",
}

#: Expressions of constants: refused when they are compiled, so that validation is as safe as running.
CONSTANT_BOMBS = [
    "'x' * 10**10",
    "10**10 * 'x'",
    "[0] * 10**10",
    "2**(2**30)",
    "10**10**10",
    "(-3)**(10**9)",
    "2**-(2**30) * 2**(2**30)",
    "9**999 * 9**999",
    "range(10**9)",
    "range(0, 10**30, 3)",
    "range(-(10**30), 10**30)",
    "'%1000000000d' % 1",
    "'%.1000000000f' % 1",
    "'%*d' % [1000000000, 1]",
    "'%(a)1000000s' % {'a': 1}",
    "'%1000000000d' | format(1)",
    "'x' | center(10**9)",
    "'x\\ny' | indent(10**9)",
    "'x' | indent('y' * 10**6 * 9) | indent('y' * 10**6 * 9)",
    "'a' | replace('', 'b' * 10**7) | replace('b', 'c' * 10**4)",
    "(range(99999) | list) * 99999",
    "range(99999) | map('batch', 99999) | list",
    "[1] | batch(10**9, 0)",
    "[1] | slice(10**9)",
    "[1] | batch(10**9, 'x' * 10**6) | map('join') | list",
    "(([[0] * 1000] * 1000) * 1000) | string",
    "([([[0] * 1000] * 1000)] * 1000) | tojson",
    "([([[0] * 1000] * 1000)] * 1000) == ([([[0] * 1000] * 1000)] * 1000)",
    "([([[0] * 1000] * 1000)] * 1000) | sort",
    "([([[0] * 1000] * 1000)] * 1000) | unique",
    "([([[0] * 1000] * 1000)] * 1000) | sum(start=[])",
    "[([([[0] * 1000] * 1000)] * 1000)] | sha256",
    "[([([[0] * 1000] * 1000)] * 1000)]",
    "(['x' * 10**7] * 10**6) | join",
    "(['x' * 10**7] * 10**6) | sort",
    "('x' * 10**7 ~ 'y') in ([('x' * 10**7 ~ 'z')] * 10**6)",
    "(['x' * 10**7] * 10**6) | map('upper') | list",
    "(['x' * 10**7] * 10**6) | map('length') | map('string') | join('y' * 10**7)",
    "'x' * 10**7 ~ 'x' * 10**7",
    "('x' * 10**7) + ('x' * 10**7)",
    "['x' * 10**7, 'x' * 10**7] | join",
    "('[' * 10**6) | fromjson",
    "('[' ~ '[],' * 10**6 ~ '1]') | fromjson",
    "('[' ~ '{},' * 10**6 ~ '1]') | fromjson",
    "('9' * 10**6) | fromjson",
    "('x ' * 10**6) | title",
    "('x ' * 10**6) | split | map('center', 10**6)",
    "('x' * 10**5) | wordwrap(1)",
    "('x' * 10**7) | list",
    "('&' * 10**7) | e",
    "('ä' * 10**7) | urlencode",
    "1.5 | round(10**9)",
    "15 | round(-(10**9))",
    "1.5 | round(10**9, 'ceil')",
    "[[1]] | tojson(10**9)",
    "1e308 * 10",
    "1e308 ** 2",
    "(-8) ** 0.5",
    "1e999",
    "0x" + "f" * 5000,
    "9" * 5000,
    "not " * 400 + "1",
    "-" * 4000 + "1",
    "(" * 500 + "1" + ")" * 500,
    "[" * 500 + "]" * 500,
    "1" + " + 1" * 3000,
    "x" + ".a" * 3000 + " | upper",
    "x" + " | upper" * 1500,
    "1 if 1 else " * 500 + "1",
    "x" * 30_000,
    "'" + "x" * 30_000 + "'",
]
#: Expressions that do nothing bad before they are rendered.
BOMBS = [
    "s * n * n",
    "n ** n",
    "n ** n ** n",
    "range(n * n)",
    "range(n) | map('string') | map('replace', '', big) | list",
    "[range(n), range(n), range(n), range(n)]",
    "range(n) | batch(1) | map('list') | list",
    "range(99999) | map('in', range(99999)) | list",
    "range(99999) | select('in', range(99999)) | list",
    "rows | map(attribute='a') | map('center', n * 100) | join",
    "big | replace('x', big)",
    "big | replace('x', 'y' * 200)",
    "big | replace('', big)",
    "(big ~ '\n') * 9 | indent(n, true)",
    "[big] * n",
    "([big] * n) | join",
    "([big] * n) | sort",
    "[big ~ 'a'] * 99999 == [big ~ 'b'] * 99999",
    "('\"' * n * 2) | tojson | tojson | tojson | tojson",
    "big | wordwrap(1)",
    "big | list | map('center', 100) | join | list",
    "(big * 9) | title",
    "('<!--' * n) | striptags",
    "('%' * n) % 1",
    "('%s' * n) | format(big)",
    "('%(k)s' * n) % {'k': big}",
    "('%(k)f' * n) % {'k': 1e308}",
    "('f' * n) | int(0, 16)",
    "('1' * n) | float | int",
    "m['k' * n]",
    "range(99) | map('string') | map('center', n * 9) | list",
    "rows | groupby(big)",
    "rows | sort(attribute='a,' * n)",
    "rows | map(attribute='a.' * n) | list",
    "rows | selectattr('a.' * n) | list",
    "[[big, big]] | map('join', big) | map('replace', 'x', big) | list",
    "range(n) | sum(start=big)",
    "range(n) | map('format', 1) | list",
]
HARMLESS = [
    "(range(2000) | list) | map('replace', 1, range(999) | list | string) | list",
    "([big] * n) | map('length') | sum",
    "('<' * n) | striptags",
    "('1' * n) | int",
    "('a' * n) in rows",
    "big | indent(n, true)",
    "('\\\\' * n) | tojson",
]
HARMLESS_DOCUMENTS = [
    "{% macro m() %}{{ caller() }}{{ caller() }}{% endmacro %}" * 30 + "{% call m() %}x{% endcall %}",
    "{% for a in [1] %}" * 40 + "x" + "{% endfor %}" * 40,
]
DOCUMENT_BOMBS = [
    "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "{% for a in range(99999) %}{{ 'x' * 10**6 }}{% endfor %}",
    "{% for a in range(999999) %}{% for b in range(9) %}text of some length{% endfor %}{% endfor %}",
    "{% set x = namespace(s='xx') %}{% for a in range(99) %}{% set x.s = x.s ~ x.s %}{% endfor %}{{ x.s }}",
    "{% set x = namespace(s=[1]) %}{% for a in range(99) %}{% set x.s = [x.s, x.s] %}{% endfor %}{{ x.s }}",
    "{% set x = namespace(s=[1]) %}{% for a in range(9999) %}{% set x.s = [x.s] %}{% endfor %}{{ x.s | string }}",
    "{% set x = namespace(s=1) %}{% for a in range(9999) %}{% set x.s = x.s * 999 + 1 %}{% endfor %}{{ x.s }}",
    "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}",
    "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(19) }}",
    "{% macro f(n) %}{% if n %}{{ f(n - 1) ~ f(n - 1) }}{% else %}xxxxxxxxxx{% endif %}{% endmacro %}{{ f(19) * 99 }}",
    "{% for x in [[1]] recursive %}{{ loop([x]) }}{% endfor %}",
    "{% filter center(10**9) %}x{% endfilter %}",
    "{% set x | replace('', 'b' * 10**7) | replace('b', 'c' * 10**4) %}a{% endset %}",
    "{% if 1 %}" * 500 + "{% endif %}" * 500,
    "{% for a in [1] %}" * 500 + "x" + "{% endfor %}" * 500,
    "{{ x }}" * 40_000,
    "x" * 1_100_000,
    "{#" * 100_000,
    "{%" + " " * 200_000,
    "{% raw %}" * 30_000,
    "{{" * 60_000,
]

CHILD = """
import json, resource, sys, time
resource.setrlimit(resource.RLIMIT_AS, (900_000_000, 900_000_000))
from yamlflow.template import Expressions, TemplateError
sys.path.insert(0, "tests")
kind, scope, bombs = json.load(sys.stdin)
expressions = Expressions()
expressions.compile("${{ 1 | string }}")
outcomes = []
for bomb in bombs:
    before = time.process_time()
    try:
        if kind == "document":
            made = expressions.document(bomb)
        else:
            made = expressions.compile("${{ " + bomb + " }}")
        when = "rendered"
        made.render(scope)
        outcome = "no error"
    except TemplateError as error:
        outcome = "compiled" if "made" not in globals() or made is None else when
        assert len(str(error)) < 1200, str(error)[:2000]
        assert "not enough memory" not in str(error), bomb[:200]
    made = None
    outcomes.append([outcome, time.process_time() - before])
# Not ``ru_maxrss``: that begins at the size of the process which started this one.
status = open("/proc/self/status").read()
peak = int(status.partition("VmHWM:")[2].split()[0]) * 1024
json.dump([outcomes, peak], sys.stdout)
"""


def explode(kind: str, bombs: list[str]) -> list[tuple[str, str]]:
    """Runs bombs in a child; gives what came of each, and checks the time of each and the memory of all."""
    scope = {name: value for name, value in SCOPE.items() if not callable(value)}
    given = json.dumps([kind, scope, bombs])
    done = subprocess.run(
        [sys.executable, "-c", CHILD], input=given, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    outcomes, peak = json.loads(done.stdout)
    slow = [(bomb[:80], seconds) for bomb, (_, seconds) in zip(bombs, outcomes, strict=True) if seconds > 2]
    assert slow == []
    assert peak < 300_000_000
    return [(bomb[:120], outcome) for bomb, (outcome, _) in zip(bombs, outcomes, strict=True)]


def test_a_bomb_of_constants_is_refused_when_it_is_compiled() -> None:
    outcomes = explode("value", CONSTANT_BOMBS)
    assert [bomb for bomb, outcome in outcomes if outcome != "compiled"] == []


def test_a_bomb_is_defused_when_it_is_rendered() -> None:
    assert [bomb for bomb, outcome in explode("value", BOMBS) if outcome == "no error"] == []


def test_what_only_looks_like_a_bomb_is_soon_done() -> None:
    assert {outcome for _, outcome in explode("value", HARMLESS)} == {"no error"}
    assert {outcome for _, outcome in explode("document", HARMLESS_DOCUMENTS)} == {"no error"}


def test_a_bomb_in_a_document_is_refused() -> None:
    assert [bomb for bomb, outcome in explode("document", DOCUMENT_BOMBS) if outcome == "no error"] == []


def test_a_useful_load_is_within_the_bounds() -> None:
    expressions = Expressions()
    rows = [{"id": number, "name": f"row {number}"} for number in range(20_000)]
    value = expressions.compile(
        "${{ rows | selectattr('id', 'odd') | map(attribute='name') | map('upper') | join(',') }}"
    )
    assert value.render({"rows": rows}).count(",") == 9_999
    assert len(expressions.compile("${{ range(1000000) }}").render({})) == 1_000_000
    document = expressions.document("{% for row in rows %}<li>{{ row.name | e }}</li>\n{% endfor %}")
    assert document.render({"rows": rows}).count("\n") == 20_000


def test_macros_that_call_one_another_are_bounded_by_a_count_not_by_the_stack() -> None:
    for text in (
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{% macro f() %}{{ g() }}{% endmacro %}{% macro g() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{% for x in [[1]] recursive %}{{ loop([x]) }}{% endfor %}",
    ):
        with pytest.raises(TemplateError, match="macros call one another more than 20 deep"):
            Expressions().document(text).render({})


def test_limits_can_be_set() -> None:
    small = Expressions(limits=Limits(text=10, items=5, bits=16, brackets=3))
    for text in ("'x' * 11", "range(6)", "2 ** 17", "((((1))))"):
        with pytest.raises(TemplateError):
            small.compile("${{ " + text + " }}")
    assert small.compile("${{ 'x' * 10 }}").render({}) == "x" * 10


@pytest.mark.parametrize(
    "text",
    [
        "''.__class__.__mro__",
        "''['__class__']['__mro__']",
        "''|attr('__class__')",
        "[''] | map(attribute='__class__') | list",
        "[''] | map('attr', '__class__') | list",
        "[''] | selectattr('__class__') | list",
        "[''] | sort(attribute='__class__')",
        "[''] | groupby('__class__')",
        "[''] | sum(attribute='__class__')",
        "'{0.__class__}' | format(1) | replace('{0.__class__}', nosuch)",
        "'{0.__class__}'.format(1)",
        "'%(__class__)s' % ''",
        "'x'.format_map({})",
        "(1).__init__",
        "[].append(1)",
        "rows.append(1)",
        "now.__globals__",
        "now().__class__",
        "range.__class__",
        "m.__class__",
        "m.get('k')",
        "m.__getitem__('k')",
        "self",
        "self.__init__",
        "context",
        "config",
        "cycler.__init__",
        "lipsum.__globals__",
        "request.application",
        "namespace()",
        "dict(a=1)",
        "joiner()",
        "(rows | first).a.b",
        "()['__class__']",
        "{}.__class__",
        "rows[now]",
        "now | string",
        "[now]",
        "{'a': now}",
        "1 if now else 2",
        "rows | map(now)",
        "x(*rows)",
        "range(*rows)",
        "'x' | upper(**m)",
    ],
)
def test_nothing_reaches_python(text: str) -> None:
    with pytest.raises(TemplateError):
        Expressions().compile("${{ " + text + " }}").render(SCOPE)


# Fuzz: whatever is written, it is a value or a TemplateError, and soon.

# fmt: off
ATOMS = st.sampled_from([
    "1", "0", "-3", "2.5", "1e300", "10**9", "'x'", "'a b'", "''", "none", "true", "[]", "{}", "n", "s", "rows",
    "m", "m.k", "rows[0].b", "rows[0]['a']", "nosuch", "m.nosuch", "[1, 'a', none]", "{'a': [1]}", "range(9)",
    "now()",
])
# fmt: on
# fmt: off
BINARY = st.sampled_from([
    "+", "-", "*", "/", "//", "%", "**", "~", "==", "!=", "<", "<=", ">", ">=", "in", "and", "or", "not in",
])
# fmt: on
NAMES = st.sampled_from(sorted(FILTERS))
# fmt: off
TESTS = st.sampled_from([
    "defined", "undefined", "none", "odd", "even", "string", "mapping", "in", "sameas", "divisibleby", "eq",
])
# fmt: on


def _grow(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    call = st.lists(inner, max_size=2).map(lambda args: f"({', '.join(args)})" if args else "")
    return st.one_of(
        st.builds("({} {} {})".format, inner, BINARY, inner),
        st.builds("({} | {}{})".format, inner, NAMES, call),
        st.builds("({} | map('{}', {}))".format, inner, NAMES, inner),
        st.builds("({} | sort(attribute={}))".format, inner, inner),
        st.builds("({} is {}{})".format, inner, TESTS, call),
        st.builds("({} if {} else {})".format, inner, inner, inner),
        st.builds("({}[{}])".format, inner, inner),
        st.builds("({}[{}:{}])".format, inner, inner, inner),
        st.builds("[{}, {}]".format, inner, inner),
        st.builds("(not -{})".format, inner),
        st.builds("({}).{}".format, inner, st.sampled_from(["a", "items", "__class__", "grouper"])),
    )


FUZZED = Expressions()


def settle(text: str, document: bool = False) -> None:
    before = time.process_time()
    try:
        made = FUZZED.document(text) if document else FUZZED.compile(text)
        rendered = made.render(SCOPE)
        json.dumps(rendered, allow_nan=False)
    except TemplateError as error:
        assert len(str(error)) < 2000  # noqa: PT017
    assert time.process_time() - before < 2


@settings(max_examples=600, deadline=None)
@given(st.recursive(ATOMS, _grow, max_leaves=8))
def test_any_expression_gives_plain_data_or_a_template_error(expression: str) -> None:
    settle("${{ " + expression + " }}")


@settings(max_examples=400, deadline=None)
@given(st.text(alphabet="${}()[]'\"\\ |.,:~+-*/%<=>!abn01_#\n?;@é", max_size=40))
def test_any_text_gives_a_value_or_a_template_error(text: str) -> None:
    settle(text)
    settle("${{" + text + "}}")
    settle("{{" + text + "}}{%" + text + "%}", document=True)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [
                "{% if s %}",
                "{% else %}",
                "{% endif %}",
                "{% for x in rows %}",
                "{% endfor %}",
                "{{ loop.index }}",
                "{{ x.a }}",
                "{% set x = x %}",
                "{% set s %}",
                "{% endset %}",
                "{% macro f(x) %}",
                "{% endmacro %}",
                "{{ f(1) }}",
                "{{ f }}",
                "{% call f(2) %}",
                "{% endcall %}",
                "{{ caller() }}",
                "{% filter upper %}",
                "{% endfilter %}",
                "{% break %}",
                "{% with q=1 %}",
                "{% endwith %}",
                "{{ namespace() }}",
                "{{ loop(rows) }}",
                "{% raw %}",
                "{% endraw %}",
                "t\n",
            ]
        ),
        max_size=10,
    )
)
def test_any_document_gives_text_or_a_template_error(parts: list[str]) -> None:
    settle("".join(parts), document=True)


# Everything that Jinja knows, and everything that we know, on everything that could lead out of plain data.

#: Words that Python's own objects have, and the ways by which templates have got at them.
WALKS = [
    "'__class__'", "'__init__'", "'__globals__'", "'__getattribute__'", "'__class__.__mro__'", "'a.__class__'", "'0.__class__'",
    "'{0.__class__}'", "'{0[__class__]}'", "'%(__class__)s'", "'format'", "'format_map'", "'mro'", "'func_globals'", "'gi_frame'",
    "'attr'", "'map', 'attr', '__class__'", "'map', 'map', 'format'", "attribute='__class__'", "attribute='a.__class__'",
    "attribute='__class__', default=1", "'a', '__class__'", "m", "rows", "s", "'default', m", "0, '__class__'", "",
]  # fmt: skip
SUBJECTS = [
    "'x'",
    "'{0.__class__}'",
    "['x', ['y']]",
    "{'a': 'x'}",
    "rows",
    "m",
    "1",
    "1.5",
    "none",
    "true",
    "nosuch",
    "now",
    "range",
]
GLOBALS = sorted({
    *DEFAULT_NAMESPACE, "self", "loop", "caller", "super", "context", "environment", "config", "request", "g", "session",
    "varargs", "kwargs", "true.__class__", "namespace", "cycler", "joiner", "dict", "lipsum", "url_for", "__builtins__",
    "__import__", "open", "print", "eval", "exec", "getattr", "type", "object",
})  # fmt: skip
#: What a text shows that tells of an object of Python's.
OBJECTS = re.compile(r"<class '|<function|<built-in|<bound method|<module|<generator| object at 0x|jinja2|builtins")


def escapes(text: str, document: bool = False) -> str:
    """What came out that is no plain data, or tells of Python; "" when it is a value, or refused."""
    try:
        made = FUZZED.document(text) if document else FUZZED.compile("${{ " + text + " }}")
        value = made.render(SCOPE)
        told = json.dumps(value, allow_nan=False)
    except TemplateError as error:
        told = str(error).replace(shorten(text), "")
    return told[:300] if OBJECTS.search(told) else ""


def test_no_filter_or_test_leads_out_of_plain_data_whatever_it_is_given() -> None:
    names = sorted({*DEFAULT_FILTERS, *FILTERS})
    filtered = [
        f"{on} | {name}({given})"
        for name in names
        for turn, on in enumerate(SUBJECTS)
        for given in WALKS[turn % 2 :: 2]  # each argument on half of the subjects: all pairs take twice the time
    ]
    tests = sorted({*DEFAULT_TESTS, *TESTS_KNOWN})
    tested = [f"{on} is {name}({given})" for name in tests for on in SUBJECTS for given in WALKS[::4]]
    chained = [
        f"{on} | {name}({given}) | map('string') | list"
        for name in names
        for on in SUBJECTS[2:5]
        for given in WALKS[::6]
    ]
    assert [found for text in (*filtered, *tested, *chained) if (found := escapes(text))] == []


def test_what_jinja_has_and_we_have_not_is_refused_by_its_name() -> None:
    for name in sorted(set(DEFAULT_FILTERS) - set(FILTERS)):
        with pytest.raises(TemplateError, match=f'there is no filter "{name}"'):
            FUZZED.compile("${{ 'x' | " + name + " }}")
    for name in sorted(set(DEFAULT_TESTS) - set(TESTS_KNOWN)):
        if name.isidentifier():
            with pytest.raises(TemplateError, match=f'there is no test "{name}"'):
                FUZZED.compile("${{ 'x' is " + name + " }}")


@pytest.mark.parametrize("name", GLOBALS)
def test_no_global_of_jinja_or_python_is_there(name: str) -> None:
    for text in (
        "{}",
        "{}.__init__.__globals__",
        "{}()",
        "{}('x')",
        "{}.__class__",
        "{}['__class__']",
        "{} | string",
        "[{}] | first",
    ):
        if name == "range" and text in ("{}('x')",):
            continue
        with pytest.raises(TemplateError):
            FUZZED.compile("${{ " + text.format(name) + " }}").render(SCOPE)


#: Ways out that documents have opened elsewhere, CVE-2024-56326, CVE-2025-27516 and CVE-2019-10906 among them.
DOCUMENT_WALKS = [
    "{% set f = '{0.__class__}'.format %}{{ f(1) }}",
    "{% set f = '{0.__class__}' | attr('format') %}{{ f(1) }}",
    "{% set f = 'x'.format_map %}{{ f({}) }}",
    "{{ '{0.__class__}' | attr('format')(1) }}",
    "{{ ['{0.__class__}'] | map('format', 1) | list }}",
    "{{ ['{0.__class__}'] | map('attr', 'format') | list }}",
    "{{ '{a.__class__}' | format_map({'a': 1}) }}",
    "{% macro m() %}{% endmacro %}{{ m.__class__ }}",
    "{% macro m() %}{% endmacro %}{{ m.__globals__ }}",
    "{% macro m() %}{% endmacro %}{{ m | string }}",
    "{% macro m() %}{% endmacro %}{{ [m] }}",
    "{% macro m() %}{% endmacro %}{{ m._func }}",
    "{% macro m() %}{{ varargs.__class__ }}{% endmacro %}{{ m(1) }}",
    "{% macro m() %}{{ kwargs.__class__ }}{% endmacro %}{{ m(a=1) }}",
    "{% macro m() %}{{ caller.__class__ }}{% endmacro %}{% call m() %}{% endcall %}",
    "{% for x in rows %}{{ loop.__class__ }}{% endfor %}",
    "{% for x in rows %}{{ loop._iterator }}{% endfor %}",
    "{% for x in rows %}{{ loop.cycle.__func__ }}{% endfor %}",
    "{% for x in rows %}{{ [loop] | list }}{% endfor %}",
    "{% for x in rows recursive %}{{ loop.__call__ }}{% endfor %}",
    "{{ self.__init__ }}", "{{ self._TemplateReference__context }}", "{{ self.x() }}",
    "{% set n = namespace() %}{{ n.__class__ }}", "{% set n = namespace() %}{{ n.__init__.__globals__ }}",
    "{% set n = namespace(a=1) %}{% set n.__class__ = 1 %}{{ n }}",
    "{{ cycler.__init__.__globals__ }}", "{{ joiner.__init__ }}", "{{ namespace.__init__ }}",
    "{% set c = cycler('a') %}{{ c.__class__ }}", "{% set c = cycler('a') %}{{ c.next.__globals__ }}",
    "{% set j = joiner() %}{{ j.__call__ }}", "{{ lipsum.__globals__ }}", "{{ lipsum() }}", "{{ dict(a=1) }}",
    "{% include '/etc/passwd' %}", "{% import 'os' as os %}", "{% from 'os' import path %}", "{% extends 'x' %}",
    "{% block b %}{{ super() }}{% endblock %}", "{% do x.append(1) %}", "{% debug %}", "{% trans %}x{% endtrans %}",
    "{% autoescape false %}{{ 1 }}{% endautoescape %}", "{{ ''.__class__ }}", "{{ now.__globals__ }}", "{{ x.__class__ }}",
    "{% set range = 1 %}{{ range.__class__ }}", "{% filter attr('__class__') %}x{% endfilter %}",
    "{% with a = '' %}{{ a.__class__ }}{% endwith %}",
    "{{ ()|attr('__class__') }}", "{{ {}.__class__.__base__.__subclasses__() }}",
    "{% if 1 | attr('__class__') %}x{% endif %}", "{{ 'a' if ''.__class__ else 'b' }}",
]  # fmt: skip


@pytest.mark.parametrize("text", DOCUMENT_WALKS)
def test_no_document_leads_out_of_plain_data(text: str) -> None:
    with pytest.raises(TemplateError):
        FUZZED.document(text).render(SCOPE)


HOSTILE_ARGUMENTS = [
    "",
    "(n)",
    "(-1)",
    "(big)",
    "('a')",
    "(rows)",
    "(2, big)",
    "('', big)",
    "('map', 'map')",
    "(attribute='a')",
]


def test_no_filter_or_test_is_slow_or_large_on_any_argument() -> None:
    texts = [
        f"{on} | {name}{given}"
        for name in sorted(FILTERS)
        for on, often in (("(s * 999)", 1), ("big", 5), ("(range(9999) | list)", 5), ("([s] * 999)", 5))
        for given in HOSTILE_ARGUMENTS[::often]
    ]
    texts += [f"(s * 999) is {name}{given}" for name in sorted(TESTS_KNOWN) for given in HOSTILE_ARGUMENTS[1::3]]
    assert {outcome for _, outcome in explode("value", texts)} <= {"compiled", "rendered", "no error"}
