"""From a file's bytes to its text, or why that cannot be: size, encoding, characters that nobody should meet in a file.

Accepted are UTF-8, and UTF-16 that begins with a byte order mark. The mark is no part of the text.
"""

from __future__ import annotations

import codecs
import difflib
import os
import re
import reprlib
import stat
import unicodedata
from pathlib import Path

from ..errors import InvalidPackage, Problem
from .places import Lines

#: Longest first: the mark of UTF-32 begins like that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF32_LE, ""),
    (codecs.BOM_UTF32_BE, ""),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
#: Control characters, further line ends that only some programs see, byte order marks and halves of characters.
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff]")
HALVES = re.compile("[\ud800-\udfff]")
#: Turns the direction of text, so that it reads otherwise than it runs.
BIDI = re.compile("[\u202a-\u202e\u2066-\u2069]")
#: Problems of one kind that are shown.
_SHOWN = 20
_SAVE_AS_UTF8 = "Save the file as UTF-8."


def name_of(character: str) -> str:
    """A character that cannot be shown, by number and name: ``U+200B (zero width space)``."""
    name = unicodedata.name(character, "").lower()
    return f"U+{ord(character):04X} ({name})" if name else f"U+{ord(character):04X}"


def read_file(path: str | os.PathLike[str], *, size: int) -> bytes:
    """A file's bytes, at most ``size`` of them; raises ``InvalidPackage``."""
    if not isinstance(path, str | os.PathLike):
        raise _refused(reprlib.repr(path), "is no path", "Give the path of a file.")
    file = Path(path)
    try:
        status = file.stat()
        if stat.S_ISDIR(status.st_mode):
            raise _refused(str(path), "is a folder", _name_one_of(file))
        if not stat.S_ISREG(status.st_mode):
            raise _refused(str(path), "is not a regular file", "Name a file that holds YAML.")
        with file.open("rb") as stream:
            content = stream.read(size + 1)
    except FileNotFoundError:
        raise _refused(str(path), "there is no such file", _nearest(file)) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise _refused(str(path), f"cannot be read: {reason}", "Check the path and its permissions.") from None
    if len(content) > size:
        raise too_large(str(path), max(status.st_size, len(content)), size)
    return content


def no_text(given: object, file: str) -> InvalidPackage:
    """What a program gave for a document, and is none."""
    return _refused(file, f"{reprlib.repr(given)} is no text", "Give the text of a document, or its bytes.")


def too_large(file: str, size: int, limit: int) -> InvalidPackage:
    """A document over the size limit."""
    return _refused(
        file, f"is {size:,} bytes long; at most {limit:,} are read", "Move large data into files that the steps read."
    )


def text_of(content: str | bytes, *, file: str) -> str:
    """The decoded text without its byte order mark; raises ``InvalidPackage``."""
    text = _decoded(content, file) if isinstance(content, bytes) else content.removeprefix("\ufeff")
    problems = []
    lines = Lines(text)
    for match in _FORBIDDEN.finditer(text):
        line, column = lines.at(match.start())
        problem = Problem(message=f"the character {name_of(match[0])} is not allowed", remedy=_remedy(match[0]))
        problems.append(problem.placed(file=file, line=line, column=column))
        if len(problems) == _SHOWN:
            break
    if problems:
        raise InvalidPackage(problems)
    return text


def _decoded(content: bytes, file: str) -> str:
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            if not encoding:
                raise _refused(file, "is written in UTF-32", _SAVE_AS_UTF8)
            return _decode(content[len(mark) :], encoding, file)
    if b"\0" in content[:4]:
        raise _refused(file, "looks like UTF-16 without a byte order mark", _SAVE_AS_UTF8)
    return _decode(content, "utf-8", file)


def _decode(content: bytes, encoding: str, file: str) -> str:
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        line, column = Lines(text := content[: error.start].decode(encoding, "replace")).at(len(text))
        message = f"the byte 0x{content[error.start]:02X} is not {encoding.upper()}"
        problem = Problem(message=message, remedy=_SAVE_AS_UTF8)
        raise InvalidPackage([problem.placed(file=file, line=line, column=column)]) from None


def _remedy(character: str) -> str:
    code = ord(character)
    if 0xD800 <= code <= 0xDFFF:
        return "It is half of a character; write the whole one."
    escape = f"\\x{code:02X}" if code < 0x100 else f"\\u{code:04X}"
    return f'Remove it, or write it in double quotes as "{escape}".'


def _refused(file: str, message: str, remedy: str) -> InvalidPackage:
    return InvalidPackage([Problem(message=message, remedy=remedy, file=file)])


def _names_in(folder: Path) -> list[str]:
    try:
        return sorted(name for name in os.listdir(folder) if name.endswith((".yaml", ".yml")))
    except (OSError, ValueError):
        return []


def _name_one_of(folder: Path) -> str:
    names = _names_in(folder)
    return f"Name a file in it: {', '.join(names[:5])}." if names else "Name a file; there is no .yaml file in it."


def _nearest(file: Path) -> str:
    near = difflib.get_close_matches(file.name[:100], _names_in(file.parent), n=1)
    if near:
        return f'Did you mean "{file.parent / near[0]}"?'
    return "Check the path; it is taken from the current folder."
