"""Log writer: lines to a descriptor that may be slow, full, stuck or gone, without ever waiting.

The shop answers everybody in one thread: if that thread waited for whoever reads its log (a pipe
of 64 KiB that nobody empties, a terminal stopped by ctrl-S, a disk that hangs), the shop would
stand still. So a thread of its own writes, and lines for which there is no room are dropped,
counted, and told of as soon as there is room again. Knows neither logging nor gevent.
"""

import io
import os
import queue
import select
import threading
from collections.abc import Callable

WAITING_BYTES_MAX = 262_144  # some 2,000 lines: what a log reader may be behind


class LogWriter:
    """Writes whole lines, in order. `descriptor` stays the caller's, and open.

    `told` makes the line that tells how many were dropped. The bound is on the bytes that wait.
    """

    def __init__(
        self, descriptor: int, told: Callable[[int], str], bytes_max: int = WAITING_BYTES_MAX
    ) -> None:
        self.descriptor = descriptor
        self._told = told
        self._bytes_max = bytes_max
        self._lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._changed = threading.Condition()  # never held while anything is written
        self._waiting = 0
        self._dropped = 0
        self._cut_short = False
        threading.Thread(target=self._write_forever, name="log", daemon=True).start()

    def put(self, line: str) -> None:
        """Take a line, with its LF, to be written; drop and count it where there is no room."""
        raw = line.encode(errors="backslashreplace")
        with self._changed:
            if self._waiting + len(raw) > self._bytes_max:
                self._dropped += 1
                return
            if self._dropped:  # told of at the place where they are missing
                self._enqueue(self._notice())
            self._enqueue(raw)

    def flush(self, seconds_max: float) -> bool:
        """Wait until everything is written, but not for ever; tell whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting, seconds_max)

    def _enqueue(self, raw: bytes) -> None:
        self._waiting += len(raw)
        self._lines.put(raw)

    def _notice(self) -> bytes:
        dropped, self._dropped = self._dropped, 0
        return self._told(dropped).encode()

    def _write_forever(self) -> None:
        while True:
            raw = self._lines.get()
            written = self._write(raw)
            with self._changed:
                self._dropped += not written
                if written and self._dropped and self._waiting == len(raw):
                    self._enqueue(self._notice())
                self._waiting -= len(raw)
                if not self._waiting:
                    self._changed.notify_all()

    def _write(self, raw: bytes) -> bool:
        """Write a line, for as long as that takes. Tell whether it is there as a whole."""
        rest = memoryview(b"\n" + raw if self._cut_short else raw)
        try:
            while rest:
                try:
                    rest = rest[os.write(self.descriptor, rest) :]
                    self._cut_short = bool(rest)
                except BlockingIOError:  # somebody has made it non-blocking
                    select.select([], [self.descriptor], [])
        except (OSError, ValueError):
            return False
        return True


class Relay(io.TextIOBase):
    """A text stream whose whole lines go to a log writer: what is put in place of sys.stderr.

    So nothing that writes there can stop the shop, a traceback that gevent prints as little as a
    warning of Python's.
    """

    def __init__(self, writer: LogWriter) -> None:
        self._writer = writer
        self._begun = ""

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """Text of any kind can be written."""
        return "utf-8"

    def writable(self) -> bool:
        """Return True."""
        return True

    def fileno(self) -> int:
        """Return the descriptor that is written in the end."""
        return self._writer.descriptor

    def write(self, text: str) -> int:
        """Take a text; it is passed on line by line."""
        *lines, self._begun = (self._begun + text).split("\n")
        for line in lines:
            self._writer.put(line + "\n")
        return len(text)

    def finish(self, seconds_max: float) -> None:
        """Pass on a line that was not ended, and wait for everything to be written."""
        if self._begun:
            self.write("\n")
        self._writer.flush(seconds_max)
