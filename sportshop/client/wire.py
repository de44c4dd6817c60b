"""Wire: one connection to a shop, as lines of bytes out and messages in, each by a deadline.

It never pairs an answer with the wrong request: it counts the answers that the shop owes, and
closes itself after everything that leaves the count in doubt.
Knows neither users nor orders, and never tries anything twice: that is the client's business.
It uses the standard library's sockets, and looks them up when it is called: where a program has
replaced them with cooperative ones, this is cooperative.
"""

import os
import socket
import time
from typing import TYPE_CHECKING

from sportshop.client.addresses import first_to_answer
from sportshop.client.deadline import Deadline
from sportshop.client.errors import ConnectionLost, ProtocolViolation, ShopError
from sportshop.messages import FRAME_BYTES_MAX, Answer, decode_answer

if TYPE_CHECKING:
    # Only for its type: imported before a program patches its sockets, it would break them.
    import ssl

RECEIVE_BYTES = 65_536
# From this long a silence on, look whether the shop has hung up before trusting the connection.
QUIET_S = 1.0
_TLS_WANTS_READ = 2  # ssl.SSL_ERROR_WANT_READ: what TLS says where a plain socket says EAGAIN


class Traffic:
    """Counts the bytes of one or more connections."""

    __slots__ = ("bytes_received", "bytes_sent")

    def __init__(self) -> None:
        self.bytes_sent = 0
        self.bytes_received = 0


class Wire:
    """A connection. Not for two threads or greenlets at once.

    After ConnectionLost, DeadlineExceeded and ProtocolViolation it is closed. It belongs to the
    process that made it: two that share its socket would take each other's answers.
    """

    def __init__(self, sock: socket.socket, traffic: Traffic | None = None) -> None:
        self.traffic = traffic or Traffic()
        self.owed = 0
        self.doubtful = False
        """Whether the shop may have hung up: look before the next request."""
        self.is_used = False
        """Whether the shop has said something on it before."""
        self._process = os.getpid()
        self._socket: socket.socket | None = sock
        self._buffer = bytearray()
        self._searched = 0
        self._heard_at_s = time.monotonic()

    @property
    def is_open(self) -> bool:
        """Whether it has not been closed on this side; in a forked child it never is open.

        The child lets go of its copy of the socket, which leaves the parent's as it was.
        """
        if self._socket is not None and self._process != os.getpid():
            self.close()
        return self._socket is not None

    def close(self) -> None:
        """Close the connection, without a word to the shop. Answers still owed are lost."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
            self._buffer.clear()
            self.owed = 0

    def send(self, lines: bytes, answers: int, deadline: Deadline) -> None:
        """Send whole lines, which the shop will answer with so many answers.

        Raises ConnectionLost, DeadlineExceeded: some of it may have been sent. If the shop has hung
        up after a last word, that word is left for `receive`, and nothing is raised.
        """
        self.owed += answers
        rest = memoryview(lines)
        try:
            while rest:
                sock = self._ready_by(deadline, "send")
                sent = sock.send(rest)
                self.traffic.bytes_sent += sent
                rest = rest[sent:]
        except OSError as problem:
            failure = _translate(problem, "send", deadline)
            if isinstance(failure, ConnectionLost):
                self._peek(deadline)
            if not self._buffer:
                self.close()
                raise failure from None

    def receive(self, deadline: Deadline) -> Answer:
        """Return the next message. Raises ConnectionLost, DeadlineExceeded, ProtocolViolation."""
        line = self.receive_line(deadline)
        try:
            answer = decode_answer(line)
        except ValueError as problem:
            raise self._violated(str(problem)) from None
        if answer.end_of_data and self.owed:
            self.owed -= 1
        return answer

    def await_word(self, patience: Deadline) -> None:
        """Wait for the first bytes of the next message. Raises what `receive_line` raises."""
        if not self._buffer:
            self._buffer += self._receive_some(patience)

    def receive_line(self, deadline: Deadline) -> bytes:
        """Return the next line as it came, without its LF.

        Raises ConnectionLost, DeadlineExceeded, ProtocolViolation (more than a frame).
        """
        buffer = self._buffer
        while (end := buffer.find(b"\n", self._searched)) < 0:
            self._searched = len(buffer)
            if self._searched >= FRAME_BYTES_MAX:
                raise self._violated(f"no LF within {FRAME_BYTES_MAX} bytes")
            buffer += self._receive_some(deadline)
        if end >= FRAME_BYTES_MAX:
            raise self._violated(f"no LF within {FRAME_BYTES_MAX} bytes")
        line = bytes(buffer[:end])
        del buffer[: end + 1]
        self._searched = 0
        return line

    def has_news(self, deadline: Deadline) -> bool:
        """Tell whether anything came that was not asked for: bytes, or the end.

        Asks the operating system only after a silence, or where `doubtful` says so.
        """
        if self._buffer or not self.is_open:
            return True
        if not self.doubtful and time.monotonic() - self._heard_at_s < QUIET_S:
            return False
        self.doubtful = False
        return self._peek(deadline)

    def _peek(self, deadline: Deadline) -> bool:
        sock = self._ready_by(deadline, "receive")
        sock.settimeout(0.0)
        try:
            chunk = sock.recv(RECEIVE_BYTES)
        except OSError as problem:
            nothing_there = isinstance(problem, BlockingIOError)
            return not nothing_there and problem.errno != _TLS_WANTS_READ
        self._buffer += chunk
        self.traffic.bytes_received += len(chunk)
        return True

    def _receive_some(self, deadline: Deadline) -> bytes:
        try:
            chunk = self._ready_by(deadline, "receive").recv(RECEIVE_BYTES)
        except OSError as problem:
            self.close()
            raise _translate(problem, "receive", deadline) from None
        if not chunk:
            self.close()
            raise ConnectionLost("receive", "the shop closed the connection")
        self.traffic.bytes_received += len(chunk)
        self._heard_at_s = time.monotonic()
        self.is_used = True
        return chunk

    def _ready_by(self, deadline: Deadline, stage: str) -> socket.socket:
        """Return the socket, set to give up at the deadline."""
        if self._socket is None:
            raise ConnectionLost(stage, "the connection is closed")
        try:
            self._socket.settimeout(deadline.left_s())
        except BaseException:
            self.close()
            raise
        return self._socket

    def _violated(self, message: str) -> ProtocolViolation:
        self.close()
        return ProtocolViolation(message)


def dial(
    host: str,
    port: int,
    deadline: Deadline,
    tls: "ssl.SSLContext | None" = None,
    traffic: Traffic | None = None,
) -> Wire:
    """Connect. With `tls`, the shop's certificate is checked as that context says, for `host`.

    Raises ConnectionLost, DeadlineExceeded.
    """
    try:
        sock = first_to_answer(host, port, deadline)
        if tls is not None:
            sock = _secured(sock, tls, host, deadline)
    except (OSError, UnicodeError) as problem:
        raise _translate(problem, "connect", deadline) from None
    return Wire(sock, traffic)


def _secured(
    sock: socket.socket, tls: "ssl.SSLContext", host: str, deadline: Deadline
) -> socket.socket:
    try:
        sock.settimeout(deadline.left_s())
        return tls.wrap_socket(sock, server_hostname=host)
    except BaseException:
        sock.close()
        raise


def _translate(problem: OSError | UnicodeError, stage: str, deadline: Deadline) -> ShopError:
    """Tell our own timeout, which has no error number, from the network's."""
    if isinstance(problem, TimeoutError) and problem.errno is None:
        return deadline.exceeded()
    sentence = problem.strerror if isinstance(problem, OSError) else None
    return ConnectionLost(stage, sentence or str(problem))
