"""Items and combinations as children: keys, scopes, bounds."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yamlflow import loops
from yamlflow.errors import Permanent
from yamlflow.loops import combinations, fan_out
from yamlflow.plan import keyed_path, parent_path, shape
from yamlflow.spec import FanOut

LOOP = FanOut(items=None, name="one")
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(), lambda some: st.lists(some, max_size=3), max_leaves=5
)


@given(st.lists(VALUES, max_size=20))
def test_every_item_has_one_child_in_order(items: list[Any]) -> None:
    assert fan_out(LOOP, items, None) == tuple(
        (None, {"one": item, "index": index}) for index, item in enumerate(items)
    )


@given(st.dictionaries(st.text(min_size=1, max_size=20), st.integers(), max_size=10))
def test_every_entry_of_a_mapping_has_one_child_named_for_its_key(items: dict[str, int]) -> None:
    found = fan_out(LOOP, items, None)
    assert [key for key, _ in found] == list(items)
    assert [scope["one"] for _, scope in found] == [{"key": key, "value": value} for key, value in items.items()]


@pytest.mark.parametrize("items", [None, 5, "text", True, 1.5])
def test_what_is_neither_list_nor_mapping_is_bad_input(items: Any) -> None:
    with pytest.raises(Permanent) as wrong:
        fan_out(LOOP, items, None)
    assert wrong.value.code == "bad_input"


@pytest.mark.parametrize("keys", [["a", "a"], [1, "1"], [None, "null"], [True, "true"], [""], ["x" * 501]])
def test_keys_differ_as_text_and_have_a_length(keys: list[Any]) -> None:
    with pytest.raises(Permanent) as wrong:
        fan_out(LOOP, keys, lambda scope: scope["one"])
    assert wrong.value.code == "bad_input"


def test_a_fan_out_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loops, "MOST_CHILDREN", 10)
    fan_out(LOOP, list(range(10)), None)
    for act in (
        lambda: fan_out(LOOP, list(range(11)), None),
        lambda: combinations({"x": [1] * 4, "y": [1, 2, 3]}, (), ()),
    ):
        with pytest.raises(Permanent) as wrong:
            act()
        assert wrong.value.code == "limit_exceeded"


def test_combinations_are_the_product_in_the_order_of_the_axes() -> None:
    found = combinations({"x": [1, 2], "y": ["a", "b"]}, (), ())
    assert [key for key, _ in found] == ["1,a", "1,b", "2,a", "2,b"]
    assert found[2] == ("2,a", {"matrix": {"x": 2, "y": "a"}, "index": 2})


def test_exclude_takes_away_what_it_fits_and_include_adds_what_is_not_there() -> None:
    axes = {"x": [1, 2], "y": ["a", "b"]}
    assert [key for key, _ in combinations(axes, (), [{"x": 1}])] == ["2,a", "2,b"]
    assert [key for key, _ in combinations(axes, (), [{"x": 1, "y": "b"}, {"z": 3}])] == ["1,a", "2,a", "2,b"]
    assert [key for key, _ in combinations({"x": [1]}, [{"x": 9}, {"x": 1}], ())] == ["1", "9"]
    assert [key for key, _ in combinations({"x": [1]}, [{"x": 1}], [{"x": 1}])] == ["1"]


def test_an_axis_that_is_no_list_is_bad_input() -> None:
    with pytest.raises(Permanent, match=r"matrix\.x"):
        combinations({"x": 5}, (), ())


def test_one_and_true_are_two_values() -> None:
    assert [key for key, _ in combinations({"x": [1, True]}, (), [{"x": True}])] == ["1"]


@given(st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=30), unique=True, max_size=10))
def test_keys_that_differ_make_paths_that_differ_and_lead_back_to_the_loop(keys: list[str]) -> None:
    paths = {keyed_path("g/a", key) for key in keys}
    assert len(paths) == len(keys)
    for path in paths:
        assert (parent_path(path), shape(path)) == ("g/a", "g/a[]")
