"""Logs: one line an event on stderr, for people or, as JSON, for machines. None a message.

An event never waits for its line to be written: see log_writer.py.
"""

import atexit
import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any, TextIO

from sportshop.log_writer import LogWriter, Relay

FORMATS = ("text", "json")
LAST_LINES_SECONDS = 1.0  # at the end, for lines that wait to be written


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


class _Handler(logging.Handler):
    """Hands lines to a writer. What ends the shop is written before the shop goes on ending."""

    def __init__(self, writer: LogWriter) -> None:
        super().__init__()
        self._writer = writer

    def emit(self, record: logging.LogRecord) -> None:
        """Write the line of an event, some time soon."""
        self._writer.put(self.format(record) + "\n")
        if record.levelno >= logging.CRITICAL:
            self._writer.flush(LAST_LINES_SECONDS / 2)


def configure(log_format: str, level: str) -> None:
    """Send the events of sportshop to stderr, as it is now."""
    formatter = JsonFormatter() if log_format == "json" else TextFormatter()
    handler = _handler(formatter)
    handler.setFormatter(formatter)
    root = logging.getLogger("sportshop")
    root.handlers[:] = [handler]
    root.setLevel(level)
    root.propagate = False


def take_over_stderr() -> None:
    """Let all else that is written to stderr go the way of the events, from `configure` on."""
    (handler,) = logging.getLogger("sportshop").handlers
    if isinstance(handler, _Handler):
        relay = Relay(handler._writer)  # noqa: SLF001 - of the same module
        atexit.register(relay.finish, LAST_LINES_SECONDS)
        sys.stderr = _as_text_io(relay)


def _as_text_io(relay: Any) -> TextIO:
    """Return it as what the type checkers take sys.stderr for."""
    stream: TextIO = relay
    return stream


def _handler(formatter: logging.Formatter) -> logging.Handler:
    """Return a handler that never waits: a stream without a descriptor is in memory."""
    try:
        descriptor = sys.stderr.fileno()
    except (AttributeError, OSError, ValueError):
        return logging.StreamHandler()
    writer = LogWriter(descriptor, lambda lines: formatter.format(_dropped(lines)) + "\n")
    atexit.register(writer.flush, LAST_LINES_SECONDS)
    return _Handler(writer)


def _dropped(lines: int) -> logging.LogRecord:
    made = logging.LogRecord(__name__, logging.WARNING, __file__, 0, "log lines", (), None)
    made.facts = {"dropped": lines}
    return made


def _shown(value: object) -> str:
    text = str(value)
    plain = text.isprintable() and not set(' "') & set(text)
    return text if text and plain else json.dumps(text, ensure_ascii=False)
