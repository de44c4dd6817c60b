"""Sockets: what the kernel knows of a connection, and waiting for it without looking all the time.

Knows no message and no session.
"""

import fcntl
import select
import socket
import struct
import termios
import time
from contextlib import suppress

from gevent.socket import wait_read

RECEIVE_BYTES = 16_384
# gevent runs what is ready before it looks at sockets, and sleep(0) is ready at once: only a timer,
# however short, lets in who has sent something meanwhile.
SHORTEST_SLEEP_SECONDS = 1e-6
LINGER_LOOK_SECONDS = 0.005  # at first; then twice as long each time
RESET = select.POLLHUP | select.POLLERR
HUNG_UP = getattr(select, "POLLRDHUP", 0) | RESET


def shows(descriptor: int, events: int) -> bool:
    """Tell whether a socket is in one of these states (RESET, HUNG_UP) now."""
    poll = select.poll()
    poll.register(descriptor, events)
    return bool(poll.poll(0))


def bytes_in_kernel(descriptor: int) -> int:
    """Return how many sent bytes the client's side has not acknowledged. See tty_ioctl(4).

    0 where the platform does not say.
    """
    try:
        (left,) = struct.unpack("i", fcntl.ioctl(descriptor, termios.TIOCOUTQ, bytes(4)))
    except (OSError, AttributeError):
        return 0
    return int(left)


def read_until_end(connected: socket.socket, seconds_max: float, or_taken: bool = False) -> None:
    """Wait for the client to close: to close on what it still sends would reset what it reads.

    With `or_taken` no longer than until its side has acknowledged everything that was sent. There
    is no event for that, so it is looked at: seldom, for thousands may be waited for at once.
    """
    deadline = time.monotonic() + seconds_max
    look_seconds = LINGER_LOOK_SECONDS if or_taken else seconds_max
    while (left := deadline - time.monotonic()) > 0:
        if or_taken and not bytes_in_kernel(connected.fileno()):
            return
        with suppress(TimeoutError):
            wait_read(connected.fileno(), min(left, look_seconds))
            if not connected.recv(RECEIVE_BYTES):
                return
        look_seconds *= 2
