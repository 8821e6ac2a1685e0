"""From a function's type hints to the JSON Schema of its ``with``, and from a ``with`` to the function's arguments.

Each parameter is a key of ``with``; a default makes it optional; ``**rest`` takes any further key. A parameter called
``input`` that stands alone takes the whole of ``with``. A parameter annotated ``StepContext``, or called ``step``,
takes the context. Plain hints (``str``, ``list[int]``, ``Literal``…) are read here; dataclasses, TypedDicts, pydantic
models and ``Annotated`` are left to pydantic, which is loaded only for them.
"""

from __future__ import annotations

import inspect
import json
import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NotRequired, Union, get_args, get_origin

from ..context import StepContext
from ..errors import Permanent, PluginError, did_you_mean, dotted
from ..outcome import Json
from ..shapes import for_pydantic
from ..values import NotJson, plain
from .checking import Finding, checker

SIMPLE: Mapping[Any, dict[str, Json]] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    None: {"type": "null"},
    type(None): {"type": "null"},
    dict: {"type": "object"},
    list: {"type": "array"},
    Any: {},
    object: {},
    Mapping: {"type": "object"},
    Sequence: {"type": "array"},
}
NO_DEFAULT = inspect.Parameter.empty


def misfit(kind: str, findings: Sequence[Finding]) -> Permanent:
    """The failure of an input that does not fit: every finding with its place below ``with``."""
    told = [f"{dotted(('with', *pointer))}: {message}" for pointer, message in findings]
    details = [{"path": dotted(pointer), "message": message} for pointer, message in findings]
    return Permanent("bad_input", f"{kind}: " + "; ".join(told), details=details)


def keyed_signature(call: Callable[..., Any], kind: str) -> inspect.Signature:
    """The signature of a function whose parameters are keys of ``with``; ``PluginError`` where one cannot be."""
    try:
        signature = inspect.signature(call)
    except (TypeError, ValueError) as wrong:
        raise PluginError(f'kind "{kind}": the parameters cannot be read: {wrong}; declare a schema') from None
    for each in signature.parameters.values():
        if each.kind in (each.VAR_POSITIONAL, each.POSITIONAL_ONLY):
            written = f"*{each.name}" if each.kind is each.VAR_POSITIONAL else f"the positional-only {each.name}"
            raise PluginError(f'kind "{kind}": {written} cannot be a key of `with`; use a keyword parameter')
    return signature


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One parameter that takes a key of ``with``."""

    name: str
    hint: Any
    default: Any = NO_DEFAULT


class Binding:
    """How a function is called: read from its signature on first use.

    ``lent`` is the one parameter that takes no key: its name, and the type that marks it whatever it is called.
    """

    def __init__(self, call: Callable[..., Any], kind: str, *, lent: tuple[str, type] = ("step", StepContext)) -> None:
        self.call = call
        self.kind = kind
        self.lent = lent

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """The parameters that take keys of ``with``, in order."""
        return tuple(
            Parameter(name=name, hint=self.hints.get(name, Any), default=parameter.default)
            for name, parameter in self.signature.parameters.items()
            if name != self.step_name and parameter.kind is not parameter.VAR_KEYWORD
        )

    @cached_property
    def signature(self) -> inspect.Signature:
        """The function's own signature."""
        return keyed_signature(self.call, self.kind)

    @cached_property
    def hints(self) -> Mapping[str, Any]:
        """The annotations, resolved."""
        target = self.call if inspect.isroutine(self.call) or inspect.isclass(self.call) else type(self.call).__call__
        try:
            # What is lent may be imported for type checkers alone.
            return typing.get_type_hints(target, localns={self.lent[1].__name__: self.lent[1]}, include_extras=True)
        except (NameError, TypeError, AttributeError) as wrong:
            raise PluginError(f"{self.kind}: a type hint cannot be read: {wrong}") from wrong

    @cached_property
    def step_name(self) -> str | None:
        """The parameter that takes the context."""
        names = list(self.signature.parameters)
        typed = [name for name in names if self.hints.get(name) is self.lent[1]]
        return typed[0] if typed else self.lent[0] if self.lent[0] in names else None

    @cached_property
    def whole(self) -> bool:
        """Whether the one parameter is ``input`` and takes all of ``with``."""
        return len(self.parameters) == 1 and self.parameters[0].name == "input"

    @cached_property
    def open(self) -> bool:
        """Whether further keys are welcome."""
        return any(each.kind is each.VAR_KEYWORD for each in self.signature.parameters.values())

    @cached_property
    def plain(self) -> dict[str, Json] | None:
        """The schema where all hints are plain; None leaves it to pydantic."""
        parts = {each.name: simple_schema(each.hint) for each in self.parameters}
        if any(part is None for part in parts.values()):
            return None
        if self.whole:
            return parts["input"]
        return self._object({name: part for name, part in parts.items() if part is not None})

    @cached_property
    def adapter(self) -> Any:
        """The pydantic ``TypeAdapter`` of the whole of ``with``."""
        from pydantic import ConfigDict, PydanticUserError, TypeAdapter
        from typing_extensions import TypedDict

        fields = {each.name: for_pydantic(each.hint) for each in self.parameters}
        optional = {each.name for each in self.parameters if each.default is not NO_DEFAULT}
        try:
            if self.whole:
                return TypeAdapter(fields["input"])
            given = {name: NotRequired[hint] if name in optional else hint for name, hint in fields.items()}
            shape = TypedDict("Input", given)  # type: ignore[misc]
            setattr(shape, "__pydantic_config__", ConfigDict(extra="allow" if self.open else "forbid"))  # noqa: B010
            return TypeAdapter(shape)
        except (PydanticUserError, TypeError) as wrong:
            # The first sentence is about the hint, the others about pydantic; plugins' modules have names of our own.
            words = re.sub(r"yamlflow_plugins\.\w+\.", "", re.split(r"\. |\n", str(wrong))[0])
            raise PluginError(f"{self.kind}: a type hint says nothing about JSON: {words}") from wrong

    @cached_property
    def schema(self) -> dict[str, Json]:
        """The JSON Schema (2020-12) of ``with``."""
        schema = self.plain
        if schema is None:
            derived = self.adapter.json_schema()
            if self.whole:
                return dict(derived)
            schema = self._object(derived["properties"])
            if "$defs" in derived:
                schema["$defs"] = derived["$defs"]
        return schema

    def _object(self, parts: Mapping[str, Mapping[str, Json]]) -> dict[str, Json]:
        said = argument_descriptions(inspect.getdoc(self.call) or "")
        properties = {each.name: _described(parts[each.name], each, said.get(each.name)) for each in self.parameters}
        required = [each.name for each in self.parameters if each.default is NO_DEFAULT]
        schema: dict[str, Json] = {"type": "object", "properties": properties, "additionalProperties": self.open}
        return {**schema, "required": required} if required else schema

    def arguments(self, step: StepContext) -> dict[str, Any]:
        """The keyword arguments for one step; ``Permanent`` (``bad_input``) when its input does not fit."""
        given = step.raw_input if step.raw_input is not None else {}
        arguments = self.keyed(given, revived=step.ports.serializers.revived)
        if self.step_name is not None:
            arguments[self.step_name] = step
        return arguments

    def keyed(self, given: Json, *, revived: Callable[[Json], Any] = lambda value: value) -> dict[str, Any]:
        """The arguments that ``with`` gives, values of registered types ``revived``. ``Permanent`` (``bad_input``)."""
        if self.plain is None:
            return self._through_pydantic(given)
        if findings := self._check(given):
            raise misfit(self.kind, findings)
        if self.whole:
            return {"input": revived(given)}
        return {**{name: revived(value) for name, value in given.items()}, **self._whole_numbers(given)}

    @cached_property
    def _check(self) -> Callable[[Json], list[Finding]]:
        return checker({} if self.plain is None else self.plain)

    def _whole_numbers(self, given: Mapping[str, Json]) -> dict[str, int]:
        """``2.0`` is a whole number to JSON Schema; where the hint is ``int`` the function gets an ``int``."""
        names = [each.name for each in self.parameters if each.hint is int and each.name in given]
        return {name: int(given[name]) for name in names if isinstance(given[name], float)}

    def _unknown(self, given: Json) -> list[Finding]:
        """Keys that a class for the whole of ``with`` does not have; pydantic would pass over them."""
        if not self.whole or not isinstance(given, dict) or self.schema.get("additionalProperties"):
            return []
        known = self.schema.get("properties")
        if self.schema.get("type") != "object" or known is None:
            return []
        near = {name: did_you_mean(name, known) for name in given if name not in known}
        return [((name,), f"there is no key of this name. {remedy}".rstrip()) for name, remedy in near.items()]

    def _through_pydantic(self, given: Json) -> dict[str, Any]:
        from pydantic import ValidationError

        if findings := self._unknown(given):
            raise misfit(self.kind, findings)
        try:
            value = self.adapter.validate_json(json.dumps(given), strict=True)
        except ValidationError as wrong:
            findings = [(tuple(each["loc"]), each["msg"]) for each in wrong.errors(include_url=False)]
            raise misfit(self.kind, findings) from None
        return {"input": value} if self.whole else dict(value)


def simple_schema(hint: Any) -> dict[str, Json] | None:
    """The schema of a plain hint; None for one that takes more than this table."""
    try:
        if hint in SIMPLE:
            return dict(SIMPLE[hint])
    except TypeError:
        return None
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal and all(isinstance(each, str | int | bool | None) for each in arguments):
        return {"enum": list(arguments)}
    if origin in (Union, types.UnionType):
        return _union(arguments)
    if origin in (list, Sequence) and (items := simple_schema(arguments[0])) is not None:
        return {"type": "array", "items": items}
    if origin in (dict, Mapping) and arguments[0] is str and (values := simple_schema(arguments[1])) is not None:
        return {"type": "object", "additionalProperties": values}
    return None


def _union(arguments: Sequence[Any]) -> dict[str, Json] | None:
    parts = [simple_schema(each) for each in arguments]
    if any(part is None for part in parts):
        return None
    if all(part is not None and list(part) == ["type"] for part in parts):
        return {"type": [part["type"] for part in parts if part is not None]}
    return {"anyOf": parts}


def _described(part: Mapping[str, Json], parameter: Parameter, description: str | None) -> dict[str, Json]:
    schema = dict(part)
    if description and "description" not in schema:
        schema["description"] = description
    if parameter.default is not NO_DEFAULT and "default" not in schema:
        try:
            schema["default"] = plain(parameter.default)
        except NotJson:
            pass
    return schema


ARGUMENT = re.compile(r"^ {2,8}\*{0,2}(\w+)(?: ?\([^)]*\))?: (.+)$")


def argument_descriptions(doc: str) -> dict[str, str]:
    """Parameter to description, from an ``Args:`` section; continuation lines are joined."""
    _, found, section = doc.partition("Args:\n")
    said: dict[str, str] = {}
    name = ""
    for line in section.splitlines() if found else ():
        if match := ARGUMENT.match(line):
            name = match[1]
            said[name] = match[2].strip()
        elif not line.startswith(" "):
            break
        elif name:
            said[name] += " " + line.strip()
    return said
