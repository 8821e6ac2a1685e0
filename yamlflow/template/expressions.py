"""Compiling: texts, values, conditions and documents become things that can be rendered. One ``Expressions`` a runtime.

Compilations are kept by text, so that a package's thousandth step costs a look-up. Kept ones are never changed, and
two threads that compile the same text at once merely do it twice.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import TypeVar, cast

from ..errors import PluginError, Pointer
from ..outcome import Json
from .compiled import Bench, Condition, Document, Expression, Leaf, Template, Text, placed
from .evaluate import Compiler
from .fault import SHOWN, Refused, TemplateError
from .figures import FIGURES
from .grammar import parse_document, parse_expression
from .limits import Limits, Work
from .lists import LISTS
from .paths import Path
from .scan import CLOSE, OPEN, PATH, WORDS, expressions_in, has_expression, path_keys
from .statements import Statements
from .texts import TEXTS
from .values import Missing, plain, weigh

Kept = TypeVar("Kept", Expression, Text)
#: Compilations that are kept; beyond it the memory is cleared and fills anew.
KEPT = 20_000
#: Longer texts are not kept.
KEPT_TEXT = 20_000
BUILT_IN: Mapping[str, Callable[..., Json]] = MappingProxyType({**TEXTS, **FIGURES, **LISTS})
_DOCUMENT_SIGNS = re.compile(r"\{\{|\{%|\{#")


class Expressions:
    """The expression language with the filters of plugins. Safe to use from several threads."""

    def __init__(self, filters: Mapping[str, Callable[..., Json]] | None = None, limits: Limits | None = None) -> None:
        taken = sorted(set(filters or ()) & set(BUILT_IN))
        if taken:
            raise PluginError(f"the filter {taken[0]} is built in: give the plugin's another name")
        added = {name: _plugin_filter(name, function) for name, function in (filters or {}).items()}
        self.bench = Bench(limits=limits or Limits(), filters=MappingProxyType({**BUILT_IN, **added}))
        self._added = frozenset(added)
        self._expressions: dict[str, Expression] = {}
        self._texts: dict[str, Text] = {}

    def compile(self, value: Json) -> Template:
        """A value of a package with its expressions compiled; raises ``TemplateError`` for the first wrong one."""
        if isinstance(value, str):
            return self._compile_text(value)
        copies = _Copies()
        leaves = []
        for chain, text in _texts_in(value):
            pointer = tuple(key for key, _ in chain)
            compiled = self._text(text, pointer)
            leaves.append(Leaf(parent=copies.of(chain), key=pointer[-1], text=compiled, pointer=pointer))
        return Template(source=value, bench=self.bench, copies=tuple(copies.made), leaves=tuple(leaves))

    def condition(self, value: str | bool) -> Condition:
        """An ``if`` or ``until``; ``${{ }}`` around it is optional. Raises ``TemplateError``."""
        if isinstance(value, bool):
            return Condition(bench=self.bench, expression=value)
        if not isinstance(value, str):
            raise TemplateError("a condition must be a text or a boolean")
        if value.lstrip().startswith(OPEN):
            span, *more = expressions_in(value)
            if more or value[span.end :].strip():
                raise _not_one(value)
            return Condition(bench=self.bench, expression=self._expression(span.source, span.offset))
        try:
            return Condition(bench=self.bench, expression=self._expression(value, 0))
        except TemplateError:
            if has_expression(value):
                raise _not_one(value) from None
            raise

    def document(self, text: str) -> Document:
        """A whole Jinja template; raises ``TemplateError``."""
        compiler = Statements(self.bench.filters, self._added)
        with placed("", 0):
            execute = compiler.document(parse_document(text, self.bench.limits))
            compiler.check(self.bench.work())
        references = sorted(compiler.references, key=lambda reference: reference.offset)
        return Document(
            bench=self.bench,
            statements=compiler,
            execute=execute,
            literal=_DOCUMENT_SIGNS.search(text) is None,
            references=tuple(replace(read, text=_around(text, read.offset)) for read in references),
            functions=frozenset(compiler.functions),
        )

    def _compile_text(self, value: str) -> Template:
        if not has_expression(value):
            return Template(source=value, bench=self.bench)
        text = self._text(value, ())
        whole = text.parts[0] if len(text.parts) == 1 and isinstance(text.parts[0], Expression) else None
        leaf = Leaf(parent=-1, key="", text=text, pointer=())
        return Template(source=value, bench=self.bench, leaves=(leaf,), _whole=whole)

    def _text(self, text: str, pointer: Pointer) -> Text:
        """The compiled text, from memory if it was compiled before."""
        known = self._texts.get(text)
        if known is None:
            try:
                known = Text(parts=tuple(self._parts(text)))
            except TemplateError as error:
                raise TemplateError(
                    error.message,
                    remedy=error.remedy,
                    expression=error.expression,
                    offset=error.offset,
                    pointer=pointer,
                ) from None
            _keep(self._texts, text, known)
        return known

    def _parts(self, text: str) -> Iterator[str | Expression]:
        spans, place = expressions_in(text), 0
        if len(spans) == 1 and spans[0].start == 0 and text[spans[0].end :] in ("", "\n"):
            yield self._expression(spans[0].source, spans[0].offset)
            return
        for span in spans:
            if span.start > place:
                yield text[place : span.start]
            yield self._expression(span.source, span.offset)
            place = span.end
        if place < len(text):
            yield text[place:]

    def _expression(self, source: str, offset: int) -> Expression:
        """A compiled expression; ``offset`` is where ``source`` begins in its text."""
        stripped = source.strip()
        offset += len(source) - len(source.lstrip())
        known = self._expressions.get(stripped)
        if known is None:
            short = _path(stripped) if len(stripped) <= self.bench.limits.expression else None
            known = short or self._tree(stripped, offset)
            _keep(self._expressions, stripped, known)
        references = tuple(
            replace(reference, offset=offset + reference.offset, text=stripped) for reference in known.references
        )
        return replace(known, offset=offset, references=references)

    def _tree(self, source: str, offset: int) -> Expression:
        compiler = Compiler(self.bench.filters, self._added)
        with placed(source, offset):
            evaluate = compiler.compile(parse_expression(source, self.bench.limits))
            compiler.check(self.bench.work())
        return Expression(
            source=source,
            offset=0,
            evaluate=evaluate,
            references=tuple(sorted(compiler.references, key=lambda reference: reference.offset)),
            functions=frozenset(compiler.functions),
        )


def _not_one(text: str) -> TemplateError:
    return TemplateError(
        "a condition must be one expression",
        remedy="Write the whole condition within one ${{ }}, or without: `inputs.a and inputs.b`.",
        expression=text.replace(OPEN, "").replace(CLOSE, ""),
    )


def _path(source: str) -> Expression | None:
    """An expression that only reads, without Jinja."""
    match = PATH.fullmatch(source)
    if match is None or match["name"] in WORDS:
        return None
    path = Path(match["name"], path_keys(match["keys"]))
    return Expression(source=source, offset=0, path=path, references=(path.reference(),))


def _keep(memory: dict[str, Kept], text: str, kept: Kept) -> None:
    if len(memory) >= KEPT:
        memory.clear()
    if len(text) <= KEPT_TEXT:
        memory[text] = kept


#: The way to a text: at each step the key and the container it is in.
Chain = tuple[tuple[str | int, Json], ...]


class _Copies:
    """The containers that rendering copies because a text with expressions is somewhere within them."""

    def __init__(self) -> None:
        self.made: list[tuple[int, str | int, Json]] = []
        self._places: dict[Pointer, int] = {}

    def of(self, chain: Chain) -> int:
        """The position of the innermost container on the way, after those around it."""
        place, key = -1, cast("str | int", "")
        pointer: Pointer = ()
        for next_key, container in chain:
            known = self._places.get(pointer)
            if known is None:
                known = self._places[pointer] = len(self.made)
                self.made.append((place, key, dict(container) if isinstance(container, Mapping) else list(container)))
            place, pointer, key = known, (*pointer, next_key), next_key
        return place


def _texts_in(value: Json) -> Iterator[tuple[Chain, str]]:
    """The texts with expressions, in the order they are written, with their ways; refuses expressions in keys."""
    pending: list[tuple[Chain, Json]] = [((), value)]
    while pending:
        chain, item = pending.pop()
        if isinstance(item, str):
            if has_expression(item):
                yield chain, item
        elif isinstance(item, list | tuple):
            pending.extend(((*chain, (place, item)), item[place]) for place in range(len(item) - 1, -1, -1))
        elif isinstance(item, Mapping):
            _refuse_keys(chain, item)
            pending.extend(((*chain, (key, item)), item[key]) for key in reversed(list(item)))


def _refuse_keys(chain: Chain, mapping: Mapping[str, Json]) -> None:
    for key in mapping:
        if isinstance(key, str) and has_expression(key):
            raise TemplateError(
                "a key cannot hold an expression",
                remedy="Make the whole mapping in one expression: ${{ {inputs.name: 1} }}.",
                pointer=(*(part for part, _ in chain), key),
            )


def _around(text: str, offset: int) -> str:
    """The rest of the ``{{ }}`` or ``{% %}`` at an offset."""
    return re.split(r"[-+]?[}%]\}|\n", text[offset : offset + SHOWN], maxsplit=1)[0].strip()


def _plugin_filter(name: str, function: Callable[..., Json]) -> Callable[..., Json]:
    """A plugin's filter in our manner: it gets plain data, and what it gives must be plain data."""

    @functools.wraps(function)
    def filtered(work: Work, value: Json, *args: Json, **named: Json) -> Json:
        if isinstance(value, Missing):
            raise value.refused()
        weigh([value, *args, *named.values()], work)
        try:
            made = function(value, *args, **named)
        except Exception as error:  # whatever a plugin's code raises is its author's, and the step's, to know
            raise Refused(f"the filter {name} failed: {type(error).__name__}: {str(error)[:200]}") from error
        try:
            return plain(made, work)
        except Refused as refused:
            raise Refused(f"the filter {name} gave something else than plain data: {refused.message}") from None

    filtered.__signature__ = _with_work(function)  # type: ignore[attr-defined]
    return filtered


def _with_work(function: Callable[..., Json]) -> inspect.Signature | None:
    """The function's signature behind the rendering's; None where Python knows none."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return None
    first = inspect.Parameter("work", inspect.Parameter.POSITIONAL_ONLY)
    return inspect.Signature([first, *signature.parameters.values()])
