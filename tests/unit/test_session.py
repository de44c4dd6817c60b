"""Dialogues with a session: lines in, what is to be done about them out."""

import msgspec
import pytest

from sportshop.messages import Credentials, OrdersWanted, ProductsWanted, Reason
from sportshop.orders import Item, Order
from sportshop.session import Refused, Session
from sportshop.users import User

USER = User(1, "user1", "")
LOGIN = {"code": "AUTHENTICATION", "data": {"user": "user1", "password": "senha"}}
BALL = {"productName": "Ball", "quantity": 2}


def say(
    session: Session, code: str | dict[str, object], end: bool = True, **data: object
) -> object:
    message = code if isinstance(code, dict) else {"code": code, "data": data, "endOfData": end}
    return session.receive(msgspec.json.encode(message))


@pytest.fixture
def session() -> Session:
    """A session whose user is logged in."""
    session = Session()
    session.welcome(USER)
    return session


def refused(step: object, reason: Reason, closes: bool = False) -> None:
    assert isinstance(step, Refused)
    assert (step.reason, step.closes) == (reason, closes)


def test_a_login_comes_first() -> None:
    session = Session()
    for code in ("GET_PRODUCTS", "GET_ORDERS"):
        refused(say(session, code), Reason.NOT_AUTHENTICATED)
    refused(say(session, "NEW_ORDER_ITEM", **BALL), Reason.NOT_AUTHENTICATED)
    assert say(session, LOGIN) == Credentials("user1", "senha")


def test_an_order_of_nobody_is_refused_once_and_its_rest_passed_over() -> None:
    session = Session()
    refused(say(session, "NEW_ORDER_ITEM", end=False, **BALL), Reason.NOT_AUTHENTICATED)
    assert say(session, "NEW_ORDER_ITEM", end=False, **BALL) is None
    assert say(session, "NEW_ORDER_ITEM", **BALL) is None
    refused(say(session, "NEW_ORDER_ITEM", **BALL), Reason.NOT_AUTHENTICATED)
    refused(say(session, "NEW_ORDER_ITEM", end=False, **BALL), Reason.NOT_AUTHENTICATED)
    assert say(session, LOGIN) == Credentials("user1", "senha")


def test_the_fifth_wrong_login_closes() -> None:
    session = Session()
    for _ in range(4):
        refused(session.refuse_login(), Reason.INVALID_CREDENTIALS)
    refused(session.refuse_login(), Reason.INVALID_CREDENTIALS, closes=True)


def test_nobody_logs_in_twice(session: Session) -> None:
    refused(say(session, LOGIN), Reason.ALREADY_AUTHENTICATED)
    assert say(session, "GET_PRODUCTS") == ProductsWanted()


def test_requests_are_passed_on(session: Session) -> None:
    assert say(session, "GET_PRODUCTS", soldOut=True) == ProductsWanted(sold_out=True)
    assert say(session, "GET_ORDERS", before=5, limit=2) == OrdersWanted(5, 2)
    assert say(session, "NEW_ORDER_ITEM", orderKey="k", **BALL) == Order(
        USER, (Item("Ball", 2),), "k"
    )


def test_items_are_gathered_until_the_last(session: Session) -> None:
    assert say(session, "NEW_ORDER_ITEM", end=False, **BALL) is None
    assert session.gathers_order
    assert say(session, "NEW_ORDER_ITEM", end=False, orderKey="k", **BALL) is None
    order = say(session, "NEW_ORDER_ITEM", productName="Net", quantity=1)
    assert order == Order(USER, (Item("Ball", 2), Item("Ball", 2), Item("Net", 1)), "k")
    assert not session.gathers_order


def test_nothing_of_an_order_stays_for_the_next(session: Session) -> None:
    say(session, "NEW_ORDER_ITEM", end=False, orderKey="k", **BALL)
    say(session, "NEW_ORDER_ITEM", **BALL)
    assert say(session, "NEW_ORDER_ITEM", end=False, **BALL) is None
    assert say(session, "NEW_ORDER_ITEM", **BALL) == Order(USER, (Item("Ball", 2),) * 2, None)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"code":"GET_PRODUCTS"}', Reason.UNEXPECTED_MESSAGE),
        (b'{"code":"GET_ORDERS"}', Reason.UNEXPECTED_MESSAGE),
        (msgspec.json.encode(LOGIN), Reason.UNEXPECTED_MESSAGE),
        (b'{"code":"SUCCESS"}', Reason.UNEXPECTED_MESSAGE),
        (b"{", Reason.MALFORMED_MESSAGE),
        (
            b'{"code":"NEW_ORDER_ITEM","data":{"productName":"x","quantity":1,"orderKey":"other"}}',
            Reason.MALFORMED_MESSAGE,
        ),
    ],
)
def test_whatever_breaks_an_order_closes(session: Session, line: bytes, reason: Reason) -> None:
    say(session, "NEW_ORDER_ITEM", end=False, orderKey="k", **BALL)
    refused(session.receive(line), reason, closes=True)
    assert not session.gathers_order


def test_the_hundred_and_first_item_closes(session: Session) -> None:
    for _ in range(100):
        assert say(session, "NEW_ORDER_ITEM", end=False, **BALL) is None
    refused(say(session, "NEW_ORDER_ITEM", **BALL), Reason.ORDER_TOO_LARGE, closes=True)


def test_a_hundred_items_are_an_order(session: Session) -> None:
    for _ in range(99):
        say(session, "NEW_ORDER_ITEM", end=False, **BALL)
    order = say(session, "NEW_ORDER_ITEM", **BALL)
    assert isinstance(order, Order)
    assert len(order.items) == 100


def test_an_order_whose_receipt_would_not_fit_a_frame_closes(session: Session) -> None:
    long = {"productName": "\U0001d501" * 200, "quantity": 1}  # 800 bytes each
    for _ in range(99):
        say(session, "NEW_ORDER_ITEM", end=False, **long)
    refused(say(session, "NEW_ORDER_ITEM", **long), Reason.ORDER_TOO_LARGE, closes=True)


def test_bad_messages_outside_an_order_leave_the_connection_open(session: Session) -> None:
    refused(session.receive(b"{"), Reason.MALFORMED_MESSAGE)
    refused(session.receive(b'{"code":"ERROR"}'), Reason.UNEXPECTED_MESSAGE)
