"""Type hints become the schema of ``with``, and ``with`` becomes the arguments."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from yamlflow import StepContext, Succeeded, executor
from yamlflow.errors import PluginError
from yamlflow.executors import Executor, executor_of
from yamlflow.executors.binding import simple_schema
from yamlflow.executors.checking import check
from yamlflow.outcome import Failed
from yamlflow.testing import run_executor


@dataclass
class Story:
    title: str
    tags: list[str]


class Page(TypedDict, total=False):
    url: str
    size: int


class Order(BaseModel):
    number: int = Field(ge=1)
    note: str = "none"


def declared(function: Callable[..., Any]) -> Executor:
    found = executor_of(executor("t/it")(function))
    assert found is not None
    return found


def test_plain_hints_defaults_and_descriptions_are_in_the_schema() -> None:
    def fetch(url: str, tries: int = 3, mode: Literal["a", "b"] = "a", extra: dict[str, float] | None = None) -> None:
        """Fetch it.

        Args:
            url: Where it is,
                whole.
            tries (int): How often.

        Returns:
            url: not this.
        """

    schema = declared(fetch).schema
    assert schema["required"] == ["url"]
    assert schema["additionalProperties"] is False
    assert schema["properties"]["url"] == {"type": "string", "description": "Where it is, whole."}
    assert schema["properties"]["tries"] == {"type": "integer", "description": "How often.", "default": 3}
    assert schema["properties"]["mode"] == {"enum": ["a", "b"], "default": "a"}
    assert schema["properties"]["extra"]["default"] is None
    assert declared(lambda: None).summary == ""


def test_dataclasses_typed_dicts_models_and_annotations_are_arguments() -> None:
    @executor("t/rich")
    async def rich(story: Story, page: Page, order: Order, few: Annotated[list[int], Field(max_length=2)]) -> Any:
        assert isinstance(story, Story)
        assert isinstance(order, Order)
        return [story, page, order, few]

    given_ = {"story": {"title": "t", "tags": []}, "page": {"url": "u"}, "order": {"number": 1}, "few": [1]}
    expected = [{"title": "t", "tags": []}, {"url": "u"}, {"number": 1, "note": "none"}, [1]]
    assert run_executor(rich, given_) == Succeeded(result=expected)
    for path, value in {"story.tags[0]": [1], "order.number": 0, "few": [1, 2, 3], "page.size": "x"}.items():
        name, _, inner = path.partition(".")
        inner = inner.partition("[")[0]
        bad = {**given_, name: {**given_[name], inner: value} if inner else value}  # type: ignore[dict-item]
        outcome = run_executor(rich, bad)
        assert isinstance(outcome, Failed)
        assert outcome.error.code == "bad_input"
        assert f"with.{path}" in outcome.error.message


def test_a_lone_input_parameter_takes_the_whole() -> None:
    @executor("t/whole")
    def whole(input: Story, step: StepContext) -> Any:
        assert step.input is input
        return input.title

    assert run_executor(whole, {"title": "t", "tags": []}) == Succeeded(result="t")
    assert executor_of(whole).schema["required"] == ["title", "tags"]  # type: ignore[union-attr]


def test_the_context_is_given_to_who_asks_for_it() -> None:
    @executor("t/typed")
    def typed(context: StepContext, a: int = 1) -> Any:
        return [context.attempt, a, context.input]

    @executor("t/named")
    def named(step, **rest):  # type: ignore[no-untyped-def]
        return [step.attempt, rest]

    assert run_executor(typed, attempt=2) == Succeeded(result=[2, 1, {"a": 1}])
    assert run_executor(named, {"x": 1}, attempt=2) == Succeeded(result=[2, {"x": 1}])


@pytest.mark.parametrize(
    ("given_", "words"),
    [
        ({"mesage": "x", "message": "y"}, 'unknown key "mesage". Did you mean "message"?'),
        ({}, '"message" is missing'),
        ({"message": 1}, "with.message: expected text, got 1"),
        ({"message": "x", "times": True}, "with.times: expected a whole number, got true"),
        ({"message": "x", "times": "3"}, 'got the text "3"'),
        ([], "expected a mapping"),
    ],
)
def test_input_that_does_not_fit_is_bad_input_with_its_path(given_: Any, words: str) -> None:
    @executor("t/echo")
    def echo(message: str, times: int = 1) -> str:
        return message * times

    outcome = run_executor(echo, given_)
    assert isinstance(outcome, Failed)
    assert (outcome.error.code, outcome.error.permanent) == ("bad_input", True)
    assert words in outcome.error.message


def test_a_callable_object_is_bound_by_its_call() -> None:
    class Adder:
        def __call__(self, a: int, b: int = 1) -> int:
            return a + b

    assert run_executor(executor("t/adder")(Adder()), {"a": 1}) == Succeeded(result=2)


def test_what_cannot_be_bound_says_why() -> None:
    class Opaque: ...

    def opaque(it: Opaque) -> None: ...
    def unknown(it: "Nowhere") -> None: ...  # type: ignore[name-defined]  # noqa: F821, UP037
    def many(*values: int) -> None: ...

    for function, words in ((opaque, "type hint"), (unknown, "Nowhere"), (many, "keyword")):
        with pytest.raises(PluginError, match=words):
            _ = declared(function).schema


JSON = st.recursive(
    # Without true, which pydantic takes for 1, and without 1.0, which JSON Schema does.
    st.none() | st.just(False) | st.integers(-5, 5) | st.sampled_from([0.5, -2.25]) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=6,
)
HINTS = [
    str,
    int,
    bool,
    float,
    list[int],
    dict[str, bool],
    str | None,
    int | list[str],
    Literal["a", 1],
    Any,
    dict,
    list,
]


@pytest.mark.parametrize("hint", HINTS, ids=str)
@given(value=JSON)
def test_plain_hints_take_what_pydantic_takes(hint: Any, value: Any) -> None:
    schema = simple_schema(hint)
    assert schema is not None
    fits = not check(schema, value)
    try:
        TypeAdapter(hint).validate_json(json.dumps(value), strict=True)
        expected = True
    except ValidationError:
        expected = False
    assert fits == expected


def test_a_whole_float_is_an_int_to_who_wants_one() -> None:
    @executor("t/whole-number")
    def count(n: int) -> Any:
        return list(range(n))

    assert run_executor(count, {"n": 2.0}) == Succeeded(result=[0, 1])
