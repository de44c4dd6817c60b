"""Answers: what the shop tells, as typed values, and how they are read from messages.

Amounts are decimals with two places, as on the wire. Here the form is checked; checks.py compares
the content with what was asked, and lists.py reads lists. Knows no socket: whatever is read here
was received elsewhere.
"""

import re
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

from sportshop.client.checks import NAME_CHARACTERS_MAX, check_receipt
from sportshop.client.errors import ProtocolViolation, refusal
from sportshop.messages import Answer, Code

Count = Annotated[int, Meta(ge=0)]
_Name = Annotated[str, Meta(min_length=1, max_length=NAME_CHARACTERS_MAX)]
_Position = Annotated[int, Meta(ge=1)]


class Amount(Decimal):
    """A price or a total: a decimal with two places, never negative."""

    __slots__ = ()


class FromShop(msgspec.Struct, frozen=True, rename="camel"):
    """Unknown fields are ignored, so that the shop can grow."""


class Limits(FromShop, frozen=True):
    """What the shop accepts at most."""

    frame_bytes: _Position
    """Length of a message with its LF."""
    order_items: _Position
    """Items in one order."""
    quantity: _Position
    """Units in one item."""


class Session(FromShop, frozen=True):
    """A login that worked."""

    user: str
    token: str
    """Can replace the password for 12 hours. Keep it as secret as the password."""
    server: str
    """The shop's name and version."""
    limits: Limits
    protocol: _Position
    """The version of PROTOCOL.md that the shop speaks; every later one includes the first."""

    def __repr__(self) -> str:
        return f"Session(user={self.user!r}, server={self.server!r}, limits={self.limits!r})"


class Product(FromShop, frozen=True):
    """A product as it stood at the `as_of` of its list."""

    name: _Name
    price: Amount
    stock: Count = msgspec.field(name="stockQuantity")
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


class SoldItem(FromShop, frozen=True):
    """One line of an order that was placed."""

    product_name: _Name
    quantity: _Position
    price: Amount
    """For one unit, as it was when the order was placed."""
    stock: Count = msgspec.field(name="stockQuantity")
    """Units of the product that were left right after the order."""


class PastOrder(FromShop, frozen=True):
    """An order of the user's, as a list of orders tells it."""

    order: _Position
    """Its position in the ledger."""
    placed_at: Annotated[datetime, Meta(tz=True)]
    items: Annotated[tuple[SoldItem, ...], Meta(min_length=1)]
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


class Receipt(FromShop, frozen=True):
    """An order that is in the ledger, durably."""

    order: _Position
    """Its position in the ledger."""
    items: Annotated[tuple[SoldItem, ...], Meta(min_length=1)]
    total: Amount
    as_of: _Position
    """Ledger positions that had been taken: equals `order` unless replayed."""
    replayed: bool
    """Whether the key had been used before: then this is the first receipt, and sold nothing."""
    key: str | None = msgspec.field(default=None, name="orderKey")
    """The key that the order was asked with."""


# Reading them.


_Data = TypeVar("_Data", bound=msgspec.Struct)
_is_amount = re.compile(r"[0-9]{1,24}\.[0-9]{2}").fullmatch


def read(answer: Answer, code: Code, kind: type[_Data]) -> _Data:
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
        return _amount_of(value)
    raise ValueError("expected an amount such as 149.90")


@lru_cache(maxsize=10_000)  # the same few again and again: a long list is half as large
def _amount_of(text: str) -> Amount:
    return Amount(text)


def _read_whole(answer: Answer, kind: type[_Data]) -> _Data:
    """Read a SUCCESS, which is one message."""
    data = read(answer, Code.SUCCESS, kind)
    if not answer.end_of_data:
        raise ProtocolViolation("a SUCCESS that says that more follows")
    return data


def read_session(answer: Answer) -> Session:
    """Return what a login was answered with. Raises Refused, ProtocolViolation."""
    return _read_whole(answer, Session)


def read_receipt(answer: Answer, key: str | None = None) -> Receipt:
    """Return what an order was answered with. Raises Refused, ProtocolViolation.

    It agrees with itself; whether it is for what was asked is for the asker to see.
    `key` is the one that the order was asked with; the shop does not repeat it.
    """
    receipt = msgspec.structs.replace(_read_whole(answer, Receipt), key=key)
    check_receipt(receipt)
    return receipt
