"""Shelf: what lists of products told, and what orders took.

Lists are many and long, and nearly all of them tell nearly the same: only what may be wrong is
worth a look at each product of each list. Knows no rule.
"""

from typing import NamedTuple

import numpy as np

from sportshop.audit.books import NO_KEY_ID, Books
from sportshop.audit.columns import first_of_each, is_in
from sportshop.audit.history import Array, Kind

PAIRS_MAX = 1_000_000
"""As many pairs of a list and a product are looked at one by one, where they look wrong."""


class Tellings(NamedTuple):
    """Which operations told of which stock of which product: columns."""

    operation: Array
    product: Array
    stock: Array


class Promised(NamedTuple):
    """What was promised of each product, order by order: columns, by product and position."""

    product: Array
    position: Array
    quantity: Array
    operation: Array


def promised(books: Books) -> Promised:
    """Return what customers were told that they bought, whatever position they were told.

    A shop that gives one position to two orders has promised both. An order that is told again,
    in a repeat or in a list, is promised once.
    """
    operations = np.concatenate([books.sales, _beside(books), _too_early(books)])
    operations = operations[np.argsort(books.position[operations], kind="stable")]
    rows = books.rows_of(operations)
    product = books.product[rows]
    if len(books.names) < 2**16:
        product = product.astype(np.uint16)  # these are sorted in linear time
    rows = rows[np.argsort(product, kind="stable")]  # by position as before
    owner = books.owner[rows]
    return Promised(books.product[rows], books.position[owner], books.quantity[rows], owner)


def _beside(books: Books) -> Array:
    """Return the orders that share a position with the one that `books.sales` has there.

    An order is another one if its customer or its key is, or if it has no key and is new.
    """
    told = books.told
    starts = first_of_each(books.position[told])
    sale = np.repeat(told[starts], np.diff(np.append(starts, len(told))))
    other = (books.key[told] != books.key[sale]) | (books.buyer[told] != books.buyer[sale])
    keyless = (books.key[told] == NO_KEY_ID) & (books.kind[told] == Kind.ACCEPTED)
    found = told[other | (keyless & (told != sale))]
    identity = zip(
        *(column[found].tolist() for column in (books.position, books.buyer, books.key)),
        strict=True,
    )
    seen: set[tuple[int, int, int]] = set()  # few: a correct shop has none
    kept = []
    for at, known_as in zip(found.tolist(), identity, strict=True):
        if known_as not in seen or (known_as[2] == NO_KEY_ID and books.kind[at] == Kind.ACCEPTED):
            kept.append(at)
        seen.add(known_as)
    return np.array(kept, np.int64)


def _too_early(books: Books) -> Array:
    """Return orders of this run that are told at positions that were taken before it.

    A key of this run that is answered with an order from before it has been sold, too.
    """
    new = books.find(Kind.ACCEPTED)
    new = new[books.position[new] <= books.first]
    repeats = books.find(Kind.REPLAYED)
    repeats = repeats[(books.position[repeats] <= books.first) & ~books.is_foreign[repeats]]
    repeats = repeats[books.sale_of(repeats) < 0]
    keys, firsts = np.unique(books.key[repeats], return_index=True)
    return np.concatenate([new, repeats[firsts[~is_in(keys, books.key[new])]]])


def sold_till(books: Books, position: int) -> Array:
    """Return how many of each product were promised up to a position."""
    sold = np.zeros(max(1, len(books.names)), np.int64)
    orders = promised(books)
    some = orders.position <= position
    np.add.at(sold, orders.product[some], orders.quantity[some])
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
