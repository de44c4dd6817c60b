"""Shelf: what lists of products told, and what orders took.

Lists are many and long, and nearly all of them tell nearly the same: only what may be wrong is
worth a look at each product of each list. Knows no rule.
"""

from typing import NamedTuple

import numpy as np

from sportshop.audit.books import Books
from sportshop.audit.columns import first_of_each
from sportshop.audit.history import Array, Kind

PAIRS_MAX = 1_000_000
"""As many pairs of a list and a product are looked at one by one, where they look wrong."""


class Tellings(NamedTuple):
    """Which operations told of which stock of which product: columns."""

    operation: Array
    product: Array
    stock: Array


def sold_till(books: Books, position: int) -> Array:
    """Return how many of each product were sold up to a position."""
    parts = books.parts
    sold = np.zeros(max(1, len(books.names)), np.int64)
    if len(parts.product):
        starts = first_of_each(parts.product)
        taken = np.where(parts.position <= position, parts.quantity, 0)
        sold[parts.product[starts]] = np.add.reduceat(taken, starts)
    return sold


def doubtful_tellings(books: Books) -> Tellings:
    """Return what lists of products told that may be wrong: all that is.

    Between two changes of what a worker's lists tell of a product lie many lists that tell the
    same. If the ledger has one newest order of it for the earliest and the latest of them, it has
    that for all, and one look is enough.
    """
    found = [_full_list(books)]
    rows = np.flatnonzero(books.are(Kind.PRODUCTS, Kind.OPENING, Kind.CLOSING)[books.owner])
    worker = books.of["worker"]
    for number in np.unique(worker[books.find(Kind.PRODUCTS)]):
        lists = np.flatnonzero((worker == number) & (books.kind == Kind.PRODUCTS))
        found.append(_of_worker(books, lists, rows[worker[books.owner[rows]] == number]))
    return Tellings(*(np.concatenate(columns) for columns in zip(*found, strict=True)))


def _full_list(books: Books) -> Tellings:
    rows = books.rows_of(books.find(Kind.CLOSING))
    return Tellings(books.owner[rows], books.product[rows], books.stock[rows])


def _of_worker(books: Books, lists: Array, changes: Array) -> Tellings:
    """Return what a worker's lists told that may be wrong; `changes` are the items that differ."""
    shelved = np.array(sorted(books.shelved), np.int64)  # before it is told, a product has none
    product = np.concatenate([shelved, books.product[changes]])
    told = np.concatenate([np.zeros(len(shelved), np.int64), books.stock[changes]])
    start = np.searchsorted(lists, books.owner[changes])
    start = np.concatenate([np.zeros(len(shelved), np.int64), start])
    order = np.argsort(product, kind="stable")
    product, told, start = product[order], told[order], start[order]
    end = np.full(len(start), len(lists))
    end[:-1] = np.where(product[1:] == product[:-1], start[1:], len(lists))
    some = end > start
    product, told, start, end = product[some], told[some], start[some], end[some]
    low, high = _extremes(books.as_of[lists], start, end)
    newest = books.newest_part(product, low)
    right = np.where(newest >= 0, np.append(books.parts.lowest, 0)[newest], told)
    doubtful = np.flatnonzero((newest != books.newest_part(product, high)) | (told != right))
    length = np.cumsum(end[doubtful] - start[doubtful])
    doubtful = doubtful[: max(1, int(np.searchsorted(length, PAIRS_MAX)))]
    counts = end[doubtful] - start[doubtful]
    at = np.repeat(start[doubtful] - (np.cumsum(counts) - counts), counts)
    operation = lists[at + np.arange(len(at))]
    return Tellings(
        operation, np.repeat(product[doubtful], counts), np.repeat(told[doubtful], counts)
    )


def _extremes(values: Array, start: Array, end: Array) -> tuple[Array, Array]:
    """Return the lowest and the highest of `values[start:end]`, for many of them.

    Those of 1, 2, 4, 8 … neighbours are made in turn; two that overlap cover any range.
    """
    low, high = np.zeros(len(start), np.int64), np.zeros(len(start), np.int64)
    lows = highs = values
    width, length = 1, end - start
    while True:
        some = (length >= width) & (length < 2 * width)
        one, two = start[some], end[some] - width
        low[some] = np.minimum(lows[one], lows[two])
        high[some] = np.maximum(highs[one], highs[two])
        if 2 * width > int(length.max(initial=0)):
            return low, high
        lows = np.minimum(lows[:-width], lows[width:])
        highs = np.maximum(highs[:-width], highs[width:])
        width *= 2
