"""Answers as the load test reads them: what is none is a violation, what is odd a remark."""

import json
from typing import Any

import pytest
from _answers import (
    ANSWER_MESSAGES_MAX,
    FRAME_BYTES_MAX,
    LOGIN,
    ORDERS,
    PRODUCTS,
    RECEIPT,
    Reply,
    Violation,
    decode,
    error_remarks,
    login_remarks,
    order_digests,
    order_list,
    order_remarks,
    product_list,
    receipt_remarks,
    told,
)

from tests.unit.fake_shop import FOOTBALL, WELCOME, error, message
from tests.unit.fake_shop import RECEIPT as SOLD

DEEP = b"[" * 30_000 + b"]" * 30_000
MOMENT = "2026-11-23T10:35:18.216Z"
ENTRY = {"order": 7, "placedAt": MOMENT, "orderKey": "k", "items": [FOOTBALL], "total": "149.90"}
PRODUCT = {"name": "Football", "price": "149.90", "stockQuantity": 5}


def orders(*entries: dict[str, Any], as_of: int = 9, end: bool = True) -> bytes:
    return message("ORDERS_LIST", {"orders": entries, "asOf": as_of}, end)


def products(*listed: dict[str, Any], end: bool = True) -> bytes:
    return message("PRODUCTS_LIST", {"products": listed, "asOf": 9}, end)


def read(request: str, decoder: Any, *lines: bytes) -> Reply:
    """Return an answer of which the last of these lines is the last message, and no other."""
    reply = Reply(request, decoder)
    assert [reply.add(line) for line in lines] == [False] * (len(lines) - 1) + [True]
    return reply


@pytest.mark.parametrize(
    "line",
    [
        b'{"code":"ERROR","x":' + DEEP + b"}",
        b'{"code":"PRODUCTS_LIST","x":' + DEEP + b',"data":{"products":[],"asOf":0}}',
        b"\xff\xfe",
        b"",
        b"[]",
        b"x" * (FRAME_BYTES_MAX + 1),
        message("SUCCESS", {}),
        message("PRODUCTS_LIST", {"products": [], "asOf": 2**63}),
    ],
    ids=["deep error", "deep list", "no UTF-8", "nothing", "array", "long", "other", "huge"],
)
def test_what_is_no_answer_is_a_violation_and_no_other_exception(line: bytes) -> None:
    with pytest.raises(Violation):
        decode(line, PRODUCTS)


def test_an_entry_of_a_list_may_be_too_deep_too() -> None:
    line = b'{"code":"ORDERS_LIST","data":{"orders":[' + DEEP + b'],"asOf":0}}'
    with pytest.raises(Violation):
        order_digests([decode(line, ORDERS).data])


@pytest.mark.parametrize(
    "changes",
    [
        {"order": -1},
        {"total": "149.9"},
        {"items": [{**FOOTBALL, "quantity": -1}]},
        {"items": [{**FOOTBALL, "price": "150"}]},
    ],
    ids=["order", "total", "quantity", "price"],
)
def test_a_receipt_of_impossible_numbers_is_a_violation(changes: dict[str, object]) -> None:
    with pytest.raises(Violation):
        told(decode(message("SUCCESS", {**SOLD, **changes}), RECEIPT).data)


def test_an_error_ends_an_answer_whatever_it_says_of_more() -> None:
    line = error("BUSY").replace(b'"endOfData": true', b'"endOfData": false')
    reply = read("GET_PRODUCTS", PRODUCTS, line)
    assert reply.remarks == ["has endOfData false, and is a whole answer"]


def test_an_error_in_the_middle_of_a_list_is_a_violation() -> None:
    reply = Reply("GET_PRODUCTS", PRODUCTS)
    assert not reply.add(products(PRODUCT, end=False))
    with pytest.raises(Violation, match="ERROR BUSY in the middle"):
        reply.add(error("BUSY"))


def test_a_shop_that_fails_in_the_middle_of_a_list_may_say_so() -> None:
    reply = read("GET_ORDERS", ORDERS, orders(ENTRY, end=False), error("STORAGE_FAILED"))
    assert reply.remarks == []


def test_an_answer_without_end_is_a_violation() -> None:
    empty, big = products(end=False), products({**PRODUCT, "name": "x" * 60_000}, end=False)
    for line, most in ((empty, ANSWER_MESSAGES_MAX + 1), (big, 2_000)):
        reply = Reply("GET_PRODUCTS", PRODUCTS)
        with pytest.raises(Violation, match="without end"):
            all(not reply.add(line) for _ in range(most))


@pytest.mark.parametrize("request_code", ["NEW_ORDER_ITEM", "GET_ORDERS", "AUTHENTICATION"])
@pytest.mark.parametrize(
    "reason",
    [
        "MALFORMED_MESSAGE",
        "UNEXPECTED_MESSAGE",
        "NOT_AUTHENTICATED",
        "ALREADY_AUTHENTICATED",
        "ORDER_TOO_LARGE",
        "FRAME_TOO_LONG",
    ],
)
def test_an_error_that_a_good_request_can_not_get_is_remarked(
    reason: str, request_code: str
) -> None:
    assert reason in error_remarks(decode(error(reason), RECEIPT), request_code)[0]


@pytest.mark.parametrize("reason", ["BUSY", "SHUTTING_DOWN", "INSUFFICIENT_STOCK"])
def test_an_error_that_it_can_get_is_not(reason: str) -> None:
    assert error_remarks(decode(error(reason), RECEIPT), "NEW_ORDER_ITEM") == []


def test_an_error_that_does_not_say_whether_to_try_again_is_remarked() -> None:
    line = message("ERROR", {"reason": "BUSY", "message": "", "retryable": False})
    assert error_remarks(decode(line, RECEIPT), "GET_ORDERS") == [
        "is refused with BUSY, retryable: false"
    ]
    line = message("ERROR", {"reason": "BUSY", "message": ""})
    assert "not said" in error_remarks(decode(line, RECEIPT), "GET_ORDERS")[0]


@pytest.mark.parametrize(
    ("change", "remark"),
    [
        ({}, None),
        ({"user": "root"}, "logged in 'root'"),
        ({"protocol": 0}, "has protocol 0: expected a whole number from 1 on"),
        ({"protocol": "1"}, "has protocol 1: expected a whole number from 1 on"),
        ({"protocol": True}, "has protocol True: expected a whole number from 1 on"),
        ({"protocol": None}, "has protocol None: expected a whole number from 1 on"),
        ({"token": ""}, "gives no token"),
    ],
)
def test_a_login_says_who_logged_in(change: dict[str, object], remark: str | None) -> None:
    reply = read("AUTHENTICATION", LOGIN, message("SUCCESS", {**WELCOME, **change}))
    assert login_remarks(reply.messages[0].data, "user1") == ([remark] if remark else [])


def test_a_receipt_says_whether_it_is_replayed_and_is_one_message() -> None:
    assert receipt_remarks(decode(message("SUCCESS", SOLD), RECEIPT)) == []
    bare = {name: value for name, value in SOLD.items() if name != "replayed"}
    assert receipt_remarks(decode(message("SUCCESS", bare, end=False), RECEIPT)) == [
        "has endOfData false, and is a whole answer",
        "does not tell whether it is replayed",
    ]


def test_a_message_of_a_list_has_at_most_100_entries() -> None:
    listed = [{**PRODUCT, "name": f"P{number:03}"} for number in range(101)]
    assert product_list([decode(products(*listed[:100]), PRODUCTS).data]).remarks == []
    assert "101 entries" in product_list([decode(products(*listed), PRODUCTS).data]).remarks[0]
    entries = [{**ENTRY, "order": number} for number in range(101, 0, -1)]
    page = decode(orders(*entries), ORDERS).data
    assert "101 entries" in order_list([page], 1_000).remarks[0]


def test_a_list_of_orders_keeps_to_its_limit_and_to_one_as_of() -> None:
    pages = [decode(orders(ENTRY, as_of=as_of), ORDERS).data for as_of in (9, 10)]
    assert order_list(pages[:1], 1).remarks == []
    assert order_list(pages, 1) == (
        9,
        ["has several asOf: 9, 10", "has 2 orders: asked for were 1"],
    )


def test_a_list_of_orders_goes_down_from_where_it_was_asked_for() -> None:
    assert order_remarks([9, 7], before=10) == []
    assert order_remarks([7, 7]) == order_remarks([7, 9]) == ["is not newest first, each once"]
    assert order_remarks([9, 7], before=9) == ["has order 9: asked for were those before 9"]


@pytest.mark.parametrize(
    ("moment", "is_right"),
    [
        (MOMENT, True),
        ("2026-11-23T10:35:18.216+00:00", True),
        ("2026-11-23T10:35:18Z", False),
        ("2026-11-23T10:35:18.216+01:00", False),
        ("2026-13-23T10:35:18.216Z", False),
        ("yesterday", False),
        (None, False),
        (17, False),
    ],
)
def test_an_entry_tells_when_it_was_placed(moment: object, is_right: bool) -> None:
    page = decode(orders({**ENTRY, "placedAt": moment}), ORDERS).data
    for _ in range(2):  # the second time it is known
        [(position, _, remark)] = order_digests([page])
        assert (position, not remark) == (7, is_right)
    del (entry := json.loads(json.dumps(ENTRY)))["placedAt"]
    assert order_digests([decode(orders(entry), ORDERS).data])[0][2]


@pytest.mark.parametrize("protocol", [1, 2, 3, 1_000])
def test_a_later_version_of_the_protocol_is_as_good(protocol: int) -> None:
    greeting = message("SUCCESS", {**WELCOME, "user": "ann", "protocol": protocol, "role": "x"})
    assert login_remarks(decode(greeting, LOGIN).data, "ann") == []


@pytest.mark.parametrize("request_code", ["NEW_ORDER_ITEM", "GET_ORDERS", "AUTHENTICATION"])
@pytest.mark.parametrize("reason", ["RATE_LIMITED", "LIMIT_REACHED", "NOT_ON_SALE", "SOMETHING"])
def test_a_reason_of_a_later_version_convicts_nobody(reason: str, request_code: str) -> None:
    data = {"reason": reason, "message": "", "retryable": reason == "RATE_LIMITED", "at": "noon"}
    assert error_remarks(decode(message("ERROR", data), RECEIPT), request_code) == []


def test_a_receipt_may_have_fields_of_a_later_version() -> None:
    sold = {**SOLD, "status": "SOLD", "heldUntil": None, "items": [{**FOOTBALL, "unit": "piece"}]}
    answer = decode(message("SUCCESS", sold), RECEIPT)
    assert receipt_remarks(answer) == []
    assert told(answer.data).position == SOLD["order"]


def test_a_shop_may_have_its_own_spelling_of_a_user() -> None:
    greeting = message("SUCCESS", {**WELCOME, "user": "Jos\u00e9"})
    assert login_remarks(decode(greeting, LOGIN).data, "Jose\u0301") == []
    assert login_remarks(decode(greeting, LOGIN).data, "Jose") != []


def test_the_dearest_order_there_can_be_is_an_answer() -> None:
    """A hundred items of a million each, at the highest price."""
    item = {**FOOTBALL, "price": "99999999.99", "quantity": 1_000_000}
    dear = {**SOLD, "items": [item] * 100, "total": "9999999999000000.00"}
    assert told(decode(message("SUCCESS", dear), RECEIPT).data).total == 999_999_999_900_000_000
