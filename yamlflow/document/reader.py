"""Strict YAML: from a parser's events to plain JSON values with their places. Never recursive, bounded as it reads.

The law: what a text means can be seen in it. No tag, no key twice, no key that is not text, no anchor without use, no
second document. Aliases and merges are followed, and what they add counts against the limits as if it were written out;
an alias is the very value of its anchor, so that following one costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, NoReturn

from ..errors import Pointer
from ..outcome import Json
from . import scalars, syntax
from .complaints import Complaints, shown, unseen_in
from .parser import next_event
from .places import Lines, Places
from .source import name_of

_MERGE = "<<"

LEVELS = "levels of lists and mappings"


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much of a document is read; whatever passes one of these is refused, never cut."""

    #: Bytes of the text, and characters that aliases may add to it.
    size: int = 10 * 1024 * 1024
    #: Levels of lists and mappings. Much more than this overflows the stack of those who walk the values.
    depth: int = 100
    #: Values and keys, with aliases and merges written out.
    nodes: int = 500_000
    #: Aliases; and anchors, since each of them must have one.
    aliases: int = 10_000
    #: Characters of one text.
    scalar: int = 1024 * 1024


class _Stand:
    """Stands in the place of a key: an item of a list, a merge, or a key that is wrong, so that reading can go on."""


_ITEM = _Stand()
_BROUGHT = _Stand()


class _Frame:
    """A list or mapping that is being read."""

    __slots__ = ("added", "anchor", "container", "index", "key", "marks", "merges", "nodes")

    def __init__(self, container: Json, index: int, nodes: int, added: int) -> None:
        self.container = container
        #: Where it begins.
        self.index = index
        #: The key whose value comes next; ``None`` when a key does; ``_ITEM`` in a list.
        self.key: Any = None if type(container) is dict else _ITEM
        self.marks: list[int] = []
        #: For each ``<<``: the number of keys before it, its value, and where that stands.
        self.merges: list[tuple[int, Json, int]] = []
        #: The counts when it began.
        self.nodes, self.added = nodes, added
        self.anchor: _Anchor | None = None


class _Anchor:
    """A value with a name: what an alias of it adds, and whether there is one."""

    __slots__ = ("characters", "index", "is_open", "is_used", "nodes", "value")

    def __init__(self, index: int) -> None:
        self.value: Json = None
        self.index = index
        self.nodes = 1
        self.characters = 0
        self.is_open = True
        self.is_used = False


class Reader:
    """Builds one document; ``read`` raises ``InvalidPackage`` with every problem that can be found."""

    def __init__(self, text: str, *, file: str, limits: Limits) -> None:
        self.text, self.limits = text, limits
        self.lines = Lines(text)
        self.complaints = Complaints(self.lines, file)
        #: The innermost list or mapping; the document itself is an item of the outermost.
        self.frame = _Frame([], 0, 0, 0)
        self.stack = [self.frame]
        self.anchors: dict[str, _Anchor] = {}
        self.marks: dict[int, list[int]] = {}
        self.kept: list[Json] = []
        #: Values and keys so far, with what aliases and merges brought; the characters that aliases brought.
        self.nodes = 0
        self.added = 0
        self.aliases = 0
        self.documents = 0

    def read(self) -> Places:
        """The values and their places."""
        import yaml

        get_event, actions = next_event(self.text), _actions()
        try:
            while (event := get_event()) is not None:
                actions[type(event)](self, event)
        except yaml.MarkedYAMLError as error:
            if "nesting depth" in (error.problem or "") and error.problem_mark is not None:
                # Newer libyaml has a bound of its own, and meets it while it looks ahead, before our count is told.
                self._over(error.problem_mark.index, self.limits.depth, LEVELS)
            self.complaints.end(*syntax.complaint(error, self.lines))
        except yaml.YAMLError as error:
            self.complaints.end(0, f"this is not YAML: {str(error).splitlines()[0]}", "")
        self._judge_anchors()
        if self.complaints.problems:
            self.complaints.stop()
        [data], [root] = (self.frame.container, self.frame.marks) if self.documents else ([None], [0])
        return Places(data=data, root=root, marks=self.marks, kept=self.kept)

    def scalar(self, event: Any) -> None:
        """A key or a value. Written out rather than in small functions: nine of ten events come here."""
        value: Json = event.value
        index: int = event.start_mark.index
        frame = self.frame
        key = frame.key
        self.nodes += 1
        if event.anchor is not None or event.tag is not None:
            self._properties(event, value)
        if self.nodes > self.limits.nodes or len(value) > self.limits.scalar:
            self._too_much(index, value)
        if not event.style:
            if not value or value[0] in scalars.FIRST:
                value = self._plain(value, index)
            elif value == _MERGE and key is None:
                value = _BROUGHT
        if key is _ITEM:
            frame.container.append(value)
            frame.marks.append(index)
        elif key is None and type(value) is str and value.isascii() and value not in frame.container:
            frame.marks.append(index)
            frame.key = value
        else:
            self._add(value, index)

    def start(self, event: Any, container: Json) -> None:
        """A list or mapping begins."""
        index: int = event.start_mark.index
        self.nodes += 1
        frame = _Frame(container, index, self.nodes, self.added)
        if event.anchor is not None or event.tag is not None:
            frame.anchor = self._properties(event, None)
        self.stack.append(frame)
        self.frame = frame
        if self.nodes > self.limits.nodes or len(self.stack) > self.limits.depth:
            self._too_much(index, "")

    def end(self, event: Any) -> None:
        """A list or mapping ends, and becomes a value of the one around it."""
        frame = self.stack.pop()
        self.frame = self.stack[-1]
        self.marks[id(frame.container)] = frame.marks
        if frame.merges:
            self._merge(frame)
        if frame.anchor is not None:
            frame.anchor.value = frame.container
            frame.anchor.nodes = self.nodes - frame.nodes + 1
            frame.anchor.characters = event.end_mark.index - frame.index + self.added - frame.added
            frame.anchor.is_open = False
        self._add(frame.container, frame.index)

    def alias(self, event: Any) -> None:
        """The value of an anchor once more."""
        index: int = event.start_mark.index
        anchor = self.anchors.get(event.anchor)
        self.aliases += 1
        if anchor is None:
            self._complain(index, *syntax.alias_complaint(event.anchor, list(self.anchors)))
            self._add(_Stand() if self.frame.key is None else None, index)
            return
        if anchor.is_open:
            self._complain(index, f'"*{event.anchor}" stands inside of what it means', "A value cannot hold itself.")
        anchor.is_used = True
        self.nodes += anchor.nodes
        self.added += anchor.characters
        self._too_much(index, "")
        self._add(anchor.value, index)

    def document(self, event: Any) -> None:
        """A document begins; there is one in a file."""
        index: int = event.start_mark.index
        self.documents += 1
        if self.documents > 1:
            remedy = "Put it in a file of its own, or remove the line ---."
            self.complaints.end(index, "a second document begins here", remedy)
        if event.tags:
            self._complain(index, "%TAG has no meaning here", "Remove the line; there are no tags.")
        if event.version and tuple(event.version) != (1, 2):
            written = ".".join(str(part) for part in event.version)
            self._complain(index, f"%YAML {written} is not read", "Remove the line; YAML is read as 1.2.")

    def nothing(self, event: Any) -> None:
        """The other events say nothing new."""

    def _add(self, value: Json, index: int) -> None:
        """A value, or a key that needs a closer look, into the container that is open."""
        frame = self.frame
        if frame.key is _BROUGHT:
            frame.merges.append((len(frame.container), value, index))
            frame.key = None
        elif frame.key is None:
            frame.key = self._key(frame, value, index)
            if frame.key is not _BROUGHT:
                frame.marks.append(index)
        else:
            frame.marks.append(index)
            if frame.key is _ITEM:
                frame.container.append(value)
            else:
                frame.container[frame.key] = value
                frame.key = None

    def _key(self, frame: _Frame, key: Json, index: int) -> Any:
        """The key itself, or what stands for one that was refused."""
        if (key is _BROUGHT and not frame.merges) or (isinstance(key, _Stand) and key is not _BROUGHT):
            return key
        if key is _BROUGHT:
            self._complain(index, 'the key "<<" is here twice', "Merge several by a list: <<: [*one, *two].")
        elif type(key) is not str:
            self.kept.append(key)
            self._complain(index, *syntax.key_complaint(key, self.text[index : index + 2]))
        elif key in frame.container:
            line, column = self.lines.at(frame.marks[2 * list(frame.container).index(key)])
            remedy = f"The first one is at {line}:{column}; remove one of them."
            self._complain(index, f'the key "{shown(key)}" is here twice', remedy, key)
        elif (unseen := unseen_in(key)) and self.text.find(unseen, index, index + 2 * len(key) + 2) >= 0:
            message = f'the key "{shown(key)}" holds the invisible character {name_of(unseen)}'
            self._complain(index, message, "Type the key anew, without it.")
        else:
            return key
        return _Stand()

    def _merge(self, frame: _Frame) -> None:
        """Puts what ``<<`` brings where it stands; the mapping's own keys win, then those of earlier sources."""
        own, marks = frame.container, frame.marks
        entries = [(key, own[key], marks[2 * at], marks[2 * at + 1]) for at, key in enumerate(own)]
        brought: dict[Any, tuple[Any, Json, int, int]] = {}
        position, value, index = frame.merges[0]
        for source in self._sources(value, index):
            places = self.marks[id(source)]
            self.nodes += 2 * len(source)
            self._too_much(index, "")
            for at, key in enumerate(source):
                if key not in own and key not in brought:
                    brought[key] = (key, source[key], places[2 * at], places[2 * at + 1])
        own.clear()
        marks.clear()
        for key, item, key_mark, mark in [*entries[:position], *brought.values(), *entries[position:]]:
            own[key] = item
            marks += (key_mark, mark)

    def _sources(self, value: Json, index: int) -> Iterator[dict[str, Json]]:
        self.kept.append(value)
        for source in value if type(value) is list else [value]:
            if type(source) is dict:
                yield source
            elif source is not None or not self.complaints.problems:
                self._complain(index, "<< takes mappings only", "Write <<: *name, or <<: [*one, *two].")

    def _plain(self, text: str, index: int) -> Json:
        value = scalars.plain(text)
        if isinstance(value, scalars.Misread):
            self._complain(index, value.message, value.remedy)
            return text
        if text in scalars.LOOKALIKES:
            remedy = f'Write {scalars.LOOKALIKES[text]} to mean that, or "{text}" for the text.'
            self.complaints.warn(index, f"{text} is text here", remedy, self._pointer())
        return value

    def _properties(self, event: Any, value: Json) -> _Anchor | None:
        """A node's tag, which is refused, and its anchor."""
        index: int = event.start_mark.index
        if event.tag is not None:
            source = self.text[index : event.end_mark.index].partition("\n")[0]
            self._complain(index, *syntax.tag_complaint(event.tag, source))
        if event.anchor is None:
            return None
        if before := self.anchors.get(event.anchor):
            line, column = self.lines.at(before.index)
            remedy = f"The first one is at {line}:{column}; give one of them another name."
            self._complain(index, f'the anchor "&{event.anchor}" is here twice', remedy)
        anchor = self.anchors[event.anchor] = _Anchor(index)
        self._too_much(index, "")
        anchor.is_used = before is not None
        if value is not None:
            anchor.value = value if event.style else scalars.plain(value)
            anchor.characters, anchor.is_open = len(value), False
        return anchor

    def _judge_anchors(self) -> None:
        for name, anchor in self.anchors.items():
            if not anchor.is_used:
                remedy = f'Remove "&{name}"; text that begins with & must be quoted.'
                self.complaints.add(anchor.index, f'the anchor "&{name}" is never used', remedy)

    def _too_much(self, index: int, text: str) -> None:
        """Ends the reading when a limit is passed."""
        limits = self.limits
        for count, limit, what in (
            (len(text), limits.scalar, "characters in one text"),
            (len(self.stack) - 1, limits.depth, LEVELS),
            (self.nodes, limits.nodes, "values, with aliases and merges written out"),
            (max(self.aliases, len(self.anchors)), limits.aliases, "anchors or aliases"),
            (self.added, limits.size, "characters that aliases repeat"),
        ):
            if count > limit:
                self._over(index, limit, what)

    def _over(self, index: int, limit: int, what: str) -> NoReturn:
        remedy = "Make it smaller, move data into files that the steps read, or raise the limit."
        self.complaints.end(index, f"there are more than {limit:,} {what}", remedy, self._pointer()[:8])

    def _complain(self, index: int, message: str, remedy: str, *key: str) -> None:
        self.complaints.add(index, message, remedy, (*self._pointer(), *key))

    def _pointer(self) -> Pointer:
        """The value that comes next, as far as the keys above it are known."""
        frames = self.stack[1:]
        parts = (len(frame.container) if frame.key is _ITEM else frame.key for frame in frames)
        return tuple(part for part in parts if isinstance(part, str | int))


@cache
def _actions() -> Mapping[type, Callable[[Reader, Any], None]]:
    from yaml import events

    return {
        events.ScalarEvent: Reader.scalar,
        events.MappingStartEvent: lambda reader, event: reader.start(event, {}),
        events.MappingEndEvent: Reader.end,
        events.SequenceStartEvent: lambda reader, event: reader.start(event, []),
        events.SequenceEndEvent: Reader.end,
        events.AliasEvent: Reader.alias,
        events.DocumentStartEvent: Reader.document,
        events.DocumentEndEvent: Reader.nothing,
        events.StreamStartEvent: Reader.nothing,
        events.StreamEndEvent: Reader.nothing,
    }
