"""What a package declares and nothing in it uses: worth a warning, because it is often a name written in two ways."""

from __future__ import annotations

from collections.abc import Iterator

from ..errors import Pointer
from ..spec import Call
from .desk import Desk, kinds_within

#: Kinds that may read a name from a file, which nobody looks into here.
FROM_FILES = "template"


def check_unused(desk: Desk) -> None:
    """Warn of inputs, secrets, queues and kinds that nothing uses."""
    for what, key, pointer in _declared(desk):
        if key not in desk.used:
            desk.findings.warn(pointer, f'{what} "{key[2]}" is never used', at_key=key[0] != "secrets")


def _declared(desk: Desk) -> Iterator[tuple[str, tuple[str, str, str], Pointer]]:
    package = desk.package
    if not _reads_files(desk):
        yield from (("the input", ("inputs", "", name), ("inputs", name)) for name in package.inputs)
    for kind in package.kinds.values():
        yield from (
            ("the input", ("inputs", kind.name, name), ("kinds", kind.name, "inputs", name)) for name in kind.inputs
        )
        yield "the kind", ("kinds", "", kind.name), ("kinds", kind.name)
    for index, name in enumerate(package.secrets):
        if not desk.is_passed(name):
            yield "the secret", ("secrets", "", name), ("secrets", index)
    for name, queue in package.queues.items():
        if name != "default" and not queue.shared:
            yield "the queue", ("queues", "", name), ("queues", name)


def _reads_files(desk: Desk) -> bool:
    calls = (step.body for kind, step in kinds_within(desk.package.root) if kind == FROM_FILES)
    return any(isinstance(call, Call) and isinstance(call.input, dict) and "file" in call.input for call in calls)
