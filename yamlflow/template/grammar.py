"""Jinja's grammar: text to syntax tree, and nothing more. Jinja's compiler, optimizer and runtime are never used.

The parser counts lines; it is fed offsets instead, so that every node's ``lineno`` is its place in the text, in
characters from 0. Jinja is imported on first use: packages whose expressions are plain paths never pay for it.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from .fault import Refused
from .limits import Limits

if TYPE_CHECKING:
    from jinja2 import Environment, nodes
    from jinja2.lexer import TokenStream

#: Characters of a document for the ``template`` kind.
DOCUMENT = 1_000_000
_UNKNOWN_ESCAPE = re.compile(r"\\(?:([^\\'\"abfnrtvxuUN0-7\n])|(.))", re.DOTALL)


def parse_expression(source: str, limits: Limits) -> nodes.Expr:
    """The tree of one expression; raises ``Refused`` with the offset of what does not fit."""
    if len(source) > limits.expression:
        raise Refused(f"the expression has {len(source):,} characters; {limits.expression:,} are allowed")
    if not source.strip():
        raise Refused("the expression is empty")
    from jinja2.parser import Parser

    with _syntax():
        parser = Parser(_environment(limits), source, state="variable")
        tree = parser.parse_expression()
        if not parser.stream.eos:
            token = parser.stream.current
            raise Refused(f"{_shown(token.value)} is not expected here", offset=token.lineno)
    _bound_depth(tree, limits)
    return tree


def parse_document(source: str, limits: Limits) -> nodes.Template:
    """The tree of a whole template; raises ``Refused`` with the offset of what does not fit."""
    if len(source) > DOCUMENT:
        raise Refused(f"the template has {len(source):,} characters; {DOCUMENT:,} are allowed")
    from jinja2 import nodes
    from jinja2.parser import Parser

    with _syntax():
        tree = nodes.Template(Parser(_environment(limits), source).subparse(), lineno=0)
    _bound_depth(tree, limits)
    return tree


@contextmanager
def _syntax() -> Iterator[None]:
    """Turns the parser's errors into ours."""
    from jinja2 import TemplateSyntaxError

    try:
        yield
    except TemplateSyntaxError as error:
        raise Refused(_lower(error.message or "this is not an expression"), offset=error.lineno) from None
    except (RecursionError, MemoryError):
        raise Refused("the expression is nested too deep") from None
    except ValueError:
        raise Refused("a number in the expression is too long") from None


@functools.lru_cache(maxsize=16)
def _environment(limits: Limits) -> Environment:
    """The grammar's settings; holds no templates, filters or globals that anything would use."""
    from jinja2 import Environment

    class Offsets(Environment):
        def _tokenize(
            self, source: str, name: str | None, filename: str | None = None, state: str | None = None
        ) -> TokenStream:
            from jinja2.lexer import TokenStream

            tokens = _with_offsets(self, source, state, limits)
            return TokenStream(self.lexer.wrap(tokens, name, filename), name, filename)

    return Offsets(extensions=["jinja2.ext.loopcontrols"], keep_trailing_newline=True)


def _with_offsets(
    environment: Environment, source: str, state: str | None, limits: Limits
) -> Iterator[tuple[int, str, str]]:
    """Jinja's tokens with offsets for line numbers; bounds their number and the nesting of brackets."""
    from jinja2 import TemplateSyntaxError

    source = source.replace("\r\n", "\n").replace("\r", "\n")
    tokens = environment.lexer.tokeniter(source, None, None, state)
    offset = count = brackets = 0
    while True:
        try:
            _, kind, text = next(tokens)
        except StopIteration:
            return
        except TemplateSyntaxError as error:
            raise Refused(_lower(error.message or ""), offset=offset) from None
        count += 1
        brackets += (text in ("(", "[", "{")) - (text in (")", "]", "}")) if kind == "operator" else 0
        if count > limits.tokens:
            raise Refused(f"there are more than {limits.tokens:,} words and signs", offset=offset)
        if brackets > limits.brackets:
            raise Refused(f"brackets are nested more than {limits.brackets} deep", offset=offset)
        offset = max(offset, source.find(text, offset))
        yield offset, kind, _UNKNOWN_ESCAPE.sub(_escaped, text) if kind == "string" and "\\" in text else text
        offset += len(text)


def _escaped(match: re.Match[str]) -> str:
    """A backslash before a letter that it does not change stands for itself."""
    return f"\\\\{match[1]}" if match[1] else match[0]


def _bound_depth(tree: nodes.Node, limits: Limits) -> None:
    level: list[Any] = [tree]
    for _ in range(limits.depth):
        level = [child for node in level for child in node.iter_child_nodes()]
        if not level:
            return
    raise Refused(
        "the expression is nested too deep",
        f"Operations may be {limits.depth} deep.",
    )


def _lower(message: str) -> str:
    """A parser's sentence as a clause."""
    clause = message.rstrip(".")
    clause = re.sub(r"^unexpected char (.+) at \d+$", r"the character \1 is not expected here", clause)
    return clause[:1].lower() + clause[1:]


def _shown(value: object) -> str:
    return repr(str(value)[:40])
