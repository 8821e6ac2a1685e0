"""Values of people's own types in what is stored: written as plain JSON with a tag, read back as objects. Pure.

A value of a registered type is stored as its plain form with the key ``$type`` in it, so expressions read it like any other
mapping (``steps.pay.result.amount``) while Python gets an object of the type again. A plain form that is no mapping stands
under ``value``.

money = Serializer("money", Money, to_json=lambda m: {"amount": str(m.amount)}, from_json=lambda v: Money(v["amount"]))
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .errors import PluginError, YamlflowError
from .outcome import Json
from .values import Tagger

#: The key that names the type of a stored value.
TAG = "$type"


@dataclass(frozen=True)
class Serializer:
    """How values of one type are stored and read back."""

    #: What stands in the stored JSON; never change it while runs refer to it.
    name: str
    #: Instances of it are written so, those of its subclasses too unless they have a serializer of their own.
    type: type
    #: From a value to what JSON can say, or to values that other serializers can write.
    to_json: Callable[[Any], Any]
    #: From the plain form back to a value; gets what ``to_json`` gave, as JSON says it.
    from_json: Callable[[Any], Any]


class Serializers:
    """The serializers that one program knows."""

    def __init__(self, known: Iterable[Serializer] = ()) -> None:
        self._by_name: dict[str, Serializer] = {}
        for each in known:
            self.add(each)

    def __bool__(self) -> bool:
        return bool(self._by_name)

    def add(self, one: Serializer) -> None:
        """Add one. ``PluginError`` when its name or type is taken."""
        if not isinstance(one, Serializer):
            raise PluginError(f"{one!r} is no Serializer(name, type, to_json, from_json)")
        for other in self._by_name.values():
            if other.name == one.name or other.type is one.type:
                raise PluginError(f'there is a serializer "{other.name}" for {other.type.__qualname__} already')
        self._by_name[one.name] = one

    @property
    def tagger(self) -> Tagger | None:
        """What ``plain`` asks for values of registered types; None when there are none."""
        return self.tagged if self._by_name else None

    def tagged(self, value: Any) -> Mapping[str, Any] | None:
        """A value of a registered type as a mapping that names it; None for any other value."""
        for base in type(value).__mro__ if self._by_name else ():
            for each in self._by_name.values():
                if each.type is base:
                    form = each.to_json(value)
                    return {TAG: each.name, **(form if isinstance(form, Mapping) else {"value": form})}
        return None

    def revived(self, value: Json) -> Any:
        """Plain JSON with every tagged mapping in it as the object it stands for.

        ``PluginError`` where its serializer cannot read one.
        """
        if not self._by_name:
            return value
        if isinstance(value, list):
            return [self.revived(item) for item in value]
        if not isinstance(value, dict):
            return value
        inner = {name: self.revived(item) for name, item in value.items() if name != TAG}
        known = self._by_name.get(value[TAG]) if isinstance(value.get(TAG), str) else None
        if known is None:
            return {**inner, TAG: value[TAG]} if TAG in value else inner
        try:
            return known.from_json(inner["value"] if inner.keys() == {"value"} else inner)
        except YamlflowError:
            raise
        except Exception as wrong:  # whatever a program's own code raises for what it once wrote, or never did
            told = f"{type(wrong).__name__}: {str(wrong)[:200]}"
            raise PluginError(f'the serializer "{known.name}" cannot read what is stored: {told}') from wrong
