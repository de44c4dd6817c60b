"""Recorder: writes a worker's part of a history, an operation at a time.

It takes answers as they were decoded and keeps numbers. Contradictions within one answer, which
numbers can't show, are remarked at once. Well below a microsecond an operation.
"""

import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from sportshop.audit.digest import digest
from sportshop.audit.history import (
    LARGE,
    NO_KEY,
    TOOK_MAX,
    UNKNOWN_PRICE,
    Block,
    Kind,
    Line,
    Remark,
)

_pack_operation = struct.Struct("<qqqIIIHBB").pack
_pack_item = struct.Struct("<iI").pack
REMARKS_MAX = 1_000  # a shop that contradicts itself in every answer is convicted by the first
REMARK_CHARACTERS = 500
ITEMS_MAX = 2**16 - 1  # of one operation: a shop of as many products is beyond this audit
NAMES_SHOWN = 3
SIGNED = 2**63
_ACCEPTED, _REPLAYED = int(Kind.ACCEPTED), int(Kind.REPLAYED)  # an enum's member is slower
Wanted = Sequence[tuple[str, int]]
"""Items as asked for: product and quantity."""


class When(NamedTuple):
    """Who sent a request, and when; ns on the worker's clock. `answered` 0: never."""

    user: int
    sent: int
    answered: int


class Goods(NamedTuple):
    """An item as told."""

    name: str
    quantity: int
    price: int
    stock: int


class Told(NamedTuple):
    """An order as told, in a receipt or in a list."""

    position: int
    items: Sequence[Goods]
    total: int


class Recorder:
    """Writes operations. Not for two native threads at once.

    `worker` is 0 to 255, each once a run; `clock` names the clock that `When` is of.
    """

    def __init__(self, worker: int, clock: str) -> None:
        self.worker = worker
        self._clock = clock
        self._operations = bytearray()
        self._items = bytearray()
        self._count = 0
        self._users: dict[str, int] = {}
        self._lines: dict[Line, int] = {}
        self._large_stocks: dict[int, int] = {}
        self._odd_totals: list[tuple[int, int]] = []
        self._remarks: list[Remark] = []
        self._violations: list[str] = []
        self._incomplete: list[str] = []
        self._shelf: dict[str, tuple[int, int]] = {}
        """Of each product, price and stock as the lists have told last."""

    def __len__(self) -> int:
        """Return how many operations there are."""
        return self._count

    def user(self, name: str) -> int:
        """Return the number of a customer."""
        return self._users.setdefault(name, len(self._users))

    def receipt(
        self, when: When, key: int, wanted: Wanted, told: Told, as_of: int, replayed: bool
    ) -> None:
        """Write down an order that was accepted, or had been before.

        `key`: its number among the worker's own, or NO_KEY; `wanted`: what was asked for.
        """
        position, items, total = told
        if replayed:
            kind, place, number = _REPLAYED, as_of, position
            if as_of < position:
                self.remark(f"is replayed as of {as_of}")
            if key == NO_KEY:
                self.remark("is replayed, and bore no key")
        else:
            kind, place, number = _ACCEPTED, position, total
            if as_of != position:
                self.remark(f"is new, and as of {as_of}")
        count = len(items)
        if count == len(wanted) == 1:  # nearly always
            fits = wanted[0] == items[0][:2]
        else:
            fits = _are_same(wanted, items, in_sum=replayed)
        if not fits:
            self.remark(f"has {_goods(items)}: asked for were {_wanted(wanted)}")
        if self._add(kind, when, key, place, number, count):
            self._add_items(items)
            if replayed:
                self._compare(total, items)

    def refused(
        self,
        kind: Kind,
        when: When,
        key: int,
        wanted: Wanted,
        as_of: int = 0,
        told: Goods | None = None,
    ) -> None:
        """Write down an order that was not sold, or of which nobody knows.

        `told`: the product that is named, its quantity requested and its stock available.
        """
        items = [(0, quantity, name) for name, quantity in wanted]
        if told is not None:
            if kind == Kind.NOT_FOUND:  # it says of no quantity
                told = told._replace(quantity=sum(many for name, many in wanted if name == told[0]))
            if len(wanted) == 1 and wanted[0] == told[:2]:  # nearly always
                items.clear()
            items.append((told.stock, told.quantity, told.name))
        if self._add(kind, when, key, as_of, 0, len(items)):
            for stock, quantity, name in items:
                self._add_item(stock, self._line(name, UNKNOWN_PRICE, quantity))

    def products(
        self,
        when: When,
        as_of: int,
        products: Mapping[str, tuple[int, int]],
        kind: Kind,
        sold_out: bool = True,
    ) -> None:
        """Write down a list of products: price and stock by name.

        `kind`: PRODUCTS, OPENING or CLOSING; `sold_out`: those sold out were asked for, too.
        """
        if not sold_out:
            empty = [name for name, (_, stock) in products.items() if stock == 0]
            if empty:
                self.remark(f"has products of which none is left: {_few(empty)}")
        known = self._shelf if kind == Kind.PRODUCTS else {}  # the first and the last are in full
        changed = {name: told for name, told in products.items() if known.get(name) != told}
        for name in known.keys() - products.keys():
            price, stock = known[name]
            if stock:
                changed[name] = (price, 0)
        number = 2 * len(products) + sold_out
        if self._add(kind, when, NO_KEY, as_of, number, len(changed)):
            for name, (price, stock) in changed.items():
                self._add_item(stock, self._line(name, price, 0))
            self._shelf |= changed

    def orders(
        self, when: When, as_of: int, limit: int, newest: int, digests: Sequence[int]
    ) -> None:
        """Write down the newest of a customer's orders since the opening, by their digests.

        `limit`: how many were asked for, 0 if all; `newest`: the position of the newest one, or 0.
        """
        total = (sum(digests) + SIGNED) % (2 * SIGNED) - SIGNED
        self._add(Kind.ORDERS, when, NO_KEY, as_of, total, 2)
        self._add_item(limit, self._line("", 0, len(digests)))
        self._add_item(newest, self._line("", 0, 0))

    def final_list(
        self, when: When, as_of: int, floor: int, entries: Iterable[tuple[int, int, Told]]
    ) -> None:
        """Write down a customer's final list, whole down to `floor`. Once for each customer.

        An entry is its key's worker, its key's number, and the order.
        """
        self._add(Kind.FINAL, when, NO_KEY, as_of, floor, 0)
        for worker, key, (position, items, total) in entries:
            whose = worker if key else 0
            if self._add(Kind.LISTED, when, key, position, total, len(items), whose):
                self._add_items(items)

    def remark(self, text: str) -> None:
        """Note a contradiction in the answer that is written down next, such as "is ..."."""
        if len(self._remarks) < REMARKS_MAX:
            self._remarks.append(Remark(self._count, text[:REMARK_CHARACTERS]))

    def violation(self, text: str) -> None:
        """Note an answer that is none by the protocol, and belongs to no operation."""
        if len(self._violations) < REMARKS_MAX:
            self._violations.append(text[:REMARK_CHARACTERS])

    def block(self) -> Block:
        """Return what was written."""
        return Block(
            self.worker,
            self._clock,
            bytes(self._operations),
            bytes(self._items),
            list(self._users),
            list(self._lines),
            list(self._large_stocks),
            list(self._odd_totals),
            [remark for remark in self._remarks if remark.operation < self._count],
            list(self._incomplete),
            list(self._violations),
        )

    def _add(
        self,
        kind: int,
        when: When,
        key: int,
        place: int,
        number: int,
        items: int,
        worker: int | None = None,
    ) -> bool:
        """Write a row. False if it has too many items, which makes the record incomplete."""
        user, sent, answered = when
        if items > ITEMS_MAX:
            self._incomplete.append(f"an answer of {items} items is more than can be recorded")
            self._remarks = [one for one in self._remarks if one.operation < self._count]
            return False
        # Rounded up, so that nothing seems to have been answered before it was.
        took = (answered - sent + 999) // 1_000
        if not answered or took > TOOK_MAX:
            took = TOOK_MAX
        elif answered < sent:
            took = 0
            if kind != Kind.NOT_DONE:  # SHUTTING_DOWN and the like are said unasked
                self.remark("was answered before it was sent")
        whose = self.worker if worker is None else worker
        self._operations += _pack_operation(
            sent, place, number, took, user, key, items, kind, whose
        )
        self._count += 1
        return True

    def _add_items(self, items: Sequence[Goods]) -> None:
        lines = self._lines
        for name, quantity, price, stock in items:
            line = lines.get((name, price, quantity))
            if line is None:
                line = self._line(name, price, quantity)
            try:  # as in _add_item, without the call
                self._items += _pack_item(stock, line)
            except struct.error:
                self._add_item(stock, line)

    def _compare(self, total: int, items: Sequence[Goods]) -> None:
        """Keep the total of the repeat that was written last, if it is not what the items make."""
        rest = total
        for _, quantity, price, _ in items:
            rest -= quantity * price
        if rest:
            self._odd_totals.append((self._count - 1, total))

    def _add_item(self, stock: int, line: int) -> None:
        try:
            self._items += _pack_item(stock, line)
        except struct.error:  # beyond 32 bits, which is seldom
            number = self._large_stocks.setdefault(stock, len(self._large_stocks))
            self._items += _pack_item(number, LARGE + line)

    def _line(self, name: str, price: int, quantity: int) -> int:
        return self._lines.setdefault((name, price, quantity), len(self._lines))


def entry_digest(told: Told) -> int:
    """Return what stands for an order in a list of orders."""
    return digest(told.position, told.total, told.items)


def _are_same(wanted: Wanted, items: Sequence[Goods], in_sum: bool) -> bool:
    """Tell whether these are the items asked for; of an earlier order, in whatever lines."""
    told = [item[:2] for item in items]
    return _sums(wanted) == _sums(told) if in_sum else list(wanted) == told


def _sums(items: Iterable[tuple[str, int]]) -> dict[str, int]:
    sums: dict[str, int] = {}
    for name, quantity in items:
        sums[name] = sums.get(name, 0) + quantity
    return sums


def _goods(items: Iterable[Goods]) -> str:
    return _wanted([(item.name, item.quantity) for item in items])


def _few(names: Sequence[str]) -> str:
    more = ", …" if len(names) > NAMES_SHOWN else ""
    return ", ".join(names[:NAMES_SHOWN]) + more


def _wanted(items: Iterable[tuple[str, int]]) -> str:
    return ", ".join(f"{quantity} {name}" for name, quantity in items) or "nothing"
