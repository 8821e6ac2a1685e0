"""The kinds that steps name: whether they exist, who might supply them, and which declared ones call themselves."""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import Pointer
from ..executors import Executor
from ..spec import Call, Kind, Step
from ..template import has_expression
from .desk import Desk, kinds_within
from .findings import circled, listed
from .requires import check_requires


def check_kinds(desk: Desk) -> None:
    """Report what is wrong with the kinds that the package declares and requires."""
    for name in desk.package.kinds:
        if name in desk.executors:
            message = f'the kind "{name}" exists already'
            remedy = f"{_origin(desk, name)}Give this one another name."
            desk.findings.error(("kinds", name), message, remedy, at_key=True)
    for chain in _circles(desk):
        message = f"a kind cannot contain itself: {circled(chain)}"
        desk.findings.error(("kinds", chain[0]), message, "Use `repeat` or `for_each` instead.", at_key=True)
    check_requires(desk)


def _origin(desk: Desk, kind: str) -> str:
    executor = desk.executor(kind)
    return f"It comes from {executor.origin}. " if executor and executor.origin not in ("", "built in") else ""


def _circles(desk: Desk) -> list[list[str]]:
    """Chains of declared kinds that lead back to their beginning, each from the kind declared first."""
    kinds = desk.package.kinds
    calls = {name: [kind for kind, _ in kinds_within(kinds[name].step) if kind in kinds] for name in kinds}
    done: set[str] = set()
    circles: dict[frozenset[str], list[str]] = {}
    for start in kinds:
        chain, ways = [start], [iter(calls[start])]
        while ways and start not in done:
            kind = next(ways[-1], None)
            if kind is None:
                ways.pop()
                done.add(chain.pop())
            elif kind in chain:
                circle = chain[chain.index(kind) :]
                circles.setdefault(frozenset(circle), circle)
            elif kind not in done:
                chain.append(kind)
                ways.append(iter(calls[kind]))
    return list(circles.values())


#: What other tools call a kind of step, and what says the same here.
ELSEWHERE: Mapping[str, str] = {
    **dict.fromkeys(("bash", "zsh"), "Write run: … with: {shell: bash}."),
    **dict.fromkeys(
        ("sh", "command", "cmd", "script", "exec", "process", "terminal", "run"), "Write run: …, which is kind shell."
    ),
    **dict.fromkeys(("py", "python3", "function"), "Write kind: python, with: {code: …} or {call: …}."),
    **dict.fromkeys(("rest", "request", "requests", "curl", "webhook", "api", "https"), "Write kind: http."),
    **dict.fromkeys(("sqlite", "sqlite3", "database", "db", "query"), "Write kind: sql."),
    **dict.fromkeys(("wait", "delay", "pause", "timer"), "Write kind: sleep, with: {for: 10s}."),
    **dict.fromkeys(("echo", "print", "message"), "Write kind: log, with: {message: …}."),
    **dict.fromkeys(("dummy", "empty", "pass"), "Write kind: noop."),
    **dict.fromkeys(("group", "sequence", "parallel", "block"), "A step that holds steps has no kind: steps: …."),
}


def kind_of(desk: Desk, step: Step) -> Executor | Kind | None:
    """What does the work of a step; None, after a report, when nothing does."""
    assert isinstance(step.body, Call)
    kind = step.body.kind
    place: Pointer = (*step.pointer, "kind")
    declared = desk.package.kinds.get(kind)
    if declared is not None:
        desk.used.add(("kinds", "", kind))
        return declared
    executor = desk.executor(kind)
    if executor is None:
        if has_expression(kind):
            remedy = "Write one step for each kind, with an `if`."
            desk.findings.error(place, "a kind is literal: no expression is evaluated here", remedy)
        elif kind in desk.faulty:
            desk.findings.error(place, f'the kind "{kind}" cannot be used', desk.faulty[kind])
        else:
            desk.findings.error(place, f'there is no kind "{kind}"', _remedy(desk, kind))
    return executor


def _remedy(desk: Desk, kind: str) -> str:
    """The plugin that declares it but is broken, or the names that are near."""
    broken = [str(plugin) for plugin in desk.broken if kind in plugin.kinds]
    if broken:
        return f"A plugin declares it but cannot be used: {broken[0]}."
    if kind.lower() in ELSEWHERE:
        return ELSEWHERE[kind.lower()]
    known = desk.known_kinds
    hint = desk.findings.hint(kind, known)
    if not hint:
        family = [name for name in known if name.partition("/")[0] == kind.partition("/")[0]]
        hint = f"Near are {listed(family)}." if family else f"There are {listed(known)}." if known else ""
    if hint.startswith("Did"):
        return hint
    doubtful = f"These plugins cannot be imported: {'; '.join(map(str, desk.broken))}." if desk.broken else ""
    supply = "A plugin in plugins/ or an installed one may supply it."
    return " ".join(part for part in (hint, supply, doubtful) if part)
