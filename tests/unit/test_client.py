"""The client's calls: what is asked, what is returned, what is raised, when the shop behaves."""

import os
import subprocess
import sys
import time
import uuid
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from sportshop import client
from sportshop.client import Client, attempts, keys
from sportshop.messages import Code, Reason
from tests.unit.fake_shop import FOOTBALL, RECEIPT, FakeShop, Peer, error

BALL = {"name": "Ball", "price": "10.00", "stockQuantity": 3}
NET = {"name": "Net", "price": "0.50", "stockQuantity": 0}


def past_order(number: int) -> dict[str, object]:
    return {
        "order": number,
        "placedAt": "2026-03-01T12:00:00.250Z",
        "items": [FOOTBALL],
        "total": "149.90",
    }


def new_client(shop: FakeShop) -> Client:
    return Client(port=shop.port, timeout_s=5.0)


def test_a_login_returns_a_session_with_the_limits_of_the_shop() -> None:
    with FakeShop(Peer.welcome) as shop, new_client(shop) as customer:
        session = customer.authenticate("user1", "senha")
    assert (session.user, session.token, session.server) == ("user1", "token-1", "sportshop 0.0.0")
    assert session.limits == client.Limits(65536, 100, 1_000_000)
    assert customer.session is session
    assert shop.requests[0]["data"] == {"user": "user1", "password": "senha"}


def test_a_token_alone_logs_in() -> None:
    with FakeShop(Peer.welcome) as shop, new_client(shop) as customer:
        customer.authenticate_token("token-0")
    assert shop.requests[0]["data"] == {"token": "token-0"}


def test_a_session_that_is_printed_does_not_show_its_token() -> None:
    with FakeShop(Peer.welcome) as shop, new_client(shop) as customer:
        assert "token-1" not in repr(customer.authenticate("user1", "senha"))


def test_after_a_wrong_password_the_right_one_works_on_the_same_connection() -> None:
    def script(peer: Peer) -> None:
        peer.hear("AUTHENTICATION")
        peer.say(error("INVALID_CREDENTIALS"))
        peer.welcome()

    with FakeShop(script) as shop, new_client(shop) as customer:
        with pytest.raises(client.InvalidCredentials) as refused:
            customer.authenticate("user1", "wrong")
        customer.authenticate("user1", "senha")
    assert not refused.value.retryable


def test_products_have_decimal_prices_and_an_as_of() -> None:
    def script(peer: Peer) -> None:
        assert peer.hear("GET_PRODUCTS") == {}
        peer.answer("PRODUCTS_LIST", {"products": [BALL, NET], "asOf": 12})

    with FakeShop(script) as shop, new_client(shop) as customer:
        products = customer.products()
    assert (products.as_of, len(products)) == (12, 2)
    assert [(p.name, p.price, p.stock) for p in products] == [
        ("Ball", Decimal("10.00"), 3),
        ("Net", Decimal("0.50"), 0),
    ]
    assert str(products.products[1].price) == "0.50"


def test_products_that_are_sold_out_are_listed_if_asked_for() -> None:
    def script(peer: Peer) -> None:
        assert peer.hear("GET_PRODUCTS") == {"soldOut": True}
        peer.answer("PRODUCTS_LIST", {"products": [], "asOf": 0})

    with FakeShop(script) as shop, new_client(shop) as customer:
        assert customer.products(sold_out=True) == client.ProductList(0, ())


def test_a_list_of_several_messages_is_one_list() -> None:
    def script(peer: Peer) -> None:
        assert peer.hear("GET_ORDERS") == {"before": 9, "limit": 3}
        peer.answer("ORDERS_LIST", {"orders": [past_order(8), past_order(5)], "asOf": 30}, False)
        peer.answer("ORDERS_LIST", {"orders": [past_order(2)], "asOf": 30})

    with FakeShop(script) as shop, new_client(shop) as customer:
        orders = customer.orders(before=9, limit=3)
    assert orders.as_of == 30
    assert [order.order for order in orders] == [8, 5, 2]
    assert orders.orders[0].placed_at == datetime(2026, 3, 1, 12, 0, 0, 250_000, tzinfo=UTC)
    assert orders.orders[0].key is None


def test_unknown_fields_in_answers_are_ignored() -> None:
    def script(peer: Peer) -> None:
        peer.hear("GET_PRODUCTS")
        peer.say(b'{"code":"PRODUCTS_LIST","later":1,"data":{"asOf":1,"products":[],"x":[]}}\r\n')

    with FakeShop(script) as shop, new_client(shop) as customer:
        assert customer.products().as_of == 1


def test_an_order_of_one_item_returns_its_receipt_and_the_key_it_made() -> None:
    with FakeShop(Peer.sell) as shop, new_client(shop) as customer:
        receipt = customer.order("Football")
    assert (receipt.order, receipt.as_of, receipt.replayed) == (7, 7, False)
    assert receipt.total == Decimal("149.90")
    assert receipt.items == (client.SoldItem("Football", 1, client.Amount("149.90"), 4),)
    assert receipt.key is not None
    assert uuid.UUID(receipt.key).version == 7
    assert shop.orders() == [
        {"productName": "Football", "quantity": 1, "orderKey": receipt.key},
    ]


def test_several_items_are_one_order_under_one_key() -> None:
    def script(peer: Peer) -> None:
        peer.hear("NEW_ORDER_ITEM")
        peer.sell()

    with FakeShop(script) as shop, new_client(shop) as customer:
        customer.order([("Football", 2), ("Net", 1)], key="k-1")
    assert [(r["data"], r["endOfData"]) for r in shop.requests] == [
        ({"productName": "Football", "quantity": 2, "orderKey": "k-1"}, False),
        ({"productName": "Net", "quantity": 1, "orderKey": "k-1"}, True),
    ]


def test_an_order_without_key_is_sent_without_one() -> None:
    with FakeShop(Peer.sell) as shop, new_client(shop) as customer:
        assert customer.order("Football", 3, key=None).key is None
    assert shop.orders() == [{"productName": "Football", "quantity": 3}]


def test_an_order_of_nothing_is_not_sent() -> None:
    with pytest.raises(ValueError, match="one item or more"):
        Client().order([])


def test_a_name_that_no_message_can_hold_is_not_sent() -> None:
    with pytest.raises(ValueError, match="surrogate"):
        Client().order("\udc80")


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_an_exception_of_its_own(
    reason: Reason, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "pause_s", lambda failures: 3600.0)
    facts = {"productName": "Ball", "requested": 2, "available": 1, "asOf": 3, "orderKey": "k"}

    def script(peer: Peer) -> None:
        peer.hear("NEW_ORDER_ITEM")
        peer.say(error(reason, **facts))

    with FakeShop(script) as shop, new_client(shop) as customer:
        with pytest.raises(client.ShopError) as caught:
            customer.order("Ball", 2, key=None)
        problem = caught.value.__cause__ or caught.value
    assert isinstance(problem, client.Refused)
    assert (problem.reason, problem.message) == (reason, f"it is {reason}")
    assert type(problem).__name__ == reason.replace("_", " ").title().replace(" ", "")
    assert problem.facts == facts


def test_too_little_stock_tells_how_much_there_is() -> None:
    def script(peer: Peer) -> None:
        for available in (1, 0):
            peer.hear("NEW_ORDER_ITEM")
            facts = {"productName": "Ball", "requested": 2, "available": available, "asOf": 3}
            peer.say(error("INSUFFICIENT_STOCK", **facts))

    with FakeShop(script) as shop, new_client(shop) as customer:
        with pytest.raises(client.InsufficientStock) as short:
            customer.order("Ball", 2)
        with pytest.raises(client.SoldOut) as sold_out:
            customer.order("Ball", 2)
    assert not isinstance(short.value, client.SoldOut)
    assert (short.value.product_name, short.value.requested) == ("Ball", 2)
    assert (short.value.available, short.value.as_of, sold_out.value.available) == (1, 3, 0)


def test_a_reason_of_a_later_version_is_still_a_refusal() -> None:
    def script(peer: Peer) -> None:
        peer.hear("GET_PRODUCTS")
        peer.say(error("CLOSED_ON_SUNDAYS", retryable=True, opens="Monday"))

    with (
        FakeShop(script) as shop,
        new_client(shop) as customer,
        pytest.raises(client.Refused, match="it is CLOSED_ON_SUNDAYS") as refused,
    ):
        customer.products()
    assert type(refused.value) is client.Refused
    assert (refused.value.retryable, refused.value.facts) == (True, {"opens": "Monday"})


def test_requests_can_be_pipelined_and_bytes_are_counted() -> None:
    said = []

    def script(peer: Peer) -> None:
        for _ in range(3):
            peer.hear("NEW_ORDER_ITEM")
        for number in (1, 2, 3):
            peer.answer("SUCCESS", {**RECEIPT, "order": number, "asOf": number})
        said.append(peer.bytes_said)

    with FakeShop(script) as shop, new_client(shop) as customer:
        customer.connect()
        for quantity in (1, 2, 3):
            item = {"productName": "Football", "quantity": quantity}
            customer.send_request(Code.NEW_ORDER_ITEM, item)
        receipts = [client.read_receipt(customer.receive_answer()) for _ in range(3)]
    assert [receipt.order for receipt in receipts] == [1, 2, 3]
    assert [customer.bytes_received] == said
    assert customer.bytes_sent == 3 * len(
        b'{"code":"NEW_ORDER_ITEM","data":{"productName":"Football","quantity":1},'
        b'"endOfData":true}\n'
    )


def test_a_call_is_not_made_while_answers_are_owed() -> None:
    def script(peer: Peer) -> None:
        peer.hear("GET_PRODUCTS")
        peer.wait_for_end()

    with FakeShop(script) as shop, new_client(shop) as customer:
        customer.connect()
        customer.send_request(Code.GET_PRODUCTS)
        with pytest.raises(RuntimeError, match="1 answers owed"):
            customer.products()


def test_the_level_below_does_not_connect_by_itself() -> None:
    with pytest.raises(client.ConnectionLost, match="not connected"):
        Client().send_request(Code.GET_PRODUCTS)


def test_an_order_key_bears_the_time_as_in_the_example_of_rfc_9562(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: 0x017F22E279B0 * 1_000_000)
    monkeypatch.setattr(os, "urandom", lambda size: b"\xff" * size)
    assert keys.new_order_key() == "017f22e2-79b0-7000-bfff-ffffffffffff"


def test_order_keys_sort_by_time_down_to_the_microsecond(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter(range(1_700_000_000_999_000_000, 1_700_000_001_001_000_000, 1_000))
    monkeypatch.setattr(time, "time_ns", lambda: next(moments))
    made = [keys.new_order_key() for _ in range(2_000)]
    assert made == sorted(made)
    assert len(set(made)) == 2_000


HEAVY = {"argon2", "apsw", "click", "gevent", "numpy", "rich", "ssl"}


def test_the_client_imports_nothing_heavy_and_neither_gevent_nor_ssl() -> None:
    """Either of the two would decide for the program when its sockets are replaced, if at all."""
    program = f"import sys, sportshop.client; print({HEAVY} & set(sys.modules))"
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "set()"


def test_a_request_of_any_code_can_be_sent_below() -> None:
    def script(peer: Peer) -> None:
        peer.hear("SUCCESS")
        peer.say(error("UNEXPECTED_MESSAGE"))

    with FakeShop(script) as shop, new_client(shop) as customer:
        customer.connect()
        customer.send_request(Code.SUCCESS, {})
        answer = customer.receive_answer()
    assert isinstance(client.refusal(answer), client.UnexpectedMessage)
