"""Logs: one line an event on stderr, for people or, as JSON, for machines. None a message."""

import json
import logging
from datetime import UTC, datetime
from typing import Any

FORMATS = ("text", "json")


class _Formatter(logging.Formatter):
    """What both formats share: the time in UTC and the facts of an event."""

    def time(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC)
        return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def facts(self, record: logging.LogRecord) -> dict[str, Any]:
        facts: dict[str, Any] = getattr(record, "facts", {})
        return facts


class TextFormatter(_Formatter):
    """`2026-11-23T10:00:00.000Z INFO listening address=127.0.0.1:3333`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of an event; a fault of ours brings its traceback."""
        facts = "".join(f" {name}={_shown(value)}" for name, value in self.facts(record).items())
        line = f"{self.time(record)} {record.levelname} {record.getMessage()}{facts}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


class JsonFormatter(_Formatter):
    """An object a line: time, level, event, and the event's facts."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of an event."""
        line = {"time": self.time(record), "level": record.levelname, "event": record.getMessage()}
        line |= self.facts(record)
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def configure(log_format: str, level: str) -> None:
    """Send the events of sportshop to stderr."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    root = logging.getLogger("sportshop")
    root.handlers[:] = [handler]
    root.setLevel(level)
    root.propagate = False


def _shown(value: object) -> str:
    text = str(value)
    plain = text.isprintable() and not set(' "') & set(text)
    return text if text and plain else json.dumps(text, ensure_ascii=False)
