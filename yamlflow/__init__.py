"""yamlflow runs workflows written in YAML, durably. What is public is listed here, and is imported when first named."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .artifacts import FileArtifacts as FileArtifacts
    from .building import Package as Package
    from .building import RunBuilder as RunBuilder
    from .building import package as package
    from .client import Client as Client
    from .context import StepContext as StepContext
    from .errors import Canceled as Canceled
    from .errors import Permanent as Permanent
    from .errors import Retryable as Retryable
    from .executors import executor as executor
    from .hookspecs import hookimpl as hookimpl
    from .outcome import Failed as Failed
    from .outcome import Succeeded as Succeeded
    from .outcome import Waiting as Waiting
    from .policies import QueuePolicy as QueuePolicy
    from .policies import RetryPolicy as RetryPolicy
    from .runtime import Runtime as Runtime
    from .serializers import Serializer as Serializer
    from .worker import Cycle as Cycle

#: Public name → the module that holds it.
PUBLIC = {
    "Canceled": "errors",
    "Client": "client",
    "Cycle": "worker",
    "Failed": "outcome",
    "FileArtifacts": "artifacts",
    "Package": "building",
    "Permanent": "errors",
    "QueuePolicy": "policies",
    "RetryPolicy": "policies",
    "Retryable": "errors",
    "RunBuilder": "building",
    "Runtime": "runtime",
    "Serializer": "serializers",
    "StepContext": "context",
    "Succeeded": "outcome",
    "Waiting": "outcome",
    "executor": "executors",
    "hookimpl": "hookspecs",
    "package": "building",
}

__all__ = sorted(PUBLIC)  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    """A public name, imported now (PEP 562)."""
    if name not in PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{PUBLIC[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names."""
    return sorted({*globals(), *PUBLIC})
