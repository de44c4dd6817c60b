"""Buying: what a customer does that breaks careless shops, each order measured and recorded.

He orders again with a key, soon and long after, in other lines and for other goods, or with the
key of somebody else; sends several requests before the first answer; breaks off in the middle of
an order; hangs up with one in flight. A correct shop takes no harm from any of it.
"""

import random
import time
from collections.abc import Sequence

from _client import ShopClient
from _connection import Lost
from _measured import Report
from _options import Account, Address
from _part import Part, Unsettled
from _requests import GET_PRODUCTS, SOLD_OUT_TOO, Items, order_lines, orders_line
from _wishes import checked_basket, checked_items, checked_limit, checked_wishes, fit_a_receipt
from gevent import sleep

from sportshop.audit import Kind
from sportshop.orders import ITEMS_MAX, QUANTITY_MAX

OLD_ORDERS = 20  # that a customer could ask for once more
SOLD = {Kind.ACCEPTED, Kind.REPLAYED}


class Customer(ShopClient):
    """A customer who shops as nobody should have to expect. Not for two greenlets at once."""

    def __init__(
        self, part: Part, address: Address, account: Account, report: Report | None = None
    ) -> None:
        super().__init__(part, address, account, report)
        self._old: list[Unsettled] = []
        self._kept = 0

    def buy_again(self, items: Items, others: Items | None = None) -> None:
        """Order, and then once more with the same key, for the same items or for others."""
        items = checked_items(items, self._part.spellings)
        if others is not None:
            others = checked_items(others, self._part.spellings, "others")
        key = self._part.new_key()
        sold = self.buy(items, key) in SOLD
        self._use_again(key, others or items, sold)
        if sold:
            self._keep(Unsettled(self._account, *key, items))

    def buy_old_again(self) -> bool:
        """Order once more what was ordered a while ago, with its key. False if nothing was."""
        if not self._old:
            return False
        old = random.choice(self._old)  # noqa: S311
        self._use_again((old.key, old.text), rearranged(old.items), sold=True)
        return True

    def buy_with_anothers_key(self, items: Items) -> bool:
        """Order with a key that another user has used: it is a new order. False if there is none.

        Each key is lent once: used twice by one user it would be the same order.
        """
        items = checked_items(items, self._part.spellings)
        lent = self._part.old_key_of_another(self._account.user)
        if lent is None:
            return False
        self.buy(items, (lent.key, lent.text))
        return True

    def ask_again(self, sold: Unsettled) -> bool:
        """Ask once for an order that was sold long ago; tell whether there was an answer."""
        part, known_as = self._part, (self._number, sold.key)
        part.counted.add(known_as)
        known = self.settle(sold)
        if known_as not in part.unsettled:
            part.counted.discard(known_as)
        return known

    def _use_again(self, key: tuple[int, str], items: Items, sold: bool) -> None:
        part, known_as = self._part, (self._number, key[0])
        if sold:
            part.counted.add(known_as)
        self.buy(items, key)
        if known_as not in part.unsettled:
            part.counted.discard(known_as)

    def _keep(self, order: Unsettled) -> None:
        """Keep the order for later: those kept are from the whole run alike, not the newest."""
        self._kept += 1
        at = random.randrange(self._kept)  # noqa: S311
        if len(self._old) < OLD_ORDERS:
            self._old.append(order)
        elif at < OLD_ORDERS:
            self._old[at] = order
        self._part.keep(order)

    def buy_in_one_go(self, wishes: Sequence[Items]) -> None:
        """Send several orders without waiting for an answer; ask again for those that got none."""
        wishes = checked_wishes(wishes, self._part.spellings)
        self._ensure_logged_in()
        keys = [self._part.new_key() for _ in wishes]
        began = time.monotonic_ns()
        lines = (order_lines(items, text) for items, (_, text) in zip(wishes, keys, strict=True))
        left = list(zip(keys, wishes, strict=True))
        ahead = 0
        try:
            self._send(b"".join(lines))
            while left:
                (number, text), items = left[0]
                if self._take_outcome(began, number, items, ahead) is Kind.ACCEPTED:
                    ahead = self._placed
                left.pop(0)
        except Lost as problem:
            if not problem.reported:
                self._tell("NEW_ORDER_ITEM", began, 0, None, "connection lost", problem)
        finally:
            if left:
                self.hang_up()  # or an answer would be taken for the next request's
            for (number, text), items in left:
                self._unknown(began, number, text, items)
        for key, items in left:
            self.buy(items, key)

    def buy_and_look(self, items: Items, orders: int = 0) -> None:
        """Order, and ask for a list right behind, before the answer: it has to know the order.

        The list is that of the products, or of so many of one's orders.
        """
        items = checked_items(items, self._part.spellings)
        checked_limit(orders, "orders", least=0)
        self._ensure_logged_in()
        sold_out = random.random() < 0.5  # noqa: S311
        products = SOLD_OUT_TOO if sold_out else GET_PRODUCTS
        number, text = self._part.new_key()
        request = order_lines(items, text) + (orders_line(orders) if orders else products)
        began = time.monotonic_ns()
        outcome = self._order(request, number, text, items)
        if outcome is Kind.UNKNOWN:
            self.hang_up()  # the list may still be on its way
            self.buy(items, (number, text))
        elif self._connection is not None:
            ahead = self._placed if outcome in SOLD else 0
            if orders:
                self.orders(orders, began, ahead)
            else:
                self.products(sold_out, began, ahead)

    def buy_and_hang_up(self, items: Items) -> None:
        """Send an order and close the connection before its answer; come back and ask again."""
        items = checked_items(items, self._part.spellings)
        self._ensure_logged_in()
        number, text = self._part.new_key()
        began = time.monotonic_ns()
        try:
            self._send(order_lines(items, text))
            sleep(random.random() / 500)  # noqa: S311 - so that it is in flight, decided or answered
        except Lost:
            pass
        finally:
            self.hang_up()
            self._unknown(began, number, text, items)
        self.buy(items, (number, text))

    def break_off(self, items: Items) -> None:
        """Send an order of several items but for the last, and hang up: it is no order.

        Come back and, half of the time, order them with its key: that is a new order.
        """
        items = checked_basket(items, self._part.spellings)
        self._ensure_logged_in()
        key = self._part.new_key()
        lines = order_lines(items, key[1])
        try:
            self._send(lines[: lines[:-1].rindex(b"\n") + 1])
            sleep(random.random() / 500)  # noqa: S311 - so that it has come, or not
        except Lost:
            pass
        finally:
            self.hang_up()
        if random.random() < 0.5:  # noqa: S311
            self.buy(items, key)


def rearranged(items: Items) -> Items:
    """Return the same goods in other lines: split, put together, in another order.

    Only in another order, where the lines would be too many or too much for an order.
    """
    sums: dict[str, int] = {}
    for name, quantity in items:
        sums[name] = sums.get(name, 0) + quantity
    lines = tuple((name, many) for name, whole in sums.items() for many in _in_two(whole))
    is_too_much = max(many for _, many in lines) > QUANTITY_MAX
    if is_too_much or len(lines) > ITEMS_MAX or not fit_a_receipt(lines):
        lines = items
    return tuple(random.sample(lines, len(lines)))


def _in_two(whole: int) -> list[int]:
    """Return one or two numbers with this sum, each as small as QUANTITY_MAX if that can be."""
    least = min(whole, max(1, whole - QUANTITY_MAX))
    first = random.randint(least, max(least, min(whole, QUANTITY_MAX)))  # noqa: S311
    return [many for many in (first, whole - first) if many]
