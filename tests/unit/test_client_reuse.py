"""A connection that was used before may be dead, or another process's: it is not relied on."""

import math
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest

from sportshop import client
from sportshop.client import Client, deadline
from sportshop.messages import Code
from tests.unit.fake_shop import PATIENCE_S, FakeShop, Peer
from tests.unit.test_client_sockets import certificate, needs_openssl, over_tls  # noqa: F401

PRODUCTS = {"products": [], "asOf": 5}
ORDERS = {"orders": [], "asOf": 5}


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadline, "PAUSE_S_FIRST", 0.001)
    monkeypatch.setattr(deadline, "PATIENCE_SHARE", 0.1)  # 0.3 of 3 seconds below


# Connections that died without a word.


def forgotten(peer: Peer) -> None:
    """Let the client in, and from then on swallow everything, as a NAT does."""
    peer.welcome()
    while peer.socket.recv(4096):
        pass


def lists(peer: Peer) -> None:
    peer.welcome()
    peer.hear("GET_PRODUCTS")
    peer.answer("PRODUCTS_LIST", PRODUCTS)


def lists_orders(peer: Peer) -> None:
    peer.welcome()
    peer.hear("GET_ORDERS")
    peer.answer("ORDERS_LIST", ORDERS)


def sells(peer: Peer) -> None:
    assert peer.welcome() == {"token": "token-1"}
    peer.sell(replayed=True, asOf=9)


def sells_two(peer: Peer) -> None:
    peer.welcome()
    peer.hear("NEW_ORDER_ITEM")
    peer.sell(replayed=True, asOf=9)


REPEATABLE: dict[str, tuple[Callable[[Client], object], Callable[[Peer], object]]] = {
    "products": (Client.products, lists),
    "orders": (Client.orders, lists_orders),
    "order with a key": (lambda customer: customer.order("Football"), sells),
    "order of several": (lambda customer: customer.order([("Football", 1), ("Net", 2)]), sells_two),
    "login": (lambda customer: customer.authenticate("user1", "senha"), Peer.welcome),
}


@pytest.mark.parametrize("kind", REPEATABLE)
def test_what_may_be_repeated_is_asked_again_on_a_new_connection_in_time(kind: str) -> None:
    ask, answered = REPEATABLE[kind]
    with FakeShop(forgotten, answered) as shop:
        customer = Client(port=shop.port, timeout_s=PATIENCE_S)
        customer.authenticate("user1", "senha")
        customer.timeout_s = 3.0
        began_s = time.monotonic()
        ask(customer)
        assert 0.3 <= time.monotonic() - began_s < 3.0
        customer.close()


def test_an_order_without_key_is_not_sent_again_into_a_silence() -> None:
    with FakeShop(forgotten) as shop:
        customer = Client(port=shop.port, timeout_s=PATIENCE_S)
        customer.authenticate("user1", "senha")
        with pytest.raises(client.OutcomeUnknown) as unknown:
            customer.order("Football", key=None, timeout_s=0.3)
    assert isinstance(unknown.value.__cause__, client.DeadlineExceeded)


def test_a_client_of_one_attempt_waits_all_of_its_time_on_the_connection_that_it_has() -> None:
    with FakeShop(forgotten) as shop:
        customer = Client(port=shop.port, timeout_s=PATIENCE_S, attempts=1)
        customer.authenticate("user1", "senha")
        with pytest.raises(client.DeadlineExceeded, match=r"0\.3 seconds"):
            customer.products(timeout_s=0.3)


def test_a_shop_that_has_begun_to_answer_is_waited_for() -> None:
    """Only silence makes a connection suspect: a long list may come slowly."""
    heard = threading.Event()

    def slow(peer: Peer) -> None:
        peer.welcome()
        peer.hear("GET_PRODUCTS")
        peer.say(b" ")
        heard.wait(0.6)  # longer than the patience below
        peer.answer("PRODUCTS_LIST", PRODUCTS)

    with FakeShop(slow) as shop, Client(port=shop.port, timeout_s=PATIENCE_S) as customer:
        customer.authenticate("user1", "senha")
        assert customer.products(timeout_s=3.0).as_of == 5
    assert shop.codes() == ["AUTHENTICATION", "GET_PRODUCTS"]


# Another process.


def in_a_child(act: Callable[[], object]) -> int:
    """Fork; return the child's exit code: 0 if `act` worked there."""
    pid = os.fork()
    if pid == 0:
        try:
            act()
            os._exit(0)
        except BaseException:
            os._exit(1)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")


@needs_fork
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("tls", [False, pytest.param(True, marks=needs_openssl)])
def test_a_forked_child_has_a_connection_of_its_own(
    tls: bool,
    request: pytest.FixtureRequest,
) -> None:
    made: Path | None = request.getfixturevalue("certificate") if tls else None
    served = over_tls(made) if made else None
    trust = ssl.create_default_context(cafile=made) if made else None
    parents = ParentAndChild(served)
    with parents as port:
        customer = Client(port=port, timeout_s=PATIENCE_S, tls=trust)
        customer.authenticate("user1", "senha")
        assert in_a_child(lambda: customer.order("Net")) == 0
        assert customer.order("Football").items[0].product_name == "Football"
        customer.close()
    assert parents.heard == [
        ["AUTHENTICATION token-1", "NEW_ORDER_ITEM Net"],
        ["AUTHENTICATION user1", "NEW_ORDER_ITEM Football"],
    ]


class ParentAndChild:
    """A shop that serves two connections at once, and tells what it heard on each."""

    def __init__(self, tls: ssl.SSLContext | None) -> None:
        self.heard: list[list[str]] = [[], []]
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads = [
            threading.Thread(target=self._serve, args=(heard,), daemon=True) for heard in self.heard
        ]
        self._turn = threading.Lock()

    def __enter__(self) -> int:
        self._threads[0].start()
        self._threads[1].start()
        port: int = self._listener.getsockname()[1]
        return port

    def __exit__(self, *_: object) -> None:
        for thread in self._threads:
            thread.join(PATIENCE_S)
        self._listener.close()
        self.heard.sort()

    def _serve(self, heard: list[str]) -> None:
        with self._turn:
            sock, _ = self._listener.accept()
        if self._tls:
            sock = self._tls.wrap_socket(sock, server_side=True)
        peer = Peer(sock, [])
        who = peer.welcome()
        heard.append(f"AUTHENTICATION {who.get('user', who.get('token'))}")
        heard.append(f"NEW_ORDER_ITEM {peer.sell()['productName']}")
        peer.wait_for_end()
        peer.close()


@needs_fork
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_answers_that_are_owed_to_the_parent_are_not_the_childs() -> None:
    def script(peer: Peer) -> None:
        peer.hear("GET_PRODUCTS")
        peer.answer("PRODUCTS_LIST", PRODUCTS)
        peer.wait_for_end()

    with FakeShop(script) as shop, Client(port=shop.port, timeout_s=PATIENCE_S) as customer:
        customer.connect()
        customer.send_request(Code.GET_PRODUCTS)

        def child() -> None:
            assert not customer.is_connected
            with pytest.raises(client.ConnectionLost, match="not connected"):
                customer.receive_answer()
            customer.close()

        assert in_a_child(child) == 0
        assert customer.receive_answer().data == PRODUCTS


# What a client can be told.

NO_TIMES = [0, -1, 0.0, -0.0, math.nan, math.inf, -math.inf, 1e300, 10**400, 1_000_001]
NO_NUMBERS = ["10", b"1", True, False, Decimal(1), [1], 1j]


@pytest.mark.parametrize("timeout_s", NO_TIMES, ids=lambda value: str(value)[:12])
def test_a_time_that_no_call_can_have_is_a_value_error(timeout_s: float) -> None:
    assert_refused(ValueError, timeout_s)


@pytest.mark.parametrize("timeout_s", NO_NUMBERS, ids=repr)
def test_what_is_no_number_of_seconds_is_a_type_error(timeout_s: float) -> None:
    assert_refused(TypeError, timeout_s)


def assert_refused(kind: type[Exception], timeout_s: float) -> None:
    """Check it for the constructor and for every call; none of them may connect."""
    for make in (Client, client.connect):
        with pytest.raises(kind, match="timeout_s"):
            make("127.0.0.1", 1, timeout_s=timeout_s)
    customer = Client(port=1)
    calls: list[Callable[[], object]] = [
        lambda: customer.connect(timeout_s=timeout_s),
        lambda: customer.authenticate("u", "p", timeout_s=timeout_s),
        lambda: customer.authenticate_token("t", timeout_s=timeout_s),
        lambda: customer.products(timeout_s=timeout_s),
        lambda: customer.orders(timeout_s=timeout_s),
        lambda: customer.order("Ball", timeout_s=timeout_s),
    ]
    for call in calls:
        with pytest.raises(kind, match="timeout_s"):
            call()


def test_no_time_at_construction_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="timeout_s"):
        Client(timeout_s=None)


@pytest.mark.parametrize("timeout_s", [1, 0.001, Fraction(1, 2), 1_000_000, 5e-324])
def test_any_real_number_of_seconds_will_do(timeout_s: float) -> None:
    assert Client(timeout_s=timeout_s).timeout_s == float(timeout_s)


@pytest.mark.parametrize(
    ("named", "kind"),
    [
        ({"attempts": 0}, ValueError),
        ({"attempts": -1}, ValueError),
        ({"attempts": 1.5}, TypeError),
        ({"attempts": True}, TypeError),
        ({"attempts": None}, TypeError),
        ({"attempts": math.inf}, TypeError),
        ({"port": 0}, ValueError),
        ({"port": -1}, ValueError),
        ({"port": 65536}, ValueError),
        ({"port": "3333"}, TypeError),
        ({"port": True}, TypeError),
        ({"port": 3333.0}, TypeError),
    ],
    ids=str,
)
def test_attempts_and_port_must_be_possible(named: dict[str, int], kind: type[Exception]) -> None:
    (name,) = named
    with pytest.raises(kind, match=name):
        Client(**named)
