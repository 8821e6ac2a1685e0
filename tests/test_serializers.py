"""Values that JSON does not know: plain forms for the common ones, and a tag for people's own types."""

from __future__ import annotations

import datetime
import decimal
import enum
import pathlib
import uuid
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from yamlflow import Package, RunBuilder, Runtime, Serializer, StepContext, executor
from yamlflow.errors import PluginError
from yamlflow.plugins import load
from yamlflow.serializers import Serializers
from yamlflow.testing import FakeClock
from yamlflow.values import NotJson, plain


class Money:
    """A type that nothing but its own serializer can write."""

    def __init__(self, amount: Decimal, currency: str) -> None:
        self.amount, self.currency = amount, currency

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Money) and (self.amount, self.currency) == (other.amount, other.currency)

    __hash__ = None  # type: ignore[assignment]


class Color(enum.Enum):
    RED = "red"


class Tags(set[str]):
    """A set of texts, written as a list."""


MONEY = Serializer(
    "money", Money, lambda m: {"amount": m.amount, "currency": m.currency},
    lambda v: Money(Decimal(v["amount"]), v["currency"]),
)  # fmt: skip
TAGS = Serializer("tags", Tags, sorted, Tags)
KNOWN = Serializers([MONEY, TAGS])
FIVE = Money(Decimal("5.00"), "EUR")
STORED = {"$type": "money", "amount": "5.00", "currency": "EUR"}


class Model(pydantic.BaseModel):
    at: datetime.date


@dataclass
class Held:
    path: pathlib.Path


@pytest.mark.parametrize(
    ("value", "form"),
    [
        (datetime.datetime(2026, 1, 2, 3, tzinfo=datetime.UTC), "2026-01-02T03:00:00+00:00"),
        (datetime.date(2026, 1, 2), "2026-01-02"),
        (datetime.time(3, 4), "03:04:00"),
        (decimal.Decimal("1.50"), "1.50"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (pathlib.PurePosixPath("/a/b"), "/a/b"),
        (Held(pathlib.Path("/a")), {"path": "/a"}),
        (Model(at=datetime.date(2026, 1, 2)), {"at": "2026-01-02"}),
        (Color.RED, "red"),
        ({"deep": [decimal.Decimal(1)]}, {"deep": ["1"]}),
    ],
)
def test_what_one_text_says_without_loss_is_stored_as_that(value: Any, form: Any) -> None:
    assert plain(value) == form


class generic:
    """Stands where numpy's scalars have their base class."""

    def item(self) -> int:
        return 7


generic.__module__ = "numpy"


def test_a_number_of_numpy_is_a_plain_one() -> None:
    class int64(generic):
        pass

    assert plain({"n": int64()}) == {"n": 7}


@pytest.mark.parametrize(
    ("value", "remedy"),
    [
        (b"x", r"decode it to text, or keep it with step\.artifact"),
        ({1}, "return a sorted list"),
        (datetime.timedelta(1), r"total_seconds\(\)"),
        (FIVE, "register a Serializer for the type"),
    ],
)
def test_what_has_no_one_form_is_refused_with_what_to_do(value: Any, remedy: str) -> None:
    with pytest.raises(NotJson, match=remedy):
        plain([value])


def test_a_registered_type_is_stored_with_its_name_and_read_back() -> None:
    assert plain({"price": FIVE}, tagger=KNOWN.tagger) == {"price": STORED}
    assert KNOWN.revived({"price": [STORED]}) == {"price": [FIVE]}


def test_a_form_that_is_no_mapping_stands_under_value() -> None:
    form = plain(Tags({"b", "a"}), tagger=KNOWN.tagger)
    assert form == {"$type": "tags", "value": ["a", "b"]}
    revived = KNOWN.revived(form)
    assert (type(revived), revived) == (Tags, {"a", "b"})


def test_a_registered_subclass_of_a_plain_type_is_not_taken_for_the_plain_one() -> None:
    class Celsius(float):
        pass

    known = Serializers([Serializer("celsius", Celsius, float, Celsius)])
    assert plain(Celsius(1.5), tagger=known.tagger) == {"$type": "celsius", "value": 1.5}


def test_a_tag_that_nobody_knows_is_left_alone() -> None:
    assert KNOWN.revived({"$type": "planet", "name": "Mars"}) == {"$type": "planet", "name": "Mars"}


def test_a_serializer_that_gives_its_own_value_again_is_stopped() -> None:
    known = Serializers([Serializer("loop", Money, lambda m: m, lambda v: v)])
    with pytest.raises(NotJson, match="holds itself"):
        plain(FIVE, tagger=known.tagger)


LEAVES = st.decimals(allow_nan=False).map(lambda amount: Money(amount, "EUR")) | st.text()
VALUES = st.recursive(LEAVES, lambda each: st.lists(each) | st.dictionaries(st.text(), each), max_leaves=10)


@given(VALUES)
def test_whatever_is_stored_is_read_back(value: Any) -> None:
    assert KNOWN.revived(plain(value, tagger=KNOWN.tagger)) == value


def test_a_name_or_type_is_registered_once() -> None:
    with pytest.raises(PluginError, match='there is a serializer "money" for Money already'):
        Serializers([MONEY, Serializer("money", Tags, list, Tags)])
    with pytest.raises(PluginError, match='there is a serializer "money" for Money already'):
        Serializers([MONEY, Serializer("cash", Money, str, Money)])


# -- in a run ------------------------------------------------------------------------------------------------------


@executor("shop/price")
def price(input: Any) -> Money:
    """Doubles what it is given."""
    return Money(input["unit"].amount * 2, input["unit"].currency)


@executor("shop/bill")
def bill(step: StepContext, input: dict[str, Any]) -> str:
    """Reads an earlier result as an object."""
    return f"{step.result('price').amount} {step.result('price').currency}"


def shop(run: RunBuilder, unit: Any) -> None:
    made = run.step("price", kind="shop/price", input={"unit": unit})
    run.step("bill", kind="shop/bill", input={}, needs=made, if_="steps.price.result.currency == 'EUR'")


def test_objects_go_from_input_to_step_to_step_to_the_caller_while_expressions_read_json() -> None:
    with Runtime(clock=FakeClock(), max_workers=4, serializers=[MONEY]) as rt:
        rt.register(price)
        rt.register(bill)
        outputs = {"amount": "${{ steps.price.result.amount }}"}
        run = rt.start(Package("shop", entrypoint=shop, outputs=outputs), {"unit": FIVE}).id
        rt.run_until_idle()
        assert rt.result(run, "price") == Money(Decimal("10.00"), "EUR")
        assert rt.result(run, "bill") == "10.00 EUR"
        assert rt.result(run) == {"amount": "10.00"}


def test_a_plugin_supplies_serializers(tmp_path: Any) -> None:
    (tmp_path / "shop.py").write_text(
        "from fractions import Fraction\nfrom yamlflow import Serializer, hookimpl\n\n@hookimpl\n"
        "def yamlflow_serializers():\n    return [Serializer('fraction', Fraction, str, Fraction)]\n"
    )
    from fractions import Fraction

    with Runtime(clock=FakeClock(), plugins=load([tmp_path], entry_points=False)) as rt:

        @executor("give/half")
        def half() -> Fraction:
            return Fraction(1, 2)

        rt.register(half)
        run = rt.start(Package("x", steps=[{"id": "a", "kind": "give/half"}])).id
        rt.run_once()
        assert rt.result(run, "a") == Fraction(1, 2)
