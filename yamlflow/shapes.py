"""JSON read as what a type hint says: a dataclass, a TypedDict, a pydantic model, or anything else pydantic knows."""

from __future__ import annotations

import json
import sys
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, NotRequired, Union, get_args, get_origin

from .errors import Permanent, dotted
from .outcome import Json


def shaped(hint: Any, value: Json, what: str) -> Any:
    """A JSON value as ``hint`` says. ``Permanent`` (``bad_input``), naming ``what``, when it does not fit."""
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(for_pydantic(hint)).validate_json(json.dumps(value), strict=True)
    except ValidationError as wrong:
        told = [f"{dotted((what, *each['loc']))}: {each['msg']}" for each in wrong.errors(include_url=False)]
        raise Permanent("bad_input", "; ".join(told)) from None


def for_pydantic(hint: Any) -> Any:
    """The hint with every ``typing.TypedDict`` as the one pydantic can read (before Python 3.12 it needs another)."""
    if sys.version_info >= (3, 12):
        return hint
    if typing.is_typeddict(hint) and type(hint).__module__ == "typing":
        from typing_extensions import TypedDict

        hints = typing.get_type_hints(hint, include_extras=True)
        keys = {name: for_pydantic(each) for name, each in hints.items()}
        given = {name: each if name in hint.__required_keys__ else NotRequired[each] for name, each in keys.items()}
        return TypedDict(hint.__name__, given)  # type: ignore[operator]
    arguments = get_args(hint)
    if get_origin(hint) in (list, dict, tuple, set, Sequence, Mapping):
        return get_origin(hint)[tuple(map(for_pydantic, arguments))]
    if get_origin(hint) in (Union, types.UnionType):
        return Union[tuple(map(for_pydantic, arguments))]  # noqa: UP007
    return hint
