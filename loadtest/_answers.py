"""Answers: the shop's messages as entries of the audit's record.

Only the form is checked here, and less of it than `sportshop.client` checks: a negative stock is
evidence and belongs in the record. Knows no socket.
"""

import re
from collections.abc import Sequence
from typing import TypeVar

import msgspec

from sportshop.audit import Sale
from sportshop.client import InsufficientStock, ProtocolViolation, refusal
from sportshop.messages import Answer, Code
from sportshop.orders import SoldItem
from sportshop.products import Product, ProductList

_Data = TypeVar("_Data", bound=msgspec.Struct)
_is_amount = re.compile(r"-?[0-9]+\.[0-9]{2}").fullmatch


class _FromShop(msgspec.Struct, rename="camel", gc=False):
    """Unknown fields are ignored, so that the shop can grow."""


class _Login(_FromShop):
    token: str


class _Product(_FromShop):
    name: str
    price: str
    stock_quantity: int


class _Products(_FromShop):
    products: list[_Product]
    as_of: int


class _Item(_FromShop):
    product_name: str
    quantity: int
    price: str
    stock_quantity: int


class _Order(_FromShop):
    order: int
    items: list[_Item]
    total: str
    order_key: str | None = None


class _Orders(_FromShop):
    orders: list[_Order]
    as_of: int


class OrdersPage(msgspec.Struct):
    """Some of a user's orders, newest first."""

    as_of: int
    sales: list[Sale]


def read_token(answers: Sequence[Answer]) -> str:
    """Return the token of a login. Raises Refused, ProtocolViolation."""
    return _data(answers[0], Code.SUCCESS, _Login).token


def read_order(answers: Sequence[Answer], user: str, key: str) -> Sale | InsufficientStock:
    """Return the sale, or the refusal that is no failure. Raises any other Refused."""
    if answers[0].code == Code.ERROR:
        refused = refusal(answers[0])
        if isinstance(refused, InsufficientStock):
            return refused
        raise refused
    return _sale(user, _data(answers[0], Code.SUCCESS, _Order), key)


def read_products(answers: Sequence[Answer]) -> ProductList:
    """Return a list of products. Raises Refused, ProtocolViolation."""
    pages = [_data(answer, Code.PRODUCTS_LIST, _Products) for answer in answers]
    return ProductList(
        min(page.as_of for page in pages),
        tuple(
            Product(product.name, _cents(product.price), product.stock_quantity)
            for page in pages
            for product in page.products
        ),
    )


def read_orders(answers: Sequence[Answer], user: str) -> OrdersPage:
    """Return a list of the user's orders. Raises Refused, ProtocolViolation."""
    pages = [_data(answer, Code.ORDERS_LIST, _Orders) for answer in answers]
    sales = [_sale(user, order, order.order_key) for page in pages for order in page.orders]
    return OrdersPage(min(page.as_of for page in pages), sales)


def _sale(user: str, order: _Order, key: str | None) -> Sale:
    items = tuple(
        SoldItem(item.product_name, item.quantity, _cents(item.price), item.stock_quantity)
        for item in order.items
    )
    return Sale(user, order.order, key, items, _cents(order.total))


def _cents(amount: str) -> int:
    if not _is_amount(amount):
        raise ProtocolViolation(f"expected an amount such as 149.90, got {amount!r}")
    return int(amount.replace(".", ""))


def _data(answer: Answer, code: Code, kind: type[_Data]) -> _Data:
    if answer.code == Code.ERROR:
        raise refusal(answer)
    if answer.code != code:
        raise ProtocolViolation(f"expected {code}, got {answer.code!r}")
    try:
        return msgspec.convert(answer.data, kind)
    except msgspec.ValidationError as problem:
        raise ProtocolViolation(f"a {code} without what it promises: {problem}") from None
