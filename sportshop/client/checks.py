"""Checks: whether an answer can be the answer to what was asked.

An answer that reached the wrong asker, or that a shop made up, is found here before a program
acts on it. Each check raises ProtocolViolation. Pure: knows neither sockets nor messages.
"""

from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from typing import Protocol

from sportshop.client.errors import ProtocolViolation
from sportshop.names import same_form

NAME_CHARACTERS_MAX = 200  # as in PROTOCOL.md


class Line(Protocol):
    """An item of an order that was placed."""

    @property
    def product_name(self) -> str: ...  # noqa: D102 - see SoldItem
    @property
    def quantity(self) -> int: ...  # noqa: D102
    @property
    def price(self) -> Decimal: ...  # noqa: D102
    @property
    def stock(self) -> int: ...  # noqa: D102


class PlacedOrder(Protocol):
    """An order that was placed, with its total."""

    @property
    def order(self) -> int: ...  # noqa: D102 - see Receipt
    @property
    def items(self) -> Sequence[Line]: ...  # noqa: D102
    @property
    def total(self) -> Decimal: ...  # noqa: D102


class Placed(PlacedOrder, Protocol):
    """A receipt."""

    @property
    def as_of(self) -> int: ...  # noqa: D102
    @property
    def replayed(self) -> bool: ...  # noqa: D102


def same_name(name: str, other: str) -> bool:
    """Tell whether two names are one: the shop compares them by Unicode's form NFC."""
    return name == other or composed(name) == composed(other)


def composed(name: str) -> str:
    """Return the form of a name by which it is compared."""
    return same_form(name, NAME_CHARACTERS_MAX) or name  # too long to be one: as it is


def check_total(order: PlacedOrder) -> None:
    """Check that the total is what the items cost."""
    if _cents(order.total) != sum(_cents(item.price) * item.quantity for item in order.items):
        raise ProtocolViolation(f"order {order.order}: its total is not the sum of its items")


def check_receipt(receipt: Placed) -> None:
    """Check that a receipt agrees with itself."""
    check_total(receipt)
    if receipt.as_of < receipt.order or (receipt.as_of > receipt.order and not receipt.replayed):
        raise ProtocolViolation(f"order {receipt.order} as of {receipt.as_of}")
    left: dict[str, tuple[int, Decimal]] = {}
    for item in receipt.items:
        told = item.stock, item.price
        if left.setdefault(item.product_name, told) != told:
            raise ProtocolViolation(
                f"order {receipt.order} tells two stocks or prices of {item.product_name!r}"
            )


def check_is_for(receipt: Placed, items: Sequence[tuple[str, int]], key: str | None) -> None:
    """Check that a receipt is for these items, which were asked for with this key.

    They come in the order in which they were asked for. But an order that is replayed may have
    been asked for in other lines the first time, with the same units of each product in all.
    """
    asked = [(composed(name), quantity) for name, quantity in items]
    sold = [(composed(item.product_name), item.quantity) for item in receipt.items]
    if receipt.replayed and key is None:
        raise ProtocolViolation(f"order {receipt.order} replayed, though it has no key")
    if sold != asked and not (receipt.replayed and _units(sold) == _units(asked)):
        raise ProtocolViolation(f"the receipt of order {receipt.order} is for other items")


def _units(items: Sequence[tuple[str, int]]) -> Counter[str]:
    units: Counter[str] = Counter()
    for name, quantity in items:
        units[name] += quantity
    return units


def _cents(amount: Decimal) -> int:
    """Return an amount of two places in cents, whatever the program's decimal context is."""
    return int(str(amount).replace(".", ""))
