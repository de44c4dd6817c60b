"""The codec: what is let through is well-formed, what is sent can be read, all fits its frame."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sportshop import messages
from sportshop.messages import (
    FRAME_BYTES_MAX,
    BadMessage,
    Code,
    ListWriter,
    NewOrderItem,
    Reason,
    decode_answer,
    decode_request,
    encode_request,
)
from sportshop.orders import Accepted, Receipt, SoldItem, format_time, parse_time
from sportshop.products import PRICE_CENTS_MAX, STOCK_MAX, Product, ProductList
from sportshop.users import User

USER = User(1, "user1", "")
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3)
    ),
    max_leaves=10,
)
names = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=200)


def loads(line: bytes) -> Any:
    return msgspec.json.decode(line)


def decoded(line: bytes) -> str:
    """Return the code of the request, or the reason why it is none."""
    try:
        return str(decode_request(line).__struct_config__.tag)
    except BadMessage as bad:
        return bad.reason


@given(st.binary(max_size=300))
def test_whatever_the_bytes_are_only_bad_message_is_raised(line: bytes) -> None:
    with pytest.raises(BadMessage):
        decode_request(b"\xff" + line)


@given(st.sampled_from(list(Code)), json_values, json_values, json_values)
def test_whatever_the_fields_are_the_answer_is_a_request_or_bad_message(
    code: Code, data: object, end: object, extra: object
) -> None:
    for message in ({"code": code, "data": data}, {"code": code, "data": data, "endOfData": end},
                    {"code": code, "data": {"productName": extra, "quantity": end}}):  # fmt: skip
        told = decoded(msgspec.json.encode(message))
        if code in messages.SHOP_CODES:
            assert told == Reason.UNEXPECTED_MESSAGE
        else:
            assert told in {code, Reason.MALFORMED_MESSAGE}


@given(names, st.integers(1, 1_000_000), st.none() | st.text("abc -~", min_size=1, max_size=64))
def test_an_item_survives_its_journey(name: str, quantity: int, key: str | None) -> None:
    data = {"productName": name, "quantity": quantity} | ({"orderKey": key} if key else {})
    request = decode_request(encode_request(Code.NEW_ORDER_ITEM, data, end_of_data=False))
    assert isinstance(request, NewOrderItem)
    assert (request.data.product_name, request.data.quantity) == (name, quantity)
    assert (request.data.order_key or None) == key
    assert not request.end_of_data


@pytest.mark.parametrize(
    ("line", "names_field"),
    [
        (b'{"code":"NEW_ORDER_ITEM","data":{"productName":"x","quantity":0}}', "data.quantity"),
        (b'{"code":"NEW_ORDER_ITEM","data":{"productName":"x","qty":1}}', "qty"),
        (b'{"code":"GET_ORDERS","data":{"limit":1001}}', "data.limit"),
        (b'{"code":"GET_ORDERS","data":{"before":0}}', "data.before"),
        (b'{"code":"GET_PRODUCTS","endOfData":1}', "endOfData"),
        (b'{"code":"NOPE"}', "NOPE"),
        (b"[]", "object"),
    ],
)
def test_the_message_names_the_field(line: bytes, names_field: str) -> None:
    with pytest.raises(BadMessage) as caught:
        decode_request(line)
    assert caught.value.reason is Reason.MALFORMED_MESSAGE
    assert names_field in caught.value.message


def test_depth_does_not_break_the_decoder() -> None:
    for deep in (b"[" * 60_000, b'{"code":"SUCCESS","x":' + b"[" * 60_000):
        with pytest.raises(BadMessage):
            decode_request(deep)


@given(st.lists(names, max_size=300, unique=True), st.integers(0, STOCK_MAX))
def test_a_list_of_products_fits_its_frames_and_loses_none(found: list[str], stock: int) -> None:
    snapshot = ProductList(7, tuple(Product(name, PRICE_CENTS_MAX, stock) for name in found))
    lines = [m for m in messages.encode_products(snapshot, sold_out=True) if m]
    answers = [loads(line) for line in lines]
    assert [p["name"] for a in answers for p in a["data"]["products"]] == found
    assert [a["endOfData"] for a in answers] == [False] * (len(lines) - 1) + [True]
    assert {a["data"]["asOf"] for a in answers} == {7}
    assert max(len(line) for line in lines) <= FRAME_BYTES_MAX
    assert max(len(a["data"]["products"]) for a in answers) <= 100


def test_a_hundred_products_are_one_message_and_one_more_makes_two() -> None:
    for count, sizes in ((0, [0]), (100, [100]), (101, [100, 1]), (200, [100, 100])):
        snapshot = ProductList(0, tuple(Product(f"p{i}", 100, 1) for i in range(count)))
        lines = [m for m in messages.encode_products(snapshot, sold_out=False) if m]
        assert [len(loads(line)["data"]["products"]) for line in lines] == sizes


def test_long_names_make_more_messages_not_longer_ones() -> None:
    snapshot = ProductList(
        0, tuple(Product("\U0001d501" * 199 + chr(65 + i), 1, 1) for i in range(100))
    )
    lines = [m for m in messages.encode_products(snapshot, sold_out=False) if m]
    assert len(lines) == 2
    assert max(len(line) for line in lines) <= FRAME_BYTES_MAX


@given(st.lists(names, min_size=1, max_size=100), st.integers(1, 10**6))
def test_the_bound_of_a_receipt_holds(found: list[str], quantity: int) -> None:
    items = tuple(SoldItem(name, quantity, PRICE_CENTS_MAX, STOCK_MAX) for name in found)
    receipt = Receipt(10**12, 1_700_000_000_000, USER, items, '"' * 64)
    bound = messages.receipt_bytes_max(found)
    assert len(messages.encode_accepted(Accepted(receipt, 10**12))) <= bound
    writer = ListWriter(Code.ORDERS_LIST, "orders", 10**12)
    list(writer.add([messages.encode_order_entry(receipt)]))
    assert len(writer.end()) <= bound


@given(names, st.integers(1, 10**6), st.integers(0, PRICE_CENTS_MAX), st.booleans())
def test_the_template_of_one_item_is_filled_in_as_the_encoder_would(
    name: str, quantity: int, price: int, replayed: bool
) -> None:
    receipt = Receipt(7, 0, USER, (SoldItem(name, quantity, price, STOCK_MAX),))
    accepted = Accepted(receipt, 10**12, replayed)
    assert messages.encode_accepted(accepted) == messages._encode_basket(accepted)


def test_a_receipt_says_what_the_contract_says() -> None:
    receipt = Receipt(4, 0, USER, (SoldItem("Ball", 2, 14_990, 8), SoldItem("Net", 1, 5, 0)), "k")
    assert loads(messages.encode_accepted(Accepted(receipt, 9, replayed=True))) == {
        "code": "SUCCESS",
        "data": {
            "order": 4,
            "items": [
                {"productName": "Ball", "quantity": 2, "price": "149.90", "stockQuantity": 8},
                {"productName": "Net", "quantity": 1, "price": "0.05", "stockQuantity": 0},
            ],
            "total": "299.85",
            "asOf": 9,
            "replayed": True,
        },
        "endOfData": True,
    }


def test_an_error_says_whether_to_try_again() -> None:
    for reason in Reason:
        answer = decode_answer(messages.encode_error(reason, "m"))
        again = {"BUSY", "TIMED_OUT", "SHUTTING_DOWN", "STORAGE_FAILED"}
        assert answer.data == {"reason": reason, "message": "m", "retryable": reason in again}


@given(st.integers(0, 4_000_000_000_000))
def test_a_time_is_read_as_it_was_written(ms: int) -> None:
    assert parse_time(format_time(ms)) == ms


def test_a_time_is_rfc_3339_in_utc_with_milliseconds() -> None:
    assert format_time(1_700_000_000_007) == "2023-11-14T22:13:20.007Z"


def test_an_answer_with_fields_of_a_later_shop_is_read() -> None:
    answer = decode_answer(b'{"code":"SUCCESS","data":{"order":1,"new":[]},"new":1}')
    assert (answer.code, answer.end_of_data) == ("SUCCESS", True)
    with pytest.raises(ValueError, match="not an answer"):
        decode_answer(b"[]")
