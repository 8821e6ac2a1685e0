"""Documents: strict YAML with a place for every value, checked against the language's schema.

``load`` and ``read`` give a ``Document`` or raise ``InvalidPackage`` with every problem they could find, each at its
line and column; ``check`` lists what is wrong with a document as a package. Nothing here runs, renders or imports what
a document names.
"""

from __future__ import annotations

from .checking import check, check_tests, package_schema, schema_of_tests
from .complaints import MOST_PROBLEMS
from .reader import Limits
from .reading import Document, load, read

__all__ = [
    "MOST_PROBLEMS",
    "Document",
    "Limits",
    "check",
    "check_tests",
    "load",
    "package_schema",
    "read",
    "schema_of_tests",
]
