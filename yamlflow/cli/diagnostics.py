"""Diagnostic lines of yamlflow and its libraries: as text or JSON, to stderr or a file."""

from __future__ import annotations

import logging

from .neat import one_line
from .texts import json_text


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, message and, if there was one, the traceback."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json_text(line)


class TextLines(logging.Formatter):
    """Level, logger and message on one line, whatever the message holds; a traceback stands below it."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        return one_line(f"{record.levelname} {record.name}: {record.message}")


#: What ``set_up`` added to the root logger, to be taken away when the command has ended.
_added: list[tuple[logging.Handler, int]] = []


def set_up(level: str, form: str, file: str | None) -> None:
    """Send what is grave enough where it was asked for."""
    sink = logging.FileHandler(file, encoding="utf-8") if file else logging.StreamHandler()
    sink.setFormatter(JsonLines() if form == "json" else TextLines())
    root = logging.getLogger()
    _added.append((sink, root.level))
    root.addHandler(sink)
    root.setLevel(level.upper())


def take_down() -> None:
    """Leave logging as it was: the command line may be called within a program."""
    while _added:
        sink, level = _added.pop()
        logging.getLogger().removeHandler(sink)
        logging.getLogger().setLevel(level)
        sink.close()
