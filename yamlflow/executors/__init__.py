"""The contract of an executor: a function that does the work of one kind of step.

It takes what stands in the step's ``with`` (and the ``StepContext``, if it asks for it) and gives a JSON value or an
``Outcome``. Whatever it raises becomes a ``Failed``. Executors never see the store or YAML; their only effect on
yamlflow's state is what they return.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import re
import reprlib
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeVar

from ..context import StepContext
from ..errors import PluginError, StepFault
from ..faults import delay_of, error_of
from ..inputs import fill_defaults
from ..outcome import Error, Failed, Json, Outcome
from ..speech import LOG
from .binding import Binding, keyed_signature, misfit
from .checking import Finding, checker

__all__ = ["Deferred", "Executor", "Mode", "execute", "execute_async", "executor", "executor_of", "fault_outcome"]

#: ``inline`` is trivial and runs where the worker's loop runs; ``thread`` in a thread; ``async`` as a coroutine;
#: ``process`` in a child process, each call in its own.
Mode = Literal["inline", "thread", "async", "process"]
KIND = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*")
ATTRIBUTE = "__yamlflow_executor__"
Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True, kw_only=True)
class Executor:
    """A function and what the engine must know of it."""

    #: The name that packages write.
    kind: str
    call: Callable[..., Any]
    mode: Mode
    #: The schema it was declared with; None derives one from the type hints.
    declared: Mapping[str, Json] | None = None
    #: What stands in its ``with`` is stored as rendered, so no secret may be named there.
    stores_input: bool = False
    #: It holds no worker while it waits: ``defaults`` of retry and timeout are not for it.
    waits: bool = False
    #: Where in ``with`` some interpreter reads text as code: an expression in it is refused. A key, or a path of keys
    #: with ``*`` for every item of a list: ``sql.*.sql``.
    code: frozenset[str] = frozenset()
    #: "built in", or file:line of the function.
    origin: str = ""

    @cached_property
    def schema(self) -> Mapping[str, Json]:
        """The JSON Schema (2020-12) of ``with``; derived on first use."""
        return self.binding.schema if self.declared is None else self.declared

    @cached_property
    def binding(self) -> Binding:
        """How ``with`` becomes arguments."""
        return Binding(self.call, self.kind)

    @property
    def is_async(self) -> bool:
        """Whether the function is a coroutine function, wherever it is called."""
        return _is_async(self.call)

    @property
    def awaited(self) -> bool:
        """Whether a call is for ``execute_async``: it can be made to stop."""
        return self.mode in ("async", "process")

    @cached_property
    def doc(self) -> str:
        """The docstring, unindented."""
        return inspect.getdoc(self.call) or ""

    @property
    def summary(self) -> str:
        """Its first line."""
        return self.doc.partition("\n")[0]

    def code_in(self, given: Json) -> Iterator[tuple[tuple[str | int, ...], str]]:
        """The texts of a ``with`` that an interpreter reads as code, each with its path."""
        for path in sorted(self.code):
            yield from _texts_at(given, path.split("."))

    def start(self, step: StepContext) -> Any:
        """Check the input and call the function; what is to be awaited for ``async`` and ``process``.

        Raises whatever the function raises.
        """
        if self.mode == "process":
            from .apart import call_apart

            return call_apart(self, step)
        if self.declared is None:
            arguments = self.binding.arguments(step)
            step.input = arguments["input"] if self.binding.whole else self._revived(step, self._filled(step.raw_input))
            return self.call(**arguments)
        given = {} if step.raw_input is None else step.raw_input
        if findings := self._check(given):
            raise misfit(self.kind, findings)
        step.input = self._revived(step, self._filled(given))
        return self.call(step)

    def _revived(self, step: StepContext, given: Json) -> Any:
        return step.ports.serializers.revived(given)

    @cached_property
    def _check(self) -> Callable[[Json], list[Finding]]:
        return checker(self.schema)

    def _filled(self, given: Json) -> Json:
        return fill_defaults(self.schema, given) if isinstance(given, dict) else given


def _texts_at(value: Json, path: list[str]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    if not path:
        if isinstance(value, str):
            yield (), value
        return
    inner: Iterable[tuple[str | int, Json]] = ()
    if path[0] == "*":
        inner = enumerate(value) if isinstance(value, list | tuple) else ()
    elif isinstance(value, Mapping) and path[0] in value:
        inner = [(path[0], value[path[0]])]
    for key, each in inner:
        yield from (((key, *place), text) for place, text in _texts_at(each, path[1:]))


@dataclass(frozen=True, kw_only=True)
class Deferred:
    """An executor that is imported when a package first needs its kind."""

    kind: str
    #: ``package.module:function``, the function decorated with ``@executor``.
    target: str
    origin: str = ""

    def load(self) -> Executor:
        """Import it. Raises ``PluginError`` when there is no such executor."""
        module, _, name = self.target.partition(":")
        try:
            found = executor_of(getattr(importlib.import_module(module), name))
        except (ImportError, AttributeError) as wrong:
            raise PluginError(f'kind "{self.kind}": {self.target} cannot be loaded: {wrong}') from wrong
        if found is None or found.kind != self.kind:
            raise PluginError(f'kind "{self.kind}": {self.target} is no executor of this kind')
        return found


def executor(
    kind: str,
    *,
    schema: Mapping[str, Json] | None = None,
    mode: Mode | None = None,
    stores_input: bool = False,
    waits: bool = False,
    code: Iterable[str] = (),
    origin: str | None = None,
) -> Callable[[Function], Function]:
    """Declare a function as the executor of a kind; the function itself stays as it was.

    Without ``schema`` the type hints say what ``with`` holds. With it the function takes the ``StepContext`` alone and
    finds the checked input, defaults filled in, in ``step.input``. ``mode`` is ``async`` for coroutine functions, else
    ``thread``; with ``process`` each call has a process of its own, and whatever becomes of that is this step's affair
    alone.
    """
    if not isinstance(kind, str) or len(kind) > 100 or not KIND.fullmatch(kind):
        thing: Any = kind
        given = f"the function {thing.__name__}" if inspect.isfunction(thing) else reprlib.repr(thing)
        raise PluginError(
            f'{given} is no name for a kind; write @executor("a/kind") with letters, digits, _ - . and / between parts'
        )
    if schema is not None and not isinstance(schema, Mapping):
        raise PluginError(
            f'kind "{kind}": a schema is a mapping in the words of JSON Schema, not {reprlib.repr(schema)}'
        )

    def declare(function: Function) -> Function:
        _refuse_unfit(function, kind, mode, declared=schema is not None)
        declared = Executor(
            kind=kind,
            call=function,
            mode=mode or ("async" if _is_async(function) else "thread"),
            declared=schema,
            stores_input=stores_input,
            waits=waits,
            code=frozenset(code),
            origin=place_of(function) if origin is None else origin,
        )
        setattr(function, ATTRIBUTE, declared)
        return function

    return declare


def executor_of(thing: Any) -> Executor | None:
    """The executor that a value is or was declared as; None for anything else."""
    if isinstance(thing, Executor):
        return thing
    found = getattr(thing, "__dict__", {}).get(ATTRIBUTE)
    return found if isinstance(found, Executor) else None


def place_of(function: Callable[..., Any]) -> str:
    """``file:line`` of a function."""
    code = getattr(inspect.unwrap(function), "__code__", None) or getattr(type(function).__call__, "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code else "unknown"


def _is_async(function: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


def _refuse_unfit(function: Any, kind: str, mode: Mode | None, *, declared: bool) -> None:
    if not callable(function):
        raise PluginError(f'kind "{kind}": {function!r} cannot be called')
    if ATTRIBUTE in getattr(function, "__dict__", {}):
        other = function.__dict__[ATTRIBUTE].kind
        raise PluginError(f'kind "{kind}": the function is already the executor of "{other}"')
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise PluginError(f'kind "{kind}": a generator cannot be an executor; return a list')
    if mode == "process" and "<locals>" in getattr(function, "__qualname__", ""):
        raise PluginError(
            f'kind "{kind}": mode "process" is for a function at the top of a module: another process imports it'
        )
    if mode not in (None, "process") and (mode == "async") != _is_async(function):
        written = "async def" if _is_async(function) else "def"
        raise PluginError(f'kind "{kind}": mode "{mode}" does not go with {written}')
    if not declared:
        keyed_signature(function, kind)


def execute(executor: Executor, step: StepContext) -> Outcome:
    """Run an executor of mode ``inline`` or ``thread`` to its end.

    Never raises but for ``KeyboardInterrupt``: what the function raises, ``SystemExit`` included, is the outcome.
    """
    before = LOG.set(step.ports.log)
    try:
        value = executor.start(step)
        _keep(step, value)
        return step.outcome(value)
    except KeyboardInterrupt:
        raise
    except BaseException as fault:
        return _broken_off(step, fault)
    finally:
        LOG.reset(before)


async def execute_async(executor: Executor, step: StepContext) -> Outcome:
    """Run an executor of mode ``async`` or ``process`` to its end; canceled when the step is, or when its deadline passes.

    The executor then finds ``asyncio.CancelledError`` raised at its ``await`` and cleans up in its own time. Raises
    nothing but ``CancelledError``, when the caller itself was canceled.
    """
    before = LOG.set(step.ports.log)
    try:
        work = executor.start(step)
    except BaseException as fault:
        return fault_outcome(fault, step)
    else:
        return await _supervised(work, step)
    finally:
        LOG.reset(before)


async def _supervised(work: Awaitable[Any], step: StepContext) -> Outcome:
    import asyncio

    loop = asyncio.get_running_loop()
    task = loop.create_task(_contained(work), name=step.step.path)
    expired = False

    def stop() -> None:
        nonlocal expired
        expired = expired or step.remaining == 0
        task.cancel()

    token = step.ports.cancel
    forget = token.on_cancel(lambda: _soon(loop, stop))
    remaining = step.remaining
    timer = loop.call_later(remaining, stop) if remaining is not None else None
    try:
        value = await task
        if step.keep:
            await asyncio.to_thread(_keep, step, value)
        return timed_out(step) if expired else step.outcome(value)
    except BaseException as fault:
        if isinstance(fault, asyncio.CancelledError) and not (expired or token.canceled):
            raise
        failure = _broken_off(step, fault)
        return timed_out(step) if expired else canceled(step) if token.canceled else failure
    finally:
        # Canceled before it began, a coroutine would complain that nobody awaited it.
        getattr(work, "close", forget)()
        forget()
        if timer is not None:
            timer.cancel()


async def _contained(work: Awaitable[Any]) -> Any:
    """What would end the event loop, and every other step with it, is this step's failure."""
    try:
        return await work
    except (SystemExit, KeyboardInterrupt) as fault:
        return Failed(error=error_of(fault))


def _soon(loop: Any, call: Callable[[], Any]) -> None:
    try:
        loop.call_soon_threadsafe(call)
    except RuntimeError:
        """The loop is closed: the task is gone already."""


def _keep(step: StepContext, value: Any) -> None:
    """The files that the step's ``artifacts`` name; a step that failed keeps those that are there."""
    if step.keep:
        from ..artifacts import keep_files

        keep_files(step, strict=not isinstance(value, Failed))


def _broken_off(step: StepContext, fault: BaseException) -> Failed:
    failure = Failed(error=error_of(fault), after=delay_of(fault))
    with contextlib.suppress(OSError, StepFault):
        _keep(step, failure)
    return step.failed(failure)


def fault_outcome(fault: BaseException, step: StepContext) -> Failed:
    """The failure that an exception stands for."""
    return step.failed(Failed(error=error_of(fault), after=delay_of(fault)))


def timed_out(step: StepContext) -> Failed:
    """The failure of an attempt whose deadline has passed."""
    return step.failed(Failed(error=Error(code="timeout", message="the step did not end within its timeout")))


def canceled(step: StepContext) -> Failed:
    """The outcome of a step that was told to stop and did."""
    token = step.ports.cancel
    message = token.reason or ("its lease was lost" if token.lost else "the step was canceled")
    details = {"by": token.by, "lost": token.lost}
    return step.failed(Failed(error=Error(code="canceled", message=message, details=details, permanent=True)))
