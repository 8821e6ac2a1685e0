"""A package as an outline: every declared step with what it does and what it waits for. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ..outcome import Json
from ..plan import UNDO, Node, Plan
from ..spec import CONDITIONS, NO_RETRY, FanOut, Group, Matrix, Need, Repeat, Step

#: Handlers of a group, as authors write them, and the field that holds each.
HANDLERS = (("on_failure", "on_failure"), ("on_cancel", "on_cancel"), ("finally", "final"))


@dataclass(frozen=True, kw_only=True)
class Planned:
    """One declared step."""

    id: str
    #: Its path in the plan: what is repeated is ``enrich[]``.
    path: str
    #: Its kind, or ``group``.
    kind: str
    title: str | None
    #: Each need with the ends it asks for, as an author writes them.
    needs: tuple[tuple[str, str], ...]
    condition: str | None
    #: ``for_each …``, ``matrix …``, ``repeat until …``; None for a plain step.
    loop: str | None
    #: Where it waits, when it is not the default queue.
    queue: str | None
    #: Executions in all.
    attempts: int
    timeout: str | None
    #: A handler stands apart from the steps of its group.
    handler: bool
    steps: tuple[Planned, ...] = ()
    #: What takes it back; it stands beside the step.
    undo: Planned | None = None

    def to_json(self) -> dict[str, Json]:
        """The shape that ``--json`` prints."""
        return {
            "id": self.id,
            "path": self.path,
            "kind": self.kind,
            "title": self.title,
            "needs": dict(self.needs),
            "if": self.condition,
            "loop": self.loop,
            "queue": self.queue,
            "max_attempts": self.attempts,
            "timeout": self.timeout,
            "handler": self.handler,
            "steps": [step.to_json() for step in self.steps],
            "undo": self.undo and self.undo.to_json(),
        }


def outline_of(plan: Plan) -> list[Planned]:
    """The steps of a package, and its handlers."""
    return list(steps_of(plan, plan.node("")))


def steps_of(plan: Plan, node: Node) -> Iterator[Planned]:
    """What stands in a group, its handlers last."""
    body = node.group
    if body is None:
        return
    for id in in_order(body):
        yield planned(plan, f"{node.path}/{id}" if node.path else id)
    for name, attribute in HANDLERS:
        if getattr(body, attribute) is not None:
            yield planned(plan, f"{node.path}@{name}", handler=True)


def planned(plan: Plan, path: str, *, handler: bool = False) -> Planned:
    """One step, with what is below it."""
    node = plan.node(path)
    step = node.step
    inner = plan.node(f"{path}[]") if node.loop is not None else node
    return Planned(
        id=step.id,
        path=path,
        kind="group" if isinstance(step.body, Group) else step.body.kind,
        title=step.title,
        needs=tuple((need.step, ends_text(need)) for need in step.needs),
        condition=None if step.condition is None else str(step.condition),
        loop=loop_text(step),
        queue=inner.inherited_queue,
        attempts=inner.retry.max_attempts if inner.retry is not NO_RETRY else 1,
        timeout=inner.timeout,
        handler=handler,
        steps=tuple(steps_of(plan, inner)),
        undo=planned(plan, inner.path + UNDO, handler=True) if step.undo is not None else None,
    )


def ends_text(need: Need) -> str:
    """What a need asks for, in the language's word."""
    word = next((word for word, ends in CONDITIONS.items() if ends == need.ends), None)
    return word or " or ".join(sorted(need.ends))


def loop_text(step: Step) -> str | None:
    """How a step is repeated."""
    match step.loop:
        case FanOut(items=items):
            return f"for_each {items if isinstance(items, str) else counted(len(items), 'item')}"
        case Matrix(axes=axes):
            return f"matrix {', '.join(axes)}"
        case Repeat(until=until):
            return f"repeat until {until}"
    return None


def counted(number: int, noun: str) -> str:
    """``1 item``, ``2 items``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def in_order(group: Group) -> list[str]:
    """The steps of a group so that each follows what it needs; otherwise as they were declared."""
    placed: dict[str, None] = {}

    def place(id: str) -> None:
        if id in placed or id not in group.steps:
            return
        for need in group.steps[id].needs:
            if need.step != id:
                place(need.step)
        placed.setdefault(id)

    for id in group.steps:
        place(id)
    return list(placed)


def text_of_outline(steps: Sequence[Planned], depth: int = 0) -> str:
    """The outline as indented text."""
    lines = []
    for step in steps:
        lines.append("  " * depth + words(step))
        if step.steps:
            lines.append(text_of_outline(step.steps, depth + 1))
        if step.undo is not None:
            lines.append(text_of_outline([step.undo], depth + 1))
    return "\n".join(lines)


def words(step: Planned) -> str:
    """One step on a line."""
    sign = "@" if step.handler else ""
    needs = ", ".join(name if ends == "succeeded" else f"{name} ({ends})" for name, ends in step.needs)
    parts: list[Any] = [
        f"{sign}{step.id}" + ("" if step.handler and step.kind == "group" else f"  [{step.kind}]"),
        needs and f"needs {needs}",
        step.condition and f"if {step.condition}",
        step.loop,
        step.queue and f"queue {step.queue}",
        step.attempts > 1 and f"up to {step.attempts} attempts",
        step.timeout and f"timeout {step.timeout}",
    ]
    return "  ".join(part for part in parts if part)
