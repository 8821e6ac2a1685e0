"""yamlflow runs workflows written in YAML, durably. What is public is listed here, and is imported when first named."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .artifacts import FileArtifacts as FileArtifacts
    from .context import StepContext as StepContext
    from .errors import Canceled as Canceled
    from .errors import Permanent as Permanent
    from .errors import Retryable as Retryable
    from .executors import executor as executor
    from .hookspecs import hookimpl as hookimpl
    from .outcome import Failed as Failed
    from .outcome import Succeeded as Succeeded
    from .outcome import Waiting as Waiting

#: Public name → the module that holds it.
PUBLIC = {
    "Canceled": "errors",
    "Failed": "outcome",
    "FileArtifacts": "artifacts",
    "Permanent": "errors",
    "Retryable": "errors",
    "StepContext": "context",
    "Succeeded": "outcome",
    "Waiting": "outcome",
    "executor": "executors",
    "hookimpl": "hookspecs",
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
