"""Connection: requests to the shop and lines from it, at the least cost to who generates load.

A watcher that stays receives in the event loop, as soon as something is there: nobody is woken to
find nothing, no timer is set for each answer, and the time of an answer is taken when it comes,
whoever runs meanwhile. Knows no message, only that one ends with LF.
"""

import os
import time

from _options import Address
from gevent import get_hub, socket
from gevent.hub import Waiter

ANSWER_S_MAX = 30.0  # a shop that needs longer has failed, as far as a customer can tell
LOOKS = 10  # in that time, whether it is over: so it may be a tenth longer
RECEIVE_BYTES = 16_384
FRAME_BYTES_MAX = 65_536
UNREAD_BYTES_MAX = 1_048_576  # a shop that sends more unasked does not keep to the protocol
READABLE = 1


class Lost(Exception):
    """The connection is gone, or nothing came in time."""

    def __init__(self, text: str, reported: bool = False) -> None:
        super().__init__(text)
        self.reported = reported


class Unframed(Lost):
    """What came has no end within a frame, which is against the protocol."""


class Misused(RuntimeError):
    """Two greenlets want answers from one connection: nobody could tell whose is whose."""


class Connection:
    """An open connection. Not for two greenlets at once; whoever loses it has to close it."""

    def __init__(self, address: Address) -> None:
        """Connect. Raises OSError."""
        self._socket = socket.create_connection(address, ANSWER_S_MAX)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = self._socket.fileno()
        self._buffer = b""
        self._read = 0
        """How much of the buffer was returned as lines."""
        self._failure = ""
        self._waiter: Waiter[None] | None = None
        self._since_s = 0.0
        self.received_ns = 0
        """When the latest bytes came, on the monotonic clock."""
        loop = get_hub().loop
        self._readable = loop.io(self._file, READABLE)
        self._readable.start(self._receive)
        self._clock = loop.timer(ANSWER_S_MAX / LOOKS, ANSWER_S_MAX / LOOKS)
        self._clock.start(self._look)

    def close(self) -> None:
        """Close it, without a word."""
        for watcher in (self._readable, self._clock):
            watcher.stop()
            watcher.close()
        self._file = -1
        self._socket.close()
        if self._waiter is not None:  # somebody else waits, who would do so for ever
            self._failure = "hung up"
            get_hub().loop.run_callback(self._wake, self._waiter)

    def _wake(self, waiter: "Waiter[None]") -> None:
        if self._waiter is waiter:
            waiter.switch(None)

    def send(self, request: bytes) -> None:
        """Send all of it, waiting only for a shop that does not read. Raises Lost."""
        try:
            sent = os.write(self._file, request)
        except BlockingIOError:
            sent = 0
        except OSError as problem:
            raise Lost(str(problem)) from None
        if sent < len(request):
            self._send_rest(request[sent:])

    def _send_rest(self, rest: bytes) -> None:
        try:
            self._socket.sendall(rest)
        except OSError as problem:
            raise Lost(str(problem)) from None

    def receive_line(self) -> bytes:
        """Wait for the next line and return it with its LF. Raises Lost, Misused."""
        while True:
            buffer, begin = self._buffer, self._read
            end = buffer.find(b"\n", begin) + 1
            if end:
                self._read = end
                return buffer[begin:end]
            if self._failure:
                raise Lost(self._failure)
            if len(buffer) - begin > FRAME_BYTES_MAX:
                raise Unframed("no LF within a frame")
            self._wait()

    def _wait(self) -> None:
        if self._waiter is not None:
            raise Misused("a customer can wait for one answer at a time: one greenlet each")
        self._waiter = Waiter()
        self._since_s = time.monotonic()
        try:
            self._waiter.get()
        finally:
            self._waiter = None

    # In the event loop, where nothing may wait.

    def _receive(self) -> None:
        try:
            received = os.read(self._file, RECEIVE_BYTES)
        except BlockingIOError:
            return
        except OSError as problem:
            self._fail(str(problem))
            return
        self.received_ns = time.monotonic_ns()
        if not received:
            self._fail("the shop closed the connection")
            return
        buffer = self._buffer = self._buffer[self._read :] + received
        self._read = 0
        if self._waiter is not None:
            if b"\n" in received or len(buffer) > FRAME_BYTES_MAX:
                self._waiter.switch(None)
        elif len(buffer) > UNREAD_BYTES_MAX:
            self._fail("the shop sends what nobody asked for")

    def _look(self) -> None:
        if self._waiter is not None and time.monotonic() - self._since_s >= ANSWER_S_MAX:
            self._fail("no answer in time")

    def _fail(self, reason: str) -> None:
        self._failure = reason
        self._readable.stop()
        if self._waiter is not None:
            self._waiter.switch(None)
