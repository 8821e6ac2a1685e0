"""The engine's own work: evaluating what it needs to know about a step that is due, a group that ends, a loop that goes on.

These are leased and reported like any step, so a crash in between costs nothing. Nothing here writes to the store.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

from .duration import parse_duration
from .engine.decisions import Admitted, Expanded, Opened, PassedBy, Rendered, Repeated, Report
from .errors import Permanent, StoreUnavailable, UserError
from .lookup import Bench, Lookup, declared_wrong
from .loops import Child, combinations, fan_out, key_text
from .outcome import Failed, Json
from .rows import StepRow
from .scope import last_result, scope_for
from .spec import FanOut, Matrix, Repeat
from .values import plain


def decide(bench: Bench, row: StepRow) -> Report:
    """Evaluate what the engine itself needs to know: a gate, outputs, or ``until``.

    ``StoreUnavailable`` when the store cannot be read: that is no fault of the step's, and nothing was decided.
    """
    try:
        lookup = Lookup(bench, row)
        match row.phase:
            case "gate":
                return gate(lookup)
            case "outputs":
                assert lookup.node.group is not None
                return Rendered(result=stored(bench, lookup.render(lookup.node.group.outputs)))
            case "until":
                return until(lookup)
            case phase:
                raise AssertionError(f"a step in phase {phase!r} was leased to the engine")
    except StoreUnavailable:
        raise
    except Exception as fault:  # whatever is wrong with the declaration, or with us: the step fails, the worker lives
        return Failed(error=declared_wrong(fault))


def stored(bench: Bench, value: Json) -> str:
    """A result as it is kept; ``Permanent`` when it is too large."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    if len(text.encode()) > bench.limits.result:
        size = len(text.encode())
        raise Permanent(
            "bad_result", f"the outputs have {size} bytes, the limit is {bench.limits.result}; keep an artifact"
        )
    return text


def gate(lookup: Lookup) -> Report:
    """What happens to a step that is due."""
    node, row = lookup.node, lookup.row
    if node.step.condition is not None and not lookup.holds(node.step.condition):
        return PassedBy()
    match node.loop:
        case FanOut() as loop:
            items = lookup.render(loop.items)
            return expanded(fan_out(loop, items, keys_of(lookup, loop, items)))
        case Matrix() as loop:
            axes, include, exclude = (lookup.render(part) for part in (dict(loop.axes), loop.include, loop.exclude))
            return expanded(combinations(axes, include, exclude))
        case Repeat():
            return Repeated(done=False)
    if node.group is not None:
        timeout = None if node.timeout is None else parse_duration(lookup.render(node.timeout))
        return Opened(scope=kind_scope(lookup), timeout=timeout, cache=cache_of(lookup))
    key = node.step.dedup_key
    dedup_key = row.dedup_key if key is None or row.attempt else plain(key_text(lookup.render(key)))
    return Admitted(dedup_key=dedup_key, locks=locks_of(lookup), cache=cache_of(lookup))


def locks_of(lookup: Lookup) -> tuple[str, ...]:
    """The names of the locks that a call takes, each once, in order."""
    names = [key_text(name) for name in lookup.render(list(lookup.node.step.locks))]
    return tuple(sorted(set(plain(names))))


def cache_of(lookup: Lookup) -> Json:
    """The key under which a result is kept, and for how long (milliseconds); None for a step that keeps none."""
    declared = lookup.node.step.cache
    if declared is None:
        return None
    rendered = lookup.render(dict(declared))
    ttl = None if rendered.get("ttl") is None else parse_duration(rendered["ttl"])
    return {"key": plain(key_text(rendered["key"])), "ttl": ttl}


def expanded(children: tuple[Child, ...]) -> Expanded:
    """A loop's children, if their keys can stand in a path; else ``Permanent`` or ``NotJson``."""
    plain([key_text(key) for key, _ in children if key is not None])
    return Expanded(children=children)


def keys_of(lookup: Lookup, loop: FanOut, items: Json) -> Callable[[dict[str, Json]], Json] | None:
    """How a child's key is rendered; what does not depend on the item is looked up once. A mapping has keys already."""
    if loop.key is None:
        return (lambda item: item[loop.name]["key"]) if isinstance(items, Mapping) else None
    template = lookup.bench.expressions.compile(loop.key)
    scope = scope_for(lookup.place, [ref.names for ref in template.references])
    return lambda item: template.render({**scope, **item})


def kind_scope(lookup: Lookup) -> dict[str, Json] | None:
    """The inputs of a kind made of steps, checked against what it declares."""
    from .inputs import resolve

    node = lookup.node
    if node.inputs is None:
        return None
    assert not hasattr(node.step.body, "steps")
    given = node.step.body.input if node.literal else lookup.render(node.step.body.input)
    try:
        inputs = resolve(node.inputs, given or {}, what="input")
    except UserError as wrong:
        raise Permanent("bad_input", str(wrong)) from wrong
    own = json.loads(lookup.row.scope) if lookup.row.scope else {}
    return {**own, "inputs": inputs}


def until(lookup: Lookup) -> Report:
    """Whether a ``repeat`` is done."""
    loop = lookup.node.loop
    assert isinstance(loop, Repeat)
    result = last_result(lookup.place)
    done = lookup.holds(loop.until, result=result, iteration=lookup.row.children)
    return Repeated(done=done, result=json.dumps(result, separators=(",", ":"), ensure_ascii=False))
