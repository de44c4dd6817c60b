"""The outbox of a connection: sending without ever waiting.

What the client's socket doesn't take at once is kept and sent when it does. The committer sends
thousands of answers in a row through these: none of them may hold up the others.
"""

import os
from collections.abc import Callable
from typing import Any

import gevent

from sportshop.shop import CoarseTime

WRITABLE = 2  # libev's EV_WRITE
WRITE_BYTES = 262_144


class Outbox:
    """Sends to a non-blocking descriptor; calls `changed` when the backlog is gone or lost is set.

    More than `backlog_bytes_max` unread bytes, or a connection that fails, set `lost`.
    """

    __slots__ = (
        "_backlog",
        "_backlog_bytes_max",
        "_changed",
        "_descriptor",
        "_time",
        "_writable",
        "lost",
        "unread_since",
    )

    def __init__(
        self,
        descriptor: int,
        backlog_bytes_max: int,
        time: CoarseTime,
        changed: Callable[[], None],
    ) -> None:
        self._descriptor = descriptor
        self._backlog_bytes_max = backlog_bytes_max
        self._time = time
        self._changed = changed
        self._backlog: bytearray | None = None
        self._writable: Any = None
        self.lost = False
        self.unread_since = 0.0
        """When the client last took something, while there is a backlog; else 0."""

    @property
    def empty(self) -> bool:
        """Tell whether everything was taken."""
        return self._backlog is None

    def send(self, payload: bytes) -> None:
        """Send, or keep what can't be sent now. Neither waits nor raises."""
        if self._backlog is not None:
            self._backlog += payload
            if len(self._backlog) > self._backlog_bytes_max:
                self.lose()
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
        self.unread_since = self._time.now
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
        self.unread_since = self._time.now
        if not self._backlog:
            self._drop_backlog()
            self._changed()

    def _drop_backlog(self) -> None:
        self._backlog = None
        self.unread_since = 0.0
        if self._writable is not None:
            self._writable.stop()
            self._writable.close()
            self._writable = None
