"""The graph of one group: needs that name nobody, circles, joins and conditions that can never come true."""

from __future__ import annotations

from ..errors import Pointer
from ..spec import Group, Need, Step
from .desk import Desk, Site, spelled
from .findings import circled, counted
from .level import Level


def check_needs(desk: Desk, level: Level) -> None:
    """Report what is wrong with how the steps of a group need one another."""
    if level.group.sequence:
        _check_positions(desk, level.group)
        return
    for inner in level.group.steps.values():
        for need in inner.needs:
            _check_need(desk, level, inner, need)
        _check_join(desk, inner)
    for circle in level.circles():
        _report_circle(desk, level, circle)


def _check_need(desk: Desk, level: Level, step: Step, need: Need) -> None:
    at_key = need.pointer[-2:] == ("needs", need.step)
    if need.step == step.id:
        desk.findings.error(need.pointer, "a step cannot need itself", at_key=at_key)
    elif need.step not in level.index:
        message, remedy = _unknown(desk, level, step, need.step)
        desk.findings.error(need.pointer, message, remedy, at_key=at_key)
    elif level.group.race:
        remedy = "Remove the need, or put steps that belong together into a group within the race."
        desk.findings.error(need.pointer, "in a race no step needs another: all begin at once", remedy, at_key=at_key)
    elif need.ends == {"skipped"} and _never_skipped(level.group.steps[need.step]):
        message = f'"{need.step}" is never skipped: it has neither `if` nor `needs`'
        desk.findings.warn(need.pointer, message, f'So "{step.id}" never runs.', at_key=at_key)


def _never_skipped(step: Step) -> bool:
    return step.condition is None and not step.needs


def _unknown(desk: Desk, level: Level, step: Step, id: str) -> tuple[str, str]:
    sites = desk.sites.get(id)
    if sites:
        nearest = max(sites, key=lambda site: _shared(level.path, site))
        return f'there is no step "{id}" in this group', _elsewhere(level.path, step.id, nearest)
    if len(level.index) == 1:
        return f'there is no step "{id}"', "It is alone in its group."
    return f'there is no step "{id}"', desk.findings.hint(id, level.index, "Its group has")


def _shared(one: Site, other: Site) -> int:
    """How many groups stand around both."""
    return next((depth for depth, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), len(one))


def _elsewhere(path: Site, id: str, site: Site) -> str:
    """Needs reach only within a group: which need says the same."""
    around = site[:-1]
    rule = f"Needs reach only within a group, and that one is {spelled(site)}"
    if around[: len(path)] == path and len(around) > len(path) and not around[len(path)].startswith("@"):
        return f"{rule}: write needs: {around[len(path)]}."
    if path[: len(around)] == around and len(path) > len(around) and not path[len(around)].startswith(("@", "kinds.")):
        return f'{rule}: write needs: {site[-1]} in "{path[len(around)]}", the group around "{id}".'
    return f"{rule}."


def _check_join(desk: Desk, step: Step) -> None:
    place: Pointer = (*step.pointer, "join")
    if step.join == "all":
        return
    if not step.needs:
        message = "join says how many needs must come true, and there are none"
        desk.findings.error(place, message, "Add needs, or remove it.")
    elif isinstance(step.join, int) and step.join > len(step.needs):
        message = f"join is {step.join}, and there {'is' if len(step.needs) == 1 else 'are'} only"
        remedy = f"Write a number up to {len(step.needs)}, or all."
        desk.findings.error(place, f"{message} {counted(len(step.needs), 'need')}", remedy)


def _report_circle(desk: Desk, level: Level, circle: list[str]) -> None:
    first = level.group.steps[circle[0]]
    message = f"the steps need one another in a circle: {circled(circle)}"
    desk.findings.error((*first.pointer, "needs"), message, "Remove one of these needs.", at_key=True)


def _check_positions(desk: Desk, group: Group) -> None:
    """Two steps of a list with one id: only the later one was kept."""
    kept = {inner.pointer[-1]: inner.pointer for inner in group.steps.values() if inner.pointer}
    count = 1 + max((place for place in kept if isinstance(place, int)), default=-1)
    for place in range(count if len(kept) < count else 0):
        if place not in kept:
            above = next(iter(kept.values()))[:-1]
            remedy = "Give each step of the list an id of its own; one without id is named _1, _2… for its position."
            desk.findings.error((*above, place), "a later step of this list has the same id", remedy)
