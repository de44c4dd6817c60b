"""Digests: an order as 64 bits, so that a list of orders is told by the sum of its entries.

The same arithmetic twice, for one order and for columns of them; a test holds them together.
Items and orders are stirred (splitmix64, Vigna 2015), which is not linear: so no two wrong items of
an order and no two wrong orders of a list cancel out except by chance, which is 1 in 2^64.
"""

from collections.abc import Iterable
from functools import lru_cache
from hashlib import blake2b

import numpy as np

from sportshop.audit.history import Array

MASK = 2**64 - 1
POSITION, TOTAL, QUANTITY, PRICE, STOCK = (
    0x9E3779B97F4A7C15,
    0xC2B2AE3D27D4EB4F,
    0xD6E8FEB86659FD93,
    0xA0761D6478BD642F,
    0xE7037ED1A0B428DB,
)
FIRST, SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
NAMES_KEPT = 10_000


@lru_cache(NAMES_KEPT)
def name_digest(name: str) -> int:
    """Return what stands for a product's name."""
    return int.from_bytes(
        blake2b(name.encode(errors="surrogatepass"), digest_size=8).digest(), "little"
    )


def digest(position: int, total: int, items: Iterable[tuple[str, int, int, int]]) -> int:
    """Return the digest of an order: its items are (name, quantity, price, stock)."""
    mixed = position * POSITION + total * TOTAL
    for number, (name, quantity, price, stock) in enumerate(items, 1):
        item = name_digest(name) + quantity * QUANTITY + price * PRICE + stock * STOCK
        mixed += number * _stir(item)
    return _stir(mixed)


def _stir(value: int) -> int:
    value &= MASK
    value = ((value ^ value >> 30) * FIRST) & MASK
    value = ((value ^ value >> 27) * SECOND) & MASK
    return value ^ value >> 31


def line_marks(name: Array, quantity: Array, price: Array) -> Array:
    """Return what stands for lines: products, by their names' digests, quantities and prices."""
    with np.errstate(over="ignore"):
        marks = _unsigned(name) + _unsigned(quantity) * np.uint64(QUANTITY)
        marks += _unsigned(price) * np.uint64(PRICE)
    return np.asarray(marks)


def digests(position: Array, total: Array, counts: Array, mark: Array, stock: Array) -> Array:
    """Return the digests of orders.

    `counts` is how many items each has; `mark` what stands for each item's line, and `stock` its
    stock: of all orders' items, one after the other.
    """
    with np.errstate(over="ignore"):
        each = stirred(mark + _unsigned(stock) * np.uint64(STOCK))
        if not (counts == 1).all():
            before = np.repeat(np.cumsum(counts) - counts, counts)
            each *= _unsigned(np.arange(1, len(each) + 1) - before)
        mixed = sums_of(each, counts)
        mixed += _unsigned(position) * np.uint64(POSITION)
        mixed += _unsigned(total) * np.uint64(TOTAL)
        return stirred(mixed)


def stirred(values: Array) -> Array:
    """Return what `_stir` returns, of a column of 64 bits."""
    with np.errstate(over="ignore"):
        mixed = values ^ values >> np.uint64(30)
        mixed *= np.uint64(FIRST)
        mixed ^= mixed >> np.uint64(27)
        mixed *= np.uint64(SECOND)
        mixed ^= mixed >> np.uint64(31)
    return np.asarray(mixed)


def sums_of(each: Array, counts: Array) -> Array:
    """Return the sums of so many neighbours each, modulo 2^64."""
    if len(each) == len(counts) and (counts == 1).all():
        return each.copy()
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(each, dtype=np.uint64)])
    ends = np.cumsum(counts)
    return np.asarray(sums[ends] - sums[ends - counts])


def _unsigned(column: Array) -> Array:
    return column if column.dtype == np.uint64 else np.asarray(column, np.int64).view(np.uint64)
