"""Whole Jinja templates, for files: ``{% %}`` statements over the expressions of ``evaluate``, as functions too.

A statement appends text to a list. Loops and macro calls are counted. Whatever reads another template or file (include,
import, extends, blocks) is refused when it is compiled, as is ``autoescape``: HTML is escaped where one writes ``| e``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from ..outcome import Json
from .evaluate import Compiler
from .fault import Refused
from .frame import Frame
from .limits import width
from .lists import items_of
from .operators import join
from .specials import MAKERS, Cycler, Joiner, Loop, Macro, Maker, Namespace
from .values import Special, kind, to_text

#: A statement: what it writes goes to the list.
Execute = Callable[[Frame, list[str]], None]
REFUSED = frozenset({"Include", "Import", "FromImport", "Extends", "Block"})


class _Break(Exception):
    """``{% break %}``"""


class _Continue(Exception):
    """``{% continue %}``"""


class Statements(Compiler):
    """The compiler of documents."""

    def __init__(self, filters: Mapping[str, Callable[..., Json]], added: frozenset[str] = frozenset()) -> None:
        super().__init__(filters, added)
        #: Loops around what is being compiled.
        self.loops = 0

    def document(self, tree: Any) -> Execute:
        """The closure of a whole template."""
        from jinja2 import nodes

        # A macro may call one that stands further down.
        self.own |= MAKERS | {macro.name for macro in tree.find_all(nodes.Macro)}
        return self._body(tree.body)

    def start(self, frame: Frame) -> None:
        """Puts what every document may call into its frame."""
        for name, maker in {"namespace": Namespace, "joiner": Joiner, "cycler": Cycler}.items():
            frame.local[name] = Maker(name, maker)

    def _body(self, nodes: list[Any]) -> Execute:
        steps = [self._statement(node) for node in nodes]

        def body(frame: Frame, out: list[str]) -> None:
            for step in steps:
                step(frame, out)

        return body

    def _scoped(self, nodes: list[Any], *names: str) -> Execute:
        """A body whose names are its own; ``names`` are given to it."""
        before = set(self.own)
        self.own |= set(names)
        body = self._body(nodes)
        self.own = before
        return body

    def _text_of(self, nodes: list[Any], *names: str) -> Callable[[Frame], str]:
        body = self._scoped(nodes, *names)

        def text_of(frame: Frame) -> str:
            out: list[str] = []
            body(frame, out)
            return join(frame.work, out)

        return text_of

    def _statement(self, node: Any) -> Execute:
        name = type(node).__name__
        if name in REFUSED:
            raise Refused(
                f"{{% {name.lower()} %}} is not allowed: a template reads no other template", offset=node.lineno
            )
        compiler = getattr(self, f"_do_{name.lower()}", None)
        if compiler is None:
            raise Refused(f"{{% {name.lower()} %}} is not allowed", offset=node.lineno)
        made: Execute = compiler(node)
        return made

    def _do_output(self, node: Any) -> Execute:
        parts = [self.compile(part) for part in node.nodes]

        def output(frame: Frame, out: list[str]) -> None:
            for part in parts:
                text = to_text(part(frame), frame.work)
                frame.work.make_text(len(text), width(text))
                out.append(text)

        return output

    def _do_exprstmt(self, node: Any) -> Execute:
        value = self.compile(node.node)
        return lambda frame, out: value(frame) and None

    def _do_scope(self, node: Any) -> NoReturn:
        raise Refused("{% autoescape %} is not allowed", "Write | e where a value goes into HTML.", node.lineno)

    def _do_if(self, node: Any) -> Execute:
        cases = [(self.compile(case.test), self._body(case.body)) for case in (node, *node.elif_)]
        otherwise = self._body(node.else_)

        def choose(frame: Frame, out: list[str]) -> None:
            for test, body in cases:
                if test(frame):
                    return body(frame, out)
            return otherwise(frame, out)

        return choose

    def _do_set(self, target: Any) -> Callable[[Frame, Any], None]:
        """How a value goes to a target: a name, a namespace's name, or several names at once."""
        name = type(target).__name__
        if name == "Name":
            self.own.add(target.name)
            return lambda frame, value: frame.local.__setitem__(target.name, value)
        if name == "NSRef":
            return lambda frame, value: _set_in_namespace(frame, target.name, target.attr, value)
        parts = [self._do_set(part) for part in target.items]

        def unpack(frame: Frame, value: Any) -> None:
            items = items_of(frame.work, value)
            if len(items) != len(parts):
                raise Refused(f"{len(parts)} names cannot take {len(items)} values", offset=target.lineno)
            for part, item in zip(parts, items, strict=True):
                part(frame, item)

        return unpack

    def _do_assign(self, node: Any) -> Execute:
        value = self.compile(node.node, lenient=True)
        give = self._do_set(node.target)
        return lambda frame, out: give(frame, value(frame))

    def _do_assignblock(self, node: Any) -> Execute:
        text_of = self._text_of(node.body)
        change = self._filter_text(node.filter) if node.filter is not None else None
        give = self._do_set(node.target)

        def assign(frame: Frame, out: list[str]) -> None:
            text = text_of(frame.child())
            give(frame, change(frame, text) if change else text)

        return assign

    def _filter_text(self, node: Any) -> Callable[[Frame, str], Json]:
        """Filters that are applied to the text of a block, which they find under a name no author can write."""
        from jinja2 import nodes

        innermost = node
        while innermost.node is not None:
            innermost = innermost.node
        innermost.node = nodes.Name(" text", "load", lineno=node.lineno)
        self.own.add(" text")
        apply = self.compile(node)

        def change(frame: Frame, text: str) -> Json:
            inner = frame.child()
            inner.local[" text"] = text
            return apply(inner)

        return change

    def _do_filterblock(self, node: Any) -> Execute:
        text_of, change = self._text_of(node.body), self._filter_text(node.filter)

        def filtered(frame: Frame, out: list[str]) -> None:
            out.append(to_text(change(frame, text_of(frame.child())), frame.work))

        return filtered

    def _do_with(self, node: Any) -> Execute:
        values = [self.compile(value) for value in node.values]
        before = set(self.own)
        gives = [self._do_set(target) for target in node.targets]
        body = self._body(node.body)
        self.own = before

        def within(frame: Frame, out: list[str]) -> None:
            inner = frame.child()
            for give, value in zip(gives, values, strict=True):
                give(inner, value(frame))
            body(inner, out)

        return within

    def _do_for(self, node: Any) -> Execute:
        items = self.compile(node.iter)
        otherwise = self._scoped(node.else_)
        before = set(self.own)
        give = self._do_set(node.target)
        test = self.compile(node.test) if node.test is not None else None
        self.own.add("loop")
        self.loops += 1
        body = self._body(node.body)
        self.loops -= 1
        self.own = before

        def chosen(frame: Frame, given: list[Json]) -> list[Json]:
            if test is None:
                return given
            inner, kept = frame.child(), []
            for item in given:
                give(inner, item)
                if test(inner):
                    kept.append(item)
            return kept

        def run(frame: Frame, given: list[Json], depth: int, out: list[str]) -> None:
            given = chosen(frame, given)
            loop = Loop(given, depth, again(frame) if node.recursive else None)
            for loop.place, item in enumerate(given):
                frame.work.spend(1 + len(frame.local))
                inner = frame.child()
                give(inner, item)
                inner.local["loop"] = loop
                try:
                    body(inner, out)
                except _Continue:
                    continue
                except _Break:
                    break
            if not given:
                otherwise(frame.child(), out)

        def again(frame: Frame) -> Callable[[list[Json], int], str]:
            def once_more(given: list[Json], depth: int) -> str:
                out: list[str] = []
                run(frame, given, depth, out)
                return join(frame.work, out)

            return once_more

        return lambda frame, out: run(frame, items_of(frame.work, items(frame)), 1, out)

    def _do_break(self, node: Any) -> Execute:
        return self._leave(node, _Break)

    def _do_continue(self, node: Any) -> Execute:
        return self._leave(node, _Continue)

    def _leave(self, node: Any, way: type[Exception]) -> Execute:
        if not self.loops:
            raise Refused(f"{way.__doc__} stands outside a loop", offset=node.lineno)

        def leave(frame: Frame, out: list[str]) -> None:
            raise way

        return leave

    def _macro(self, node: Any, name: str) -> Callable[[Frame], Macro]:
        names = [argument.name for argument in node.args]
        own = {name, *names, "caller", "varargs", "kwargs"}
        before = set(self.own)
        self.own |= own
        defaults = [self.compile(value) for value in node.defaults]
        self.own = before
        around, self.loops = self.loops, 0
        body = self._text_of(node.body, *own)
        self.loops = around
        return lambda frame: Macro(name, names, defaults, body, frame)

    def _do_macro(self, node: Any) -> Execute:
        make = self._macro(node, node.name)
        self.own.add(node.name)

        def define(frame: Frame, out: list[str]) -> None:
            frame.local[node.name] = make(frame)

        return define

    def _do_callblock(self, node: Any) -> Execute:
        make = self._macro(node, "caller")
        called = self.path(node.call.node)
        if called is None or called.name not in self.own:
            raise self.uncallable(node.call.node)
        arguments = self.arguments(node.call)

        def call(frame: Frame, out: list[str]) -> None:
            target = frame.local.get(called.name)
            if not isinstance(target, Special):
                raise Refused(f"{called.name} is not a macro", offset=node.lineno)
            args, named = arguments(frame)
            out.append(to_text(target.call(frame.work, "", args, {**named, "caller": make(frame)}), frame.work))

        return call


def _set_in_namespace(frame: Frame, name: str, key: str, value: Any) -> None:
    namespace = frame.local.get(name)
    if not isinstance(namespace, Namespace):
        raise Refused(f"{name} is not a namespace but {kind(namespace)}", f"Write {{% set {name} = namespace() %}}.")
    namespace.names[key] = value
