"""Products: what the shop sells, and the repository it is read from.

A price is a whole number of cents here and a decimal string on the wire and in files.
Knows no socket, no clock and no file, so a test drives it by calling it.
"""

from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache
from typing import Protocol

import msgspec

from sportshop import names as naming

NAME_CHARACTERS_MAX = 200
PRICE_CENTS_MAX = 99_999_999_99  # with 100 items of 1,000,000 a total still fits 63 bits
PRICE_DIGITS = 10  # more make no price, and Python refuses to read thousands of them
STOCK_MAX = 1_000_000_000


class Product(msgspec.Struct, frozen=True):
    """A product as it stood at one moment."""

    name: str
    price: int
    """Cents."""
    stock: int
    """Units left, never negative."""


class ProductList(msgspec.Struct, frozen=True):
    """Every product at one moment: sorted by name, immutable, so readers need no lock."""

    as_of: int
    """Ledger positions that had been taken when this was true."""
    products: tuple[Product, ...]


class ProductRepository(Protocol):
    """Where the products are read from. Stock is changed by a transaction only."""

    def snapshot(self) -> ProductList:
        """Return the products as of the newest durable order."""


class Shelf:
    """The products of a store that only this process writes, published batch by batch.

    The list is built when somebody asks, once per change: a shop that sells all day without
    anybody looking pays nothing for it.
    """

    def __init__(self, products: Iterable[Product], as_of: int) -> None:
        self._products = {product.name: product for product in sorted(products, key=_by_name)}
        self._other_forms = naming.OtherForms(NAME_CHARACTERS_MAX, self._products)
        self._as_of = as_of
        self._snapshot: ProductList | None = None

    def snapshot(self) -> ProductList:
        """Return the products as of the newest published batch."""
        if self._snapshot is None:
            self._snapshot = ProductList(self._as_of, tuple(self._products.values()))
        return self._snapshot

    def publish(self, as_of: int, stock: Mapping[str, int]) -> None:
        """Show the stock that a durable batch left behind. Never yields."""
        for name, left in stock.items():
            self._products[name] = msgspec.structs.replace(self._products[name], stock=left)
        self._as_of = as_of
        self._snapshot = None

    def find_all(self, names: Collection[str]) -> dict[str, Product]:
        """Return the products that exist by the names asked, as of the newest published batch.

        A product's own name can differ from the one asked: it may be the same name in another
        form (see names.py). One that is written exactly so comes first.
        """
        products = self._products
        found = {name: products[name] for name in names if name in products}
        if len(found) < len(names):
            for name in names:
                if name not in found and (own := self.own_name(name)) is not None:
                    found[name] = products[own]
        return found

    def own_name(self, name: str) -> str | None:
        """Return how the product writes the name itself; None if there is no such product."""
        if name in self._products:
            return name
        candidates = self._other_forms.candidates(name)
        return next((other for other in candidates if other in self._products), None)


def _by_name(product: Product) -> str:
    return product.name


def check_name(name: str) -> str:
    """Return a new product's name, or raise names.BadName."""
    return naming.check_name(name, NAME_CHARACTERS_MAX)


def check_stored_name(name: str) -> str:
    """Return the name of a product that a store has already, or raise names.BadName."""
    return naming.check_stored_name(name, NAME_CHARACTERS_MAX)


@lru_cache(maxsize=10_000)  # the same few prices again and again: 0.06 in place of 0.25 µs
def format_cents(cents: int) -> str:
    """Write an amount with two decimal places: 14990 is "149.90"."""
    return f"{cents // 100}.{cents % 100:02d}"


def parse_cents(text: str) -> int:
    """Read an amount such as "149.90", "149.9" or "149".

    Raises ValueError if it is not one, or is more than PRICE_CENTS_MAX.
    """
    whole, point, fraction = text.partition(".")
    digits = whole + fraction
    if not (whole and digits.isascii() and digits.isdigit()) or len(fraction) not in (
        {1, 2} if point else {0}
    ):
        raise ValueError("expected an amount such as 149.90")
    cents = int(whole[:PRICE_DIGITS]) * 100 + int(fraction.ljust(2, "0"))
    if len(whole) > PRICE_DIGITS or cents > PRICE_CENTS_MAX:
        raise ValueError(f"expected at most {format_cents(PRICE_CENTS_MAX)}")
    return cents
