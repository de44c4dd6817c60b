"""Answers that are not what was asked for are not believed, and no list fills the memory."""

import decimal
import tracemalloc
from collections.abc import Callable

import pytest

from sportshop import client
from sportshop.client import Client, lists
from sportshop.client import client as client_module
from sportshop.messages import Code
from tests.unit.fake_shop import FOOTBALL, PATIENCE_S, RECEIPT, FakeShop, Peer, message

NET = {"productName": "Net", "quantity": 2, "price": "0.50", "stockQuantity": 9}
BASKET = {**RECEIPT, "items": [FOOTBALL, NET], "total": "150.90"}
WANTED = [("Football", 1), ("Net", 2)]


def new_client(shop: FakeShop) -> Client:
    return Client(port=shop.port, timeout_s=PATIENCE_S)


def answers(raw: bytes, requests: int = 1, code: str = "NEW_ORDER_ITEM") -> Callable[[Peer], None]:
    def script(peer: Peer) -> None:
        for _ in range(requests):
            peer.hear(code)
        peer.say(raw)
        peer.wait_for_end()

    return script


# Receipts.

WRONG_RECEIPTS = {
    "for another product": {"items": [{**FOOTBALL, "productName": "Basketball"}, NET]},
    "for a name in other letters": {"items": [{**FOOTBALL, "productName": "football"}, NET]},
    "for another quantity": {
        "items": [{**FOOTBALL, "quantity": 2}, NET],
        "total": "300.80",
    },
    "for fewer items": {"items": [FOOTBALL], "total": "149.90"},
    "for more items": {"items": [FOOTBALL, NET, NET], "total": "151.90"},
    "for no items": {"items": [], "total": "0.00"},
    "in another order of items": {"items": [NET, FOOTBALL]},
    "for one item, in two lines": {
        "items": [FOOTBALL, {**NET, "quantity": 1}, {**NET, "quantity": 1}],
    },
    "with a total that is a cent too much": {"total": "150.91"},
    "with a total without the quantity": {"total": "150.40"},
    "with a total of 0": {"total": "0.00"},
    "as of before itself": {"asOf": 6},
    "as of after itself, not replayed": {"asOf": 8},
    "replayed, as of before itself": {"asOf": 6, "replayed": True},
    "replayed, for other units": {
        "items": [{**FOOTBALL, "quantity": 2}, {**NET, "quantity": 1}],
        "total": "300.30",
        "replayed": True,
    },
    "with a name of 201 characters": {"items": [{**FOOTBALL, "productName": "x" * 201}, NET]},
    "with a price of 5,000 digits": {"items": [{**FOOTBALL, "price": "1" * 5_000 + ".00"}, NET]},
}


@pytest.mark.parametrize("changes", WRONG_RECEIPTS.values(), ids=WRONG_RECEIPTS.keys())
def test_a_receipt_for_something_else_leaves_the_outcome_unknown(
    changes: dict[str, object],
) -> None:
    wrong = message("SUCCESS", {**BASKET, **changes})
    with FakeShop(answers(wrong, 2)) as shop, new_client(shop) as customer:
        with pytest.raises(client.OutcomeUnknown) as unknown:
            customer.order(WANTED, key="k-1")
        assert not customer.is_connected
    assert isinstance(unknown.value.__cause__, client.ProtocolViolation)
    assert unknown.value.key == "k-1"


def test_a_product_left_in_two_numbers_is_not_believed() -> None:
    two = {**RECEIPT, "items": [FOOTBALL, {**FOOTBALL, "stockQuantity": 3}], "total": "299.80"}
    with (
        FakeShop(answers(message("SUCCESS", two), 2)) as shop,
        new_client(shop) as customer,
        pytest.raises(client.OutcomeUnknown) as unknown,
    ):
        customer.order([("Football", 1), ("Football", 1)])
    assert "two stocks or prices" in str(unknown.value.__cause__)


def test_an_order_without_key_that_was_replayed_is_not_believed() -> None:
    replayed = message("SUCCESS", {**RECEIPT, "replayed": True})
    with (
        FakeShop(answers(replayed)) as shop,
        new_client(shop) as customer,
        pytest.raises(client.OutcomeUnknown),
    ):
        customer.order("Football", key=None)


RIGHT_RECEIPTS = {
    "as asked": {},
    "replayed": {"replayed": True, "asOf": 12},
    "replayed at once": {"replayed": True},
    "replayed, in another order of items": {"items": [NET, FOOTBALL], "replayed": True, "asOf": 9},
    "replayed, in other lines": {
        "items": [{**NET, "quantity": 1}, FOOTBALL, {**NET, "quantity": 1}],
        "replayed": True,
        "asOf": 9,
    },
    "with what a later version adds": {"status": "HELD", "heldUntil": "2026-03-01T12:00:00.000Z"},
}


@pytest.mark.parametrize("changes", RIGHT_RECEIPTS.values(), ids=RIGHT_RECEIPTS.keys())
def test_a_receipt_for_what_was_asked_is_believed(changes: dict[str, object]) -> None:
    right = message("SUCCESS", {**BASKET, **changes})
    with FakeShop(answers(right, 2)) as shop, new_client(shop) as customer:
        receipt = customer.order(iter(WANTED), key="k-1")
    assert (receipt.order, str(receipt.total)) == (7, "150.90")


@pytest.mark.parametrize(
    ("asked", "own"),
    [
        ("Cafe\u0301", "Caf\u00e9"),
        ("Caf\u00e9", "Cafe\u0301"),
        ("\u212b", "\u00c5"),
        ("가", "\u1100\u1161"),
    ],
)
def test_the_shop_may_answer_by_the_products_own_form_of_the_name(asked: str, own: str) -> None:
    receipt = message("SUCCESS", {**RECEIPT, "items": [{**FOOTBALL, "productName": own}]})
    with FakeShop(answers(receipt)) as shop, new_client(shop) as customer:
        assert customer.order(asked).items[0].product_name == own


def test_a_total_is_added_up_exactly_whatever_the_programs_decimal_context_is() -> None:
    item = {**FOOTBALL, "price": "99999999.99", "quantity": 999_999}
    receipt = message("SUCCESS", {**RECEIPT, "items": [item], "total": "99999899990000.01"})
    with (
        FakeShop(answers(receipt)) as shop,
        new_client(shop) as customer,
        decimal.localcontext(prec=4),
    ):
        assert str(customer.order("Football", 999_999).total) == "99999899990000.01"


def test_a_receipt_that_contradicts_itself_is_not_believed_when_pipelined_either() -> None:
    wrong = message("SUCCESS", {**RECEIPT, "total": "1.00"})
    with FakeShop(answers(wrong)) as shop, new_client(shop) as customer:
        customer.connect()
        customer.send_request(Code.NEW_ORDER_ITEM, {"productName": "Football", "quantity": 1})
        with pytest.raises(client.ProtocolViolation):
            client.read_receipt(customer.receive_answer())
        customer.close()


# Logins.


def test_a_login_in_another_form_of_the_name_is_the_same_user() -> None:
    def script(peer: Peer) -> None:
        peer.welcome(user="Jos\u00e9")

    with FakeShop(script) as shop, new_client(shop) as customer:
        assert customer.authenticate("Jose\u0301", "senha").user == "Jos\u00e9"


def test_a_token_that_logs_in_somebody_else_is_not_believed() -> None:
    def first(peer: Peer) -> None:
        peer.welcome()
        peer.hear("GET_PRODUCTS")

    def second(peer: Peer) -> None:
        peer.welcome(user="user2")
        peer.wait_for_end()

    with FakeShop(first, second) as shop, new_client(shop) as customer:
        customer.authenticate("user1", "senha")
        with pytest.raises(client.ProtocolViolation, match="'user1' logged in"):
            customer.products()


# Lists.


def order(number: int, **changes: object) -> dict[str, object]:
    told = {
        "order": number,
        "placedAt": "2026-03-01T12:00:00.250Z",
        "items": [FOOTBALL],
        "total": "149.90",
    }
    return {**told, **changes}


def page(*numbers: int, end: bool = True, as_of: int = 50) -> bytes:
    return message("ORDERS_LIST", {"orders": [order(n) for n in numbers], "asOf": as_of}, end)


WRONG_LISTS = {
    "the same order twice": page(8, 8),
    "oldest first": page(7, 8),
    "one out of order": page(9, 5, 7),
    "the second message begins above the end of the first": page(9, 5, end=False) + page(6),
    "a message twice": page(9, 5, end=False) + page(9, 5),
    "an order from the bound on": page(30, 8),
    "an order of later than the list": page(8, as_of=7),
    "more than were asked for": page(9, 8, 7, 6),
    "more than were asked for, in two messages": page(9, 8, end=False) + page(7, 6),
    "an order of nothing": message(
        "ORDERS_LIST", {"orders": [order(8, items=[], total="0.00")], "asOf": 9}
    ),
    "a wrong total": message("ORDERS_LIST", {"orders": [order(8, total="149.91")], "asOf": 9}),
}


@pytest.mark.parametrize("raw", WRONG_LISTS.values(), ids=WRONG_LISTS.keys())
def test_a_list_of_orders_that_was_not_asked_for_is_not_believed(raw: bytes) -> None:
    with FakeShop(answers(raw, code="GET_ORDERS")) as shop, new_client(shop) as customer:
        with pytest.raises(client.ProtocolViolation):
            customer.orders(before=30, limit=3)
        assert not customer.is_connected


@pytest.mark.parametrize("end", [True, False])
def test_a_product_that_is_listed_twice_is_not_believed(end: bool) -> None:
    ball = {"name": "Ball", "price": "10.00", "stockQuantity": 3}
    once = {"products": [ball], "asOf": 4}
    twice = message("PRODUCTS_LIST", {**once, "products": [ball, ball]}, end)
    raw = twice if end else message("PRODUCTS_LIST", once, False) + message("PRODUCTS_LIST", once)
    with (
        FakeShop(answers(raw, code="GET_PRODUCTS")) as shop,
        new_client(shop) as customer,
        pytest.raises(client.ProtocolViolation, match="'Ball' twice"),
    ):
        customer.products()


def endless(messages: Callable[[int], bytes], code: str) -> Callable[[Peer], None]:
    """Return a script that lists on and on, until the client leaves."""

    def script(peer: Peer) -> None:
        peer.hear(code)
        number = 0
        try:
            while True:
                peer.say(messages(number))
                number += 1
        except OSError:
            pass

    return script


def orders_without_end(number: int) -> bytes:
    newest = 10**15 - 100 * number
    return page(*range(newest, newest - 100, -1), end=False, as_of=10**16)


def products_without_end(number: int) -> bytes:
    products = [
        {"name": f"Ball {number} {n}", "price": "1.00", "stockQuantity": 1} for n in range(100)
    ]
    return message("PRODUCTS_LIST", {"products": products, "asOf": 1}, False)


def nothing_without_end(number: int) -> bytes:
    empty = {"products": [], "asOf": 1, "padding": "x" * 60_000}
    return message("PRODUCTS_LIST", empty, False)


ENDLESS = {
    "orders": (orders_without_end, "GET_ORDERS"),
    "products": (products_without_end, "GET_PRODUCTS"),
    "messages without a product": (nothing_without_end, "GET_PRODUCTS"),
}


@pytest.mark.parametrize("kind", ENDLESS)
@pytest.mark.parametrize("bound", ["bytes", "lines"])
def test_a_list_without_end_is_left_at_a_bound(
    kind: str, bound: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if bound == "bytes":
        monkeypatch.setattr(client_module, "ANSWER_BYTES_MAX", 1_000_000)
    else:
        monkeypatch.setattr(lists, "LINES_MAX", 2_000)
        monkeypatch.setattr(client_module, "ANSWER_BYTES_MAX", 2_000_000)
    messages, code = ENDLESS[kind]
    with FakeShop(endless(messages, code)) as shop, new_client(shop) as customer:
        ask = customer.orders if code == "GET_ORDERS" else customer.products
        with pytest.raises(client.ProtocolViolation, match="more than this client takes in"):
            ask()
        assert customer.bytes_received < 2_200_000
        assert not customer.is_connected


def test_a_long_list_takes_little_more_memory_than_its_bytes() -> None:
    """So that what ANSWER_BYTES_MAX allows is some hundred MiB at most."""
    pages = [orders_without_end(number) for number in range(50)]

    def script(peer: Peer) -> None:
        peer.hear("GET_ORDERS")
        for raw in pages:
            peer.say(raw)
        peer.say(page(1, as_of=10**16))

    with FakeShop(script) as shop, new_client(shop) as customer:
        tracemalloc.start()
        try:
            found = customer.orders()
            kept, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert len(found) == 5_001
    assert kept < 4 * sum(map(len, pages))
