"""What compiling gives: values, conditions and documents that can be rendered as often as one likes, from any thread.

Rendering reads the scope and nothing else, and rendered text is never rendered again. What comes out is plain data that
may share parts with the scope and with what was compiled: it is read, not changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from ..errors import Pointer
from ..outcome import Json
from .fault import Refused, TemplateError
from .frame import Evaluate, Frame
from .limits import Limits, Work
from .operators import concatenate
from .paths import Path, Reference
from .statements import Execute, Statements
from .values import SCALARS, kind, not_plain, weigh

Scope = Mapping[str, Json]


@dataclass(frozen=True, kw_only=True, slots=True)
class Bench:
    """What every rendering of one ``Expressions`` works with."""

    limits: Limits
    filters: Mapping[str, Callable[..., Json]]

    def work(self) -> Work:
        """A new rendering's allowance."""
        return Work(self.limits, self.filters)


@dataclass(frozen=True, kw_only=True, slots=True)
class Expression:
    """One compiled expression."""

    #: What stands between ``${{`` and ``}}``, without the blanks around it.
    source: str
    #: Characters into the text where ``source`` begins.
    offset: int
    #: Set when the expression is a plain path, which needs no frame.
    path: Path | None = None
    evaluate: Evaluate | None = None
    references: tuple[Reference, ...] = ()
    functions: frozenset[str] = frozenset()

    def value(self, scope: Scope, work: Work) -> Json:
        """Its value; raises ``Refused``."""
        if self.evaluate is None:
            return self.path(scope)  # type: ignore[misc]
        value = self.evaluate(Frame(scope, work))
        if type(value) in SCALARS:
            return value
        if not isinstance(value, list | dict):
            raise not_plain(value)
        weigh(value, work)
        return value


@contextmanager
def placed(expression: str, offset: int, pointer: Pointer = ()) -> Iterator[None]:
    """Turns what can go wrong while compiling or rendering into ``TemplateError`` with its place."""
    try:
        yield
    except Refused as refused:
        raise _placed(refused, expression, offset, pointer) from None
    except RecursionError:
        raise _placed(Refused("the expression is nested too deep"), expression, offset, pointer) from None
    except MemoryError:
        raise _placed(Refused("there is not enough memory"), expression, offset, pointer) from None
    except ZeroDivisionError:
        raise _placed(Refused("division by zero"), expression, offset, pointer) from None
    except (TypeError, ValueError, ArithmeticError, LookupError) as error:
        unsuited = Refused(f"the values do not suit the expression ({str(error)[:200]})")
        raise _placed(unsuited, expression, offset, pointer) from error


def _placed(refused: Refused, expression: str, offset: int, pointer: Pointer) -> TemplateError:
    return TemplateError(
        refused.message,
        remedy=refused.remedy,
        expression=expression,
        offset=offset + (refused.offset or 0),
        pointer=pointer,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Text:
    """A compiled text: literal pieces and expressions in turn."""

    parts: tuple[str | Expression, ...]

    @property
    def expressions(self) -> tuple[Expression, ...]:
        """The expressions in order."""
        return tuple(part for part in self.parts if isinstance(part, Expression))

    def render(self, scope: Scope, work: Work, pointer: Pointer = ()) -> Json:
        """The value of the one expression, or the whole as text."""
        if len(self.parts) == 1 and isinstance(whole := self.parts[0], Expression):
            return _value(whole, scope, work, pointer)
        pieces = [part if isinstance(part, str) else _value(part, scope, work, pointer) for part in self.parts]
        with placed("", 0, pointer):
            return concatenate(work, pieces)


def _value(expression: Expression, scope: Scope, work: Work, pointer: Pointer) -> Json:
    try:
        return expression.value(scope, work)
    except (Refused, RecursionError, MemoryError, TypeError, ValueError, ArithmeticError, LookupError) as error:
        with placed(expression.source, expression.offset, pointer):
            raise error


@dataclass(frozen=True, kw_only=True, slots=True)
class Leaf:
    """A text with expressions within a value."""

    #: Which of the containers to copy holds it, and under what key; -1 when the value is this text.
    parent: int
    key: str | int
    text: Text
    pointer: Pointer


@dataclass(frozen=True, kw_only=True)
class Template:
    """A compiled value. Texts with expressions are rendered, everything else is as it was written."""

    source: Json
    bench: Bench
    #: The lists and mappings on the way to expressions, outer ones first: parent's position, key there, the original.
    copies: tuple[tuple[int, str | int, Json], ...] = ()
    leaves: tuple[Leaf, ...] = ()
    #: Set when the value is a single expression.
    _whole: Expression | None = field(default=None, repr=False)

    @property
    def literal(self) -> bool:
        """It holds no expression and renders as itself."""
        return not self.leaves

    @property
    def references(self) -> tuple[Reference, ...]:
        """Every place that reads a name of the scope, in the order of the text."""
        return tuple(
            replace(reference, pointer=leaf.pointer)
            for leaf in self.leaves
            for expression in leaf.text.expressions
            for reference in expression.references
        )

    @property
    def functions(self) -> frozenset[str]:
        """Those of ``now``, ``uuid`` and ``random`` that are called."""
        return frozenset().union(
            *(expression.functions for leaf in self.leaves for expression in leaf.text.expressions)
        )

    def render(self, scope: Scope) -> Json:
        """The value with its expressions' values; raises ``TemplateError``."""
        if not self.leaves:
            return self.source
        if self._whole is not None:
            return self._render_whole(self._whole, scope)
        work = self.bench.work()
        made: list[Any] = []
        for parent, key, original in self.copies:
            copy = original.copy()
            made.append(copy)
            if parent >= 0:
                made[parent][key] = copy
        for leaf in self.leaves:
            value = leaf.text.render(scope, work, leaf.pointer)
            if leaf.parent < 0:
                return value
            made[leaf.parent][leaf.key] = value
        return made[0]

    def _render_whole(self, whole: Expression, scope: Scope) -> Json:
        try:
            if whole.path is not None:
                return whole.path(scope)
            return whole.value(scope, self.bench.work())
        except (Refused, RecursionError, MemoryError, TypeError, ValueError, ArithmeticError, LookupError) as error:
            with placed(whole.source, whole.offset):
                raise error


@dataclass(frozen=True, kw_only=True)
class Condition:
    """A compiled ``if`` or ``until``."""

    bench: Bench
    #: A boolean as it was written, or the expression.
    expression: bool | Expression

    @property
    def references(self) -> tuple[Reference, ...]:
        """Every place that reads a name of the scope."""
        return () if isinstance(self.expression, bool) else self.expression.references

    @property
    def functions(self) -> frozenset[str]:
        """Those of ``now``, ``uuid`` and ``random`` that are called."""
        return frozenset() if isinstance(self.expression, bool) else self.expression.functions

    def evaluate(self, scope: Scope) -> bool:
        """Whether it holds; null is false. Raises ``TemplateError``, also for any other value."""
        if isinstance(self.expression, bool):
            return self.expression
        value = _value(self.expression, scope, self.bench.work(), ())
        if value is None or isinstance(value, bool):
            return bool(value)
        remedy = "Compare it, as in `value == 'yes'`, or write `value | length > 0` or `value is defined`."
        raise TemplateError(
            f"the condition gives {kind(value)}, not true or false",
            remedy=remedy,
            expression=self.expression.source,
            offset=self.expression.offset,
        )


@dataclass(frozen=True, kw_only=True)
class Document:
    """A compiled template for a whole text: ``{{ }}``, ``{% %}`` and ``{# #}`` as in Jinja."""

    bench: Bench
    statements: Statements
    execute: Execute
    literal: bool
    references: tuple[Reference, ...]
    functions: frozenset[str]

    def render(self, scope: Scope) -> str:
        """The text; raises ``TemplateError``."""
        work = self.bench.work()
        frame, out = Frame(scope, work), list[str]()
        with placed("", 0):
            self.statements.start(frame)
            self.execute(frame, out)
            return str(concatenate(work, out))
