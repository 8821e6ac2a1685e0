"""Expressions as functions: a syntax tree becomes closures over plain data. There is no other way for one to be run.

What is no method of ``Compiler`` is refused when it is compiled, and so is what can never work: parts that read nothing
are computed once, within the bounds. Only ``range``, ``now``, ``uuid`` and ``random`` can be called; a dot reads a key.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..errors import did_you_mean
from ..outcome import Json
from .calls import check_arguments, draw, filter_remedy, guarded, range_of
from .checks import LENIENT, TESTS
from .fault import Refused
from .frame import Arguments, Evaluate, Frame
from .limits import Work
from .operators import BINARY, COMPARE, UNARY, bounded, concatenate
from .paths import DRAWN, Path, Reference
from .values import METHODS, Missing, Special, kind, read, weigh

#: Filters that take what is not there.
TAKES_MISSING = frozenset({"default", "d"})


class Compiler:
    """Turns trees into closures and notes what they read; one for each text."""

    def __init__(self, filters: Mapping[str, Callable[..., Json]], added: frozenset[str] = frozenset()) -> None:
        self.filters = filters
        #: Filters of plugins: their code is not run before the step is.
        self.added = added
        self.references: list[Reference] = []
        self.functions: set[str] = set()
        #: The largest parts that read nothing, and how often something was read: see ``check``.
        self.constants: list[Evaluate] = []
        self.reads = 0
        #: Names that a document gave itself; empty for expressions.
        self.own: set[str] = set()

    def check(self, work: Work) -> None:
        """Computes what needs no scope, within the bounds: what can never work is refused before anything runs."""
        for constant in self.constants:
            value = constant(Frame({}, work))
            if isinstance(value, list | dict):
                weigh(value, work)

    def compile(self, node: Any, lenient: bool = False) -> Evaluate:
        """The closure of a tree. ``lenient`` lets it give ``Missing`` where the last key is not there."""
        reads, constants = self.reads, len(self.constants)
        made = self._compile(node, lenient)
        if reads == self.reads and type(node).__name__ != "TemplateData":
            self.constants[constants:] = [made]
        return made

    def _compile(self, node: Any, lenient: bool) -> Evaluate:
        path = self.path(node)
        if path is not None:
            return self._read(path, lenient)
        name = type(node).__name__
        if name in BINARY:
            return self._binary(node)
        if name in UNARY:
            return self._unary(node)
        compiler = getattr(self, f"_{name.lower()}", None)
        if compiler is None:
            raise Refused(f"{name} is not allowed in an expression", offset=node.lineno)
        made: Evaluate = compiler(node, lenient)
        return made

    def path(self, node: Any) -> Path | None:
        """The path that a tree is, if it is one."""
        keys: list[str | int] = []
        while True:
            name = type(node).__name__
            if name == "Getattr":
                keys.append(node.attr)
            elif name == "Getitem" and type(node.arg).__name__ == "Const" and type(node.arg.value) in (str, int):
                keys.append(node.arg.value)
            elif name == "Name":
                return Path(node.name, tuple(reversed(keys)), node.lineno)
            else:
                return None
            node = node.node

    def _read(self, path: Path, lenient: bool) -> Evaluate:
        self.reads += 1
        if path.name in self.own:
            return self._read_own(path, lenient)
        self.references.append(path.reference(lenient))
        if lenient:
            return lambda frame: path.look(frame.scope)
        return lambda frame: path(frame.scope)

    def _read_own(self, path: Path, lenient: bool) -> Evaluate:
        def read_own(frame: Frame) -> Json:
            if path.name not in frame.local:
                return path.look(frame.scope) if lenient else path(frame.scope)
            value = frame.local[path.name]
            if path.keys and not isinstance(value, Missing):
                value = path.follow(value)
            elif path.keys:
                raise value.refused(path.offset)
            if isinstance(value, Missing) and not lenient:
                raise value.refused(path.offset)
            return value

        return read_own

    def _const(self, node: Any, lenient: bool) -> Evaluate:
        value = node.value
        if isinstance(value, int | float):
            return lambda frame: bounded(frame.work, value)
        return lambda frame: value

    def _templatedata(self, node: Any, lenient: bool) -> Evaluate:
        data = node.data
        return lambda frame: data

    def _list(self, node: Any, lenient: bool) -> Evaluate:
        items = [self.compile(item) for item in node.items]
        return lambda frame: [item(frame) for item in items]

    _tuple = _list

    def _dict(self, node: Any, lenient: bool) -> Evaluate:
        pairs = [(self.compile(pair.key), self.compile(pair.value)) for pair in node.items]

        def mapping(frame: Frame) -> Json:
            made = {key(frame): value(frame) for key, value in pairs}
            if not all(type(key) is str for key in made):
                raise Refused("a key of a mapping must be a text", "Put the key into quotes.", node.lineno)
            return made

        return mapping

    def _condexpr(self, node: Any, lenient: bool) -> Evaluate:
        test, yes = self.compile(node.test), self.compile(node.expr1, lenient)
        if node.expr2 is not None:
            no = self.compile(node.expr2, lenient)
            return lambda frame: yes(frame) if test(frame) else no(frame)
        missing = Missing("the condition is false and there is no else", "Write else and a value after the condition.")

        def conditional(frame: Frame) -> Json:
            if test(frame):
                return yes(frame)
            if lenient:
                return missing
            raise missing.refused(node.lineno)

        return conditional

    def _and(self, node: Any, lenient: bool) -> Evaluate:
        left, right = self.compile(node.left), self.compile(node.right, lenient)
        return lambda frame: left(frame) and right(frame)

    def _or(self, node: Any, lenient: bool) -> Evaluate:
        left, right = self.compile(node.left), self.compile(node.right, lenient)
        return lambda frame: left(frame) or right(frame)

    def _not(self, node: Any, lenient: bool) -> Evaluate:
        value = self.compile(node.node)
        return lambda frame: not value(frame)

    def _binary(self, node: Any) -> Evaluate:
        left, right = self.compile(node.left), self.compile(node.right)
        operate = BINARY[type(node).__name__]
        return lambda frame: operate(frame.work, left(frame), right(frame))

    def _unary(self, node: Any) -> Evaluate:
        value, operate = self.compile(node.node), UNARY[type(node).__name__]
        return lambda frame: operate(frame.work, value(frame))

    def _concat(self, node: Any, lenient: bool) -> Evaluate:
        parts = [self.compile(part) for part in node.nodes]
        return lambda frame: concatenate(frame.work, [part(frame) for part in parts])

    def _compare(self, node: Any, lenient: bool) -> Evaluate:
        first = self.compile(node.expr)
        rest = [(COMPARE[operand.op], self.compile(operand.expr)) for operand in node.ops]

        def compare(frame: Frame) -> bool:
            left = first(frame)
            for holds, operand in rest:
                right = operand(frame)
                if not holds(frame.work, left, right):
                    return False
                left = right
            return True

        return compare

    def _getattr(self, node: Any, lenient: bool) -> Evaluate:
        attribute = node.attr
        return self._part(node, lambda frame: attribute, lenient)

    def _getitem(self, node: Any, lenient: bool) -> Evaluate:
        if type(node.arg).__name__ == "Slice":
            return self._slice(node)
        return self._part(node, self.compile(node.arg), lenient)

    def _part(self, node: Any, key: Evaluate, lenient: bool) -> Evaluate:
        owner = self.path(node.node)
        text = owner.text(len(owner.keys)) if owner else "the value"
        value = self.compile(node.node)

        def part(frame: Frame) -> Json:
            found = read(value(frame), key(frame), lambda: text)
            if isinstance(found, Missing) and not lenient:
                raise found.refused(node.lineno)
            return found

        return part

    def _slice(self, node: Any) -> Evaluate:
        value = self.compile(node.node)
        ends = [part and self.compile(part) for part in (node.arg.start, node.arg.stop, node.arg.step)]

        def cut(frame: Frame) -> Json:
            whole = value(frame)
            if not isinstance(whole, str | list):
                raise Refused(f"[:] takes a part of a text or a list, not of {kind(whole)}", offset=node.lineno)
            frame.work.spend(len(whole) if isinstance(whole, list) else 1)
            frame.work.take(8 * len(whole))
            return whole[slice(*(end and end(frame) for end in ends))]

        return cut

    def _filter(self, node: Any, lenient: bool) -> Evaluate:
        name = node.name
        apply = self.filters.get(name)
        if apply is None:
            raise Refused(f'there is no filter "{name[:60]}"', filter_remedy(name, self.filters), node.lineno)
        check_arguments(f"the filter {name}", apply, node)
        value = self.compile(node.node, name in TAKES_MISSING)
        arguments = self.arguments(node)
        self._check_named(node)
        self.reads += name in self.added or (name == "map" and not self._maps_built_in(node))

        def filtered(frame: Frame) -> Json:
            subject = value(frame)
            args, named = arguments(frame)
            result = apply(frame.work, subject, *args, **named)
            if isinstance(result, Missing) and not lenient:
                raise result.refused(node.lineno)
            return result

        return guarded(f"the filter {name}", filtered, node.lineno)

    def _maps_built_in(self, node: Any) -> bool:
        if not node.args:
            return True
        return type(node.args[0]).__name__ == "Const" and node.args[0].value not in self.added | {"map"}

    def _check_named(self, node: Any) -> None:
        """A filter or test that ``map``, ``select`` and their like name as a text must be there."""
        place = {"map": 0, "select": 0, "reject": 0, "selectattr": 1, "rejectattr": 1}.get(node.name)
        if place is None or len(node.args) <= place or type(node.args[place]).__name__ != "Const":
            return
        name, what = node.args[place].value, "filter" if node.name == "map" else "test"
        known: Mapping[str, Any] = self.filters if what == "filter" else TESTS
        if name not in known:
            remedy = filter_remedy(str(name), known)
            raise Refused(f'there is no {what} "{str(name)[:60]}"', remedy, node.args[place].lineno)

    def _test(self, node: Any, lenient: bool) -> Evaluate:
        name = node.name
        test = TESTS.get(name)
        if test is None:
            raise Refused(f'there is no test "{name[:60]}" after is', did_you_mean(name[:60], TESTS), node.lineno)
        check_arguments(f"the test {name}", test, node)
        value = self.compile(node.node, name in LENIENT)
        arguments = self.arguments(node)

        def tested(frame: Frame) -> bool:
            subject = value(frame)
            args, named = arguments(frame)
            return bool(test(frame.work, subject, *args, **named))

        return guarded(f"the test {name}", tested, node.lineno)

    def arguments(self, node: Any) -> Arguments:
        """What stands in () after a filter, a test or a function, as a closure that gives lists and names."""
        args = [self.compile(arg) for arg in node.args]
        named = [(pair.key, self.compile(pair.value)) for pair in node.kwargs]
        if node.dyn_args is not None or node.dyn_kwargs is not None:
            raise Refused("* and ** are not allowed in a call", "Write the arguments out.", node.lineno)
        if not named:
            none: dict[str, Json] = {}
            return (lambda frame: ([arg(frame) for arg in args], none)) if args else (lambda frame: ([], none))
        return lambda frame: ([arg(frame) for arg in args], {name: value(frame) for name, value in named})

    def _call(self, node: Any, lenient: bool) -> Evaluate:
        called = node.node
        name = called.name if type(called).__name__ == "Name" else ""
        arguments = self.arguments(node)
        if name == "range" and name not in self.own:
            return guarded("range", lambda frame: range_of(frame, arguments), node.lineno)
        if name in DRAWN and name not in self.own:
            if node.args or node.kwargs:
                raise Refused(f"{name}() takes nothing between its brackets", offset=node.lineno)
            self.functions.add(name)
            self.reads += 1
            return lambda frame: draw(frame, name, node.lineno)
        own = self.path(called)
        if own is not None and own.name in self.own and len(own.keys) <= 1:
            return self._call_own(own, arguments, node.lineno)
        raise self.uncallable(called)

    def _call_own(self, path: Path, arguments: Arguments, offset: int) -> Evaluate:
        """A call of something a document made: a macro, ``loop``, ``caller``."""
        self.reads += 1
        method = str(path.keys[0]) if path.keys else ""

        def call(frame: Frame) -> Json:
            target = frame.local.get(path.name)
            if not isinstance(target, Special):
                raise Refused(f"{path.name} is not a macro", offset=offset)
            args, named = arguments(frame)
            return target.call(frame.work, method, args, named)

        return guarded(path.name, call, offset)

    def uncallable(self, called: Any) -> Refused:
        """The error for a call of anything but the functions that there are."""
        name = type(called).__name__
        if name == "Getattr":
            owner = self.path(called.node)
            text = owner.text(len(owner.keys)) if owner else "value"
            known = METHODS.get(called.attr, "{} | " + called.attr if called.attr in self.filters else "")
            remedy = f"Write {known.format(text)}." if known else "Values have no methods: see the filters, after |."
            return Refused(f".{called.attr[:60]}() is a method call", remedy, called.lineno)
        if name == "Name":
            filters = f"Write value | {called.name}." if called.name in self.filters else ""
            remedy = filters or "Only range(), now(), uuid() and random() can be called."
            return Refused(f"there is no function {called.name[:60]}()", remedy, called.lineno)
        return Refused("a value cannot be called", "Only range(), now(), uuid() and random() can.", called.lineno)
