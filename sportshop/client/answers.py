"""Answers: what the shop tells, as typed values, and how they are read from messages.

Amounts are decimals with two places, as on the wire. Form is checked, content is not: whether
the stocks of two answers fit together is for an audit (sportshop.audit) to find.
Knows no socket: whatever is read here was received elsewhere.
"""

import re
from collections.abc import Callable, Iterator
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal, TypeVar

import msgspec
from msgspec import Meta

from sportshop.client.errors import ProtocolViolation, refusal
from sportshop.messages import LIST_ENTRIES_MAX, Answer, Code

_Count = Annotated[int, Meta(ge=0)]
_Position = Annotated[int, Meta(ge=1)]


class Amount(Decimal):
    """A price or a total: a decimal with two places, never negative."""


class _FromShop(msgspec.Struct, frozen=True, rename="camel"):
    """Unknown fields are ignored, so that the shop can grow."""


class Limits(_FromShop, frozen=True):
    """What the shop accepts at most."""

    frame_bytes: _Position
    """Length of a message with its LF."""
    order_items: _Position
    """Items in one order."""
    quantity: _Position
    """Units in one item."""


class Session(_FromShop, frozen=True):
    """A login that worked."""

    user: str
    token: str
    """Can replace the password for 12 hours. Keep it as secret as the password."""
    server: str
    """The shop's name and version."""
    limits: Limits
    protocol: Literal[1]

    def __repr__(self) -> str:
        return f"Session(user={self.user!r}, server={self.server!r}, limits={self.limits!r})"


class Product(_FromShop, frozen=True):
    """A product as it stood at the `as_of` of its list."""

    name: str
    price: Amount
    stock: _Count = msgspec.field(name="stockQuantity")
    """Units left."""


class ProductList(msgspec.Struct, frozen=True):
    """Products by name, all as of one moment."""

    as_of: int
    """Ledger positions that had been taken when this was true."""
    products: tuple[Product, ...]

    def __iter__(self) -> Iterator[Product]:
        return iter(self.products)

    def __len__(self) -> int:
        return len(self.products)


class SoldItem(_FromShop, frozen=True):
    """One line of an order that was placed."""

    product_name: str
    quantity: _Position
    price: Amount
    """For one unit, as it was when the order was placed."""
    stock: _Count = msgspec.field(name="stockQuantity")
    """Units of the product that were left right after the order."""


class PastOrder(_FromShop, frozen=True):
    """An order of the user's, as a list of orders tells it."""

    order: _Position
    """Its position in the ledger."""
    placed_at: Annotated[datetime, Meta(tz=True)]
    items: tuple[SoldItem, ...]
    total: Amount
    key: str | None = msgspec.field(default=None, name="orderKey")


class OrderList(msgspec.Struct, frozen=True):
    """The user's orders, newest first, all as of one moment."""

    as_of: int
    """Ledger positions that had been taken when this was true."""
    orders: tuple[PastOrder, ...]

    def __iter__(self) -> Iterator[PastOrder]:
        return iter(self.orders)

    def __len__(self) -> int:
        return len(self.orders)


class Receipt(_FromShop, frozen=True):
    """An order that is in the ledger, durably."""

    order: _Position
    """Its position in the ledger."""
    items: tuple[SoldItem, ...]
    total: Amount
    as_of: _Position
    """Ledger positions that had been taken: equals `order` unless replayed."""
    replayed: bool
    """Whether the key had been used before: then this is the first receipt, and sold nothing."""
    key: str | None = msgspec.field(default=None, name="orderKey")
    """The key that the order was asked with."""


# Reading them.


class _Page(_FromShop, frozen=True):
    """A message of a list."""

    as_of: _Count


class _ProductsPage(_Page, frozen=True):
    products: Annotated[list[Product], Meta(max_length=LIST_ENTRIES_MAX)]


class _OrdersPage(_Page, frozen=True):
    orders: Annotated[list[PastOrder], Meta(max_length=LIST_ENTRIES_MAX)]


_Data = TypeVar("_Data", bound=msgspec.Struct)
_SomePage = TypeVar("_SomePage", bound=_Page)
_is_amount = re.compile(r"[0-9]+\.[0-9]{2}").fullmatch


def _read(answer: Answer, code: Code, kind: type[_Data]) -> _Data:
    """Return the answer's data. Raises Refused if it is an ERROR, else ProtocolViolation."""
    if answer.code == Code.ERROR:
        raise refusal(answer)
    if answer.code != code:
        raise ProtocolViolation(f"expected {code}, got {answer.code!r}")
    try:
        return msgspec.convert(answer.data, kind, dec_hook=_amount)
    except msgspec.ValidationError as problem:
        raise ProtocolViolation(f"a {code} without what it promises: {problem}") from None


def _amount(kind: type, value: object) -> Amount:
    if kind is Amount and isinstance(value, str) and _is_amount(value):
        return Amount(value)
    raise ValueError("expected an amount such as 149.90")


def _read_whole(answer: Answer, kind: type[_Data]) -> _Data:
    """Read a SUCCESS, which is one message."""
    data = _read(answer, Code.SUCCESS, kind)
    if not answer.end_of_data:
        raise ProtocolViolation("a SUCCESS that says that more follows")
    return data


def read_session(answer: Answer) -> Session:
    """Return what a login was answered with. Raises Refused, ProtocolViolation."""
    return _read_whole(answer, Session)


def read_receipt(answer: Answer, key: str | None = None) -> Receipt:
    """Return what an order was answered with. Raises Refused, ProtocolViolation.

    `key` is the one that the order was asked with; the shop does not repeat it.
    """
    return msgspec.structs.replace(_read_whole(answer, Receipt), key=key)


def read_products(receive: Callable[[], Answer]) -> ProductList:
    """Return the list that the next answers make up, calling `receive` up to its last message.

    Raises Refused, ProtocolViolation, and whatever `receive` raises.
    """
    pages = list(_pages(receive, Code.PRODUCTS_LIST, _ProductsPage))
    return ProductList(pages[0].as_of, tuple(found for page in pages for found in page.products))


def read_orders(receive: Callable[[], Answer]) -> OrderList:
    """Return the list that the next answers make up, calling `receive` up to its last message.

    Raises Refused, ProtocolViolation, and whatever `receive` raises.
    """
    pages = list(_pages(receive, Code.ORDERS_LIST, _OrdersPage))
    return OrderList(pages[0].as_of, tuple(found for page in pages for found in page.orders))


def _pages(receive: Callable[[], Answer], code: Code, kind: type[_SomePage]) -> Iterator[_SomePage]:
    """Yield the messages of one list, which is one snapshot."""
    as_of = None
    more = True
    while more:
        answer = receive()
        page = _read(answer, code, kind)
        if as_of is not None and page.as_of != as_of:
            raise ProtocolViolation(f"one list as of {as_of} and as of {page.as_of}")
        as_of = page.as_of
        more = not answer.end_of_data
        yield page
