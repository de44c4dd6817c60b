"""Messages: typed requests and answers, and the codec between them and lines of JSON.

The wire contract is PROTOCOL.md; a test holds the two together. Every request that this module
lets through is well-formed: known code, known fields, right types, in range.
Knows no socket and no session: what may be said when is session.py's business.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from functools import lru_cache
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from sportshop import __version__, orders, products
from sportshop.names import has_control_characters
from sportshop.orders import Accepted, Receipt, format_time
from sportshop.products import Product, ProductList, format_cents

PROTOCOL = 1
FRAME_BYTES_MAX = 65_536  # with the LF, in both directions
LIST_ENTRIES_MAX = 100  # products or orders in one message of a list
ORDERS_LIMIT_MAX = 1_000
PAUSE = b""
"""Stands between the messages of an answer where others may be let in. It is not sent."""
TOKEN_HOURS = 12


class Code(StrEnum):
    """The eight codes."""

    AUTHENTICATION = "AUTHENTICATION"
    GET_PRODUCTS = "GET_PRODUCTS"
    PRODUCTS_LIST = "PRODUCTS_LIST"
    GET_ORDERS = "GET_ORDERS"
    ORDERS_LIST = "ORDERS_LIST"
    NEW_ORDER_ITEM = "NEW_ORDER_ITEM"
    SUCCESS = "SUCCESS"
    ERROR = "ERROR"


SHOP_CODES = frozenset({Code.PRODUCTS_LIST, Code.ORDERS_LIST, Code.SUCCESS, Code.ERROR})


class Reason(StrEnum):
    """Why a request was refused or a connection ended. Programs go by it."""

    MALFORMED_MESSAGE = "MALFORMED_MESSAGE"
    UNEXPECTED_MESSAGE = "UNEXPECTED_MESSAGE"
    FRAME_TOO_LONG = "FRAME_TOO_LONG"
    NOT_AUTHENTICATED = "NOT_AUTHENTICATED"
    ALREADY_AUTHENTICATED = "ALREADY_AUTHENTICATED"
    INVALID_CREDENTIALS = "INVALID_CREDENTIALS"
    PRODUCT_NOT_FOUND = "PRODUCT_NOT_FOUND"
    INSUFFICIENT_STOCK = "INSUFFICIENT_STOCK"
    ORDER_KEY_REUSED = "ORDER_KEY_REUSED"
    ORDER_TOO_LARGE = "ORDER_TOO_LARGE"
    BUSY = "BUSY"
    TIMED_OUT = "TIMED_OUT"
    SHUTTING_DOWN = "SHUTTING_DOWN"
    STORAGE_FAILED = "STORAGE_FAILED"


RETRYABLE = frozenset({Reason.BUSY, Reason.TIMED_OUT, Reason.SHUTTING_DOWN, Reason.STORAGE_FAILED})


# Requests.


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """Data of a request: a field that is not in the contract is refused."""


class _Request(_Strict, frozen=True, tag_field="code", rename={"end_of_data": "endOfData"}):
    """A request. Only the items of an order may say that more follows."""


class Credentials(_Strict, frozen=True):
    """A user and password, or a token alone."""

    user: str | UnsetType = UNSET
    password: str | UnsetType = UNSET
    token: str | UnsetType = UNSET


class Authentication(_Request, frozen=True, tag=str(Code.AUTHENTICATION)):
    """Log in."""

    data: Credentials
    end_of_data: bool = True


class ProductsWanted(_Strict, frozen=True, rename="camel"):
    """Which products to list."""

    sold_out: bool = False


class GetProducts(_Request, frozen=True, tag=str(Code.GET_PRODUCTS)):
    """List the products."""

    data: ProductsWanted = ProductsWanted()
    end_of_data: bool = True


class OrdersWanted(_Strict, frozen=True):
    """Which of the user's orders to list; without `limit` all of them."""

    before: Annotated[int, Meta(ge=1)] | UnsetType = UNSET
    limit: Annotated[int, Meta(ge=1, le=ORDERS_LIMIT_MAX)] | UnsetType = UNSET


class GetOrders(_Request, frozen=True, tag=str(Code.GET_ORDERS)):
    """List the user's own orders."""

    data: OrdersWanted = OrdersWanted()
    end_of_data: bool = True


class ItemWanted(_Strict, frozen=True, rename="camel"):
    """One item of an order."""

    product_name: Annotated[str, Meta(min_length=1, max_length=products.NAME_CHARACTERS_MAX)]
    quantity: Annotated[int, Meta(ge=1, le=orders.QUANTITY_MAX)]
    order_key: (
        Annotated[str, Meta(min_length=1, max_length=orders.KEY_CHARACTERS_MAX)] | UnsetType
    ) = UNSET


class NewOrderItem(_Request, frozen=True, tag=str(Code.NEW_ORDER_ITEM)):
    """Order an item; with `end_of_data` the order is complete and is placed."""

    data: ItemWanted
    end_of_data: bool = True


Request = Authentication | GetProducts | GetOrders | NewOrderItem


class BadMessage(Exception):
    """A line that is not a request. The reason and message are for the client."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class _AnyMessage(msgspec.Struct):
    code: str


_requests = msgspec.json.Decoder(Request)
_any_message = msgspec.json.Decoder(_AnyMessage)


def decode_request(line: bytes) -> Request:
    """Return the request in a line (without its LF). Raises BadMessage, whatever the bytes."""
    try:
        request: Request = _requests.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
        raise _bad_message(line, problem) from None
    if isinstance(request, NewOrderItem):
        _check_item(request.data)
    else:
        _check_request(request)
    return request


def _check_item(item: ItemWanted) -> None:
    if not item.product_name.isprintable() and has_control_characters(item.product_name):
        raise _malformed("expected no control characters in data.productName")
    key = item.order_key
    if key is not UNSET and not (key.isascii() and key.isprintable()):
        raise _malformed("expected printable ASCII characters in data.orderKey")


def _check_request(request: Authentication | GetProducts | GetOrders) -> None:
    if not request.end_of_data:
        raise _malformed("expected endOfData true: only the items of an order come in several")
    if isinstance(request, Authentication):
        given = request.data
        by_password = given.user is not UNSET and given.password is not UNSET
        by_token = given.user is UNSET and given.password is UNSET and given.token is not UNSET
        if by_token or (by_password and given.token is UNSET):
            return
        raise _malformed("expected data with user and password, or with token alone")


def _malformed(message: str) -> BadMessage:
    return BadMessage(Reason.MALFORMED_MESSAGE, message)


def _bad_message(line: bytes, problem: Exception) -> BadMessage:
    """Tell a code that only the shop sends from every other defect."""
    if isinstance(problem, UnicodeDecodeError):
        return _malformed("expected UTF-8")
    try:
        line.decode()
        code = _any_message.decode(line).code
    except UnicodeDecodeError:
        return _malformed("expected UTF-8")
    except (msgspec.DecodeError, RecursionError):
        code = None
    if code in SHOP_CODES:
        return BadMessage(Reason.UNEXPECTED_MESSAGE, f"only the shop sends {code}")
    return _malformed(_in_wire_terms(problem))


def _in_wire_terms(problem: Exception) -> str:
    """Name the field as the client wrote it: `$.data.quantity` is data.quantity."""
    text = str(problem).replace("`$.", "`").replace("`$`", "the message")
    return text if text.startswith("JSON") else text[:1].lower() + text[1:]


# Answers.

_encoder = msgspec.json.Encoder()


def _message(code: Code, data: Mapping[str, object], end_of_data: bool = True) -> bytes:
    return _encoder.encode({"code": code, "data": data, "endOfData": end_of_data}) + b"\n"


def encode_error(reason: Reason, message: str, facts: Mapping[str, object] | None = None) -> bytes:
    """Return an ERROR; `facts` are the fields that PROTOCOL.md names for the reason."""
    return _message(
        Code.ERROR,
        {"reason": reason, "message": message, "retryable": reason in RETRYABLE, **(facts or {})},
    )


def encode_refusal(refusal: orders.Refusal) -> bytes:
    """Return the ERROR that tells why an order was refused."""
    match refusal:
        case orders.ProductNotFound(name, as_of):
            message = f"there is no product {name!r}"
            facts: dict[str, object] = {"productName": name, "asOf": as_of}
            return encode_error(Reason.PRODUCT_NOT_FOUND, message, facts)
        case orders.InsufficientStock(name, requested, available, as_of):
            message = f"{requested} of {name!r} requested, {available} available"
            facts = {
                "productName": name,
                "requested": requested,
                "available": available,
                "asOf": as_of,
            }
            return encode_error(Reason.INSUFFICIENT_STOCK, message, facts)
        case orders.OrderKeyReused(key):
            message = "the orderKey was used for an order of other items"
            return encode_error(Reason.ORDER_KEY_REUSED, message, {"orderKey": key})
        case orders.NotNow(why):
            return encode_error(Reason.BUSY, f"{why}: nothing was done, try again")


def encode_welcome(user: str, token: str) -> bytes:
    """Return the SUCCESS of a login."""
    return _message(
        Code.SUCCESS,
        {
            "user": user,
            "token": token,
            "protocol": PROTOCOL,
            "server": f"sportshop {__version__}",
            "limits": {
                "frameBytes": FRAME_BYTES_MAX,
                "orderItems": orders.ITEMS_MAX,
                "quantity": orders.QUANTITY_MAX,
            },
        },
    )


class _WireItem(msgspec.Struct, rename="camel", gc=False):
    product_name: str
    quantity: int
    price: str
    stock_quantity: int


class _WireReceipt(msgspec.Struct, rename="camel", gc=False):
    order: int
    items: list[_WireItem]
    total: str
    as_of: int
    replayed: bool


class _WireSuccess(
    msgspec.Struct, rename={"end_of_data": "endOfData"}, tag_field="code", tag="SUCCESS", gc=False
):
    data: _WireReceipt
    end_of_data: bool = True


class _WireOrder(msgspec.Struct, rename="camel", gc=False):
    order: int
    placed_at: str
    order_key: str | UnsetType
    items: list[_WireItem]
    total: str


def _wire_items(receipt: Receipt) -> list[_WireItem]:
    return [
        _WireItem(item.product_name, item.quantity, format_cents(item.price), item.stock)
        for item in receipt.items
    ]


def encode_accepted(accepted: Accepted) -> bytes:
    """Return the SUCCESS of an order."""
    receipt = accepted.receipt
    if len(receipt.items) > 1:
        return _encode_basket(accepted)
    (item,) = receipt.items
    template = _success_template(item.product_name, item.quantity, item.price)
    replayed = b"true" if accepted.replayed else b"false"
    return template % (receipt.position, item.stock, accepted.as_of, replayed)


def _encode_basket(accepted: Accepted) -> bytes:
    """Return the SUCCESS of an order of any number of items."""
    receipt = accepted.receipt
    data = _WireReceipt(
        receipt.position,
        _wire_items(receipt),
        format_cents(receipt.total),
        accepted.as_of,
        accepted.replayed,
    )
    return _encoder.encode(_WireSuccess(data)) + b"\n"


@lru_cache(maxsize=1_000)  # the same few again and again: 0.4 in place of 0.8 µs a SUCCESS
def _success_template(product_name: str, quantity: int, price: int) -> bytes:
    """Return the SUCCESS of an order of one item, with %d for what differs order by order."""
    template = (
        b'{"code":"SUCCESS","data":{"order":%%d,"items":[{"productName":%s,"quantity":%d,'
        b'"price":"%s","stockQuantity":%%d}],"total":"%s","asOf":%%d,"replayed":%%s},'
        b'"endOfData":true}\n'
    )
    name = _encoder.encode(product_name).replace(b"%", b"%%")
    total = format_cents(price * quantity)
    return template % (name, quantity, format_cents(price).encode(), total.encode())


def receipt_bytes_max(product_names: Iterable[str]) -> int:
    """Return how long the SUCCESS of an order of these items can be at most, with its LF."""
    widest = _WireItem("", orders.QUANTITY_MAX, format_cents(products.PRICE_CENTS_MAX), 10**10)
    item_bytes = len(_encoder.encode(widest)) + 1
    # orderKey and placedAt are here because the order also has to fit a message of a list.
    around = 400 + 2 * orders.KEY_CHARACTERS_MAX
    return around + sum(item_bytes + len(_encoder.encode(name)) for name in product_names)


def encode_products(snapshot: ProductList, sold_out: bool) -> Iterator[bytes]:
    """Yield the messages that list a snapshot's products: in stock, or all with `sold_out`.

    A PAUSE comes after every LIST_ENTRIES_MAX products: of 100,000 they take half a second.
    """
    writer = ListWriter(Code.PRODUCTS_LIST, "products", snapshot.as_of)
    for start in range(0, len(snapshot.products), LIST_ENTRIES_MAX):
        some = snapshot.products[start : start + LIST_ENTRIES_MAX]
        yield from writer.add([_wire_product(p) for p in some if sold_out or p.stock > 0])
        yield PAUSE
    yield writer.end()


def _wire_product(product: Product) -> bytes:
    return _encoder.encode(
        {
            "name": product.name,
            "price": format_cents(product.price),
            "stockQuantity": product.stock,
        }
    )


def encode_order_entry(receipt: Receipt) -> bytes:
    """Return an entry of an ORDERS_LIST, to be put into a message by a ListWriter."""
    return _encoder.encode(
        _WireOrder(
            receipt.position,
            format_time(receipt.placed_at_ms),
            UNSET if receipt.key is None else receipt.key,
            _wire_items(receipt),
            format_cents(receipt.total),
        )
    )


class ListWriter:
    """Cuts a list into messages of at most LIST_ENTRIES_MAX entries and FRAME_BYTES_MAX bytes.

    A message is let go when the next entry no longer fits, so that the last one, which alone
    bears `endOfData` true, is never empty unless the list is.
    """

    def __init__(self, code: Code, field: str, as_of: int) -> None:
        self._head = b'{"code":"%s","data":{"%s":[' % (code.encode(), field.encode())
        self._tail = b'],"asOf":%d},"endOfData":' % as_of
        self._room = FRAME_BYTES_MAX - len(self._head) - len(self._tail) - len(b"false}\n")
        self._entries: list[bytes] = []
        self._bytes = 0

    def add(self, entries: Sequence[bytes]) -> Iterator[bytes]:
        """Take entries, and yield the messages that are full."""
        for entry in entries:
            size = len(entry) + 1
            if len(self._entries) == LIST_ENTRIES_MAX or self._bytes + size > self._room:
                yield self._cut(b"false}\n")
            self._entries.append(entry)
            self._bytes += size

    def end(self) -> bytes:
        """Return the last message."""
        return self._cut(b"true}\n")

    def _cut(self, end: bytes) -> bytes:
        message = b"%s%s%s%s" % (self._head, b",".join(self._entries), self._tail, end)
        self._entries = []
        self._bytes = 0
        return message


# The client's side.


class Answer(msgspec.Struct, frozen=True, rename={"end_of_data": "endOfData"}):
    """An answer as a client reads it: unknown fields are ignored, so that the shop can grow."""

    code: str
    data: dict[str, Any]
    end_of_data: bool = True


_answers = msgspec.json.Decoder(Answer)


def decode_answer(line: bytes) -> Answer:
    """Return the answer in a line. Raises ValueError if it is none."""
    try:
        return _answers.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
        raise ValueError(f"not an answer: {problem}") from None


def encode_request(code: Code, data: Mapping[str, object], end_of_data: bool = True) -> bytes:
    """Return the line of a request, with its LF."""
    return _message(code, data, end_of_data)
