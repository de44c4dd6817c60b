"""Answers: the shop's messages as values of the record.

Only the form is checked here. What can't be used at all is a Violation; where the rest can be
used, it is a remark on the answer. A negative stock is evidence and belongs in the record.
Knows no socket.
"""

import itertools
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Annotated, Any, NamedTuple
from unicodedata import normalize

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from sportshop.audit import Goods, Told, entry_digest
from sportshop.products import format_cents

Count = Annotated[int, Meta(ge=0, le=2**32 - 1)]
Position = Annotated[int, Meta(ge=0, le=2**62)]
Stock = Annotated[int, Meta(ge=-(2**62), le=2**62)]
CACHE_MAX = 100_000
FRAME_BYTES_MAX = 65_536
ENTRIES_MAX = 100
"""Of a list in one message."""
ANSWER_BYTES_MAX = 1_000 * FRAME_BYTES_MAX  # the longest list: 1,000 orders, a frame each
ANSWER_MESSAGES_MAX = 20_000
REMARKS_MAX = 20  # on one answer: more say nothing new
RETRYABLE = {"BUSY", "TIMED_OUT", "SHUTTING_DOWN", "STORAGE_FAILED"}
"""Errors that any request may get."""
NOT_SOLD = {"PRODUCT_NOT_FOUND", "INSUFFICIENT_STOCK", "ORDER_KEY_REUSED"}
ANY_TIME = {"TIMED_OUT", "SHUTTING_DOWN", "STORAGE_FAILED"}
"""Errors that may come in the middle of a list, and close the connection."""
EXPECTED = {
    "AUTHENTICATION": RETRYABLE | {"INVALID_CREDENTIALS"},
    "NEW_ORDER_ITEM": RETRYABLE | NOT_SOLD,
}
"""By request: which errors a correct shop says to one that is well-formed, if not RETRYABLE."""
BLAMES_REQUEST = {
    "MALFORMED_MESSAGE",
    "UNEXPECTED_MESSAGE",
    "FRAME_TOO_LONG",
    "NOT_AUTHENTICATED",
    "ALREADY_AUTHENTICATED",
    "INVALID_CREDENTIALS",
    "ORDER_TOO_LARGE",
    *NOT_SOLD,
}
"""Errors that say what is wrong with a request: one of them, not expected, is a violation.

A reason that is not known here is none: a later version of the shop may have more of them.
"""
_is_moment = re.compile(
    r"[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
    r"[Tt]([01][0-9]|2[0-3]):[0-5][0-9]:([0-5][0-9]|60)\.[0-9]{3}([Zz]|[+-]00:00)"
).fullmatch
_is_amount = re.compile(r"-?[0-9]{1,16}\.[0-9]{2}").fullmatch
_cents: dict[str, int] = {}


class Violation(Exception):
    """An answer that is none, by the protocol: the message says why."""


class _FromShop(Struct, rename="camel", gc=False):
    """Unknown fields are ignored, so that the shop can grow."""


class Item(_FromShop):
    product_name: str
    quantity: Count
    price: str
    stock_quantity: Stock


class Receipt(_FromShop):
    order: Position
    items: list[Item]
    total: str
    as_of: Position
    replayed: bool | UnsetType = UNSET


class Entry(_FromShop):
    order: Position
    items: list[Item]
    total: str
    order_key: str | None = None
    placed_at: Any = None


class Orders(_FromShop):
    orders: list[msgspec.Raw]
    as_of: Position


class Product(_FromShop):
    name: str
    price: str
    stock_quantity: Stock


class Products(_FromShop):
    products: list[Product]
    as_of: Position


class Login(_FromShop):
    token: str = ""
    user: Any = None
    protocol: Any = None
    server: Any = None


class Error(_FromShop):
    reason: str
    message: str = ""
    retryable: bool | UnsetType = UNSET
    order_key: str = ""
    product_name: str = ""
    requested: Count | UnsetType = UNSET
    available: Stock | UnsetType = UNSET
    as_of: Position | UnsetType = UNSET


class ErrorMessage(_FromShop, tag_field="code", tag="ERROR"):
    data: Error
    end_of_data: bool = True


class SuccessMessage(_FromShop, tag_field="code", tag="SUCCESS"):
    data: Receipt
    end_of_data: bool = True


class LoginMessage(_FromShop, tag_field="code", tag="SUCCESS"):
    data: Login
    end_of_data: bool = True


class ProductsMessage(_FromShop, tag_field="code", tag="PRODUCTS_LIST"):
    data: Products
    end_of_data: bool = True


class OrdersMessage(_FromShop, tag_field="code", tag="ORDERS_LIST"):
    data: Orders
    end_of_data: bool = True


Decoder = msgspec.json.Decoder[Any]
RECEIPT: Decoder = msgspec.json.Decoder(SuccessMessage | ErrorMessage)
LOGIN: Decoder = msgspec.json.Decoder(LoginMessage | ErrorMessage)
PRODUCTS: Decoder = msgspec.json.Decoder(ProductsMessage | ErrorMessage)
ORDERS: Decoder = msgspec.json.Decoder(OrdersMessage | ErrorMessage)
_ENTRY = msgspec.json.Decoder(Entry)
_digests: dict[bytes, tuple[int, int, str]] = {}
"""By what stands for an entry's bytes: position, digest and remark."""


class ProductList(NamedTuple):
    """A whole answer to GET_PRODUCTS."""

    as_of: int
    products: dict[str, tuple[int, int]]
    """Price in cents and stock, by name."""
    remarks: list[str]


class OrderList(NamedTuple):
    """A whole answer to GET_ORDERS."""

    as_of: int
    remarks: list[str]


class Reply:
    """Puts the messages of one answer together, whatever comes, and not without end."""

    def __init__(self, request: str, decoder: Decoder) -> None:
        self._request = request
        self._decoder = decoder
        self.messages: list[Any] = []
        self.length = 0
        self.remarks: list[str] = []

    def add(self, line: bytes) -> bool:
        """Take a message, and tell whether it was the last. Raises Violation."""
        self.length += len(line)
        if self.length > ANSWER_BYTES_MAX or len(self.messages) >= ANSWER_MESSAGES_MAX:
            raise Violation(
                f"an answer without end: {len(self.messages)} messages, {self.length} bytes"
            )
        message = decode(line, self._decoder)
        is_error = isinstance(message, ErrorMessage)
        if is_error and self.messages and message.data.reason not in ANY_TIME:
            raise Violation(f"an ERROR {message.data.reason} in the middle of a list")
        self.messages.append(message)
        if is_error:
            self.remarks += error_remarks(message, self._request)
            return True
        if isinstance(message, LoginMessage):
            self.remarks += end_remarks(message)
            return True
        return bool(message.end_of_data)


def decode(line: bytes, decoder: Decoder) -> Any:
    """Return a message. Raises Violation."""
    if len(line) > FRAME_BYTES_MAX:
        raise Violation(f"a message of {len(line)} bytes")
    try:
        return decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
        raise Violation(f"{problem} in {line[:200]!r}") from None


def end_remarks(message: Any) -> list[str]:
    """Return what is wrong with the end mark of an answer in one message."""
    return [] if message.end_of_data else ["has endOfData false, and is a whole answer"]


def error_remarks(message: ErrorMessage, request: str) -> list[str]:
    """Return what is wrong with an error as the answer to a well-formed request."""
    error = message.data
    remarks = end_remarks(message)
    expected = EXPECTED.get(request, RETRYABLE)
    if error.reason not in expected | BLAMES_REQUEST:
        return remarks
    if error.reason not in expected:
        text = f"is refused with {error.reason[:50]}, which it gave no reason for"
        remarks.append(f"{text}: {error.message[:200]}")
    elif error.retryable is not (error.reason in RETRYABLE):
        told_so = "not said" if error.retryable is UNSET else str(error.retryable).lower()
        remarks.append(f"is refused with {error.reason}, retryable: {told_so}")
    return remarks


def violation_text(request: str, user: str, text: str) -> str:
    """Return in words what was wrong with an answer that no operation of the record is of."""
    return f"the answer to {request} of {user} at {datetime.now(UTC):%H:%M:%S.%f} UTC {text}"


def login_remarks(login: Login, user: str) -> list[str]:
    """Return what is wrong with the answer to a login that succeeded."""
    remarks = []
    if login.user != user and _nfc(login.user) != _nfc(user):  # a shop has its own spelling
        remarks.append(f"logged in {str(login.user)[:100]!r}")
    if type(login.protocol) is not int or login.protocol < 1:
        told_so = str(login.protocol)[:20]
        remarks.append(f"has protocol {told_so}: expected a whole number from 1 on")
    if not login.token:
        remarks.append("gives no token")
    return remarks


def _nfc(name: object) -> str:
    return normalize("NFC", str(name))


def receipt_remarks(message: SuccessMessage) -> list[str]:
    """Return what is wrong with a receipt beside what it tells of the order."""
    remarks = end_remarks(message)
    if message.data.replayed is UNSET:
        remarks.append("does not tell whether it is replayed")
    return remarks


def told(order: Receipt | Entry) -> Told:
    """Return an order as the record has it. Raises Violation."""
    items = tuple(
        Goods(item.product_name, item.quantity, cents(item.price), item.stock_quantity)
        for item in order.items
    )
    return Told(order.order, items, cents(order.total))


def cents(amount: str) -> int:
    """Return an amount such as 149.90 in cents. Raises Violation."""
    known = _cents.get(amount)
    if known is None:
        if not _is_amount(amount):
            raise Violation(f"expected an amount such as {format_cents(14990)}, got {amount!r}")
        if len(_cents) >= CACHE_MAX:
            _cents.clear()
        known = _cents[amount] = int(amount.replace(".", ""))
    return known


def product_list(pages: Sequence[Products]) -> ProductList:
    """Put an answer to GET_PRODUCTS together. Raises Violation."""
    remarks = []
    if len({page.as_of for page in pages}) > 1:
        remarks.append(f"has several asOf: {', '.join(str(page.as_of) for page in pages)}")
    remarks += _lengths([page.products for page in pages])
    names = [product.name for page in pages for product in page.products]
    if any(one >= two for one, two in itertools.pairwise(names)):
        remarks.append("is not in order of names, each once")
    products = {
        product.name: (cents(product.price), product.stock_quantity)
        for page in pages
        for product in page.products
    }
    return ProductList(min(page.as_of for page in pages), products, remarks)


def order_list(pages: Sequence[Orders], limit: int) -> OrderList:
    """Return what an answer to GET_ORDERS shows as a whole."""
    remarks = _lengths([page.orders for page in pages])
    if len({page.as_of for page in pages}) > 1:
        some = ", ".join(str(page.as_of) for page in pages[:REMARKS_MAX])
        remarks.append(f"has several asOf: {some}")
    count = sum(len(page.orders) for page in pages)
    if count > limit:
        remarks.append(f"has {count} orders: asked for were {limit}")
    return OrderList(min(page.as_of for page in pages), remarks)


def order_digests(pages: Iterable[Orders]) -> list[tuple[int, int, str]]:
    """Return position, digest and a remark ("": none) of each entry. Raises Violation."""
    found = []
    for page in pages:
        for raw in page.orders:
            line = bytes(raw)
            mark = blake2b(line, digest_size=16).digest()
            known = _digests.get(mark)
            if known is None:
                entry = _entry(line)
                order = told(entry)
                if len(_digests) >= CACHE_MAX:
                    _digests.clear()
                known = order.position, entry_digest(order), entry_remark(entry)
                _digests[mark] = known
            found.append(known)
    return found


def entry_remark(entry: Entry) -> str:
    """Return what is wrong with an entry beside the order it tells of, or nothing."""
    if isinstance(entry.placed_at, str) and _is_moment(entry.placed_at):
        return ""
    return f"has order {entry.order} placed at {str(entry.placed_at)[:50]!r}"


def order_remarks(positions: Sequence[int], before: int | None = None) -> list[str]:
    """Return what is wrong with the order of a list of orders, or of the page below `before`."""
    remarks = []
    if any(one <= two for one, two in itertools.pairwise(positions)):
        remarks.append("is not newest first, each once")
    if before is not None and any(one >= before for one in positions):
        remarks.append(f"has order {max(positions)}: asked for were those before {before}")
    return remarks


def _lengths(pages: Iterable[Sequence[object]]) -> list[str]:
    longest = max(map(len, pages))
    if longest <= ENTRIES_MAX:
        return []
    return [f"has a message of {longest} entries: at most {ENTRIES_MAX} are allowed"]


def entries(pages: Iterable[Orders]) -> list[Entry]:
    """Return the entries of a list of orders. Raises Violation."""
    return [_entry(bytes(raw)) for page in pages for raw in page.orders]


def _entry(line: bytes) -> Entry:
    entry: Entry = decode(line, _ENTRY)
    return entry
