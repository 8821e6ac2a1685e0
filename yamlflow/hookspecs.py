"""Everything a plugin can supply, a sentence each. A plugin is a module that holds any of these functions, marked
``@hookimpl``, or just functions marked ``@executor``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from pluggy import HookimplMarker, HookspecMarker

from .outcome import Json

if TYPE_CHECKING:
    from .executors import Deferred, Executor
    from .serializers import Serializer

#: The name by which pluggy tells our hooks from others'.
PROJECT = "yamlflow"
hookspec = HookspecMarker(PROJECT)
hookimpl = HookimplMarker(PROJECT)


@hookspec
def yamlflow_executors() -> Iterable[Executor | Deferred | Callable[..., Any]]:  # type: ignore[empty-body]
    """Executors: what ``@executor`` made of a function, the function itself, or a ``Deferred`` one."""


@hookspec
def yamlflow_filters() -> Mapping[str, Callable[..., Json]]:  # type: ignore[empty-body]
    """Filters for expressions, by name; pure functions of plain JSON values."""


@hookspec(firstresult=True)
def yamlflow_secrets(name: str) -> str | None:
    """The value of the secret ``name``, or None to let the next plugin answer."""


@hookspec
def yamlflow_serializers() -> Iterable[Serializer]:  # type: ignore[empty-body]
    """How values of further types are stored as plain JSON and read back: ``Serializer(name, type, to_json, from_json)``."""


@hookspec
def yamlflow_commands(cli: Any) -> None:
    """Add commands to the command line: ``cli`` is its click group."""


@hookspec
def yamlflow_on_event(event: Mapping[str, Json]) -> None:
    """An event was committed; called after the commit, in order, and what it raises is logged and changes nothing."""
