"""Books: what follows from a history before any rule is applied: who sold what, in ledger order.

Everything is a column, so that a million operations are sorted and summed and never looped over.
Knows no rule and no words.
"""

from functools import cached_property
from typing import NamedTuple

import numpy as np

from sportshop.audit.columns import NEVER, OfLines, first_of_each, order_of
from sportshop.audit.digest import digests, line_marks, name_digest, stirred, sums_of
from sportshop.audit.history import (
    FOREIGN_KEY,
    LARGE,
    LISTS,
    NO_KEY,
    TOLD,
    TOOK_MAX,
    Array,
    History,
    Kind,
    stocks_of,
)

NO_KEY_ID = -1
PLACES_MAX = 2**38
"""Below this, positions are small enough to be combined with a user or a product in 64 bits."""
PIECE = 2**16
"""As many operations are looked at in one go where much is to be kept of each."""
REFUSALS = (Kind.SOLD_OUT, Kind.NOT_FOUND)
READS = (
    Kind.REPLAYED,
    Kind.SOLD_OUT,
    Kind.NOT_FOUND,
    Kind.PRODUCTS,
    Kind.ORDERS,
    Kind.FINAL,
    Kind.OPENING,
    Kind.CLOSING,
)
"""What is true as of a position, and not at one."""


class Parts(NamedTuple):
    """What orders took of each product: columns, sorted by product and position.

    What a product had at the opening is the first of its parts, of which nothing was taken.
    """

    product: Array
    position: Array
    quantity: Array
    lowest: Array
    """The stock that was left, as told."""
    highest: Array
    """The same: items of one product in one order may contradict each other."""
    operation: Array


class Books:
    """Columns that several rules need. Operations, items, products and users go by index."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.of = of = history.operations
        self.kind = of["kind"].copy()
        self.sent = of["sent"].copy()
        self.buyer = of["user"].astype(np.int64)
        self.counts = counts = of["items"].astype(np.int32)
        self.firsts = np.cumsum(counts) - counts
        """Of each operation, the index of its first item."""
        self.owner = np.repeat(np.arange(len(of), dtype=np.int32), counts)
        """Of each item, the index of its operation."""
        names: dict[str, int] = {}
        product = [names.setdefault(name, len(names)) for name, _, _ in history.lines]
        self.names = list(names)
        price, quantity = (
            np.array([line[which] for line in history.lines] or [0], np.int64) for which in (1, 2)
        )
        line = history.items["line"] % LARGE
        self.product = OfLines(np.array(product or [0], np.int64), line)
        self.price, self.quantity = OfLines(price, line), OfLines(quantity, line)
        self.amount = OfLines(price * quantity, line)
        """Price times quantity, modulo 2^64."""
        self.stock = stocks_of(history.items, history.large_stocks)

    # What was told beside the items: see Kind.

    @cached_property
    def position(self) -> Array:
        """Of each operation that tells of an order, its position; of others 0."""
        found = np.where(self.are(*TOLD), self.of["place"], 0)
        repeats = self.find(Kind.REPLAYED)
        found[repeats] = self.of["number"][repeats]
        return found

    @cached_property
    def as_of(self) -> Array:
        """Of each operation, as of which position the shop told; 0 if it did not say."""
        found = self.of["place"].copy()
        final, listed = self.find(Kind.FINAL), self.find(Kind.LISTED)
        by_user = np.zeros(len(self.history.users) + 1, np.int64)
        by_user[self.buyer[final]] = found[final]
        found[listed] = by_user[self.buyer[listed]]
        return found

    @cached_property
    def total(self) -> Array:
        """Of each operation that tells of an order, its total in cents; of others 0."""
        found = np.where(self.are(*TOLD), self.of["number"], 0)
        repeats = self.find(Kind.REPLAYED)
        found[repeats] = self.sum_of_items(repeats)
        for operation, total in self.history.odd_totals:
            found[operation] = total
        return found

    def sum_of_items(self, operations: Array) -> Array:
        """Return the sums of price times quantity, modulo 2^64."""
        found = np.empty(len(operations), np.int64)
        for start in range(0, len(operations), PIECE):
            some = operations[start : start + PIECE]
            each = self.amount[self.rows_of(some)].view(np.uint64)
            found[start : start + PIECE] = sums_of(each, self.counts[some]).view(np.int64)
        return found

    @cached_property
    def length(self) -> Array:
        """Of each list of products, how many it had; of others -1."""
        return np.where(self.are(*LISTS), self.of["number"] // 2, -1)

    @cached_property
    def is_whole(self) -> Array:
        """Of each operation, whether it is a list of products and those sold out were asked for."""
        return np.asarray(self.are(*LISTS) & (self.of["number"] % 2 == 1))

    def are(self, *kinds: Kind) -> Array:
        """Tell of each operation whether it is of one of these kinds."""
        table = np.zeros(256, bool)
        table[list(kinds)] = True
        return np.asarray(table[self.kind])

    def find(self, *kinds: Kind) -> Array:
        """Return the operations of these kinds."""
        return np.flatnonzero(self.are(*kinds))

    # What is known of the run.

    @cached_property
    def opening(self) -> int | None:
        """The list of products before the run."""
        return self._only(Kind.OPENING)

    @cached_property
    def closing(self) -> int | None:
        """The list after it."""
        return self._only(Kind.CLOSING)

    def _only(self, kind: Kind) -> int | None:
        found = self.find(kind)
        return int(found[-1]) if len(found) else None

    @cached_property
    def first(self) -> int:
        """How many positions were taken before the run."""
        return 0 if self.opening is None else int(self.as_of[self.opening])

    @cached_property
    def last(self) -> int:
        """How many positions were taken after it."""
        known = int(self.sale_positions[-1]) if len(self.sales) else self.first
        return known if self.closing is None else int(self.as_of[self.closing])

    @cached_property
    def shelved(self) -> dict[int, int]:
        """What each product had at the opening."""
        return {} if self.opening is None else self.shelf(self.opening)

    def shelf(self, operation: int) -> dict[int, int]:
        """Return the stock of each product in a list that is in full."""
        rows = self.rows_of(np.array([operation]))
        return dict(zip(self.product[rows].tolist(), self.stock[rows].tolist(), strict=True))

    @cached_property
    def is_strange(self) -> Array:
        """Of each product, whether the first list, if there is one, does not have it."""
        strange = np.full(max(1, len(self.names)), self.opening is not None)
        strange[list(self.shelved)] = False
        return strange

    @property
    def is_alone(self) -> bool:
        """Whether nobody but this run can have bought, and all of it is recorded."""
        return self.history.alone and not self.history.incomplete

    @cached_property
    def read_till(self) -> Array:
        """Of each user, up to which position the final list tells all his orders; -1 if none."""
        final = self._final_of
        return np.where(final >= 0, self.as_of[final], -1) if len(self.of) else final

    @cached_property
    def _final_of(self) -> Array:
        """Of each user, the final list, if that tells of all his orders since the opening."""
        found = np.full(len(self.history.users) + 1, -1, np.int64)
        final = self.find(Kind.FINAL)
        final = final[self.of["number"][final] <= self.first]
        found[self.buyer[final]] = final
        return found

    def precedes_final(self, operations: Array) -> Array:
        """Tell of each operation whether its buyer's final list was read after its answer."""
        final = self._final_of[self.buyer[operations]]
        same = self.clock[final] == self.clock[operations]
        before = ~same | (self.answered[operations] < self.sent[final])
        return np.asarray((final >= 0) & before)

    @cached_property
    def answered(self) -> Array:
        """When each operation was answered, at the latest; NEVER if that is not known."""
        took = self.of["took"].astype(np.int64)
        never = (self.kind == Kind.UNKNOWN) | (took == TOOK_MAX)
        return np.where(never, NEVER, self.sent + took * 1_000)

    @cached_property
    def clock(self) -> Array:
        """Of each operation, a number for the clock that its times are of."""
        numbers = {name: number for number, name in enumerate(dict.fromkeys(self.history.clocks))}
        by_worker = np.array([numbers[name] for name in self.history.clocks] or [0], np.uint8)
        return np.asarray(by_worker[self.of["worker"]])

    # Positions.

    @cached_property
    def _marks(self) -> Array | None:
        """All positions there are, where they are too large to be taken as they are."""
        if max(int(self.position.max(initial=0)), int(self.as_of.max(initial=0))) < PLACES_MAX:
            return None
        return np.unique(np.concatenate([self.position, self.as_of]))

    def place(self, positions: Array) -> Array:
        """Return numbers below PLACES_MAX in the order of these positions, each of the record."""
        return positions if self._marks is None else np.searchsorted(self._marks, positions)

    def at(self, number: Array, positions: Array) -> Array:
        """Return one number for a user's or product's number and a position, in their order."""
        return np.asarray((number << self._place_bits) + self.place(positions))

    @cached_property
    def _place_bits(self) -> int:
        highest = np.array([self.position.max(initial=0), self.as_of.max(initial=0)])
        return int(self.place(highest).max()).bit_length()

    def missing_between(self, low: Array | int, high: Array | int) -> Array:
        """Return how many positions after `low` and not after `high` nobody told of."""
        known = np.searchsorted(self.sale_positions, high, "right")
        known = known - np.searchsorted(self.sale_positions, low, "right")
        return np.maximum(0, np.asarray(high) - low - known)

    @cached_property
    def ends(self) -> Array:
        """The first position, the positions of the sales and the one after the last known."""
        told = self.sale_positions[-1:].max(initial=self.last)
        end = max(int(told), int(self.as_of[self.find(*READS)].max(initial=0)))
        return np.concatenate([[self.first], self.sale_positions, [end + 1]])

    @cached_property
    def has_gaps(self) -> bool:
        """Whether there are positions that nobody told of."""
        return bool((np.diff(self.ends) > 1).any())

    # Orders.

    @cached_property
    def told(self) -> Array:
        """Operations that tell of an order of this run, by position, and there by kind."""
        found = np.flatnonzero(self.are(*TOLD) & (self.position > self.first))
        return found[order_of(self.place(self.position[found]) * 16 + self.kind[found])]

    @cached_property
    def listed(self) -> Array:
        """Those of them that are in final lists."""
        return np.asarray(self.told[self.kind[self.told] == Kind.LISTED])

    @cached_property
    def told_alone(self) -> Array:
        """Those of them beside which, at their position, there is no receipt with their key."""
        told = self.told
        starts = first_of_each(self.position[told])
        sale = np.repeat(told[starts], np.diff(np.append(starts, len(told))))
        beside = (self.kind[sale] == Kind.ACCEPTED) & (self.key[told] == self.key[sale])
        return np.asarray(told[~beside])

    @cached_property
    def sales(self) -> Array:
        """One of them for each position: the receipt, if there is one."""
        return np.asarray(self.told[first_of_each(self.position[self.told])])

    @cached_property
    def sale_positions(self) -> Array:
        """The positions of the sales: sorted, none twice."""
        return np.asarray(self.position[self.sales])

    def rows_of(self, operations: Array) -> Array:
        """Return the indices of the operations' items, in order."""
        counts = self.counts[operations]
        if (counts == 1).all():
            return np.asarray(self.firsts[operations])
        starts = np.repeat(self.firsts[operations] - (np.cumsum(counts) - counts), counts)
        return starts + np.arange(len(starts))

    def digests(self, told: Array) -> Array:
        """Return the digests of operations that tell of an order."""
        rows = self.rows_of(told)
        counts = self.counts[told]
        mark = self._mark[rows]
        return digests(self.position[told], self.total[told], counts, mark, self.stock[rows])

    @cached_property
    def _mark(self) -> OfLines:
        names = np.array([name_digest(name) for name in self.names] or [0], np.uint64)
        product, quantity, price = (
            column.of_line for column in (self.product, self.quantity, self.price)
        )
        return OfLines(line_marks(names[product], quantity, price), self.product.line)

    @cached_property
    def told_digests(self) -> Array:
        """The digests of `told`: made piece by piece as the record has them, to spare caches."""
        order = order_of(self.told)
        found = np.empty(len(order), np.uint64)
        for start in range(0, len(order), PIECE):
            some = order[start : start + PIECE]
            found[some] = self.digests(self.told[some])
        return found

    @cached_property
    def tells_apart(self) -> Array:
        """Of each operation, whether its last item is what was told, and not asked for."""
        return np.asarray(self.are(*REFUSALS) & (self.counts > 1))

    def goods_digests(self, operations: Array) -> Array:
        """Return what is the same for orders of the same products and quantities, in any lines."""
        rows = self.rows_of(operations)
        marks = stirred(np.arange(1, len(self.names) + 2, dtype=np.uint64))
        each = marks[self.product[rows]] * self.quantity[rows].astype(np.uint64)
        each += self.quantity[rows] == 0  # nobody can order none of something
        counts = self.counts[operations]
        ends = np.cumsum(counts)
        each[ends[self.tells_apart[operations]] - 1] = 0
        return sums_of(each, counts)

    def line_digests(self, operations: Array) -> Array:
        """Return what is the same for orders of the same products and quantities, line by line."""
        rows = self.rows_of(operations)
        each = stirred((self.product[rows] + 1 << 32 | self.quantity[rows]).astype(np.uint64))
        each *= (1 + rows - self.firsts[self.owner[rows]]).astype(np.uint64)
        return sums_of(each, self.counts[operations])

    # Keys.

    @cached_property
    def key(self) -> Array:
        """Of each operation, a number for user and order key; NO_KEY_ID if it has none."""
        key = self.buyer << 40
        key |= self.of["worker"].astype(np.int64) << 32
        key |= self.of["key"]
        key[self.of["key"] == NO_KEY] = NO_KEY_ID
        return key

    @cached_property
    def is_foreign(self) -> Array:
        """Of each operation, whether its key is none of this run's."""
        return np.asarray((self.of["key"] == FOREIGN_KEY) | (self.of["key"] == NO_KEY))

    def sale_of(self, operations: Array) -> Array:
        """Return for each operation the first telling of what its key sold; -1 if nothing."""
        found = np.full(len(operations), -1, np.int64)
        keys, sales = self.sold_keys
        if len(keys):
            own = self.key[operations]
            at = np.minimum(np.searchsorted(keys, own), len(keys) - 1)
            same = (keys[at] == own) & ~self.is_foreign[operations]
            found[same] = sales[at[same]]
        return found

    @cached_property
    def sold_keys(self) -> tuple[Array, Array]:
        """The keys of this run that sold, sorted, and what each sold; by position if more."""
        own = self.sales[~self.is_foreign[self.sales]]
        keys = self.key[own]
        order = order_of(keys)
        return keys[order], own[order]

    @cached_property
    def tries(self) -> Array:
        """Orders of unknown outcome that can have sold what their key sold: the same lines."""
        unknown = self.find(Kind.UNKNOWN)
        sale = self.sale_of(unknown)
        unknown, sale = unknown[sale >= 0], sale[sale >= 0]
        return np.asarray(unknown[self.line_digests(unknown) == self.line_digests(sale)])

    # Stock.

    @cached_property
    def parts(self) -> Parts:
        """The chain of what was left of each product, in ledger order, as the receipts tell."""
        operations = self.sales
        if self.opening is not None:
            operations = np.concatenate([[self.opening], operations])
        rows = self.rows_of(operations)
        sale, product = self.owner[rows], self.product[rows]
        if len(self.names) < 2**16:
            product = product.astype(np.uint16)  # these are sorted in linear time
        order = np.argsort(product, kind="stable")  # by position as before
        rows, sale = rows[order], sale[order]
        product, stock = self.product[rows], self.stock[rows]
        is_opening = self.kind[sale] == Kind.OPENING
        position = np.where(is_opening, self.first, self.position[sale])
        quantity = np.where(is_opening, 0, self.quantity[rows])
        new = np.ones(len(rows), bool)
        new[1:] = (product[1:] != product[:-1]) | (position[1:] != position[:-1])
        starts = np.flatnonzero(new)
        if len(starts) == len(rows):
            return Parts(product, position, quantity, stock, stock, sale)
        return Parts(
            product[starts],
            position[starts],
            np.add.reduceat(quantity, starts),
            np.minimum.reduceat(stock, starts),
            np.maximum.reduceat(stock, starts),
            sale[starts],
        )

    @cached_property
    def _part_places(self) -> Array:
        return self.at(self.parts.product, self.parts.position)

    def newest_part(self, product: Array, as_of: Array) -> Array:
        """Return which of the parts was a product's newest as of a position; -1 if none."""
        parts = self.parts
        if not len(parts.product):
            return np.full(len(product), -1)
        at = np.searchsorted(self._part_places, self.at(product, as_of), "right") - 1
        return np.asarray(np.where((at >= 0) & (parts.product[at] == product), at, -1))

    def user(self, operation: int) -> str:
        """Return the customer's name."""
        return self.history.users[int(self.buyer[operation])]
