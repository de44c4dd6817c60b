"""The client against a shop that cuts its messages up, lies, drips or falls silent."""

import time
from collections.abc import Callable

import pytest

from sportshop import client
from sportshop.client import Client, wire
from sportshop.messages import FRAME_BYTES_MAX
from tests.unit.fake_shop import (
    FOOTBALL,
    PATIENCE_S,
    RECEIPT,
    WELCOME,
    FakeShop,
    Peer,
    error,
    message,
)

LIST = {"products": [], "asOf": 5}


def new_client(shop: FakeShop) -> Client:
    return Client(port=shop.port, timeout_s=PATIENCE_S)


def says(raw: bytes) -> Callable[[Peer], None]:
    """Return a script: answer the first request with these bytes, then wait for the end."""

    def script(peer: Peer) -> None:
        peer.hear("GET_PRODUCTS")
        peer.say(raw)
        peer.wait_for_end()

    return script


# Frames.


def test_a_message_that_comes_byte_by_byte_is_one_message() -> None:
    def script(peer: Peer) -> None:
        peer.hear("NEW_ORDER_ITEM")
        for byte in message("SUCCESS", RECEIPT):
            peer.say(bytes([byte]))

    with FakeShop(script) as shop, new_client(shop) as customer:
        assert customer.order("Football").order == 7


def frame_of(size: int) -> bytes:
    short = message("PRODUCTS_LIST", {**LIST, "padding": ""})
    return message("PRODUCTS_LIST", {**LIST, "padding": "x" * (size - len(short))})


def test_a_message_as_long_as_a_frame_may_be_is_read() -> None:
    with FakeShop(says(frame_of(FRAME_BYTES_MAX))) as shop, new_client(shop) as customer:
        assert customer.products().as_of == 5


@pytest.mark.parametrize("raw", [frame_of(FRAME_BYTES_MAX + 1), b" " * FRAME_BYTES_MAX])
def test_a_message_longer_than_a_frame_is_a_violation(raw: bytes) -> None:
    with FakeShop(says(raw)) as shop, new_client(shop) as customer:
        with pytest.raises(client.ProtocolViolation, match="no LF within 65536 bytes"):
            customer.products()
        assert not customer.is_connected


# Lies.

ORDER = {
    "order": 1,
    "placedAt": "2026-03-01T12:00:00.250Z",
    "items": [FOOTBALL],
    "total": "149.90",
}
PRODUCT = {"name": "Ball", "price": "10.00", "stockQuantity": 3}
LYING_PRODUCTS = {
    "not JSON": b"{\n",
    "not UTF-8": b'{"code":"\xff","data":{}}\n',
    "not an object": b"[]\n",
    "an empty line": b"\n",
    "no code": b'{"data":{}}\n',
    "no data": b'{"code":"PRODUCTS_LIST"}\n',
    "an unknown code": message("PRODUCT_LIST", LIST),
    "another code": message("SUCCESS", RECEIPT),
    "no asOf": message("PRODUCTS_LIST", {"products": []}),
    "a negative asOf": message("PRODUCTS_LIST", {"products": [], "asOf": -1}),
    "no list": message("PRODUCTS_LIST", {"asOf": 1}),
    "more than 100": message("PRODUCTS_LIST", {"products": [PRODUCT] * 101, "asOf": 1}),
    "asOf changes": message("PRODUCTS_LIST", LIST, end=False)
    + message("PRODUCTS_LIST", {**LIST, "asOf": 6}),
    "a list turns into another": message("PRODUCTS_LIST", LIST, end=False)
    + message("ORDERS_LIST", {"orders": [], "asOf": 5}),
    "negative stock": message(
        "PRODUCTS_LIST", {"products": [{**PRODUCT, "stockQuantity": -1}], "asOf": 1}
    ),
    **{
        f"the price {price!r}": message(
            "PRODUCTS_LIST", {"products": [{**PRODUCT, "price": price}], "asOf": 1}
        )
        for price in (10.0, "10", "10.0", "-1.00", "NaN", "1e2", None, "10.00\n")
    },
    "an ERROR without reason": message("ERROR", {"message": "no", "retryable": False}),
    "an ERROR without its facts": error("INSUFFICIENT_STOCK", productName="Ball"),
    "an ERROR of which more follows": message(
        "ERROR", {"reason": "BUSY", "message": "", "retryable": True}, end=False
    ),
}


@pytest.mark.parametrize("raw", LYING_PRODUCTS.values(), ids=LYING_PRODUCTS.keys())
def test_a_list_of_products_that_breaks_the_protocol_is_not_believed(raw: bytes) -> None:
    with FakeShop(says(raw)) as shop, new_client(shop) as customer:
        with pytest.raises(client.ProtocolViolation):
            customer.products()
        assert not customer.is_connected


@pytest.mark.parametrize("field", ["order", "placedAt", "items", "total"])
def test_a_past_order_without_one_of_its_fields_is_not_believed(field: str) -> None:
    order = {name: value for name, value in ORDER.items() if name != field}

    def script(peer: Peer) -> None:
        peer.hear("GET_ORDERS")
        peer.answer("ORDERS_LIST", {"orders": [order], "asOf": 1})

    with (
        FakeShop(script) as shop,
        new_client(shop) as customer,
        pytest.raises(client.ProtocolViolation, match=field),
    ):
        customer.orders()


@pytest.mark.parametrize(
    "changes",
    [
        *({"protocol": version} for version in (0, -1, "1", 1.5, True, None, [1])),
        {"token": None},
        {"limits": {}},
        {"user": 1},
        {"user": "user2"},
        {"user": "USER1"},
    ],
    ids=str,
)
def test_a_welcome_that_breaks_the_protocol_is_not_believed(changes: dict[str, object]) -> None:
    def script(peer: Peer) -> None:
        peer.hear("AUTHENTICATION")
        peer.answer("SUCCESS", {**WELCOME, **changes})

    with FakeShop(script) as shop, new_client(shop) as customer:
        with pytest.raises(client.ProtocolViolation):
            customer.authenticate("user1", "senha")
        assert customer.session is None


@pytest.mark.parametrize("version", [1, 2, 3, 99, 2**40])
def test_a_shop_of_any_later_version_is_a_shop(version: int) -> None:
    """A later version answers every request of the first as before, and may say more."""

    def script(peer: Peer) -> None:
        peer.welcome(protocol=version, role="SHOPPER", limits={**WELCOME["limits"], "holds": 0})
        peer.sell(status="SOLD")
        peer.hear("NEW_ORDER_ITEM")
        peer.say(error("LIMIT_REACHED", limit=3, ordered=3))

    with FakeShop(script) as shop, new_client(shop) as customer:
        assert customer.authenticate("user1", "senha").protocol == version
        assert customer.order("Football").order == 7
        with pytest.raises(client.Refused) as refused:
            customer.order("Football")
    assert (type(refused.value), refused.value.reason) == (client.Refused, "LIMIT_REACHED")
    assert refused.value.facts == {"limit": 3, "ordered": 3}


def test_a_receipt_that_breaks_the_protocol_leaves_the_outcome_unknown() -> None:
    def script(peer: Peer) -> None:
        peer.hear("NEW_ORDER_ITEM")
        peer.answer("SUCCESS", RECEIPT, end=False)
        peer.wait_for_end()

    with (
        FakeShop(script) as shop,
        new_client(shop) as customer,
        pytest.raises(client.OutcomeUnknown) as unknown,
    ):
        customer.order("Football", key="k-1")
    assert unknown.value.key == "k-1"
    assert isinstance(unknown.value.__cause__, client.ProtocolViolation)


def test_a_message_that_nobody_asked_for_is_not_taken_for_the_next_answer() -> None:
    def script(peer: Peer) -> None:
        peer.hear("GET_PRODUCTS")
        peer.say(message("PRODUCTS_LIST", LIST) * 2)
        peer.wait_for_end()

    with FakeShop(script) as shop, new_client(shop) as customer:
        customer.products()
        with pytest.raises(client.ProtocolViolation, match="nobody asked for"):
            customer.products()
        assert not customer.is_connected


def test_after_a_violation_the_next_call_has_a_new_connection() -> None:
    def honest(peer: Peer) -> None:
        peer.welcome()
        peer.hear("GET_PRODUCTS")
        peer.answer("PRODUCTS_LIST", LIST)

    def lying(peer: Peer) -> None:
        peer.welcome()
        peer.hear("GET_PRODUCTS")
        peer.say(b"{\n" + message("PRODUCTS_LIST", {**LIST, "asOf": 1}))

    with FakeShop(lying, honest) as shop, new_client(shop) as customer:
        customer.authenticate("user1", "senha")
        with pytest.raises(client.ProtocolViolation):
            customer.products()
        assert customer.products().as_of == 5


# Deadlines.


def test_a_silent_shop_is_left_at_the_deadline() -> None:
    with FakeShop(says(b"")) as shop, new_client(shop) as customer:
        customer.connect()
        with pytest.raises(client.DeadlineExceeded, match=r"0\.25 seconds"):
            customer.products(timeout_s=0.25)
        assert not customer.is_connected


def test_a_shop_that_drips_does_not_extend_the_deadline() -> None:
    def drip(peer: Peer) -> None:
        peer.hear("GET_PRODUCTS")
        peer.socket.settimeout(0.01)  # the pace of the drip: wait so long for the client's end
        for _ in range(1_000):
            try:
                peer.say(b" ")
                assert peer.socket.recv(1) == b""
            except TimeoutError:
                continue
            except OSError:
                pass
            return
        raise AssertionError("the client never left")

    with FakeShop(drip) as shop, new_client(shop) as customer:
        began_s = time.monotonic()
        with pytest.raises(client.DeadlineExceeded):
            customer.products(timeout_s=0.2)
        assert 0.2 <= time.monotonic() - began_s < PATIENCE_S / 2


def test_an_order_that_is_not_answered_in_time_is_an_unknown_outcome() -> None:
    def script(peer: Peer) -> None:
        peer.hear("NEW_ORDER_ITEM")
        peer.wait_for_end()

    with FakeShop(script) as shop, new_client(shop) as customer:
        customer.connect()
        with pytest.raises(client.OutcomeUnknown) as unknown:
            customer.order("Football", key="k-1", timeout_s=0.25)
    assert unknown.value.key == "k-1"
    assert isinstance(unknown.value.__cause__, client.DeadlineExceeded)


def test_a_call_that_is_interrupted_closes_its_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else its answer would be taken for that of the next call."""

    def interrupt(line: bytes) -> None:
        raise KeyboardInterrupt

    with FakeShop(says(message("PRODUCTS_LIST", LIST))) as shop, new_client(shop) as customer:
        with monkeypatch.context() as patched:
            patched.setattr(wire, "decode_answer", interrupt)
            with pytest.raises(KeyboardInterrupt):
                customer.products()
        assert not customer.is_connected
