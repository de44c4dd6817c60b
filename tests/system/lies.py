"""Lies: what a shop can do wrong, and the shops that do it to stock, reads and lists.

Every lie is a subclass of the honest shop that overrides the step where it is told; those about
positions, money and order keys are in lies_of_orders.py. Whoever audits them has to find it out
from their answers alone.
"""

import time
from bisect import insort
from collections.abc import Callable
from enum import StrEnum

from msgspec.structs import replace

from sportshop.orders import (
    InsufficientStock,
    ProductNotFound,
    quantities,
)
from tests.system.plain_shop import BEHIND, Shop, position_of

EVERY_LIST = 10  # one opportunity in so many, of lists of orders, of which there are fewer
EVERY_BASKET = 5  # the same for what takes several items in one order
EVERY_RETRY = 2  # the same for order keys used again, which only a client in need does
SCARCE = 10  # units left where a race for the last one has begun
GAP_S = 0.05  # between a check and its sale: others check meanwhile, also on a busy machine


class Lie(StrEnum):
    """What the shop does wrong, and what a client could see of it."""

    NONE = "none"
    # Stock.
    OVERSELL = "oversell"  # SUCCESS for more than is left; 0 are left after it
    OVERSELL_AFTER_YIELD = "oversell after yield"  # two at once get the last unit; both leave 0
    NEGATIVE_STOCK = "negative stock"  # SUCCESS for more than is left; -1 are left after it
    KEEP_STOCK = "keep stock"  # the next receipt shows the same stock once more
    LOST_UPDATE = "lost update"  # the same, two orders having read the same stock
    FALSE_SOLD_OUT = "false sold out"  # INSUFFICIENT_STOCK, 1 requested, 40 available
    WRONG_AVAILABLE = "wrong available"  # INSUFFICIENT_STOCK rightly, but `available` is off by 1
    FALSE_NOT_FOUND = "false not found"  # PRODUCT_NOT_FOUND for a product of the list
    # Orders of several items.
    ITEMS_CHECKED_APART = "items checked apart"  # SUCCESS for 1 and 1 of a product with 1 left
    ITEMS_STOCK_APART = "items stock apart"  # two items of a product show different stocks
    HALF_AN_ORDER = "half an order"  # the second product's stock is as before in the next list
    PARTIAL_REFUSAL = "partial refusal"  # after a refusal there is less of its first product
    HALF_SENT = "half sent"  # items without a last one are an order when their sender hangs up
    SELL_UNKNOWN = "sell unknown"  # SUCCESS for a product that no list has
    UNKNOWN_SOLD_OUT = "unknown sold out"  # INSUFFICIENT_STOCK for one
    # Reads.
    STALE_READ = "stale read"  # a list of products shows what was sold as unsold, as of now
    OLD_READ = "old read"  # a list of products is as of before orders acknowledged already
    MIXED_SNAPSHOT = "mixed snapshot"  # a list shows one product as it was, the others as they are
    OLD_ORDERS = "old orders"  # a list of orders is as of before orders acknowledged already
    FOREIGN_ORDER = "foreign order"  # another user's order is in one list, and not in the next
    FOREIGN_ORDER_IN_FINAL = "foreign order in final"  # it is in every list from then on
    DUPLICATE_IN_LIST = "duplicate in list"  # the newest order stands twice in one list
    LOSE_ORDERS = "lose orders"  # acknowledged, but in no list
    LOSE_ORDER_LATER = "lose order later"  # in one list, but in no later one
    CHANGED_RECEIPT = "changed receipt"  # a list tells one unit more than the receipt did
    # One connection.
    READ_AHEAD = "read ahead"  # a list asked for behind an order is as of before it
    TURNED_AROUND = "turned around"  # of two orders sent at once the second is decided first
    # Positions.
    GIVE_POSITIONS_TWICE = "give positions twice"  # two receipts bear one `order`
    GAP = "gap"  # no receipt and no list bears some `order`
    AGAINST_REAL_TIME = "against real time"  # `order` is below one acknowledged long before
    ANSWER_BEFORE_COMMIT = "answer before commit"  # all are cut off; the newest orders are gone
    # Money.
    WRONG_TOTAL = "wrong total"  # `total` is a cent above the sum, in receipt and list
    WRONG_PRICE = "wrong price"  # a receipt's price is 1.00 above the list's
    # Order keys.
    DOUBLE_RETRY = "double retry"  # a retry is SUCCESS, not replayed, with another `order`
    KEY_CONFLICT = "key conflict"  # a retry is ORDER_KEY_REUSED
    REUSE_ACCEPTED = "reuse accepted"  # the key with other items is the first order, replayed
    FORGET_KEYS = "forget keys"  # a retry is sold again when there were KEYS_KEPT orders meanwhile
    FORGET_KEYS_IN_TIME = "forget keys in time"  # the same when KEYS_KEPT_S have gone by
    SHARED_KEYS = "shared keys"  # another user's key is taken for one of one's own
    ONLY_UNITS_COMPARED = "only units compared"  # so many of another product are taken for a retry
    LINES_COMPARED = "lines compared"  # a retry in other lines is ORDER_KEY_REUSED
    REFUSED_BUT_SOLD = "refused but sold"  # INSUFFICIENT_STOCK, but the order is in the list


LIARS: dict[Lie, type[Shop]] = {Lie.NONE: Shop}


def tells(lie: Lie) -> Callable[[type[Shop]], type[Shop]]:
    """Return a decorator for the shop that tells the lie."""

    def note(shop: type[Shop]) -> type[Shop]:
        LIARS[lie] = shop
        return shop

    return note


class _NeverBelowZero(Shop):
    """Hides that more was sold than there was."""

    def take(self, wanted):
        left = {name: max(0, after) for name, after in super().take(wanted).items()}
        self.stock.update(left)
        return left


class _SellsShort(Shop):
    def refusal(self, order):
        found = super().refusal(order)
        return None if isinstance(found, InsufficientStock) and self.its_turn() else found


LIARS[Lie.NEGATIVE_STOCK] = _SellsShort


@tells(Lie.OVERSELL)
class _Oversells(_SellsShort, _NeverBelowZero):
    pass


@tells(Lie.OVERSELL_AFTER_YIELD)
class _Yields(_NeverBelowZero):
    """Lets others in between the check and the sale, where it is about the last units."""

    every = 1

    def accept(self, order):
        if any(self.stock[item.product_name] < SCARCE for item in order.items) and self.its_turn():
            self.lock.release()
            time.sleep(GAP_S)
            self.lock.acquire()
        first = self.first(order)  # who was cut off meanwhile may have asked again
        return super().accept(order) if first is None else self.retry(order, first)


@tells(Lie.KEEP_STOCK)
class _KeepsStock(Shop):
    def take(self, wanted):
        left = super().take(wanted)
        if self.its_turn():
            for name in wanted:
                self.put_back(name, wanted[name])
        return left


@tells(Lie.LOST_UPDATE)
class _LosesUpdates(Shop):
    """Takes from the stock that the order before took from, as if it had not yet been written."""

    def take(self, wanted):
        before = quantities(self.ledger[-1].items) if self.ledger else {}
        both = wanted.keys() & before.keys()
        if both and self.its_turn():
            for name in both:
                self.put_back(name, before[name])
        return super().take(wanted)


@tells(Lie.FALSE_SOLD_OUT)
class _RefusesSales(Shop):
    def refusal(self, order):
        found = super().refusal(order)
        if found is None and self.its_turn():
            name, quantity = next(iter(quantities(order.items).items()))
            return InsufficientStock(name, quantity, self.stock[name], self.taken)
        return found


@tells(Lie.WRONG_AVAILABLE)
class _Miscounts(Shop):
    def refusal(self, order):
        found = super().refusal(order)
        if isinstance(found, InsufficientStock) and self.its_turn():
            return replace(found, available=found.available - 1 if found.available else 1)
        return found


@tells(Lie.FALSE_NOT_FOUND)
class _Denies(Shop):
    def refusal(self, order):
        found = super().refusal(order)
        if found is None and self.its_turn():
            return ProductNotFound(order.items[0].product_name, self.taken)
        return found


@tells(Lie.ITEMS_CHECKED_APART)
class _ChecksApart(_NeverBelowZero):
    every = 1  # it takes a basket that finds just too little

    def refusal(self, order):
        found = super().refusal(order)
        if not isinstance(found, InsufficientStock):
            return found
        fits = all(item.quantity <= self.stock[item.product_name] for item in order.items)
        return None if fits and self.its_turn() else found


@tells(Lie.ITEMS_STOCK_APART)
class _CountsDown(Shop):
    every = EVERY_BASKET

    def write(self, position, order, left):
        receipt = super().write(position, order, left)
        rest = quantities(order.items)
        if len(rest) == len(order.items) or not self.its_turn():
            return receipt
        items = []
        for item in receipt.items:
            rest[item.product_name] -= item.quantity
            items.append(replace(item, stock=item.stock + rest[item.product_name]))
        return replace(receipt, items=tuple(items))


@tells(Lie.HALF_AN_ORDER)
class _TakesHalf(Shop):
    every = EVERY_BASKET

    def take(self, wanted):
        left = super().take(wanted)
        _, *others = wanted
        if others and self.its_turn():
            for name in others:
                self.put_back(name, wanted[name])
        return left


@tells(Lie.PARTIAL_REFUSAL)
class _TakesBeforeItRefuses(Shop):
    every = EVERY_RETRY  # it takes a basket whose second product is short

    def refusal(self, order):
        found = super().refusal(order)
        name, quantity = next(iter(quantities(order.items).items()))
        is_later = isinstance(found, InsufficientStock) and found.product_name != name
        if is_later and self.its_turn():
            self.take({name: quantity})
        return found


@tells(Lie.STALE_READ)
class _ReadsStale(Shop):
    def shelf(self):
        if self.ledger and self.its_turn():
            return replace(self.earlier(), as_of=self.taken)
        return super().shelf()


@tells(Lie.OLD_READ)
class _ReadsOld(Shop):
    def shelf(self):
        return self.earlier() if self.ledger and self.its_turn() else super().shelf()


@tells(Lie.MIXED_SNAPSHOT)
class _MixesMoments(Shop):
    """Shows what was sold last as it was, and what else was sold since as it is."""

    def shelf(self):
        now = super().shelf()
        sold = [item.product_name for one in self.ledger[-BEHIND:] for item in one.items]
        if len(set(sold)) < 2 or not self.its_turn():
            return now
        pairs = zip(now.products, self.earlier().products, strict=True)
        return replace(
            now, products=tuple(old if old.name == sold[-1] else new for new, old in pairs)
        )


@tells(Lie.OLD_ORDERS)
class _ListsOld(Shop):
    every = EVERY_LIST

    def history(self, user, below, limit):
        if not (self.ledger and self.its_turn()):
            return super().history(user, below, limit)
        as_of = max(0, self.taken - BEHIND)
        return as_of, super().history(user, min(below, as_of + 1), limit)[1]


@tells(Lie.FOREIGN_ORDER)
class _ListsOthers(Shop):
    every = EVERY_LIST

    def history(self, user, below, limit):
        as_of, found = super().history(user, below, limit)
        others = [own[-1] for name, own in self.lists.items() if own and name != user.name]
        newest = sorted((one for one in others if one.position < below), key=position_of)[-1:]
        mixed = sorted([*found, *newest], key=position_of, reverse=True)[:limit]
        return as_of, mixed if mixed != found and self.its_turn() else found


@tells(Lie.FOREIGN_ORDER_IN_FINAL)
class _GivesToOthers(Shop):
    def enlist(self, receipt):
        super().enlist(receipt)
        others = [name for name in self.users if name != receipt.user.name]
        if others and self.its_turn():
            insort(self.lists[others[0]], receipt, key=position_of)


@tells(Lie.DUPLICATE_IN_LIST)
class _Stutters(Shop):
    every = EVERY_LIST

    def history(self, user, below, limit):
        as_of, found = super().history(user, below, limit)
        if found and limit > 1 and self.its_turn():
            found = [found[0], *found][:limit]
        return as_of, found


@tells(Lie.LOSE_ORDERS)
class _LosesOrders(Shop):
    def enlist(self, receipt):
        if not self.its_turn():
            super().enlist(receipt)


@tells(Lie.LOSE_ORDER_LATER)
class _LosesOrdersLater(Shop):
    every = EVERY_LIST

    def history(self, user, below, limit):
        as_of, found = super().history(user, below, limit)
        if found and self.its_turn():
            self.lists[user.name].remove(found[0])
        return as_of, found
