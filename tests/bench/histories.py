"""Histories for the benchmark: a flash sale of any length as a correct shop would have told it.

Made by columns and not by the Recorder, so that a million operations take a second. Nine orders of
ten are for one hot product, which sells out on the way; 70 others never do.
"""

from typing import NamedTuple

import numpy as np

from sportshop.audit import History, Kind
from sportshop.audit.digest import digests, line_marks, name_digest
from sportshop.audit.history import ITEM, OPERATION, UNKNOWN_PRICE, Array

NAMES = ["Football", *(f"Product {number}" for number in range(1, 71))]
WORKERS, USERS, AUDITOR = 4, 1_000, 4
PRICE = 14990
PRICES = (PRICE, UNKNOWN_PRICE)
QUANTITIES = (0, 1, 2, 7)
LINES = [(name, price, quantity) for quantity in QUANTITIES for price in PRICES for name in NAMES]
LIMIT = 10
STEP_NS, TOOK_US = 10_000, 2_000
OPERATIONS_AN_EVENT = 1.63  # an order that is sold is listed in the end, too
SHARES = {
    Kind.ACCEPTED: 0.80,
    Kind.REPLAYED: 0.05,
    Kind.KEY_REUSED: 0.01,
    Kind.UNKNOWN: 0.02,
    Kind.NOT_DONE: 0.01,
    Kind.PRODUCTS: 0.01,
    Kind.ORDERS: 0.10,
}


class Sales(NamedTuple):
    """Orders that were sold, by position, from 1; and their items, sorted in the same way."""

    event: Array
    counts: Array
    product: Array
    quantity: Array
    left: Array


class Rows(NamedTuple):
    """Operations and how many items each has, and all their items."""

    operations: Array
    items: Array


def million(count: int = 1_000_000, seed: int = 1) -> History:
    """Return a history of about so many operations. Anybody who audits it alone has to pass it."""
    chance = np.random.default_rng(seed)
    events = max(100, int(count / OPERATIONS_AN_EVENT))
    kind = chance.choice([*SHARES], events, p=[*SHARES.values()]).astype(np.uint8)
    sales, opening, refused = _sell(chance, kind)
    taken = np.zeros(events, np.int64)
    taken[sales.event] = 1
    taken = np.cumsum(taken)
    who = chance.integers(0, USERS, events)
    kind[refused] = Kind.SOLD_OUT
    kind[(taken < 100) & np.isin(kind, (Kind.REPLAYED, Kind.KEY_REUSED))] = Kind.NOT_DONE
    told = _Teller(sales, taken, who, kind, opening)
    parts = [told.opening(), *told.during(chance, refused), told.closing(), told.final_lists()]
    operations = np.concatenate([part.operations for part in parts])
    items = np.concatenate([part.items for part in parts])
    lines = [*LINES, *(("", 0, count) for count in range(LIMIT + 1))]
    users = [f"user{number}" for number in range(USERS)]
    clocks = ["clock"] * (WORKERS + 1)
    return History(operations, items, users, lines, clocks, alone=True)


def _sell(chance: np.random.Generator, kind: Array) -> tuple[Sales, Array, Array]:
    """Decide the orders: return what is sold, what there was, and the events that are refused."""
    orders = np.flatnonzero((kind == Kind.ACCEPTED) | (kind == Kind.UNKNOWN))
    is_hot = chance.random(len(orders)) < 0.9
    late = orders > 0.8 * len(kind)
    refused = orders[is_hot & late & (kind[orders] == Kind.ACCEPTED)]
    event = orders[~(is_hot & late)]
    is_hot = is_hot[~(is_hot & late)]
    counts = np.where(chance.random(len(event)) < 0.05, 2, 1)
    starts = np.cumsum(counts) - counts
    product = chance.integers(1, len(NAMES), int(counts.sum()))
    product[starts[is_hot]] = 0
    second = starts[counts == 2] + 1
    product[second] = 1 + product[second - 1] % (len(NAMES) - 1)  # another than the first
    quantity = chance.integers(1, 3, len(product))
    opening = np.bincount(product, quantity, minlength=len(NAMES)).astype(np.int64)
    opening[1:] += 1
    order = np.argsort(product, kind="stable")
    sold = np.cumsum(quantity[order])
    before = np.concatenate([[0], np.cumsum(np.bincount(product, quantity, len(NAMES)))])[:-1]
    left = np.empty(len(product), np.int64)
    left[order] = opening[product[order]] - (sold - before[product[order]]).astype(np.int64)
    return Sales(event, counts, product, quantity, left), opening, refused


class _Teller:
    """Writes down what the shop tells."""

    def __init__(self, sales: Sales, taken: Array, who: Array, kind: Array, opening: Array) -> None:
        self._sales = sales
        self._taken = taken
        self._who = who
        self._kind = kind
        self._stock = opening
        self._events = len(kind)
        self._starts = np.cumsum(sales.counts) - sales.counts
        amounts = np.add.reduceat(sales.quantity * PRICE, self._starts)
        self._total = amounts
        self._position = np.arange(1, len(sales.event) + 1)

    def _operations(self, kind: Kind, event: Array, who: Array, counts: Array) -> Array:
        rows = np.zeros(len(event), OPERATION)
        rows["kind"] = kind
        rows["sent"] = 1_000_000_000 + event * STEP_NS
        rows["took"] = TOOK_US
        rows["user"] = who
        rows["worker"] = who % WORKERS
        rows["items"] = counts
        return rows

    def _rows_of(self, sale: Array) -> Array:
        counts = self._sales.counts[sale]
        starts = np.repeat(self._starts[sale] - (np.cumsum(counts) - counts), counts)
        return starts + np.arange(len(starts))

    def _told(self, kind: Kind, sale: Array, event: Array, as_of: Array | int = 0) -> Rows:
        """Tell of orders in full."""
        sales = self._sales
        rows = self._operations(kind, event, self._who[sales.event[sale]], sales.counts[sale])
        is_repeat = kind == Kind.REPLAYED
        rows["place"] = as_of if is_repeat else self._position[sale]
        rows["number"] = (self._position if is_repeat else self._total)[sale]
        rows["key"] = sales.event[sale] + 1
        at = self._rows_of(sale)
        return Rows(rows, _items(sales.left[at], sales.quantity[at], sales.product[at]))

    def during(self, chance: np.random.Generator, refused: Array) -> list[Rows]:
        """Return what was told during the run, by each kind and worker."""
        seen = self._kind[self._sales.event] == Kind.ACCEPTED
        sale = np.flatnonzero(seen)
        event = self._sales.event[sale]
        parts = [self._told(Kind.ACCEPTED, sale, event)]
        parts += [self._lost(np.flatnonzero(~seen)), self._refused(refused), self._not_done()]
        repeats = np.flatnonzero(self._kind == Kind.REPLAYED)
        # Of what was sold long enough ago to have been answered.
        first = (chance.random(len(repeats)) * (self._taken[repeats] // 2)).astype(np.int64)
        parts.append(self._told(Kind.REPLAYED, first, repeats, self._taken[repeats]))
        parts += [self._reused(chance), self._order_lists()]
        return parts + [self._product_lists(worker) for worker in range(WORKERS)]

    def _lost(self, sale: Array) -> Rows:
        part = self._told(Kind.UNKNOWN, sale, self._sales.event[sale])
        for name in ("place", "number"):
            part.operations[name] = 0
        part.items["stock"] = 0
        part.items["line"] += len(NAMES)
        return part

    def _refused(self, event: Array) -> Rows:
        """Refuse the hot product; in every fourth order behind another that there is."""
        counts = np.where(np.arange(len(event)) % 4 == 0, 3, 1)
        rows = self._operations(Kind.SOLD_OUT, event, self._who[event], counts)
        rows["place"] = self._taken[event]
        rows["key"] = event + 1
        starts = np.cumsum(counts) - counts
        product = np.zeros(int(counts.sum()), np.int64)
        product[starts[counts == 3]] = 7
        none, one = np.zeros(len(product)), np.ones(len(product))
        return Rows(rows, _items(none, one, product, UNKNOWN_PRICE))

    def _not_done(self) -> Rows:
        event = np.flatnonzero(self._kind == Kind.NOT_DONE)
        rows = self._operations(Kind.NOT_DONE, event, self._who[event], np.ones(len(event)))
        rows["key"] = event + 1
        return Rows(rows, _items(np.zeros(len(event)), np.ones(len(event)), 0, UNKNOWN_PRICE))

    def _reused(self, chance: np.random.Generator) -> Rows:
        """Refuse keys for other items than they sold: seven of the hot product."""
        event = np.flatnonzero(self._kind == Kind.KEY_REUSED)
        sale = (chance.random(len(event)) * (self._taken[event] // 2)).astype(np.int64)
        first = self._sales.event[sale]
        rows = self._operations(Kind.KEY_REUSED, event, self._who[first], np.ones(len(event)))
        rows["key"] = first + 1
        return Rows(rows, _items(np.zeros(len(event)), np.full(len(event), 7), 0, UNKNOWN_PRICE))

    def _order_lists(self) -> Rows:
        sales, event = self._sales, np.flatnonzero(self._kind == Kind.ORDERS)
        marks = np.array([name_digest(name) for name in NAMES], np.uint64)[sales.product]
        marks = line_marks(marks, sales.quantity, np.full(len(marks), PRICE))
        each = digests(self._position, self._total, sales.counts, marks, sales.left)
        who, span = self._who[sales.event], len(self._position) + 1
        order = np.argsort(who, kind="stable")
        place = who[order] * span + self._position[order]
        sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(each[order], dtype=np.uint64)])
        end = np.searchsorted(place, self._who[event] * span + self._taken[event], "right")
        start = np.maximum(np.searchsorted(place, self._who[event] * span), end - LIMIT)
        rows = self._operations(Kind.ORDERS, event, self._who[event], np.full(len(event), 2))
        rows["place"] = self._taken[event]
        rows["number"] = (sums[end] - sums[start]).view(np.int64)
        items = np.zeros(2 * len(event), ITEM)
        items["stock"][::2], items["line"][::2] = LIMIT, len(LINES) + end - start
        newest = np.append(self._position[order], 0)[np.where(end > start, end - 1, -1)]
        items["stock"][1::2], items["line"][1::2] = newest, len(LINES)
        return Rows(rows, items)

    def _left(self, product: Array, as_of: Array) -> Array:
        """Return what products had left as of positions."""
        position = np.repeat(self._position, self._sales.counts)
        order = np.argsort(self._sales.product, kind="stable")
        span = len(self._position) + 1
        place = self._sales.product[order] * span + position[order]
        at = np.searchsorted(place, product * span + as_of, "right") - 1
        found = (at >= 0) & (self._sales.product[order][at] == product)
        return np.where(found, self._sales.left[order][at], self._stock[product])

    def _product_lists(self, worker: int) -> Rows:
        event = np.flatnonzero((self._kind == Kind.PRODUCTS) & (self._who % WORKERS == worker))
        ends = np.append(self._starts, len(self._sales.product))[self._taken[event]]
        starts = np.concatenate([[0], ends[:-1]])
        changed = [
            np.unique(self._sales.product[start:end])
            for start, end in zip(starts.tolist(), ends.tolist(), strict=True)
        ]
        if changed:
            changed[0] = np.arange(len(NAMES))
        counts = np.array([len(products) for products in changed], np.int64)
        rows = self._operations(Kind.PRODUCTS, event, self._who[event], counts)
        rows["place"], rows["number"] = self._taken[event], 2 * len(NAMES) + 1
        product = np.concatenate([np.zeros(0, np.int64), *changed])
        left = self._left(product, np.repeat(self._taken[event], counts))
        return Rows(rows, _items(left, np.zeros(len(left)), product))

    def _whole_list(self, kind: Kind, event: int, as_of: int) -> Rows:
        rows = self._operations(kind, np.array([event]), np.zeros(1), np.array([len(NAMES)]))
        rows["place"], rows["number"] = as_of, 2 * len(NAMES) + 1
        rows["worker"] = AUDITOR
        product = np.arange(len(NAMES))
        left = self._left(product, np.full(len(NAMES), as_of))
        return Rows(rows, _items(left, np.zeros(len(NAMES)), product))

    def opening(self) -> Rows:
        return self._whole_list(Kind.OPENING, -1_000, 0)

    def closing(self) -> Rows:
        return self._whole_list(Kind.CLOSING, self._events + 1_000, len(self._position))

    def final_lists(self) -> Rows:
        who = np.arange(USERS)
        end = np.full(USERS, self._events + 2_000)
        finals = self._operations(Kind.FINAL, end, who, np.zeros(USERS))
        finals["place"] = len(self._position)
        finals["worker"] = AUDITOR
        sale = np.argsort(self._who[self._sales.event], kind="stable")
        listed = self._told(Kind.LISTED, sale, np.full(len(sale), end[0]))
        return Rows(np.concatenate([finals, listed.operations]), listed.items)


def _items(stock: Array, quantity: Array, product: Array | int, price: int = PRICE) -> Array:
    items = np.zeros(len(stock), ITEM)
    known = np.searchsorted(QUANTITIES, quantity)
    items["stock"] = stock
    items["line"] = (known * len(PRICES) + PRICES.index(price)) * len(NAMES) + product
    return items
