"""Packages that programs make: from YAML, from the same words in Python, or with an entrypoint that builds each run's graph.

An entrypoint describes work and does none: it is called with a ``RunBuilder`` and the checked inputs before anything is
stored, and all the steps it made are stored in one transaction, or none. What it gives a step as input is data; no text in
it is ever taken for an expression.

@package("hello", title="Hello Workflow")
def hello(run: RunBuilder, input: HelloInput) -> None:
    run.metadata["source"] = "tutorial"
    run.step("root", kind="hello/echo", input=input)
"""

from __future__ import annotations

import inspect
import json
import os
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any, Self

from . import document
from .checks import described
from .errors import InvalidInput, InvalidPackage, PluginError, Problem, StepFault, UserError
from .executors.binding import Binding
from .facts import EmittedStep, named
from .inputs import resolve
from .outcome import Emitted, Json
from .packages import Graph, Loaded, loaded, made
from .policies import DURATIONS, Duration, QueuePolicy, RetryPolicy, defined, duration, said
from .serializers import Serializers
from .shapes import for_pydantic
from .values import NotJson, plain

#: What a package says by ``retry`` and ``queues`` in the words of Python is written in its own.
Builder = Callable[..., None]


class RunBuilder:
    """A run that is to be, in the hands of an entrypoint."""

    def __init__(
        self, *, package: str, id: str, name: str | None, metadata: Mapping[str, Json], inputs: Mapping[str, Json],
        context: Mapping[str, Json], serializers: Serializers,
    ) -> None:  # fmt: skip
        #: The package's name, and the run's id.
        self.package = package
        self.id = id
        #: What the run is called in listings; set it as you like.
        self.name: str | None = name
        #: What the run is found by; add to it as you like.
        self.metadata: dict[str, Any] = dict(metadata)
        #: The inputs as they are stored, and the context values.
        self.inputs = inputs
        self.context = context
        self._serializers = serializers
        self._steps: list[Emitted] = []

    def step(
        self,
        id: str | None = None,
        *,
        kind: str | None = None,
        input: Any = None,
        with_: Any = None,
        needs: Any = None,
        queue: str | None = None,
        priority: int | None = None,
        retry: RetryPolicy | Mapping[str, Json] | None = None,
        timeout: Duration | None = None,
        metadata: Mapping[str, Json] | None = None,
        run: Any = None,
        steps: Any = None,
        **keys: Any,
    ) -> EmittedStep:
        """Add a step; gives a handle for other steps' ``needs``.

        Without ``id`` it is ``step_001`` and so on. Exactly one of ``kind`` (with its ``input``, or ``with_``: the same),
        ``run`` (a shell command) and ``steps`` (a group) says what it does. ``needs`` takes a handle, an id, a list of
        them, or a mapping of either to a condition (``{root: "finished"}``); None in a list is passed over. ``timeout``
        is seconds. Any other key of a step in YAML may follow: ``if_="steps.a.result.ok"``, ``continue_on_error=True``.
        Raises ``UserError`` for what cannot be a step.
        """
        id = f"step_{len(self._steps) + 1:03d}" if id is None else id
        given = {
            "kind": kind, "input": input, "with": with_, "needs": needs, "queue": queue, "priority": priority,
            "retry": retry, "timeout": timeout, "metadata": metadata, "run": run, "steps": steps, **keys,
        }  # fmt: skip
        try:
            definition = plain(defined(given), tagger=self._serializers.tagger)
            self._steps.append(Emitted(key=named(id, "a step"), definition=definition))
        except (NotJson, ValueError) as wrong:
            raise UserError(f'step "{id}": {wrong}') from None
        except StepFault as wrong:
            raise UserError(wrong.message) from None
        return EmittedStep(id, id)

    @property
    def steps(self) -> tuple[Emitted, ...]:
        """The steps so far, in the order in which they were made."""
        return tuple(self._steps)


class Entry:
    """An entrypoint: its inputs are checked by its type hints, then it builds a graph."""

    def __init__(self, build: Builder, name: str, declared: Mapping[str, Json] | None = None) -> None:
        if not callable(build) or inspect.iscoroutinefunction(build) or inspect.isgeneratorfunction(build):
            raise PluginError(
                f'the entrypoint of package "{name}" must be a plain function; this is {described(build)}'
            )
        self._build = build
        self._name = name
        self._declared = declared

    @cached_property
    def _binding(self) -> Binding:
        lent = next(iter(inspect.signature(self._build).parameters), "run")
        return Binding(self._build, self._name, lent=(lent, RunBuilder))

    def inputs(self) -> dict[str, Json]:
        """Name to JSON Schema, as far as the hints say."""
        if self._declared_free:
            return {}
        schema = self._binding.schema
        shared = {"$defs": schema["$defs"]} if "$defs" in schema else {}
        parts = schema.get("properties", {}).items()
        return {name: {**each, **shared} if "$ref" in json.dumps(each) else each for name, each in parts}

    @cached_property
    def _declared_free(self) -> bool:
        """Whether it takes nothing, or a mapping of anything."""
        return self._binding.schema.get("type") != "object" or not self._binding.schema.get("properties")

    def __call__(
        self, given: Mapping[str, Json], *, id: str, name: str | None, metadata: Mapping[str, Json],
        context: Mapping[str, Json], serializers: Serializers,
    ) -> Graph:  # fmt: skip
        """The graph for these inputs; see ``packages.Entrypoint``."""
        if self._declared is not None:
            given = resolve(self._declared, given)
        arguments = self._arguments(given, serializers)
        inputs = self._stored(arguments, serializers)
        run = RunBuilder(
            package=self._name, id=id, name=name, metadata=metadata, inputs=inputs, context=context,
            serializers=serializers,
        )  # fmt: skip
        if self._binding.step_name is not None:
            arguments[self._binding.step_name] = run
        try:
            self._build(**arguments)
        except (UserError, StepFault):
            raise
        except Exception as fault:
            words = f"{type(fault).__name__}: {fault}"
            raise UserError(f'the entrypoint of package "{self._name}" failed: {words}; nothing was stored') from fault
        if not run.steps:
            raise UserError(
                f'the entrypoint of package "{self._name}" made no step; call run.step(…) at least once. Nothing was stored'
            )
        return Graph(inputs=inputs, steps=run.steps, name=run.name, metadata=run.metadata)

    def _arguments(self, given: Mapping[str, Json], serializers: Serializers) -> dict[str, Any]:
        """The inputs as the function takes them. ``InvalidInput`` with each that does not fit."""
        try:
            return self._binding.keyed(dict(given), revived=serializers.revived)
        except StepFault as wrong:
            found = wrong.details or [{"path": "", "message": wrong.message}]
            raise InvalidInput(
                Problem(message=each["message"], pointer=("inputs", *filter(None, [each["path"]]))) for each in found
            ) from None

    def _stored(self, arguments: Mapping[str, Any], serializers: Serializers) -> dict[str, Json]:
        """The inputs as the run keeps them, what the function's own defaults add filled in."""
        if self._binding.whole:
            value = plain(self._dumped(arguments["input"]), tagger=serializers.tagger)
            return value if isinstance(value, dict) else {}
        defaults = {
            each.name: each.default for each in self._binding.parameters if each.default is not inspect.Parameter.empty
        }
        value = plain({**defaults, **arguments}, tagger=serializers.tagger)
        return dict(value)

    def _dumped(self, value: Any) -> Any:
        """A whole input as JSON says it, by the names under which it is read again."""
        hint = self._binding.hints.get("input", Any)
        if isinstance(value, dict) or self._binding.plain is not None:
            return value
        from pydantic import TypeAdapter

        return TypeAdapter(for_pydantic(hint)).dump_python(value, mode="json", by_alias=True)


class Package(Loaded):
    """A package, ready to be registered and started.

    ``Package.load("hello.yaml")``, ``Package.read(text)``, ``Package("hello", steps={…})`` in YAML's own words, or
    ``Package("hello", entrypoint=build)`` with a function that builds the graph of each run.
    """

    def __init__(
        self,
        name: str,
        *,
        entrypoint: Builder | None = None,
        title: str | None = None,
        description: str | None = None,
        version: str | None = None,
        inputs: Mapping[str, Json] | None = None,
        queues: Mapping[str, QueuePolicy | Mapping[str, Json]] | None = None,
        retry: RetryPolicy | Mapping[str, Json] | None = None,
        timeout: Duration | None = None,
        defaults: Mapping[str, Any] | None = None,
        context: list[str] | tuple[str, ...] = (),
        steps: Json = None,
        **keys: Any,
    ) -> None:
        """``entrypoint(run, …)`` takes a ``RunBuilder`` first, then the inputs: one parameter ``input`` for all of them
        (a dataclass, TypedDict, pydantic model or dict), or a parameter for each; its hints say what is accepted, unless
        ``inputs`` gives JSON Schemas. ``retry`` is for steps that say none; ``timeout`` is the run's, in seconds;
        ``defaults`` and all further ``keys`` are those of a package in YAML (``on_failure``, ``outputs``, ``retention``…).
        Raises ``InvalidPackage`` with every problem.
        """
        if not isinstance(name, str) or len(name) > 200:
            raise UserError(f"a package's name is a text of up to 200 characters; this one is {reprlib.repr(name)}")
        if (entrypoint is None) == (steps is None):
            raise UserError(f'package "{name}": give either an entrypoint or steps')
        entry = None if entrypoint is None else Entry(entrypoint, name, inputs)
        try:
            durations = {"timeout": duration(timeout), "defaults": _defaults(defaults, retry)}
        except ValueError as wrong:
            raise UserError(f'package "{name}": {wrong}') from None
        given = {
            "yamlflow": 1, "name": name, "title": title, "description": description, "version": version,
            "inputs": inputs if inputs is not None or entry is None else entry.inputs() or None,
            "queues": _policies(queues), "context": list(context) or None, **durations,
            **{said(key): value for key, value in keys.items()}, "steps": steps,
        }  # fmt: skip
        self._take(_made(name, {key: value for key, value in given.items() if value is not None}), entry)

    def _take(self, found: Loaded, entry: Entry | None = None) -> None:
        # The fields of a frozen class can only be set like this.
        for field, value in {**vars(found), "entrypoint": entry}.items():
            object.__setattr__(self, field, value)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """A package from a YAML file. Raises ``InvalidPackage``, also when the file cannot be read."""
        return cls._of(loaded(document.load(path)))

    @classmethod
    def read(cls, text: str, *, file: str = "") -> Self:
        """A package from the text of a YAML file. Raises ``InvalidPackage``."""
        return cls._of(loaded(document.read(text, file=file)))

    @classmethod
    def _of(cls, found: Loaded) -> Self:
        package = cls.__new__(cls)
        package._take(found)
        return package

    @property
    def name(self) -> str:
        """What runs are started by."""
        return self.package.name

    @property
    def title(self) -> str | None:
        """What people call it."""
        return self.package.title

    def __repr__(self) -> str:
        return f"<Package {self.name}>"


def package(name: str, **keys: Any) -> Callable[[Builder], Package]:
    """Make a package of the function below: ``Package(name, entrypoint=function, **keys)``."""

    def declare(build: Builder) -> Package:
        described = {"description": inspect.getdoc(build), **keys}
        return Package(name, entrypoint=build, **described)

    return declare


def _policies(queues: Mapping[str, QueuePolicy | Mapping[str, Json]] | None) -> dict[str, Json] | None:
    """Queue policies as YAML writes them."""
    found = {name: each.to_json() if isinstance(each, QueuePolicy) else each for name, each in (queues or {}).items()}
    return found or None


def _defaults(
    given: Mapping[str, Any] | None, retry: RetryPolicy | Mapping[str, Json] | None
) -> dict[str, Json] | None:
    """A package's ``defaults`` as YAML writes them."""
    keys = {**(given or {}), **({"retry": retry} if retry is not None else {})}
    for name, value in keys.items():
        if isinstance(value, RetryPolicy):
            keys[name] = value.to_json()
        elif name in DURATIONS:
            keys[name] = duration(value)
    return keys or None


def _made(name: str, given: Mapping[str, Any]) -> Loaded:
    """A package from the keys of its text, checked like one that an author wrote. ``InvalidPackage``.

    The text is the same for the same keys. One without steps says ``steps: {}``, as no author can.
    """
    try:
        keys = plain(dict(given), tagger=_policy)
    except NotJson as wrong:
        raise InvalidPackage([Problem(message=wrong.message, pointer=wrong.pointer, file=name)]) from None
    except ValueError as wrong:
        raise UserError(f'package "{name}": {wrong}') from None
    if "steps" in keys:
        return _named(name, lambda: loaded(document.read(_text(keys))))
    _named(name, lambda: loaded(document.read(_text({**keys, "steps": [{"kind": "noop"}]}))))
    return made(document.read(_text({**keys, "steps": {}})))


def _policy(value: Any) -> Mapping[str, Any] | None:
    """A policy within steps that are written in YAML's words."""
    return value.to_json() if isinstance(value, QueuePolicy | RetryPolicy) else None


def _text(keys: Json) -> str:
    return json.dumps(keys, ensure_ascii=False, indent=2) + "\n"


def _named(name: str, read: Callable[[], Loaded]) -> Loaded:
    """What is read; in problems the package's name stands for a file, and lines of a text that nobody wrote are left out."""
    try:
        return read()
    except InvalidPackage as wrong:
        raise InvalidPackage([replace(each, file=name, line=0, column=0) for each in wrong.problems]) from None
