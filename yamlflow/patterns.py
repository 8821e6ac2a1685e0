"""Regular expressions that others write: matched in time that grows with the text alone, in little memory. Pure.

RE2 does the matching. It knows neither look-around nor back-references, whose cost nobody can bound; ``$`` is the end of the
text, ``\\d`` and ``\\w`` are ASCII, as JSON Schema has them.
"""

from __future__ import annotations

import functools
import re
from typing import Any

#: Bytes that one pattern and its search may take.
MEMORY = 8 * 1024 * 1024
#: Characters of one pattern.
LONGEST = 10_000
#: Halves of characters, which no text of RE2 can hold.
HALVES = re.compile("[\ud800-\udfff]")
_ESCAPES = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|(.))", re.DOTALL)
_UNBOUNDED = re.compile(r"\(\?(?:<?[=!]|P=|\()|(?<!\\)(?:\\\\)*\\[1-9]")


class NoPattern(ValueError):
    """A text that is no regular expression, or one that cannot be matched in bounded time; the message says which."""


def search(pattern: str, text: str) -> bool:
    """Whether a pattern is found anywhere in a text. Raises ``NoPattern``."""
    return compiled(pattern).search(HALVES.sub("\ufffd", text)) is not None


@functools.lru_cache(maxsize=500)
def compiled(pattern: str) -> Any:
    """A pattern, ready to ``search``. Raises ``NoPattern``."""
    # Imported here: most packages have no pattern.
    import re2

    if len(pattern) > LONGEST:
        raise NoPattern(f"it has {len(pattern):,} characters; {LONGEST:,} are allowed")
    options = re2.Options()
    options.log_errors = False
    options.max_mem = MEMORY
    try:
        return re2.compile(_ESCAPES.sub(_of_re2, pattern), options)
    except UnicodeEncodeError:
        raise NoPattern("it holds half of a character") from None
    except re2.error as error:
        if _UNBOUNDED.search(pattern):
            raise NoPattern("look-around and back-references are not supported") from None
        raise NoPattern(_words(error)) from None


def _of_re2(match: re.Match[str]) -> str:
    """JSON Schema's ``\\u00e4`` as RE2 writes it."""
    return f"\\x{{{match[1]}}}" if match[1] else match[0]


def _words(error: Exception) -> str:
    cause = error.args[0] if error.args else error
    return cause.decode("utf-8", "replace")[:200] if isinstance(cause, bytes) else str(cause)[:200]
