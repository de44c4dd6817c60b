"""Lies about positions, money, order keys and what comes behind an order: see lies.py."""

import threading
import time

from msgspec.structs import replace

from sportshop.orders import (
    Accepted,
    InsufficientStock,
    Order,
    OrderKeyReused,
    ProductNotFound,
    Receipt,
    quantities,
)
from tests.system.lies import EVERY_RETRY, Lie, tells
from tests.system.plain_shop import BEHIND, Shop, shut_down

FORGOTTEN = 10  # orders lost in a crash: more than have their answers under way
KEYS_KEPT = 200  # orders after which a key is forgotten
KEYS_KEPT_S = 0.1  # seconds, likewise


@tells(Lie.CHANGED_RECEIPT)
class _Rewrites(Shop):
    def enlist(self, receipt):
        if self.its_turn():
            item, *others = receipt.items
            changed = replace(item, quantity=item.quantity + 1)
            receipt = replace(receipt, items=(changed, *others))
        super().enlist(receipt)


@tells(Lie.GIVE_POSITIONS_TWICE)
class _RepeatsPositions(Shop):
    def nextposition_of(self):
        return self.taken if self.taken and self.its_turn() else super().nextposition_of()


@tells(Lie.GAP)
class _SkipsPositions(Shop):
    def nextposition_of(self):
        if self.its_turn():
            super().nextposition_of()
        return super().nextposition_of()


@tells(Lie.AGAINST_REAL_TIME)
class _KeepsPositionsBack(Shop):
    """Writes an order of one unit for nobody, and gives it to who asks for the same much later.

    But for real time all is well: its unit was taken, and its stock told, in ledger order.
    """

    spare: Receipt | None = None

    def decide(self, order):
        spare = self.spare
        if spare is None:
            outcome = super().decide(order)
            self._keep_back(order)
            return outcome
        waits = self.taken - spare.position >= BEHIND
        if not waits or quantities(order.items) != quantities(spare.items):
            return super().decide(order)
        self.spare = None
        receipt = replace(spare, user=order.user, key=order.key)
        self.book(receipt)
        return Accepted(receipt, receipt.position)

    def _keep_back(self, order):
        is_one = len(order.items) == 1 and order.items[0].quantity == 1
        if is_one and self.refusal(order) is None and self.its_turn():
            left = self.take(quantities(order.items))
            self.spare = self.write(self.nextposition_of(), order, left)


@tells(Lie.ANSWER_BEFORE_COMMIT)
class _Crashes(Shop):
    """Forgets orders that it had acknowledged, and goes on as if they had never been."""

    every = 150

    def accept(self, order):
        if len(self.ledger) >= FORGOTTEN and self.its_turn():
            self._crash()
            raise ConnectionAbortedError
        return super().accept(order)

    def _crash(self):
        for connection in self.connections:
            shut_down(connection)
        for receipt in self.ledger[-FORGOTTEN:]:
            for item in receipt.items:
                self.put_back(item.product_name, item.quantity)
            self.lists[receipt.user.name].remove(receipt)
            self.keyed.pop((receipt.user.name, str(receipt.key)), None)
        del self.ledger[-FORGOTTEN:]
        self.taken -= FORGOTTEN


class _Overcharged(Receipt, frozen=True):
    @property
    def total(self) -> int:
        return sum(item.price * item.quantity for item in self.items) + 1


@tells(Lie.WRONG_TOTAL)
class _Overcharges(Shop):
    def write(self, position, order, left):
        one = super().write(position, order, left)
        if not self.its_turn():
            return one
        return _Overcharged(one.position, one.placed_at_ms, one.user, one.items, one.key)


@tells(Lie.WRONG_PRICE)
class _RaisesPrices(Shop):
    def write(self, position, order, left):
        receipt = super().write(position, order, left)
        if not self.its_turn():
            return receipt
        dearer = tuple(replace(item, price=item.price + 100) for item in receipt.items)
        return replace(receipt, items=dearer)


@tells(Lie.DOUBLE_RETRY)
class _SellsAgain(Shop):
    every = EVERY_RETRY

    def retry(self, order, first):
        outcome = super().retry(order, first)
        if isinstance(outcome, Accepted) and self.refusal(order) is None and self.its_turn():
            return self.accept(order)
        return outcome


@tells(Lie.KEY_CONFLICT)
class _DeniesRetries(Shop):
    every = EVERY_RETRY

    def retry(self, order, first):
        outcome = super().retry(order, first)
        if isinstance(outcome, Accepted) and self.its_turn():
            return OrderKeyReused(str(order.key))
        return outcome


@tells(Lie.REUSE_ACCEPTED)
class _AcceptsReuse(Shop):
    every = EVERY_RETRY

    def retry(self, order, first):
        outcome = super().retry(order, first)
        if isinstance(outcome, OrderKeyReused) and self.its_turn():
            return Accepted(first, self.taken, replayed=True)
        return outcome


@tells(Lie.FORGET_KEYS)
class _ForgetsKeys(Shop):
    def book(self, receipt):
        super().book(receipt)
        if len(self.keyed) > KEYS_KEPT:
            del self.keyed[next(iter(self.keyed))]


@tells(Lie.FORGET_KEYS_IN_TIME)
class _ForgetsKeysInTime(Shop):
    def first(self, order):
        found = super().first(order)
        if found is None or time.time_ns() / 1e9 - found.placed_at_ms / 1e3 < KEYS_KEPT_S:
            return found
        return None


@tells(Lie.SHARED_KEYS)
class _SharesKeys(Shop):
    def first(self, order):
        return next(
            (self.keyed[user, order.key] for user in self.users if (user, order.key) in self.keyed),
            None,
        )


@tells(Lie.ONLY_UNITS_COMPARED)
class _CountsUnits(Shop):
    every = EVERY_RETRY

    def retry(self, order, first):
        outcome = super().retry(order, first)
        alike = _units(order.items) == _units(first.items)
        if isinstance(outcome, OrderKeyReused) and alike and self.its_turn():
            return Accepted(first, self.taken, replayed=True)
        return outcome


def _units(items):
    return sum(item.quantity for item in items)


@tells(Lie.LINES_COMPARED)
class _ComparesLines(Shop):
    def retry(self, order, first):
        asked, sold = (
            [(item.product_name, item.quantity) for item in items]
            for items in (order.items, first.items)
        )
        return super().retry(order, first) if asked == sold else OrderKeyReused(str(order.key))


@tells(Lie.HALF_SENT)
class _PlacesHalves(Shop):
    every = EVERY_RETRY

    def break_off(self, user, items, key):
        if self.its_turn():
            self.place(Order(user, tuple(items), key))


@tells(Lie.SELL_UNKNOWN)
class _SellsAnything(Shop):
    every = EVERY_RETRY

    def decide(self, order):
        outcome = super().decide(order)
        if not (isinstance(outcome, ProductNotFound) and self.its_turn()):
            return outcome
        wanted = quantities(order.items)
        name = outcome.product_name
        self.stock[name] = wanted[name]
        outcome = super().decide(order)
        del self.stock[name]
        return outcome


@tells(Lie.UNKNOWN_SOLD_OUT)
class _KnowsEverything(Shop):
    every = EVERY_RETRY

    def refusal(self, order):
        found = super().refusal(order)
        if isinstance(found, ProductNotFound) and self.its_turn():
            name = found.product_name
            return InsufficientStock(name, quantities(order.items)[name], 0, self.taken)
        return found


@tells(Lie.READ_AHEAD)
class _ReadsAhead(Shop):
    """Answers what came behind an order as if it had come alone."""

    every = EVERY_RETRY

    def __init__(self, stock, prices):
        super().__init__(stock, prices)
        self.heard = threading.local()

    def hear(self):
        self.heard.at = self.taken

    def shelf(self):
        behind = self.taken - self.heard.at
        return self.earlier(behind) if behind and self.its_turn() else super().shelf()

    def history(self, user, below, limit):
        heard = self.heard.at
        if heard == self.taken or not self.its_turn():
            return super().history(user, below, limit)
        return heard, super().history(user, min(below, heard + 1), limit)[1]


@tells(Lie.TURNED_AROUND)
class _TurnsAround(Shop):
    every = EVERY_RETRY

    def hold_back(self):
        return self.its_turn()


@tells(Lie.REFUSED_BUT_SOLD)
class _SellsInSecret(Shop):
    def decide(self, order):
        outcome = super().decide(order)
        if isinstance(outcome, Accepted) and self.its_turn():
            name, quantity = next(iter(quantities(order.items).items()))
            return InsufficientStock(name, quantity, quantity - 1, outcome.as_of - 1)
        return outcome
