"""What is found in packages before they run: mistakes by their words and places, and nothing in what is right."""

from __future__ import annotations

import tracemalloc
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yamlflow import document
from yamlflow.analysis import analyze
from yamlflow.analysis.level import MOST_SETS, Level
from yamlflow.errors import PluginError
from yamlflow.executors import Executor, executor, executor_of
from yamlflow.executors.builtin import yamlflow_executors
from yamlflow.outcome import Json
from yamlflow.plugins import BrokenPlugin
from yamlflow.spec import group_from, package_from
from yamlflow.template import Expressions

HEAD = "yamlflow: 1\nname: p\n"
ANY: Json = {"type": ["object", "null"]}
HTTP: Json = {
    "type": "object",
    "required": ["url"],
    "properties": {
        "url": {"type": "string"},
        "method": {"enum": ["GET", "POST", "HEAD"]},
        "timeout": {"type": "number"},
    },
}
#: Built-in kinds that need nothing to be imported.
BUILT_IN = frozenset({"shell", "log", "record", "sleep", "noop", "fail", "set", "template", "cancel"})


def made(kind: str, schema: Json = ANY, **more: Any) -> Executor:
    """An executor that nobody will call."""

    @executor(kind, schema=schema, **more)
    def call(step: object) -> None:
        """Nothing."""

    found = executor_of(call)
    assert found is not None
    return found


EXECUTORS: Mapping[str, Executor] = {
    **{each.kind: each.load() for each in yamlflow_executors() if each.kind in BUILT_IN},
    **{
        each.kind: each
        for each in (
            made("http", HTTP),
            made("html/links", origin="plugins/html.py:3"),
            made("approval", stores_input=True, waits=True),
            made("wait_signal", stores_input=True, waits=True),
            made("continue_as_new", stores_input=True),
        )
    },
}
BROKEN = (BrokenPlugin(file="plugins/broken.py", line=3, cause="SyntaxError: invalid syntax", kinds=("broken/one",)),)
INSTALLED = {"parser": "1.4.2"}


def found_in(source: str | Path, *, executors: Mapping[str, Executor] = EXECUTORS) -> list[str]:
    """Everything that is said of a package, line by line; ``source`` is its text, or the file that holds it."""
    text, file = (source.read_text(), source.name) if isinstance(source, Path) else (source, "p.yaml")
    read = document.read(text, file=file)
    problems = analyze(
        package_from(read.data),
        executors=executors,
        expressions=Expressions(),
        broken=BROKEN,
        data=read.data,
        installed=INSTALLED.get,
    )
    return [str(read.locate(problem)) for problem in problems]


CORPUS = Path(__file__).parent / "corpus" / "analysis"


@pytest.mark.parametrize("file", sorted(CORPUS.glob("*.yaml")), ids=lambda file: file.stem)
def test_a_mistake_is_told_in_these_words_at_this_place(file: Path) -> None:
    assert "\n".join(found_in(file)) == file.with_suffix(".txt").read_text().strip()


def test_the_corpus_is_there() -> None:
    assert len(list(CORPUS.glob("*.yaml"))) >= 80


# -- what is right ---------------------------------------------------------------------------------------------------

RIGHT: Mapping[str, str] = {
    "a graph in which everything upstream is read": """
steps:
  a: {kind: noop}
  b: {kind: noop, needs: a}
  c: {kind: noop, needs: {b: finished}, if: steps.a.status == 'succeeded' and needs.b.result is defined}
  d: {kind: noop, needs: [b, c], join: any, with: {x: "${{ steps['a'].result[0].y }} ${{ steps.c.attempts }}"}}
""",
    "a list reads what comes before, inside groups too": """
steps:
  - {id: a, kind: noop}
  - id: g
    steps:
      - {id: b, kind: noop, with: {x: "${{ steps.a.result }}"}}
      - {id: c, kind: noop, with: {x: "${{ steps.a.result }} ${{ steps.b.result }}"}}
    outputs: {c: "${{ steps.c.result }} ${{ steps.a.result }}"}
  - {kind: noop, with: {x: "${{ steps.g.result.c }}"}, if: steps.g.status == 'succeeded'}
outputs: {last: "${{ steps._3.result }}"}
""",
    "handlers see all of their group, and what the group sees": """
steps:
  before: {kind: noop}
  g:
    needs: before
    steps: {a: {kind: noop}, b: {kind: noop, needs: a}}
    recover: true
    on_failure:
      - {id: tell, kind: log, with: {message: "${{ error.code }} ${{ steps.b.status }} ${{ steps.before.result }}"}}
      - {kind: log, with: {message: "${{ steps.tell.status }} ${{ error.cause.message }}"}}
    on_cancel: {x: {kind: log, with: {message: "${{ cancel.reason }} ${{ cancel.by }}"}}}
    finally:
      - steps: {deep: {kind: log, with: {message: "${{ steps.a.status }} ${{ error.message if error else '' }}"}}}
finally: [{kind: log, with: {message: "${{ steps.g.status }}"}}]
""",
    "loops bring their names": """
inputs: {list: {type: array}}
steps:
  a:
    kind: noop
    for_each: {items: "${{ inputs.list }}", as: story, key: "${{ story.id }}-${{ index }}"}
    title: "${{ story.title }}"
    timeout: "${{ story.seconds }}s"
    env: {ID: "${{ story.id }}", TWO: "${{ env.ID }}${{ env.ID }}"}
    with: {x: "${{ story }} ${{ index }} ${{ env.TWO }}"}
    locks: ["story-${{ story.id }}"]
    dedup_key: "${{ story.id }}"
    cache: {key: "${{ story.id }}", ttl: 1h}
  kept: {kind: noop, for_each: "${{ inputs.list }}", artifacts: {page: "${{ item.id }}.html"}}
  b:
    matrix: {os: [linux, mac], v: "${{ inputs.list }}", include: [{os: bsd, v: 1, extra: true}], exclude: [{os: mac}]}
    steps:
      x: {kind: noop, with: {x: "${{ matrix.os }} ${{ matrix.v }} ${{ matrix.extra }} ${{ index }}"}}
      d: {needs: x, for_each: "${{ matrix.v }}", steps: {e: {kind: noop, with: {x: "${{ item.key }}"}}}}
    outputs: {x: "${{ steps.x.result }}${{ matrix.os }}"}
  c:
    needs: a
    repeat: {until: result.done and iteration > 2 or steps.a.result}
    kind: noop
    with: {n: "${{ iteration }}", last: "${{ result }}"}
""",
    "an undo reads the result and the step": """
steps:
  a: {kind: noop}
  b:
    kind: noop
    needs: a
    undo: {kind: noop, with: {x: "${{ result.id }} ${{ steps.b.result }} ${{ steps.a.result }} ${{ needs.a.status }}"}}
  c: {for_each: [1], steps: {x: {kind: noop}}, undo: {steps: [{kind: noop, with: {x: "${{ item }} ${{ result }}"}}]}}
""",
    "a race is read from outside": """
steps:
  first:
    race: true
    steps: {a: {kind: noop}, b: {steps: [{kind: noop}, {kind: noop}]}}
    outputs: "${{ steps.a.result }}"
  next: {kind: noop, needs: first, with: {x: "${{ steps.first.winner }} ${{ steps.first.result }}"}}
""",
    "secrets where nothing is stored": """
secrets: [API_TOKEN]
env: {TOKEN: "${{ secrets.API_TOKEN }}"}
kinds:
  page:
    inputs: {url: {type: string}}
    steps: {get: {kind: http, with: {url: "${{ inputs.url }}", headers: {X: "Bearer ${{ secrets.API_TOKEN }}"}}}}
    outputs: {body: "${{ steps.get.result.body }}"}
steps:
  a: {kind: page, with: {url: x}}
  b: {kind: shell, with: {run: [curl, "${{ env.TOKEN }}"], stdin: "${{ secrets.API_TOKEN }}"}}
  c: {run: [curl], env: {A: "${{ env.TOKEN }}"}}
""",
    "values for a shell as arguments and by env": """
inputs: {pages: {type: integer}}
steps:
  a: {run: [./fetch, --pages, "${{ inputs.pages }}"]}
  b: {env: {PAGES: "${{ inputs.pages }}"}, run: 'echo "$PAGES" ${HOME}'}
  c: {run: [sh, -c, 'echo "$1"', sh, "${{ inputs.pages }}"]}
  d: {run: [python3, script.py, -c, "${{ inputs.pages }}"]}
  e: {run: [grep, -e, "${{ inputs.pages }}", eval.txt]}
""",
    "expressions stand for values of any type": """
inputs: {n: {type: number}, any: {}}
kinds: {k: {inputs: {n: {type: integer}}, steps: {a: {kind: noop, with: {n: "${{ inputs.n }}"}}}}}
steps:
  a: {kind: http, with: {url: x, timeout: "${{ inputs.n }}", method: "${{ inputs.any }}"}}
  b: {kind: http, with: "${{ inputs.any }}"}
  c: {kind: k, with: {n: "${{ inputs.n }}"}}
  d: {kind: k, with: "${{ inputs.any }}"}
  e: {kind: record, with: {collection: c, key: "${{ inputs.n }}", data: "${{ inputs.any }}"}}
""",
    "a run's name, and what optional names ask for": """
inputs: {a: {type: string, default: null}}
run_name: Run ${{ inputs.a or run.id }} of ${{ context.tenant }}
context: [tenant]
steps:
  a: {kind: noop, with: {x: "${{ inputs.a | default('none', true) if error is not defined else 1 }}"}}
  b: {kind: noop, with: {x: "${{ now() }} ${{ uuid() }} ${{ range(3) | list }} ${{ random() }} ${{ '${{' }}"}}
  c: {kind: noop, with: {x: "${{ step.id }} ${{ step.metadata.y }} ${{ attempt }}", y: "${{ run.metadata.z }}"}}
""",
    "declared variables, also those handed on": """
pass_env: ["CI_*"]
env: {STAGE: test}
kinds: {k: {env: {IN: "${{ env.STAGE }}"}, steps: {a: {kind: noop, with: {x: "${{ env.IN }} ${{ env.CI_JOB }}"}}}}}
steps: {a: {kind: k}}
""",
    "queues, the default one included": """
queues: {cpu: {max_in_flight: 2}, gpu: {max_in_flight: 1, shared: true}}
defaults: {queue: cpu, timeout: 2m, retry: {max_attempts: 2}}
steps: {a: {kind: noop, queue: default}, b: {queue: gpu, steps: [{kind: noop}, {kind: noop, queue: cpu}]}}
""",
}


def test_the_package_of_the_language_page_has_no_problem() -> None:
    assert found_in(CORPUS / "right" / "front_page.yaml") == []


@pytest.mark.parametrize("text", RIGHT.values(), ids=RIGHT.keys())
def test_nothing_is_said_of_what_is_right(text: str) -> None:
    assert found_in(HEAD + text) == []


# -- without a document ----------------------------------------------------------------------------------------------


def test_without_data_the_short_forms_are_taken_for_granted() -> None:
    text = HEAD + 'steps:\n  a: {run: "echo ${{ x }}"}\n  b: {kind: noop, for_each: "${{ x }}"}\n'
    problems = analyze(package_from(document.read(text).data), executors=EXECUTORS, expressions=Expressions())
    assert [problem.pointer for problem in problems] == [("steps", "a", "run"), ("steps", "b", "for_each")]


def test_a_kind_that_cannot_be_imported_is_a_problem_and_no_exception() -> None:
    class Unlucky(dict[str, Executor]):
        def get(self, kind: str, default: Any = None) -> Any:
            raise PluginError(f"{kind}: no module named x")

    found = found_in(HEAD + "steps: {a: {kind: odd}}\n", executors=Unlucky())
    assert found == ['p.yaml:3:19: steps.a.kind: the kind "odd" cannot be used. odd: no module named x']


# -- large ones ------------------------------------------------------------------------------------------------------


def test_a_circle_of_a_thousand_is_shortened_and_named_in_order() -> None:
    steps = "".join(f"  s{number}: {{kind: noop, needs: s{(number + 1) % 1000}}}\n" for number in range(1000))
    (told,) = found_in(f"{HEAD}steps:\n{steps}")
    assert "p.yaml:4:20: steps.s0.needs: the steps need one another in a circle: s0 → s1 → s2 → " in told
    assert " → … 970 more … → " in told
    assert told.endswith(" → s998 → s999 → s0. Remove one of these needs.")


def test_thousands_of_mistakes_take_no_more_than_their_share_of_memory_and_hints() -> None:
    steps = "".join(f"  s{each}: {{kind: noop, needs: t{each}, if: steps.u{each}.result}}\n" for each in range(3000))
    tracemalloc.start()
    try:
        found = found_in(f"{HEAD}steps:\n{steps}")
        assert tracemalloc.get_traced_memory()[1] < 150_000_000
    finally:
        tracemalloc.stop()
    assert len(found) == 6000
    assert sum("Did you mean" in line for line in found) < 100


def test_a_chain_too_long_for_sets_is_searched_within_bounds() -> None:
    count = MOST_SETS + 1
    needs = {f"s{number}": [f"s{number - 1}"] if number else [] for number in range(count)}
    level = level_of(needs)
    assert level.comes_before("s0", f"s{count - 1}")
    assert not level.comes_before(f"s{count - 1}", "s0")
    assert "before" not in vars(level)


def level_of(needs: Mapping[str, list[str]]) -> Level:
    """A graph as a level."""
    steps = {id: {"kind": "noop", "needs": list(each)} for id, each in needs.items()}
    return Level(group_from({"steps": steps}, ()), ())


GRAPHS = st.integers(1, 12).flatmap(
    lambda size: st.lists(st.lists(st.integers(0, size - 1), max_size=3, unique=True), min_size=size, max_size=size)
)


@given(GRAPHS)
def test_what_comes_before_is_what_is_needed_through_others(edges: list[list[int]]) -> None:
    needs = {f"s{number}": [f"s{other}" for other in others if other < number] for number, others in enumerate(edges)}
    level = level_of(needs)
    for one in needs:
        upstream, ways = set[str](), list(needs[one])
        while ways:
            id = ways.pop()
            upstream.add(id)
            ways.extend(needs[id])
        for other in needs:
            expected = other in upstream
            assert level.comes_before(other, one) == expected
            if other != one and level.rank[level.index[other]] < level.rank[level.index[one]]:
                assert level._is_found(level.index[other], level.index[one]) == expected


@given(GRAPHS)
def test_circles_are_told_exactly_where_there_are_some(edges: list[list[int]]) -> None:
    needs = {f"s{number}": [f"s{other}" for other in others] for number, others in enumerate(edges)}
    level = level_of(needs)
    circles = level.circles()
    assert bool(circles) == (len(level.rank) < len(needs))
    for circle in circles:
        assert all(later in needs[one] for one, later in zip(circle, [*circle[1:], circle[0]], strict=True))
        assert circle[0] == min(circle, key=lambda id: level.index[id])
        assert len(set(circle)) == len(circle)
