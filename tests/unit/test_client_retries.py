"""The client against a shop that hangs up, is not there, or is busy: what is asked again."""

import socket
import threading
from collections.abc import Callable

import pytest

from sportshop import client
from sportshop.client import Client, attempts, deadline, wire
from sportshop.client.deadline import Deadline, pause_s
from sportshop.client.wire import Wire
from sportshop.messages import FRAME_BYTES_MAX
from tests.unit.fake_shop import PATIENCE_S, FakeShop, Peer, error


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadline, "PAUSE_S_FIRST", 0.001)
    monkeypatch.setattr(deadline, "PAUSE_S_MAX", 0.004)


def new_client(shop: FakeShop) -> Client:
    return Client(port=shop.port, timeout_s=PATIENCE_S, attempts=4)


def take_order_and_hang_up(peer: Peer) -> None:
    peer.hear("NEW_ORDER_ITEM")


# Lost connections.


def test_a_shop_that_is_not_there_is_not_waited_for() -> None:
    with FakeShop() as shop:
        pass
    with pytest.raises(client.ConnectionLost, match="refused") as lost:
        Client(port=shop.port, timeout_s=60.0).authenticate("user1", "senha")
    assert lost.value.stage == "connect"


def test_a_host_that_does_not_exist_is_a_lost_connection() -> None:
    with pytest.raises(client.ConnectionLost):
        client.connect("\udc80.invalid")


def test_an_order_whose_answer_was_lost_is_asked_again_with_token_and_key() -> None:
    def first(peer: Peer) -> None:
        assert peer.welcome() == {"user": "user1", "password": "senha"}
        peer.hear("NEW_ORDER_ITEM")

    def second(peer: Peer) -> None:
        assert peer.welcome(token="token-2") == {"token": "token-1"}
        peer.sell(replayed=True, asOf=9)

    with FakeShop(first, second) as shop, new_client(shop) as customer:
        customer.authenticate("user1", "senha")
        receipt = customer.order("Football")
    assert (receipt.order, receipt.replayed) == (7, True)
    assert [order["orderKey"] for order in shop.orders()] == [receipt.key, receipt.key]
    assert customer.session is not None
    assert customer.session.token == "token-2"


def test_a_connection_that_is_reset_is_a_lost_connection_like_any_other() -> None:
    def first(peer: Peer) -> None:
        peer.hear("NEW_ORDER_ITEM")
        peer.reset()

    with FakeShop(first, Peer.sell) as shop, new_client(shop) as customer:
        assert customer.order("Football").order == 7


def test_where_the_token_no_longer_works_the_password_does() -> None:
    def second(peer: Peer) -> None:
        assert peer.hear("AUTHENTICATION") == {"token": "token-1"}
        peer.say(error("INVALID_CREDENTIALS"))
        assert peer.welcome() == {"user": "user1", "password": "senha"}
        peer.sell()

    with FakeShop(Peer.welcome, second) as shop, new_client(shop) as customer:
        customer.authenticate("user1", "senha")
        assert customer.order("Football").order == 7


def test_a_client_of_a_token_alone_has_no_password_to_fall_back_on() -> None:
    def first(peer: Peer) -> None:
        peer.welcome()
        peer.hear("NEW_ORDER_ITEM")

    def second(peer: Peer) -> None:
        peer.hear("AUTHENTICATION")
        peer.say(error("INVALID_CREDENTIALS"))

    with FakeShop(first, second) as shop, new_client(shop) as customer:
        customer.authenticate_token("token-0")
        with pytest.raises(client.OutcomeUnknown) as unknown:
            customer.order("Football", key="k-1")
    assert isinstance(unknown.value.__cause__, client.InvalidCredentials)


def test_a_list_that_breaks_off_is_read_again_from_its_start() -> None:
    ball = {"name": "Ball", "price": "10.00", "stockQuantity": 3}

    def first(peer: Peer) -> None:
        peer.hear("GET_PRODUCTS")
        peer.answer("PRODUCTS_LIST", {"products": [ball], "asOf": 4}, end=False)

    def second(peer: Peer) -> None:
        peer.hear("GET_PRODUCTS")
        peer.answer("PRODUCTS_LIST", {"products": [], "asOf": 5})

    with FakeShop(first, second) as shop, new_client(shop) as customer:
        assert customer.products() == client.ProductList(5, ())


def test_an_order_that_cannot_be_settled_is_an_unknown_outcome_with_its_key() -> None:
    with (
        FakeShop(take_order_and_hang_up) as shop,
        new_client(shop) as customer,
        pytest.raises(client.OutcomeUnknown) as unknown,
    ):
        customer.order("Football")
    assert unknown.value.key == shop.orders()[0]["orderKey"]
    assert isinstance(unknown.value.__cause__, client.ConnectionLost)


def test_a_shop_that_keeps_hanging_up_is_asked_only_so_often() -> None:
    with (
        FakeShop(*[take_order_and_hang_up] * 4) as shop,
        new_client(shop) as customer,
        pytest.raises(client.OutcomeUnknown),
    ):
        customer.order("Football")
    assert len(shop.orders()) == 4


def test_an_order_without_key_is_never_sent_twice() -> None:
    with (
        FakeShop(take_order_and_hang_up) as shop,
        new_client(shop) as customer,
        pytest.raises(client.OutcomeUnknown) as unknown,
    ):
        customer.order("Football", key=None)
    assert unknown.value.key is None
    assert len(shop.orders()) == 1


@pytest.mark.parametrize("last_word", [b"", error("TIMED_OUT"), error("SHUTTING_DOWN")])
def test_a_shop_that_hung_up_between_two_calls_costs_nothing(
    last_word: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even an order without key can go to a new connection: nothing of it was sent on the old."""
    monkeypatch.setattr(wire, "QUIET_S", 0.0)

    logged_in = threading.Event()

    def first(peer: Peer) -> None:
        peer.welcome()
        assert logged_in.wait(PATIENCE_S)
        peer.say(last_word)

    def second(peer: Peer) -> None:
        peer.welcome()
        peer.sell()

    with FakeShop(first, second) as shop, new_client(shop) as customer:
        customer.authenticate("user1", "senha")
        logged_in.set()
        wait_until_readable(customer, last_word)
        assert customer.order("Football", key=None).order == 7


def wait_until_readable(customer: Client, last_word: bytes) -> None:
    """Wait until what the shop said last, and its end, have arrived."""
    assert customer._wire is not None
    sock = customer._wire._socket
    assert sock is not None
    sock.settimeout(PATIENCE_S)
    while len(sock.recv(FRAME_BYTES_MAX, socket.MSG_PEEK)) < len(last_word):
        pass


def test_the_last_word_of_a_shop_that_hung_up_while_we_sent_is_heard() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        connection = Wire(ours)
        theirs.sendall(error("ORDER_TOO_LARGE"))
    connection.send(b"{}\n", 1, Deadline(PATIENCE_S))
    assert connection.receive(Deadline(PATIENCE_S)).data["reason"] == "ORDER_TOO_LARGE"
    with pytest.raises(client.ConnectionLost):
        connection.receive(Deadline(PATIENCE_S))


# Refusals that may be asked again.


def test_busy_is_asked_again_on_the_same_connection() -> None:
    def script(peer: Peer) -> None:
        for _ in range(9):  # more often than a lost connection would be
            peer.hear("NEW_ORDER_ITEM")
            peer.say(error("BUSY"))
        peer.sell()

    with FakeShop(script) as shop, new_client(shop) as customer:
        assert customer.order("Football", key=None).order == 7


def test_busy_is_a_refusal_where_the_deadline_leaves_no_time_to_ask_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(attempts, "pause_s", lambda failures: 2 * PATIENCE_S)

    def script(peer: Peer) -> None:
        peer.hear("GET_PRODUCTS")
        peer.say(error("BUSY"))

    with FakeShop(script) as shop, new_client(shop) as customer:
        with pytest.raises(client.Busy) as busy:
            customer.products()
        assert customer.is_connected
    assert busy.value.retryable


def test_a_shop_too_busy_for_another_connection_is_tried_with_a_new_one() -> None:
    def full(peer: Peer) -> None:
        peer.say(error("BUSY"))
        peer.hear("AUTHENTICATION")

    with FakeShop(full, full, Peer.welcome) as shop, new_client(shop) as customer:
        assert customer.authenticate("user1", "senha").user == "user1"


@pytest.mark.parametrize("reason", ["SHUTTING_DOWN", "TIMED_OUT", "STORAGE_FAILED"])
def test_an_order_with_key_is_asked_again_where_the_shop_closed_the_connection(reason: str) -> None:
    def first(peer: Peer) -> None:
        peer.hear("NEW_ORDER_ITEM")
        peer.say(error(reason))
        peer.wait_for_end()

    with FakeShop(first, Peer.sell) as shop, new_client(shop) as customer:
        receipt = customer.order("Football")
    assert [order["orderKey"] for order in shop.orders()] == [receipt.key] * 2


def answer_order(*answers: bytes) -> Callable[[Peer], None]:
    def script(peer: Peer) -> None:
        for answer in answers:
            peer.hear("NEW_ORDER_ITEM")
            peer.say(answer)
        peer.wait_for_end()

    return script


@pytest.mark.parametrize(
    ("reason", "raised"),
    [
        ("SHUTTING_DOWN", client.ShuttingDown),
        ("TIMED_OUT", client.TimedOut),
        ("STORAGE_FAILED", client.OutcomeUnknown),
    ],
)
def test_an_order_without_key_is_told_what_the_shop_said(
    reason: str, raised: type[Exception]
) -> None:
    """The shop answers what it accepted first: only after STORAGE_FAILED is there any doubt."""
    with FakeShop(answer_order(error(reason))) as shop, new_client(shop) as customer:
        with pytest.raises(raised):
            customer.order("Football", key=None)
        assert not customer.is_connected


def test_a_refusal_settles_an_order_whose_first_answer_was_lost() -> None:
    facts = {"productName": "Football", "requested": 1, "available": 0, "asOf": 3}
    scripts = take_order_and_hang_up, answer_order(error("INSUFFICIENT_STOCK", **facts))
    with FakeShop(*scripts) as shop, new_client(shop) as customer, pytest.raises(client.SoldOut):
        customer.order("Football")


def test_busy_does_not_settle_an_order_whose_first_answer_was_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pauses_s = iter((0.001, 2 * PATIENCE_S))
    monkeypatch.setattr(attempts, "pause_s", lambda failures: next(pauses_s))
    scripts = take_order_and_hang_up, answer_order(error("BUSY"))
    with FakeShop(*scripts) as shop, new_client(shop) as customer:
        with pytest.raises(client.OutcomeUnknown) as unknown:
            customer.order("Football")
        customer.close()
    assert isinstance(unknown.value.__cause__, client.Busy)


def test_an_order_of_several_items_that_was_malformed_ends_the_connection() -> None:
    """The shop may answer its other items as well, and has hung up or will."""

    def script(peer: Peer) -> None:
        peer.hear("NEW_ORDER_ITEM")
        peer.say(error("MALFORMED_MESSAGE") * 2)
        peer.hear("NEW_ORDER_ITEM")
        peer.wait_for_end()

    with FakeShop(script) as shop, new_client(shop) as customer:
        with pytest.raises(client.MalformedMessage):
            customer.order([("Football", 0), ("Net", 1)])
        assert not customer.is_connected


def test_pauses_double_up_to_a_limit_and_are_spread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadline, "PAUSE_S_FIRST", 0.05)
    monkeypatch.setattr(deadline, "PAUSE_S_MAX", 2.0)
    for failures, longest_s in ((1, 0.05), (2, 0.1), (6, 1.6), (7, 2.0), (5_000, 2.0)):
        pauses = {pause_s(failures) for _ in range(100)}
        assert len(pauses) > 50
        assert longest_s / 2 <= min(pauses) <= max(pauses) <= longest_s
