"""Addresses: one connection to a host that has several addresses, of which some lead nowhere.

Each address is given a short head start before the next is tried beside it, and the first to
answer is taken. So an address that swallows every packet costs a moment and not the whole
deadline, and a machine without IPv6 reaches a shop whose name has an IPv6 address as well.
Source: RFC 8305 (Happy Eyeballs), sections 4 and 5. Knows neither TLS nor messages.
"""

import errno
import os
import selectors
import socket
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Any

from sportshop.client.deadline import Deadline

HEAD_START_S = 0.25  # RFC 8305, section 5: the Connection Attempt Delay it recommends
_UNDER_WAY = frozenset({0, errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EAGAIN})
_Address = tuple[Any, ...]
"""What `socket.getaddrinfo` returns: family, kind, protocol, canonical name, address."""


def first_to_answer(host: str, port: int, deadline: Deadline) -> socket.socket:
    """Return a socket that is connected to one of the host's addresses.

    Raises OSError (the first address's), UnicodeError, and what `deadline.left_s` raises.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    with _Race(deadline) as race:
        for others, address in zip(
            reversed(range(len(found))), _families_in_turn(found), strict=True
        ):
            race.start(address)
            if winner := race.winner(_head_start_s(deadline, others) if others else None):
                return winner
        raise race.problem or OSError(f"no address for {host}")


def _head_start_s(deadline: Deadline, others: int) -> float:
    """Return how long to wait for an address alone; the others have their share of what is left."""
    return min(HEAD_START_S, deadline.left_s() / (others + 1))


def _families_in_turn(found: Sequence[_Address]) -> Iterator[_Address]:
    """Yield the addresses in their order, but IPv6 and IPv4 by turns."""
    first = [address for address in found if address[0] == found[0][0]]
    others = [address for address in found if address[0] != found[0][0]]
    for pair in zip_longest(first, others):
        yield from (address for address in pair if address is not None)


class _Race:
    """Connections that are being made, of which one is wanted. Closes the others at its end."""

    def __init__(self, deadline: Deadline) -> None:
        self.problem: OSError | None = None
        """Why the first of those that failed did."""
        self._deadline = deadline
        # Looked up now, as the sockets are: a program may have put cooperative ones there.
        self._selector = selectors.DefaultSelector()
        self._running: set[socket.socket] = set()

    def __enter__(self) -> "_Race":
        return self

    def __exit__(self, *_: object) -> None:
        self._selector.close()
        for sock in self._running:
            sock.close()

    def start(self, address: _Address) -> None:
        """Begin to connect; an address that this machine can't use is a failure like others."""
        family, kind, protocol, _, place = address
        try:
            sock = socket.socket(family, kind, protocol)
        except OSError as problem:  # no IPv6 in the kernel: EAFNOSUPPORT
            self._failed(problem)
            return
        self._running.add(sock)
        try:
            sock.setblocking(False)
            number = sock.connect_ex(place)
        except OSError as problem:
            self._drop(sock, problem)
            return
        if number in _UNDER_WAY:
            self._selector.register(sock, selectors.EVENT_WRITE)
        else:
            self._drop(sock, OSError(number, os.strerror(number)))

    def winner(self, within_s: float | None) -> socket.socket | None:
        """Wait for a connection; None if all have failed, or the next is to be started."""
        while self._running:
            left_s = self._deadline.left_s()
            ready = self._selector.select(left_s if within_s is None else min(left_s, within_s))
            for key, _ in ready:
                if (connected := self._outcome(key.fileobj)) is not None:
                    return connected
            if not ready and within_s is not None:
                return None
        return None

    def _outcome(self, sock: Any) -> socket.socket | None:
        self._selector.unregister(sock)
        number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number:
            self._drop(sock, OSError(number, os.strerror(number)))
            return None
        connected: socket.socket = sock
        # Requests are whole messages: waiting for more to send (Nagle) only delays them.
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._running.discard(sock)
        return connected

    def _drop(self, sock: socket.socket, problem: OSError) -> None:
        self._running.discard(sock)
        sock.close()
        self._failed(problem)

    def _failed(self, problem: OSError) -> None:
        """Note it. That the shop refused says more than that this machine lacks IPv6."""
        if self.problem is None or self.problem.errno == errno.EAFNOSUPPORT:
            self.problem = problem
