"""The outbox of a connection: sending without ever waiting.

What the client's socket doesn't take at once is kept and sent when it does. The committer sends
thousands of answers in a row through these: none of them may hold up the others. How much may be
kept is for the connection to mind: it takes no more requests from a client that does not read.
"""

import os
from collections.abc import Callable
from typing import Any

import gevent

from sportshop.shop import CoarseTime, Unread
from sportshop.sockets import bytes_in_kernel

WRITABLE = 2  # libev's EV_WRITE
WRITE_BYTES = 262_144


class Outbox:
    """Sends to a non-blocking descriptor; calls `changed` when some was taken or lost is set.

    A connection that fails sets `lost`.
    """

    __slots__ = (
        "_backlog",
        "_changed",
        "_descriptor",
        "_in_kernel",
        "_time",
        "_unread",
        "_writable",
        "empty",
        "lost",
        "unread_since",
    )

    def __init__(
        self, descriptor: int, unread: Unread, time: CoarseTime, changed: Callable[[], None]
    ) -> None:
        self._descriptor = descriptor
        self._unread = unread
        self._time = time
        self._changed = changed
        self._backlog: bytearray | None = None
        self._in_kernel = -1  # not looked at yet
        self._writable: Any = None
        self.empty = True
        """Whether everything was taken."""
        self.lost = False
        self.unread_since = 0.0
        """When the client last took something, while there is a backlog; else 0."""

    @property
    def backlog_bytes(self) -> int:
        """Bytes that the client's socket has not taken yet."""
        return 0 if self._backlog is None else len(self._backlog)

    def send(self, payload: bytes) -> None:
        """Send, or keep what can't be sent now. Neither waits nor raises."""
        if self._backlog is not None:
            self._backlog += payload
            self._unread.bytes += len(payload)
            return
        if self.lost:
            return
        try:
            sent = os.write(self._descriptor, payload)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.lose()
            return
        if sent < len(payload):
            self._keep(payload[sent:])

    def note_progress(self) -> None:
        """Count it as reading if the kernel has sent some on since the last look.

        What it holds for a slow client can be megabytes, and it takes more only when a good part
        of that is gone: at 40 KB/s that takes half a minute in which the client reads all the time.
        """
        if self._backlog is None:
            return
        in_kernel = bytes_in_kernel(self._descriptor)
        if in_kernel < self._in_kernel or self._in_kernel < 0:
            self.unread_since = self._time.now
        self._in_kernel = in_kernel

    def lose(self) -> None:
        """Give up: nothing more is sent, and what is kept is dropped."""
        self.close()
        self._changed()

    def close(self) -> None:
        """Stop using the descriptor."""
        self.lost = True
        self._drop_backlog()

    def _keep(self, rest: bytes) -> None:
        self._backlog = bytearray(rest)
        self._unread.bytes += len(rest)
        self.empty = False
        self.unread_since = self._time.now
        self._in_kernel = -1
        self._writable = gevent.get_hub().loop.io(self._descriptor, WRITABLE)
        self._writable.start(self._send_more)

    def _send_more(self) -> None:
        """Send on: called by the hub when the client took something. Never waits."""
        assert self._backlog is not None  # noqa: S101 - else the watcher would be stopped
        try:
            sent = os.write(self._descriptor, self._backlog[:WRITE_BYTES])
        except BlockingIOError:
            return
        except OSError:
            self.lose()
            return
        del self._backlog[:sent]
        self._unread.bytes -= sent
        self.unread_since = self._time.now
        if not self._backlog:
            self._drop_backlog()
        self._changed()

    def _drop_backlog(self) -> None:
        self._unread.bytes -= self.backlog_bytes
        self._backlog = None
        self.empty = True
        self.unread_since = 0.0
        if self._writable is not None:
            self._writable.stop()
            self._writable.close()
            self._writable = None
