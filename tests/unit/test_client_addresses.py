"""A host of several addresses is reached by one that works, whatever the others do."""

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest

from sportshop import client
from sportshop.client import Client
from tests.unit.fake_shop import PATIENCE_S, FakeShop, Peer

Place = tuple[str, int]


@pytest.fixture
def black_hole() -> Iterator[Place]:
    """Yield an address that swallows every attempt to connect: its queue is full for ever."""
    with ExitStack() as stack:
        listener = stack.enter_context(closing(socket.socket()))
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(8):
            waiting = stack.enter_context(closing(socket.socket()))
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield listener.getsockname()


@pytest.fixture
def closed() -> Place:
    """Return an address at which nobody listens."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        place: Place = listener.getsockname()
    return place


def resolve_to(monkeypatch: pytest.MonkeyPatch, *places: Place) -> None:
    def found(*_: object, **__: object) -> list[tuple[object, ...]]:
        return [
            (
                socket.AF_INET6 if ":" in place[0] else socket.AF_INET,
                socket.SOCK_STREAM,
                6,
                "",
                place,
            )
            for place in places
        ]

    monkeypatch.setattr(socket, "getaddrinfo", found)


def without_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the kernel know no IPv6."""
    real = socket.socket

    def make(family: int = -1, *more: int, **named: object) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(97, "Address family not supported by protocol")
        return real(family, *more, **named)

    monkeypatch.setattr(socket, "socket", make)


@pytest.mark.parametrize("first", [1, 3])
def test_a_kernel_without_ipv6_reaches_a_shop_that_has_an_ipv6_address_too(
    first: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FakeShop(Peer.sell) as shop:
        resolve_to(monkeypatch, *[("::1", shop.port)] * first, ("127.0.0.1", shop.port))
        without_ipv6(monkeypatch)
        with Client("shop.example", shop.port, timeout_s=PATIENCE_S) as customer:
            assert customer.order("Football").order == 7


@pytest.mark.parametrize("holes", [1, 2, 3])
def test_an_address_that_swallows_everything_costs_a_moment(
    holes: int, black_hole: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FakeShop(Peer.sell) as shop:
        resolve_to(monkeypatch, *[black_hole] * holes, ("127.0.0.1", shop.port))
        began_s = time.monotonic()
        with Client("shop.example", shop.port, timeout_s=PATIENCE_S) as customer:
            assert customer.order("Football").order == 7
    assert time.monotonic() - began_s < PATIENCE_S / 2


@pytest.mark.parametrize(("holes", "timeout_s"), [(1, 0.2), (3, 0.4), (12, 1.0), (40, 2.0)])
def test_every_address_has_a_share_of_a_deadline_however_short(
    holes: int, timeout_s: float, black_hole: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FakeShop(Peer.sell) as shop:
        resolve_to(monkeypatch, *[black_hole] * holes, ("127.0.0.1", shop.port))
        with Client("shop.example", shop.port, timeout_s=timeout_s) as customer:
            assert customer.order("Football").order == 7


def test_the_swallowing_address_may_come_last_or_between(
    black_hole: Place, closed: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FakeShop(Peer.sell) as shop:
        resolve_to(monkeypatch, closed, black_hole, ("127.0.0.1", shop.port), black_hole)
        with Client("shop.example", shop.port, timeout_s=PATIENCE_S) as customer:
            assert customer.order("Football").order == 7


def test_where_every_address_swallows_everything_the_deadline_ends_it(
    black_hole: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve_to(monkeypatch, black_hole, black_hole)
    began_s = time.monotonic()
    with pytest.raises(client.DeadlineExceeded, match=r"0\.4 seconds"):
        Client("shop.example", timeout_s=0.4).connect()
    assert 0.4 <= time.monotonic() - began_s < PATIENCE_S / 2


def test_where_no_address_answers_the_refusal_is_told_and_not_the_lack_of_ipv6(
    closed: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    for places in ([("::1", 1), closed], [closed, ("::1", 1)]):
        with monkeypatch.context() as patched:
            resolve_to(patched, *places)
            without_ipv6(patched)
            with pytest.raises(client.ConnectionLost, match="refused") as lost:
                Client("shop.example", timeout_s=PATIENCE_S).connect()
            assert lost.value.stage == "connect"


def test_a_host_without_any_address_is_a_lost_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    resolve_to(monkeypatch)
    with pytest.raises(client.ConnectionLost, match=r"no address for shop\.example"):
        Client("shop.example").connect()


def test_the_connections_that_lost_the_race_are_closed(
    black_hole: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[socket.socket] = []
    real = socket.socket

    def make(*arguments: int, **named: object) -> socket.socket:
        made.append(real(*arguments, **named))
        return made[-1]

    with FakeShop(Peer.wait_for_end) as shop:
        resolve_to(monkeypatch, black_hole, black_hole, ("127.0.0.1", shop.port))
        with Client("shop.example", shop.port, timeout_s=PATIENCE_S) as customer:
            monkeypatch.setattr(socket, "socket", make)
            customer.connect()
            assert [sock.fileno() >= 0 for sock in made[:3]] == [False, False, True]
