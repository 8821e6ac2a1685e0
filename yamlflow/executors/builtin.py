"""The kinds that come with yamlflow. They enter by the same hook as any plugin; each is imported when first needed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pluggy import HookimplMarker

from . import Deferred

hookimpl = HookimplMarker("yamlflow")

#: Kind → the function in this package.
KINDS: Mapping[str, str] = {
    "shell": "shell:shell",
    "python": "python:python",
    "http": "http:http",
    "file": "file:file",
    "sql": "sql:sql",
    "record": "record:record",
    "set": "set:set_value",
    "template": "template:template",
    "log": "log:log",
    "noop": "noop:noop",
    "sleep": "sleep:sleep",
    "wait_signal": "wait_signal:wait_signal",
    "signal": "signal:signal",
    "approval": "approval:approval",
    "workflow": "workflow:workflow",
    "continue_as_new": "continue_as_new:continue_as_new",
    "fail": "fail:fail",
    "cancel": "cancel:cancel",
}


@hookimpl
def yamlflow_executors() -> Iterable[Deferred]:
    """The built-in kinds."""
    return [Deferred(kind=kind, target=f"{__package__}.{where}", origin="built in") for kind, where in KINDS.items()]
