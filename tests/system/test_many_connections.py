"""10,000 shoppers at once: all logged in, all want to buy at the same moment, all are answered.

The shop has a process of its own; the shoppers are an epoll loop in this one. Each side holds a
descriptor a connection. Where the hard limit does not allow that many, it is done with as many
as it allows, and the test is reported as skipped, with the number.
"""

import resource
import select
import signal
import socket
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.catalogues import write_catalogue
from tests.system.conftest import ShopProcess, StartShop, order, request

CONNECTIONS = 10_000
DESCRIPTORS_BESIDES = 200  # what the shop reserves, and what pytest has open
SOURCES = ("127.0.0.1", "127.0.0.2")  # each has some 28,000 ports to connect from
ANSWER_SECONDS_MAX = 60  # for all 10,000 to be answered; usually half a second

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(select, "epoll"), reason="needs epoll, as Linux has it"),
]


class Crowd:
    """Many connections that ask at the same moment."""

    def __init__(self, shop: ShopProcess) -> None:
        self._address = (shop.host, shop.port)
        self._epoll = select.epoll()
        self._sockets: list[socket.socket] = []
        self._received: dict[int, bytes] = {}

    def join(self, requests: Sequence[bytes]) -> list[dict[str, Any]]:
        """Connect one more for each request, and let these ask."""
        new = [self._connect() for _ in requests]
        return self._ask(new, requests)

    def ask(self, requests: Sequence[bytes]) -> list[dict[str, Any]]:
        """Let everyone ask, and return each one's answer."""
        return self._ask(self._sockets, requests)

    def last_words(self) -> list[bytes]:
        """Return what everyone still receives until the shop has closed the connection."""
        words = []
        for connected in self._sockets:
            connected.settimeout(ANSWER_SECONDS_MAX)
            with connected.makefile("rb") as stream:
                words.append(stream.read())
        return words

    def close(self) -> None:
        self._epoll.close()
        for connected in self._sockets:
            connected.close()

    def _connect(self) -> socket.socket:
        source = (SOURCES[len(self._sockets) % len(SOURCES)], 0)
        connected = socket.create_connection(self._address, ANSWER_SECONDS_MAX, source)
        connected.setblocking(False)
        self._epoll.register(connected, select.EPOLLIN)
        self._sockets.append(connected)
        return connected

    def _ask(self, who: Sequence[socket.socket], requests: Sequence[bytes]) -> list[dict[str, Any]]:
        for connected, line in zip(who, requests, strict=True):
            assert connected.send(line) == len(line)
        waited_for = {connected.fileno(): connected for connected in who}
        lines: dict[int, bytes] = {}
        deadline = time.monotonic() + ANSWER_SECONDS_MAX
        while len(lines) < len(who):
            assert time.monotonic() < deadline, f"{len(who) - len(lines)} wait for an answer"
            for descriptor, _ in self._epoll.poll(1):
                if line := self._line(waited_for[descriptor]):
                    lines[descriptor] = line
        return [msgspec.json.decode(lines[connected.fileno()]) for connected in who]

    def _line(self, connected: socket.socket) -> bytes:
        """Receive; return the line once it is whole."""
        received = connected.recv(65_536)
        assert received, "the shop closed a connection"
        begun = self._received.pop(connected.fileno(), b"")
        line, end, rest = (begun + received).partition(b"\n")
        assert not rest, "an answer that nobody asked for"
        if end:
            return line
        self._received[connected.fileno()] = line
        return b""


@pytest.fixture
def connections() -> Iterator[int]:
    """How many can be held, after the soft limit was raised."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = CONNECTIONS + DESCRIPTORS_BESIDES
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    yield allowed - DESCRIPTORS_BESIDES
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("kind", ["sqlite", "csv"])
def test_ten_thousand_shoppers_buy_at_once_and_all_are_answered(
    kind: str, connections: int, start_shop: StartShop, tmp_path: Path
) -> None:
    stock = 2 * connections + 7
    catalogue = write_catalogue(tmp_path / "catalogue", {"Ball": stock}, connections)
    shop = start_shop(kind, "--catalogue", str(catalogue))
    crowd = Crowd(shop)
    try:
        log_in(crowd, connections)
        buy(crowd, connections, stock)
        leave(crowd, shop)
    finally:
        crowd.close()
    if connections < CONNECTIONS:
        pytest.skip(f"passed with {connections} connections; 10,000 need more descriptors")


def log_in(crowd: Crowd, connections: int) -> None:
    """Fill the shop: a thousand at a time, since a listener's backlog ends at some 4,000."""
    for first in range(0, connections, 1_000):
        users = [f"u{i}" for i in range(first, min(first + 1_000, connections))]
        logins = [request("AUTHENTICATION", user=user, password="secret") for user in users]
        assert [answer["data"].get("user") for answer in crowd.join(logins)] == users


def buy(crowd: Crowd, connections: int, stock: int) -> None:
    """Let everyone buy one unit, then one more with a key, and hold the answers to account."""
    first = crowd.ask([order("Ball")] * connections)
    second = crowd.ask([order("Ball", orderKey=f"key {i}") for i in range(connections)])
    assert {answer["code"] for answer in first + second} == {"SUCCESS"}
    left = {a["data"]["order"]: a["data"]["items"][0]["stockQuantity"] for a in first + second}
    assert left == {position: stock - position for position in range(1, 2 * connections + 1)}
    assert max(a["data"]["order"] for a in first) == connections
    seen = crowd.ask([request("GET_PRODUCTS")] * connections)
    assert {
        (a["data"]["asOf"], p["stockQuantity"]) for a in seen for p in a["data"]["products"]
    } == {(2 * connections, 7)}


def leave(crowd: Crowd, shop: ShopProcess) -> None:
    """Stop the shop: everyone is told."""
    shop.signal(signal.SIGTERM)
    told = [msgspec.json.decode(words)["data"]["reason"] for words in crowd.last_words()]
    assert set(told) == {"SHUTTING_DOWN"}
    crowd.close()
    assert shop.wait() == 0
    assert " cut_off=0" in shop.log
    assert "Traceback" not in shop.log
