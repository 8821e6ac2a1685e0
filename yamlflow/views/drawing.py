"""A package as a drawing: steps, boxes and arrows, and the texts that Mermaid, Graphviz and people read. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ..outcome import Json
from ..plan import Plan, child_path, parent_path
from .outline import Planned, outline_of, text_of_outline

#: status -> (fill, stroke): readable on light and dark pages.
COLOURS: Mapping[str, tuple[str, str]] = {
    "succeeded": ("#d3f2d9", "#2a8f46"), "failed": ("#fbd5d5", "#c43131"), "running": ("#d2ecfa", "#2277a8"),
    "waiting": ("#dfe3fb", "#4a57b5"), "ready": ("#f3f3f3", "#777777"), "pending": ("#fafafa", "#aaaaaa"),
    "skipped": ("#ececec", "#999999"), "canceled": ("#fbeccb", "#b07d16"),
}  # fmt: skip
#: Of several children at one place the first of these is shown.
GRAVITY = ("failed", "canceled", "running", "waiting", "ready", "pending", "succeeded", "skipped")


@dataclass(frozen=True, kw_only=True)
class Arrow:
    """A need: from the step that ends to the one that waits, with the ends it asks for unless it is success.

    A dotted one leads from a step to what takes it back.
    """

    source: str
    target: str
    label: str = ""
    dotted: bool = False


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """What is drawn."""

    name: str
    steps: Sequence[Planned]
    arrows: Sequence[Arrow]
    #: Path without keys -> status; empty for a package.
    statuses: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Json]:
        """The shape that ``--json`` prints: steps by path, and what needs what."""
        return {
            "name": self.name,
            "steps": [step.to_json() for step in self.steps],
            "arrows": [
                {"source": arrow.source, "target": arrow.target, "ends": arrow.label or "succeeded"}
                for arrow in self.arrows
                if not arrow.dotted
            ],
            "statuses": dict(self.statuses),
        }


def worst(one: str | None, other: str) -> str:
    """The graver of two statuses."""
    return (
        other if one is None else min(one, other, key=lambda status: GRAVITY.index(status) if status in GRAVITY else 0)
    )


def drawing(plan: Plan, statuses: Mapping[str, str] | None = None) -> Drawing:
    """The drawing of a package, with the statuses of a run's steps."""
    steps = outline_of(plan)
    return Drawing(name=plan.package.name, steps=steps, arrows=list(arrows_of(steps)), statuses=statuses or {})


def arrows_of(steps: Sequence[Planned]) -> Iterator[Arrow]:
    """Every need, in every group."""
    for step in steps:
        above = parent_path(step.path) or ""
        for name, ends in step.needs:
            yield Arrow(source=child_path(above, name), target=step.path, label="" if ends == "succeeded" else ends)
        yield from arrows_of(step.steps)
        if step.undo is not None:
            yield Arrow(source=step.path, target=step.undo.path, label="undo", dotted=True)
            yield from arrows_of([step.undo])


def words(step: Planned) -> list[str]:
    """What stands in a step's box, line by line."""
    lines = [f"on {step.id}" if step.handler and not step.id.startswith("on_") else step.id]
    if step.handler:
        lines = [step.id.replace("_", " ")]
    if step.kind != "group":
        lines.append(step.kind)
    lines += [text for text in (step.loop and f"↻ {step.loop}", step.condition and f"if {step.condition}") if text]
    return lines


# -- Mermaid -------------------------------------------------------------------------------------------------------


def to_mermaid(drawn: Drawing) -> str:
    """As a Mermaid flowchart."""
    names = numbered(drawn.steps)
    lines = ["flowchart TD", *mermaid_steps(drawn.steps, names, 1)]
    for arrow in drawn.arrows:
        label = f"|{mermaid_text([arrow.label])}|" if arrow.label else ""
        lines.append(f"  {names[arrow.source]} {'-.->' if arrow.dotted else '-->'}{label} {names[arrow.target]}")
    used = {drawn.statuses[path]: None for path in names if path in drawn.statuses}
    for status in used:
        fill, stroke = COLOURS.get(status, COLOURS["pending"])
        lines.append(f"  classDef {status} fill:{fill},stroke:{stroke},color:#222")
        lines.append(
            f"  class {','.join(names[path] for path in names if drawn.statuses.get(path) == status)} {status}"
        )
    return "\n".join(lines)


def numbered(steps: Sequence[Planned]) -> dict[str, str]:
    """A short name for every path, that no keyword can be."""
    return {step.path: f"s{position}" for position, step in enumerate(flat(steps))}


def flat(steps: Sequence[Planned]) -> Iterator[Planned]:
    """Every step, those of groups after their group, and what takes it back after the step."""
    for step in steps:
        yield step
        yield from flat(step.steps)
        if step.undo is not None:
            yield from flat([step.undo])


def mermaid_steps(steps: Sequence[Planned], names: Mapping[str, str], depth: int) -> Iterator[str]:
    """Boxes, and boxes in boxes."""
    indent = "  " * depth
    for step in steps:
        text = mermaid_text(words(step))
        if step.steps:
            yield f'{indent}subgraph {names[step.path]}["{text}"]'
            yield from mermaid_steps(step.steps, names, depth + 1)
            yield f"{indent}end"
        elif step.handler:
            yield f'{indent}{names[step.path]}(["{text}"])'
        else:
            yield f'{indent}{names[step.path]}["{text}"]'
        if step.undo is not None:
            yield from mermaid_steps([step.undo], names, depth)


def mermaid_text(lines: Sequence[str]) -> str:
    """Lines as Mermaid reads them: nothing in them is markup."""
    named = {"&": "#amp;", '"': "#quot;", "<": "#lt;", ">": "#gt;", "|": "#124;", "#": "#35;", "`": "#96;"}
    return "<br/>".join("".join(named.get(char, char) for char in shortened(line)) for line in lines)


def shortened(text: str, most: int = 60) -> str:
    """One line of a box."""
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 1]}…"


# -- Graphviz ------------------------------------------------------------------------------------------------------


def to_dot(drawn: Drawing) -> str:
    """As a Graphviz digraph."""
    groups = {step.path: first_leaf(step) for step in flat(drawn.steps) if step.steps}
    lines = [
        f"digraph {dot_text([drawn.name])} {{",
        "  compound=true; rankdir=TB;",
        '  node [shape=box, style="rounded,filled", fillcolor="#fafafa", fontname="sans-serif", fontsize=11];',
        '  edge [fontname="sans-serif", fontsize=9];',
        *dot_steps(drawn.steps, drawn.statuses, 1),
    ]
    lines += [f"  {dot_arrow(arrow, groups)};" for arrow in drawn.arrows]
    return "\n".join([*lines, "}"])


def first_leaf(step: Planned) -> str:
    """A box in a box, for arrows that end at the outer one's border."""
    return first_leaf(step.steps[0]) if step.steps else step.path


def dot_steps(steps: Sequence[Planned], statuses: Mapping[str, str], depth: int) -> Iterator[str]:
    """Boxes, and clusters of boxes."""
    indent = "  " * depth
    for step in steps:
        colour = COLOURS.get(statuses.get(step.path, ""))
        if step.steps:
            yield f"{indent}subgraph {dot_text([f'cluster {step.path}'])} {{"
            yield f'{indent}  label={dot_text(words(step))}; fontname="sans-serif"; fontsize=11; style="rounded";'
            if colour:
                yield f'{indent}  color="{colour[1]}"; bgcolor="{colour[0]}";'
            yield from dot_steps(step.steps, statuses, depth + 1)
            yield f"{indent}}}"
        else:
            fill = f', fillcolor="{colour[0]}", color="{colour[1]}"' if colour else ""
            yield f"{indent}{dot_text([step.path])} [label={dot_text(words(step))}{fill}];"
        if step.undo is not None:
            yield from dot_steps([step.undo], statuses, depth)


def dot_arrow(arrow: Arrow, groups: Mapping[str, str]) -> str:
    """An arrow; one from or to a group touches its border."""
    options = [f"label={dot_text([arrow.label])}"] if arrow.label else []
    if arrow.dotted:
        options.append("style=dashed")
    if arrow.source in groups:
        options.append(f"ltail={dot_text([f'cluster {arrow.source}'])}")
    if arrow.target in groups:
        options.append(f"lhead={dot_text([f'cluster {arrow.target}'])}")
    ends = (groups.get(arrow.source, arrow.source), groups.get(arrow.target, arrow.target))
    return " -> ".join(dot_text([end]) for end in ends) + (f" [{', '.join(options)}]" if options else "")


def dot_text(lines: Sequence[str]) -> str:
    """Lines as Graphviz reads them."""
    return '"' + "\\n".join(shortened(line, 200).replace("\\", "\\\\").replace('"', '\\"') for line in lines) + '"'


# -- text ----------------------------------------------------------------------------------------------------------


def to_text(drawn: Drawing) -> str:
    """As an outline; of a run with the status of each step."""
    text = text_of_outline(drawn.steps)
    if not drawn.statuses:
        return text
    marked = zip(text.split("\n"), flat(drawn.steps), strict=False)
    return "\n".join(f"{line}  ({drawn.statuses.get(step.path, 'not begun')})" for line, step in marked)
