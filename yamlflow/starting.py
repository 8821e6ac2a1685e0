"""From a package and what a caller gives to a run that may be stored: inputs checked, names and keys rendered.

Every run comes through here: a caller's, a schedule's, a child's, a successor's. Nothing is written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, get_args

from . import document
from .checks import check_id, check_text
from .clock import Clock
from .engine.soundness import built_problems, unsound
from .engine.starts import IfExists, Start
from .errors import (
    InvalidInput,
    InvalidPackage,
    NotAllowed,
    Permanent,
    Problem,
    UnknownName,
    UserError,
    did_you_mean,
)
from .inputs import resolve
from .loops import key_text
from .outcome import Json
from .packages import Graph, Loaded, drop_oldest, folder_of, loaded, made, read_back
from .ports import Limits
from .rows import PackageRow, RunRow
from .scope import Draws
from .serializers import Serializers
from .store.base import Reader
from .template import Expressions
from .values import NotJson, Tagger, plain

#: Finds a package by name or path; ``UnknownName`` when there is none.
Finder = Callable[[str], Loaded]


#: Bytes of JSON of what is kept with a run and read with every listing of runs.
LIMITS: Mapping[str, int] = {"metadata": 64 * 1024}


class Shelf:
    """The packages that runs can be started of: those registered, those that are found by name, those in the store."""

    def __init__(
        self, store: Reader, *, clock: Clock, expressions: Expressions, find: Finder | None = None,
        serializers: Serializers | None = None,
    ) -> None:  # fmt: skip
        self.serializers = serializers or Serializers()
        self._store = store
        self._clock = clock
        self._expressions = expressions
        self._find = find
        self._named: dict[str, Loaded] = {}
        #: Those of the store that were read, and those that a program builds and has started.
        self._texts: dict[str, Loaded] = {}
        self._built: dict[str, Loaded] = {}
        #: Digests of packages that were found sound.
        self._sound: dict[str, bool] = {}

    def register(self, one: Loaded) -> None:
        """Make a package known by its name. ``UserError`` when the name is taken."""
        if one.package.name in self._named:
            raise UserError(
                f'the package "{one.package.name}" is registered already; register a package once, or rename this one'
            )
        self._named[one.package.name] = one
        if one.entrypoint is not None:
            self._built[one.document.digest] = one

    def registered(self) -> list[Loaded]:
        """What was registered, in that order."""
        return list(self._named.values())

    def get(self, name: str) -> Loaded:
        """A package by name: registered, else found, else the newest text of a run. ``UnknownName`` when none is."""
        known = self._named.get(name)
        if known is not None:
            return known
        if self._find is not None:
            return self._find(name)
        row = self._store.newest_package(name)
        if row is not None:
            return self.text(row.digest)
        names = ", ".join(sorted(self._named)) or "none"
        near = did_you_mean(name, self._named)
        message = f'the package "{name}" is not registered; registered are: {names}'
        raise UnknownName(f"{message}. {near}" if near else message)

    def text(self, digest: str) -> Loaded:
        """The package text that a run goes on with. ``UnknownName`` when the store has no such text."""
        known = self._built.get(digest) or self._texts.get(digest)
        if known is None:
            row = self._store.package(digest)
            if row is None:
                raise UnknownName(f"the store has no package text {digest}")
            known = self._texts[digest] = stored(row)
            drop_oldest(self._texts)
        if known.built and known.entrypoint is None:
            # Its steps come from code, and of code there is only what is registered now.
            return self._named.get(known.package.name, known)
        return known

    def for_step(self, name: str, run: RunRow) -> Loaded:
        """A package as a step of a run names it: its own name is its own text, a path is beside the package's file."""
        if name == run.package:
            return self.text(run.digest)
        if name.endswith((".yaml", ".yml")) and run.folder is not None and not name.startswith("/"):
            return loaded(document.load(f"{run.folder}/{name}"))
        if name.endswith((".yaml", ".yml")):
            return loaded(document.load(name))
        return self.get(name)

    def prepare(
        self,
        one: Loaded,
        inputs: Mapping[str, Json] | None,
        *,
        run_id: str | None = None,
        name: str | None = None,
        metadata: Mapping[str, Json] | None = None,
        context: Mapping[str, Json] | None = None,
        inherited: bool = False,
        by: str | None = None,
        if_exists: IfExists = "fail",
        queue: str | None = None,
        use_cache: bool = True,
    ) -> Start:
        """Everything of a run that can be known before it is stored. Of a package built in Python, its graph too.

        ``inherited`` context comes from a parent or predecessor: names that the package does not declare are kept for
        those that come after it.

        Raises ``InvalidInput``, ``InvalidPackage`` for a package whose runs could never end, ``UserError`` for a bad id.
        """
        self._refuse_unsound(one)
        check_text(name, "run's name", line=True)
        check_text(by, "name of who starts it")
        check_text(queue, "queue's name", least=1)
        if if_exists not in get_args(IfExists):
            raise UserError(f"if_exists is one of {', '.join(get_args(IfExists))}; it is {if_exists!r}")
        plain_inputs = self._plain(inputs, "inputs")
        values = plain_inputs if one.built else resolve(one.package.inputs, plain_inputs)
        id = f"{one.package.name}-{self._clock.uuid()[:8]}" if run_id is None else run_id
        check_id(id)
        given = self._context(one, context, inherited=inherited)
        scope = scope_of(one, values, id, given, self._clock)
        declared = one.package.run_name or one.package.title
        title = name or (None if declared is None else str(self._expressions.compile(declared).render(scope)))
        check_text(title, "run's name")
        labels = self._expressions.compile(dict(one.package.metadata)).render(scope)
        labels = self._plain({**labels, **self._plain(metadata, "metadata")}, "metadata")
        graph = self._graph(one, values, id=id, name=title, metadata=labels, context=given)
        return Start(
            package=one.row(self._clock.now()),
            plan=one.plan,
            run_id=id,
            inputs=graph.inputs,
            name=graph.name,
            metadata=self._plain(graph.metadata, "metadata"),
            context=given,
            steps=graph.steps,
            folder=folder_of(one),
            by=by,
            if_exists=if_exists,
            queue=queue,
            slot=slot_of(one, scope, self._expressions),
            use_cache=use_cache,
        )

    def _plain(self, given: Any, what: str) -> dict[str, Json]:
        """What was given, as plain JSON. ``InvalidInput`` for what JSON cannot say."""
        try:
            value = plain(given, tagger=self.serializers.tagger, limit=LIMITS.get(what)) if given is not None else {}
        except NotJson as wrong:
            raise InvalidInput([Problem(message=wrong.message, pointer=(what, *wrong.pointer))]) from wrong
        if not isinstance(value, dict):
            kind = type(given).__name__
            raise InvalidInput([Problem(message=f"a mapping of names to values, not {kind}", pointer=(what,))])
        return value

    def _context(self, one: Loaded, given: Mapping[str, Json] | None, *, inherited: bool) -> dict[str, Json]:
        """The context values of a run: each declared name, null where none was given. ``InvalidInput``."""
        declared = one.package.context
        values = self._plain(given, "context")
        problems = [
            Problem(
                message="the package declares no context value of this name", pointer=("context", name),
                remedy=did_you_mean(name, declared) or f"Declare it: context: [{', '.join((*declared, name))}].",
            )
            for name in values
            if name not in declared and not inherited
        ]  # fmt: skip
        if problems:
            raise InvalidInput(problems)
        return {**dict.fromkeys(declared), **values}

    def _graph(
        self, one: Loaded, inputs: dict[str, Json], *, id: str, name: str | None, metadata: dict[str, Json],
        context: dict[str, Json],
    ) -> Graph:  # fmt: skip
        """What a program builds for a run, checked; of a package with steps of its own nothing."""
        if not one.built:
            return Graph(inputs=inputs, steps=(), name=name, metadata=metadata)
        if one.entrypoint is None:
            raise NotAllowed(
                f'the package "{one.package.name}" is built in Python, and this process has not registered it: '
                "start it where rt.register(package) was called, or register it here"
            )
        self._built[one.document.digest] = one
        graph = one.entrypoint(
            inputs, id=id, name=name, metadata=metadata, context=context, serializers=self.serializers
        )
        check_text(graph.name, "run's name")
        problems = built_problems(graph.steps)
        if problems:
            raise InvalidPackage([replace(each, file=one.package.name) for each in problems])
        most = one.package.max_steps
        if most is not None and len(graph.steps) + 1 > most:
            raise UserError(f"the run would have {len(graph.steps) + 1} steps, and limits.steps is {most}")
        return graph

    def _refuse_unsound(self, one: Loaded) -> None:
        """A package whose runs could never end is not started, whoever asks. ``InvalidPackage``."""
        if one.document.digest in self._sound:
            return
        if problems := unsound(one.package):
            placed = map(one.document.locate, problems)
            raise InvalidPackage(sorted(placed, key=lambda problem: (problem.line, problem.column)))
        self._sound[one.document.digest] = True
        drop_oldest(self._sound)


def scope_of(
    one: Loaded, inputs: Mapping[str, Json], id: str, context: Mapping[str, Json], clock: Clock
) -> dict[str, Json]:
    """What expressions see that are evaluated before the run is stored."""
    draws = Draws(clock)
    about = {"id": id, "package": one.package.name, "version": one.package.version}
    return {
        "inputs": dict(inputs), "run": about, "context": dict(context),
        "now": draws.now, "uuid": draws.uuid, "random": draws.random,
    }  # fmt: skip


def slot_of(one: Loaded, scope: Mapping[str, Json], expressions: Expressions) -> str | None:
    """The key by which runs of a package are bounded; None where it does not say ``concurrency``."""
    declared = one.package.concurrency
    if declared is None:
        return None
    key = expressions.compile(declared["key"]).render(dict(scope))
    try:
        return f"{one.package.name}/{key_text(key)}"
    except Permanent as wrong:
        raise InvalidInput([Problem(message=wrong.message, pointer=("concurrency", "key"))]) from None


def stored(row: PackageRow) -> Loaded:
    """A package from its stored text."""
    read = read_back(row)
    return made(read) if read.data.get("steps") == {} else loaded(read)


def sound_value(value: Any, tagger: Tagger | None = None) -> Json:
    """A signal's data or a form, as plain JSON of up to 1 MiB. ``InvalidInput`` for what JSON cannot say."""
    try:
        return plain(value, limit=Limits().result, tagger=tagger)
    except NotJson as wrong:
        raise InvalidInput([Problem(message=wrong.message, pointer=("data", *wrong.pointer))]) from wrong
