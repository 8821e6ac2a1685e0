"""PyYAML's parser as a stream of events; nothing here composes or builds, so nothing recurses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from .source import HALVES


def next_event(text: str) -> Callable[[], Any]:
    """The function that gives a text's next event, None at the end; in C where PyYAML was built so."""
    import yaml

    if yaml.__with_libyaml__:
        return cast(Callable[[], Any], vars(yaml.cyaml)["CParser"](text).get_event)
    return _python_parser(yaml, text)


def _python_parser(yaml: Any, text: str) -> Callable[[], Any]:
    """The same in Python, which lets halves of characters pass that are written as escapes."""
    get_event = yaml.SafeLoader(text).get_event

    def checked() -> Any:
        event = get_event()
        if isinstance(event, yaml.ScalarEvent) and not event.value.isascii() and HALVES.search(event.value):
            message = "found invalid Unicode character escape code"
            raise yaml.scanner.ScannerError("while scanning a scalar", event.start_mark, message, event.start_mark)
        return event

    return checked
