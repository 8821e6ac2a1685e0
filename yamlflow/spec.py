"""What an author declared, as frozen types. Pure: built from a checked document, reads nothing else.

``package_from`` takes a document that ``document.check`` found nothing wrong with; after it no dict travels. Values that
may hold expressions stay JSON here (``Json``); ``template`` compiles them. Durations are milliseconds where they are
literal; ``timeout`` may be an expression and stays text until it is rendered.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from .duration import parse_duration
from .errors import Pointer
from .outcome import Json

#: What a need may ask of the step before it, in the words of statuses.
ENDS = frozenset({"succeeded", "failed", "skipped", "canceled"})
CONDITIONS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "succeeded": frozenset({"succeeded"}),
        "failed": frozenset({"failed"}),
        "skipped": frozenset({"skipped"}),
        "canceled": frozenset({"canceled"}),
        "finished": ENDS,
        "not_failed": frozenset({"succeeded", "skipped"}),
    }
)
EMPTY: Mapping[str, Json] = MappingProxyType({})


@dataclass(frozen=True, kw_only=True, slots=True)
class Need:
    """One edge: ``step`` must have ended in one of ``ends``."""

    step: str
    ends: frozenset[str]
    #: Where it was written.
    pointer: Pointer = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Retry:
    """How often and when a failed step is tried again."""

    #: Executions in all.
    max_attempts: int = 1
    backoff: Literal["fixed", "linear", "exponential"] = "exponential"
    #: Milliseconds before the second attempt.
    delay: int = 1000
    multiplier: float = 2.0
    #: Milliseconds; None is without bound.
    max_delay: int | None = None
    #: Milliseconds from the first attempt's start after which no further one begins.
    max_elapsed: int | None = None
    jitter: Literal["full", "none"] = "none"
    #: Codes that are retried; empty means all.
    only: frozenset[str] = frozenset()
    #: Codes that are not.
    never: frozenset[str] = frozenset()


NO_RETRY = Retry()


@dataclass(frozen=True, kw_only=True, slots=True)
class FanOut:
    """``for_each``: one child per item."""

    items: Json
    name: str = "item"
    key: Json = None
    max_parallel: int | None = None
    #: ``(5, False)`` is five failures, ``(5, True)`` five percent.
    tolerate: tuple[float, bool] = (0, False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Matrix:
    """One child per combination of the axes' values."""

    axes: Mapping[str, Json]
    include: Json = ()
    exclude: Json = ()
    max_parallel: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Repeat:
    """Again and again until a condition holds."""

    until: str | bool
    #: Milliseconds between the end of one iteration and the start of the next.
    every: int = 0
    max: int = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """A step that does something: a kind and its input."""

    kind: str
    input: Json = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """A step that holds steps."""

    steps: Mapping[str, Step]
    #: Written as a list: each step needs the one before it ``not_failed``.
    sequence: bool = False
    outputs: Json = None
    max_parallel: int | None = None
    fail_fast: bool = False
    race: Literal["success", "finished"] | None = None
    recover: bool = False
    on_failure: Step | None = None
    on_cancel: Step | None = None
    final: Step | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """A step as it was declared."""

    id: str
    body: Call | Group
    pointer: Pointer = ()
    title: str | None = None
    description: str | None = None
    metadata: Mapping[str, Json] = field(default_factory=lambda: EMPTY)
    needs: tuple[Need, ...] = ()
    join: Literal["all", "any"] | int = "all"
    condition: str | bool | None = None
    queue: str | None = None
    priority: int | None = None
    loop: FanOut | Matrix | Repeat | None = None
    retry: Retry | None = None
    timeout: str | None = None
    continue_on_error: bool = False
    env: Mapping[str, Json] = field(default_factory=lambda: EMPTY)
    #: Milliseconds between SIGTERM and SIGKILL.
    kill_grace: int | None = None
    artifacts: Mapping[str, Json] = field(default_factory=lambda: EMPTY)
    dedup_key: Json = None
    cache: Mapping[str, Json] | None = None
    undo: Step | None = None
    locks: tuple[Json, ...] = ()
    shield: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Queue:
    """How fast and how wide a queue runs."""

    name: str
    #: Running at once over all workers; None is unbounded.
    max_in_flight: int | None = None
    #: Tokens per millisecond; None is without a bucket.
    rate: float | None = None
    burst: int = 1
    shared: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """A kind made of steps."""

    name: str
    inputs: Mapping[str, Json]
    step: Step


@dataclass(frozen=True, kw_only=True, slots=True)
class Defaults:
    """What steps get where they say nothing."""

    queue: str | None = None
    retry: Retry | None = None
    timeout: str | None = None
    kill_grace: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Package:
    """A whole package: its root is a group like any other."""

    name: str
    root: Step
    title: str | None = None
    description: str | None = None
    version: str | None = None
    run_name: str | None = None
    metadata: Mapping[str, Json] = field(default_factory=lambda: EMPTY)
    inputs: Mapping[str, Json] = field(default_factory=lambda: EMPTY)
    secrets: tuple[str, ...] = ()
    pass_env: tuple[str, ...] = ()
    signals: Mapping[str, Json] = field(default_factory=lambda: EMPTY)
    queues: Mapping[str, Queue] = field(default_factory=lambda: EMPTY)
    kinds: Mapping[str, Kind] = field(default_factory=lambda: EMPTY)
    requires: tuple[str, ...] = ()
    defaults: Defaults = Defaults()
    concurrency: Mapping[str, Json] | None = None
    schedule: tuple[Mapping[str, Json], ...] = ()
    retention: Mapping[str, Json] = field(default_factory=lambda: EMPTY)
    #: Steps a run may have; None is the engine's own bound.
    max_steps: int | None = None
    max_events: int | None = None
    context: tuple[str, ...] = ()
    projection: Mapping[str, Json] = field(default_factory=lambda: EMPTY)


def package_from(document: Mapping[str, Json]) -> Package:
    """The package that a checked document declares."""
    kinds = document.get("kinds") or {}
    limits = document.get("limits") or {}
    return Package(
        name=document["name"],
        root=root_from(document),
        title=document.get("title"),
        description=document.get("description"),
        version=document.get("version"),
        run_name=document.get("run_name"),
        metadata=document.get("metadata") or EMPTY,
        inputs=document.get("inputs") or EMPTY,
        secrets=tuple(document.get("secrets") or ()),
        pass_env=tuple(document.get("pass_env") or ()),
        signals=document.get("signals") or EMPTY,
        queues={name: queue_from(name, value or {}) for name, value in (document.get("queues") or {}).items()},
        kinds={name: kind_from(name, value) for name, value in kinds.items() if name != "requires"},
        requires=tuple(kinds.get("requires") or ()),
        defaults=defaults_from(document.get("defaults") or {}),
        concurrency=document.get("concurrency"),
        schedule=tuple(document.get("schedule") or ()),
        retention=document.get("retention") or EMPTY,
        max_steps=limits.get("steps"),
        max_events=limits.get("events"),
        context=tuple(document.get("context") or ()),
        projection=document.get("projection") or EMPTY,
    )


def root_from(document: Mapping[str, Json]) -> Step:
    """The package itself as a step: a group without an id."""
    return Step(
        id="",
        body=group_from(document, ()),
        title=document.get("title"),
        timeout=document.get("timeout"),
        env=document.get("env") or EMPTY,
    )


def step_from(id: str, value: Mapping[str, Json], pointer: Pointer, needs: tuple[Need, ...] | None = None) -> Step:
    """A step as it stands in a package, at ``pointer``; ``needs`` overrides what it says (sequences)."""
    return Step(
        id=id,
        body=body_from(value, pointer),
        pointer=pointer,
        title=value.get("title"),
        description=value.get("description"),
        metadata=value.get("metadata") or EMPTY,
        needs=needs_from(value.get("needs"), (*pointer, "needs")) if needs is None else needs,
        join=value.get("join", "all"),
        condition=value.get("if"),
        queue=value.get("queue"),
        priority=value.get("priority"),
        loop=loop_from(value),
        retry=retry_from(value.get("retry")),
        timeout=value.get("timeout"),
        continue_on_error=value.get("continue_on_error", False),
        env=value.get("env") or EMPTY,
        kill_grace=optional_duration(value.get("kill_grace")),
        artifacts=value.get("artifacts") or EMPTY,
        dedup_key=value.get("dedup_key"),
        cache=value.get("cache"),
        undo=step_from("undo", value["undo"], (*pointer, "undo")) if value.get("undo") else None,
        locks=tuple(value.get("locks") or ()),
        shield=value.get("shield", False),
    )


def body_from(value: Mapping[str, Json], pointer: Pointer) -> Call | Group:
    """What the step does or holds."""
    if "steps" in value:
        return group_from(value, pointer)
    if "run" in value:
        return Call(kind="shell", input={**(value.get("with") or {}), "run": value["run"]})
    return Call(kind=value["kind"], input=value.get("with"))


def group_from(value: Mapping[str, Json], pointer: Pointer) -> Group:
    """The group that a package, a step or a kind holds."""
    race = value.get("race")
    return Group(
        steps=steps_from(value["steps"], (*pointer, "steps")),
        sequence=isinstance(value["steps"], list),
        outputs=value.get("outputs"),
        max_parallel=value.get("max_parallel"),
        fail_fast=value.get("fail_fast", False),
        race="success" if race is True else "finished" if race == "finished" else None,
        recover=value.get("recover", False),
        on_failure=handler_from(value, "on_failure", pointer),
        on_cancel=handler_from(value, "on_cancel", pointer),
        final=handler_from(value, "finally", pointer),
    )


def handler_from(value: Mapping[str, Json], name: str, pointer: Pointer) -> Step | None:
    """A handler is a group written as its ``steps``."""
    steps = value.get(name)
    if not steps:
        return None
    place = (*pointer, name)
    body = Group(steps=steps_from(steps, place), sequence=isinstance(steps, list))
    return Step(id=name, body=body, pointer=place, shield=True)


def steps_from(value: Json, pointer: Pointer) -> Mapping[str, Step]:
    """A mapping is a graph; a list is a sequence in which a step without ``id`` is named for its position."""
    if isinstance(value, dict):
        return {id: step_from(id, step, (*pointer, id)) for id, step in value.items()}
    steps: dict[str, Step] = {}
    before: str | None = None
    for position, item in enumerate(value):
        id = item.get("id") or f"_{position + 1}"
        needs = (Need(step=before, ends=CONDITIONS["not_failed"]),) if before else ()
        steps[id] = step_from(id, item, (*pointer, position), needs)
        before = id
    return steps


def needs_from(value: Json, pointer: Pointer) -> tuple[Need, ...]:
    """``a``, ``[a, b]`` or ``{a: CONDITION}``."""
    if value is None:
        return ()
    if isinstance(value, str):
        return (Need(step=value, ends=CONDITIONS["succeeded"], pointer=pointer),)
    if isinstance(value, list):
        return tuple(
            Need(step=step, ends=CONDITIONS["succeeded"], pointer=(*pointer, position))
            for position, step in enumerate(value)
        )
    return tuple(Need(step=step, ends=ends_from(when), pointer=(*pointer, step)) for step, when in value.items())


def ends_from(value: Json) -> frozenset[str]:
    """A condition, or a list of statuses."""
    if isinstance(value, list):
        return frozenset().union(*(CONDITIONS[word] for word in value))
    return CONDITIONS[value or "succeeded"]


def loop_from(value: Mapping[str, Json]) -> FanOut | Matrix | Repeat | None:
    """``for_each``, ``matrix`` or ``repeat``: at most one of them."""
    if "for_each" in value:
        return fan_out_from(value["for_each"])
    if "matrix" in value:
        matrix = dict(value["matrix"])
        include, exclude = matrix.pop("include", ()), matrix.pop("exclude", ())
        return Matrix(max_parallel=matrix.pop("max_parallel", None), include=include, exclude=exclude, axes=matrix)
    if "repeat" in value:
        repeat = value["repeat"]
        return Repeat(
            until=repeat["until"], every=optional_duration(repeat.get("every")) or 0, max=repeat.get("max", 1000)
        )
    return None


def fan_out_from(value: Json) -> FanOut:
    """The short form is the items themselves."""
    if not isinstance(value, dict):
        return FanOut(items=value)
    return FanOut(
        items=value["items"],
        name=value.get("as", "item"),
        key=value.get("key"),
        max_parallel=value.get("max_parallel"),
        tolerate=tolerance_from(value.get("tolerate", 0)),
    )


def tolerance_from(value: Json) -> tuple[float, bool]:
    """``5`` or ``5%``."""
    if isinstance(value, str):
        return (float(value.removesuffix("%")), True)
    return (value, False)


def retry_from(value: Mapping[str, Json] | None) -> Retry | None:
    """A retry policy; None where nothing was said."""
    if value is None:
        return None
    return Retry(
        max_attempts=value.get("max_attempts", 1),
        backoff=value.get("backoff", "exponential"),
        delay=parse_duration(value["delay"]) if "delay" in value else 1000,
        multiplier=value.get("multiplier", 2.0),
        max_delay=optional_duration(value.get("max_delay")),
        max_elapsed=optional_duration(value.get("max_elapsed")),
        jitter=value.get("jitter", "none"),
        only=frozenset(value.get("only") or ()),
        never=frozenset(value.get("never") or ()),
    )


#: ``rate`` is written per second, minute or hour.
RATE_UNITS = {"s": 1000, "m": 60_000, "h": 3_600_000}


def queue_from(name: str, value: Mapping[str, Json]) -> Queue:
    """A queue's policy."""
    rate = value.get("rate")
    count, _, unit = rate.partition("/") if rate else ("", "", "")
    return Queue(
        name=name,
        max_in_flight=value.get("max_in_flight"),
        rate=float(count) / RATE_UNITS[unit.strip()] if rate else None,
        burst=value.get("burst", 1),
        shared=value.get("shared", False),
    )


def kind_from(name: str, value: Mapping[str, Json]) -> Kind:
    """A kind declared in YAML: a group with inputs."""
    pointer = ("kinds", name)
    step = Step(
        id=name, body=group_from(value, pointer), pointer=pointer, env=value.get("env") or EMPTY,
        title=value.get("title"), timeout=value.get("timeout"),
    )  # fmt: skip
    return Kind(name=name, inputs=value.get("inputs") or EMPTY, step=step)


def defaults_from(value: Mapping[str, Json]) -> Defaults:
    """The package's defaults."""
    return Defaults(
        queue=value.get("queue"),
        retry=retry_from(value.get("retry")),
        timeout=value.get("timeout"),
        kill_grace=optional_duration(value.get("kill_grace")),
    )


def optional_duration(value: str | None) -> int | None:
    """Milliseconds, or None where nothing was said."""
    return None if value is None else parse_duration(value)
