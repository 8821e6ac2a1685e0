"""``${{ }}``: Jinja's expression language over plain data, compiled once and rendered often. Pure, and bounded.

``Expressions`` compiles a value (``compile``), an ``if`` (``condition``) or a whole template (``document``); what comes
out says what it reads (``references``) and renders. Only Jinja's grammar is used: trees become closures of our own,
which read keys and no attributes, call no methods, and ask ``limits`` before anything that can grow.

A value that is one whole expression keeps its type; a block text's last newline changes nothing. Within longer text a
text goes in as it is, null as nothing, the rest as JSON; what was rendered is never rendered again. ``${{`` has no
escape: a literal one is ``${{ '${{' }}``. Where Jinja's filters are lazy, ours give lists, and tuples are lists too.
"""

from .compiled import Condition, Document, Template
from .expressions import BUILT_IN, Expressions
from .fault import TemplateError
from .limits import Limits
from .paths import DRAWN, Reference
from .run_text import run_text_remedy
from .scan import Span, expressions_in, has_expression

#: The names of the built-in filters.
FILTERS = frozenset(BUILT_IN)
#: The functions that can be called in expressions.
FUNCTIONS = DRAWN | {"range"}

__all__ = [
    "FILTERS",
    "FUNCTIONS",
    "Condition",
    "Document",
    "Expressions",
    "Limits",
    "Reference",
    "Span",
    "Template",
    "TemplateError",
    "expressions_in",
    "has_expression",
    "run_text_remedy",
]
